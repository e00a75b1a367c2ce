"""What an ERP says of orders that were split or merged here: it knows the order, not what became of it.

A cancellation reaches the children; every other change of such an order is refused with what to do, because quantities
were given away. An order that comes with the name of a child or a leader is refused. Splits and merges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.change_table import Phase
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.orders.order_changes import AckKind, OrderAck
from gateway.core.orders.places import notice
from gateway.core.orders.progress import together

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, JobRecord, OrderReceived, Output
    from gateway.core.orders.intake import Intake
    from gateway.core.unit_state import State

_S: Final = JobOrderState
_NONE_LEFT: Final = frozenset({_S.CANCELLED, _S.SPLIT, _S.MERGED})
_BEGUN: Final = RUNNING | {_S.INTERRUPTED, _S.ON_HOLD}


def answered(intake: Intake, state: State, received: OrderReceived, out: list[Output]) -> State | None:
    """The state after an image that concerns a division; None where it concerns none."""
    job, known = received.job, received.known
    here = next((run.job for run in state.open_runs() if run.job.key == job.key), None)
    made_here = here or (None if known is None else known.job)
    if made_here is not None and (made_here.erp_order or made_here.leads):
        what = f"order {job.order} came to be here by a split or a merge; release it under another number"
        return _rejected(state, received, AckKind.ORDER_CHANGE_REJECTED, None, what, out)
    if known is None or known.state not in (_S.SPLIT, _S.MERGED):
        return None
    if job.revision < known.job.revision or (job.revision == known.job.revision and not job.cancelled):
        return None  # nothing new
    if known.job.cancelled and job.cancelled:
        return None
    if known.state is _S.SPLIT and job.cancelled:
        return _cancelled(intake, state, received, known, out)
    kind = AckKind.CANCEL_REJECTED if job.cancelled else AckKind.ORDER_CHANGE_REJECTED
    if known.state is _S.MERGED:
        what = f"it is merged into order {known.job.leader}; undo the merge or finish that, then send it again"
    else:
        names = ", ".join(one.order for one in _children(state, job)) or "none, they have ended"
        what = f"it is split; its open children: {names}; finish or cancel these, or release a new order"
    return _rejected(state, received, kind, known.job.revision, what, out)


def as_one(state: State, received: OrderReceived, record: JobRecord) -> JobRecord:
    """An operation with what its parts made and how far they are, where it was split; else as it is."""
    parts = _parts(state, received, record)
    scrap, rework = (getattr(record, role) + sum(getattr(one, role) for one in parts) for role in ("scrap", "rework"))
    return together(record, parts)._replace(scrap=scrap, rework=rework) if parts else record


def _parts(state: State, received: OrderReceived, record: JobRecord) -> list[JobRecord]:
    """What it was split into: what is open here as it is now, all else as it is remembered."""
    if record.state is not _S.SPLIT:
        return []
    found = {one.job.key: one for one in received.others if one.job.erp_order}
    for run in state.open_runs():
        led = () if run.merged is None else run.merged.runs
        found |= {one.job.key: one.record()._replace(state=run.state) for one in (run, *led)}
    return [one for one in found.values() if one.job.erp_order and one.job.erp_key == record.job.key]


def _children(state: State, job: JobOrder) -> list[JobOrder]:
    return [run.job for run in state.open_runs() if run.job.erp_order and run.job.erp_key == job.key]


def _cancelled(intake: Intake, state: State, received: OrderReceived, known: JobRecord, out: list[Output]) -> State:
    """The children go with their order; one that leads or is led is left to a person."""
    job, at_ns = received.job, received.at_ns
    runs = [run for run in state.open_runs() if run.job.erp_order and run.job.erp_key == job.key]
    begun = [run.job.order for run in runs if run.state in _BEGUN]
    if begun and intake.cancel_policy == "reject":
        what = f"{', '.join(begun)} of it started; finish or interrupt it here first"
        return _rejected(state, received, AckKind.CANCEL_REJECTED, known.job.revision, what, out)
    parts = _parts(state, received, known)
    fact = intake.facts(as_one(state, received, known))
    if fact.ended and any(one.state not in _NONE_LEFT for one in parts):
        what = "it is split, and complete; reverse the final confirmation, or return the goods"
        return _rejected(state, received, AckKind.CANCEL_REJECTED, known.job.revision, what, out)
    started = any(intake.facts(one).phase is not Phase.BEFORE_START for one in (known, *parts))
    produced = ((job.operation, fact.produced),) if started else ()
    out.append(OrderAck(AckKind.CANCEL_ACCEPTED, job.order, job.revision, job.revision, produced=produced))
    out.append(JobChanged(at_ns, known._replace(job=known.job._replace(cancelled=True)), known.state, "cancelled"))
    for child in runs:
        run = next((one for one in state.open_runs() if one.job.key == child.job.key), None)
        if run is not None:
            gone = run.job._replace(cancelled=True)
            state = intake.cancelled(state, run, gone, at_ns, "cancelled by the ERP", out)
    return state


def _rejected(
    state: State, received: OrderReceived, kind: AckKind, held: int | None, what: str, out: list[Output]
) -> State:
    job = received.job
    out.append(OrderAck(kind, job.order, job.revision, held, (what,)))
    out.append(notice(received.at_ns, "ORDER_CHANGE_REJECTED", job, reason=what))
    return state
