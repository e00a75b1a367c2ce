"""Closes complete operations whose confirmations the ERP has all acknowledged, some time after: until then they reopen.

Asks the buffer now and then and tells the work unit, which decides by the life of the order. Closes nothing itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from buffer.entry import ANY_TARGET
from buffer.errors import StoreError
from gateway.core.model import FinalAcknowledged
from gateway.erp.reconciliation_round import agrees

if TYPE_CHECKING:
    from collections.abc import Callable

    from buffer.store import Store
    from gateway.core.model import JobRecord
    from gateway.parts import Parts

EVERY_S: Final = 600.0
#: Operations that are closed in one go; the rest follows with the next one.
AT_ONCE_MAX: Final = 200

_SETTLED: Final = f"""
    SELECT max(settled_ns) FROM outbox WHERE {ANY_TARGET} AND order_id = ? AND operation = ? AND +state = 'posted'
"""  # noqa: S608 - constants; the index of what is booked knows no order

log = structlog.get_logger(__name__)


class OrderCloser:
    """One for a gateway; ``run`` it in a task. ``now_ns`` is steady time."""

    def __init__(self, parts: Parts, store: Store, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._store = store
        self._now_ns = now_ns

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.close_due()
            except StoreError as error:
                log.warning("orders cannot be closed now", error=str(error), retry_s=EVERY_S)
            await asyncio.sleep(EVERY_S)

    async def close_due(self) -> int:
        """Tell the work units of what is due; returns how many operations were told. Raises StoreError."""
        holders = [one for one in self._parts.runners.values() if one.unit.rules.orders.shares_with is None]
        runners = {runner.unit.identity.work_center: runner for runner in holders}
        told = 0
        for record in await self._store.records_in("COMPLETED"):
            runner = runners.get(record.job.work_center)
            if runner is None or told >= AT_ONCE_MAX:
                continue
            settled_ns = await self._settled_ns(record)
            wait_ns = int(runner.unit.rules.orders.close_after)
            if settled_ns is None or settled_ns + wait_ns > self._now_ns():
                continue
            agreed = [await agrees(self._store, order, record.job.operation) for order in await self._told_as(record)]
            await runner.submit(FinalAcknowledged(self._now_ns(), *record.job.key, reconciled=all(agreed)))
            told += 1
        return told

    async def _told_as(self, record: JobRecord) -> list[str]:
        """The orders that the ERP knows it as: an original of a leader may be a child."""
        if not record.job.leads:
            return [record.job.erp_key[0]]
        found = [(order, await self._store.job_record(order, record.job.operation)) for order in record.job.leads]
        return [order if known is None else known.job.erp_key[0] for order, known in found]

    async def _settled_ns(self, record: JobRecord) -> int | None:
        """When the last of it was booked; None: it is not yet.

        A leader has nothing of its own to be booked: it is over once all of its originals is.
        """
        operation, orders = record.job.operation, record.job.leads or (record.job.order,)
        if record.job.leads and any([await self._store.unbooked(order, operation) for order in orders]):
            return None
        settled = [(await self._store.read(_SETTLED, (order, operation)))[0][0] for order in orders]
        return max((int(one) for one in settled if one is not None), default=None)
