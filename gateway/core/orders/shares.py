"""One operation on several machines: what a member tells its lead, and what each of the two remembers of it.

Plain data with its arithmetic. A member counts; the lead holds the order, its numbers and its confirmations. What
follows from these is ``lead.py``'s and ``member.py``'s.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.duration import NS_PER_UNIT
from gateway.core.model import JobOrder, MachineState, Role
from gateway.core.state.interval import StateInterval
from gateway.core.state.time_elements import TimeElements
from gateway.core.state.timeline_state import interval_of
from gateway.core.work.activity_times import NO_TIME, PeriodTimes, period_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.work.ledger import Key, RunLedger

#: A member's last word says for so long how its time goes on. Within that a machine that works says something: a state
#: ends, a shift, a piece is made. The time of one that is silent for longer is told once it speaks.
WORD_HOLDS_NS: Final = 24 * NS_PER_UNIT["h"]
#: The times of an order end with its last piece, which was made a little before it was read: so far a member's word is
#: taken back for that.
TAKEN_BACK_NS: Final = NS_PER_UNIT["min"]
#: Once an order has ended its times are compared with what was told only when its members have heard of the end, for at
#: most so long: one that is away holds up nothing.
END_HEARD_WITHIN_NS: Final = 10 * NS_PER_UNIT["min"]
#: Stretches that a member keeps for its lead; while as many are not booked it takes up no further order.
STRETCHES_MAX: Final = 64

#: So many runs of orders that ended last a lead tells with when they did; a member that still works on an older one
#: takes it to have run until the one that runs now began.
ENDED_MAX: Final = 16
#: Changes at one instant are told apart by a nanosecond each: what began at the first of them began with the last one.
SAME_INSTANT_NS: Final = ENDED_MAX
#: Final stretches of its time that a member keeps since it heard of its lead last: of an order that had ended by then
#: they are taken back. What is older stays the order's.
FINAL_MAX: Final = 32

_UNKNOWN: Final = PeriodTimes(TimeElements(unk_ns=1))

ROLES: Final = (Role.GOOD, Role.SCRAP, Role.REWORK, Role.HOLD, Role.TEST)


class MemberRow(NamedTuple):
    """All that a member made in one stretch of an order, from its beginning: sums, so that any two can be compared.

    ``number`` ascends with each stretch of the member, for ever. ``period`` and ``states`` (nanoseconds by machine
    state) are its times in the stretch, what is not final as it seems to be. ``doing`` is the machine state that goes
    on in it, "" where none does, and ``pace`` what each further nanosecond adds to ``period`` meanwhile. ``unsure`` is
    what of ``states`` may still turn out to be another state. ``said``: of the pieces by role, those that no order ran
    for and that were given to this one, by a person or the policy; () none.
    """

    number: int
    order: str
    operation: str
    good: int = 0
    scrap: int = 0
    rework: int = 0
    hold: int = 0
    test: int = 0
    cycles: int = 0
    estimated: int = 0
    from_ns: int = 0
    to_ns: int = 0
    period: PeriodTimes = NO_TIME
    states: tuple[tuple[str, int], ...] = ()
    doing: str = ""
    pace: PeriodTimes = NO_TIME
    unsure: tuple[tuple[str, int], ...] = ()
    said: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Order and operation."""
        return (self.order, self.operation)

    def newer(self, other: MemberRow) -> bool:
        """Whether it says more than the other one: a message that was sent twice, or late, says no more."""
        return all(one >= two for one, two in zip(self.sums, other.sums, strict=True))

    @property
    def sums(self) -> tuple[int, ...]:
        """Pieces by role, cycles and estimated pieces."""
        return self[3:10]

    def going_on(self, later: RunLedger) -> MemberRow:
        """With how it goes on: ``later`` are its times a nanosecond later."""
        was = dict(self.states)
        more = {name: length_ns - was.pop(name, 0) for name, length_ns in later.states}
        grew = [name for name, length_ns in more.items() if length_ns]
        if was or len(grew) != 1 or more[grew[0]] != 1:  # nothing goes on, or it is judged anew just then
            return self
        return self._replace(doing=grew[0], pace=more_time(later.period, self.period))

    def unknown(self) -> MemberRow:
        """Nobody knows how it goes on, but that it does: after a restart, until the machine is heard."""
        return self._replace(doing=MachineState.UNKNOWN.value, pace=_UNKNOWN)

    def said_since(self, other: MemberRow) -> tuple[int, ...]:
        """Pieces by role that came since then by being given to it; what was booked without that is not told apart."""
        known = other.said or (0,) * len(ROLES)
        return tuple(now - was for now, was in zip(self.said or known, known, strict=True))

    def standing(self) -> MemberRow:
        """Nothing goes on in it any more."""
        return self._replace(doing="", pace=NO_TIME)

    def timed(self, other: MemberRow) -> MemberRow:
        """With the times of another one."""
        return self._replace(period=other.period, states=other.states, unsure=other.unsure)

    def after(self, passed_ns: int) -> MemberRow:
        """As it is so much later if the machine goes on as it did; less than 0: as it was."""
        if not self.doing or not passed_ns:
            return self
        sums = dict(self.states)
        sums[self.doing] = sums.get(self.doing, 0) + passed_ns
        return self._replace(period=self.period.plus(self.pace.times(passed_ns)), states=tuple(sorted(sums.items())))


class MemberTold(NamedTuple):
    """A member tells its lead all that it keeps, as of ``said_ns``; it may come twice.

    ``read_ns``: its counters were read then, because another lot is mounted at the lead; 0: they were not.
    ``since_ns``: the last change at the lead that it has heard of.
    """

    at_ns: int
    machine: str
    said_ns: int
    rows: tuple[MemberRow, ...]
    read_ns: int = 0
    since_ns: int = 0


class Ended(NamedTuple):
    """An order that ran at the lead from ``from_ns`` (0: not known) until ``at_ns``; it may have run again later.

    ``full``: it was at its target then.
    """

    order: str
    operation: str
    at_ns: int
    from_ns: int = 0
    full: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Order and operation."""
        return (self.order, self.operation)


class LeadTold(NamedTuple):
    """A lead tells a member which order runs, and what it has booked of it; it may come twice.

    ``waits``: what is made now waits for a verdict. ``since_ns``: from when on it runs, or none does; 0: that is not
    known. ``ended``: orders that ran before it. ``full``: the one that runs is at its target.
    """

    at_ns: int
    job: JobOrder | None
    waits: bool = False
    booked: tuple[MemberRow, ...] = ()
    since_ns: int = 0
    ended: tuple[Ended, ...] = ()
    full: bool = False

    def is_full(self, key: Key, since_ns: int) -> bool:
        """Whether an order is at its target, or was when it ended after that."""
        if self.job is not None and self.job.key == key and self.full:
            return True
        return any(one.full for one in self.ended if one.key == key and one.at_ns > since_ns)

    def over_ns(self, key: Key) -> int:
        """From when on an order does not run any more; 0: that is not known."""
        known_ns = next((one.at_ns for one in reversed(self.ended) if one.key == key), 0)
        return known_ns or (self.since_ns if self.job is None else 0)

    def not_its(self, key: Key, since_ns: int) -> tuple[tuple[int, int], ...]:
        """When an order did not run since then, as far as that is known: where it ran before and again, and at the end.

        ``since_ns`` 0 is not known: then only since it is over.
        """
        own = [one for one in self.ended if one.key == key and one.at_ns > since_ns]
        runs = [(one.from_ns, one.at_ns) for one in (own if since_ns else own[-1:])]
        if self.job is not None and self.job.key == key:
            runs.append((self.since_ns or self.at_ns, self.at_ns))
        elif runs or self.job is None:
            over_ns = self.over_ns(key)
            runs = [*(runs or [(0, over_ns)]), (self.at_ns, self.at_ns)] if over_ns else []
        between = ((end_ns, begin_ns) for (_, end_ns), (begin_ns, _) in pairwise(runs))
        return tuple((end_ns, begin_ns) for end_ns, begin_ns in between if end_ns < begin_ns)


#: What machines that work on one operation tell each other.
BETWEEN_MACHINES: Final = (MemberTold, LeadTold)


class MemberPieces(NamedTuple):
    """Pieces of a member were booked by its lead; ``order`` None: no order takes them any more."""

    at_ns: int
    machine: str
    number: int
    role: Role
    pieces: int
    order: str | None
    operation: str | None


class MemberBooked(NamedTuple):
    """What a lead has booked of the stretches that a member keeps; ``said_ns``: as of when the member said so.

    ``read_ns``: its counters were read then and all of it told: what is booked next was made later. 0: they never were.
    """

    machine: str
    said_ns: int = 0
    rows: tuple[MemberRow, ...] = ()
    read_ns: int = 0

    def row(self, number: int) -> MemberRow | None:
        """What is booked of a stretch."""
        return next((one for one in self.rows if one.number == number), None)

    def passed_ns(self, at_ns: int) -> int:
        """So much later than its last word an instant is, as far as that word holds; below 0: earlier."""
        return min(max(at_ns - self.said_ns, -TAKEN_BACK_NS), WORD_HOLDS_NS)

    def after(self, at_ns: int) -> tuple[MemberRow, ...]:
        """Its stretches as they seem to be at an instant, from what it said last."""
        return tuple(row.after(self.passed_ns(at_ns)) for row in self.rows)


class Sharing(NamedTuple):
    """What a work unit remembers of it: as a member the number of its last stretch, as a lead what it booked.

    ``since_ns``: as a lead of members that have spoken, from when on the order that runs does, or none does; as a
    member what its lead said last of that. ``ended``: as a lead what ran before it, the last one last. ``final``: as a
    member the time of orders that has become final since it heard of its lead, the last stretches. ``full``: as a
    member whether the order that it works on was at its target when it heard of it last. ``said``: as a member what was
    given to a stretch by a person or the policy, its number and pieces by role.
    """

    last_number: int = 0
    members: tuple[MemberBooked, ...] = ()
    since_ns: int = 0
    ended: tuple[Ended, ...] = ()
    final: tuple[StateInterval, ...] = ()
    full: bool = False
    said: tuple[tuple[int, ...], ...] = ()

    def member(self, machine: str) -> MemberBooked:
        """What is booked of a member."""
        return next((one for one in self.members if one.machine == machine), MemberBooked(machine))

    def with_member(self, booked: MemberBooked) -> Sharing:
        """With that of a member as it is now."""
        others = (one for one in self.members if one.machine != booked.machine)
        return self._replace(members=tuple(sorted((*others, booked))))

    def changed(self, was: Key | None, at_ns: int, *, full: bool) -> Sharing:
        """Another order runs from then on, or none; no two changes are at one instant, so that each has its name."""
        at_ns = max(at_ns, self.since_ns + 1)
        ended = self.ended if was is None else (*self.ended, Ended(*was, at_ns, self.since_ns, full))[-ENDED_MAX:]
        return self._replace(since_ns=at_ns, ended=ended)

    def with_final(self, left: Iterable[StateInterval]) -> Sharing:
        """As a member: more of its time is final."""
        return self._replace(final=(*self.final, *(one for one in left if one.order is not None))[-FINAL_MAX:])

    def said_of(self, number: int) -> tuple[int, ...]:
        """As a member: what was given to a stretch, by role; () nothing."""
        return next((one[1:] for one in self.said if one[0] == number), ())

    def with_said(self, number: int, role: Role, pieces: int) -> Sharing:
        """As a member: more was given to a stretch."""
        before = self.said_of(number) or (0,) * len(ROLES)
        after = (number, *(had + (pieces if one is role else 0) for one, had in zip(ROLES, before, strict=True)))
        return self._replace(said=(*(one for one in self.said if one[0] != number), after))

    def passed_ns(self, member: MemberBooked, key: Key, at_ns: int, *, runs: bool) -> int:
        """So long an order went on at a member since its last word: while it ran here. ``runs``: it does now."""
        passed_ns, from_ns = member.passed_ns(at_ns), member.said_ns
        known = [(one.from_ns, one.at_ns) for one in self.ended if one.key == key and one.at_ns > from_ns]
        if runs:
            known.append((self.since_ns, at_ns))
        if passed_ns <= 0 or not known:
            return passed_ns
        ran_ns = sum(max(min(end_ns, at_ns) - max(begin_ns, from_ns), 0) for begin_ns, end_ns in known)
        return min(passed_ns, ran_ns)

    def restored(self) -> Sharing:
        """After a restart: what the members did meanwhile nobody knows, until they say it."""
        members = (
            one._replace(rows=tuple(row.unknown() if row.doing else row for row in one.rows)) for one in self.members
        )
        return self._replace(members=tuple(members))

    def seeming(self, ledger: RunLedger, at_ns: int, *, runs: bool) -> RunLedger:
        """An order's times at an instant: with what its members have not told yet, as it seems to be."""
        for one in self.members:
            passed_ns = self.passed_ns(one, ledger.key, at_ns, runs=runs)
            for before in one.rows:
                if before.key == ledger.key:
                    ledger = with_times(ledger, before, before.after(passed_ns))
        return ledger

    def sure(self, key: Key, states: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        """Time of an order by machine state without what its members may still judge otherwise."""
        sums = dict(states)
        for row in (row for one in self.members for row in one.rows if row.key == key):
            for name, length_ns in row.unsure:
                sums[name] = sums.get(name, 0) - length_ns
        return tuple((name, length_ns) for name, length_ns in sorted(sums.items()) if length_ns)

    def unheard(self, key: Key, ended_ns: int, at_ns: int) -> bool:
        """Whether the times of an order that ended then still go on at a member, as far as is known."""
        if at_ns >= ended_ns + END_HEARD_WITHIN_NS:
            return False
        return any(row.doing and row.key == key for one in self.members for row in one.rows)


def with_times(ledger: RunLedger, before: MemberRow, row: MemberRow) -> RunLedger:
    """An order's times with what came to a member's stretch; a member's times are the order's."""
    sums, was = dict(ledger.states), dict(before.states)
    for name, length_ns in row.states:
        sums[name] = sums.get(name, 0) + length_ns - was.pop(name, 0)
    for name, length_ns in was.items():  # what seemed to be turned out otherwise
        sums[name] = sums.get(name, 0) - length_ns
    return ledger._replace(
        period=ledger.period.plus(more_time(row.period, before.period)),
        states=tuple((name, length_ns) for name, length_ns in sorted(sums.items()) if length_ns),
    )


def more_time(now: PeriodTimes, before: PeriodTimes) -> PeriodTimes:
    """What came to the times since then; less than nothing where what seemed to be turned out otherwise."""
    return now.plus(before.times(-1))


def less(states: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """Time by machine state without the other one's."""
    known = dict(other)
    left = ((name, length_ns - known.get(name, 0)) for name, length_ns in states)
    return tuple((name, length_ns) for name, length_ns in left if length_ns)


def sharing_from(document: Mapping[str, Any]) -> Sharing:
    """What ``_asdict`` and JSON made of ``Sharing``. Raises KeyError, TypeError, ValueError."""
    members = tuple(
        MemberBooked(machine, said_ns, tuple(map(row_from, rows)), *read)
        for machine, said_ns, rows, *read in document["members"]
    )
    ended = tuple(map(ended_from, document.get("ended", ())))
    final = tuple(interval_of(dict(zip(StateInterval._fields, one, strict=True))) for one in document.get("final", ()))
    since_ns, full = document.get("since_ns", 0), document.get("full", False)
    said = tuple(map(tuple, document.get("said", ())))
    return Sharing(document["last_number"], members, since_ns, ended, final, full, said)


def ended_from(row: list[Any]) -> Ended:
    """What JSON made of ``Ended``; older ones do not know when it began, nor whether it was at its target."""
    order, operation, at_ns, *more = row
    from_ns, full = more or (0, False)
    return Ended(str(order), str(operation), int(at_ns), int(from_ns), bool(full))


def row_from(row: list[Any]) -> MemberRow:
    """What JSON made of ``MemberRow``."""
    known = dict(zip(MemberRow._fields, row, strict=False))
    for name in ("states", "unsure"):
        known[name] = tuple((state, length_ns) for state, length_ns in known.get(name, ()))
    known["said"] = tuple(known.get("said", ()))
    for name in ("period", "pace"):
        if name in known:
            known[name] = period_from(known[name])
    return MemberRow(**known)
