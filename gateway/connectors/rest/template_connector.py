"""The connector of a profile by template: what is said is the profile's, order and repeats are the forwarder's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import (
    BookedOrder,
    Capabilities,
    ConnectorContext,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    MappingError,
    OrderPage,
    Outcome,
    OutcomeKind,
    Rendered,
)
from gateway.connectors.error_classes import BY_STATUS, table_of
from gateway.connectors.http import TransportError
from gateway.connectors.http_answer import hidden, kept
from gateway.connectors.mapping.moments import zone_of
from gateway.connectors.rest import messages, row_orders
from gateway.connectors.rest.filters import Scope
from gateway.connectors.rest.judged import lookup_of, outcome_of, told, with_defaults
from gateway.connectors.rest.placeholders import filled
from gateway.connectors.rest.profiles import read, shipped
from gateway.connectors.rest.session import Session
from gateway.connectors.rest.tree import first, word
from gateway.connectors.signed_client import SignedClient, outcome_of_failure
from gateway.core.orders.erp_notice import NOTICE

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from gateway.connectors.base import Posting
    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.rest.plan import Plan, PlanRequest, PlanStep
    from gateway.connectors.rest.profile import Answer
    from gateway.connectors.rest.settings import RestSettings

ORDERS_MAX_BYTES: Final = 16 * 1024 * 1024
_SECRETS: Final = "secrets."
_NOT_SERVED: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class TemplateConnector:
    """One target whose contract is a profile. Its file is read when it is first needed."""

    def __init__(self, settings: RestSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._context = context
        self._made: Plan | None = None
        self._session: Session | None = None
        self._client: SignedClient | None = None
        self._zone: dt.tzinfo | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the target can do, as profile and settings say."""
        plan, settings = self._plan, self._settings
        return Capabilities(
            orders=plan.orders is not None,
            idempotent=settings.idempotent,
            can_lookup=all(one.lookup is not None or one.settings.repeatable for one in (*plan.steps, *plan.reversal)),
            server_time_limit_ns=int(settings.server_time_limit),
            totals=plan.totals is not None,
            correction=settings.correction,
            notices=frozenset(settings.notices),
        )

    async def open(self) -> None:
        """Make the client. Raises ConnectorError for a profile, a secret or a certificate that cannot be used."""
        plan = self._plan
        client = SignedClient(
            self._settings.url,
            self._settings.sign_in,
            self._context,
            timeout_ns=int(self._settings.timeout),
            ca_file=self._settings.ca_file,
        )
        await client.open()
        own = self._context.secrets
        secrets = {name.removeprefix(_SECRETS): own[name] for name in own if name.startswith(_SECRETS)}
        self._client, self._session = client, Session(client, plan, secrets, self._there)

    async def close(self) -> None:
        """Release the connections."""
        if self._client is not None:
            await self._client.close()
        self._client = self._session = None

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Orders with the cursor's mark or a higher one, less what was there before. Raises ConnectorError."""
        plan = self._plan
        if plan.orders is None or plan.profile.orders is None:
            return OrderPage((), (), cursor)
        own, known = plan.profile.orders, row_orders.cursor_of(cursor)
        rows: list[Any] = []
        following = ""
        for page in range(own.pages):
            values = {
                "cursor": known.mark or own.first_cursor,
                "offset": page * own.page_size,
                "page": page + 1,
                "size": own.page_size,
                "next": following,
            }
            tree = await self._tree(plan.orders, values, own.answer, "orders")
            found = first(tree, own.rows)
            if not isinstance(found, list):
                raise ConnectorError(
                    f"orders: found no list at {own.rows or 'the top of the answer'}; check the profile"
                )
            rows += found
            following = word(first(tree, own.next)) if own.next is not None else ""
            if (not following) if own.next is not None else len(found) < own.page_size:
                break
        # In a thread: a long page takes a second, and machines are counted meanwhile.
        return await asyncio.to_thread(row_orders.page_of, rows, plan, self._there, known)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The messages of the profile's steps. Raises MappingError."""
        try:
            return messages.rendered(self._plan, self._settings.mapping, self._there, confirmation)
        except ConnectorError as error:
            raise MappingError(str(error)) from error

    def headers(self, posting: Posting) -> dict[str, str]:
        """Those of its step in the profile, filled. Raises MappingError."""
        message = messages.leaving(posting)
        step = self._step(message.step, posting)
        scope = messages.posting_scope(self._plan, posting, self._there, message)
        content_type = {"Content-Type": posting.rendered.content_type} if message.body else {}
        return _headers(step.request, scope) | content_type

    async def send(self, posting: Posting) -> Outcome:
        """One message, once."""
        try:
            message = messages.leaving(posting)
            meaning = self._meaning(self._step(message.step, posting).settings.answer)
            if posting.kind == NOTICE:  # it books nothing
                meaning = replace(meaning, reference=(), accepted=None, goods_error=())
            headers = self.headers(posting)
        except MappingError as error:
            return Outcome(OutcomeKind.MAPPING, str(error))
        try:
            answer = await self._opened().ask(
                message.method, message.target, meaning, headers=headers, body=message.body or None
            )
        except TransportError as error:
            return outcome_of_failure(error)
        table = table_of(self._settings.error_classes, self._defaults())
        outcome = outcome_of(answer, meaning, table, self._context.now_ns(), posting.key)
        if posting.kind == NOTICE and answer.status in _NOT_SERVED and outcome.kind is OutcomeKind.PROTOCOL:
            # A path that is not served is its own trouble: orders and confirmations go on.
            text = f"{outcome.detail}; correct notice in the profile, or leave notices out"
            outcome = outcome._replace(kind=OutcomeKind.BUSINESS_REJECT, detail=text)
        return outcome if outcome.kind is OutcomeKind.POSTED else kept(outcome, answer, self._opened().secrets)

    async def lookup(self, posting: Posting) -> Lookup:
        """Whether the step is booked."""
        try:
            message = messages.leaving(posting)
            step = self._step(message.step, posting)
            if step.lookup is None:
                return Lookup(LookupKind.ABSENT, detail=f"{step.name}: a repeat books nothing twice")
            scope = messages.posting_scope(self._plan, posting, self._there, message)
            target, body, content_type = messages.request_of(step.lookup.request, scope, f"{step.name}.lookup.request")
            headers = _headers(step.lookup.request, scope) | ({"Content-Type": content_type} if body else {})
            meaning = self._meaning(step.lookup.settings.answer)
            answer = await self._opened().ask(
                step.lookup.request.method, target, meaning, headers=headers, body=body or None
            )
            return lookup_of(answer, step.lookup, meaning, scope, posting.key)
        except (MappingError, TransportError) as error:
            return Lookup(LookupKind.UNKNOWN, detail=str(error))

    async def booked(self, order: str) -> BookedOrder:
        """What the target has booked of an order. Raises ConnectorError."""
        plan = self._plan
        if plan.totals is None or plan.profile.totals is None:
            raise ConnectorError(f"{self._context.name}: the profile has no totals; nothing can be asked")
        own = plan.profile.totals
        answer = await self._asked(plan.totals, {"order": order}, own.answer, "totals")
        if answer.status in own.unknown_status:
            return BookedOrder(order, known=False)
        rows = first(self._checked(answer, own.answer, "totals"), own.rows)
        if not isinstance(rows, list):
            raise ConnectorError(
                f"totals of order {order}: found no list at {own.rows or 'the top'}; check the profile"
            )
        return row_orders.booked_of(rows, plan, self._there, order)

    async def probe(self) -> Health:
        """The profile's harmless question."""
        plan = self._plan
        try:
            await self._tree(plan.probe, {}, plan.profile.probe.answer, "probe")
        except ConnectorError as error:
            return Health(ok=False, detail=str(error))
        return Health(ok=True, detail=f"{plan.probe.method} {self._settings.url} answers as the profile says")

    @property
    def _plan(self) -> Plan:
        if self._made is None:
            try:
                self._made = self._settings.plan_of(profile_of(self._settings, self._context))
            except ValueError as error:
                raise ConnectorError(f"{self._context.name}: {error}") from error
        return self._made

    @property
    def _there(self) -> dt.tzinfo:
        if self._zone is None:
            try:
                self._zone = zone_of(self._settings.mapping, self._context.time_zone)
            except MappingError as error:
                raise ConnectorError(f"{self._context.name}: {error}") from error
        return self._zone

    def _opened(self) -> Session:
        if self._session is None:
            raise TransportError(f"{self._context.name}: is not open; open() comes first", sent=False)
        return self._session

    def _meaning(self, own: Answer) -> Answer:
        return with_defaults(own, self._plan.profile.answer)

    def _defaults(self) -> dict[str, OutcomeKind]:
        return BY_STATUS | {code: OutcomeKind(kind) for code, kind in self._plan.profile.errors.items()}

    def _step(self, name: str, posting: Posting) -> PlanStep:
        steps = self._plan.reversal if posting.kind == messages.REVERSAL else self._plan.steps
        if posting.kind == NOTICE:
            steps = () if self._plan.notice is None else (self._plan.notice,)
        for step in steps:
            if step.name == name:
                return step
        names = ", ".join(step.name for step in steps) or "none"
        raise MappingError(
            f"the stored message is of the step {name!r}, allowed: {names}; the profile was changed since"
        )

    async def _asked(self, request: PlanRequest, values: dict[str, Any], own: Answer, what: str) -> HttpAnswer:
        scope = Scope({**values, "value": self._plan.values}, self._there, self._plan.profile.tables)
        try:
            target, body, content_type = messages.request_of(request, scope, f"{what}.request")
            headers = _headers(request, scope) | ({"Content-Type": content_type} if body else {})
            return await self._opened().ask(
                request.method,
                target,
                self._meaning(own),
                headers=headers,
                body=body or None,
                body_max_bytes=ORDERS_MAX_BYTES,
            )
        except MappingError as error:
            raise ConnectorError(f"{what}: {error}; correct the profile") from error
        except TransportError as error:
            raise ConnectorError(f"{what}: {error}; check the network and that the target is up") from error

    async def _tree(self, request: PlanRequest, values: dict[str, Any], own: Answer, what: str) -> Any:
        return self._checked(await self._asked(request, values, own, what), own, what)

    def _checked(self, answer: HttpAnswer, own: Answer, what: str) -> Any:
        said = told(answer, self._meaning(own))
        if said.problem:
            raise ConnectorError(f"{what}: {hidden(said.problem, self._opened().secrets)}")
        return said.tree


def profile_of(settings: RestSettings, context: ConnectorContext) -> Any:
    """The profile that the settings name. Raises ProfileError."""
    if settings.template is not None:
        return settings.template
    if settings.profile.endswith((".yaml", ".yml")):
        return read(context.base_dir / settings.profile)
    return shipped(settings.profile)


def _headers(request: PlanRequest, scope: Scope) -> dict[str, str]:
    headers = {name: word(one) for name, one in filled(request.headers, scope, "headers").items()}
    for name, text in headers.items():
        if not text.isascii() or not text.isprintable():
            raise MappingError(f"headers.{name}: found {text[:40]!r}, allowed: printable ASCII")
    return headers
