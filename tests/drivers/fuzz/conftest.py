"""What all fuzzed servers share: a seed, a time, and a watch over drivers that run under their supervisors.

The promises that the watch holds at its end, whatever a server sent: no exception outside of a driver's own words and
none in the event loop, no value GOOD that the judge does not know, no turn of the event loop that takes long, no task
and no file descriptor left, memory flat.
"""

import asyncio
import contextlib
import gc
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from kept_waiting import Deadline

from drivers.base import DriverError
from drivers.supervisor import SourceSupervisor
from gateway.core.model import Status

SEED = 20_240_607
SHORT_S = 3.0
LONG_S = 60.0
#: A run goes on until everything in the server's deck was played, but not longer than so many times its time.
PATIENCE = 100
BACKOFF_MAX_NS = 50_000_000
STALE_AFTER_NS = 2_000_000_000
#: Processor time of one turn of the event loop: more, and other sources would wait.
TURN_MAX_S = 1.0
#: The most memory that a hostile server may make us take, for however short a time.
PEAK_MAX_KIB = 32 * 1_024
#: Objects that may be there at the end and not after half of the time: what is on its way, not one driver left behind.
OBJECTS_MAX = 2_000
#: What is on its way differs from moment to moment: the least of so many looks.
LOOKS_MAX = 8
#: From the last bad byte to a good value of every signal: time limits, back-off, quiet time, a refusal's wait.
RECOVERY_S = 8.0
#: For tasks and files to go that are on their way: what stays, stays longer.
GONE_S = 60.0
TICK_S = 0.01


@pytest.fixture
def seed():
    """Where all chance comes from; shown when a test fails."""
    found = int(os.environ.get("LINEGATE_FUZZ_SEED", SEED))
    print(f"repeat with LINEGATE_FUZZ_SEED={found}")  # noqa: T201 - pytest shows it with a failure
    return found


@pytest.fixture(params=[pytest.param(SHORT_S, id="short"), pytest.param(LONG_S, id="long", marks=pytest.mark.soak)])
def span_s(request):
    return request.param


class Deck:
    """Things to try in random order, each as often as the others."""

    def __init__(self, rng, cards):
        self._rng = rng
        self._cards = tuple(cards)
        self._left = []
        self.played = Counter()

    def draw(self):
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        card = self._left.pop()
        self.played[card.__name__] += 1
        return card

    @property
    def done(self):
        return len(self.played) == len(set(self._cards))


@pytest.fixture
def deck(seed):
    def make(cards, salt=0):
        rng = random.Random(seed + salt)
        return rng, Deck(rng, cards)

    return make


class Witness:
    """A driver, and a list of what it raises besides DriverError."""

    def __init__(self, driver, defects):
        self._driver = driver
        self._defects = defects
        self.close, self.write = driver.close, driver.write
        self.problems, self.notices = driver.problems, driver.notices

    @contextlib.contextmanager
    def _noting(self):
        try:
            yield
        except (DriverError, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            self._defects.append("".join(traceback.format_exception(error)[-6:]))
            raise

    async def open(self):
        with self._noting():
            await self._driver.open()

    async def readings(self):
        readings = self._driver.readings()
        assert isinstance(readings, AsyncGenerator)
        async with contextlib.aclosing(readings):
            with self._noting():
                async for reading in readings:
                    yield reading


def memory_kib(key):
    """``VmHWM``: the most since ``forget_peak``."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise LookupError(key)


def forget_peak():
    with contextlib.suppress(OSError):  # where that is forbidden only peaks above earlier ones are seen
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def descriptors_open():
    return list(Path("/proc/self/fd").iterdir())


def objects():
    gc.collect()
    return len(gc.get_objects())


class Turns:
    """The processor time of the event loop's longest turn; processor time, because the computer has other work."""

    def __init__(self):
        self.longest_s = 0.0
        self._excused_s = 0.0

    def excused(self, work):
        """Do what is the watch's own and slow."""
        before_s = time.thread_time()
        found = work()
        self._excused_s += time.thread_time() - before_s
        return found

    @contextlib.contextmanager
    def measured(self):
        run, clock = asyncio.Handle._run, time.thread_time

        def timed(handle):
            self._excused_s, before_s = 0.0, clock()
            run(handle)
            self.longest_s = max(self.longest_s, clock() - before_s - self._excused_s)

        asyncio.Handle._run = timed
        try:
            yield
        finally:
            asyncio.Handle._run = run


class Watch:
    """Some sources under their supervisors, each value of theirs judged.

    ``judge(signal, value)`` is true for a value that the device really has.
    """

    def __init__(self, judge, rng, recovery_s):
        self._judge = judge
        self._recovery_s = recovery_s
        self._rng = rng
        self.turns = Turns()
        self.good = Counter()
        self.wrong = []
        self.defects = []
        self.failures = Counter()
        self.objects_grown = 0
        self.peak_kib = 0
        self._signals = set()
        self._supervisors = []
        self._tasks = []

    def add(self, name, make_driver, signals):
        """A source: ``signals`` without its name."""
        full = tuple(f"{name}.{signal}" for signal in signals)
        self._signals |= set(full)
        self._supervisors.append(
            SourceSupervisor(
                name=name,
                make_driver=lambda: Witness(make_driver(), self.defects),
                rule_signals=full,
                now_ns=time.time_ns,
                deliver=self._deliver,
                stale_after_ns=STALE_AFTER_NS,
                backoff_max_ns=BACKOFF_MAX_NS,
                rng=self._rng,
                on_status=self._on_status,
            )
        )

    async def go(self):
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        self._tasks = [asyncio.create_task(each.run()) for each in self._supervisors]

    async def stop(self):
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

    async def fuzz(self, server, span_s, deck):
        """Let the server send what it wants; in the end only what is right, until every signal is good again."""
        await self.all_good()
        start_s = time.monotonic()
        server.fuzzing = True
        await self._while(lambda: time.monotonic() < start_s + span_s / 2)
        middle = self.turns.excused(objects)
        forget_peak()
        base_kib = memory_kib("VmHWM")
        end_s, last_s = start_s + span_s, start_s + PATIENCE * span_s
        await self._while(lambda: time.monotonic() < end_s or (not deck.done and time.monotonic() < last_s))
        server.fuzzing = False
        self.peak_kib = memory_kib("VmHWM") - base_kib
        await self.all_good()
        for _ in range(LOOKS_MAX):
            self.objects_grown = self.turns.excused(objects) - middle
            if self.objects_grown < OBJECTS_MAX:
                break
            await asyncio.sleep(TICK_S)
        assert deck.done, deck.played

    async def all_good(self):
        """Wait until every signal has brought a good value from now on."""
        self.good.clear()
        limit = Deadline(self._recovery_s)
        await self._while(lambda: not self._signals <= self.good.keys() and not limit.over())
        assert self._signals <= self.good.keys(), (self._signals - self.good.keys(), self.failures)

    async def _while(self, condition):
        while condition() and not (self.wrong or self.defects):  # noqa: ASYNC110 - what is waited for is often the clock
            await asyncio.sleep(TICK_S)
        assert not self.wrong, self.wrong[:5]
        assert not self.defects, self.defects[:5]
        assert not any(task.done() for task in self._tasks)

    async def _deliver(self, reading):
        for sample in reading.values:
            if sample.status is Status.GOOD:
                self._take(sample.signal, sample.value)
        for block in reading.blocks:
            for name, value in zip(block.names, block.values, strict=True):
                if value is not None:
                    self._take(name, value)

    def _take(self, signal, value):
        self.good[signal] += 1
        if not self._judge(signal, value):
            self.wrong.append((signal, value))

    def _on_status(self, status):
        if status.state == "down":
            self.failures[status.last_error[:200]] += 1

    def _on_loop_error(self, _loop, what):
        self.defects.append(f"event loop: {what.get('message')}: {what.get('exception')!r}")


@pytest.fixture
def watch(seed):
    """Watch over sources: ``async with watch(server, judge, name=(make_driver, signals), ...) as watching``."""

    @contextlib.asynccontextmanager
    async def watching(server, judge, *, recovery_s=RECOVERY_S, **sources):
        before, descriptors = asyncio.all_tasks(), len(descriptors_open())
        await server.start()
        watch = Watch(judge, random.Random(seed), recovery_s)
        for name, (make_driver, signals) in sources.items():
            watch.add(name, make_driver, signals)
        await watch.go()
        try:
            with watch.turns.measured():
                yield watch
        finally:
            await watch.stop()
            await server.stop()
            print(watch.failures, watch.turns.longest_s, watch.objects_grown, watch.peak_kib)  # noqa: T201 - as above
        await _nothing_left(before, descriptors)
        assert not watch.wrong
        assert not watch.defects
        assert watch.turns.longest_s < TURN_MAX_S
        assert watch.peak_kib < PEAK_MAX_KIB
        assert watch.objects_grown < OBJECTS_MAX

    return watching


async def _nothing_left(tasks, descriptors):
    end_s = time.monotonic() + GONE_S
    while time.monotonic() < end_s:
        gc.collect()
        if asyncio.all_tasks() <= tasks and len(descriptors_open()) <= descriptors:
            return
        await asyncio.sleep(TICK_S)
    left = asyncio.all_tasks() - tasks
    assert not left, left
    assert len(descriptors_open()) <= descriptors, descriptors_open()
