"""A folder here, also a mounted share, as a place for files. Blocking: the connector calls it in a thread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePosixPath


class LocalPlace:
    """Files of this machine; see ``place.Place`` for what each call promises."""

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether it is there and a folder."""
        return Path(path).is_dir()

    def may_write(self, folder: PurePosixPath) -> bool:
        """Whether this process has the rights."""
        return os.access(folder, os.R_OK | os.W_OK | os.X_OK)

    def exists(self, path: PurePosixPath) -> bool:
        """Whether a plain file of this name is there."""
        return Path(path).is_file()

    def names(self, folder: PurePosixPath) -> list[str]:
        """The plain files in it, sorted."""
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())

    def listed(self, folder: PurePosixPath) -> list[tuple[str, int]]:
        """The plain files in it, sorted, and when each changed last (nanoseconds)."""
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.is_file())

    def folders(self, folder: PurePosixPath) -> list[str]:
        """The folders in it, sorted."""
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def stamp(self, path: PurePosixPath) -> tuple[int, int]:
        """Size in bytes, and time of the last change in nanoseconds."""
        status = Path(path).stat()
        return status.st_size, status.st_mtime_ns

    def read(self, path: PurePosixPath) -> bytes:
        """All of it."""
        return Path(path).read_bytes()

    def write(self, path: PurePosixPath, body: bytes) -> None:
        """All of it, durable, in place of what was there."""
        with Path(path).open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Atomic; the target is replaced if it is there."""
        Path(source).rename(target)

    def make_folder(self, path: PurePosixPath) -> None:
        """Make it, if it is not there."""
        Path(path).mkdir(exist_ok=True)

    def remove_folder(self, path: PurePosixPath) -> None:
        """Take away an empty folder."""
        Path(path).rmdir()

    def remove(self, path: PurePosixPath) -> None:
        """Take the file away; it may be gone already."""
        Path(path).unlink(missing_ok=True)

    def sync(self, folder: PurePosixPath) -> None:
        """Make renames in the folder durable."""
        sync(folder)

    def close(self) -> None:
        """Nothing to release."""


def sync(folder: PurePosixPath) -> None:
    """Make renames in the folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
