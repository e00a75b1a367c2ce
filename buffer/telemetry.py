"""The best-effort class: events for the broker in a file of their own, bounded in bytes and age, the oldest first out.

It is ``synchronous=NORMAL`` and may lose its last moment in a power cut. A damaged file is made anew. It shares no
connection, no transaction and no room with the confirmations, and knows no broker. Every call blocks for as long as the
disk needs: call it in a thread. Calls of several threads wait for each other.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from buffer.errors import StoreError
from buffer.figures import EventFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

FILE_NAME: Final = "telemetry.db"
FILE_MODE: Final = 0o600
PAGE_BYTES: Final = 4096
VERSION: Final = 1
#: Written to the file at once: between two looks at the budget.
BATCH_EVENTS: Final = 32
#: So many of the oldest go at once where there is no room.
EVICTED_EVENTS: Final = 64
WAL_PAGES: Final = 256
TRIES: Final = 1000

_PRAGMAS: Final = (
    f"PRAGMA page_size={PAGE_BYTES}",
    "PRAGMA auto_vacuum=INCREMENTAL",
    "PRAGMA busy_timeout=1000",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA wal_autocheckpoint={WAL_PAGES}",
    f"PRAGMA journal_size_limit={WAL_PAGES * PAGE_BYTES}",
)
_SCHEMA: Final = (
    """
    CREATE TABLE event (
        number INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL,
        lane TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX event_lane ON event (lane, number)",
    "CREATE TABLE tally (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO tally VALUES ('stored', 0), ('sent', 0), ('evicted', 0), ('evicted_age', 0), ('last', 0), ('max', 0)",
    f"PRAGMA user_version={VERSION}",
)
_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class StoredEvent(NamedTuple):
    """One message. ``number`` counts on for ever; ``lane``: what it is in order with; ``at_ns``: steady time."""

    number: int
    at_ns: int
    lane: str
    topic: str
    payload: bytes


class TelemetryStore:
    """One file; ``open`` first. ``made_anew`` says why the file before is gone, "" where it is not."""

    def __init__(self, path: Path, *, max_bytes: int, max_age_ns: int) -> None:
        self._path = path
        self._pages_max = max_bytes // PAGE_BYTES
        self._max_age_ns = max_age_ns
        self._link: sqlite3.Connection | None = None
        # Whoever asked for a call may be gone while its thread still writes. A connection that is closed under a
        # statement takes the process with it.
        self._one_at_a_time = threading.RLock()
        self.made_anew = ""

    def open(self) -> int:
        """Open or make the file; returns the highest number ever given. Raises StoreError."""
        with self._one_at_a_time:
            try:
                try:
                    return self._opened()
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    self._drop(error)
                    return self._opened()
            except (sqlite3.Error, OSError) as error:
                self.close()
                raise StoreError(f"{self._path}: cannot be opened: {error}; events wait in memory") from error

    def close(self) -> None:
        """Release the file, once a call that is under way has ended."""
        with self._one_at_a_time:
            link, self._link = self._link, None
            if link is not None:
                with contextlib.suppress(sqlite3.Error):
                    link.close()

    def add(self, events: Sequence[StoredEvent]) -> None:
        """Keep them; where there is no room the oldest go. Raises StoreError: some of them may be kept."""
        for start in range(0, len(events), BATCH_EVENTS):
            self._do(partial(self._add, batch=events[start : start + BATCH_EVENTS]))

    def page(self, after: int, limit: int) -> list[StoredEvent]:
        """What waits beyond this number, the oldest first. Raises StoreError."""
        sql = "SELECT number, at_ns, lane, topic, payload FROM event WHERE number > ? ORDER BY number LIMIT ?"
        return [StoredEvent(*row) for row in self._do(lambda link: link.execute(sql, (after, limit)).fetchall())]

    def lanes(self) -> dict[str, int]:
        """The last number of each lane in which something waits. Raises StoreError."""
        sql = "SELECT lane, max(number) FROM event GROUP BY lane"
        return dict(self._do(lambda link: link.execute(sql).fetchall()))

    def remove(self, numbers: Sequence[int], sent: int) -> None:
        """These have arrived; ``sent`` counts those that never were in the file, too. Raises StoreError."""

        def work(link: sqlite3.Connection) -> None:
            with _transaction(link):
                link.executemany("DELETE FROM event WHERE number = ?", [(number,) for number in numbers])
                _count(link, "sent", sent)
            # What was a backlog of days is given back to the disk, a little at a time.
            # As a script: it gives back one page a step, and execute() takes the first step only.
            link.executescript(f"PRAGMA incremental_vacuum({WAL_PAGES});")

        self._do(work)

    def evict_old(self, now_ns: int) -> int:
        """Those beyond their age go; how many. Raises StoreError."""

        def work(link: sqlite3.Connection) -> int:
            with _transaction(link):
                gone = link.execute("DELETE FROM event WHERE at_ns < ?", (now_ns - self._max_age_ns,)).rowcount
                _count(link, "evicted_age", gone)
            return gone

        return self._do(work) if self._max_age_ns else 0

    def figures(self) -> EventFigures:
        """How much waits, and what became of all the others. Raises StoreError."""
        return self._do(lambda link: figures_in(link, str(self._path)))

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._one_at_a_time:
            return self._done(work)

    def _done(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._link is None:
            self.open()
        link = self._link
        assert link is not None, "open() raises where it cannot"
        try:
            return work(link)
        except sqlite3.Error as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
                with contextlib.suppress(OSError):
                    self._drop(error)
            raise StoreError(f"{self._path}: {error}; events wait in memory") from error

    def _opened(self) -> int:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        link = self._link = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            link.execute(pragma).fetchall()
        if link.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise _damage("quick_check found damage")
        link.execute(f"PRAGMA max_page_count={self._pages_max}").fetchall()
        version = link.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise _damage(f"it has the form {version}, this linegate knows {VERSION}")
        with _transaction(link):
            if not version:
                for statement in _SCHEMA:
                    link.execute(statement)
            link.execute("UPDATE tally SET number = ? WHERE name = 'max'", (self._pages_max * PAGE_BYTES,))
        return int(link.execute("SELECT number FROM tally WHERE name = 'last'").fetchone()[0])

    def _drop(self, error: Exception) -> None:
        self.close()
        self.made_anew = f"{self._path}: was damaged ({error}) and is made anew: the events in it are lost"
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _add(self, link: sqlite3.Connection, batch: Sequence[StoredEvent]) -> None:
        for left in reversed(range(TRIES)):
            try:
                with _transaction(link):
                    if _used_pages(link) * 10 >= self._pages_max * 9:
                        self._evict(link)
                    link.executemany("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?)", batch)
                    link.execute("UPDATE tally SET number = max(number, ?) WHERE name = 'last'", (batch[-1].number,))
                    _count(link, "stored", len(batch))
            except sqlite3.OperationalError as error:
                # The budget, or the disk: only the first is helped by what goes.
                if getattr(error, "sqlite_errorname", "") != "SQLITE_FULL" or not left or not self._evicted(link):
                    raise
            else:
                return

    def _evicted(self, link: sqlite3.Connection) -> int:
        with _transaction(link):
            return self._evict(link)

    @staticmethod
    def _evict(link: sqlite3.Connection) -> int:
        sql = "DELETE FROM event WHERE number IN (SELECT number FROM event ORDER BY number LIMIT ?)"
        gone = link.execute(sql, (EVICTED_EVENTS,)).rowcount
        _count(link, "evicted", gone)
        return gone


def figures_of_file(path: Path) -> EventFigures | None:
    """Of a file that another process has open, or nobody; None where there is none, or it cannot be read."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as link:
            return figures_in(link, str(path))
    except sqlite3.Error:
        return None


def figures_in(link: sqlite3.Connection, path: str) -> EventFigures:
    """The figures of an open file."""
    tally = dict(link.execute("SELECT name, number FROM tally").fetchall())
    return EventFigures(
        path=path,
        waiting=link.execute("SELECT count(*) FROM event").fetchone()[0],
        used_bytes=_used_pages(link) * PAGE_BYTES,
        max_bytes=tally["max"],
        stored=tally["stored"],
        sent=tally["sent"],
        evicted=tally["evicted"],
        evicted_age=tally["evicted_age"],
    )


class _transaction:  # noqa: N801 - used like a function
    """BEGIN and COMMIT, or ROLLBACK where it is still open after an error."""

    def __init__(self, link: sqlite3.Connection) -> None:
        self._link = link

    def __enter__(self) -> None:
        self._link.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is None:
            self._link.execute("COMMIT")
        elif self._link.in_transaction:
            self._link.execute("ROLLBACK")


def _used_pages(link: sqlite3.Connection) -> int:
    pages = link.execute("PRAGMA page_count").fetchone()[0]
    return int(pages - link.execute("PRAGMA freelist_count").fetchone()[0])


def _count(link: sqlite3.Connection, name: str, number: int) -> None:
    if number:
        link.execute("UPDATE tally SET number = number + ? WHERE name = ?", (number, name))


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)
