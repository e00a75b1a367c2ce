"""Confirmations put right: a person's correction becomes void postings, reversals and new confirmations, in one step.

What is made is decided by ``confirming/corrections.py`` from the ledger that comes with the person's word; here it gets
numbers, keys and content, and the order its numbers. Counts nothing, starts and ends no order but one that is full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.access.permissions import Action
from gateway.core.access.permissions import refusal as refusal_for
from gateway.core.confirming import corrections
from gateway.core.confirming.checklist import tolerated_part
from gateway.core.confirming.corrections import Capability, CorrectionRefused, EntryKind, Plan, Who
from gateway.core.confirming.hold_back import Delivery
from gateway.core.confirming.posting_date import posted_today
from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.model import JobChanged, JobOrderState, Role, Voided
from gateway.core.orders.corrected import Making, drafted
from gateway.core.orders.divided_corrections import led, original_of, remaining_shifted
from gateway.core.orders.job_run import FLAGS_MAX, from_record, is_full, with_reason
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.places import named, notice, refusal_of, with_run
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.orders.unallocated import Found, add
from gateway.core.refusal import Refusal, refused
from gateway.core.work.taken_back import due_again, judged_apart, told_otherwise

if TYPE_CHECKING:
    from gateway.core.confirming.booked import Confirmed, Content
    from gateway.core.entries import CorrectEntry, ReclassifyEntry, RejectEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules_material import BackflushRule
    from gateway.core.unit_state import State
    from gateway.core.work.run_work import ConfirmedWork

TRIGGER: Final = "correction"
#: States of an order that is over and may be corrected: what the ERP has of it is known here.
_OVER: Final = frozenset({
    JobOrderState.COMPLETED,
    JobOrderState.CLOSED,
    JobOrderState.CANCELLED,
    JobOrderState.SPLIT,
    JobOrderState.MERGED,
})  # fmt: skip


class Target(NamedTuple):
    """The order that is meant, its confirmations, and whether it is open here, by itself or under a ``leader``."""

    run: JobRun
    confirmed: Confirmed
    is_open: bool
    leader: JobRun | None = None


def corrected(dispatch: Dispatch, state: State, entry: CorrectEntry, out: list[Output]) -> State:
    """The state with one confirmation reversed, replaced or posted today; what cannot be done is a REFUSED notice."""
    target = target_of(dispatch, state, entry)
    if isinstance(target, str):
        out.append(refused(entry.at_ns, target))
        return state
    why: str
    content = target.confirmed.numbered(entry.number)
    if content is None:
        why = _unknown_number(target, entry.number)
        out.append(refusal_of(entry.at_ns, target.run.job, why))
        return state
    ledger, by = (
        target.confirmed.ledger(open_of(target.run)),
        Who(entry.at_ns, entry.who, entry.reason, entry.signed_by),
    )
    plan: Plan | CorrectionRefused
    if entry.today:
        offset_ns = state.utc_offset_ns
        today = dispatch.closer.dated(entry.at_ns + offset_ns, entry.at_ns + offset_ns).posting
        plan = posted_today(ledger, content, today, by)
    elif entry.pieces is None:
        if not target.is_open:
            out.append(refusal_of(entry.at_ns, target.run.job, _OVER_ALREADY))
            return state
        plan = corrections.reverse(ledger, content.key, by, target.confirmed.capability)
    else:
        pieces = Pieces(*entry.pieces, content.pieces.hold, content.pieces.test)
        plan = corrections.replace(ledger, content.key, pieces, by, target.confirmed.capability)
    if why := _why_not(plan, entry.role, by):
        out.append(refusal_of(entry.at_ns, target.run.job, why))
        return state
    assert isinstance(plan, Plan), "it was looked at"
    made: list[Output] = []
    changed = _counted(state, plan.book_change)
    after = carried_out(dispatch, changed, target, plan, by, made)
    placed_anew = put_back(dispatch, changed, target, after, entry.at_ns, made)
    if isinstance(placed_anew, Refusal):
        out.append(refusal_of(entry.at_ns, target.run.job, placed_anew))
        return state
    out += made
    return placed_anew


def rejected(dispatch: Dispatch, state: State, entry: RejectEntry, out: list[Output]) -> State:
    """The state with what an approval was refused for: the tolerated part is confirmed, the rest is nobody's."""
    target = target_of(dispatch, state, entry)
    if isinstance(target, str):
        out.append(refused(entry.at_ns, target))
        return state
    run, content = target.run, target.confirmed.numbered(entry.number)
    if content is None:
        out.append(refusal_of(entry.at_ns, run.job, _unknown_number(target, entry.number)))
        return state
    ledger, by = target.confirmed.ledger(open_of(run)), Who(entry.at_ns, entry.who, entry.reason)
    key, had = content.key, content.pieces
    counts = dispatch.rule.target_counts == "good_plus_scrap"
    others, own = _made(ledger.sent, scrap=counts) - _made(had, scrap=counts), _made(had, scrap=counts)
    tolerance = None if run.job.image is None else run.job.image.allowed_over
    _, rest = tolerated_part(dispatch.closer.rule.delivery, run.job.quantity, tolerance, others, own)
    rest = min(rest, had.good)
    plan = corrections.refused_part(ledger, key, had._replace(good=had.good - rest), by)
    if why := _why_not(plan, entry.role, by):
        out.append(refusal_of(entry.at_ns, run.job, why))
        return state
    assert isinstance(plan, Plan), "it was looked at"
    made: list[Output] = []
    before, after = state, carried_out(dispatch, state, target, plan, by, made)
    if rest:
        offset_ns, setup = state.utc_offset_ns, state.track.setup
        span = (content.from_utc_ns - offset_ns, content.to_utc_ns - offset_ns)
        found = Found("", Role.GOOD, rest, *span, product=run.job.product, tool=setup.tool)
        state = state._replace(bucket=add(dispatch.unallocated_rule, state.bucket, found))
        made.append(notice(entry.at_ns, "REJECTED_UNALLOCATED", run.job, pieces=str(rest), confirmation=key))
    placed_anew = put_back(dispatch, state, target, after, entry.at_ns, made)
    if isinstance(placed_anew, Refusal):
        out.append(refusal_of(entry.at_ns, run.job, placed_anew))
        return before
    out += made
    return placed_anew


def _unknown_number(target: Target, number: int) -> Refusal:
    numbers = ", ".join(str(one.seq) for one in target.confirmed.contents[-_SHOWN_MAX:]) or "none"
    text = f"found number {number}, allowed the number of one of its confirmations: {numbers}"
    return Refusal(text, "UNKNOWN_CONFIRMATION", found=str(number), allowed=numbers, what_to_do=_SEE)


def judged_anew(
    dispatch: Dispatch, state: State, target: Target, entry: ReclassifyEntry, out: list[Output]
) -> tuple[State, JobRun] | str:
    """Confirmed pieces that are something else: the state, and the order after it; or why not. Open ones go first."""
    by = Who(entry.at_ns, entry.who, entry.reason, entry.signed_by)
    before, after, capability = entry.from_role, entry.to_role, target.confirmed.capability
    ledger = target.confirmed.ledger(open_of(target.run))
    plan = corrections.reclassify(ledger, entry.pieces, before, after, by, capability)
    if why := _why_not(plan, entry.role, by):
        return why
    assert isinstance(plan, Plan), "it was looked at"
    state = _counted(state, plan.book_change)
    reason = entry.reason if after is Role.SCRAP else ""
    return state, carried_out(dispatch, state, target, plan, by, out, scrap_reason=reason)


def reopened(
    dispatch: Dispatch, state: State, target: Target, by: Who, out: list[Output]
) -> JobRun | CorrectionRefused:
    """The order with its final confirmation reversed and made anew as a partial one; or why that waits."""
    if target.confirmed.capability is Capability.MANUAL:
        text = f"its final confirmation, number {target.run.seq}, is out"
        return CorrectionRefused("BY_HAND", text, "reverse it in the ERP")
    plan = corrections.reopened(target.confirmed.ledger(), by, target.confirmed.capability)
    if plan is None:
        return target.run
    if isinstance(plan, CorrectionRefused):
        return plan
    return carried_out(dispatch, state, target, plan, by, out)


def target_of(dispatch: Dispatch, state: State, entry: CorrectEntry | RejectEntry | ReclassifyEntry) -> Target | str:
    """The order that is meant, open here or over; or why it is none."""
    run = named(state, entry.order, entry.operation)
    if not isinstance(run, str):
        if run.merged is not None or run.job.leads:
            todo = "name the original order that is confirmed"
            text = f"LEADER: it leads {', '.join(run.job.leads)}, and only these are confirmed; {todo}"
            return Refusal(text, "LEADER", found=run.job.order, allowed="an order of the ERP's", what_to_do=todo)
        return _told(run, entry.ledger, is_open=True)
    record = entry.known
    under = None if record is None else original_of(state, record.job.key)
    if under is not None:
        return _told(under[0], entry.ledger, is_open=True, leader=under[1])
    here = record is not None and record.job.work_center == dispatch.identity.work_center
    if record is None or not here or record.state not in _OVER or record.job.leads:
        return run
    return _told(from_record(record, record.job)._replace(state=record.state), entry.ledger, is_open=False)


def carried_out(
    dispatch: Dispatch, state: State, target: Target, plan: Plan, by: Who, out: list[Output], *, scrap_reason: str = ""
) -> JobRun:
    """The order after the plan: what is void is told first, then each draft is closed under its own number."""
    run, known = target.run, target.confirmed
    confirmed, still_open = totals_of(run).minus(open_of(run)), open_of(run)
    out.extend(Voided(by.at_ns, key, by.who, by.reason) for key in plan.voided)
    rule = dispatch.work.rule.backflush
    # Over all drafts: what is made anew may be beyond the tolerance.
    whole = totals_of(run).plus(plan.book_change)
    over = dispatch.closer.over(_with_totals(run, whole, NOTHING))
    making = Making(dispatch.closer, state, over, scrap_reason)
    left: dict[str, Content] = {}  # taken back, and not made anew yet
    for draft in plan.drafts:
        content = known.keyed(draft.content_of) if draft.content_of else None
        said = None if content is None else content.work
        if content is not None and draft.kind is EntryKind.REVERSAL:
            left[content.key] = content
        elif content is not None and said is not None:
            left.pop(content.key, None)
            change = draft.pieces.minus(content.pieces)
            work, said = told_otherwise(run.work, said, run.job, change, rule, content.pieces.hold)
            run = run._replace(work=work)
        elif content is None and draft.pieces.hold < 0:
            work, said = judged_apart(run.work, _that_hold(known), run.job, draft.pieces, rule)
            run = run._replace(work=work)
        elif content is not None:
            left.pop(content.key, None)
        confirmed = confirmed.plus(draft.pieces)
        run, one = drafted(making, run, draft, content, said, confirmed)
        out.append(one)
        if one.delivery == Delivery.BY_HAND:
            out.append(notice(by.at_ns, "CORRECTION_BY_HAND", run.job, confirmation=one.key, reason=by.reason))
    for content in left.values():
        run = _due_again(state, run, content, rule) if target.is_open else run
    run = _with_totals(run, whole, still_open.plus(plan.open_change))
    if scrap_reason:
        run = with_reason(run, scrap_reason, plan.open_change.scrap)
    assert totals_of(run).minus(open_of(run)) == confirmed, "what is confirmed and open is the book"
    out.append(JobChanged(by.at_ns, run.record(), run.state, TRIGGER))
    return run


def put_back(
    dispatch: Dispatch, state: State, target: Target, after: JobRun, at_ns: int, out: list[Output]
) -> State | Refusal:
    """The state with an order that was corrected: open, over, under its leader, or split; or why that cannot be."""
    if target.leader is not None:
        leader = led(target.leader, target.run, after)
        return leader if isinstance(leader, Refusal) else placed(dispatch, state, target.leader, leader, at_ns, out)
    state = placed(dispatch, state, target.run, after, at_ns, out, is_open=target.is_open)
    if target.run.state is not JobOrderState.SPLIT:
        return state
    state = remaining_shifted(state, target.run, after, dispatch.rule.target_counts, at_ns, out)
    return dispatch.complete_if_full(state, at_ns, out)


def placed(
    dispatch: Dispatch,
    state: State,
    before: JobRun,
    after: JobRun,
    at_ns: int,
    out: list[Output],
    *,
    is_open: bool = True,
) -> State:
    """The state with the order as it is now: at work, waiting or over; one that is full by it ends."""
    if not is_open:
        previous = state.previous
        return state if previous is None or previous.job.key != after.job.key else state._replace(previous=None)
    if state.works_on(after.job.key):
        ask_to_stop(dispatch, state, before, after, at_ns, out)
        return dispatch.complete_if_full(with_run(state, after), at_ns, out)
    counts = dispatch.rule.target_counts
    if is_full(before, counts) and not is_full(after, counts):
        after = after._replace(waits_for_person=False)  # it was put aside as full, and is to make some more
    return dispatch.advance(dispatch.late(state, after, at_ns, out, more=True), at_ns, out)


def totals_of(run: JobRun) -> Pieces:
    """All that was made of an order."""
    return Pieces(run.good, run.scrap, run.rework, run.hold, run.test)


def open_of(run: JobRun) -> Pieces:
    """What is not confirmed of it."""
    return Pieces(run.open_good, run.open_scrap, run.open_rework, run.open_hold, run.open_test)


# --- parts ------------------------------------------------------------------------------------------------------------

_SHOWN_MAX: Final = 20
_SEE: Final = "name one of them; see linegate outbox list --order"
_OVER_ALREADY: Final = Refusal(
    "it is over, and its pieces would be open again with nobody to confirm them; give the confirmation other numbers "
    "(linegate order correct), or reopen the order",
    "ORDER_OPEN",
    found="an order that is over",
    allowed="an open order",
    what_to_do="give the confirmation other numbers, or reopen the order",
)


def _told(run: JobRun, known: Confirmed | None, *, is_open: bool, leader: JobRun | None = None) -> Target | str:
    if known is None:
        todo = "ask again; if it stays, report it"
        return Refusal(f"its confirmations could not be read; {todo}", "CONFIRMATIONS_KNOWN", what_to_do=todo)
    return Target(run, known, is_open, leader)


def _why_not(plan: Plan | CorrectionRefused, role: ActorRole | None, by: Who) -> str:
    if isinstance(plan, CorrectionRefused):
        return Refusal(str(plan), plan.code, found=plan.text, what_to_do=plan.what_to_do)
    no = refusal_for(role or ActorRole.SUPERVISOR, Action.CORRECT_AFTER_FINAL) if by.signed_by else None
    if no is None:
        return ""
    allowed = ", ".join(one.value for one in no.allowed)
    return Refusal(f"{no.code}: {no.text}", no.code, found=str(no.role), allowed=allowed, what_to_do="ask one of them")


def _that_hold(known: Confirmed) -> tuple[tuple[Pieces, ConfirmedWork], ...]:
    """Pieces and work of the confirmations that hold."""
    live = {one.key for one in known.ledger().live()}
    return tuple((one.pieces, one.work) for one in known.contents if one.work is not None and one.key in live)


def _made(pieces: Pieces, *, scrap: bool) -> int:
    return pieces.good + (pieces.scrap if scrap else 0)


def _counted(state: State, change: Pieces) -> State:
    counted = state.counted
    for role in Role:
        if change.role(role):
            counted = counted.plus(role, change.role(role))
    return state if counted is state.counted else state._replace(counted=counted)


def _with_totals(run: JobRun, totals: Pieces, still_open: Pieces) -> JobRun:
    numbers = totals._asdict() | {f"open_{name}": pieces for name, pieces in still_open._asdict().items()}
    return run._replace(**numbers)


def _due_again(state: State, run: JobRun, content: Content, rule: BackflushRule) -> JobRun:
    """The order with all that a confirmation said but its pieces open again."""
    known = dict(run.open_scrap_reasons)
    for reason, pieces in content.scrap_reasons:
        known[reason] = known.get(reason, 0) + pieces
    flags = tuple(dict.fromkeys((*run.open_flags, *content.flags)))[:FLAGS_MAX]
    made_ns = None if content.event_utc_ns is None else content.event_utc_ns - state.utc_offset_ns
    work = run.work
    if content.work is not None:
        work = due_again(work, content.work, run.job, content.pieces, rule)
    return run._replace(
        open_cycles=run.open_cycles + content.cycles,
        open_estimated=run.open_estimated + content.estimated,
        open_flags=flags,
        open_from_ns=min(run.open_from_ns, content.from_utc_ns - state.utc_offset_ns),
        last_event_ns=made_ns if run.last_event_ns is None else run.last_event_ns,
        open_scrap_reasons=tuple(known.items()),
        work=work,
    )
