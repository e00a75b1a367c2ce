"""Which orders of a plant are new since a cursor: stamps of changes, an overlap, and what was delivered before. Pure.

A cursor is the stamp up to which everything was read, ``.N`` behind it where orders came later with an equal stamp, and
``+`` where the rest follows at once (``*`` while the very first reading goes on). Asking again with the same cursor
brings the same orders; what was delivered under a cursor that comes back is not delivered again unless it changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import ConnectorError
from gateway.connectors.sap_odata import edm

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Orders remembered at most; more than that in an overlap are delivered again, which does no harm.
SEEN_MAX: Final = 50_000
_CURSOR: Final = re.compile(r"(\d{14})(?:\.(\d{1,9}))?([+*])?")
_METADATA: Final = frozenset({"__metadata", "__deferred"})


class Cursor(NamedTuple):
    """Read up to ``stamp``; ``again`` counts deliveries with an equal stamp; ``more``: the rest follows at once.

    ``first``: the very first reading is not over.
    """

    stamp: str
    again: int = 0
    more: bool = False
    first: bool = False

    def __str__(self) -> str:
        mark = ("*" if self.first else "+") if self.more else ""
        return self.stamp + (f".{self.again}" if self.again else "") + mark


class Seen(NamedTuple):
    """How an order was when it was delivered: stamp, hash of its content, how many changes of that second."""

    stamp: str
    digest: str
    change: int = 0


def cursor_of(text: str) -> Cursor | None:
    """The cursor in a text, None for none. Raises ConnectorError for another form."""
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise ConnectorError(f"orders: cursor: found {text[:40]!r}, allowed: YYYYMMDDhhmmss with .N, + or * behind it")
    return Cursor(match[1], int(match[2] or 0), more=bool(match[3]), first=match[3] == "*")


def lower_bound(cursor: Cursor, overlap_ns: int) -> str:
    """From which stamp on is asked: a part that was read before is read again, for changes that were booked late."""
    return cursor.stamp if cursor.more else edm.stamp_before(cursor.stamp, overlap_ns)


class Memory:
    """What was delivered, under which cursor."""

    def __init__(self) -> None:
        self._kept: dict[str, Seen] = {}
        self._offered: dict[str, Seen] = {}
        self._under = ""
        self._base = ""

    def asked(self, cursor: str) -> None:
        """A cursor comes back: what was delivered under it is committed; another one: it may all be gone."""
        if cursor and cursor == self._under:
            self._kept.update(self._offered)
        elif cursor != self._base:
            self._kept.clear()
        self._base = cursor
        self._offered = {}

    def knows(self, order: str) -> bool:
        """Whether it was delivered."""
        return order in self._kept

    def change_of(self, order: str, stamp: str, digest: str) -> Seen | None:
        """How it is to be delivered; None where it is as it was delivered.

        A stamp that went back (the hour that comes twice, a clock that was set) counts as a change of the second of
        the one before: a revision never goes back.
        """
        before = self._kept.get(order)
        if before is None or before.stamp < stamp:
            return Seen(stamp, digest)
        return None if before.digest == digest else Seen(before.stamp, digest, before.change + 1)

    def offer(self, cursor: str, delivered: Mapping[str, Seen], oldest: str) -> None:
        """It is handed out under this cursor; what is older than ``oldest`` is not asked for again."""
        if len(self._kept) > SEEN_MAX:
            self._kept.clear()
        self._kept = {order: one for order, one in self._kept.items() if one.stamp >= oldest}
        self._offered, self._under = dict(delivered), cursor


def next_cursor(before: Cursor | None, newest: str, *, delivered: bool, more: bool) -> Cursor | None:
    """The cursor behind a page: another one wherever something was delivered."""
    if not newest:
        return before if before is None or not before.more else before._replace(more=False, first=False)
    first = more and (before is None or before.first)
    if before is None or newest > before.stamp:
        return Cursor(newest, 0, more, first)
    if delivered or more != before.more:
        return Cursor(before.stamp, before.again + 1, more, first)
    return before


def digest_of(row: Mapping[str, Any]) -> str:
    """SHA-256 of an order's content, whatever its links and the sequence of its fields."""
    return hashlib.sha256(json.dumps(_plain(row), sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in _METADATA}
    if isinstance(value, list):
        parts = [_plain(one) for one in value]
        return sorted(parts, key=lambda one: json.dumps(one, sort_keys=True, default=str))
    return value
