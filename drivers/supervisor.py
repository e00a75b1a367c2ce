"""Keeps one source alive: connects, hands readings over, tells the core of a loss, backs off, starts afresh.

Does not know any protocol, and does not judge values: it only knows readings, silence and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from drivers.base import DriverError, Reading
from gateway.core.duration import NS_PER_S, Duration, seconds
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from random import Random

    from drivers.base import Driver

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
#: Problems of single signals are looked at this often, when readings come.
PROBLEMS_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What a person may know of a source.

    Attributes:
        name: name of the source.
        state: ``connecting``: the first attempt is under way; ``up``: readings come; ``down``: lost, or never
            reached.
        since_ns: when this state began.
        last_value_ns: when the last value arrived, None before the first.
        last_error: why it was lost last, with what to do; empty if it never was.
        next_retry_ns: when the next attempt starts; None while one is under way.
        reconnects: how often it came up again.
        problems: signals (``source.name``) that cannot be read now, each with its reason.
        simulated: the values come from a simulation, not from a machine.
    """

    name: str
    state: Literal["connecting", "up", "down"]
    since_ns: int
    last_value_ns: int | None = None
    last_error: str = ""
    next_retry_ns: int | None = None
    reconnects: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False


class DeliveryError(Exception):
    """The receiver of the readings failed: that is not the source's fault and ends the supervisor."""


class SourceSupervisor:
    """One source, for ever: ``run()`` ends only by cancellation, or when ``deliver`` raises.

    ``make_driver`` gives a fresh driver per attempt. ``rule_signals`` are full names (``source.name``); all of
    them are delivered as BAD once per loss, if anything was delivered before. ``deliver`` is awaited: its pace is
    the driver's. ``stale_after_ns`` without a reading is a loss; time spent in ``deliver`` does not count.
    ``backoff_max_ns`` bounds the wait between attempts (full jitter from ``rng``). ``on_status`` hears every
    change of state, error or problems, but not every value; it must not raise.
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
    ) -> None:
        self._name = name
        self._make_driver = make_driver
        self._rule_signals = rule_signals
        self._now_ns = now_ns
        self._deliver = deliver
        self._stale_after_ns = stale_after_ns
        self._stale_after_s = seconds(stale_after_ns)
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
        self._failures = 0  # attempts since the link was last healthy
        self._core_knows = False  # good values were delivered since the last BAD
        self._up_since_s = 0.0  # loop time
        self._silent_from_s: float | None = None  # loop time; None while the receiver is busy
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
            problems=self._problems,
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

    async def _live_once(self) -> str:
        """One driver object from birth to end; returns why it ended."""
        try:
            driver = self._make_driver()
        except Exception as error:  # noqa: BLE001 - the supervisor of sources: any defect of a driver is a lost source
            failure = _described(error)
            self._set_down(failure)
            return failure
        task = asyncio.create_task(driver.open(), name=f"{self._name}: open")
        try:
            failure = await self._opened(task)
            if not failure:
                task = self._reading_task = asyncio.create_task(self._read(driver), name=f"{self._name}: read")
                self._silent_from_s = asyncio.get_running_loop().time()
                failure = await self._ended(task)
                self._reading_task = None
            await self._stop(task)
            self._set_down(failure)
            await self._tell_bad()
        finally:
            self._reading_task = None
            await self._stop(task)
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
        loop = asyncio.get_running_loop()
        while True:
            since = self._silent_from_s
            left = self._stale_after_s if since is None else since + self._stale_after_s - loop.time()
            if left <= 0:
                return f"nothing heard for {Duration(self._stale_after_ns)}; the link is taken for lost"
            await asyncio.wait({task}, timeout=left)
            if task.done():
                return _outcome(task) or "the driver stopped reading without an error"

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
                await self._hand_over(reading)
                now_s = self._silent_from_s = loop.time()
                if now_s >= problems_due_s:
                    problems_due_s = now_s + PROBLEMS_EVERY_S
                    self._look_at_problems(driver)
        finally:
            if isinstance(readings, AsyncGenerator):
                await readings.aclose()

    async def _hand_over(self, reading: Reading) -> None:
        if self._state != "up":
            self._set_up()
        if reading.values:
            self._core_knows = True
            self._last_value_ns = reading.values[-1].received_time_ns
        elif reading.blocks:
            self._last_value_ns = reading.blocks[-1].time_ns
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

    def _look_at_problems(self, driver: Driver) -> None:
        problems = dict(driver.problems())
        if problems != self._problems:
            self._problems = problems
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
        self._problems = {}
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

    async def _stop(self, task: asyncio.Task[None]) -> None:
        """Cancel what still runs; a task that ignores it is left behind, so that it cannot block anyone."""
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        self._let_go(task)

    async def _close(self, driver: Driver) -> None:
        task = asyncio.create_task(_as_coroutine(driver.close()), name=f"{self._name}: close")
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
        if not task.done():
            task.cancel()
        elif not task.cancelled() and task.exception() is not None:
            log.warning("source.close_failed", source=self._name, error=_described(task.exception()))
        self._let_go(task)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        if task.done():
            _retrieve(task)
            return
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.add_done_callback(_retrieve)


async def _as_coroutine(awaitable: Coroutine[Any, Any, None]) -> None:
    await awaitable


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
    return _described(error)


def _described(error: BaseException | None) -> str:
    """A driver's own words; anything else with its type, because nobody wrote it for a reader."""
    if isinstance(error, DriverError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
