"""What a plugin's own tests subclass: the contract of a driver as test methods.

Needs pytest and pytest-asyncio (``asyncio_mode = "auto"``), which the daemon never imports.

    class TestMyDriver(DriverContract):
        @pytest.fixture
        async def rig(self): ...   # yields an object of the shape of DriverRig
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from drivers.base import DriverError
from gateway.core.model import DataValue, Scalar, Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from drivers.base import Driver, Reading

#: A driver that needs longer for one step of the contract, on a local link, has failed it.
STEP_LIMIT_S: Final = 8.0
#: Cancellation must end a driver's work within this.
CANCEL_LIMIT_S: Final = 1.0


class DriverRig(Protocol):
    """A driver with the device it reads, for the contract suite.

    Attributes:
        expected: the device's values at the start, by full signal name; all of them are rule signals.
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
        """No I/O before ``open``; ``problems`` and ``close`` work at any time."""
        driver = rig.make()
        assert dict(driver.problems()) == {}
        await driver.close()
        assert dict(driver.problems()) == {}

    async def test_an_unreachable_device_is_a_driver_error_and_leaves_no_task(self, rig: DriverRig) -> None:
        """``open`` raises DriverError or waits; both end at once on ``close`` or cancellation."""
        before = asyncio.all_tasks()
        driver = rig.make()
        opening = asyncio.ensure_future(driver.open())
        await asyncio.wait({opening}, timeout=CANCEL_LIMIT_S)
        if opening.done():
            error = opening.exception()
            assert isinstance(error, DriverError), f"open() ended with {error!r}"
            assert str(error), "the message says what to do"
        else:
            opening.cancel()
            await asyncio.wait({opening}, timeout=CANCEL_LIMIT_S)
            assert opening.cancelled(), "open() must end when it is cancelled"
        await driver.close()
        await _until_only(before)

    async def test_every_rule_signal_arrives_good_and_exact(self, rig: DriverRig) -> None:
        """Values, types, names, status and time of arrival."""
        await rig.start_device()
        async with _opened(rig) as (_driver, readings):
            found = await _collect(readings, set(rig.expected))
        for name, value in rig.expected.items():
            sample = found[name]
            assert sample.value == value
            assert type(sample.value) is type(value), f"{name} is a {type(sample.value).__name__}"
            assert sample.status is Status.GOOD
            assert 0 <= rig.now_ns() - sample.received_time_ns < STEP_LIMIT_S * 1e9

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
            assert dict(driver.problems()) == {}

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
        done, _pending = await asyncio.wait({task}, timeout=CANCEL_LIMIT_S)
        assert done, "readings() must end when it is cancelled"
        assert task.cancelled()
        await asyncio.wait_for(driver.close(), CANCEL_LIMIT_S)
        await _until_only(before)


@asynccontextmanager
async def _opened(rig: DriverRig) -> AsyncIterator[tuple[Driver, AsyncGenerator[Reading, None]]]:
    driver = rig.make()
    try:
        await asyncio.wait_for(driver.open(), STEP_LIMIT_S)
        async with aclosing(cast("AsyncGenerator[Reading, None]", driver.readings())) as readings:
            yield driver, readings
    finally:
        await driver.close()


async def _collect(readings: AsyncIterator[Reading], wanted: set[str]) -> dict[str, DataValue]:
    """Read until each wanted signal came at least once; its first sample."""
    found: dict[str, DataValue] = {}
    async with asyncio.timeout(STEP_LIMIT_S):
        while not wanted <= set(found):
            reading = await anext(readings)
            for sample in reading.values:
                found.setdefault(sample.signal, sample)
    return found


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
