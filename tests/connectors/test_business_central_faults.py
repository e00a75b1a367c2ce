"""Business Central: what comes out in its ledger, whatever happens on the way, by the journal and by the extension."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import ClassVar

import pytest

from gateway.connectors.base import ConnectorContext, LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.business_central import PLUGIN, lines
from gateway.connectors.business_central.connector import BusinessCentralConnector
from gateway.connectors.business_central.settings import BusinessCentralSettings
from gateway.connectors.sign_in import SignIn
from gateway.contract import Booked, ConnectorContract, FaultContract
from gateway.contract.plant import Plant
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef
from simulators.erp.business_central import BusinessCentral

DEADLINE_S = 60
ORDER = "100240"
FAULTS = {
    "lost_answer": "lose-answers {}",
    "lost_request": "hang {}",
    "slow_booking": "late-book 0.4 {}",
    "busy": "locked {}",
    "refused": "error 400 {}",
    "login_expired": "unauthorized {}",
    "html": "html {}",
    "half_answer": "half {}",
}


def image(order=ORDER):
    operations = [{"op": "0010", "work_center": "WC-ASM", "qty": "24"}]
    return {"order_id": order, "revision": 1, "qty": "24", "product": {"id": "ASSY-D20"}, "operations": operations}


class Bench:
    """The double, whose job queue posts all the time, and documents of two reasons: two lines of the journal."""

    def __init__(self, running, made, folder, *, reasons=("A1",), **settings):
        self.running = running
        self.settings = settings
        self._made = made
        self._folder = folder
        self._reasons = reasons
        self._keys = {}
        self._timeout = Duration("60 s")
        running.put_order(image())
        self.take_away = running.take_away

    def build(self):
        url = self.running.url
        sign_in = SignIn(method="oauth2", token_url=f"{url}/token", client_id="gw", client_secret=SecretRef(env="X"))
        settings = BusinessCentralSettings(
            connector="business_central", url=f"{url}/ODataV4", company="CRONUS", sign_in=sign_in,
            timeout=self._timeout, server_time_limit=Duration("5 s"), **self.settings,
        )  # fmt: skip
        secrets = {"sign_in.client_secret": "bc-secret"}
        context = ConnectorContext(
            name="erp", gateway_id="g", now_ns=lambda: 0, secrets=secrets, base_dir=self._folder
        )  # fmt: skip
        return PLUGIN.build(settings, context)

    def document(self, seq):
        one = self._made(seq)
        for step in range(len(self._reasons)):
            external = lines.external_number(step_id(one["confirmation_id"], step))
            self._keys[external] = (one["idempotency_key"], str(step))
        made = {"good": "10", "scrap": [{"reason": name, "qty": "1"} for name in self._reasons], "rework": "0"}
        total = {"good": str(10 * seq), "scrap": [{"reason": name, "qty": str(seq)} for name in self._reasons]}
        return {
            **one, "qty": made, "qty_cumulative": {**total, "rework": "0"}, "product": {"id": "ASSY-D20"},
            "posting_date": "2026-11-22", "echo": {"bc_order_line": "10000"},
        }  # fmt: skip

    def release(self, order):
        self.running.put_order(image(order))

    def bookings(self, key):
        return len({one.part for one in self.booked() if one.key == key})

    def booked(self):
        found = []
        for row in self.running.call(self.running.double._entries):
            key, part = self._keys[row["External_Document_No"]]
            # The lines of one call have one number: they are told apart by their reason.
            part = row["Scrap_Code"] if "variant" in self.settings else part
            found.append(Booked(key, Decimal(row["Output_Quantity"]), Decimal(row["Scrap_Quantity"]), part))
        return found

    def fault(self, name, count=1):
        if name == "lost_request":  # the only one whose end nobody tells
            self._timeout = Duration("1 s")
        self.running.do(FAULTS[name].format(count))
        return True

    def working(self):
        # The job queue is always there.
        return len(self.running.double._late) > bool(self.running.double.options.post_ms)


@pytest.fixture
def rig(running_double, document, tmp_path):
    def made(post_ms=3, **given):
        running = running_double(BusinessCentral, post_ms=post_ms, page=100, limit=1_000_000)
        return Bench(running, document, tmp_path, **given)

    return made


class _Faults(FaultContract):
    given: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def bench(self, rig):
        return rig(**self.given)


#: What is promised without any fault is asked of it in test_business_central.py.
for name in vars(ConnectorContract):
    if name.startswith("test_"):
        setattr(_Faults, name, None)


class TestFaultsOfTheJournal(_Faults):
    killed_confirmations = 1

    @pytest.mark.soak
    async def test_no_answer_and_killed(self, bench, tmp_path):
        await super().test_no_answer_and_killed(bench, tmp_path)


class TestFaultsOfTwoLines(_Faults):
    given: ClassVar[dict[str, object]] = {"reasons": ("A1", "B2")}

    @pytest.mark.soak
    async def test_killed_between_every_two_steps(self, bench, tmp_path):
        await super().test_killed_between_every_two_steps(bench, tmp_path)

    @pytest.mark.soak
    async def test_no_answer_and_killed(self, bench, tmp_path):
        await super().test_no_answer_and_killed(bench, tmp_path)


class TestFaultsOfTheExtension(TestFaultsOfTwoLines):
    given: ClassVar[dict[str, object]] = {"reasons": ("A1", "B2"), "variant": "extension"}


async def test_a_line_number_that_is_taken_goes_in_once_it_is_free(rig, tmp_path, monkeypatch):
    """Two messages with one number: the second waits for the posting of the first, and nothing is lost or doubled."""
    bench = rig(post_ms=0)
    monkeypatch.setattr(lines, "line_number", lambda _message_id: 4711)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(2)
        sent = plant.run()
        task = asyncio.ensure_future(sent)
        async with asyncio.timeout(DEADLINE_S):
            while [one.error_code for one in await plant.entries()] != ["", "LINE_NO_TAKEN"]:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        bench.running.do("post")
        async with asyncio.timeout(DEADLINE_S):
            while [one.state for one in await plant.entries()] != ["posted", "accepted"]:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        bench.running.do("post")
        await task
        plant.check_all_booked(await plant.entries())


async def test_a_line_that_was_posted_before_its_repeat_is_not_taken_for_a_stranger(rig):
    bench = rig(post_ms=0)
    connector = bench.build()
    await connector.open()
    one = bench.document(1)
    posting = Posting(one["idempotency_key"], one["confirmation_id"], ORDER, "0010", 1, 1, connector.render(one))
    bench.fault("lost_answer")
    assert (await connector.send(posting)).kind is OutcomeKind.UNCERTAIN
    found = await connector.lookup(posting)
    assert (found.kind, found.reference) == (LookupKind.ACCEPTED, f"OUTPUT/LINEGATE/{_line_of(posting)}")
    assert (await connector.send(posting)).kind is OutcomeKind.ACCEPTED, "the insert is refused, the line is ours"
    bench.running.do("post")
    assert (await connector.lookup(posting)).kind is LookupKind.FOUND
    assert bench.bookings(posting.key) == 1
    await connector.close()


async def test_a_planted_bug_is_caught(rig, tmp_path, monkeypatch):
    """A look-up that looks into the ledger only: what waits in the journal is inserted again once it is posted."""

    async def nothing(_self, _condition):
        return []

    monkeypatch.setattr(BusinessCentralConnector, "_waiting", nothing)
    bench = rig(post_ms=0)
    async with Plant(bench, tmp_path) as plant:
        await plant.add(1)
        bench.fault("lost_answer")
        running = asyncio.ensure_future(plant.run())
        async with asyncio.timeout(DEADLINE_S):
            while (await plant.entries())[0].error_code != "LINE_NO_TAKEN":  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.002)
        bench.running.do("post")
        async with asyncio.timeout(DEADLINE_S):
            while (await plant.entries())[0].state != "accepted":  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.002)
        bench.running.do("post")
        await running
        with pytest.raises(AssertionError, match="booked twice"):
            plant.check(await plant.entries())


def _line_of(posting):
    return json.loads(posting.rendered.body)["Line_No"]
