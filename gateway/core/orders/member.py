"""A machine that works on another one's orders: it counts for what its lead says runs, and tells the lead what it made.

Its job orders are shadows: sums of one stretch, without numbers of confirmations; the order itself, its state, its end
and its confirmations are the lead's (``lead.py``). What it makes while its lead has no order is unallocated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.duration import NS_PER_UNIT
from gateway.core.job_order import JobOrderState
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.places import enqueue, put_to_work, with_run, without
from gateway.core.orders.shares import STRETCHES_MAX, TAKEN_BACK_NS, LeadTold, MemberRow, less
from gateway.core.orders.stop_request import ask_member
from gateway.core.orders.unallocated import Found, add
from gateway.core.refusal import Refusal
from gateway.core.unit_state import ROLES

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.core.model import JobOrder, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.intake import Heard
    from gateway.core.rules_confirming import UnallocatedRule
    from gateway.core.unit_state import State
    from gateway.core.work.work_book import WorkBook

#: A stretch that is over and booked is kept so long: counts that are read late still belong to it.
KEPT_NS: Final = 10 * NS_PER_UNIT["min"]
#: And so long where its time is not judged yet, which would otherwise be the next stretch's, too.
UNJUDGED_KEPT_NS: Final = 24 * NS_PER_UNIT["h"]
_S: Final = JobOrderState


def told(dispatch: Dispatch, state: State, given: LeadTold, out: list[Output]) -> State:
    """The state after the lead's word."""
    run, known = state.running, state.sharing
    if run is not None:
        ask_member(dispatch, run, known.full, given.is_full(run.job.key, known.since_ns), given.at_ns, out)
    state = _follow(dispatch, _forget(state, given), given, out)
    known_ns = given.at_ns - TAKEN_BACK_NS  # what is final before that is right, whatever the lead says next
    final = tuple(one for one in state.sharing.final if one.to_ns > known_ns)
    return state._replace(sharing=state.sharing._replace(since_ns=given.since_ns, final=final, full=given.full))


def since(before: State, given: Heard, at_ns: int) -> int:
    """From when on what it is told is so: its time is its order's until that ended at the lead, not until it hears."""
    if not isinstance(given, LeadTold) or not given.since_ns or before.running is None:
        return at_ns
    return min(given.since_ns if given.job is not None else given.over_ns(before.running.job.key), at_ns)


def rows_of(work: WorkBook, state: State) -> tuple[MemberRow, ...]:
    """What a member tells its lead."""
    return tuple(_row(work, state, run) for run in sorted(_stretches(state), key=lambda run: run.share_no))


def begun(state: State, job: JobOrder, at_ns: int) -> tuple[State, JobRun] | None:
    """A stretch of an order, new or the one that is kept, not at work yet; None: too many wait for the lead."""
    kept = next((run for run in state.queue if run.job.key == job.key), None)
    if kept is not None:
        return without(state, kept), kept._replace(job=job)
    if len(state.queue) >= STRETCHES_MAX:
        return None
    number = state.sharing.last_number + 1
    run = JobRun(job, _S.INTERRUPTED, open_from_ns=at_ns, confirmed_ns=at_ns, share_no=number)
    return state._replace(sharing=state.sharing._replace(last_number=number)), run


def refused_here(lead: str) -> Refusal:
    """Why nothing is decided about orders at a member."""
    todo = f"decide it at {lead}"
    text = f"it works on the orders of {lead} (shares_with), which holds and confirms them; {todo}"
    return Refusal(text, "LEAD_MACHINE", found="a machine that shares orders", allowed=lead, what_to_do=todo)


def parted(
    state: State, booked: Collection[MemberRow], rule: UnallocatedRule, work_center: str | None
) -> tuple[State, tuple[JobRun, ...]]:
    """The state of a machine that is no member any more (``work_center`` None), or one of this work center only now.

    What its lead has not booked of a shadow (``booked`` is what it has), and what is not confirmed of an order of its
    own, is unallocated here. The job orders that are gone come with it.
    """
    gone = tuple(
        run
        for run in state.open_runs()
        if (run.share_no if work_center is None else not run.share_no or run.job.work_center != work_center)
    )
    bucket, known = state.bucket, {row.number: row for row in booked}
    for run in gone:
        row = known.get(run.share_no)
        to_ns = max(run.last_event_ns or 0, run.open_from_ns)
        for role in ROLES:
            pieces = getattr(run, f"open_{role}") - (0 if row is None else getattr(row, role.value))
            if pieces > 0:
                bucket = add(rule, bucket, Found("", role, pieces, run.open_from_ns, to_ns, run.job.product))
    stay = tuple(run for run in state.at_work() if run not in gone)
    queue = tuple(run for run in state.queue if run not in gone)
    running = stay[0] if stay else None
    sharing = state.sharing._replace(said=()) if work_center is None else state.sharing
    return state._replace(running=running, beside=stay[1:], queue=queue, bucket=bucket, sharing=sharing), gone


def _follow(dispatch: Dispatch, state: State, given: LeadTold, out: list[Output]) -> State:
    run, job, at_ns = state.running, given.job, given.at_ns
    made_as = _S.ON_HOLD if given.waits else _S.IN_PROGRESS
    if run is not None:
        state = _heard_late(dispatch, state, run, given, out)
    if run is not None and job is not None and run.job.key == job.key:
        if run.job != job:
            run = run._replace(job=job)
        if run.state is not made_as:
            run = run._replace(state=made_as)
        return state if run is state.running else with_run(state, run)
    if run is not None:
        # What is booked is booked; what is counted later was made before the end, or is not the order's.
        over_ns = max(given.over_ns(run.job.key) or at_ns, run.last_event_ns or 0)
        state = dispatch.ceased(state, min(over_ns, at_ns), run)
        state = enqueue(without(state, run), run._replace(state=_S.INTERRUPTED, confirmed_ns=at_ns))
    if job is None:
        return state
    found = begun(state, job, at_ns)
    if found is None:
        return state
    state, run = found
    return put_to_work(state, run._replace(state=made_as))


def _heard_late(dispatch: Dispatch, state: State, run: JobRun, given: LeadTold, out: list[Output]) -> State:
    """The machine's time while its order did not run at the lead was not the order's, whatever was made in it."""
    job, at_ns = given.job, given.at_ns
    others = given.not_its(run.job.key, state.sharing.since_ns)
    same = job is not None and job.key == run.job.key
    for from_ns, to_ns in others:
        again = same or to_ns < at_ns
        begins_ns = to_ns
        if job is not None and not again:
            begins_ns = max(given.since_ns or to_ns, from_ns)
            state = dispatch.work.handed(state, begins_ns, to_ns, run, job)
        state = dispatch.work.handed(state, from_ns, begins_ns, run, None)
        state = dispatch.work.paused(state, run.job, (from_ns, to_ns if again else None), at_ns, out)
    return state


def _forget(state: State, given: LeadTold) -> State:
    """Without the stretches that are over, booked and old: the first ones first."""
    booked = {row.number: row for row in given.booked}
    gone: list[JobRun] = []
    waiting = sorted((run for run in state.queue if run.share_no), key=lambda run: run.share_no)
    for run in waiting:
        row = booked.get(run.share_no)
        judged = state.track.timeline.final_ns >= _ceased_ns(state, run, 0)
        kept_ns = KEPT_NS if judged else UNJUDGED_KEPT_NS
        young = given.at_ns < run.confirmed_ns + kept_ns and len(waiting) - len(gone) < STRETCHES_MAX
        moves = any((one.order, one.operation) == run.job.key for one in state.past.transit)
        if row is not None and row.sums == _sums(run) and not young and not moves:
            gone.append(run)
    for run in gone:
        state = without(state, run)
    keys = {run.job.key for run in gone}
    if not keys:
        return state
    ledgers = tuple(one for one in state.work.ledgers if one.key not in keys)
    numbers = {run.share_no for run in gone}
    sharing = state.sharing._replace(said=tuple(one for one in state.sharing.said if one[0] not in numbers))
    return state._replace(work=state.work._replace(ledgers=ledgers), sharing=sharing)


def _stretches(state: State) -> list[JobRun]:
    return [run for run in state.open_runs() if run.share_no]


def _sums(run: JobRun) -> tuple[int, ...]:
    return (run.good, run.scrap, run.rework, run.hold, run.test, run.open_cycles, run.open_estimated)


def _row(work: WorkBook, state: State, run: JobRun) -> MemberRow:
    ledger = work.seeming(state, run, state.at_ns)
    to_ns = max(min(run.last_event_ns or 0, _over_ns(state, run)), run.open_from_ns)
    made = dict(zip(MemberRow._fields[3:10], _sums(run), strict=True))
    row = MemberRow(run.share_no, *run.job.key, from_ns=run.open_from_ns, to_ns=to_ns)
    unsure = less(ledger.states, work.sure(state, run, state.at_ns))
    row = row._replace(**made, period=ledger.period, states=ledger.states, unsure=unsure)  # type: ignore[arg-type]  # integers
    row = row._replace(said=state.sharing.said_of(run.share_no))
    if run is not state.running:
        return row
    down = state.track.down_ns is not None
    return row.unknown() if down else row.going_on(work.seeming(state, run, state.at_ns + 1))


def _over_ns(state: State, run: JobRun) -> int:
    """When a stretch that waits ceased: what was counted of it later was made before."""
    return state.at_ns if run is state.running else _ceased_ns(state, run, state.at_ns)


def _ceased_ns(state: State, run: JobRun, unknown_ns: int) -> int:
    ended = (one.until_ns for one in reversed(state.past.ceased) if (one.order, one.operation) == run.job.key)
    return next(ended, unknown_ns)
