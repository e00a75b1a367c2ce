"""The audit trail in the database: entries are added in the transaction of what they tell, read as a stream, verified.

The rules of the chain are ``gateway/core/audit``. It judges nobody, publishes no anchor, and changes no entry: triggers
of the schema refuse that to any program.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from buffer import schema
from buffer.errors import StoreError
from gateway.core.audit.chain import ANCHORS_MAX, Anchor, Head, genesis, head_of, linked, verify
from gateway.core.audit.entry import CHARS_MAX, AuditEntry, Change, EntryContent, SystemAction
from gateway.core.audit.signature import fault_behind
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import aiosqlite

    from buffer.audit import AuditRow
    from gateway.core.audit.chain import Broken, Verified

#: Rows that a reader takes at a time: between two of them it holds no lock and no old state of the file.
BATCH_ROWS: Final = 1000
PAGE_MAX: Final = 10_000
#: Entries of one transaction: more are a fault of the caller.
APPEND_MAX: Final = 1000
#: Reason code of a write of the time before reasons were asked for.
NOT_GIVEN: Final = "not_given"

_COLUMNS: Final = ", ".join("order_id" if name == "order" else name for name in EntryContent._fields)
_ROW: Final = f"seq, {_COLUMNS}, prev_hash, hash, form"
_ADD: Final = f"INSERT INTO audit_entry ({_ROW}) VALUES ({', '.join('?' * (len(EntryContent._fields) + 4))})"  # noqa: S608 - constants
_HEAD: Final = "SELECT seq, hash FROM audit_entry ORDER BY seq DESC LIMIT 1"
#: What sqlite3 says of a text that is none.
_NO_UTF_8: Final = "Could not decode to UTF-8"
_IS_SIGNATURE: Final = "SELECT 1 FROM audit_entry WHERE seq = ? AND action = ?"
_HASH: Final = "SELECT hash FROM audit_entry WHERE seq = ?"
_EPOCH: Final = "SELECT CASE chain WHEN '' THEN epoch ELSE chain END FROM meta"
_BATCH: Final = f"SELECT {_ROW} FROM audit_entry WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 - constants
_NEWEST: Final = f"SELECT {_ROW} FROM audit_entry WHERE "  # noqa: S608 - constants
_ANCHOR: Final = "INSERT INTO audit_anchor (seq, hash, day, at_ns) VALUES (?, ?, ?, ?)"
_ANCHORS: Final = "SELECT seq, hash FROM audit_anchor ORDER BY seq DESC LIMIT ?"


class Appended(NamedTuple):
    """The entries as they stand in the chain, and its end."""

    entries: tuple[AuditEntry, ...]
    head: Head


class Wanted(NamedTuple):
    """Which entries; None: whatever it is. Times are UTC, ``from_ns`` is included, ``to_ns`` is not."""

    order: str | None = None
    user: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    before: int | None = None  # numbers below

    def takes(self, entry: AuditEntry) -> bool:
        """Whether it is one of them."""
        content = entry.content
        return (
            self.order in (None, content.order)
            and self.user in (None, content.user)
            and (self.from_ns is None or content.utc_ns >= self.from_ns)
            and (self.to_ns is None or content.utc_ns < self.to_ns)
            and (self.before is None or entry.seq < self.before)
        )

    def condition(self) -> tuple[str, list[Any]]:
        """The same for SQL."""
        found = [(text, value) for text, value in zip(_CONDITIONS, self, strict=True) if value is not None]
        return " AND ".join(text for text, _ in found) or "1", [value for _, value in found]


#: In the order of ``Wanted``.
_CONDITIONS: Final = ("order_id = ?", "user = ?", "utc_ns >= ?", "utc_ns < ?", "seq < ?")


async def append(contents: Sequence[EntryContent], connection: aiosqlite.Connection) -> Appended:
    """Add entries inside a transaction that is open: with ``Store.write(partial(append, contents))``, or in a step.

    Raises AuditEntryError for content that must not be written down, ValueError for more than ``APPEND_MAX``; the
    transaction then fails as a whole, and what the entries told did not happen.
    """
    if len(contents) > APPEND_MAX:
        raise ValueError(f"audit entries of one transaction: found {len(contents)}, allowed: up to {APPEND_MAX}")
    head = await _head(connection)
    added: list[AuditEntry] = []
    for content in contents:
        entry = linked(head, content)
        added.append(entry)
        head = head_of(entry)
    await connection.executemany(_ADD, [_row_of(entry) for entry in added])
    return Appended(tuple(added), head)


async def append_all(contents: Sequence[EntryContent], connection: aiosqlite.Connection) -> None:
    """``append``, however many they are: what a step tells is bounded by the step, not by what one insertion takes."""
    for first in range(0, len(contents), APPEND_MAX):
        await append(contents[first : first + APPEND_MAX], connection)


async def keep_anchor(day: str, at_ns: int, connection: aiosqlite.Connection) -> Anchor | None:
    """The anchor of the chain as it ends now, kept for that day (YYYY-MM-DD); None: there is nothing new to publish.

    Publish it after the transaction: an anchor of an entry that was not kept would say that one was cut off.
    """
    head = await _head(connection)
    kept = list(await connection.execute_fetchall("SELECT 1 FROM audit_anchor WHERE seq = ?", (head.seq,)))
    if head.seq == 0 or kept:
        return None
    chain = str(next(iter(await connection.execute_fetchall(_EPOCH)))[0])
    await connection.execute_fetchall(_ANCHOR, (head.seq, head.hash, day, at_ns))
    return Anchor(chain, head.seq, head.hash)


class ChainReader:
    """The audit trail as one process reads it, beside the one that writes; give it a connection that cannot write.

    Every method raises StoreError where the file cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """A reader of this database for as long as the context lasts. Raises StoreError."""
        if not path.is_file():
            raise StoreError(f"{path}: there is no database; the gateway makes it at its first start")
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be opened: {error}; are you allowed to read it?") from error
        with contextlib.closing(connection):
            connection.execute(f"PRAGMA busy_timeout={schema.BUSY_TIMEOUT_MS}")
            yield cls(connection)

    @property
    def chain(self) -> str:
        """The name of the chain: that of the database."""
        return str(self._rows(_EPOCH, ())[0][0])

    def head(self) -> Head:
        """The end of the chain."""
        rows = self._rows(_HEAD, ())
        return Head(*rows[0]) if rows else genesis(self.chain)

    def entries(self, after: int = 0) -> Iterator[AuditEntry]:
        """The entries after that number, in their order, up to the last one of now; a batch in memory at a time."""
        # One end for the whole walk: a daemon that goes on writing must not keep it from ending.
        last = max((seq for seq, _hash in self._rows(_HEAD, ())), default=0)
        while rows := self._rows(_BATCH, (after, last, BATCH_ROWS)):
            yield from map(_entry_of, rows)
            after = rows[-1][0]

    def newest(self, limit: int, wanted: Wanted = Wanted()) -> list[AuditEntry]:  # noqa: B008 - immutable
        """The last entries of those that are wanted, newest first. Raises ValueError for a limit out of range."""
        if not 1 <= limit <= PAGE_MAX:
            raise ValueError(f"limit: found {limit}, allowed 1 to {PAGE_MAX}")
        condition, values = wanted.condition()
        return [
            _entry_of(row) for row in self._rows(f"{_NEWEST}{condition} ORDER BY seq DESC LIMIT ?", (*values, limit))
        ]

    def anchors(self, limit: int = ANCHORS_MAX) -> list[Anchor]:
        """The last so many anchors that were kept for publishing, newest first."""
        chain = self.chain
        return [Anchor(chain, seq, digest) for seq, digest in self._rows(_ANCHORS, (limit,))]

    def verify(self, published: Iterable[Anchor] = ()) -> Verified | Broken:
        """Walk the whole chain and its signatures, against the anchors here and those that were published.

        Raises ValueError for a published anchor of another chain, and for more than ``ANCHORS_MAX`` of them.
        """
        chain, anchors = self.chain, list(published)
        for anchor in anchors:
            if anchor.chain != chain:
                raise ValueError(f"anchor: found one of the chain {anchor.chain}, allowed: {chain}, this database's")
        anchors += self.anchors(max(ANCHORS_MAX - len(anchors), 0))
        return verify(genesis(chain), self.entries(), anchors, fault_behind)

    def verify_end(self, entries: int) -> Verified | Broken:
        """Walk the last so many entries and their signatures, from the hash that the one before them has.

        One more where the first of them is a signature: it is about the one before.
        """
        first = max(self.head().seq - entries, 0)
        if first and self._rows(_IS_SIGNATURE, (first + 1, SystemAction.SIGNED.value)):
            first -= 1
        rows = self._rows(_HASH, (first,))
        start = Head(first, str(rows[0][0])) if rows else genesis(self.chain)
        return verify(start, self.entries(start.seq), (), fault_behind)

    def has(self, anchor: Anchor) -> bool:
        """Whether the entry of that number has that hash."""
        return self._rows(_HASH, (anchor.seq,)) == [(anchor.hash,)]

    def _rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = self._connection
        try:
            try:
                return connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if connection.text_factory is not str or not str(error).startswith(_NO_UTF_8):
                    raise
                # Such bytes must be found at their entry, not end the walk; Python's own way is slower.
                connection.text_factory = _any_bytes
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the audit trail cannot be read: {error}; are you allowed to read its folder?") from error


def of_write_attempt(row: AuditRow, common: EntryContent) -> EntryContent:
    """What a row of the audit of writes (``buffer/audit.py``) tells, as an entry of the chain.

    Date, time zone, quality, who he is and versions are those of ``common``.
    """
    about = "" if row.about is None else f"end of attempt {row.about}"
    return common._replace(
        at_ns=row.at_ns,
        user=clean(row.actor, CHARS_MAX["user"]),
        action="write_signal",
        change=Change.EVENT.value,
        entity="signal",
        entity_id=clean(row.entity, CHARS_MAX["entity_id"]),
        field=f"attempt {row.seq}" if row.about is None else f"attempt {row.about}",
        old=row.old,
        new=row.new,
        outcome=row.outcome,
        detail=clean("; ".join(text for text in (about, row.detail) if text), CHARS_MAX["detail"]),
        reason_code="" if row.reason.strip() else NOT_GIVEN,
        reason_text=clean(row.reason, CHARS_MAX["reason_text"]),
    )


def _any_bytes(found: bytes) -> str:
    return found.decode("utf-8", "surrogateescape")


async def _head(connection: aiosqlite.Connection) -> Head:
    rows = list(await connection.execute_fetchall(_HEAD))
    if rows:
        return Head(int(rows[0][0]), str(rows[0][1]))
    return genesis(str(next(iter(await connection.execute_fetchall(_EPOCH)))[0]))


def _row_of(entry: AuditEntry) -> tuple[Any, ...]:
    return (entry.seq, *entry.content, entry.prev_hash, entry.hash, entry.form)


def _entry_of(row: Sequence[Any]) -> AuditEntry:
    return AuditEntry(row[0], EntryContent(*row[1:-3]), *row[-3:])
