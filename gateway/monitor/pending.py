"""What waits to be published: the latest of every retained document, and a bounded queue of telemetry.

Pure bookkeeping: knows no broker and no clock. Retained documents need no queue: only the latest of a topic matters,
and after a new connection all of them are due again, because the broker may have forgotten them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import TelemetryBlock

#: Between two publications of the same retained topic.
RETAINED_INTERVAL_NS: Final = 500_000_000
#: Bounds the memory of the telemetry queue besides its number of messages: about 32 bytes each.
QUEUED_VALUES_MAX: Final = 500_000


class Retained:
    """The latest document of every topic; a changed one is due at most twice per second, the latest wins.

    The number of topics is bounded by the configuration: one per source and target, three per work unit; those
    that were removed since the start are among them, with an empty document that makes the broker forget.
    """

    def __init__(self) -> None:
        self._latest: dict[str, bytes] = {}
        self._changed: dict[str, None] = {}
        self._published_ns: dict[str, int] = {}

    def put(self, topic: str, payload: bytes) -> bool:
        """Take the document; True if it differs from the last one of its topic."""
        if self._latest.get(topic) == payload:
            return False
        self._latest[topic] = payload
        self._changed[topic] = None
        return True

    def all_due(self) -> None:
        """A new connection: every document is due at once."""
        self._published_ns.clear()
        self._changed = dict.fromkeys(self._latest)

    def due(self, now_ns: int, limit: int) -> list[tuple[str, bytes]]:
        """Up to ``limit`` documents to publish now; they count as published."""
        topics: list[str] = []
        for topic in self._changed:
            if len(topics) >= limit:
                break
            if self._due_ns(topic) <= now_ns:
                topics.append(topic)
        for topic in topics:
            del self._changed[topic]
            self._published_ns[topic] = now_ns
        return [(topic, self._latest[topic]) for topic in topics]

    def hurry(self) -> None:
        """The link is about to be closed: what changed is due now."""
        self._published_ns.clear()

    def next_due_ns(self) -> int | None:
        """When the next changed document is due; None if nothing changed."""
        return min((self._due_ns(topic) for topic in self._changed), default=None)

    def _due_ns(self, topic: str) -> int:
        published_ns = self._published_ns.get(topic)
        return 0 if published_ns is None else published_ns + RETAINED_INTERVAL_NS


class TelemetryQueue:
    """Readings not yet handed to the broker, oldest first; a full queue drops the oldest and counts it."""

    def __init__(self, messages_max: int) -> None:
        self._messages_max = messages_max
        self._queue: deque[tuple[str, Sequence[TelemetryBlock], int]] = deque()
        self._values = 0
        #: Messages thrown away since the start.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, topic: str, blocks: Sequence[TelemetryBlock]) -> None:
        """Queue the blocks of one reading as one message."""
        size = sum(len(block.names) for block in blocks)
        if not size:
            return
        self._queue.append((topic, blocks, size))
        self._values += size
        while len(self._queue) > self._messages_max or (self._values > QUEUED_VALUES_MAX and len(self._queue) > 1):
            self.take()
            self.dropped += 1

    def take(self) -> tuple[str, Sequence[TelemetryBlock]]:
        """The oldest message. Raises IndexError if there is none."""
        topic, blocks, size = self._queue.popleft()
        self._values -= size
        return topic, blocks
