"""Whether the audit trail is still what it was: looked at at the start and every hour; its anchors into a file.

What it finds is in the status and the alerts as long as it is so, and once in the trail. It repairs nothing and stops
nothing: counting goes on. The anchor file is only ever added to; the whole chain is verified by ``linegate audit
verify``.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from buffer import audit_look, audit_taken
from buffer.errors import StoreError
from gateway import own_thread
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.told import Told
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.core.audit.chain import Anchor
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 5.0
CHECK_EVERY_NS: Final = 3600 * NS_PER_S
#: After an anchor file that could not be read or written.
AGAIN_NS: Final = 60 * NS_PER_S
#: A line a day and one for each restart on a day: a century.
ANCHOR_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
TRAIL: Final = "audit trail itself"
FILE: Final = "audit anchor file"
#: The file may be on another disk, or on a server, that does not answer.
THREAD: Final = "anchors"
_MODE: Final = 0o640

log = structlog.get_logger(__name__)


class TrailRound:
    """One gateway; ``run`` it in a task."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock, parts: Parts, auditing: Auditing) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._auditing = auditing
        self._found: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()
        #: Whether the last check was also one against the file.
        self._held = True
        self._checked_ns: int | None = None
        self._file: Path | None = None
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """These settings hold from now on."""
        named = settings.gateway.anchor_file
        file = None if named is None else settings.base_dir / named
        if file != self._file:
            self._checked_ns = None
        self._file = file
        self._kept: Anchor | None = None
        self._failed_ns: int | None = None
        self._parts.trouble(FILE, "")

    async def run(self) -> None:
        """For ever; a trail that cannot be read is shown as such."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._show(f"cannot be looked at: {error}; it is tried again all the time")
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """What is due: first the trail, against the file where it can be read, then what is new into the file.

        Raises StoreError.
        """
        now_ns = self._clock.now_ns()
        due = self._checked_ns is None or now_ns - self._checked_ns >= CHECK_EVERY_NS
        asked = self._failed_ns is None or now_ns - self._failed_ns >= AGAIN_NS
        lines: Sequence[str] | None = None
        try:
            if asked and (due or not self._held):
                lines = () if self._file is None else await own_thread.run(partial(lines_of, self._file), THREAD)
        except OSError as error:
            asked = False
            self._failed(error, now_ns)
        if due or lines is not None:
            # A file that is away keeps nobody from looking at the database.
            await self._check(lines)
            self._checked_ns, self._held = now_ns, lines is not None
        if asked:
            await self._add(now_ns)
        self._show()

    async def _add(self, now_ns: int) -> None:
        newest = await audit_taken.last_anchor(self._store)
        try:
            if self._file is not None and newest is not None and newest.anchor != self._kept:
                await own_thread.run(partial(add_missing, self._file, self._store.path), THREAD)
                self._kept = newest.anchor
        except OSError as error:
            self._failed(error, now_ns)
            return
        self._failed_ns = None
        self._parts.trouble(FILE, "")

    async def _check(self, lines: Sequence[str] | None) -> None:
        """``lines`` of the file; None: it cannot be read now, and what it said before stands."""
        found = await asyncio.to_thread(audit_look.doubts, self._store.path, lines or ())
        if lines is None:
            found = tuple(dict.fromkeys((*self._found, *found)))
        self._found = found
        self._show()
        if found and found != self._told:
            log.error("the audit trail is not what it was", found=list(found))
            told = Told(SystemAction.TRAIL_DOUBTED.value, "audit_trail", "", new="; ".join(found))
            await self._auditing.tell(told)
        self._told = found

    def _show(self, problem: str = "") -> None:
        """What was found, and why it cannot be looked at now; neither hides the other."""
        todo = "somebody changed the database; keep this file as it is, see linegate audit verify"
        texts = [*self._found, todo] if self._found else []
        self._parts.trouble(TRAIL, "; ".join([*texts, problem] if problem else texts))

    def _failed(self, error: OSError, now_ns: int) -> None:
        self._failed_ns = now_ns
        text = f"{self._file}: {error.strerror or error}; anchors are kept in the database meanwhile, and added later"
        self._parts.trouble(FILE, text)


def lines_of(file: Path) -> Sequence[str]:
    """The lines of an anchor file; none where there is none yet, but its folder. Raises OSError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(ANCHOR_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        if not file.parent.is_dir():
            raise
        return ()
    if len(text) > ANCHOR_FILE_BYTES_MAX:
        raise OSError(f"found more than {ANCHOR_FILE_BYTES_MAX} bytes, allowed: up to that; name another file")
    return text.decode(errors="replace").splitlines()


def add_missing(file: Path, database: Path) -> int:
    """Add the anchors that the file does not have yet, each once, durably; how many. Raises OSError, StoreError."""
    there = set(lines_of(file))
    missing = [line for line in audit_look.anchor_lines(database) if line not in there]
    if not missing:
        return 0
    opened = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        size = os.fstat(opened).st_size
        # A line that a power cut left half written stays alone.
        begin = "\n" if size and os.pread(opened, 1, size - 1) != b"\n" else ""
        whole = begin + "".join(f"{line}\n" for line in missing)
        if os.write(opened, whole.encode()) != len(whole):
            raise OSError("not all of it could be written")
        os.fsync(opened)
    finally:
        os.close(opened)
    return len(missing)
