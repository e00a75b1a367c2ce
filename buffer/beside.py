"""The figures of a database, with what is not in it: sizes of files, free disk, databases that were set aside.

The file system is asked in a thread: a card that hangs must hold up nobody. What the figures mean is ``figures``.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from buffer import backup_note
from buffer.classes import bytes_by_class
from buffer.figures import QUERY, Beside, BufferFigures, figures_of
from gateway.core.calendar.honest_time import utc_of
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.classes import ClassBytes
    from buffer.readonly import ReadOnlyStore
    from buffer.store import Store

SET_ASIDE_SHOWN_MAX: Final = 20
RESERVE_NAME: Final = "linegate.reserve"

_LAST_TIME: Final = "SELECT coalesce(max(last_time_ns), 0) FROM meta"


def beside(path: Path, *, at_ns: int | None = None, max_bytes: int | None = None, offset_ns: int = 0) -> Beside:
    """What is beside this database; what cannot be asked is 0 or None. ``offset_ns``: UTC minus steady time."""
    copied = backup_note.last(path)
    return Beside(
        at_ns=at_ns,
        max_bytes=max_bytes,
        disk_free_bytes=_free_bytes(path),
        database_bytes=_size(path),
        wal_bytes=_size(path.with_name(path.name + "-wal")),
        reserve_bytes=_size(path.with_name(RESERVE_NAME)),
        set_aside=_set_aside(path),
        last_backup_ns=None if copied is None else copied.at_utc_ns - offset_ns,
        last_backup_file="" if copied is None else copied.file,
        last_backup_bytes=None if copied is None else copied.bytes,
    )


def _set_aside(path: Path) -> tuple[str, ...]:
    try:
        found = sorted(
            one.name
            for one in path.parent.glob(f"{path.name}.damaged-*")
            if not one.name.endswith(("-wal", "-shm", "-journal"))
        )
    except OSError:
        return ()
    return tuple(found[-SET_ASIDE_SHOWN_MAX:])


def _free_bytes(path: Path) -> int | None:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def figures(store: Store, now_ns: int, offset_ns: int = 0) -> BufferFigures:
    """Of the database that this process has open. ``offset_ns``: UTC minus steady time. Raises StoreError."""
    rows = await store.read(QUERY, ())
    known = await asyncio.to_thread(beside, store.path, at_ns=now_ns, max_bytes=store.max_bytes, offset_ns=offset_ns)
    committed = store.committed
    if committed is not None:
        ago_ns = int((asyncio.get_running_loop().time() - committed[0]) * NS_PER_S)
        known = known._replace(last_commit_ns=now_ns - ago_ns, last_commit_ms=int(committed[1] * 1000))
    return figures_of(rows, known)


async def classes(store: Store) -> tuple[ClassBytes, ...]:
    """Bytes of each class, estimated. Raises StoreError."""
    return await store.at_once(lambda link: bytes_by_class(lambda sql, values: link.execute(sql, values).fetchall()))


def figures_of_file(store: ReadOnlyStore) -> BufferFigures:
    """Of a database that another process has open, or nobody. Raises StoreError."""
    ((last_ns,),) = store.read(_LAST_TIME, ())
    offset_ns = utc_of(store.corrections(), last_ns) - last_ns
    return figures_of(store.read(QUERY, ()), beside(store.path, offset_ns=offset_ns))


def classes_of_file(store: ReadOnlyStore) -> tuple[ClassBytes, ...]:
    """Bytes of each class, estimated. Raises StoreError."""
    with store.moment():
        return bytes_by_class(store.read)
