"""Each row of the table of reconciliation: a gateway's real database against the bundled ERP. Nothing is repaired."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
from decimal import Decimal
from types import SimpleNamespace

import pytest

from buffer import reconciliation
from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.store import Store
from gateway.connectors.base import ConnectorContext, Lookup, LookupKind
from gateway.connectors.rest import PLUGIN as REST
from gateway.connectors.rest.settings import RestSettings
from gateway.core.document import Identity
from gateway.core.entries import MergeEntry, SplitEntry
from gateway.core.model import (
    DataValue,
    Operation,
    OperatorEntry,
    OperatorVerb,
    OrderReceived,
    ProductionOrder,
    Status,
)
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.reconciliation import FindingCode
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.erp.order_closer import OrderCloser
from gateway.erp.reconciler import MOMENTS_MAX, reconcile
from gateway.forwarder import Forwarder
from gateway.order_feed import job_orders
from gateway.timing.clock import ManualClock
from gateway.work_unit.runner import Runner, RunnerHooks
from simulators.erp.ledger import Booking
from simulators.erp.server import Erp

S = 1_000_000_000
WAIT_S = 60.0


class Line:
    """One machine on a real database, and the bundled ERP. Confirmations are sent when the test says so."""

    async def open(self, folder):
        self.clock = ManualClock(1_000_000 * S)
        self.store = await Store.open(folder / "line.db", now_ns=self.clock.now_ns, max_bytes=64 << 20)
        self.outbox = Outbox(self.store)
        self.tasks, self.shown = [], 100
        options = argparse.Namespace(
            host="127.0.0.1", port=0, ledger=None, release="none", idempotent=True, token=None, requests=None, seed=1
        )
        self.erp = Erp(options)
        await self.erp.listener.open()
        settings = RestSettings(
            connector="rest",
            url=f"http://127.0.0.1:{self.erp.listener.port}",
            totals_path="/orders/{order}/totals",
        )
        context = ConnectorContext(name="erp", gateway_id="g", now_ns=self.clock.now_ns, secrets={}, base_dir=folder)
        self.connector = REST.build(settings, context)
        await self.connector.open()
        self.parts = SimpleNamespace(connectors={"erp": self.connector}, outbox=self.outbox)
        identity = Identity(plant="P", epoch=self.store.epoch, gateway_id="g", line="", machine="A", work_center="W")
        rules = WorkUnitRules(work_center="W", counters=(CounterRule(mode="counter", signal="A.good"),))
        unit = WorkUnit(rules, identity)
        hooks = RunnerHooks(lambda _job: ("erp",), lambda *_: None, lambda: None, lambda _text: None)
        self.runner = Runner(
            unit, unit.initial(self.clock.now_ns()), self.store, now_ns=self.clock.now_ns, checkpoint_ns=S,
            idle_wake_ns=S // 5, hooks=hooks,
        )  # fmt: skip
        self.tasks.append(asyncio.create_task(self.runner.run()))
        await self.made(0)
        return self

    async def close(self):
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.connector.close()
        await self.erp.close()
        await self.store.close()

    def released_there(self, order="4711", **more):
        work = {"op": "0010", "work_center": "W"}
        self.erp.ledger.put({"order_id": order, "revision": 1, "operations": [work], **more})

    async def hears(self, order="4711"):
        work = Operation(operation="0010", work_center="W", quantity=Decimal(100))
        given = ProductionOrder(order=order, revision=1, product="X", quantity=Decimal(100), operations=(work,))
        for job in job_orders(given, "erp"):
            await self.runner.submit(OrderReceived(self.clock.now_ns(), job))

    async def says(self, verb, order="4711"):
        await self.runner.submit(OperatorEntry(self.clock.now_ns(), OperatorVerb(verb), order, "", "ann"))

    async def made(self, pieces):
        self.clock.advance(S)
        self.shown += pieces
        await self.runner.submit(DataValue("A.good", self.shown, Status.GOOD, None, self.clock.now_ns()))

    async def confirms(self, pieces, order="4711"):
        """So many more, and an interruption that confirms them; the machine then goes on with it."""
        await self.made(pieces)
        await self.says("interrupt", order)
        await self.says("start", order)
        return max(await self.outbox.page(order=order), key=lambda one: one.seq)

    def sends(self):
        forwarder = Forwarder(
            name="erp", connector=self.connector, outbox=self.outbox, now_ns=self.clock.now_ns, rng=random.Random(1)
        )
        self.forwarder = forwarder
        self.tasks.append(asyncio.create_task(forwarder.run()))

    async def settled(self, *states, order="4711"):
        """Until the postings of the order are in these states, oldest first."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self.outbox.page(order=order)
                if tuple(one.state for one in sorted(found, key=lambda one: one.seq)) == states:
                    return
                self.clock.advance(S)
                self.forwarder.wake()
                await asyncio.sleep(0.02)

    async def found(self):
        """Codes and keys of what differs, after a look at the whole database before and behind."""
        hold = await self.runner.hold()  # what the time that has passed means to the machine is not what the look did
        try:
            await asyncio.wait_for(hold.reached.wait(), WAIT_S)
            before, told = self.everything(), len(self.erp.ledger.bookings())
            report, left_out = await reconcile(self.parts, self.store, self.clock.now_ns())
            assert left_out == ()
            assert self.everything() == before, "nothing is repaired here"
            assert len(self.erp.ledger.bookings()) == told, "and nothing there"
        finally:
            hold.release()
        return {one.code: one for one in report.findings}

    def everything(self):
        with contextlib.closing(sqlite3.connect(self.store.path)) as link:
            names = [row[0] for row in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: link.execute(f"SELECT * FROM {name}").fetchall()
                for name in names
                if name not in ("work_unit", "meta")  # a checkpoint of the machine's time
            }


@pytest.fixture
async def line(tmp_path):
    made = await Line().open(tmp_path)
    made.released_there()
    await made.hears()
    yield made
    await made.close()


C = FindingCode
PLANNER = ActorRole.PLANNER
POSTED, READY, PARKED = OutboxState.POSTED, OutboxState.READY, OutboxState.PARKED


async def test_both_sides_agree(line):
    line.sends()
    await line.confirms(5)
    await line.settled(POSTED)
    assert await line.found() == {}


async def test_a_leader_is_no_order_of_the_erp_and_is_over_with_its_originals(line):
    line.released_there("4712")
    await line.hears("4712")
    for order in ("4711", "4712"):
        await line.says("interrupt", order)
    await line.runner.submit(MergeEntry(line.clock.now_ns(), "L", ("4711", "4712"), "0010", "", "ann", role=PLANNER))
    await line.says("start", "L")
    line.sends()
    await line.made(10)
    assert await line.found() == {}, "it runs"
    await line.says("finish", "L")
    await line.settled(POSTED)
    await line.settled(POSTED, order="4712")
    line.erp._external("4711", "0010", 2)
    assert set(await line.found()) == {C.EXTERNAL_CONFIRMATION}, "they are compared until their leader is closed"
    line.erp._external("4711", "0010", -2)
    asked, _ = await reconcile(line.parts, line.store, line.clock.now_ns(), "L")
    assert (asked.compared, asked.findings) == (2, ()), "its originals are, where somebody asks for it"
    parts = SimpleNamespace(runners={"A": line.runner})
    closer = OrderCloser(parts, line.store, line.clock.now_ns)
    assert await closer.close_due() == 0
    line.clock.advance(30 * 24 * 3600 * S)
    assert await closer.close_due() == 1
    assert {one.job.order: one.state for one in await line.store.job_records()} == {
        "L": "CLOSED", "4711": "MERGED", "4712": "MERGED"
    }  # fmt: skip
    assert (await reconcile(line.parts, line.store, line.clock.now_ns()))[0].compared == 0


async def test_an_original_that_is_a_child_is_compared_as_the_order_that_it_was_split_from(line):
    line.released_there("4712")
    await line.hears("4712")
    for order in ("4711", "4712"):
        await line.says("interrupt", order)
    halves = (Decimal(50), Decimal(50))
    await line.runner.submit(SplitEntry(line.clock.now_ns(), "4711", "0010", halves, "", "ann", role=PLANNER))
    for child in ("4711-001", "4711-002"):  # one begins by itself behind the other
        await line.says("interrupt", child)
    orders = ("4711-001", "4711-002", "4712")
    await line.runner.submit(MergeEntry(line.clock.now_ns(), "L", orders, "0010", "", "ann", role=PLANNER))
    await line.says("start", "L")
    line.sends()
    await line.made(12)
    await line.says("finish", "L")
    await line.settled(POSTED, order="4712")
    for order in ("4711-001", "4711-002"):
        await line.settled(POSTED, order=order)
    assert await line.found() == {}
    line.erp._external("4711", "0010", 2)
    report, _ = await reconcile(line.parts, line.store, line.clock.now_ns())
    assert (report.compared, [(one.code, one.order) for one in report.findings]) == (
        2, [(C.EXTERNAL_CONFIRMATION, "4711")]
    )  # fmt: skip
    for named in ("L", "4711", "4711-002"):
        asked, _ = await reconcile(line.parts, line.store, line.clock.now_ns(), named)
        assert [one.order for one in asked.findings] == ["4711"], named
    said = [reconciliation.SaidOf("4711", "0010", (C.EXTERNAL_CONFIRMATION.value,))]
    await reconciliation.keep(line.store, line.clock.now_ns(), "asked", b"{}", 1, said)
    closer = OrderCloser(SimpleNamespace(runners={"A": line.runner}), line.store, line.clock.now_ns)
    line.clock.advance(30 * 24 * 3600 * S)
    await closer.close_due()
    states = {one.job.order: one.state for one in await line.store.job_records()}
    assert states["L"] == "COMPLETED", "the ERP says another thing of one of its orders"


async def test_what_is_booked_while_the_erp_answers_is_not_lost(line):
    """Its answer is older than what is read here behind it: the pieces looked acknowledged and gone."""
    await line.confirms(5)
    asks, answers = line.connector.booked, []

    async def booked_behind_the_answer(order):
        answers.append(await asks(order))
        if len(answers) == 1:
            line.sends()
            await line.settled(POSTED)
        return answers[-1]

    line.connector.booked = booked_behind_the_answer
    report, left_out = await reconcile(line.parts, line.store, line.clock.now_ns())
    assert (report.findings, left_out) == ((), ())
    assert [[one.good for one in answer.operations] for answer in answers] == [[], [5]]


async def test_an_operation_that_never_rests_is_left_out_and_says_so(line):
    line.sends()
    asks, moved = line.connector.booked, []

    async def always_behind(order):
        answer = await asks(order)
        moved.append(await line.confirms(5))
        await line.settled(*[POSTED] * len(moved))
        return answer

    line.connector.booked = always_behind
    report, left_out = await reconcile(line.parts, line.store, line.clock.now_ns())
    assert (report.findings, len(moved)) == ((), MOMENTS_MAX)
    assert [text.partition(";")[0] for text in left_out] == [
        "order 4711 operation 0010: it is confirmed faster than the ERP answers"
    ]


async def test_more_here_that_waits_in_the_buffer_will_flow(line):
    await line.confirms(5)
    found = await line.found()
    assert set(found) == {C.IN_BUFFER}
    line.sends()
    await line.settled(POSTED)
    assert await line.found() == {}


async def test_more_here_that_was_acknowledged_and_is_not_there_is_missing(line):
    line.sends()
    entry = await line.confirms(5)
    await line.settled(POSTED)
    line.erp.ledger.forget(entry.key)
    found = await line.found()
    assert set(found) == {C.MISSING_IN_ERP}
    assert found[C.MISSING_IN_ERP].keys == (entry.key,)
    assert found[C.MISSING_IN_ERP].difference.good == -5


async def test_more_here_although_every_key_is_there_is_a_persons_task(line):
    line.sends()
    entry = await line.confirms(5)
    await line.settled(POSTED)
    line.erp.ledger.forget(entry.key)  # booked again with another number, under the same key
    line.erp.ledger.book(Booking(entry.key, "4711", "0010", entry.seq, "W", "A", 4, 0, 0, final=False, digest="x"))
    assert set(await line.found()) == {C.MISMATCH}


async def test_what_was_refused_or_reversed_there_afterwards_is_said_so(line):
    """A look-up that is refused is an answer: it is not there; one that says nothing leaves the question open."""
    line.sends()
    entry = await line.confirms(5)
    await line.settled(POSTED)
    line.erp.ledger.forget(entry.key)
    answers = {
        "deleted": (Lookup(LookupKind.REFUSED, code="LINE_DELETED"), C.MISSING_IN_ERP, f"does not know {entry.key}"),
        "reversed": (Lookup(LookupKind.REFUSED, code="REVERSED"), C.MISMATCH, f"{entry.key} reversed there"),
        "there": (Lookup(LookupKind.FOUND), C.MISMATCH, "every key is there"),
        "silent": (Lookup(LookupKind.UNKNOWN, detail="down"), C.LOOK_UP, "its keys were not all looked up"),
    }
    for name, (answer, code, text) in answers.items():

        async def says(_posting, answer=answer):
            return answer

        line.connector.lookup = says
        (found,) = (await line.found()).values()
        assert (found.code, text in found.text) == (code, True), (name, found.text)


async def test_one_number_of_two_erps_says_whose_order_it_is(line):
    """Each is compared with its own ERP; what is found of one that stands alone names no ERP."""
    await line.confirms(5)
    (alone,) = (await line.found()).values()
    assert (alone.source, alone.text) == ("", "5 good wait to be sent")
    line.parts.connectors["mes"] = line.connector
    work = Operation(operation="0020", work_center="W", quantity=Decimal(100))
    other = ProductionOrder(order="4711", revision=1, product="X", quantity=Decimal(100), operations=(work,))
    for job in job_orders(other, "mes"):
        await line.runner.submit(OrderReceived(line.clock.now_ns(), job))
    report, _ = await reconcile(line.parts, line.store, line.clock.now_ns())
    assert report.compared == 2, "each operation once"
    assert [(one.source, one.text) for one in report.findings] == [("erp", "erp: 5 good wait to be sent")]


async def test_more_there_is_somebodys_own_confirmation(line):
    line.sends()
    await line.confirms(5)
    await line.settled(POSTED)
    line.erp._external("4711", "0010", 3)
    found = await line.found()
    assert set(found) == {C.EXTERNAL_CONFIRMATION}
    assert found[C.EXTERNAL_CONFIRMATION].difference.good == 3
    assert line.runner.state.running.external == (0, 0, 0), "taken over by a person only"


async def test_closed_there_and_running_here(line):
    line.released_there(status="closed")
    assert set(await line.found()) == {C.ERP_CLOSED}
    assert line.runner.state.running.state == "IN_PROGRESS", "what follows is the order's image, not the comparison"


async def test_closed_there_and_running_here_under_its_leader(line):
    line.released_there("4712")
    await line.hears("4712")
    for order in ("4711", "4712"):
        await line.says("interrupt", order)
    line.released_there("4712", status="closed")
    merged = MergeEntry(line.clock.now_ns(), "L", ("4711", "4712"), "0010", "", "ann", role=PLANNER)
    await line.runner.submit(merged)
    await line.says("start", "L")
    found = await line.found()
    assert {code: one.order for code, one in found.items()} == {C.ERP_CLOSED: "4712"}
    await line.says("interrupt", "L")
    assert await line.found() == {}, "it does not run"


async def test_confirmed_there_and_unknown_here_is_another_epoch(line):
    key = "P/lost/4711/0010/7"
    line.erp.ledger.book(Booking(key, "4711", "0010", 7, "W", "A", 9, 0, 0, final=False, digest="x"))
    found = await line.found()
    assert set(found) == {C.EXTERNAL_CONFIRMATION, C.EDGE_DATA_LOST}
    assert "number 7 of epoch lost" in found[C.EDGE_DATA_LOST].text


async def test_a_refusal_is_a_dead_letter_of_that_order_and_others_flow(line):
    line.erp.faults.rejected.add("4711")
    line.sends()
    refused = await line.confirms(5)
    await line.settled(PARKED)
    await line.confirms(2)
    line.released_there("4712")
    await line.hears("4712")
    await line.says("interrupt")
    await line.says("start", "4712")
    await line.confirms(4, "4712")
    await line.settled(POSTED, order="4712")
    found = await line.found()
    assert (found[C.DEAD_LETTER].order, found[C.DEAD_LETTER].keys) == ("4711", (refused.key,))
    assert "1 confirmations of this operation wait behind it" in found[C.DEAD_LETTER].text
    states = [one.state for one in sorted(await line.outbox.page(order="4711"), key=lambda one: one.seq)]
    assert states == [PARKED, READY]


@pytest.mark.parametrize("booked", [True, False])
async def test_an_answer_that_was_lost_explains_its_pieces(line, booked):
    entry = await line.confirms(5)
    await line.outbox.begin_send(entry.id, (b"x", "t", "n"), line.clock.now_ns())
    if booked:
        line.erp.ledger.book(Booking(entry.key, "4711", "0010", entry.seq, "W", "A", 5, 0, 0, final=False, digest="x"))
    found = await line.found()
    assert set(found) == {C.ACK_LOST}, "what was booked under it is nobody else's"
    assert found[C.ACK_LOST].keys == (entry.key,)


async def test_a_closed_period_is_told_apart_from_other_refusals(line):
    entry = await line.confirms(5)
    await line.outbox.begin_send(entry.id, (b"x", "t", "n"), line.clock.now_ns())
    refused = Settlement(PARKED, line.clock.now_ns(), error_kind="business", error_code="POSTING_PERIOD_CLOSED")
    await line.outbox.settle(entry.id, refused, line.clock.now_ns())
    found = await line.found()
    assert set(found) == {C.PERIOD_CLOSED}
    assert found[C.PERIOD_CLOSED].keys == (entry.key,)


async def test_an_order_that_is_not_there(line):
    await line.hears("4799")
    found = await line.found()
    assert {code: one.order for code, one in found.items()} == {C.UNKNOWN_IN_ERP: "4799"}
