"""Dynamics 365: what is sent, what proves it, and the double as a process of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import subprocess
import sys
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
import warm

from gateway.connectors.base import (
    ConnectorContext,
    ConnectorError,
    LookupKind,
    MappingError,
    OutcomeKind,
    Posting,
    step_id,
)  # fmt: skip
from gateway.connectors.d365 import PLUGIN, messages, orders, readback
from gateway.connectors.d365.settings import D365Settings
from gateway.connectors.mapping import moments
from gateway.connectors.mapping.settings import MappingSettings
from gateway.connectors.sign_in import SignIn
from gateway.contract import ConnectorContract
from gateway.core.duration import Duration
from gateway.core.secret import SecretRef

ROOT = Path(__file__).parents[2]
SECRET = "d365-secret"
DEADLINE_S = 60
TAG = "ExternalReference"


class Double:
    def __init__(self, name, *options):
        self.process = warm.Popen(
            [sys.executable, "-P", "-m", "simulators", name, "--no-stdin", *options],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        ready = json.loads(self.process.stdout.readline())
        self.url = ready["url"]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=60) as answer:
            return json.loads(answer.read())

    def fault(self, name, **values):
        self.ask("/_faults", {"fault": name, **values})

    def bookings(self, key=None):
        return [one for one in self.ask("/ledger")["bookings"] if key in (None, one["key"])]

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


def order_image(order="100240", **changes):
    operations = [
        {"op": "0010", "work_center": "WC-ASM", "qty": "24", "std_cycle_s": "2.4", "text": "assemble"},
        {"op": "0020", "work_center": "WC-PCK", "qty": "24"},
    ]
    product = {"id": "ASSY-D20", "uom": "PC"}
    return {"order_id": order, "revision": 1, "qty": "24", "product": product, "operations": operations,
            "planned_start": "2026-11-22T06:00:00Z", "planned_end": "2026-11-22T08:30:00Z", **changes}  # fmt: skip


def confirmation(document, seq, operation="10", order="100240", *, good=10, scrap=(("SHORT", 1),), **changes):
    lines = [{"reason": reason, "qty": str(pieces)} for reason, pieces in scrap]
    total = [{"reason": reason, "qty": str(pieces * seq)} for reason, pieces in scrap]
    made = {
        **document(seq, order, operation),
        "qty": {"good": str(good), "scrap": lines, "rework": "0"},
        "qty_cumulative": {"good": str(good * seq), "scrap": total, "rework": "0"},
        "times": {"machine_setup_min": "3", "machine_min": "6"},
        "product": {"id": "ASSY-D20"},
        "posting_date": "2026-11-22",
        "components": [],
        "echo": {"d365_last_operation": "20"},
    }
    return {**made, **changes}


@pytest.fixture(scope="module")
def shared():
    double = Double("d365", "--queue-ms", "10", "--page", "2")
    yield double
    double.stop()


@pytest.fixture
def own():
    made = []

    def start(*options):
        made.append(Double("d365", "--queue-ms", "10", *options))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def settings_of(url, **changes):
    sign_in = SignIn(
        method="oauth2", token_url=f"{url}/token", client_id="gw", client_secret=SecretRef(env="X"), scope="s"
    )
    given = {
        "url": url, "company": "usmf", "sign_in": sign_in, "message_tag": TAG, "timeout": Duration("60 s"),
        "queue_time_limit": Duration("5 s"), "mapping": MappingSettings(default_reason="Material"), **changes,
    }  # fmt: skip
    return D365Settings(connector="d365", **given)


def built(url, base_dir, secret=SECRET, **changes):
    secrets = {"sign_in.client_secret": secret}
    context = ConnectorContext(name="erp", gateway_id="g", now_ns=lambda: 0, secrets=secrets, base_dir=base_dir)
    return PLUGIN.build(settings_of(url, **changes), context)


def steps(connector, document):
    rendered = connector.render(document)
    every = (rendered._replace(more=()), *rendered.more)
    return [
        Posting(
            document["idempotency_key"], step_id(document["confirmation_id"], number), document["order_id"],
            document["operation"], document["seq"], 1, one, step=number, steps=len(every),
        )
        for number, one in enumerate(every)
    ]  # fmt: skip


async def until_found(connector, posting):
    deadline = time.monotonic() + DEADLINE_S
    while (found := await connector.lookup(posting)).kind is not LookupKind.FOUND:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)
    return found


async def delivered(connector, document):
    for posting in steps(connector, document):
        before = posting._replace(baseline=await connector.baseline(posting))
        outcome = await connector.send(before)
        assert outcome.kind in {OutcomeKind.ACCEPTED, OutcomeKind.POSTED}, outcome
        if outcome.kind is OutcomeKind.ACCEPTED:
            await until_found(connector, before)


class TestContract(ConnectorContract):
    @pytest.fixture
    def bench(self, own, tmp_path, document):
        double = own()
        double.ask("/_orders", order_image())
        double.fault("start-order", order="100240")

        def bookings(key):
            deadline = time.monotonic() + DEADLINE_S
            while not (found := double.bookings(key)) and time.monotonic() < deadline:
                time.sleep(0.02)
            return len(found)

        return SimpleNamespace(
            build=lambda: built(double.url, tmp_path, start=False, report_finished=False),
            document=lambda seq: confirmation(document, seq, "0010"),
            release=lambda order: double.ask("/_orders", order_image(order)),
            take_away=double.stop,
            bookings=bookings,
        )

    async def test_what_was_sent_is_found(self, bench):
        connector = bench.build()
        await connector.open()
        (posting,) = steps(connector, bench.document(1))
        posting = posting._replace(baseline=await connector.baseline(posting))
        assert (await connector.lookup(posting)).kind is LookupKind.ABSENT
        assert (await connector.lookup(posting._replace(baseline=None))).kind is LookupKind.UNCLEAR
        assert (await connector.send(posting)).kind is OutcomeKind.ACCEPTED
        assert bench.bookings(posting.key) == 1
        assert (await until_found(connector, posting)).reference.startswith("transaction ")
        await connector.close()


def rendered_contents(document, **changes):
    rendered = messages.rendered(settings_of("http://127.0.0.1:1", **changes), "UTC", document)
    return [messages.content_of(one) for one in (rendered, *rendered.more)]


def test_the_messages_of_a_confirmation(document):
    told = rendered_contents(
        confirmation(document, 1, "20", scrap=(("SHORT", 1), ("X", 2))), message_tag=None,
        mapping=MappingSettings(reasons={"SHORT": "Material", "X": "Machine"}),
    )  # fmt: skip
    assert [kind for kind, _ in told] == [messages.START, messages.ROUTE_CARD, messages.REPORT_FINISHED]
    card = told[1][1]["RouteCardLines"]
    names = ("TaskType", "Hours", "GoodQuantity", "ErrorQuantity", "ErrorCause")
    assert [tuple(one.get(name) for name in names) for one in card] == [
        ("Setup", Decimal("0.05"), None, None, None),
        ("Process", Decimal("0.1"), 10, 1, "Material"),
        ("Process", 0, 0, 2, "Machine"),
    ]  # fmt: skip
    assert {one["OperationNumber"] for one in card} == {20}
    assert {one["ConsumptionDate"] for one in card} == {"2026-11-22"}
    lines = told[2][1]["ReportFinishedLines"]
    assert [(one["ItemNumber"], one["ReportedGoodQuantity"], one["ReportedErrorQuantity"]) for one in lines] == [
        ("ASSY-D20", 10, 1), ("ASSY-D20", 0, 2),
    ]  # fmt: skip
    assert lines[0]["ExecutedDateTime"] == "2026-11-22T06:01:00.001Z"
    assert lines[0]["EndJob"] == "No"


@pytest.mark.parametrize(
    ("operation", "seq", "changes", "kinds"),
    [
        ("10", 2, {}, [messages.ROUTE_CARD]),
        ("20", 2, {}, [messages.ROUTE_CARD, messages.REPORT_FINISHED]),
        ("20", 2, {"report_finished": False}, [messages.ROUTE_CARD]),
        ("10", 1, {"start": False}, [messages.ROUTE_CARD]),
        ("10", 2, {"picking_list": True, "picking_entity": "P"}, [messages.PICKING_LIST, messages.ROUTE_CARD]),
    ],
)
def test_which_messages_are_sent(document, operation, seq, changes, kinds):
    parts = [{"item": "BOLT", "qty": "4", "uom": "PC"}]
    told = rendered_contents(confirmation(document, seq, operation, components=parts), **changes)
    assert [kind for kind, _ in told] == kinds
    parts.append({"item": "SPRUE", "qty": "2", "uom": "PC", "kind": "by_product"})
    told = rendered_contents(confirmation(document, seq, operation, components=parts), **changes)
    picked = [
        line["ItemNumber"] for kind, said in told if kind == messages.PICKING_LIST for line in said["PickingListLines"]
    ]
    assert picked == ["BOLT"] * (messages.PICKING_LIST in kinds), "what is made besides is not picked"


def picked(document, *parts, **changes):
    """Item and quantity of each line of the picking list."""
    changes = {"picking_list": True, "picking_entity": "P", **changes}
    told = rendered_contents(confirmation(document, 2, "10", components=list(parts)), **changes)
    lists = [said for kind, said in told if kind == messages.PICKING_LIST]
    return [(one["ItemNumber"], one["ConsumptionBOMQuantity"]) for said in lists for one in said["PickingListLines"]]


def test_a_picking_list_takes_what_nobody_else_posts(document):
    def part(item, posting, kind="pieces", **more):
        return {"item": item, "qty": "4", "uom": "PC", "kind": kind, "posting": posting, **more}

    flushed, by_hand = part("NUT", "erp"), part("GREASE", "manual")
    assert picked(document, part("BOLT", "confirmation"), flushed, by_hand) == [("BOLT", 4)]
    assert picked(document, flushed, by_hand) == [], "no message without a line"
    purge, none = part("GRAN", "separate", "purge", separate="purge"), {**part("RING", "confirmation"), "qty": "0"}
    assert picked(document, purge, none) == [("GRAN", 4)], "a message of its own anyway"
    back = part("BOLT", "separate", "return", separate="return")
    with pytest.raises(MappingError, match=r"'BOLT': 4.000 PC come back .* returns: negative"):
        picked(document, back)
    assert picked(document, back, returns="negative") == [("BOLT", -4)]
    with pytest.raises(MappingError, match=r"'MOTOR': is serialised"):
        picked(document, part("MOTOR", "separate", separate="serialised"))


@pytest.mark.parametrize(
    ("flushing", "posted"),
    [
        (orders.DYNAMICS, ["erp", "erp", "erp"]),
        (orders.Flushing(True, "FlushingPrincip", "Principle"), ["backflush", "erp", "erp"]),
        (orders.Flushing(True, "Never", "Principle"), ["backflush"] * 3),
    ],
)
def test_who_posts_a_component_of_an_order(flushing, posted):
    header = {"ProductionOrderNumber": "P1", "ItemNumber": "A", "ScheduledQuantity": 10}
    row = {"ItemNumber": "B", "BOMLineQuantity": 2, "BOMLineUnitSymbol": "PC"}
    rows = [{**row, "Principle": "Manual"}, {**row, "Principle": "Finish"}, row]
    made = orders.document_of(header, [], rows, "PC", dt.UTC, flushing)
    assert [one["flush_method"] for one in made["components"]] == posted, "never what Dynamics flushes itself"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"type": "reversal"}, "by hand"),
        ({"echo": {}}, "d365_last_operation"),
        ({"operation": "A10"}, "operation"),
        ({"period": {}}, "period.to"),
    ],
)
def test_what_cannot_be_said_is_named(document, changes, named):
    with pytest.raises(MappingError, match=named):
        rendered_contents({**confirmation(document, 1, "20"), **changes})


def test_rounding_adds_up(document):
    # A third of a minute three times: the hours of all messages are the rounded total.
    hours = []
    for seq in (1, 2, 3):
        one = confirmation(
            document, seq, times={"machine_min": "0.1"}, times_cumulative={"machine_min": str(Decimal("0.1") * seq)}
        )
        hours.append(rendered_contents(one, start=False)[0][1]["RouteCardLines"][0]["Hours"])
    assert sum(map(Decimal, map(str, hours))) == Decimal("0.005")


def measure(good=0, error=0, hours=0, newest=0):
    return readback.Measure(Decimal(good), Decimal(error), Decimal(hours), newest)


def baseline(*sums, processed=None, **changes):
    states = None if processed is None else readback.Processed(*processed)
    return readback.Baseline(measure(*sums)._replace(**changes), states)


@pytest.mark.parametrize(
    ("before", "now", "wanted", "kind"),
    [
        (baseline(5, 1), baseline(15, 2), (10, 1), LookupKind.FOUND),
        (baseline(5, 1), baseline(15, 2, "0.3"), (10, 1, "0.333"), LookupKind.FOUND),
        (baseline(5, 1), baseline(5, 1), (10, 1), LookupKind.ABSENT),
        (baseline(5, 1), baseline(5, 1, 2), (10, 1), LookupKind.ABSENT),
        (baseline(5, 1), baseline(12, 1), (10, 1), LookupKind.UNCLEAR),
        (baseline(5, 1), baseline(25, 3), (10, 1), LookupKind.UNCLEAR),
        (baseline(5, 1), baseline(5, 1, "0.5"), (0, 0, "0.5"), LookupKind.FOUND),
        # The order became larger by what was reported: nothing is proven.
        (baseline(5, basis="24/24"), baseline(15, basis="34/24"), (10,), LookupKind.UNCLEAR),
        # Nothing that can be measured is told: a look at nothing finds nothing.
        (baseline(5), baseline(5), (0,), LookupKind.UNCLEAR),
        (baseline(5, newest=3), baseline(5, newest=4), (0,), LookupKind.FOUND),
        # What the message processor says comes first; twice is told by the sums.
        (baseline(5, processed=(0, 2, 0)), baseline(22, processed=(0, 3, 0)), (10,), LookupKind.FOUND),
        (baseline(5, processed=(0, 2, 0)), baseline(25, processed=(0, 4, 0)), (10,), LookupKind.UNCLEAR),
        (baseline(5, processed=(0, 2, 1)), baseline(5, processed=(0, 2, 2)), (10,), LookupKind.REFUSED),
        (baseline(5, processed=(0, 2, 1)), baseline(7, processed=(1, 2, 1)), (10,), LookupKind.ACCEPTED),
        (baseline(5, processed=(0, 2, 1)), baseline(5, processed=(0, 0, 0)), (10,), LookupKind.ABSENT),
    ],
)
def test_what_a_difference_proves(before, now, wanted, kind):
    assert readback.decoded(before.encoded()) == before
    assert readback.compared(before, now, measure(*wanted)).kind is kind


def test_rework_never_vanishes_and_a_cause_is_one_that_is_there(document):
    pieces = {"good": "10", "scrap": [{"reason": "SHORT", "qty": "1"}], "rework": "2"}
    one = confirmation(document, 1, qty=pieces, qty_cumulative=pieces)
    with pytest.raises(MappingError, match=r"qty.rework: found 2.*rework: scrap"):
        rendered_contents(one)
    for kind, content in rendered_contents({**one, "operation": "20"}, rework="scrap")[1:]:
        rows = content["RouteCardLines" if kind == messages.ROUTE_CARD else "ReportFinishedLines"]
        names = ("ErrorQuantity", "ReportedErrorQuantity")
        assert sum(row.get(name, 0) for row in rows for name in names) == 3
    plain = confirmation(document, 1)
    with pytest.raises(MappingError, match="ErrorCause 'SHORT', allowed: None, Material"):
        rendered_contents(plain, mapping=MappingSettings())
    told = rendered_contents(plain, mapping=MappingSettings(), error_causes=["SHORT"])
    assert told[1][1]["RouteCardLines"][1]["ErrorCause"] == "SHORT"


def test_noon_dates_and_seconds_since_midnight():
    berlin = moments.zone("Europe/Berlin")
    assert orders.moment_of("2026-11-23T12:00:00Z", 52200, berlin) == "2026-11-23T13:30:00Z"
    assert orders.moment_of("1900-01-01T12:00:00Z", 0, berlin) is None
    assert orders.moment_of(None, 0, berlin) is None


async def test_a_whole_confirmation_with_pages_of_one_row(shared, tmp_path, document):
    for order in ("700001", "700002", "700003"):
        shared.ask("/_orders", order_image(order))
    connector = built(shared.url, tmp_path)
    await connector.open()
    page = await connector.fetch_orders("")
    assert [one.order for one in page.orders if one.order.startswith("7")] == ["700001", "700002", "700003"]
    first = next(one for one in page.orders if one.order == "700001")
    assert [one.operation for one in first.operations] == ["10", "20"]
    assert first.operations[0].std_cycle_ns == 2_400_000_000
    assert (first.uom, first.echo) == ("PC", {"d365_last_operation": "20"})
    await delivered(connector, confirmation(document, 1, "10", "700001"))
    await delivered(connector, confirmation(document, 1, "20", "700001"))
    await delivered(connector, confirmation(document, 2, "20", "700001", good=5, scrap=()))
    kinds = [one["type"] for one in shared.ask("/messages")["messages"] if one["order"] == "700001"]
    assert kinds == [messages.START, messages.ROUTE_CARD, *[messages.ROUTE_CARD, messages.REPORT_FINISHED] * 2]
    assert [(one["good"], one["scrap"]) for one in shared.bookings() if one["order"] == "700001"] == [
        (10, 1), (10, 1), (5, 0),
    ]  # fmt: skip
    sums = {one.operation: (one.good, one.scrap) for one in (await connector.booked("700001")).operations}
    assert sums == {"10": (10, 1), "20": (15, 1)}
    assert not (await connector.booked("nobody")).known
    assert not (await connector.fetch_orders(page.cursor)).orders, "progress is no change of an order"
    shared.ask("/_orders", order_image("700002", revision=2, qty="30"))
    shared.ask("/_orders", order_image("700003", revision=2, status="closed"))
    later = await connector.fetch_orders(page.cursor)
    assert [(one.order, one.revision, str(one.image.status)) for one in later.orders] == [
        ("700002", 2, "released"), ("700003", 2, "closed"),
    ]  # fmt: skip
    with pytest.raises(ConnectorError, match="cursor"):
        await connector.fetch_orders("17")
    await connector.close()


@pytest.mark.parametrize(
    ("fault", "kind", "booked"),
    [
        ({"name": "lose-answers", "count": 1}, OutcomeKind.UNCERTAIN, True),
        ({"name": "half", "count": 1}, OutcomeKind.UNCERTAIN, True),
        ({"name": "error-booked", "status": 500, "count": 1}, OutcomeKind.UNCERTAIN, True),
        ({"name": "error", "status": 400, "count": 1}, OutcomeKind.BUSINESS_REJECT, False),
        ({"name": "html", "count": 1}, OutcomeKind.PROTOCOL, False),
        ({"name": "unavailable", "seconds": 7, "count": 1}, OutcomeKind.NOT_SENT, False),
        ({"name": "too-many", "seconds": 7, "count": 1}, OutcomeKind.NOT_SENT, False),
        ({"name": "locked", "count": 1}, OutcomeKind.BUSY, False),
    ],
)
async def test_what_an_answer_means(shared, tmp_path, document, fault, kind, booked):
    order = f"8-{fault['name']}"
    shared.ask("/_orders", order_image(order))
    connector = built(shared.url, tmp_path, report_finished=False)
    await connector.open()
    start, card = steps(connector, confirmation(document, 1, "10", order))
    assert (await connector.send(start)).kind is OutcomeKind.ACCEPTED
    await until_found(connector, start)
    card = card._replace(baseline=await connector.baseline(card))
    shared.fault(**fault)
    outcome = await connector.send(card)
    assert outcome.kind is kind, outcome
    assert SECRET not in repr(outcome)
    if fault.get("seconds"):
        assert outcome.retry_after_ns == 7 * 10**9
    if booked:
        await until_found(connector, card)
    else:
        assert (await connector.lookup(card)).kind is LookupKind.ABSENT
    assert len(shared.bookings(card.key)) == booked
    await connector.close()


async def test_an_expired_login_is_renewed_and_a_wrong_secret_told(shared, tmp_path, document):
    shared.ask("/_orders", order_image("900001"))
    connector = built(shared.url, tmp_path, report_finished=False)
    await connector.open()
    assert (await connector.probe()).ok
    (start, _) = steps(connector, confirmation(document, 1, "10", "900001"))
    shared.fault("unauthorized", count=1)
    assert (await connector.send(start)).kind is OutcomeKind.ACCEPTED
    await until_found(connector, start)
    assert (await connector.send(start)).kind is OutcomeKind.POSTED, "a started order is not started again"
    wrong = built(shared.url, tmp_path, secret="wrong-canary")
    await wrong.open()
    outcome = await wrong.send(start)
    assert outcome.kind is OutcomeKind.AUTH
    assert "canary" not in repr(outcome)
    for one in (connector, wrong):
        await one.close()


async def test_what_an_order_does_not_take_is_told_before_it_is_sent(shared, tmp_path, document):
    shared.ask("/_orders", order_image("900002"))
    connector = built(shared.url, tmp_path, start=False)
    await connector.open()
    card, report = steps(connector, confirmation(document, 1, "20", "900002"))
    for one in (card, report):
        outcome = await connector.send(one)
        assert (outcome.kind, outcome.code) == (OutcomeKind.WAIT_PRECONDITION, "NOT_STARTED"), outcome
    shared.fault("start-order", order="900002")
    shared.fault("fail", count=1)
    card = card._replace(baseline=await connector.baseline(card))
    assert (await connector.send(card)).kind is OutcomeKind.ACCEPTED
    deadline = time.monotonic() + DEADLINE_S
    while [one["state"] for one in shared.ask("/messages")["messages"] if one["order"] == "900002"] != ["Failed"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert (await connector.lookup(card)).kind is LookupKind.ABSENT, "it is never taken for booked"
    unknown = steps(connector, confirmation(document, 1, "20", "900003"))[0]
    assert (await connector.send(unknown)).code == "ORDER_UNKNOWN"
    await connector.close()


async def test_the_queue_and_the_ledger_survive_the_end_of_the_double(own, tmp_path, document):
    file = tmp_path / "ledger.db"
    first = own("--ledger", str(file), "--queue-ms", "60000")
    first.ask("/_orders", order_image())
    connector = built(first.url, tmp_path)
    await connector.open()
    start = steps(connector, confirmation(document, 1))[0]
    assert (await connector.send(start)).kind is OutcomeKind.ACCEPTED
    await connector.close()
    first.stop()
    second = own("--ledger", str(file))
    again = built(second.url, tmp_path)
    await again.open()
    assert (await until_found(again, start)).reference == "StartedUp"
    await again.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"picking_list": True}, "picking_entity"),
        ({"picking_list": True, "picking_entity": "P", "bom_consumption": "Always"}, "bom_consumption"),
        ({"company": " "}, "company"),
        ({"url": "http://erp.example.com"}, "https"),
        ({"page_size": 0}, "page_size"),
        ({"data_path": "data"}, "data_path"),
        ({"timeout": Duration("1 ms")}, "timeout"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        D365Settings(connector="d365", **{"url": "https://a.example.com", "company": "usmf", **changes})
