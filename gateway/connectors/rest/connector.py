"""The REST connector: orders by GET, confirmations by POST, look-up by key. Order and repeats are the forwarder's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gateway.connectors.base import (
    Capabilities,
    ConnectorContext,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    Outcome,
    OutcomeKind,
    Rendered,
)
from gateway.connectors.canonical_json import written
from gateway.connectors.error_classes import table_of
from gateway.connectors.http import HttpClient, TooLongError, TransportError, bearer
from gateway.connectors.http_answer import kept
from gateway.connectors.rest.answers import answer_told, lookup_of, outcome_of
from gateway.connectors.rest.orders import parse_page
from gateway.connectors.rest.settings import KEY_PLACEHOLDER, ORDER_PLACEHOLDER, RestSettings
from gateway.connectors.rest.totals import booked_of
from gateway.core.orders.erp_notice import BESIDE, NOTICE
from gateway.core.orders.order_answer import ACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import BookedOrder, OrderPage, Posting

ORDERS_MAX_BYTES: Final = 16 * 1024 * 1024
_OK: Final = 200


class RestConnector:
    """One target that speaks JSON over HTTP."""

    def __init__(self, settings: RestSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._context = context
        self._client: HttpClient | None = None
        self._capabilities = Capabilities(
            idempotent=settings.idempotent,
            can_lookup=True,
            server_time_limit_ns=int(settings.server_time_limit),
            acknowledgements=settings.acknowledgements_path is not None,
            totals=settings.totals_path is not None,
            correction=settings.correction,
            notices=frozenset(settings.notices),
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the target can do, as the settings say."""
        return self._capabilities

    async def open(self) -> None:
        """Make the client. Raises ConnectorError for a token or certificate file that cannot be used."""
        token = self._context.secrets.get("token")
        ca_file = self._settings.ca_file
        client = HttpClient(
            self._settings.url,
            timeout_ns=int(self._settings.timeout),
            authorization=bearer(token) if token is not None else None,
            ca_file=self._context.base_dir / Path(ca_file) if ca_file is not None else None,
        )
        await client.open()
        self._client = client

    async def close(self) -> None:
        """Release the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Orders that changed since the cursor. Raises ConnectorError."""
        query = {"since": cursor} if cursor else None
        try:
            answer = await self._opened().request(
                "GET", self._settings.orders_path, query=query, body_max_bytes=ORDERS_MAX_BYTES
            )
        except TooLongError as error:
            raise ConnectorError(
                f"orders: {error}; make the ERP send fewer orders on a page, the others follow by their cursor"
            ) from error
        except TransportError as error:
            raise ConnectorError(f"orders: {error}; check the network and that the ERP is up") from error
        if answer.status != _OK:
            raise ConnectorError(f"orders: {self._settings.orders_path} answers HTTP {answer.status}, allowed: 200")
        # In a thread: a long page takes a second, and machines are counted meanwhile.
        return await asyncio.to_thread(parse_page, answer.body)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The canonical document itself, as compact JSON. Raises MappingError."""
        return Rendered(written(confirmation), "application/json", "")

    def headers(self, posting: Posting) -> dict[str, str]:
        """The key, and how the body can be checked."""
        digest = base64.b64encode(hashlib.sha256(posting.rendered.body).digest()).decode()
        return {
            "Content-Type": posting.rendered.content_type,
            "Accept": "application/json",
            "Idempotency-Key": _header(posting.key),
            "Content-Digest": f"sha-256=:{digest}:",
            "Linegate-Attempt": str(posting.attempt),
        }

    async def send(self, posting: Posting) -> Outcome:
        """POST it once."""
        path, setting = self._settings.confirmations_path, "confirmations_path"
        if posting.kind == ACK and self._settings.acknowledgements_path is not None:
            path, setting = self._settings.acknowledgements_path, "acknowledgements_path"
        elif posting.kind == NOTICE:
            path, setting = self._settings.notices_path, "notices_path"
        try:
            answer = await self._opened().request(
                "POST", path, headers=self.headers(posting), body=posting.rendered.body
            )
        except TransportError as error:
            return Outcome(OutcomeKind.UNCERTAIN if error.sent else OutcomeKind.NOT_SENT, str(error))
        now_ns = self._context.now_ns()
        if posting.kind in BESIDE:
            outcome = answer_told(answer, now_ns, setting)
        else:
            outcome = outcome_of(answer, now_ns, {posting.key, _header(posting.key)})
        if outcome.kind is not OutcomeKind.POSTED and self._settings.error_classes:
            own = table_of(self._settings.error_classes, {}).found([outcome.code], answer.status)
            outcome = outcome if own is None else outcome._replace(kind=own)
        if outcome.kind is OutcomeKind.POSTED:
            return outcome
        return kept(outcome, answer, self._context.secrets.values())

    async def lookup(self, posting: Posting) -> Lookup:
        """GET by key."""
        asked = _header(posting.key)
        path = self._settings.lookup_path.replace(KEY_PLACEHOLDER, quote(asked, safe=""))
        try:
            answer = await self._opened().request("GET", path, headers={"Accept": "application/json"})
        except TransportError as error:
            return Lookup(LookupKind.UNKNOWN, detail=str(error))
        return lookup_of(answer, {asked, posting.key})

    async def booked(self, order: str) -> BookedOrder:
        """GET the totals of an order. Raises ConnectorError."""
        if self._settings.totals_path is None:
            raise ConnectorError(f"{self._context.name}: has no totals_path; nothing can be asked")
        path = self._settings.totals_path.replace(ORDER_PLACEHOLDER, quote(order, safe=""))
        try:
            answer = await self._opened().request("GET", path, headers={"Accept": "application/json"})
        except TransportError as error:
            raise ConnectorError(f"totals: {error}; check the network and that the ERP is up") from error
        return booked_of(answer, order)

    async def probe(self) -> Health:
        """GET the health path: 2xx is well."""
        try:
            answer = await self._opened().request("GET", self._settings.health_path)
        except TransportError as error:
            return Health(ok=False, detail=str(error))
        ok = answer.status // 100 == 2  # noqa: PLR2004 - the class of success
        return Health(ok=ok, detail=f"{self._settings.health_path} answers HTTP {answer.status}")

    def _opened(self) -> HttpClient:
        if self._client is None:
            raise ConnectorError(f"{self._context.name}: is not open; open() comes first")
        return self._client


def _header(key: str) -> str:
    # A header carries ASCII. The look-up uses the very same text: a target stores what stood in the header. A percent
    # sign is encoded as well, else two keys could become one.
    return key if key.isascii() and key.isprintable() and "%" not in key else quote(key, safe="/:")
