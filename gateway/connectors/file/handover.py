"""How a file changes hands, whatever the place: complete or not there, given once, taken by rename. Blocking.

Nothing here ever makes the base folder or its sub-folders: a share that is not mounted must be noticed. What is in the
files is not its business.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.connectors.file.place import FolderError, SignInError

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from gateway.connectors.file.place import Place

FILE_MAX_BYTES: Final = 4 * 1024 * 1024
#: A file that is appended to; beyond it the other side does not read it any more.
APPENDED_MAX_BYTES: Final = 32 * 1024 * 1024
FILES_PER_PAGE_MAX: Final = 20
DIGEST_CHARS: Final = 16
#: In the folder of the confirmations: what was given away, for targets that leave no trace of having taken it.
PROOFS: Final = ".sent"
CHECKSUM: Final = ".sha256"


class Found(NamedTuple):
    """A file that was found. ``content`` is None where it is above ``FILE_MAX_BYTES``."""

    name: str
    content: bytes | None
    stamp: tuple[int, int]

    @property
    def digest(self) -> str:
        """Tells this content from another under the same name."""
        return digest_of(self.content)


class Parcel(NamedTuple):
    """How one message is given away. ``trigger`` is the name of the empty file that comes last, "" for none.

    ``checksum``: a file with the SHA-256 comes before it. ``proof``: the target leaves no trace, so that we keep one,
    in a folder of its ``owner``: several gateways may give files to one folder.
    """

    folder: PurePosixPath
    name: str
    trigger: str = ""
    checksum: bool = False
    proof: bool = False
    owner: str = "linegate"

    @property
    def final(self) -> PurePosixPath:
        """Where it is when it is given away."""
        return self.folder / self.name

    @property
    def draft(self) -> PurePosixPath:
        """Where it is until then."""
        return self.folder / f".{self.name}.tmp"

    @property
    def trace(self) -> PurePosixPath:
        """Our own trace of it. With it and without the draft it was given away."""
        return self.folder / PROOFS / self.owner / self.name


class Semaphore(NamedTuple):
    """A file that lets one side at the shared file: renamed from ``free`` to ``held`` while we write."""

    free: PurePosixPath
    held: PurePosixPath


def digest_of(content: bytes | None) -> str:
    """A short name of the content."""
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARS] if content is not None else "too-big"


def told(error: OSError) -> str:
    """What went wrong, in a few words."""
    return error.strerror or str(error) or type(error).__name__


def require(place: Place, folder: PurePosixPath, marker: PurePosixPath | None = None) -> None:
    """Raises FolderError where the folder is missing or cannot be written to, or the marker file is not there."""
    try:
        is_there = place.is_folder(folder)
        is_marked = marker is None or place.exists(marker)
    except SignInError as error:
        raise FolderError(told(error), signed_out=True) from error
    except OSError as error:  # a stale mount, an upper folder without rights, a server that is away
        raise FolderError(f"{folder}: cannot be looked at: {told(error)}; mount the share again") from error
    if not is_marked:
        raise FolderError(f"{marker}: is missing, so the share is not mounted; mount the share, or put the file there")
    if not is_there:
        raise FolderError(f"{folder}: is missing; mount the share, or make the folder once by hand")
    if not place.may_write(folder):
        raise FolderError(f"{folder}: cannot be written to; give linegate the rights")


def give(place: Place, parcel: Parcel, body: bytes) -> None:
    """The file is there with all its bytes and durable, or it is not there. Raises FolderError.

    Call it only for what ``given`` denies; the trigger of what is there already is completed by ``finish_trigger``.
    """
    drafts = _drafts(parcel, body)
    try:
        if parcel.proof:
            _untraced(place, parcel)
        for path, content in drafts:
            place.write(path, content)
        if parcel.proof:
            _traced(place, parcel)
    except OSError as error:
        _taken_back(place, parcel, drafts)
        raise FolderError(f"{parcel.draft}: cannot be written: {told(error)}") from error
    try:
        if parcel.checksum:
            place.rename(drafts[-1][0], parcel.folder / f"{parcel.name}{CHECKSUM}")
        place.rename(parcel.draft, parcel.final)
        place.sync(parcel.folder)
        finish_trigger(place, parcel)
    except OSError as error:
        text = f"{parcel.final}: it is unclear whether it was written: {told(error)}"
        raise FolderError(text, written=True) from error


def finish_trigger(place: Place, parcel: Parcel) -> None:
    """Show the trigger, unless it was shown already. Raises OSError."""
    draft = parcel.folder / f".{parcel.trigger}.tmp"
    if parcel.trigger and place.exists(draft):
        place.rename(draft, parcel.folder / parcel.trigger)
        place.sync(parcel.folder)


def given(place: Place, parcel: Parcel) -> bool:
    """Whether our trace says that it was given away. Raises OSError."""
    return parcel.proof and place.exists(parcel.trace) and not place.exists(parcel.draft)


def append(place: Place, parcel: Parcel, shared: PurePosixPath, semaphore: Semaphore, head: bytes, body: bytes) -> None:
    """Add the body at the end of the shared file, with the head where the file begins. Raises FolderError.

    What was added once is not added again, also where the other side has emptied the file since.
    """
    _hold(place, semaphore)
    try:
        if not given(place, parcel):
            before = place.read(shared) if place.exists(shared) else b""
            if len(before) + len(body) > APPENDED_MAX_BYTES:
                raise FolderError(f"{shared}: found {len(before)} bytes; is it still read by the other side?")
            _replace(place, parcel, shared, before + (b"" if before else head) + body)
    except OSError as error:
        raise FolderError(f"{shared}: cannot be written: {told(error)}", written=True) from error
    finally:
        with contextlib.suppress(OSError):  # it is ours: the next call gives it back
            give_back(place, semaphore)


def give_back(place: Place, semaphore: Semaphore) -> None:
    """Let the other side at the file, if we hold it; also after a process that ended with it. Raises OSError."""
    if place.exists(semaphore.held):
        place.rename(semaphore.held, semaphore.free)
        place.sync(semaphore.free.parent)


def find(place: Place, folders: tuple[PurePosixPath, ...], name: str) -> PurePosixPath | None:
    """The file of this name in the first folder that has it, None if none has. Raises FolderError."""
    try:
        return next((folder / name for folder in folders if place.exists(folder / name)), None)
    except SignInError as error:
        raise FolderError(told(error), signed_out=True) from error
    except OSError as error:
        raise FolderError(f"{folders[0]}: cannot be looked into: {told(error)}") from error


def read(place: Place, path: PurePosixPath) -> Found | None:
    """One file, None if it is not there. Raises FolderError."""
    try:
        stamp = place.stamp(path)
        content = place.read(path) if stamp[0] <= FILE_MAX_BYTES else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderError(f"{path}: cannot be read: {told(error)}") from error
    return Found(path.name, content, stamp)


def move(place: Place, path: PurePosixPath, folder: PurePosixPath, *, error_text: str | None = None) -> None:
    """Move a read file, with a text beside it that says what is wrong. Raises FolderError."""
    target = folder / path.name
    try:
        place.make_folder(folder)
        number = 1
        while place.exists(target):  # an older file of the same name is kept as well
            number += 1
            target = folder / f"{path.stem}.{number}{path.suffix}"
        if error_text is not None:
            place.write(target.with_name(f"{target.name}.error.txt"), error_text.encode())
        place.rename(path, target)
        place.sync(folder)
        place.sync(path.parent)
    except OSError as error:
        raise FolderError(f"{path}: cannot be moved to {folder}: {told(error)}") from error


def _hold(place: Place, semaphore: Semaphore) -> None:
    try:
        if place.exists(semaphore.held):
            return  # ours, from a process that ended with it
        place.rename(semaphore.free, semaphore.held)
        place.sync(semaphore.free.parent)
    except FileNotFoundError as error:
        text = f"{semaphore.free}: is not there, so the other side is at the file; it must give it back"
        raise FolderError(text, busy=True) from error
    except OSError as error:
        raise FolderError(f"{semaphore.free}: cannot be taken: {told(error)}") from error


def _drafts(parcel: Parcel, body: bytes) -> list[tuple[PurePosixPath, bytes]]:
    found = [(parcel.draft, body)]
    if parcel.trigger:
        found.append((parcel.folder / f".{parcel.trigger}.tmp", b""))
    if parcel.checksum:
        line = f"{hashlib.sha256(body).hexdigest()}  {parcel.name}\n".encode()
        found.append((parcel.folder / f".{parcel.name}{CHECKSUM}.tmp", line))
    return found


def _taken_back(place: Place, parcel: Parcel, drafts: list[tuple[PurePosixPath, bytes]]) -> None:
    """Leave nothing of an attempt behind; the trace first: without its draft it would say that it was given."""
    with contextlib.suppress(OSError):
        if parcel.proof:
            place.remove(parcel.trace)
        for path, _ in drafts:
            place.remove(path)


def _untraced(place: Place, parcel: Parcel) -> None:
    """No trace of an attempt that did not get through."""
    place.make_folder(parcel.folder / PROOFS)
    place.make_folder(parcel.trace.parent)
    place.remove(parcel.trace)
    place.sync(parcel.trace.parent)


def _traced(place: Place, parcel: Parcel) -> None:
    """The draft is durable before the trace, which without it says that it was given."""
    place.sync(parcel.folder)
    place.write(parcel.trace, b"")
    place.sync(parcel.trace.parent)


def _replace(place: Place, parcel: Parcel, shared: PurePosixPath, content: bytes) -> None:
    _untraced(place, parcel)
    place.write(parcel.draft, content)
    _traced(place, parcel)
    place.rename(parcel.draft, shared)
    place.sync(parcel.folder)
