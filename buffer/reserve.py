"""Room that is kept for a full disk: a file beside the database, really allocated, and removed when it is needed.

On a full disk SQLite can neither delete nor tidy up its log, because both write first: without this room a full disk
could not be drained. It knows nothing of the database.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_NAME: Final = "linegate.reserve"
FILE_MODE: Final = 0o600
#: The device must have so much more than the reserve itself before it is made: twice what the log may take.
ROOM_BESIDES_BYTES: Final = 8 * 1024 * 1024
#: Less room than this is none.
FULL_BELOW_BYTES: Final = 64 * 1024


class Reserve:
    """One file of ``size_bytes``; 0: none is kept, and none is ever given up."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / RESERVE_NAME
        self._size_bytes = size_bytes
        self._given_up = False

    @property
    def given_up(self) -> bool:
        """The disk was full, and there was no room since: only what makes room, or drains, may be written."""
        return self._given_up

    def trouble(self) -> str:
        """What the device itself says against writing, "" where nothing."""
        try:
            found = os.statvfs(self._path.parent)
        except OSError as error:
            return f"the disk does not answer: {error.strerror}; check the storage device (kernel log)"
        if found.f_flag & os.ST_RDONLY:
            return "the disk is read-only; remount it for writing"
        if found.f_bavail * found.f_frsize < FULL_BELOW_BYTES:
            return "the disk is full; free some space"
        return ""

    def make(self) -> bool:
        """Allocate it where there is room; whether it is there. Blocks for as long as the device needs."""
        if not self._size_bytes:
            self._path.unlink(missing_ok=True)
            return True
        try:
            if _allocated(self._path) == self._size_bytes:
                self._given_up = False
            elif _has_room(self._path.parent, self._size_bytes):
                self._allocate()
                self._given_up = False
            else:
                self._given_up = True
        except OSError:  # no room after all, or the device fails: its next look tries again
            self._given_up = True
        return not self._given_up

    def give_up(self) -> None:
        """Remove it, so that its room can be used."""
        if self._size_bytes:
            self._given_up = True
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _allocate(self) -> None:
        new = self._path.with_name(f"{RESERVE_NAME}.new")
        try:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            try:
                os.posix_fallocate(fd, 0, self._size_bytes)
            finally:
                os.close(fd)
            new.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise


def _allocated(path: Path) -> int:
    """Its size, 0 where blocks are missing or it is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if found.st_blocks * 512 >= found.st_size else 0


def _has_room(folder: Path, size_bytes: int) -> bool:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= size_bytes + ROOM_BESIDES_BYTES
