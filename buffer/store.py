"""The database of the gateway: the only way in which production data are written, and how they are read back.

Guarantee: what ``commit`` returned for survives a power cut, and of a step all is kept or nothing. It never interprets
a snapshot or a payload, and it never reads a clock while it opens: the clock itself starts from ``last_time_ns``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from buffer import jobs, journal, moment, packing, schema, space
from buffer.applying import apply
from buffer.checking import SOUND, Check
from buffer.entry import ANY_TARGET, OVER_SQL
from buffer.errors import StoreError
from buffer.opening import Opened
from buffer.recovery import Recovery
from buffer.reserve import Reserve
from buffer.writer import Writer
from gateway.core.audit.entry import AuditEntryError, checked
from gateway.core.job_order import LastNumber
from gateway.core.orders.job_image import with_known_image

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    import aiosqlite

    from buffer.mark import Sent
    from buffer.older import Older
    from buffer.space import StoreStats
    from buffer.step import JournalRow, Step
    from gateway.core.model import JobRecord
    from gateway.core.orders.order_image import OrderImage

#: How often a read is tried that the disk failed under.
READ_TRIES: Final = 3
RESERVE_BYTES: Final = 4 * 1024 * 1024

T = TypeVar("T")

#: Digests of images that are known to be stored; one that was forgotten is offered again, and ignored.
IMAGES_KNOWN_MAX: Final = 4096
_IN_STATE: Final = "SELECT record FROM job WHERE state = ?"
_UNBOOKED: Final = f"""
    SELECT count(*) FROM outbox
    WHERE {ANY_TARGET} AND order_id = ? AND operation = ? AND state NOT IN {OVER_SQL}
"""  # noqa: S608 - constants
_CURSOR: Final = """
    INSERT INTO connector_cursor (connector, cursor) VALUES (?, ?)
    ON CONFLICT (connector) DO UPDATE SET cursor = excluded.cursor
"""


class Store:
    """One open database. Made by ``open``; ``close`` must be called, also after errors."""

    def __init__(self, opened: Opened, reserve: Reserve, *, now_ns: Callable[[], int], window_s: float = 0.0) -> None:
        self._path = opened.path
        self._now_ns = now_ns
        self._opened = opened
        self._recovery = Recovery(opened, reserve)
        self._writer = Writer(opened, self._recovery, window_s)
        self._closed: asyncio.Task[None] | None = None
        self._images_kept: set[str] = set()
        self._images_forgotten = 0

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        now_ns: Callable[[], int],
        max_bytes: int,
        reserve_bytes: int = RESERVE_BYTES,
        window_s: float = 0.0,
    ) -> Self:
        """Open or make the database; ``max_bytes`` bounds the size of the file, ``reserve_bytes`` is kept beside it.

        Postings that were being sent become uncertain. ``now_ns`` is not called before this returns. The first of a
        group of writes waits for others for ``window_s``. Raises DamagedStoreError, NewerSchemaError, StoreError.
        """
        opened, reserve = Opened(path, max_bytes), Reserve(path.parent, reserve_bytes)
        try:
            await opened.open()
        except StoreError as error:
            # Where it cannot even make its index of the log, SQLite speaks of an I/O error.
            if not error.full and not reserve.trouble():
                raise
            reserve.give_up()
            await opened.open()
        try:
            await asyncio.to_thread(reserve.make)
        except BaseException:
            # Their threads would keep the process alive for ever.
            await asyncio.shield(opened.close())
            raise
        return cls(opened, reserve, now_ns=now_ns, window_s=window_s)

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
        return self._opened.epoch

    @property
    def older(self) -> Older | None:
        """What the mark knew of that this database did not when it was opened, None where it knew all."""
        return self._opened.older

    @property
    def max_bytes(self) -> int:
        """The file grows no larger than this."""
        return self._opened.max_bytes

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
        return self._opened.interrupted

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
        if not await self._recovery.make_room():
            raise StoreError(self._recovery.problem, temporary=True, full=True)
        await self._writer.submit(partial(apply, step, records, images))
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

    async def write(
        self,
        work: Callable[[aiosqlite.Connection], Awaitable[T]],
        sent: Callable[[T], Sequence[Sent]] | None = None,
    ) -> T:
        """Do the work inside a transaction of the writer; returns its result when it is durable. Raises StoreError.

        ``sent`` says what of the result begins to leave the box: then it stands in the mark, too.
        """
        return await self._writer.submit(work, sent)

    async def read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of a query, on the connection that cannot write. Raises StoreError."""
        return await self._look(lambda connection: connection.execute(sql, values).fetchall())

    async def at_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` reads by several statements, all of one moment; it runs in a thread. Raises StoreError."""
        return await self._look(partial(moment.of, work))

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        for left in reversed(range(READ_TRIES)):
            connection = await self._for_reading()
            try:
                return await moment.in_its_thread(connection, work)
            except sqlite3.Error as error:
                if not await self._reads_again(error, connection) or not left:
                    raise self._unread(error) from error
            except (ValueError, OverflowError) as error:
                # aiosqlite reports a closed connection as ValueError, Python a text or number that SQLite cannot take.
                if self._closed is not None or connection is self._opened.reading_or_none or not left:
                    raise self._unread(error) from error
        raise AssertionError("the last try returns or raises")

    async def _for_reading(self) -> aiosqlite.Connection:
        if not self._opened.is_open and self._closed is None:
            async with self._opened.lock:
                await self._recovery.ready()
        return self._opened.reading

    async def _reads_again(self, error: sqlite3.Error, connection: aiosqlite.Connection) -> bool:
        """Whether reading can be tried again: where the disk is at fault everything is opened anew."""
        if schema.family(error) not in ("IOERR", "READONLY", "CANTOPEN", "CORRUPT", "NOTADB"):
            return False
        async with self._opened.lock:
            if connection is self._opened.reading_or_none:
                await self._recovery.failed(error, writing=False)
        return self._recovery.damaged is None

    def _unread(self, error: Exception) -> StoreError:
        if self._recovery.damaged is not None:
            return self._recovery.damaged
        waits = isinstance(error, sqlite3.Error) and schema.family(error) in ("IOERR", "CANTOPEN", "BUSY", "LOCKED")
        return StoreError(f"{self._path}: cannot be read: {error}; restart linegate", temporary=waits)

    @property
    def problem(self) -> str:
        """What keeps the file from being written now, in words, "" where nothing does."""
        return self._recovery.problem

    @property
    def damaged(self) -> StoreError | None:
        """Set once the file turned out to be damaged while it was in use: every write fails from then on."""
        return self._recovery.damaged

    async def upkeep(self) -> None:
        """One small step: the reserve is made again where there is room, and free pages are given back.

        Call it every second or so. Raises StoreError.
        """
        if await self._recovery.make_room() and await self._has_spare_pages():
            await self._writer.submit(space.give_back)

    async def check(self) -> str:
        """Look through a file that was too large to be checked when it was opened; what is damaged, or "".

        Takes as long as reading the file; where damage is found nothing more is written.
        """
        if space.size(self._path) <= schema.QUICK_CHECK_MAX_BYTES:
            return ""
        check = Check(self._path)
        self._opened.beside.append(check)
        try:
            found = await asyncio.to_thread(check.run)
        finally:
            check.stop()
            self._opened.beside.remove(check)
        if found in ("", SOUND):
            return ""
        self._recovery.found_damaged(found)
        return found

    async def _has_spare_pages(self) -> bool:
        ((free,),) = await self.read("PRAGMA freelist_count", ())
        if int(free) < space.FREE_PAGES_KEPT + space.PAGES_LEAST:
            return False
        return bool((await self.read("PRAGMA auto_vacuum", ()))[0][0] == space.INCREMENTAL)

    async def snapshots(self) -> dict[str, bytes]:
        """The last committed state of each work unit."""
        rows = await self.read("SELECT id, snapshot FROM work_unit", ())
        return {unit: packing.unpacked(stored) for unit, stored in rows}

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
        return self.records(row[0] for row in await self.read("SELECT record FROM job", ()))

    async def records_in(self, state: str) -> list[JobRecord]:
        """Remembered job orders in this state, without images. Raises StoreError."""
        rows = await self.read(_IN_STATE, (state,))
        return self.records(row[0] for row in rows)

    def records(self, stored: Iterable[bytes]) -> list[JobRecord]:
        """Job orders from what is stored of them, without images. Raises StoreError."""
        return [self._decoded(one, jobs.decode) for one in stored]

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
        """Sizes and counts, of one moment; cheap."""
        return await self.at_once(partial(space.stats, self._path, self._opened.max_bytes))

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
        self._recovery.close()
        async with self._opened.lock:
            await self._opened.close()


async def _execute(sql: str, values: tuple[Any, ...], connection: aiosqlite.Connection) -> int:
    return len(list(await connection.execute_fetchall(sql, values)))
