"""One order of SAP, header with what belongs to it, as a production order with its whole image. Pure.

It reads what is there and notes every reason against it; which orders are asked for is not its business. Flags are "X"
or "", numbers are texts, dates and times of day are those of the plant.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.order_fields import OrderFields
from gateway.connectors.order_images import with_image
from gateway.connectors.sap_odata import edm
from gateway.connectors.sap_odata.operations import Address, name_of
from gateway.core.foreign_text import clean
from gateway.core.model import Operation, ProductionOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.connectors.sap_odata.order_pages import Seen
    from gateway.connectors.sap_odata.services import Service

#: Changes of an order within one second that can be told apart.
CHANGES_PER_STAMP: Final = 100
#: Goes back with every confirmation, so that it finds its service.
CATEGORY: Final = "order_category"
TEXT_MAX_CHARS: Final = 100
OPERATIONS_MAX: Final = 500
ROWS_MAX: Final = 1000
PLACES: Final = Decimal("0.000001")
LOCKED: Final = "locked in SAP"
_CLOSED: Final = ("OrderIsTechnicallyCompleted", "OrderIsClosed")
_DELETED: Final = ("OrderIsDeleted", "OrderIsMarkedForDeletion")
_USED: Final = frozenset({"", "261"})  # issued to the order
_BY_PRODUCT: Final = "531"  # received from it; whatever else there is are returns


class OrderRules(NamedTuple):
    """What the settings say of reading orders. ``unit`` and ``work_center``: from SAP's name to ours.

    ``tolerances``: over and under in percent where SAP says nothing. ``issued``: who issues marked components.
    """

    zone: dt.tzinfo
    unit: Callable[[str], str]
    work_center: Callable[[str], str]
    overlap: bool = False
    issued: str = "erp"
    tolerances: tuple[Decimal | None, Decimal | None] = (None, None)


def read_order(
    header: Mapping[str, Any], service: Service, rules: OrderRules, seen: Seen, reasons: list[str]
) -> ProductionOrder | None:
    """The order, or None after noting reasons. ``seen``: which second its revision is of, and which change of it."""
    raw = _listed(header, service.to_operations, reasons)
    released = edm.flag_of(header.get("OrderIsReleased")) or edm.flag_of(header.get("OrderIsPartiallyReleased"))
    rows = _usable(raw, released=released)
    cancelled = any(edm.flag_of(header.get(name)) for name in _DELETED)
    if not rows and not reasons:
        if not cancelled:
            reasons.append(f"{service.to_operations}: found none that can be confirmed, allowed: 1 and more")
            return None
        rows = raw
    fields = OrderFields(header, "", reasons, blank_is_missing=True)
    unit = rules.unit(fields.identifier("ProductionUnit", default="PC"))
    quantity = fields.quantity("TotalQuantity")
    operations, documents = _operations(rows, fields, header, rules, quantity, reasons)
    order = ProductionOrder(
        order=fields.identifier("ManufacturingOrder", forbidden="/"),
        revision=int(seen.stamp) * CHANGES_PER_STAMP + min(seen.change, CHANGES_PER_STAMP - 1),
        product=fields.identifier("Material"),
        product_revision=fields.identifier("ProductionVersion", default=""),
        uom=unit,
        quantity=quantity,
        operations=operations,
        sequence_no=_number(header.get("OrderSequenceNumber")),
        priority=_number(header.get("ManufacturingOrderImportance")),
        planned_start_ns=_moment(header, "MfgOrderScheduledStart", "MfgOrderPlannedStart", rules.zone, reasons),
        planned_end_ns=_moment(header, "MfgOrderScheduledEnd", "MfgOrderPlannedEnd", rules.zone, reasons),
        cancelled=cancelled,
        echo=_echo(service, fields),
    )
    if reasons:
        return None
    document = {
        "status": _status(header, released=released),
        "hold": LOCKED if edm.flag_of(header.get("OrderIsLocked")) else "",
        "components": _components(header, service, rules, order, {one["op"] for one in documents}, reasons),
        **_tolerances(header, service, rules),
    }
    found = with_image(_sane(order), document, {}, documents, reasons)
    return None if reasons else found


def is_over(header: Mapping[str, Any]) -> bool:
    """Whether nothing more is to be made of it: closed, technically completed or deleted."""
    return any(edm.flag_of(header.get(name)) for name in (*_CLOSED, *_DELETED))


def takes_nothing(header: Mapping[str, Any]) -> bool:
    """Whether SAP books nothing more on it."""
    return is_over(header) or edm.flag_of(header.get("OrderIsLocked"))


def _status(header: Mapping[str, Any], *, released: bool) -> str:
    if any(edm.flag_of(header.get(name)) for name in _CLOSED):
        return "closed"
    return "released" if released else "planned"


def _usable(rows: list[dict[str, Any]], *, released: bool) -> list[dict[str, Any]]:
    """Those that can be confirmed: not deleted, and released where the order is.

    A partially released order has released and other operations; where no row says anything, the order's word holds.
    """
    left = [row for row in rows if not edm.flag_of(row.get("OperationIsDeleted"))]
    if not released:
        return left
    return [row for row in left if row.get("OperationIsReleased") is None or edm.flag_of(row["OperationIsReleased"])]


def _operations(
    rows: list[dict[str, Any]],
    order: OrderFields,
    header: Mapping[str, Any],
    rules: OrderRules,
    quantity: Decimal,
    reasons: list[str],
) -> tuple[tuple[Operation, ...], list[dict[str, Any]]]:
    found: list[Operation] = []
    documents: list[dict[str, Any]] = []
    for number, row in enumerate(sorted(rows, key=_place)):
        fields = OrderFields(row, f"operation[{number}].", reasons, blank_is_missing=True)
        sequence = fields.identifier("ManufacturingOrderSequence", default="0")
        sub = fields.identifier("ManufacturingOrderSubOperation", default="")
        name = name_of(Address(fields.identifier("ManufacturingOrderOperation", forbidden="/-."), sub, sequence))
        own_unit = row.get("OperationUnit") or header.get("ProductionUnit")
        same_unit = own_unit == header.get("ProductionUnit")
        planned = edm.decimal_of(row.get("OpPlannedTotalQuantity"))
        operation = Operation(
            operation=name,
            work_center=rules.work_center(fields.identifier("WorkCenter")),
            # Of another unit than the order's, or 0: what the order says holds for its operation.
            quantity=planned if planned is not None and planned > 0 and same_unit else quantity,
            sequence=edm.without_zeros(sequence),
            text=clean(str(row.get("MfgOrderOperationText") or ""), TEXT_MAX_CHARS).strip(),
        )
        if any(operation.operation == other.operation for other in found):
            order.refuse("operation", name, "each operation once")
        found.append(operation)
        documents.append({"op": name, "control": {"overlap": rules.overlap}})
    return tuple(found), documents


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("ManufacturingOrderSequence", "ManufacturingOrderOperation", "ManufacturingOrderSubOperation")
    return tuple(str(row.get(name) or "").rjust(6, "0") for name in names)


def _components(
    header: Mapping[str, Any],
    service: Service,
    rules: OrderRules,
    order: ProductionOrder,
    operations: set[str],
    reasons: list[str],
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in _listed(header, service.to_components, reasons):
        needed = edm.decimal_of(row.get("RequiredQuantity"))
        sequence = str(row.get("ManufacturingOrderSequence") or "0")
        operation = name_of(Address(str(row.get("ManufacturingOrderOperation") or ""), "", sequence))
        skipped = edm.flag_of(row.get("IsBulkMaterialComponent")) or edm.flag_of(row.get("MatlCompIsMarkedForDeletion"))
        movement = str(row.get("GoodsMovementType") or "")
        besides = movement == _BY_PRODUCT
        if needed is not None and besides:
            needed = abs(needed)
        known = besides or movement in _USED
        if skipped or not known or needed is None or needed <= 0 or operation not in operations:
            continue  # bulk, deleted, given back, or of an operation that is not confirmed here
        fixed = edm.flag_of(row.get("QuantityIsFixed"))
        per = needed if fixed else needed / order.quantity
        marked = edm.flag_of(row.get("MatlCompIsMarkedForBackflush"))
        found.append(
            {
                "item": row.get("Material"),
                "qty_per": max(per.quantize(PLACES), PLACES),
                "uom": rules.unit(str(row.get("BaseUnit") or row.get("EntryUnit") or "")),
                "op": operation,
                "fixed": fixed,
                "flush_method": ("erp" if rules.issued == "erp" else "backflush") if marked else "manual",
                **({"kind": "by_product", "flush_method": "backflush"} if besides else {}),
            }
        )
    return found


def _tolerances(header: Mapping[str, Any], service: Service, rules: OrderRules) -> dict[str, Any]:
    items = header.get(service.to_items)
    rows = items.get("results") if isinstance(items, dict) else None
    row = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    over = edm.decimal_of(row.get("OverdelivTolrtdLmtRatioInPct"))
    under = edm.decimal_of(row.get("UnderdelivTolrtdLmtRatioInPct"))
    if edm.flag_of(row.get("UnlimitedOverdeliveryIsAllowed")):
        over = None
    else:
        over = rules.tolerances[0] if over is None else over
    under = rules.tolerances[1] if under is None else under
    told = {"over_tolerance_pct": over, "under_tolerance_pct": under}
    return {name: value for name, value in told.items() if value is not None}


def _echo(service: Service, fields: OrderFields) -> dict[str, str]:
    told = {"sales_order": fields.identifier("SalesOrder", default=""), CATEGORY: service.category}
    return {name: text for name, text in told.items() if text}


def _sane(order: ProductionOrder) -> ProductionOrder:
    """An end before its start says nothing."""
    start, end = order.planned_start_ns, order.planned_end_ns
    return replace(order, planned_end_ns=None) if start is not None and end is not None and end < start else order


def _moment(header: Mapping[str, Any], first: str, second: str, zone: dt.tzinfo, reasons: list[str]) -> int | None:
    for name in (first, second):
        day_name, time_name = f"{name}Date", f"{name}Time"
        try:
            day = edm.date_of(header.get(day_name))
        except ValueError as error:
            reasons.append(f"{day_name}: found {clean(repr(header[day_name]), 40)}, allowed: {error}")
            return None
        try:
            time = edm.time_of(header.get(time_name))
        except ValueError as error:
            reasons.append(f"{time_name}: found {clean(repr(header[time_name]), 40)}, allowed: {error}")
            return None
        if day is not None and day > dt.date(1970, 1, 1):
            return edm.utc_ns(day, time, zone)
    return None


def _number(value: Any) -> int:
    """A number where there is one: importance and sequence are often letters or empty."""
    text = str(value or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0  # noqa: PLR2004 - digits of SAP


def _listed(header: Mapping[str, Any], name: str, reasons: list[str]) -> list[dict[str, Any]]:
    part = header.get(name)
    rows = part.get("results") if isinstance(part, dict) else part
    if rows is None:
        reasons.append(f"{name}: is missing; it must be expanded")
        return []
    if not isinstance(rows, list) or len(rows) > ROWS_MAX or not all(isinstance(row, dict) for row in rows):
        reasons.append(f"{name}: found {type(rows).__name__}, allowed: up to {ROWS_MAX} objects")
        return []
    return rows
