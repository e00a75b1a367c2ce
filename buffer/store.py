"""The database of the gateway: the only way in which production data are written, and how they are read back.

Guarantee: what ``commit`` returned for survives a power cut, and of a step all is kept or nothing. It never interprets
a snapshot or a payload, and it never reads a clock while it opens: the clock itself starts from ``last_time_ns``.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import aiosqlite

from buffer import answers, audit_chain, genealogy, jobs, journal, postings, replays, schema
from buffer.errors import StoreError
from buffer.writer import Writer
from gateway.core.audit.entry import AuditEntryError, checked
from gateway.core.job_order import LastNumber
from gateway.core.orders.job_image import with_known_image

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from buffer.step import JournalRow, Step
    from gateway.core.model import JobRecord
    from gateway.core.orders.order_image import OrderImage

FILE_MODE: Final = 0o600
EPOCH_BYTES: Final = 8

T = TypeVar("T")

_JOURNAL: Final = "INSERT INTO journal (work_unit, seq, at_ns, kind, body) VALUES (?, ?, ?, ?, ?)"
_IMAGE: Final = "INSERT OR IGNORE INTO order_image (digest, document) VALUES (?, ?)"
#: Digests of images that are known to be stored; one that was forgotten is offered again, and ignored.
IMAGES_KNOWN_MAX: Final = 4096
_SNAPSHOT: Final = """
    INSERT INTO work_unit (id, snapshot) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET snapshot = excluded.snapshot
"""
_IN_STATE: Final = "SELECT record FROM job WHERE state = ?"
_UNBOOKED: Final = """
    SELECT count(*) FROM outbox
    WHERE order_id = ? AND operation = ? AND state NOT IN ('posted', 'superseded', 'voided')
"""
_TIME: Final = "UPDATE meta SET last_time_ns = max(last_time_ns, ?)"
_CURSOR: Final = """
    INSERT INTO connector_cursor (connector, cursor) VALUES (?, ?)
    ON CONFLICT (connector) DO UPDATE SET cursor = excluded.cursor
"""
#: A process that died while sending cannot know how it ended.
_FORGET_SENDING: Final = """
    UPDATE outbox SET state = 'uncertain', due_ns = last_sent_ns, error_kind = 'uncertain', error_code = '',
        error_text = 'linegate was stopped while this was being sent', error_since_ns = last_sent_ns, error_count = 1
    WHERE state = 'sending' RETURNING 1
"""
_STATS: Final = """
    SELECT (SELECT coalesce(sum(postings), 0) FROM outbox_tally WHERE state NOT IN ('posted', 'superseded', 'voided')),
        (SELECT coalesce(sum(postings), 0) FROM outbox_tally WHERE state = 'posted'),
        (SELECT coalesce(sum(last_seq), 0) FROM journal_head), (SELECT count(*) FROM job)
"""


class StoreStats(NamedTuple):
    """Sizes in bytes; ``used_bytes`` of ``max_bytes`` are taken inside the file. Counts since the database exists."""

    database_bytes: int
    wal_bytes: int
    used_bytes: int
    max_bytes: int
    open_postings: int
    posted: int
    journal_rows: int
    jobs: int


class Store:
    """One open database. Made by ``open``; ``close`` must be called, also after errors."""

    def __init__(self, path: Path, now_ns: Callable[[], int], parts: _Parts) -> None:
        self._path = path
        self._now_ns = now_ns
        self._parts = parts
        self._writer = Writer(parts.writing, path)
        self._closed: asyncio.Task[None] | None = None
        self._images_kept: set[str] = set()
        self._images_forgotten = 0

    @classmethod
    async def open(cls, path: Path, *, now_ns: Callable[[], int], max_bytes: int) -> Self:
        """Open or make the database; ``max_bytes`` bounds the size of the file.

        Postings that were being sent become uncertain. ``now_ns`` is not called before this returns. Raises
        DamagedStoreError, NewerSchemaError, StoreError.
        """
        _make_file(path)
        writing = await _connect(path)
        try:
            await schema.prepare_writer(writing, path, max_bytes=max_bytes)
            epoch, interrupted = await _claim(writing, path)
            reading = await _connect(path)
        except BaseException:
            await asyncio.shield(writing.close())
            raise
        try:
            await schema.prepare_reader(reading)
            return cls(path, now_ns, _Parts(writing, reading, epoch, interrupted, max_bytes))
        except BaseException:
            await asyncio.shield(reading.close())
            await asyncio.shield(writing.close())
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    @property
    def epoch(self) -> str:
        """Random name of this database, 13 base32 characters: a lost database never repeats a key."""
        return self._parts.epoch

    @property
    def max_bytes(self) -> int:
        """The file grows no larger than this."""
        return self._parts.max_bytes

    @property
    def committed(self) -> tuple[float, float] | None:
        """When the last transaction ended well (the event loop's seconds), and how long it took; None before it."""
        return self._writer.committed

    @property
    def failing(self) -> tuple[str, float] | None:
        """Why the device refuses writes now, and since when (the event loop's seconds); None where it does not."""
        return self._writer.failing

    @property
    def interrupted(self) -> int:
        """How many postings were found in the middle of being sent when the database was opened."""
        return self._parts.interrupted

    async def close(self) -> None:
        """Finish what waits, then close both connections. Repeatable; survives the cancellation of its caller."""
        if self._closed is None:
            self._closed = asyncio.create_task(self._close(), name="buffer close")
        await asyncio.shield(self._closed)

    async def commit(self, step: Step) -> None:
        """Return when the step is durable. Raises StoreError: nothing of it was kept.

        Several waiting steps share one transaction. If its caller is cancelled, a step is kept or not, never half.
        """
        try:
            records = tuple(jobs.row(record, step.last_time_ns) for record in step.jobs)
            forgotten = self._images_forgotten
            images = self._new_images(step.jobs)
            step = step._replace(audit=tuple(checked(content) for content in step.audit))
        except AuditEntryError as error:
            raise StoreError(
                f"{self._path}: an audit entry cannot be written ({error}); a fault in linegate, please report it"
            ) from error
        except TypeError as error:  # orjson: half a character, or a number beyond 64 bits
            raise StoreError(
                f"{self._path}: a job record cannot be written ({error}); this is a fault in linegate, please report it"
            ) from error
        await self._writer.submit(partial(_apply, step, records, images))
        if len(self._images_kept) + len(images) > IMAGES_KNOWN_MAX:
            self._images_kept.clear()
        if forgotten == self._images_forgotten:
            self._images_kept.update(digest for digest, _ in images)

    def forget_images(self, digests: Iterable[str]) -> None:
        """These images are to be deleted where nothing needs them: whoever needs one from here on brings it again."""
        self._images_forgotten += 1
        self._images_kept.difference_update(digests)

    def _new_images(self, records: Iterable[JobRecord]) -> tuple[tuple[str, bytes], ...]:
        found = {record.job.image_digest: record.job.image for record in records if record.job.image is not None}
        new = ((digest, image) for digest, image in found.items() if digest not in self._images_kept)
        return tuple((digest, jobs.encode_image(image)) for digest, image in new)

    async def write(self, work: Callable[[aiosqlite.Connection], Awaitable[T]]) -> T:
        """Do the work inside a transaction of the writer; returns its result when it is durable. Raises StoreError."""
        return await self._writer.submit(work)

    async def read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of a query, on the connection that cannot write. Raises StoreError."""
        try:
            return [tuple(row) for row in await self._parts.reading.execute_fetchall(sql, values)]
        except (sqlite3.Error, ValueError, OverflowError) as error:
            # aiosqlite reports a closed connection as ValueError, Python a text or number that SQLite cannot take.
            raise StoreError(f"{self._path}: cannot be read: {error}; restart linegate") from error

    async def snapshots(self) -> dict[str, bytes]:
        """The last committed state of each work unit."""
        return dict(await self.read("SELECT id, snapshot FROM work_unit", ()))

    async def job_record(self, order: str, operation: str) -> JobRecord | None:
        """What is remembered of a job order with its image, None if it was never seen. Raises StoreError."""
        rows = await self.read("SELECT record FROM job WHERE order_id = ? AND operation = ?", (order, operation))
        return (await self._with_images([rows[0][0]]))[0] if rows else None

    async def records_of(self, order: str) -> list[JobRecord]:
        """What is remembered of each operation of an order, with the image. Raises StoreError."""
        rows = await self.read("SELECT record FROM job WHERE order_id = ? ORDER BY operation", (order,))
        return await self._with_images([row[0] for row in rows])

    async def orders_like(self, beginning: str) -> tuple[str, ...]:
        """The orders that were ever remembered and whose number begins so. Raises StoreError."""
        rows = await self.read(jobs.LIKE, (len(beginning), beginning))
        return tuple(str(row[0]) for row in rows)

    async def number_of(self, order: str, operation: str) -> LastNumber | None:
        """What is left of a job order that was forgotten, None where nothing was. Raises StoreError."""
        rows = await self.read(jobs.LEFT, (order, operation))
        return LastNumber(*rows[0]) if rows else None

    async def job_records(self) -> list[JobRecord]:
        """Every remembered job order, without images. Raises StoreError."""
        return [self._decoded(row[0], jobs.decode) for row in await self.read("SELECT record FROM job", ())]

    async def records_in(self, state: str) -> list[JobRecord]:
        """Remembered job orders in this state, without images. Raises StoreError."""
        rows = await self.read(_IN_STATE, (state,))
        return [self._decoded(row[0], jobs.decode) for row in rows]

    async def unbooked(self, order: str, operation: str) -> int:
        """Confirmations of an operation that no target has acknowledged yet. Raises StoreError."""
        return int((await self.read(_UNBOOKED, (order, operation)))[0][0])

    async def cursor(self, connector: str) -> str:
        """The cursor of the last committed page of orders, "" at first."""
        rows = await self.read("SELECT cursor FROM connector_cursor WHERE connector = ?", (connector,))
        return str(rows[0][0]) if rows else ""

    async def set_cursor(self, connector: str, cursor: str) -> None:
        """Remember the cursor; call it when the page's orders are committed."""
        await self._writer.submit(partial(_execute, _CURSOR, (connector, cursor)))

    async def last_time_ns(self) -> int:
        """The highest time that was ever committed, 0 in a new database."""
        return int((await self.read("SELECT last_time_ns FROM meta", ()))[0][0])

    async def journal(self, work_unit: str, from_seq: int = 1, limit: int = 1000) -> list[JournalRow]:
        """Recorded rows from this number on."""
        return await journal.read(self, work_unit, from_seq, limit)

    async def journal_seqs(self) -> dict[str, int]:
        """The last journal number of each work unit: the next step continues from it."""
        return dict(await self.read("SELECT work_unit, last_seq FROM journal_head", ()))

    async def stats(self) -> StoreStats:
        """Sizes and counts; cheap."""
        counts = (await self.read(_STATS, ()))[0]
        (pages,) = (await self.read("PRAGMA page_count", ()))[0]
        (free,) = (await self.read("PRAGMA freelist_count", ()))[0]
        (page_bytes,) = (await self.read("PRAGMA page_size", ()))[0]
        wal = self._path.with_name(self._path.name + "-wal")
        return StoreStats(
            database_bytes=_size(self._path),
            wal_bytes=_size(wal),
            used_bytes=(pages - free) * page_bytes,
            max_bytes=self._parts.max_bytes,
            open_postings=counts[0],
            posted=counts[1],
            journal_rows=counts[2],
            jobs=counts[3],
        )

    async def _with_images(self, stored: Iterable[bytes]) -> list[JobRecord]:
        records = [self._decoded(one, jobs.decode) for one in stored]
        images: dict[str, OrderImage] = {}
        for digest in {record.job.image_digest for record in records} - {""}:
            rows = await self.read("SELECT document FROM order_image WHERE digest = ?", (digest,))
            images |= {digest: self._decoded(rows[0][0], jobs.decode_image)} if rows else {}
        return [record._replace(job=with_known_image(record.job, images)) for record in records]

    def _decoded(self, stored: bytes, decode: Callable[[bytes], T]) -> T:
        try:
            return decode(stored)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._path}: a job record cannot be read ({error!r}); it was written by another linegate: report it"
            ) from error

    async def _close(self) -> None:
        await self._writer.drain()
        try:
            await self._parts.reading.close()
        finally:
            await self._parts.writing.close()


class _Parts(NamedTuple):
    writing: aiosqlite.Connection
    reading: aiosqlite.Connection
    epoch: str
    interrupted: int
    max_bytes: int


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


async def _claim(connection: aiosqlite.Connection, path: Path) -> tuple[str, int]:
    try:
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        epoch = base64.b32encode(secrets.token_bytes(EPOCH_BYTES)).decode().rstrip("=").lower()
        await connection.execute_fetchall("INSERT OR IGNORE INTO meta (one, epoch) VALUES (1, ?)", (epoch,))
        interrupted = len(list(await connection.execute_fetchall(_FORGET_SENDING)))
        rows = list(await connection.execute_fetchall("SELECT epoch FROM meta"))
        await connection.execute_fetchall("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be written: {error}; check its rights and free space") from error
    return str(rows[0][0]), interrupted


async def _apply(
    step: Step,
    records: Iterable[tuple[object, ...]],
    images: Sequence[tuple[str, bytes]],
    connection: aiosqlite.Connection,
) -> None:
    unit = step.work_unit
    if step.rows:
        await connection.executemany(_JOURNAL, [(unit, *row) for row in step.rows])
    if step.voids:
        await postings.void(connection, step.voids, step.last_time_ns)
    new = list(step.postings)
    for answer in step.answers:
        assert step.identity is not None, "who answers says who he is"
        whole = await answers.put(connection, step.identity, answer, step.last_time_ns)
        new += [] if whole is None else [whole]
    if new:
        await postings.add(connection, new)
    if images:
        await connection.executemany(_IMAGE, images)
    if records:
        await connection.executemany(jobs.PUT, records)
    await genealogy.keep(step, connection)
    if step.audit:
        await audit_chain.append_all(step.audit, connection)
    for taken in step.keys:
        await replays.take(taken, connection)
    await connection.execute_fetchall(_SNAPSHOT, (unit, step.snapshot))
    await connection.execute_fetchall(_TIME, (step.last_time_ns,))


async def _execute(sql: str, values: tuple[Any, ...], connection: aiosqlite.Connection) -> int:
    return len(list(await connection.execute_fetchall(sql, values)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
