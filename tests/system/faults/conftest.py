"""Lets the tests find the tools that stand beside them, and mounts the lossy file system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import lossyfs


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
