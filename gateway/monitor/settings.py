"""What the monitoring needs to know of its broker. The composition root fills it from the configuration."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.core.duration import NS_PER_S, Duration
from gateway.core.host import is_loopback

ProtocolSetting = Literal["auto", "5", "3.1.1"]

PORT_MAX: Final = 65_535
QUEUE_MESSAGES_MAX: Final = 100_000
KEEPALIVE_MIN_NS: Final = NS_PER_S
KEEPALIVE_MAX_NS: Final = 3600 * NS_PER_S
HEARTBEAT_MIN_NS: Final = NS_PER_S
CLIENT_ID_CHARS_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """The broker and how to talk to it.

    Raises ValueError where a value is out of range, and where the link would leave this machine in the clear without
    ``allow_plaintext``.

    Attributes:
        host: name or address of the broker.
        port: TCP port, 1 to 65535.
        topic: root of the topic tree.
        client_id: unique at the broker; "" lets the gateway's id be used.
        username: sent with the password; None: no login.
        password: never shown.
        tls: context to wrap the connection with; None: plain TCP.
        allow_plaintext: plain TCP to another machine is accepted.
        protocol: MQTT version; ``auto`` tries 5 and falls back to 3.1.1 where the broker refuses it.
        keepalive_ns: a silent broker is noticed after twice this; 1 s to 1 h, cut to whole seconds.
        heartbeat_ns: interval of the heartbeat, at least 1 s.
        queue_messages: telemetry messages kept while the broker is away, the oldest dropped first; 1 to 100000.
        backlog_per_second: events that waited are published at this rate at most, 1 and above.
    """

    host: str
    port: int = 1883
    topic: str = "linegate"
    client_id: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    allow_plaintext: bool = False
    protocol: ProtocolSetting = "auto"
    keepalive_ns: int = Duration("15 s")
    heartbeat_ns: int = Duration("30 s")
    queue_messages: int = 1000
    backlog_per_second: int = 200

    def __post_init__(self) -> None:
        """Ranges, and no password in the clear by accident."""
        if not self.host:
            raise ValueError("mqtt.host: found nothing, allowed the name or address of the broker")
        if not 1 <= self.port <= PORT_MAX:
            raise ValueError(f"mqtt.port: found {self.port}, allowed 1 to {PORT_MAX}")
        if not KEEPALIVE_MIN_NS <= self.keepalive_ns <= KEEPALIVE_MAX_NS:
            raise ValueError(f"mqtt.keepalive: found {Duration(self.keepalive_ns)}, allowed 1 s to 1 h")
        if self.heartbeat_ns < HEARTBEAT_MIN_NS:
            raise ValueError(f"mqtt.heartbeat: found {Duration(self.heartbeat_ns)}, allowed 1 s and above")
        if not 1 <= self.queue_messages <= QUEUE_MESSAGES_MAX:
            raise ValueError(f"mqtt.queue_messages: found {self.queue_messages}, allowed 1 to {QUEUE_MESSAGES_MAX}")
        if len(self.client_id) > CLIENT_ID_CHARS_MAX:
            raise ValueError(
                f"mqtt.client_id: found {len(self.client_id)} characters, allowed up to {CLIENT_ID_CHARS_MAX}"
            )
        if self.password is not None and self.username is None:
            raise ValueError("mqtt.password needs mqtt.username")
        if self.tls is None and not self.allow_plaintext and not is_loopback(self.host):
            raise ValueError(
                f"mqtt.host: {self.host} is another machine, and the link would not be encrypted;"
                " set up TLS, or allow plain text there expressly"
            )
