"""How long the computer kept this process and its children from running: what a promise in seconds is not about.

A test that says "within two seconds" measures the product only as far as the product may run. On a computer that
others use, a process that could run waits for a processor; Linux counts that for each thread
(``/proc/PID/task/TID/schedstat``). Where it does not count, or the whole computer stood still, a thread beside tells
it: a turn that was to take 0.05 s and took two seconds is no two seconds of the product.

Sleeping, waiting for a lock, a socket or a disk is the product's own time: a promise that it breaks stays broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from bisect import bisect_right

NS = 1_000_000_000
#: However busy the computer is, so much of a length may be waiting: what sleeps too long at the same time must be seen.
WAITING_MAX = 0.75
#: Short time limits may be prolonged by so much.
WAITING_MIN_S = 4.0
SAMPLE_S = 0.2
KNOWN_S = 60.0
WITNESS_S = 0.05
READ_BYTES = 4096  # more than these files have
_PROC = "/proc"


def waited_ns():
    """Thread to the ns in which it could have run and did not, of this process and its children; {}: unknown."""
    return {thread: ns for pid in _family() for thread, ns in _threads(pid)}


def since(before):
    """Seconds that they waited since an answer of ``waited_ns``, one process after the other.

    Of the threads of a process the one that waited longest counts; a thread that is gone has waited 0.
    """
    return _longest(before, waited_ns())


def _longest(before, after):
    of_process = {}
    for (pid, thread), ns in after.items():
        waited = ns - before.get((pid, thread), 0)
        of_process[pid] = max(of_process.get(pid, 0), waited)
    return sum(of_process.values()) / NS


def _without(passed_s, waited_s):
    """What is left of a length."""
    return max(passed_s - waited_s, min(passed_s * (1 - WAITING_MAX), passed_s - WAITING_MIN_S))


def own_s():
    """Seconds that the main thread of this process has waited so far, 0.0 where that is unknown."""
    return sum(ns for thread, ns in _threads(os.getpid()) if thread == (os.getpid(), os.getpid())) / NS


class _Witness(threading.Thread):
    """Beats beside whatever the process does. In a process that stands still it is late, beside a blocked loop not."""

    def __init__(self):
        super().__init__(daemon=True, name="witness")
        self._late_s, self._began_s = 0.0, time.monotonic()
        self.start()

    @property
    def late_s(self):
        """Seconds in all, with those of the beat that is under way."""
        return self._late_s + max(0.0, time.monotonic() - self._began_s - 2 * WITNESS_S)

    def run(self):
        while True:
            time.sleep(WITNESS_S)
            self._late_s, self._began_s = self.late_s, time.monotonic()


_WITNESS = _Witness()


def stood_s():
    """Seconds that this whole process has stood still so far, with the computer or without."""
    return _WITNESS.late_s


class Taken:
    """A stop-watch that runs while this process and its children may run."""

    def __init__(self):
        self._began_s, self._stood_s, self._before = time.monotonic(), _WITNESS.late_s, waited_ns()

    def seconds(self):
        """Since it was made."""
        waited_s = max(_WITNESS.late_s - self._stood_s, since(self._before))
        return _without(time.monotonic() - self._began_s, waited_s)


class Deadline:
    """So many seconds in which this process and its children may run."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._began_s = time.monotonic()
        self._stood_s = _WITNESS.late_s
        self._before = waited_ns()

    def over(self):
        """Whether the promise is broken."""
        passed_s = time.monotonic() - self._began_s
        if passed_s < self._seconds:
            return False
        return _without(passed_s, max(_WITNESS.late_s - self._stood_s, since(self._before))) >= self._seconds


class Beat:
    """The longest time in which the event loop did nothing else, ``slowest_s``: ``run`` it as a task."""

    def __init__(self, beat_s):
        self.slowest_s = 0.0
        self._beat_s = beat_s

    async def run(self):
        """Until it is cancelled."""
        while True:
            began_s, waited_s, stood_s = time.monotonic(), own_s(), _WITNESS.late_s
            await asyncio.sleep(self._beat_s)
            late_s = time.monotonic() - began_s - self._beat_s
            if late_s > self.slowest_s:
                late_s -= max(own_s() - waited_s, _WITNESS.late_s - stood_s)
                self.slowest_s = max(self.slowest_s, late_s)


class Timeline:
    """How long they waited, from moment to moment: for what is measured afterwards. A context; times are UTC."""

    def __init__(self):
        self._at_s, self._sum_s = [], []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()

    def took_s(self, from_s, to_s):
        """What is left of this length without the waits in it and around it; waits itself until those are known."""
        until_s = time.monotonic() + KNOWN_S
        while self._thread.is_alive() and not (self._at_s and self._at_s[-1] >= to_s + 2 * SAMPLE_S):
            assert time.monotonic() < until_s, f"nothing was looked at up to {to_s + 2 * SAMPLE_S}"
            time.sleep(SAMPLE_S / 4)
        waited_s = self._until(to_s + 2 * SAMPLE_S) - self._until(from_s - SAMPLE_S)
        return _without(to_s - from_s, waited_s)

    def _until(self, at_s):
        found = bisect_right(self._at_s, at_s)
        return self._sum_s[found - 1] if found else 0.0

    def _run(self):
        last, total_s, last_s = waited_ns(), 0.0, time.time()
        while not self._ending.wait(SAMPLE_S):
            found, now_s = waited_ns(), time.time()
            total_s += max(_longest(last, found), now_s - last_s - 2 * SAMPLE_S)
            last, last_s = found, now_s
            self._sum_s.append(total_s)  # first: who asks finds the moment, and looks for its sum
            self._at_s.append(now_s)


def _family():
    """This process and its children; whoever starts a process here is its parent (``warm.py`` sees to it)."""
    mine = os.getpid()
    yield mine
    for name in os.listdir(_PROC):  # noqa: PTH208 - as _read
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int(_read(f"{_PROC}/{name}/stat").rpartition(b")")[2].split()[1]) == mine:
                    yield int(name)


def _threads(pid):
    with contextlib.suppress(OSError):
        for name in os.listdir(f"{_PROC}/{pid}/task"):  # noqa: PTH208 - as _read
            with contextlib.suppress(OSError, ValueError, IndexError):
                yield (pid, int(name)), int(_read(f"{_PROC}/{pid}/task/{name}/schedstat").split()[1])


def _read(path):
    """Some tests look twenty times a second at all processes there are: without the standard library's ease."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, READ_BYTES)
    finally:
        os.close(file)
