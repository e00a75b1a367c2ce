"""Keeps a damaged database for a person and makes room for a new one. Decides nothing: the caller does, and says so.

A suspicion outlives the process in a small file beside the database, so that the next start knows what was found while
the file was in use, and what it began to set aside.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

SUSPECT_SUFFIX: Final = ".suspect"
FILE_MODE: Final = 0o600
REASON_CHARS_MAX: Final = 500
NOTE_BYTES_MAX: Final = 8192
BELIEVED_TIMES: Final = 2


class Suspicion(NamedTuple):
    """``times``: how often damage was found while it was in use; ``aside``: the name under which it was being kept."""

    times: int
    reason: str
    aside: str = ""


def set_aside(path: Path, *, at_ns: int) -> Path:
    """Rename the database with its write-ahead log; returns its new path. Goes on where an earlier one was cut off.

    The new database gets a new epoch, so no confirmation key is used twice. Raises StoreError.
    """
    noted = suspicion(path)
    kept = path.with_name(noted.aside if noted and noted.aside else f"{path.name}.damaged-{at_ns}")
    try:
        _note(path, Suspicion(noted.times if noted else 1, noted.reason if noted else "", kept.name))
        for suffix in ("-wal", "-shm", "-journal", ""):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        flush_folder(path.parent)
        _suspect_file(path).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be set aside as {kept.name}: {error}; move it away by hand") from error
    return kept


def suspect(path: Path, reason: str, *, surely: bool = False) -> None:
    """Leave word for the next start that damage was found; a disk that takes none changes nothing.

    What was found once in passing is checked at the next start; ``surely``, or the second time, it is believed.
    """
    before = suspicion(path)
    times = BELIEVED_TIMES if surely else (before.times if before else 0) + 1
    with contextlib.suppress(OSError):
        _note(path, Suspicion(times, reason[:REASON_CHARS_MAX]))


def suspicion(path: Path) -> Suspicion | None:
    """What was left, None where nothing was, or nothing that can be read, or nothing is there that it is about."""
    try:
        found: Any = json.loads(_suspect_file(path).read_bytes()[:NOTE_BYTES_MAX])
        noted = Suspicion(int(found["times"]), str(found["reason"]), str(found["aside"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return noted if noted.aside or path.exists() else None


def clear(path: Path) -> None:
    """Nothing is suspected any more."""
    with contextlib.suppress(OSError):
        _suspect_file(path).unlink(missing_ok=True)


def _suspect_file(path: Path) -> Path:
    return path.with_name(path.name + SUSPECT_SUFFIX)


def _note(path: Path, what: Suspicion) -> None:
    target = _suspect_file(path)
    new = target.with_name(f"{target.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(fd, "wb") as file:
        file.write(json.dumps(what._asdict()).encode())
        file.flush()
        os.fsync(fd)
    new.replace(target)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """The names in a folder are on the device when this returns. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
