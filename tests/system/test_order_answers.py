"""What becomes of an order is told to its ERP: one answer for all operations, apart from its confirmations."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from buffer import reconciliation, refusals
from buffer.audit_chain import ChainReader
from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.store import Store
from gateway.audit.auditing import Auditing
from gateway.connectors.base import ConnectorContext
from gateway.connectors.file import PLUGIN as FILE
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.rest import PLUGIN as REST
from gateway.connectors.rest.settings import RestSettings
from gateway.control import RequestError
from gateway.core import snapshot
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.calendar.time_of_day import TimeOfDay
from gateway.core.document import Identity
from gateway.core.entries import MergeEntry, SplitEntry, UnmergeEntry
from gateway.core.model import (
    DataValue,
    Operation,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    ProductionOrder,
    Role,
    Status,
)
from gateway.core.orders import reconciliation as core_reconciliation
from gateway.core.orders.external import concerned
from gateway.core.orders.job_run import room
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.erp.accepting_postings import known_before
from gateway.erp.order_closer import OrderCloser
from gateway.erp.reconciler import reconcile
from gateway.erp.reconciliation_round import ReconciliationRound, agrees
from gateway.forwarder import Forwarder
from gateway.order_feed import job_orders
from gateway.timing.clock import ManualClock
from gateway.work_unit.runner import Runner, RunnerHooks
from simulators.erp.ledger import Booking
from simulators.erp.server import Erp

S = 1_000_000_000
WAIT_S = 60.0


def order(revision=1, quantity=10, **changes):
    works = tuple(
        Operation(operation=number, work_center=f"WC-{machine}", quantity=Decimal(quantity))
        for number, machine in (("0010", "A"), ("0020", "B"), ("0030", "FAR"))
    )
    plain = {"order": "4711", "revision": revision, "product": "X", "quantity": Decimal(quantity), "operations": works}
    return ProductionOrder(**plain | changes)


class Floor:
    """Two machines on one database, and an ERP that is told."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = ManualClock(1_000_000 * S)
        self.tasks = []

    async def open(self):
        self.store = await Store.open(self.folder / "floor.db", now_ns=self.clock.now_ns, max_bytes=64 << 20)
        self.outbox = Outbox(self.store)
        self.runners = {}
        stored = await self.store.snapshots()
        for machine in "AB":
            identity = Identity(
                plant="P", epoch=self.store.epoch, gateway_id="g", line="", machine=machine, work_center=f"WC-{machine}"
            )
            counter = CounterRule(mode="counter", signal=f"{machine}.good")
            unit = WorkUnit(WorkUnitRules(work_center=f"WC-{machine}", counters=(counter,)), identity)
            state = unit.initial(self.clock.now_ns())
            if machine in stored:
                state = snapshot.load(unit, stored[machine])
            hooks = RunnerHooks(
                lambda _job: ("erp",), lambda *_: None, lambda: None, lambda _text: None,
                answers_with=lambda _job: ("0010", "0020"),
            )  # fmt: skip
            self.runners[machine] = Runner(
                unit, state, self.store, now_ns=self.clock.now_ns, checkpoint_ns=S,
                idle_wake_ns=S // 5, hooks=hooks,
            )  # fmt: skip
            self.tasks.append(asyncio.create_task(self.runners[machine].run()))
        return self

    async def close(self):
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()
        await self.store.close()

    async def hears(self, given, machines="AB"):
        for job in job_orders(given, "erp"):
            machine = job.work_center.removeprefix("WC-")
            if machine in machines:
                await self.runners[machine].submit(OrderReceived(self.clock.now_ns(), job))

    async def says(self, machine, verb, name="4711"):
        entry = OperatorEntry(self.clock.now_ns(), verb, name, "", "test")
        await self.runners[machine].submit(entry)

    async def answers(self):
        found = [entry for entry in await self.outbox.page(limit=1000) if entry.kind == "ack"]
        return [json.loads(entry.payload) for entry in reversed(found)]

    def forward(self, connector):
        self.forwarder = forwarder = Forwarder(
            name="erp", connector=connector, outbox=self.outbox, now_ns=self.clock.now_ns, rng=random.Random(1)
        )
        self.tasks.append(asyncio.create_task(forwarder.run()))

    async def all_posted(self):
        """Until the ERP has all of it; the time in which a person may take a finish back passes meanwhile."""
        async with asyncio.timeout(WAIT_S):
            while (counts := await self.outbox.counts("erp")).waiting or counts.answers_waiting:
                self.clock.advance(S)
                self.forwarder.wake()
                await asyncio.sleep(0.02)


@pytest.fixture
async def floor(tmp_path):
    made = Floor(tmp_path)
    yield await made.open()
    await made.close()


async def test_an_order_gives_one_answer_once_all_of_its_operations_have(floor):
    await floor.hears(order(), "A")
    assert await floor.answers() == []
    await floor.hears(order(), "B")
    (answer,) = await floor.answers()
    assert (answer["answer"], answer["order_id"], answer["order_revision"]) == ("accepted", "4711", 1)
    assert [one["operation"] for one in answer["operations"]] == ["0010", "0020"]
    assert answer["type"] == "order_ack"


async def test_what_comes_again_after_a_crash_in_between_is_answered_as_accepted(floor):
    await floor.hears(order(), "A")
    await floor.close()
    await floor.open()  # killed before the other machine heard of it: the ERP's page comes again
    await floor.hears(order())
    assert [one["answer"] for one in await floor.answers()] == ["accepted"]


async def test_repeats_changes_and_late_images_are_answered_as_what_they_are(floor):
    for given in (order(), order(), order(3, 20), order(2, 15), order(3, 20, cancelled=True)):
        await floor.hears(given)
    found = await floor.answers()
    assert [one["answer"] for one in found] == ["accepted", "duplicate", "accepted", "stale", "accepted"]
    assert [one["held_revision"] for one in found] == [1, 1, 3, 3, 3]
    assert found[-1]["operations"][0]["kind"] == "CANCEL_ACCEPTED"
    assert len({one["idempotency_key"] for one in found}) == len(found)


@pytest.mark.parametrize("hears", ["AB", "BA"])
async def test_a_withdrawal_of_what_was_split_is_answered_with_what_its_parts_made(floor, hears):
    """Also where the other operation hears first, which knows only what is stored of the parts."""
    await floor.hears(order())
    runner = floor.runners["A"]

    async def makes(value):
        floor.clock.advance(S)
        await runner.submit(DataValue("A.good", value, Status.GOOD, None, floor.clock.now_ns()))

    await makes(0)
    await makes(1)
    await floor.says("A", OperatorVerb.INTERRUPT)
    now_ns = floor.clock.now_ns()
    await runner.submit(SplitEntry(now_ns, "4711", "", (Decimal(4), Decimal(5)), "two", "ann"))
    assert [run.job.order for run in runner.state.at_work()] == ["4711-001"]
    await makes(7)
    assert [run.job.order for run in runner.state.open_runs()] == ["4711-002"], "the first part is over"
    await floor.says("A", OperatorVerb.START, "4711-002")
    await makes(9)
    for machine in hears:
        await floor.hears(order(2, cancelled=True), machine)
    answer = (await floor.answers())[-1]
    assert (answer["answer"], answer["produced"]) == ("accepted", {"0010": "9"})


async def test_a_withdrawal_of_what_is_not_held_is_unknown(floor):
    await floor.hears(order(cancelled=True))
    assert [one["answer"] for one in await floor.answers()] == ["unknown"]


async def test_one_operation_that_refuses_refuses_the_order(floor):
    await floor.hears(order())
    await floor.says("B", OperatorVerb.START)
    await floor.hears(order(2, product="Y"))
    last = (await floor.answers())[-1]
    assert last["answer"] == "refused"
    assert any("CLOSE_AND_CREATE_NEW" in one for one in last["reasons"])


async def test_what_was_refused_whole_and_taken_meanwhile_is_refused_anew(floor):
    identity = floor.runners["A"].unit.identity

    async def refuse():
        told = refusals.Refused("4711", 1, ("qty: found x",))
        now_ns = floor.clock.now_ns()
        return await refusals.put(floor.store, identity, "erp", told, now_ns=now_ns, utc_ns=now_ns)

    assert [await refuse(), await refuse()] == [True, False]
    await floor.hears(order())
    assert [await refuse(), await refuse()] == [True, False]
    found = await floor.answers()
    assert [(one["answer"], one["seq"], one["held_revision"]) for one in found] == [
        ("refused", 1, None), ("accepted", 2, 1), ("refused", 3, 1),
    ]  # fmt: skip


async def test_the_bundled_erp_hears_every_answer(floor):
    options = argparse.Namespace(
        host="127.0.0.1", port=0, ledger=None, release="none", idempotent=False, token=None, requests=None, seed=1
    )
    erp = Erp(options)
    await erp.listener.open()
    settings = RestSettings(
        connector="rest", url=f"http://127.0.0.1:{erp.listener.port}", acknowledgements_path="/acknowledgements"
    )
    connector = REST.build(settings, context(floor))
    await connector.open()
    try:
        floor.forward(connector)
        await floor.hears(order())
        await floor.hears(order())
        await floor.all_posted()
        assert [one["answer"] for one in erp.ledger.answers()] == ["accepted", "duplicate"]
        assert erp.ledger.answers() == [{**one, "received": 1} for one in await floor.answers()]
    finally:
        await connector.close()
        await erp.close()


async def test_what_the_erp_has_booked_is_compared(floor):
    options = argparse.Namespace(
        host="127.0.0.1", port=0, ledger=None, release="none", idempotent=False, token=None, requests=None, seed=1
    )
    erp = Erp(options)
    await erp.listener.open()
    url = f"http://127.0.0.1:{erp.listener.port}"
    connector = REST.build(
        RestSettings(connector="rest", url=url, totals_path="/orders/{order}/totals"), context(floor)
    )
    await connector.open()
    parts = SimpleNamespace(connectors={"erp": connector}, outbox=floor.outbox)
    operations = [{"op": number, "work_center": "W"} for number in ("0010", "0020")]
    erp.ledger.put({"order_id": "4711", "revision": 1, "operations": operations})

    async def codes():
        found, left_out = await reconcile(parts, floor.store, floor.clock.now_ns())
        assert left_out == ()
        assert found.compared == 2
        return [(one.code.value, one.operation) for one in found.findings]

    try:
        floor.forward(connector)
        await floor.hears(order())
        assert await codes() == []
        for value in (5, 8):
            floor.clock.advance(S)
            reading = DataValue("A.good", value, Status.GOOD, None, floor.clock.now_ns())
            await floor.runners["A"].put((reading,))
        await floor.says("A", OperatorVerb.FINISH)
        await floor.all_posted()
        assert await codes() == []
        erp._external("4711", "0020", 2)
        assert await codes() == [("EXTERNAL_CONFIRMATION", "0020")]
        (key,) = [entry.key for entry in await floor.outbox.page() if entry.kind == "final"]
        erp.ledger.forget(key)
        assert await codes() == [("MISSING_IN_ERP", "0010"), ("EXTERNAL_CONFIRMATION", "0020")], "the key was looked up"
    finally:
        await connector.close()
        await erp.close()


def whole(database, *, but):
    """Every row of every table, but those of these tables."""
    with contextlib.closing(sqlite3.connect(database)) as link:
        names = [row[0] for row in link.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: link.execute(f"SELECT * FROM {name}").fetchall() for name in names if name not in but}


async def all_posted(floor, key):
    """Nothing waits any more; that posting."""
    await floor.all_posted()
    return await floor.outbox.get(key)


def modified(store):
    """What was changed by hand, old and new."""
    with ChainReader.open(store.path) as reader:
        return [(one.entity_id, one.old, one.new) for entry in reader.entries() if (one := entry.content).old]


@contextlib.asynccontextmanager
async def standing_still(floor):
    """No machine takes or writes anything."""
    holds = [await runner.hold() for runner in floor.runners.values()]
    try:
        for hold in holds:
            await asyncio.wait_for(hold.reached.wait(), WAIT_S)
        yield
    finally:
        for hold in holds:
            hold.release()


class UtcClock:
    """Steady time is UTC here, and time of day goes on by hand."""

    quality = TimeQuality.TRUSTED

    def __init__(self, clock):
        self.now_ns = self.utc_now_ns = clock.now_ns

    def utc_ns(self, steady_ns):
        return steady_ns


@contextlib.asynccontextmanager
async def compared(floor):
    """An ERP that tells its totals, and the reconciliation against it: the ERP, the round, its parts, the monitor."""
    options = argparse.Namespace(
        host="127.0.0.1", port=0, ledger=None, release="none", idempotent=True, token=None, requests=None, seed=1
    )
    erp = Erp(options)
    await erp.listener.open()
    settings = RestSettings(
        connector="rest", url=f"http://127.0.0.1:{erp.listener.port}", totals_path="/orders/{order}/totals",
        idempotent=True,
    )  # fmt: skip
    connector = REST.build(settings, context(floor))
    await connector.open()
    operations = [{"op": number, "work_center": "W"} for number in ("0010", "0020")]
    erp.ledger.put({"order_id": "4711", "revision": 1, "operations": operations})
    floor.forward(connector)
    monitor = SimpleNamespace(said=[])
    monitor.reconciled = monitor.said.append
    parts = SimpleNamespace(
        connectors={"erp": connector}, forwarders={"erp": floor.forwarder}, outbox=floor.outbox,
        runners=floor.runners, monitor=monitor,
    )  # fmt: skip
    night = SimpleNamespace(
        reconciliation=SimpleNamespace(nightly=TimeOfDay("02:30")), digest="d",
        gateway=SimpleNamespace(timezone="Europe/Berlin", profile="standard"),
    )  # fmt: skip
    clock = UtcClock(floor.clock)
    comparing = ReconciliationRound(night, floor.store, clock, parts, Auditing(night, floor.store, clock))
    try:
        yield erp, comparing, parts, monitor
    finally:
        await connector.close()
        await erp.close()


async def test_reports_stay_and_what_they_propose_is_done_by_a_person_only(floor):
    async with compared(floor) as (erp, comparing, parts, monitor):
        verbs = comparing.table()
        await floor.hears(order())
        for value in (5, 8):
            floor.clock.advance(S)
            reading = DataValue("A.good", value, Status.GOOD, None, floor.clock.now_ns())
            await floor.runners["A"].put((reading,))
        await floor.says("A", OperatorVerb.FINISH)
        await floor.all_posted()
        assert await comparing.look() is None, "it is not night yet"
        (key,) = [entry.key for entry in await floor.outbox.page() if entry.kind == "final"]
        with pytest.raises(RequestError, match="erp has it; it is not sent again") as refused:
            await verbs["outbox.resend"]({"key": key, "who": "p", "reason": "r"})
        assert refused.value.guard == "FOUND_IN_ERP"
        erp.ledger.forget(key)
        erp._external("4711", "0020", 2)
        floor.clock.advance(24 * 3600 * S)
        async with standing_still(floor):  # what a day means to the machines is not what the run did
            before = whole(floor.store.path, but={"work_unit"})
            kept = await comparing.look()
            after = whole(floor.store.path, but={"work_unit"})
        assert (kept.cause, kept.findings) == ("nightly", 2)
        assert {name for name in after if after[name] != before[name]} == {
            "meta", "reconciled", "reconciliation_report", "sqlite_sequence",
        }, "a run repairs nothing"  # fmt: skip
        assert monitor.said[-1]["counts"] == {"EXTERNAL_CONFIRMATION": 1, "MISSING_IN_ERP": 1}
        assert await comparing.look() is None, "once a night"
        assert not await agrees(floor.store, "4711", "0010")
        closer = OrderCloser(parts, floor.store, floor.clock.now_ns)
        floor.clock.advance(30 * 24 * 3600 * S)
        assert await closer.close_due() == 1
        assert (await floor.store.job_record("4711", "0010")).state == "COMPLETED", "the ERP says something else"

        body = (await floor.outbox.get(key)).body
        await verbs["outbox.resend"]({"key": key, "who": "Petra", "reason": "restored from a backup"})
        entry = await all_posted(floor, key)
        assert (entry.state, entry.body, entry.key) == ("posted", body, key)
        assert await floor.store.read("SELECT who, reason FROM outbox_resend", ()) == [
            ("Petra", "restored from a backup")
        ]
        postings = len(await floor.outbox.page())
        await verbs["reconcile.accept"]({"order": "4711", "operation": "0020", "who": "Petra", "reason": "by hand"})
        (run,) = floor.runners["B"].state.open_runs()
        assert (run.external, run.good, room(run, Role.GOOD, "good")) == ((2, 0, 0), 0, 8)
        assert len(await floor.outbox.page()) == postings, "nothing is posted"
        assert modified(floor.store) == [
            (key, '{"state":"posted","reference":"CNF-000001"}', '{"state":"ready","target":"erp"}')
        ]
        found = await verbs["reconcile"]({})
        assert found["findings"] == []
        assert await agrees(floor.store, "4711", "0010")
        with pytest.raises(RequestError, match="proposes nothing"):
            await verbs["reconcile.accept"]({"order": "4711", "operation": "0020", "who": "P", "reason": "again"})
        assert [one["cause"] for one in (await verbs["reconcile.reports"]({}))["reports"]] == ["asked", "nightly"]
        floor.clock.advance(30 * 24 * 3600 * S)
        assert await closer.close_due() == 1
        assert (await floor.store.job_record("4711", "0010")).state == "CLOSED"


async def test_what_the_erp_has_of_a_merged_or_split_order_is_taken_over_in_its_leaders_or_childrens_place(floor):
    """The ERP knows the order; here its leader is open, then its children, then nothing of it."""
    async with compared(floor) as (erp, comparing, _parts, _monitor):
        verbs, runner = comparing.table(), floor.runners["A"]
        mine = {"operation": "0010", "who": "Petra", "reason": "by hand"}
        for name in ("4711", "4712"):
            erp.ledger.put({"order_id": name, "revision": 1, "operations": [{"op": "0010", "work_center": "W"}]})
            await floor.hears(order(order=name), "A")
            await runner.submit(OperatorEntry(floor.clock.now_ns(), OperatorVerb.INTERRUPT, name, "", "ann"))
        now_ns, more = floor.clock.now_ns(), {"role": ActorRole.SUPERVISOR}
        await runner.submit(MergeEntry(now_ns, "L", ("4711", "4712"), "", "one setup", "ann", **more))
        erp._external("4711", "0010", 3)
        await verbs["reconcile"]({})
        said = await verbs["reconcile.accept"]({**mine, "order": "4711"})
        assert said == (
            "order 4711 operation 0010: taken over 3 good, 0 scrap, 0 rework; its leader L makes less for it"
        )
        (leader,) = runner.state.open_runs()
        assert (leader.job.order, room(leader, Role.GOOD, "good")) == ("L", 17)
        assert (await verbs["reconcile"]({}))["findings"] == [], "it is known of the original, and of nobody twice"
        erp._external("4711", "0010", 1)
        await verbs["reconcile"]({})
        await verbs["reconcile.accept"]({**mine, "order": "4711"})
        (leader,) = runner.state.open_runs()
        assert ([one.external[0] for one in leader.merged.runs], room(leader, Role.GOOD, "good")) == ([4, 0], 16)

        await runner.submit(OperatorEntry(now_ns, OperatorVerb.INTERRUPT, "L", "", "ann"))
        await runner.submit(UnmergeEntry(now_ns, "L", "", "no", "ann", **more))
        await runner.submit(SplitEntry(now_ns, "4711", "", (Decimal(4), Decimal(2)), "two", "ann", **more))
        erp._external("4711", "0010", 3)
        await verbs["reconcile"]({})
        said = await verbs["reconcile.accept"]({**mine, "order": "4711"})
        assert said.endswith("3 good, 0 scrap, 0 rework; it counts for 4711-002, 4711-001, split from it")
        assert {run.job.order: run.external[0] for run in runner.state.open_runs()} == {
            "4711-001": 1, "4712": 0,
        }, "nothing is left of the other one"  # fmt: skip
        parts = concerned(runner.state, "4711", "0010")
        assert await known_before(floor.store, parts, "4711", "0010") == (4 + 1 + 2, 0, 0)
        assert (await verbs["reconcile"]({}))["findings"] == []

        await runner.submit(OperatorEntry(now_ns, OperatorVerb.INTERRUPT, "4711-001", "", "ann"))
        await runner.submit(OperatorEntry(now_ns, OperatorVerb.CANCEL, "4711-001", "", "ann", role=ActorRole.PLANNER))
        erp._external("4711", "0010", 1)
        await verbs["reconcile"]({"order": "4711"})
        with pytest.raises(RequestError, match="nor is any of the orders that it was split into") as refused:
            await verbs["reconcile.accept"]({**mine, "order": "4711"})
        assert (refused.value.guard, refused.value.found) == ("ORDER_OPEN", "SPLIT")


async def test_what_a_person_settles_is_no_finding_any_more_and_another_difference_is(floor):
    async with compared(floor) as (erp, comparing, _parts, monitor):
        verbs = comparing.table()
        await floor.hears(order())
        settles = {"order": "4711", "operation": "0020", "who": "Petra", "reason": "credited by hand, see note 12"}
        with pytest.raises(RequestError, match="found nothing in the last report") as refused:
            await verbs["reconcile.settle"](settles)
        assert refused.value.guard == "FINDING"
        with pytest.raises(RequestError, match="order 99: is not known here"):
            await verbs["reconcile"]({"order": "99"})
        erp._external("4711", "0020", 2)
        (found,) = (await verbs["reconcile"]({}))["findings"]
        assert (found["code"], found["settled"]) == ("EXTERNAL_CONFIRMATION", None)
        assert not await agrees(floor.store, "4711", "0020")
        bookings = len(erp.ledger.bookings())
        assert await verbs["reconcile.settle"](settles) == "order 4711 operation 0020: settled EXTERNAL_CONFIRMATION"
        assert await agrees(floor.store, "4711", "0020"), "nothing hinders its closing any more"
        (found,) = (await verbs["reconcile"]({}))["findings"]
        assert (found["settled"]["who"], found["settled"]["reason"]) == ("Petra", settles["reason"])
        assert (monitor.said[-1]["findings"], monitor.said[-1]["settled"]) == (0, 1)
        assert await agrees(floor.store, "4711", "0020")
        assert len(erp.ledger.bookings()) == bookings
        (run,) = floor.runners["B"].state.open_runs()
        assert run.external == (0, 0, 0), "no number changes"
        with pytest.raises(RequestError, match="found nothing"):
            await verbs["reconcile.settle"](settles)
        with ChainReader.open(floor.store.path) as reader:
            (told,) = [one.content for one in reader.entries() if one.content.field.startswith("reconciliation")]
        assert (told.entity_id, told.change, told.new, told.reason_text) == (
            "4711/0020", "modify", "settled", settles["reason"],
        )  # fmt: skip
        assert "2 good more than was sent" in told.old
        erp._external("4711", "0020", 1)
        (found,) = (await verbs["reconcile"]({}))["findings"]
        assert found["settled"] is None, "that is another difference"
        assert not await agrees(floor.store, "4711", "0020")


async def test_each_of_several_findings_is_settled_by_itself(floor):
    async with compared(floor) as (erp, comparing, _parts, monitor):
        verbs = comparing.table()
        await floor.hears(order())
        erp.ledger.book(Booking("P/gone/4711/0020/9", "4711", "0020", 9, "", "", 2, 0, 0, final=False, digest="x"))
        found = (await verbs["reconcile"]({}))["findings"]
        assert [one["code"] for one in found] == ["EXTERNAL_CONFIRMATION", "EDGE_DATA_LOST"]
        settles = {"order": "4711", "operation": "0020", "who": "Petra", "reason": "an older box, see note 12"}
        for which in ({}, {"finding": "MISMATCH"}):
            with pytest.raises(RequestError, match=r"allowed to settle: one at a time: 'EXTERNAL.*'EDGE") as refused:
                await verbs["reconcile.settle"](settles | which)
            assert refused.value.guard == "FINDING"
        said = await verbs["reconcile.settle"](settles | {"finding": "EDGE_DATA_LOST"})
        assert said == "order 4711 operation 0020: settled EDGE_DATA_LOST"
        assert not await agrees(floor.store, "4711", "0020"), "the other one stands"
        found = (await verbs["reconcile"]({}))["findings"]
        assert [one["settled"] is not None for one in found] == [False, True]
        assert (monitor.said[-1]["findings"], monitor.said[-1]["settled"]) == (1, 1)
        await verbs["reconcile.settle"](settles | {"finding": found[0]["identity"]})
        assert await agrees(floor.store, "4711", "0020")


async def test_a_finding_that_the_report_had_no_room_for_stands_when_another_is_settled(floor, monkeypatch):
    monkeypatch.setattr(core_reconciliation, "FINDINGS_MAX", 1)
    async with compared(floor) as (erp, comparing, _parts, _monitor):
        verbs = comparing.table()
        await floor.hears(order())
        erp.ledger.book(Booking("P/gone/4711/0020/9", "4711", "0020", 9, "", "", 2, 0, 0, final=False, digest="x"))
        told = await verbs["reconcile"]({})
        assert ([one["code"] for one in told["findings"]], told["left_out"]) == (["EXTERNAL_CONFIRMATION"], 1)
        settles = {"order": "4711", "operation": "0020", "who": "Petra", "reason": "an older box, see note 12"}
        await verbs["reconcile.settle"](settles)
        assert not await agrees(floor.store, "4711", "0020")


async def test_a_booked_posting_is_opened_by_no_other_way(floor):
    await floor.hears(order())
    (entry,) = await floor.outbox.page()
    await floor.outbox.begin_send(entry.id, (b"x", "t", "n"), 1)
    await floor.outbox.settle(entry.id, Settlement(OutboxState.POSTED, 1), 1)
    for change in ("state = 'ready'", "state = 'ready', resends = 1", "resends = 1"):
        sql = f"UPDATE outbox SET {change} WHERE id = {entry.id}"
        with pytest.raises(StoreError, match=r"never changes its state|counts up"):
            await floor.store.write(lambda link, sql=sql: link.execute_fetchall(sql))
    with pytest.raises(StoreError, match="CHECK"):
        await reconciliation.resend(floor.store, entry.id, 2, who="p", reason=" ")
    again = await reconciliation.resend(floor.store, entry.id, 2, who="p", reason="lost")
    assert (again.state, again.body) == ("ready", b"x")
    assert [one.id for one in await floor.outbox.due("erp", 3, 10)] == [entry.id]


async def test_a_path_that_is_not_served_parks_the_answer_and_holds_up_nothing_else(floor):
    options = argparse.Namespace(
        host="127.0.0.1", port=0, ledger=None, release="none", idempotent=False, token=None, requests=None, seed=1
    )
    erp = Erp(options)
    await erp.listener.open()
    settings = RestSettings(connector="rest", url=f"http://127.0.0.1:{erp.listener.port}", acknowledgements_path="/nix")
    connector = REST.build(settings, context(floor))
    await connector.open()
    try:
        floor.forward(connector)
        await floor.hears(order())
        await floor.all_posted()
        (entry,) = await floor.outbox.page()
        assert entry.state == "parked"
        assert "acknowledgements_path" in entry.error_text
    finally:
        await connector.close()
        await erp.close()


async def test_a_file_connector_puts_a_file_for_each_answer(floor, tmp_path):
    for name in ("orders", "confirmations", "answers"):
        (tmp_path / "share" / name).mkdir(parents=True)
    settings = FileSettings(connector="file", folder="share", acknowledgements_folder="answers")
    connector = FILE.build(settings, context(floor))
    floor.forward(connector)
    await floor.hears(order())
    await floor.all_posted()
    (file,) = (tmp_path / "share" / "answers").iterdir()
    header, line = file.read_text().splitlines()
    row = dict(zip(header.split(";"), line.split(";"), strict=True))
    assert (row["order"], row["revision"], row["answer"]) == ("4711", "1", "accepted")
    assert file.name.startswith("4711-answer-000001-")


def context(floor):
    return ConnectorContext(
        name="erp", gateway_id="g", now_ns=floor.clock.now_ns, secrets={}, base_dir=Path(floor.folder)
    )
