"""Splits an order into children, merges orders under a leader, and takes a merge back as long as nothing was made.

A child is confirmed to the ERP as the order that it was split from, a leader as its originals; the last child alone
says that the ERP's order is complete. Whether it may be is asked of ``split_merge.py`` and of the order's life.
Distributes nothing.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.core.entries import MergeEntry, SplitEntry, UnmergeEntry
from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders import dispatch as dispatching
from gateway.core.orders.distribution import nothing_given
from gateway.core.orders.divided_material import handed_on
from gateway.core.orders.job_image import with_image
from gateway.core.orders.job_run import JobRun, filled
from gateway.core.orders.lifecycle import RUNNING, ActorRole, Trigger
from gateway.core.orders.merged import HANDED, Merged
from gateway.core.orders.order_steps import Cause, may
from gateway.core.orders.places import enqueue, named, without
from gateway.core.orders.progress import beside_of, least_of
from gateway.core.orders.split_merge import (
    Child,
    DivisionRefused,
    MergeMember,
    SplitRequest,
    child_image,
    merge,
    split,
)
from gateway.core.orders.standing_holds import applied
from gateway.core.refusal import Refusal, refused
from gateway.core.wording import pieces_of

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.split_merge import MergePlan
    from gateway.core.unit_state import State

_S: Final = JobOrderState


def divided(
    dispatch: Dispatch, state: State, entry: SplitEntry | MergeEntry | UnmergeEntry, out: list[Output]
) -> State:
    """The state after a person's word; what cannot be done is a REFUSED notice that says why."""
    if isinstance(entry, SplitEntry):
        after = _split(dispatch, state, entry, out)
    elif isinstance(entry, MergeEntry):
        after = _merge(dispatch, state, entry, out)
    else:
        after = _unmerge(dispatch, state, entry, out)
    if isinstance(after, str):
        out.append(refused(entry.at_ns, after))
        return state
    return dispatch.advance(after, entry.at_ns, out)


def leader_of(state: State, key: tuple[str, str]) -> JobRun | None:
    """The leader under which an original is, if it is merged here."""
    return next((run for run in state.open_runs() if run.merged is not None and key in run.merged.keys), None)


# --- split -----------------------------------------------------------------------------------------------------------


def _split(dispatch: Dispatch, state: State, entry: SplitEntry, out: list[Output]) -> State | str:
    run = named(state, entry.order, entry.operation)
    if isinstance(run, str):
        return run
    if run.merged is not None:
        return _leads(run, "an order that leads no others")
    taken = (*entry.taken, *(one.job.order for one in state.all_runs()))
    made = Decimal(filled(run, dispatch.rule.target_counts))
    asked = SplitRequest(run.job.order, run.state, run.job.quantity, made, entry.quantities, taken, run.held_from)
    plan = split(asked)
    if isinstance(plan, DivisionRefused):
        return _why(plan)
    cause = _cause(entry, "split")
    refusal = may(run, _S.SPLIT, cause, dispatch.rule).refusal or _too_many(state, len(plan.children) - 1)
    if refusal:
        return refusal
    at_ns = entry.at_ns
    run = dispatch.left(state, run, at_ns, "split", out)
    gone = run._replace(state=_S.SPLIT, held_from=None, hold_reason="", standing=())
    names = ", ".join(child.order for child in plan.children)
    out.append(JobChanged(at_ns, gone.record(), run.state, f"{cause.text}: {names}"))
    state = without(state, run)
    parts = [_like(run, JobRun(_child_job(run.job, child), before_state=run.before_state)) for child in plan.children]
    for begun in handed_on(run, parts):
        out.append(JobChanged(at_ns, begun.record(), None, f"split from {run.job.order}"))
        state = enqueue(state, begun)
    # What was begun before the split is the ERP's order's: its first part takes it.
    return state._replace(past=state.past.handed(run.job.key, (plan.children[0].order, run.job.operation)))


def _child_job(job: JobOrder, child: Child) -> JobOrder:
    erp_order = job.erp_order or job.order
    made = job._replace(order=child.order, quantity=child.quantity, erp_order=erp_order)
    return made if job.image is None else with_image(made, child_image(job.image, child, job.operation))


def _like(run: JobRun, new: JobRun) -> JobRun:
    """On hold where the order was that it comes from."""
    if run.state is not _S.ON_HOLD:
        return new
    return new._replace(state=_S.ON_HOLD, held_from=_S.DISPATCHED, hold_reason=run.hold_reason, standing=run.standing)


# --- merge -----------------------------------------------------------------------------------------------------------


def _merge(dispatch: Dispatch, state: State, entry: MergeEntry, out: list[Output]) -> State | str:
    found = [named(state, order, entry.operation) for order in entry.orders]
    runs = [one for one in found if not isinstance(one, str)]
    if len(runs) < len(found):
        return next(one for one in found if isinstance(one, str))
    plan = _planned(dispatch, state, entry, runs)
    if isinstance(plan, str):
        return plan
    cause, at_ns = _cause(entry, f"merged into {entry.leader}"), entry.at_ns
    refusals = (may(run, _S.MERGED, cause, dispatch.rule).refusal for run in runs)
    refusal = next((one for one in refusals if one), "")
    if refusal:
        return refusal
    originals: list[JobRun] = []
    for run in runs:
        one = dispatch.confirmed(state, run, at_ns, "merge", out) if run.anything_open else run
        one = one._replace(job=one.job._replace(leader=entry.leader))
        out.append(JobChanged(at_ns, one._replace(state=_S.MERGED).record(), run.state, cause.text))
        state = without(state, run)
        state = state._replace(past=state.past.handed(run.job.key, (entry.leader, run.job.operation)))
        originals.append(one)
    given = tuple(nothing_given(plan.originals) for _ in HANDED)
    merged = Merged(plan.how, plan.originals, tuple(originals), given)
    leader = least_of(JobRun(_leader_job(entry.leader, originals, plan), merged=merged), originals)
    leader = beside_of(leader, originals)
    held = next((run for run in originals if run.state is _S.ON_HOLD), leader)
    leader = _like(held, leader)
    out.append(JobChanged(at_ns, leader.record(), None, f"leads {', '.join(entry.orders)}"))
    return enqueue(state, leader)


def _planned(dispatch: Dispatch, state: State, entry: MergeEntry, runs: list[JobRun]) -> MergePlan | str:
    leads = next((run for run in runs if run.merged is not None), None)
    if leads is not None:
        return _leads(leads, "orders that lead no others")
    unlike = sorted({f"{run.job.operation} from {run.job.source}" for run in runs})
    if len(unlike) > 1:
        todo = "merge only orders of one operation and one ERP"
        text = f"DIFFERENT_OPERATION: found {', '.join(unlike)}, allowed: the same operation; {todo}"
        return Refusal(text, "DIFFERENT_OPERATION", found=", ".join(unlike), allowed="the same", what_to_do=todo)
    ratios = entry.ratios or (1,) * len(runs)
    if len(ratios) != len(runs):
        found, allowed = f"{len(ratios)} ratios", f"{len(runs)}, one for each order"
        todo = "name one for each order, in their sequence"
        return Refusal(
            f"RATIO: found {found}, allowed: {allowed}; {todo}", "RATIO", found=found, allowed=allowed, what_to_do=todo
        )
    members = [
        MergeMember(
            order=run.job.order,
            state=run.state,
            product=run.job.product,
            product_revision=run.job.product_revision,
            uom=run.job.uom,
            open_pieces=math.ceil(run.job.quantity) - filled(run, dispatch.rule.target_counts),
            due_ns=run.job.planned_end_ns,
            ratio=ratio,
            held_from=run.held_from,
        )
        for run, ratio in zip(runs, ratios, strict=True)
    ]
    taken = (*entry.taken, *(run.job.order for run in state.all_runs()))
    plan = merge(entry.leader, members, entry.how or dispatch.rule.distribution, taken)
    return _why(plan) if isinstance(plan, DivisionRefused) else plan


def _leader_job(name: str, originals: list[JobRun], plan: MergePlan) -> JobOrder:
    """The first original's, for all of them; it belongs to the shop floor, and is never confirmed itself."""
    job, quantity = originals[0].job, Decimal(plan.open_pieces)
    dates = [run.job.planned_end_ns for run in originals if run.job.planned_end_ns is not None]
    made = job._replace(
        order=name,
        quantity=quantity,
        sequence_no=min(run.job.sequence_no for run in originals),
        planned_end_ns=min(dates, default=None),
        echo=(),
        erp_order="",
        leader="",
        leads=tuple(run.job.order for run in originals),
    )
    if job.image is None:
        return made
    return with_image(made, child_image(job.image, Child(name, job.order, quantity), job.operation))


def _unmerge(dispatch: Dispatch, state: State, entry: UnmergeEntry, out: list[Output]) -> State | str:
    run = named(state, entry.order, entry.operation)
    if isinstance(run, str):
        return run
    if run.merged is None:
        todo = "name a leader"
        text = f"NO_LEADER: order {run.job.order} leads no others; {todo}"
        return Refusal(text, "NO_LEADER", found=run.job.order, allowed="a merged order", what_to_do=todo)
    made = sum(getattr(run, role) for role in HANDED)
    if run.state in RUNNING or made:
        found = f"{pieces_of(made)} made" if made else run.state
        todo = "finish it instead: what was made is its originals'" if made else "interrupt it first"
        text = f"MERGE_IN_USE: found {found}, allowed: a leader that stands and made nothing; {todo}"
        return Refusal(text, "MERGE_IN_USE", found=found, allowed="stands, nothing made", what_to_do=todo)
    if state.works_on(run.job.key):  # on hold, on the machine
        text, todo = (
            "MERGE_IN_USE: it is on the machine; release and interrupt it first",
            "release and interrupt it first",
        )
        return Refusal(text, "MERGE_IN_USE", found="on the machine", what_to_do=todo)
    cause, at_ns = _cause(entry, "merge undone"), entry.at_ns
    # A setup takes time without any piece, and a person may have issued material.
    led = dispatch.left(state, run, at_ns, "merge undone", out)
    assert led.merged is not None, "it leads"
    gone = led._replace(state=_S.CANCELLED, held_from=None, hold_reason="", standing=(), merged=None)
    out.append(JobChanged(at_ns, gone.record(), run.state, cause.text))
    state = without(state, run)
    for original in led.merged.runs:
        back = original._replace(job=original.job._replace(leader=""))
        out.append(JobChanged(at_ns, back.record(), _S.MERGED, cause.text))
        state = enqueue(state, back)
    # They are as they were when they were merged: a hold that stood then may be released by now.
    return applied(dispatch, state, at_ns, out)


# --- refusals --------------------------------------------------------------------------------------------------------


def _cause(entry: SplitEntry | MergeEntry | UnmergeEntry, what: str) -> Cause:
    text = f"{what} by {entry.who}" + (f": {entry.reason}" if entry.reason else "")
    return Cause(Trigger.COMMAND, entry.role or ActorRole.SUPERVISOR, text)


def _why(plan: DivisionRefused) -> Refusal:
    return Refusal(str(plan), plan.code, found=plan.found, allowed=plan.allowed, what_to_do=plan.what_to_do)


def _leads(run: JobRun, allowed: str) -> Refusal:
    todo = "undo the merge first, or finish it"
    text = f"LEADER: found order {run.job.order}, which leads {', '.join(run.job.leads)}, allowed: {allowed}; {todo}"
    return Refusal(text, "LEADER", found=run.job.order, allowed=allowed, what_to_do=todo)


def _too_many(state: State, more: int) -> str:
    most = dispatching.JOB_QUEUE_MAX
    if len(state.queue) + more <= most:
        return ""
    text = f"QUEUE_FULL: found {len(state.queue)} open orders and {more} more, allowed {most}; finish some first"
    found, todo = str(len(state.queue) + more), "finish some orders first"
    return Refusal(text, "QUEUE_FULL", found=found, allowed=str(most), what_to_do=todo)
