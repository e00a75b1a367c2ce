"""The parts of one run, by name, and how each looks from outside. Holds them; runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.core.document import utc
from gateway.core.duration import NS_PER_UNIT, Duration
from gateway.shown.machine_events import machine_event
from gateway.shown.posting_times import in_ms
from gateway.shown.status import FeedView, SourceView, TargetView, WorkUnitView
from gateway.shown.views import work_unit_view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from buffer.figures import BufferFigures
    from buffer.outbox import Outbox
    from drivers.supervisor import SourceSupervisor
    from gateway.connectors.base import Connector
    from gateway.core.model import Output
    from gateway.forwarder import Forwarder
    from gateway.forwarder.target_status import TargetStatus
    from gateway.monitor import Monitor
    from gateway.order_feed import OrderFeed
    from gateway.sources.taps import Taps
    from gateway.work_unit.runner import Runner


def _ms(length_ns: int | None) -> int | None:
    return None if length_ns is None else length_ns // NS_PER_UNIT["ms"]


def target_view(status: TargetStatus) -> TargetView:
    """What a forwarder says of its target, with lengths of time in whole milliseconds."""
    return TargetView(
        name=status.name,
        link=status.link,
        since_ns=status.since_ns,
        waiting=status.waiting,
        uncertain=status.uncertain,
        parked=status.parked,
        accepted=status.accepted,
        posted=status.posted,
        delivered=status.delivered,
        oldest_waiting_ns=status.oldest_waiting_ns,
        last_posted_ns=status.last_posted_ns,
        last_error=status.last_error,
        next_retry_ns=status.next_retry_ns,
        held=status.held,
        needs_approval=status.needs_approval,
        latency_last_ms=_ms(status.latency_last_ns),
        goods_errors=status.goods_errors,
        latency_median_ms=_ms(status.latency_median_ns),
        latency_p95_ms=_ms(status.latency_p95_ns),
        stages_p95_ms=in_ms(status.stages_p95),
        late=status.late,
        breaker=status.breaker,
        breaker_since_ns=status.breaker_since_ns,
        failures=status.failures,
        last_success_ns=status.last_success_ns,
        answers_waiting=status.answers_waiting,
        answers_parked=status.answers_parked,
        notices_waiting=status.notices_waiting,
        notices_parked=status.notices_parked,
    )


class Watcher(Protocol):
    """Who is told that something changed, right behind its commit. It must not raise and must not wait."""

    def committed(self, machine: str, outputs: Iterable[Output]) -> None:
        """A work unit committed these."""

    def posting_moved(self) -> None:
        """What waits at a target is not what it was."""

    def configured(self) -> None:
        """Work units were added or removed, or have other rules."""


class Parts:
    """Everything that runs, each by the name the configuration gives it."""

    def __init__(self, outbox: Outbox, taps: Taps, utc_ns: Callable[[int], int]) -> None:
        #: What UTC was at a steady time, as far as it is known now.
        self.utc_ns = utc_ns
        self.outbox = outbox
        self.taps = taps
        self.monitor: Monitor | None = None
        self.watchers: list[Watcher] = []
        self.connectors: dict[str, Connector] = {}
        self.runners: dict[str, Runner] = {}
        self.forwarders: dict[str, Forwarder] = {}
        self.feeds: dict[str, OrderFeed] = {}
        self.sources: dict[str, SourceSupervisor] = {}
        #: The figures of the buffer, in steady time; raises StoreError.
        self.buffer: Callable[[], Awaitable[BufferFigures]] | None = None
        self._troubles: dict[str, str] = {}

    def acknowledged(self, name: str) -> None:
        """A target has news of what it accepted; one that takes no confirmations, or is not made yet, has none."""
        if name in self.forwarders:
            self.forwarders[name].accepted_changed()

    def orders_came(self, name: str) -> None:
        """A source has orders; one that gives none, or is not made yet, has none."""
        if name in self.feeds:
            self.feeds[name].wake()

    def trouble(self, name: str, text: str) -> None:
        """A part cannot go on for now; "" when it can again."""
        if text:
            self._troubles[name] = text
        else:
            self._troubles.pop(name, None)

    def troubled(self) -> frozenset[str]:
        """Names of the parts that cannot go on now."""
        return frozenset(self._troubles)

    def troubles(self) -> tuple[str, ...]:
        """What keeps parts from going on now, and orders that were refused."""
        now = tuple(f"{name}: {text}" for name, text in self._troubles.items())
        feeds = tuple(f"{name}: {text}" for name, feed in self.feeds.items() for text in feed.troubles())
        return (*now, *feeds)

    async def stranded(self) -> tuple[str, ...]:
        """Postings that nobody takes anywhere, because no connector of their name takes confirmations (any more).

        Raises StoreError.
        """
        texts = []
        for name in await self.outbox.targets():
            if name in self.forwarders:
                continue
            counts = await self.outbox.counts(name)
            beside = counts.answers_waiting + counts.answers_parked + counts.notices_waiting + counts.notices_parked
            if number := counts.waiting + counts.parked + beside:
                since = None if counts.oldest_created_ns is None else utc(self.utc_ns(counts.oldest_created_ns))
                texts.append(
                    f"connector {name!r}: {number} confirmation{'s' * (number != 1)} waiting since "
                    f"{since}, and no connector of this name takes confirmations; "
                    "configure it (again), or give them up with linegate outbox discard"
                )
        return tuple(texts)

    def announce(self) -> None:
        """Show the monitor how everything looks now: what never changes would never be published. Tell the others, too.

        At the start, and after a reload.
        """
        for watcher in self.watchers:
            watcher.configured()
        if self.monitor is None:
            return
        for name in self.runners:
            self.monitor.work_unit_changed(self.work_unit_view(name))
        for name in self.sources:
            self.monitor.source_changed(self.source_view(name))
        for name in self.forwarders:
            self.monitor.target_changed(self.target_view(name))

    def publish(self, name: str, outputs: Iterable[Output]) -> None:
        """Show the monitor a machine as it is now, and what happened to it; tell the others that something did."""
        for watcher in self.watchers:
            watcher.committed(name, outputs)
        if self.monitor is None:
            return
        self.monitor.work_unit_changed(self.work_unit_view(name))
        time_model = self.runners[name].unit.machine.time_model
        for output in outputs:
            event = machine_event(name, output, time_model)
            if event is not None:
                self.monitor.machine_event(event)

    def target_changed(self, name: str) -> None:
        """Show the monitor a target as it is now; tell the others that something changed there."""
        for watcher in self.watchers:
            watcher.posting_moved()
        if self.monitor is not None and name in self.forwarders:
            self.monitor.target_changed(self.target_view(name))

    def work_unit_view(self, name: str) -> WorkUnitView:
        """A machine at its last committed state."""
        runner = self.runners[name]
        return work_unit_view(name, runner.state, runner.unit.machine.display)

    def source_view(self, name: str) -> SourceView:
        """The link to a device."""
        status = self.sources[name].status
        return SourceView(
            name=status.name,
            state=status.state,
            since_ns=status.since_ns,
            last_value_ns=status.last_value_ns,
            last_error=status.last_error,
            next_retry_ns=status.next_retry_ns,
            reconnects=status.reconnects,
            failures=status.failures,
            problems=status.problems,
            notices=status.notices,
            simulated=status.simulated,
        )

    def feed_view(self, name: str) -> FeedView:
        """Where orders come from."""
        status = self.feeds[name].status
        return FeedView(
            name=status.name,
            up=status.up,
            last_poll_ns=status.last_poll_ns,
            received=status.received,
            elsewhere=status.elsewhere,
            refused=tuple({"place": one.place, "reasons": list(one.reasons)} for one in status.refused),
            last_error=status.last_error if status.up is False else "",
        )

    def target_view(self, name: str) -> TargetView:
        """The link to an ERP, and what waits for it."""
        return target_view(self.forwarders[name].status)

    def late(self, now_ns: int) -> tuple[str, ...]:
        """Targets whose oldest confirmation waits for longer than ``late_after``."""
        texts = []
        for name, forwarder in self.forwarders.items():
            status = forwarder.status
            waits_ns = now_ns - (now_ns if status.oldest_waiting_ns is None else status.oldest_waiting_ns)
            if waits_ns > status.late_after_ns > 0:
                most = Duration(status.late_after_ns)
                since = utc(self.utc_ns(status.oldest_waiting_ns or 0))
                texts.append(
                    f"target {name}: the oldest confirmation waits since {since}, longer than late_after ({most}); "
                    "see linegate outbox list"
                )
        return tuple(texts)
