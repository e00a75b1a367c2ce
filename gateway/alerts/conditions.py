"""What is so now that a person should know, each as one condition. Pure; what is known is handed in.

It does not know what was told already: ``digest.py`` does.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.duration import Duration
from gateway.core.foreign_text import clean
from gateway.order_feed import FETCH_FAILS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Postings of one kind that are known one by one; of more only the number counts.
POSTINGS_MAX: Final = 1000
#: Postings that a text names.
NAMED_MAX: Final = 5
SUBJECT_MAX_CHARS: Final = 100
TEXT_MAX_CHARS: Final = 400
WHY_MAX_CHARS: Final = 120
#: What the status calls degraded and is told as something else, or by ourselves.
TOLD_OTHERWISE: Final = ("target ", "alerts")


class Kind(enum.StrEnum):
    """What sort of thing it is; the words of the setting ``tell``."""

    PARKED = "parked"
    APPROVAL = "approval"
    LINK_DOWN = "link_down"
    DEGRADED = "degraded"


class Condition(NamedTuple):
    """Something that is so, so many times. ``since_ns``: steady time.

    ``postings``: the ids of those that are known one by one, newest first.
    """

    kind: Kind
    subject: str
    text: str
    since_ns: int
    number: int = 1
    postings: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """The same thing later has the same key."""
        return f"{self.kind}:{self.subject}"


class Seen(NamedTuple):
    """One look. ``unclear``: kinds, or keys, of which nobody knows now; what was told of them stays as it is."""

    conditions: tuple[Condition, ...]
    unclear: frozenset[str] = frozenset()

    def is_unclear(self, key: str) -> bool:
        """Whether it may be so or not."""
        return key in self.unclear or key.partition(":")[0] in self.unclear


class Waiting(NamedTuple):
    """A posting that waits for a person."""

    id: int
    order: str
    operation: str
    seq: int
    error_code: str
    error_text: str
    created_ns: int


class LinkSeen(NamedTuple):
    """One link: ``up`` is None while nobody knows. ``since_ns``: since when it is so; None: not known."""

    subject: str
    up: bool | None
    since_ns: int | None
    why: str


def waiting(kind: Kind, rows: Mapping[str, Sequence[Waiting]], counts: Mapping[str, int]) -> list[Condition]:
    """A condition for each target of which postings are parked, or need approval; of the newest ones their rows."""
    found = []
    for target, count in sorted(counts.items()):
        own = rows[target]
        if not own:  # decided between the two questions
            continue
        told = "; ".join(_named(kind, row) for row in own[:NAMED_MAX])
        more = f" and {count - NAMED_MAX} more" if count > NAMED_MAX else ""
        what, todo = (
            ("parked", "linegate outbox list --state parked")
            if kind is Kind.PARKED
            else ("beyond a tolerance, waiting for approval", "linegate outbox list --state needs_approval")
        )
        text = f"{count} confirmation{'s' * (count != 1)} {what}: {told}{more}; see {todo}"
        oldest_ns = min(row.created_ns for row in own)
        found.append(
            Condition(kind, f"target {target}", text, oldest_ns, count, tuple(row.id for row in own[:POSTINGS_MAX]))
        )
    return found


def links(seen: Iterable[LinkSeen], now_ns: int, after_ns: int) -> Seen:
    """Links that have been down for long enough; shorter ones, and those nobody has tried yet, are unclear."""
    found, unclear = [], set()
    for one in seen:
        since_ns = now_ns if one.since_ns is None else one.since_ns
        down = Condition(Kind.LINK_DOWN, one.subject, "", since_ns)
        if one.up is None or (not one.up and now_ns - since_ns < after_ns):
            unclear.add(down.key)
        elif not one.up:
            lasts = length(now_ns - since_ns)
            text = f"down for {lasts}: {clean(one.why, WHY_MAX_CHARS) or 'no reason known'}; what is made waits"
            found.append(down._replace(text=text))
    return Seen(tuple(found), frozenset(unclear))


def degraded(texts: Iterable[str], began_ns: dict[str, int], now_ns: int) -> list[Condition]:
    """What the status calls degraded, one for each part that says so. ``began_ns``: by subject, kept between looks."""
    found: dict[str, Condition] = {}
    for text in texts:
        subject, _, said = text.partition(":")
        if subject.startswith(TOLD_OTHERWISE) or said.strip().startswith(FETCH_FAILS):
            continue
        subject = clean(subject, SUBJECT_MAX_CHARS)
        before = found.get(subject)
        since_ns = began_ns.get(subject, now_ns)
        one = Condition(Kind.DEGRADED, subject, clean(said.strip() or text, TEXT_MAX_CHARS), since_ns)
        found[subject] = one if before is None else before._replace(number=before.number + 1)
    began_ns.clear()
    began_ns.update({subject: one.since_ns for subject, one in found.items()})
    return list(found.values())


def length(length_ns: int) -> str:
    """A length of time for a person, in its two largest units."""
    minutes = max(length_ns, 0) // Duration("1 min")
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{max(length_ns, 0) // Duration('1 s')} s"


def _named(kind: Kind, row: Waiting) -> str:
    place = clean(f"{row.order}/{row.operation} number {row.seq}", SUBJECT_MAX_CHARS)
    if kind is not Kind.PARKED:
        return place
    why = " ".join(filter(None, (row.error_code, row.error_text)))
    return f"{place} ({clean(why, WHY_MAX_CHARS)})" if why else place
