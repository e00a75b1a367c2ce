"""What the configuration may say about an OPC UA server; checks ranges, knows no protocol library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration

PUBLISH_MIN: Final = Duration("10 ms")
PUBLISH_MAX: Final = Duration("1 min")
SAMPLING_MAX: Final = Duration("1 min")
TIMEOUT_MAX: Final = Duration("1 min")
QUEUE_MAX: Final = 10_000
SIGNALS_MAX: Final = 20_000
SCHEME: Final = "opc.tcp://"

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}

#: Text form of a NodeId (OPC 10000-6, 5.3.1.10), with a namespace URI instead of its index if wanted.
_NODE = re.compile(r"(?:ns=\d+;|nsu=[^;]+;)?(?:i=\d+|[sgb]=.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSignal:
    """One variable of an OPC UA server.

    Attributes:
        node: its NodeId, best with the namespace URI: ``nsu=http://vendor/machine;s=Counter``; the index of a
            namespace (``ns=2;s=Counter``) may change when the server restarts.
        telemetry: publish it on MQTT.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    node: str
    telemetry: bool = False

    def __post_init__(self) -> None:
        """A NodeId as text."""
        if _NODE.fullmatch(self.node) is None:
            raise ValueError(
                f"node: found {self.node!r}, allowed such as 'nsu=http://vendor/machine;s=Counter', "
                f"'ns=2;i=1001' or 'i=2257'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSettings:
    """A server whose variables are subscribed to. Nothing is ever written and no method called.

    Attributes:
        driver: ``opcua``.
        endpoint: address of the server, ``opc.tcp://host:port/path``.
        security: ``none``: neither encrypted nor signed, and no user; must be written down, because it is a decision.
        publish: how often the server reports what changed.
        sampling: how often the server looks at a variable; default: as often as it reports.
        queue_size: values per signal that the server keeps between two reports; telemetry keeps the latest only.
        timeout: how long one answer may take.
        signals: name of the signal to its variable.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["opcua"]
    endpoint: str
    security: Literal["none"]
    publish: Duration = Duration("500 ms")
    sampling: Duration | None = None
    queue_size: int = 10
    timeout: Duration = Duration("5 s")
    signals: dict[str, OpcUaSignal]

    def __post_init__(self) -> None:
        """Ranges, and something to read."""
        if not self.endpoint.startswith(SCHEME) or not self.endpoint.removeprefix(SCHEME).strip():
            raise ValueError(f"endpoint: found {self.endpoint!r}, allowed {SCHEME}host:port/path")
        if "@" in self.endpoint:
            raise ValueError("endpoint: found a user name before @, allowed an address only")
        if not PUBLISH_MIN <= self.publish <= PUBLISH_MAX:
            raise ValueError(f"publish: found {self.publish}, allowed {PUBLISH_MIN} to {PUBLISH_MAX}")
        if self.sampling is not None and self.sampling > SAMPLING_MAX:
            raise ValueError(f"sampling: found {self.sampling}, allowed 0 s to {SAMPLING_MAX}")
        if not 1 <= self.queue_size <= QUEUE_MAX:
            raise ValueError(f"queue_size: found {self.queue_size}, allowed 1 to {QUEUE_MAX}")
        if not 0 < self.timeout <= TIMEOUT_MAX:
            raise ValueError(f"timeout: found {self.timeout}, allowed more than 0 s, up to {TIMEOUT_MAX}")
        if not 1 <= len(self.signals) <= SIGNALS_MAX:
            raise ValueError(f"signals: found {len(self.signals)}, allowed 1 to {SIGNALS_MAX}")
