"""What a place for files must be able to do, whether it is a mounted share or a server with SFTP. Does nothing itself.

Every call blocks, and raises OSError where it could not be done: FileNotFoundError for what is not there,
PermissionError where the rights are missing or another program holds the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import PurePosixPath


class FolderError(Exception):
    """A folder or file cannot be used.

    ``written``: a confirmation may be there all the same. ``busy``: the other side holds it just now.
    ``signed_out``: the server does not let us in.
    """

    def __init__(self, detail: str, *, written: bool = False, busy: bool = False, signed_out: bool = False) -> None:
        super().__init__(detail)
        self.written = written
        self.busy = busy
        self.signed_out = signed_out


class SignInError(OSError):
    """The server refused name, password or key."""


class Place(Protocol):
    """Files and folders by their path."""

    def is_folder(self, path: PurePosixPath) -> bool:
        """Whether it is there and a folder."""

    def may_write(self, folder: PurePosixPath) -> bool:
        """Whether files can be put there and taken away, as far as that can be told beforehand."""

    def exists(self, path: PurePosixPath) -> bool:
        """Whether a plain file of this name is there."""

    def names(self, folder: PurePosixPath) -> list[str]:
        """The plain files in it, sorted."""

    def listed(self, folder: PurePosixPath) -> list[tuple[str, int]]:
        """The plain files in it, sorted, and when each changed last (nanoseconds by the place's own clock)."""

    def folders(self, folder: PurePosixPath) -> list[str]:
        """The folders in it, sorted."""

    def stamp(self, path: PurePosixPath) -> tuple[int, int]:
        """Size in bytes, and time of the last change in nanoseconds by the place's own clock."""

    def read(self, path: PurePosixPath) -> bytes:
        """All of it."""

    def write(self, path: PurePosixPath, body: bytes) -> None:
        """All of it, durable, in place of what was there."""

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Atomic; the target is replaced if it is there."""

    def make_folder(self, path: PurePosixPath) -> None:
        """Make it, if it is not there."""

    def remove_folder(self, path: PurePosixPath) -> None:
        """Take away an empty folder."""

    def remove(self, path: PurePosixPath) -> None:
        """Take the file away; it may be gone already."""

    def sync(self, folder: PurePosixPath) -> None:
        """What was renamed in it is durable, as far as the place can promise that."""

    def close(self) -> None:
        """Release everything; never raises."""
