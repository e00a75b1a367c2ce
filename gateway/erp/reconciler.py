"""Compares what this gateway confirmed with what the ERPs say they have booked. Repairs nothing.

The table of findings is ``core/orders/reconciliation.py``; here its facts are gathered. Orders are compared as the ERP
knows them: what a child of a split posted counts for the order that it was split from. Both sides must be of one
moment: the own side is read before and behind the question, and where it moved meanwhile and neither fits, the question
is asked again. Where the ERP has less than it acknowledged, its keys are looked up. What cannot be compared is left
out, and the report says so.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import reconciliation
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
from gateway.core.orders.erp_notice import BESIDE
from gateway.core.orders.lifecycle import RUNNING
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
    from collections.abc import Mapping

    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from buffer.store import Store
    from gateway.connectors.base import Lookup
    from gateway.core.model import JobRecord
    from gateway.parts import Parts

ORDERS_MAX: Final = 2000  # compared in one go
POSTINGS_MAX: Final = 1000  # looked at of one order
LOOK_UPS_MAX: Final = 100  # keys that are asked for of one operation
MOMENTS_MAX: Final = 5  # so often an order is asked for that is confirmed meanwhile
_OVER: Final = frozenset({JobOrderState.CLOSED, JobOrderState.CANCELLED, JobOrderState.SPLIT, JobOrderState.MERGED})
#: What was only delivered nobody can say more of.
_DOUBTFUL: Final = frozenset({OutboxState.SENDING, OutboxState.UNCERTAIN, OutboxState.ACCEPTED, OutboxState.DELIVERED})
_WAITING: Final = frozenset({OutboxState.READY, OutboxState.RETRY_WAIT, OutboxState.HELD, OutboxState.NEEDS_APPROVAL})
#: What was taken over and refused afterwards is not there.
_LOOKED_UP: Final = {
    LookupKind.FOUND: LookedUp.FOUND,
    LookupKind.ABSENT: LookedUp.MISSING,
    LookupKind.REFUSED: LookedUp.MISSING,
}
#: The code with which a connector says that a document is there and was cancelled.
_CANCELLED: Final = "REVERSED"


class UnknownOrderError(Exception):
    """Nothing is remembered of an order that somebody wants to have compared."""


async def reconcile(parts: Parts, store: Store, at_ns: int, order: str = "") -> tuple[Report, tuple[str, ...]]:
    """The report of one order or of all that are not closed, and why others were not compared.

    Raises StoreError, UnknownOrderError.
    """
    by_order = await _by_order(store, order)
    if order and not by_order:
        raise UnknownOrderError(f"order {order}: is not known here (any more)")
    pairs: list[tuple[EdgeFacts, ErpFacts]] = []
    left_out: list[str] = []
    named = Counter(name for _, name in by_order)
    for (source, name), known in list(by_order.items())[:ORDERS_MAX]:
        connector = parts.connectors.get(source)
        if connector is None or not connector.capabilities.totals or not isinstance(connector, TellsTotals):
            left_out.append(f"order {name}: connector {source} cannot be asked what it has booked")
            continue
        names = tuple(dict.fromkeys(one for record in known for one in (record.job.order, record.job.leader) if one))
        try:
            found, why_not = await _compared(store, connector, source, name, names)
        except ConnectorError as error:
            left_out.append(f"order {name}: {error}")
            continue
        left_out += why_not
        for edge, erp, own in found:
            one = edge._replace(source=source) if named[name] > 1 else edge
            pairs.append((one, await _looked_up(parts.outbox, connector, one, erp, own)))
    if len(by_order) > ORDERS_MAX:
        left_out.append(f"{len(by_order) - ORDERS_MAX} orders beyond {ORDERS_MAX}; name one")
    return report(at_ns, pairs), tuple(left_out)


class _Operation(NamedTuple):
    """Both sides of one operation, and its own postings."""

    edge: EdgeFacts
    erp: ErpFacts
    own: list[OutboxEntry]


async def _compared(
    store: Store, connector: Connector, source: str, name: str, names: tuple[str, ...]
) -> tuple[list[_Operation], list[str]]:
    """Both sides of each operation of an order at one moment, and why others are left out.

    What was acknowledged behind the question is not in its answer, and would look lost. Raises ConnectorError,
    StoreError.
    """
    assert isinstance(connector, TellsTotals), "it was asked whether it does"
    before = await _here(store, connector, source, name, names)
    for _ in range(MOMENTS_MAX):
        booked = await connector.booked(name)
        behind = await _here(store, connector, source, name, names)
        moved = [
            operation
            for operation, (edge, _own) in behind.items()
            if edge != before.get(operation, (None, ()))[0] and compare(_as_told(edge, booked), _erp(operation, booked))
        ]
        if not moved:
            break
        before = behind
    found: list[_Operation] = []
    left_out: list[str] = []
    for operation, (edge, own) in behind.items():
        where = f"order {name} operation {operation}"
        if any(one.error_kind == "kept_back" and one.kind != "reversal" for one in own):
            left_out.append(f"{where}: the ERP confirms it by itself, at a milestone")
        elif operation in moved:
            left_out.append(f"{where}: it is confirmed faster than the ERP answers; compare it again at a calmer time")
        else:
            found.append(_Operation(_as_told(edge, booked), _erp(operation, booked), own))
    return found, left_out


async def _here(
    store: Store, connector: Connector, source: str, name: str, names: tuple[str, ...]
) -> dict[str, tuple[EdgeFacts, list[OutboxEntry]]]:
    """What is known here of each operation of an order at one moment, and its own postings. Raises StoreError."""
    remembered, postings = await reconciliation.seen(store, source, names, POSTINGS_MAX)
    mine = [one for one in remembered if one.job.source == source]  # another ERP may have that number, too
    records = [one for one in mine if not one.job.leads]
    at_work = {one.job.operation for one in mine if one.state in RUNNING}  # by itself, or under its leader
    found: dict[str, tuple[EdgeFacts, list[OutboxEntry]]] = {}
    for operation in dict.fromkeys(record.job.operation for record in records):
        own = [one for one in postings if one.operation == operation and one.kind not in BESIDE]
        of_it = [record for record in records if record.job.operation == operation]
        edge = _edge(name, of_it, store.epoch, own, connector)
        found[operation] = (edge._replace(running=operation in at_work), own)
    return found


def _as_told(edge: EdgeFacts, booked: BookedOrder) -> EdgeFacts:
    return _without_rework(edge) if booked.rework_is_scrap else edge


async def looked_up(outbox: Outbox, connector: Connector, entry: OutboxEntry) -> LookedUp | None:
    """What the ERP says of a key that was booked; None: it cannot be asked, or did not say."""
    if not connector.capabilities.can_lookup or entry.body is None:
        return None
    known = await outbox.steps(entry.id) if is_stepped(entry, connector) else ()
    postings = [step_posting(entry, known, step) for step in range(entry.steps)]
    said = [_said(await connector.lookup(one)) for one in postings]
    if None in said and LookedUp.MISSING not in said:
        return None
    # It is there when every step is; one that is surely missing makes it missing.
    found = (LookedUp.MISSING, LookedUp.REVERSED)
    return next((one for one in found if one in said), LookedUp.FOUND)


def _said(found: Lookup) -> LookedUp | None:
    if found.kind is LookupKind.REFUSED and found.code == _CANCELLED:
        return LookedUp.REVERSED
    return _LOOKED_UP.get(found.kind)


def document(
    found: Report,
    left_out: tuple[str, ...],
    settled: Mapping[tuple[str, str, str], Mapping[str, str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The report as JSON data. ``settled``: who settled what when and why, by order, operation and finding."""
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
                "identity": one.identity,
                "settled": settled.get((one.order, one.operation, one.identity)),
            }
            for one in found.findings
        ],
    }


async def _by_order(store: Store, order: str) -> dict[tuple[str, str], list[JobRecord]]:
    """What is remembered of each order that the ERP knows and that is not over, its children included.

    A leader it does not know: what was made under one is booked as its originals, which are asked for in its place. An
    original may be a child, too.
    """
    records = await store.job_records()
    told_as = {one.job.key: one.job.erp_key[0] for one in records}
    wanted: set[tuple[str, str]] = set()
    for one in records:
        names = tuple(told_as.get((lead, one.job.operation), lead) for lead in one.job.leads) or (one.job.erp_key[0],)
        if order in (one.job.order, *names) if order else one.state not in _OVER:
            wanted.update((one.job.source, name) for name in ((order,) if order in names else names))
    found: dict[tuple[str, str], list[JobRecord]] = {}
    for one in records:
        key = (one.job.source, one.job.erp_key[0])
        if key in wanted and not one.job.leads:
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


def _edge(name: str, records: list[JobRecord], epoch: str, own: list[OutboxEntry], connector: Connector) -> EdgeFacts:
    parked = [one for one in own if one.state is OutboxState.PARKED]
    # Who can be asked how it ended has answered: what it took over is under way there.
    accepted = [one for one in own if one.state is OutboxState.ACCEPTED and connector.capabilities.readback]
    doubtful = [one for one in own if one.state in _DOUBTFUL and one not in accepted]
    acked = [one for one in own if one.state is OutboxState.POSTED]
    waiting = [one for one in own if one.state in _WAITING]
    confirmed = NOTHING
    for record in records:
        confirmed = confirmed.plus(_confirmed(record, [one for one in own if one.order == record.job.order]))
    period = tuple(one.key for one in parked if "PERIOD" in one.error_code.upper())
    return EdgeFacts(
        name,
        records[0].job.operation,
        epochs=tuple(dict.fromkeys((*(one.key.split("/")[1] for one in reversed(own)), epoch))),
        seq=max(record.seq for record in records),
        # What was pruned is in the totals still, so what is acknowledged is all but what is not.
        acked=confirmed.minus(_sum([one for one in own if one.state is not OutboxState.POSTED])),
        in_doubt=_sum(doubtful),
        accepted=_sum(accepted),
        waiting=_sum(waiting),
        external=_external(records),
        acked_keys=tuple(one.key for one in acked),
        in_doubt_keys=tuple(one.key for one in doubtful),
        rejected_keys=tuple(one.key for one in parked if one.key not in period),
        closed_period_keys=period,
        waiting_behind=len(waiting) if parked else 0,
    )


def _without_rework(edge: EdgeFacts) -> EdgeFacts:
    """As an ERP knows it that is told rework as scrap."""

    def folded(pieces: Pieces) -> Pieces:
        return pieces._replace(scrap=pieces.scrap + pieces.rework, rework=0)

    return edge._replace(
        acked=folded(edge.acked),
        in_doubt=folded(edge.in_doubt),
        accepted=folded(edge.accepted),
        waiting=folded(edge.waiting),
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
