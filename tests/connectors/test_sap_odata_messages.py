import json
import random
import zoneinfo
from decimal import Decimal
from uuid import UUID

import pytest

from gateway.connectors.base import ConnectorError, LookupKind, MappingError, OutcomeKind, step_id
from gateway.connectors.error_classes import table_of
from gateway.connectors.http import HttpAnswer
from gateway.connectors.mapping.settings import ActivitySlot, MappingSettings
from gateway.connectors.material_left import left_of, sends_none
from gateway.connectors.sap_odata import edm
from gateway.connectors.sap_odata.answers import DEFAULT_CLASSES, cancelled_of, lookup_of, outcome_of, rows_of
from gateway.connectors.sap_odata.movements import is_sent
from gateway.connectors.sap_odata.operations import Address, address_of, name_of
from gateway.connectors.sap_odata.order_pages import Cursor, Memory, Seen, cursor_of, lower_bound, next_cursor
from gateway.connectors.sap_odata.orders import OrderRules, read_order
from gateway.connectors.sap_odata.render import RenderRules, rendered
from gateway.connectors.sap_odata.services import PROCESS, PRODUCTION
from gateway.connectors.sap_odata.settings import SapOdataSettings

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
GUID = "6a1f0c52-3d1e-5b7a-9f0e-2f7f5c0a9d11"
MAPPING = MappingSettings(
    units={"PCE": "ST"},
    reasons={"SHORT": "0001", "FLASH": "0002", "FLASH2": "0002"},
    work_centers={"IMM-07": "IMM07"},
    activities={"*": {1: ActivitySlot(time="machine_setup"), 2: ActivitySlot(time="machine")}},
)


def rules(**changes):
    usual = RenderRules("1010", BERLIN, (PRODUCTION, PROCESS), MAPPING, {"ST": "PCE"})
    return usual._replace(**changes)


def made(good="97", scrap=(("SHORT", "2"), ("FLASH", "1")), **changes):
    scrapped = [{"reason": reason, "qty": qty} for reason, qty in scrap]
    qty = {"good": good, "scrap": scrapped, "rework": "0", "test": "0", "hold": "0"}
    image = {
        "confirmation_id": GUID, "idempotency_key": "P/e/1000001/0010/1", "gateway_id": "gw-1", "order_id": "1000001",
        "operation": "0010", "sequence": "0", "seq": 1, "type": "partial", "work_center": "IMM-07", "uom": "PCE",
        "period": {"from": "2026-11-23T06:00:00.000Z", "to": "2026-11-23T08:00:00.000Z"},
        "posting_date": "2026-11-23", "cycles": 250, "qty": qty, "qty_cumulative": qty,
        "times": {"machine_setup_min": "0.000", "machine_min": "105.000"},
    }  # fmt: skip
    return {**image, **changes}


def bodies(document, **changes):
    first = rendered(document, rules(**changes))
    return [json.loads(one.body) for one in (first, *first.more)]


def test_the_message_of_the_readme():
    first, second = bodies(made())
    assert first == {
        "OrderID": "1000001", "Sequence": "0", "OrderOperation": "0010",
        "FinalConfirmationType": "", "IsFinalConfirmation": False, "OpenReservationsIsCleared": False,
        "ConfirmationYieldQuantity": "97.000", "ConfirmationScrapQuantity": "2.000",
        "ConfirmationReworkQuantity": "0.000", "ConfirmationUnit": "ST", "ConfirmationUnitISOCode": "PCE",
        "VarianceReasonCode": "0001", "Plant": "1010", "WorkCenter": "IMM07",
        "PostingDate": "/Date(1795392000000)/",
        "ConfirmedExecutionStartDate": "/Date(1795392000000)/", "ConfirmedExecutionStartTime": "PT07H00M00S",
        "ConfirmedExecutionEndDate": "/Date(1795392000000)/", "ConfirmedExecutionEndTime": "PT09H00M00S",
        "OpWorkQuantityUnit2": "MIN", "OpConfirmedWorkQuantity2": "105.000",
        "EnteredByExternalUser": "gw-1", "ConfirmationText": "gw-1 6a1f0c52 cyc=250",
        "ExternalSystemConfirmation": GUID,
    }  # fmt: skip
    assert (second["ConfirmationYieldQuantity"], second["ConfirmationScrapQuantity"]) == ("0.000", "1.000")
    assert (second["VarianceReasonCode"], second["ExternalSystemConfirmation"]) == ("0002", step_id(GUID, 1))
    assert "OpConfirmedWorkQuantity2" not in second


@pytest.mark.parametrize(
    ("final", "type_", "clear", "expected"),
    [
        ("partial", "final", True, ("", False, False)),
        ("automatic", "final", True, ("1", False, True)),
        ("final", "final", False, ("X", True, False)),
        ("final", "partial", True, ("", False, False)),
    ],
)
def test_only_an_explicit_rule_ends_an_operation_and_only_in_the_last_posting(final, type_, clear, expected):
    names = ("FinalConfirmationType", "IsFinalConfirmation", "OpenReservationsIsCleared")
    first, last = bodies(made(type=type_, clear_reservations=clear), final=final)
    assert tuple(first[name] for name in names) == ("", False, False)
    assert tuple(last[name] for name in names) == expected


def test_reasons_with_one_code_are_one_posting_and_none_has_no_code():
    both = bodies(made(scrap=(("FLASH", "1"), ("FLASH2", "3"), (None, "5"))))
    assert [(one.get("VarianceReasonCode"), one["ConfirmationScrapQuantity"]) for one in both] == [
        ("0002", "4.000"),
        (None, "5.000"),
    ]


def test_the_sum_of_all_messages_is_the_rounded_sum():
    for seed in range(20):
        chance = random.Random(seed)
        good = minutes = Decimal(0)
        sums = [Decimal(0)] * 2
        coarse = MappingSettings(units={"PCE": "ST"}, activities=MAPPING.activities, time_decimals=1)
        for _ in range(40):
            piece, time = Decimal(chance.randint(0, 50)), Decimal(chance.randint(1, 9999)) / 1000
            good, minutes = good + piece, minutes + time
            document = made(str(piece), ())
            document["qty_cumulative"] = {**document["qty"], "good": str(good)}
            document |= {"times": {"machine_min": str(time)}, "times_cumulative": {"machine_min": str(minutes)}}
            (body,) = bodies(document, mapping=coarse)
            sums[0] += Decimal(body["ConfirmationYieldQuantity"])
            sums[1] += Decimal(body.get("OpConfirmedWorkQuantity2", "0"))
        assert sums[0] == good, f"seed {seed}"
        assert abs(sums[1] - minutes) <= Decimal("0.05"), f"seed {seed}: {sums[1]} for {minutes}"


@pytest.mark.parametrize(
    ("document", "names"),
    [
        (made(scrap=(("NEW", "1"),)), "mapping.reasons"),
        (made(uom="BOX"), "mapping.units"),
        (made("-1"), "qty.good"),
        (made(scrap=(("SHORT", "-1"),)), "qty.scrap"),
        (made(order_id="1234567890123"), "order_id"),
        (made(operation="00100"), "operation"),
        (made(confirmation_id="x"), "confirmation_id"),
        (made(posting_date="23.11."), "posting_date"),
        (made(period={"from": "then", "to": "now"}), "period.from"),
        (made(str(10**10)), "qty.good"),
        (made(type="reversal"), "reverses_references"),
        (made(type="reversal", reverses_references=["CNF-1"]), "reverses_references"),
    ],
)
def test_what_sap_cannot_be_told(document, names):
    with pytest.raises(MappingError, match=names):
        rendered(document, rules())


def test_texts_are_cut_and_never_changed():
    person = "Jürgen Żółć \U0001f3ed 长名字"
    (body,) = bodies(made(scrap=(), entered_by=person, gateway_id="线" * 60))
    assert person.startswith(body["EnteredByExternalUser"])
    assert len(body["EnteredByExternalUser"].encode("utf-16-le")) // 2 <= 12
    assert body["ConfirmationText"] == "线" * 40


def test_a_reversal_takes_back_the_youngest_first():
    first = rendered(made(type="reversal", reverses_references=["207/1", "207/2", "0000000207/3"]), rules())
    steps = [json.loads(one.body) for one in (first, *first.more)]
    assert [one["ConfirmationCount"] for one in steps] == ["3", "2", "1"]
    assert {one.name for one in (first, *first.more)} == {"CancelProdnOrdConf"}
    assert len({UUID(one["ExternalSystemConfirmation"]) for one in steps}) == 3


def test_a_parallel_sequence_and_a_sub_operation():
    for word, address in (
        ("0010", Address("0010")),
        ("0010-1", Address("0010", "", "1")),
        ("0010.0005", Address("0010", "0005")),
    ):
        assert (name_of(address), address_of(word)) == (word, address)
    assert name_of(Address("0010", "", "000000")) == "0010"
    (body,) = bodies(made(scrap=(), operation="0010-1", sequence="1"))
    assert (body["OrderOperation"], body["Sequence"]) == ("0010", "1")


def test_goods_movements_are_sap_s_unless_said_otherwise():
    (body,) = bodies(made(scrap=()))
    assert "APIConfHasNoGoodsMovements" not in body
    (body,) = bodies(made(scrap=()), goods="none")
    assert body["APIConfHasNoGoodsMovements"] is True


def test_what_sap_cannot_reckon_goes_with_the_confirmation():
    def part(kind, separate, posting="separate"):
        return {"item": kind.upper(), "qty": "4", "uom": "PCE", "kind": kind, "posting": posting, "separate": separate}

    parts = [
        part("pieces", None, "confirmation"), part("purge", "purge"), part("startup", "startup"),
        part("return", "return"), part("fixed", None, "erp"), part("pieces", None, "manual"),
    ]  # fmt: skip
    by_hand = [part("pieces", "serialised"), part("by_product", "by_product")]
    (body,) = bodies(made(scrap=(), components=parts + by_hand), goods="components")
    rows = [(one["Material"], one["GoodsMovementType"]) for one in body["to_ProdnOrdConfMatlDocItm"]]
    assert rows == [("PIECES", "261"), ("PURGE", "261"), ("STARTUP", "261"), ("RETURN", "262")]
    left = left_of({"components": parts + by_hand}, is_sent)
    assert left == ("PIECES: 4 PCE (serialised)", "BY_PRODUCT: 4 PCE (by_product)"), "for a person"
    assert len(left_of({"components": parts + by_hand}, sends_none)) == 6, "what SAP reckons or a person issues is not"


HEADER = {
    "ManufacturingOrder": "1000001", "Material": "TG11", "TotalQuantity": "240.000", "ProductionUnit": "ST",
    "LastChangeDateTime": "20261122050000", "OrderIsReleased": "X", "SalesOrder": "",
    "MfgOrderScheduledStartDate": "/Date(1795392000000)/", "MfgOrderScheduledStartTime": "PT06H00M00S",
    "MfgOrderScheduledEndDate": "/Date(1795392000000)/", "MfgOrderScheduledEndTime": "PT24H00M00S",
    "ManufacturingOrderImportance": "A", "OrderSequenceNumber": "",
}  # fmt: skip
ROW = {
    "ManufacturingOrderOperation": "0010", "ManufacturingOrderSequence": "0", "WorkCenter": "IMM07",
    "OpPlannedTotalQuantity": "240.000", "OperationUnit": "ST", "OperationIsReleased": "X",
}  # fmt: skip
PART = {
    "Material": "RM", "RequiredQuantity": "120.000", "BaseUnit": "KG", "ManufacturingOrderOperation": "0010",
    "MatlCompIsMarkedForBackflush": "X", "GoodsMovementType": "261",
}  # fmt: skip


def read(rows=(ROW,), parts=(), items=(), change=0, **header):
    image = {
        **HEADER, **header, "to_ProductionOrderOperation": {"results": list(rows)},
        "to_ProductionOrderComponent": {"results": list(parts)}, "to_ProductionOrderItem": {"results": list(items)},
    }  # fmt: skip
    reasons = []
    own = OrderRules(
        BERLIN, lambda name: {"ST": "PCE"}.get(name, name), lambda name: {"IMM07": "IMM-07"}.get(name, name)
    )
    return read_order(image, PRODUCTION, own, Seen(image["LastChangeDateTime"], "", change), reasons), reasons


def test_an_order_with_all_that_belongs_to_it():
    bulk = {**PART, "Material": "OIL", "IsBulkMaterialComponent": "X"}
    made_besides = {**PART, "GoodsMovementType": "531"}
    item = {"OverdelivTolrtdLmtRatioInPct": "10.0", "UnderdelivTolrtdLmtRatioInPct": "5.0"}
    order, reasons = read(parts=(PART, bulk, made_besides), items=(item,))
    assert reasons == []
    assert (order.order, order.revision, order.uom, int(order.quantity)) == ("1000001", 2026112205000000, "PCE", 240)
    assert order.operations[0].work_center == "IMM-07"
    assert order.planned_start_ns == 1795410000 * 10**9  # 06:00 in Berlin is 05:00 UTC
    part = order.image.components[0]
    assert (part.item, part.quantity, part.flush_method) == ("RM", Decimal("0.5"), "erp")
    besides = order.image.components[1]
    assert (besides.kind, besides.flush_method, len(order.image.components)) == ("by_product", "backflush", 2)
    assert (order.image.over_tolerance, order.image.under_tolerance) == (10, 5)
    assert read(change=1)[0].revision == order.revision + 1


@pytest.mark.parametrize(
    ("flags", "status", "cancelled", "hold"),
    [
        ({}, "released", False, ""),
        ({"OrderIsReleased": "", "OrderIsCreated": "X"}, "planned", False, ""),
        ({"OrderIsPartiallyConfirmed": "X", "OrderIsConfirmed": "X", "OrderIsDelivered": "X"}, "released", False, ""),
        ({"OrderIsTechnicallyCompleted": "X"}, "closed", False, ""),
        ({"OrderIsClosed": "X"}, "closed", False, ""),
        ({"OrderIsLocked": "X"}, "released", False, "locked in SAP"),
        ({"OrderIsDeleted": "X"}, "released", True, ""),
        ({"OrderIsMarkedForDeletion": "X"}, "released", True, ""),
    ],
)
def test_the_status_follows_from_all_flags(flags, status, cancelled, hold):
    order, reasons = read(**flags)
    assert reasons == []
    assert (order.image.status, order.cancelled, order.image.hold) == (status, cancelled, hold)


def test_of_a_partially_released_order_the_released_operations():
    later = {**ROW, "ManufacturingOrderOperation": "0020", "OperationIsReleased": ""}
    gone = {**ROW, "ManufacturingOrderOperation": "0030", "OperationIsDeleted": "X"}
    order, _ = read(rows=(later, ROW, gone), OrderIsReleased="", OrderIsPartiallyReleased="X")
    assert [one.operation for one in order.operations] == ["0010"]
    planned, _ = read(rows=(later, ROW), OrderIsReleased="")
    assert [one.operation for one in planned.operations] == ["0010", "0020"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"TotalQuantity": "many"}, "TotalQuantity"),
        ({"Material": ""}, "Material"),
        ({"rows": ()}, "to_ProductionOrderOperation"),
        ({"rows": ({**ROW, "WorkCenter": ""},)}, "WorkCenter"),
        ({"rows": (ROW, ROW)}, "each operation once"),
        ({"MfgOrderScheduledStartTime": "6:00"}, "MfgOrderScheduledStartTime"),
        ({"MfgOrderScheduledStartDate": "2026-11-23"}, "MfgOrderScheduledStartDate"),
    ],
)
def test_an_order_that_cannot_be_taken(changes, names):
    order, reasons = read(**changes)
    assert order is None
    assert names in " ".join(reasons)


@pytest.mark.parametrize(
    ("day", "time", "utc_s"),
    [
        ("/Date(1774656000000)/", "PT01H59M59S", 1774659599),  # the night of 29 March 2026: clocks go on at 02:00
        ("/Date(1774742400000)/", "PT03H00M00S", 1774746000),
        ("/Date(1792886400000)/", "PT02H30M00S", 1792888200),  # 25 October 2026, the first of two
        ("/Date(1792886400000)/", "PT03H00M00S", 1792893600),
    ],
)
def test_local_times_of_the_nights_when_the_clocks_change(day, time, utc_s):
    assert edm.utc_ns(edm.date_of(day), edm.time_of(time), BERLIN) == utc_s * 10**9


def test_cursors_and_what_was_delivered_under_them():
    for text in ("20261122050000.3+", "20261122050000*", "20261122050000"):
        assert str(cursor_of(text)) == text
    assert lower_bound(Cursor("20261122050000"), 65 * 60 * 10**9) == "20261122035500"
    assert lower_bound(Cursor("20261122050000", more=True), 10**12) == "20261122050000"
    assert str(next_cursor(Cursor("20261122050000", 2), "20261122050000", delivered=True, more=False)).endswith(".3")
    with pytest.raises(ConnectorError, match="cursor"):
        cursor_of("yesterday")
    memory = Memory()
    memory.asked("")
    memory.offer("20261122050000", {"A": Seen("20261122050000", "x")}, "20261122040000")
    memory.asked("")  # it was never committed
    assert memory.change_of("A", "20261122050000", "x") == Seen("20261122050000", "x")
    memory.offer("20261122050000", {"A": Seen("20261122050000", "x")}, "20261122040000")
    memory.asked("20261122050000")
    assert memory.change_of("A", "20261122050000", "x") is None
    assert memory.change_of("A", "20261122050000", "y") == Seen("20261122050000", "y", 1)
    # The hour that comes twice: a later change has an earlier stamp, and yet a later revision.
    assert memory.change_of("A", "20261122041500", "z") == Seen("20261122050000", "z", 1)
    assert memory.change_of("A", "20261122050001", "y") == Seen("20261122050001", "y")
    assert memory.knows("A")
    memory.asked("")  # other work centers: all of it is wanted again
    assert memory.change_of("A", "20261122050000", "x") == Seen("20261122050000", "x")
    assert not memory.knows("A")


def test_the_very_first_reading_is_told_from_a_long_one():
    first = next_cursor(None, "20261122050000", delivered=True, more=True)
    assert str(first) == "20261122050000*"
    again = next_cursor(cursor_of(str(first)), "20261122050000", delivered=True, more=True)
    assert str(again) == "20261122050000.1*"
    over = next_cursor(again, "20261122050100", delivered=True, more=False)
    assert str(over) == "20261122050100"
    assert str(next_cursor(over, "20261122060000", delivered=True, more=True)) == "20261122060000+"
    assert str(next_cursor(again, "", delivered=False, more=False)) == "20261122050000.1"


def answer(status, body=None, media="application/json", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(status, {"content-type": media, **headers}, data)


def failed(*codes, message="no"):
    details = [{"code": code, "message": "why", "severity": severity} for code, severity in codes]
    return {"error": {"code": "/IWBEP/CX", "message": message, "innererror": {"errordetails": details}}}


BOOKED = {"d": {"ConfirmationGroup": "0000000207", "ConfirmationCount": "00000001", "ExternalSystemConfirmation": GUID}}
ANSWERS = [
    (answer(201, BOOKED), OutcomeKind.POSTED, "207/1"),
    (answer(201, {"d": {**BOOKED["d"], "ExternalSystemConfirmation": GUID[:-1] + "2"}}), OutcomeKind.UNCERTAIN, ""),
    (answer(201, {"d": {}}), OutcomeKind.UNCERTAIN, ""),
    (answer(201, b'{"d": {"Confir'), OutcomeKind.UNCERTAIN, ""),
    (answer(200, b"<html>", "text/html"), OutcomeKind.PROTOCOL, ""),
    (answer(302, b""), OutcomeKind.PROTOCOL, ""),
    (answer(400, failed(("CO/469", "error"))), OutcomeKind.BUSY, ""),
    (answer(400, failed(("CO/469", "warning"), ("RU/1", "error"))), OutcomeKind.BUSINESS_REJECT, ""),
    (answer(400, failed(("ZZ/001", "error"))), OutcomeKind.WAIT_PRECONDITION, ""),
    (answer(400, failed(("RU/1", "error"), message=[{"value": "a"}, {"value": "b"}])), OutcomeKind.BUSINESS_REJECT, ""),
    (answer(500, failed(("RU/1", "error"))), OutcomeKind.UNCERTAIN, ""),
    (answer(500, failed(("ZZ/001", "error"))), OutcomeKind.WAIT_PRECONDITION, ""),
    (answer(503, failed(), **{"retry-after": "5"}), OutcomeKind.NOT_SENT, ""),
    (answer(503, failed()), OutcomeKind.UNCERTAIN, ""),
    (answer(404, failed(("/IWFND/MED/170", "error"))), OutcomeKind.PROTOCOL, ""),
]


@pytest.mark.parametrize(("given", "kind", "reference"), ANSWERS)
def test_what_an_answer_means(given, kind, reference):
    table = table_of({"ZZ/*": "wait_precondition"}, DEFAULT_CLASSES)
    outcome = outcome_of(given, table, 0, GUID)
    assert (outcome.kind, outcome.reference) == (kind, reference)
    if given.status == 400:
        assert not outcome.code.startswith("/IW")


def test_a_cancellation_may_answer_in_several_forms():
    table = table_of({}, DEFAULT_CLASSES)
    for body in ({"d": {"CancelProdnOrdConf": {**BOOKED["d"], "ConfirmationCount": "2"}}}, {"d": {}}):
        outcome = cancelled_of(answer(200, body), table, 0, "207/1")
        assert outcome.kind is OutcomeKind.POSTED
        assert outcome.reference in ("207/2", "207/1")
    assert cancelled_of(HttpAnswer(204, {}, b""), table, 0, "207/1").reference == "207/1"
    assert cancelled_of(answer(200, b"{"), table, 0, "207/1").kind is OutcomeKind.UNCERTAIN


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([], LookupKind.ABSENT),
        ([BOOKED["d"]], LookupKind.FOUND),
        ([{**BOOKED["d"], "ExternalSystemConfirmation": GUID.upper()}], LookupKind.FOUND),
        ([{**BOOKED["d"], "IsReversed": True}], LookupKind.REFUSED),
        ([{**BOOKED["d"], "IsReversal": True}], LookupKind.ABSENT),
        ([{**BOOKED["d"], "IsReversed": "X"}, {**BOOKED["d"], "ConfirmationCount": "2"}], LookupKind.FOUND),
        ([{"ConfirmationGroup": "1", "ConfirmationCount": "1"}], LookupKind.UNKNOWN),
    ],
)
def test_what_rows_prove(rows, kind):
    assert lookup_of(rows, GUID).kind is kind


@pytest.mark.parametrize(
    "given", [answer(200, b"<html>", "text/html"), answer(200, {"d": 1}), answer(400, failed()), answer(200, b"{")]
)
def test_no_rows_are_no_absence(given):
    assert rows_of(given).status


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"client": "1"}, "client"),
        ({"plant": "10100"}, "plant"),
        ({"orders_page": 5}, "orders_page"),
        ({"timeout": 2 * 60 * 10**9}, "timeout"),
        ({"mapping": MappingSettings(quantity_decimals=4)}, "decimals"),
        ({"url": "http://sap.example.com"}, "clear"),
        ({"error_classes": {"*": "busy"}}, "error_classes"),
    ],
)
def test_settings_that_cannot_be(changes, names):
    with pytest.raises(ValueError, match=names):
        SapOdataSettings(**{"connector": "sap_odata", "url": "https://s4.example.com", "plant": "1010", **changes})
