"""The hours of a machine for a trial: what its calendar says of the time of a test or of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.core.model import CalendarPlan


def planned(settings: Settings, machine: str, from_ns: int, to_ns: int, offset_ns: int = 0) -> CalendarPlan | None:
    """The plan of a stretch of steady time, None where the machine has no calendar; ``offset_ns`` is UTC minus it."""
    from gateway.core.calendar.shift_calendar import ShiftCalendar
    from gateway.core.state.planned_time import plan_of
    from gateway.timezone import zone

    name = settings.work_units[machine].calendar
    if name is None:
        return None
    calendar = ShiftCalendar(settings.calendars[name], zone(settings.gateway.timezone))
    return plan_of(calendar, from_ns, offset_ns, to_ns - from_ns)
