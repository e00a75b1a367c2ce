"""One connection to an MQTT broker: paho's network thread on one side, the event loop on the other.

What every link to a broker needs, whatever it says there. Connects once: who connects again, and when, is decided by
who uses it (``gateway/monitor/bridge.py``, ``gateway/connectors/mqtt/link.py``). Knows no topic.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: Brokers announce as little as 20 (Receive Maximum), and paho does not read it.
UNACKNOWLEDGED_MAX: Final = 20
#: From the open connection to the broker's answer: one that trips over an unknown MQTT version may just stay silent.
ANSWER_TIMEOUT_S: Final = 5.0
RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 2.0
UNSUPPORTED_PROTOCOL_VERSION: Final = 132
BAD_USER_OR_PASSWORD: Final = 134
NOT_AUTHORIZED: Final = 135


class BrokerClient(mqtt.Client):
    """One connection: paho's loop ends with it, and whatever ends it is reported instead of lost in a thread."""

    ended: Callable[[BaseException | None], None]

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:  # noqa: ARG002, FBT001, FBT002 - paho's signature
        """Until the connection ends; paho's own reconnecting is off."""
        error: BaseException | None = None
        try:
            return super().loop_forever(timeout, retry_first_connection=False)
        except Exception as caught:  # noqa: BLE001 - a malformed packet, TLS, DNS: the end of this connection, told to the loop
            error = caught
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        finally:
            self.ended(error)


class _HandshakeSocket(ssl.SSLSocket):
    """Closed where the handshake fails: paho leaves that to the garbage collector, once per attempt."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of the base
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class LoopInbox:
    """From paho's thread to the event loop; many events share one wake-up."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._due = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where the calls are made; before the first connection."""
        self._loop = loop

    def put(self, what: Callable[..., None], *arguments: Any) -> None:
        """Call this on the event loop, soon; from any thread."""
        self._waiting.append((what, arguments))
        if self._due or self._loop is None:
            return
        self._due = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            return  # the event loop is closed: nobody is left to be told

    def _deliver(self) -> None:
        self._due = False
        while self._waiting:
            what, arguments = self._waiting.popleft()
            what(*arguments)


def secure(client: BrokerClient, *, username: str | None, password: str | None, tls: ssl.SSLContext | None) -> None:
    """Log in, and wrap the connection with TLS, where these are given."""
    client.suppress_exceptions = True
    if username is not None:
        client.username_pw_set(username, password)
    if tls is not None:
        tls.sslsocket_class = _HandshakeSocket
        client.tls_set_context(tls)


def without_delay(link: Any) -> None:
    """Our messages are small and often come in bursts: Nagle's algorithm holds all but the first back for 40 ms."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def abandon(client: BrokerClient) -> None:
    """Leave without a DISCONNECT: the broker then publishes the will, and rightly so. May take as long as a connect."""
    client.loop_stop()
    link = client.socket()
    if link is not None:
        link.close()
    forget_callbacks(client)


def forget_callbacks(client: BrokerClient) -> None:
    """They hold the client in a circle; without them its sockets are closed now and not at some collection."""
    client.on_socket_open = None
    client.on_connect = None
    client.on_disconnect = None
    client.on_publish = None
    client.on_message = None
    client.on_subscribe = None
    client.ended = lambda _error: None
