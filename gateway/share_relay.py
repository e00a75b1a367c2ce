"""Between machines that work on the orders of one: tells the lead what its members made, and them what runs there.

After each commit, and once at the start: what was committed on one side and not on the other when the gateway died is
told again. One word of each is under way at a time, so that none overtakes another. Decides and books nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.core.orders.lead import word_for
from gateway.core.orders.shares import MemberTold

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.orders.shares import LeadTold
    from gateway.parts import Parts

log = structlog.get_logger(__name__)


class _Way(NamedTuple):
    """From a machine to another one: up to the lead, or down to the member."""

    member: str
    lead: str
    up: bool


class ShareRelay:
    """One for a gateway. ``now_ns`` is steady time."""

    def __init__(self, parts: Parts, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._now_ns = now_ns
        self._under_way: dict[_Way, asyncio.Task[None]] = {}
        self._again: set[_Way] = set()
        self._said: dict[_Way, LeadTold | MemberTold] = {}

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
        for member in self._members_of(name):
            self._tell(_Way(member, name, up=False))

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
        member, lead = self._parts.runners.get(way.member), self._parts.runners.get(way.lead)
        if member is None or lead is None:
            return
        now_ns = self._now_ns()
        if way.up:
            state = member.state
            word: LeadTold | MemberTold = MemberTold(now_ns, way.member, state.at_ns, member.unit.shares(state))
        else:
            word = word_for(lead.state, way.member, now_ns)
        said = self._said.get(way)
        if said is not None and _same(said, word):
            return
        try:
            await (lead if way.up else member).submit(word)
        except Exception as error:  # noqa: BLE001 - what a work unit cannot digest is told there; tried with the next one
            log.warning("not shared", member=way.member, lead=way.lead, error=repr(error))
            return
        self._said[way] = word


def _same(said: LeadTold | MemberTold, word: LeadTold | MemberTold) -> bool:
    if isinstance(said, MemberTold) and isinstance(word, MemberTold):
        return said.rows == word.rows
    return said._replace(at_ns=word.at_ns) == word
