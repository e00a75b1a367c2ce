"""Another lot at a machine whose orders others work on: what they made with the one before is told first."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import new_database
import pytest

from buffer.store import Store
from gateway.access.caller import CALLER, Caller
from gateway.core.audit.told import Actor
from gateway.core.document import Identity
from gateway.core.entries import LotEntry
from gateway.core.model import Confirmation, DataValue, JobOrder, OrderReceived, Status
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage
from gateway.core.orders.shares import MemberTold
from gateway.core.rules import CounterRule, OrderRule, WorkUnitRules
from gateway.core.rules_material import FeederRule, LotRule, WorkRule
from gateway.core.work_unit import WorkUnit
from gateway.relays.share_relay import ShareRelay
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
LONG_S = 120.0
PLACE = Identity(plant="P", epoch="e", gateway_id="g", line="L", machine="M-01", work_center="WC")
RING = Component("RING", Decimal(1), "PC", lot_required=True)


class Floor:
    """A lead with a feeder, a member whose counter says nothing unless it is asked, and a clock that is set by hand."""

    def __init__(self, store):
        self.time_ns, self.pieces, self.answers = 1_780_000_000 * S, 0, True
        self.parts, self.confirmed = SimpleNamespace(runners={}), []
        self.relay = ShareRelay(self.parts, self.now_ns, self.read)
        feeders = WorkRule(lots=LotRule(feeders={"bowl": FeederRule(item="RING")}))
        self.lead = self.machine(store, PLACE, "a.n", work=feeders)
        self.member = self.machine(store, replace(PLACE, machine="M-02"), "b.n", orders=OrderRule(shares_with="M-01"))

    def machine(self, store, place, signal, **rules):
        rules = WorkUnitRules(work_center="WC", counters=(CounterRule(mode="counter", signal=signal),), **rules)
        unit = WorkUnit(rules, place)

        async def members(_within_s):
            await self.relay.read_out(place.machine, LONG_S)

        hooks = RunnerHooks(
            targets=lambda _: (), alive=lambda: None, trouble=lambda _: None, members=members,
            committed=lambda outputs, _: self.committed(place.machine, outputs),
        )  # fmt: skip
        made = Runner(
            unit, unit.initial(self.time_ns), store,
            now_ns=self.now_ns, checkpoint_ns=S, idle_wake_ns=S // 20, hooks=hooks,
        )  # fmt: skip
        self.parts.runners[place.machine] = made
        return made

    def committed(self, name, outputs):
        self.confirmed += [lot for one in outputs if isinstance(one, Confirmation) for lot in one.work.lots]
        self.relay.committed(name)

    def now_ns(self):
        return self.time_ns

    async def read(self, signals, _timeout_s):
        if not self.answers:
            await asyncio.Event().wait()
        if "b.n" in signals:
            await self.shows(self.member, "b.n", self.pieces)

    async def shows(self, machine, signal, value):
        await machine.put((DataValue(signal, value, Status.GOOD, None, self.time_ns),))

    async def mounts(self, lot):
        await self.lead.submit(LotEntry(self.time_ns, True, "bowl", lot, "ann", replace=lot != "L1"))

    async def until(self, true):
        async with asyncio.timeout(LONG_S):
            while not true():  # noqa: ASYNC110 - conditions are of many kinds
                await asyncio.sleep(0.001)

    def used(self):
        """Pieces of each lot at the lead, confirmed or not."""
        made = [*self.confirmed, *self.lead.state.running.work.made]
        return {use.lot: use.pieces for one in made for use in one.uses}


@pytest.fixture
async def floor(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        store = await Store.open(
            new_database.at(tmp_path / "linegate.db"), now_ns=lambda: S, max_bytes=2**26, reserve_bytes=0
        )
        stack.push_async_callback(store.close)
        made = Floor(store)
        for machine, signal in ((made.lead, "a.n"), (made.member, "b.n")):
            task = asyncio.create_task(machine.run())
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
            await made.shows(machine, signal, 0)
        await made.mounts("L1")
        plain = ("0", 1, "WC", "P", "", "PC", Decimal(1000), 1, None, None, None, False, "erp")
        work = ImageOperation("0010", "WC", Decimal(1000))
        image = OrderImage("erp", "A", 1, "P", "PC", Decimal(1000), (work,), components=(RING,))
        await made.lead.submit(OrderReceived(made.time_ns, with_image(JobOrder("A", "0010", *plain), image), None))
        await made.until(lambda: made.member.state.running is not None)
        yield made


async def test_what_a_member_made_before_is_of_the_lot_before_and_what_was_under_way_is_of_the_next(floor):
    floor.time_ns += 10 * S
    floor.pieces = 3
    await floor.mounts("L2")
    assert floor.used() == {"L1": 3}
    floor.time_ns += 8 * S
    await floor.mounts("L3")
    floor.time_ns += 2 * S  # most of its cycle lay before the change
    await floor.shows(floor.member, "b.n", 4)
    await floor.until(lambda: floor.lead.state.running.good == 4)
    assert floor.used() == {"L1": 3, "L3": 1}


async def test_a_member_that_does_not_answer_holds_up_no_lot(floor):
    before = floor.lead.state.sharing.member("M-02").read_ns
    assert before == floor.time_ns
    floor.time_ns += S
    floor.answers = False
    await asyncio.wait_for(floor.relay.read_out("M-01", 0.01), LONG_S)
    assert floor.lead.state.sharing.member("M-02").read_ns == before


async def test_what_a_member_tells_is_told_by_nobody(floor, monkeypatch):
    CALLER.set(Caller(Actor("ann", "operator", "token", "panel")))
    said, tell = [], floor.lead.tell

    async def heard(word):
        said.append((type(word).__name__, CALLER.get()))
        return await tell(word)

    monkeypatch.setattr(floor.lead, "tell", heard)
    await floor.relay.read_out("M-01", LONG_S)
    assert said == [("MemberTold", None)]


async def test_a_word_that_the_lead_cannot_digest_holds_up_no_lot_and_is_told_until_it_is_taken(floor, monkeypatch):
    told, handle = {}, WorkUnit.handle
    floor.parts.trouble = told.__setitem__

    def broken(self, state, given):
        if isinstance(given, MemberTold):
            raise TypeError("a defect")
        return handle(self, state, given)

    monkeypatch.setattr(WorkUnit, "handle", broken)
    floor.time_ns += 10 * S
    floor.pieces = 3
    await floor.mounts("L2")
    assert floor.lead.state.work.feeders[0].lots[-1].lot == "L2"
    assert "TypeError: a defect" in told["what M-02 tells M-01"]
    assert floor.lead.state.running.good == 0
    monkeypatch.undo()
    floor.relay.committed("M-02")
    await floor.until(lambda: floor.lead.state.running.good == 3)
    await floor.until(lambda: told["what M-02 tells M-01"] == "")


async def test_a_word_to_a_machine_that_ends_is_a_reason_not_an_error(floor):
    word = MemberTold(floor.time_ns, "M-02", floor.time_ns, ())
    assert await floor.lead.tell(word) == ""
    floor.lead.drain()
    await floor.until(lambda: floor.lead._ended)
    assert (await floor.lead.tell(word)).startswith("M-01 is not run any more: ")
