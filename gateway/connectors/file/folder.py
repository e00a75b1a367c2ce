"""The files themselves: atomic writing, moving, listing. Blocking; the connector calls it in a thread.

Nothing here ever makes the base folder or its two sub-folders: a share that is not mounted must be noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

FILE_MAX_BYTES: Final = 4 * 1024 * 1024
FILES_PER_PAGE_MAX: Final = 20
DIGEST_CHARS: Final = 16


class FolderError(Exception):
    """A folder or file cannot be used. ``written``: a confirmation may be there all the same."""

    def __init__(self, detail: str, *, written: bool = False) -> None:
        super().__init__(detail)
        self.written = written


class Found(NamedTuple):
    """A file of orders. ``content`` is None where it is above ``FILE_MAX_BYTES``."""

    name: str
    content: bytes | None
    stamp: tuple[int, int]

    @property
    def digest(self) -> str:
        """Tells this content from another under the same name."""
        return digest_of(self.content)


def digest_of(content: bytes | None) -> str:
    """A short name of the content."""
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARS] if content is not None else "too-big"


def require(folder: Path) -> None:
    """Raises FolderError where the folder is missing or cannot be written to."""
    try:
        is_there = folder.is_dir()
    except OSError as error:  # a stale mount, an upper folder without rights
        raise FolderError(f"{folder}: cannot be looked at: {error.strerror}; mount the share again") from error
    if not is_there:
        raise FolderError(f"{folder}: is missing; mount the share, or make the folder once by hand")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise FolderError(f"{folder}: cannot be written to; give linegate the rights")


def write_atomically(folder: Path, name: str, body: bytes) -> None:
    """The file is there with all its bytes and durable, or it is not there. Raises FolderError."""
    require(folder)
    final, temporary = folder / name, folder / f".{name}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FolderError(f"{temporary}: cannot be written: {error.strerror or error}") from error
    try:
        temporary.rename(final)
        sync(folder)
    except OSError as error:
        raise FolderError(
            f"{final}: it is unclear whether it was written: {error.strerror or error}", written=True
        ) from error


def sync(folder: Path) -> None:
    """Make renames in the folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find(folders: tuple[Path, ...], name: str) -> Path | None:
    """The file of this name in the first folder that has it, None if none has. Raises FolderError."""
    try:
        return next((folder / name for folder in folders if (folder / name).is_file()), None)
    except OSError as error:
        raise FolderError(f"{error.filename}: cannot be looked into: {error.strerror}") from error


def waiting(folder: Path) -> list[Found]:
    """The files of orders, by name; at most ``FILES_PER_PAGE_MAX``. Raises FolderError."""
    require(folder)
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if _is_order_file(entry))
        return [_read(folder / name) for name in names[:FILES_PER_PAGE_MAX]]
    except OSError as error:
        raise FolderError(f"{error.filename}: cannot be read: {error.strerror}") from error


def read(path: Path) -> Found | None:
    """One file, None if it is not there. Raises FolderError."""
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read: {error.strerror}") from error


def move(path: Path, folder: Path, *, error_text: str | None = None) -> None:
    """Move a read file, with a text beside it that says what is wrong. Raises FolderError."""
    target = folder / path.name
    try:
        folder.mkdir(exist_ok=True)
        number = 1
        while target.exists():  # an older file of the same name is kept as well
            number += 1
            target = folder / f"{path.stem}.{number}{path.suffix}"
        if error_text is not None:
            target.with_name(f"{target.name}.error.txt").write_text(error_text, encoding="utf-8")
        path.rename(target)
        sync(folder)
        sync(path.parent)
    except OSError as error:
        raise FolderError(f"{path}: cannot be moved to {folder}: {error.strerror}") from error


def _is_order_file(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return name.lower().endswith(".csv") and not name.startswith((".", "~")) and entry.is_file()


def _read(path: Path) -> Found:
    status = path.stat()
    content = path.read_bytes() if status.st_size <= FILE_MAX_BYTES else None
    return Found(path.name, content, (status.st_size, status.st_mtime_ns))
