"""A job order on a work unit with its numbers: what was made in total, and what is not confirmed yet.

Arithmetic only: it decides neither when to confirm nor which order runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.confirming.run_checks import RunChecks
from gateway.core.model import JobOrder, JobOrderState, JobRecord, Role
from gateway.core.orders.order_image import OrderKind
from gateway.core.work.run_work import RunWork

if TYPE_CHECKING:
    from gateway.core.confirming.triggers import Trigger as Asked
    from gateway.core.model import CountEvent
    from gateway.core.orders.merged import Merged

FLAGS_MAX: Final = 16
REASONS_MAX: Final = 32  # of the scrap in one confirmation


class JobRun(NamedTuple):
    """One open job order. ``open_*`` is made but not confirmed; the others are totals.

    ``waits_for_person``: interrupted by a person, so it does not start again by itself. ``confirmed_ns`` is when the
    last confirmation was made (or the run began): the confirmation timer counts from there. ``held_from`` and
    ``hold_reason`` belong to ON_HOLD. ``reopened``: a person opened it again behind its end, so it does not complete by
    itself. ``last_derived_ns``: when the piece of ``last_event_ns`` was counted. ``waiting``: what asked for a
    confirmation that comes later. ``open_scrap_reasons``: the reasons that are known of the open scrap. ``work``: what
    is not confirmed of times, material and lots. ``rush_no`` above 0: a rush order, the first one first; ``resumes``:
    it was interrupted for one. ``awaits_article``: its first piece is to be approved; ``documents_read`` are those that
    a person acknowledged. ``before_state`` is how far the operation before it has got, wherever that is made; None:
    nobody tells; ``before_good`` are its good pieces, ``beside_good`` those of the other parts of a split order, and
    ``exceeds`` says that this operation was found to have more
    than it. ``merged``: the originals that it leads. ``share_no`` above 0: no order of this machine's own, but so
    much of its lead's (``member.py``). ``owes_final``: a sibling of this child is complete, and left it to the last one
    to tell the ERP so. ``checks``: what its final confirmation asks about. ``external``: good, scrap and rework that
    somebody confirmed in the ERP: they count for the quantity, and are confirmed by nobody here; of a leader what its
    originals want less for that. ``standing``: scope, name and reason of the standing holds that it is on
    (``standing_holds.py``); ``hold_reason`` is that of its own hold, "" where it has none. ``material``: whether its
    material is there by a person's word, None: nobody said so since the ERP did.
    """

    job: JobOrder
    state: JobOrderState = JobOrderState.DISPATCHED
    good: int = 0
    scrap: int = 0
    rework: int = 0
    open_good: int = 0
    open_scrap: int = 0
    open_rework: int = 0
    open_cycles: int = 0
    open_estimated: int = 0
    open_flags: tuple[str, ...] = ()
    open_from_ns: int = 0
    last_event_ns: int | None = None
    last_derived_ns: int | None = None
    confirmed_ns: int = 0
    seq: int = 0
    last_hash: str = ""
    waits_for_person: bool = False
    hold: int = 0
    test: int = 0
    open_hold: int = 0
    open_test: int = 0
    held_from: JobOrderState | None = None
    hold_reason: str = ""
    reopened: bool = False
    waiting: tuple[Asked, ...] = ()
    open_scrap_reasons: tuple[tuple[str, int], ...] = ()
    work: RunWork = RunWork()
    rush_no: int = 0
    resumes: bool = False
    awaits_article: bool = False
    article_approved: bool = False
    documents_read: tuple[str, ...] = ()
    before_state: JobOrderState | None = None
    merged: Merged | None = None
    plan_changes: int = 0
    share_no: int = 0
    owes_final: bool = False
    checks: RunChecks = RunChecks()
    external: tuple[int, int, int] = (0, 0, 0)
    before_good: int | None = None
    exceeds: bool = False
    standing: tuple[tuple[str, str, str], ...] = ()
    material: bool | None = None
    beside_good: int = 0

    @property
    def holds(self) -> tuple[str, ...]:
        """Why it is on hold: its own hold, then the standing ones; () where it is not."""
        if self.state is not JobOrderState.ON_HOLD:
            return ()
        own = (self.hold_reason,) if self.hold_reason else ()
        return (*own, *(f"{scope} {name}".rstrip() + f": {reason}" for scope, name, reason in self.standing))

    @property
    def runs_on(self) -> bool:
        """Whether it goes on behind its quantity, whatever the rule says: a campaign, or an order opened again."""
        image = self.job.image
        return self.reopened or (image is not None and image.order_kind is OrderKind.CAMPAIGN)

    @property
    def waits_for_verdict(self) -> bool:
        """Whether what it makes now is set apart: it is on hold, or its first article is not approved."""
        return self.state is JobOrderState.ON_HOLD or (self.awaits_article and self.state is JobOrderState.SETUP)

    @property
    def open_pieces(self) -> int:
        """Pieces made and not confirmed: samples that were taken out are not among them."""
        return self.open_good + self.open_scrap + self.open_rework + self.open_hold

    @property
    def made(self) -> tuple[int, int, int, int, int]:
        """All that was ever made of it, by role."""
        return (self.good, self.scrap, self.rework, self.hold, self.test)

    @property
    def anything_open(self) -> bool:
        """Whether there is anything to confirm."""
        return bool(self.open_good or self.open_scrap or self.open_rework or self.open_hold or self.open_test)

    def record(self) -> JobRecord:
        """What must be remembered for ever."""
        numbers = (self.seq, self.good, self.scrap, self.rework, self.last_hash, self.hold, self.test)
        return JobRecord(self.job, self.state, *numbers, self.held_from, "; ".join(self.holds), self.external)


def from_record(record: JobRecord, job: JobOrder) -> JobRun:
    """A job order that comes back keeps its numbers: its next confirmation continues the sequence."""
    return JobRun(
        job,
        good=record.good,
        scrap=record.scrap,
        rework=record.rework,
        seq=record.seq,
        last_hash=record.last_hash,
        hold=record.hold,
        test=record.test,
        external=record.external,
    )


def with_reason(run: JobRun, reason: str, pieces: int) -> JobRun:
    """So many pieces of the open scrap have this reason (below 0: no longer); "" is none."""
    if not reason or not pieces:
        return run
    known = dict(run.open_scrap_reasons)
    if reason not in known and len(known) >= REASONS_MAX:
        return run  # its pieces stay scrap, without a reason
    known[reason] = known.get(reason, 0) + pieces
    return run._replace(open_scrap_reasons=tuple((name, number) for name, number in known.items() if number > 0))


def without_reasons(run: JobRun, pieces: int) -> JobRun:
    """So many pieces of the open scrap are none any more: those without a reason first, then the last named."""
    unnamed = run.open_scrap - sum(number for _, number in run.open_scrap_reasons)
    rest = pieces - unnamed
    for reason, number in reversed(run.open_scrap_reasons):
        if rest <= 0:
            break
        taken = min(rest, number)
        run, rest = with_reason(run, reason, -taken), rest - taken
    return run


def room(run: JobRun, role: Role, target_counts: str) -> int | None:
    """How many more pieces of this role the order takes before it is complete; None: as many as come."""
    counts = role is Role.GOOD or (role is Role.SCRAP and target_counts == "good_plus_scrap")
    # What is made on hold waits for a verdict, so it ends nothing.
    if not counts or run.runs_on or run.waits_for_verdict:
        return None
    # A quantity of 10.5 is reached by the 11th piece.
    return max(math.ceil(run.job.quantity) - filled(run, target_counts), 0)


def filled(run: JobRun | JobRecord, target_counts: str) -> int:
    """How many pieces count against its quantity: what was made here, and what somebody confirmed in the ERP."""
    made = run.good + run.external[0]
    return made + run.scrap + run.external[1] if target_counts == "good_plus_scrap" else made


def stays_open(run: JobRun, role: Role, pieces: int, target_counts: str) -> bool:
    """True where these pieces count for the target and surely do not reach it."""
    if target_counts == "good_plus_scrap":
        made = run.good + run.scrap + run.external[0] + run.external[1]
        return (role is Role.GOOD or role is Role.SCRAP) and made + pieces < run.job.quantity
    return role is Role.GOOD and run.good + run.external[0] + pieces < run.job.quantity


def is_full(run: JobRun, target_counts: str) -> bool:
    """True once the target quantity is reached."""
    return room(run, Role.GOOD, target_counts) == 0


def book(run: JobRun, role: Role, pieces: int, event: CountEvent, *, cycles: int, at_ns: int | None = None) -> JobRun:
    """Pieces of one role, from one count event that was derived at ``at_ns``."""
    derived_ns = event.t_to_ns if at_ns is None else at_ns
    flags = run.open_flags
    if event.flag != "OK" and event.flag not in flags and len(flags) < FLAGS_MAX:
        flags = (*flags, event.flag)
    estimated = run.open_estimated + (pieces if event.estimated else 0)
    # Field by field, because every piece passes here: four times as fast as ``_replace``.
    if role is Role.GOOD:
        job, state, good, scrap, rework, open_good, open_scrap, open_rework, open_cycles, *_ = run
        totals = (job, state, good + pieces, scrap, rework)
        still_open = (open_good + pieces, open_scrap, open_rework, open_cycles + cycles, estimated, flags)
        return tuple.__new__(JobRun, (*totals, *still_open, run.open_from_ns, event.t_to_ns, derived_ns, *run[14:]))
    scrap = rework = hold = test = 0
    if role is Role.SCRAP:
        scrap = pieces
    elif role is Role.REWORK:
        rework = pieces
    elif role is Role.HOLD:
        hold = pieces
    else:
        test = pieces
    return JobRun(
        run.job,
        run.state,
        run.good,
        run.scrap + scrap,
        run.rework + rework,
        run.open_good,
        run.open_scrap + scrap,
        run.open_rework + rework,
        run.open_cycles + cycles,
        estimated,
        flags,
        run.open_from_ns,
        event.t_to_ns,
        derived_ns,
        run.confirmed_ns,
        run.seq,
        run.last_hash,
        run.waits_for_person,
        run.hold + hold,
        run.test + test,
        run.open_hold + hold,
        run.open_test + test,
        *run[22:],
    )
