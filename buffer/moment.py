"""Several statements that see one moment of the database. Holds a read transaction: no writer waits for it.

What is asked statement by statement may move in between: a posting that goes on would be in two answers, or in none.
The write-ahead log is not cut while one is held, so none is held for longer than a look takes. Interprets nothing.
"""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Generator, Iterator

    import aiosqlite

T = TypeVar("T")


class _Look(Protocol):
    def __call__(self, work: Callable[[sqlite3.Connection], T]) -> T | None: ...


@contextlib.contextmanager
def held(connection: sqlite3.Connection) -> Iterator[None]:
    """The statements of the block see one moment; inside another one they see that one. Raises sqlite3.Error."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def at_most(connection: sqlite3.Connection, seconds: float) -> Generator[_Look]:
    """A function that has work done, all of one moment, None once that was held for so long: then it is let go.

    It is let go in time even where the caller himself waits for somebody, such as a person who turns pages. The
    connection must allow other threads.
    """
    one_at_a_time = threading.Lock()

    def let_go() -> None:
        with one_at_a_time:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def look(work: Callable[[sqlite3.Connection], T]) -> T | None:
        with one_at_a_time:
            return work(connection) if connection.in_transaction else None

    connection.execute("BEGIN")
    over = threading.Timer(seconds, let_go)
    over.daemon = True
    over.start()
    try:
        yield look
    finally:
        over.cancel()
        over.join()
        let_go()


def of(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    """What ``work`` returns, all of one moment. Raises what it raises."""
    with held(connection):
        return work(connection)


async def in_its_thread(connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """What ``work`` returns, as one call of the connection's own thread, where nobody else reads in between."""
    # aiosqlite's own way into it; the bare connection is used by this thread only.
    ask = cast("Any", connection)
    found: T = await ask._execute(partial(_alone, work, ask))  # noqa: SLF001 - as said
    return found


def _alone(work: Callable[[sqlite3.Connection], T], owner: Any) -> T:
    return work(owner._conn)  # noqa: SLF001 - in its thread
