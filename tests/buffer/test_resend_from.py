"""What an ERP has lost is sent again from a number on: in order, with the same key and bytes, or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.retention import postings as prune
from buffer.step import NewPosting, Step
from gateway.audit.auditing import Auditing
from gateway.connectors.base import Capabilities, Lookup, LookupKind
from gateway.control import RequestError
from gateway.core.calendar.honest_time import TimeQuality
from gateway.erp.resending import LOOKED_UP_MAX, NUMBERS_MAX, Resending

WANTED = {"target": "erp", "order": "A", "operation": "10", "who": "p", "reason": "the ERP was restored"}


class UtcClock:
    quality = TimeQuality.TRUSTED

    def now_ns(self):
        return 100

    def utc_ns(self, steady_ns):
        return steady_ns


class Erp:
    """What it has, by key; ``mute``: it does not answer."""

    def __init__(self, *, idempotent):
        self.capabilities = Capabilities(idempotent=idempotent, can_lookup=True)
        self.has, self.asked, self.mute = set(), [], False

    async def lookup(self, posting):
        self.asked.append(posting.key)
        if self.mute:
            return Lookup(LookupKind.UNKNOWN)
        return Lookup(LookupKind.FOUND if posting.key in self.has else LookupKind.ABSENT)


class Floor:
    def __init__(self, store):
        self.store, self.outbox = store, Outbox(store)
        self.erp = Erp(idempotent=True)
        self.woken = []

    async def book(self, numbers):
        new = [NewPosting("erp", f"k/{n}", "m", "A", "10", n, "partial", b"{}", n) for n in numbers]
        await self.store.commit(Step("M1", b"{}", 1, (), tuple(new)))
        for number in numbers:
            (one,) = await self.outbox.due("erp", 10**9, 5)
            await self.outbox.begin_send(one.id, (b"bytes %d" % number, "t", "n"), number)
            await self.outbox.settle(one.id, Settlement(OutboxState.POSTED), number)

    def verb(self):
        parts = SimpleNamespace(
            outbox=self.outbox,
            connectors={"erp": self.erp},
            forwarders={"erp": SimpleNamespace(wake=lambda: self.woken.append(1))},
        )
        clock = UtcClock()
        gateway = SimpleNamespace(timezone="UTC", profile="standard")
        auditing = Auditing(SimpleNamespace(gateway=gateway, digest="d"), self.store, clock)
        return Resending(parts, self.store, clock, auditing).table()["outbox.resend_from"]

    async def ask(self, first, last=None, **changes):
        return await self.verb()({**WANTED, "from": first, "to": last, **changes})

    async def states(self):
        return {one.seq: str(one.state) for one in await self.outbox.page()}


@pytest.fixture
async def floor(store):
    floor = Floor(store)
    await floor.book([1, 2, 3, 4])
    return floor


async def test_from_a_number_on_they_go_again_in_their_order_with_the_same_bytes(floor):
    done = await floor.ask(2)
    assert [one["seq"] for one in done["done"]] == [2, 3, 4]
    assert (floor.erp.asked, floor.woken) == ([], [1])
    sent = []
    while found := await floor.outbox.due("erp", 10**9, 9):
        (one,) = found
        sent.append((one.seq, one.key, one.body))
        await floor.outbox.begin_send(one.id, None, 200)
        await floor.outbox.settle(one.id, Settlement(OutboxState.POSTED), 200)
    assert sent == [(n, f"k/{n}", b"bytes %d" % n) for n in (2, 3, 4)]
    assert await floor.store.read("SELECT DISTINCT who, reason FROM outbox_resend", ()) == [("p", WANTED["reason"])]


async def test_up_to_a_number_and_what_is_open_is_told(floor):
    await floor.ask(2, 2)
    done = await floor.ask(1, 3)
    assert [one["seq"] for one in done["done"]] == [1, 3]
    assert done["left"] == [{"seq": 2, "why": "ready"}]


async def test_where_repeats_are_booked_each_is_looked_up_and_only_what_is_lost_goes(floor):
    floor.erp = Erp(idempotent=False)
    floor.erp.has = {"k/1", "k/3"}
    done = await floor.ask(1)
    assert [one["seq"] for one in done["done"]] == [2, 4]
    assert done["left"] == [{"seq": 1, "why": "the ERP has it"}, {"seq": 3, "why": "the ERP has it"}]
    assert floor.erp.asked == ["k/1", "k/2", "k/3", "k/4"]


async def test_where_nobody_can_say_nothing_goes(floor):
    floor.erp = Erp(idempotent=False)
    floor.erp.mute = True
    with pytest.raises(RequestError, match="cannot say whether it has it"):
        await floor.ask(1)
    assert set((await floor.states()).values()) == {"posted"}


async def test_what_went_by_its_age_is_named_and_nothing_goes(floor):
    assert await prune(floor.store, 3) == 2
    with pytest.raises(RequestError, match="number 1 and 1 more is not kept any more") as refused:
        await floor.ask(1)
    assert refused.value.found == "1, 2"
    assert set((await floor.states()).values()) == {"posted"}
    with pytest.raises(RequestError, match="number 5 is not kept"):
        await floor.ask(3, 5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"target": "other"}, "found no connector 'other' that takes confirmations, allowed: "),
        ({"from": 0}, "1 and above"),
        ({"from": "x"}, "1 and above"),
        ({"from": True}, "1 and above"),
        ({"order": "NONE"}, "number 1 is not kept any more"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(floor, changes, text):
    with pytest.raises(RequestError, match=text):
        await floor.verb()({**WANTED, "from": 1, **changes})


async def test_a_request_is_bounded(floor):
    floor.erp = Erp(idempotent=False)
    await floor.book(range(5, LOOKED_UP_MAX + 2))
    with pytest.raises(RequestError, match="51 that must be looked up"):
        await floor.ask(1)
    assert NUMBERS_MAX >= LOOKED_UP_MAX


@pytest.mark.parametrize("arguments", [[], ["KEY", "--target", "t", "--order", "o", "--operation", "p", "--from", "1"]])
def test_the_command_wants_a_key_or_a_range(arguments, capsys, tmp_path):
    from gateway.cli import main

    assert main(["outbox", "resend", *arguments, "--reason", "r", "-d", str(tmp_path)]) == 2
    assert "are needed" in capsys.readouterr().err
