"""The IDocs that the fake SAP keeps, in SQLite: stored, booked or in the error pool. Books nothing itself.

In memory without a file; it survives the end of the process with one.
"""

from __future__ import annotations

import json
import random
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from simulators.control import SimulatorError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS idocs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sent_as TEXT NOT NULL,
    message_id TEXT NOT NULL,
    log TEXT NOT NULL,
    ticket TEXT NOT NULL,
    status TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS idocs_message ON idocs (message_id);
CREATE INDEX IF NOT EXISTS idocs_status ON idocs (status);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
"""
WAITING: Final = "stored"
BOOKED: Final = "booked"
POOL: Final = "pool"


class IdocStore:
    """Tickets by the number that SAP gave their IDoc. Raises SimulatorError if the file cannot be used."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._random = random.Random(f"equal stamps/{seed}")
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise SimulatorError(f"{path}: {error}; name another --ledger") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def keep(self, sent_as: str, message_id: str, ticket: dict[str, str]) -> int:
        """Store one more, and its number."""
        log = ticket.get("LOGDATE", "") + ticket.get("LOGTIME", "")
        cursor = self._db.execute(
            "INSERT INTO idocs (sent_as, message_id, log, ticket, status) VALUES (?, ?, ?, ?, ?)",
            (sent_as, message_id, log, json.dumps(ticket), WAITING),
        )
        return int(cursor.lastrowid or 0)

    def number_of(self, message_id: str) -> int | None:
        """The number under which a message was stored; None: it never was."""
        row = self._db.execute("SELECT number FROM idocs WHERE message_id = ?", (message_id,)).fetchone()
        return None if row is None else int(row["number"])

    def waiting(self) -> list[dict[str, Any]]:
        """What CO1L has to book, by LOGDATE and LOGTIME; equal ones in any sequence."""
        rows = [dict(row) for row in self._db.execute("SELECT * FROM idocs WHERE status = ?", (WAITING,))]
        self._random.shuffle(rows)
        rows.sort(key=lambda row: row["log"])
        return [row | {"ticket": json.loads(row["ticket"])} for row in rows]

    def settle(self, number: int, status: str, code: str = "") -> None:
        """It is booked, or in the error pool."""
        self._db.execute("UPDATE idocs SET status = ?, code = ? WHERE number = ?", (status, code, number))

    def counts(self) -> dict[str, int]:
        """How many are where."""
        rows = self._db.execute("SELECT status, count(*) AS n FROM idocs GROUP BY status")
        return {WAITING: 0, BOOKED: 0, POOL: 0} | {row["status"]: row["n"] for row in rows}

    def pool_to_waiting(self) -> int:
        """A person has corrected what was wrong: the error pool is booked again. Returns how many."""
        return self._db.execute("UPDATE idocs SET status = ? WHERE status = ?", (WAITING, POOL)).rowcount

    def mark(self, name: str) -> int:
        """A number that was kept, 0 before."""
        row = self._db.execute("SELECT number FROM marks WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row["number"])

    def set_mark(self, name: str, number: int) -> None:
        """Keep a number."""
        self._db.execute(
            "INSERT INTO marks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number", (name, number)
        )
