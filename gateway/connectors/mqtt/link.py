"""One persistent session at an MQTT 5 broker, connected again and again; its user alone acknowledges what comes.

The broker keeps subscriptions and what it could not deliver while the link is down. Every connection has a client
object of its own, so that nothing half-sent returns on the next one. Knows no meaning of a topic, stores nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.broker_client import (
    ANSWER_TIMEOUT_S,
    CLOSE_TIMEOUT_S,
    RETRY_MAX_S,
    UNACKNOWLEDGED_MAX,
    BrokerClient,
    LoopInbox,
    abandon,
    forget_callbacks,
    secure,
    without_delay,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from paho.mqtt.client import MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

#: The first pause after a link that stood for a while; doubles.
RETRY_FIRST_S: Final = 0.1
STOOD_S: Final = 5.0
#: Another client with the same id took the session over: who comes back at once takes it back for ever.
TAKEN_OVER: Final = 0x8E
TAKEN_OVER_PAUSE_S: Final = 2.0
#: So many messages may be at the gateway without its acknowledgement; the broker may allow fewer.
RECEIVE_MAX: Final = 100


class BrokerAccess(NamedTuple):
    """Where the broker is and who comes. ``keepalive_s`` and ``session_expiry_s`` are whole seconds."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive_s: int
    session_expiry_s: int


class Message(NamedTuple):
    """What came. ``again``: the broker has sent it before. ``number``, ``connection``: for its acknowledgement."""

    topic: str
    payload: bytes
    qos: int
    again: bool
    correlation: bytes
    number: int
    connection: int


class Published(NamedTuple):
    """How a publishing ended: ``reason`` is the broker's, None without its answer; ``left`` False: surely not sent."""

    reason: int | None
    detail: str
    left: bool


class LinkUser(Protocol):
    """Who uses a link; called on the event loop only."""

    def link_up(self, *, session_present: bool) -> None:
        """The broker answered. Without its session it has kept nothing of before."""

    def link_down(self) -> None:
        """What is not acknowledged yet comes again with the next connection of the same session."""

    def received(self, message: Message) -> None:
        """A message; it is held by the broker until ``acknowledge``."""


class _Connection:
    """What happened on one connection so far; written on the event loop."""

    def __init__(self, number: int, client: BrokerClient, ended: asyncio.Future[BaseException | None]) -> None:
        self.number = number
        self.client = client
        self.ended = ended
        self.up = False
        self.up_s = 0.0
        self.ready = False
        self.refused: ReasonCode | None = None
        self.down: ReasonCode | None = None
        self.given_up = ""
        self.pending: dict[int, asyncio.Future[tuple[int, str]]] = {}
        self.subscribing: int | None = None


class Link:
    """Keeps the session: ``start`` connects, again and again, until ``close``. A broker that is down is no error."""

    def __init__(self, access: BrokerAccess, subscriptions: Sequence[str], user: LinkUser) -> None:
        self._access = access
        self._subscriptions = tuple(subscriptions)
        self._user = user
        self._inbox = LoopInbox()
        self._connection: _Connection | None = None
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[None] | None = None
        self._pausing = False
        self._room = asyncio.Semaphore(UNACKNOWLEDGED_MAX)
        self._where = f"MQTT broker {access.host}:{access.port}"
        #: Why the link is down, "" while it stands.
        self.trouble = f"{self._where}: not connected yet"
        #: The broker's reason for refusing the connection or a subscription, None for any other trouble.
        self.refusal: int | None = None

    @property
    def is_ready(self) -> bool:
        """Connected, and subscribed to everything."""
        return self._connection is not None and self._connection.ready

    def start(self) -> None:
        """Begin to connect."""
        self._inbox.bind(asyncio.get_running_loop())
        self._task = asyncio.create_task(self._run(), name=f"{self._where} {self._access.client_id}")

    async def close(self) -> None:
        """Say goodbye, the session stays; waits 2 s at most. Never raises."""
        connection = self._connection
        if connection is not None and connection.up:
            connection.client.disconnect()
            await asyncio.wait([connection.ended], timeout=CLOSE_TIMEOUT_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def ready(self, limit_s: float) -> bool:
        """Wait for the link while it is being made, or was just lost; False at once where it could not be made."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + limit_s
        while not self.is_ready:
            if self._pausing or self._task is None:
                return False
            if self._turn is None or self._turn.done():
                self._turn = loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end_s):
                    await asyncio.shield(self._turn)
            if loop.time() >= end_s:
                return self.is_ready
        return True

    async def publish(self, topic: str, payload: bytes, properties: Properties, limit_s: float) -> Published:
        """Publish with QoS 1 and wait for the broker's answer; without one in time the connection is given up."""
        if not await self.ready(limit_s):
            return Published(None, self.trouble, left=False)
        try:
            async with asyncio.timeout(limit_s):
                await self._room.acquire()
        except TimeoutError:
            return Published(None, f"{self._where}: too many messages wait for its answer", left=False)
        try:
            return await self._publish(topic, payload, properties, limit_s)
        finally:
            self._room.release()

    def acknowledge(self, message: Message) -> None:
        """The broker may forget the message. Of an earlier connection: it comes again, and is acknowledged then."""
        connection = self._connection
        if message.qos and connection is not None and connection.number == message.connection and connection.up:
            connection.client.ack(message.number, message.qos)

    async def _publish(self, topic: str, payload: bytes, properties: Properties, limit_s: float) -> Published:
        connection = self._connection
        if connection is None or not connection.ready:
            return Published(None, self.trouble, left=False)
        if connection.client.socket() is None:
            return Published(None, f"{self._where}: the link is just being lost", left=False)
        try:
            info = connection.client.publish(topic, payload, qos=1, properties=properties)
        except (ValueError, OSError) as error:
            return Published(None, f"{topic}: {error}", left=False)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            # Not even "no connection" says that nothing left: the link may have been lost behind the message.
            return Published(None, f"{self._where}: the link was lost with the message", left=True)
        answer: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        connection.pending[info.mid] = answer
        try:
            async with asyncio.timeout(limit_s):
                reason, name = await answer
        except TimeoutError:
            text = f"{self._where}: no answer to a message within {limit_s:g} s"
            self._give_up(connection, text)
            return Published(None, text, left=True)
        except ConnectionError as error:
            return Published(None, str(error), left=True)
        return Published(reason, name, left=True)

    async def _run(self) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            was_up, stood, taken_over = await self._one_connection()
            if stood:
                delay_s = RETRY_FIRST_S
            if taken_over:
                delay_s = max(delay_s, TAKEN_OVER_PAUSE_S)
            self._pausing = not was_up
            self._turned()
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads a fleet, keeps no secret
            self._pausing = False
            delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def _one_connection(self) -> tuple[bool, bool, bool]:
        """Whether the link came up, whether it stood for a while, and whether another client took it over."""
        loop = asyncio.get_running_loop()
        self._number += 1
        connection = _Connection(self._number, self._new_client(), loop.create_future())
        self._connection = connection
        self._bind(connection)
        timer: asyncio.TimerHandle | None = None
        access = self._access
        try:
            settings = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            settings.SessionExpiryInterval = access.session_expiry_s
            settings.ReceiveMaximum = RECEIVE_MAX
            connection.client.connect_async(
                access.host, access.port, access.keepalive_s, clean_start=False, properties=settings
            )
            connection.client.loop_start()
            timer = loop.call_later(ANSWER_TIMEOUT_S, self._still_silent, connection)
            await asyncio.wait([connection.ended])
            self.trouble = self._judged(connection, connection.ended.result())
        finally:
            self._connection = None
            if timer is not None:
                timer.cancel()
            if connection.ended.done():
                forget_callbacks(connection.client)
            else:
                # Joining the thread may take as long as a connect does: aside.
                threading.Thread(target=abandon, args=(connection.client,), name="mqtt-abandon", daemon=True).start()
            for answer in connection.pending.values():
                if not answer.done():
                    answer.set_exception(ConnectionError(f"{self._where}: the link was lost before its answer"))
            if connection.up:
                self._user.link_down()
        taken_over = connection.down is not None and connection.down.value == TAKEN_OVER
        return connection.ready, connection.up and loop.time() - connection.up_s >= STOOD_S, taken_over

    def _new_client(self) -> BrokerClient:
        access = self._access
        client = BrokerClient(
            CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages_set(UNACKNOWLEDGED_MAX)
        client.max_queued_messages_set(UNACKNOWLEDGED_MAX)
        secure(client, username=access.username, password=access.password, tls=access.tls)
        return client

    def _bind(self, connection: _Connection) -> None:
        client, put = connection.client, self._inbox.put
        client.ended = lambda error: put(_ended, connection, error)
        client.on_socket_open = lambda _client, _data, link: without_delay(link)
        client.on_connect = lambda _client, _data, flags, reason, _properties: put(
            self._on_connect, connection, flags.session_present, reason
        )
        client.on_disconnect = lambda _client, _data, _flags, reason, _properties: put(_on_down, connection, reason)
        client.on_subscribe = lambda _client, _data, number, reasons, _properties: put(
            self._on_subscribe, connection, number, reasons
        )
        client.on_publish = lambda _client, _data, number, reason, _properties: put(
            self._on_answer, connection, number, reason
        )
        client.on_message = lambda _client, _data, message: put(self._on_message, connection, message)

    def _still_silent(self, connection: _Connection) -> None:
        if not connection.ready:
            self._give_up(connection, f"{self._where}: silence for {ANSWER_TIMEOUT_S:g} s; does it speak MQTT 5?")

    def _give_up(self, connection: _Connection, why: str) -> None:
        """End a connection that does not answer; its thread may hang in it, and is not waited for."""
        connection.given_up = connection.given_up or why
        if not connection.ended.done():
            threading.Thread(target=abandon, args=(connection.client,), name="mqtt-abandon", daemon=True).start()
            connection.ended.set_result(None)

    def _judged(self, connection: _Connection, error: BaseException | None) -> str:
        if connection.refused is not None:
            self.refusal = connection.refused.value
            return f"{self._where} refused the connection: {connection.refused}; check client_id, username and password"
        if connection.given_up:
            return connection.given_up
        self.refusal = None
        if connection.up:
            return f"{self._where}: connection lost: {error or connection.down}"
        return f"{self._where} cannot be reached: {error or connection.down}; check host, port and tls"

    def _on_connect(self, connection: _Connection, session_present: bool, reason: ReasonCode) -> None:  # noqa: FBT001 - a callback
        if connection is not self._connection:
            return
        if reason.is_failure:
            connection.refused = reason
            return
        connection.up = True
        connection.up_s = asyncio.get_running_loop().time()
        self._user.link_up(session_present=session_present)
        if not self._subscriptions:
            self._now_ready(connection)
            return
        # Retained messages only come with a subscription that is new to the broker.
        options = [(one, SubscribeOptions(qos=1, retainHandling=1)) for one in self._subscriptions]
        _, connection.subscribing = connection.client.subscribe(options)

    def _on_subscribe(self, connection: _Connection, number: int, reasons: list[ReasonCode]) -> None:
        if connection is not self._connection or number != connection.subscribing:
            return
        for topic, reason in zip(self._subscriptions, reasons, strict=False):
            if reason.value != 1:
                self.refusal = reason.value
                said = str(reason) if reason.is_failure else "QoS 0 only, nothing would be kept while the link is down"
                text = f"{self._where} refuses the subscription of {topic}: {said}; check its access list"
                self._give_up(connection, text)
                return
        self._now_ready(connection)

    def _now_ready(self, connection: _Connection) -> None:
        connection.ready = True
        self.trouble, self.refusal = "", None
        self._turned()

    def _on_answer(self, connection: _Connection, number: int, reason: ReasonCode) -> None:
        answer = connection.pending.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result((reason.value, str(reason)))

    def _on_message(self, connection: _Connection, message: MQTTMessage) -> None:
        if connection is not self._connection:
            return
        correlation: Any = getattr(message.properties, "CorrelationData", b"")
        taken = Message(
            message.topic, bytes(message.payload), message.qos, message.dup, correlation, message.mid, connection.number
        )
        self._user.received(taken)

    def _turned(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)


def _on_down(connection: _Connection, reason: ReasonCode) -> None:
    if connection.down is None:
        connection.down = reason


def _ended(connection: _Connection, error: BaseException | None) -> None:
    if not connection.ended.done():
        connection.ended.set_result(error)
