"""A connection as the works of a transaction see it, inside the thread that owns it: nothing in it ever waits.

The names are those of aiosqlite, so that a work reads the same wherever it runs. A whole group of works goes to the
thread at once; one hand-over for each statement would cost more than the statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Iterable

    import aiosqlite

T = TypeVar("T")


class Here:
    """The connection, for works that run in its thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute_fetchall(self, sql: str, values: Any = ()) -> list[Any]:
        """All rows of a statement."""
        return self._connection.execute(sql, values).fetchall()

    async def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        """One statement whose rows nobody wants."""
        return self._connection.execute(sql, values)

    async def executemany(self, sql: str, rows: Iterable[Any]) -> None:
        """One statement for each of the rows."""
        self._connection.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction


def run_here(work: Callable[[aiosqlite.Connection], Any], connection: sqlite3.Connection) -> Any:
    """What the work returns. Raises what it raises, and RuntimeError where it waits for anything but the connection."""
    doing: Coroutine[Any, Any, Any] = work(cast("aiosqlite.Connection", Here(connection)))
    try:
        doing.send(None)
    except StopIteration as end:
        return end.value
    doing.close()
    raise RuntimeError("a work inside a transaction waits for something else than its connection")
