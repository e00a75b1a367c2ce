"""What becomes of an order is told to its ERP: one answer for all operations, apart from its confirmations."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from buffer.outbox import Outbox
from buffer.store import Store
from gateway.clock import ManualClock
from gateway.connectors.base import ConnectorContext
from gateway.connectors.file import PLUGIN as FILE
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.rest import PLUGIN as REST
from gateway.connectors.rest.settings import RestSettings
from gateway.core import snapshot
from gateway.core.document import Identity
from gateway.core.model import DataValue, Operation, OperatorEntry, OperatorVerb, OrderReceived, ProductionOrder, Status
from gateway.core.rules import CounterRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.forwarder import Forwarder
from gateway.order_feed import job_orders
from gateway.reconciler import reconcile
from gateway.runner import Runner, RunnerHooks
from simulators.erp_server import Erp

S = 1_000_000_000
WAIT_S = 20.0


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

    async def says(self, machine, verb):
        entry = OperatorEntry(self.clock.now_ns(), verb, "4711", "", "test")
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
            while (await self.outbox.counts("erp")).waiting:
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


async def test_the_bundled_erp_hears_every_answer(floor):
    options = argparse.Namespace(host="127.0.0.1", port=0, ledger=None, release="none", idempotent=False, token=None)
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
    options = argparse.Namespace(host="127.0.0.1", port=0, ledger=None, release="none", idempotent=False, token=None)
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
        assert await codes() == [("LOOK_UP", "0010"), ("EXTERNAL_CONFIRMATION", "0020")]
    finally:
        await connector.close()
        await erp.close()


async def test_a_path_that_is_not_served_parks_the_answer_and_holds_up_nothing_else(floor):
    options = argparse.Namespace(host="127.0.0.1", port=0, ledger=None, release="none", idempotent=False, token=None)
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
