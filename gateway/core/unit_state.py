"""The state of one work unit: everything that must survive a power cut, and nothing that can be derived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.counting.counter import CounterState
from gateway.core.counting.pulse import PulseState
from gateway.core.model import Role, UnknownInterval
from gateway.core.orders.attribution import PastOrders
from gateway.core.orders.shares import Sharing
from gateway.core.orders.unallocated import Bucket
from gateway.core.source_clock import SourceClocks
from gateway.core.work.ledger import WorkState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.confirming.quantities import Pieces
    from gateway.core.model import LostCounter
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.standing_holds import StandingHold
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.undo import LastWord

UNKNOWN_INTERVALS_MAX: Final = 200  # older ones are summed up; each stays in the journal

#: In the order of a tally's fields.
ROLES: Final = (Role.GOOD, Role.SCRAP, Role.REWORK, Role.HOLD, Role.TEST)

#: A counter's or pulse's own, or that of a composed rule: a named tuple of the kind that ``modes.state_of`` tells.
DetectorState = CounterState | PulseState | tuple[Any, ...]


class Tally(NamedTuple):
    """Pieces by role."""

    good: int = 0
    scrap: int = 0
    rework: int = 0
    hold: int = 0
    test: int = 0

    def plus(self, role: Role, pieces: int) -> Tally:
        """One role more."""
        if role is Role.GOOD:
            return tuple.__new__(Tally, (self[0] + pieces, *self[1:]))
        if role is Role.SCRAP:
            return Tally(self.good, self.scrap + pieces, self.rework, self.hold, self.test)
        return self._replace(**{role.value: getattr(self, role.value) + pieces})


class State(NamedTuple):
    """One work unit.

    ``counted`` is every piece ever booked, ``bucket`` those without an order, ``review`` pieces set aside for a
    person. ``previous`` is the order that ended last, as long as a policy may give it pieces that came later.
    ``journal_seq`` is the number of the last output. ``running`` is never also in ``queue``. ``past`` is
    which orders ran before, for what was made in their time and is counted later. ``utc_offset_ns``: UTC minus
    steady time. ``clocks``: whether that is known, and which devices' clocks are off. ``next_told`` is what was said
    last of the order that is next: it is said once. ``last_word``: what a person decided last, while it can
    be undone, and ``undoable`` are the orders that it confirmed, as they were before. ``work``: times, people and
    material. ``running`` leads: state and ideal cycle of the machine are by it;
    ``beside`` are the others that run at the same time, each with its own part. ``sharing``: what is remembered of
    machines that work on one operation together. ``handling_unit``: the one that is being filled, None: never told.
    ``lost``: signals of which a lost database left pieces unknown; the first reading of each declares them.
    ``standing``: holds of the machine, of products, lots and orders, in the sequence in which they were set.
    """

    at_ns: int
    detectors: tuple[DetectorState, ...]
    track: MachineTrack
    evidence: tuple[str | None, ...] = ()
    running: JobRun | None = None
    queue: tuple[JobRun, ...] = ()
    job_tag: str | None = None
    counted: Tally = Tally()
    bucket: Bucket = Bucket()
    previous: JobRun | None = None
    review: int = 0
    unknown: tuple[UnknownInterval, ...] = ()
    unknown_older: tuple[int, int] = (0, 0)
    last_piece_ns: int | None = None
    journal_seq: int = 0
    past: PastOrders = PastOrders()
    utc_offset_ns: int = 0
    clocks: SourceClocks = SourceClocks()
    next_told: str = ""
    last_word: LastWord | None = None
    work: WorkState = WorkState()
    beside: tuple[JobRun, ...] = ()
    sharing: Sharing = Sharing()
    undoable: tuple[JobRun, ...] = ()
    handling_unit: str | None = None
    lost: tuple[LostCounter, ...] = ()
    standing: tuple[StandingHold, ...] = ()

    # Every input and every piece passes through the next three. Fields by their places, without the call of the class,
    # are four times as fast as ``_replace``, which looks each of them up by name; a test holds the two against each
    # other.

    def moved(self, at_ns: int, outputs: int) -> State:
        """The same state later, with so many more outputs in the journal."""
        return tuple.__new__(State, (at_ns, *self[1:14], self[14] + outputs, *self[15:]))

    def seen(self, at_ns: int, detectors: tuple[DetectorState, ...], track: MachineTrack) -> State:
        """What an input changes that counts nothing."""
        return tuple.__new__(State, (at_ns, detectors, track, *self[3:]))

    def with_count(
        self,
        detectors: tuple[DetectorState, ...],
        track: MachineTrack,
        counted: Tally,
        last_piece_ns: int | None,
        running: JobRun | None,
    ) -> State:
        """What one count event changes."""
        changed = (self[0], detectors, track, self[3], running, self[5], self[6], counted)
        return tuple.__new__(State, (*changed, *self[8:13], last_piece_ns, *self[14:]))

    def at_clock(self, utc_offset_ns: int, known: bool) -> State:  # noqa: FBT001 - what a clock says, in its order
        """The state with what UTC is, and whether somebody vouches for that."""
        return self._replace(utc_offset_ns=utc_offset_ns, clocks=self.clocks._replace(known=known))

    @property
    def unallocated(self) -> Pieces:
        """Pieces without an order, by what they are."""
        return self.bucket.left

    @property
    def unallocated_since_ns(self) -> int | None:
        """When the oldest of them was made; None: there are none."""
        return self.bucket.since_ns

    def all_runs(self) -> Iterator[JobRun]:
        """Whatever has numbers that are kept here: open orders, originals under a leader, former ones."""
        for run in self.open_runs():
            yield run
            if run.merged is not None:
                yield from run.merged.runs
        if self.previous is not None:
            yield self.previous
        yield from self.undoable

    def at_work(self) -> tuple[JobRun, ...]:
        """What runs on the machine, the leading job order first."""
        return self.beside if self.running is None else (self.running, *self.beside)

    def works_on(self, key: tuple[str, str]) -> bool:
        """Whether this order and operation is at work, also if it is on hold there."""
        return any(run.job.key == key for run in self.at_work())

    def open_runs(self) -> Iterator[JobRun]:
        """What runs first, the leading job order before the others, then the queue."""
        yield from self.at_work()
        yield from self.queue


def remember_unknown(state: State, interval: UnknownInterval) -> State:
    """Keep an interval of unknown pieces; the oldest are summed up beyond the limit."""
    unknown = (*state.unknown, interval)
    if len(unknown) <= UNKNOWN_INTERVALS_MAX:
        return state._replace(unknown=unknown)
    oldest, count, pieces = unknown[0], *state.unknown_older
    return state._replace(unknown=unknown[1:], unknown_older=(count + 1, pieces + (oldest.max_pieces or 0)))
