"""Watches the clock and the calendars: what was learned of UTC is kept and told, each machine knows its hours ahead.

Decides nothing about time: ``timing/clock.py`` does, ``core/calendar`` knows shifts. A disk that fails has it wait,
never the counting.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from buffer import clock_record
from buffer.errors import StoreError
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.told import Told
from gateway.core.calendar.honest_time import CorrectionReason
from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.duration import Duration, seconds
from gateway.core.model import CalendarPlan, ClockTold
from gateway.core.state.planned_time import plan_of
from gateway.timing.clock_quality import BUILT_NS
from gateway.timing.timezone import zone

if TYPE_CHECKING:
    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.core.calendar.honest_time import ClockCorrection
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock
    from gateway.work_unit.runner import Runner

#: How often the wall clock is looked at.
CHECK_EVERY_NS: Final = Duration("2 s")
#: Plans reach this far ahead, and are made anew this often.
PLAN_AHEAD_NS: Final = Duration("48 h")
PLAN_EVERY_NS: Final = Duration("1 h")

#: What an auditor hears of: a start has an entry of its own.
_STEPS: Final = frozenset({CorrectionReason.LEARNED, CorrectionReason.STEPPED})

log = structlog.get_logger(__name__)


class Timekeeper:
    """One clock, one store, and the work units that are told."""

    def __init__(
        self,
        clock: SteadyClock,
        store: Store,
        parts: Parts,
        settings: Settings,
        auditing: Auditing | None = None,
    ) -> None:
        self._auditing = auditing
        self._clock = clock
        self._store = store
        self._parts = parts
        self._unsaved: list[ClockCorrection] = []
        self._told: dict[str, tuple[Runner, int, bool]] = {}
        self._planned: dict[str, tuple[Runner, ShiftCalendar, int, int]] = {}
        self._configured = asyncio.Event()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take these settings; every work unit hears of its hours at once, as they are now."""
        self._units = {name: rules.calendar for name, rules in settings.work_units.items()}
        where = zone(settings.gateway.timezone)
        self._calendars = {name: ShiftCalendar(rule, where) for name, rule in settings.calendars.items()}
        self._configured.set()

    async def start(self) -> None:
        """Keep what this run begins with, and say how long nothing was seen. Raises StoreError."""
        outage = self._clock.outage()
        if outage is not None:
            length_ns = outage.length_ns
            log.info(
                "nothing was seen since the last run", for_s="unknown" if length_ns is None else length_ns // 10**9
            )
        self._unsaved = list(self._clock.corrections)
        await self._save()

    async def run(self) -> None:
        """For ever. Raises StoreError only where a repeat cannot help."""
        while True:
            self._configured.clear()
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds(CHECK_EVERY_NS)):
                    await self._configured.wait()

    async def look(self) -> None:
        """Look at the clock once, keep what was learned, and tell every work unit what it does not know yet."""
        before = self._clock.quality
        learned = self._clock.check()
        quality = self._clock.quality
        if learned is None and quality.known is not before.known:
            log.warning("clock", quality=quality.name.lower())
        if self._parts.monitor is not None and (learned is not None or quality is not before):
            self._parts.monitor.clock_changed()
        if learned is not None:
            log.warning(
                "clock corrected",
                reason=learned.reason.value,
                quality=learned.quality.name.lower(),
                by_s=round((learned.offset_ns - learned.previous_offset_ns) / 1e9, 3),
            )
            self._unsaved.append(learned)
        try:
            await self._save()
        except StoreError as error:
            if not error.temporary:
                raise
            self._parts.trouble("clock", f"what was learned of the time cannot be kept: {error}")
        else:
            self._parts.trouble("clock", "")
        await self._tell()

    async def _save(self) -> None:
        if self._unsaved:
            kept = tuple(self._unsaved)
            audit = (
                [self._auditing.content(_told(one)) for one in kept if one.reason in _STEPS] if self._auditing else []
            )
            await clock_record.save(self._store, self._clock.record(), kept, audit)
            del self._unsaved[: len(kept)]

    async def _tell(self) -> None:
        """What differs from what a work unit was told last. One that waits for its disk does not keep the others."""
        now_ns, offset_ns, known = self._clock.now_ns(), self._clock.offset_ns, self._clock.quality.known
        waiting = []
        for name, runner in self._parts.runners.items():
            if self._told.get(name) != (runner, offset_ns, known):
                self._told[name] = (runner, offset_ns, known)
                if (runner.state.utc_offset_ns, runner.state.clocks.known) != (offset_ns, known):
                    waiting.append(runner.submit(ClockTold(now_ns, offset_ns, known)))
            plan = self._plan(name, runner, now_ns, offset_ns)
            if plan is not None:
                waiting.append(runner.submit(plan))
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(failed, StoreError):
                raise failed
            if isinstance(failed, Exception):  # the runner told it already, as a defect
                log.error("a work unit did not take the time", error=repr(failed))

    def _plan(self, name: str, runner: Runner, now_ns: int, offset_ns: int) -> CalendarPlan | None:
        """The hours ahead of a work unit, None where it knows them, or where the date is certainly wrong."""
        wanted = self._units.get(name)
        if wanted is None or now_ns + offset_ns < BUILT_NS:
            return None
        calendar, known = self._calendars[wanted], self._planned.get(name)
        if known is not None and known[:3] == (runner, calendar, offset_ns) and now_ns - known[3] < PLAN_EVERY_NS:
            return None
        self._planned[name] = (runner, calendar, offset_ns, now_ns)
        return plan_of(calendar, now_ns, offset_ns, PLAN_AHEAD_NS)


def _told(learned: ClockCorrection) -> Told:
    return Told(
        SystemAction.CLOCK_STEPPED.value,
        "clock",
        "",
        field="utc_offset_ns",
        old=str(learned.previous_offset_ns),
        new=str(learned.offset_ns),
        detail=f"{learned.reason.value}, {learned.quality.name.lower()}, holds from {learned.from_ns} on",
    )
