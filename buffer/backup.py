"""A copy of the database while the gateway runs: one state of it, in small steps, verified before it gets its name.

Whoever copies holds one read transaction, so that commits meanwhile neither wait nor spoil the copy; the write-ahead
log cannot be cut until the copy is done. It never replaces a file, and restores nothing (``restore.py`` does).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import backup_note
from buffer.errors import StoreError
from buffer.readonly import reading
from buffer.verify import verified
from buffer.verify_proofs import JOURNAL_CONTENTS

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

FILE_MODE: Final = 0o600
#: 256 KiB at a time, then a pause in which the disk is the gateway's.
PAGES_AT_ONCE: Final = 64
PAUSE_S: Final = 0.002
PART: Final = ".part"

_COUNTS: Final = """
    SELECT (SELECT epoch FROM meta), (SELECT coalesce(sum(last_seq), 0) FROM journal_head),
        (SELECT count(*) FROM outbox), (SELECT coalesce(max(seq), 0) FROM audit_entry), (SELECT count(*) FROM job)
"""


class Copied(NamedTuple):
    """What a copy holds: the epoch, the sum of the last journal numbers, postings, audit entries, job orders."""

    epoch: str
    journal_rows: int
    postings: int
    audit_entries: int
    jobs: int
    bytes: int


def copy(database: Path, to: Path, stop: Event) -> Copied:
    """Copy, verify, flush, name, and leave a note of it beside the database. Slow: not in the loop.

    ``stop`` ends it early, with nothing left behind.

    Raises StoreError where it cannot be read or written, ``to`` exists, or the copy is not sound.
    """
    if to.exists() or to.is_symlink():
        raise StoreError(f"{to}: is there already; name another file, a copy never replaces one")
    part = to.with_name(to.name + PART)
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE))
    except OSError as error:
        raise StoreError(
            f"{part}: cannot be made: {error.strerror}; check the folder, and remove it if an older copy left it"
        ) from error
    try:
        found = _copied(database, part, stop)
        _check(part, found)
        _name(part, to)
        backup_note.leave(database, to)
    except OSError as error:
        raise StoreError(f"{to}: cannot be written: {error.strerror}; check free space and rights") from error
    finally:
        part.unlink(missing_ok=True)
    return found


def _copied(database: Path, part: Path, stop: Event) -> Copied:
    def pause(_status: int, _left: int, _total: int) -> None:
        if stop.wait(PAUSE_S):
            raise InterruptedError

    with reading(database) as source:
        source.execute("BEGIN")
        counts = source.execute(_COUNTS).fetchone()
        try:
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as target:
                target.execute("PRAGMA synchronous=OFF")  # it is flushed once, before it gets its name
                source.backup(target, pages=PAGES_AT_ONCE, progress=pause)
                target.execute("PRAGMA journal_mode=DELETE")  # one file, that can be read from where nobody may write
        except sqlite3.Error as error:
            raise StoreError(f"{part}: cannot be written: {error}; check free space and rights") from error
        except InterruptedError as error:
            raise StoreError(f"{part}: the copy was stopped before it was whole", temporary=True) from error
    return Copied._make((*counts, part.stat().st_size))


def faults_of(file: Path, *, quick: bool = False) -> list[str]:
    """Why a file is no copy to go on from, the first defect of each check; [] where it is one. Raises StoreError.

    A journal row whose content is spoiled is none, and not looked for: nothing goes on from it, and no copy at all
    would be worse.
    """
    found = verified(file, quick=quick, without=(JOURNAL_CONTENTS,))
    return [f"{one.name}: {one.told[0]}" for one in found if one.defects]


def _check(part: Path, found: Copied) -> None:
    faults = faults_of(part, quick=True)
    with reading(part) as copied:
        counts = copied.execute(_COUNTS).fetchone()
    if counts != found[:-1]:
        faults.append(f"the copy holds {counts}, the database {found[:-1]}")
    if faults:
        raise StoreError(f"{part}: the copy is not sound: {'; '.join(faults)}; see linegate buffer verify")


def _name(part: Path, to: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, to)  # fails where a file of that name came meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as that of a memory stick
        if to.exists():
            raise
        part.rename(to)
    flush_folder(to.parent)


def flush_folder(folder: Path) -> None:
    """Names in it survive a power cut when this returns. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
