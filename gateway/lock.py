"""One gateway per state directory: makes it and holds its lock. Knows nothing of the contents.

The lock is the kernel's (flock), so it goes with the process however that ends. The file stays: removing it would
let a third process lock a new file while a second one waits on the old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

LOCK_FILE: Final = "lock"
DATABASE_NAME: Final = "linegate.db"
DIRECTORY_MODE: Final = 0o700
LOCK_FILE_MODE: Final = 0o600
PID_BYTES_MAX: Final = 32


class StateDirError(Exception):
    """The state directory cannot be used; the message names the path and says what to do."""


class StateDirLocked(StateDirError):  # noqa: N818 - the name says what is the matter; it is an error by its base
    """Another gateway runs on this state directory.

    Attributes:
        pid: its process id, None where it could not be read.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = f"by the gateway with process id {pid}" if pid is not None else "by another process"
        super().__init__(
            f"state directory {path} is in use {holder}: stop that one, or give this gateway its own state_dir"
        )
        self.pid = pid


class StateDirLock:
    """The exclusive use of a state directory, as a context manager.

    Entering makes the directory (mode 0700) if its parent exists and raises StateDirError where that is impossible,
    StateDirLocked where another process holds it.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Make and lock the directory. Raises StateDirError, StateDirLocked."""
        if self._fd is not None:
            raise StateDirError(f"state directory {self.path} is locked by this very object already")
        self.make()
        fd = self._open_lock_file()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(fd)
            os.close(fd)
            raise StateDirLocked(self.path, pid) from None
        except OSError as error:
            os.close(fd)
            raise StateDirError(
                f"state directory {self.path}: its file system does not lock files ({error.strerror});"
                " put state_dir on a local disk"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the directory free; does nothing if it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()

    def make(self) -> None:
        """Make the directory where it is not there yet, for its owner alone. Raises StateDirError."""
        try:
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(mode=DIRECTORY_MODE)
            is_directory = stat.S_ISDIR(self.path.stat().st_mode)
        except FileNotFoundError:
            raise StateDirError(
                f"state directory {self.path}: the folder {self.path.parent} does not exist; create it,"
                " or correct gateway.state_dir"
            ) from None
        except OSError as error:
            raise StateDirError(
                f"state directory {self.path} cannot be made: {error.strerror}; allowed is a folder below one"
                " that this user may write to"
            ) from error
        if not is_directory:
            raise StateDirError(f"state directory {self.path} is not a folder; remove the file or correct state_dir")

    def _open_lock_file(self) -> int:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(self.path / LOCK_FILE, flags, LOCK_FILE_MODE)
        except OSError as error:
            raise StateDirError(
                f"state directory {self.path}: {LOCK_FILE} cannot be opened for writing: {error.strerror};"
                " the folder must belong to the user that runs the gateway, on a disk mounted read-write"
            ) from error


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, PID_BYTES_MAX, 0).strip()
    return int(text) if text.isdigit() else None
