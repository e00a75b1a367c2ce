"""Reads a file of orders: bytes in, orders out, or every reason why the file as a whole is refused. Pure.

One line for each operation; the lines of an order follow each other. The form of the file is read by others: CSV and
fixed length (``order_rows``), XML (``order_xml``), B2MML (``b2mml_in``).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.file.b2mml_in import b2mml_rows
from gateway.connectors.file.order_rows import (
    LINES_MAX,
    MATERIAL,
    NUMBERS,
    OF_OPERATION,
    OF_ORDER,
    OVERLAP,
    csv_rows,
    fixed_rows,
)
from gateway.connectors.file.order_xml import xml_rows
from gateway.connectors.order_fields import SHOWN_MAX_CHARS, OrderFields
from gateway.connectors.order_images import with_image
from gateway.core.foreign_text import clean
from gateway.core.model import Operation, ProductionOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.connectors.file.order_rows import Line
    from gateway.connectors.file.settings import FileSettings

__all__ = ["LINES_MAX", "named_in", "parse_file"]

REASONS_MAX: Final = 50
NAMED_MAX: Final = 100  # orders of one refused file that are answered
ECHOED: Final = ("type", "sales_order", "customer", "cost_center")


def parse_file(
    content: bytes, settings: FileSettings, plant_zone: str = "UTC"
) -> tuple[tuple[ProductionOrder, ...], tuple[str, ...]]:
    """The orders, and the reasons against the file: where there is a reason, there is no order."""
    reasons: list[str] = []
    lines = _lines(content, settings, plant_zone, reasons)
    orders: list[ProductionOrder] = []
    seen: set[str] = set()
    for name, group in groupby(lines, key=lambda line: line.cells.get("order", "")):
        members = list(group)
        if name in seen:
            shown = clean(repr(name), SHOWN_MAX_CHARS)
            reasons.append(f"{members[0].place}, order: found {shown} again, allowed: its lines together")
        seen.add(name)
        orders.append(_order(members, settings, reasons))
    if not lines and not reasons:
        reasons.append("line 2: is missing, allowed: one line for each operation after the header")
    if len(reasons) > REASONS_MAX:
        reasons[REASONS_MAX:] = [f"... and {len(reasons) - REASONS_MAX} more"]
    return (() if reasons else tuple(orders), tuple(reasons))


def named_in(content: bytes, settings: FileSettings, plant_zone: str = "UTC") -> tuple[tuple[str, str], ...]:
    """Number and revision of the orders in a file that is refused, as it says them; what cannot be read is left out."""
    lines = _lines(content, settings, plant_zone, [])
    found = {line.cells.get("order", "").strip(): line.cells.get("revision", "").strip() for line in reversed(lines)}
    return tuple(reversed([(order, revision) for order, revision in found.items() if order]))[:NAMED_MAX]


def _lines(content: bytes, settings: FileSettings, plant_zone: str, reasons: list[str]) -> list[Line]:
    named = settings.mapping.time_zone if settings.mapping else None
    zone = named or plant_zone
    match settings.format:
        case "csv":
            return csv_rows(content, settings, zone, reasons)
        case "fixed":
            return fixed_rows(content, settings, zone, reasons)
        case "xml":
            return xml_rows(content, settings, zone, reasons)
        case "b2mml":
            return b2mml_rows(content, settings, reasons)


def _order(lines: Sequence[Line], settings: FileSettings, reasons: list[str]) -> ProductionOrder:
    orders: list[ProductionOrder] = []
    details: list[dict[str, str]] = []
    before = len(reasons)
    for line in lines:
        cells = dict(line.cells)
        if settings.decimal_separator == "," and settings.format != "b2mml":
            for name in NUMBERS:
                cells[name] = _with_point(cells.get(name, ""))
        fields = OrderFields(cells, f"{line.place}, ", reasons, blank_is_missing=True)
        order = _line_order(fields)
        head = replace(orders[0], operations=(), quantity=order.quantity) if orders else None
        if head is not None and head != replace(order, operations=()):
            reasons.append(f"{line.place}: differs from the order's first line, allowed: the same order data")
        operation = order.operations[0]
        if any(operation.operation == other.operations[0].operation for other in orders):
            fields.refuse("operation", operation.operation, "each operation of an order once")
        orders.append(order)
        details.append({name: cell.strip() for name, cell in cells.items() if cell.strip()})
    # What the last operation makes is what the order makes.
    operations = tuple(order.operations[0] for order in orders)
    whole = replace(orders[0], operations=operations, quantity=operations[-1].quantity)
    whole = replace(whole, echo={**whole.echo, **lines[0].echo})
    return whole if len(reasons) > before else _with_image(whole, lines[0], details, reasons)


def _with_image(
    order: ProductionOrder, first: Line, details: Sequence[dict[str, str]], reasons: list[str]
) -> ProductionOrder:
    """The order with all that its columns say; those of the order stand in its first line."""
    of_order: dict[str, Any] = {name: details[0][name] for name in (*OF_ORDER, "type") if name in details[0]}
    if details[0].get(MATERIAL, "").strip():  # an empty cell says nothing
        of_order[MATERIAL] = OrderFields(details[0], f"{first.place}, ", reasons).flag(MATERIAL)
    of_order |= first.image
    of_operations = [_of_operation(one, first.place, reasons) for one in details]
    found: list[str] = []
    whole = with_image(order, of_order, {}, of_operations, found)
    reasons.extend(f"{first.place} and on, {reason}" for reason in found)
    return whole


def _of_operation(cells: dict[str, str], place: str, reasons: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: cells[name] for name in OF_OPERATION if name in cells}
    if OVERLAP in cells:
        found["control"] = {OVERLAP: OrderFields(cells, f"{place}, ", reasons).flag(OVERLAP)}
    return found


def _line_order(fields: OrderFields) -> ProductionOrder:
    quantity = fields.quantity("quantity")
    operation = Operation(
        operation=fields.identifier("operation", forbidden="/"),
        work_center=fields.identifier("work_center"),
        quantity=quantity,
        std_cycle_ns=fields.cycle_ns("std_cycle_s"),
        sequence=fields.identifier("sequence", default="0"),
        text=fields.text("text"),
    )
    return ProductionOrder(
        order=fields.identifier("order"),
        revision=fields.integer("revision", default=0),
        product=fields.identifier("product"),
        product_revision=fields.identifier("product_revision", default=""),
        uom=fields.identifier("uom", default="PC"),
        quantity=quantity,
        operations=(operation,),
        sequence_no=fields.integer("sequence_no", default=0),
        priority=fields.integer("priority", default=0),
        planned_start_ns=fields.time_ns("planned_start"),
        planned_end_ns=fields.time_ns("planned_end"),
        cancelled=fields.flag("cancelled"),
        echo={name: text for name in ECHOED if (text := fields.text(name))},
    )


def _with_point(cell: str) -> str:
    # A point where a comma is agreed is a thousands separator or a mistake: neither is guessed.
    return cell.replace(".", "?").replace(",", ".")
