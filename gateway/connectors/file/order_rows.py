"""The lines of an order file as named cells: CSV with any columns, or fields of fixed length. Pure.

One line for each operation. What the cells mean is not checked here (``orders.py``); only form, code page and trailer.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.file.text_out import FORMS
from gateway.connectors.mapping import moments
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.connectors.file.columns import Column
    from gateway.connectors.file.settings import FileSettings

LINES_MAX: Final = 10_000
LINE_MAX_CHARS: Final = 10_000
SHOWN_MAX_CHARS: Final = 40
REQUIRED: Final = ("order", "operation", "work_center", "product", "quantity")
#: Columns that say more of the order, and of one operation.
OF_ORDER: Final = (
    "kind",
    "under_tolerance_pct",
    "over_tolerance_pct",
    "batch",
    "quality_plan",
    "hold",
    "change_number",
    "effective_at",
)
OF_OPERATION: Final = (
    "std_setup_min",
    "base_qty",
    "cavities",
    "std_scrap_pct",
    "crew",
    "tool",
    "recipe",
    "required_skill",
)
#: Whether the next operation may begin while this one runs.
OVERLAP: Final = "overlap"
#: Whether the material of the order is there.
MATERIAL: Final = "material_available"
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
    *OF_ORDER,
    *OF_OPERATION,
    OVERLAP,
    MATERIAL,
)
ORDER_FIELDS: Final = frozenset((*REQUIRED, *OPTIONAL))
NUMBERS: Final = (
    "quantity",
    "std_cycle_s",
    "under_tolerance_pct",
    "over_tolerance_pct",
    "std_setup_min",
    "base_qty",
    "std_scrap_pct",
)
TIMES: Final = ("planned_start", "planned_end", "effective_at")


class Line(NamedTuple):
    """One operation of an order. ``place`` is where it stands; ``image`` and ``echo`` are more of the order."""

    place: str
    cells: dict[str, str]
    image: Mapping[str, Any] = {}
    echo: Mapping[str, str] = {}


def text_of(content: bytes, settings: FileSettings, reasons: list[str]) -> str | None:
    """The characters of the file; None after noting where they are none."""
    encoding = "utf-8-sig" if settings.encoding.lower().replace("_", "-") == "utf-8" else settings.encoding
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        reasons.append(f"line {number}: found a byte that is not {settings.encoding}, allowed: {settings.encoding}")
        return None


def csv_rows(content: bytes, settings: FileSettings, plant_zone: str, reasons: list[str]) -> list[Line]:
    """The lines of a CSV file."""
    text = text_of(content, settings, reasons)
    if text is None:
        return []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=settings.delimiter, strict=True)
    try:
        columns = _heads(reader, settings, reasons)
        if reasons:
            return []
        rows = _cells(reader, len(columns), settings, reasons)
    except csv.Error as error:
        reasons.append(f"line {reader.line_num}: {error}, allowed: CSV with double quotes")
        return []
    rows = _without_trailer(rows, columns, settings, reasons)
    return [_line(number, dict(zip(columns, row, strict=True)), settings, plant_zone, reasons) for number, row in rows]


def fixed_rows(content: bytes, settings: FileSettings, plant_zone: str, reasons: list[str]) -> list[Line]:
    """The lines of a file whose fields have a fixed length, in bytes."""
    found: list[tuple[int, list[str]]] = []
    names = [column.name or column.value or "" for column in settings.order_columns]
    widths = [column.width or 0 for column in settings.order_columns]
    for number, raw in enumerate(content.splitlines(), start=1):
        bad: list[str] = []
        if not raw.strip() or raw == b"\x1a":  # the end of a file of DOS
            continue
        if text_of(raw, settings, bad) is None:
            reasons.append(f"line {number}: {bad[0].partition(': ')[2]}")
            continue
        mark = None if settings.trailer is None else settings.trailer.encode(settings.encoding)
        if mark is not None and raw.startswith(mark) and len(raw.split()) <= len(widths) and len(raw) != sum(widths):
            found.append((number, [settings.trailer or "", *raw[len(mark) :].decode(settings.encoding).split()]))
            continue
        if len(raw) > sum(widths) and raw[sum(widths) :].strip():
            reasons.append(f"line {number}: found {len(raw)} bytes, allowed: {sum(widths)} as in order_columns")
            continue
        cells, at = [], 0
        for width in widths:
            cells.append(raw[at : at + width].decode(settings.encoding, "replace").strip())
            at += width
        found.append((number, cells))
        if len(found) > LINES_MAX:
            reasons.append(f"line {number}: is one too many, allowed: {LINES_MAX} lines")
            return []
    rows = _without_trailer(found, names, settings, reasons)
    if reasons:
        return []
    return [_line(number, dict(zip(names, row, strict=True)), settings, plant_zone, reasons) for number, row in rows]


def ours(
    theirs: Mapping[str, str], columns: Sequence[Column], plant_zone: str, where: str, reasons: list[str]
) -> dict[str, str]:
    """The cells by our names: as their columns say, a constant where there is nothing, times as ISO."""
    cells: dict[str, str] = {}
    for column in columns:
        if column.value is None:
            continue
        cell = theirs.get(column.name or column.value, "").strip() or (column.constant or "")
        if column.value in TIMES and cell and column.date != "iso":
            cell = _iso(cell, column, plant_zone, where, reasons)
        cells[column.value] = cell
    return cells


def _heads(reader: Any, settings: FileSettings, reasons: list[str]) -> list[str]:
    columns = settings.order_columns
    if not settings.header:
        return [column.name or column.value or "" for column in columns]
    header = [name.strip() for name in next(reader, [])]
    if not columns:
        header = [name.lower() for name in header]
        wanted: Sequence[str] = REQUIRED
    else:
        wanted = [one.name or one.value or "" for one in columns if one.value is not None and one.constant is None]
    missing = [name for name in wanted if name not in header]
    if missing:
        allowed = settings.delimiter.join((*REQUIRED, *OPTIONAL) if not columns else wanted)
        reasons.append(f"line 1: found no column {', '.join(missing)}, allowed: {allowed}")
    relevant = {*REQUIRED, *OPTIONAL} if not columns else set(wanted)
    known = [name for name in header if name in relevant]
    if len(known) != len(set(known)):
        reasons.append("line 1: found a column twice, allowed: each once")
    return header


def _cells(reader: Any, width: int, settings: FileSettings, reasons: list[str]) -> list[tuple[int, list[str]]]:
    rows: list[tuple[int, list[str]]] = []
    for row in reader:
        number = reader.line_num
        if not any(cell.strip() for cell in row):
            continue
        if settings.trailer is not None and row[0] == settings.trailer:
            rows.append((number, row))
        elif len(row) != width:
            reasons.append(f"line {number}: found {len(row)} columns, allowed: {width} as in the header")
        elif sum(map(len, row)) > LINE_MAX_CHARS:
            reasons.append(f"line {number}: is too long, allowed: {LINE_MAX_CHARS} characters")
        else:
            rows.append((number, row))
        if len(rows) > LINES_MAX:
            reasons.append(f"line {number}: is one too many, allowed: {LINES_MAX} lines")
            break
    return rows


def _without_trailer(
    rows: list[tuple[int, list[str]]], columns: Sequence[str], settings: FileSettings, reasons: list[str]
) -> list[tuple[int, list[str]]]:
    """The lines before the trailer, which must be there, be the last one, and be right."""
    if settings.trailer is None:
        return rows
    if not rows or rows[-1][1][0] != settings.trailer:
        reasons.append(f"the last line: is no trailer, allowed: {settings.trailer}, count of lines, sum of quantities")
        return []
    number, told = rows[-1]
    lines = rows[:-1]
    at = next((index for index, name in enumerate(columns) if name == _quantity_column(settings)), None)
    total = sum((_decimal(row[at], settings) for _, row in lines if at is not None), Decimal(0))
    cells = [cell.strip() for cell in told[1:3]]
    if len(cells) < len(("count", "sum")) or cells[0] != str(len(lines)) or _decimal(cells[1], settings) != total:
        shown = clean(" ".join(cells), SHOWN_MAX_CHARS)
        reasons.append(
            f"line {number}: found a trailer with {shown!r}, allowed: {len(lines)} lines and the sum {total}"
        )
    return lines


def _quantity_column(settings: FileSettings) -> str:
    columns = (one for one in settings.order_columns if one.value == "quantity")
    return next((one.name or "quantity" for one in columns), "quantity")


def _line(number: int, theirs: dict[str, str], settings: FileSettings, plant_zone: str, reasons: list[str]) -> Line:
    place = f"line {number}"
    if settings.order_columns:
        return Line(place, ours(theirs, settings.order_columns, plant_zone, place, reasons))
    return Line(place, theirs)


def _iso(cell: str, column: Column, plant_zone: str, where: str, reasons: list[str]) -> str:
    """A local time as ISO 8601 with its offset; of the hour that is there twice it is the first."""
    try:
        if column.date == "local_iso":
            found = dt.datetime.fromisoformat(cell)
        else:
            found = dt.datetime.strptime(cell, FORMS[column.date])  # noqa: DTZ007 - its zone is given right below
    except ValueError:
        shown = clean(repr(cell), SHOWN_MAX_CHARS)
        reasons.append(f"{where}, {column.value}: found {shown}, allowed: a time as {column.date}")
        return ""
    return (found if found.tzinfo else found.replace(tzinfo=moments.zone(plant_zone))).isoformat()


def _decimal(cell: str, settings: FileSettings) -> Decimal:
    try:
        number = Decimal(cell.strip().replace(settings.decimal_separator, "."))
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)
