"""How far the operation before has got, wherever in this gateway it is made: told to the orders that wait for it.

Notes what the records say. Whether an order may start is asked by ``starting.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.job_order import JobRecord
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State


def with_progress(state: State, records: Iterable[JobRecord]) -> State:
    """The state with what these records say of operations before those that are open here."""
    by_key = {record.job.key: record for record in records}
    after = tuple(_told(run, by_key) for run in state.at_work())
    queue = tuple(_told(run, by_key) for run in state.queue)
    if all(one is two for one, two in zip((*after, *queue), state.open_runs(), strict=True)):
        return state
    return state._replace(running=after[0] if after else None, beside=after[1:], queue=queue)


def before(run: JobRun) -> tuple[str, str] | None:
    """Order and number of the operation before; None: it is the first, or nobody told."""
    image = run.job.image
    found = None if image is None else image.predecessor(run.job.operation)
    return None if found is None else (run.job.order, found.operation)


def _told(run: JobRun, by_key: dict[tuple[str, str], JobRecord]) -> JobRun:
    key = before(run)
    record = None if key is None else by_key.get(key)
    return run if record is None or record.state is run.before_state else run._replace(before_state=record.state)
