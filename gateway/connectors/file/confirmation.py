"""Writes a confirmation as CSV: a header and one line. Pure: same document, same bytes and same file name."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError, Rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.file.settings import FileSettings

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
NAME_PART_MAX_CHARS: Final = 40
SHORT_ID_CHARS: Final = 12
SEQ_DIGITS: Final = 6

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def render(document: Mapping[str, Any], settings: FileSettings) -> Rendered:
    """The file's bytes and its name. Raises MappingError, naming the field."""
    row = _row(document, settings)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=settings.delimiter, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerow([row[name] for name in COLUMNS])
    try:
        body = text.getvalue().encode(settings.encoding)
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise MappingError(f"found {found!r}, which {settings.encoding} cannot carry; use utf-8") from error
    return Rendered(body, "text/csv", file_name(row))


def file_name(row: Mapping[str, str]) -> str:
    """``100240-0010-000003-<short id>.csv``: safe on every file system, and different for every confirmation."""
    parts = [_UNSAFE.sub("_", row[name])[:NAME_PART_MAX_CHARS] for name in ("order", "operation")]
    short_id = _UNSAFE.sub("", row["message_id"]).replace("-", "")[:SHORT_ID_CHARS]
    if len(short_id) < SHORT_ID_CHARS:
        raise MappingError(f"confirmation_id: found {row['message_id']!r}, allowed: a UUID")
    return "-".join((*parts, row["seq"].zfill(SEQ_DIGITS), short_id)) + ".csv"


def _row(document: Mapping[str, Any], settings: FileSettings) -> dict[str, str]:
    quantities = _mapping(document, "qty")
    scrap = quantities.get("scrap", [])
    if not isinstance(scrap, list) or not all(isinstance(one, dict) for one in scrap):
        raise MappingError(f"qty.scrap: found {scrap!r}, allowed: a list of reason and qty")
    period = _mapping(document, "period")
    estimated = document.get("estimated") or {}
    total = sum((_decimal(one.get("qty"), "qty.scrap.qty") for one in scrap), Decimal(0))

    def number(value: object, name: str) -> str:
        return f"{_decimal(value, name):f}".replace(".", settings.decimal_separator)

    return {
        "message_id": _text(document, "confirmation_id"),
        "key": _text(document, "idempotency_key"),
        "plant": _text(document, "plant", ""),
        "line": _text(document, "line", ""),
        "machine": _text(document, "machine", ""),
        "work_center": _text(document, "work_center", ""),
        "order": _text(document, "order_id"),
        "operation": _text(document, "operation"),
        "sequence": _text(document, "sequence", "0"),
        "seq": _integer(document, "seq"),
        "type": _text(document, "type"),
        "from": _text(period, "from", ""),
        "to": _text(period, "to", ""),
        "good": number(quantities.get("good"), "qty.good"),
        "scrap": number(total, "qty.scrap"),
        "scrap_reasons": ",".join(
            f"{one['reason']}={number(one.get('qty'), 'qty.scrap.qty')}" for one in scrap if one.get("reason")
        ),
        "rework": number(quantities.get("rework", "0"), "qty.rework"),
        "uom": _text(document, "uom", ""),
        "cycles": str(document.get("cycles") or 0),
        "estimated_pieces": str(estimated.get("pieces", "0")) if isinstance(estimated, dict) else "0",
        "flags": ",".join(map(str, document.get("data_quality_flags") or ())),
        "created_at": _text(document, "created_at", ""),
        "hash": _text(document, "hash", ""),
        "reverses": _text(document, "reverses", ""),
    }


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise MappingError(f"{name}: found {value!r}, allowed: an object")
    return value


def _text(document: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (not value and default is None):
        raise MappingError(f"{name}: found {value!r}, allowed: text")
    return value


def _integer(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise MappingError(f"{name}: found {value!r}, allowed: a whole number from 1 on")
    return str(value)


def _decimal(value: object, name: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise MappingError(f"{name}: found {value!r}, allowed: a number as text")
    return number
