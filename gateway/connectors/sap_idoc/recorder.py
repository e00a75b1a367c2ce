"""Reads PPCC2RECORDER01 of PP-PDC: operations that come one by one, and deletions of them. Pure.

Other than LOIPRO it may tell a part of an order only. What is known of an order before is given in and comes out again
with the change, as plain data: the caller keeps it. An operation that was deleted stays known as such, so that nothing
older brings it back; an order whose operations are all deleted is cancelled.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.order_fields import OrderFields
from gateway.connectors.order_images import with_image
from gateway.connectors.sap_idoc.numbers import number_of, order_number, version
from gateway.core.model import Operation, ProductionOrder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.connectors.sap_idoc.idoc_xml import Idoc, Segment
    from gateway.connectors.sap_idoc.loipro import Reading

MESSAGE: Final = "PPCC2RECORDER"
OPERATION: Final = "E1BP_PP_PDC_OPERA2"
DELETION: Final = "E1BP_PP_PDC_OPERA1"
#: What is kept of an order: ``{"revision": 1, "operations": {"0010": {...}}}``.
Known = dict[str, Any]


def changed(idoc: Idoc, reading: Reading, known: Mapping[str, Known], reasons: list[str]) -> dict[str, Known]:
    """What is known of each order that the IDoc speaks of, with it. Older than what is known changes nothing."""
    number = version(idoc.control, reasons, f"IDoc {idoc.number}: ")
    found: dict[str, Known] = {}
    for segment, deleted in _told(idoc):
        order = order_number(segment.get("ORDERID"), short=reading.short_numbers)
        name = segment.get("OPERATION")
        if not order or not name:
            text = f"ORDERID {order!r}, OPERATION {name!r}"
            reasons.append(f"IDoc {idoc.number}, {segment.name}: found {text}, allowed: both")
            continue
        if segment.get("SUB_OPER"):
            continue
        before = found.get(order) or known.get(order) or {"revision": 0, "operations": {}}
        rows = dict(before["operations"])
        row = rows.get(name, {"revision": 0, "fields": {}})
        if number >= row["revision"]:
            # A deletion names the operation only: what it was stays known.
            fields = {**(row["fields"] if deleted else {}), **segment.fields}
            rows[name] = {"revision": number, "deleted": deleted, "fields": fields}
        found[order] = {"revision": max(before["revision"], number), "operations": rows}
    return found


def order_of(order: str, known: Known, reading: Reading, reasons: list[str]) -> ProductionOrder | None:
    """The order as far as it is known; None where a reason is noted, or only deletions of it are known."""
    rows = sorted(known["operations"].items())
    alive = [row["fields"] for _, row in rows if not row["deleted"]]
    told = alive or [row["fields"] for _, row in rows if "OPER_QUANTITY" in row["fields"]]
    if not told:
        return None
    where, own = f"order {order}: ", list[str]()
    last = {name: text.strip() for name, text in told[-1].items()}
    operations = [_operation(one) for one in told]
    product = {
        "id": number_of(last.get("MATERIAL", ""), short=reading.short_numbers),
        "uom": last.get("OPER_QUAN_UNIT") or last.get("OPER_QUAN_UNIT_ISO"),
    }
    image: dict[str, Any] = {"qty": last.get("OPER_QUANTITY"), "operations": operations}
    image |= _tolerances(last)
    fields = OrderFields(image, where, own, blank_is_missing=True)
    of_product = OrderFields(product, where, own, blank_is_missing=True)
    found = ProductionOrder(
        order=order,
        revision=known["revision"],
        product=of_product.identifier("id"),
        uom=of_product.identifier("uom"),
        quantity=fields.quantity("qty"),
        operations=tuple(_read(OrderFields(one, where, own, blank_is_missing=True)) for one in operations),
        cancelled=not alive,
    )
    further: list[str] = []
    whole = found if own else with_image(found, image, product, operations, further)
    reasons += [*own, *(where + reason for reason in further)]
    return None if own or further else whole


def _told(idoc: Idoc) -> Iterator[tuple[Segment, bool]]:
    yield from ((one, False) for one in idoc.find(OPERATION))
    yield from ((one, True) for one in idoc.find(DELETION))


def _operation(fields: Mapping[str, str]) -> dict[str, Any]:
    get = {name: text.strip() for name, text in fields.items()}
    return {
        "op": get.get("OPERATION"),
        "sequence": get.get("SEQUENCE") or "000000",
        "work_center": get.get("WORK_CNTR"),
        "qty": get.get("OPER_QUANTITY"),
        "text": get.get("DESCRIPTION") or get.get("MATL_DESC") or "",
    }


def _read(fields: OrderFields) -> Operation:
    return Operation(
        operation=fields.identifier("op", forbidden="/"),
        work_center=fields.identifier("work_center"),
        quantity=fields.quantity("qty"),
        sequence=fields.identifier("sequence"),
        text=fields.text("text"),
    )


def _tolerances(fields: Mapping[str, str]) -> dict[str, str | None]:
    """SAP's are quantities; only where it checks them (X) does anything beyond wait for a person."""
    whole = _decimal(fields.get("OPER_QUANTITY", ""))
    found: dict[str, str | None] = {"over_tolerance_pct": None, "under_tolerance_pct": None}
    if not whole:
        return found
    under, over = (_decimal(fields.get(f"{name}_QUANTITY", "")) for name in ("UNDERDELIVERY", "OVERDELIVERY"))
    if under is not None and under <= whole:
        found["under_tolerance_pct"] = f"{round((whole - under) * 100 / whole, 3):f}"
    if fields.get("CHECK_OVERDELIVERY", "") == "X" and over is not None and over >= whole:
        found["over_tolerance_pct"] = f"{round((over - whole) * 100 / whole, 3):f}"
    return found


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text and text.isascii() and "_" not in text else None
    except InvalidOperation:
        return None
