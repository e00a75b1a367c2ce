"""Events on their way to the broker: told once, in the order of their machine, kept in a file while it is away.

An event whose machine has nothing waiting goes out at once. What waits goes out at a paced rate beside it, oldest
first; an event behind others of its machine never overtakes them. One is forgotten only when the broker has
acknowledged it. With a ``shelf`` they survive a restart; without one, or while its disk fails, so many wait in memory,
the oldest dropped and counted. It knows no connection: it is asked what is next, and told what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer.errors import StoreError
from buffer.figures import EventFigures
from buffer.telemetry import StoredEvent, TelemetryStore
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

#: Events in memory, about 400 bytes each: those that are not in a file (yet).
EVENTS_MAX: Final = 2000
#: Events that may be on their way past the backlog; more of them become backlog.
LIVE_MAX: Final = 256
#: Of the broker's window, so that live events and retained documents find room.
BACKLOG_UNACKNOWLEDGED_MAX: Final = 10
PAGE_EVENTS: Final = 200
#: A healthy broker acknowledges sooner, and nothing is written.
FLUSH_S: Final = 0.25
AGE_EVERY_S: Final = 60.0
#: After a failure of the file.
RETRY_S: Final = 5.0

log = structlog.get_logger(__name__)


class Backlog:
    """All events of one gateway. Every call but ``run`` and ``close`` returns at once; all belong to one event loop.

    ``end()`` first, then ``run`` is awaited, then ``close()``: what is being written is written to its end, and counted
    once.
    """

    def __init__(
        self,
        shelf: TelemetryStore | None,
        *,
        now_ns: Callable[[], int],
        per_second: int,
        wake: Callable[[], None],
        last_number: int = 0,
    ) -> None:
        self._shelf = shelf
        self._now_ns = now_ns
        self._interval_ns = NS_PER_S // per_second
        self._wake = wake
        self._last = last_number
        self._memory: dict[int, StoredEvent] = {}  # not in the file
        self._writing: frozenset[int] = frozenset()
        self._live: dict[int, StoredEvent] = {}
        self._page: deque[StoredEvent] = deque()
        self._cursor = 0
        self._behind: dict[str, int] = {}
        self._sent: dict[int, bool] = {}  # whether it is of the backlog
        self._done: set[int] = set()
        self._done_unsaved = 0
        self._up = False
        self._beginning = False
        self._next_ns = 0
        self._stir = asyncio.Event()
        self._ending = False
        self._told_anew = ""
        self._figures = EventFigures(path="", waiting=0, used_bytes=0, max_bytes=0)
        self._sent_count = 0
        self._evicted_before = 0
        #: Events thrown away since the start, in memory and in the file.
        self.dropped = 0
        self.error = ""

    @property
    def waiting(self) -> int:
        """Events that the broker has not acknowledged."""
        return len(self._memory) + max(self._figures.waiting - len(self._done), 0)

    @property
    def urgent(self) -> bool:
        """Something would be lost, or come late, if the gateway ended now."""
        return bool(self._live or (self._memory and self._shelf is None))

    def put(self, lane: str, topic: str, payload: bytes) -> None:
        """Take one event."""
        self._last += 1
        event = StoredEvent(self._last, self._now_ns(), lane, topic, payload)
        self._memory[event.number] = event
        if self._up and lane not in self._behind and len(self._live) < LIVE_MAX:
            self._live[event.number] = event
        else:
            self._behind[lane] = event.number
            self._stir.set()
        while len(self._memory) > EVENTS_MAX:
            self._drop_oldest()

    def take(self) -> StoredEvent | None:
        """The next one to send now, None where there is none, or none yet."""
        if self._live:
            number, event = next(iter(self._live.items()))
            del self._live[number]
            self._sent[number] = False
            return event
        if not self._up or sum(self._sent.values()) >= BACKLOG_UNACKNOWLEDGED_MAX:
            return None
        now_ns = self._now_ns()
        if now_ns < self._next_ns:
            return None
        while self._page:
            event = self._page.popleft()
            if self._behind.get(event.lane, 0) <= event.number:
                self._behind.pop(event.lane, None)
            if not self._page and self._behind:
                self._stir.set()
            if event.number in self._done or event.number in self._sent:
                continue
            self._sent[event.number] = True
            self._next_ns = max(now_ns, self._next_ns) + self._interval_ns
            return event
        if self._behind:
            self._stir.set()
        return None

    def next_ns(self) -> int | None:
        """When ``take`` has one again, None where something else must happen first."""
        waits = self._up and self._page and sum(self._sent.values()) < BACKLOG_UNACKNOWLEDGED_MAX
        return self._next_ns if waits else None

    def acknowledged(self, number: int) -> None:
        """The broker has it."""
        if self._sent.pop(number, None) is None:
            return
        self._sent_count += 1
        if number in self._memory and number not in self._writing:
            del self._memory[number]
            self._done_unsaved += 1
        else:
            self._done.add(number)

    def link_up(self) -> None:
        """From now on what waits can go out; first it is found out what does."""
        self._beginning = True
        self._stir.set()

    def link_down(self) -> None:
        """What was not acknowledged is sent again, in its order."""
        self._up = self._beginning = False
        self._sent.clear()
        self._live.clear()
        self._page.clear()
        self._cursor = 0
        self._stir.set()

    def figures(self) -> EventFigures:
        """What waits, and what became of the others."""
        found = self._figures
        return EventFigures(
            path=found.path,
            waiting=self.waiting,
            used_bytes=found.used_bytes,
            max_bytes=found.max_bytes,
            stored=found.stored,
            sent=found.sent + self._done_unsaved + len(self._done) if self._shelf is not None else self._sent_count,
            evicted=found.evicted if self._shelf is not None else self.dropped,
            evicted_age=found.evicted_age,
            error=self.error,
        )

    async def run(self) -> None:
        """Keep the file up to date and the next page at hand, until ``end``."""
        loop = asyncio.get_running_loop()
        flush_at_s = age_at_s = loop.time()
        while not self._ending:
            try:
                await self._serve()
                if loop.time() >= flush_at_s:
                    await self._flush()
                    self._trouble("")
                    flush_at_s = loop.time() + FLUSH_S
                if self._shelf is not None and loop.time() >= age_at_s:
                    age_at_s = loop.time() + AGE_EVERY_S
                    await self._file(self._shelf.evict_old, self._now_ns())
                    await self._look()
            except StoreError as error:
                self._trouble(str(error))
                flush_at_s = loop.time() + RETRY_S
                self._serve_memory()
            busy = bool(self._memory or self._done) and self._shelf is not None
            wait_s = max(flush_at_s - loop.time(), FLUSH_S / 10) if busy else AGE_EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stir.wait()
            self._stir.clear()

    def end(self) -> None:
        """Nothing more is begun; ``run`` returns once what is under way has ended."""
        self._ending = True
        self._stir.set()

    async def close(self) -> None:
        """Keep what is not told yet, and release the file."""
        if self._shelf is None:
            return
        with contextlib.suppress(StoreError):
            await self._flush()
        await asyncio.to_thread(self._shelf.close)

    async def _serve(self) -> None:
        if self._beginning:
            lanes = {} if self._shelf is None else await self._file(self._shelf.lanes)
            if not self._beginning:
                return
            self._begin(lanes)
        if self._up and not self._page and self._behind:
            upto, after = self._last, self._cursor
            rows = [] if self._shelf is None else await self._file(self._shelf.page, after, PAGE_EVENTS)
            if self._up and self._cursor == after:
                self._paged(rows, upto)

    def _serve_memory(self) -> None:
        """The file cannot be read: what is in memory goes out all the same."""
        if self._beginning:
            self._begin({})
        if self._up and not self._page and self._behind:
            self._paged([], self._last)

    def _begin(self, lanes: dict[str, int]) -> None:
        for event in self._memory.values():
            lanes[event.lane] = event.number
        self._behind, self._cursor, self._beginning, self._up = lanes, 0, False, True
        self._wake()

    def _paged(self, rows: list[StoredEvent], upto: int) -> None:
        """A page of what waits: first what is in the file, then what is in memory only; all of it is younger."""
        found = [row for row in rows if self._goes_behind(row.number)]
        if len(rows) < PAGE_EVENTS:
            after = rows[-1].number if rows else self._cursor
            found += [one for number, one in self._memory.items() if number > after and self._goes_behind(number)]
        self._page = deque(found)
        if found:
            self._cursor = found[-1].number
        elif rows:
            self._cursor = rows[-1].number
            self._stir.set()
        else:
            # What was behind is gone: dropped for room or age.
            self._behind = {lane: number for lane, number in self._behind.items() if number > upto}
        self._wake()

    def _goes_behind(self, number: int) -> bool:
        return number not in self._sent and number not in self._done and number not in self._live

    async def _flush(self) -> None:
        shelf = self._shelf
        if shelf is None:
            self._done.clear()
            return
        if not (self._memory or self._done or self._done_unsaved):
            return
        batch = tuple(self._memory.values())
        if batch:
            self._writing = frozenset(self._memory)
            try:
                await self._file(shelf.add, batch)
                for event in batch:
                    self._memory.pop(event.number, None)
            finally:
                self._writing = frozenset()
        done, unsaved = tuple(self._done), self._done_unsaved
        if done or unsaved:
            await self._file(shelf.remove, done, len(done) + unsaved)
            self._done.difference_update(done)
            self._done_unsaved -= unsaved
        await self._look()

    async def _look(self) -> None:
        if self._shelf is None:
            return
        found = await self._file(self._shelf.figures)
        evicted = found.evicted + found.evicted_age
        if self._figures.path:
            self.dropped += max(evicted - self._evicted_before, 0)
        self._evicted_before, self._figures = evicted, found

    async def _file(self, work: Callable[..., Any], *arguments: Any) -> Any:
        result = await asyncio.to_thread(work, *arguments)
        assert self._shelf is not None
        if self._shelf.made_anew != self._told_anew:
            self._told_anew = self._shelf.made_anew
            log.error("events lost", reason=self._told_anew)
        return result

    def _drop_oldest(self) -> None:
        for number in self._memory:
            if number not in self._writing:
                del self._memory[number]
                self._live.pop(number, None)
                self.dropped += 1
                return
        return

    def _trouble(self, text: str) -> None:
        if text and not self.error:
            log.warning("events cannot be kept in their file", reason=text)
        self.error = text
