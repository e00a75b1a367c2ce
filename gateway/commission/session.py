"""Opens the driver of one source without the daemon and hands on what it reads. Judges and keeps nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from drivers.base import DriverContext, DriverError
from gateway.core.duration import NS_PER_S, seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from drivers.base import Driver, Reading
    from gateway.commission.target import Target
    from gateway.core.model import DataValue

#: Connecting, subscribing and the first answer of a slow PLC.
OPEN_TIMEOUT_S: Final = 15.0
#: A driver that does not close in time is left: the process ends soon.
CLOSE_TIMEOUT_S: Final = 2.0
#: One reading of everything may take this, or three of the source's cycles where that is longer.
READ_TIMEOUT_NS: Final = 5 * NS_PER_S
READ_CYCLES: Final = 3
#: Work that does not end when it is told to is told again after this.
CANCEL_AGAIN_S: Final = 0.2
#: A lost link is tried again after this.
RETRY_S: Final = 1.0

_T = TypeVar("_T")


class Snapshot(NamedTuple):
    """What one look at a source found: values by full name, and what its driver says about them."""

    values: dict[str, DataValue]
    problems: Mapping[str, str]
    notices: Mapping[str, str]


@contextlib.asynccontextmanager
async def opened(target: Target, now_ns: Callable[[], int]) -> AsyncIterator[Driver]:
    """The driver, connected; closed at the end. Raises DriverError."""
    context = DriverContext(
        source=target.source,
        now_ns=now_ns,
        rule_signals=frozenset(target.wanted),
        telemetry_signals=frozenset(),
        state_dir=target.state_dir,
        base_dir=target.base_dir,
        secrets=target.secrets,
    )
    driver = target.driver_type.build(target.settings, context)
    try:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await driver.open()
        except TimeoutError as error:
            raise DriverError(
                f"{target.where}: not ready within {OPEN_TIMEOUT_S:g} s; is the device (or its simulator) on?"
            ) from error
        yield driver
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await driver.close()


async def read_once(target: Target, now_ns: Callable[[], int]) -> Snapshot:
    """One value of every wanted signal, or its problem; stops at a time limit. Raises DriverError."""
    cycle_ns = target.driver_type.cycle_ns(target.settings)
    missing = {f"{target.source}.{name}" for name in target.wanted}
    values: dict[str, DataValue] = {}
    async with opened(target, now_ns) as driver, contextlib.aclosing(_closing(driver)) as readings:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds(max(READ_TIMEOUT_NS, READ_CYCLES * cycle_ns))):
                async for reading in readings:
                    for value in reading.values:
                        values[value.signal] = value
                        missing.discard(value.signal)
                    if not missing:
                        break
        return Snapshot(values, dict(driver.problems()), dict(driver.notices()))


async def follow(
    target: Target,
    now_ns: Callable[[], int],
    on_reading: Callable[[Reading, Driver], None],
    on_lost: Callable[[str], None],
) -> None:
    """Hand on every reading for ever, through losses of the link. Raises DriverError where nothing ever comes."""
    came = False
    while True:
        try:
            async with opened(target, now_ns) as driver, contextlib.aclosing(_closing(driver)) as readings:
                async for reading in readings:
                    came = True
                    on_reading(reading, driver)
        except DriverError as error:
            if not came:
                raise
            on_lost(str(error))
        await asyncio.sleep(RETRY_S)


async def _closing(driver: Driver) -> AsyncGenerator[Reading, None]:
    # A driver promises an iterator only; where it is a generator, it is to end here and not when it is forgotten.
    readings = driver.readings()
    try:
        async for reading in readings:
            yield reading
    finally:
        if isinstance(readings, AsyncGenerator):
            await readings.aclose()


def run_until_stopped(work: Coroutine[Any, Any, _T], *, limit_s: float | None = None) -> _T | None:
    """Run the work; None where Ctrl-C, SIGTERM or the time limit ended it first. Raises what the work raises."""
    return asyncio.run(_until_stopped(work, limit_s))


async def _until_stopped(work: Coroutine[Any, Any, _T], limit_s: float | None) -> _T | None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        while not task.done():
            # More than once: asyncio.wait_for (3.11) loses a cancellation that comes together with the result.
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
        return None if task.cancelled() else task.result()
    finally:
        stopping.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
