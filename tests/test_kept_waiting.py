"""What is held against a promise in seconds: a product that sleeps or blocks breaks it, a busy computer does not.

What only the scheduler knows needs Linux with ``schedstat``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import kept_waiting
import pytest
from kept_waiting import Beat, Deadline, Taken, Timeline

DEADLINE_S = 100.0
#: Each is as long as the loop is blocked; the computer may be busy just then, and what it takes is taken off.
BLOCKS = 10
#: Longer than SOON_S, so that only what is taken off keeps that promise; and by little, so that much may be left.
SOON_S, STOPPED_S = 3.0, 3.4
#: Says that it has begun, goes on until a line comes, and says what was seen meanwhile.
SEEN = """
import asyncio, json, select, sys
from kept_waiting import Beat, Deadline
async def main():
    beat, soon = Beat(0.02), Deadline(float(sys.argv[1]))
    task = asyncio.create_task(beat.run())
    await asyncio.sleep(0.02)
    print(flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        await asyncio.sleep(0.02)
    print(json.dumps([soon.over(), beat.slowest_s]))
asyncio.run(main())
"""
BUSY = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nwhile True: pass"


@contextlib.contextmanager
def started(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_process_that_stood_still_has_broken_no_promise():
    with started(SEEN, SOON_S) as process:
        assert select.select([process.stdout], [], [], DEADLINE_S)[0]
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)  # this is what is done to it; nothing can be waited for
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        over, slowest_s = json.loads(process.stdout.readline())
    assert not over
    assert slowest_s < STOPPED_S / 2


async def test_what_sleeps_too_long_breaks_it():
    soon, taken = Deadline(0.2), Taken()
    end_s = time.monotonic() + DEADLINE_S
    while not soon.over():
        assert time.monotonic() < end_s
        time.sleep(0.05)  # noqa: ASYNC251 - as a product that blocks
    assert taken.seconds() >= 0.2


async def test_a_loop_that_is_blocked_is_seen_as_long_as_it_is():
    beat = Beat(0.02)
    task = asyncio.create_task(beat.run())
    await asyncio.sleep(0.05)
    for _ in range(BLOCKS):
        time.sleep(0.6)  # noqa: ASYNC251 - it blocks
        await asyncio.sleep(0.05)
        if beat.slowest_s > 0.2:
            break
    task.cancel()
    assert beat.slowest_s > 0.2


def test_who_waits_for_a_processor_is_known():
    if not Path(f"/proc/{os.getpid()}/schedstat").exists():
        pytest.skip("this computer does not count it")
    with started(BUSY), started(BUSY):
        # Before and behind what is held against it: the looks at all processes take their time, too.
        began_s, taken, before = time.monotonic(), Taken(), kept_waiting.waited_ns()
        while (waited_s := kept_waiting.since(before)) < 0.2:
            assert time.monotonic() - began_s < DEADLINE_S
            time.sleep(0.02)
        taken_s = taken.seconds()
        passed_s = time.monotonic() - began_s
    assert taken_s <= passed_s - min(waited_s, passed_s * kept_waiting.WAITING_MAX) + 0.01


def test_what_has_just_been_is_told_once_its_waits_are_known():
    with Timeline() as timeline:
        for _ in range(3):
            now_s = time.time()
            assert timeline.took_s(now_s - 0.1, now_s) <= 0.1 + 1e-6
            assert timeline._at_s[-1] >= now_s + 2 * kept_waiting.SAMPLE_S
    now_s = time.time()  # nobody looks any more, and nobody waits for it
    assert timeline.took_s(now_s - 0.1, now_s) <= 0.1 + 1e-6


@pytest.mark.parametrize(
    ("passed_s", "waited_s", "left_s"),
    [(3.0, 0.0, 3.0), (3.0, 1.0, 2.0), (5.0, 9.0, 1.0), (8.0, 9.0, 2.0), (20.0, 19.0, 5.0), (20.0, 2.0, 18.0)],
)
def test_however_busy_it_is_not_all_of_a_length_is_waiting(passed_s, waited_s, left_s):
    assert kept_waiting._without(passed_s, waited_s) == left_s
