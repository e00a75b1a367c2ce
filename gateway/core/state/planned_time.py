"""What the shift calendar says of the hours ahead, as it is handed to a machine's state. Asks no calendar itself.

Instants are steady time: whoever makes a plan maps the calendar's UTC with the clock's offset, and hands over a new one
when that offset changes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gateway.core.calendar.shift_calendar import TimeKind
from gateway.core.model import CalendarPlan, MachineState, PlannedTime

if TYPE_CHECKING:
    from gateway.core.calendar.shift_calendar import CalendarSpan, ShiftCalendar

#: Stretches of one plan: two days with three shifts of several breaks each are fewer.
PLAN_ENTRIES_MAX: Final = 64

_PLANNED: Final = {
    TimeKind.SCHEDULED: None,
    TimeKind.BREAK: MachineState.PLANNED_STOP,
    TimeKind.NOT_SCHEDULED: MachineState.NOT_SCHEDULED,
}


def plan_of(calendar: ShiftCalendar, at_ns: int, offset_ns: int, ahead_ns: int) -> CalendarPlan:
    """The plan from a steady instant on, for so long; ``offset_ns`` is UTC minus steady time.

    Raises ValueError before 1970 and after 2262.
    """
    entries: list[PlannedTime] = []
    for span in calendar.spans(at_ns + offset_ns, at_ns + offset_ns + max(ahead_ns, 1)):
        entry = _entry(span, offset_ns)
        # Outside of shifts a span ends at each midnight; for the machine nothing changes there.
        if not entries or entries[-1][1:] != entry[1:]:
            entries.append(entry)
        if len(entries) == PLAN_ENTRIES_MAX:
            break
    return CalendarPlan(at_ns, tuple(entries))


def check(plan: CalendarPlan) -> None:
    """Raise ValueError for a plan that is too long or out of order."""
    if len(plan.entries) > PLAN_ENTRIES_MAX:
        raise ValueError(f"plan: found {len(plan.entries)} stretches, allowed up to {PLAN_ENTRIES_MAX}")
    if any(later.from_ns <= earlier.from_ns for earlier, later in pairwise(plan.entries)):
        raise ValueError("plan: found stretches out of order, allowed: each begins after the one before")


def _entry(span: CalendarSpan, offset_ns: int) -> PlannedTime:
    shift = "" if span.shift is None else f"{span.production_day}/{span.shift}"
    return PlannedTime(span.from_ns - offset_ns, _PLANNED[span.kind], shift)
