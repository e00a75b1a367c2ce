"""Reads from the database what a machine did: final intervals as people see them, sums, and what goes on now.

Reads only; works beside a running gateway. Sums and indicators are the core's.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from buffer.errors import StoreError
from gateway.core.calendar.honest_time import utc_of, utc_span
from gateway.core.document import utc
from gateway.core.duration import NS_PER_UNIT
from gateway.core.model import MachineState, Role
from gateway.core.state.annotations import annotated, loaded
from gateway.core.state.report import By, Made, grouped, key_of, loaded_rules
from gateway.core.state.timeline_state import interval_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buffer.readonly import ReadOnlyStore
    from gateway.core.calendar.honest_time import ClockCorrection
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.report import Group, KpiRules

#: What is listed where nobody chose.
DEFAULT_SPAN_NS: Final = 24 * NS_PER_UNIT["h"]
#: A production day lies between so long before its date begins in UTC and so long after.
DAY_REACH_NS: Final = 48 * NS_PER_UNIT["h"]
#: More than a month of a machine with a micro stop a minute.
INTERVALS_MAX: Final = 100_000
ANNOTATIONS_MAX: Final = 100_000
_FOR_EVER_NS: Final = 2**63 - 1


class StatesError(Exception):
    """There is nothing to show: says why and what to do."""


class Now(NamedTuple):
    """What the machine does, as it was committed last. ``final_ns``: up to then intervals are final."""

    state: MachineState
    since_ns: int
    at_ns: int
    final_ns: int


class StatesFound(NamedTuple):
    """What was found, with times in UTC. ``elements`` goes with ``row``."""

    work_unit: str
    by: By
    row: tuple[StateInterval, ...]
    elements: tuple[str, ...]
    groups: tuple[Group, ...]
    now: Now


class _Machine(NamedTuple):
    store: ReadOnlyStore
    name: str
    data: dict[str, Any]
    rules: KpiRules
    corrections: Sequence[ClockCorrection]


def read(
    store: ReadOnlyStore,
    name: str,
    *,
    by: By = By.SHIFT,
    from_utc_ns: int | None = None,
    to_utc_ns: int | None = None,
    shift: str | None = None,
    day: str | None = None,
    order: str | None = None,
) -> StatesFound:
    """What this machine did. Raises StatesError, StoreError."""
    machine = _machine(store, name)
    offset_ns = utc_of(machine.corrections, machine.data["at_ns"]) - machine.data["at_ns"]
    if shift or day:
        from_ns, to_ns = _reach(shift or day or "", offset_ns)
    elif order:
        from_ns, to_ns = 0, _FOR_EVER_NS
    else:
        to_ns = machine.data["at_ns"] + 1 if to_utc_ns is None else _steady(machine, to_utc_ns, offset_ns)
        from_ns = to_ns - DEFAULT_SPAN_NS if from_utc_ns is None else _steady(machine, from_utc_ns, offset_ns)
    row = _row(machine, from_ns, to_ns)
    whole = row
    if shift or day:
        wanted = key_of(By.SHIFT if shift else By.DAY)
        row = tuple(found for found in row if found.shift and wanted(found) == (shift or day))
    elif order:
        row = tuple(found for found in row if found.order == order)
    if not row:
        raise StatesError(_nothing(machine, whole, shift or day, order))
    made = _made(machine, row)
    groups = grouped(row, made, by, machine.rules, _run_times(store, made))
    model = machine.rules.model()
    return StatesFound(
        name,
        by,
        tuple(_in_utc(found, machine.corrections) for found in row),
        tuple(model.element(found) for found in row),
        tuple(
            group._replace(
                from_ns=utc_of(machine.corrections, group.from_ns), to_ns=utc_of(machine.corrections, group.to_ns)
            )
            for group in groups
        ),
        _now(machine),
    )


def final_row(store: ReadOnlyStore, name: str, from_ns: int, to_ns: int) -> tuple[StateInterval, ...]:
    """The final intervals that lie in a stretch of steady time, as the machine made them. Raises StoreError."""
    found = []
    for one in store.journal_of_kind(name, "interval", from_ns, INTERVALS_MAX):
        interval = interval_of(orjson.loads(one.body))
        if interval.from_ns >= to_ns:
            break
        if interval.to_ns > from_ns:
            found.append(interval)
    return tuple(found)


def _machine(store: ReadOnlyStore, name: str) -> _Machine:
    stored = store.snapshot(name)
    if stored is None:
        known = store.work_units()
        raise StatesError(
            f"unknown work unit {name!r}; known: {', '.join(known) or 'none yet: no machine has been heard'}"
        )
    try:
        data = orjson.loads(stored)
        if "kpi_rules" not in data:
            raise StatesError(f"{name}: an older linegate wrote its state; start the gateway once, then ask again")
        return _Machine(store, name, data, loaded_rules(data["kpi_rules"]), store.corrections())
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise StoreError(f"{name}: its stored state cannot be read: {error!r}") from error


def _steady(machine: _Machine, wanted_ns: int, offset_ns: int) -> int:
    near_ns = wanted_ns - offset_ns
    # What was learned of the time later than that instant does not hold for it.
    return near_ns - (utc_of(machine.corrections, near_ns) - wanted_ns)


def _reach(named: str, offset_ns: int) -> tuple[int, int]:
    """Where the shifts of a production day can lie, in steady time."""
    day = named.partition("/")[0]
    try:
        midnight = dt.datetime.fromisoformat(f"{dt.date.fromisoformat(day)}T00:00:00+00:00")
    except ValueError as error:
        raise StatesError(f"found {named!r}, allowed a day such as 2026-03-27, with its shift: 2026-03-27/F") from error
    midnight_ns = int(midnight.timestamp()) * NS_PER_UNIT["s"] - offset_ns
    return midnight_ns - DAY_REACH_NS, midnight_ns + DAY_REACH_NS


def _row(machine: _Machine, from_ns: int, to_ns: int) -> tuple[StateInterval, ...]:
    """The final intervals of a stretch, cut to it, with the reasons that people gave."""
    row = final_row(machine.store, machine.name, from_ns, to_ns)
    if len(row) >= INTERVALS_MAX:
        raise StatesError(f"{machine.name}: more than {INTERVALS_MAX} intervals; choose a shorter time")
    begin_ns = row[0].from_ns if row else from_ns
    said = machine.store.journal_of_kind(machine.name, "stop_reason", begin_ns, ANNOTATIONS_MAX)
    view = annotated(row, tuple(loaded(orjson.loads(one.body)) for one in said))
    return tuple(found._replace(from_ns=max(found.from_ns, from_ns), to_ns=min(found.to_ns, to_ns)) for found in view)


def _made(machine: _Machine, row: tuple[StateInterval, ...]) -> list[Made]:
    """What was booked in the time of these intervals, and what was judged anew."""
    made: list[Made] = []
    for from_ns, to_ns in _stretches(row):
        for body in machine.store.pieces(machine.name, from_ns, to_ns):
            data = orjson.loads(body)
            made.append(Made(data["at_ns"], Role(data["role"]), data["pieces"], data["order"], data["operation"]))
    judged = machine.store.journal_of_kind(machine.name, "reclassified", row[0].from_ns, ANNOTATIONS_MAX)
    for one in judged:
        data = orjson.loads(one.body)
        key = (data["order"], data["operation"])
        made.append(Made(data["at_ns"], Role(data["from_role"]), -data["pieces"], *key))
        made.append(Made(data["at_ns"], Role(data["to_role"]), data["pieces"], *key))
    return made


def _stretches(row: tuple[StateInterval, ...]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for one in row:
        if found and found[-1][1] == one.from_ns:
            found[-1] = (found[-1][0], one.to_ns)
        else:
            found.append((one.from_ns, one.to_ns))
    return found


def _run_times(store: ReadOnlyStore, made: Sequence[Made]) -> dict[tuple[str, str], int]:
    records = store.job_records_of(one.order for one in made if one.order is not None)
    return {record.job.key: record.job.std_cycle_ns for record in records if record.job.std_cycle_ns}


def _in_utc(found: StateInterval, corrections: Sequence[ClockCorrection]) -> StateInterval:
    # Both ends by what is known of the second one: a step of the clock in between bends no length.
    from_ns, to_ns = utc_span(corrections, found.from_ns, found.to_ns)
    stop_ns = found.stop_from_ns
    return found._replace(
        from_ns=from_ns, to_ns=to_ns, stop_from_ns=None if stop_ns is None else stop_ns + to_ns - found.to_ns
    )


def _now(machine: _Machine) -> Now:
    track = machine.data["track"]
    times = (track["since_ns"], machine.data["at_ns"], track["timeline"]["final_ns"])
    return Now(MachineState(track["state"]), *(utc_of(machine.corrections, at_ns) for at_ns in times))


def _nothing(machine: _Machine, row: tuple[StateInterval, ...], shift: str | None, order: str | None) -> str:
    now = _now(machine)
    until = f"it does {now.state.value} since {utc(now.since_ns)}, and is final up to {utc(now.final_ns)}"
    if order:
        return f"{machine.name}: no final state of order {order!r}; {until}"
    if shift:
        near = dict.fromkeys(found.shift for found in row if found.shift)
        return f"{machine.name}: no final state of {shift!r}; found near it: {', '.join(near) or 'no shift'}; {until}"
    return f"{machine.name}: no final state in that time; {until}"
