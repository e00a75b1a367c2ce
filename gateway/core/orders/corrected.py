"""One confirmation of a correction: a reversal, one that takes the place of another, or a pair of roles.

It says what the one before said, with other pieces or the other sign, for the same period and posting date, under the
next number of its operation. Decides nothing and changes no numbers of the order but its last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.confirmation import CLOCK_NOT_SYNCHRONISED, shift_of, with_total_of
from gateway.core.confirming.booked import negated
from gateway.core.confirming.corrections import EntryKind
from gateway.core.confirming.hold_back import Delivery, admitted
from gateway.core.document import digest_of, key_of, message_id_of
from gateway.core.model import Confirmation, ConfirmationKind

if TYPE_CHECKING:
    from gateway.core.confirming.booked import Content
    from gateway.core.confirming.corrections import Draft
    from gateway.core.confirming.quantities import Pieces
    from gateway.core.orders.closing import Closer
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State
    from gateway.core.work.run_work import ConfirmedWork

TRIGGER = "correction"


class Making(NamedTuple):
    """What is the same for all of one correction.

    ``over``: whether the whole is beyond target, and beyond tolerance. ``scrap_reason``: of scrap that comes on top.
    """

    closer: Closer
    state: State
    over: tuple[bool, bool]
    scrap_reason: str = ""


def drafted(
    making: Making, run: JobRun, draft: Draft, content: Content | None, said: ConfirmedWork | None, confirmed: Pieces
) -> tuple[JobRun, Confirmation]:
    """The order after it, and the confirmation.

    ``content``: of the one that it takes back or replaces, None for a pair. ``said``: its times and material as they
    are now. ``confirmed``: all that is confirmed with it.
    """
    closer, state = making.closer, making.state
    at_ns, offset_ns, seq = draft.by.at_ns, state.utc_offset_ns, run.seq + 1
    key = key_of(closer.identity, run.job, seq)
    back = draft.kind is EntryKind.REVERSAL
    run, work = with_total_of(run, negated(said) if back else said)
    flags = () if content is None else content.flags
    made = Confirmation(
        key=key,
        message_id=message_id_of(key),
        kind=ConfirmationKind(draft.kind.value),
        trigger=TRIGGER,
        job=run.job,
        seq=seq,
        period_from_ns=at_ns if content is None else content.from_utc_ns - offset_ns,
        period_to_ns=at_ns if content is None else content.to_utc_ns - offset_ns,
        good=draft.pieces.good,
        scrap=draft.pieces.scrap,
        rework=draft.pieces.rework,
        total_good=confirmed.good,
        total_scrap=confirmed.scrap,
        total_rework=confirmed.rework,
        cycles=0 if content is None else draft.sign * content.cycles,
        estimated_pieces=0 if content is None else draft.sign * content.estimated,
        flags=flags if state.clocks.known else tuple(dict.fromkeys((*flags, CLOCK_NOT_SYNCHRONISED))),
        last_event_ns=None if content is None or content.event_utc_ns is None else content.event_utc_ns - offset_ns,
        created_ns=at_ns,
        previous_digest=run.last_hash,
        digest="",
        hold=draft.pieces.hold,
        test=draft.pieces.test,
        total_hold=confirmed.hold,
        total_test=confirmed.test,
        utc_offset_ns=offset_ns,
        shift=shift_of(state.track.timeline, at_ns) if content is None else content.shift,
        work=None if work is None else work._replace(told=run.work.times),
        scrap_reasons=_reasons(draft, content, making.scrap_reason),
        origin=draft.origin.value,
        reverses=draft.reverses,
        by=draft.by.who,
        reason=draft.by.reason,
        tool="" if content is None else content.tool,
    )
    made = _judged(making, made, draft, content)
    made = made._replace(digest=digest_of(closer.identity, made))
    return run._replace(seq=seq, last_hash=made.digest), made


def _judged(making: Making, made: Confirmation, draft: Draft, content: Content | None) -> Confirmation:
    """With its date, and how far it is on its way."""
    closer, over = making.closer, making.over
    at_ns, offset_ns = made.created_ns, made.utc_offset_ns
    if content is None:
        dated = closer.dated(at_ns + offset_ns, at_ns + offset_ns)
        made = made._replace(posting_date=dated.posting, event_day=dated.event_day)
    else:
        made = made._replace(posting_date=draft.posting or content.posting_date, event_day=content.event_day)
    sent = draft.delivery in (Delivery.READY, Delivery.NEEDS_APPROVAL)
    release_ns = admitted(closer.rule, "", at_ns, by_person=True).release_ns if sent else at_ns
    made = made._replace(release_ns=release_ns, delivery="" if sent else draft.delivery.value)
    if content is None or draft.kind is EntryKind.REVERSAL:
        return made
    # What was approved once stays so, as long as it does not say more.
    grown = draft.pieces.good + draft.pieces.scrap > content.pieces.good + content.pieces.scrap
    asked = grown or draft.delivery is Delivery.NEEDS_APPROVAL
    return made._replace(
        over_target=over[0],
        needs_approval=over[1] and asked,
        clear_reservations=content.clear_reservations and draft.kind is EntryKind.FINAL,
    )


def _reasons(draft: Draft, content: Content | None, scrap_reason: str) -> tuple[tuple[str, int], ...]:
    """Scrap by reason; what comes on top has the reason that was just given, or none."""
    known = {} if content is None else dict(content.scrap_reasons)
    if draft.kind is EntryKind.REVERSAL:
        return tuple((reason, -pieces) for reason, pieces in known.items())
    before = 0 if content is None else content.pieces.scrap
    more, over = draft.pieces.scrap - before, sum(known.values()) - draft.pieces.scrap
    if more > 0 and scrap_reason:
        known[scrap_reason] = known.get(scrap_reason, 0) + more
    for reason in reversed(known):
        if over <= 0 or content is None:
            break
        taken = min(over, known[reason])
        known[reason], over = known[reason] - taken, over - taken
    return tuple((reason, pieces) for reason, pieces in known.items() if pieces > 0)
