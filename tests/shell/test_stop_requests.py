"""A machine is asked to stop at the target; who looks hears of it where that failed, until another order begins."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from types import SimpleNamespace

import new_database
import pytest

from buffer.audit import AuditOutcome, NewAuditRow, add
from buffer.outbox import Outbox
from buffer.store import Store
from config.loader import load
from drivers.supervisor import SourceSupervisor
from gateway import plugins
from gateway.audit.auditing import Auditing
from gateway.core.document import Identity
from gateway.core.model import JobChanged, JobOrder, JobOrderState, JobRecord
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.stop_request import StopRequested
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, OrderRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.parts import Parts
from gateway.relays.stop_requests import StopRequests
from gateway.sources.taps import Taps
from gateway.timing.clock import SteadyClock

CONFIG = """\
gateway: { id: box, plant: P, state_dir: state }
sources:
  plc:
    driver: modbus
    host: 127.0.0.1
    port: 1
    signals: { stop: { table: holding, address: 0, writable: { min: "0", max: "9" } } }
work_units:
  M-1: { work_center: WC, ideal_cycle: 1 s, counters: [{ mode: counter, signal: plc.stop }] }
connectors: { erp: { connector: rest, url: "http://127.0.0.1:1" } }
"""
S = JobOrderState
COUNTER = CounterRule(mode="counter", signal="plc.n", max_rate=Rate.parse("10/s"))
PLACE = Identity(plant="P", epoch="e", gateway_id="g", line="L", machine="M-1", work_center="WC")


class Rig:
    """The requests of one gateway whose source was never started: no request reaches a device."""

    def __init__(self, settings, store, clock):
        self.parts = Parts(Outbox(store), Taps(clock.now_ns), lambda at_ns: at_ns)
        self.parts.sources["plc"] = SourceSupervisor(
            name="plc", make_driver=lambda: None, rule_signals=(), now_ns=clock.now_ns, deliver=None,
            stale_after_ns=10**12, backoff_max_ns=1, rng=random.Random(1),
        )  # fmt: skip
        self.settings, self.store, self.now_ns = settings, store, clock.now_ns
        self.requests = self.begun()

    def begun(self):
        return StopRequests(self.parts, self.store, Auditing(self.settings, self.store, SteadyClock(0)), self.now_ns)

    def state_of(self, order):
        """What a machine knows on which this order runs, "" none."""
        state = WorkUnit(WorkUnitRules(work_center="WC", counters=(COUNTER,)), PLACE).initial(1)
        job = changed(order, "", S.IN_PROGRESS).record.job
        return state._replace(running=JobRun(job, S.IN_PROGRESS) if order else None)

    async def resumed(self, state, name="M-1"):
        """What is told after the gateway is started anew."""
        self.parts.trouble(f"stop of {name}", "")
        self.requests = self.begun()
        await self.requests.resume(name, "plc.stop", state)
        return tuple(one for one in self.parts.troubles() if f"stop of {name}:" in one)

    async def told(self, *outputs):
        self.requests.committed("M-1", outputs)
        async with asyncio.timeout(60):
            await asyncio.gather(*self.requests._under_way)
        return self.parts.troubles()


@pytest.fixture
async def rig(tmp_path):
    path, clock = tmp_path / "linegate.yaml", SteadyClock(0)
    path.write_text(CONFIG, encoding="utf-8")
    settings = load(path, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})
    store = await Store.open(new_database.at(tmp_path / "linegate.db"), now_ns=clock.now_ns, max_bytes=2**26)
    yield Rig(settings, store, clock)
    await store.close()


def asked(order):
    return StopRequested(1, order, "0010", "plc.stop", "1")


def changed(order, before, state):
    job = JobOrder(
        order, "0010", "0", 1, "WC", "P", "", "PC", Decimal(10), 1, None, None, None, cancelled=False, source="erp"
    )
    return JobChanged(1, JobRecord(job, state, 1, 10, 0, 0, ""), before, "")


async def test_a_stop_that_failed_is_told_until_another_order_begins(rig):
    (told,) = await rig.told(asked("A"), changed("A", S.IN_PROGRESS, S.COMPLETED), changed("B", S.DISPATCHED, S.SETUP))
    assert told.startswith("stop of M-1: target of order A/0010 reached, but the machine could not be asked to stop: ")
    assert told.endswith("; stop it by hand")
    assert await rig.told(changed("B", S.SETUP, S.IN_PROGRESS)), "it had begun already"
    assert await rig.told(changed("A", S.COMPLETED, S.IN_PROGRESS)), "that one again"
    assert await rig.told(changed("C", S.DISPATCHED, S.IN_PROGRESS)) == ()


async def test_a_stop_that_fails_once_another_order_runs_is_nobody_s(rig):
    rig.requests.committed("M-1", (asked("A"),))
    assert await rig.told(changed("B", S.INTERRUPTED, S.IN_PROGRESS)) == ()


async def test_a_stop_that_failed_is_told_after_a_restart(rig):
    state = rig.state_of("A")
    assert await rig.resumed(state) == (), "nothing was asked for"
    (told,) = await rig.told(asked("A"))
    assert await rig.resumed(state) == (told,)
    assert await rig.resumed(state, "M-2") == (), "another machine with the same signal"
    assert await rig.resumed(rig.state_of("B")) == (), "another order runs"
    assert await rig.resumed(rig.state_of("")) == (told,), "nothing runs"
    await rig.resumed(state)
    await rig.told(changed("B", S.DISPATCHED, S.IN_PROGRESS))
    assert await rig.resumed(rig.state_of("")) == (), "another one began meanwhile, and ended"


async def test_a_stop_during_which_the_gateway_died_is_told_after_a_restart(rig):
    why = "target of order A/1/0010 reached at M-1"
    row = NewAuditRow(rig.now_ns(), "gateway", "write", "plc.stop", None, "1", why, AuditOutcome.ATTEMPTED)
    seq = await add(rig.store, row)
    (told,) = await rig.resumed(rig.state_of("A/1"))
    assert "target of order A/1/0010 reached, but the machine could not be asked to stop: plc.stop: " in told
    assert "it is not known whether it was written" in told
    await add(rig.store, row._replace(outcome=AuditOutcome.DONE, about=seq))
    assert await rig.resumed(rig.state_of("A/1")) == ()


async def test_a_machine_that_is_removed_takes_its_stop_with_it(rig):
    assert await rig.told(asked("A"))
    rig.requests.forget("M-1")
    assert rig.parts.troubles() == ()


async def test_a_stop_of_a_machine_that_works_on_another_ones_orders_is_told_until_it_is_at_another_one(rig):
    """Its orders' records are its lead's, so that none of its own says that the next one began."""
    rules = WorkUnitRules(work_center="WC", counters=(COUNTER,), orders=OrderRule(shares_with="M-0"))
    rig.parts.runners["M-1"] = at_work = SimpleNamespace(unit=WorkUnit(rules, PLACE), state=rig.state_of("A"))
    (told,) = await rig.told(asked("A"))
    assert await rig.told() == (told,), "still that one"
    at_work.state = rig.state_of("")
    assert await rig.told() == (told,), "nothing runs there"
    at_work.state = rig.state_of("B")
    assert await rig.told() == ()
    assert await rig.resumed(rig.state_of("")) == (), "nor after a restart"


async def test_a_machine_with_orders_of_its_own_is_at_another_one_by_its_record(rig):
    unit = WorkUnit(WorkUnitRules(work_center="WC", counters=(COUNTER,)), PLACE)
    rig.parts.runners["M-1"] = SimpleNamespace(unit=unit, state=rig.state_of("B"))
    assert await rig.told(asked("A"), changed("A", S.IN_PROGRESS, S.COMPLETED), changed("B", S.DISPATCHED, S.SETUP))
    assert await rig.told(), "B began with it: the machine ran on into that"
