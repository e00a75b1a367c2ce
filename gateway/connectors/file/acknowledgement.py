"""Writes the answer to an order as CSV: a header and one line. Pure: same document, same bytes and same file name."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError, Rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.file.settings import FileSettings

#: Of the file, with what the document calls it.
COLUMNS: Final = {
    "message_id": "message_id",
    "key": "idempotency_key",
    "plant": "plant",
    "order": "order_id",
    "revision": "order_revision",
    "seq": "seq",
    "answer": "answer",
    "held_revision": "held_revision",
    "reasons": "reasons",
    "produced": "produced",
    "resend": "resend",
    "created_at": "created_at",
}
REQUIRED: Final = ("message_id", "idempotency_key", "order_id", "order_revision", "seq", "answer")
NAME_PART_MAX_CHARS: Final = 40
SHORT_ID_CHARS: Final = 12
SEQ_DIGITS: Final = 6

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def render(document: Mapping[str, Any], settings: FileSettings) -> Rendered:
    """The file's bytes and its name. Raises MappingError, naming the field."""
    missing = [name for name in REQUIRED if document.get(name) in (None, "")]
    if missing:
        raise MappingError(f"the answer has no {', '.join(missing)}; every answer must have them")
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=settings.delimiter, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerow([_shown(document.get(field)) for field in COLUMNS.values()])
    try:
        body = text.getvalue().encode(settings.encoding)
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise MappingError(f"found {found!r}, which {settings.encoding} cannot carry; use utf-8") from error
    order = _UNSAFE.sub("_", document["order_id"])[:NAME_PART_MAX_CHARS]
    short_id = _UNSAFE.sub("", document["message_id"]).replace("-", "")[:SHORT_ID_CHARS]
    return Rendered(body, "text/csv", f"{order}-answer-{str(document['seq']).zfill(SEQ_DIGITS)}-{short_id}.csv")


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return " | ".join(map(str, value)) if isinstance(value, list) else str(value)
