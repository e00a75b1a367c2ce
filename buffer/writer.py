"""The one task that writes: it owns the writing connection and lets several waiting writes share one transaction.

It does not know what the writes mean. A caller that is cancelled never leaves a transaction open, because the caller
never touches the connection; whether its write is kept is then unknown to it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from buffer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    import aiosqlite

GROUP_MAX: Final = 64
WAITING_MAX: Final = 4096

#: Of SQLite's own errors, those that one write brings upon itself. All others speak of the file or the device.
_ONES_OWN_FAULT: Final = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)

T = TypeVar("T")


class _Waiting(NamedTuple):
    work: Callable[[aiosqlite.Connection], Awaitable[Any]]
    done: asyncio.Future[Any]


class Writer:
    """Runs works one after the other, up to ``GROUP_MAX`` in one durable transaction."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._waiting: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._slots = asyncio.Semaphore(WAITING_MAX)
        self._closing = False
        #: When the last transaction ended well (the event loop's seconds), and how long it took; None before the first.
        self.committed: tuple[float, float] | None = None
        #: Why the device refuses writes now, and since when (the event loop's seconds); None where it does not.
        self.failing: tuple[str, float] | None = None
        self._task = asyncio.create_task(self._run(), name="buffer writer")
        self._task.add_done_callback(self._ended)

    async def submit(self, work: Callable[[aiosqlite.Connection], Awaitable[T]]) -> T:
        """Do the work and return its result when it is durable. Raises StoreError: nothing of it was kept."""
        async with self._slots:
            if self._closing or self._task.done():
                raise StoreError(f"{self._path}: is closed or its writer has ended; restart linegate to write again")
            done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._waiting.append(_Waiting(work, done))
            self._filled.set()
            return await done

    async def drain(self) -> None:
        """Take nothing new, finish what waits, and end."""
        self._closing = True
        self._filled.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
            if group:
                await self._commit(group)
            elif self._closing:
                return
            else:
                self._filled.clear()

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        began_s = asyncio.get_running_loop().time()
        try:
            results = await self._transaction(group)
        except Exception as error:  # noqa: BLE001 - whatever one write raises is told to its caller; the writer goes on
            if isinstance(error, sqlite3.Error) and not _is_ones_own(error):
                failed = self._failed(error)
                self.failing = (str(failed), began_s if self.failing is None else self.failing[1])
                self._fail(group, failed)
            elif len(group) > 1:
                # One of them is at fault: each gets a transaction of its own, so that only that one fails.
                for one in group:
                    await self._commit([one])
            else:
                self._fail(group, self._refused(error))
        except BaseException:
            self._fail(group, StoreError(f"{self._path}: the writer was stopped; it is unknown whether this was kept"))
            raise
        else:
            ended_s = asyncio.get_running_loop().time()
            self.committed, self.failing = (ended_s, ended_s - began_s), None
            for waiting, result in zip(group, results, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(result)

    async def _transaction(self, group: Sequence[_Waiting]) -> list[Any]:
        connection = self._connection
        try:
            await connection.execute_fetchall("BEGIN IMMEDIATE")
            results = [await waiting.work(connection) for waiting in group]
            await connection.execute_fetchall("COMMIT")
        except Exception:
            # Some errors end the transaction by themselves, others leave it open. (A cancellation ends the writer;
            # closing its connection then rolls back.)
            if connection.in_transaction:
                await connection.execute_fetchall("ROLLBACK")
            raise
        return results

    def _refused(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        refused = StoreError(f"{self._path}: refused a write: {error}; this is a fault in linegate, please report it")
        refused.__cause__ = error
        return refused

    def _failed(self, error: sqlite3.Error) -> StoreError:
        name, family = _named(error)
        advice = _ADVICE.get(family, "restart linegate; if it stays, report it")
        text = f"{self._path}: cannot be written ({name or 'error'}): {error}; {advice}"
        failed = StoreError(text, temporary=family in _TEMPORARY)
        failed.__cause__ = error
        return failed

    @staticmethod
    def _fail(group: Sequence[_Waiting], error: StoreError) -> None:
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        reason = "cancelled" if task.cancelled() else task.exception()
        self._fail(self._waiting, StoreError(f"{self._path}: the writer has ended ({reason}); restart linegate"))
        self._waiting.clear()


def _named(error: sqlite3.Error) -> tuple[str, str]:
    """The error's name, and its family: IOERR of SQLITE_IOERR_FSYNC."""
    name: str = getattr(error, "sqlite_errorname", "")
    return name, name.removeprefix("SQLITE_").split("_", 1)[0]


def _is_ones_own(error: sqlite3.Error) -> bool:
    # SQLITE_ERROR is SQLite's word for a statement that makes no sense.
    return isinstance(error, _ONES_OWN_FAULT) or _named(error)[1] == "ERROR"


#: READONLY is not among them: SQLite keeps its view of the file until every connection of the process is closed.
_TEMPORARY: Final = frozenset({"FULL", "IOERR", "BUSY", "LOCKED"})
_ADVICE: Final = {
    "FULL": "free some space on the device, or allow more by buffer.max_size",
    "READONLY": "remount its file system for writing, then restart linegate",
    "IOERR": "check the storage device (kernel log)",
    "BUSY": "another program writes to it: end that program",
    "CORRUPT": "set the file aside and restart linegate",
    "NOTADB": "set the file aside and restart linegate",
}
