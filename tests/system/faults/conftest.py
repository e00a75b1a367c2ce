"""Lets the tests find the tools that stand beside them, and mounts the lossy file system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import clock_shim
import lossyfs

_HERE = Path(__file__).parent
#: Seconds that a test may take here unless it says otherwise: one starts a whole plant, and waits a minute for much.
PLANT_S = 600


@pytest.hookimpl(tryfirst=True)  # before the time limit of the suite is looked up
def pytest_collection_modifyitems(items):
    """Give each test here a time limit in which its own patience, and not the suite's, says what was waited for.

    The long forms have the one that ``make soak`` names: a marker would override it.
    """
    for item in items:
        if item.path.parent == _HERE and not any(map(item.get_closest_marker, ("timeout", "soak"))):
            item.add_marker(pytest.mark.timeout(PLANT_S))


@pytest.fixture
def card(tmp_path):
    """A lossy file system, mounted for one test."""
    if why := lossyfs.no_device():
        pytest.skip(why)
    if why := lossyfs.missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    with lossyfs.LossyFs(tmp_path / "lossy") as card:
        yield card


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory):
    """The library that moves the wall clock, built once."""
    if why := clock_shim.missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    return clock_shim.build(tmp_path_factory.mktemp("clockshim"))


@pytest.fixture
def wall(clock_library, tmp_path):
    """A wall clock for the processes that are started with its ``env``."""
    clock = clock_shim.WallClock(clock_library, tmp_path / "wall-clock")
    yield clock
    clock.close()
