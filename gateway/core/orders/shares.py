"""One operation on several machines: what a member tells its lead, and what each of the two remembers of it.

Plain data with its arithmetic. A member counts; the lead holds the order, its numbers and its confirmations. What
follows from these is ``lead.py``'s and ``member.py``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.model import JobOrder, Role
from gateway.core.state.time_elements import TimeElements
from gateway.core.work.activity_times import NO_TIME, PeriodTimes, period_from
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Stretches that a member keeps for its lead; while as many are not booked it takes up no further order.
STRETCHES_MAX: Final = 64

ROLES: Final = (Role.GOOD, Role.SCRAP, Role.REWORK, Role.HOLD, Role.TEST)


class MemberRow(NamedTuple):
    """All that a member made in one stretch of an order, from its beginning: sums, so that any two can be compared.

    ``number`` ascends with each stretch of the member, for ever. ``period`` and ``states`` (nanoseconds by machine
    state) are its times in the stretch, what is not final as it seems to be.
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


class MemberTold(NamedTuple):
    """A member tells its lead all that it keeps, as of ``said_ns``; it may come twice."""

    at_ns: int
    machine: str
    said_ns: int
    rows: tuple[MemberRow, ...]


class LeadTold(NamedTuple):
    """A lead tells a member which order runs, and what it has booked of it; it may come twice.

    ``waits``: what is made now waits for a verdict.
    """

    at_ns: int
    job: JobOrder | None
    waits: bool = False
    booked: tuple[MemberRow, ...] = ()


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
    """What a lead has booked of the stretches that a member keeps; ``said_ns``: as of when the member said so."""

    machine: str
    said_ns: int = 0
    rows: tuple[MemberRow, ...] = ()

    def row(self, number: int) -> MemberRow | None:
        """What is booked of a stretch."""
        return next((one for one in self.rows if one.number == number), None)


class Sharing(NamedTuple):
    """What a work unit remembers of it: as a member the number of its last stretch, as a lead what it booked."""

    last_number: int = 0
    members: tuple[MemberBooked, ...] = ()

    def member(self, machine: str) -> MemberBooked:
        """What is booked of a member."""
        return next((one for one in self.members if one.machine == machine), MemberBooked(machine))

    def with_member(self, booked: MemberBooked) -> Sharing:
        """With that of a member as it is now."""
        others = (one for one in self.members if one.machine != booked.machine)
        return self._replace(members=tuple(sorted((*others, booked))))


def more_time(now: PeriodTimes, before: PeriodTimes) -> PeriodTimes:
    """What came to the times since then; less than nothing where what seemed to be turned out otherwise."""
    elements = TimeElements(*(one - two for one, two in zip(now.elements, before.elements, strict=True)))
    return PeriodTimes(
        elements,
        Exact.of(now.labour.fraction - before.labour.fraction),
        Exact.of(now.labour_setup.fraction - before.labour_setup.fraction),
        now.late_ns - before.late_ns,
    )


def sharing_from(document: Mapping[str, Any]) -> Sharing:
    """What ``_asdict`` and JSON made of ``Sharing``. Raises KeyError, TypeError, ValueError."""
    members = tuple(
        MemberBooked(machine, said_ns, tuple(map(row_from, rows))) for machine, said_ns, rows in document["members"]
    )
    return Sharing(document["last_number"], members)


def row_from(row: list[Any]) -> MemberRow:
    """What JSON made of ``MemberRow``."""
    *numbers, period, states = row
    known = dict(zip(MemberRow._fields, numbers, strict=False))
    return MemberRow(**known, period=period_from(period), states=tuple((name, length_ns) for name, length_ns in states))
