"""Supervises one target: which posting goes when, and what is done about how it ended.

It is the only place of a target where any exception is caught: a connector that fails must not stop the others. It
decides nothing about outcomes (``policy``) and knows no protocol (connectors).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import structlog

from buffer.entry import THERE, OutboxState
from buffer.errors import StoreError
from gateway.connectors.base import OutcomeKind
from gateway.core.confirming.stamps import figures, stages_p95
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.orders.erp_notice import BESIDE
from gateway.forwarder.breaker import Breaker, BreakerState
from gateway.forwarder.budget import FailureBudget
from gateway.forwarder.lane_work import LaneWork, Target
from gateway.forwarder.pacing import Due, Pacer
from gateway.forwarder.policy import Decision, ForwarderSettings, ForwarderTimings, Pause, Policy, for_a_person
from gateway.forwarder.sweeping import Sweeper
from gateway.forwarder.target_status import Link, TargetStatus

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from buffer.entry import OutboxEntry
    from buffer.outbox import Outbox
    from gateway.connectors.base import Connector, Outcome

#: Without any sign the forwarder looks by itself; wake() is what makes it quick.
IDLE_NS: Final = Duration("30 s")
STATUS_INTERVAL_S: Final = 0.2
#: What is made now is looked for before what was read earlier is used up, but not more often than this.
NEWS_NS: Final = Duration("100 ms")
#: So many heads of each kind are read at a time.
LOOK_MAX: Final = 64
#: What a target says with a booking (a warning) is logged so often at most.
TOLD_PAUSE_NS: Final = Duration("1 min")

#: Where a posting stands still for a reason that a person should see.
_SHOWN: Final = frozenset({OutboxState.PARKED, OutboxState.RETRY_WAIT})

_TRIED: Final = frozenset({OutboxState.RETRY_WAIT, OutboxState.UNCERTAIN, OutboxState.ACCEPTED})

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
        budget: FailureBudget | None = None,
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
        self._entries: dict[tuple[str, ...], OutboxEntry] = {}
        self._draining = False
        self._started_ns = now_ns()
        self._breaker = Breaker(self._policy, budget or FailureBudget(), rng, self._started_ns)
        self._pacer = Pacer(self._settings.parallel_lanes, self._settings.backlog_rate, self._lane)
        self._stale = True
        self._look_ns = 0
        self._news = False
        self._looked_ns = 0
        self._ask_accepted = False
        self._ask_after: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        self._trial: asyncio.Task[None] | None = None
        self._buffer_until_ns = 0
        self._link = Link.UNKNOWN
        self._link_since_ns = self._started_ns
        self._last_error = ""
        self._last_posted_ns: int | None = None
        self._told_again_ns = 0
        self._status = TargetStatus(name, Link.UNKNOWN, self._started_ns, 0, 0, 0, 0, 0, None, None, "", None)
        self._status_due = True
        self._status_at_s = float("-inf")
        self._sweeper = Sweeper(name, connector, outbox)
        self._target = Target(
            name=name,
            connector=connector,
            outbox=outbox,
            policy=self._policy,
            now_ns=now_ns,
            rng=rng,
            send_timeout_ns=self._timings.send_timeout_ns,
            started_ns=self._started_ns,
            follow=self._follow,
            buffer_trouble=self._buffer_trouble,
            may_follow=self._may_follow,
        )

    @property
    def status(self) -> TargetStatus:
        """The last status."""
        return self._status

    @property
    def is_busy(self) -> bool:
        """Whether anything is on its way, or asked about."""
        return bool(self._under_way)

    def wake(self) -> None:
        """Something was committed, or decided by a person: look now, and count again what waits."""
        self._status_due = True
        self._stale = True
        self._news = True
        self._wake.set()

    def accepted_changed(self) -> None:
        """The target has news of what it accepted (an acknowledgement came): ask now what is accepted.

        What is on its way is asked about once it is accepted: its acknowledgement may come before the end of its send.
        """
        self._ask_accepted = True
        self._ask_after.update(self._under_way.values())
        self.wake()

    async def run(self) -> None:
        """Forward until drained or cancelled. When cancelled, what is under way stays *sending*."""
        try:
            while not self._draining:
                self._wake.clear()
                if self._fault is not None:
                    # What it worked on stays *sending*: only a restart finds out how that ended.
                    raise self._fault
                try:
                    if self._last_posted_ns is None:
                        self._last_posted_ns = await self._outbox.last_posted_ns(self._name)
                    deadline_ns = await self._cycle()
                    await self._publish(deadline_ns)
                    self._sweeper.start()
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
        await self._sweeper.end()

    async def _cycle(self) -> int | None:
        """Start what may start now; returns when to look again, None: when something happens."""
        now_ns = self._now_ns()
        breaker = self._breaker
        if now_ns < self._buffer_until_ns:
            return self._buffer_until_ns
        if not breaker.allows(now_ns):
            return breaker.next_try_ns
        if wait_ns := breaker.wait_ns(now_ns):
            return now_ns + wait_ns
        if breaker.probe_first and not await self._probed():
            return breaker.next_try_ns
        if self._news and self._room() > 0 and now_ns - self._looked_ns >= NEWS_NS:
            await self._look(now_ns)
        room = self._room()
        started = self._start_some(room)
        if started < room and (self._stale or now_ns >= self._look_ns):
            await self._look(now_ns)
            started += self._start_some(self._room())
        if self._room() <= 0:
            return None
        due_ns = await self._outbox.next_due_ns(self._name, now_ns)
        self._look_ns = min(due_ns or now_ns + IDLE_NS, now_ns + IDLE_NS)
        return min((at_ns for at_ns in (due_ns, self._pacer.next_ns) if at_ns is not None), default=None)

    def _room(self) -> int:
        """How many more may be under way: where the target is doubted, one trial."""
        if self._breaker.state is BreakerState.CLOSED:
            return self._settings.parallel_lanes - len(self._under_way)
        return 0 if self._trial is not None and not self._trial.done() else 1

    async def _look(self, now_ns: int) -> None:
        """Read which heads are due. An entry of a lane that ends meanwhile would be a stale image of it: left out."""
        self._stale = self._news = False
        self._looked_ns = now_ns
        if self._ask_accepted:
            self._ask_accepted = False
            try:
                await self._outbox.accepted_due(self._name, now_ns)
            except StoreError:
                self._ask_accepted = True
                raise
        busy = frozenset(self._under_way)
        due = await self._outbox.due_kinds(
            self._name, now_ns, LOOK_MAX + len(busy), lane_by_order=self._can.lane_by_order
        )
        self._pacer.fill(Due(*([one for one in entries if self._lane(one) not in busy] for entries in due)))

    def _start_some(self, room: int) -> int:
        """Start up to so many; how many there were."""
        now_ns, started = self._now_ns(), 0
        while started < room:
            if self._breaker.state is BreakerState.CLOSED:
                tried = sum(entry.state in _TRIED for entry in self._entries.values())
                entry = self._pacer.choose(self._under_way, tried, now_ns)
            else:
                entry = self._pacer.trial(self._under_way, now_ns)
            if entry is None:
                break
            self._start(entry)
            started += 1
        return started

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
        by_order = self._can.lane_by_order and entry.kind not in BESIDE
        lane = (entry.order,) if by_order else entry.lane
        # What lets others of its lane go is asked about beside them.
        return (*lane, str(entry.id)) if entry.passed else lane

    def _start(self, entry: OutboxEntry) -> None:
        lane = self._lane(entry)
        task = asyncio.create_task(LaneWork(self._target).run(entry), name=f"{self._name}: {entry.key}")
        self._breaker.begun(self._now_ns())
        self._under_way[lane] = task
        self._entries[lane] = entry
        if self._breaker.state is BreakerState.HALF_OPEN:
            self._trial = task

        def ended(task: asyncio.Task[None]) -> None:
            del self._under_way[lane]
            del self._entries[lane]
            if task in self._ask_after:
                self._ask_after.discard(task)
                self._ask_accepted = True
            if not task.cancelled() and self._fault is None:
                self._fault = task.exception()
            self._stale = True
            self._status_due = True
            self._wake.set()

        task.add_done_callback(ended)

    def _may_follow(self, entry: OutboxEntry) -> bool:
        healthy = self._breaker.state is BreakerState.CLOSED and not self._draining
        return healthy and self._pacer.may_follow(entry, self._now_ns())

    def _buffer_trouble(self, error: StoreError) -> None:
        self._trouble(f"the buffer: {error}")
        self._buffer_until_ns = self._now_ns() + NS_PER_S

    def _follow(self, entry: OutboxEntry, decision: Decision, outcome: Outcome | None) -> None:
        settlement, now_ns = decision.settlement, self._now_ns()
        if settlement.error_text and (decision.pause is not Pause.NONE or settlement.state in _SHOWN):
            self._trouble(f"{settlement.error_kind}: {settlement.error_text}")
        if decision.reached is not None:
            self._linked(Link.UP if decision.reached else Link.DOWN)
        before = self._breaker.state
        if decision.pause is Pause.AUTH:
            self._breaker.refused(now_ns, self._settings.auth_probe_ns)
        elif decision.pause is Pause.BACKOFF:
            at_once = outcome is not None and outcome.kind is OutcomeKind.PROTOCOL
            lane = self._lane(entry) if decision.reached is None else None
            self._breaker.failed(now_ns, lane=lane, at_once=at_once, at_least_ns=decision.retry_after_ns)
        elif decision.reached:
            self._breaker.succeeded(now_ns)
        if self._breaker.state is not before:
            _log.info("target breaker", target=self._name, state=self._breaker.state.value)
        self._status_due = True
        if settlement.state in THERE:
            self._last_posted_ns = now_ns
            if outcome is not None and outcome.detail and now_ns >= self._told_again_ns:
                self._told_again_ns = now_ns + TOLD_PAUSE_NS
                _log.info("target says with a booking", target=self._name, key=entry.key, detail=outcome.detail)
        what = for_a_person(settlement)
        if what:
            _log.error(what, target=self._name, key=entry.key, error=settlement.error_text)

    async def _probed(self) -> bool:
        limit_s = self._timings.send_timeout_ns / NS_PER_S
        try:
            async with asyncio.timeout(limit_s):
                health = await self._connector.probe()
            ok, detail = health.ok, health.detail
        except Exception as error:  # noqa: BLE001 - a probe that fails in any way means: wait on
            ok, detail = False, f"the probe failed: {error!r}"
        if ok:
            self._breaker.probe_first = False
            return True
        self._trouble(detail)
        self._breaker.refused(self._now_ns(), self._settings.auth_probe_ns)
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
        if (counts.parked or counts.answers_parked or counts.notices_parked) and not self._last_error:
            # Parked in an earlier run: the reason is a person's first question, and only the outbox remembers it.
            parked = await self._outbox.page(target=self._name, state=OutboxState.PARKED, limit=1)
            self._last_error = f"{parked[0].error_kind}: {parked[0].error_text}" if parked else ""
        answered = await self._outbox.answered(self._name)
        latencies_ns = [max(one.latency_ns or 0, 0) for one in answered]
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
            next_retry_ns=self._breaker.next_try_ns or (deadline_ns if self._breaker.failures else None),
            held=counts.held,
            needs_approval=counts.needs_approval,
            goods_errors=counts.goods_errors,
            latency_last_ns=latencies_ns[0] if latencies_ns else None,
            latency_median_ns=None if figure.median_ns is None else math.floor(figure.median_ns),
            latency_p95_ns=figure.p95_ns,
            stages_p95=stages_p95(answered),
            late=figure.late,
            late_after_ns=self._settings.late_after_ns,
            breaker=self._breaker.state.value,
            breaker_since_ns=self._breaker.since_ns,
            failures=self._breaker.failures,
            last_success_ns=self._breaker.last_success_ns,
            answers_waiting=counts.answers_waiting,
            answers_parked=counts.answers_parked,
            notices_waiting=counts.notices_waiting,
            notices_parked=counts.notices_parked,
            delivered=counts.delivered,
        )
        if status != self._status:
            self._status = status
            if self._on_status is not None:
                self._on_status(status)
