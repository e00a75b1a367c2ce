"""Has the counters of one work unit read before something changes whose the next piece is.

A person's word waits for that, for as long as the setting allows; a name that the PLC says is kept back meanwhile,
while the readings of its source go on. What a shift's end does waits for nothing: there they are read right before it.
Decides neither who runs nor whose a piece is (``read_at_change.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from gateway.core.duration import Duration, seconds
from gateway.core.entries import LotEntry
from gateway.core.model import CountersRead, DataValue, Status
from gateway.core.orders.read_at_change import do_names_matter, is_read_first, names_of, next_by_itself, read_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from gateway.core.model import Input
    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit

    #: Asks the sources for these signals, waits at most so many seconds, and returns once they were handed over or not.
    Read = Callable[[frozenset[str], float], Awaitable[None]]
    #: Has the machines that work on its orders read, and what they made told here, within so many seconds.
    Members = Callable[[float], Awaitable[None]]
    #: Hands inputs over behind a reading: when it was asked for, and when the change comes by itself (0: with these).
    HandOver = Callable[[tuple[Input, ...], int, int], Awaitable[None]]

#: The last reading before a shift ends begins so many times as early as the one before it took, but never later than
#: LAST_READING: a busy gateway must have it handed over in time.
AS_EARLY: Final = 3
LAST_READING: Final = Duration("50 ms")
#: Names that the PLC may say while the counters are read for one of them; more than that are handed over as they come.
NAMES_MAX: Final = 16


async def nobody(_signals: frozenset[str], _timeout_s: float) -> None:
    """Nothing can be read."""


async def no_members(_timeout_s: float) -> None:
    """No other machine works on its orders."""


class Boundary:
    """The readings at changes of one runner. ``now_ns``: the steady clock."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._said: dict[str, tuple[object, Status]] = {}  # what each name was last, and what is known of it now
        self._unit: WorkUnit | None = None
        self._names: frozenset[str] = frozenset()  # of that one
        self._ahead_ns = 0  # the end or beginning of a shift that was read for, or is
        self._waiting: set[asyncio.Task[None]] = set()  # names that are kept back
        self._ahead: set[asyncio.Task[None]] = set()  # readings for what comes by itself
        self._one_by_one = asyncio.Lock()
        self._coming = 0
        self._no_more = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether something was said that is not handed over yet."""
        return bool(self._coming or self._waiting or self._ahead)

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Around what is about to be handed over."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    def wait_no_more(self) -> None:
        """Nobody waits for a reading from here on, nor those who do: the work unit ends."""
        self._no_more.set()

    async def before(
        self, unit: WorkUnit, state: State, given: Input, read: Read, members: Members = no_members
    ) -> int:
        """When the counters were asked for, before this is handed over; 0: they need not be.

        For another lot those of ``members``, too, which work with the lots that are mounted here.
        """
        within = unit.rules.orders.read_at_change
        if not within or not is_read_first(given, state, unit.rules.orders):
            return 0
        if not isinstance(given, LotEntry):
            return await self._asked(unit.read_at_change, seconds(within), read) if unit.read_at_change else 0

        async def all_read(signals: frozenset[str], timeout_s: float) -> None:
            await asyncio.gather(read(signals, timeout_s), members(timeout_s))

        asked_ns = await self._asked(unit.read_at_change, seconds(within), all_read)
        return asked_ns if unit.read_at_change else 0

    def keeps_back(
        self, unit: WorkUnit, state: State, given: tuple[Input, ...], read: Read, hand_over: HandOver
    ) -> tuple[Input, ...]:
        """The inputs of one reading without the name of another job or tool, which follows once the counters were read.

        A reading may bring several names: they follow together, so that none overtakes another; so does their loss.
        Nothing is kept back where the counters came with the name, or cannot be read.
        """
        within = unit.rules.orders.read_at_change
        if not within or not unit.read_at_change:
            return given
        if unit is not self._unit:
            self._unit, self._names = unit, names_of(unit.rules)
        said = tuple(one for one in given if isinstance(one, DataValue) and one.signal in self._names)
        news = {one.signal for one in said if self._said.get(one.signal) != self._word(one)}
        other = {one.signal for one in said if self._value(one.signal) not in (None, self._word(one)[0])}
        self._said.update((one.signal, self._word(one)) for one in said)
        waits = bool(self._waiting)  # then whatever else a name is follows behind, its loss as well
        if not said or not (waits or do_names_matter(other, state, unit.rules)):
            return given
        others = tuple(one for one in given if one not in said)
        if not news:  # it is on its way
            return others
        missing = unit.read_at_change - {one.signal for one in others if isinstance(one, DataValue)}
        if len(self._waiting) >= NAMES_MAX or not (missing or self._waiting):
            return given

        async def follow() -> None:
            async with self._one_by_one:
                asked_ns = await self._asked(unit.read_at_change, seconds(within), read)
                await hand_over(said, asked_ns, 0)

        _kept(self._waiting, asyncio.create_task(follow(), name="reading at a change of orders"))
        return others

    def _value(self, name: str) -> object:
        return self._said[name][0] if name in self._said else None

    def _word(self, one: DataValue) -> tuple[object, Status]:
        """What a name is now; one that is lost is still what it was."""
        return (one.value if one.status is Status.GOOD else self._value(one.signal)), one.status

    def ahead(self, unit: WorkUnit, state: State, read: Read, hand_over: HandOver) -> int | None:
        """When to look again, because a shift ends or begins by itself; from then on the counters are read for it.

        None: nothing is to be read for.
        """
        within = unit.rules.orders.read_at_change
        if not within or not unit.read_at_change or self._no_more.is_set():
            return None
        due_ns = next_by_itself(state, unit.rules.orders)
        if due_ns is None or due_ns == self._ahead_ns:
            return None
        now_ns = self._now_ns()
        if now_ns < due_ns - within:
            return due_ns - within
        self._ahead_ns = due_ns
        if now_ns < due_ns:
            reading = self._right_before(unit.read_at_change, due_ns, read, hand_over)
            _kept(self._ahead, asyncio.create_task(reading, name="reading at a shift's end"))
        return None

    async def _right_before(self, signals: frozenset[str], due_ns: int, read: Read, hand_over: HandOver) -> None:
        """Read once to learn how long it takes, and again as late as its answer still comes in time."""
        asked_ns = await self._asked(signals, seconds(max(due_ns - self._now_ns(), 0)), read)
        lead_ns = max(AS_EARLY * (self._now_ns() - asked_ns), LAST_READING)
        wait_ns = due_ns - lead_ns - self._now_ns()
        if wait_ns > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds(wait_ns)):
                    await self._no_more.wait()
            asked_ns = await self._asked(signals, seconds(max(due_ns - self._now_ns(), 0)), read)
        if not self._no_more.is_set():
            await hand_over((), asked_ns, due_ns)

    def came_of_it(self, unit: WorkUnit, last: Mapping[str, DataValue], asked_ns: int, due_ns: int = 0) -> CountersRead:
        """What to hand over right before the change."""
        times = {name: unit.event_time(one, one.received_time_ns) for name, one in last.items()}
        return read_for(unit.read_at_change, last, times, asked_ns, self._now_ns(), due_ns)

    async def _asked(self, signals: frozenset[str], within_s: float, read: Read) -> int:
        asked_ns = self._now_ns()
        reading, ends = asyncio.ensure_future(read(signals, within_s)), asyncio.ensure_future(self._no_more.wait())
        try:
            await asyncio.wait({reading, ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            ends.cancel()
        return asked_ns


def _kept(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    """Keep it until it is done."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)
