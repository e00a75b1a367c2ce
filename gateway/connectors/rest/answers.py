"""What an answer to a posted confirmation means: a table, and the few rules that look into the body. Pure.

Whatever text it passes on is one clean, bounded line.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import Lookup, LookupKind, Outcome, OutcomeKind
from gateway.connectors.http_answer import (
    CODE_MAX_CHARS,
    DETAIL_MAX_CHARS,
    REFERENCE_MAX_CHARS,
    document_of,
    phrase,
    retry_after_ns,
)
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.connectors.http import HttpAnswer

#: Where a target says that it booked a confirmation without its material: a text, or code and message.
GOODS_ERROR: Final = "goods_movement_error"
#: Where a target repeats the key that it was given with a confirmation, and that it was asked for.
REPEATED_KEY: Final = "idempotency_key"
ECHOED_KEYS: Final = (REPEATED_KEY, "key")
_CLIENT_ERRORS: Final = range(400, 500)
_SERVER_ERRORS: Final = range(500, 600)
_SUCCESS: Final = range(200, 300)

#: By status alone.
BY_STATUS: Final[dict[int, OutcomeKind]] = {
    400: OutcomeKind.BUSINESS_REJECT,
    401: OutcomeKind.AUTH,
    403: OutcomeKind.AUTH,
    405: OutcomeKind.PROTOCOL,
    407: OutcomeKind.PROTOCOL,
    408: OutcomeKind.UNCERTAIN,
    409: OutcomeKind.BUSINESS_REJECT,
    410: OutcomeKind.BUSINESS_REJECT,
    412: OutcomeKind.BUSY,
    413: OutcomeKind.BUSINESS_REJECT,
    415: OutcomeKind.BUSINESS_REJECT,
    421: OutcomeKind.PROTOCOL,
    422: OutcomeKind.BUSINESS_REJECT,
    423: OutcomeKind.BUSY,
    426: OutcomeKind.PROTOCOL,
    429: OutcomeKind.NOT_SENT,
}
#: By status and the code in the body, which decides where it is known.
BY_CODE: Final[dict[tuple[int, str], OutcomeKind]] = {
    (409, "LOCKED"): OutcomeKind.BUSY,
    (422, "NOT_RELEASED"): OutcomeKind.WAIT_PRECONDITION,
}


def outcome_of(answer: HttpAnswer, now_ns: int, keys: Collection[str] = ()) -> Outcome:
    """What the answer to a posted confirmation means; ``keys``: the ways in which its key may be written."""
    document = document_of(answer)
    if answer.status in _SUCCESS:
        told = document.get(REPEATED_KEY) if isinstance(document, dict) else None
        if keys and isinstance(told, str) and told not in keys:
            text = clean(f"HTTP {answer.status} speaks of another {REPEATED_KEY}: {told!r}", DETAIL_MAX_CHARS)
            return Outcome(OutcomeKind.UNCERTAIN, text)
        return _success(answer, document)
    code, message = _error(document)
    detail = f"HTTP {answer.status}" + (f": {message}" if message else f" {phrase(answer.status)}")
    kind = BY_CODE.get((answer.status, code)) or BY_STATUS.get(answer.status)
    wished_ns = retry_after_ns(answer, now_ns)
    if answer.status == HTTPStatus.NOT_FOUND:
        # Without an error of the ERP's own, it is not the ERP that answers.
        kind = OutcomeKind.BUSINESS_REJECT if code else OutcomeKind.PROTOCOL
    elif answer.status == HTTPStatus.SERVICE_UNAVAILABLE and wished_ns is not None:
        # Who names a time to come back has not worked on it; a bare 503 may come from something in between.
        kind = OutcomeKind.NOT_SENT
    elif kind is None and answer.status in _SERVER_ERRORS:
        kind = OutcomeKind.UNCERTAIN
    elif kind is None and answer.status in _CLIENT_ERRORS:
        kind = OutcomeKind.BUSINESS_REJECT
    return Outcome(kind or OutcomeKind.PROTOCOL, clean(detail, DETAIL_MAX_CHARS), code, "", wished_ns)


def answer_told(answer: HttpAnswer, now_ns: int, setting: str = "acknowledgements_path") -> Outcome:
    """What the answer to a posted answer to an order, or notice, means: any success will do, there is no document.

    A path that is not served is this message's trouble and no sign that something else than the ERP answers: orders and
    confirmations go on. ``setting`` says where it was posted.
    """
    if answer.status in _SUCCESS:
        document = document_of(answer)
        if not isinstance(document, dict) or not document.get("error"):
            return Outcome(OutcomeKind.POSTED, reference=_reference(document) if isinstance(document, dict) else "")
    outcome = outcome_of(answer, now_ns)
    if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        text = f"{outcome.detail}; correct {setting}, or leave it out"
        return outcome._replace(kind=OutcomeKind.BUSINESS_REJECT, detail=clean(text, DETAIL_MAX_CHARS))
    return outcome


def lookup_of(answer: HttpAnswer, keys: Collection[str]) -> Lookup:
    """What the answer to a look-up means; ``keys`` are the ways in which the key may be written.

    Only a reference proves that a key is booked, and only an error object of the ERP itself that it is not: a gateway,
    a login page or an error that is sent with status 200 proves neither.
    """
    document = document_of(answer)
    code, message = _error(document)
    if answer.status == HTTPStatus.OK and isinstance(document, dict):
        problem = _doubt(document, keys)
        if not problem:
            return Lookup(LookupKind.FOUND, _reference(document), goods_error=_goods_error(document))
        return Lookup(LookupKind.UNKNOWN, detail=clean(f"HTTP 200 {problem}", DETAIL_MAX_CHARS))
    if answer.status == HTTPStatus.NOT_FOUND and code:
        return Lookup(LookupKind.ABSENT, detail=clean(message, DETAIL_MAX_CHARS))
    what = f"HTTP {answer.status}" + (f": {message}" if message else f", {answer.media_type or 'no content type'}")
    return Lookup(LookupKind.UNKNOWN, detail=clean(what, DETAIL_MAX_CHARS))


def refused_with(answer: HttpAnswer) -> str:
    """The code of the ERP's own error in an answer, "" where there is none."""
    return _error(document_of(answer))[0]


def _doubt(document: dict[str, Any], keys: Collection[str]) -> str:
    """Why the answer to a look-up proves no booking, "" where it does."""
    if document.get("error"):
        return _with_error(document)
    if not _reference(document):
        return "with no reference"
    for name in ECHOED_KEYS:
        found = document.get(name)
        if isinstance(found, str) and found not in keys:
            return f"speaks of another {name}: {found!r}"
    return ""


def _success(answer: HttpAnswer, document: Any) -> Outcome:
    if isinstance(document, dict) and document.get("error"):
        text = clean(f"HTTP {answer.status} {_with_error(document)}", DETAIL_MAX_CHARS)
        return Outcome(OutcomeKind.UNCERTAIN, text, _error(document)[0])
    if isinstance(document, dict) and answer.status == HTTPStatus.ACCEPTED:
        return Outcome(OutcomeKind.ACCEPTED, reference=_reference(document))
    reference = _reference(document) if isinstance(document, dict) else ""
    if reference:
        return Outcome(OutcomeKind.POSTED, reference=reference, goods_error=_goods_error(document))
    what = f"HTTP {answer.status}"
    if document is None and answer.body and "json" not in answer.media_type:
        text = f"{what} with {answer.media_type or 'no content type'} instead of JSON: something else answers there"
        return Outcome(OutcomeKind.PROTOCOL, clean(text, DETAIL_MAX_CHARS))
    problem = "no reference" if document is not None else "a body that is not JSON"
    return Outcome(OutcomeKind.UNCERTAIN, f"{what} with {problem}")


def _reference(document: dict[str, Any]) -> str:
    reference = document.get("reference")
    if isinstance(reference, int) and not isinstance(reference, bool):
        reference = str(reference)
    return clean(reference, REFERENCE_MAX_CHARS).strip() if isinstance(reference, str) else ""


def _goods_error(document: Any) -> str:
    """Why the ERP booked the confirmation without its material, in one line; "" where it did, or says nothing of it."""
    told = document.get(GOODS_ERROR) if isinstance(document, dict) else None
    if isinstance(told, dict):
        told = ": ".join(part for name in ("code", "message") if isinstance(part := told.get(name), str) and part)
    return clean(told, DETAIL_MAX_CHARS).strip() if isinstance(told, str) else ""


def _error(document: Any) -> tuple[str, str]:
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return "", ""
    code, message = error.get("code"), error.get("message")
    return (
        clean(code, CODE_MAX_CHARS).strip() if isinstance(code, str) else "",
        clean(message) if isinstance(message, str) else "",
    )


def _with_error(document: dict[str, Any]) -> str:
    code, message = _error(document)
    return f"with an error: {f'{code}: {message}' if code else message or repr(document['error'])}"
