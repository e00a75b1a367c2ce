"""Gathers what is so now from the parts and the database, as conditions. Decides nothing and tells nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buffer.entry import OutboxState
from buffer.errors import StoreError
from buffer.outbox_pages import standing_query
from gateway.alerts import conditions
from gateway.alerts.conditions import POSTINGS_MAX, Condition, Kind, LinkSeen, Seen, Waiting
from gateway.forwarder.breaker import BreakerState
from gateway.forwarder.target_status import Link

if TYPE_CHECKING:
    from buffer.store import Store
    from gateway.forwarder.target_status import TargetStatus
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

_COUNTS: Final = "SELECT target, postings FROM outbox_tally WHERE state = ? AND postings > 0"
_STATES: Final = {Kind.PARKED: OutboxState.PARKED, Kind.APPROVAL: OutboxState.NEEDS_APPROVAL}


class Watching:
    """One gateway. ``link_down_after_ns``: a shorter loss of a link is none."""

    def __init__(self, parts: Parts, store: Store, clock: SteadyClock, link_down_after_ns: int) -> None:
        self._parts = parts
        self._store = store
        self._clock = clock
        self._link_down_after_ns = link_down_after_ns
        self._degraded_ns: dict[str, int] = {}
        #: Since when a feed gets no answer; it does not say so itself.
        self._feed_down_ns: dict[str, int] = {}

    async def look(self) -> Seen:
        """Everything at this moment; what cannot be read is unclear."""
        now_ns = self._clock.now_ns()
        found: list[Condition] = []
        unclear: set[str] = set()
        for kind in _STATES:
            try:
                found += await self._waiting(kind)
            except StoreError:  # it is told as degraded
                unclear.add(kind.value)
        linked = conditions.links([*self._targets(), *self._feeds(now_ns)], now_ns, self._link_down_after_ns)
        texts = await self._degraded()
        found += [*linked.conditions, *conditions.degraded(texts, self._degraded_ns, now_ns)]
        return Seen(tuple(found), frozenset(unclear) | linked.unclear)

    async def _waiting(self, kind: Kind) -> list[Condition]:
        state = _STATES[kind]
        counts = {str(target): int(number) for target, number in await self._store.read(_COUNTS, (state.value,))}
        query = standing_query(state)
        rows = {
            target: [Waiting._make(row) for row in await self._store.read(query, (target, POSTINGS_MAX))]
            for target in counts
        }
        return conditions.waiting(kind, rows, counts)

    async def _degraded(self) -> tuple[str, ...]:
        try:
            if self._parts.buffer is not None:
                return (await self._parts.buffer()).degraded
        except StoreError as error:
            return (f"buffer: {error}", *self._parts.troubles())
        return self._parts.troubles()

    def _targets(self) -> list[LinkSeen]:
        return [_link(name, forwarder.status) for name, forwarder in self._parts.forwarders.items()]

    def _feeds(self, now_ns: int) -> list[LinkSeen]:
        """Where orders come from. A target that is known to be down is told of as such, once."""
        found = []
        for name, feed in self._parts.feeds.items():
            up = feed.status.up
            if up is not False:
                self._feed_down_ns.pop(name, None)
            since_ns = None if up is not False else self._feed_down_ns.setdefault(name, now_ns)
            forwarder = self._parts.forwarders.get(name)
            if forwarder is not None and forwarder.status.link is Link.DOWN:
                up = None
            found.append(LinkSeen(f"orders of {name}", up, since_ns, feed.status.last_error))
        return found


def _link(name: str, status: TargetStatus) -> LinkSeen:
    if status.link is Link.DOWN:
        return LinkSeen(f"target {name}", up=False, since_ns=status.since_ns, why=status.last_error)
    if status.failures and status.breaker != BreakerState.CLOSED:  # it answers, and takes nothing
        return LinkSeen(f"target {name}", up=False, since_ns=status.breaker_since_ns, why=status.last_error)
    up = True if status.link is Link.UP else None
    return LinkSeen(f"target {name}", up=up, since_ns=status.since_ns, why="")
