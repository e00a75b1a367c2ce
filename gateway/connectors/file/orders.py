"""Reads a file of orders: bytes in, orders out, or every reason why the file as a whole is refused. Pure.

One line for each operation; the lines of an order follow each other. Unknown columns are ignored.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.order_fields import SHOWN_MAX_CHARS, OrderFields
from gateway.connectors.order_images import with_image
from gateway.core.foreign_text import clean
from gateway.core.model import Operation, ProductionOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.connectors.file.settings import FileSettings

LINES_MAX: Final = 10_000
LINE_MAX_CHARS: Final = 10_000
REASONS_MAX: Final = 50
REQUIRED: Final = ("order", "operation", "work_center", "product", "quantity")
OPTIONAL: Final = (
    "revision",
    "product_revision",
    "uom",
    "sequence",
    "sequence_no",
    "priority",
    "std_cycle_s",
    "planned_start",
    "planned_end",
    "cancelled",
    "text",
    "type",
    "sales_order",
    "customer",
    "cost_center",
    "kind",
    "under_tolerance_pct",
    "over_tolerance_pct",
    "batch",
    "quality_plan",
    "hold",
    "change_number",
    "effective_at",
    "std_setup_min",
    "base_qty",
    "cavities",
    "std_scrap_pct",
    "crew",
    "tool",
    "recipe",
    "required_skill",
)
#: Columns that say more of the order, and of one operation.
OF_ORDER: Final[tuple[str, ...]] = OPTIONAL[-16:-8]
OF_OPERATION: Final[tuple[str, ...]] = OPTIONAL[-8:]
ECHOED: Final = ("type", "sales_order", "customer", "cost_center")
_NUMBERS: Final = (
    "quantity",
    "std_cycle_s",
    "under_tolerance_pct",
    "over_tolerance_pct",
    "std_setup_min",
    "base_qty",
    "std_scrap_pct",
)


class _Line(NamedTuple):
    number: int
    cells: dict[str, str]


def parse_file(content: bytes, settings: FileSettings) -> tuple[tuple[ProductionOrder, ...], tuple[str, ...]]:
    """The orders, and the reasons against the file: where there is a reason, there is no order."""
    reasons: list[str] = []
    lines = _lines(content, settings, reasons)
    orders: list[ProductionOrder] = []
    seen: set[str] = set()
    for name, group in groupby(lines, key=lambda line: line.cells.get("order", "")):
        members = list(group)
        if name in seen:
            shown = clean(repr(name), SHOWN_MAX_CHARS)
            reasons.append(f"line {members[0].number}, order: found {shown} again, allowed: its lines together")
        seen.add(name)
        orders.append(_order(members, settings, reasons))
    if not lines and not reasons:
        reasons.append("line 2: is missing, allowed: one line for each operation after the header")
    if len(reasons) > REASONS_MAX:
        reasons[REASONS_MAX:] = [f"... and {len(reasons) - REASONS_MAX} more"]
    return (() if reasons else tuple(orders), tuple(reasons))


def _lines(content: bytes, settings: FileSettings, reasons: list[str]) -> list[_Line]:
    encoding = "utf-8-sig" if settings.encoding.lower().replace("_", "-") == "utf-8" else settings.encoding
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        reasons.append(f"line {number}: found a byte that is not {settings.encoding}, allowed: {settings.encoding}")
        return []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=settings.delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header, settings, reasons)
        if reasons:
            return []
        return _cells(reader, header, reasons)
    except csv.Error as error:
        reasons.append(f"line {reader.line_num}: {error}, allowed: CSV with double quotes")
        return []


def _cells(reader: Any, header: Sequence[str], reasons: list[str]) -> list[_Line]:
    lines: list[_Line] = []
    for row in reader:
        number = reader.line_num
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            reasons.append(f"line {number}: found {len(row)} columns, allowed: {len(header)} as in the header")
        elif sum(map(len, row)) > LINE_MAX_CHARS:
            reasons.append(f"line {number}: is too long, allowed: {LINE_MAX_CHARS} characters")
        else:
            lines.append(_Line(number, dict(zip(header, row, strict=True))))
        if len(lines) > LINES_MAX:
            reasons.append(f"line {number}: is one too many, allowed: {LINES_MAX} lines")
            break
    return lines


def _check_header(header: Sequence[str], settings: FileSettings, reasons: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        allowed = settings.delimiter.join((*REQUIRED, *OPTIONAL))
        reasons.append(f"line 1: found no column {', '.join(missing)}, allowed: {allowed}")
    known = [name for name in header if name in {*REQUIRED, *OPTIONAL}]
    if len(known) != len(set(known)):
        reasons.append("line 1: found a column twice, allowed: each once")


def _order(lines: Sequence[_Line], settings: FileSettings, reasons: list[str]) -> ProductionOrder:
    orders: list[ProductionOrder] = []
    details: list[dict[str, str]] = []
    before = len(reasons)
    for line in lines:
        cells = dict(line.cells)
        if settings.decimal_separator == ",":
            for name in _NUMBERS:
                cells[name] = _with_point(cells.get(name, ""))
        fields = OrderFields(cells, f"line {line.number}, ", reasons, blank_is_missing=True)
        order = _line_order(fields)
        head = replace(orders[0], operations=(), quantity=order.quantity) if orders else None
        if head is not None and head != replace(order, operations=()):
            reasons.append(f"line {line.number}: differs from the order's first line, allowed: the same order data")
        operation = order.operations[0]
        if any(operation.operation == other.operations[0].operation for other in orders):
            fields.refuse("operation", operation.operation, "each operation of an order once")
        orders.append(order)
        details.append({name: cell.strip() for name, cell in cells.items() if cell.strip()})
    # What the last operation makes is what the order makes.
    operations = tuple(order.operations[0] for order in orders)
    whole = replace(orders[0], operations=operations, quantity=operations[-1].quantity)
    return whole if len(reasons) > before else _with_image(whole, lines[0].number, details, reasons)


def _with_image(
    order: ProductionOrder, number: int, details: Sequence[dict[str, str]], reasons: list[str]
) -> ProductionOrder:
    """The order with all that its columns say; those of the order stand in its first line."""
    of_order = {name: details[0][name] for name in (*OF_ORDER, "type") if name in details[0]}
    of_operations = [{name: one[name] for name in OF_OPERATION if name in one} for one in details]
    found: list[str] = []
    whole = with_image(order, of_order, {}, of_operations, found)
    reasons.extend(f"line {number} and on, {reason}" for reason in found)
    return whole


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
