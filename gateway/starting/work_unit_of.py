"""Makes a work unit from the settings: its rules, names and calendar prepared. Reads no database and starts nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.document import Identity
from gateway.core.work_unit import WorkUnit
from gateway.sources.looks import looked_at_every, loss_found_within
from gateway.timing.timezone import zone

if TYPE_CHECKING:
    from config.settings import Settings


def work_unit_of(settings: Settings, name: str, epoch: str) -> WorkUnit:
    """The work unit of that name in the configuration, in the database of that epoch."""
    gateway, rules = settings.gateway, settings.work_units[name]
    where = {"plant": gateway.plant, "gateway_id": gateway.id, "line": gateway.line}
    if gateway.profile == "regulated":
        rules = replace(rules, confirm=replace(rules.confirm, checklist=rules.confirm.checklist.regulated()))
    identity = Identity(**where, epoch=epoch, machine=name, work_center=rules.work_center)
    silence, looks = loss_found_within(settings, name), looked_at_every(settings, name)
    local = zone(gateway.timezone)
    calendar = None if rules.calendar is None else ShiftCalendar(settings.calendars[rules.calendar], local)
    return WorkUnit(rules, identity, loss_found_within=silence, looked_at_every=looks, calendar=calendar, zone=local)
