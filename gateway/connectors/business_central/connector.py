"""The Business Central connector: lines into the output journal, or a call of the extension; orders by OData.

A line that is inserted is not posted: somebody there posts it, and its ledger entries tell. The number of a line is
fixed, so inserting it twice is refused there. Order and repeats are the forwarder's.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from gateway.connectors import odata4, seen_orders
from gateway.connectors.base import (
    BookedOrder,
    Capabilities,
    ConnectorContext,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    OrderPage,
    Outcome,
    OutcomeKind,
    Posting,
    Rendered,
)
from gateway.connectors.business_central import lines, orders, totals
from gateway.connectors.error_classes import BY_STATUS, table_of
from gateway.connectors.http import TransportError
from gateway.connectors.http_answer import DETAIL_MAX_CHARS, document_of, kept, phrase, retry_after_ns
from gateway.connectors.material_left import left_of, sends_none
from gateway.connectors.signed_client import SignedClient, outcome_of_failure
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.business_central.settings import BusinessCentralSettings
    from gateway.connectors.http import HttpAnswer

ORDERS_A_QUERY: Final = 20
#: The line is there already: looked up before anything is said.
EXISTS: Final = "Internal_EntityWithSameKeyExists"
ERRORS: Final = {
    **BY_STATUS,
    "409": OutcomeKind.BUSY,
    "Request_EntityChanged": OutcomeKind.BUSY,
    "Internal_RecordLocked": OutcomeKind.BUSY,
}
_SUCCESS: Final = range(200, 300)


class BusinessCentralConnector:
    """One company."""

    def __init__(self, settings: BusinessCentralSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._context = context
        self._client: SignedClient | None = None
        self._errors = table_of(settings.error_classes, ERRORS)
        self._base_path = urlsplit(settings.url).path.rstrip("/")
        self._company = f"/Company('{quote(settings.company.replace(chr(39), chr(39) * 2), safe='')}')"
        self._capabilities = Capabilities(
            idempotent=settings.variant == "extension",
            server_time_limit_ns=int(settings.server_time_limit),
            correction="manual",
            readback=True,
            totals=True,
            # Who posts the journal once a day would have one line of each operation a day.
            accepted_blocks=False,
        )

    @property
    def capabilities(self) -> Capabilities:
        """As the variant says."""
        return self._capabilities

    async def open(self) -> None:
        """Make the client. Raises ConnectorError for a secret or certificate file that cannot be used."""
        client = SignedClient(
            self._settings.url,
            self._settings.sign_in,
            self._context,
            timeout_ns=int(self._settings.timeout),
            ca_file=self._settings.ca_file,
        )
        await client.open()
        self._client = client

    async def close(self) -> None:
        """Release the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Orders that are new, say something else, or are not released any more. Raises ConnectorError."""
        seen = seen_orders.seen_of(cursor)
        released = "Status eq 'Released'"
        more = f" and ({self._settings.order_filter})" if self._settings.order_filter else ""
        found = await self._rows(self._settings.lines_page, released + more)
        gone = sorted(set(seen.orders) - {str(one.get("Prod_Order_No")) for one in found})
        left: list[dict[str, Any]] = []
        for at in range(0, len(gone), ORDERS_A_QUERY):
            some = odata4.any_of("Prod_Order_No", gone[at : at + ORDERS_A_QUERY])
            left += await self._documents(await self._rows(self._settings.lines_page, some), some)
        documents = await self._documents(found, released)
        page = seen_orders.turned(seen, documents, [_ended(one) for one in left])
        return await asyncio.to_thread(seen_orders.page_of, page, orders.echo_of)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The lines of a confirmation, or the message to the extension. Raises MappingError."""
        return lines.rendered(self._settings, self._context.time_zone, confirmation)

    def not_sent(self, confirmation: Mapping[str, Any]) -> tuple[str, ...]:
        """Material that a person has to post in Business Central: no message tells any."""
        return left_of(confirmation, sends_none)

    def headers(self, posting: Posting) -> dict[str, str]:
        """Those of every message."""
        return {"Content-Type": posting.rendered.content_type, "Accept": "application/json"}

    async def send(self, posting: Posting) -> Outcome:
        """Insert one line, or call the extension."""
        client = self._opened()
        path = f"{self._company}/{self._settings.journal_page}"
        if self._settings.variant == "extension":
            path = f"/{self._settings.action}?company={quote(self._settings.company, safe='')}"
        try:
            answer = await client.request("POST", path, headers=self.headers(posting), body=posting.rendered.body)
        except TransportError as error:
            return outcome_of_failure(error)
        code, _ = odata4.error_of(document_of(answer))
        if code == EXISTS and self._settings.variant == "journal":
            return kept(await self._there_already(posting), answer, client.secrets)
        outcome = self._outcome(answer, posting)
        done = outcome.kind in {OutcomeKind.ACCEPTED, OutcomeKind.POSTED}
        return outcome if done else kept(outcome, answer, client.secrets)

    async def lookup(self, posting: Posting) -> Lookup:
        """Look into the journal, then into the ledger: a line that is posted between the two is found in the second."""
        external = posting.rendered.name
        condition = f"External_Document_No eq {odata4.text(external)}"
        try:
            waiting = await self._waiting(condition) if self._settings.variant == "journal" else []
            entries = await self._rows(self._settings.capacity_page, condition)
        except ConnectorError as error:
            return Lookup(LookupKind.UNKNOWN, detail=str(error))
        if entries:
            return Lookup(LookupKind.FOUND, f"capacity ledger entry {entries[0].get('Entry_No')}")
        if waiting:
            text = "the line is in the journal and not posted"
            return Lookup(LookupKind.ACCEPTED, self._reference(posting), text)
        if posting.accepted and self._settings.variant == "journal":
            text = f"line {posting.accepted} was taken out of the journal and not posted"
            return Lookup(LookupKind.REFUSED, detail=text, code="LINE_DELETED")
        return Lookup(LookupKind.ABSENT)

    async def booked(self, order: str) -> BookedOrder:
        """The capacity ledger entries of an order, summed by operation. Raises ConnectorError."""
        found = await self._rows(self._settings.lines_page, f"Prod_Order_No eq {odata4.text(order)}")
        entries = await self._rows(self._settings.capacity_page, f"Order_No eq {odata4.text(order)}")
        if not found and not entries:
            return BookedOrder(order, known=False)
        told = self._settings.rework == "scrap"
        operations = totals.summed(entries, f"{self._settings.capacity_page}, order {order}")
        closed = bool(found) and all(orders.is_closed(row) for row in found)
        return BookedOrder(order, closed=closed, operations=operations, rework_is_scrap=told)

    async def probe(self) -> Health:
        """Read one order line."""
        path = f"{self._company}/{self._settings.lines_page}"
        try:
            await odata4.rows(self._opened(), self._base_path, path, {"$top": "1"})
        except ConnectorError as error:
            return Health(ok=False, detail=str(error))
        return Health(ok=True, detail=f"orders of {self._settings.company} can be read")

    async def _there_already(self, posting: Posting) -> Outcome:
        """The line exists: ours (posted meanwhile, perhaps), or by the rarest chance another one with its number."""
        found = await self.lookup(posting._replace(accepted=""))
        if found.kind is LookupKind.FOUND:
            return Outcome(OutcomeKind.POSTED, reference=found.reference)
        if found.kind is LookupKind.ACCEPTED:
            return Outcome(OutcomeKind.ACCEPTED, reference=found.reference)
        if found.kind is LookupKind.UNKNOWN:
            return Outcome(OutcomeKind.UNCERTAIN, found.detail)
        # The number is free again once that line is posted.
        text = f"line {self._reference(posting)} belongs to something else; it goes in once that is posted or deleted"
        return Outcome(OutcomeKind.BUSY, text, "LINE_NO_TAKEN")

    def _outcome(self, answer: HttpAnswer, posting: Posting) -> Outcome:
        document = document_of(answer)
        if answer.status in _SUCCESS:
            return self._success(answer, document, posting)
        code, message = odata4.error_of(document)
        wait_ns = retry_after_ns(answer, self._context.now_ns())
        kind = self._errors.of([code], answer.status)
        if (
            answer.status == HTTPStatus.SERVICE_UNAVAILABLE
            and wait_ns is not None
            and self._errors.found([code]) is None
        ):
            kind = OutcomeKind.NOT_SENT
        detail = clean(f"HTTP {answer.status}: {message or phrase(answer.status)}", DETAIL_MAX_CHARS)
        return Outcome(kind, detail, code, "", wait_ns)

    def _success(self, answer: HttpAnswer, document: Any, posting: Posting) -> Outcome:
        if document is None and "json" not in answer.media_type:
            what = clean(answer.media_type or "no content type", DETAIL_MAX_CHARS)
            return Outcome(OutcomeKind.PROTOCOL, f"HTTP {answer.status} with {what}: something else answers there")
        if not isinstance(document, dict):
            return Outcome(OutcomeKind.UNCERTAIN, f"HTTP {answer.status} with a body that is no JSON object")
        if self._settings.variant == "extension":
            return _extension_said(document)
        if document.get("External_Document_No") != posting.rendered.name:
            return Outcome(OutcomeKind.UNCERTAIN, f"HTTP {answer.status} speaks of another External_Document_No")
        return Outcome(OutcomeKind.ACCEPTED, reference=self._reference(posting))

    def _reference(self, posting: Posting) -> str:
        number = json.loads(posting.rendered.body)["Line_No"]
        return f"{self._settings.journal_template}/{self._settings.journal_batch}/{number}"

    async def _waiting(self, condition: str) -> list[dict[str, Any]]:
        batch = f"Journal_Batch_Name eq {odata4.text(self._settings.journal_batch)}"
        return await self._rows(self._settings.journal_page, f"{batch} and {condition}")

    async def _rows(self, page: str, condition: str) -> list[dict[str, Any]]:
        return await odata4.rows(
            self._opened(),
            self._base_path,
            f"{self._company}/{page}",
            {"$filter": condition},
            headers={"Prefer": f"odata.maxpagesize={self._settings.page_size}"},
        )

    async def _documents(self, found: list[dict[str, Any]], condition: str) -> list[dict[str, Any]]:
        if not found:
            return []
        routing = await self._rows(self._settings.routing_page, condition)
        page = self._settings.components_page
        components = [] if page is None else await self._rows(page, condition)
        by_order: dict[str, tuple[list[Any], list[Any], list[Any]]] = {}
        for number, rows in enumerate((found, routing, components)):
            for row in rows:
                order = str(row.get("Prod_Order_No"))
                if number == 0 or order in by_order:
                    by_order.setdefault(order, ([], [], []))[number].append(row)
        return [orders.document_of(*three) for three in by_order.values()]

    def _opened(self) -> SignedClient:
        if self._client is None:
            raise ConnectorError(f"{self._context.name}: is not open; open() comes first")
        return self._client


def _extension_said(document: Mapping[str, Any]) -> Outcome:
    """What the action returned: a text that is JSON again."""
    try:
        told = json.loads(document["value"])
        status, entry = told["status"], told["entry"]
    except (KeyError, TypeError, ValueError):
        return Outcome(OutcomeKind.UNCERTAIN, 'the extension answered without {"status": ..., "entry": ...}')
    if status not in {"posted", "already"} or not isinstance(entry, (str, int)):
        return Outcome(
            OutcomeKind.UNCERTAIN, clean(f"the extension answered with the status {status!r}", DETAIL_MAX_CHARS)
        )
    return Outcome(OutcomeKind.POSTED, reference=clean(f"capacity ledger entry {entry}", DETAIL_MAX_CHARS))


def _ended(document: dict[str, Any]) -> dict[str, Any]:
    # Neither released nor finished: somebody took it back.
    return document if document["status"] in {"closed", "released"} else {**document, "cancelled": True}
