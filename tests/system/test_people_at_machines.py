"""Real runners on one real database: people at several machines, material and lots, through restarts and kills."""

from __future__ import annotations

import asyncio
import contextlib
import json
from decimal import Decimal

import pytest

from buffer.outbox import Outbox
from buffer.store import Store
from gateway.core import snapshot
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.entries import PresenceEntry
from gateway.core.model import (
    DataValue,
    JobOrder,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    Status,
)
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import ImageOperation, OrderImage
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, WorkUnitRules
from gateway.core.rules_material import WorkRule
from gateway.core.work_unit import WorkUnit
from gateway.parts import Parts
from gateway.relays.presence_relay import PresenceRelay
from gateway.sources.taps import Taps
from gateway.timing.clock import ManualClock
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
MIN = 60 * S
DEADLINE_S = 60.0


def job(order, machine, *components):
    plain = JobOrder(
        order=order, operation="0010", sequence="0", revision=1, work_center=f"WC-{machine}", product="X",
        product_revision="", uom="PC", quantity=Decimal(1_000_000), sequence_no=0, std_cycle_ns=None,
        planned_start_ns=None, planned_end_ns=None, cancelled=False, source="erp",
    )  # fmt: skip
    operation = ImageOperation("0010", f"WC-{machine}", plain.quantity)
    return with_image(
        plain, OrderImage("erp", order, 1, "X", "PC", plain.quantity, (operation,), components=components)
    )


class Hall:
    """Machines with their runners and their relay on one database, under a clock that stands still between steps."""

    def __init__(self, folder):
        self.path = folder / "hall.db"
        self.clock = ManualClock(1_000_000 * S)
        self.start_ns = self.clock.now_ns()
        self.tasks = []
        self.shown = {}

    async def open(self, *machines, work=None):
        self.store = await Store.open(self.path, now_ns=self.clock.now_ns, max_bytes=64 << 20)
        stored = await self.store.snapshots()
        self.parts = Parts(Outbox(self.store), Taps(self.clock.now_ns), lambda t_ns: t_ns)
        relay = PresenceRelay(self.parts, self.clock.now_ns)
        for machine in machines:
            rules = WorkUnitRules(
                work_center=f"WC-{machine}", ideal_cycle=Duration("1 s"),
                counters=(CounterRule(mode="counter", signal=f"{machine}.good"),), confirm=ConfirmRule(),
                orders=OrderRule(at_target="continue"), work=work or WorkRule(),
            )  # fmt: skip
            identity = Identity(
                plant="P", epoch=self.store.epoch, gateway_id="g", line="", machine=machine, work_center=f"WC-{machine}"
            )
            unit = WorkUnit(rules, identity)
            state = unit.initial(self.clock.now_ns())
            if machine in stored:
                state = snapshot.load(unit, stored[machine])
            troubles = []
            hooks = RunnerHooks(
                lambda _job: ("erp",),
                lambda out, _state, machine=machine: relay.committed(machine, out),
                lambda: None,
                troubles.append,
            )
            self.parts.runners[machine] = Runner(
                unit, state, self.store, now_ns=self.clock.now_ns, checkpoint_ns=S, idle_wake_ns=S // 5, hooks=hooks
            )
        relay.told()
        self.tasks = [asyncio.create_task(runner.run()) for runner in self.parts.runners.values()]
        return self

    async def close(self):
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.store.close()

    async def say(self, machine, given):
        return await self.parts.runners[machine].submit(given)

    async def order(self, machine, order, *components):
        await self.say(machine, OrderReceived(self.clock.now_ns(), job(order, machine, *components)))

    async def decide(self, machine, verb, order):
        await self.say(machine, OperatorEntry(self.clock.now_ns(), verb, order, "", "ann"))

    async def log(self, machine, begins, person):
        await self.say(machine, PresenceEntry(self.clock.now_ns(), begins, person, person))

    async def at(self, minute, *machines):
        """The clock goes on minute by minute; these machines make pieces all the time."""
        to_ns = self.start_ns + minute * MIN
        while self.clock.now_ns() < to_ns:
            self.clock.advance(MIN)
            for machine in machines:
                await self.make(machine, 10)

    async def make(self, machine, pieces):
        self.shown[machine] = self.shown.get(machine, 0) + pieces
        value = DataValue(f"{machine}.good", self.shown[machine], Status.GOOD, None, self.clock.now_ns())
        await self.say(machine, value)

    async def settled(self):
        """Every machine knows at how many machines its people are."""
        async with asyncio.timeout(DEADLINE_S):
            while told := [task for task in asyncio.all_tasks() if task.get_name() == "presence"]:
                await asyncio.gather(*told)

    def shares(self, machine):
        log_ins = self.parts.runners[machine].state.work.labour.log_ins
        return {one.person: one.machines for one in log_ins if one.to_ns is None}

    async def documents(self, order):
        page = await Outbox(self.store).page(limit=1000)
        return [json.loads(one.payload) for one in reversed(page) if one.order == order]


@pytest.fixture
async def hall(tmp_path):
    made = Hall(tmp_path)
    yield made
    await made.close()


def minutes(documents, name):
    return sum(Decimal(one["times"][f"{name}_min"]) for one in documents)


@pytest.mark.parametrize("restarts", [False, True])
async def test_b3_a_person_at_two_machines_counts_half_at_each(hall, restarts):
    """06:00 is the start. A is there 06:00 to 10:00, B 07:00 to 09:00; the first machine runs 06:30 to 09:30.

    A is at a second machine from 08:00, which runs then until 09:30.
    """
    await hall.open("A", "B")
    await hall.make("A", 0)
    await hall.make("B", 0)
    await hall.log("A", True, "A")
    await hall.at(30)
    await hall.order("A", "4711")
    await hall.at(60, "A")
    await hall.log("A", True, "B")
    await hall.at(90, "A")
    await hall.log("B", True, "A")  # where no order runs yet
    await hall.settled()
    assert (hall.shares("A"), hall.shares("B")) == ({"A": 1, "B": 1}, {"A": 1})
    await hall.at(120, "A")
    await hall.order("B", "4712")
    await hall.settled()
    assert (hall.shares("A"), hall.shares("B")) == ({"A": 2, "B": 1}, {"A": 2})
    if restarts:
        await hall.close()
        await hall.open("A", "B")
        await hall.settled()
    await hall.at(180, "A", "B")
    await hall.log("A", False, "B")
    await hall.at(210, "A", "B")
    await hall.decide("B", OperatorVerb.FINISH, "4712")
    await hall.settled()
    assert hall.shares("A") == {"A": 1}, "the second machine runs no more"
    await hall.decide("A", OperatorVerb.FINISH, "4711")
    first, second = await hall.documents("4711"), await hall.documents("4712")
    assert minutes(first, "labour") == Decimal("4.25") * 60
    assert minutes(second, "labour") == Decimal("0.75") * 60
    # Of the time until it saw the machine again after the restart it knows nothing; the people were there.
    assert 179 < minutes(first, "machine") <= 180
    assert (first[-1]["operators"], second[-1]["operators"]) == (["A", "B"], ["A"])
