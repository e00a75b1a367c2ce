"""The hours of a machine for a trial: what its calendar says of the time of a test or of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings
    from gateway.core.model import CalendarPlan
    from gateway.trial.machine import Hours


def hours_of(settings: Settings, machine: str) -> Hours | None:
    """What tells a machine its hours from a steady instant on, None where it has no calendar."""
    from gateway.core.calendar.shift_calendar import ShiftCalendar
    from gateway.core.state.planned_time import plan_of
    from gateway.timing.timezone import zone
    from gateway.trial.machine import PLAN_AHEAD_NS

    name = settings.work_units[machine].calendar
    if name is None:
        return None
    calendar = ShiftCalendar(settings.calendars[name], zone(settings.gateway.timezone))

    def plan(at_ns: int, offset_ns: int) -> CalendarPlan:
        return plan_of(calendar, at_ns, offset_ns, PLAN_AHEAD_NS)

    return plan
