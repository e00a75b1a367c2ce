"""What follows when the disk fails under the database.

The reserve is given up, the connections are closed and opened again, or the file is given up as damaged. It repeats no
write: whoever made it does, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from buffer import damage, schema
from buffer.errors import DamagedStoreError, StoreError

if TYPE_CHECKING:
    from buffer.opening import Opened
    from buffer.reserve import Reserve

#: Errors after which pages in memory may be other than those on the disk.
_DOUBTFUL: Final = frozenset({"IOERR", "READONLY", "CANTOPEN", "PROTOCOL", "NOLFS"})
#: Opening again is tried at most so often; in between the last error stands.
REOPEN_PAUSE_S: Final = 0.5
#: A file that cannot be written for so long although it is opened again and again: a new process looks anew.
GIVE_UP_S: Final = 30.0
#: Of max_page_count: that few pages left are none, for a transaction of an ordinary size.
PAGES_LEFT_MIN: Final = 256


class Recovery:
    """Of one database; every coroutine here but ``make_room`` is called with the lock of ``opened`` held."""

    def __init__(self, opened: Opened, reserve: Reserve) -> None:
        self._opened = opened
        self._reserve = reserve
        self._closed = False
        self._damaged: DamagedStoreError | None = None
        self._failing = ""
        #: A transaction failed while it was written: it must not come back before its callers repeat it.
        self._in_doubt = False
        self._failing_since_s: float | None = None
        self._next_try_s = float("-inf")
        self._reopened = 0

    @property
    def reopened(self) -> int:
        """How often the connections were opened again since the start."""
        return self._reopened

    @property
    def damaged(self) -> DamagedStoreError | None:
        """What was found out about the file while it was in use, None where nothing."""
        return self._damaged

    @property
    def problem(self) -> str:
        """What keeps it from writing now, "" where nothing does."""
        if self._damaged is not None:
            return str(self._damaged)
        if self._failing:
            return self._failing
        if self._reserve.given_up:
            return (
                f"{self._opened.path}: the disk is full; what waits is still forwarded, counting waits in the devices; "
                "free some space"
            )
        trouble = self._reserve.trouble()
        return f"{self._opened.path}: {trouble}" if trouble else ""

    def found_damaged(self, what: str) -> None:
        """A check of the file found damage: nothing more is written, and the next start sets it aside."""
        text = f"{self._opened.path}: is not a sound database: {what}; restart linegate: it is set aside"
        self._damaged = DamagedStoreError(text)
        damage.suspect(self._opened.path, what, surely=True)

    def close(self) -> None:
        """No more opening."""
        self._closed = True

    async def ready(self) -> None:
        """Return when both connections can be used. Raises StoreError."""
        if self._damaged is not None:
            raise self._damaged
        if self._opened.is_open and not self._in_doubt:
            return
        if self._closed:
            raise StoreError(f"{self._opened.path}: is closed; restart linegate to write again")
        now_s = asyncio.get_running_loop().time()
        if now_s < self._next_try_s:
            raise self._refusal()
        self._next_try_s = now_s + REOPEN_PAUSE_S
        try:
            if self._in_doubt:
                await self._opened.overwrite()
                self._in_doubt = False
            await self._opened.reopen()
        except sqlite3.Error as error:
            self._note(error)
            if self._damaged is not None:
                raise self._damaged from error
            raise self._refusal() from error
        except DamagedStoreError:
            raise
        except StoreError as error:
            self._failing = str(error)
            raise self._refusal() from error
        self._reopened += 1

    async def failed(self, error: sqlite3.Error, *, writing: bool) -> bool:
        """A transaction, or a read, ended so. Returns whether there is room now that was not there. Never raises."""
        freed = False
        family = schema.family(error)
        if family == "FULL" and not await self._at_own_cap():
            freed = not self._reserve.given_up
            self._reserve.give_up()
            # Its log goes back to the disk as far as the room that is there now allows.
            with contextlib.suppress(sqlite3.Error, ValueError):
                await self._opened.writing.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        self._note(error)
        if family == "IOERR" and writing:
            self._in_doubt = True
        elif family in _DOUBTFUL and not self._in_doubt:
            await self._opened.close()
        return freed

    def went_well(self) -> None:
        """A transaction is durable."""
        self._failing, self._failing_since_s = "", None

    def can_wait(self, error: sqlite3.Error) -> bool:
        """Whether the same write may succeed later in this process."""
        if self._damaged is not None:
            return False
        return not (schema.family(error) in _DOUBTFUL and self._gives_up())

    async def make_room(self) -> bool:
        """Make the reserve again if there is room; whether it is there."""
        return not self._reserve.given_up or await asyncio.to_thread(self._reserve.make)

    def _note(self, error: sqlite3.Error) -> None:
        family = schema.family(error)
        path = self._opened.path
        if schema.is_damage(error):
            text = f"{path}: is not a sound database: {error}; restart linegate: it is set aside, and counting goes on"
            self._damaged = DamagedStoreError(text)
            damage.suspect(path, str(error))
        elif family in _DOUBTFUL:
            self._failing = f"{path}: cannot be written or read: {error}; check the storage device (kernel log)"
        if family in _DOUBTFUL and self._failing_since_s is None:
            self._failing_since_s = asyncio.get_running_loop().time()

    def _refusal(self) -> StoreError:
        if self._gives_up():
            return StoreError(
                f"{self._failing}; it stays so for {GIVE_UP_S:g} s although it was tried again and again; repair its "
                "file system; a new process looks anew"
            )
        return StoreError(self._failing or f"{self._opened.path}: is closed", temporary=True)

    def _gives_up(self) -> bool:
        since_s = self._failing_since_s
        return since_s is not None and asyncio.get_running_loop().time() - since_s > GIVE_UP_S

    async def _at_own_cap(self) -> bool:
        try:
            ((pages,),) = await self._opened.writing.execute_fetchall("PRAGMA page_count")
            ((most,),) = await self._opened.writing.execute_fetchall("PRAGMA max_page_count")
        except (sqlite3.Error, ValueError, StoreError):
            return False
        return int(pages) + PAGES_LEFT_MIN >= int(most)
