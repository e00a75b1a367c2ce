"""Between machines that work on the orders of one: tells the lead what its members made, and them what runs there.

After each commit, and once at the start: what was committed on one side and not on the other when the gateway died is
told again. One word of each is under way at a time, so that none overtakes another. Before another lot is mounted at
the lead its members are read, and tell what they made with the lots before. Of a machine that is no member any more the
lead hears that. What a machine does not take is told to whoever looks, and said again with what comes next, at the
latest ``AGAIN_S`` later. Decides and books nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.access.caller import CALLER, TAKEN
from gateway.core.model import TimePassed
from gateway.core.orders.lead import left, word_for
from gateway.core.orders.read_at_change import read_for
from gateway.core.orders.shares import LeadTold, MemberTold
from gateway.work_unit.boundary import nobody

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.unit_state import State
    from gateway.core.work_unit import WorkUnit
    from gateway.parts import Parts
    from gateway.work_unit.boundary import Read
    from gateway.work_unit.runner import Runner

#: What was not taken is said again then, if nothing new comes before.
AGAIN_S: Final = 60.0
_AGAIN: Final = f"it is told again with what comes next, at the latest in {AGAIN_S:.0f} s; see the log and report it"


class _Way(NamedTuple):
    """From a machine to another one: up to the lead, or down to the member."""

    member: str
    lead: str
    up: bool

    @property
    def part(self) -> str:
        """What is said of it is named so."""
        return f"what {self.member} tells {self.lead}" if self.up else f"what {self.lead} tells {self.member}"


class ShareRelay:
    """One for a gateway. ``now_ns`` is steady time, ``read`` has signals read out of turn."""

    def __init__(self, parts: Parts, now_ns: Callable[[], int], read: Read = nobody) -> None:
        self._parts = parts
        self._now_ns = now_ns
        self._read = read
        self._under_way: dict[_Way, asyncio.Task[None]] = {}
        self._again: set[_Way] = set()
        self._said: dict[_Way, LeadTold | MemberTold] = {}
        self._not_taken: dict[_Way, asyncio.TimerHandle] = {}

    def started(self) -> None:
        """Tell everybody everything once."""
        self._said.clear()
        for name in self._parts.runners:
            self.committed(name)

    def committed(self, name: str) -> None:
        """A work unit committed something; waits for nobody."""
        runner = self._parts.runners.get(name)
        lead = None if runner is None else runner.unit.rules.orders.shares_with
        if lead is not None:
            self._tell(_Way(name, lead, up=True))
            down = _Way(name, lead, up=False)
            if down not in self._said:  # configured just now
                self._tell(down)
            return
        if runner is None:
            return
        members = self._members_of(name)
        for member in members:
            self._tell(_Way(member, name, up=False))
        for gone in (one.machine for one in runner.state.sharing.members if one.machine not in members):
            self._tell(_Way(gone, name, up=True))

    async def read_out(self, lead: str, within_s: float) -> None:
        """Have the members of a machine read, and what they made up to now told there, within so many seconds.

        One that cannot be read tells what is known; what it makes across the change is shared by time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(self._read_out(name, lead, within_s) for name in self._members_of(lead)))

    async def _read_out(self, name: str, lead: str, within_s: float) -> None:
        CALLER.set(None)  # it tells by itself, whoever mounts the lot
        TAKEN.set(None)
        way, asked_ns = _Way(name, lead, up=True), self._now_ns()
        member, hears = self._parts.runners.get(name), self._parts.runners.get(lead)
        if member is None or hears is None:  # it is not configured any more
            return
        await self._read(member.unit.read_at_change, within_s)
        why = await member.tell(TimePassed(self._now_ns()))  # what was read is committed before it
        why = why or await hears.tell(read_word(member, name, asked_ns, self._now_ns()))
        if why:  # the lot is mounted nevertheless
            self._failed(
                way, f"not told before another lot was mounted, what is made meanwhile is shared by time: {why}"
            )

    def _members_of(self, lead: str) -> list[str]:
        runners = self._parts.runners.items()
        return [name for name, runner in runners if runner.unit.rules.orders.shares_with == lead]

    def _tell(self, way: _Way) -> None:
        if way in self._under_way:
            self._again.add(way)
            return
        task = asyncio.create_task(self._told(way), name="share")
        self._under_way[way] = task
        task.add_done_callback(lambda _task: self._ended(way))

    def _ended(self, way: _Way) -> None:
        del self._under_way[way]
        if way in self._again:
            self._again.discard(way)
            self._tell(way)

    async def _told(self, way: _Way) -> None:
        word, said = self._word(way), self._said.get(way)
        hears = self._parts.runners.get(way.lead if way.up else way.member)
        if word is None or hears is None or (said is not None and same_word(said, word)):
            self._settled(way)
            return
        if why := await hears.tell(word):
            self._failed(way, f"not taken: {why}")
            return
        self._settled(way)
        self._said[way] = word
        if isinstance(word, LeadTold) and not (isinstance(said, LeadTold) and said.job == word.job):
            self._tell(way._replace(up=True))  # whose its time is from now on, also if it makes nothing

    def _failed(self, way: _Way, why: str) -> None:
        self._settled(way)
        self._parts.trouble(way.part, f"{why}; {_AGAIN}")
        self._not_taken[way] = asyncio.get_running_loop().call_later(AGAIN_S, self._tell, way)

    def _settled(self, way: _Way) -> None:
        waits = self._not_taken.pop(way, None)
        if waits is not None:
            waits.cancel()
            self._parts.trouble(way.part, "")

    def _word(self, way: _Way) -> LeadTold | MemberTold | None:
        """What there is to say; None: nothing."""
        runners, now_ns = self._parts.runners, self._now_ns()
        member, lead = runners.get(way.member), runners.get(way.lead)
        if lead is None:
            return None
        if member is None or member.unit.rules.orders.shares_with != way.lead:
            return left(lead.state, way.member, now_ns) if way.up else None
        if way.up:
            return word_of(member.unit, member.state, way.member, now_ns)
        return word_for(lead.state, way.member, now_ns, lead.unit.rules.orders.target_counts)


def read_word(member: Runner, name: str, asked_ns: int, now_ns: int) -> MemberTold:
    """What a member tells once its counters were asked for."""
    unit, state, last = member.unit, member.state, {one.signal: one for one in member.last_values()}
    times = {signal: unit.event_time(one, one.received_time_ns) for signal, one in last.items()}
    found = read_for(unit.read_at_change, last, times, asked_ns, now_ns)
    read_ns = 0 if found.missing else found.until_ns
    return word_of(unit, state, name, now_ns)._replace(read_ns=read_ns)


def word_of(unit: WorkUnit, state: State, name: str, now_ns: int) -> MemberTold:
    """What a member tells its lead now."""
    return MemberTold(now_ns, name, state.at_ns, unit.shares(state), since_ns=state.sharing.since_ns)


def same_word(said: LeadTold | MemberTold, word: LeadTold | MemberTold) -> bool:
    """Whether a word says what was said before."""
    if isinstance(said, MemberTold) and isinstance(word, MemberTold):
        return (said.rows, said.since_ns) == (word.rows, word.since_ns)
    return said._replace(at_ns=word.at_ns) == word
