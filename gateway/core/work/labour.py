"""Whose working time a run took: log-ins of persons at machines against what the machines did.

Several persons at a machine, one person at several: each nanosecond is shared exactly, as far as the final intervals of
machines that share a person reach. Closes no confirmation, rounds nothing (``activity_times.py``), knows no clock.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.rules_material import LabourRule
    from gateway.core.state.interval import StateInterval

LOG_INS_MAX: Final = 256  # kept at once, of all persons at all machines
MACHINES_PER_PERSON_MAX: Final = 16  # that one person is logged in at
STRETCHES_MAX: Final = 4096  # that wait for the intervals of another machine
CREW_ONE: Final = 1000  # thousandths of a person

#: Time elements in which nobody works for the order, unless ``breaks`` says so.
_NO_WORK: Final = ("PDOT", "OUTSIDE")
_MACHINE_TIME: Final = {"busy": ("APT", "ADET"), "production": ("APT",)}


class LogIn(NamedTuple):
    """A person at a machine from ``from_ns`` (included) to ``to_ns`` (not included); None: still there.

    ``machines``: at so many that work the person is at once, as somebody says who sees them all; where more of them are
    known here, these count. ``since_ns``: the log-in itself, where ``machines`` changed since then.
    """

    person: str
    machine: str
    from_ns: int
    to_ns: int | None = None
    machines: int = 1
    since_ns: int | None = None


class RunStretch(NamedTuple):
    """A machine that worked for an order, in one kind of time.

    ``crew_milli``: persons, in thousandths, that count where nobody is logged in; 0 where it is no machine time.
    """

    machine: str
    order: str
    operation: str
    from_ns: int
    to_ns: int
    setup: bool
    crew_milli: int


class LabourSlice(NamedTuple):
    """Labour of one run in ``[from_ns, to_ns)``, evenly spread over it; amounts in nanoseconds of one person."""

    machine: str
    order: str
    operation: str
    from_ns: int
    to_ns: int
    labour: Exact
    labour_setup: Exact


class MachineSeen(NamedTuple):
    """A machine whose final intervals are in up to ``seen_ns``, and whose labour is told up to ``settled_ns``."""

    name: str
    seen_ns: int
    settled_ns: int


class Labour(NamedTuple):
    """Who is logged in where, and what waits to be settled; one for all machines that persons share."""

    machines: tuple[MachineSeen, ...] = ()
    stretches: tuple[RunStretch, ...] = ()
    log_ins: tuple[LogIn, ...] = ()

    def machine(self, name: str) -> MachineSeen | None:
        """The machine of that name."""
        return next((one for one in self.machines if one.name == name), None)


def watching(labour: Labour, machines: Iterable[str], at_ns: int) -> Labour:
    """The same for these machines: a new one is seen from ``at_ns`` on, of one that is gone nothing is kept."""
    names = sorted(set(machines))
    return Labour(
        tuple(labour.machine(name) or MachineSeen(name, at_ns, at_ns) for name in names),
        tuple(one for one in labour.stretches if one.machine in names),
        tuple(one for one in labour.log_ins if one.machine in names),
    )


def logged_in(labour: Labour, person: str, machine: str, at_ns: int) -> Labour | WorkRefused:
    """With one more log-in.

    Codes: UNKNOWN_MACHINE, ALREADY_LOGGED_IN, TOO_MANY_LOG_INS, LABOUR_SETTLED (it lies before what is settled).
    """
    where = f"{person} at {machine}"
    if labour.machine(machine) is None:
        allowed = ", ".join(one.name for one in labour.machines) or "none"
        return WorkRefused("UNKNOWN_MACHINE", where, machine, allowed, "log in at a machine of this gateway")
    earliest_ns = _settled_ns(labour, person, machine)
    if at_ns < earliest_ns:
        return _too_late(where, at_ns, earliest_ns)
    # Who logged out later than this was there at this instant, too.
    own = [one for one in labour.log_ins if one.person == person and (one.to_ns is None or one.to_ns > at_ns)]
    if any(one.machine == machine for one in own):
        return WorkRefused("ALREADY_LOGGED_IN", where, "logged in", "one log-in at a machine", "log out first")
    if len(own) >= MACHINES_PER_PERSON_MAX or len(labour.log_ins) >= LOG_INS_MAX:
        found = f"{len(own)} of this person, {len(labour.log_ins)} of all"
        allowed = f"{MACHINES_PER_PERSON_MAX} of one person, {LOG_INS_MAX} of all"
        return WorkRefused("TOO_MANY_LOG_INS", where, found, allowed, "log out where nobody works")
    return labour._replace(log_ins=(*labour.log_ins, LogIn(person, machine, at_ns)))


def logged_out(labour: Labour, person: str, machine: str, at_ns: int) -> Labour | WorkRefused:
    """With the log-in ended. Codes: NOT_LOGGED_IN, LABOUR_SETTLED, LOG_OUT_BEFORE_LOG_IN."""
    where = f"{person} at {machine}"
    own = next((one for one in labour.log_ins if one[:2] == (person, machine) and one.to_ns is None), None)
    if own is None:
        return WorkRefused("NOT_LOGGED_IN", where, "no log-in", "who is logged in", "nothing is to be done")
    earliest_ns = _settled_ns(labour, person, machine)
    if at_ns < earliest_ns:
        return _too_late(where, at_ns, earliest_ns)
    if at_ns < own.from_ns:
        return WorkRefused(
            "LOG_OUT_BEFORE_LOG_IN", where, f"{at_ns} ns", f"{own.from_ns} ns and later", "give a later time"
        )
    kept = tuple(one for one in labour.log_ins if one is not own)
    return labour._replace(log_ins=(*kept, own._replace(to_ns=at_ns)) if at_ns > own.from_ns else kept)


def shared_by(labour: Labour, person: str, machine: str, at_ns: int, machines: int) -> Labour | WorkRefused:
    """The person is at so many machines that work from an instant on, 1 and more. Code: NOT_LOGGED_IN."""
    own = next((one for one in labour.log_ins if one[:2] == (person, machine) and one.to_ns is None), None)
    if own is None:
        return WorkRefused("NOT_LOGGED_IN", f"{person} at {machine}", "no log-in", "who is logged in", "log in first")
    at_ns, count = max(at_ns, own.from_ns, _settled_ns(labour, person, machine)), max(1, machines)
    if count == own.machines:
        return labour
    since_ns = own.from_ns if own.since_ns is None else own.since_ns
    goes_on = own._replace(from_ns=at_ns, machines=count, since_ns=since_ns)
    kept = tuple(one for one in labour.log_ins if one is not own)
    before = (own._replace(to_ns=at_ns),) if at_ns > own.from_ns else ()
    return labour._replace(log_ins=(*kept, *before, goes_on))


def _settled_ns(labour: Labour, person: str, machine: str) -> int:
    """Up to where labour is told of the machines that this person has to do with."""
    names = {machine, *(one.machine for one in labour.log_ins if one.person == person)}
    return max(one.settled_ns for one in labour.machines if one.name in names)


def _too_late(where: str, at_ns: int, earliest_ns: int) -> WorkRefused:
    allowed = f"{earliest_ns} ns and later"
    return WorkRefused("LABOUR_SETTLED", where, f"{at_ns} ns", allowed, "correct the confirmation instead")


def expired(labour: Labour, rule: LabourRule, now_ns: int) -> tuple[LogIn, ...]:
    """Log-ins that ended because they lasted too long: somebody forgot to log out. A person should see it."""
    return tuple(one for one in labour.log_ins if one.to_ns is None and now_ns >= _longest_ns(one, rule))


def stretch_of(
    machine: str, interval: StateInterval, element: str, rule: LabourRule, *, basis: str, crew: int
) -> RunStretch | None:
    """What a final interval is to the people at the machine; None: nothing.

    ``element`` is its time element, ``basis`` the machine time basis, ``crew`` the persons that the operation names.
    """
    if interval.order is None or (element in _NO_WORK and not rule.breaks):
        return None
    setup = element == "AUST"
    persons = Fraction(crew if rule.crew is None else rule.crew)
    crew_milli = int(persons * CREW_ONE) if setup or element in _MACHINE_TIME[basis] else 0
    return RunStretch(
        machine, interval.order, interval.operation or "", interval.from_ns, interval.to_ns, setup, crew_milli
    )


def took(labour: Labour, machine: str, to_ns: int, stretch: RunStretch | None) -> Labour:
    """With the next final interval of a machine, which ended at ``to_ns``.

    Raises ValueError for a machine that is not watched, for time that is in already, and where another machine has not
    told anything for so long that STRETCHES_MAX wait for it.
    """
    known = labour.machine(machine)
    if known is None:
        names = ", ".join(one.name for one in labour.machines) or "no machine"
        raise ValueError(f"{machine}: found its time, allowed that of {names}")
    if to_ns < known.seen_ns or (stretch is not None and stretch.from_ns < known.seen_ns):
        raise ValueError(f"{machine}: found time before {known.seen_ns} ns, allowed what comes after: it is in already")
    machines = tuple(one._replace(seen_ns=to_ns) if one is known else one for one in labour.machines)
    if stretch is None:
        return labour._replace(machines=machines)
    row = list(labour.stretches)
    last = next((at for at in range(len(row) - 1, -1, -1) if row[at].machine == machine), None)
    if (
        last is not None
        and row[last]._replace(from_ns=0, to_ns=0) == stretch._replace(from_ns=0, to_ns=0)
        and (row[last].to_ns == stretch.from_ns)
    ):
        row[last] = row[last]._replace(to_ns=stretch.to_ns)
    elif len(row) >= STRETCHES_MAX:
        slowest = min(machines, key=lambda one: one.seen_ns).name
        raise ValueError(
            f"{machine}: found {STRETCHES_MAX} stretches waiting, allowed no more; {slowest} tells no state"
        )
    else:
        row.append(stretch)
    return labour._replace(machines=machines, stretches=tuple(row))


def settled(labour: Labour, rule: LabourRule) -> tuple[Labour, tuple[LabourSlice, ...]]:
    """The labour that can be told by now, once and final: ``settled_ns`` of each machine says how far.

    Machines wait for each other only where a person has to do with both; one that nobody is at holds up no other.
    """
    slices: list[LabourSlice] = []
    upto: dict[str, int] = {}
    for group in _groups(labour):
        to_ns = min(one.seen_ns for one in group)
        from_ns = min(one.settled_ns for one in group)
        names = {one.name for one in group}
        if to_ns > from_ns:
            stretches = [one for one in labour.stretches if one.machine in names]
            log_ins = [one for one in labour.log_ins if one.machine in names]
            slices += labour_of(stretches, log_ins, rule, from_ns, to_ns)
        upto |= {one.name: max(one.settled_ns, to_ns) for one in group}
    left = Labour(
        tuple(one._replace(settled_ns=upto[one.name]) for one in labour.machines),
        tuple(
            one._replace(from_ns=max(one.from_ns, upto[one.machine]))
            for one in labour.stretches
            if one.to_ns > upto[one.machine]
        ),
        tuple(one for one in labour.log_ins if _end_ns(one, rule) > upto[one.machine]),
    )
    return left, tuple(slices)


def _groups(labour: Labour) -> list[list[MachineSeen]]:
    """The machines by the persons that link them."""
    group_of = {one.name: {one.name} for one in labour.machines}
    first_of: dict[str, str] = {}
    for one in labour.log_ins:
        first = group_of[first_of.setdefault(one.person, one.machine)]
        own = group_of[one.machine]
        if own is not first:
            first |= own
            group_of |= dict.fromkeys(own, first)
    distinct = {id(group): group for group in group_of.values()}
    return [[one for one in labour.machines if one.name in group] for group in distinct.values()]


def labour_of(
    stretches: Sequence[RunStretch], log_ins: Sequence[LogIn], rule: LabourRule, from_ns: int, to_ns: int
) -> tuple[LabourSlice, ...]:
    """Labour in ``[from_ns, to_ns)``, by run and in the order of time.

    A person counts at the machines that run while he is logged in there. Where nobody is, the crew counts.
    """
    edges = {from_ns, to_ns}
    for begin_ns, end_ns in (
        *((one.from_ns, one.to_ns) for one in stretches),
        *((one.from_ns, _end_ns(one, rule)) for one in log_ins),
    ):
        edges.update(at_ns for at_ns in (begin_ns, end_ns) if from_ns < at_ns < to_ns)
    found: list[LabourSlice] = []
    for begin_ns, end_ns in pairwise(sorted(edges)):
        running = [one for one in stretches if one.from_ns <= begin_ns and one.to_ns >= end_ns]
        present = [one for one in log_ins if one.from_ns <= begin_ns and _end_ns(one, rule) >= end_ns]
        found += _slices(running, present, rule, begin_ns, end_ns)
    return tuple(found)


def _slices(
    running: Sequence[RunStretch], present: Sequence[LogIn], rule: LabourRule, from_ns: int, to_ns: int
) -> list[LabourSlice]:
    """One piece of time in which nobody came or went and no machine changed."""
    machines = {one.machine for one in running}
    # A log-in that was ended and begun again at once is one person still.
    at_work = {(one.person, one.machine) for one in present if one.machine in machines}
    busy_at: dict[str, int] = {}
    for person, _ in at_work:
        busy_at[person] = busy_at.get(person, 0) + 1
    for one in present:
        if one.person in busy_at:
            busy_at[one.person] = max(busy_at[one.person], one.machines)
    found = []
    for run in running:
        persons = [person for person, machine in at_work if machine == run.machine]
        if not persons:
            rate = Fraction(run.crew_milli, CREW_ONE)
        elif rule.share == "full":
            rate = Fraction(len(persons))
        else:
            rate = sum((Fraction(1, busy_at[person]) for person in persons), Fraction(0))
        if rate:
            amount = Exact.of(rate * (to_ns - from_ns))
            both = (Exact(), amount) if run.setup else (amount, Exact())
            found.append(LabourSlice(run.machine, run.order, run.operation, from_ns, to_ns, *both))
    return found


def _end_ns(log_in: LogIn, rule: LabourRule) -> int:
    longest = _longest_ns(log_in, rule)
    return longest if log_in.to_ns is None else min(log_in.to_ns, longest)


def _longest_ns(log_in: LogIn, rule: LabourRule) -> int:
    return (log_in.from_ns if log_in.since_ns is None else log_in.since_ns) + rule.log_in_max


def labour_from(document: Mapping[str, Any]) -> Labour:
    """What ``_asdict`` and JSON made of ``Labour``."""
    return Labour(
        tuple(MachineSeen(*one) for one in document["machines"]),
        tuple(RunStretch(*one) for one in document["stretches"]),
        tuple(LogIn(*one) for one in document["log_ins"]),
    )
