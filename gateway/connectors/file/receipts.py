"""What an ERP says of a confirmation in an ``ACK_`` file: booked with its document, refused with a reason, or not yet.

Pure. CSV (``id;status;erp_doc;message``), XML of the same names, or ConfirmBOD and AcknowledgeOperationsPerformance of
B2MML. A file that cannot be read says nothing: it may still be written.
"""

from __future__ import annotations

import csv
import enum
import io
from typing import TYPE_CHECKING, Final, NamedTuple

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from gateway.connectors.file.order_xml import below, local, value_at
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

    from gateway.connectors.file.settings import FileSettings

PREFIX: Final = "ACK_"
ENDINGS: Final = (".csv", ".xml", ".txt")
REFERENCE_MAX_CHARS: Final = 100
CODE_MAX_CHARS: Final = 60
MESSAGE_MAX_CHARS: Final = 300
_COLUMNS: Final = ("id", "status", "erp_doc", "message")


class Standing(enum.Enum):
    """What became of a confirmation."""

    WAITING = "waiting"
    BOOKED = "booked"
    REFUSED = "refused"


class Receipt(NamedTuple):
    """The ERP's word. ``code`` is its word for the status, or the reason's code in B2MML."""

    standing: Standing
    reference: str = ""
    code: str = ""
    message: str = ""


class _Row(NamedTuple):
    id: str
    status: str
    reference: str
    message: str
    code: str = ""


NOT_YET: Final = Receipt(Standing.WAITING)


def names(stem: str, message_id: str) -> tuple[str, ...]:
    """How a receipt may be called: after the file, or after the message."""
    return tuple(f"{PREFIX}{one}{ending}" for one in (stem, message_id) for ending in ENDINGS)


def read(name: str, content: bytes, ids: Iterable[str], settings: FileSettings) -> Receipt:
    """What the file says of the confirmation with one of these ids (message id, key, file name)."""
    rows = _xml_rows(content) if name.lower().endswith(".xml") else _csv_rows(content, settings)
    wanted = {one.lower() for one in ids if one}
    said = [row for row in rows if not row.id or row.id.lower() in wanted]
    found = [_judged(row, settings) for row in said]
    # Of several lines (one for each reason) all must be booked; one that is refused is a case for a person.
    refused = next((one for one in found if one.standing is Standing.REFUSED), None)
    if refused is not None:
        return refused
    if not found or any(one.standing is Standing.WAITING for one in found):
        return NOT_YET
    return found[0]


def _judged(row: _Row, settings: FileSettings) -> Receipt:
    status = row.status.strip().lower()
    reference = clean(row.reference.strip(), REFERENCE_MAX_CHARS)
    code = clean(row.code or row.status.strip(), CODE_MAX_CHARS)
    message = clean(row.message.strip(), MESSAGE_MAX_CHARS)
    if status in {word.lower() for word in settings.ack_booked}:
        return Receipt(Standing.BOOKED, reference, code, message)
    if status in {word.lower() for word in settings.ack_refused}:
        return Receipt(Standing.REFUSED, reference, code, message)
    return NOT_YET


def _csv_rows(content: bytes, settings: FileSettings) -> list[_Row]:
    if not content.endswith(b"\n"):
        return []  # half a file: its last word may be missing
    text = content.decode(settings.encoding, "replace").removeprefix("\ufeff")
    try:
        lines = [row for row in csv.reader(io.StringIO(text), delimiter=settings.delimiter) if any(row)]
    except csv.Error:
        return []
    if not lines:
        return []
    heads = [cell.strip().lower() for cell in lines[0]]
    places = list(_COLUMNS)
    if "status" in heads:
        places, lines = heads, lines[1:]
    rows = [dict(zip(places, (cell.strip() for cell in line), strict=False)) for line in lines]
    return [_Row(*(row.get(name, "") for name in _COLUMNS)) for row in rows]


def _xml_rows(content: bytes) -> list[_Row]:
    try:
        root: Element = fromstring(content)
    except (ParseError, DefusedXmlException, LookupError, ValueError):
        return []
    if local(root) == "ConfirmBOD":
        return [_bod(one, root) for one in below(root, "DataArea/BOD")]
    if local(root).startswith("Acknowledge"):
        area = below(root, "DataArea/Acknowledge")
        return [_acknowledged(one, root) for one in area]
    rows = [root] if below(root, "status") else [one for one in root.iter() if below(one, "status")]
    return [_Row(*(value_at(one, root, name) for name in _COLUMNS)) for one in rows]


def _bod(bod: Element, root: Element) -> _Row:
    """Booked or refused stands in the response criteria of Confirm, what it is about in the original's area."""
    confirm = next(iter(below(root, "DataArea/Confirm")), root)
    original = _text(bod, "OriginalApplicationArea/BODID") or _text(confirm, "OriginalApplicationArea/BODID")
    return _criteria(confirm, original, _text(bod, "Description") or _text(bod, "Note"), root)


def _acknowledged(acknowledge: Element, root: Element) -> _Row:
    original = _text(acknowledge, "OriginalApplicationArea/BODID")
    return _criteria(acknowledge, original, "", root)


def _criteria(parent: Element, original: str, text: str, root: Element) -> _Row:
    action, code, reason = "", "", text
    for one in below(parent, "ResponseCriteria"):
        expression = below(one, "ResponseExpression")
        if expression and not action:
            action = expression[0].get("actionCode", "")
        code = code or _text(one, "ChangeStatus/ReasonCode") or _text(one, "ChangeStatus/Code")
        reason = reason or _text(one, "ChangeStatus/Reason") or _text(one, "ChangeStatus/Description")
    document = _text(root, "ApplicationArea/Sender/ReferenceID") or _text(root, "ApplicationArea/BODID")
    return _Row(original, action, document, reason, code)


def _text(element: Element, path: str) -> str:
    found = below(element, path)
    return (found[0].text or "").strip() if found else ""
