"""What SAP's answer to an IDoc means: over SOAP, and over plain HTTP. Pure; by status and code, never by text.

That SAP has stored an IDoc is all that an answer ever says: nothing here is POSTED.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.connectors.base import Outcome, OutcomeKind
from gateway.connectors.error_classes import BY_STATUS
from gateway.connectors.http_answer import CODE_MAX_CHARS, DETAIL_MAX_CHARS, REFERENCE_MAX_CHARS, phrase, retry_after_ns
from gateway.connectors.sap_idoc.idoc_xml import IdocError, elements, local_name
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from gateway.connectors.error_classes import ErrorTable
    from gateway.connectors.http import HttpAnswer

_SUCCESS: Final = range(200, 300)
CODES_MAX: Final = 20

#: Beside what every status means.
DEFAULT: Final[dict[str, OutcomeKind]] = {
    **BY_STATUS,
    "MSGID_LOCKED": OutcomeKind.BUSY,
    "EA/728": OutcomeKind.BUSY,
    "SOAP_MSGID_INITIAL": OutcomeKind.BUSINESS_REJECT,
    "SOAP_MSGID_PREFIX_INVALID": OutcomeKind.BUSINESS_REJECT,
    "MULTIPLE_IDOCS_NOT_ALLOWED": OutcomeKind.BUSINESS_REJECT,
}
#: A fault that names nothing else: the same bytes again do no harm over SOAP.
UNNAMED: Final = frozenset({"Server", "Receiver"})
#: Inbound statuses of SAP with which an IDoc is kept as faulty there.
FAULTY: Final = frozenset({"51", "52", "56", "60", "61", "63", "65", "66", "68"})
STORED: Final = "53"
_NUMBER_NAMES: Final = frozenset({"DbId", "DOCNUM", "IDOCNUM", "docnum", "idocNumber"})
_STATUS_NAMES: Final = frozenset({"STATUS", "status"})
_CODE_NAMES: Final = frozenset({"code", "Code", "CODE", "errorcode", "ErrorCode", "ERRORCODE", "name", "Name"})
_CODE = re.compile(r"[A-Za-z0-9_/.+:-]{1,100}")


def outcome_of_soap(answer: HttpAnswer, table: ErrorTable, now_ns: int) -> Outcome:
    """The answer to one IDoc over SOAP."""
    root = _xml(answer)
    fault = None if root is None else next((one for one in root.iter() if local_name(one) == "Fault"), None)
    if fault is not None:
        return _fault(fault, answer, table, now_ns)
    if answer.status in _SUCCESS:
        if root is not None and local_name(root) == "Envelope":
            return Outcome(OutcomeKind.ACCEPTED, reference=_first(root, _NUMBER_NAMES))
        if answer.status == HTTPStatus.ACCEPTED and not answer.body:
            return Outcome(OutcomeKind.ACCEPTED)
        return _unreadable(answer, "a SOAP envelope")
    return _by_status(answer, table, now_ns)


def outcome_of_http(answer: HttpAnswer, table: ErrorTable, now_ns: int) -> Outcome:
    """The answer to one IDoc as plain XML: 200 after it is stored, with or without a body."""
    if answer.status not in _SUCCESS:
        return _by_status(answer, table, now_ns)
    told = _told(answer)
    if told is None:
        return _unreadable(answer, "XML, JSON or nothing")
    number, status = told
    if status in FAULTY:
        text = f"SAP keeps the IDoc {number} with status {status}; look at it in WE02, BD87 processes it again"
        kind = table.found([f"STATUS/{status}"]) or OutcomeKind.BUSINESS_REJECT
        return Outcome(kind, clean(text, DETAIL_MAX_CHARS), status)
    return Outcome(OutcomeKind.ACCEPTED, reference=number)


def _fault(fault: Element, answer: HttpAnswer, table: ErrorTable, now_ns: int) -> Outcome:
    codes = _codes(fault)
    text = next((one.text or "" for one in fault.iter() if local_name(one) in {"faultstring", "Text"}), "")
    detail = clean(f"HTTP {answer.status}, SOAP fault {', '.join(codes) or 'without a code'}: {text}", DETAIL_MAX_CHARS)
    kind = table.found(codes)
    named = [code for code in codes if code not in {*UNNAMED, "Client", "Sender"}]
    if kind is None:
        unnamed = not named and bool(UNNAMED & set(codes) or not codes)
        kind = OutcomeKind.UNCERTAIN if unnamed else OutcomeKind.BUSINESS_REJECT
    code = clean((named or codes or [""])[0], CODE_MAX_CHARS)
    return Outcome(kind, detail, code, "", retry_after_ns(answer, now_ns))


def _codes(fault: Element) -> list[str]:
    """What a fault is called: message class and number, names in its detail, at last the class of the fault."""
    found: list[str] = []
    every = list(fault.iter())
    for one in every:
        fields = {local_name(child).upper(): (child.text or "").strip() for child in one}
        for name, number in (("ID", "NUMBER"), ("MSGID", "MSGNO"), ("STAMID", "STAMNO")):
            if fields.get(name) and fields.get(number):
                found.append(f"{fields[name]}/{fields[number]}")
    found += [text for one in every if local_name(one) in _CODE_NAMES and (text := (one.text or "").strip())]
    found += [local_name(one) for part in every if local_name(part) in {"detail", "Detail"} for one in part]
    classes = (one for one in every if local_name(one) in {"faultcode", "Value"})
    found += [(one.text or "").strip().rpartition(":")[2] for one in classes]
    return [code for code in dict.fromkeys(found) if _CODE.fullmatch(code)][:CODES_MAX]


def _by_status(answer: HttpAnswer, table: ErrorTable, now_ns: int) -> Outcome:
    wait_ns = retry_after_ns(answer, now_ns)
    kind = table.of([], answer.status)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and wait_ns is not None:
        # Who names a time to come back has not worked on it.
        kind = table.own.get(str(answer.status), OutcomeKind.NOT_SENT)
    detail = clean(f"HTTP {answer.status} {phrase(answer.status)}", DETAIL_MAX_CHARS)
    return Outcome(kind, detail, "", "", wait_ns)


def _unreadable(answer: HttpAnswer, wanted: str) -> Outcome:
    found = answer.media_type or "no content type"
    text = f"HTTP {answer.status} with {found} instead of {wanted}"
    if "html" in answer.media_type:
        return Outcome(OutcomeKind.PROTOCOL, clean(f"{text}: something else answers there", DETAIL_MAX_CHARS))
    return Outcome(OutcomeKind.UNCERTAIN, clean(text, DETAIL_MAX_CHARS))


def _told(answer: HttpAnswer) -> tuple[str, str] | None:
    """Number and status in an answer, "" where it names none; None: it is no answer of SAP's."""
    if not answer.body.strip():
        return "", ""
    if "html" in answer.media_type:
        return None
    root = _xml(answer)
    if root is not None:
        return (
            ("", "")
            if local_name(root).lower() == "html"
            else (_first(root, _NUMBER_NAMES), _first(root, _STATUS_NAMES))
        )
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    number, status = (
        next((str(document[name]) for name in sorted(names) if isinstance(document.get(name), (str, int))), "")
        for names in (_NUMBER_NAMES, _STATUS_NAMES)
    )
    return clean(number, REFERENCE_MAX_CHARS), clean(status, CODE_MAX_CHARS)


def _first(root: Element, names: frozenset[str]) -> str:
    found = next((one.text or "" for one in root.iter() if local_name(one) in names), "")
    return clean(found, REFERENCE_MAX_CHARS).strip()


def _xml(answer: HttpAnswer) -> Element | None:
    if "html" in answer.media_type or not answer.body.strip():
        return None
    try:
        return elements(answer.body)
    except IdocError:
        return None
