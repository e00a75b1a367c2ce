"""Dynamics 365: what comes out there, whatever happens on the way; with and without a look at the message processor."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import ClassVar

import pytest

from gateway.connectors.base import ConnectorContext, Lookup, LookupKind
from gateway.connectors.d365 import PLUGIN, messages, readback
from gateway.connectors.d365.readback import FAILED
from gateway.connectors.d365.settings import D365Settings
from gateway.connectors.sign_in import SignIn
from gateway.contract import Booked, ConnectorContract, FaultContract
from gateway.contract.plant import Plant
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef
from gateway.forwarder.advice import suggested
from simulators.erp.d365 import D365

ORDER = "100240"
DEADLINE_S = 60
ENTITY = "MessageProcessorMessages"
FAULTS = {
    "lost_answer": "lose-answers {}",
    "lost_request": "hang {}",
    "slow_booking": "late-book 0.4 {}",
    "busy": "locked {}",
    "refused": "fail {}",
    "login_expired": "unauthorized {}",
    "html": "html {}",
    "half_answer": "half {}",
}


def image(order=ORDER):
    operations = [{"op": "0010", "work_center": "WC-ASM", "qty": "24"}]
    return {"order_id": order, "revision": 1, "qty": "24", "product": {"id": "ASSY-D20"}, "operations": operations}


def settings_of(url, **changes):
    sign_in = SignIn(method="oauth2", token_url=f"{url}/token", client_id="gw", client_secret=SecretRef(env="X"))
    given = {"url": url, "company": "usmf", "sign_in": sign_in, "timeout": Duration("60 s"),
             "queue_time_limit": Duration("5 s"), **changes}  # fmt: skip
    return D365Settings(connector="d365", **given)


class Bench:
    """The double, and documents that differ by their pieces: nothing else tells them apart in Dynamics."""

    def __init__(self, running, made, folder, *, started, spared=0, **settings):
        self.running = running
        self._made = made
        self._folder = folder
        self._started = started
        self._spared = spared
        self.settings = settings
        self._keys = {}
        self._patience = {}
        running.put_order(image())
        self.take_away = running.take_away

    def build(self):
        secrets = {"sign_in.client_secret": "d365-secret"}
        context = ConnectorContext(
            name="erp", gateway_id="g", now_ns=lambda: 0, secrets=secrets, base_dir=self._folder
        )  # fmt: skip
        return PLUGIN.build(settings_of(self.running.url, **self._patience, **self.settings), context)

    def document(self, seq):
        if self._started or (not self._keys and seq > 1):
            self.running.do(f"start-order {ORDER}")
        one, good = self._made(seq), 100 + seq
        self._keys[good] = one["idempotency_key"]
        made = {"good": str(good), "scrap": [{"reason": "Machine", "qty": "1"}], "rework": "0"}
        total = {
            "good": str(sum(range(101, good + 1))),
            "scrap": [{"reason": "Machine", "qty": str(seq)}],
            "rework": "0",
        }
        return {
            **one, "qty": made, "qty_cumulative": total, "echo": {"d365_last_operation": "0010"},
            "product": {"id": "ASSY-D20"}, "posting_date": "2026-11-22", "components": [],
        }  # fmt: skip

    def release(self, order):
        self.running.put_order(image(order))

    def bookings(self, key):
        return sum(one.key == key and one.part == "card" for one in self.booked())

    def booked(self):
        asked = "SELECT type, content FROM messages WHERE state = 'Processed' ORDER BY id"
        rows = self.running.call(lambda: self.running.double._db.execute(asked).fetchall())
        return [one for kind, content in rows if (one := self._booking(kind, json.loads(content))) is not None]

    def _booking(self, kind, told):
        if kind == messages.ROUTE_CARD:
            line = next(one for one in told["RouteCardLines"] if one["TaskType"] == "Process")
            good = line["GoodQuantity"]
            return Booked(self._keys[good], Decimal(good), Decimal(line["ErrorQuantity"]), "card")
        if kind == messages.REPORT_FINISHED:
            # The same pieces again, as stock: they count once.
            good = told["ReportFinishedLines"][0]["ReportedGoodQuantity"]
            return Booked(self._keys[good], Decimal(0), Decimal(0), "report")
        return None

    def fault(self, name, count=1):
        if name == "refused" and "messages_entity" not in self.settings:
            return False
        if name == "lost_request":  # the only one whose end nobody tells
            self._patience = {"timeout": Duration("1 s")}
        if self._spared and name != "refused":
            self.running.do(f"spare {self._spared}")
        self.running.do(FAULTS[name].format(count))
        return True

    def working(self):
        return bool(self.running.double._late)


@pytest.fixture
def rig(running_double, document, tmp_path):
    return lambda **given: Bench(running_double(D365, queue_ms=1, page=100), document, tmp_path, **given)


class _Faults(FaultContract):
    started: ClassVar[bool] = True
    spared: ClassVar[int] = 0
    settings: ClassVar[dict[str, object]] = {"messages_entity": ENTITY}
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, rig):
        bench = rig(started=self.started, spared=self.spared, **self.settings)
        yield bench
        found = bench.booked()
        cards, reports = ({one.key for one in found if one.part == part} for part in ("card", "report"))
        assert reports <= cards, "reported as finished, and never on a route card"


#: What is promised without any fault is asked of it in test_d365.py.
for name in vars(ConnectorContract):
    if name.startswith("test_"):
        setattr(_Faults, name, None)


class _KilledInSoak(_Faults):
    @pytest.mark.soak
    async def test_killed_between_every_two_steps(self, bench, tmp_path):
        await super().test_killed_between_every_two_steps(bench, tmp_path)

    @pytest.mark.soak
    async def test_no_answer_and_killed(self, bench, tmp_path):
        await super().test_no_answer_and_killed(bench, tmp_path)


class TestFaultsOfTheRouteCard(_Faults):
    settings: ClassVar[dict[str, object]] = {}
    without: ClassVar[dict[str, str]] = {"refused": "nobody reads the message processor: the forwarder's limit ends it"}

    @pytest.mark.soak
    async def test_no_answer_and_killed(self, bench, tmp_path):
        await super().test_no_answer_and_killed(bench, tmp_path)


class TestFaultsOfTheStart(_KilledInSoak):
    started = False


class TestFaultsOfTheReport(_KilledInSoak):
    spared = 1


@pytest.mark.parametrize("at_least", [0, 100])
async def test_somebody_else_books_meanwhile_and_a_person_hears_of_it(rig, tmp_path, at_least):
    """The difference fits nothing: it is parked after the limit, in words of what was expected and found."""
    bench = rig(started=True, report_finished=False, start=False)
    plain = bench.build

    def build():
        connector = plain()
        asked = connector.baseline

        async def baseline(posting):
            said = await asked(posting)
            bench.running.do(f"external {ORDER} 0010 7")
            return said

        connector.baseline = baseline
        return connector

    bench.build = build
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        if at_least:
            bench.fault("lost_answer")
        await plant.run()
        first, second = await plant.entries()
        assert (first.state, first.error_kind) == ("parked", "unclear"), first
        assert "booked since it was sent: good 108, error 1" in first.error_text
        assert "expected: good 101, error 1" in first.error_text
        assert "linegate outbox booked" in suggested(first.error_kind)
        assert (second.state, second.attempts) == ("ready", 0), "the lane waits for the person"
        bench.build = plain
        await plant.finish()
        assert [one.state for one in await plant.entries()] == ["superseded", "posted"]
        assert [one.good for one in bench.booked()] == [101, 102]


async def test_a_message_that_failed_is_seen_at_the_next_question_and_repeated_by_a_person(rig, tmp_path):
    """Two cards of the same content: the one that failed before is not taken for the one that is under way."""
    bench = rig(started=True, messages_entity=ENTITY, report_finished=False, start=False)
    written = bench.document
    same = {name: value for name, value in written(1).items() if name.startswith("qty")}
    bench.document = lambda seq: {**written(seq), **same}
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        bench.fault("refused", 2)
        for _ in range(2):
            await plant.run()
            first, second = await plant.entries()
            assert (first.state, first.error_kind, first.error_code) == ("parked", "business_reject", FAILED), first
            assert "the period is closed" in first.error_text
            assert second.state == "ready"
            await plant.retry(first)
        await plant.run()
        assert [one.state for one in await plant.entries()] == ["posted"] * 2
        assert len(bench.booked()) == 2


def _repeated_without_a_look(before, now, wanted):
    twice = now.measure.good - before.measure.good >= 2 * wanted.good
    return Lookup(LookupKind.FOUND, "transaction 2") if twice else Lookup(LookupKind.ABSENT)


def _any_growth_is_proof(before, now, _wanted):
    grown = now.measure.good > before.measure.good
    return Lookup(LookupKind.FOUND, "transaction 1") if grown else Lookup(LookupKind.ABSENT)


@pytest.mark.parametrize(
    ("planted", "faults", "caught"),
    [(_repeated_without_a_look, ("lose-answers 1",), "booked twice"), (_any_growth_is_proof, ("fail 1",), "is posted")],
)
async def test_a_planted_bug_is_caught(rig, tmp_path, monkeypatch, planted, faults, caught):
    """A route card that is repeated without a look at its baseline; somebody else's pieces that are taken for ours."""
    monkeypatch.setattr(readback, "compared", planted)
    bench = rig(started=True, report_finished=False, start=False)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(1)
        for fault in faults:
            bench.running.do(fault)
        running = asyncio.ensure_future(plant.run())
        async with asyncio.timeout(DEADLINE_S):
            while not (await plant.entries())[0].attempts:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.002)
        bench.running.do(f"external {ORDER} 0010 7")
        await running
        with pytest.raises(AssertionError, match=caught):
            plant.check(await plant.entries())
