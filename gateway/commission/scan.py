"""Finds out which units answer on a Modbus line and which addresses of a table can be read, with few requests.

Only reads, one request at a time, with a pause between two. Knows no connection: it is given something to ask with.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Modbus Application Protocol 1.1b3, chapter 7.
ILLEGAL_FUNCTION: Final = 1
BUSY: Final = (5, 6)
NOBODY_THERE: Final = (10, 11)
#: A device that is busy is asked again so often, so much later each time.
BUSY_TIMES: Final = 3
BUSY_PAUSE_S: Final = 0.2
#: After so many requests without an answer one behind the other a device that did answer is taken for gone.
SILENT_TIMES: Final = 3
#: Registers (and bits) of one request at first; fewer where the device allows fewer.
LONGEST: Final = {"holding": 125, "input": 125, "coil": 2_000, "discrete": 2_000}
#: In long empty stretches the grain grows up to this many times.
EMPTY_GRAINS: Final = 8
#: Where a long request is refused, single addresses so far apart are asked for, unless every one is wanted.
GRAIN: Final = {"holding": 8, "input": 8, "coil": 128, "discrete": 128}


class Kind(enum.StrEnum):
    """How a device reacts to a request."""

    ANSWERS = "answers"
    REFUSED = "refused"
    SILENT = "no answer"


class Answer(NamedTuple):
    """One reaction. ``code`` is the Modbus exception where it refused; ``text`` says more about it."""

    kind: Kind
    words: Sequence[int] = ()
    code: int = 0
    text: str = ""


class Asker(Protocol):
    """Sends one request; makes and remakes the connection as needed. Raises DriverError where there is none."""

    async def ask(self, unit: int, table: str, address: int, count: int) -> Answer:
        """The device's reaction."""


class UnitFound(NamedTuple):
    """What one unit did. ``text`` names the exception of a refusal."""

    unit: int
    kind: Kind
    code: int
    text: str


class Area(NamedTuple):
    """Neighbouring addresses that react alike; both ends belong to it. ``sampled``: not every one was asked for."""

    first: int
    last: int
    kind: Kind
    code: int
    text: str
    sampled: bool


class TableMap(NamedTuple):
    """What a table looks like. ``longest`` is the longest request that was answered, 0 where none was.

    ``max_registers``: the key for the configuration where the device refuses long requests, else None. ``stopped``:
    why not all was asked for.
    """

    areas: tuple[Area, ...]
    values: dict[int, int]
    requests: int
    longest: int
    max_registers: int | None
    stopped: str


async def scan_units(
    asker: Asker,
    units: Iterable[int],
    found: list[UnitFound],
    *,
    pause_s: float,
    on_progress: Callable[[str], None],
) -> None:
    """Ask every unit for its first holding register, and add what it did to ``found``.

    Raises DriverError where nobody can be asked at all.
    """
    wanted = list(units)
    for at, unit in enumerate(wanted, start=1):
        there = sum(one.kind is not Kind.SILENT for one in found)
        on_progress(f"unit {unit} ({at} of {len(wanted)}), {there} found; Ctrl-C ends")
        answer = await _patiently(asker, unit, "holding", 0, 1)
        if answer.kind is Kind.REFUSED and answer.code in NOBODY_THERE:
            # The gateway answers in the place of a unit that did not.
            answer = answer._replace(kind=Kind.SILENT)
        found.append(UnitFound(unit, answer.kind, answer.code, answer.text))
        await asyncio.sleep(pause_s)


class TableScan:
    """One table of one unit, from the first to the last address. ``thorough``: ask for every single address."""

    def __init__(
        self,
        asker: Asker,
        unit: int,
        table: str,
        *,
        pause_s: float,
        thorough: bool,
        on_progress: Callable[[str], None],
    ) -> None:
        self._asker = asker
        self._unit = unit
        self._table = table
        self._pause_s = pause_s
        self._thorough = thorough
        self._grain = 1 if thorough else GRAIN[table]
        self._on_progress = on_progress
        self._chunk = LONGEST[table]
        self._areas: list[Area] = []
        self._values: dict[int, int] = {}
        self._requests = 0
        self._longest = 0
        self._silent = 0
        self._stopped = ""

    async def run(self, first: int, last: int) -> TableMap:
        """Ask. Raises DriverError where the device cannot be reached."""
        address = first
        while address <= last and not self._stopped:
            count = min(self._chunk, last - address + 1)
            self._on_progress(
                f"{self._table} {address} of {first} to {last}: {len(self._values)} readable, "
                f"{self._requests} requests; Ctrl-C ends"
            )
            known = len(self._values)
            await self._look(address, count)
            address += count
            if not self._thorough:
                # Where much is empty the rest is likely to be: look less closely, until something is there again.
                empty = known == len(self._values)
                self._grain = min(2 * self._grain, EMPTY_GRAINS * GRAIN[self._table]) if empty else GRAIN[self._table]
        return self.result()

    def result(self) -> TableMap:
        """What is known up to now."""
        return TableMap(
            tuple(_joined(sorted(self._areas))),
            dict(sorted(self._values.items())),
            self._requests,
            self._longest,
            self._max_registers(),
            self._stopped,
        )

    def _max_registers(self) -> int | None:
        if self._chunk == LONGEST[self._table]:
            return None
        return max(1, self._chunk * LONGEST["holding"] // LONGEST[self._table])

    async def _look(self, address: int, count: int) -> None:
        """Ask for all of it, and where that is refused at points in between, to find out where to look closer."""
        answer = await self._ask(address, count)
        if answer.kind is Kind.ANSWERS:
            self._keep(address, answer.words)
            return
        last = address + count - 1
        points: dict[int, Answer] = {}
        for point in sorted({*range(address, last + 1, self._grain), last}):
            if self._stopped:
                return
            points[point] = await self._ask(point, 1)
        for there, group in itertools.groupby(points, key=lambda point: points[point].kind is Kind.ANSWERS):
            alike = list(group)
            if there:
                await self._halve(alike[0], alike[-1] - alike[0] + 1)
            else:
                self._note(alike[0], alike[-1], points[alike[0]], sampled=len(alike) < alike[-1] - alike[0] + 1)
        for before, after in itertools.pairwise(points):
            between = after - before - 1
            if between and (points[before].kind is Kind.ANSWERS) is not (points[after].kind is Kind.ANSWERS):
                await self._halve(before + 1, between)

    async def _halve(self, address: int, count: int) -> bool:
        """Look at every address, the most at once that can be; whether all of it can be read."""
        if self._stopped:
            return False
        answer = await self._ask(address, count)
        if answer.kind is Kind.ANSWERS:
            self._keep(address, answer.words)
            return True
        if count == 1 or self._stopped:
            self._note(address, address + count - 1, answer, sampled=count > 1)
            return False
        half = count // 2
        low = await self._halve(address, half)
        high = await self._halve(address + half, count - half)
        if low and high:
            # Each half can be read and the whole cannot: not the addresses, the length is what it refuses.
            self._chunk = min(self._chunk, count - half)
        return low and high

    async def _ask(self, address: int, count: int) -> Answer:
        answer = await _patiently(self._asker, self._unit, self._table, address, count)
        self._requests += 1
        self._silent = self._silent + 1 if answer.kind is Kind.SILENT else 0
        if answer.kind is Kind.REFUSED and answer.code == ILLEGAL_FUNCTION:
            self._stopped = f"unit {self._unit} has no table {self._table} (it refuses the function)"
        elif answer.kind is Kind.REFUSED and answer.code in NOBODY_THERE:
            self._stopped = f"unit {self._unit} is not there: {answer.text}"
        elif self._silent >= SILENT_TIMES:
            self._stopped = (
                f"unit {self._unit} did not answer {self._silent} times in a row, last for {self._table} {address} "
                f"(length {count}); is it on, and is it this unit? A longer --timeout or --pause may help"
            )
        await asyncio.sleep(self._pause_s)
        return answer

    def _keep(self, address: int, words: Sequence[int]) -> None:
        self._longest = max(self._longest, len(words))
        self._values.update(enumerate(words, start=address))
        self._areas.append(Area(address, address + len(words) - 1, Kind.ANSWERS, 0, "", sampled=False))

    def _note(self, first: int, last: int, answer: Answer, *, sampled: bool) -> None:
        self._areas.append(Area(first, last, answer.kind, answer.code, answer.text, sampled))


async def _patiently(asker: Asker, unit: int, table: str, address: int, count: int) -> Answer:
    answer = await asker.ask(unit, table, address, count)
    for times in range(1, BUSY_TIMES + 1):
        if answer.kind is not Kind.REFUSED or answer.code not in BUSY:
            break
        await asyncio.sleep(times * BUSY_PAUSE_S)
        answer = await asker.ask(unit, table, address, count)
    return answer


def _joined(areas: Sequence[Area]) -> list[Area]:
    joined: list[Area] = []
    for area in areas:
        before = joined[-1] if joined else None
        if before and before.last + 1 == area.first and (before.kind, before.code) == (area.kind, area.code):
            joined[-1] = before._replace(last=area.last, sampled=before.sampled or area.sampled)
        else:
            joined.append(area)
    return joined
