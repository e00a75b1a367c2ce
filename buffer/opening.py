"""Opens the database, and opens it again: the two connections of one process, with all that must hold before any use.

SQLite keeps one view of a file per process. After an error of the disk both connections are closed before either is
opened again: nothing goes on with pages whose state nobody knows. It decides nothing about when (``recovery``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

import aiosqlite
import structlog

from buffer import epochs, older, schema, space
from buffer.errors import DamagedStoreError, StoreError
from buffer.mark import Mark

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.checking import Check

FILE_MODE: Final = 0o600

_NEW_META: Final = "INSERT OR IGNORE INTO meta (one, epoch) VALUES (1, ?) RETURNING 1"
#: A process that died while sending cannot know how it ended.
_FORGET_SENDING: Final = """
    UPDATE outbox SET state = 'uncertain', due_ns = last_sent_ns, error_kind = 'uncertain', error_code = '',
        error_text = 'linegate was stopped while this was being sent', error_since_ns = last_sent_ns, error_count = 1
    WHERE state = 'sending' RETURNING 1
"""


log = structlog.get_logger(__name__)


class Opened:
    """The two connections to one database. ``lock`` is held by whoever uses the writing one, or exchanges both."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        #: What begins to leave the box is written there, behind its commit.
        self.mark = Mark(path)
        #: What the mark knew more than the database when it was opened.
        self.older: older.Older | None = None
        self.max_bytes = max_bytes
        self.lock = asyncio.Lock()
        self.epoch = ""
        self.interrupted = 0
        self.is_open = False
        #: Other users of the file in this process; they end when it is closed.
        self.beside: list[Check] = []
        self._writing: aiosqlite.Connection | None = None
        self._reading: aiosqlite.Connection | None = None

    @property
    def writing(self) -> aiosqlite.Connection:
        """The one that writes. Raises StoreError while the file is closed."""
        if self._writing is None:
            raise StoreError(f"{self.path}: cannot be written: it is closed", temporary=True)
        return self._writing

    @property
    def reading(self) -> aiosqlite.Connection:
        """The one that cannot write. Raises StoreError while the file is closed."""
        if self._reading is None:
            raise StoreError(f"{self.path}: cannot be read: it is closed", temporary=True)
        return self._reading

    @property
    def reading_or_none(self) -> aiosqlite.Connection | None:
        """The one that cannot write, None while the file is closed."""
        return self._reading

    async def open(self) -> None:
        """For the first time in this process: the file is made, checked and brought up to date.

        Raises DamagedStoreError, NewerSchemaError, StoreError.
        """
        _make_file(self.path)
        try:
            self._writing = await _connect(self.path)
            await schema.prepare_writer(self._writing, self.path, max_bytes=self.max_bytes)
            await self._claim(self._writing)
            with contextlib.suppress(sqlite3.OperationalError):  # no room after all: it stays as it was
                await space.make_able(self._writing, self.path)
            await _prepared_again(self._writing, self.path, self.max_bytes)
            self._reading = await _connect(self.path)
            await schema.prepare_reader(self._reading)
        except BaseException:
            await asyncio.shield(self.close())
            raise
        self.is_open = True

    async def reopen(self) -> None:
        """Close both connections, then open both. Raises sqlite3.Error or StoreError: both are closed then.

        The caller holds ``lock``. What is being sent goes on: this is the same process.
        """
        await self.close()
        try:
            self._writing = await _connect(self.path)
            await schema.prepare_again(self._writing, max_bytes=self.max_bytes)
            await self.overwrite()
            await self._is_the_same(self._writing)
            self._reading = await _connect(self.path)
            await schema.prepare_reader(self._reading)
        except BaseException:
            await asyncio.shield(self.close())
            raise
        self.is_open = True

    async def overwrite(self) -> None:
        """A transaction that changes nothing, and is durable. Raises sqlite3.Error, StoreError.

        Where a transaction could not be flushed, its pages still stand at the end of the write-ahead log, and whoever
        opens the file anew would find it committed, though nobody knows whether it is on the disk. On the connection
        on which it failed this one takes its place in the log.
        """
        writing = self.writing
        ((version,),) = await writing.execute_fetchall("PRAGMA user_version")
        await writing.execute_fetchall("BEGIN IMMEDIATE")
        try:
            # Unlike an UPDATE to the same value this always writes its page.
            await writing.execute_fetchall(f"PRAGMA user_version={version}")
            await writing.execute_fetchall("COMMIT")
        except sqlite3.Error:
            if writing.in_transaction:
                await writing.execute_fetchall("ROLLBACK")
            raise

    async def _claim(self, connection: aiosqlite.Connection) -> None:
        """Make it ours: its epoch, what was being sent, and whether it is older than what has left the box."""
        marked = self.mark.read()
        if marked.damaged:
            log.warning("the mark of what was sent is damaged", file=str(self.path), lines=marked.damaged)
        try:
            await connection.execute_fetchall("BEGIN IMMEDIATE")
            new = list(await connection.execute_fetchall(_NEW_META, (epochs.new_epoch(),)))
            ((epoch,),) = await connection.execute_fetchall("SELECT epoch FROM meta")
            interrupted = len(list(await connection.execute_fetchall(_FORGET_SENDING)))
            found = await older.compare(connection, marked, str(epoch), made_anew=bool(new))
            if found is not None and not found.made_anew:
                epoch = await older.take(connection, found, str(epoch))
            await connection.execute_fetchall("COMMIT")
        except sqlite3.DatabaseError as error:
            if schema.is_damage(error):
                raise DamagedStoreError(
                    f"{self.path}: is not a sound database: {error}; set it aside and start again"
                ) from error
            raise StoreError(
                f"{self.path}: cannot be written: {error}; check its rights and free space", full=schema.is_full(error)
            ) from error
        self.epoch, self.interrupted, self.older = str(epoch), interrupted, found
        with contextlib.suppress(OSError):  # the first send tries again, and does not leave before it is written
            self.mark.begin(self.epoch)

    async def _is_the_same(self, writing: aiosqlite.Connection) -> None:
        found = list(await writing.execute_fetchall("SELECT epoch FROM meta"))
        if [str(row[0]) for row in found] != [self.epoch]:
            raise DamagedStoreError(f"{self.path}: is another database than a moment ago; restart linegate")

    async def close(self) -> None:
        """Close what is open; a failing disk is no reason to keep a connection."""
        self.is_open = False
        for check in self.beside:
            check.stop()
        reading, self._reading = self._reading, None
        writing, self._writing = self._writing, None
        try:
            if reading is not None:
                await _close(reading)
        finally:
            if writing is not None:
                await _close(writing)
            self.mark.close()


async def _prepared_again(connection: aiosqlite.Connection, path: Path, max_bytes: int) -> None:
    # Whoever rewrites the file leaves WAL mode for it, and may be interrupted.
    try:
        await schema.prepare_again(connection, max_bytes=max_bytes)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened for writing: {error}; restart linegate") from error


async def _close(connection: aiosqlite.Connection) -> None:
    try:
        await connection.close()
    except sqlite3.Error:  # the last checkpoint failed: the write-ahead log stays, and the next opening reads it
        stopped = connection.stop()
        if stopped is not None:
            await asyncio.wait([stopped])


def _make_file(path: Path) -> None:
    # Its write-ahead log inherits the mode, and orders are nobody else's business.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be opened: {error.strerror}; check that the folder exists and belongs to linegate"
        ) from error


async def _connect(path: Path) -> aiosqlite.Connection:
    # Shielded: a connection made for a caller that is gone would keep its thread, and the process, alive.
    connecting = asyncio.ensure_future(_connected(path))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await (await connecting).close()
        raise


async def _connected(path: Path) -> aiosqlite.Connection:
    try:
        return await aiosqlite.connect(path, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened: {error}; check its folder and free space") from error
