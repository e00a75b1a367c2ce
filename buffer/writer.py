"""The one task that writes: it owns the writing connection and lets several waiting writes share one transaction.

It does not know what the writes mean. A caller that is cancelled never leaves a transaction open, because the caller
never touches the connection; whether its write is kept is then unknown to it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from buffer import schema
from buffer.errors import StoreError
from buffer.here import run_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    import aiosqlite

    from buffer.mark import Mark, Sent
    from buffer.opening import Opened
    from buffer.recovery import Recovery

GROUP_MAX: Final = 256
WAITING_MAX: Final = 4096

#: Of SQLite's own errors, those that one write brings upon itself. All others speak of the file or the device.
_ONES_OWN_FAULT: Final = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)

_HEADS: Final = "SELECT work_unit, last_seq FROM journal_head"

T = TypeVar("T")


class _Waiting(NamedTuple):
    work: Callable[[aiosqlite.Connection], Awaitable[Any]]
    done: asyncio.Future[Any]
    #: What of its result begins to leave the box.
    sent: Callable[[Any], Sequence[Sent]] | None = None


class Writer:
    """Runs works one after the other, up to ``GROUP_MAX`` in one durable transaction.

    A group is what waits when the transaction before is durable; the first waits for others for ``window_s``.
    """

    def __init__(self, opened: Opened, recovery: Recovery, window_s: float = 0.0) -> None:
        self._opened = opened
        self._recovery = recovery
        self._window_s = window_s
        self._path: Path = opened.path
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

    async def submit(
        self,
        work: Callable[[aiosqlite.Connection], Awaitable[T]],
        sent: Callable[[T], Sequence[Sent]] | None = None,
    ) -> T:
        """Do the work and return its result when it is durable, and what of it is ``sent`` stands in the mark.

        Raises StoreError: nothing of it was kept; with ``sent`` it may be kept without its mark, and nothing may leave.
        """
        async with self._slots:
            if self._closing or self._task.done():
                raise StoreError(f"{self._path}: is closed or its writer has ended; restart linegate to write again")
            done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._waiting.append(_Waiting(work, done, sent))
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
            if self._window_s and self._waiting and not self._closing:
                await asyncio.sleep(self._window_s)
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
        except _DiskFailedError as failed:
            if failed.freed:
                await self._commit(group)
            else:
                told = self._failed(failed.error)
                self.failing = (str(told), began_s if self.failing is None else self.failing[1])
                self._fail(group, told)
        except Exception as error:  # noqa: BLE001 - whatever one write raises is told to its caller; the writer goes on
            if len(group) > 1:
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
            self._tell(group, results)

    def _tell(self, group: Sequence[_Waiting], results: Sequence[Any]) -> None:
        for waiting, result in zip(group, results, strict=True):
            if waiting.done.done():
                continue
            if isinstance(result, _NotMarkedError):
                waiting.done.set_exception(StoreError(f"{self._path}: {result}", temporary=True))
            else:
                waiting.done.set_result(result)

    async def _transaction(self, group: Sequence[_Waiting]) -> list[Any]:
        opened = self._opened
        async with opened.lock:
            await self._recovery.ready()
            try:
                # The whole group in one call of the connection's thread, by aiosqlite's own way into it.
                works = partial(_in_thread, group, opened.mark)
                results: list[Any] = await opened.writing._execute(works, opened.writing)  # type: ignore[no-untyped-call]  # noqa: SLF001 - as said
            except sqlite3.Error as error:
                if _is_ones_own(error):
                    raise
                freed = await self._recovery.failed(error, writing=True)
                raise _DiskFailedError(error, freed=freed) from error
            self._recovery.went_well()
            return results

    def _refused(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        refused = StoreError(f"{self._path}: refused a write: {error}; this is a fault in linegate, please report it")
        refused.__cause__ = error
        return refused

    def _failed(self, error: sqlite3.Error) -> StoreError:
        if self._recovery.damaged is not None:
            return self._recovery.damaged
        family = schema.family(error)
        advice = _ADVICE.get(family, "restart linegate; if it stays, report it")
        name = getattr(error, "sqlite_errorname", "error")
        text = f"{self._path}: cannot be written ({name}): {error}; {advice}"
        temporary = family in _TEMPORARY and self._recovery.can_wait(error)
        failed = StoreError(text, temporary=temporary, full=schema.is_full(error))
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


class _DiskFailedError(Exception):
    """The file or the device is at fault, not one of the works."""

    def __init__(self, error: sqlite3.Error, *, freed: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.freed = freed


class _NotMarkedError(Exception):
    """It is committed, and nothing of it may leave the box: the mark does not say so."""


def _in_thread(group: Sequence[_Waiting], mark: Mark, owner: aiosqlite.Connection) -> list[Any]:
    """One transaction, and behind it the mark of what leaves the box; runs in the thread of the connection."""
    connection = owner._conn  # noqa: SLF001 - only this thread may use it, and nothing else hands it out
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [run_here(waiting.work, connection) for waiting in group]
        leaving = [
            one
            for waiting, result in zip(group, results, strict=True)
            if waiting.sent is not None
            for one in waiting.sent(result)
        ]
        journal = dict(connection.execute(_HEADS)) if leaving else {}
        connection.execute("COMMIT")
    except BaseException:
        # Some errors end the transaction by themselves, others leave it open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if leaving:
        try:
            mark.append(leaving, journal)
        except OSError as error:
            failed = _NotMarkedError(
                f"the mark beside it cannot be written: {error.strerror or error}; nothing is sent"
            )
            return [
                failed if waiting.sent is not None and waiting.sent(result) else result
                for waiting, result in zip(group, results, strict=True)
            ]
    return results


def _is_ones_own(error: sqlite3.Error) -> bool:
    # SQLITE_ERROR is SQLite's word for a statement that makes no sense.
    return isinstance(error, _ONES_OWN_FAULT) or schema.family(error) == "ERROR"


_TEMPORARY: Final = frozenset({"FULL", "IOERR", "BUSY", "LOCKED", "READONLY", "CANTOPEN", "PROTOCOL"})
_ADVICE: Final = {
    "FULL": "free some space on the device, or allow more by buffer.max_size",
    "READONLY": "remount its file system for writing",
    "IOERR": "check the storage device (kernel log)",
    "CANTOPEN": "check that its folder is there and can be written",
    "BUSY": "another program writes to it: end that program",
}
