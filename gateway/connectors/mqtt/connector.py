"""The MQTT connector: orders from a topic, confirmations to another one, and what the MES says of them on a third.

Two sessions at the broker, so that orders which wait never hold up acknowledgements. Nothing is acknowledged to the
broker before it is committed in the gateway. Order and repeats are the forwarder's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

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
from gateway.connectors.error_classes import table_of
from gateway.connectors.mqtt import messages
from gateway.connectors.mqtt.acknowledgements import Acknowledgement, Acknowledgements, Said
from gateway.connectors.mqtt.link import BrokerAccess, Link, Message
from gateway.connectors.mqtt.orders import HeldOrders, page_of
from gateway.core.duration import NS_PER_S
from gateway.core.foreign_text import clean
from gateway.core.orders.erp_notice import BESIDE
from gateway.core.target_answer import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.connectors.base import OrderPage, Posting
    from gateway.connectors.mqtt.settings import MqttTargetSettings

#: So long a poll waits for an order where none is there: a subscription that is new gets its messages a moment later.
ORDERS_WAIT_S: Final = 0.25
#: The MES is asked about the same confirmation at most this often.
ASK_PAUSE_S: Final = 10.0
#: What waits to be settled is told again this often: the first word may come before its posting is accepted.
TELL_AGAIN_S: Final = 1.0
WAITS_MAX: Final = 10_000


class MqttConnector:
    """One MES on a broker."""

    def __init__(self, settings: MqttTargetSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self.context = context
        self._timeout_s = settings.timeout / NS_PER_S
        self._classes = table_of(settings.error_classes, messages.BY_REASON)
        own = {
            name: messages.own_topic(getattr(settings, name), context.gateway_id)
            for name in ("orders_topic", "acknowledgements_topic", "ask_topic")
        }
        self._response_topic, self._ask_topic = own["acknowledgements_topic"], own["ask_topic"]
        self._orders_topic = own["orders_topic"]
        self._orders = _OrdersUser(self)
        self._told = _AcknowledgementsUser(self)
        self._orders_link: Link | None = None
        self._link: Link | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._asked_s: dict[str, float] = {}
        self._doubtful_s: dict[str, float] = {}

    @cached_property
    def capabilities(self) -> Capabilities:
        """As the settings say: without acknowledgements nothing can be looked up."""
        settings = self._settings
        return Capabilities(
            orders=settings.orders_topic is not None,
            confirmations=settings.confirmations_topic is not None,
            idempotent=settings.idempotent,
            can_lookup=settings.acknowledgements_topic is not None,
            server_time_limit_ns=int(settings.server_time_limit),
            acknowledgements=settings.answers_topic is not None,
            correction=settings.correction,
            readback=settings.acknowledgements_topic is not None,
            accepted_blocks=settings.wait_for_booking,
            cursor_moves=True,
            one_at_a_time=True,
            notices=frozenset(settings.notices),
        )

    async def open(self) -> None:
        """Begin to connect. Raises ConnectorError for a certificate that cannot be used."""
        tls = await asyncio.to_thread(_tls, self._settings, self.context.base_dir)
        if self._orders_topic is not None:
            self._orders_link = Link(self._access(tls, "-orders"), (self._orders_topic,), self._orders)
            self._orders_link.start()
        if self._settings.confirmations_topic is not None:
            topics = () if self._response_topic is None else (self._response_topic,)
            self._link = Link(self._access(tls, ""), topics, self._told)
            self._link.start()
            self._ticking = asyncio.create_task(self._tick(), name=f"{self.context.name}: acknowledgements")

    async def close(self) -> None:
        """Leave; the broker keeps the sessions."""
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
            self._ticking = None
        links, self._orders_link, self._link = (self._orders_link, self._link), None, None
        await asyncio.gather(*(link.close() for link in links if link is not None))

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Let the broker forget what this cursor stands for, then give what waits. Raises ConnectorError."""
        link = self._orders_link
        if link is None:
            raise ConnectorError(f"{self.context.name}: has no orders_topic, or is not open")
        if not await link.ready(self._timeout_s):
            raise ConnectorError(f"orders: {link.trouble}")
        held = self._orders.held
        held.committed(cursor)
        self._orders.told_of_loss(cursor)
        if not held:
            self._orders.came.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ORDERS_WAIT_S):
                    await self._orders.came.wait()
        # In a thread: a long page takes a while, and machines are counted meanwhile.
        return await asyncio.to_thread(page_of, *held.given(cursor))

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The canonical document as compact JSON, and its topic. Raises MappingError."""
        settings = self._settings
        return messages.rendered(
            confirmation,
            confirmations=settings.confirmations_topic,
            answers=settings.answers_topic,
            notices=settings.notices_topic,
            gateway=self.context.gateway_id,
        )

    async def send(self, posting: Posting) -> Outcome:
        """Publish once; the broker's word is ACCEPTED, an acknowledgement that is there already is the MES's."""
        link, held, names = self._opened(), self._told.held, (posting.message_id, posting.key)
        if posting.kind not in BESIDE:
            held.claim(*names)
            held.forget_refusal(*names)
            if (before := held.found(*names)) is not None:
                return _ended(before)
        properties = messages.properties_of(posting, None if posting.kind in BESIDE else self._response_topic)
        rendered = posting.rendered
        published = await link.publish(rendered.name, rendered.body, properties, self._timeout_s)
        if published.reason is None:
            if published.left:
                return Outcome(OutcomeKind.UNCERTAIN, published.detail)
            refusal = "" if link.refusal is None else messages.code_of(link.refusal)
            kind = self._classes.found([refusal]) or OutcomeKind.NOT_SENT
            # Nothing left: whatever the broker's reason means, it is no doubt.
            return Outcome(kind if kind is OutcomeKind.AUTH else OutcomeKind.NOT_SENT, published.detail, refusal)
        if published.reason:
            return self._refused(published.reason, published.detail, rendered.name)
        if posting.kind in BESIDE:
            return Outcome(OutcomeKind.POSTED, reference=posting.message_id)
        told = held.found(*names)
        return Outcome(OutcomeKind.ACCEPTED, reference=posting.message_id) if told is None else _ended(told)

    async def lookup(self, posting: Posting) -> Lookup:
        """What the MES said; where it said nothing it is asked, or waited for, or a person has to look."""
        link, held, names = self._opened(), self._told.held, (posting.message_id, posting.key)
        held.claim(*names)
        told = held.found(*names)
        if told is None and not await link.ready(self._timeout_s):
            return Lookup(LookupKind.UNKNOWN, detail=link.trouble)
        told = told or held.found(*names)
        if told is None and self._ask_topic is not None:
            told = await self._asked(link, posting, self._ask_topic)
        elif told is None and not posting.accepted:
            self._doubt(posting)
            told = await held.coming(*names, limit_s=min(self._timeout_s, self._left_s(posting)))
        if told is not None:
            return _found(told, posting)
        if posting.accepted:
            return Lookup(LookupKind.ACCEPTED, posting.accepted, "no acknowledgement yet")
        if self._ask_topic is None and self._left_s(posting) <= 0:
            return Lookup(LookupKind.UNKNOWABLE, detail="no acknowledgement came, and there is no ask_topic")
        return Lookup(LookupKind.UNKNOWN, detail="no acknowledgement yet")

    def settled(self, posting_id: str, key: str) -> None:
        """What the MES said of this posting is committed here."""
        self._told.held.settled(posting_id, key)
        self._asked_s.pop(posting_id, None)
        self._doubtful_s.pop(posting_id, None)

    async def probe(self) -> Health:
        """Whether the sessions stand."""
        links = [link for link in (self._link, self._orders_link) if link is not None]
        down = [link.trouble for link in links if not await link.ready(self._timeout_s)]
        if down or not links:
            return Health(ok=False, detail="; ".join(down) or "is not open")
        told = f"; last acknowledgement refused: {trouble}" if (trouble := self._told.held.trouble) else ""
        return Health(ok=True, detail=f"{self._settings.host}:{self._settings.port}: connected and subscribed{told}")

    async def _asked(self, link: Link, posting: Posting, topic: str) -> Acknowledgement | None:
        now_s = asyncio.get_running_loop().time()
        if posting.accepted and now_s - self._asked_s.get(posting.message_id, float("-inf")) < ASK_PAUSE_S:
            return None
        _bounded(self._asked_s)[posting.message_id] = now_s
        body, properties = messages.question(posting, self._response_topic)
        names = (posting.message_id, posting.key)
        coming = asyncio.ensure_future(self._told.held.coming(*names, limit_s=self._timeout_s))
        try:
            published = await link.publish(topic, body, properties, self._timeout_s)
            if published.reason != 0:
                return None  # nobody hears it, or nobody knows whether somebody did
            return await coming
        finally:
            coming.cancel()

    def _refused(self, reason: int, said: str, topic: str) -> Outcome:
        code = messages.code_of(reason)
        if reason == messages.NO_SUBSCRIBER:
            said = (
                "nobody is subscribed there, so the broker threw it away: not booked, sent again later;"
                " let the MES subscribe with a session that stays"
            )
        kind = self._classes.of([code])
        return Outcome(kind, f"the broker does not take {topic}: {said}", code, answer=Answer(f"PUBACK {code}"))

    def _doubt(self, posting: Posting) -> None:
        _bounded(self._doubtful_s).setdefault(posting.message_id, asyncio.get_running_loop().time())

    def _left_s(self, posting: Posting) -> float:
        """How long an acknowledgement is still waited for; by a steady clock, so that a restart begins anew."""
        now_s = asyncio.get_running_loop().time()
        end_s = self._doubtful_s.get(posting.message_id, now_s) + self._settings.acknowledgement_wait / NS_PER_S
        return max(end_s - now_s, 0.0)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TELL_AGAIN_S)
            if self._told.held.sweep():
                self.context.acknowledged()

    def _access(self, tls: ssl.SSLContext | None, ending: str) -> BrokerAccess:
        settings, context = self._settings, self.context
        return BrokerAccess(
            settings.host,
            settings.port,
            (settings.client_id or f"linegate-{context.gateway_id}-{context.name}") + ending,
            settings.username,
            context.secrets.get("password"),
            tls,
            int(settings.keepalive // NS_PER_S),
            int(settings.session_expiry // NS_PER_S),
        )

    def _opened(self) -> Link:
        if self._link is None:
            raise ConnectorError(f"{self.context.name}: is not open; open() comes first")
        return self._link


class _OrdersUser:
    """What comes on the session of the orders."""

    def __init__(self, connector: MqttConnector) -> None:
        self._connector = connector
        self.held = HeldOrders(self._acknowledge)
        self.came = asyncio.Event()
        self._had_session = False
        self._fresh = False

    def link_up(self, *, session_present: bool) -> None:
        self.held.resumed(session_present=session_present)
        self._fresh = not session_present

    def link_down(self) -> None:
        self.held.lost()

    def received(self, message: Message) -> None:
        self.held.take(message)
        if self.held:
            self.came.set()
            self._connector.context.orders_came()

    def told_of_loss(self, cursor: str) -> None:
        """Once, where the broker had a session of ours and has it no more."""
        if self._fresh and (self._had_session or cursor):
            text = "the broker has lost the session: what was published meanwhile and not retained is to be sent again"
            self.held.tell("orders", text)
        self._fresh, self._had_session = False, True

    def _acknowledge(self, message: Message) -> None:
        link = self._connector._orders_link  # noqa: SLF001 - its own connector
        if link is not None:
            link.acknowledge(message)


class _AcknowledgementsUser:
    """What comes on the session of the confirmations."""

    def __init__(self, connector: MqttConnector) -> None:
        self._connector = connector
        self.held = Acknowledgements(self._acknowledge, lambda: asyncio.get_running_loop().time())

    def link_up(self, *, session_present: bool) -> None:
        """What the session held comes again by itself."""

    def link_down(self) -> None:
        self.held.lost()

    def received(self, message: Message) -> None:
        if self.held.take(message):
            self._connector.context.acknowledged()

    def _acknowledge(self, message: Message) -> None:
        link = self._connector._link  # noqa: SLF001 - its own connector
        if link is not None:
            link.acknowledge(message)


def _ended(told: Acknowledgement) -> Outcome:
    if told.said is Said.BOOKED:
        return Outcome(OutcomeKind.POSTED, reference=told.reference or told.names[0])
    text = f"the MES refuses it: {told.text}" if told.text else "the MES refuses it and does not say why"
    return Outcome(OutcomeKind.BUSINESS_REJECT, text, told.code, answer=Answer(told.said, body=told.body))


def _found(told: Acknowledgement, posting: Posting) -> Lookup:
    outcome = _ended(told) if told.said in {Said.BOOKED, Said.REFUSED} else None
    if outcome is None:
        kind = LookupKind.ACCEPTED if told.said is Said.ACCEPTED else LookupKind.ABSENT
        return Lookup(kind, posting.message_id if told.said is Said.ACCEPTED else "", clean(told.text))
    if outcome.kind is OutcomeKind.POSTED:
        return Lookup(LookupKind.FOUND, outcome.reference)
    return Lookup(LookupKind.REFUSED, "", outcome.detail, outcome.code, outcome.answer)


def _bounded(kept: dict[str, float]) -> dict[str, float]:
    while len(kept) >= WAITS_MAX:
        del kept[next(iter(kept))]
    return kept


def _tls(settings: MqttTargetSettings, base_dir: Path) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(
            cafile=None if settings.ca_file is None else str(base_dir / settings.ca_file)
        )
        if settings.certificate_file is not None and settings.key_file is not None:
            context.load_cert_chain(base_dir / settings.certificate_file, base_dir / settings.key_file)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConnectorError(
            f"ca_file, certificate_file, key_file: {error}; allowed: PEM files that can be read"
        ) from error
    return context
