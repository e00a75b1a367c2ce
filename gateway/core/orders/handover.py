"""After a restart: gives orders their images back, gives up those that another work unit has gone on with meanwhile.

The latter happens when a machine is renamed or removed in the configuration and comes back later with an old state: its
numbers would be given out a second time. Confirms and starts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import JobOrderState
from gateway.core.orders.job_image import with_known_image
from gateway.core.orders.unallocated import Found, add
from gateway.core.unit_state import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.model import JobRecord
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.order_image import OrderImage
    from gateway.core.rules_confirming import UnallocatedRule
    from gateway.core.unit_state import State

_OVER = frozenset({JobOrderState.COMPLETED, JobOrderState.CLOSED, JobOrderState.CANCELLED, JobOrderState.RELEASED})


def without_moved(
    state: State, records: Mapping[tuple[str, str], JobRecord], rule: UnallocatedRule
) -> tuple[State, tuple[JobRun, ...]]:
    """The state without the job orders that went on elsewhere, and these; their open pieces become unallocated.

    Those that stay get the images of their orders back, which a stored state only names.
    ``records`` is what is remembered of each open job order, by order and operation.
    """
    state = with_images(state, {one.job.image_digest: one.job.image for one in records.values() if one.job.image})
    moved = tuple(run for run in state.open_runs() if _went_on(run, records.get(run.job.key)))
    if not moved:
        return state, ()
    keys = {run.job.key for run in moved}
    stay = tuple(run for run in state.at_work() if run.job.key not in keys)
    bucket = state.bucket
    for run in moved:
        to_ns = max(run.last_event_ns or 0, run.open_from_ns)
        for role, pieces in zip(ROLES, _open(run), strict=True):
            if pieces:
                bucket = add(rule, bucket, Found("", role, pieces, run.open_from_ns, to_ns, run.job.product))
    queue = tuple(run for run in state.queue if run.job.key not in keys)
    state = state._replace(running=stay[0] if stay else None, beside=stay[1:])
    return state._replace(queue=queue, bucket=bucket), moved


def with_images(state: State, images: Mapping[str, OrderImage]) -> State:
    """The state with the images of its orders, by digest: a stored state only names them."""

    def whole(run: JobRun | None) -> JobRun | None:
        if run is None:
            return None
        merged = run.merged
        if merged is not None:
            merged = merged._replace(runs=tuple(one for one in map(whole, merged.runs) if one is not None))
        return run._replace(job=with_known_image(run.job, images), merged=merged)

    return state._replace(
        running=whole(state.running),
        beside=tuple(run for run in map(whole, state.beside) if run is not None),
        queue=tuple(run for run in map(whole, state.queue) if run is not None),
        previous=whole(state.previous),
        undoable=tuple(run for run in map(whole, state.undoable) if run is not None),
    )


def _open(run: JobRun) -> tuple[int, ...]:
    return (run.open_good, run.open_scrap, run.open_rework, run.open_hold, run.open_test)


def _went_on(run: JobRun, record: JobRecord | None) -> bool:
    if record is None:
        return False
    elsewhere = record.job.work_center != run.job.work_center
    return elsewhere or record.seq > run.seq or record.state in _OVER
