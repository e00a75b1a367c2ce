"""Keeps one source alive: connects, hands readings over, tells the core of a loss, backs off, starts afresh.

Does not know any protocol, and does not judge values: it only knows readings, silence and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Final, Literal

import structlog

from drivers.asking import Questions
from drivers.base import DriverError, Reading, WriteRefusedError
from drivers.status import OF_THE_DRIVER, SourceStatus, carries_values, described, good_value_ns, looked_at
from gateway.core.duration import NS_PER_S, Duration, seconds
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from drivers.base import Driver
    from gateway.core.model import Scalar

#: Connecting, subscribing and the first answer of a slow PLC; longer is a failed attempt.
OPEN_TIMEOUT_S: Final = 15.0
#: How long a driver gets to react to a cancellation, and then to close. Together under one second.
CANCEL_GRACE_S: Final = 0.4
CLOSE_TIMEOUT_S: Final = 0.5
#: The first wait after a loss is drawn from 0 to this; it doubles up to the source's limit.
BACKOFF_FIRST_S: Final = 1.0
#: A link that held this long was healthy: the next loss starts with the first wait again.
HEALTHY_AFTER_S: Final = 10.0
#: A loss is logged at once, its repeats this often, with their number.
LOG_REPEATS_EVERY_S: Final = 30.0
#: Problems of single signals, and notices, are looked at this often, when readings come.
PROBLEMS_EVERY_S: Final = 1.0
#: A write that is not confirmed by then is given up: nobody knows whether it took place.
WRITE_TIMEOUT_S: Final = 10.0

log = structlog.get_logger(__name__)


class DeliveryError(Exception):
    """The receiver of the readings failed: that is not the source's fault and ends the supervisor."""


class SourceSupervisor:
    """One source, for ever: ``run()`` ends only by cancellation, or when ``deliver`` raises.

    ``make_driver`` gives a fresh driver per attempt. ``rule_signals`` are full names (``source.name``); all of
    them are delivered as BAD once per loss, if anything was delivered before. ``deliver`` is awaited: its pace is
    the driver's. ``stale_after_ns`` without a reading is a loss, and so is ``values_stale_after_ns`` (None: never)
    without a value that is not bad, whatever signs of life come; time spent in ``deliver`` does not count.
    ``backoff_max_ns`` bounds the wait between attempts (full jitter from ``rng``). ``remembered`` are signals (full
    names) whose last value ``last_value`` tells. ``on_status`` hears every change of state, error, problems or
    notices, but not every value; it must not raise.
    """

    def __init__(
        self,
        *,
        name: str,
        make_driver: Callable[[], Driver],
        rule_signals: tuple[str, ...],
        now_ns: Callable[[], int],
        deliver: Callable[[Reading], Awaitable[None]],
        stale_after_ns: int,
        backoff_max_ns: int,
        rng: Random,
        on_status: Callable[[SourceStatus], None] | None = None,
        simulated: bool = False,
        values_stale_after_ns: int | None = None,
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        self._name = name
        self._make_driver = make_driver
        self._rule_signals = rule_signals
        self._now_ns = now_ns
        self._deliver = deliver
        self._stale_after_ns = stale_after_ns
        self._values_stale_after_ns = values_stale_after_ns
        self._remembered = remembered
        self._backoff_max_s = seconds(backoff_max_ns)
        self._rng = rng
        self._on_status = on_status
        self._simulated = simulated
        self._state: Literal["connecting", "up", "down"] = "connecting"
        self._since_ns = now_ns()
        self._last_value_ns: int | None = None
        self._last_error = ""
        self._next_retry_ns: int | None = None
        self._times_up = 0
        self._problems: Mapping[str, str] = {}
        self._notices: Mapping[str, str] = {}
        self._values: dict[str, Scalar] = {}  # of the remembered signals
        self._failures = 0  # attempts since the link was last healthy
        self._core_knows = False  # good values were delivered since the last BAD
        self._up_since_s = 0.0  # loop time
        self._silent_from_s: float | None = None  # loop time; None while the receiver is busy
        self._valueless_from_s = 0.0  # loop time
        self._driver: Driver | None = None  # while it reads
        self._questions = Questions()
        self._one_write = asyncio.Lock()
        self._write_task: asyncio.Task[None] | None = None
        self._reading_task: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[None]] = set()  # hung in spite of cancellation
        self._logged_at_s: float | None = None
        self._unlogged = 0

    @property
    def status(self) -> SourceStatus:
        """The status as of now; cheap enough to poll."""
        return SourceStatus(
            name=self._name,
            state=self._state,
            since_ns=self._since_ns,
            last_value_ns=self._last_value_ns,
            last_error=self._last_error,
            next_retry_ns=self._next_retry_ns,
            reconnects=max(0, self._times_up - 1),
            failures=self._failures,
            problems=self._problems,
            notices=self._notices,
            simulated=self._simulated,
        )

    async def run(self) -> None:
        """Keep the source alive until cancelled; a driver that hangs then delays it by one second at most."""
        self._announce()
        while True:
            failure = await self._live_once()
            self._log_loss(failure)
            wait_s = self._rng.uniform(0.0, self._backoff_ceiling_s())
            self._failures += 1
            self._next_retry_ns = self._now_ns() + int(wait_s * NS_PER_S)
            self._announce()
            await asyncio.sleep(wait_s)
            self._next_retry_ns = None

    def last_value(self, signal: str) -> Scalar:
        """The last value of a remembered signal (full name), None where none came since the link is up."""
        return self._values.get(signal)

    async def read_now(self, signals: frozenset[str], timeout_s: float) -> bool:
        """Have signals (names without the source) read out of turn; whether that was handed over in time."""
        try:
            return await self._questions.ask(self._driver if self._state == "up" else None, signals, timeout_s)
        except Exception as error:  # noqa: BLE001 - the supervisor of sources: a defect of a driver stops no decision
            log.warning("source cannot be read now", source=self._name, error=described(error))
            return False

    async def write(self, signal: str, value: Scalar) -> None:
        """Write one signal (its name without the source); writes take place one after the other.

        Raises WriteRefusedError where surely nothing was written (source not up, device refuses), DriverError where
        nobody knows.
        """
        async with self._one_write:
            driver = self._driver
            if driver is None or self._state != "up":
                raise WriteRefusedError(f"source {self._name} is not up: {self._last_error or 'no value came yet'}")
            task = self._write_task = asyncio.create_task(_called(driver.write, signal, value))
            try:
                await asyncio.wait({task}, timeout=WRITE_TIMEOUT_S)
            finally:
                self._write_task = None
                finished = task.done()
                await self._stop(task)
        if not task.done() or (task.cancelled() and not finished):
            raise DriverError(f"not confirmed within {WRITE_TIMEOUT_S:g} s; read the value back")
        if task.cancelled():
            raise DriverError("the link was lost meanwhile; read the value back")
        error = task.exception()
        if isinstance(error, WriteRefusedError | DriverError):
            raise error
        if error is not None:
            raise DriverError(f"the driver failed at it ({described(error)}); read the value back") from error

    async def _live_once(self) -> str:
        """One driver object from birth to end; returns why it ended."""
        try:
            driver = self._make_driver()
        except Exception as error:  # noqa: BLE001 - the supervisor of sources: any defect of a driver is a lost source
            failure = described(error)
            self._set_down(failure)
            return failure
        task = asyncio.create_task(_called(driver.open), name=f"{self._name}: open")
        try:
            failure = await self._opened(task)
            if not failure:
                task = self._reading_task = asyncio.create_task(self._read(driver), name=f"{self._name}: read")
                self._silent_from_s = self._valueless_from_s = asyncio.get_running_loop().time()
                self._driver = driver
                failure = await self._ended(task)
                self._reading_task = self._driver = None
            await self._stop(task)
            self._set_down(failure)
            await self._tell_bad()
        finally:
            self._reading_task = self._driver = None
            await self._stop(task, self._write_task)  # nothing is written once the driver closes
            await self._close(driver)
        return failure

    async def _opened(self, task: asyncio.Task[None]) -> str:
        """Wait for ``open()``; the reason of its failure, or an empty text."""
        await asyncio.wait({task}, timeout=OPEN_TIMEOUT_S)
        if not task.done():
            return f"no connection within {OPEN_TIMEOUT_S:g} s; check that the device is reachable"
        return _outcome(task)

    async def _ended(self, task: asyncio.Task[None]) -> str:
        """Wait until reading ends or falls silent; returns why."""
        while True:
            left, reason = self._silence_left()
            if left <= 0:
                return reason
            await asyncio.wait({task}, timeout=left)
            if task.done():
                return _outcome(task) or "the driver stopped reading without an error"

    def _silence_left(self) -> tuple[float, str]:
        """Seconds until the link is to be taken for lost, and why it then is."""
        silent, valueless = self._stale_after_ns, self._values_stale_after_ns
        if self._silent_from_s is None:
            return seconds(min(silent, valueless or silent)), ""
        now_s = asyncio.get_running_loop().time()
        left = self._silent_from_s + seconds(silent) - now_s
        if valueless is not None and self._valueless_from_s + seconds(valueless) - now_s < left:
            left = self._valueless_from_s + seconds(valueless) - now_s
            return left, f"no value for {Duration(valueless)}, only signs of life; the link is taken for lost"
        return left, f"nothing heard for {Duration(silent)}; the link is taken for lost"

    async def _read(self, driver: Driver) -> None:
        loop = asyncio.get_running_loop()
        this_task = asyncio.current_task()
        problems_due_s = 0.0
        readings = driver.readings()
        try:
            async for reading in readings:
                if self._reading_task is not this_task:
                    return  # given up on meanwhile: a late value must not follow the BAD one
                self._silent_from_s = None
                fresh = self._values_stale_after_ns is not None and carries_values(reading)
                await self._hand_over(reading)
                self._questions.heard(reading)
                now_s = self._silent_from_s = loop.time()
                if fresh:
                    self._valueless_from_s = now_s
                if now_s >= problems_due_s:
                    problems_due_s = now_s + PROBLEMS_EVERY_S
                    self._look_at(driver)
        finally:
            if isinstance(readings, AsyncGenerator):
                await readings.aclose()

    async def _hand_over(self, reading: Reading) -> None:
        if self._state != "up":
            self._set_up()
        if reading.values:
            self._core_knows = True
        self._last_value_ns = good_value_ns(reading) or self._last_value_ns
        if self._remembered:
            self._remember(reading)
        try:
            await self._deliver(reading)
        except Exception as error:
            raise DeliveryError from error

    async def _tell_bad(self) -> None:
        if not self._core_knows:
            return
        self._core_knows = False
        now_ns = self._now_ns()
        await self._deliver(
            Reading(values=tuple(DataValue(name, None, Status.BAD, None, now_ns) for name in self._rule_signals))
        )

    def _remember(self, reading: Reading) -> None:
        told = {value.signal: value.value for value in reading.values}
        for block in reading.blocks:
            told.update(zip(block.names, block.values, strict=False))
        self._values.update({name: told[name] for name in self._remembered & told.keys()})

    def _look_at(self, driver: Driver) -> None:
        problems, notices = looked_at(driver)
        if self._abandoned:
            hung = f"{len(self._abandoned)} earlier calls of the driver hang in spite of being cancelled"
            notices = {**notices, OF_THE_DRIVER: f"{hung}; report it to its author"}
        if problems != self._problems or notices != self._notices:
            self._problems, self._notices = problems, notices
            self._announce()

    def _set_up(self) -> None:
        self._state = "up"
        self._since_ns = self._now_ns()
        self._up_since_s = asyncio.get_running_loop().time()
        self._times_up += 1
        log.info("source.up", source=self._name, reconnects=self._times_up - 1)
        self._announce()

    def _set_down(self, failure: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._state == "up" and now_s - self._up_since_s >= HEALTHY_AFTER_S:
            self._failures = 0
        if self._state != "down":
            self._state = "down"
            self._since_ns = self._now_ns()
        self._last_error = failure
        self._problems, self._notices = {}, {}
        self._values.clear()
        self._questions.lost()
        for hung in self._abandoned:
            hung.cancel()  # perhaps it listens by now
        self._announce()

    def _announce(self) -> None:
        if self._on_status is not None:
            self._on_status(self.status)

    def _backoff_ceiling_s(self) -> float:
        doublings = min(self._failures, 30)  # 2**30 s is beyond any limit; the power must not grow for ever
        return min(self._backoff_max_s, BACKOFF_FIRST_S * 2.0**doublings)

    def _log_loss(self, failure: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._logged_at_s is not None and now_s - self._logged_at_s < LOG_REPEATS_EVERY_S:
            self._unlogged += 1
            return
        log.warning("source.lost", source=self._name, error=failure, repeats=self._unlogged)
        self._logged_at_s = now_s
        self._unlogged = 0

    async def _stop(self, *tasks: asyncio.Task[None] | None) -> None:
        """Cancel what still runs; a task that ignores it is left behind, so that it cannot block anyone."""
        given = [task for task in tasks if task is not None]
        running = [task for task in given if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_GRACE_S)
        for task in given:
            self._let_go(task)

    async def _close(self, driver: Driver) -> None:
        task = asyncio.create_task(_called(driver.close), name=f"{self._name}: close")
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
        if not task.done():
            task.cancel()
        elif not task.cancelled() and task.exception() is not None:
            log.warning("source.close_failed", source=self._name, error=described(task.exception()))
        self._let_go(task)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        if task.done():
            _retrieve(task)
            return
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.add_done_callback(_retrieve)


async def _called(method: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Call inside of a task, so that whatever a driver does there is the task's failure and nobody else's."""
    await method(*arguments)


def _outcome(task: asyncio.Task[None]) -> str:
    """Why a finished task failed, or an empty text. Raises what is not the source's fault."""
    if task.cancelled():
        return "the driver cancelled itself"
    error = task.exception()
    if error is None:
        return ""
    if isinstance(error, DeliveryError) and error.__cause__ is not None:
        raise error.__cause__
    if not isinstance(error, Exception):
        raise error
    return described(error)


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
