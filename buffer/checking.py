"""Looks through a database for damage, in a thread and on a connection of its own, while others use the file.

One table after the other, each read for itself: the write-ahead log is held back by one table at most. It changes
nothing, and says what it found.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final

from buffer import schema

if TYPE_CHECKING:
    from pathlib import Path

SOUND: Final = "ok"
#: SQLite's steps between two looks at whether to go on; some milliseconds.
STEPS_BETWEEN_LOOKS: Final = 100_000


class Check:
    """One look through a file; ``run`` it in a thread, ``stop`` it from any other."""

    def __init__(self, path: Path, *, limit_s: float | None = None) -> None:
        self._path = path
        self._limit_s = limit_s
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End it soon; may be called more than once."""
        self._stopped.set()

    def run(self) -> str:
        """``SOUND``, what is damaged, or "" where it was stopped, took too long or could not read."""
        until_s = None if self._limit_s is None else time.monotonic() + self._limit_s

        def is_over() -> bool:
            return self._stopped.is_set() or (until_s is not None and time.monotonic() > until_s)

        try:
            with contextlib.closing(
                sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
            ) as connection:
                connection.set_progress_handler(is_over, STEPS_BETWEEN_LOOKS)
                connection.execute(f"PRAGMA busy_timeout={schema.BUSY_TIMEOUT_MS}")
                tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
                for (table,) in tables:
                    quoted = str(table).replace("'", "''")
                    ((verdict,),) = connection.execute(f"PRAGMA quick_check('{quoted}')").fetchmany(1)
                    if verdict != SOUND:
                        return f"{table}: {verdict}"
        except sqlite3.Error as error:
            return str(error) if schema.is_damage(error) else ""
        return SOUND
