"""Machines that work on one operation hear of each other: a member that makes nothing, too, and one that has left."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gateway.core.orders.shares import LeadTold, MemberBooked, MemberRow, MemberTold, Sharing
from gateway.relays import share_relay
from gateway.relays.share_relay import ShareRelay

ROW = MemberRow(1, "A", "0010", doing="PRODUCING")


class Machine:
    """A work unit that remembers what it was told, in the order of all."""

    def __init__(self, heard, lead=None):
        self.heard, self.rows = heard, (ROW,)
        self.unit = SimpleNamespace(
            rules=SimpleNamespace(orders=SimpleNamespace(shares_with=lead, target_counts="good")),
            shares=lambda _state: self.rows,
        )
        sharing = Sharing(members=(MemberBooked("M-02", 5, (ROW,)),))
        self.state = SimpleNamespace(at_ns=5, running=None, sharing=sharing)

        self.why = ""

    async def tell(self, word):
        self.heard.append(word)
        return self.why


@pytest.fixture
def floor():
    heard = []
    runners = {"M-01": Machine(heard), "M-02": Machine(heard, "M-01")}
    troubles = {}
    relay = ShareRelay(SimpleNamespace(runners=runners, trouble=troubles.__setitem__), lambda: 9)
    return SimpleNamespace(relay=relay, runners=runners, heard=heard, troubles=troubles)


async def told(floor):
    async with asyncio.timeout(60):
        while floor.relay._under_way or floor.relay._again:  # noqa: ASYNC110 - a plain condition
            await asyncio.sleep(0)


async def test_a_member_that_heard_of_another_order_says_whose_its_time_is(floor):
    floor.relay.committed("M-01")
    await told(floor)
    assert [type(one) for one in floor.heard] == [LeadTold, MemberTold]
    assert floor.heard[1].rows == (ROW,)


async def test_of_a_machine_that_left_the_lead_hears_once_that_it_stands(floor):
    del floor.runners["M-02"]
    floor.relay.committed("M-01")
    await told(floor)
    (word,) = floor.heard
    assert [(row.doing, row.states) for row in word.rows] == [("", (("PRODUCING", 4),))], "from 5 ns to 9 ns"
    sharing = Sharing(members=(MemberBooked("M-02", 9, word.rows),))
    floor.runners["M-01"].state.sharing = sharing
    floor.relay.committed("M-01")
    await told(floor)
    assert floor.heard == [word]


@pytest.mark.parametrize("by", ["what comes next", "itself", "its end"])
async def test_a_word_that_is_not_taken_is_told_to_whoever_looks_and_said_again(floor, monkeypatch, by):
    monkeypatch.setattr(share_relay, "AGAIN_S", 0.01 if by == "itself" else 3600.0)
    lead = floor.runners["M-01"]
    lead.why = "ValueError: a defect"
    for _ in range(3):
        floor.relay.committed("M-02")
        await told(floor)
    name = "what M-02 tells M-01"
    assert set(floor.troubles) == {way.part for way in floor.relay._not_taken} == {name}
    assert floor.troubles[name].startswith("not taken: ValueError: a defect; it is told again with what comes next, ")
    (waits,) = floor.relay._not_taken.values()
    lead.why = ""
    floor.heard.clear()
    if by == "its end":
        del floor.runners["M-01"]
    if by != "itself":
        floor.relay.committed("M-02")
    async with asyncio.timeout(60):
        while floor.troubles[name]:  # noqa: ASYNC110 - a plain condition
            await asyncio.sleep(0)
    assert waits.cancelled() or by == "itself"
    assert not floor.relay._not_taken, "nothing is said again that was taken"
    assert sum(isinstance(one, MemberTold) for one in floor.heard) == (0 if by == "its end" else 1)
