"""Inputs with what is remembered of their order: its record, its confirmations, the orders that are named like it.

Read behind everything that was committed before; an older one would give out confirmation numbers twice. Reads only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buffer.errors import StoreError
from gateway.core.confirming.corrections import Capability
from gateway.core.decided import REMEMBERED
from gateway.core.entries import (
    AllocateEntry,
    CorrectEntry,
    MergeEntry,
    ReclassifyEntry,
    RejectEntry,
    SplitEntry,
    UndoEntry,
)
from gateway.core.job_order import JobOrderState
from gateway.core.model import FinalAcknowledged, OperatorEntry, OperatorVerb, OrderReceived
from gateway.work_unit import ledgers, remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buffer.store import Store
    from gateway.core.confirming.booked import Content
    from gateway.core.job_order import JobRecord
    from gateway.core.model import Input, JobOrder
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit

_CORRECTING: Final = (CorrectEntry, RejectEntry, ReclassifyEntry)


async def informed(
    given: Input, state: State, unit: WorkUnit, store: Store, corrects: Callable[[JobOrder], Capability]
) -> Input:
    """The input, which asks for it (``decided.asks``). Raises StoreError.

    Of a text that no row can have (half a surrogate pair, which JSON may write) nothing is remembered.
    """
    try:
        return await _informed(given, state, unit, store, corrects)
    except StoreError as error:
        if isinstance(error.__cause__, UnicodeEncodeError):
            return given
        raise


async def _informed(
    given: Input, state: State, unit: WorkUnit, store: Store, corrects: Callable[[JobOrder], Capability]
) -> Input:
    if isinstance(given, OrderReceived):
        records = await store.records_of(given.job.order)
        known = next((one for one in records if one.job.key == given.job.key), None)
        left = None if known is not None else await store.number_of(*given.job.key)
        others = (*(one for one in records if one is not known), *await _parts(store, records))
        return given._replace(known=known, others=others, forgotten=left)
    if isinstance(given, FinalAcknowledged):
        known = await store.job_record(given.order, given.operation)
        return given._replace(known=known, unbooked=await store.unbooked(given.order, given.operation))
    if isinstance(given, (SplitEntry, MergeEntry)):
        return given._replace(taken=await store.orders_like(given.order))
    if isinstance(given, REMEMBERED):
        return await remembered.informed(store, unit.identity.machine, given)
    if isinstance(given, UndoEntry):
        return given._replace(contents=await _confirmed_by(state, store))
    assert isinstance(given, (OperatorEntry, AllocateEntry, *_CORRECTING)), "nothing else asks"
    records = [one for one in await store.records_of(given.order) if given.operation in ("", one.job.operation)]
    here = [one for one in records if one.job.work_center == unit.identity.work_center]
    known = here[0] if len(here) == 1 else None
    if known is None or isinstance(given, AllocateEntry):
        return given._replace(known=known)
    if isinstance(given, OperatorEntry) and given.verb is not OperatorVerb.REOPEN:
        return given._replace(known=known)
    ledger = await ledgers.confirmed(store, *known.job.key, corrects(known.job))
    return given._replace(known=known, ledger=ledger)


async def _parts(store: Store, records: Sequence[JobRecord]) -> tuple[JobRecord, ...]:
    """The orders that these operations of one order were split into, also those that are over."""
    order = next((one.job.order for one in records if one.state is JobOrderState.SPLIT), "")
    if not order:
        return ()
    found = [await store.records_of(name) for name in await store.orders_like(f"{order}-")]
    return tuple(one for parts in found for one in parts if one.job.erp_order == order)


async def _confirmed_by(state: State, store: Store) -> tuple[Content, ...]:
    """What the last decision confirmed, and whatever came behind it."""
    made = () if state.last_word is None else state.last_word.confirmed
    found: list[Content] = []
    for order, operation, _, seq in made:
        known = await ledgers.confirmed(store, order, operation, Capability.MANUAL)
        found += (one for one in known.contents if one.seq >= seq)
    return tuple(found)
