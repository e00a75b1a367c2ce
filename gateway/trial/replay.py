"""Runs a recording through rules, and holds what two sets of rules make of it against each other. Prints nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core import snapshot
from gateway.core.carry_over import to_be_told_anew
from gateway.core.entries import SerialEntry
from gateway.core.model import (
    CalendarPlan,
    Confirmation,
    CountEvent,
    DataValue,
    MachineState,
    Notice,
    PiecesProduced,
    StateChanged,
    Status,
    TimePassed,
    UnknownInterval,
)
from gateway.core.work.time_account import ActivityMinutes
from gateway.core.work_unit import TEXT_CHARS_MAX, WorkUnit
from gateway.trial.machine import TriedMachine, identity_of, time_of
from gateway.trial.recording import RecordingError
from gateway.trial.telling import around, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.rules import WorkUnitRules
    from gateway.trial.machine import Happening, Hours
    from gateway.trial.recording import Recording

#: What a difference is looked for in; orders and flags follow from these.
_MATERIAL: Final = (PiecesProduced, UnknownInterval, StateChanged, Confirmation, Notice)


SIGNALS_SHOWN: Final = 20
MS_PER_MIN: Final = 60_000


class Result(NamedTuple):
    """What rules make of a recording of one machine: a number for each row, and how long each state lasted, ns."""

    numbers: Mapping[str, int]
    durations_ns: Mapping[MachineState, int]
    unread: tuple[str, ...]  # signals that the rules read and the recording does not have
    ended: TriedMachine


class Difference(NamedTuple):
    """The first thing that two sets of rules see differently; None: nothing more happened there."""

    at_ns: int
    before: str | None
    after: str | None
    timeline: tuple[str, ...]


def machines_in(recording: Recording, work_units: Mapping[str, WorkUnitRules]) -> list[str]:
    """The machines of a configuration that a recording is of. Raises RecordingError where there is none."""
    header = recording.header
    if header.kind == "machine":
        if header.name in work_units:
            return [header.name]
        raise RecordingError(
            f"the recording is of the work unit {header.name!r}, found in the configuration: {', '.join(work_units)}; "
            "name a configuration that has it"
        )
    if not recording.inputs:
        raise RecordingError(
            f"the recording of the source {header.name!r} holds no input; record while it delivers values"
        )
    recorded = {given.signal for given in recording.inputs if isinstance(given, DataValue)}
    names = [name for name, rules in work_units.items() if recorded & WorkUnit(rules, identity_of(name, rules)).signals]
    if not names:
        raise RecordingError(
            f"the recording is of the source {header.name!r}, and no work unit of the configuration reads any of its "
            f"signals: {', '.join(sorted(recorded)[:SIGNALS_SHOWN])}; name a configuration of this line"
        )
    return names


def replayed(recording: Recording, name: str, rules: WorkUnitRules, hours: Hours | None = None) -> Result:
    """What these rules make of it; ``hours`` are the machine's own. Raises RecordingError, TooMuchError."""
    header = recording.header
    # Nobody is named in a recording: the skills are those of the time. Where it has none, nobody is asked for any.
    known = header.skills if rules.work.labour.skills and header.skills else {}
    labour = replace(rules.work.labour, skills={person: tuple(skills) for person, skills in known.items()})
    rules = replace(rules, work=replace(rules.work, labour=labour))
    unit = WorkUnit(rules, identity_of(name, rules))
    if header.state is None:
        state = unit.initial(header.started_ns)._replace(utc_offset_ns=header.utc_offset_ns)
    else:
        try:
            # What each signal said last stands at the beginning of the recording, and is taken as these rules have it.
            state = to_be_told_anew(unit, snapshot.decode(unit, header.state))
        except snapshot.SnapshotError as error:
            raise RecordingError(f"the state at the beginning of the recording cannot be read: {error}") from error
    machine = TriedMachine(unit, state, hours)
    recorded = set()
    for given in recording.inputs:
        if isinstance(given, DataValue):
            recorded.add(given.signal)
            if given.signal not in unit.signals:
                continue
            read = _serial_of(given, rules, header.kind)
            if read is not None:
                machine.feed(given)
                machine.feed(read)
                continue
        if not isinstance(given, CalendarPlan):  # these rules have their own hours, or none
            machine.feed(given)
    machine.feed(TimePassed(max(recording.ended_ns, machine.state.at_ns)))
    return Result(
        numbers_of(machine),
        machine.durations_ns(state.at_ns, machine.state.at_ns),
        tuple(sorted(unit.signals - recorded)),
        machine,
    )


def _serial_of(value: DataValue, rules: WorkUnitRules, kind: str) -> SerialEntry | None:
    """The serial number that a reader shows, in the recording of a source; that of a machine has it as it was told."""
    if kind == "machine" or value.signal != rules.work.serial_signal or value.status is not Status.GOOD:
        return None
    return None if value.value is None else SerialEntry(value.received_time_ns, str(value.value)[:TEXT_CHARS_MAX])


def numbers_of(machine: TriedMachine) -> dict[str, int]:
    """Every number that a person compares, by its name."""
    found = machine.found()._asdict()
    numbers = {key: value for key, value in found.items() if isinstance(value, int)}
    made = machine.confirmations
    numbers["confirmed good"] = sum(one.good for one in made)
    numbers["confirmed scrap"] = sum(one.scrap for one in made)
    numbers["confirmed rework"] = sum(one.rework for one in made)
    minutes = [one.work.minutes for one in made if one.work is not None]
    for place, name in enumerate(ActivityMinutes._fields):  # three decimals of a minute are whole milliseconds
        numbers[f"confirmed {name.replace('_', ' ')} ms"] = int(sum(one[place] for one in minutes) * MS_PER_MIN)
    return numbers


def first_difference(before: TriedMachine, after: TriedMachine, start_ns: int) -> Difference | None:
    """Where two runs of the same inputs part, None where they never do."""
    for one, other in zip_longest(_material(before), _material(after)):
        if one is not None and other is not None and one == other:
            continue
        at_ns = min(pair[0] for pair in (one, other) if pair is not None)
        # Where they differ in time, only the earlier one sees something at that moment.
        texts = [pair[1] if pair is not None and pair[0] == at_ns else None for pair in (one, other)]
        return Difference(at_ns, texts[0], texts[1], tuple(around(after.happened, at_ns, start_ns)))
    return None


def _material(machine: TriedMachine) -> list[tuple[int, str]]:
    return [(one.at_ns, told(one.what)) for one in machine.happened if _matters(one)]


def _matters(one: Happening) -> bool:
    if isinstance(one.what, CountEvent):
        return bool(one.what.review)
    return isinstance(one.what, _MATERIAL)


def began_ns(recording: Recording) -> int:
    """The moment that times of a replay count from."""
    first = min((time_of(given) for given in recording.inputs), default=recording.header.started_ns)
    return min(first, recording.header.started_ns)
