"""Closes production days: once a day of a work unit is over, and late data had its time to come in.

A day that nobody closed because the gateway did not run is closed at the next start. What a record says is the core's
(``core/closing_record.py``); here the facts are gathered, and the record is told to MQTT. It changes no piece, and
waits for no ERP.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import closing
from buffer.errors import StoreError
from gateway.core.audit.entry import Change, SystemAction
from gateway.core.audit.told import Told
from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.closing_record import ROLES, DayBounds, DayFacts, OpenNow, day_began, day_of
from gateway.core.document import utc
from gateway.core.duration import Duration
from gateway.shown.machine_events import DayEvent
from gateway.timing.clock_quality import BUILT_NS
from gateway.timing.timezone import zone

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.closing import Closed
    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.core.closing_record import Record
    from gateway.core.unit_state import State
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 15.0
#: Days that are closed one by one after a long time off; what is older goes into the first of them.
DAYS_BACK_MAX_NS: Final = Duration("400 d")
#: A last record that ends so much later than now was made under a wrong clock: a new count of days begins.
AHEAD_MAX_NS: Final = Duration("1 d")
TROUBLE: Final = "closing"

log = structlog.get_logger(__name__)


class ClosingRound:
    """One gateway; ``run`` it in a task."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock, parts: Parts, auditing: Auditing) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._auditing = auditing
        self._shown: set[str] = set()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """These settings hold from now on."""
        self._settings = settings
        self._grace_ns = int(settings.buffer.day_grace)
        self._zone = zone(settings.gateway.timezone)
        self._calendars = {name: ShiftCalendar(rule, self._zone) for name, rule in settings.calendars.items()}

    async def run(self) -> None:
        """For ever. Raises StoreError only where a repeat cannot help."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                if not error.temporary:
                    raise
                self._parts.trouble(TROUBLE, f"a production day cannot be closed: {error}")
                log.warning("closing failed, trying again", error=str(error), retry_s=LOOK_EVERY_S)
            else:
                self._parts.trouble(TROUBLE, "")
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> int:
        """Close every day that is due; returns how many. Raises StoreError."""
        if self._clock.utc_now_ns() < BUILT_NS:  # certainly the wrong day: it waits until the date is possible
            return 0
        done = 0
        for name in list(self._parts.runners):
            before = await closing.last(self._store, name)
            if before is not None and name not in self._shown:
                self._show(before.work_unit, json.loads(before.document))
            while name in self._parts.runners and await self._close_next(name):
                done += 1
        return done

    async def _close_next(self, name: str) -> bool:
        before = await closing.last(self._store, name)
        first_ns = await self._first_ns(name) if before is None else before.end_ns
        bounds = None if first_ns is None else self._bounds(name, before, first_ns)
        if first_ns is None or bounds is None or self._clock.utc_now_ns() < bounds.to_ns + self._grace_ns:
            return False
        offset_ns = self._clock.offset_ns
        from_ns, end_ns = (self._steady_ns(utc_ns, first_ns) for utc_ns in (bounds.from_ns, bounds.to_ns))
        if before is not None:
            end_ns = max(end_ns, before.end_ns)
        found = await asyncio.to_thread(closing.day_rows, self._store.path, name, before, from_ns, end_ns)
        facts = DayFacts(
            work_unit=name,
            gateway=self._settings.gateway.id,
            epoch=self._store.epoch,
            number=1 if before is None else before.number + 1,
            previous="" if before is None else before.digest,
            bounds=bounds,
            closed_ns=self._clock.now_ns(),
            utc_offset_ns=offset_ns,
            clock_known=self._clock.quality.known,
            standing=(),
            set_aside=_set_aside(self._store.path, bounds),
            open_now=_open_now(self._parts.runners[name].state),
            **found._asdict(),
        )
        entry = lambda record: self._auditing.content(_told(facts, record))  # noqa: E731 - it needs the record's digest
        record = await closing.keep(self._store, closing.Keeping(facts, end_ns, closing.carried(before), entry))
        log.info(
            "day closed", work_unit=name, day=bounds.day, complete=record.complete, why=",".join(record.incomplete)
        )
        self._show(name, json.loads(record.document))
        if self._parts.monitor is not None:
            told = DayEvent(work_unit=name, summary=summary(json.loads(record.document)))
            self._parts.monitor.machine_event(told)
        return True

    async def _first_ns(self, name: str) -> int | None:
        """When its journal begins, None where it is empty."""
        rows = await self._store.read(_FIRST, (name,))
        return int(rows[0][0]) if rows else None

    def _steady_ns(self, utc_ns: int, first_ns: int) -> int:
        """When it was this UTC, as it is known now of each time: setting the clock moves no row to another day.

        Before ``first_ns`` it is as if the clock had never been set.
        """
        clock = self._clock
        low_ns, high_ns = first_ns, max(clock.now_ns(), first_ns)
        if clock.utc_ns(low_ns) >= utc_ns:
            return low_ns - (clock.utc_ns(low_ns) - utc_ns)
        if clock.utc_ns(high_ns) < utc_ns:
            return high_ns + utc_ns - clock.utc_ns(high_ns)
        while high_ns - low_ns > 1:
            middle_ns = (low_ns + high_ns) // 2
            if clock.utc_ns(middle_ns) >= utc_ns:
                high_ns = middle_ns
            else:
                low_ns = middle_ns
        return high_ns

    def _bounds(self, name: str, before: Closed | None, first_ns: int) -> DayBounds | None:
        """The day to be closed next, None for a machine that is no longer configured."""
        now_ns, rules = self._clock.utc_now_ns(), self._settings.work_units.get(name)
        if rules is None:
            return None
        calendar = None if rules.calendar is None else self._calendars[rules.calendar]
        if before is not None and before.to_ns <= now_ns + AHEAD_MAX_NS:
            return day_of(calendar, self._zone, max(before.to_ns, now_ns - DAYS_BACK_MAX_NS))
        if before is not None:
            return day_began(calendar, self._zone, now_ns)
        return day_began(calendar, self._zone, min(max(self._clock.utc_ns(first_ns), 0), now_ns))

    def _show(self, name: str, document: dict[str, Any]) -> None:
        self._shown.add(name)
        if self._parts.monitor is not None:
            self._parts.monitor.day_closed(name, summary(document))


_FIRST: Final = "SELECT at_ns FROM journal WHERE work_unit = ? ORDER BY seq LIMIT 1"


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """A record in short."""
    names = ("number", "production_day", "from", "to", "closed_at", "complete", "incomplete", "digest")
    shown = {name: document[name] for name in names}
    confirmed = [one["confirmed"]["confirmations"] for one in document["operations"]]
    return {
        **shown,
        "first": document["journal"]["first"],
        "last": document["journal"]["last"],
        "good": sum(one["counted"]["good"] for one in document["operations"]) + document["unallocated"]["good"],
        "confirmations": sum(confirmed),
    }


def _told(facts: DayFacts, record: Record) -> Told:
    said = f"not complete: {', '.join(record.incomplete)}" if record.incomplete else "complete"
    return Told(
        SystemAction.DAY_CLOSED.value,
        "work_unit",
        facts.work_unit,
        Change.CREATE.value,
        field=facts.bounds.day,
        new=record.digest,
        detail=f"record {facts.number}, up to {utc(facts.bounds.to_ns)}: {said}",
    )


def _open_now(state: State) -> OpenNow:
    runs = {run.job.key: run.open_pieces + run.open_test for run in state.all_runs() if run.anything_open}
    unallocated = {role: getattr(state.unallocated, role) for role in ROLES}
    return OpenNow(unallocated, state.review, tuple((*key, pieces) for key, pieces in sorted(runs.items())))


def _set_aside(path: Path, bounds: DayBounds) -> tuple[str, ...]:
    """Databases that were put away in the day, by when their names were given."""
    found = []
    for one in path.parent.glob(f"{path.name}.*-*"):
        stamp = one.name.rpartition("-")[2]
        if stamp.isdecimal() and bounds.from_ns <= int(stamp) < bounds.to_ns:
            found.append(one.name)
    return tuple(sorted(found))
