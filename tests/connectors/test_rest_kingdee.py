"""The profile of Kingdee against its double: the contract, its three calls and every fault of it."""

import asyncio
import json
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace

import pytest

from gateway.connectors.base import LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.rest import PLUGIN
from gateway.connectors.rest.settings import RestSettings
from gateway.contract import Booked, FaultContract
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef
from simulators.erp.kingdee import ACCOUNT, PASSWORD, USER, Kingdee

ROW = {"sales_order": "1", "cost_center": "1", "customer": "100240", "type": "1"}


@pytest.fixture
def order_image(order_image):
    """Orders of one operation: one row of a bill."""

    def image(order, **changes):
        whole = order_image(order, **changes)
        rows = whole["operations"] if "operations" in changes else whole["operations"][:1]
        return {**whole, "operations": [{**one, "qty": whole["qty"]} for one in rows]}

    return image


@pytest.fixture
def kingdee(running_double, order_image):
    running = running_double(Kingdee, session=60.0)
    running.put_order(order_image("100240"))
    return running


def bills(kingdee):
    return kingdee.call(kingdee.double._bills.all)


@pytest.fixture
def build(kingdee, context):
    def made(**changes):
        usual = {"account": ACCOUNT, "user": USER, "organisation": "100"}
        settings = RestSettings(
            connector="rest", profile="kingdee", url=f"{kingdee.url}/k3cloud", timeout=Duration("60 s"),
            values=usual | changes.pop("values", {}), secrets={"password": SecretRef(env="X")},
            **{"server_time_limit": Duration("1 s")} | changes,
        )  # fmt: skip
        return PLUGIN.build(settings, context(**{"secrets.password": PASSWORD}))

    return made


@pytest.fixture
def made(document):
    def image(seq=1, good="10", **changes):
        whole = document(seq)
        total = {**whole["qty"], "good": str(int(good) * seq)}
        return {**whole, "qty": {**whole["qty"], "good": good}, "qty_cumulative": total, "echo": ROW, **changes}

    return image


def step_of(document, rendered, number, references):
    parts = (rendered, *rendered.more)
    return Posting(
        document["idempotency_key"], step_id(document["confirmation_id"], number), document["order_id"],
        document["operation"], document["seq"], 1, parts[number], document["type"], number, len(parts), references,
    )  # fmt: skip


async def whole(connector, document, sure=0):
    """Each step until it is posted, as the forwarder does it: after an unclear end it is looked up before a repeat."""
    rendered = connector.render(document)
    references = ()
    sends = 0
    for number in range(1 + len(rendered.more)):
        posting = step_of(document, rendered, number, references)
        while True:
            sends += 1
            assert sends < 30
            outcome = await connector.send(posting)
            if outcome.kind is OutcomeKind.POSTED:
                references += (outcome.reference,)
                break
            if outcome.kind in {OutcomeKind.NOT_SENT, OutcomeKind.BUSY}:
                continue
            assert outcome.kind in {OutcomeKind.UNCERTAIN, OutcomeKind.PROTOCOL}, outcome
            await asyncio.sleep(sure)
            found = await connector.lookup(posting)
            if found.kind is LookupKind.FOUND:
                references += (found.reference,)
                break
            assert found.kind is LookupKind.ABSENT, found
    return references


@pytest.fixture
async def opened(build):
    connector = build()
    await connector.open()
    yield connector
    await connector.close()


class _Contract(FaultContract):
    #: Messages of a confirmation that a fault spares: it hits the save.
    spared = 0
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, kingdee, build, made, order_image):
        kingdee.call(kingdee.double.ledger.database.execute, "DELETE FROM orders")
        kingdee.put_order(order_image("100240", qty="30000"))

        def booked():
            rows = kingdee.call(kingdee.double.ledger.bookings)
            return [Booked(one["key"], Decimal(one["good"]), Decimal(one["scrap"])) for one in rows]

        yield SimpleNamespace(
            build=lambda: build(server_time_limit=Duration("100 ms")),
            document=made,
            release=lambda order: None,  # it is released
            take_away=kingdee.take_away,
            # The first step of a confirmation makes the bill.
            bookings=lambda key: sum(json.loads(b["content"])["model"]["FDescription"] == key for b in bills(kingdee)),
            fault=lambda name, count=1: kingdee.meets(name, count, self.spared),
            working=lambda: bool(kingdee.double._late),
            booked=booked,
        )
        numbers = Counter(bill["number"] for bill in bills(kingdee))
        assert set(numbers.values()) <= {1}, numbers


class TestContract(_Contract):
    test_no_answer_and_killed = None  # three steps take long: below


@pytest.mark.soak
class TestAtTheSave(_Contract):
    killed_confirmations = 2


@pytest.mark.soak
class TestAtTheSubmit(_Contract):
    spared = 1


@pytest.mark.soak
class TestAtTheAudit(_Contract):
    spared = 2


async def test_orders_are_rows_of_production_orders(opened, kingdee, order_image):
    kingdee.put_order(order_image("MO/7-1", qty="12.5", planned_end=None))
    page = await opened.fetch_orders("")
    assert not page.refused
    first, second = page.orders
    assert (first.order, first.product, first.quantity, first.uom) == ("100240", "ASSY-D20", 24, "PC")
    assert [(one.operation, one.work_center) for one in first.operations] == [("0010", "WC-ASM")]
    assert (second.order, second.quantity, second.planned_end_ns) == ("MO/7-1", Decimal("12.5"), None)
    assert first.echo["customer"] == "100240"
    assert (await opened.fetch_orders(page.cursor)).orders == ()
    kingdee.put_order(order_image("100240", revision=2, qty="30"))
    (changed,) = (await opened.fetch_orders(page.cursor)).orders
    assert changed.quantity == 30


async def test_a_confirmation_is_a_bill_that_is_saved_submitted_and_audited(opened, kingdee, made):
    references = await whole(opened, made())
    (bill,) = bills(kingdee)
    assert bill["status"] == "C"
    assert bill["number"].startswith("GW")
    assert len(bill["number"]) == 28
    assert references[0] == f"{bill['id']}/{bill['number']}"
    model = json.loads(bill["content"])["model"]
    row = model["FEntity"][0]
    assert {name: row[name] for name in ("FQuaQty", "FFailQty", "FReworkQty", "FFinishQty", "FMoEntrySeq")} == {
        "FQuaQty": 10, "FFailQty": 1, "FReworkQty": 0, "FFinishQty": 11, "FMoEntrySeq": 1,
    }  # fmt: skip
    (booked,) = kingdee.bookings()
    assert (booked["key"], booked["good"], booked["scrap"]) == (made()["idempotency_key"], 10, 1)


async def test_a_report_by_push_keeps_its_link(build, kingdee, made):
    connector = build(values={"link": "push"})
    await connector.open()
    (order,) = (await connector.fetch_orders("")).orders
    references = await whole(connector, made(echo=dict(order.echo)))
    await connector.close()
    assert len(references) == 4
    (bill,) = bills(kingdee)
    assert bill["status"] == "C"
    model = json.loads(bill["content"])["model"]
    assert f"{model['FID']}/{model['FEntity'][0]['FEntryID']}" == references[0]
    assert len(kingdee.bookings()) == 1


FAULTS = [
    "lose-answers 1", "half 1", "garbage 1", "locked 3", "error 500 1", "error-booked 500 1", "html 1",
    "unavailable 1 2", "too-many 1 2", "twice 1", "unauthorized 1", "hang-up 1",
]  # fmt: skip


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_at_every_step_books_once(opened, kingdee, made, fault, step):
    kingdee.do(f"spare {step}")
    kingdee.do(fault)
    await whole(opened, made(1))
    await whole(opened, made(2))
    assert [one["key"] for one in kingdee.bookings()] == [made(seq)["idempotency_key"] for seq in (1, 2)]
    assert len(bills(kingdee)) == 2, (fault, step)


@pytest.mark.parametrize("step", [0, 1, 2])
async def test_booked_after_the_client_gave_up(opened, kingdee, made, step):
    kingdee.do(f"spare {step}")
    kingdee.do("late-book 0.2 1")
    await whole(opened, made(), sure=0.6)  # longer than the double works: the server's time limit
    assert [one["good"] for one in kingdee.bookings()] == [10]


async def test_a_repeat_without_a_look_up_would_be_convicted(opened, kingdee, made):
    kingdee.do("lose-answers 1")
    rendered = opened.render(made())
    posting = step_of(made(), rendered, 0, ())
    assert (await opened.send(posting)).kind is OutcomeKind.UNCERTAIN
    assert (await opened.send(posting)).kind is OutcomeKind.POSTED
    assert [bill["number"] for bill in bills(kingdee)] == [bills(kingdee)[0]["number"]] * 2


async def test_business_errors_come_with_http_200(opened, kingdee, made):
    kingdee.do("reject 100240")
    outcome = await opened.send(step_of(made(), opened.render(made()), 0, ()))
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "11")
    assert "takes no confirmations" in outcome.detail
    assert outcome.answer is not None


async def test_over_delivery_is_refused_where_the_order_has_a_tolerance(opened, kingdee, made, order_image):
    kingdee.put_order(order_image("100240", revision=2, qty="24", over_tolerance_pct="10"))
    await whole(opened, made(1, good="20"))  # and one of scrap
    outcome = await opened.send(step_of(made(2, good="5"), opened.render(made(2, good="5")), 0, ()))
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSINESS_REJECT, "11")
    assert "27 is above the 26.4" in outcome.detail
    await whole(opened, made(2, good="4"))  # 26 are within the tolerance
    assert [one["good"] for one in kingdee.bookings()] == [20, 4]


@pytest.mark.parametrize("step", [0, 1, 2])
async def test_a_session_that_ends_before_a_step_is_renewed(opened, kingdee, made, step):
    document, references = made(), ()
    rendered = opened.render(document)
    for number in range(3):
        if number == step:
            kingdee.do("expire")
        outcome = await opened.send(step_of(document, rendered, number, references))
        assert outcome.kind is OutcomeKind.POSTED, outcome
        references += (outcome.reference,)
    assert len(kingdee.bookings()) == 1


async def test_codes_of_the_settings_go_before_those_of_the_profile(build, kingdee, made):
    connector = build(error_classes={"11": "wait_precondition"})
    await connector.open()
    kingdee.do("reject 100240")
    outcome = await connector.send(step_of(made(), connector.render(made()), 0, ()))
    assert outcome.kind is OutcomeKind.WAIT_PRECONDITION
    await connector.close()


async def test_an_expired_session_is_renewed_at_once(opened, kingdee, made):
    await whole(opened, made(1))
    kingdee.do("expire")
    posting = step_of(made(2), opened.render(made(2)), 0, ())
    assert (await opened.lookup(posting)).kind is LookupKind.ABSENT
    kingdee.do("expire")
    assert (await opened.send(posting)).kind is OutcomeKind.POSTED
    kingdee.do("expire")
    assert (await opened.fetch_orders("")).orders
    assert len(bills(kingdee)) == 2


async def test_refused_credentials_stop_the_target(kingdee, build, made):
    connector = build(values={"user": "nobody"})
    await connector.open()
    outcome = await connector.send(step_of(made(), connector.render(made()), 0, ()))
    assert outcome.kind is OutcomeKind.AUTH
    assert PASSWORD not in outcome.detail
    assert not (await connector.probe()).ok
    assert bills(kingdee) == []
    await connector.close()


async def test_lanes_sign_in_once(build, kingdee, made):
    connector = build()
    await connector.open()
    postings = [step_of(made(seq), connector.render(made(seq)), 0, ()) for seq in range(1, 9)]
    outcomes = await asyncio.gather(*map(connector.send, postings))
    assert {one.kind for one in outcomes} == {OutcomeKind.POSTED}
    assert len(kingdee.double._sessions) == 1
    await connector.close()


async def test_a_second_row_is_an_order_of_its_own(opened, kingdee, made, order_image):
    rows = [{"op": "0010", "work_center": "WC-ASM"}, {"op": "0020", "work_center": "WC-PCK"}]
    kingdee.put_order(order_image("55", operations=rows))
    orders = {order.order: order for order in (await opened.fetch_orders("")).orders}
    assert set(orders) == {"100240", "55", "55-2"}
    second = orders["55-2"]
    assert [one.work_center for one in second.operations] == ["WC-PCK"]
    await whole(opened, made(order_id="55-2", echo=dict(second.echo)))
    assert [(one["order"], one["operation"]) for one in kingdee.bookings()] == [("55", "0020")]
