"""What a plugin's own tests subclass: the contract of a driver as test methods.

A driver whose device can refuse single signals subclasses ``RefusedSignalContract`` too.

Needs pytest and pytest-asyncio (``asyncio_mode = "auto"``), which the daemon never imports.

    class TestMyDriver(DriverContract):
        @pytest.fixture
        async def rig(self): ...   # yields an object of the shape of DriverRig
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import pytest

from drivers.base import DriverError, WriteRefusedError
from gateway.core.model import DataValue, Scalar, Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from drivers.base import Driver, Reading

#: A driver that needs longer for one step of the contract, on a local link, hangs.
STEP_LIMIT_S: Final = 60.0
#: Cancellation must end a driver's work within this, as far as the computer lets the process run.
CANCEL_LIMIT_S: Final = 1.0
#: So often a thread looks whether the process runs.
BEAT_S: Final = 0.05
#: So often is the link made and given up, to see whether something stays behind each time.
CYCLES: Final = 20
#: A name that no configuration has.
UNKNOWN_SIGNAL: Final = "no_such_signal"


class DriverRig(Protocol):
    """A driver with the device it reads, for the contract suite.

    Attributes:
        expected: the device's values at the start, by full signal name; all of them are rule signals.
        expected_bad: optional: further rule signals that the configuration names and the device refuses; full names, to
            part of the reason that ``problems()`` gives.
    """

    expected: Mapping[str, Scalar]

    def make(self) -> Driver:
        """A fresh driver object; no I/O."""

    def now_ns(self) -> int:
        """The clock that the driver was given."""

    async def start_device(self) -> None:
        """Make the device reachable; it is not at first."""

    async def stop_device(self) -> None:
        """Make it unreachable, with an abrupt end of open connections."""


class DriverContract:
    """The promises of ``drivers.base``, each as a test. A subclass gives the fixture ``rig``."""

    async def test_making_and_closing_without_opening_does_no_harm(self, rig: DriverRig) -> None:
        """No I/O before ``open``; ``problems``, ``notices`` and ``close`` work at any time."""
        driver = rig.make()
        _check_told(driver, problems=False)
        await driver.close()
        _check_told(driver, problems=False)

    async def test_an_unreachable_device_is_a_driver_error_and_leaves_no_task(self, rig: DriverRig) -> None:
        """``open`` raises DriverError or waits; both end at once on ``close`` or cancellation."""
        before = asyncio.all_tasks()
        driver = rig.make()
        opening = asyncio.ensure_future(driver.open())
        await _ends(opening)
        if opening.done():
            error = opening.exception()
            assert isinstance(error, DriverError), f"open() ended with {error!r}"
            assert str(error), "the message says what to do"
        else:
            opening.cancel()
            await _ends(opening)
            assert opening.cancelled(), "open() must end when it is cancelled"
        await driver.close()
        await _until_only(before)

    async def test_every_rule_signal_arrives_good_and_exact(self, rig: DriverRig) -> None:
        """Values, types, names, status and time of arrival."""
        await rig.start_device()
        async with _opened(rig) as (_driver, readings):
            found = await _collect(readings, set(rig.expected))
        for name, value in rig.expected.items():
            sample = found[name][0]
            assert sample.value == value, f"{name}: found {found[name]}, expected {value!r}"
            assert type(sample.value) is type(value), f"{name} is a {type(sample.value).__name__}"
            assert sample.status is Status.GOOD
            assert 0 <= rig.now_ns() - sample.received_time_ns < STEP_LIMIT_S * 1e9

    async def test_what_is_bad_has_no_value_and_every_stamp_is_a_time(self, rig: DriverRig) -> None:
        """Each sample as the core takes it: signal, value, status, and times in integer nanoseconds."""
        await rig.start_device()
        async with _opened(rig) as (driver, readings):
            found = await _collect(readings, set(rig.expected) | set(_refused(rig)))
            _check_told(driver, problems=bool(_refused(rig)))
        for sample in (sample for samples in found.values() for sample in samples):
            assert sample.status in set(Status)
            assert sample.status is not Status.BAD or sample.value is None, f"{sample}: BAD carries None"
            assert sample.value is None or isinstance(sample.value, bool | int | float | str)
            assert sample.source_time_ns is None or type(sample.source_time_ns) is int, f"{sample}: source time"
            assert type(sample.received_time_ns) is int

    async def test_a_write_to_an_unknown_signal_is_refused(self, rig: DriverRig) -> None:
        """WriteRefusedError says why, and the link goes on."""
        await rig.start_device()
        async with _opened(rig) as (driver, readings):
            await _collect(readings, set(rig.expected))
            with pytest.raises(WriteRefusedError) as caught:
                await asyncio.wait_for(driver.write(UNKNOWN_SIGNAL, 1), STEP_LIMIT_S)
            assert str(caught.value), "the message says why"
            await asyncio.wait_for(anext(readings), STEP_LIMIT_S)

    async def test_many_links_leave_neither_tasks_nor_file_descriptors(self, rig: DriverRig) -> None:
        """A fresh driver each time, as the supervisor does it."""
        await rig.start_device()
        await _one_link(rig)  # libraries keep what they load at the first one
        before, tasks = _file_descriptors(), asyncio.all_tasks()
        for _ in range(CYCLES):
            await _one_link(rig)
        await _until_only(tasks)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + STEP_LIMIT_S
        # The device's end of a link goes a moment later, and the kernel tells nobody.
        while (after := _file_descriptors()) > before and loop.time() < end_s:  # noqa: ASYNC110 - nothing to wait for
            await asyncio.sleep(0.02)
        assert after <= before, f"{CYCLES} links left {after - before} file descriptors"

    async def test_a_quiet_device_still_gives_signs_of_life(self, rig: DriverRig) -> None:
        """Silence is a lost link, so an idle one must not be silent."""
        await rig.start_device()
        async with _opened(rig) as (_driver, readings):
            await _collect(readings, set(rig.expected))
            for _ in range(2):
                await asyncio.wait_for(anext(readings), STEP_LIMIT_S)

    async def test_a_lost_link_raises_and_a_fresh_driver_reads_again(self, rig: DriverRig) -> None:
        """DriverError, never a plain end; the object is thrown away, the next one works."""
        await rig.start_device()
        async with _opened(rig) as (_driver, readings):
            await _collect(readings, set(rig.expected))
            await rig.stop_device()
            error = await _read_to_the_end(readings)
            assert isinstance(error, DriverError), f"readings() ended with {error!r}"
        await rig.start_device()
        async with _opened(rig) as (driver, readings):
            assert set(await _collect(readings, set(rig.expected))) >= set(rig.expected)
            assert set(driver.problems()) <= set(_refused(rig))

    async def test_cancellation_ends_reading_at_once_and_leaves_no_task(self, rig: DriverRig) -> None:
        """The supervisor has one second to stop a driver."""
        await rig.start_device()
        before = asyncio.all_tasks()
        driver = rig.make()
        await asyncio.wait_for(driver.open(), STEP_LIMIT_S)
        first = asyncio.Event()

        async def read() -> None:
            async for _reading in driver.readings():
                first.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(first.wait(), STEP_LIMIT_S)
        task.cancel()
        assert await _ends(task), "readings() must end when it is cancelled"
        assert task.cancelled()
        closing = asyncio.ensure_future(driver.close())
        assert await _ends(closing), "close() must end"
        closing.result()
        await _until_only(before)


class RefusedSignalContract:
    """One more promise, for a driver whose device can refuse single signals; the rig then has ``expected_bad``."""

    async def test_a_refused_signal_is_bad_once_and_stops_no_other(self, rig: DriverRig) -> None:
        """Delivered as BAD once, named in ``problems()`` with its reason; the others are GOOD."""
        refused = _refused(rig)
        assert refused, "this contract is for a rig with a signal that the device refuses"
        await rig.start_device()
        async with _opened(rig) as (driver, readings):
            found = await _collect(readings, set(rig.expected) | set(refused))
            for name in refused:
                assert [sample.status for sample in found[name]] == [Status.BAD], f"{name} is BAD, told once"
            for name in rig.expected:
                assert found[name][0].status is Status.GOOD, f"{name} has nothing to do with it"
            for name, reason in refused.items():
                assert reason in driver.problems().get(name, ""), f"{name}: {driver.problems()}"
            async with asyncio.timeout(STEP_LIMIT_S):
                for _ in range(3):
                    repeated = [sample for sample in (await anext(readings)).values if sample.signal in refused]
                    assert repeated == [], "what goes on to be bad is not told again"


@asynccontextmanager
async def _opened(rig: DriverRig) -> AsyncIterator[tuple[Driver, AsyncGenerator[Reading, None]]]:
    driver = rig.make()
    try:
        await asyncio.wait_for(driver.open(), STEP_LIMIT_S)
        async with aclosing(cast("AsyncGenerator[Reading, None]", driver.readings())) as readings:
            yield driver, readings
    finally:
        await driver.close()


async def _collect(readings: AsyncIterator[Reading], wanted: set[str]) -> dict[str, list[DataValue]]:
    """Read until each wanted signal came at least once; all samples by signal."""
    found: dict[str, list[DataValue]] = {}
    async with asyncio.timeout(STEP_LIMIT_S):
        while not wanted <= set(found):
            reading = await anext(readings)
            for sample in reading.values:
                found.setdefault(sample.signal, []).append(sample)
    return found


async def _one_link(rig: DriverRig) -> None:
    async with _opened(rig) as (_driver, readings):
        await asyncio.wait_for(anext(readings), STEP_LIMIT_S)


class _StoodStill(threading.Thread):
    """Seconds in which the whole process did not run: a computer that others use is not the driver's doing."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="stood still")
        self._late_s, self._began_s = 0.0, time.monotonic()
        self.ending = threading.Event()
        self.start()

    @property
    def seconds(self) -> float:
        """In all, with those of the beat that is under way."""
        return self._late_s + max(0.0, time.monotonic() - self._began_s - 2 * BEAT_S)

    def run(self) -> None:
        """Until ``ending``."""
        while not self.ending.wait(BEAT_S):
            self._late_s, self._began_s = self.seconds, time.monotonic()


async def _ends(work: asyncio.Future[Any]) -> bool:
    """Whether it ends within ``CANCEL_LIMIT_S``."""
    stood, began_s = _StoodStill(), time.monotonic()
    try:
        while not work.done() and time.monotonic() - began_s - stood.seconds < CANCEL_LIMIT_S:
            await asyncio.wait({work}, timeout=BEAT_S)
    finally:
        stood.ending.set()
    return work.done()


def _refused(rig: DriverRig) -> Mapping[str, str]:
    refused: Mapping[str, str] = getattr(rig, "expected_bad", {})
    return refused


def _check_told(driver: Driver, *, problems: bool) -> None:
    """What a driver tells of itself is text; without trouble there is no problem."""
    for told in (driver.problems(), driver.notices()):
        assert isinstance(told, Mapping)
        assert all(isinstance(key, str) and isinstance(text, str) and text for key, text in told.items())
    assert problems or dict(driver.problems()) == {}


def _file_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def _read_to_the_end(readings: AsyncIterator[Reading]) -> Any:
    async with asyncio.timeout(STEP_LIMIT_S):
        try:
            async for _reading in readings:
                pass
        except DriverError as error:
            return error
    return None


async def _until_only(before: set[asyncio.Task[Any]]) -> None:
    """Wait until no task is left that was not there before."""
    async with asyncio.timeout(STEP_LIMIT_S):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.wait(left, timeout=0.05)
