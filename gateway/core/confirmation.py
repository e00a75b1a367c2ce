"""When a confirmation is made, its number and its key.

A confirmation carries the delta since the last one of its operation. Numbers are gapless per order and operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.document import digest_of, key_of, message_id_of
from gateway.core.model import Confirmation, ConfirmationKind
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.state.evidence import before

if TYPE_CHECKING:
    from gateway.core.document import Identity
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import ConfirmRule
    from gateway.core.state.timeline_state import TimelineState

#: The flag of a confirmation whose times nobody vouches for.
CLOCK_NOT_SYNCHRONISED: Final = "CLOCK_NOT_SYNCHRONISED"


def due_by_pieces(rule: ConfirmRule, run: JobRun) -> bool:
    """The piece that fills the hundred confirms all that is open; the hundred is not cut out of it."""
    # What is made on hold waits for a verdict, and once it is confirmed nobody can judge it here any more.
    return rule.every_pieces is not None and run.open_pieces >= rule.every_pieces and not run.waits_for_verdict


def deadline(rule: ConfirmRule, run: JobRun) -> int | None:
    """When the timer confirms; nothing open, nothing due."""
    if rule.every is None or not run.anything_open or run.state not in RUNNING or run.waits_for_verdict:
        return None
    return run.confirmed_ns + rule.every


def shift_of(timeline: TimelineState, at_ns: int) -> str:
    """Production day and shift in which a period ends, empty outside of shifts; one that ends with a shift is its."""
    context = before(timeline.contexts, at_ns)
    if context.from_ns < at_ns:
        return context.shift
    # The calendar has just changed, and with it what is known from here on; the shift before is in what was judged.
    judged = next((one for one in reversed(timeline.row) if one.from_ns < at_ns), None)
    return context.shift if judged is None else judged.shift


def confirm(
    identity: Identity,
    run: JobRun,
    at_ns: int,
    kind: ConfirmationKind,
    trigger: str,
    utc_offset_ns: int = 0,
    *,
    clock_known: bool = True,
    shift: str = "",
) -> tuple[JobRun, Confirmation]:
    """Close the open quantities into the next confirmation of this operation.

    Where nobody vouches for the clock it says so: its quantities are right, its times may not be.
    """
    seq = run.seq + 1
    key = key_of(identity, run.job, seq)
    draft = Confirmation(
        key=key,
        message_id=message_id_of(key),
        kind=kind,
        trigger=trigger,
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
        flags=run.open_flags if clock_known else (*run.open_flags, CLOCK_NOT_SYNCHRONISED),
        last_event_ns=run.last_event_ns,
        created_ns=at_ns,
        previous_digest=run.last_hash,
        digest="",
        hold=run.open_hold,
        test=run.open_test,
        total_hold=run.hold,
        total_test=run.test,
        utc_offset_ns=utc_offset_ns,
        shift=shift,
    )
    confirmation = draft._replace(digest=digest_of(identity, draft))
    closed = run._replace(
        open_good=0,
        open_scrap=0,
        open_rework=0,
        open_cycles=0,
        open_estimated=0,
        open_flags=(),
        open_from_ns=at_ns,
        confirmed_ns=at_ns,
        seq=seq,
        last_hash=confirmation.digest,
        open_hold=0,
        open_test=0,
    )
    return closed, confirmation
