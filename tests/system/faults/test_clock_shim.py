"""The clock shim itself: every way to ask for the wall clock moves, and no length of time does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

YEAR_S = 365.25 * 86_400
NEAR_S = 20.0
#: Each line it reads is answered by all its clocks, and by how long a wait of 50 ms took.
SCRIPT = """
import datetime, json, sqlite3, sys, threading, time
database = sqlite3.connect(":memory:")
for line in sys.stdin:
    began = time.monotonic()
    threading.Event().wait(0.05)
    threading.Lock().acquire() and time.sleep(0.05)
    print(json.dumps({
        "time": time.time(),
        "datetime": datetime.datetime.now(datetime.timezone.utc).timestamp(),
        "coarse": time.clock_gettime(5),
        "sqlite": database.execute("SELECT unixepoch('now')").fetchone()[0],
        "monotonic": began,
        "waited": time.monotonic() - began,
    }), flush=True)
"""


@pytest.fixture
def clocks(wall):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **wall.env},
    )  # fmt: skip

    def asked():
        process.stdin.write("\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    # A wait that follows the wall clock would never end.
    guard = threading.Timer(60, process.kill)
    guard.start()
    yield asked
    guard.cancel()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("ahead_s", [10 * YEAR_S, -10 * YEAR_S, 30 * YEAR_S])
def test_every_wall_clock_of_a_running_process_steps_and_no_length_of_time_does(clocks, wall, ahead_s):
    for moved_s in (0, ahead_s, 0):
        wall.set(moved_s)
        found = clocks()
        for name in ("time", "datetime", "coarse", "sqlite"):
            assert abs(found[name] - wall.utc()) < NEAR_S, (name, moved_s, found)
        assert abs(found["monotonic"] - time.monotonic()) < NEAR_S
        assert 0.1 <= found["waited"] < NEAR_S


@pytest.mark.parametrize("utc_s", [0.0, 2**31 - 1.0, 2**32 + 1.0])
def test_the_epoch_and_the_ends_of_32_bits_can_be_shown(clocks, wall, utc_s):
    wall.show(utc_s)
    found = clocks()
    assert all(abs(found[name] - utc_s) < NEAR_S for name in ("time", "datetime", "coarse", "sqlite")), found


def test_the_clock_of_this_process_is_not_touched(wall):
    before = time.time()
    wall.set(10 * YEAR_S)
    assert 0 <= time.time() - before < NEAR_S
