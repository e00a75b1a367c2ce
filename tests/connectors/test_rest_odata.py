"""A profile of a MES with OData V4 against a double of one: rows of operations, one reason a message, sums."""

import hashlib
import json
import re
from collections import deque
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.connectors import rest
from gateway.connectors.base import LookupKind, OutcomeKind, Posting, step_id
from gateway.connectors.rest.profiles import read
from gateway.connectors.rest.settings import RestSettings
from gateway.contract import Booked, FaultContract, NoticeContract, faults
from gateway.core.document import Identity, encode
from gateway.core.duration import Duration
from gateway.core.orders import erp_notice
from gateway.core.orders.erp_notice import ErpNotice, NoticeType
from simulators.erp.answers import json_fault
from simulators.erp.checks import RefusedError, object_of
from simulators.erp.double import Double
from simulators.erp.http import Response, document, refusal
from simulators.erp.ledger import Booking

EXAMPLE = Path(rest.__file__).parent / "profiles" / "odata_example.yaml"


class Mes(Double):
    """Two entities; a filter is one comparison, or the three of the orders. Notices are kept by their key."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.notices, self.to_notices = {}, Response(204, b"")
        self.to_next = deque()  # what is met before that

    def routes(self):
        return {
            ("GET", "/ProductionOrders"): self._orders,
            ("GET", "/Confirmations"): self._confirmations,
            ("POST", "/Confirmations"): self.confirm,
            ("POST", "/Notices"): self._notice,
        }

    def fault_answer(self, due):
        return json_fault(due)

    def refused_answer(self, error):
        return refusal(400, error.code, str(error))

    def booked_answer(self, reference, request):
        return document(201, {"@odata.context": "$metadata#Confirmations/$entity", "EntryNo": reference})

    def booking_of(self, request):
        one = object_of(request.body)
        self.operation_of(self.order_of(one["OrderNo"]), one["Operation"])
        made = (int(one[name]) for name in ("Good", "Scrap", "Rework"))
        if one["Scrap"] and one.get("ScrapReason") == "?":
            raise RefusedError("ReasonUnknown", "ScrapReason: ? is not known")
        digest = hashlib.sha256(request.body).hexdigest()
        return Booking(
            one["ExternalKey"], one["OrderNo"], one["Operation"], 1, "", "", *made, int(one["Final"]), digest
        )

    async def _notice(self, request):
        """Each key once, whatever comes again."""
        met = self.to_next.popleft() if self.to_next else ""
        if met == faults.NOT_SERVED:
            return Response(404, b"<html>", content_type="text/html")
        one = object_of(request.body)
        self.notices.setdefault(one["ExternalKey"], one)
        return None if met else self.to_notices

    async def _orders(self, request):
        broken = self.page_fault("orders")
        since = re.search(r"ModifiedAt ge (\S+)", request.query.get("$filter", "ModifiedAt ge 2000"))[1]
        rows = [
            {
                "OrderNo": image["order_id"], "Item": image["product"]["id"], "Unit": "PC", "Quantity": image["qty"],
                "Start": image["planned_start"], "ModifiedAt": f"2026-01-01T00:00:{change:02d}Z",
                "Operation": one["op"], "WorkCenter": one["work_center"],
            }
            for image, change in self.ledger.images()
            for one in image["operations"]
        ]  # fmt: skip
        skip, top = int(request.query.get("$skip", 0)), int(request.query["$top"])
        rows = [row for row in rows if row["ModifiedAt"] >= since][skip : skip + top]
        return broken or document(200, {"@odata.context": "$metadata#ProductionOrders", "value": rows})

    async def _confirmations(self, request):
        broken = self.page_fault("lookups")
        name, wanted = re.fullmatch(r"(\w+) eq '(.*)'", request.query["$filter"]).groups()
        rows = [
            {
                "ExternalKey": one["key"], "OrderNo": one["order"], "Operation": one["operation"],
                "Good": one["good"], "Scrap": one["scrap"], "Rework": one["rework"], "EntryNo": one["reference"],
            }
            for one in self.ledger.bookings()
        ]  # fmt: skip
        return broken or document(200, {"value": [row for row in rows if row[name] == wanted]})


@pytest.fixture
def mes(running_double):
    return running_double(Mes)


@pytest.fixture
def build(mes, context):
    def made(**changes):
        usual = {"values": {"company": "D'Or"}, "timeout": Duration("60 s"), "server_time_limit": Duration("1 s")}
        chosen = {"template": read(EXAMPLE), "url": mes.url, **usual, **changes}
        return rest.PLUGIN.build(RestSettings(connector="rest", **chosen), context())

    return made


@pytest.fixture
async def opened(build):
    connector = build()
    await connector.open()
    yield connector
    await connector.close()


@pytest.fixture
def made(document):
    def image(seq=1, **changes):
        whole = document(seq)
        return {**whole, "qty_cumulative": whole["qty"], "posting_date": "2026-11-22", **changes}

    return image


def postings(connector, document):
    rendered = connector.render(document)
    parts = (rendered, *rendered.more)
    return [
        Posting(
            document["idempotency_key"], step_id(document["confirmation_id"], number), document["order_id"],
            document["operation"], document["seq"], 1, part, document["type"], number, len(parts),
        )
        for number, part in enumerate(parts)
    ]  # fmt: skip


class TestContract(NoticeContract, FaultContract):
    killed_confirmations = 1

    @pytest.fixture
    def bench(self, mes, build, made, order_image):
        mes.put_order(order_image("100240", qty="30000"))
        keys = {}

        def document(seq):
            whole = made(seq)
            keys[whole["confirmation_id"]] = whole["idempotency_key"]
            return whole

        def booked():
            rows = mes.call(mes.double.ledger.bookings)
            return [Booked(keys[one["key"]], Decimal(one["good"]), Decimal(one["scrap"])) for one in rows]

        return SimpleNamespace(
            build=lambda: build(server_time_limit=Duration("100 ms"), notices=tuple(NoticeType)),
            notices_meet=lambda name, count=1: mes.double.to_next.extend([name] * count),
            told=lambda: [*mes.double.notices],
            document=document,
            release=lambda order: None,  # it is released
            take_away=mes.take_away,
            bookings=lambda key: sum(one.key == key for one in booked()),
            fault=mes.meets,
            working=lambda: bool(mes.double._late),
            booked=booked,
        )


async def test_rows_of_one_order_are_its_operations(build, mes, order_image):
    connector = build(template=replace(read(EXAMPLE), orders=replace(read(EXAMPLE).orders, page_size=3)))
    await connector.open()
    for number in range(5):
        mes.put_order(order_image(f"40{number}"))
    page = await connector.fetch_orders("")
    assert not page.refused
    assert [order.order for order in page.orders] == ["400", "401", "402", "403", "404"]
    assert [(one.operation, one.work_center) for one in page.orders[0].operations] == [
        ("0010", "WC-ASM"), ("0020", "WC-PCK"),
    ]  # fmt: skip
    mes.put_order(order_image("402", revision=2))
    assert [order.order for order in (await connector.fetch_orders(page.cursor)).orders] == ["402"]
    await connector.close()


async def test_each_reason_is_a_message_of_its_own(opened, mes, made, order_image):
    mes.put_order(order_image("100240"))
    scrap = [{"reason": "S1", "qty": "2"}, {"reason": "S2", "qty": "3"}]
    qty = {"good": "10", "scrap": scrap, "rework": "1"}
    sent = postings(opened, made(qty=qty, qty_cumulative=qty, type="final"))
    assert [json.loads(one.rendered.body)["Final"] for one in sent] == [False, True]
    for one in sent:
        assert (await opened.lookup(one)).kind is LookupKind.ABSENT
        assert (await opened.send(one)).kind is OutcomeKind.POSTED
        assert (await opened.lookup(one)).kind is LookupKind.FOUND
    assert [(one["good"], one["scrap"], one["rework"]) for one in mes.bookings()] == [(10, 2, 1), (0, 3, 0)]
    (booked,) = (await opened.booked("100240")).operations
    assert (booked.operation, booked.good, booked.scrap, booked.rework) == ("0010", 10, Decimal(5), 1)


FAULTS = [
    ("locked 1", OutcomeKind.BUSY, 0),
    ("error 500 1", OutcomeKind.UNCERTAIN, 0),
    ("error-booked 502 1", OutcomeKind.UNCERTAIN, 1),
    ("html 1", OutcomeKind.PROTOCOL, 0),
    ("half 1", OutcomeKind.UNCERTAIN, 1),
    ("lose-answers 1", OutcomeKind.UNCERTAIN, 1),
    ("unauthorized 1", OutcomeKind.AUTH, 0),
    ("unavailable 9 1", OutcomeKind.NOT_SENT, 0),
    ("too-many 9 1", OutcomeKind.NOT_SENT, 0),
    ("reject 100240", OutcomeKind.BUSINESS_REJECT, 0),
]


@pytest.mark.parametrize(("fault", "kind", "booked"), FAULTS)
async def test_every_fault_of_a_target(opened, mes, made, order_image, fault, kind, booked):
    mes.put_order(order_image("100240"))
    (sent,) = postings(opened, made())
    mes.do(fault)
    outcome = await opened.send(sent)
    assert outcome.kind is kind, outcome
    assert len(mes.bookings()) == booked
    mes.do("clear")
    assert (await opened.lookup(sent)).kind is (LookupKind.FOUND if booked else LookupKind.ABSENT)


async def test_a_page_instead_of_a_look_up_proves_nothing(opened, mes, made):
    (sent,) = postings(opened, made())
    mes.do("html 1 lookups")
    assert (await opened.lookup(sent)).kind is LookupKind.UNKNOWN


# --- notices ---------------------------------------------------------------------------------------------------------


def noticed(type_, event, detail, left_out=None, order="100240", seq=1):
    """A notice of a gateway, as the outbox hands it over."""
    identity = Identity(plant="P", epoch="e", gateway_id="gw", line="L", machine="M1", work_center="WC-1")
    notice = ErpNotice(type_, event, 10**18, 10**18, detail, order=order, operation="0010" if order else "")
    return json.loads(encode(erp_notice.document(identity, notice, "erp", seq, left_out)))


def as_posting(connector, whole):
    key, lane = whole["idempotency_key"], erp_notice.NOTICE_LANE
    rendered = connector.render(whole)
    return Posting(
        key, whole["message_id"], whole["order_id"] or "", lane, whole["seq"], 1, rendered, erp_notice.NOTICE
    )


HELD = noticed(NoticeType.STATUS, "state_changed", {"state": "ON_HOLD", "previous_state": None, "cause": "x"}, {"a": 2})
JUDGED = noticed(NoticeType.QUALITY, "judged", {"pieces": "3", "judged_to": "scrap"}, seq=2)
MADE = noticed(NoticeType.UNALLOCATED, "collecting", {"waiting": {"good": "1"}}, order="")


@pytest.fixture
async def telling(build):
    connector = build(notices=(NoticeType.STATUS, NoticeType.QUALITY))
    await connector.open()
    yield connector
    await connector.close()


async def test_a_notice_is_told_by_its_template_and_a_repeat_is_the_same(telling, mes):
    assert telling.capabilities.notices == {"status", "quality"}
    for whole, wanted in (
        (HELD, {"Kind": "status", "Event": "state_changed", "State": "ON_HOLD", "Missing": {"a": 2}}),
        (JUDGED, {"Kind": "quality", "Event": "judged", "Pieces": 3}),
        (MADE, {"Kind": "unallocated", "Event": "collecting"}),
    ):
        about = {"OrderNo": "100240", "Operation": "0010"} if whole is not MADE else {}
        told = as_posting(telling, whole)
        assert json.loads(told.rendered.body) == {
            "ExternalKey": whole["message_id"], "Company": "D'Or", "At": whole["at"], "Detail": whole["detail"],
            **about, **wanted,
        }  # fmt: skip
        mes.double.to_notices = None  # it takes it, and its answer is lost
        assert (await telling.send(told)).kind is OutcomeKind.UNCERTAIN
        mes.double.to_notices = Response(204, b"")
        outcome = await telling.send(as_posting(telling, whole))
        assert (outcome.kind, outcome.reference) == (OutcomeKind.POSTED, whole["idempotency_key"])
    assert list(mes.double.notices) == [one["message_id"] for one in (HELD, JUDGED, MADE)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(404, "NoSuchEntity", "Notices"), OutcomeKind.BUSINESS_REJECT),
        (Response(404, b"<html>", content_type="text/html"), OutcomeKind.BUSINESS_REJECT),
        (Response(405, b""), OutcomeKind.BUSINESS_REJECT),
        (refusal(409, "Locked", "open"), OutcomeKind.BUSY),
        (refusal(400, "Bad", "field"), OutcomeKind.BUSINESS_REJECT),
        (Response(500, b""), OutcomeKind.UNCERTAIN),
        (Response(200, b"<html>", content_type="text/html"), OutcomeKind.PROTOCOL),
        (document(200, {"odata": 1}), OutcomeKind.POSTED),
    ],
)
async def test_what_is_answered_to_a_notice(telling, mes, answer, kind):
    """A path that is not served parks the notice: it is no sign that something else answers."""
    mes.double.to_notices = answer
    outcome = await telling.send(as_posting(telling, HELD))
    assert outcome.kind is kind, outcome


def test_a_profile_that_has_no_notice_is_told_of_at_once(build):
    without = replace(read(EXAMPLE), notice=None)
    with pytest.raises(ValueError, match="notices: found status, allowed: none; the profile has no notice"):
        build(template=without, notices=(NoticeType.STATUS,))
    assert build(template=without).capabilities.notices == frozenset()
