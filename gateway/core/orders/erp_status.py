"""What the ERP says of the status of an order: planned, released, dispatched, closed; and that its final one is booked.

Decides the state that follows and carries it out. Quantities, holds by quality and cancellations are others'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.model import JobChanged, JobOrderState, Notice
from gateway.core.orders.guards import Guard, GuardFacts, GuardRefusal
from gateway.core.orders.job_run import from_record
from gateway.core.orders.lifecycle import ActorRole, Trigger
from gateway.core.orders.order_image import OrderStatus
from gateway.core.orders.order_steps import Cause, may, objection

if TYPE_CHECKING:
    from gateway.core.model import FinalAcknowledged, JobOrder, Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules_orders import OrderBookRule

_S: Final = JobOrderState
BEFORE_START: Final = (_S.PLANNED, _S.RELEASED, _S.DISPATCHED)
#: The reason of the hold of an order that its ERP closed while it was not complete here.
ERP_CLOSED: Final = "ERP_CLOSED"
_ERP: Final = Cause(Trigger.ERP_MESSAGE, ActorRole.PLANNER, "")
_ERPS: Final = objection(
    GuardRefusal(
        Guard.NOT_CLOSED,
        blocks=True,
        found=ERP_CLOSED,
        wanted="an order that the ERP has open",
        what_to_do="have it opened again in the ERP (that releases it), or cancelled there",
    )
)
_BOOKED: Final = Cause(Trigger.FINAL_ACKNOWLEDGED, ActorRole.SERVICE, "booked in the ERP")


def status_of(job: JobOrder) -> OrderStatus:
    """What the ERP says; released where it says nothing."""
    return OrderStatus.RELEASED if job.image is None else job.image.status


def is_closed(job: JobOrder) -> bool:
    """Whether the ERP takes no more confirmations of the order."""
    return status_of(job) is OrderStatus.CLOSED


def erps_to_release(run: JobRun) -> str:
    """Why nobody here releases a hold: the ERP closed the order, and what is made of it could not be booked."""
    return _ERPS if run.hold_reason == ERP_CLOSED and is_closed(run.job) else ""


def state_of(job: JobOrder, rule: OrderBookRule) -> JobOrderState:
    """Where an order that has not been started stands by the word of the ERP and the rule of dispatching."""
    match status_of(job):
        case OrderStatus.PLANNED:
            return _S.PLANNED
        case OrderStatus.RELEASED if rule.dispatch == "by_hand":
            return _S.RELEASED
        case _:
            return _S.DISPATCHED


def following(run: JobRun, before: OrderStatus, rule: OrderBookRule, at_ns: int, out: list[Output]) -> JobRun:
    """An order that has not been started, after a change of its status from ``before``.

    What the life of an order does not allow in one step goes in several: planned, released, dispatched.
    """
    revoked = before is OrderStatus.DISPATCHED and status_of(run.job) is OrderStatus.RELEASED
    wanted = _S.RELEASED if revoked else state_of(run.job, rule)
    while run.state in BEFORE_START and run.state is not wanted:
        here, there = BEFORE_START.index(run.state), BEFORE_START.index(wanted)
        state_to = BEFORE_START[here + (1 if there > here else -1)]
        facts = GuardFacts(snapshot_complete=run.job.image is None or bool(run.job.image.operations))
        if may(run, state_to, _ERP, rule, facts).refusal:
            break
        after = run._replace(state=state_to)
        out.append(JobChanged(at_ns, after.record(), run.state, f"{status_of(run.job)} by the ERP"))
        run = after
    return run


def closed(given: FinalAcknowledged, rule: OrderBookRule, out: list[Output]) -> None:
    """A complete operation is closed, where nothing is left to deliver and nothing is against it."""
    known = given.known
    if known is None or known.state is not _S.COMPLETED:
        return
    run = from_record(known, known.job)._replace(state=known.state, held_from=known.held_from)
    by_erp = status_of(known.job) is OrderStatus.CLOSED
    facts = GuardFacts(unbooked=given.unbooked, reconciled=given.reconciled, closed_by_erp=by_erp)
    if not may(run, _S.CLOSED, _BOOKED, rule, facts).refusal:
        out.append(JobChanged(given.at_ns, known._replace(state=_S.CLOSED), _S.COMPLETED, _BOOKED.text))


def told_closed(at_ns: int, job: JobOrder) -> Notice:
    """The order is closed in the ERP and is not complete here."""
    what = "what is made from now on is unallocated; have it opened again there, or cancelled"
    return Notice(at_ns, ERP_CLOSED, (("order", job.order), ("operation", job.operation), ("reason", what)))
