"""The file of the users in the state directory: read as a whole, changed as a whole, and nobody else's business.

It holds hashes, no secret; still only its owner may read it (mode 0600), and a file that others may read or write is
refused. A change replaces the file at once: a power cut leaves the old one or the new one. Knows no rule about users.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gateway.access.tokens import TokenIndex
from gateway.access.users import AccessError, Directory
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILE_NAME: Final = "users.json"
FILE_MODE: Final = 0o600
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
VERSION: Final = 1
LOCK_WAIT_S: Final = 5.0
_LOCK_POLL_S: Final = 0.05
_ADAPTER: Final = TypeAdapter(Directory)


class AccessFileError(AccessError):
    """The file cannot be read or written; the message names it and says what to do."""


class _Seen(NamedTuple):
    """Which file it was: another inode, size or time of its last change (of its mode, too) is another file."""

    inode: int
    changed_ns: int
    size: int


class AccessFile:
    """The users of one state directory. A file that is not there holds nobody."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._seen: _Seen | None = None
        self._held = Directory()
        self._index = TokenIndex(self._held)

    def current(self) -> tuple[Directory, TokenIndex]:
        """Users and tokens as the file has them now; it is read only where it has changed. Raises AccessFileError."""
        try:
            seen = _seen(self.path.lstat())
        except FileNotFoundError:
            seen = None
        except OSError as error:
            raise AccessFileError(f"{self.path}: cannot be read: {error.strerror}; check its folder") from error
        if seen != self._seen:
            held, seen = self._load()
            self._held, self._index, self._seen = held, TokenIndex(held), seen
        return self._held, self._index

    def load(self) -> Directory:
        """Users and tokens, read anew. Raises AccessFileError."""
        return self._load()[0]

    def change(self, how: Callable[[Directory], Directory]) -> Directory:
        """Read, change and replace the file while no other process does; returns what it holds now.

        Raises AccessFileError, and what ``how`` raises: the file is then as it was.
        """
        with self._locked():
            changed = how(self.load())
            self._replace(_ADAPTER.dump_json(changed, indent=1) + b"\n")
            return changed

    def _load(self) -> tuple[Directory, _Seen | None]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return Directory(), None
        except OSError as error:
            raise AccessFileError(
                f"{self.path}: cannot be read: {error.strerror}; allowed: a file of the gateway's user, no link"
            ) from error
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            self._check(found)
            text = file.read(FILE_BYTES_MAX + 1)
        return self._parsed(text), _seen(found)

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise AccessFileError(f"{self.path}: is no file; remove it and add the users again")
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise AccessFileError(
                f"{self.path}: found mode {mode:04o}, allowed {FILE_MODE:04o}: others may have read or changed it;"
                f" look at linegate user list, then chmod {FILE_MODE:o} it"
            )
        if found.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
            raise AccessFileError(f"{self.path}: belongs to uid {found.st_uid}, allowed: {os.geteuid()} or root")
        if found.st_size > FILE_BYTES_MAX:
            raise AccessFileError(f"{self.path}: found {found.st_size} bytes, allowed: up to {FILE_BYTES_MAX}")

    def _parsed(self, text: bytes) -> Directory:
        try:
            directory = _ADAPTER.validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise AccessFileError(
                f"{self.path}: cannot be understood: {clean(place, 80)}: {first['msg']}; restore it from a backup,"
                " or remove it and add the users again"
            ) from error
        if directory.version != VERSION:
            raise AccessFileError(f"{self.path}: found version {directory.version}, allowed {VERSION}")
        return directory

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The folder itself is locked: a lock file of another owner would be in the way for ever.
        try:
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            todo = "it is made by the first start: linegate run"
            raise AccessFileError(f"{self.path.parent}: cannot be opened: {error.strerror}; {todo}") from error
        try:
            deadline = time.monotonic() + LOCK_WAIT_S
            while not _flock(fd):
                if time.monotonic() > deadline:
                    raise AccessFileError(f"{self.path}: another process changes it; try again")
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(fd)

    def _replace(self, text: bytes) -> None:
        if len(text) > FILE_BYTES_MAX:
            raise AccessFileError(f"{self.path}: would have {len(text)} bytes, allowed: up to {FILE_BYTES_MAX}")
        new = self.path.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), "wb") as file:
                os.fchmod(file.fileno(), FILE_MODE)  # whatever the umask is
                self._give_to_owner(file.fileno())
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            _sync(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise AccessFileError(
                f"{self.path}: cannot be written: {error.strerror}; do it as the gateway's user, with room on the disk"
            ) from error

    def _give_to_owner(self, fd: int) -> None:
        """What root writes must be readable for the gateway, to which the folder belongs."""
        if os.geteuid() == 0:
            folder = self.path.parent.stat()
            os.fchown(fd, folder.st_uid, folder.st_gid)


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _seen(found: os.stat_result) -> _Seen:
    return _Seen(found.st_ino, found.st_ctime_ns, found.st_size)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
