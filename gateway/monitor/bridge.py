"""The link to the broker: paho's network thread on one side, the event loop on the other.

Every connection has a client object of its own, so nothing half-sent returns on the next one: what is still worth
saying is the publisher's knowledge. The bridge queues nothing, knows no topic and never raises into its caller.
"""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from gateway.broker_client import (
    ANSWER_TIMEOUT_S,
    BAD_USER_OR_PASSWORD,
    CLOSE_TIMEOUT_S,
    NOT_AUTHORIZED,
    RETRY_MAX_S,
    RETRY_MIN_S,
    UNACKNOWLEDGED_MAX,
    UNSUPPORTED_PROTOCOL_VERSION,
    BrokerClient,
    LoopInbox,
    abandon,
    forget_callbacks,
    secure,
    without_delay,
)
from gateway.core.duration import NS_PER_S
from gateway.monitor.protocol import ProtocolChoice

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from gateway.monitor.settings import MonitorSettings

#: QoS 0 messages given to paho and not yet written to the socket: paho itself would take any number.
UNWRITTEN_MAX: Final = 64
_VERSIONS: Final = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


class Will(NamedTuple):
    """What the broker publishes, retained, when the gateway is lost."""

    topic: str
    payload: bytes


class Listener(Protocol):
    """Who uses the link; called on the event loop only."""

    def link_up(self) -> None:
        """The broker answered; whatever it should know must be published again."""

    def link_down(self, unwritten: int) -> None:
        """The link is gone, with so many QoS 0 messages that were never written.

        What has a number and was not acknowledged may or may not have arrived.
        """

    def acknowledged(self, number: int) -> None:
        """The broker has the message of this number, or refuses it for ever."""

    def link_failed(self) -> None:
        """A connection ended, or could not be made; ``last_error`` says why."""

    def window_open(self) -> None:
        """Messages went out, there is room for more."""


class _Attempt:
    """What happened on one connection so far; written on the event loop."""

    def __init__(self, client: BrokerClient, ended: asyncio.Future[BaseException | None]) -> None:
        self.client = client
        self.ended = ended
        self.up = False
        self.silent = False
        self.refused: ReasonCode | None = None
        self.down: ReasonCode | None = None
        self.unacknowledged: dict[int, str] = {}
        self.numbers: dict[int, int] = {}
        self.unwritten: set[int] = set()
        self.answer_timer: asyncio.TimerHandle | None = None

    def give_up(self) -> None:
        """No answer came in time."""
        self.silent = True
        self.client.disconnect()

    def stop_waiting(self) -> None:
        """The answer is here, or the end."""
        if self.answer_timer is not None:
            self.answer_timer.cancel()


class Bridge:
    """Keeps one link to the broker: ``run()`` is the task that connects, again and again; ``close()`` ends it."""

    def __init__(self, settings: MonitorSettings, *, client_id: str, will: Will, listener: Listener) -> None:
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._listener = listener
        self._choice = ProtocolChoice(settings.protocol)
        self._attempt: _Attempt | None = None
        self._inbox = LoopInbox()
        self._closing = asyncio.Event()
        self._link_error = "not connected yet"
        self._refused_topics: dict[str, str] = {}

    @property
    def connected(self) -> bool:
        """The broker answered, and the link is up."""
        return self._attempt is not None and self._attempt.up

    @property
    def last_error(self) -> str:
        """Why the link is down, or which topic the broker refuses; "" if all is well."""
        if self._link_error:
            return self._link_error
        for topic, reason in self._refused_topics.items():
            return f"the broker refuses {topic}: {reason}; check its access list"
        return ""

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool, number: int | None = None) -> bool:
        """Hand a message to the link, QoS 0 or 1; False: no link, or no room in the window. Never blocks.

        With a ``number`` the listener is told when the broker has it.
        """
        attempt = self._attempt
        if attempt is None or not attempt.up or self.room(qos) <= 0:
            return False
        try:
            info = attempt.client.publish(topic, payload, qos, retain)
        except (ValueError, OSError) as error:
            self._refused_topics[topic] = str(error)
            if number is not None:
                self._listener.acknowledged(number)
            return True  # the message itself is at fault: repeating it changes nothing
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if qos:
            attempt.unacknowledged[info.mid] = topic
            if number is not None:
                attempt.numbers[info.mid] = number
        else:
            attempt.unwritten.add(info.mid)
        return True

    def room(self, qos: int) -> int:
        """How many more messages of this quality of service fit into the window now."""
        attempt = self._attempt
        if attempt is None or not attempt.up:
            return 0
        if qos:
            return UNACKNOWLEDGED_MAX - len(attempt.unacknowledged)
        return UNWRITTEN_MAX - len(attempt.unwritten)

    @property
    def idle(self) -> bool:
        """Nothing handed over waits to be written or acknowledged."""
        attempt = self._attempt
        return attempt is None or not (attempt.unacknowledged or attempt.unwritten)

    async def run(self) -> None:
        """Connect and connect again, until ``close()``; a broker that is down is no error here."""
        self._inbox.bind(asyncio.get_running_loop())
        delay_s = RETRY_MIN_S
        while not self._closing.is_set():
            was_up, again_at_once = await self._one_connection()
            if self._closing.is_set():
                return
            if was_up:
                delay_s = RETRY_MIN_S
            if again_at_once:
                continue
            if await self._closed_within(delay_s * random.uniform(0.8, 1.2)):  # noqa: S311 - spreads a fleet, keeps no secret
                return
            delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def close(self) -> None:
        """Tell the broker that this end is intended (no last will); waits 2 s at most."""
        self._closing.set()
        attempt = self._attempt
        if attempt is None or not attempt.up:
            return  # nothing was announced, so there is nothing to take back; cancelling ``run()`` drops the attempt
        attempt.client.disconnect()
        await asyncio.wait([attempt.ended], timeout=CLOSE_TIMEOUT_S)

    async def _one_connection(self) -> tuple[bool, bool]:
        """Whether the link came up, and whether to try again at once."""
        loop = asyncio.get_running_loop()
        attempt = _Attempt(self._new_client(), loop.create_future())
        self._attempt = attempt
        client = attempt.client
        client.ended = lambda error: self._inbox.put(self._on_ended, attempt, error)
        client.on_socket_open = lambda _client, _data, link: self._opened(attempt, link)
        client.on_connect = lambda _client, _data, _flags, reason, _properties: self._inbox.put(
            self._on_connect, attempt, reason
        )
        client.on_disconnect = lambda _client, _data, _flags, reason, _properties: self._inbox.put(
            self._on_disconnect, attempt, reason
        )
        client.on_publish = lambda _client, _data, mid, reason, _properties: self._inbox.put(
            self._on_publish, attempt, mid, str(reason) if reason.is_failure else ""
        )
        try:
            client.connect_async(self._settings.host, self._settings.port, self._settings.keepalive_ns // NS_PER_S)
            client.loop_start()
            await asyncio.wait([attempt.ended])  # unlike a bare await, a cancelled task leaves the future alone
            error = attempt.ended.result()
        finally:
            self._attempt = None
            attempt.stop_waiting()
            if attempt.ended.done():
                forget_callbacks(client)
            else:
                # Joining the thread may take as long as a connect does: aside.
                threading.Thread(target=abandon, args=(client,), name="mqtt-abandon", daemon=True).start()
            if attempt.up:
                self._listener.link_down(len(attempt.unwritten))
        again_at_once = self._judge(attempt, error)
        self._listener.link_failed()
        return attempt.up, again_at_once

    def _judge(self, attempt: _Attempt, error: BaseException | None) -> bool:
        """Note why the connection ended; True: try again at once, with the other MQTT version."""
        where = f"MQTT broker {self._settings.host}:{self._settings.port}"
        if attempt.refused is not None:
            self._link_error = f"{where} refused the connection: {attempt.refused}{_advice(attempt.refused.value)}"
            return attempt.refused.value == UNSUPPORTED_PROTOCOL_VERSION and self._choice.refused()
        if self._closing.is_set():
            self._link_error = "closed by the gateway"
            return False
        cause = (
            f"silence for {ANSWER_TIMEOUT_S:g} s" if attempt.silent else error if error is not None else attempt.down
        )
        if attempt.up:
            self._link_error = f"{where}: connection lost: {cause}"
            return False
        if isinstance(error, OSError):
            self._link_error = f"{where} cannot be reached: {error}"
            return False
        self._link_error = f"{where} did not answer to MQTT {self._choice.version}: {cause}"
        return self._choice.closed_unanswered()

    def _new_client(self) -> BrokerClient:
        settings = self._settings
        client = BrokerClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=_VERSIONS[self._choice.version],
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(UNACKNOWLEDGED_MAX)
        client.max_queued_messages_set(UNACKNOWLEDGED_MAX + UNWRITTEN_MAX)
        secure(client, username=settings.username, password=settings.password, tls=settings.tls)
        client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        return client

    async def _closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    def _opened(self, attempt: _Attempt, link: Any) -> None:
        """In paho's thread: the connection stands, the broker has not answered yet."""
        self._inbox.put(self._on_open, attempt)
        without_delay(link)

    def _on_open(self, attempt: _Attempt) -> None:
        if attempt is self._attempt:
            attempt.answer_timer = asyncio.get_running_loop().call_later(ANSWER_TIMEOUT_S, attempt.give_up)

    def _on_connect(self, attempt: _Attempt, reason: ReasonCode) -> None:
        if attempt is not self._attempt:
            return
        attempt.stop_waiting()
        if reason.is_failure:
            attempt.refused = reason
            return
        attempt.up = True
        self._choice.connected()
        self._link_error = ""
        self._refused_topics.clear()
        self._listener.link_up()

    def _on_disconnect(self, attempt: _Attempt, reason: ReasonCode) -> None:
        if attempt.down is None:
            attempt.down = reason

    def _on_publish(self, attempt: _Attempt, mid: int, failure: str) -> None:
        if attempt is not self._attempt:
            return
        attempt.unwritten.discard(mid)
        number = attempt.numbers.pop(mid, None)
        if number is not None:
            self._listener.acknowledged(number)
        topic = attempt.unacknowledged.pop(mid, None)
        if topic is not None:
            if failure:
                self._refused_topics[topic] = failure
            else:
                self._refused_topics.pop(topic, None)
        self._listener.window_open()

    def _on_ended(self, attempt: _Attempt, error: BaseException | None) -> None:
        if not attempt.ended.done():
            attempt.ended.set_result(error)


def _advice(reason: int) -> str:
    if reason in (BAD_USER_OR_PASSWORD, NOT_AUTHORIZED):
        return "; check mqtt.username and mqtt.password"
    return ""
