"""A confirmation as lines: CSV with any columns, or fields of fixed length. Pure: same document, same bytes."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.connectors.file.columns import Column
from gateway.connectors.file.fields import Amount
from gateway.connectors.file.text_out import Writer, is_number, total_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.connectors.file.fields import Confirmed, Value
    from gateway.connectors.file.settings import FileSettings

#: Columns of a confirmation where the settings name none.
COLUMNS: Final = (
    "message_id",
    "key",
    "plant",
    "line",
    "machine",
    "work_center",
    "order",
    "operation",
    "sequence",
    "seq",
    "type",
    "from",
    "to",
    "good",
    "scrap",
    "scrap_reasons",
    "rework",
    "uom",
    "cycles",
    "estimated_pieces",
    "flags",
    "created_at",
    "hash",
    "reverses",
)
DEFAULT: Final = tuple(Column(name=name, value=name) for name in COLUMNS)
ENDS: Final = {"crlf": "\r\n", "lf": "\n"}


def csv_lines(confirmed: Confirmed, settings: FileSettings, plant_zone: str) -> bytes:
    """Header (not where files are added to one: it stands there once), lines, trailer. Raises MappingError."""
    writer = Writer(settings, plant_zone)
    columns = settings.columns or DEFAULT
    rows = _with_reasons(confirmed, settings, writer)
    lines = [[writer.cell(column, row) for column in columns] for row in rows]
    if settings.header and settings.append_to is None:
        lines.insert(0, [writer.carried(column.name, "columns") for column in columns])
    if settings.trailer is not None:
        lines.append([settings.trailer, str(len(rows)), total_text(_total(rows, columns, settings), settings)])
    return _csv(lines, settings).encode(settings.encoding)


def csv_head(settings: FileSettings) -> bytes:
    """The line with the names of the columns, where there is one."""
    columns = settings.columns or DEFAULT
    if settings.format != "csv" or not settings.header:
        return b""
    return _csv([[column.name for column in columns]], settings).encode(settings.encoding, "replace")


def fixed_lines(confirmed: Confirmed, settings: FileSettings, plant_zone: str) -> bytes:
    """Every field in its width, the lines one after the other. Raises MappingError."""
    writer = Writer(settings, plant_zone)
    end = ENDS[settings.line_end].encode(settings.encoding)
    rows = _with_reasons(confirmed, settings, writer)
    lines = [
        b"".join(
            writer.padded(writer.cell(column, row), column, number=is_number(column.value))
            for column in settings.columns
        )
        for row in rows
    ]
    if settings.trailer is not None:
        total = total_text(_total(rows, settings.columns, settings), settings)
        lines.append(f"{settings.trailer}{len(rows):>10}{total:>15}".encode(settings.encoding))
    return b"".join(line + end for line in lines)


def _with_reasons(confirmed: Confirmed, settings: FileSettings, writer: Writer) -> list[dict[str, Value]]:
    plain = Column(name="scrap_reasons", value="scrap")
    listed = ",".join(
        f"{one.reason}={writer.plain('scrap', one.quantity, plain)}" for one in confirmed.reasons if one.reason
    )
    return [{**row, "scrap_reasons": listed} for row in confirmed.rows(settings.lines)]


def _total(rows: Sequence[dict[str, Value]], columns: Sequence[Column], settings: FileSettings) -> Decimal:
    """The sum of good, scrap and rework as the first column of each rounds them."""
    found = Decimal(0)
    for name in ("good", "scrap", "rework"):
        column = next((one for one in columns if one.value == name), None)
        if column is None:
            continue
        places = column.decimals
        if places is None and settings.mapping is not None:
            places = settings.mapping.quantity_decimals
        amounts = (row[name] for row in rows)
        found += sum((one.rounded(places) for one in amounts if isinstance(one, Amount)), Decimal(0))
    return found


def _csv(lines: Sequence[Sequence[str]], settings: FileSettings) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=settings.delimiter,
        lineterminator=ENDS[settings.line_end],
        quoting=csv.QUOTE_ALL if settings.quotes == "always" else csv.QUOTE_MINIMAL,
    )
    writer.writerows(lines)
    return text.getvalue()
