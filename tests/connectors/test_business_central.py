"""Business Central: lines, the journal that somebody posts, the extension, and the double as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
import warm

from gateway.connectors import seen_orders
from gateway.connectors.base import (
    BookedOperation,
    BookedOrder,
    ConnectorContext,
    ConnectorError,
    LookupKind,
    MappingError,
    OutcomeKind,
    Posting,
    step_id,
)
from gateway.connectors.business_central import PLUGIN, lines, orders, totals
from gateway.connectors.business_central.settings import BusinessCentralSettings
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sign_in import SignIn
from gateway.contract import ConnectorContract, IdempotentContract
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef

ROOT = Path(__file__).parents[2]
SECRET = "bc-secret"


class Double:
    def __init__(self, *options):
        self.process = warm.Popen(
            [sys.executable, "-P", "-m", "simulators", "business_central", "--no-stdin", *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.url = json.loads(self.process.stdout.readline())["url"]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=60) as answer:
            return json.loads(answer.read())

    def fault(self, name, **values):
        return self.ask("/_faults", {"fault": name, **values})

    def bookings(self, key=None):
        return [one for one in self.ask("/ledger")["bookings"] if key in (None, one["key"])]

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


def order_image(order="100240", **changes):
    operations = [
        {"op": "0010", "work_center": "WC-ASM", "qty": "24", "std_cycle_s": "2.4"},
        {"op": "0020", "work_center": "WC-PCK", "qty": "24"},
    ]
    product = {"id": "ASSY-D20", "uom": "PC"}
    return {"order_id": order, "revision": 1, "qty": "24", "product": product, "operations": operations, **changes}


def confirmation(document, seq, order="100240", *, good=10, scrap=(("SHORT", 1),), **changes):
    rows = [{"reason": reason, "qty": str(pieces)} for reason, pieces in scrap]
    total = [{"reason": reason, "qty": str(pieces * seq)} for reason, pieces in scrap]
    return {
        **document(seq, order, "0010"),
        "qty": {"good": str(good), "scrap": rows, "rework": "0"},
        "qty_cumulative": {"good": str(good * seq), "scrap": total, "rework": "0"},
        "times": {"machine_setup_min": "3", "machine_min": "6.5"},
        "product": {"id": "ASSY-D20"},
        "posting_date": "2026-11-22",
        "echo": {"bc_order_line": "10000"},
        **changes,
    }


def settings_of(url, **changes):
    sign_in = SignIn(
        method="oauth2", token_url=f"{url}/token", client_id="gw", client_secret=SecretRef(env="X"), scope="s"
    )
    given = {"url": f"{url}/ODataV4", "company": "CRONUS", "sign_in": sign_in, "timeout": Duration("60 s"), **changes}
    return BusinessCentralSettings(connector="business_central", **given)


@pytest.fixture
def built(tmp_path):
    def made(url, secrets=None, **changes):
        known = {"sign_in.client_secret": SECRET} if secrets is None else secrets
        context = ConnectorContext(name="erp", gateway_id="g", now_ns=lambda: 0, secrets=known, base_dir=tmp_path)
        return PLUGIN.build(settings_of(url, **changes), context)

    return made


@pytest.fixture(scope="module")
def shared():
    double = Double("--page", "2")
    yield double
    double.stop()


@pytest.fixture
def own():
    made = []

    def start(*options):
        made.append(Double(*options))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def steps(connector, document):
    rendered = connector.render(document)
    every = (rendered._replace(more=()), *rendered.more)
    return [
        Posting(
            document["idempotency_key"],
            step_id(document["confirmation_id"], number),
            document["order_id"],
            document["operation"],
            document["seq"],
            1,
            one,
            step=number,
            steps=len(every),
        )
        for number, one in enumerate(every)
    ]


class _Contract:
    variant = "journal"

    @pytest.fixture
    def bench(self, own, built, document):
        double = own()
        double.ask("/_orders", order_image())

        def bookings(key):
            if self.variant == "extension":
                return len(double.bookings(key))
            double.fault("post")
            seq = int(key.rpartition("/")[2])
            external = lines.external_number(confirmation(document, seq)["confirmation_id"])
            return len(double.bookings(external))

        return SimpleNamespace(
            build=lambda: built(double.url, variant=self.variant),
            document=lambda seq: confirmation(document, seq),
            release=lambda order: double.ask("/_orders", order_image(order)),
            take_away=double.stop,
            bookings=bookings,
        )


class TestContractOfTheJournal(_Contract, ConnectorContract):
    pass


class TestContractOfTheExtension(_Contract, IdempotentContract):
    variant = "extension"


def told(document, **changes):
    rendered = lines.rendered(settings_of("http://127.0.0.1:1", **changes), "UTC", document)
    return [json.loads(one.body) for one in (rendered, *rendered.more)]


def test_a_line_for_each_reason(document):
    one = confirmation(document, 2, scrap=(("SHORT", 1), ("BURR", 2)), type="final")
    first, second = told(one, capacity_unit="MINUTES", finished=True)
    assert first == {
        "Journal_Template_Name": "OUTPUT",
        "Journal_Batch_Name": "LINEGATE",
        "Line_No": lines.line_number(one["confirmation_id"]),
        "Posting_Date": "2026-11-22",
        "Order_No": "100240",
        "Order_Line_No": 10000,
        "Item_No": "ASSY-D20",
        "Operation_No": "0010",
        "Setup_Time": 3,
        "Run_Time": 6.5,
        "Output_Quantity": 10,
        "Scrap_Quantity": 1,
        "Document_No": "100240",
        "External_Document_No": one["confirmation_id"].replace("-", "").upper(),
        "Cap_Unit_of_Measure_Code": "MINUTES",
        "Scrap_Code": "SHORT",
    }
    names = ("Setup_Time", "Run_Time", "Output_Quantity", "Scrap_Quantity", "Scrap_Code", "Finished")
    assert [second[name] for name in names] == [0, 0, 0, 2, "BURR", True]
    assert second["Line_No"] != first["Line_No"]
    assert second["External_Document_No"] == lines.external_number(step_id(one["confirmation_id"], 1))
    (call,) = told(one, variant="extension")
    content = json.loads(call["confirmation"])
    assert (content["key"], content["final"], len(content["lines"])) == (one["idempotency_key"], True, 2)
    assert {row["External_Document_No"] for row in content["lines"]} == {content["externalDocumentNo"]}


def test_line_numbers_fit_and_differ():
    numbers = [lines.line_number(str(one)) for one in range(2000)]
    assert len(set(numbers)) == 2000
    assert min(numbers) >= 1
    assert max(numbers) <= 2**31 - 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"type": "reversal"}, "by hand"),
        ({"echo": {}}, "bc_order_line"),
        ({"order_id": "X" * 21}, "Order_No"),
        ({"operation": "X" * 11}, "Operation_No"),
        ({"product": {}}, "Item_No"),
        ({"posting_date": "today"}, "posting_date"),
    ],
)
def test_what_cannot_be_said_is_named(document, changes, named):
    with pytest.raises(MappingError, match=named):
        told({**confirmation(document, 1), **changes})


def test_an_order_of_two_lines_is_refused_and_told_why():
    row = {"Prod_Order_No": "1", "Line_No": 10000, "Quantity": Decimal(5), "Item_No": "A", "Status": "Released"}
    routing = [{"Operation_No": "10", "No": "A", "Routing_Reference_No": 10000}]
    both = orders.document_of([row, {**row, "Line_No": 20000}], routing, [])
    page = seen_orders.page_of(seen_orders.turned(seen_orders.seen_of(""), [both]), orders.echo_of)
    assert not page.orders
    assert "2 order lines: make it 2 orders" in str(page.refused)
    assert len(orders.document_of([row], routing, [])["operations"]) == 1


def test_rework_never_vanishes(document):
    pieces = {"good": "10", "scrap": [{"reason": "SHORT", "qty": "1"}], "rework": "2"}
    one = confirmation(document, 1, qty=pieces, qty_cumulative=pieces)
    with pytest.raises(MappingError, match=r"qty.rework: found 2.*rework: scrap"):
        told(one)
    rows = told(one, rework="scrap", mapping=MappingSettings(no_reason="OTHER"))
    assert [(row["Output_Quantity"], row["Scrap_Quantity"], row["Scrap_Code"]) for row in rows] == [
        (10, 1, "SHORT"),
        (0, 2, "OTHER"),
    ]


def test_times_add_up_to_the_rounded_total(document):
    """A third of a minute, a hundred times: in hours with three decimals no message is exact, all together are."""
    third = Decimal(1) / 3
    hours = Decimal(0)
    for seq in range(1, 101):
        times = {"machine_min": str(third)}
        one = confirmation(document, seq, times=times, times_cumulative={"machine_min": str(third * seq)})
        hours += Decimal(str(told(one, time_unit="H")[0]["Run_Time"]))
    assert hours == (third * 100 / 60).quantize(Decimal("0.001"))


async def test_a_line_waits_until_somebody_posts_it(shared, built, document):
    for order in ("700001", "700002", "700003"):
        shared.ask("/_orders", order_image(order))
    connector = built(shared.url)
    await connector.open()
    page = await connector.fetch_orders("")
    assert [one.order for one in page.orders if one.order.startswith("7")] == ["700001", "700002", "700003"]
    assert page.orders[0].echo == {"bc_order_line": "10000"}
    assert page.orders[0].operations[0].std_cycle_ns == 2_400_000_000
    first, second = steps(connector, confirmation(document, 1, "700001", scrap=(("A", 1), ("B", 2))))
    outcome = await connector.send(first)
    assert outcome.kind is OutcomeKind.ACCEPTED
    first = first._replace(accepted=outcome.reference)
    assert (await connector.lookup(first)).kind is LookupKind.ACCEPTED, "inserted is not posted"
    again = await connector.send(first)
    assert (again.kind, again.reference) == (OutcomeKind.ACCEPTED, outcome.reference), "the line is there already"
    shared.fault("post")
    found = await connector.lookup(first)
    assert found.kind is LookupKind.FOUND
    assert found.reference.startswith("capacity ledger entry ")
    accepted = await connector.send(second)
    second = second._replace(accepted=accepted.reference)
    shared.fault("delete-lines")
    assert (await connector.lookup(second)).kind is LookupKind.REFUSED
    assert [(one["good"], one["scrap"]) for one in shared.bookings() if one["order"] == "700001"] == [(10, 1)]
    assert not (await connector.fetch_orders(page.cursor)).orders
    shared.ask("/_orders", order_image("700002", revision=2, status="closed"))
    shared.ask("/_orders", order_image("700003", revision=2, cancelled=True))
    later = await connector.fetch_orders(page.cursor)
    assert [(one.order, str(one.image.status), one.cancelled) for one in later.orders] == [
        ("700002", "closed", False),
        ("700003", "planned", True),
    ]
    await connector.close()


async def test_a_number_that_belongs_to_another_line_is_told(shared, built, document):
    shared.ask("/_orders", order_image("700009"))
    connector = built(shared.url)
    await connector.open()
    (posting,) = steps(connector, confirmation(document, 1, "700009"))
    other = json.loads(posting.rendered.body) | {"External_Document_No": "AB" * 16}
    stranger = posting._replace(rendered=posting.rendered._replace(body=json.dumps(other).encode(), name="AB" * 16))
    assert (await connector.send(stranger)).kind is OutcomeKind.ACCEPTED
    outcome = await connector.send(posting)
    assert (outcome.kind, outcome.code) == (OutcomeKind.BUSY, "LINE_NO_TAKEN")
    await connector.close()


@pytest.mark.parametrize("variant", ["journal", "extension"])
@pytest.mark.parametrize(
    ("fault", "kind", "booked"),
    [
        ({"name": "lose-answers", "count": 1}, OutcomeKind.UNCERTAIN, True),
        ({"name": "half", "count": 1}, OutcomeKind.UNCERTAIN, True),
        ({"name": "error-booked", "status": 504, "count": 1}, OutcomeKind.UNCERTAIN, True),
        ({"name": "error", "status": 400, "count": 1}, OutcomeKind.BUSINESS_REJECT, False),
        ({"name": "html", "count": 1}, OutcomeKind.PROTOCOL, False),
        ({"name": "unavailable", "seconds": 7, "count": 1}, OutcomeKind.NOT_SENT, False),
        ({"name": "too-many", "seconds": 7, "count": 1}, OutcomeKind.NOT_SENT, False),
        ({"name": "locked", "count": 1}, OutcomeKind.BUSY, False),
    ],
)
async def test_what_an_answer_means_and_a_repeat_books_nothing_twice(
    shared, built, document, variant, fault, kind, booked
):
    order = f"{variant[:3]}-{fault['name']}".upper()
    shared.ask("/_orders", order_image(order))
    connector = built(shared.url, variant=variant)
    await connector.open()
    (posting,) = steps(connector, confirmation(document, 1, order))
    assert (await connector.probe()).ok
    shared.fault(**fault)
    outcome = await connector.send(posting)
    assert outcome.kind is kind, outcome
    assert SECRET not in repr(outcome)
    if fault.get("seconds"):
        assert outcome.retry_after_ns == 7 * 10**9
    if variant == "journal":
        shared.fault("post")
    found = await connector.lookup(posting)
    assert found.kind is (LookupKind.FOUND if booked else LookupKind.ABSENT)
    if variant == "extension":
        assert (await connector.send(posting)).kind is OutcomeKind.POSTED
    assert len([one for one in shared.bookings() if one["order"] == order]) == (booked or variant == "extension")
    await connector.close()


async def test_basic_in_the_house_and_a_wrong_password(shared, built):
    basic = SignIn(method="basic", username="gw", password=SecretRef(env="X"))
    for password, ok in ((SECRET, True), ("wrong-canary", False)):
        connector = built(shared.url, secrets={"sign_in.password": password}, sign_in=basic)
        await connector.open()
        health = await connector.probe()
        assert health.ok is ok
        assert "canary" not in health.detail
        await connector.close()


async def test_too_many_requests_are_not_sent(own, built, document):
    double = own("--limit", "2")
    double.ask("/_orders", order_image())
    connector = built(double.url)
    await connector.open()
    first, second, third = (steps(connector, confirmation(document, seq))[0] for seq in (1, 2, 3))
    assert (await connector.send(first)).kind is OutcomeKind.ACCEPTED
    assert (await connector.send(second)).kind is OutcomeKind.ACCEPTED
    outcome = await connector.send(third)
    assert (outcome.kind, outcome.retry_after_ns) == (OutcomeKind.NOT_SENT, 60 * 10**9)
    await connector.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"company": ""}, "company"),
        ({"journal_batch": "X" * 11}, "journal_batch"),
        ({"journal_page": "a/b"}, "journal_page"),
        ({"page_size": 20_001}, "page_size"),
        ({"timeout": Duration("1 ms")}, "timeout"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, named):
    given = {"url": "https://a.example.com/ODataV4", "company": "CRONUS", **changes}
    with pytest.raises(ValueError, match=named):
        BusinessCentralSettings(connector="business_central", **given)


async def test_the_ledger_entries_of_an_order_are_summed(shared, built, document):
    """By operation, over pages, with what a person posted there; lines in the journal are not booked."""
    shared.ask("/_orders", order_image("700101"))
    connector = built(shared.url)
    assert connector.capabilities.totals
    await connector.open()
    assert not (await connector.booked("NONE")).known
    assert await connector.booked("700101") == BookedOrder("700101"), "known, and nothing booked"
    for seq, pieces in ((1, 10), (2, 7), (3, 5)):
        (posting,) = steps(connector, confirmation(document, seq, "700101", good=pieces, qty_cumulative=TOTALS))
        assert (await connector.send(posting)).kind is OutcomeKind.ACCEPTED
        if seq < 3:
            shared.fault("post")
    shared.fault("external", order="700101", operation="0020", count=4)
    shared.fault("external", order="700101", operation="0010", count=2)
    told = await connector.booked("700101")
    first = BookedOperation("0010", Decimal(19), Decimal(2))
    assert told == BookedOrder("700101", operations=(first, BookedOperation("0020", Decimal(4))))
    shared.fault("delete-lines")
    shared.ask("/_orders", order_image("700101", revision=2, status="closed"))
    assert (await connector.booked("700101")).closed
    await connector.close()
    connector = built(shared.url, rework="scrap")
    await connector.open()
    assert (await connector.booked("700101")).rework_is_scrap
    await connector.close()


TOTALS = {"good": "10", "scrap": [{"reason": "SHORT", "qty": "1"}], "rework": "0"}
ENTRY = {"Order_Type": "Production", "Operation_No": "0010", "Output_Quantity": 5, "Scrap_Quantity": Decimal("0.5")}


def test_a_correction_counts_and_other_kinds_of_orders_do_not():
    rows = [ENTRY, {**ENTRY, "Output_Quantity": -2, "Scrap_Quantity": 0}, {**ENTRY, "Order_Type": "Assembly"}]
    assert totals.summed(rows, "X") == (BookedOperation("0010", Decimal(3), Decimal("0.5")),)


@pytest.mark.parametrize("field", ["Operation_No", "Output_Quantity", "Scrap_Quantity"])
@pytest.mark.parametrize("found", [None, "", True, "NaN", "two"])
def test_what_a_page_does_not_show_is_never_taken_for_zero(field, found):
    if field == "Operation_No" and isinstance(found, str) and found:
        return
    with pytest.raises(ConnectorError, match=f"{field}: found .*does the page show it"):
        totals.summed([{**ENTRY, field: found}], "X")
