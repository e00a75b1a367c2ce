"""Copies of the database by the clock, and what a new epoch leaves to be told: an entry in the audit trail.

A copy that fails is said in the status and tried again; it holds up nothing. How a copy is made, and that it is
sound, is ``buffer/backup.py``. Only files of its own name are ever deleted, the oldest first.
"""

from __future__ import annotations

import asyncio
import re
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import audit_taken, backup, catching_up
from buffer.errors import StoreError
from gateway import own_thread
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.told import Told
from gateway.core.document import utc
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 10.0
LOOK_EVERY_NS: Final = 10 * NS_PER_S
#: After a copy that failed.
AGAIN_NS: Final = 600 * NS_PER_S
#: So long a copy that is stopped has for its end.
STOP_S: Final = 2.0
TROUBLE: Final = "backup"
RESTORES: Final = "restores"
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z")
_RESTORED: Final = """
    SELECT number, at_ns, file, epoch_before, epoch, set_aside, postings, operations, told FROM restored
    WHERE number > ? ORDER BY number
"""

log = structlog.get_logger(__name__)


class BackupRound:
    """One gateway; ``run`` it in a task."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock, parts: Parts, auditing: Auditing) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._auditing = auditing
        self._tried_ns: int | None = None
        self._last = "none yet"
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """These settings hold from now on."""
        self._rule = settings.buffer.backup
        self._prefix = f"linegate-{settings.gateway.id}-"
        self._base = settings.base_dir

    async def start(self) -> None:
        """Write down each new epoch that no run before has written down. Raises StoreError."""
        await catching_up.only(self._store, self._parts.feeds)
        taken = await audit_taken.mark(self._store, RESTORES)
        rows = await self._store.read(_RESTORED, (taken,))
        if rows:
            contents = [self._auditing.content(_told(row)) for row in rows]
            await audit_taken.take(self._store, contents, marks={RESTORES: int(rows[-1][0])})
            for row in rows:
                if row[2]:
                    log.warning("the database was restored from a copy", file=row[2], epoch=row[4])
                else:
                    log.error("the database is older than what has left the box", what=row[-1], epoch=row[4])

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> Path | None:
        """Make the copy that is due, None where none is."""
        rule, now_ns = self._rule, self._clock.now_ns()
        if rule is None or (self._tried_ns is not None and now_ns - self._tried_ns < min(AGAIN_NS, int(rule.every))):
            return None
        folder = self._base / rule.folder
        try:
            kept = await own_thread.run(partial(self._kept, folder), "backup")
            now, due = (_stamp(self._clock.utc_now_ns() - back_ns) for back_ns in (0, int(rule.every)))
            if kept:
                self._last = kept[-1].name
            newest = kept[-1].name.removeprefix(self._prefix).removesuffix(".db") if kept else ""
            if due < newest <= now:
                return None
            self._tried_ns = now_ns
            made = await self._copy(folder / f"{self._prefix}{now}.db")
            await own_thread.run(partial(_forget, [*kept, made][: -rule.keep]), "backup")
        except (StoreError, OSError) as error:
            next_ns = now_ns + min(AGAIN_NS, int(rule.every)) if self._tried_ns == now_ns else now_ns + LOOK_EVERY_NS
            told = f"the last one is {self._last}, next attempt {utc(self._clock.utc_ns(next_ns))}"
            self._parts.trouble(TROUBLE, f"no copy of the database could be made: {error}; {told}; nothing else waits")
            log.warning("backup failed, trying again", folder=str(folder), error=str(error))
            return None
        self._parts.trouble(TROUBLE, "")
        log.info("database copied", file=made.name)
        return made

    async def _copy(self, to: Path) -> Path:
        stop = threading.Event()
        copying = own_thread.begin(partial(backup.copy, self._store.path, to, stop), "backup")
        try:
            await asyncio.wait([copying])
        except asyncio.CancelledError:
            # The thread leaves nothing behind, and the process does not wait for a whole copy; nor for a folder that
            # does not answer: the next run removes what is left there.
            stop.set()
            await asyncio.wait([copying], timeout=STOP_S)
            raise
        copying.result()
        return to

    def _kept(self, folder: Path) -> list[Path]:
        """Its own copies, the oldest first. Raises OSError where the folder is not there."""
        found = []
        for one in folder.iterdir():
            stamp = one.name.removeprefix(self._prefix).removesuffix(".db")
            if one.name == f"{self._prefix}{stamp}.db" and _STAMP.fullmatch(stamp):
                found.append(one)
            elif one.name.endswith(f".db{backup.PART}") and one.name.startswith(self._prefix):
                one.unlink()  # of a run that was killed
        return sorted(found)


def _stamp(utc_ns: int) -> str:
    """YYYYMMDDTHHMMSSZ: its order is that of time."""
    return (utc(max(utc_ns, 0)) or "").partition(".")[0].replace("-", "").replace(":", "") + "Z"


def _forget(old: list[Path]) -> None:
    for one in old:
        one.unlink(missing_ok=True)


def _told(row: tuple[Any, ...]) -> Told:
    number, _, file, before, epoch, aside, postings, operations, told = row
    if not file:
        older = SystemAction.DATABASE_OLDER.value
        return Told(older, "database", "linegate.db", field="epoch", old=before, new=epoch, detail=told)
    detail = (
        f"restore {number} of {file}; the database before is kept as {aside or 'nothing'}; waiting for approval: "
        f"{postings} postings, and the first one of {operations} operations"
    )
    return Told(
        SystemAction.RESTORED.value, "database", "linegate.db", field="epoch", old=before, new=epoch, detail=detail
    )
