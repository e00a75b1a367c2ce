"""Which of the postings that are due goes next, so that a backlog does not hold up what is made now. Pure.

Three kinds take turns for each free lane: the newest heads (the orders that run now), the oldest (the backlog), and
those that were tried before. Where one kind has nothing, the others get its turn: no lane is left empty. So with
100,000 old confirmations waiting, what is made now waits for one turn, and the backlog still gets a third of the turns.
What was tried before never has more than half of the lanes: orders that the target cannot digest and that hang until
their time limit delay nobody. What is older than five minutes may be slowed down (``backlog_rate``).
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.connectors.base import OutcomeKind
from gateway.core.duration import NS_PER_S, Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from buffer.entry import OutboxEntry

#: What waits for longer is the backlog.
LIVE_NS: Final = Duration("5 min")


class Kind(enum.Enum):
    """Which list a posting is taken from."""

    NEWEST = "newest"
    OLDEST = "oldest"
    TRIED = "tried"


_TURNS: Final = tuple(Kind)


class Due(NamedTuple):
    """Heads that are due: never tried, newest first and oldest first; and those that were tried, longest due first."""

    newest: Sequence[OutboxEntry] = ()
    oldest: Sequence[OutboxEntry] = ()
    tried: Sequence[OutboxEntry] = ()


class Pacer:
    """Chooses for one target. ``backlog_rate``: old postings in a second, None: as fast as the target takes them."""

    def __init__(
        self, parallel_lanes: int, backlog_rate: int | None, lane_of: Callable[[OutboxEntry], tuple[str, ...]]
    ) -> None:
        self._tried_max = max(parallel_lanes // 2, 1)
        self._interval_ns = NS_PER_S // backlog_rate if backlog_rate else 0
        self._lane_of = lane_of
        self._lists: dict[Kind, deque[OutboxEntry]] = {kind: deque() for kind in Kind}
        self._turn = 0
        self._next_old_ns = 0
        #: Something old was kept back by the rate until then.
        self.next_ns: int | None = None

    def fill(self, due: Due) -> None:
        """These are due now; what was known before is forgotten."""
        for kind, entries in zip(Kind, due, strict=True):
            self._lists[kind] = deque(entries)

    def choose(self, busy: Collection[tuple[str, ...]], tried_under_way: int, now_ns: int) -> OutboxEntry | None:
        """The next one for a free lane. ``busy``: lanes under way; None: nothing that may go now."""
        self.next_ns = None
        for _ in _TURNS:
            kind = _TURNS[self._turn % len(_TURNS)]
            self._turn += 1
            if kind is Kind.TRIED and tried_under_way >= self._tried_max:
                continue
            found = self._first(self._lists[kind], busy, now_ns)
            if found is not None:
                return self._taken(found, now_ns)
        return None

    def trial(self, busy: Collection[tuple[str, ...]], now_ns: int) -> OutboxEntry | None:
        """The one posting that finds out whether the target is back.

        One that surely never arrived goes first: so an outage of days tries few postings, not one after the other.
        """
        self.next_ns = None
        tried = self._lists[Kind.TRIED]
        unsent = deque(one for one in tried if one.error_kind == OutcomeKind.NOT_SENT)
        for entries in (unsent, self._lists[Kind.OLDEST], tried):
            found = self._first(entries, busy, now_ns)
            if found is not None:
                return self._taken(found, now_ns)
        return None

    def may_follow(self, entry: OutboxEntry, now_ns: int) -> bool:
        """Whether the next one of a lane may go right behind the last; it is counted."""
        if not self._may_go(entry, now_ns):
            return False
        self._taken(entry, now_ns)
        return True

    def _first(self, entries: deque[OutboxEntry], busy: Collection[tuple[str, ...]], now_ns: int) -> OutboxEntry | None:
        while entries:
            if not self._may_go(entries[0], now_ns):
                self.next_ns = self._next_old_ns
                return next((one for one in entries if self._is_free(one, busy) and self._may_go(one, now_ns)), None)
            entry = entries.popleft()
            if self._is_free(entry, busy):
                return entry
        return None

    def _is_free(self, entry: OutboxEntry, busy: Collection[tuple[str, ...]]) -> bool:
        return self._lane_of(entry) not in busy

    def _may_go(self, entry: OutboxEntry, now_ns: int) -> bool:
        return not self._is_old(entry, now_ns) or now_ns >= self._next_old_ns

    def _is_old(self, entry: OutboxEntry, now_ns: int) -> bool:
        return self._interval_ns > 0 and now_ns - entry.created_ns > LIVE_NS

    def _taken(self, entry: OutboxEntry, now_ns: int) -> OutboxEntry:
        if self._is_old(entry, now_ns):
            self._next_old_ns = max(self._next_old_ns, now_ns) + self._interval_ns
        for kind, entries in self._lists.items():
            if any(one.id == entry.id for one in entries):
                self._lists[kind] = deque(one for one in entries if one.id != entry.id)
        return entry
