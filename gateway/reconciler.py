"""Compares what this gateway confirmed with what the ERPs say they have booked. Repairs nothing.

The table of findings is ``core/orders/reconciliation.py``; here its facts are gathered. Orders are compared as the ERP
knows them: what a child of a split posted counts for the order that it was split from. Where the ERP has less than it
acknowledged, its keys are looked up. What cannot be compared is left out, and the report says so.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from buffer.entry import OutboxState
from gateway.connectors.base import (
    BookedOperation,
    BookedOrder,
    Connector,
    ConnectorError,
    LookupKind,
    TellsTotals,
)
from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.model import JobOrderState
from gateway.core.orders.lifecycle import RUNNING
from gateway.core.orders.order_answer import ACK
from gateway.core.orders.reconciliation import (
    EdgeFacts,
    ErpFacts,
    ErpQuantities,
    FindingCode,
    LookedUp,
    Report,
    compare,
    report,
)
from gateway.forwarder.asking import is_stepped, step_posting

if TYPE_CHECKING:
    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from buffer.store import Store
    from gateway.core.model import JobRecord
    from gateway.parts import Parts

ORDERS_MAX: Final = 2000  # compared in one go
POSTINGS_MAX: Final = 1000  # looked at of one order
LOOK_UPS_MAX: Final = 100  # keys that are asked for of one operation
_OVER: Final = frozenset({JobOrderState.CLOSED, JobOrderState.CANCELLED, JobOrderState.SPLIT, JobOrderState.MERGED})
#: What was only delivered nobody can say more of.
_DOUBTFUL: Final = frozenset({OutboxState.SENDING, OutboxState.UNCERTAIN, OutboxState.ACCEPTED, OutboxState.DELIVERED})
_WAITING: Final = frozenset({OutboxState.READY, OutboxState.RETRY_WAIT, OutboxState.HELD, OutboxState.NEEDS_APPROVAL})
_LOOKED_UP: Final = {LookupKind.FOUND: LookedUp.FOUND, LookupKind.ABSENT: LookedUp.MISSING}


async def reconcile(parts: Parts, store: Store, at_ns: int, order: str = "") -> tuple[Report, tuple[str, ...]]:
    """The report of one order or of all that are not closed, and why others were not compared. Raises StoreError."""
    found, left_out, _ = await reconciled(parts, store, at_ns, order)
    return found, left_out


async def reconciled(
    parts: Parts, store: Store, at_ns: int, order: str = ""
) -> tuple[Report, tuple[str, ...], tuple[EdgeFacts, ...]]:
    """The same, with the operations that were compared. Raises StoreError."""
    by_order = await _by_order(store, order)
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
        postings: list[OutboxEntry] = []
        for one in dict.fromkeys(record.job.order for record in known):
            postings += await parts.outbox.page(target=source, order=one, limit=POSTINGS_MAX)
        for operation in dict.fromkeys(record.job.operation for record in known):
            records = [record for record in known if record.job.operation == operation]
            own = [one for one in postings if one.operation == operation and one.kind != ACK]
            if any(one.error_kind == "kept_back" and one.kind != "reversal" for one in own):
                left_out.append(f"order {name} operation {operation}: the ERP confirms it by itself, at a milestone")
                continue
            edge, erp = _edge(name, records, store.epoch, own), _erp(operation, booked)
            pairs.append((edge, await _looked_up(parts.outbox, connector, edge, erp, own)))
    if len(by_order) > ORDERS_MAX:
        left_out.append(f"{len(by_order) - ORDERS_MAX} orders beyond {ORDERS_MAX}; name one")
    return report(at_ns, pairs), tuple(left_out), tuple(edge for edge, _ in pairs)


async def looked_up(outbox: Outbox, connector: Connector, entry: OutboxEntry) -> LookedUp | None:
    """What the ERP says of a key that was booked; None: it cannot be asked, or did not say."""
    if not connector.capabilities.can_lookup or entry.body is None:
        return None
    known = await outbox.steps(entry.id) if is_stepped(entry, connector) else ()
    postings = [step_posting(entry, known, step) for step in range(entry.steps)]
    said = [_LOOKED_UP.get((await connector.lookup(one)).kind) for one in postings]
    # It is there when every step is; one that is surely missing makes it missing.
    return LookedUp.MISSING if LookedUp.MISSING in said else None if None in said else LookedUp.FOUND


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
                "difference": {role: f"{number:f}" for role, number in one.difference._asdict().items()},
            }
            for one in found.findings
        ],
    }


async def _by_order(store: Store, order: str) -> dict[tuple[str, str], list[JobRecord]]:
    """What is remembered of each order that the ERP knows and that is not over, its children included."""
    records = await store.job_records()
    wanted = {
        (one.job.source, one.job.erp_key[0])
        for one in records
        if (order in (one.job.order, one.job.erp_key[0]) if order else one.state not in _OVER)
    }
    found: dict[tuple[str, str], list[JobRecord]] = {}
    for one in records:
        key = (one.job.source, one.job.erp_key[0])
        if key in wanted:
            found.setdefault(key, []).append(one)
    return found


async def _looked_up(
    outbox: Outbox, connector: Connector, edge: EdgeFacts, erp: ErpFacts, own: list[OutboxEntry]
) -> ErpFacts:
    """The ERP's side with what it says of the keys, where it has less than it acknowledged."""
    if all(one.code is not FindingCode.LOOK_UP for one in compare(edge, erp)):
        return erp
    said = []
    for entry in [one for one in own if one.key in edge.acked_keys][:LOOK_UPS_MAX]:
        answer = await looked_up(outbox, connector, entry)
        if answer is not None:
            said.append((entry.key, answer))
    return erp._replace(looked_up=tuple(said))


def _edge(name: str, records: list[JobRecord], epoch: str, own: list[OutboxEntry]) -> EdgeFacts:
    parked = [one for one in own if one.state is OutboxState.PARKED]
    doubtful = [one for one in own if one.state in _DOUBTFUL]
    acked = [one for one in own if one.state is OutboxState.POSTED]
    waiting = [one for one in own if one.state in _WAITING]
    confirmed = NOTHING
    for record in records:
        confirmed = confirmed.plus(_confirmed(record, [one for one in own if one.order == record.job.order]))
    period = tuple(one.key for one in parked if "PERIOD" in one.error_code.upper())
    return EdgeFacts(
        name,
        records[0].job.operation,
        running=any(record.state in RUNNING for record in records),
        epochs=tuple(dict.fromkeys((*(one.key.split("/")[1] for one in reversed(own)), epoch))),
        seq=max(record.seq for record in records),
        # What was pruned is in the totals still, so what is acknowledged is all but what is not.
        acked=confirmed.minus(_sum([one for one in own if one.state is not OutboxState.POSTED])),
        in_doubt=_sum(doubtful),
        waiting=_sum(waiting),
        external=_external(records),
        acked_keys=tuple(one.key for one in acked),
        in_doubt_keys=tuple(one.key for one in doubtful),
        rejected_keys=tuple(one.key for one in parked if one.key not in period),
        closed_period_keys=period,
        waiting_behind=len(waiting) if parked else 0,
    )


def _external(records: list[JobRecord]) -> ErpQuantities:
    """What was taken over from the ERP before."""
    sums = (sum(numbers) for numbers in zip(*(record.external for record in records), strict=True))
    return ErpQuantities(*map(Decimal, sums))


def _confirmed(record: JobRecord, own: list[OutboxEntry]) -> Pieces:
    """All that was ever confirmed of a job order: as its last confirmation says, else as it is remembered."""
    if own:
        return _pieces(json.loads(max(own, key=lambda one: one.seq).payload)["qty_cumulative"])
    return Pieces(record.good, record.scrap, record.rework) if record.seq else NOTHING


def _erp(operation: str, booked: BookedOrder) -> ErpFacts:
    mine = next((one for one in booked.operations if one.operation == operation), BookedOperation(""))
    return ErpFacts(
        known=booked.known,
        closed=booked.closed,
        confirmed=ErpQuantities(mine.good, mine.scrap, mine.rework),
        highest=mine.highest,
    )


def _sum(entries: list[OutboxEntry]) -> Pieces:
    """Reversals have quantities below 0."""
    total = NOTHING
    for entry in entries:
        total = total.plus(_pieces(json.loads(entry.payload)["qty"]))
    return total


def _pieces(quantities: dict[str, Any]) -> Pieces:
    scrap = sum(int(one["qty"]) for one in quantities["scrap"])
    return Pieces(int(quantities["good"]), scrap, int(quantities["rework"]))
