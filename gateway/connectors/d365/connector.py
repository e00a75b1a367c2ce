"""The Dynamics 365 connector: messages into the queue of the MES integration, orders and read-back by OData.

The queue takes everything and tells nothing, so what was booked is measured: before each message and after it. One
message of an order is under way at a time. Order and repeats are the forwarder's.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.connectors import odata4, seen_orders
from gateway.connectors.base import (
    BookedOperation,
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
from gateway.connectors.d365 import messages, orders, readback
from gateway.connectors.error_classes import BY_STATUS, table_of
from gateway.connectors.http import TransportError
from gateway.connectors.http_answer import (
    CODE_MAX_CHARS,
    DETAIL_MAX_CHARS,
    REFERENCE_MAX_CHARS,
    document_of,
    kept,
    phrase,
    retry_after_ns,
)
from gateway.connectors.mapping import moments
from gateway.connectors.material_left import left_of, sends_none
from gateway.connectors.signed_client import SignedClient, outcome_of_failure
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.connectors.d365.settings import D365Settings
    from gateway.connectors.http import HttpAnswer

#: Orders in one filter: an address may have 2,048 characters in front of some proxies.
ORDERS_A_QUERY: Final = 20
STATUS_TYPE: Final = "Microsoft.Dynamics.DataEntities.ProdStatus"
OPEN: Final = ("Released", "StartedUp")
STARTED: Final = frozenset({"StartedUp", "ReportedFinished", "Completed"})
ENDED: Final = "Completed"
CLOSED: Final = frozenset({"ReportedFinished", "Completed"})

NO_BASELINE: Final = "there is no baseline to compare with: look in Dynamics, then decide"

#: A conflict is somebody else at the same rows: it passes.
ERRORS: Final = {**BY_STATUS, "409": OutcomeKind.BUSY}

_SUCCESS: Final = range(200, 300)


class D365Connector:
    """One company of one environment."""

    def __init__(self, settings: D365Settings, context: ConnectorContext) -> None:
        self._settings = settings
        self._flushing = orders.Flushing(settings.picking_list, settings.bom_consumption, settings.flushing_field)
        self._context = context
        self._client: SignedClient | None = None
        self._errors = table_of(settings.error_classes, ERRORS)
        self._base_path = urlsplit(settings.url).path.rstrip("/")
        self._capabilities = Capabilities(
            can_lookup=True,
            server_time_limit_ns=int(settings.queue_time_limit),
            lane_by_order=True,
            totals=True,
            correction="manual",
            baseline=True,
            readback=True,
            accepted_blocks=True,
        )

    @property
    def capabilities(self) -> Capabilities:
        """No key of ours, so a baseline; a queue, so a read-back; one message of an order at a time."""
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
        """Orders that are new, say something else, or are not open any more. Raises ConnectorError."""
        seen = seen_orders.seen_of(cursor)
        headers = await self._headers(self._open_filter())
        listed = {str(one.get("ProductionOrderNumber")) for one in headers}
        gone = sorted(set(seen.orders) - listed)
        left = [row for some in _chunks(gone) for row in await self._headers(_numbers(some))]
        documents = await self._documents(headers)
        over = [_ended(one) for one in await self._documents(left)]
        page = seen_orders.turned(seen, documents, over)
        return await asyncio.to_thread(seen_orders.page_of, page, orders.echo_of)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The messages of a confirmation. Raises MappingError."""
        return messages.rendered(self._settings, self._context.time_zone, confirmation)

    def not_sent(self, confirmation: Mapping[str, Any]) -> tuple[str, ...]:
        """Material that a person has to post in Dynamics."""
        return left_of(confirmation, messages.is_picked if self._settings.picking_list else sends_none)

    async def baseline(self, posting: Posting) -> bytes:
        """What is booked before this message. Raises ConnectorError."""
        kind, content = messages.content_of(posting.rendered)
        if kind == messages.START:
            return readback.Baseline(readback.Measure(), await self._processed(posting)).encoded()
        return (await self._now(posting, kind, content)).encoded()

    def headers(self, posting: Posting) -> dict[str, str]:
        """Those of every message."""
        return {"Content-Type": posting.rendered.content_type, "Accept": "application/json"}

    async def send(self, posting: Posting) -> Outcome:
        """Put one message into the queue, where the order can take it: what fails there is seen late, or never."""
        kind, content = messages.content_of(posting.rendered)
        found = await self._hindered(kind, content)
        if found is not None:
            return found
        client = self._opened()
        try:
            answer = await client.request(
                "POST", self._settings.service_path, headers=self.headers(posting), body=posting.rendered.body
            )
        except TransportError as error:
            return outcome_of_failure(error)
        outcome = self._outcome(answer)
        return outcome if outcome.kind is OutcomeKind.ACCEPTED else kept(outcome, answer, client.secrets)

    async def lookup(self, posting: Posting) -> Lookup:
        """Measure again, and compare with the baseline."""
        if not posting.rendered.body:
            return Lookup(LookupKind.UNCLEAR, detail=NO_BASELINE)  # asked by a key, and there are none here
        try:
            before = None if posting.baseline is None else readback.decoded(posting.baseline)
            kind, content = messages.content_of(posting.rendered)
            if kind == messages.START:
                return await self._started(posting, before, content)
            now = await self._now(posting, kind, content)
        except ConnectorError as error:
            return Lookup(LookupKind.UNKNOWN, detail=str(error))
        except ValueError as error:
            return Lookup(LookupKind.UNCLEAR, detail=str(error))
        if before is None:
            return Lookup(LookupKind.UNCLEAR, detail=NO_BASELINE)
        return readback.compared(before, now, readback.expected(self._settings, kind, content))

    async def booked(self, order: str) -> BookedOrder:
        """Posted route transactions of an order. Raises ConnectorError."""
        headers = await self._headers(f"ProductionOrderNumber eq {odata4.text(order)}")
        if not headers:
            return BookedOrder(order, known=False)
        rows = await self._rows(self._settings.transactions_entity, f"ProductionOrderNumber eq {odata4.text(order)}")
        by_operation: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_operation.setdefault(str(row.get("OperationNumber")), []).append(row)
        sums = {name: readback.of_transactions(self._settings, some) for name, some in by_operation.items()}
        operations = tuple(BookedOperation(name, one.good, one.error) for name, one in sorted(sums.items()))
        closed, told = headers[0].get("ProductionOrderStatus") in CLOSED, self._settings.rework == "scrap"
        return BookedOrder(order, closed=closed, operations=operations, rework_is_scrap=told)

    async def probe(self) -> Health:
        """Read one order number."""
        query = {"$top": "1", "$select": "ProductionOrderNumber", **self._company_only("")}
        try:
            await odata4.rows(
                self._opened(), self._base_path, f"{self._settings.data_path}/ProductionOrderHeaders", query
            )
        except ConnectorError as error:
            return Health(ok=False, detail=str(error))
        return Health(ok=True, detail=f"orders of {self._settings.company} can be read")

    async def _hindered(self, kind: str, content: Mapping[str, Any]) -> Outcome | None:
        """Why the order does not take this message, or needs it no more; None: send it."""
        order = clean(str(content["ProductionOrderNumber"]), CODE_MAX_CHARS)
        try:
            header = await self._header(content)
        except odata4.QueryError as error:
            return Outcome(error.kind, str(error))
        status = clean(str(header.get("ProductionOrderStatus", "")), CODE_MAX_CHARS)
        if not status:
            return Outcome(OutcomeKind.BUSINESS_REJECT, f"order {order} is not in Dynamics", "ORDER_UNKNOWN")
        starts = kind == messages.START
        if starts and status == "StartedUp":
            return Outcome(OutcomeKind.POSTED, reference=status)
        if status == ENDED or (starts and status in CLOSED):
            return Outcome(OutcomeKind.BUSINESS_REJECT, f"order {order} is {status}", "ORDER_CLOSED")
        if starts and status != "Released":
            return Outcome(OutcomeKind.WAIT_PRECONDITION, f"order {order} is {status}, not Released", "NOT_RELEASED")
        if not starts and status not in STARTED:
            text = f"order {order} is {status}, not started; start it in Dynamics"
            return Outcome(OutcomeKind.WAIT_PRECONDITION, text, "NOT_STARTED")
        return None

    async def _started(self, posting: Posting, before: readback.Baseline | None, content: Mapping[str, Any]) -> Lookup:
        status = str((await self._header(content)).get("ProductionOrderStatus"))
        if status in STARTED:
            return Lookup(LookupKind.FOUND, status)
        now = await self._processed(posting)
        told = None if before is None else readback.by_message(before.processed, now)
        if told is not None and told.kind is not LookupKind.FOUND:
            return told
        return Lookup(LookupKind.ABSENT, detail=f"the order is {clean(status, CODE_MAX_CHARS)}")

    def _outcome(self, answer: HttpAnswer) -> Outcome:
        document = document_of(answer)
        if answer.status in _SUCCESS:
            if isinstance(document, dict) and (document.get("error") or document.get("ExceptionType")):
                code, message = _error(document)
                return Outcome(
                    OutcomeKind.UNCERTAIN, clean(f"HTTP {answer.status} with {message}", DETAIL_MAX_CHARS), code
                )
            if document is None and answer.body.strip():
                what = answer.media_type or "no content type"
                if "json" in what:
                    return Outcome(OutcomeKind.UNCERTAIN, f"HTTP {answer.status} with a body that is not JSON")
                text = clean(f"HTTP {answer.status} with {what}: something else answers there", DETAIL_MAX_CHARS)
                return Outcome(OutcomeKind.PROTOCOL, text)
            told = document if isinstance(document, str) else ""
            return Outcome(OutcomeKind.ACCEPTED, reference=clean(told, REFERENCE_MAX_CHARS).strip() or "queued")
        code, message = _error(document)
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

    async def _now(self, posting: Posting, kind: str, content: Mapping[str, Any]) -> readback.Baseline:
        # The message first: what is processed between the two questions is seen by the second one at least.
        processed = await self._processed(posting)
        return readback.Baseline(await self._measured(kind, content), processed)

    async def _processed(self, posting: Posting) -> readback.Processed | None:
        entity = self._settings.messages_entity
        if entity is None:
            return None
        query = {"$filter": self._settings.messages_filter} if self._settings.messages_filter else {}
        rows = await self._queried(entity, query)
        return readback.of_messages(self._settings, rows, messages.written_of(posting.rendered))

    async def _measured(self, kind: str, content: Mapping[str, Any]) -> readback.Measure:
        order = f"ProductionOrderNumber eq {odata4.text(str(content['ProductionOrderNumber']))}"
        if kind == messages.REPORT_FINISHED:
            return readback.of_header(await self._header(content))
        if kind == messages.PICKING_LIST:
            return readback.of_picking(self._settings, await self._rows(str(self._settings.picking_entity), order))
        operation = content["RouteCardLines"][0]["OperationNumber"]
        rows = await self._rows(self._settings.transactions_entity, f"{order} and OperationNumber eq {operation}")
        return readback.of_transactions(self._settings, rows)

    async def _header(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        found = await self._headers(f"ProductionOrderNumber eq {odata4.text(str(content['ProductionOrderNumber']))}")
        return found[0] if found else {}

    async def _headers(self, condition: str) -> list[dict[str, Any]]:
        return await self._rows("ProductionOrderHeaders", condition, {"$orderby": "ProductionOrderNumber"})

    async def _rows(self, entity: str, condition: str, more: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        return await self._queried(entity, {**self._company_only(condition), **(more or {})})

    async def _queried(self, entity: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return await odata4.rows(
            self._opened(), self._base_path, f"{self._settings.data_path}/{entity}", query,
            headers={"Prefer": f"odata.maxpagesize={self._settings.page_size}"},
        )  # fmt: skip

    def _company_only(self, condition: str) -> dict[str, str]:
        company = f"dataAreaId eq {odata4.text(self._settings.company)}"
        return {"cross-company": "true", "$filter": f"{company} and {condition}" if condition else company}

    def _open_filter(self) -> str:
        status = " or ".join(f"ProductionOrderStatus eq {STATUS_TYPE}'{one}'" for one in OPEN)
        return f"({status})" + (f" and ({self._settings.order_filter})" if self._settings.order_filter else "")

    async def _documents(self, headers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        zone = moments.zone_of(self._settings.mapping, self._context.time_zone)
        units = await self._units(headers)
        found: list[dict[str, Any]] = []
        for some in _chunks(headers):
            condition = _numbers([str(one.get("ProductionOrderNumber")) for one in some])
            routes = await self._rows("ProductionOrderRouteOperations", condition)
            parts = await self._rows("ProductionOrderBillOfMaterialLines", condition)
            for header in some:
                order = header.get("ProductionOrderNumber")
                own = [row for row in routes if row.get("ProductionOrderNumber") == order]
                needed = [row for row in parts if row.get("ProductionOrderNumber") == order]
                unit = self._settings.unit or units.get(str(header.get("ItemNumber")), "")
                found.append(orders.document_of(header, own, needed, unit, zone, self._flushing))
        return found

    async def _units(self, headers: list[dict[str, Any]]) -> dict[str, str]:
        if self._settings.unit is not None:
            return {}
        found: dict[str, str] = {}
        for some in _chunks(sorted({str(one.get("ItemNumber")) for one in headers})):
            for row in await self._rows("ReleasedProductsV2", odata4.any_of("ItemNumber", some)):
                found[str(row.get("ItemNumber"))] = str(row.get("InventoryUnitSymbol") or "")
        return found

    def _opened(self) -> SignedClient:
        if self._client is None:
            raise ConnectorError(f"{self._context.name}: is not open; open() comes first")
        return self._client


def _ended(document: dict[str, Any]) -> dict[str, Any]:
    # Neither released nor over there: somebody took it back.
    return document if document["status"] in {"closed", "released"} else {**document, "cancelled": True}


def _numbers(some: Iterable[str]) -> str:
    return odata4.any_of("ProductionOrderNumber", some)


def _chunks(rows: list[Any]) -> list[list[Any]]:
    return [rows[at : at + ORDERS_A_QUERY] for at in range(0, len(rows), ORDERS_A_QUERY)]


def _error(document: Any) -> tuple[str, str]:
    """Code and message, in the form of OData or of the services."""
    if not isinstance(document, dict):
        return "", ""
    error = document.get("error")
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
    else:
        code, message = document.get("ExceptionType"), document.get("Message")
    return (
        clean(code, CODE_MAX_CHARS).strip() if isinstance(code, str) else "",
        clean(message, DETAIL_MAX_CHARS) if isinstance(message, str) else "",
    )
