import argparse
import asyncio
import json
import threading
import urllib.error
import urllib.request
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from gateway.connectors.base import ConnectorError, LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.http import HttpAnswer
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sap_odata import PLUGIN, answers, order_reader
from gateway.connectors.sap_odata import connector as sap_odata_connector
from gateway.connectors.sap_odata.settings import SapOdataSettings
from gateway.connectors.sign_in import SignIn
from gateway.contract import Booked, FaultContract
from gateway.contract.plant import Plant
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef
from simulators.control import Control
from simulators.erp.sap_odata import SapOdata

NO_OPTIONS = {
    "ledger": None, "release": "none", "idempotent": False, "requests": None, "user": None, "token_requests": 0,
    "no_guid_filter": False, "latest_first": False, "host": "127.0.0.1", "port": 0, "seed": 1,
}  # fmt: skip

#: Faults whose end nobody tells: the connector gives up, and only there is it in a hurry.
SILENT = {"hang", "slow"}
IMPATIENT = Duration("1 s")


class Sap:
    """The double in a thread of its own, asked over its socket."""

    def __init__(self, **options):
        self._ready = threading.Event()
        self._options = argparse.Namespace(**NO_OPTIONS | options)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(20)

    async def _run(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._sap = sap = SapOdata(self._options)
        sap.declare(Control("sap_odata", read_stdin=False))
        await sap.open()
        self.port = sap.listener.port
        self._ready.set()
        await self._end.wait()
        await sap.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def working(self):
        return bool(self._sap._late)

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read()) from error

    def do(self, fault, **values):
        return self.ask("POST", "/_faults", {"fault": fault, **values})

    def release(self, order="100240", revision=1, **changes):
        image = {
            "order_id": order, "revision": revision, "product": {"id": "ASSY-D20", "uom": "PC"}, "qty": "240",
            "planned_start": "2026-11-22T06:00:00Z", "planned_end": "2026-11-22T14:00:00Z",
            "operations": [{"op": "0010", "work_center": "WC-ASM"}, {"op": "0020", "work_center": "WC-PCK"}],
        }  # fmt: skip
        self.ask("POST", "/_orders", {**image, **changes})

    def ledger(self):
        return self.ask("GET", "/ledger")["bookings"]

    def booked(self, message_id):
        return sum(row["key"] == message_id for row in self.ledger())

    def sums(self, order="100240", operation="0010"):
        rows = [row for row in self.ledger() if (row["order"], row["operation"]) == (order, operation)]
        return tuple(sum(row[role] for row in rows) for role in ("good", "scrap", "rework"))


@pytest.fixture
def start_sap():
    started = []

    def start(**options):
        started.append(Sap(**options))
        started[-1].release()
        return started[-1]

    yield start
    for sap in started:
        sap.close()


@pytest.fixture
def sap(start_sap):
    return start_sap()


@pytest.fixture
def settings():
    def made(sap, **changes):
        defaults = {
            "url": sap.url, "plant": "1010", "timeout": Duration("60 s"), "server_time_limit": Duration("5 s"),
            "error_classes": {"RU/110": "wait_precondition"}, "orders_since": Duration("9000 d"),
        }  # fmt: skip
        return SapOdataSettings(connector="sap_odata", **{**defaults, **changes})

    return made


@pytest.fixture
def full(document):
    """A document with what SAP's messages need besides."""

    def made(seq=1, scrap=((None, "1"),), **changes):
        image = document(seq)
        pieces = [{"reason": reason, "qty": qty} for reason, qty in scrap]
        scrapped = sum(int(qty) for _, qty in scrap)
        image["qty"] = {**image["qty"], "scrap": pieces}
        image["qty_cumulative"] = {
            "good": str(10 * seq), "scrap": [{"reason": None, "qty": str(scrapped * seq)}], "rework": "0",
        }  # fmt: skip
        return {**image, "confirmation_id": str(UUID(image["confirmation_id"])), **changes}

    return made


def postings(connector, image):
    rendered = connector.render(image)
    steps = (rendered, *rendered.more)
    return [
        Posting(
            image["idempotency_key"], step_id(image["confirmation_id"], number), image["order_id"], image["operation"],
            image["seq"], 1, one, image["type"], number, len(steps),
        )
        for number, one in enumerate(steps)
    ]  # fmt: skip


@pytest.fixture
async def opened(settings, context, sap):
    made = []

    async def open_one(target=sap, secrets=None, **changes):
        connector = PLUGIN.build(settings(target, **changes), context(**(secrets or {})))
        await connector.open()
        made.append(connector)
        return connector

    yield open_one
    for connector in made:
        await connector.close()


class _Contract:
    reasons = (("A1", "1"),)

    @pytest.fixture
    def bench(self, sap, settings, context, full):
        faults = {
            "lost_answer": ("lose-answers", {}),
            "lost_request": ("hang", {}),
            "slow_booking": ("late-book", {"seconds": 0.4}),
            "busy": ("locked", {}),
            "refused": ("error", {"status": 400}),
            "login_expired": ("unauthorized", {}),
            "html": ("html", {}),
            "half_answer": ("half", {}),
        }
        keys, patience = {}, {}

        def document(seq):
            image = full(seq, scrap=self.reasons)
            for step in range(len(self.reasons)):
                keys[step_id(image["confirmation_id"], step)] = image["idempotency_key"]
            return image

        def fault(name, count=1):
            command, values = faults[name]
            if command in SILENT:
                patience["timeout"] = IMPATIENT
            sap.do(command, **values, count=count)
            return True

        def booked():
            rows = [row for row in sap.ledger() if row["key"] in keys]
            return [Booked(keys[row["key"]], Decimal(row["good"]), Decimal(row["scrap"]), row["key"]) for row in rows]

        return SimpleNamespace(
            build=lambda: PLUGIN.build(settings(sap, **patience), context()),
            document=document,
            release=sap.release,
            take_away=lambda: sap.do("down", seconds=60),
            bookings=lambda key: sum(one.key == key for one in booked()),
            fault=fault,
            working=lambda: sap.working,
            booked=booked,
        )


class TestContract(_Contract, FaultContract):
    async def test_a_warning_of_sap_stands_in_the_log(self, bench, sap, tmp_path):
        sap.do("warn", count=2)
        async with Plant(bench, tmp_path) as plant:
            await plant.add(2)
            with capture_logs() as lines:
                await plant.run()
            plant.check_all_booked(await plant.entries())
        told = [line for line in lines if line["event"] == "target says with a booking"]
        assert len(told) == 1, "one a minute"
        assert "Underdelivery" in told[0]["detail"]


class TestContractOfSeveralPostings(_Contract, FaultContract):
    reasons = (("A1", "1"), ("B2", "2"))

    @pytest.mark.soak
    async def test_no_answer_and_killed(self, bench, tmp_path):
        await super().test_no_answer_and_killed(bench, tmp_path)


async def test_one_reason_a_posting_and_the_yield_only_once(sap, opened, full):
    connector = await opened()
    image = full(1, scrap=(("A1", "2"), ("B2", "3"), (None, "1")))
    references = []
    for posting in postings(connector, image):
        outcome = await connector.send(posting)
        assert outcome.kind is OutcomeKind.POSTED, outcome
        references.append(outcome.reference)
        found = await connector.lookup(posting)
        assert (found.kind, found.reference) == (LookupKind.FOUND, outcome.reference)
    assert references == ["1/1", "1/2", "1/3"]
    assert sap.sums() == (10, 6, 0)
    assert len({row["key"] for row in sap.ledger()}) == 3


async def test_a_confirmation_is_taken_back_youngest_first(start_sap, opened, full):
    sap = start_sap(latest_first=True)
    connector = await opened(sap)
    image = full(1, scrap=(("A1", "2"), ("B2", "3")))
    references = [(await connector.send(posting)).reference for posting in postings(connector, image)]
    back = full(2, type="reversal", reverses=image["idempotency_key"], reverses_references=references)
    for posting in postings(connector, back):
        assert (await connector.lookup(posting)).kind is LookupKind.ABSENT
        outcome = await connector.send(posting)
        assert outcome.kind is OutcomeKind.POSTED, outcome
        assert (await connector.lookup(posting)).kind is LookupKind.FOUND
    assert sap.sums() == (0, 0, 0)
    # What is taken back is no booking any more, and nothing that may be repeated by itself.
    assert (await connector.lookup(postings(connector, image)[0])).kind is LookupKind.REFUSED
    again = await connector.send(postings(connector, back)[0])
    assert again.kind is OutcomeKind.BUSINESS_REJECT
    assert sap.sums() == (0, 0, 0)


FAULTS = [
    ("lose-answers", {"count": 1}, OutcomeKind.UNCERTAIN, 1),
    ("half", {"count": 1}, OutcomeKind.UNCERTAIN, 1),
    ("garbage", {"count": 1}, OutcomeKind.UNCERTAIN, 1),
    ("slow", {"seconds": 3, "count": 1}, OutcomeKind.UNCERTAIN, 1),
    ("error-booked", {"status": 500, "count": 1}, OutcomeKind.UNCERTAIN, 1),
    ("error", {"status": 502, "count": 1}, OutcomeKind.UNCERTAIN, 0),
    ("hang", {"count": 1}, OutcomeKind.UNCERTAIN, 0),
    ("html", {"count": 1}, OutcomeKind.PROTOCOL, 0),
    ("unauthorized", {"count": 1}, OutcomeKind.AUTH, 0),
    ("unavailable", {"seconds": 9, "count": 1}, OutcomeKind.NOT_SENT, 0),
    ("too-many", {"seconds": 9, "count": 1}, OutcomeKind.NOT_SENT, 0),
    ("locked", {"count": 1}, OutcomeKind.BUSY, 0),
    ("unreleased", {"seconds": 60, "order": "100240"}, OutcomeKind.WAIT_PRECONDITION, 0),
    ("close-period", {"day": "2030-01-01"}, OutcomeKind.BUSINESS_REJECT, 0),
    ("reject", {"order": "100240"}, OutcomeKind.BUSINESS_REJECT, 0),
    ("error", {"status": 403, "count": 1}, OutcomeKind.AUTH, 0),
    ("error", {"status": 404, "count": 1}, OutcomeKind.PROTOCOL, 0),
]


@pytest.mark.parametrize(("fault", "values", "kind", "booked"), FAULTS, ids=[f"{f} {v}" for f, v, _, _ in FAULTS])
async def test_every_fault_of_sap(sap, opened, full, fault, values, kind, booked):
    connector = await opened(**({"timeout": IMPATIENT} if fault in SILENT else {}))
    assert (await connector.send(postings(connector, full(1))[0])).kind is OutcomeKind.POSTED  # the token is there
    sap.do(fault, **values)
    posting = postings(connector, full(2))[0]
    outcome = await connector.send(posting)
    assert outcome.kind is kind, outcome
    assert sap.booked(posting.message_id) == booked
    sap.do("clear")
    found = await connector.lookup(posting)
    assert found.kind is (LookupKind.FOUND if booked else LookupKind.ABSENT), found
    if kind is not OutcomeKind.UNCERTAIN:
        assert outcome.answer is not None
    if fault == "unavailable":
        assert outcome.retry_after_ns == 9 * 10**9


async def test_a_posting_booked_long_after_its_answer_was_given_up(sap, opened, full):
    connector = await opened()
    for seq in range(1, 50):  # until a question came before the booking: whoever was kept from running asks too late
        sap.do("late-book", seconds=0.7, count=1)
        posting = postings(connector, full(seq))[0]
        assert (await connector.send(posting)).kind is OutcomeKind.UNCERTAIN
        if (await connector.lookup(posting)).kind is LookupKind.ABSENT:  # and is no proof: server_time_limit
            break
    else:
        pytest.fail("booked before its answer was given up, each time")
    assert connector.capabilities.server_time_limit_ns > 0
    async with asyncio.timeout(60):
        while (await connector.lookup(posting)).kind is not LookupKind.FOUND:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.05)  # asked over and over, as the forwarder does
    assert sap.booked(posting.message_id) == 1


async def test_a_careless_sap_books_a_guid_twice_and_the_look_up_prevents_it(sap, opened, full):
    connector = await opened()
    posting = postings(connector, full(1))[0]
    first, second = await connector.send(posting), await connector.send(posting)
    assert (first.reference, second.reference) == ("1/1", "1/2")
    assert not connector.capabilities.idempotent
    assert (await connector.lookup(posting)).reference == "1/1"


async def test_tokens_end_while_several_lanes_send(start_sap, opened, full, tmp_path):
    log = tmp_path / "requests.jsonl"
    sap = start_sap(token_requests=3, requests=log)
    connector = await opened(sap)
    todo = [postings(connector, full(seq))[0] for seq in range(1, 25)]
    limit = asyncio.Semaphore(4)

    async def deliver(posting):
        async with limit:
            for _ in range(20):
                outcome = await connector.send(posting)
                if outcome.kind is OutcomeKind.POSTED:
                    return
                # Another lane used the last message of the new token: surely not sent, and said so.
                assert outcome.kind is OutcomeKind.NOT_SENT, outcome

    await asyncio.gather(*map(deliver, todo))
    assert [sap.booked(one.message_id) for one in todo] == [1] * 24
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(one["status"] == 403 for one in asked) > 0


async def test_one_token_for_all_lanes_and_its_cookie_with_it(start_sap, opened, full, tmp_path):
    log = tmp_path / "requests.jsonl"
    sap = start_sap(requests=log)
    connector = await opened(sap)
    outcomes = await asyncio.gather(*(connector.send(postings(connector, full(seq))[0]) for seq in range(1, 9)))
    assert {one.kind for one in outcomes} == {OutcomeKind.POSTED}
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one["status"] for one in asked if one["path"].endswith("ProdnOrdConf2")] == [201] * 8
    assert len([one for one in asked if one["path"].endswith("CONFIRMATION_2_SRV/")]) == 1
    sap.do("expire-tokens")
    assert (await connector.send(postings(connector, full(9))[0])).kind is OutcomeKind.POSTED


async def test_a_changed_password_stops_and_a_new_one_goes_on(start_sap, opened, full):
    sap = start_sap(user="LINEGATE:one")
    sign_in = SignIn(method="basic", username="LINEGATE", password=SecretRef(env="X"))
    connector = await opened(sap, {"sign_in.password": "one"}, sign_in=sign_in)
    assert (await connector.send(postings(connector, full(1))[0])).kind is OutcomeKind.POSTED
    sap.do("user", text="LINEGATE:two")
    outcome = await connector.send(postings(connector, full(2))[0])
    assert outcome.kind is OutcomeKind.AUTH
    assert not (await connector.probe()).ok
    assert "one" not in repr(outcome.detail)
    fresh = await opened(sap, {"sign_in.password": "two"}, sign_in=sign_in)
    assert (await fresh.probe()).ok
    assert (await fresh.send(postings(fresh, full(2))[0])).kind is OutcomeKind.POSTED
    assert sap.sums() == (20, 2, 0)


async def test_nothing_leaves_without_a_token(sap, opened, full):
    connector = await opened()
    sap.do("signed-out", seconds=60)
    outcome = await connector.send(postings(connector, full(1))[0])
    assert outcome.kind is OutcomeKind.AUTH
    sap.do("clear")
    sap.do("down", seconds=60)
    outcome = await connector.send(postings(connector, full(1))[0])
    assert outcome.kind is OutcomeKind.NOT_SENT


async def test_a_sap_that_cannot_filter_by_the_guid(start_sap, opened, full):
    sap = start_sap(no_guid_filter=True)
    connector = await opened(sap)
    sent, other = postings(connector, full(1))[0], postings(connector, full(2))[0]
    await connector.send(sent)
    for _ in range(2):
        assert (await connector.lookup(sent)).kind is LookupKind.FOUND
        assert (await connector.lookup(other)).kind is LookupKind.ABSENT


async def test_a_person_who_reverses_in_sap_is_asked(sap, opened, full):
    connector = await opened()
    posting = postings(connector, full(1))[0]
    await connector.send(posting)
    sap.do("reverse", key=posting.message_id)
    found = await connector.lookup(posting)
    assert (found.kind, found.code) == (LookupKind.REFUSED, "REVERSED")


async def test_eight_lanes_whose_session_ends_fetch_one_new_token(start_sap, opened, full, tmp_path):
    log = tmp_path / "requests.jsonl"
    sap = start_sap(requests=log)
    connector = await opened(sap)
    assert (await connector.send(postings(connector, full(1))[0])).kind is OutcomeKind.POSTED
    sap.do("expire-tokens")
    outcomes = await asyncio.gather(*(connector.send(postings(connector, full(seq))[0]) for seq in range(2, 10)))
    assert {one.kind for one in outcomes} == {OutcomeKind.POSTED}
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert len([one for one in asked if one["path"].endswith("CONFIRMATION_2_SRV/")]) == 2
    assert sum(one["status"] == 403 for one in asked) >= 1
    assert sap.sums() == (90, 9, 0)


async def test_where_sap_keeps_no_guid_absence_proves_nothing(sap, opened, full, monkeypatch):
    connector = await opened()
    booked = answers.outcome_of(
        HttpAnswer(
            201, {"content-type": "application/json"}, b'{"d":{"ConfirmationGroup":"7","ConfirmationCount":"1"}}'
        ),
        {},
        0,
        "x",
    )
    assert (booked.kind, booked.reference) == (OutcomeKind.POSTED, "7/1")
    assert answers.NO_GUID in booked.detail
    first, second = (postings(connector, full(seq))[0] for seq in (1, 2))
    assert (await connector.lookup(second)).kind is LookupKind.ABSENT
    monkeypatch.setattr(sap_odata_connector, "outcome_of", lambda *_: booked)
    assert (await connector.send(first)).detail == booked.detail
    assert (await connector.lookup(second)).kind is LookupKind.UNCLEAR
    assert (await connector.lookup(first)).kind is LookupKind.FOUND


async def test_what_was_over_before_is_not_taken_in_the_second_part_either(sap, opened, monkeypatch):
    monkeypatch.setattr(order_reader, "ORDERS_MAX", 20)
    for number in range(45):
        sap.release(f"30{number:04d}", **({"status": "closed"} if number % 2 else {}))
    connector = await opened(orders_page=10)
    found, cursor = [], ""
    while True:
        page = await connector.fetch_orders(cursor)
        found += [(one.order, one.image.status.value) for one in page.orders]
        if page.cursor == cursor:
            break
        cursor = page.cursor
    assert {status for _, status in found} == {"released"}
    assert len(found) == 1 + 23
    sap.release("300000", revision=2, status="closed")
    page = await connector.fetch_orders(cursor)
    assert [(one.order, one.image.status.value) for one in page.orders] == [("300000", "closed")]


async def test_warnings_beside_a_success_are_kept(sap, opened, full):
    connector = await opened()
    sap.do("warn", count=1)
    outcome = await connector.send(postings(connector, full(1))[0])
    assert outcome.kind is OutcomeKind.POSTED
    assert "Underdelivery" in outcome.detail


async def test_over_delivery_waits_for_a_person(sap, opened, full):
    sap.release(revision=2, qty="5", over_tolerance_pct="10")
    connector = await opened()
    outcome = await connector.send(postings(connector, full(1))[0])
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "RU/120")
    assert sap.ledger() == []


async def test_what_sap_has_booked_of_an_order(sap, opened, full):
    connector = await opened()
    image = full(1, scrap=(("A1", "2"), ("B2", "3")))
    for posting in postings(connector, image):
        await connector.send(posting)
    taken_back = postings(connector, full(2))[0]
    await connector.send(taken_back)
    sap.do("reverse", key=taken_back.message_id)
    sap.do("external", order="100240", operation="0020", count=7)
    found = await connector.booked("100240")
    sums = {one.operation: (int(one.good), int(one.scrap), int(one.rework)) for one in found.operations}
    assert sums == {"0010": (10, 5, 0), "0020": (7, 0, 0)}
    assert (found.known, found.closed) == (True, False)
    sap.release(revision=2, status="closed")
    assert (await connector.booked("100240")).closed
    assert not (await connector.booked("999")).known


async def test_an_order_with_leading_zeros_is_found_again(sap, opened, full):
    sap.release("000000004711")
    connector = await opened()
    page = await connector.fetch_orders("")
    assert {one.order for one in page.orders} == {"100240", "4711"}
    image = full(1, order_id="4711")
    assert (await connector.send(postings(connector, image)[0])).kind is OutcomeKind.POSTED
    assert sap.sums("000000004711") == (10, 1, 0)


async def test_changes_come_once_and_withdrawals_too(sap, opened):
    connector = await opened()
    first = await connector.fetch_orders("")
    assert [one.order for one in first.orders] == ["100240"]
    sap.release("100241")
    second = await connector.fetch_orders(first.cursor)
    assert [one.order for one in second.orders] == ["100241"]
    assert await connector.fetch_orders(first.cursor) == second  # nothing was committed: it comes again
    sap.release("100241", revision=2, qty="99")
    third = await connector.fetch_orders(second.cursor)
    assert [(one.order, int(one.quantity)) for one in third.orders] == [("100241", 99)]
    assert third.orders[0].revision > second.orders[0].revision
    sap.release("100240", revision=2, cancelled=True)
    sap.release("100241", revision=3, status="closed")
    fourth = await connector.fetch_orders(third.cursor)
    assert {one.order: (one.cancelled, one.image.status) for one in fourth.orders} == {
        "100240": (True, "released"),
        "100241": (False, "closed"),
    }
    assert not (await connector.fetch_orders(fourth.cursor)).orders
    # A gateway that comes anew is told nothing of what is over.
    assert not (await (await opened()).fetch_orders("")).orders


async def test_many_orders_of_one_second_come_whole(sap, opened):
    names = [f"20{number:04d}" for number in range(57)]
    for name in names:
        sap.release(name)
    connector = await opened(orders_page=10)
    found, cursor = [], ""
    while True:
        page = await connector.fetch_orders(cursor)
        assert not page.refused
        found += [one.order for one in page.orders]
        if page.cursor == cursor:
            break
        cursor = page.cursor
    assert sorted(found) == ["100240", *names]


async def test_process_orders_have_services_of_their_own(sap, opened, full):
    sap.release("300001", sap={"ManufacturingOrderCategory": "40"})
    connector = await opened(orders="both")
    page = await connector.fetch_orders("")
    echoes = {one.order: one.echo["order_category"] for one in page.orders}
    assert echoes == {"100240": "10", "300001": "40"}
    image = full(1, order_id="300001", echo={"order_category": "40"})
    posting = postings(connector, image)[0]
    assert posting.rendered.name == "ProcOrdConf2"
    assert (await connector.send(posting)).kind is OutcomeKind.POSTED
    assert (await connector.lookup(posting)).kind is LookupKind.FOUND
    assert int((await connector.booked("300001")).operations[0].good) == 10
    only = await opened(orders="process")
    assert [one.order for one in (await only.fetch_orders("")).orders] == ["300001"]


@pytest.mark.parametrize("fault", ["html", "unauthorized"])
async def test_orders_and_look_ups_before_a_login_page(sap, opened, full, fault):
    connector = await opened()
    posting = postings(connector, full(1))[0]
    await connector.send(posting)
    sap.do(fault, count=1, path="orders")
    with pytest.raises(ConnectorError, match="orders"):
        await connector.fetch_orders("")
    sap.do(fault, count=1, path="lookups")
    assert (await connector.lookup(posting)).kind is LookupKind.UNKNOWN


async def test_the_day_the_clocks_go_back_is_taken(sap, opened, full):
    connector = await opened(mapping=MappingSettings(time_zone="Europe/Berlin"))
    period = {"from": "2026-10-25T00:50:00.000Z", "to": "2026-10-25T01:10:00.000Z"}
    outcome = await connector.send(postings(connector, full(1, period=period))[0])
    assert outcome.kind is OutcomeKind.POSTED, outcome


async def test_material_goes_with_the_first_posting(sap, opened, full):
    connector = await opened(goods_movements="components", issue_storage_location="0001")
    used = {"item": "RM-1", "qty": "10.5", "uom": "KG", "kind": "pieces", "posting": "confirmation"}
    used["lots"] = [{"lot": "L1", "qty": "4"}]
    image = full(1, scrap=(("A1", "1"), ("B2", "1")), components=[used, {**used, "posting": "erp"}])
    first, second = postings(connector, image)
    rows = json.loads(first.rendered.body)["to_ProdnOrdConfMatlDocItm"]
    assert [(row.get("Batch"), row["QuantityInEntryUnit"], row["GoodsMovementType"]) for row in rows] == [
        ("L1", "4.000", "261"),
        (None, "6.500", "261"),
    ]
    assert json.loads(second.rendered.body)["APIConfHasNoGoodsMovements"] is True
    for posting in (first, second):
        assert (await connector.send(posting)).kind is OutcomeKind.POSTED
