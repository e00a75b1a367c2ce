"""Where a work unit goes on after a start: its stored state, put right by what the database remembers of its orders.

Reads only. What happened to orders and shared pieces while a machine was configured otherwise is decided by the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import snapshot
from gateway.core.orders.handover import with_images, without_moved
from gateway.core.orders.member import parted
from gateway.core.wording import pieces_of
from gateway.relays.progress_relay import informed

if TYPE_CHECKING:
    from buffer.store import Store
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit


async def resumed(store: Store, unit: WorkUnit, state: State, warnings: list[str]) -> State:
    """A loaded state that can go on; what a person should know of it is a warning more. Raises StoreError."""
    state = await _shared(store, unit, state, warnings)
    remembered = [await store.job_record(*run.job.key) for run in state.all_runs()]
    records = {record.job.key: record for record in remembered if record is not None}
    if unit.rules.orders.shares_with is not None:  # the records are its lead's, and so are the numbers
        return with_images(state, {one.job.image_digest: one.job.image for one in records.values() if one.job.image})
    state, moved = without_moved(state, records, unit.rules.unallocated)
    warnings += (
        f"{unit.identity.machine}: order {'/'.join(run.job.key)} went on elsewhere while this machine was not "
        f"configured; {pieces_of(run.open_pieces)} became unallocated"
        for run in moved
    )
    return await informed(store, state)


async def _shared(store: Store, unit: WorkUnit, state: State, warnings: list[str]) -> State:
    """Without orders that are another machine's, and at a member of one without those of its own."""
    shares = unit.rules.orders.shares_with is not None
    center, machine = unit.identity.work_center, unit.identity.machine
    if not any(bool(run.share_no) != shares or run.job.work_center != center for run in state.open_runs()):
        return state
    if not shares and not any(run.share_no for run in state.open_runs()):
        return state
    booked = snapshot.booked_of((await store.snapshots()).values(), machine)
    before = sum(state.unallocated)
    state, gone = parted(state, booked, unit.rules.unallocated, center if shares else None)
    orders = ", ".join(sorted({run.job.order for run in gone}))
    left = sum(state.unallocated) - before
    warnings.append(f"{machine}: it is configured otherwise and gave up {orders}; {pieces_of(left)} became unallocated")
    return state
