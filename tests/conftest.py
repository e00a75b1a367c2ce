"""In which order the tests are given to the workers, and ports for servers that start later.

A worker takes a whole module. What starts processes and waits for them goes first, so that no worker is left alone with
a long module at the end.
"""

import gc
import random
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
sys.path.append(str(TESTS))  # warm.py: processes that need not load their libraries
#: Examples of a property test where its module takes a share of this; the usual profile has a hundred.
LONG_EXAMPLES = 1000
settings.register_profile("long", max_examples=LONG_EXAMPLES, deadline=None)
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


#: Below those that the kernel gives to whoever asks for any port: nobody takes one in the meantime.
QUIET_PORTS = range(12_000, 32_000)


@pytest.fixture(scope="session")
def port_for_later():
    """A function: a free port of this computer, for a server that is started in a moment."""
    offers = iter(random.sample(QUIET_PORTS, len(QUIET_PORTS)))

    def find():
        for port in offers:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        pytest.fail(f"no port of {QUIET_PORTS} is free")

    return find
