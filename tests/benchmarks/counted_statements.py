"""``linegate run`` with every SQL statement's cost told: ``python -P counted_statements.py FILE run CONFIG``.

The cost of a statement is what SQLite's machine did for it, in steps of ``STEP``; unlike time it is the same on every
computer. One JSON line for each statement that took ``TOLD_FROM`` steps or more goes to FILE. The gateway is the
real one.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading

STEP = 500
TOLD_FROM = 5_000
TEXT_CHARS = 4000

_connect = sqlite3.connect


class Counted(sqlite3.Connection):
    """A connection that tells what its statements cost."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self._sql, self._steps = "", 0
        self.set_trace_callback(self._begun)
        super().set_progress_handler(self._stepped, STEP)

    def set_progress_handler(self, handler, n) -> None:
        """Whoever wants to stop its statement goes uncounted: it is bounded by what it does there."""
        self._tell()
        super().set_progress_handler(handler, n)

    def close(self) -> None:
        """The last statement is told, too."""
        self._tell()
        super().close()

    def _begun(self, sql: str) -> None:
        self._tell()
        self._sql = sql

    def _stepped(self) -> int:
        self._steps += STEP
        return 0

    def _tell(self) -> None:
        sql, steps = self._sql, self._steps
        self._sql, self._steps = "", 0
        if steps >= TOLD_FROM:
            with LOCK:
                OUTPUT.write(json.dumps({"steps": steps, "sql": " ".join(sql[:TEXT_CHARS].split())}) + "\n")
                OUTPUT.flush()


def connect(*args, **options) -> sqlite3.Connection:
    """Instead of ``sqlite3.connect``, also for aiosqlite."""
    return _connect(*args, **{"factory": Counted, **options})


if __name__ == "__main__":
    LOCK = threading.Lock()
    with open(sys.argv.pop(1), "a", encoding="utf-8") as OUTPUT:  # noqa: PTH123 - the name is all that is needed
        sqlite3.connect = connect
        from gateway.cli import main

        sys.exit(main())
