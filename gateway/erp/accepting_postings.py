"""What the ERP has of an order past the gateway, as a person takes it over: at which machine, and for whom it counts.

An order that was merged or split here is open as its leader or as its children. Takes nothing over: that is
``core/orders/external.py``'s, and which numbers are proposed is ``reconciliation_round.py``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.control import RequestError
from gateway.core.job_order import JobOrderState
from gateway.core.orders.external import concerned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buffer.store import Store
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State
    from gateway.parts import Parts
    from gateway.work_unit.runner import Runner


async def machine_of(parts: Parts, store: Store, order: str, operation: str) -> Runner:
    """The machine at which it is open, or its leader, or children of it. Raises RequestError, StoreError."""
    for runner in parts.runners.values():
        own = runner.unit.rules.orders.shares_with is None  # another machine's orders are its lead's to change
        if own and concerned(runner.state, order, operation):
            return runner
    known = await store.job_record(order, operation)
    where = ""
    if known is not None and known.state is JobOrderState.MERGED:
        where = f", nor is order {known.job.leader}, into which it was merged"
    elif known is not None and known.state is JobOrderState.SPLIT:
        where = ", nor is any of the orders that it was split into"
    raise RequestError(
        f"order {order} operation {operation}: is not open at a machine{where}; there is nothing left that it reduces",
        guard="ORDER_OPEN",
        found="not known here" if known is None else known.state.value,
        allowed="an order that is open here, by itself, under its leader or in its children",
        what_to_do="settle the difference in the ERP",
    )


async def known_before(store: Store, parts: Sequence[JobRun], order: str, operation: str) -> tuple[int, int, int]:
    """What is taken over of it already: good, scrap and rework, also by its children. Raises StoreError."""
    known = await store.job_record(order, operation)
    told = {run.job.key: run.external for run in parts}
    if known is not None and known.state is JobOrderState.SPLIT:
        children = [await store.job_record(name, operation) for name in await store.orders_like(f"{order}-")]
        over = [one for one in children if one is not None and one.job.erp_order == order]
        told = {one.job.key: one.external for one in (known, *over)} | told
    good, scrap, rework = (sum(numbers) for numbers in zip(*told.values(), strict=True))
    return good, scrap, rework


def for_whom(state: State, order: str, before: Sequence[JobRun]) -> str:
    """Whose quantity it counts for, where that is not the order's own; ``before``: as they were. "": its own."""
    first = before[0]
    if first.job.order == order:
        return f"; its leader {first.job.leader} makes less for it" if first.job.leader else ""
    now = {run.job.key: run.external for run in concerned(state, order, first.job.operation)}
    names = (run.job.order for run in before if now.get(run.job.key) != run.external)
    return f"; it counts for {', '.join(names)}, split from it"
