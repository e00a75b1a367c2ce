"""Which order counted pieces belong to, where orders changed while they were made.

A cycle belongs to the order in which it began. What a counter moved by between two readings is shared by time, the odd
piece to the former order, and called estimated; a reading at the change itself shares it exactly. Behind a conveyor the
pieces that were on it belong to the order before. Books nothing, and knows neither targets nor who runs now.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.core.model import CountEvent

#: Changes that are remembered; what began before the oldest belongs to the order that it ended.
CHANGES_MAX: Final = 16


class Dating(enum.Enum):
    """What the interval of a count event is."""

    START = "from the start of the cycle to its end"
    PREVIOUS_END = "from the end of the cycle before, which is the start of this one unless the machine stopped"
    READINGS = "between two readings, with any number of cycles in it"


class Ceased(NamedTuple):
    """An order that ran until then; ``part``: only counts of that part were its, "": all were.

    ``decided_ns`` is when that was decided, where what the counters showed for it is a little older; 0: then.
    """

    until_ns: int
    order: str
    operation: str
    part: str = ""
    decided_ns: int = 0


class Transit(NamedTuple):
    """Pieces of an order that were between the machine and its sensor when the order ceased to run."""

    order: str
    operation: str
    pieces: int


class PastOrders(NamedTuple):
    """What later counts may still belong to, oldest first. ``until_ns`` is the last change, 0 for none.

    ``read_ns``: the counters were read then for the change that follows, 0: they were not; ``due_ns``: that one comes
    by itself at this time, 0: it is what is handed over next. ``cycle_job``: the job that the machine says its cycles
    are of, "" where it does not.
    """

    until_ns: int = 0
    ceased: tuple[Ceased, ...] = ()
    transit: tuple[Transit, ...] = ()
    read_ns: int = 0
    cycle_job: str = ""
    due_ns: int = 0

    def of_part(self, part: str | None) -> PastOrders:
        """What a count of this part may still belong to."""
        ceased = tuple(one for one in self.ceased if one.part in ("", part))
        return self if len(ceased) == len(self.ceased) else self._replace(ceased=ceased)

    def after(self, key: tuple[str, str], until_ns: int, delay_pieces: int, part: str = "") -> PastOrders:
        """An order ceased to run, with so many pieces between the machine and its sensor."""
        if delay_pieces:
            left = delay_pieces - sum(one.pieces for one in self.transit)
            transit = (*self.transit, Transit(*key, left)) if left > 0 else self.transit
            return self._replace(transit=transit)
        decided_ns = 0
        if self.read_ns and max(self.read_ns + 1, self.due_ns) <= until_ns:  # what the counters showed is the boundary
            until_ns, decided_ns = self.read_ns, until_ns
        until_ns = max(until_ns, self.until_ns)
        ceased = (*self.ceased, Ceased(until_ns, *key, part, decided_ns))[-CHANGES_MAX:]
        return self._replace(until_ns=until_ns, ceased=ceased)

    def handed(self, key: tuple[str, str], to: tuple[str, str]) -> PastOrders:
        """Another job order takes what was begun in the time of this one."""
        ceased = tuple(
            one._replace(order=to[0], operation=to[1]) if (one.order, one.operation) == key else one
            for one in self.ceased
        )
        transit = tuple(Transit(*to, one.pieces) if (one.order, one.operation) == key else one for one in self.transit)
        return self._replace(ceased=ceased, transit=transit)

    def read_for(self, read_ns: int, due_ns: int) -> PastOrders:
        """The counters were read for a change."""
        return self._replace(read_ns=read_ns, due_ns=due_ns)

    def unread(self, before: PastOrders, at_ns: int) -> PastOrders:
        """The change that the counters were read for was decided, or refused, or has come by itself."""
        same = (self.read_ns, self.due_ns) == (before.read_ns, before.due_ns)
        return self.read_for(0, 0) if same and self.due_ns <= at_ns else self

    def without(self, keys: Collection[tuple[str, str]], from_ns: int) -> PastOrders:
        """These orders did not cease to run then or later, after all."""
        kept = tuple(
            one
            for one in self.ceased
            if (one.decided_ns or one.until_ns) < from_ns or (one.order, one.operation) not in keys
        )
        return self._replace(until_ns=kept[-1].until_ns if kept else 0, ceased=kept)


class Share(NamedTuple):
    """A part of a count. ``key`` None: whoever runs now."""

    key: tuple[str, str] | None
    pieces: int
    cycles: int
    estimated: bool = False


def shares(
    past: PastOrders,
    event: CountEvent,
    pieces: int,
    cycles: int,
    *,
    dating: Dating,
    stop_ns: int,
    running: tuple[str, str] | None,
    delay_ns: int = 0,
) -> tuple[PastOrders, list[Share]]:
    """The parts of a count in the order of time, and what is left to remember.

    Args:
        past: what is remembered.
        event: the count.
        pieces: its pieces.
        cycles: its cycles.
        dating: what its interval is.
        running: the order that runs now.
        delay_ns: so long before it was counted it was made.
        stop_ns: a longer time since the cycle before is a stop: then nobody knows when this one began.
    """
    if delay_ns:
        event = event._replace(t_from_ns=event.t_from_ns - delay_ns, t_to_ns=event.t_to_ns - delay_ns)
    if past.transit:
        return _by_queue(past, pieces, cycles)
    if dating is Dating.READINGS:
        return past, _by_time(past, event, pieces, cycles, running)
    start_ns = event.t_from_ns
    if dating is Dating.PREVIOUS_END and event.t_to_ns - start_ns > stop_ns:
        start_ns = event.t_to_ns
    return past, [Share(owner(past, start_ns), pieces, cycles)]


def owner(past: PastOrders, at_ns: int) -> tuple[str, str] | None:
    """The order that ran then; None: the one that runs now, or nobody. Time without an order counts for the next."""
    for one in past.ceased:
        if at_ns < one.until_ns:
            return (one.order, one.operation)
    return None


def _by_queue(past: PastOrders, pieces: int, cycles: int) -> tuple[PastOrders, list[Share]]:
    found: list[Share] = []
    waiting = list(past.transit)
    while pieces and waiting:
        first = waiting[0]
        taken = min(pieces, first.pieces)
        found.append(Share((first.order, first.operation), taken, cycles))
        pieces, cycles = pieces - taken, 0
        waiting[:1] = [first._replace(pieces=first.pieces - taken)] if taken < first.pieces else []
    if pieces:
        found.append(Share(None, pieces, cycles))
    return past._replace(transit=tuple(waiting)), found


def _by_time(
    past: PastOrders, event: CountEvent, pieces: int, cycles: int, running: tuple[str, str] | None
) -> list[Share]:
    begin_ns, end_ns = event.t_from_ns, event.t_to_ns
    if event.flag == "RESET":  # a counter that is set back at the change has counted for the new order since
        begin_ns = end_ns
    crossed = [one for one in past.ceased if begin_ns < one.until_ns]
    if all((one.order, one.operation) == running for one in crossed):
        return [Share(None, pieces, cycles)]
    estimated = any(one.until_ns < end_ns for one in crossed)
    found: list[Share] = []
    booked = turned = 0
    for one in crossed:
        passed, whole = min(one.until_ns, end_ns) - begin_ns, max(end_ns - begin_ns, 1)
        if one.until_ns >= end_ns:
            passed = whole
        upto, cycles_upto = _nearest(pieces * passed, whole), _nearest(cycles * passed, whole)
        found.append(Share((one.order, one.operation), upto - booked, cycles_upto - turned, estimated))
        booked, turned = upto, cycles_upto
        if passed == whole:
            break
    found.append(Share(None, pieces - booked, cycles - turned, estimated))
    return [share for share in found if share.pieces or share.cycles]


def _nearest(number: int, divisor: int) -> int:
    """The nearest whole number; a half goes up, to the order before."""
    return (2 * number + divisor) // (2 * divisor)
