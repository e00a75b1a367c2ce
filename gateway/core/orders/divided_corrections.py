"""Corrections of orders that were split or merged here: what they change at the children, and under the leader.

An original gives back what is taken back of its confirmations, so that it is shared anew with the leader's next one;
other numbers of it are the leader's, too. What a split order turns out to have made less, or more, is for its children
to make, or not. Makes no confirmation and decides nothing about one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.distribution import Shares
from gateway.core.orders.division import leader_of
from gateway.core.orders.job_image import with_image
from gateway.core.orders.job_run import FLAGS_MAX, filled
from gateway.core.orders.merged import HANDED
from gateway.core.orders.places import notice, with_run
from gateway.core.orders.split_merge import Child, child_image
from gateway.core.refusal import Refusal

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

_TRIGGER: Final = "correction"


def original_of(state: State, key: tuple[str, str]) -> tuple[JobRun, JobRun] | None:
    """An original as a leader that is open here has it, and the leader; None: no open leader has it."""
    leader = leader_of(state, key)
    if leader is None or leader.merged is None:
        return None
    original = next(run for run in leader.merged.runs if run.job.key == key)
    return original._replace(state=JobOrderState.MERGED), leader


def led(leader: JobRun, before: JobRun, after: JobRun) -> JobRun | Refusal:
    """The leader after an original was corrected; refused where that takes more than the leader has given it.

    What is open again of the original is open of the leader, with its lots: the next confirmation shares it anew.
    """
    merged = leader.merged
    assert merged is not None, "it leads"
    place = next(at for at, run in enumerate(merged.runs) if run.job.key == before.job.key)
    given: list[Shares] = []
    changes: dict[str, int] = {}
    for role, shares in zip(HANDED, merged.given, strict=True):
        still_open = getattr(after, f"open_{role}")
        made = getattr(after, role) - getattr(before, role)
        share = shares.given[place] + made - still_open
        if share < 0:
            return _before_the_merge(leader, before)
        given.append(Shares((*shares.given[:place], share, *shares.given[place + 1 :])))
        changes[role] = getattr(leader, role) + made
        changes[f"open_{role}"] = getattr(leader, f"open_{role}") + still_open
    kept = {role: getattr(after, role) - getattr(after, f"open_{role}") for role in HANDED}
    kept |= {f"open_{role}": 0 for role in HANDED}
    state = merged.runs[place].state
    work = after.work._replace(made=(), serials=())
    nothing = {"open_cycles": 0, "open_estimated": 0, "open_flags": (), "open_scrap_reasons": ()}
    original = after._replace(**kept, **nothing, state=state, work=work)  # type: ignore[arg-type]  # by their names
    runs = (*merged.runs[:place], original, *merged.runs[place + 1 :])
    reasons = dict(leader.open_scrap_reasons)
    for reason, pieces in after.open_scrap_reasons:
        reasons[reason] = reasons.get(reason, 0) + pieces
    more = leader.work._replace(
        made=(*leader.work.made, *after.work.made), serials=(*leader.work.serials, *after.work.serials)
    )
    return leader._replace(
        **changes,  # type: ignore[arg-type]  # by their names
        merged=merged._replace(runs=runs, given=tuple(given)),
        work=more,
        open_cycles=leader.open_cycles + after.open_cycles,
        open_estimated=leader.open_estimated + after.open_estimated,
        open_flags=tuple(dict.fromkeys((*leader.open_flags, *after.open_flags)))[:FLAGS_MAX],
        open_from_ns=min(leader.open_from_ns, after.open_from_ns) if after.anything_open else leader.open_from_ns,
        open_scrap_reasons=tuple(reasons.items()),
    )


def remaining_shifted(state: State, before: JobRun, after: JobRun, counts: str, at_ns: int, out: list[Output]) -> State:
    """The state with open children that make what the split order has less than was said, or leave what it has more.

    The last one first, and none below what it has made and 1 piece. What no child can take is told.
    """
    less = filled(before, counts) - filled(after, counts)
    if not less:
        return state
    beginning = f"{before.job.order}-"
    children = [
        run
        for run in state.open_runs()
        if run.job.erp_order and run.job.operation == before.job.operation and run.job.order.startswith(beginning)
    ]
    for child in sorted(children, key=lambda run: run.job.order, reverse=True):
        least = Decimal(max(filled(child, counts), 1))
        quantity = max(child.job.quantity + less, min(least, child.job.quantity))
        changed = int(quantity - child.job.quantity)
        if changed:
            less -= changed
            run = child._replace(job=_wanting(child.job, quantity))
            out.append(JobChanged(at_ns, run.record(), run.state, _TRIGGER))
            state = with_run(state, run)
        if not less:
            return state
    out.append(notice(at_ns, "REMAINING_NOT_DIVIDED", before.job, pieces=str(less), open_children=str(len(children))))
    return state


def _wanting(job: JobOrder, quantity: Decimal) -> JobOrder:
    changed = job._replace(quantity=quantity)
    if job.image is None:
        return changed
    return with_image(changed, child_image(job.image, Child(job.order, job.erp_order, quantity), job.operation))


def _before_the_merge(leader: JobRun, original: JobRun) -> Refusal:
    todo = f"finish {leader.job.order} or undo its merge first, then correct it"
    found = f"more than {original.job.order} was given by {leader.job.order}"
    text = f"LEADER: found {found}: it was confirmed before the merge; {todo}"
    return Refusal(text, "LEADER", found=found, allowed="what was confirmed under the leader", what_to_do=todo)
