"""In which order the tests are given to the workers, and ports for servers that start later.

A worker takes a whole module, or a test that stands for one. What starts processes and waits for them goes first, so
that no worker is left alone with a long module at the end.
"""

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

sys.path.append(str(Path(__file__).parent))  # warm.py: processes that need not load their libraries

import grammars
import quiet_ports

grammars.remember()
TESTS = Path(__file__).parent
#: Examples of a property test where its module takes a share of this; the usual profile has a hundred.
LONG_EXAMPLES = 1000
# Examples are cheap and many, on computers that others use: no time limit for a single one, nor for drawing it. In CI
# the examples are the same each time (Hypothesis' own profile for it, which this one starts from).
settings.register_profile("tests", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
settings.register_profile("long", max_examples=LONG_EXAMPLES)
#: Folders and files by how long their modules take, longest first; what is not named goes last.
LONG_FIRST = (
    "plant/week",
    "system/faults",
    "system/test_time_steps.py",
    "system/test_plant_live.py",
    "planted",
    "system",
    "config/test_fuzz.py",
    "plant",
    "drivers/fuzz",
    "tryton",
    "cli",
    "api",
    "drivers",
    "simulators",
    "connectors",
    "monitor",
    "buffer",
)

#: Of these each test is as long as a module, and starts with nothing of another's.
EACH_ALONE = ("tests/plant/week/test_week.py::",)


class _Modules(LoadScopeScheduling):
    def _split_scope(self, nodeid):
        return nodeid if nodeid.startswith(EACH_ALONE) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What one worker takes at a time."""
    return _Modules(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items):
    """Sort by how long a module takes; the order within a module stays."""
    places = {}
    for path in {item.path for item in items}:
        parts = path.relative_to(TESTS) if path.is_relative_to(TESTS) else path
        places[path] = next((n for n, name in enumerate(LONG_FIRST) if parts.is_relative_to(name)), len(LONG_FIRST))
    items.sort(key=lambda item: places[item.path])


def pytest_collection_finish():
    """What was collected stays to the end: each full look through memory would look through ten thousand tests, too."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def port_for_later():
    """A function: a free port of this computer, for a server that is started in a moment."""
    return quiet_ports.find
