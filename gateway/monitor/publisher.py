"""Publishes what the gateway shows: links, machines, orders, telemetry, a heartbeat, and whether it is there at all.

Nobody waits for the broker: every call notes what is new and returns. A broker that is down, slow or refuses the
gateway shows in ``view()`` and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.core.duration import NS_PER_S
from gateway.monitor import events, topics
from gateway.monitor.backlog import Backlog
from gateway.monitor.bridge import Bridge, Will
from gateway.monitor.pending import Retained, TelemetryQueue
from gateway.shown.status import MqttView, in_utc, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from buffer.figures import BufferFigures, EventFigures
    from buffer.telemetry import TelemetryStore
    from drivers.base import TelemetryBlock
    from gateway.monitor.settings import MonitorSettings
    from gateway.shown.machine_events import MachineEvent
    from gateway.shown.status import ClockView, SourceView, TargetView, WorkUnitView

FLUSH_TIMEOUT_S: Final = 2.0
LOST: Final = "lost"
#: Of the buffer's figures: these differ at each look.
_NOT_A_CHANGE: Final = ("at_ns", "last_commit_ns", "last_commit_ms", "wal_bytes", "degraded")
_MEMORY_OF_THIS_PROCESS: Final = Path("/proc/self/statm")


class Monitor:
    """The gateway's voice on MQTT.

    ``run()`` is the task; the other calls belong to the same event loop, return at once and never raise because of the
    broker. ``target_changed`` is called whenever the numbers of a target change: the heartbeat sums them up.

    Raises ValueError where ``settings.topic`` is not a topic.

    Args:
        settings: the broker.
        gateway_id: one level of every topic, and the client id where none is set.
        version: of the gateway.
        now_ns: the gateway's steady clock, nanoseconds.
        utc_ns: what UTC was at a steady time, as far as it is known now.
        clock: what is known of the time.
        link_changed: told whenever the link to the broker comes up, goes down or fails.
        boot_id: tells one start of the gateway from the next; default: random.
        shelf: the file in which events wait; None: in memory only.
        last_number: the highest number that an event ever had.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        *,
        gateway_id: str,
        version: str,
        now_ns: Callable[[], int],
        utc_ns: Callable[[int], int],
        clock: Callable[[], ClockView],
        link_changed: Callable[[MqttView], None] | None = None,
        boot_id: str = "",
        shelf: TelemetryStore | None = None,
        last_number: int = 0,
    ) -> None:
        self._now_ns = now_ns
        self._utc_ns = utc_ns
        self._clock = clock
        self._started_ns = now_ns()
        self._version = version
        self._boot_id = boot_id or uuid.uuid4().hex
        self._heartbeat_s = settings.heartbeat_ns / NS_PER_S
        self._link_changed = link_changed
        self._topics = topics.Topics(settings.topic, gateway_id)
        self._telemetry_topics: dict[str, str] = {}
        self._retained = Retained()
        self._queue = TelemetryQueue(settings.queue_messages)
        self._sources: dict[str, SourceView] = {}
        self._targets: dict[str, TargetView] = {}
        self._work_units: dict[str, WorkUnitView] = {}
        self._buffer: BufferFigures | None = None
        self._degraded: tuple[str, ...] = ()
        self._up_since_ns = self._started_ns
        self._bridge = Bridge(
            settings,
            client_id=settings.client_id or f"linegate-{gateway_id}",
            will=Will(self._topics.state, self._offline(LOST, None)),
            listener=self,
        )
        self._wake = asyncio.Event()
        self._events = Backlog(
            shelf,
            now_ns=now_ns,
            per_second=settings.backlog_per_second,
            wake=self._wake.set,
            last_number=last_number,
        )
        self._flushed = asyncio.Event()
        self._closing = False
        self._ended = False
        self._heartbeat_due = False
        self._heartbeats = 0
        self._due_timer: asyncio.TimerHandle | None = None
        self._heartbeat_timer: asyncio.TimerHandle | None = None

    # -- what the other parts call

    def source_changed(self, view: SourceView) -> None:
        """The link to a device changed."""
        self._sources[view.name] = view
        self._put(self._topics.source(view.name), topics.source_document(in_utc(view, self._utc_ns)))

    def target_changed(self, view: TargetView) -> None:
        """The link to an ERP changed, or the numbers of its postings did."""
        self._targets[view.name] = view
        oldest_ns = view.oldest_waiting_ns
        oldest_s = 0 if oldest_ns is None else max(0, self._now_ns() - oldest_ns) // NS_PER_S
        self._put(self._topics.target(view.name), topics.target_document(in_utc(view, self._utc_ns), oldest_s))

    def work_unit_changed(self, view: WorkUnitView) -> None:
        """A machine's state, counts or orders changed; what is the same as before is not published again."""
        self._work_units[view.id] = view
        view = in_utc(view, self._utc_ns)
        self._put(self._topics.machine(view.id, "state"), topics.machine_state(view))
        self._put(self._topics.machine(view.id, "counts"), topics.machine_counts(view))
        self._put(self._topics.machine(view.id, "order"), topics.machine_order(view))

    def machine_event(self, event: MachineEvent) -> None:
        """Something happened at a machine: told once, and kept for the broker up to a bound."""
        if self._closing:
            return
        topic = self._topics.machine(event.work_unit, events.topic_of(event))
        self._events.put(event.work_unit, topic, events.payload_of(event, self._utc_ns))
        if self._bridge.connected:
            self._wake.set()

    def buffer_changed(self, found: BufferFigures) -> None:
        """The figures of the buffer now: retained. Of what differs each time only the rest counts as a change."""
        self._buffer = found
        shown = to_json(found, self._utc_ns)
        for name in _NOT_A_CHANGE:
            shown.pop(name)
        self._put(self._topics.buffer, topics.buffer_document(shown))

    def degraded(self, texts: Sequence[str]) -> None:
        """What is wrong, in words: with the next heartbeat, which is at once where it is news."""
        if tuple(text.partition(":")[0] for text in texts) != tuple(text.partition(":")[0] for text in self._degraded):
            self._heartbeat_due = not self._closing
            self._wake.set()
        self._degraded = tuple(texts)

    def audit_anchor(self, anchor: str) -> None:
        """The newest anchor of the audit trail: retained, so that it outlives this box."""
        self._put(self._topics.audit, topics.audit_document(anchor))

    def reconciled(self, summary: Mapping[str, Any]) -> None:
        """The last reconciliation report in short: retained."""
        self._put(self._topics.reconciliation, topics.document(**summary))

    def day_closed(self, work_unit: str, summary: Mapping[str, Any]) -> None:
        """The last closing record of a machine in short: retained."""
        self._put(self._topics.machine(work_unit, "day"), topics.document(**summary))

    def clock_changed(self) -> None:
        """UTC is known better, or otherwise: what is shown is named anew."""
        for source in self._sources.values():
            self.source_changed(source)
        for target in self._targets.values():
            self.target_changed(target)
        for unit in self._work_units.values():
            self.work_unit_changed(unit)
        if self._bridge.connected:
            self._say_online()
        self._heartbeat_due = not self._closing
        self._wake.set()

    def work_unit_removed(self, name: str) -> None:
        """A machine is no longer configured: the broker forgets what it keeps of it."""
        self._work_units.pop(name, None)
        for what in topics.MACHINE_DOCUMENTS:
            self._put(self._topics.machine(name, what), topics.NOTHING)

    def source_removed(self, name: str) -> None:
        """A source is no longer configured: the broker forgets what it keeps of it."""
        self._sources.pop(name, None)
        self._put(self._topics.source(name), topics.NOTHING)

    def telemetry(self, source: str, blocks: Sequence[TelemetryBlock]) -> None:
        """Queue the blocks of one reading as one message. The values must not be changed afterwards."""
        if self._closing:
            return
        topic = self._telemetry_topics.get(source)
        if topic is None:
            topic = self._telemetry_topics[source] = self._topics.telemetry(source)
        self._queue.put(topic, blocks)
        if self._bridge.connected:
            self._wake.set()

    def view(self) -> MqttView:
        """The state of the link, for every display."""
        return MqttView(
            connected=self._bridge.connected,
            last_error=self._bridge.last_error,
            dropped=self._queue.dropped,
            events_dropped=self._events.dropped,
        )

    def event_figures(self) -> EventFigures:
        """What waits for the broker."""
        return self._events.figures()

    async def run(self) -> None:
        """Publish until ``close()``. Cancelled without it, the broker announces the gateway as lost."""
        link = asyncio.create_task(self._bridge.run(), name="mqtt-link")
        link.add_done_callback(lambda _task: self._wake.set())
        events_kept = asyncio.create_task(self._events.run(), name="mqtt-events")
        self._heartbeat_timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._heartbeat)
        try:
            while not self._ended:
                await self._wake.wait()
                self._wake.clear()
                if link.done() and not self._closing:
                    link.result()
                self._publish_due()
        finally:
            for timer in (self._due_timer, self._heartbeat_timer):
                if timer is not None:
                    timer.cancel()
            self._events.end()
            link.cancel()
            for task in (link, events_kept):
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await self._events.close()

    async def close(self, reason: str = "stop") -> None:
        """Publish what is due and that the gateway is off, disconnect, end ``run()``; takes 4 s at most."""
        if self._closing:
            return
        self._closing = True
        self._retained.put(self._topics.state, self._offline(reason, self._utc_ns(self._now_ns())))
        self._retained.hurry()
        if self._bridge.connected:
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await self._flushed.wait()
        await self._bridge.close()
        self._ended = True
        self._wake.set()

    # -- what the bridge calls

    def link_up(self) -> None:
        """The broker answered: it gets everything again, because it may have forgotten."""
        if not self._closing:
            self._up_since_ns = self._now_ns()
            self._say_online()
            self._heartbeat_due = True
        self._retained.all_due()
        self._events.link_up()
        self._wake.set()
        self._tell()

    def link_down(self, unwritten: int) -> None:
        """The link is gone, and with it what was never written; events that nobody acknowledged are told again."""
        self._queue.dropped += unwritten
        self._events.link_down()
        self._flushed.set()

    def acknowledged(self, number: int) -> None:
        """The broker has this event."""
        self._events.acknowledged(number)

    def link_failed(self) -> None:
        """A connection ended or could not be made."""
        self._tell()

    def window_open(self) -> None:
        """There is room for more."""
        self._wake.set()

    # -- inside

    def _say_online(self) -> None:
        since_ns = self._utc_ns(self._up_since_ns)
        online = topics.online(since_ns=since_ns, version=self._version, boot_id=self._boot_id)
        self._put(self._topics.state, online)

    def _put(self, topic: str, payload: bytes) -> None:
        if not self._closing and self._retained.put(topic, payload) and self._bridge.connected:
            self._wake.set()

    def _tell(self) -> None:
        if self._link_changed is not None:
            self._link_changed(self.view())

    def _publish_due(self) -> None:
        bridge = self._bridge
        if not bridge.connected:
            return
        now_ns = self._now_ns()
        utc_offset_ns = self._utc_ns(now_ns) - now_ns
        for topic, payload in self._retained.due(now_ns, bridge.room(1)):
            bridge.publish(topic, payload, qos=1, retain=True)
        while bridge.room(1) > 0 and (event := self._events.take()) is not None:
            bridge.publish(event.topic, event.payload, qos=1, retain=False, number=event.number)
        if self._heartbeat_due and bridge.publish(self._topics.health, self._health(now_ns), qos=0, retain=False):
            self._heartbeat_due = False
        for _ in range(min(bridge.room(0), len(self._queue))):
            topic, blocks = self._queue.take()
            payload = topics.telemetry(blocks, utc_offset_ns)
            if not bridge.publish(topic, payload, qos=0, retain=False):
                self._queue.dropped += 1
        next_due_ns = self._retained.next_due_ns()
        if self._closing and next_due_ns is None and not (self._queue or self._events.urgent) and bridge.idle:
            self._flushed.set()
        if (events_due_ns := self._events.next_ns()) is not None:
            next_due_ns = events_due_ns if next_due_ns is None else min(next_due_ns, events_due_ns)
        # With a full window it is the next acknowledgement that wakes.
        if next_due_ns is not None and bridge.room(1) > 0:
            self._wake_at(max(0, next_due_ns - now_ns) / NS_PER_S)

    def _wake_at(self, delay_s: float) -> None:
        if self._due_timer is not None:
            self._due_timer.cancel()
        self._due_timer = asyncio.get_running_loop().call_later(delay_s, self._wake.set)

    def _heartbeat(self) -> None:
        self._heartbeat_timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._heartbeat)
        self._heartbeat_due = not self._closing
        self._wake.set()

    def _health(self, now_ns: int) -> bytes:
        self._heartbeats += 1
        return topics.health(
            seq=self._heartbeats,
            now_ns=now_ns,
            started_ns=self._started_ns,
            targets=self._targets.values(),
            rss_bytes=_resident_bytes(),
            dropped=self._queue.dropped,
            events_dropped=self._events.dropped,
            clock=self._clock(),
            utc_now_ns=self._utc_ns(now_ns),
            buffer=self._buffer,
            degraded=self._degraded,
        )

    def _offline(self, reason: str, since_ns: int | None) -> bytes:
        return topics.offline(reason=reason, since_ns=since_ns, version=self._version, boot_id=self._boot_id)


def _resident_bytes() -> int | None:
    """Memory of this process, bytes; None where the system does not tell."""
    try:
        pages = _MEMORY_OF_THIS_PROCESS.read_bytes().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
