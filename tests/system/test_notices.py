"""What an ERP is told besides its confirmations: kept with what it tells, each once, in a lane of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
from collections import Counter
from decimal import Decimal
from importlib import resources
from types import SimpleNamespace

import jsonschema_rs
import pytest

from buffer import notices, reconciliation, refusals, retention
from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.store import Store
from buffer.verify import verified
from gateway.connectors.base import ConnectorContext, Outcome, OutcomeKind
from gateway.connectors.file import PLUGIN as FILE
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.rest import PLUGIN as REST
from gateway.connectors.rest.settings import RestSettings
from gateway.contract.plant import Plant
from gateway.core import snapshot
from gateway.core.document import Identity
from gateway.core.entries import ReclassifyEntry
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
from gateway.core.orders.erp_notice import ALL, NOTICE_LANE
from gateway.core.orders.noticed import GROWING_NS
from gateway.core.rules import CounterRule, OrderRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit
from gateway.erp.answering import listened
from gateway.forwarder import Forwarder
from gateway.order_feed import job_orders
from gateway.timing.clock import ManualClock
from gateway.work_unit.runner import Runner, RunnerHooks
from simulators.erp.server import Erp

SCHEMA = json.loads(resources.files("gateway.connectors").joinpath("notice.schema.json").read_text())
S = 1_000_000_000
WAIT_S = 60.0


class Floor:
    """A machine on one database, and who is told."""

    def __init__(self, folder, hears=ALL):
        self.folder, self.wants = folder, hears
        self.clock = ManualClock(1_000_000 * S)
        self.tasks = []

    async def open(self):
        self.store = await Store.open(self.folder / "floor.db", now_ns=self.clock.now_ns, max_bytes=64 << 20)
        self.outbox = Outbox(self.store)
        identity = Identity(
            plant="P", epoch=self.store.epoch, gateway_id="g", line="L", machine="A", work_center="WC-A"
        )
        rules = WorkUnitRules(
            work_center="WC-A", counters=(CounterRule(mode="counter", signal="A.good"),),
            orders=OrderRule(choose="command"),
        )  # fmt: skip
        unit = WorkUnit(rules, identity)
        stored = (await self.store.snapshots()).get("A")
        state = unit.initial(self.clock.now_ns()) if stored is None else snapshot.load(unit, stored)
        hooks = RunnerHooks(
            lambda _job: ("erp",), lambda *_: None, lambda: None, lambda _text: None,
            hears=lambda notice: ("erp",) if notice.type in self.wants else (),
        )  # fmt: skip
        self.runner = Runner(
            unit, state, self.store, now_ns=self.clock.now_ns, checkpoint_ns=S, idle_wake_ns=S // 5, hooks=hooks
        )
        self.tasks.append(asyncio.create_task(self.runner.run()))
        return self

    async def close(self):
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()
        await self.store.close()

    async def order(self):
        work = Operation(operation="0010", work_center="WC-A", quantity=Decimal(100))
        given = ProductionOrder(order="4711", revision=1, product="X", quantity=Decimal(100), operations=(work,))
        for job in job_orders(given, "erp"):
            await self.runner.submit(OrderReceived(self.clock.now_ns(), job))

    async def says(self, verb, order="4711", reason="because"):
        entry = OperatorEntry(self.clock.now_ns(), OperatorVerb(verb), order, "0010", "eve", reason)
        return await self.runner.submit(entry)

    async def makes(self, *shown):
        for value in shown:
            self.clock.advance(S)
            await self.runner.put((DataValue("A.good", value, Status.GOOD, None, self.clock.now_ns()),))

    async def postings(self, kind):
        return list(reversed(await self.outbox.page(kind=kind, limit=1000)))

    async def told(self):
        return [json.loads(entry.payload) for entry in await self.postings("notice")]

    def forward(self, connector):
        self.forwarder = Forwarder(
            name="erp", connector=connector, outbox=self.outbox, now_ns=self.clock.now_ns, rng=random.Random(1)
        )
        self.tasks.append(asyncio.create_task(self.forwarder.run()))

    async def until(self, condition):
        async with asyncio.timeout(WAIT_S):
            while not await condition():
                self.clock.advance(S)
                self.forwarder.wake()
                await asyncio.sleep(0.02)

    async def nothing_waits(self):
        counts = await self.outbox.counts("erp")
        return not counts.waiting and not counts.notices_waiting


@pytest.fixture
async def floor(tmp_path):
    made = Floor(tmp_path)
    yield await made.open()
    await made.close()


@contextlib.asynccontextmanager
async def erp_for(floor, *, idempotent=True, forwards=None, **settings):
    options = argparse.Namespace(
        host="127.0.0.1", port=0, ledger=None, release="none", idempotent=True, token=None, requests=None, seed=1
    )
    erp = Erp(options)
    await erp.listener.open()
    own = RestSettings(
        connector="rest",
        url=f"http://127.0.0.1:{erp.listener.port}",
        idempotent=idempotent,
        notices=tuple(ALL),
        **settings,
    )
    connector = REST.build(own, context(floor))
    connector = connector if forwards is None else forwards(connector)
    await connector.open()
    erp.ledger.put({"order_id": "4711", "revision": 1, "operations": [{"op": "0010", "work_center": "WC-A"}]})
    try:
        floor.forward(connector)
        yield erp, connector
    finally:
        await connector.close()
        await erp.close()


def context(floor):
    return ConnectorContext(
        name="erp", gateway_id="g", now_ns=floor.clock.now_ns, secrets={}, base_dir=floor.folder, time_zone="UTC"
    )


async def worked(floor):
    """An order from its release to its end, with pieces of nobody before it, a hold and a verdict."""
    await floor.makes(5, 8)
    await floor.order()
    await floor.says("start")
    await floor.makes(15)
    verdict = ReclassifyEntry(floor.clock.now_ns(), "4711", "0010", 2, Role.GOOD, Role.SCRAP, "crack", "eve")
    await floor.runner.submit(verdict)
    await floor.says("hold")
    await floor.says("release")
    await floor.says("finish")


def lane(notice):
    """Nothing is promised of the order between two of them: they are sent side by side."""
    return notice["order_id"] or ""


def sound(floor):
    assert [one for one in verified(floor.store.path) if one.defects] == []


async def test_the_bundled_erp_is_told_each_thing_once_and_its_confirmations_keep_their_numbers(floor):
    async with erp_for(floor) as (erp, _):
        await worked(floor)
        await floor.until(floor.nothing_waits)
        told = await floor.told()
        arrived = sorted(erp.ledger.notices(), key=lane)
        assert [{**one, "received": 1} for one in sorted(told, key=lane)] == arrived, "each lane in its order"
        assert {one["notice"] for one in told} == {"status", "quality", "unallocated"}
        for one in told:
            jsonschema_rs.validate(SCHEMA, one)
        of_order = [one["seq"] for one in told if one["order_id"] == "4711"]
        assert of_order == list(range(1, len(of_order) + 1)), "no number is missing"
        confirmed = [entry.seq for kind in ("partial", "final") for entry in await floor.postings(kind)]
        assert sorted(confirmed) == list(range(1, len(confirmed) + 1)), "they have theirs"
        counts = await floor.outbox.counts("erp")
        assert (counts.posted, counts.notices_waiting, counts.notices_parked) == (len(confirmed), 0, 0)
    sound(floor)


async def test_who_names_no_type_is_told_nothing(floor):
    floor.wants = frozenset()
    await worked(floor)
    assert await floor.told() == []
    assert await floor.store.read("SELECT * FROM notice_head UNION ALL SELECT * FROM notice_tally", ()) == []


async def grown(floor):
    """What was made of pieces without an order, each with how many wait."""
    return [(one["event"], one["detail"]["waiting"]["good"]) for one in await floor.told()]


async def test_while_an_erp_is_away_one_word_of_what_grows_waits_and_the_last_sum_is_told_behind_it(floor):
    async def quarter(shown):
        floor.clock.advance(GROWING_NS - S)
        await floor.makes(shown)
        await floor.says("start", "none")  # answered, so all before it is dealt with

    await floor.makes(5, 8)
    await floor.says("start", "none")
    for shown in (*range(9, 19), 18, 18):
        await quarter(shown)
    assert await grown(floor) == [("collecting", "3"), ("growing", "4")], "not one for each"
    async with erp_for(floor):
        await floor.until(floor.nothing_waits)
        await quarter(18)
        told = [("collecting", "3"), ("growing", "4"), ("growing", "13")]
        assert await grown(floor) == told, "nothing came, and what was not told is told"
        await floor.until(floor.nothing_waits)
        for _ in range(3):
            await quarter(18)
        assert await grown(floor) == told, "once"
        await quarter(20)
        assert await grown(floor) == [*told, ("growing", "15")]
    assert [one["seq"] for one in await floor.told()] == [1, 2, 3, 4]
    sound(floor)


async def test_what_was_not_made_while_an_erp_was_away_reaches_it_as_a_number_once_it_is_back(tmp_path, monkeypatch):
    """Whatever happened meanwhile, also an end of the gateway: what it was told and what it is said to miss is all."""
    found = {}
    for most in (1000, 3):
        monkeypatch.setattr(notices, "WAITING_MAX", most)
        (folder := tmp_path / str(most)).mkdir()
        floor = await Floor(folder).open()
        await worked(floor)
        await floor.close()
        await floor.open()
        try:
            async with erp_for(floor) as (erp, _):
                await floor.until(floor.nothing_waits)
                assert len(erp.ledger.notices()) == min(most, len(await floor.told()))
                await floor.says("reopen")
                await floor.until(floor.nothing_waits)
                found[most] = erp.ledger.notices()
            for one in found[most]:
                jsonschema_rs.validate(SCHEMA, {name: one[name] for name in one if name != "received"})
            sound(floor)
        finally:
            await floor.close()
    left_out = found[3][3]["left_out"]
    kinds = Counter(one["notice"] for one in found[1000])
    assert Counter(one["notice"] for one in found[3]) + Counter(left_out) == kinds, "exactly"
    assert sum(left_out.values()) > 3
    assert all(one["left_out"] is None for one in (*found[3][:3], *found[3][4:], *found[1000])), "and once"


async def test_a_notice_that_is_refused_holds_up_no_confirmation(floor):
    async with erp_for(floor, notices_path="/nowhere") as (erp, _):
        await worked(floor)

        async def confirmed():
            counts = await floor.outbox.counts("erp")
            return not counts.waiting and counts.notices_parked == 2  # the first of each lane

        await floor.until(confirmed)
        counts = await floor.outbox.counts("erp")
        assert (counts.parked, counts.waiting) == (0, 0)
        assert counts.posted == len([*await floor.postings("partial"), *await floor.postings("final")]) > 0
        parked = [entry for entry in await floor.postings("notice") if entry.state is OutboxState.PARKED]
        assert "notices_path" in parked[0].error_text
        assert [one.lane for one in parked] == [("", NOTICE_LANE), ("4711", NOTICE_LANE)], (
            "each lane waits at its first"
        )
        assert erp.ledger.notices() == []
    sound(floor)


async def test_a_notice_is_kept_with_what_it_tells_or_not_at_all(floor):
    await floor.order()
    states = [one["detail"]["state"] for one in await floor.told()]
    ((record,),) = await floor.store.read("SELECT state FROM job", ())
    assert states[-1] == record
    link = sqlite3.connect(floor.store.path)
    with contextlib.closing(link), link:
        # Its number is taken: the step with it cannot be kept.
        link.execute("UPDATE notice_head SET last_seq = last_seq + 7")
    await floor.says("start")
    seqs = [one["seq"] for one in await floor.told()]
    assert len(set(seqs)) == len(seqs)
    assert seqs[-1] > seqs[0] + 7, "a number is given once, whatever is missing"
    with contextlib.closing(sqlite3.connect(floor.store.path)) as link, pytest.raises(sqlite3.IntegrityError):
        link.execute("UPDATE notice_head SET last_seq = 1")
    assert [one.name for one in verified(floor.store.path) if one.defects] == ["posting numbers"], "and it is missed"


async def test_after_a_restart_every_notice_is_told_and_none_under_two_numbers(floor):
    async with erp_for(floor) as (erp, connector):
        await floor.order()
        await floor.says("start")
        await floor.until(floor.nothing_waits)
        await floor.says("hold")
        await floor.close()
        await floor.open()
        await floor.says("release")
        floor.forward(connector)
        await floor.until(floor.nothing_waits)
        told = await floor.told()
        assert [one["seq"] for one in told] == list(range(1, len(told) + 1))
        assert {one["idempotency_key"] for one in erp.ledger.notices()} == {one["idempotency_key"] for one in told}
    sound(floor)


class LosesOne:
    """The first answer to a notice is lost on its way."""

    def __init__(self, connector):
        self._connector, self.lost = connector, 0

    def __getattr__(self, name):
        return getattr(self._connector, name)

    async def send(self, posting):
        outcome = await self._connector.send(posting)
        if posting.kind == "notice" and not self.lost:
            self.lost += 1
            return Outcome(OutcomeKind.UNCERTAIN, "the line went dead")
        return outcome

    async def lookup(self, posting):
        raise AssertionError("nobody keeps a notice under its key for a look-up")


async def test_an_unclear_end_is_sent_again_and_kept_once(floor):
    async with erp_for(floor, idempotent=False, forwards=LosesOne) as (erp, _):
        await floor.order()
        await floor.until(floor.nothing_waits)
        assert sorted(one["received"] for one in erp.ledger.notices()) == [1] * (len(await floor.told()) - 1) + [2]


async def test_old_notices_go_by_age_and_hold_up_no_journal(floor):
    await floor.order()
    assert [one.state for one in await floor.postings("notice")] == ["ready"] * len(await floor.told())
    assert await retention.unconfirmed(floor.store) == [], "no confirmation is open"
    await worked(floor)
    assert {one.machine for one in await retention.unconfirmed(floor.store)} == {"A"}
    async with erp_for(floor):
        await floor.until(floor.nothing_waits)
    assert await retention.unconfirmed(floor.store) == []
    assert await retention.postings(floor.store, floor.clock.now_ns() + S) > 0
    assert await floor.told() == []
    await floor.makes(20)
    sound(floor)


async def test_a_file_is_put_into_its_folder_once(floor, tmp_path):
    for name in ("orders", "confirmations", "notices"):
        (tmp_path / "share" / name).mkdir(parents=True)
    settings = FileSettings(
        connector="file", folder=str(tmp_path / "share"), notices=("status", "quality"), notices_folder="notices"
    )
    connector = FILE.build(settings, context(floor))
    floor.wants = connector.capabilities.notices
    await floor.order()
    await floor.says("hold")
    floor.forward(connector)

    async def there():
        return not (await floor.outbox.counts("erp")).notices_waiting

    await floor.until(there)
    found = [json.loads(one.read_text()) for one in sorted((tmp_path / "share" / "notices").iterdir())]
    assert sorted(found, key=lambda one: one["seq"]) == await floor.told()
    assert [one.state for one in await floor.postings("notice")] == ["posted"] * len(found)


async def test_a_report_is_told_with_the_report_it_tells(floor):
    report = {"compared": 0, "counts": {}, "left_out": 0, "not_compared": [], "findings": []}
    who = floor.runner.unit.identity
    telling = reconciliation.Telling(who, ("erp", "mes"), floor.clock.now_ns(), report)
    kept = await reconciliation.keep(floor.store, floor.clock.now_ns(), "nightly", b"{}", 0, (), telling)
    told = await floor.told()
    assert [one["detail"]["report"] for one in told] == [kept.number] * 2
    assert len({one["idempotency_key"] for one in told}) == 2
    assert [one["seq"] for one in told] == [1, 1], "each target has its own numbers"
    await reconciliation.keep(floor.store, floor.clock.now_ns(), "asked", b"{}", 0, ())
    assert len(await floor.told()) == 2
    sound(floor)


async def test_a_parked_one_is_counted_apart_and_a_person_decides(floor):
    await floor.order()
    first = (await floor.postings("notice"))[0]
    await floor.outbox.settle(first.id, Settlement(OutboxState.PARKED, error_kind="refused", error_text="no"), 1)
    counts = await floor.outbox.counts("erp")
    assert (counts.parked, counts.notices_parked) == (0, 1)
    identity, now_ns = floor.runner.unit.identity, floor.clock.now_ns()
    await refusals.put(floor.store, identity, "erp", refusals.Refused("4711", 2, ("x",)), now_ns=now_ns, utc_ns=now_ns)
    heads = await floor.store.read("SELECT kind FROM outbox WHERE head = 1 AND order_id = '4711' ORDER BY kind", ())
    assert [kind for (kind,) in heads] == ["ack", "notice"], "it holds up no answer"
    await floor.outbox.supersede(first.id, floor.clock.now_ns(), who="eve: not wanted")
    assert (await floor.outbox.counts("erp")).notices_parked == 0
    sound(floor)


class Bench:
    """Where notices arrive, for a gateway that is killed between any two steps."""

    def __init__(self, make):
        self.build = make

    def working(self):
        return False

    def booked(self):
        return []


async def test_killed_between_every_two_commits_each_notice_is_there_once(tmp_path):
    """Before and behind each commit and each request, one after the other, until a run ends without a kill."""
    options = argparse.Namespace(
        host="127.0.0.1", port=0, ledger=None, release="none", idempotent=True, token=None, requests=None, seed=1
    )
    erp = Erp(options)
    await erp.listener.open()
    own = RestSettings(connector="rest", url=f"http://127.0.0.1:{erp.listener.port}", notices=tuple(ALL))
    near = ConnectorContext(
        name="erp", gateway_id="g", now_ns=lambda: S, secrets={}, base_dir=tmp_path, time_zone="UTC"
    )
    try:
        for moment in range(1, 50):
            async with Plant(Bench(lambda: REST.build(own, near)), tmp_path / str(moment), 2 * moment) as plant:
                await plant.tell(2)
                killed = await plant.run(kill_at=moment)
                await plant.run()
                where = f"killed at moment {moment}: {plant.moments[-1:]}"
                entries = await plant.entries()
                assert [one.state for one in entries] == ["posted"] * 2, where
                there = [one["idempotency_key"] for one in erp.ledger.notices()][-2:]
                assert there == [one.key for one in entries], where
            if not killed:
                break
        assert moment > 8, "there are more moments than that"
        assert max(one["received"] for one in erp.ledger.notices()) == 2, "some came twice, and are kept once"
    finally:
        await erp.close()


@pytest.mark.parametrize(
    ("wants", "forwards", "found"), [(("status",), True, True), ((), True, False), (("status",), False, False)]
)
def test_nothing_is_looked_for_unless_somebody_who_is_sent_to_hears_it(tmp_path, wants, forwards, found):
    connector = REST.build(RestSettings(connector="rest", url="https://erp", notices=wants), context(Floor(tmp_path)))
    parts = SimpleNamespace(connectors={"erp": connector}, forwarders={"erp": None} if forwards else {})
    assert listened(parts) is found
