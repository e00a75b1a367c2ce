"""Supervises one target: which posting goes when, and what is done about how it ended.

It is the only place of a target where any exception is caught: a connector that fails must not stop the others. It
decides nothing about outcomes (``policy``) and knows no protocol (connectors).
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Final

import structlog

from buffer.entry import SENT_FROM, OutboxState
from buffer.errors import OutboxError, StoreError
from gateway.connectors.base import (
    Lookup,
    LookupKind,
    MappingError,
    Outcome,
    OutcomeKind,
    Posting,
    Rendered,
)
from gateway.core.confirming.stamps import figures
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.orders.order_answer import ACK
from gateway.forwarder.policy import Decision, ForwarderSettings, ForwarderTimings, Pause, Policy, cannot_know
from gateway.forwarder.target_status import Link, TargetStatus

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from gateway.connectors.base import Connector

#: Without any sign the forwarder looks by itself; wake() is what makes it quick.
IDLE_NS: Final = Duration("30 s")
STATUS_INTERVAL_S: Final = 0.2
BUFFER_RETRY_S: Final = 1.0

#: Where a posting stands still for a reason that a person should see.
_SHOWN: Final = frozenset({OutboxState.PARKED, OutboxState.RETRY_WAIT})

_log = structlog.get_logger(__name__)


class Forwarder:
    """Forwards the postings of one target; ``run`` it in a task, ``wake`` it after each commit.

    The connector is opened before and closed after by the caller. ``on_status`` is called in the event loop, a few
    times a second at most, and must not block.
    """

    def __init__(
        self,
        *,
        name: str,
        connector: Connector,
        outbox: Outbox,
        now_ns: Callable[[], int],
        rng: random.Random,
        settings: ForwarderSettings | None = None,
        timings: ForwarderTimings | None = None,
        on_status: Callable[[TargetStatus], None] | None = None,
    ) -> None:
        self._name = name
        self._connector = connector
        self._outbox = outbox
        self._now_ns = now_ns
        self._rng = rng
        self._settings = settings or ForwarderSettings()
        self._timings = timings or ForwarderTimings()
        self._on_status = on_status
        self._can = connector.capabilities
        self._policy = Policy(self._settings, self._timings, self._can)
        self._wake = asyncio.Event()
        self._under_way: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._draining = False
        self._started_ns = now_ns()
        self._failures = 0
        self._paused_until_ns = 0
        self._probe_first = False
        self._link = Link.UNKNOWN
        self._link_since_ns = self._started_ns
        self._last_error = ""
        self._last_posted_ns: int | None = None
        self._status = TargetStatus(name, Link.UNKNOWN, self._started_ns, 0, 0, 0, 0, 0, None, None, "", None)
        self._status_due = True
        self._status_at_s = float("-inf")

    @property
    def status(self) -> TargetStatus:
        """The last status."""
        return self._status

    def wake(self) -> None:
        """Something was committed, or decided by a person: look now, and count again what waits."""
        self._status_due = True
        self._wake.set()

    async def run(self) -> None:
        """Forward until drained or cancelled. When cancelled, what is under way stays *sending*."""
        try:
            while not self._draining:
                self._wake.clear()
                try:
                    if self._last_posted_ns is None:
                        self._last_posted_ns = await self._outbox.last_posted_ns(self._name)
                    deadline_ns = await self._cycle()
                    await self._publish(deadline_ns)
                except StoreError as error:
                    self._trouble(f"the buffer: {error}")
                    deadline_ns = self._now_ns() + NS_PER_S
                await self._rest(deadline_ns)
        except asyncio.CancelledError:
            await self._abandon()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, give what is under way so many seconds, and leave the rest as *sending*."""
        self._draining = True
        self._wake.set()
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=grace_s)
        await self._abandon()

    async def _abandon(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cycle(self) -> int | None:
        """Start what may start now; returns when to look again, None: when something happens."""
        now_ns = self._now_ns()
        if now_ns < self._paused_until_ns:
            return self._paused_until_ns
        if self._probe_first and not await self._probed():
            return self._paused_until_ns
        # One posting alone finds out whether the target is back.
        limit = self._settings.parallel_lanes if self._link is Link.UP and not self._failures else 1
        room = limit - len(self._under_way)
        if room > 0:
            # Read before the query: an entry of a lane that ends meanwhile would be a stale image of it.
            busy = frozenset(self._under_way)
            by_order = self._can.lane_by_order
            entries = await self._outbox.due(self._name, now_ns, room + len(busy), lane_by_order=by_order)
            for entry in [entry for entry in entries if self._lane(entry) not in busy][:room]:
                self._start(entry)
        if len(self._under_way) >= limit:
            return None
        return await self._outbox.next_due_ns(self._name, now_ns)

    async def _rest(self, deadline_ns: int | None) -> None:
        now_ns = self._now_ns()
        wait_s = max(min(deadline_ns or now_ns + IDLE_NS, now_ns + IDLE_NS) - now_ns, 0) / NS_PER_S
        if self._status_due:
            wait_s = min(wait_s, STATUS_INTERVAL_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _lane(self, entry: OutboxEntry) -> tuple[str, ...]:
        by_order = self._can.lane_by_order and entry.kind != ACK
        return (entry.order,) if by_order else entry.lane

    def _start(self, entry: OutboxEntry) -> None:
        lane = self._lane(entry)
        task = asyncio.create_task(self._work(entry), name=f"{self._name}: {entry.key}")
        self._under_way[lane] = task

        def ended(_task: asyncio.Task[None]) -> None:
            del self._under_way[lane]
            self._status_due = True
            self._wake.set()

        task.add_done_callback(ended)

    async def _work(self, entry: OutboxEntry) -> None:
        try:
            # Told twice an answer says nothing else.
            repeatable = entry.state is OutboxState.UNCERTAIN and (self._can.idempotent or entry.kind == ACK)
            if repeatable or entry.state in SENT_FROM:
                await self._deliver(entry)
            elif self._can.can_lookup:
                await self._look_up(entry)
            else:
                await self._settle(entry, cannot_know(entry, self._now_ns()))
        except OutboxError as error:
            # A person changed it meanwhile; the next cycle sees it as it is now.
            _log.info("posting changed meanwhile", target=self._name, key=entry.key, error=str(error))
        except StoreError as error:
            await self._not_begun(entry, error)

    async def _deliver(self, entry: OutboxEntry) -> None:
        message: Rendered | None = None
        if entry.body is None:
            try:
                message = self._connector.render(json.loads(entry.payload))
            except Exception as error:  # noqa: BLE001 - a connector that cannot render must not stop other lanes
                text = str(error) if isinstance(error, MappingError) else f"the connector failed: {error!r}"
                await self._settle(entry, self._sent(entry, Outcome(OutcomeKind.MAPPING, text)))
                return
        repeat = entry.state is OutboxState.UNCERTAIN
        entry = await self._outbox.begin_send(entry.id, message, self._now_ns(), repeat_uncertain=repeat)
        await self._settle(entry, self._sent(entry, await self._send(_posting(entry))))

    async def _send(self, posting: Posting) -> Outcome:
        limit_s = self._timings.send_timeout_ns / NS_PER_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._connector.send(posting)
        except TimeoutError:
            return Outcome(OutcomeKind.UNCERTAIN, f"no end within {limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a connector raises, the posting may have arrived
            return Outcome(OutcomeKind.UNCERTAIN, f"the connector failed: {error!r}")

    def _sent(self, entry: OutboxEntry, outcome: Outcome) -> Decision:
        return self._policy.after_send(entry, outcome, self._now_ns())

    async def _look_up(self, entry: OutboxEntry) -> None:
        entry = await self._outbox.begin_lookup(entry.id, self._now_ns())
        limit_s = self._timings.send_timeout_ns / NS_PER_S
        try:
            async with asyncio.timeout(limit_s):
                lookup = await self._connector.lookup(_posting(entry))
        except TimeoutError:
            lookup = Lookup(LookupKind.UNKNOWN, detail=f"no end within {limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a connector raises, nothing was found out
            lookup = Lookup(LookupKind.UNKNOWN, detail=f"the connector failed: {error!r}")
        decision = self._policy.after_lookup(entry, lookup, self._now_ns(), started_ns=self._started_ns)
        await self._settle(entry, decision)

    async def _settle(self, entry: OutboxEntry, decision: Decision) -> None:
        """Carry out a decision; what is known of a posting is kept in hand until the buffer has it."""
        self._follow(entry, decision)
        while True:
            try:
                await self._outbox.settle(entry.id, decision.settlement, self._now_ns())
            except OutboxError:
                raise
            except StoreError as error:
                self._trouble(f"the buffer: {error}")
                await asyncio.sleep(BUFFER_RETRY_S)
            else:
                return

    async def _not_begun(self, entry: OutboxEntry, error: StoreError) -> None:
        # The mark may be there although its commit reported an error; nothing was sent in either case.
        self._trouble(f"the buffer: {error}")
        self._pause(0)
        while True:
            try:
                found = await self._outbox.entry(entry.id)
                if found is not None and found.state is OutboxState.SENDING:
                    outcome = Outcome(OutcomeKind.NOT_SENT, f"the buffer: {error}")
                    await self._outbox.settle(entry.id, self._sent(found, outcome).settlement, self._now_ns())
            except StoreError as again:
                self._trouble(f"the buffer: {again}")
                await asyncio.sleep(BUFFER_RETRY_S)
            else:
                return

    def _follow(self, entry: OutboxEntry, decision: Decision) -> None:
        settlement = decision.settlement
        if settlement.error_text and (decision.pause is not Pause.NONE or settlement.state in _SHOWN):
            self._trouble(f"{settlement.error_kind}: {settlement.error_text}")
        if decision.reached is not None:
            self._linked(Link.UP if decision.reached else Link.DOWN)
        if decision.pause is Pause.NONE:
            if decision.reached:
                self._failures = 0
        elif decision.pause is Pause.AUTH:
            self._failures += 1
            self._probe_first = True
            self._paused_until_ns = max(self._paused_until_ns, self._now_ns() + self._settings.auth_probe_ns)
        else:
            self._pause(decision.retry_after_ns)
        if settlement.state is OutboxState.POSTED:
            self._last_posted_ns = self._now_ns()
        elif settlement.state is OutboxState.PARKED:
            _log.error("posting parked", target=self._name, key=entry.key, error=settlement.error_text)

    def _pause(self, at_least_ns: int) -> None:
        now_ns = self._now_ns()
        if now_ns >= self._paused_until_ns:
            # Failures of lanes that were under way together are one failure.
            self._failures += 1
        ceiling_ns = self._policy.doubling_ns(self._failures)
        pause_ns = max(self._rng.randint(0, ceiling_ns), self._timings.backoff_min_ns, at_least_ns)
        if now_ns >= self._paused_until_ns or at_least_ns:
            self._paused_until_ns = max(self._paused_until_ns, now_ns + pause_ns)

    async def _probed(self) -> bool:
        limit_s = self._timings.send_timeout_ns / NS_PER_S
        try:
            async with asyncio.timeout(limit_s):
                health = await self._connector.probe()
            ok, detail = health.ok, health.detail
        except Exception as error:  # noqa: BLE001 - a probe that fails in any way means: wait on
            ok, detail = False, f"the probe failed: {error!r}"
        if ok:
            self._probe_first = False
            return True
        self._trouble(detail)
        self._paused_until_ns = self._now_ns() + self._settings.auth_probe_ns
        return False

    def _trouble(self, text: str) -> None:
        self._last_error = text
        self._status_due = True
        _log.warning("target in trouble", target=self._name, error=text)

    def _linked(self, link: Link) -> None:
        if link is not self._link:
            self._link, self._link_since_ns = link, self._now_ns()
            self._status_due = True
            _log.info("target link", target=self._name, link=link.value)

    async def _publish(self, deadline_ns: int | None) -> None:
        at_s = asyncio.get_running_loop().time()
        if not self._status_due or at_s - self._status_at_s < STATUS_INTERVAL_S:
            return
        self._status_at_s = at_s
        self._status_due = False
        counts = await self._outbox.counts(self._name)
        if (counts.parked or counts.answers_parked) and not self._last_error:
            # Parked in an earlier run: the reason is a person's first question, and only the outbox remembers it.
            parked = await self._outbox.page(target=self._name, state=OutboxState.PARKED, limit=1)
            self._last_error = f"{parked[0].error_kind}: {parked[0].error_text}" if parked else ""
        latencies_ns = await self._outbox.latencies_ns(self._name)
        figure = figures(latencies_ns, self._settings.late_after_ns)
        status = TargetStatus(
            name=self._name,
            link=self._link,
            since_ns=self._link_since_ns,
            waiting=counts.waiting,
            uncertain=counts.uncertain,
            parked=counts.parked,
            accepted=counts.accepted,
            posted=counts.posted,
            oldest_waiting_ns=counts.oldest_created_ns,
            last_posted_ns=self._last_posted_ns,
            last_error=self._last_error,
            next_retry_ns=deadline_ns if self._failures else None,
            held=counts.held,
            needs_approval=counts.needs_approval,
            latency_last_ns=latencies_ns[0] if latencies_ns else None,
            latency_median_ns=None if figure.median_ns is None else math.floor(figure.median_ns),
            late=figure.late,
            late_after_ns=self._settings.late_after_ns,
            answers_waiting=counts.answers_waiting,
            answers_parked=counts.answers_parked,
        )
        if status != self._status:
            self._status = status
            if self._on_status is not None:
                self._on_status(status)


def _posting(entry: OutboxEntry) -> Posting:
    if entry.body is None or entry.content_type is None or entry.name is None:
        raise OutboxError(f"outbox, {entry.key}: has no message; it cannot be sent or looked up")
    rendered = Rendered(entry.body, entry.content_type, entry.name)
    lane = (entry.order, entry.operation, entry.seq)
    return Posting(entry.key, entry.message_id, *lane, entry.attempts, rendered, entry.kind)
