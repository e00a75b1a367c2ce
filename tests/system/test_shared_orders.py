"""Real runners on one real database: one machine holds an operation, a number goes out once, garbage stops nobody."""

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
from gateway.core.model import (
    DataValue,
    JobOrder,
    JobOrderState,
    Notice,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    Status,
)
from gateway.core.orders.handover import without_moved
from gateway.core.rules import ConfirmRule, CounterRule, WorkUnitRules
from gateway.core.rules_confirming import UnallocatedRule
from gateway.core.work_unit import WorkUnit
from gateway.timing.clock import ManualClock
from gateway.work_unit.runner import Runner, RunnerHooks
from gateway.work_unit.steps import step_of

S = 1_000_000_000
DEADLINE_S = 60.0
KEY = ("4711", "0010")


def job(revision=0, work_center="WC-A", **changes):
    order = JobOrder(
        order="4711", operation="0010", sequence="0", revision=revision, work_center=work_center, product="X",
        product_revision="", uom="PC", quantity=Decimal(100), sequence_no=0, std_cycle_ns=None,
        planned_start_ns=None, planned_end_ns=None, cancelled=False, source="erp",
    )  # fmt: skip
    return order._replace(**changes)


class Floor:
    """Machines with their runners on one database; every piece is confirmed at once."""

    def __init__(self, folder):
        self.path = folder / "floor.db"
        self.clock = ManualClock(1_000_000 * S)
        self.troubles = []
        self.runners = {}
        self.tasks = []

    async def open(self, *machines, pieces=1):
        self.store = await Store.open(self.path, now_ns=self.clock.now_ns, max_bytes=64 << 20)
        stored = await self.store.snapshots()
        for machine in machines:
            counter = CounterRule(mode="counter", signal=f"{machine}.good", pieces=pieces)
            rules = WorkUnitRules(
                work_center=f"WC-{machine}", ideal_cycle=Duration("100 ms"), counters=(counter,),
                confirm=ConfirmRule(every_pieces=1, min_interval=Duration("0 s")),
            )  # fmt: skip
            identity = Identity(
                plant="P", epoch=self.store.epoch, gateway_id="g", line="", machine=machine, work_center=f"WC-{machine}"
            )
            unit = WorkUnit(rules, identity)
            state = unit.initial(self.clock.now_ns())
            if machine in stored:
                state = snapshot.load(unit, stored[machine])
                record = await self.store.job_record(*KEY)
                state, _moved = without_moved(state, {} if record is None else {KEY: record}, UnallocatedRule())
            hooks = RunnerHooks(lambda _job: ("erp",), lambda _out, _state: None, lambda: None, self.troubles.append)
            runner = Runner(
                unit, state, self.store, now_ns=self.clock.now_ns, checkpoint_ns=S, idle_wake_ns=S // 5, hooks=hooks
            )
            self.runners[machine] = runner
            self.tasks.append(asyncio.create_task(runner.run()))
        return self

    async def close(self):
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()
        await self.store.close()

    async def receive(self, machine, order):
        return await self.runners[machine].submit(OrderReceived(self.clock.now_ns(), order))

    async def says(self, machine, verb, order="4711"):
        return await self.runners[machine].submit(OperatorEntry(self.clock.now_ns(), verb, order, "", "test"))

    async def count(self, machine, value):
        """One reading, and everything it leads to."""
        self.clock.advance(S)
        reading = (DataValue(f"{machine}.good", value, Status.GOOD, None, self.clock.now_ns()),)
        await self.runners[machine].put(reading)
        await self.says(machine, OperatorVerb.FINISH, "no such order")  # answered behind the reading

    async def numbers(self):
        return sorted(entry.seq for entry in await Outbox(self.store).page(limit=1000))

    def alive(self):
        return [task for task in self.tasks if task.done()] == []


@pytest.fixture
async def floor(tmp_path):
    made = Floor(tmp_path)
    yield made
    await made.close()


def reasons(outputs):
    return [dict(output.detail).get("reason", "") for output in outputs if isinstance(output, Notice)]


async def test_a_running_operation_does_not_move_to_another_machine(floor):
    await floor.open("A", "B")
    await floor.receive("A", job())
    await floor.count("A", 10)
    await floor.count("A", 11)
    moved = job(1, "WC-B")
    for machine in ("A", "B"):
        (reason,) = reasons(await floor.receive(machine, moved))
        assert reason.startswith("INTERRUPT_FIRST: operations[0010].work_center: found WC-B, allowed: WC-A; interrupt")
    await floor.count("B", 0)
    await floor.count("B", 1)
    await floor.count("A", 12)
    assert floor.alive()
    assert floor.runners["B"].state.unallocated.good == 1
    assert await floor.numbers() == [1, 2]


async def test_an_interrupted_operation_moves_with_its_numbers(floor):
    await floor.open("A", "B")
    await floor.receive("A", job())
    await floor.count("A", 10)
    await floor.count("A", 11)
    await floor.says("A", OperatorVerb.INTERRUPT)
    moved = job(1, "WC-B")
    await floor.receive("A", moved)
    await floor.receive("B", moved)
    assert (floor.runners["A"].state.running, floor.runners["A"].state.queue) == (None, ())
    await floor.count("B", 0)
    await floor.count("B", 1)
    running = floor.runners["B"].state.running
    # The interruption, the minutes by state that were not told at the move, and the end at the other machine.
    assert (running.good, running.seq) == (2, 3)
    assert await floor.numbers() == [1, 2, 3]


async def test_a_machine_that_comes_back_gives_up_what_went_on_elsewhere(floor):
    """Renamed in the configuration, and back again: the old state must not give out the numbers a second time."""
    await floor.open("A")
    await floor.receive("A", job())
    await floor.count("A", 10)
    await floor.count("A", 11)
    await floor.close()
    await floor.open("B")
    record = await floor.store.job_record(*KEY)
    # What another machine did with it meanwhile.
    taken = record._replace(job=job(1, "WC-B"), seq=2, good=2)
    await floor.runners["B"].submit(OrderReceived(1, job(1, "WC-C")))
    runner = floor.runners["B"]
    step = step_of(runner.unit, runner.state, (), 1, lambda _job: ())
    await floor.store.commit(step._replace(jobs=(taken,)))
    await floor.close()
    await floor.open("A")
    assert (floor.runners["A"].state.running, floor.runners["A"].state.queue) == (None, ())
    await floor.count("A", 12)
    assert floor.runners["A"].state.unallocated.good == 1
    assert await floor.numbers() == [1]


async def test_a_revision_behind_the_last_piece_does_not_reopen_the_order(floor):
    await floor.open("A")
    await floor.receive("A", job(quantity=Decimal(3)))
    await floor.count("A", 10)
    await floor.count("A", 11)
    # The order is finished by a reading that waits, and the new revision comes behind it.
    floor.clock.advance(S)
    reading = (DataValue("A.good", 13, Status.GOOD, None, floor.clock.now_ns()),)
    await floor.runners["A"].put(reading)
    outputs = await floor.receive("A", job(1, quantity=Decimal(5)))
    assert "found 5, allowed: 3 (operation complete); reopen the operation" in reasons(outputs)[0]
    assert (await floor.store.job_record(*KEY)).state is JobOrderState.COMPLETED
    assert await floor.numbers() == [1, 2]


async def test_a_page_that_comes_twice_does_not_cancel_the_newer_order(floor):
    await floor.open("A")
    await floor.receive("A", job(0))
    await floor.receive("A", job(2))
    (late,), (again,) = await floor.receive("A", job(1, cancelled=True)), await floor.receive("A", job(2))
    assert (late.kind, again.kind) == ("STALE", "DUPLICATE")
    assert floor.runners["A"].state.running.job.revision == 2


@pytest.mark.parametrize("pieces", [1, 2])
async def test_garbage_of_64_bits_is_put_under_review_and_stops_nobody(floor, pieces):
    await floor.open("A", pieces=pieces)
    await floor.count("A", 1_000_000)
    for _ in range(3):
        await floor.count("A", 2**64 - 1)
        await floor.count("A", 2**64 - 1)
        await floor.count("A", 1_000_001)
        await floor.count("A", 1_000_001)
    assert floor.alive()
    state = floor.runners["A"].state
    assert state.counted.good < 20 * pieces
    assert 0 < state.review < 2**53
    await floor.close()
    await floor.open("A", pieces=pieces)
    assert floor.runners["A"].state.review == state.review


async def test_text_that_is_no_text_is_refused_and_stops_nobody(floor):
    await floor.open("A")
    outputs = await floor.says("A", OperatorVerb.START, "\udcff")
    assert "is not open at this work unit" in reasons(outputs)[0]
    assert floor.alive()
    (row,) = [row for row in await floor.store.journal("A") if row.kind == "notice"]
    assert json.loads(row.body)["code"] == "REFUSED"


async def test_a_defect_drops_one_input_and_is_shown(floor, monkeypatch):
    await floor.open("A")
    await floor.receive("A", job())
    await floor.count("A", 10)
    unit = floor.runners["A"].unit
    sound = unit.handle

    def broken(state, given):
        if isinstance(given, OrderReceived):
            raise ZeroDivisionError("a defect")
        return sound(state, given)

    monkeypatch.setattr(unit, "handle", broken)
    with pytest.raises(ZeroDivisionError):
        await floor.receive("A", job(1))
    assert "a defect" in floor.troubles[-1]
    await floor.count("A", 11)
    assert floor.alive()
    assert await floor.numbers() == [1]
