"""The second high-water mark: what has begun to leave the box, in two small files beside the database.

SQLite opens an older valid database without a word where the end of its log is spoiled, where a card goes back in
time, or where a person puts an older copy into its place. The mark is written behind the commit and before the first
byte, and tells it. Two files take turns: each begins with the last posting of every lane, so that they stay small for
ever. It compares nothing (``older``), and sends nothing.

A file is lines of ``CRC-32 as 8 hex digits, space, JSON`` and zeros up to its full size; one line for each flush, so
that only the last one can be torn by a power cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.damage import FILE_MODE, flush_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from buffer.entry import OutboxEntry

SUFFIXES: Final = (".mark", ".mark2")
#: Of one file: about 500 sends. Allocated whole, so that a full disk holds up no send.
FILE_BYTES: Final = 128 * 1024
#: What is taken along into the next file, the newest first: the last posting of about 250 lanes.
CARRIED_BYTES: Final = FILE_BYTES // 2
ERAS_MAX: Final = 8
DIGEST_CHARS: Final = 16
_VERSION: Final = 1
_CRC_CHARS: Final = 8


class Sent(NamedTuple):
    """One posting that begins to be sent. ``at_ns`` is the steady time of it; quantities are text, "" of an answer.

    ``attempt`` counts from 1; ``digest`` is that of its payload; ``name`` that of its message. ``step`` of its
    messages, from 0.
    """

    target: str
    id: int
    key: str
    kind: str
    order: str
    operation: str
    seq: int
    attempt: int
    digest: str
    at_ns: int
    name: str
    good: str
    scrap: str
    rework: str
    step: int = 0


class Marked(NamedTuple):
    """What the mark says: epochs in the order in which they began, what was sent in each, and the journal's heads.

    ``damaged``: lines that cannot be read though others follow; ``torn``: the last one cannot, which is no error.
    ``dropped``: older lanes are not named any more.
    """

    eras: tuple[str, ...] = ()
    sent: tuple[tuple[str, Sent], ...] = ()
    journal: Mapping[str, int] = {}
    damaged: int = 0
    torn: bool = False
    dropped: bool = False


class _File(NamedTuple):
    generation: int
    whole: bool
    documents: tuple[dict[str, Any], ...]
    end: int
    damaged: int
    torn: bool


def sent_of(entry: OutboxEntry) -> Sent:
    """What the mark keeps of a posting that has just become *sending*."""
    good, scrap, rework = _quantities(entry.payload)
    place = (entry.kind, entry.order, entry.operation, entry.seq, entry.attempts)
    sent = (digest_of(entry.payload), entry.last_sent_ns or 0, entry.name or "")
    return Sent(entry.target, entry.id, entry.key, *place, *sent, good, scrap, rework, entry.step)


def digest_of(payload: bytes) -> str:
    """The beginning of the SHA-256 of a payload."""
    return hashlib.sha256(payload).hexdigest()[:DIGEST_CHARS]


def _quantities(payload: bytes) -> tuple[str, str, str]:
    try:
        made = json.loads(payload)["qty"]
        return str(made["good"]), str(sum(int(one["qty"]) for one in made["scrap"])), str(made["rework"])
    except (ValueError, KeyError, TypeError):  # an answer to an order has none
        return "", "", ""


class Mark:
    """The mark of one database; ``append`` and ``begin`` block until the device has it."""

    def __init__(self, database: Path) -> None:
        self._files = tuple(database.with_suffix(suffix) for suffix in SUFFIXES)
        self._fd: int | None = None
        self._current = 1
        self._at = 0
        self._generation = 0
        self._eras: list[str] = []
        self._journal: dict[str, int] = {}
        self._dropped = False
        #: The last one of each lane by epoch, target, order and operation; the newest at the end.
        self._lanes: dict[tuple[str, str, str, str], Sent] = {}
        #: Sends that could not be written down, in a row; none of them left the box.
        self.failures = 0

    def read(self) -> Marked:
        """What is there; what cannot be read is left out. Never raises: a mark that is missing is made."""
        found = [_parsed(_bytes(path)) for path in self._files]
        order = sorted((0, 1), key=lambda one: (found[one].whole, found[one].generation))
        every = [document for one in sorted((0, 1), key=lambda one: found[one].generation) for document in
                 found[one].documents]  # fmt: skip
        sent = self._take(every)
        newest = found[order[-1]]
        self._generation = max(one.generation for one in found)
        self._current = order[-1]
        damaged = sum(one.damaged for one in found)
        torn = any(one.torn for one in found)
        if newest.whole and not newest.damaged and not newest.torn:
            self._go_on(newest.end)
        return Marked(tuple(self._eras), sent, dict(self._journal), damaged, torn, self._dropped)

    def begin(self, epoch: str) -> None:
        """This epoch goes on, or begins. Raises OSError: the next ``append`` tries again."""
        if not self._eras or self._eras[-1] != epoch:
            began_before = bool(self._eras)
            self._new_era(epoch)
            self._close()
            if not began_before:
                return  # the first send writes it: until then there is nothing to say
        if self._fd is None and self._generation:
            self._turn()

    def append(self, sent: Sequence[Sent], journal: Mapping[str, int]) -> None:
        """These begin to be sent; ``journal``: the last number of each work unit. Raises OSError: none may leave."""
        moved = {unit: seq for unit, seq in journal.items() if self._journal.get(unit) != seq}
        line = _line({"s": [_row(one) for one in sent], "j": moved})
        era = self._eras[-1] if self._eras else ""
        for one in sent:
            self._remember(era, one)
        self._journal.update(moved)
        try:
            if self._fd is None or self._at + len(line) > FILE_BYTES:
                self._turn()
            else:
                _write(self._fd, line, self._at)
                self._at += len(line)
        except OSError:
            # Nobody knows what of it is on the device: the other file is written next.
            self.failures += 1
            self._close()
            raise
        self.failures = 0

    def close(self) -> None:
        """Close the file."""
        self._close()

    # --- parts -------------------------------------------------------------------------------------------------------

    def _take(self, documents: Iterable[dict[str, Any]]) -> tuple[tuple[str, Sent], ...]:
        every: dict[tuple[str, str, str], tuple[str, Sent]] = {}
        era = ""
        for document in documents:
            if "e" in document:
                era = str(document["e"])
                self._new_era(era)
            self._dropped = self._dropped or bool(document.get("d"))
            for unit, seq in document.get("j", {}).items():
                self._journal[str(unit)] = max(int(seq), self._journal.get(str(unit), 0))
            for row in document.get("s", ()):
                one = Sent(*row)
                before = every.get((era, one.target, one.key))
                if before is None or one.attempt >= before[1].attempt:
                    every[era, one.target, one.key] = (era, one)
                self._remember(era, one)
        return tuple(every.values())

    def _new_era(self, epoch: str) -> None:
        if epoch in self._eras:
            self._eras.remove(epoch)
        self._eras.append(epoch)
        for gone in self._eras[:-ERAS_MAX]:
            self._eras.remove(gone)
            self._lanes = {lane: one for lane, one in self._lanes.items() if lane[0] != gone}

    def _remember(self, era: str, one: Sent) -> None:
        lane = (era, one.target, one.order, one.operation)
        before = self._lanes.pop(lane, None)
        self._lanes[lane] = one if before is None or (one.id, one.attempt) >= (before.id, before.attempt) else before

    def _go_on(self, end: int) -> None:
        with contextlib.suppress(OSError):
            self._fd = os.open(self._files[self._current], os.O_WRONLY | os.O_CLOEXEC)
            self._at = end

    def _turn(self) -> None:
        """Write the other file, whole; only then is it the one in use."""
        self._close()
        other = 1 - self._current
        data = self._carried(self._generation + 1)
        is_new = not self._files[other].exists()
        fd = os.open(self._files[other], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            _write(fd, data.ljust(FILE_BYTES, b"\0"), 0)
            if is_new:
                flush_folder(self._files[other].parent)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._current, self._at = fd, other, len(data)
        self._generation += 1

    def _carried(self, generation: int) -> bytes:
        room, kept = CARRIED_BYTES, []
        for lane, one in reversed(self._lanes.items()):
            room -= len(json.dumps(_row(one))) + 1
            if room < 0:
                self._dropped = True
                break
            kept.append((lane[0], one))
        self._lanes = {(era, one.target, one.order, one.operation): one for era, one in reversed(kept)}
        lines = [_line({"v": _VERSION, "g": generation, "d": self._dropped, "j": self._journal})]
        for era in self._eras:
            mine = [_row(one) for other, one in reversed(kept) if other == era]
            lines.append(_line({"e": era, "s": mine}))
        lines.append(_line({"w": True}))
        return b"".join(lines)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES)
    except OSError:
        return b""


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
    os.fdatasync(fd)


def _row(one: Sent) -> list[Any]:
    """Without its step where it is the first, as nearly every one is."""
    return list(one if one.step else one[:-1])


_LENGTHS: Final = (len(Sent._fields) - 1, len(Sent._fields))


def _line(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parsed(data: bytes) -> _File:
    """What a file holds, as far as it can be read."""
    documents: list[dict[str, Any]] = []
    at = end = damaged = bad = 0
    generation, whole = 0, False
    while (stop := data.find(b"\n", at)) >= 0:
        document = _document(data[at:stop].lstrip(b"\0"))
        at = stop + 1
        if document is None:
            bad += 1
            continue
        damaged, bad, end = damaged + bad, 0, at
        documents.append(document)
        generation = max(generation, int(document.get("g", 0)))
        whole = whole or (bool(document.get("w")) and not damaged)
    torn = bool(bad or data[at:].strip(b"\0")) or (bool(data) and len(data) < FILE_BYTES)
    return _File(generation, whole, tuple(documents), end, damaged, torn)


def _document(line: bytes) -> dict[str, Any] | None:
    """The contents of a line, None where it is not what was written."""
    text = line[_CRC_CHARS + 1 :]
    if line[: _CRC_CHARS + 1] != b"%08x " % zlib.crc32(text):
        return None
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or any(len(row) not in _LENGTHS for row in found.get("s", ())):
            return None
        return found if found.get("v", _VERSION) == _VERSION else None
    except (ValueError, TypeError, AttributeError):
        return None
