"""What an answer of SAP means: to a posting, to a look-up, to a question for rows. Pure.

SAP reports most of what goes wrong as HTTP 400: its code decides, by the table, and the codes of the details go before
the general one. Whatever text it passes on is one clean, bounded line.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import ConnectorError, Lookup, LookupKind, Outcome, OutcomeKind
from gateway.connectors.error_classes import BY_STATUS
from gateway.connectors.http_answer import CODE_MAX_CHARS, DETAIL_MAX_CHARS, document_of, phrase, retry_after_ns
from gateway.connectors.sap_odata import edm
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.connectors.error_classes import ErrorTable
    from gateway.connectors.http import HttpAnswer

GUID: Final = "ExternalSystemConfirmation"
GROUP: Final = "ConfirmationGroup"
COUNT: Final = "ConfirmationCount"
NUMBER_MAX_CHARS: Final = 20
DETAILS_MAX: Final = 20
#: What is said of a booking without the key by which it would be found.
NO_GUID: Final = f"SAP did not give {GUID} back, so nothing can be looked up by it; its field must be kept there"
MESSAGES_HEADER: Final = "sap-message"
#: Codes of the frame around the business code: they say that something is wrong, and never what.
_FRAME: Final = "/IW"
_SUCCESS: Final = range(200, 300)

#: What SAP's codes mean, where nobody says otherwise: the locks of orders and material that every release has.
DEFAULT_CLASSES: Final[dict[str, OutcomeKind]] = {
    **BY_STATUS,
    "409": OutcomeKind.BUSY,
    "CO/469": OutcomeKind.BUSY,
    "M3/024": OutcomeKind.BUSY,
    "M3/897": OutcomeKind.BUSY,
}


class Rows(NamedTuple):
    """Rows of an answer; ``status`` and ``code`` say why there are none, 0 where there are."""

    rows: list[dict[str, Any]]
    status: int = 0
    code: str = ""
    detail: str = ""


def outcome_of(answer: HttpAnswer, table: ErrorTable, now_ns: int, guid: str) -> Outcome:
    """What the answer to a posted confirmation means."""
    if answer.status not in _SUCCESS:
        return _refused(answer, table, now_ns)
    row = _entity(document_of(answer))
    reference = reference_of(row)
    told = str(row.get(GUID) or "").lower()
    if reference and not told:
        detail = "; ".join(filter(None, (NO_GUID, warnings_of(answer))))
        return Outcome(OutcomeKind.POSTED, clean(detail, DETAIL_MAX_CHARS), reference=reference)
    if reference and told == guid.lower():
        return Outcome(OutcomeKind.POSTED, warnings_of(answer), reference=reference)
    if reference:
        text = clean(f"HTTP {answer.status} speaks of another {GUID}: {told!r}", DETAIL_MAX_CHARS)
        return Outcome(OutcomeKind.UNCERTAIN, text)
    return _no_entity(answer, f"{GROUP} and {COUNT}")


def lacks_guid(outcome: Outcome) -> bool:
    """Whether it is booked, and will never be found by its GUID."""
    return outcome.kind is OutcomeKind.POSTED and outcome.detail.startswith(NO_GUID)


def cancelled_of(answer: HttpAnswer, table: ErrorTable, now_ns: int, taken_back: str) -> Outcome:
    """What the answer to a cancellation means; ``taken_back`` is the reference of what was to be taken back."""
    if answer.status not in _SUCCESS:
        return _refused(answer, table, now_ns)
    document = document_of(answer)
    if answer.status == HTTPStatus.NO_CONTENT or (isinstance(document, dict) and isinstance(document.get("d"), dict)):
        reference = reference_of(_entity(document)) or taken_back
        return Outcome(OutcomeKind.POSTED, warnings_of(answer), reference=reference)
    return _no_entity(answer, "the cancelled confirmation")


def rows_of(answer: HttpAnswer) -> Rows:
    """The rows of an answer to a question, or why there are none."""
    document = document_of(answer)
    inner = document.get("d") if isinstance(document, dict) else None
    if answer.status == HTTPStatus.OK and isinstance(inner, (dict, list)):
        rows = inner.get("results") if isinstance(inner, dict) else inner
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return Rows(rows)
        if isinstance(inner, dict) and "results" not in inner:
            return Rows([inner])
    codes, message = _error(document)
    shown = message or (
        f"{answer.media_type or 'no content type'} without rows" if answer.status == HTTPStatus.OK else ""
    )
    detail = clean(f"HTTP {answer.status} {phrase(answer.status)}: {shown}".rstrip(": "), DETAIL_MAX_CHARS)
    return Rows([], answer.status, codes[0] if codes else "", detail)


def lookup_of(rows: Sequence[Mapping[str, Any]], guid: str) -> Lookup:
    """Whether one of these rows is the booking of a GUID: of its own, not taken back, and no cancellation."""
    own = [row for row in rows if str(row.get(GUID) or "").lower() == guid.lower() and not _is(row, "IsReversal")]
    for row in own:
        reference = reference_of(row)
        if reference and not _is(row, "IsReversed"):
            return Lookup(LookupKind.FOUND, reference)
    if own:
        text = "it was booked and taken back in SAP; look there, then retry or discard"
        return Lookup(LookupKind.REFUSED, reference_of(own[-1]), text, "REVERSED")
    if rows and not any(GUID in row for row in rows):
        return Lookup(LookupKind.UNKNOWN, detail=f"the rows have no {GUID}: nothing can be told from them")
    return Lookup(LookupKind.ABSENT)


def reversal_of(rows: Sequence[Mapping[str, Any]], taken_back: str) -> Lookup:
    """Whether the confirmation of a reference is taken back."""
    for row in rows:
        if reference_of(row) == taken_back:
            return Lookup(LookupKind.FOUND, taken_back) if _is(row, "IsReversed") else Lookup(LookupKind.ABSENT)
    return Lookup(LookupKind.UNKNOWN, detail=f"confirmation {taken_back} is not there")


def reference_of(row: Mapping[str, Any]) -> str:
    """Group and count of a confirmation, as ``207/1``; "" where one of them is missing."""
    group, count = (str(row.get(name) or "").strip() for name in (GROUP, COUNT))
    if not (group.isdecimal() and count.isdecimal()) or max(len(group), len(count)) > NUMBER_MAX_CHARS:
        return ""
    return f"{edm.without_zeros(group)}/{edm.without_zeros(count)}"


def is_booking(row: Mapping[str, Any]) -> bool:
    """Whether the row counts: neither taken back nor a cancellation itself."""
    return not _is(row, "IsReversed") and not _is(row, "IsReversal")


def warnings_of(answer: HttpAnswer) -> str:
    """What SAP says besides: its messages, in one line."""
    try:
        told = json.loads(answer.headers.get(MESSAGES_HEADER, ""))
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    details = told.get("details")
    parts = [told, *(details if isinstance(details, list) else [])][:DETAILS_MAX]
    lines = [f"{one.get('code', '')} {one.get('message', '')}".strip() for one in parts if isinstance(one, dict)]
    return clean("; ".join(line for line in lines if line), DETAIL_MAX_CHARS)


def not_rows(what: str, rows: Rows) -> ConnectorError:
    """The error for a question that brought no rows."""
    return ConnectorError(f"{what}: {rows.detail}; check url, plant, the service's activation and the user's rights")


def _refused(answer: HttpAnswer, table: ErrorTable, now_ns: int) -> Outcome:
    document = document_of(answer)
    codes, message = _error(document)
    wait_ns = retry_after_ns(answer, now_ns)
    kind = table.of(codes, answer.status)
    known = table.found(codes)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and wait_ns is not None and known is None:
        # Who names a time to come back has not worked on it; a bare 503 may come from something in between.
        kind = OutcomeKind.NOT_SENT
    detail = f"HTTP {answer.status}: {message or phrase(answer.status)}"
    code = next((code for code in codes if table.found([code]) is not None), codes[0] if codes else "")
    return Outcome(kind, clean(detail, DETAIL_MAX_CHARS), clean(code, CODE_MAX_CHARS), "", wait_ns)


def _no_entity(answer: HttpAnswer, needed: str) -> Outcome:
    if "html" in answer.media_type or (answer.body and "json" not in answer.media_type):
        text = f"HTTP {answer.status} with {answer.media_type or 'no content type'}: something else answers there"
        return Outcome(OutcomeKind.PROTOCOL, clean(text, DETAIL_MAX_CHARS))
    return Outcome(OutcomeKind.UNCERTAIN, f"HTTP {answer.status} without {needed}")


def _entity(document: Any) -> Mapping[str, Any]:
    """The one row of an answer; that of a function may stand under the function's name, or in a list."""
    row = document.get("d") if isinstance(document, dict) else None
    if isinstance(row, dict) and GROUP not in row:
        inner = row.get("results") if "results" in row else next(iter(row.values()), None)
        row = inner[0] if isinstance(inner, list) and inner else inner
    return row if isinstance(row, dict) else {}


def _error(document: Any) -> tuple[list[str], str]:
    """Codes, the most telling first, and the message."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return [], ""
    inner = error.get("innererror")
    details = inner.get("errordetails") if isinstance(inner, dict) else None
    rows = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    grave = [one for one in rows[:DETAILS_MAX] if str(one.get("severity", "error")).lower() == "error"]
    codes = [str(one.get("code") or "").strip() for one in (*grave, error)]
    told = [code for code in codes if code]
    telling = sorted(dict.fromkeys(told), key=lambda code: code.startswith(_FRAME))  # stable: the frame's own last
    texts = [_text(error.get("message")), *(str(one.get("message") or "") for one in grave)]
    return telling, clean("; ".join(dict.fromkeys(text for text in texts if text)), DETAIL_MAX_CHARS)


def _text(message: Any) -> str:
    if isinstance(message, list):
        return "; ".join(filter(None, map(_text, message[:DETAILS_MAX])))
    if isinstance(message, dict):
        return str(message.get("value") or "")
    return message if isinstance(message, str) else ""


def _is(row: Mapping[str, Any], name: str) -> bool:
    return edm.flag_of(row.get(name))
