"""Puts a copy in the place of the database, while no gateway runs: the lock is the caller's business.

The copy is verified and brought up to date before anything is touched; the present database is kept beside it. What was
sent since the copy was made it does not know, so nothing may go on as if nothing had happened: a new epoch begins, so
that no key is given out twice; what was about to be sent, and the first confirmation of every operation that is not
over, or that comes while the feeds of orders catch up (``catching_up.py``), wait for a person.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import epochs
from buffer.backup import FILE_MODE, faults_of, flush_folder
from buffer.errors import StoreError
from buffer.mark import SUFFIXES, Mark
from buffer.store import Store

if TYPE_CHECKING:
    from pathlib import Path

RESTORING: Final = ".restoring"
_DOUBT: Final = "the database was restored from a copy: it may be booked already; look before you approve"


class Restored(NamedTuple):
    """What was restored: the new epoch, where the database before is ("": there was none), and what waits now."""

    epoch: str
    set_aside: str
    postings: int
    operations: int


async def restore(file: Path, database: Path, *, at_ns: int, max_bytes: int) -> Restored:
    """Put the copy in place; ``at_ns`` is the wall clock's time, for the name of what is set aside.

    Raises StoreError, DamagedStoreError and NewerSchemaError: then the present database is as it was.
    """
    part = database.with_name(database.name + RESTORING)
    _remove(part)
    try:
        _bring(file, part)
        kept = database.with_name(f"{database.name}.replaced-{at_ns}")
        aside = kept.name if _is_there(database) else ""
        made = await _prepared(part, file, aside, at_ns, max_bytes)
        _swap(part, database, kept)
        # What left before is known to be in doubt: the mark goes on with the new epoch.
        mark = Mark(database)
        mark.read()
        with contextlib.suppress(OSError):  # then the next start finds the same doubt once more
            mark.begin(made.epoch)
        mark.close()
    except OSError as error:
        raise StoreError(f"{database}: {file} cannot be put in its place: {error.strerror or error}") from error
    finally:
        _remove(part)
    return made


def _is_there(path: Path) -> bool:
    return path.exists()


def _bring(file: Path, part: Path) -> None:
    if not file.is_file():
        raise StoreError(f"{file}: there is no such file")
    with file.open("rb") as source:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
            target.flush()
            os.fsync(target.fileno())


async def _prepared(part: Path, file: Path, aside: str, at_ns: int, max_bytes: int) -> Restored:
    """Up to date, verified, in a new epoch."""
    store = await Store.open(part, now_ns=lambda: at_ns, max_bytes=max_bytes)
    try:
        faults = faults_of(part)
        if faults:
            raise StoreError(f"{file}: is not sound: {'; '.join(faults)}; take another copy")
        why = epochs.Why(epochs.RESTORED, _DOUBT, file.name, aside)
        begun = await store.write(partial(epochs.begin, at_ns=at_ns, before=store.epoch, why=why))
    finally:
        await store.close()
    return Restored(begun.epoch, aside, begun.postings, begun.operations)


def _swap(part: Path, database: Path, kept: Path) -> None:
    if database.exists():
        # Its log goes into it first: a log that lay beside another database would be taken for that one's.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as present:
            present.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for suffix in ("-wal", "-shm", "-journal"):  # still there where the file is damaged
            beside = database.with_name(database.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        try:
            os.link(database, kept)
        except OSError:  # a file system without hard links: for a moment there is none of that name
            database.rename(kept)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(database)
    flush_folder(database.parent)


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        part.with_name(part.name + suffix).unlink(missing_ok=True)
    for suffix in SUFFIXES:
        part.with_suffix(suffix).unlink(missing_ok=True)
