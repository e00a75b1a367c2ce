"""Gives space inside the database back to the disk, a little at a time, and makes an older file able to.

A file that was made before this was possible is rewritten once, when it is opened, if it is small and there is room for
it; a larger one stays as it is: its free pages are used again, and it never grows beyond ``buffer.max_size``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import aiosqlite

INCREMENTAL: Final = 2
#: Larger files would keep a machine waiting at the start for longer than a moment.
REWRITTEN_MAX_BYTES: Final = 64 * 1024 * 1024
#: A rewritten file is written to a temporary one, to the write-ahead log, and back.
ROOM_TIMES: Final = 3
#: So many free pages are kept for what comes next.
FREE_PAGES_KEPT: Final = 1024
#: Given back in one transaction: 1 MiB.
PAGES_AT_ONCE: Final = 256
#: Fewer are not worth a transaction.
PAGES_LEAST: Final = 64


async def make_able(connection: aiosqlite.Connection, path: Path) -> bool:
    """Rewrite a small older file so that it can shrink; whether it was. Raises sqlite3.Error: nothing has changed."""
    ((mode,),) = await connection.execute_fetchall("PRAGMA auto_vacuum")
    if mode == INCREMENTAL:
        return False
    size = os.stat(path).st_size  # noqa: PTH116 - of a file that is open: it does not wait
    free = os.statvfs(path.parent)
    if size > REWRITTEN_MAX_BYTES or free.f_bavail * free.f_frsize < ROOM_TIMES * size:
        return False
    await connection.execute_fetchall("PRAGMA auto_vacuum=INCREMENTAL")
    # The temporary copy belongs onto the disk: memory is what a small computer has least of.
    await connection.execute_fetchall("PRAGMA temp_store=FILE")
    await connection.execute_fetchall("VACUUM")
    await connection.execute_fetchall("PRAGMA temp_store=MEMORY")
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
