"""When a confirmation is made, its number and its key.

A confirmation carries the delta since the last one of its operation. Numbers are gapless per order and operation. How
it is judged (date, tolerance, milestone) is ``orders/closing.py``'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.confirming import triggers
from gateway.core.confirming.corrections import Origin
from gateway.core.confirming.triggers import OpenContent, TriggerState
from gateway.core.document import digest_of, key_of, message_id_of
from gateway.core.model import Confirmation, ConfirmationKind
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.state.evidence import before
from gateway.core.work.run_work import with_total

if TYPE_CHECKING:
    from gateway.core.document import Identity
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import ConfirmRule
    from gateway.core.state.timeline_state import TimelineState
    from gateway.core.work.run_work import ConfirmedWork

#: The flag of a confirmation whose times nobody vouches for.
CLOCK_NOT_SYNCHRONISED: Final = "CLOCK_NOT_SYNCHRONISED"


class Closing(NamedTuple):
    """What is known of a confirmation besides its content when it is made.

    ``by`` and ``reason``: who caused it, "" where nobody did. ``kept_back``: the milestone whose confirmation makes the
    ERP confirm this one by itself, "" where it is to be sent. ``release_ns``: not sent before.
    """

    at_ns: int
    kind: ConfirmationKind
    trigger: str
    utc_offset_ns: int = 0
    clock_known: bool = True
    shift: str = ""
    posting_date: str = ""
    event_day: str = ""
    origin: Origin = Origin.AUTO
    by: str = ""
    reason: str = ""
    over_target: bool = False
    needs_approval: bool = False
    clear_reservations: bool = False
    kept_back: str = ""
    release_ns: int = 0
    flags: tuple[str, ...] = ()
    work: ConfirmedWork | None = None
    tool: str = ""


def due_by_pieces(rule: ConfirmRule, run: JobRun) -> bool:
    """The piece that fills the hundred confirms all that is open; the hundred is not cut out of it."""
    # What waits for a verdict keeps its confirmation waiting, as long as nothing cuts the period.
    return rule.every_pieces is not None and run.open_pieces >= rule.every_pieces and not run.waits_for_verdict


def content_of(run: JobRun, time_ns: int = 0) -> OpenContent:
    """What is open of a job order; ``time_ns`` of activity times that are not confirmed."""
    return OpenContent(run.open_pieces, run.open_test, time_ns)


def trigger_state(run: JobRun) -> TriggerState:
    """What the triggers remember of a job order."""
    return TriggerState(run.confirmed_ns, run.waiting)


def deadline(rule: ConfirmRule, run: JobRun) -> int | None:
    """When a confirmation is due by itself; nothing open, nothing due."""
    if run.state not in RUNNING or run.waits_for_verdict:
        return None
    return triggers.deadline(rule, trigger_state(run), content_of(run))


def earlier(rule: ConfirmRule, run: JobRun, due_ns: int | None) -> int | None:
    """``due_ns``, or when a confirmation is due by itself, if that is before. Asked for every input."""
    if run.waiting or (rule.every_pieces is not None and run.open_pieces >= rule.every_pieces):
        first_ns = run.confirmed_ns + rule.spacing_ns
    elif rule.every is None:
        return due_ns
    else:
        first_ns = run.confirmed_ns + rule.every
    if due_ns is not None and first_ns >= due_ns:  # far away mostly
        return due_ns
    timer = deadline(rule, run)
    return timer if timer is not None and (due_ns is None or timer < due_ns) else due_ns


def shift_of(timeline: TimelineState, at_ns: int) -> str:
    """Production day and shift in which a period ends, empty outside of shifts; one that ends with a shift is its."""
    context = before(timeline.contexts, at_ns)
    if context.from_ns < at_ns:
        return context.shift
    # The calendar has just changed, and with it what is known from here on; the shift before is in what was judged.
    judged = next((one for one in reversed(timeline.row) if one.from_ns < at_ns), None)
    return context.shift if judged is None else judged.shift


def confirm(identity: Identity, run: JobRun, closing: Closing) -> tuple[JobRun, Confirmation]:
    """Close the open quantities into the next confirmation of this operation.

    Where nobody vouches for the clock it says so: its quantities are right, its times may not be.
    """
    seq, at_ns = run.seq + 1, closing.at_ns
    key = key_of(identity, run.job, seq)
    flags = (*run.open_flags, *closing.flags)
    run, work = with_total_of(run, closing.work)
    draft = Confirmation(
        key=key,
        message_id=message_id_of(key),
        kind=closing.kind,
        trigger=closing.trigger,
        job=run.job,
        seq=seq,
        period_from_ns=run.open_from_ns,
        period_to_ns=at_ns,
        good=run.open_good,
        scrap=run.open_scrap,
        rework=run.open_rework,
        total_good=run.good,
        total_scrap=run.scrap,
        total_rework=run.rework,
        cycles=run.open_cycles,
        estimated_pieces=run.open_estimated,
        flags=flags if closing.clock_known else (*flags, CLOCK_NOT_SYNCHRONISED),
        last_event_ns=run.last_event_ns,
        created_ns=at_ns,
        previous_digest=run.last_hash,
        digest="",
        hold=run.open_hold,
        test=run.open_test,
        total_hold=run.hold,
        total_test=run.test,
        utc_offset_ns=closing.utc_offset_ns,
        shift=closing.shift,
        scrap_reasons=run.open_scrap_reasons,
        origin=closing.origin,
        posting_date=closing.posting_date,
        event_day=closing.event_day,
        by=closing.by,
        reason=closing.reason,
        over_target=closing.over_target,
        needs_approval=closing.needs_approval,
        clear_reservations=closing.clear_reservations,
        kept_back=closing.kept_back,
        release_ns=max(closing.release_ns, at_ns),
        derived_ns=run.last_derived_ns if run.anything_open else None,
        work=work,
        tool=closing.tool,
    )
    confirmation = draft._replace(digest=digest_of(identity, draft))
    return closed(run, confirmation), confirmation


def with_total_of(run: JobRun, said: ConfirmedWork | None) -> tuple[JobRun, ConfirmedWork | None]:
    """The job order and its confirmation's work with the minutes of all its confirmations."""
    if said is None:
        return run, None
    work, said = with_total(run.work, said)
    return run._replace(work=work), said


def closed(run: JobRun, confirmation: Confirmation) -> JobRun:
    """The job order with nothing open: all of it is in this confirmation."""
    empty = with_nothing_open(run, confirmation.period_to_ns)
    return empty._replace(seq=confirmation.seq, last_hash=confirmation.digest)


def with_nothing_open(run: JobRun, at_ns: int) -> JobRun:
    """The job order as its next period begins."""
    return run._replace(
        open_good=0,
        open_scrap=0,
        open_rework=0,
        open_cycles=0,
        open_estimated=0,
        open_flags=(),
        open_from_ns=at_ns,
        confirmed_ns=at_ns,
        open_hold=0,
        open_test=0,
        open_scrap_reasons=(),
        waiting=(),
    )
