"""Topics and payloads of everything that is published. Pure: no clock, no connection, no memory.

Payloads are JSON objects with ``"v": 1``; times are UTC milliseconds, lengths of time are seconds. Telemetry carries no
version: it is the hot path, and its form is fixed: ``{"t": ms, "values": {name: value}}``.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.core.duration import NS_PER_S, NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buffer.figures import BufferFigures
    from drivers.base import TelemetryBlock
    from gateway.core.model import Scalar
    from gateway.shown.status import ClockView, SourceView, TargetView, WorkUnitView

PAYLOAD_VERSION: Final = 1
NS_PER_MS: Final = NS_PER_UNIT["ms"]
TOPIC_BYTES_MAX: Final = 65_535
#: A retained document that is empty makes the broker forget the one before.
NOTHING: Final = b""
#: What is retained of each machine.
MACHINE_DOCUMENTS: Final = ("state", "counts", "order", "day")
#: What a topic level may not hold, and ``%`` so that every name keeps a topic of its own.
_ESCAPES: Final = str.maketrans({character: f"%{ord(character):02X}" for character in "%/+#\0"})


def level(name: str) -> str:
    """A name as one topic level; characters with a meaning to MQTT are percent-encoded."""
    return name.translate(_ESCAPES)


class Topics:
    """The topic tree of one gateway: ``<root>/<gateway id>/...``.

    Raises ValueError where the root is empty, begins or ends with ``/``, or holds a wildcard.
    """

    __slots__ = ("_base", "audit", "buffer", "health", "reconciliation", "state")

    def __init__(self, root: str, gateway_id: str) -> None:
        if not root or root.strip("/") != root or any(character in root for character in "+#\0"):
            raise ValueError(
                f"mqtt.topic: found {root!r}, allowed levels separated by /, without + and #, such as 'plant/line'"
            )
        self._base = f"{root}/{level(gateway_id)}"
        self.state = f"{self._base}/state"
        self.health = f"{self._base}/health"
        self.audit = f"{self._base}/audit"
        self.buffer = f"{self._base}/buffer"
        self.reconciliation = f"{self._base}/reconciliation"

    def machine(self, work_unit: str, what: str) -> str:
        """``.../machine/<id>/state``, ``/counts``, ``/order``, ``/day`` ...."""
        return f"{self._base}/machine/{level(work_unit)}/{what}"

    def source(self, name: str) -> str:
        """``.../source/<name>``."""
        return f"{self._base}/source/{level(name)}"

    def target(self, name: str) -> str:
        """``.../target/<name>``."""
        return f"{self._base}/target/{level(name)}"

    def telemetry(self, source: str) -> str:
        """``.../telemetry/<source>``."""
        return f"{self._base}/telemetry/{level(source)}"


def online(*, since_ns: int, version: str, boot_id: str) -> bytes:
    """The gateway is connected since then."""
    return document(online=True, since=_ms(since_ns), version=version, boot_id=boot_id)


def offline(*, reason: str, since_ns: int | None, version: str, boot_id: str) -> bytes:
    """The gateway is gone: ``stop`` by its own word, ``lost`` by the broker's (nobody knows since when)."""
    return document(online=False, reason=reason, since=_ms(since_ns), version=version, boot_id=boot_id)


def health(
    *,
    seq: int,
    now_ns: int,
    started_ns: int,
    targets: Iterable[TargetView],
    rss_bytes: int | None,
    dropped: int,
    events_dropped: int,
    clock: ClockView,
    utc_now_ns: int,
    buffer: BufferFigures | None = None,
    degraded: Sequence[str] = (),
) -> bytes:
    """The heartbeat. ``outbox_oldest_s`` is the age of the oldest confirmation that waits, 0 if none does.

    ``buffer`` has the figures of the buffer, None where they are not known (yet): then the targets' own are summed up.
    ``degraded`` says what is wrong, in words.
    ``time_ms`` is UTC as the gateway knows it and ``clock_quality`` who vouches for it; ``clock_offset_ms`` is how far
    the system's clock is ahead of that. ``utc_offset_ms`` is UTC minus the gateway's steady time. The other times that
    are handed in are steady.
    """
    waiting = 0
    oldest_ns = now_ns
    for target in targets:
        waiting += target.waiting
        if target.oldest_waiting_ns is not None:
            oldest_ns = min(oldest_ns, target.oldest_waiting_ns)
    if buffer is not None:
        waiting, oldest_ns = buffer.waiting, now_ns if buffer.oldest_ns is None else min(buffer.oldest_ns, now_ns)
    return document(
        seq=seq,
        uptime_s=(now_ns - started_ns) // NS_PER_S,
        time_ms=_ms(utc_now_ns),
        outbox_waiting=waiting,
        outbox_oldest_s=(now_ns - oldest_ns) // NS_PER_S,
        rss_bytes=rss_bytes,
        telemetry_dropped=dropped,
        events_dropped=events_dropped,
        clock_quality=clock.quality,
        clock_known=clock.known,
        clock_offset_ms=clock.offset_ms,
        utc_offset_ms=clock.utc_offset_ms,
        status="degraded" if degraded else "ok",
        degraded=list(degraded),
        buffer=None if buffer is None else _buffer_in_short(buffer),
    )


def _buffer_in_short(found: BufferFigures) -> dict[str, Any]:
    room = found.room
    return {
        "level": room.level,
        "used_bytes": room.used_bytes,
        "room_bytes": room.room_bytes,
        "full_in_s": None if room.full_in_ns is None else room.full_in_ns // NS_PER_S,
        "lost_intervals": found.lost.intervals,
        "lost_max_pieces": found.lost.max_pieces,
        "lost_unbounded": found.lost.unbounded,
        "review_pieces": found.held.review_pieces,
        "held_orders": found.held.orders,
        "needs_approval": found.held.needs_approval,
        "parked": found.held.parked,
    }


def buffer_document(found: dict[str, Any]) -> bytes:
    """The figures of the buffer, as ``linegate buffer status --json`` has them."""
    return document(**found)


def audit_document(anchor: str) -> bytes:
    """The newest anchor of the audit trail, as a line that ``linegate audit verify --anchors`` takes."""
    return document(anchor=anchor)


def source_document(view: SourceView) -> bytes:
    """The link to a device. Without the time of its last value: that would change with every value."""
    return document(
        state=view.state,
        since=_ms(view.since_ns),
        simulated=view.simulated,
        error=view.last_error,
        next_retry=_ms(view.next_retry_ns),
        reconnects=view.reconnects,
        problems=dict(view.problems),
        notices=dict(view.notices),
    )


def target_document(view: TargetView, oldest_waiting_s: int) -> bytes:
    """The link to an ERP and its postings."""
    return document(
        link=view.link,
        since=_ms(view.since_ns),
        waiting=view.waiting,
        answers_waiting=view.answers_waiting,
        answers_parked=view.answers_parked,
        notices_waiting=view.notices_waiting,
        notices_parked=view.notices_parked,
        oldest_waiting_s=oldest_waiting_s,
        uncertain=view.uncertain,
        parked=view.parked,
        accepted=view.accepted,
        posted=view.posted,
        delivered=view.delivered,
        held=view.held,
        needs_approval=view.needs_approval,
        goods_errors=view.goods_errors,
        latency_last_ms=view.latency_last_ms,
        latency_median_ms=view.latency_median_ms,
        latency_p95_ms=view.latency_p95_ms,
        stages_p95_ms=dict(view.stages_p95_ms),
        late=view.late,
        last_posted=_ms(view.last_posted_ns),
        error=view.last_error,
        next_retry=_ms(view.next_retry_ns),
        breaker=view.breaker,
        breaker_since=_ms(view.breaker_since_ns),
        failures=view.failures,
        last_success=_ms(view.last_success_ns),
    )


def machine_state(view: WorkUnitView) -> bytes:
    """What the machine is doing, since when and why, and whose shift it is."""
    return document(
        state=view.state,
        since=_ms(view.state_since_ns),
        reason=view.reason,
        reason_source=view.reason_source,
        evidence=view.evidence,
        reduced_speed=view.reduced_speed,
        shift=view.shift,
        production_day=view.production_day,
        planned=view.planned,
    )


def machine_counts(view: WorkUnitView) -> bytes:
    """Pieces of the running order, pieces in no order, and what nobody can know."""
    bounds = [interval.get("max_pieces") for interval in view.unknown]
    return document(
        order=view.order,
        operation=view.operation,
        good=view.good,
        scrap=view.scrap,
        rework=view.rework,
        hold=view.hold,
        test=view.test,
        last_piece=_ms(view.last_piece_ns),
        unconfirmed_good=view.unconfirmed_good,
        unconfirmed_scrap=view.unconfirmed_scrap,
        unconfirmed_rework=view.unconfirmed_rework,
        unconfirmed_hold=view.unconfirmed_hold,
        unconfirmed_test=view.unconfirmed_test,
        unallocated_good=view.unallocated_good,
        unallocated_scrap=view.unallocated_scrap,
        unallocated_rework=view.unallocated_rework,
        unallocated_hold=view.unallocated_hold,
        unallocated_test=view.unallocated_test,
        unallocated_since=_ms(view.unallocated_since_ns),
        written_off=view.written_off,
        review_pieces=view.review_pieces,
        counted_good=view.counted_good,
        counted_scrap=view.counted_scrap,
        counted_rework=view.counted_rework,
        counted_hold=view.counted_hold,
        counted_test=view.counted_test,
        unknown_intervals=len(bounds),
        unknown_max_pieces=None if None in bounds else sum(bounds),
    )


#: Of each open order: what changes with it, not with each piece.
_OF_AN_ORDER: Final = ("order", "operation", "state", "quantity", "hold_reason", "exceeds_predecessor")


def machine_order(view: WorkUnitView) -> bytes:
    """The running order and the open ones, without their counts: it changes only when an order does."""
    return document(
        order=view.order,
        operation=view.operation,
        product=view.product,
        target=view.target,
        queue=[{key: job.get(key) for key in _OF_AN_ORDER} for job in view.queue],
    )


def telemetry(blocks: Sequence[TelemetryBlock], utc_offset_ns: int = 0) -> bytes:
    """All blocks of one reading as one message; a name in two blocks has the value of the later one."""
    block = blocks[0]
    values: dict[str, Scalar] = dict(zip(block.names, block.values, strict=True))
    time_ns = block.time_ns
    for block in blocks[1:]:
        values.update(zip(block.names, block.values, strict=True))
        time_ns = max(time_ns, block.time_ns)
    document = {"t": (time_ns + utc_offset_ns) // NS_PER_MS, "values": values}
    try:
        return orjson.dumps(document)
    except TypeError:
        # Beyond 64 bits, or half a surrogate pair in a device's text: slower, but exact.
        values.update(
            {name: None for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
        )
        return json.dumps(document, separators=(",", ":")).encode()


def document(**fields: Any) -> bytes:
    """One payload: what is named, behind its version."""
    whole = {"v": PAYLOAD_VERSION, **fields}
    try:
        return orjson.dumps(whole, default=str)
    except TypeError:
        return json.dumps(whole, default=str, separators=(",", ":")).encode()


def _ms(time_ns: int | None) -> int | None:
    return None if time_ns is None else time_ns // NS_PER_MS
