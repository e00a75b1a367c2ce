"""Asks SAP's OData service of confirmations whether a ticket is booked, by its key. Changes nothing there.

A confirmation that was cancelled since is refused: a person decides. What waits for CO1L or lies in the error
pool is not there: that nothing is found is no proof that nothing will be booked.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from gateway.connectors.base import Lookup, LookupKind
from gateway.connectors.http import TransportError
from gateway.connectors.http_answer import DETAIL_MAX_CHARS, REFERENCE_MAX_CHARS
from gateway.connectors.sap_idoc.numbers import sap_order
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from gateway.connectors.base import Posting
    from gateway.connectors.sap_idoc.settings import Readback
    from gateway.connectors.signed_client import SignedClient

SET: Final = "ProdnOrdConf2"
FIELDS: Final = "ConfirmationGroup,ConfirmationCount,ExternalSystemConfirmation,IsReversed,IsReversal"
PAGE_MAX: Final = 5000
ANSWER_MAX_BYTES: Final = 8 * 1024 * 1024


async def lookup(client: SignedClient, settings: Readback, posting: Posting) -> Lookup:
    """FOUND with group and count of the confirmation, ABSENT, or UNKNOWN."""
    try:
        answer = await client.request(
            "GET",
            f"{settings.path}/{SET}",
            query={
                "$filter": _filter(settings, posting),
                "$select": FIELDS,
                "$top": str(PAGE_MAX),
                "$format": "json",
                "sap-language": "EN",
            },
            headers={"Accept": "application/json"},
            body_max_bytes=ANSWER_MAX_BYTES,
        )
    except TransportError as error:
        return Lookup(LookupKind.UNKNOWN, detail=clean(f"read-back: {error}", DETAIL_MAX_CHARS))
    rows = _rows(answer.body) if answer.status == HTTPStatus.OK and "html" not in answer.media_type else None
    if rows is None:
        what = answer.media_type or "no content type"
        text = f"read-back: HTTP {answer.status} with {what}, allowed: 200 with the confirmations as JSON"
        return Lookup(LookupKind.UNKNOWN, detail=clean(text, DETAIL_MAX_CHARS))
    own = [row for row in rows if _is(row, posting.message_id) and not _true(row.get("IsReversal"))]
    for row in own:
        if not _true(row.get("IsReversed")):
            return Lookup(LookupKind.FOUND, _reference(row))
    if own:
        text = "it was booked and taken back in SAP; look there, then retry or discard"
        return Lookup(LookupKind.REFUSED, _reference(own[-1]), text, "REVERSED")
    if len(rows) >= PAGE_MAX:
        return Lookup(LookupKind.UNKNOWN, detail=f"read-back: more than {PAGE_MAX} confirmations of this operation")
    return Lookup(LookupKind.ABSENT)


def _reference(row: dict[str, Any]) -> str:
    return clean(f"{row.get('ConfirmationGroup', '')}/{row.get('ConfirmationCount', '')}", REFERENCE_MAX_CHARS)


def _filter(settings: Readback, posting: Posting) -> str:
    if settings.filter_by_key:
        return f"ExternalSystemConfirmation eq guid'{UUID(posting.message_id)}'"
    order, operation = (text.replace("'", "''") for text in (sap_order(posting.order), posting.operation))
    return f"OrderID eq '{order}' and OrderOperation eq '{operation.partition('-')[0]}'"


def _rows(body: bytes) -> list[dict[str, Any]] | None:
    try:
        rows = json.loads(body)["d"]["results"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None


def _is(row: dict[str, Any], message_id: str) -> bool:
    try:
        return UUID(str(row.get("ExternalSystemConfirmation"))) == UUID(message_id)
    except ValueError:
        return False


def _true(value: object) -> bool:
    return value is True or str(value).upper() in {"X", "TRUE"}
