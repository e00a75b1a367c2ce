"""What is news for a channel, when it is told, and what is then known there. Pure; the time is handed in.

Everything that came since the last message is one message: 500 parked postings are one line of it. What came and went
in between is never told. It writes no text: ``message.py`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.alerts.conditions import POSTINGS_MAX, Condition, Kind
from gateway.core.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.alerts.conditions import Seen

#: What comes within this time of the first news goes into the same message.
GATHER_NS: Final = Duration("2 s")
#: A room is told of so many things; what is beyond waits until some of them are over.
TOLD_MAX: Final = 500


class More(NamedTuple):
    """It was told, and has grown by so much since."""

    condition: Condition
    added: int


class Digest(NamedTuple):
    """One message. ``still``: told before, and as it was."""

    new: tuple[Condition, ...]
    more: tuple[More, ...]
    resolved: tuple[Condition, ...]
    still: tuple[Condition, ...]

    @property
    def is_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.new or self.more or self.resolved)


class Known(NamedTuple):
    """What a channel knows: the last condition it was told under each key; steady time of its last message."""

    told: Mapping[str, Condition]
    sent_ns: int | None = None


class Watched:
    """One channel: what it was told, and what it would be told now. ``kinds``: what it wants to hear of."""

    def __init__(self, known: Known, *, kinds: Collection[str], every_ns: int, resolved_after_ns: int) -> None:
        self.known = known
        self._kinds = frozenset(kinds)
        self._every_ns = every_ns
        self._resolved_after_ns = resolved_after_ns
        self._gone_ns: dict[str, int] = {}
        self._news_ns: int | None = None

    def look(self, seen: Seen, now_ns: int) -> Digest:
        """What it has not heard yet; what it knows of postings that have left is forgotten at once."""
        here = {one.key: one for one in seen.conditions if one.kind in self._kinds}
        told = dict(self.known.told)
        new, more, resolved, still = [], [], [], []
        for key, one in here.items():
            before = told.get(key)
            if before is None:
                new.append(one)
                continue
            added = _added(before, one)
            if added:
                more.append(More(one, added))
            else:
                still.append(one)
                if before.number != one.number or before.postings != one.postings:
                    told[key] = before._replace(number=one.number, postings=one.postings)
        for key, before in told.items():
            if self._is_over(key, before, here, seen, now_ns):
                resolved.append(before)
        self.known = self.known._replace(told=told)
        room = max(TOLD_MAX - len(told), 0)
        found = Digest(tuple(new[:room]), tuple(more), tuple(resolved), tuple(still))
        self._news_ns = (now_ns if self._news_ns is None else self._news_ns) if found.is_news else None
        return found

    def is_due(self, now_ns: int) -> bool:
        """Whether what the last look found may be told now."""
        if self._news_ns is None or now_ns - self._news_ns < GATHER_NS:
            return False
        # A time that lies ahead is of a clock that was wrong: it holds nobody up.
        sent_ns = self.known.sent_ns
        return sent_ns is None or not 0 <= now_ns - sent_ns < self._every_ns

    def was_told(self, digest: Digest, now_ns: int) -> None:
        """The message has arrived."""
        told = dict(self.known.told)
        for one in (*digest.new, *(more.condition for more in digest.more)):
            told[one.key] = one
        for gone in digest.resolved:
            told.pop(gone.key, None)
            self._gone_ns.pop(gone.key, None)
        self.known = Known(told, now_ns)
        self._news_ns = None

    def _is_over(self, key: str, before: Condition, here: Mapping[str, Condition], seen: Seen, now_ns: int) -> bool:
        if key in here:
            self._gone_ns.pop(key, None)
            return False
        if before.kind not in self._kinds:  # it is not told of it any more
            return True
        if seen.is_unclear(key):
            self._gone_ns.pop(key, None)
            return False
        return now_ns - self._gone_ns.setdefault(key, now_ns) >= self._resolved_after_ns


def _added(before: Condition, now: Condition) -> int:
    """By how much it has grown: postings that were not there, or a larger number."""
    if now.kind not in {Kind.PARKED, Kind.APPROVAL}:
        return 0
    new = len(set(now.postings) - set(before.postings))
    # Beyond the limit, older ones come into the list when newer ones leave it.
    if max(now.number, before.number) > POSTINGS_MAX:
        return max(now.number - before.number, 0)
    return new


def to_json(known: Known) -> dict[str, Any]:
    """For the file."""
    return {"sent_ns": known.sent_ns, "told": [one._asdict() for one in known.told.values()]}


def from_json(document: Any) -> Known:
    """Raises ValueError, KeyError, TypeError for what ``to_json`` did not write."""
    told = {}
    for row in document["told"][:TOLD_MAX]:
        postings = tuple(int(one) for one in row["postings"][:POSTINGS_MAX])
        one = Condition(
            Kind(row["kind"]), str(row["subject"]), str(row["text"]), int(row["since_ns"]), int(row["number"]), postings
        )
        told[one.key] = one
    sent_ns = document["sent_ns"]
    return Known(told, None if sent_ns is None else int(sent_ns))
