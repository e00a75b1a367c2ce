"""The Tryton connector: productions by search, confirmations as steps, each looked up by what is there after it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    Rendered,
)
from gateway.connectors.http import HttpClient
from gateway.connectors.tryton import records
from gateway.connectors.tryton.changes import changed_since
from gateway.connectors.tryton.notes import summed
from gateway.connectors.tryton.orders import operation_of, read_orders
from gateway.connectors.tryton.outputs import booked
from gateway.connectors.tryton.render import StepName, steps_of
from gateway.connectors.tryton.session import CallError, Session
from gateway.connectors.tryton.steps import carry_out, find, reference_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.base import BookedOperation, Posting
    from gateway.connectors.tryton.settings import TrytonSettings


class TrytonConnector:
    """One database of a Tryton server, as one user."""

    def __init__(self, settings: TrytonSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._context = context
        self._ours = {theirs: ours for ours, theirs in settings.work_centers.items()}
        self._client: HttpClient | None = None
        self._session: Session | None = None
        self._capabilities = Capabilities(
            can_lookup=True,
            server_time_limit_ns=int(settings.server_time_limit),
            totals=True,
            correction="negative",
            baseline=True,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What Tryton can do: nothing is idempotent there, but everything can be looked up."""
        return self._capabilities

    async def open(self) -> None:
        """Make the client. Raises ConnectorError for a certificate file or password that cannot be used."""
        password = self._context.secrets.get("password")
        if not password:
            raise ConnectorError(f"{self._context.name}: password: is empty; name the secret of the user")
        ca_file = self._settings.ca_file
        client = HttpClient(
            self._settings.url,
            timeout_ns=int(self._settings.timeout),
            ca_file=self._context.base_dir / Path(ca_file) if ca_file is not None else None,
        )
        await client.open()
        self._client = client
        self._session = Session(client, self._settings, password, self._context.now_ns)

    async def close(self) -> None:
        """Release the connections; the session at Tryton ends by itself."""
        self._session = None
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Productions that changed since the cursor. Raises ConnectorError."""
        try:
            rows, following = await changed_since(self._opened(), cursor, self._settings)
        except CallError as error:
            raise ConnectorError(f"orders: {error.outcome.detail}") from error
        orders, refused = await asyncio.to_thread(read_orders, rows, self._ours)
        return OrderPage(tuple(orders), tuple(refused), following)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The steps of the confirmation. Raises MappingError."""
        return steps_of(confirmation, self._settings.duration, complete=self._settings.complete)

    async def baseline(self, posting: Posting) -> bytes:
        """The last cycle that is there before this confirmation's own. Raises ConnectorError."""
        if posting.rendered.name != StepName.CYCLE:
            return b"{}"
        try:
            session = self._opened()
            step = await find(session, posting)
            last = await records.last_cycle(session, step.work_id)
        except CallError as error:
            if error.outcome.kind in {OutcomeKind.WAIT_PRECONDITION, OutcomeKind.BUSINESS_REJECT}:
                return b'{"cycle":0}'  # there is nothing yet; the send says why
            raise ConnectorError(f"{posting.key}: {error.outcome.detail}") from error
        return json.dumps({"cycle": last}).encode()

    async def send(self, posting: Posting) -> Outcome:
        """Carry out one step once."""
        try:
            session = self._opened()
            step = await find(session, posting)
            return Outcome(OutcomeKind.POSTED, reference=await carry_out(session, step, self._settings))
        except CallError as error:
            if error.outcome.kind is not OutcomeKind.BUSINESS_REJECT or error.outcome.answer is None:
                return error.outcome  # ours, or it says what it means
            return await self._meant(posting, error.outcome)

    async def lookup(self, posting: Posting) -> Lookup:
        """Whether what the step wants is there."""
        try:
            session = self._opened()
            found = await reference_of(session, await find(session, posting), self._settings)
        except CallError as error:
            absent = error.outcome.kind in {OutcomeKind.WAIT_PRECONDITION, OutcomeKind.BUSINESS_REJECT}
            kind = LookupKind.ABSENT if absent else LookupKind.UNKNOWN
            return Lookup(kind, detail=error.outcome.detail)
        return Lookup(LookupKind.ABSENT) if found is None else Lookup(LookupKind.FOUND, found)

    async def booked(self, order: str) -> BookedOrder:
        """What the notes of the works say, and of the last one what the output moves say. Raises ConnectorError."""
        try:
            session = self._opened()
            production = await records.production_of(session, order)
            if production is None:
                return BookedOrder(order, known=False)
            operations = [await self._booked_of(session, production, work) for work in production.works]
        except CallError as error:
            raise ConnectorError(f"totals of order {order}: {error.outcome.detail}") from error
        return BookedOrder(order, closed=production.state in records.OVER, operations=tuple(operations))

    async def probe(self) -> Health:
        """Sign in, and read one production: changes nothing."""
        try:
            rows = await self._opened().read("production.search_read", [], 0, 1, None, ["works.cycles.state"])
        except CallError as error:
            return Health(ok=False, detail=error.outcome.detail)
        except ConnectorError as error:
            return Health(ok=False, detail=str(error))
        return Health(
            ok=True, detail=f"signed in as {self._settings.user}; productions can be read ({len(rows)} asked)"
        )

    async def _meant(self, posting: Posting, outcome: Outcome) -> Outcome:
        """What a refusal meant: Tryton says it in words only, so that the records are asked what stands now."""
        try:
            session = self._opened()
            step = await find(session, posting)
            found = await reference_of(session, step, self._settings)
        except CallError as error:
            waits = error.outcome.kind is OutcomeKind.WAIT_PRECONDITION
            return error.outcome._replace(answer=outcome.answer) if waits else outcome
        return outcome if found is None else Outcome(OutcomeKind.POSTED, reference=found)

    async def _booked_of(
        self, session: Session, production: records.Production, work: Mapping[str, Any]
    ) -> BookedOperation:
        notes = await records.notes_of(session, int(work["id"]))
        told = summed(operation_of(work, production.works), notes.values())
        if not production.is_last(work) or not (notes or production.state == "done"):
            return told
        moves = await records.output_moves(session, production)
        waste = (production.row.get("warehouse.") or {}).get("waste_locations") or []
        if self._settings.scrap_location is not None or len(waste) != 1:
            scrap = await records.scrap_location(session, production, self._settings.scrap_location)
        else:
            scrap = int(waste[0])
        good, thrown = booked(moves, int(production.row["product"]), scrap)
        return told._replace(good=good, scrap=thrown)

    def _opened(self) -> Session:
        if self._session is None:
            raise ConnectorError(f"{self._context.name}: is not open; open() comes first")
        return self._session
