"""Compares what this gateway confirmed with what the ERPs say they have booked. Repairs nothing; stores no report.

The table of findings is ``core/orders/reconciliation.py``; here its facts are gathered. An order whose ERP cannot be
asked is not compared, and the report says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from buffer.entry import OutboxState
from gateway.connectors.base import BookedOperation, BookedOrder, ConnectorError, TellsTotals
from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.model import JobOrderState
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.orders.order_answer import ACK
from gateway.core.orders.reconciliation import EdgeFacts, ErpFacts, ErpQuantities, Report, report

if TYPE_CHECKING:
    from buffer.entry import OutboxEntry
    from buffer.store import Store
    from gateway.core.model import JobRecord
    from gateway.parts import Parts

ORDERS_MAX: Final = 2000  # compared in one go
POSTINGS_MAX: Final = 1000  # looked at of one order
_OVER: Final = frozenset({JobOrderState.CLOSED, JobOrderState.CANCELLED, JobOrderState.SPLIT, JobOrderState.MERGED})
_DOUBTFUL: Final = frozenset({OutboxState.SENDING, OutboxState.UNCERTAIN, OutboxState.ACCEPTED})


async def reconcile(parts: Parts, store: Store, at_ns: int, order: str = "") -> tuple[Report, tuple[str, ...]]:
    """The report of one order or of all that are not closed, and why others were not compared. Raises StoreError."""
    records = await (store.records_of(order) if order else store.job_records())
    by_order: dict[tuple[str, str], list[JobRecord]] = {}
    for record in records:
        if order or record.state not in _OVER:
            by_order.setdefault((record.job.source, record.job.order), []).append(record)
    pairs: list[tuple[EdgeFacts, ErpFacts]] = []
    left_out: list[str] = []
    for (source, name), known in list(by_order.items())[:ORDERS_MAX]:
        connector = parts.connectors.get(source)
        if connector is None or not connector.capabilities.totals or not isinstance(connector, TellsTotals):
            left_out.append(f"order {name}: connector {source} cannot be asked what it has booked")
            continue
        try:
            booked = await connector.booked(name)
        except ConnectorError as error:
            left_out.append(f"order {name}: {error}")
            continue
        postings = await parts.outbox.page(target=source, order=name, limit=POSTINGS_MAX)
        pairs += [(_edge(record, store.epoch, postings), _erp(record, booked)) for record in known]
    if len(by_order) > ORDERS_MAX:
        left_out.append(f"{len(by_order) - ORDERS_MAX} orders beyond {ORDERS_MAX}; name one")
    return report(at_ns, pairs), tuple(left_out)


def document(found: Report, left_out: tuple[str, ...]) -> dict[str, Any]:
    """The report as JSON data."""
    return {
        "compared": found.compared,
        "counts": dict(found.counts),
        "left_out": found.left_out,
        "not_compared": list(left_out),
        "findings": [
            {
                "code": one.code.value,
                "order": one.order,
                "operation": one.operation,
                "text": one.text,
                "proposed": one.action.value,
                "keys": list(one.keys),
            }
            for one in found.findings
        ],
    }


def _edge(record: JobRecord, epoch: str, postings: list[OutboxEntry]) -> EdgeFacts:
    own = [one for one in postings if one.operation == record.job.operation and one.kind != ACK]
    parked = [one for one in own if one.state is OutboxState.PARKED]
    doubtful = [one for one in own if one.state in _DOUBTFUL]
    acked = [one for one in own if one.state is OutboxState.POSTED]
    waiting = [one for one in own if one.state in (OutboxState.READY, OutboxState.RETRY_WAIT)]
    return EdgeFacts(
        record.job.order,
        record.job.operation,
        running=record.state in RUNNING,
        epochs=tuple(dict.fromkeys((*(one.key.split("/")[1] for one in reversed(own)), epoch))),
        seq=record.seq,
        acked=_sum(acked),
        in_doubt=_sum(doubtful),
        waiting=_sum(waiting),
        acked_keys=tuple(one.key for one in acked),
        in_doubt_keys=tuple(one.key for one in doubtful),
        rejected_keys=tuple(one.key for one in parked),
        waiting_behind=len(waiting) if parked else 0,
    )


def _erp(record: JobRecord, booked: BookedOrder) -> ErpFacts:
    mine = next((one for one in booked.operations if one.operation == record.job.operation), BookedOperation(""))
    return ErpFacts(
        known=booked.known,
        closed=booked.closed,
        confirmed=ErpQuantities(mine.good, mine.scrap, mine.rework),
        highest=mine.highest,
    )


def _sum(entries: list[OutboxEntry]) -> Pieces:
    total = NOTHING
    for entry in entries:
        quantities = json.loads(entry.payload)["qty"]
        scrap = sum(int(one["qty"]) for one in quantities["scrap"])
        total = total.plus(Pieces(int(quantities["good"]), scrap, int(quantities["rework"])))
    return total
