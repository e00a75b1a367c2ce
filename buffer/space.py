"""Gives space inside the database back to the disk, a little at a time, and makes an older file able to.

A file that was made before this was possible, or in larger pages, is rewritten once, when it is opened, if it is small
and there is room for it; a larger one stays as it is: its free pages are used again, and it never grows beyond
``buffer.max_size``. Says, too, how large everything is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer.entry import OVER_SQL
from buffer.schema import PAGE_BYTES

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    import aiosqlite

INCREMENTAL: Final = 2
#: Larger files would keep a machine waiting at the start for longer than a moment.
REWRITTEN_MAX_BYTES: Final = 64 * 1024 * 1024
#: A rewritten file is written to a temporary one and back, and what it was before to a journal.
ROOM_TIMES: Final = 3
#: So long somebody who reads the file is waited for before it is rewritten.
READER_WAIT_MS: Final = 500
#: Pages of what SQLite allows at most.
PAGES_MAX: Final = 4_294_967_294
#: So much free room is kept for what comes next.
KEPT_BYTES: Final = 4 * 1024 * 1024
FREE_PAGES_KEPT: Final = KEPT_BYTES // PAGE_BYTES
#: Given back in one transaction: 512 KiB.
PAGES_AT_ONCE: Final = 512
#: Fewer are not worth a transaction.
PAGES_LEAST: Final = 64
_STATS: Final = f"""
    SELECT (SELECT coalesce(sum(postings), 0) FROM outbox_tally WHERE state NOT IN {OVER_SQL}),
        (SELECT coalesce(sum(postings), 0) FROM outbox_tally WHERE state = 'posted'),
        (SELECT coalesce(sum(last_seq), 0) FROM journal_head), (SELECT count(*) FROM job)
"""  # noqa: S608 - constants


async def make_able(connection: aiosqlite.Connection, path: Path) -> bool:
    """Rewrite a small older file so that it can shrink, in pages of the present size; whether it was.

    Raises sqlite3.Error: what is in it has not changed. Either way it may have left WAL mode, and the pragmas of
    whoever writes are to be set again. A process that dies meanwhile leaves a journal, from which SQLite makes the file
    what it was. No other connection of this process may have it open.
    """
    ((mode,),) = await connection.execute_fetchall("PRAGMA auto_vacuum")
    ((page_bytes,),) = await connection.execute_fetchall("PRAGMA page_size")
    if (mode, page_bytes) == (INCREMENTAL, PAGE_BYTES):
        return False
    size = os.stat(path).st_size  # noqa: PTH116 - of a file that is open: it does not wait
    free = os.statvfs(path.parent)
    if size > REWRITTEN_MAX_BYTES or free.f_bavail * free.f_frsize < ROOM_TIMES * size:
        return False
    await connection.execute_fetchall(f"PRAGMA busy_timeout={READER_WAIT_MS}")
    # In WAL mode pages keep their size.
    await connection.execute_fetchall("PRAGMA journal_mode=DELETE")
    await connection.execute_fetchall(f"PRAGMA page_size={PAGE_BYTES}")
    await connection.execute_fetchall("PRAGMA auto_vacuum=INCREMENTAL")
    await connection.execute_fetchall(f"PRAGMA max_page_count={PAGES_MAX}")
    # The temporary copy belongs onto the disk: memory is what a small computer has least of.
    await connection.execute_fetchall("PRAGMA temp_store=FILE")
    await connection.execute_fetchall("VACUUM")
    return True


async def give_back(connection: aiosqlite.Connection) -> int:
    """One step, inside a transaction: free pages beyond those that are kept; returns how many went."""
    ((free,),) = await connection.execute_fetchall("PRAGMA freelist_count")
    ((mode,),) = await connection.execute_fetchall("PRAGMA auto_vacuum")
    pages = min(int(free) - FREE_PAGES_KEPT, PAGES_AT_ONCE)
    if mode != INCREMENTAL or pages < PAGES_LEAST:
        return 0
    for _ in range(pages):  # Python takes one step of it, which is one page, whatever number it names
        await connection.execute_fetchall("PRAGMA incremental_vacuum(1)")
    return pages


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


def stats(path: Path, max_bytes: int, connection: sqlite3.Connection) -> StoreStats:
    """Sizes and counts of the database behind the connection. Raises sqlite3.Error."""
    (counts,) = connection.execute(_STATS)
    pages, free, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return StoreStats(
        size(path), size(path.with_name(path.name + "-wal")), (pages - free) * page_bytes, max_bytes, *counts
    )


def size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
