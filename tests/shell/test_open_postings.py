"""What is open and what a machine shows: a piece that was just confirmed is never in both."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from types import SimpleNamespace

import new_database
import pytest

from buffer.outbox import Outbox
from buffer.store import Store
from gateway.control import RequestError
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import DataValue, JobOrder, OrderReceived, Status, TimePassed
from gateway.core.rules import ConfirmRule, CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.timing.clock import ManualClock
from gateway.verbs import outbox_verbs
from gateway.verbs.outbox_verbs import OutboxVerbs
from gateway.work_unit.runner import Runner, RunnerHooks

S = 1_000_000_000
DEADLINE_S = 60.0
RULES = WorkUnitRules(
    work_center="WC", counters=(CounterRule(mode="counter", signal="plc.good"),),
    confirm=ConfirmRule(every_pieces=1, min_interval=Duration("0 s")),
)  # fmt: skip
JOB = JobOrder(
    order="4711", operation="0010", sequence="0", revision=1, work_center="WC", product="X", product_revision="",
    uom="PC", quantity=Decimal(100), sequence_no=0, std_cycle_ns=None, planned_start_ns=None, planned_end_ns=None,
    cancelled=False, source="erp",
)  # fmt: skip


class Late:
    """The store; while ``goes_on`` is clear its answer to a commit is on the way, as behind a busy event loop."""

    def __init__(self, store):
        self._store = store
        self.goes_on, self.committed = asyncio.Event(), asyncio.Event()
        self.goes_on.set()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit(self, step):
        await self._store.commit(step)
        self.committed.set()
        await self.goes_on.wait()


class Machine:
    """One real runner on a real database, the verbs beside it, and what they say together."""

    def __init__(self, store):
        self.clock = ManualClock(1_000_000 * S)
        self.store = Late(store)
        place = Identity(plant="P", epoch=store.epoch, gateway_id="g", line="", machine="M-1", work_center="WC")
        unit = WorkUnit(RULES, place)
        hooks = RunnerHooks(lambda _job: ("erp",), lambda *_: None, lambda: None, lambda _text: None)
        self.runner = Runner(
            unit, unit.initial(self.clock.now_ns()), self.store, now_ns=self.clock.now_ns, checkpoint_ns=S,
            idle_wake_ns=S // 5, hooks=hooks,
        )  # fmt: skip
        parts = SimpleNamespace(outbox=Outbox(store), runners={"M-1": self.runner})
        self._verbs = OutboxVerbs(parts, self.clock, None, None).table()

    async def shows(self, total):
        self.clock.advance(S)
        await self.runner.put((DataValue("plc.good", total, Status.GOOD, None, self.clock.now_ns()),))

    async def open(self):
        """Open pieces by the outbox, and then by the machine itself: as ``outbox.open`` and ``status`` say them."""
        found = await self._verbs["outbox.open"]({})
        run = self.runner.state.running
        return sum(one["good"] for one in found), run.open_good if run else 0

    async def started(self):
        await self.runner.submit(OrderReceived(self.clock.now_ns(), JOB))
        await self.shows(100)


@pytest.fixture
async def machine(tmp_path):
    async with (
        asyncio.timeout(DEADLINE_S),
        await Store.open(new_database.at(tmp_path / "linegate.db"), now_ns=lambda: 1, max_bytes=10**8) as store,
    ):
        made = Machine(store)
        task = made.task = asyncio.create_task(made.runner.run())
        await made.started()
        yield made
        made.store.goes_on.set()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def confirmed(machine, pieces):
    """The machine makes so many at once; their confirmation is durable, and the runner does not know it yet."""
    machine.store.goes_on.clear()
    machine.store.committed.clear()
    await machine.shows(100 + pieces)
    while True:
        await machine.store.committed.wait()
        machine.store.committed.clear()
        if (await Outbox(machine.store._store).not_over(10)).postings:
            return
        machine.store.goes_on.set()  # the commit of something before it
        await asyncio.sleep(0)
        machine.store.goes_on.clear()


async def test_a_piece_is_not_in_the_outbox_and_unconfirmed_at_the_same_time(machine):
    await confirmed(machine, 1)
    asked = asyncio.create_task(machine.open())
    done, _ = await asyncio.wait([asked], timeout=0.05)
    assert not done, "the machine still shows what it was before"
    machine.store.goes_on.set()
    assert await asked == (1, 0)
    assert await machine.open() == (1, 0)


async def test_a_step_that_does_not_come_back_is_told_and_by_then_refused(machine, monkeypatch):
    monkeypatch.setattr(outbox_verbs, "SHOWN_LOOKS_MAX", 3)
    await confirmed(machine, 1)
    with pytest.raises(RequestError, match=r"M-1: does not show yet what is committed.* 3 times") as refused:
        await machine.open()
    assert (refused.value.guard, "ask again" in refused.value.what_to_do) == ("BUSY", True)
    machine.store.goes_on.set()
    monkeypatch.undo()
    assert await machine.open() == (1, 0)


async def test_a_machine_that_is_not_configured_any_more_is_not_waited_for(machine):
    await confirmed(machine, 1)
    machine._verbs = OutboxVerbs(
        SimpleNamespace(outbox=Outbox(machine.store._store), runners={}), machine.clock, None, None
    ).table()
    assert (await machine.open())[0] == 1


async def test_whoever_waits_when_it_is_stopped_is_told_what_became_of_it(machine):
    """One decision is in the step that is being committed, one opens the next step, one waits behind it."""
    runner, now_ns = machine.runner, machine.clock.now_ns
    await runner.submit(TimePassed(now_ns()))  # what came before it is committed
    machine.store.goes_on.clear()
    machine.store.committed.clear()
    cut_off = asyncio.create_task(runner.submit(OrderReceived(now_ns(), JOB._replace(order="4712"))))
    await machine.store.committed.wait()
    later = [asyncio.create_task(runner.submit(TimePassed(now_ns()))) for _ in range(2)]
    await asyncio.sleep(0)
    runner._next = runner._queue.get_nowait()
    machine.task.cancel()
    told = await asyncio.gather(cut_off, *later, return_exceptions=True)
    assert [getattr(one, "guard", one) for one in told] == ["CUT_OFF", "BUSY", "BUSY"]
    assert "it may be done, or not" in str(told[0])
    with pytest.raises(RequestError, match="is not run any more"):
        await runner.submit(TimePassed(now_ns()))
