"""What is read from IDocs and written into them: tables of cases, and properties of sums, sizes and LOGTIME."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID
from zoneinfo import ZoneInfo

import defusedxml.ElementTree
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.connectors.base import LookupKind, MappingError, OutcomeKind, step_id
from gateway.connectors.error_classes import table_of
from gateway.connectors.file.folder import LocalPlace
from gateway.connectors.http import HttpAnswer
from gateway.connectors.mapping.settings import ActivitySlot, MappingSettings
from gateway.connectors.sap_idoc.answers import DEFAULT, outcome_of_http, outcome_of_soap
from gateway.connectors.sap_idoc.idoc_xml import ELEMENTS_MAX, IdocError, read
from gateway.connectors.sap_idoc.inbox import Inbox
from gateway.connectors.sap_idoc.log_stamp import log_second
from gateway.connectors.sap_idoc.loipro import Reading, orders_of
from gateway.connectors.sap_idoc.settings import Partner, Receiver, SapIdocSettings
from gateway.connectors.sap_idoc.statuses import Statuses, read_statuses
from gateway.connectors.sap_idoc.tickets import SIZES, docnum_of, render
from gateway.core.duration import Duration
from gateway.core.orders.order_image import FlushMethod, OrderStatus
from gateway.core.secret import SecretRef

BERLIN = ZoneInfo("Europe/Berlin")
READING = Reading(BERLIN)


def made(**changes) -> SapIdocSettings:
    return SapIdocSettings(connector="sap_idoc", **{"url": "http://127.0.0.1:1", "transport": "http", **changes})


def loipro(*, states=("I0002",), serial="20261122060000", docnum="0000000000081234", order="000001000001", **more):
    fields = {"GSTRS": "20261025", "GSUZS": "023000", "GLTRS": "20261025", "GLUZS": "240000", **more}
    header = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    status = "".join(f'<E1JSTKL SEGMENT="1"><STAT>{state}</STAT></E1JSTKL>' for state in states)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<LOIPRO05><IDOC BEGIN="1"><EDI_DC40 SEGMENT="1"><DOCNUM>{docnum}</DOCNUM><IDOCTYP>LOIPRO05</IDOCTYP>
<MESTYP>LOIPRO</MESTYP><SERIAL>{serial}</SERIAL></EDI_DC40>
<E1AFKOL SEGMENT="1"><AUFNR>{order}</AUFNR><AUART>ZP01</AUART><MATNR>000000000000004711</MATNR>
<GAMNG>200.000</GAMNG><GMEIN>PCE</GMEIN>{header}{status}
<E1AFPOL SEGMENT="1"><POSNR>0001</POSNR><UEBTO>10.0</UEBTO><UNTTO>5.0</UNTTO><KDAUF>0000004812</KDAUF></E1AFPOL>
<E1AFFLL SEGMENT="1"><PLNFL>000000</PLNFL>
<E1AFVOL SEGMENT="1"><VORNR>0010</VORNR><STEUS>PP01</STEUS><LTXA1>Press</LTXA1><ARBPL>PR03</ARBPL>
<MGVRG>200.000</MGVRG><MEINH>PCE</MEINH><BMSCH>10.000</BMSCH><UEKAN>X</UEKAN><VGW01>15.000</VGW01><VGE01>MIN</VGE01>
<VGW02>2.000</VGW02><VGE02>MIN</VGE02><E1JSTVL SEGMENT="1"><STAT>I0002</STAT></E1JSTVL>
<E1RESBL SEGMENT="1"><MATNR>R-9</MATNR><BDMNG>50.000</BDMNG><MEINS>KGM</MEINS><BACKFLUSH>X</BACKFLUSH></E1RESBL>
<E1RESBL SEGMENT="1"><MATNR>BY-1</MATNR><BDMNG>3.000-</BDMNG><MEINS>KGM</MEINS></E1RESBL></E1AFVOL>
<E1AFVOL SEGMENT="1"><VORNR>0020</VORNR><STEUS>PP99</STEUS><ARBPL>EXT</ARBPL></E1AFVOL>
<E1AFVOL SEGMENT="1"><VORNR>0030</VORNR><ARBPL>PK01</ARBPL><E1JSTVL SEGMENT="1"><STAT>I0013</STAT></E1JSTVL></E1AFVOL>
</E1AFFLL>
<E1AFFLL SEGMENT="1"><PLNFL>000001</PLNFL>
<E1AFVOL SEGMENT="1"><VORNR>0010</VORNR><ARBPL>PR04</ARBPL></E1AFVOL></E1AFFLL>
</E1AFKOL></IDOC></LOIPRO05>""".encode()


def order_of(content, reading=READING):
    reasons = []
    (idoc,) = read(content)
    orders = orders_of(idoc, reading, reasons)
    assert not reasons
    return orders[0]


def test_a_whole_order():
    order = order_of(loipro(), READING._replace(skip=frozenset({"PP99"})))
    assert (order.order, order.product, order.quantity, order.uom) == (
        "000001000001",
        "000000000000004711",
        Decimal(200),
        "PCE",
    )
    assert order.echo == {"type": "ZP01", "sales_order": "0000004812"}
    assert [(one.operation, one.sequence, one.work_center) for one in order.operations] == [
        ("0010", "000000", "PR03"),
        ("0010-000001", "000001", "PR04"),
    ]
    assert [one.control.overlap for one in order.image.operations] == [True, False]
    press = order.image.operations[0]
    assert (press.std_setup_ns, press.std_cycle_ns, press.base_quantity) == (900 * 10**9, 120 * 10**9, Decimal(10))
    assert order.operations[0].std_cycle_ns == 12 * 10**9
    component, besides = order.image.components
    assert (besides.item, besides.kind, besides.flush_method, besides.quantity > 0) == (
        "BY-1", "by_product", "backflush", True
    )  # fmt: skip
    assert (component.item, component.quantity, component.flush_method) == ("R-9", Decimal("0.25"), FlushMethod.ERP)
    assert (order.image.over_tolerance, order.image.under_tolerance) == (Decimal(10), Decimal(5))
    # The night in which half past two comes twice: the first of them; 24:00 is the next day.
    assert order.planned_start_ns == int(dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC).timestamp()) * 10**9
    assert order.planned_end_ns == int(dt.datetime(2026, 10, 25, 23, 0, tzinfo=dt.UTC).timestamp()) * 10**9


def test_numbers_without_leading_zeros():
    order = order_of(loipro(), READING._replace(short_numbers=True))
    assert (order.order, order.product) == ("1000001", "4711")


def test_of_a_partially_released_order_the_released_operations():
    content = loipro(states=("I0042",)).replace(
        b"<ARBPL>EXT</ARBPL>", b'<ARBPL>EXT</ARBPL><E1JSTVL SEGMENT="1"><STAT>I0001</STAT></E1JSTVL>', 1
    )
    assert [one.operation for one in order_of(content).operations] == ["0010", "0010-000001"]
    whole = content.replace(b"<STAT>I0042</STAT>", b"<STAT>I0002</STAT>")
    assert [one.operation for one in order_of(whole).operations] == ["0010", "0020", "0010-000001"]


@pytest.mark.parametrize(
    ("states", "cancelled", "status", "held"),
    [
        (("I0002",), False, OrderStatus.RELEASED, False),
        (("I0042",), False, OrderStatus.RELEASED, False),
        (("I0001",), False, OrderStatus.PLANNED, False),
        (("I0002", "I0010"), False, OrderStatus.RELEASED, False),  # partially confirmed is not closed
        (("I0002", "I0043"), False, OrderStatus.RELEASED, True),
        (("I0002", "I0045"), True, OrderStatus.CLOSED, False),
        (("I0046",), True, OrderStatus.CLOSED, False),
        (("I0002", "I0076"), True, OrderStatus.CLOSED, False),
        (("I0013",), True, OrderStatus.CLOSED, False),
    ],
)
def test_status_codes(states, cancelled, status, held):
    order = order_of(loipro(states=states))
    assert (order.cancelled, order.image.status, bool(order.image.hold)) == (cancelled, status, held)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (loipro(order="a/b"), "order_id: found 'a/b'"),
        (loipro(GSUZS="99"), "GSTRS, GSUZS: found '20261025' '99'"),
        (loipro(serial="x", docnum="y"), "SERIAL 'x'"),
        (loipro().replace(b"<GAMNG>200.000", b"<GAMNG>-1"), "qty: found '-1'"),
        (loipro().replace(b"<VGE02>MIN", b"<VGE02>FT"), "VGE02: found 'FT'"),
    ],
)
def test_an_order_that_cannot_be_taken_says_why(content, reason):
    reasons = []
    (idoc,) = read(content)
    assert orders_of(idoc, READING, reasons) == ()
    assert any(reason in one for one in reasons), reasons


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<a",
        b"<LOIPRO05/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<L><IDOC BEGIN='1'/></L>",
        b"<a>" * 40 + b"</a>" * 40,
        b"<L>" + b"<a/>" * (ELEMENTS_MAX + 1) + b"</L>",
    ],
    ids=range(7),
)
def test_what_is_no_idoc_is_refused(content):
    with pytest.raises(IdocError, match=r"found .*"):
        read(content)


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "orders").mkdir()
    return tmp_path / "orders", lambda: Inbox(LocalPlace(), PurePosixPath(tmp_path / "orders"), None, READING)


def test_the_newest_image_wins_whatever_its_file_is_called(inbox):
    folder, made_inbox = inbox
    (folder / "a.xml").write_bytes(loipro(serial="20261122060001", docnum="0000000000081236"))
    (folder / "b.xml").write_bytes(loipro(serial="20261122060000", GLUZS="110000"))
    (folder / "c.xml").write_bytes(loipro(serial="20261122060001", docnum="0000000000081235", GLUZS="120000"))
    (order,) = made_inbox().fetch("").orders
    assert order.revision % 1_000_000 == 81236


def recorder(serial, *segments):
    return (
        '<PPCC2RECORDER01><IDOC BEGIN="1"><EDI_DC40 SEGMENT="1"><DOCNUM>1</DOCNUM><MESTYP>PPCC2RECORDER</MESTYP>'
        f"<SERIAL>{serial}</SERIAL></EDI_DC40>{''.join(segments)}</IDOC></PPCC2RECORDER01>"
    ).encode()


def opera2(operation, quantity="100.000"):
    return (
        f'<E1BP_PP_PDC_OPERA2 SEGMENT="1"><ORDERID>000000000042</ORDERID><OPERATION>{operation}</OPERATION>'
        f"<WORK_CNTR>W{operation}</WORK_CNTR><MATERIAL>M</MATERIAL><OPER_QUAN_UNIT>ST</OPER_QUAN_UNIT>"
        f"<OPER_QUANTITY>{quantity}</OPER_QUANTITY></E1BP_PP_PDC_OPERA2>"
    )


def opera1(operation):
    inner = f"<ORDERID>000000000042</ORDERID><OPERATION>{operation}</OPERATION>"
    return f'<E1BP_PP_PDC_OPERA1 SEGMENT="1">{inner}</E1BP_PP_PDC_OPERA1>'


def test_operations_that_come_one_by_one_make_one_order_also_after_a_restart(inbox):
    folder, made_inbox = inbox
    cursor, seen = "", []
    steps = [
        recorder("20261122060000", opera2("0010")),
        recorder("20261122060100", opera2("0020")),
        recorder("20261122060050", opera2("0010", "50.000")),
        recorder("20261122060200", opera1("0010")),
        recorder("20261122055900", opera2("0010")),  # older than its deletion
        recorder("20261122060300", opera1("0020")),
    ]
    for number, content in enumerate(steps):
        (folder / f"{number}.xml").write_bytes(content)
        page = made_inbox().fetch(cursor)  # a new process each time
        assert not page.refused
        (order,) = page.orders
        seen.append(([(one.operation, int(one.quantity)) for one in order.operations], order.cancelled))
        cursor = page.cursor
    assert seen == [
        ([("0010", 100)], False),
        ([("0010", 100), ("0020", 100)], False),
        ([("0010", 50), ("0020", 100)], False),
        ([("0020", 100)], False),
        ([("0020", 100)], False),
        ([("0010", 50), ("0020", 100)], True),
    ]
    assert not made_inbox().fetch(cursor).orders


def test_a_bad_file_is_given_time_and_then_moved_with_the_reason(inbox):
    folder, made_inbox = inbox
    one = made_inbox()
    (folder / "x.xml").write_bytes(loipro()[:300])
    assert not one.fetch("").refused  # perhaps it is still written
    page = one.fetch("")
    assert [refused.place for refused in page.refused] == ["x.xml"]
    one.fetch(page.cursor)
    assert "found no XML" in (folder / "error" / "x.xml.error.txt").read_text()


def test_a_bad_file_of_statuses_is_moved_although_orders_are_fetched_in_between(inbox):
    folder, _ = inbox
    statuses = folder.with_name("statuses")
    (statuses / "done").mkdir(parents=True)
    (statuses / "done" / "of-a-person.txt").write_text("nothing of SAP")  # read again at the start
    (statuses / "x.csv").write_text("EX_IDENT;WHAT\n")
    one = Inbox(LocalPlace(), PurePosixPath(folder), PurePosixPath(statuses), READING)
    told = Statuses(stored_is_posted=False)
    for _ in range(2):
        one.fetch("")
        one.read_statuses(told)
    assert "found no column STATUS" in (statuses / "error" / "x.csv.error.txt").read_text()
    assert not [path for path in statuses.iterdir() if path.is_file()]


def test_statuses_of_both_idocs_and_of_an_extract():
    message = "0193f0a2-6d1c-5a55-9f0e-2f7f5c0a9d11"
    state = f"<DOCNUM>{docnum_of(message)}</DOCNUM><STATUS>%s</STATUS><STAMID>RU</STAMID><STAMNO>018</STAMNO>"
    audit = (
        '<ALEAUD01><IDOC BEGIN="1"><EDI_DC40 SEGMENT="1"><MESTYP>%s</MESTYP></EDI_DC40><E1ADHDR SEGMENT="1">'
        f'<%s SEGMENT="1">{state}</%s></E1ADHDR></IDOC></ALEAUD01>'
    )
    waits, posts = (Statuses(stored_is_posted=flag) for flag in (False, True))
    for told in read_statuses((audit % ("ALEAUD", "E1STATE", "53", "E1STATE")).encode()):
        waits.add(told)
        posts.add(told)
    assert waits.lookup(message) is None
    assert posts.lookup(message).kind is LookupKind.FOUND
    for told in read_statuses((audit % ("STATUS", "E1STATS", "51", "E1STATS")).encode()):
        waits.add(told)
    assert (waits.lookup(message).kind, waits.lookup(message).code) == (LookupKind.REFUSED, "RU/018")
    extract = f"EX_IDENT;STATUS;RUECK;RMZHL\n{UUID(message).hex};posted;0000000207;00000001\n"
    for told in read_statuses(extract.encode()):
        waits.add(told)
    assert waits.lookup(message).reference == "0000000207/00000001"
    with pytest.raises(IdocError, match="STATUS"):
        read_statuses(b"EX_IDENT,STATUS\nab,perhaps\n")


def soap_fault(detail, kind="Server"):
    return (
        f'<e:Envelope xmlns:e="x"><e:Body><e:Fault><faultcode>e:{kind}</faultcode><faultstring>no</faultstring>'
        f"<detail>{detail}</detail></e:Fault></e:Body></e:Envelope>"
    ).encode()


XML = {"content-type": "text/xml"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<e:Envelope xmlns:e='x'><DbId>0000000000000815</DbId></e:Envelope>", OutcomeKind.ACCEPTED),
        (202, b"", OutcomeKind.ACCEPTED),
        (200, b"", OutcomeKind.UNCERTAIN),
        (200, b"<e:Envelope", OutcomeKind.UNCERTAIN),
        (500, soap_fault("<x><ID>EA</ID><NUMBER>728</NUMBER></x>"), OutcomeKind.BUSY),
        (500, soap_fault("<MSGID_LOCKED/>"), OutcomeKind.BUSY),
        (500, soap_fault("<code>RU/018</code>"), OutcomeKind.BUSY),  # by the setting
        (500, soap_fault("<code>RU/999</code>"), OutcomeKind.BUSINESS_REJECT),
        (500, soap_fault("<code>SOAP_MSGID_INITIAL</code>"), OutcomeKind.BUSINESS_REJECT),
        (500, soap_fault(""), OutcomeKind.UNCERTAIN),
        (500, soap_fault("", "Client"), OutcomeKind.BUSINESS_REJECT),
        (500, b"", OutcomeKind.UNCERTAIN),
        (401, b"", OutcomeKind.AUTH),
        (404, b"", OutcomeKind.PROTOCOL),
    ],
)
def test_answers_over_soap(status, body, kind):
    table = table_of({"RU/018": "busy"}, DEFAULT)
    assert outcome_of_soap(HttpAnswer(status, XML, body), table, 0).kind is kind


@pytest.mark.parametrize(
    ("body", "kind", "reference"),
    [
        (b"", OutcomeKind.ACCEPTED, ""),
        (b"<R><DOCNUM>815</DOCNUM><STATUS>53</STATUS></R>", OutcomeKind.ACCEPTED, "815"),
        (b'{"DOCNUM": "816", "STATUS": "53"}', OutcomeKind.ACCEPTED, "816"),
        (b"<R><DOCNUM>815</DOCNUM><STATUS>51</STATUS></R>", OutcomeKind.BUSINESS_REJECT, ""),
        (b"<R><DOCNUM>815", OutcomeKind.UNCERTAIN, ""),
    ],
)
def test_answers_over_plain_http(body, kind, reference):
    outcome = outcome_of_http(HttpAnswer(200, {}, body), table_of({}, DEFAULT), 0)
    assert (outcome.kind, outcome.reference) == (kind, reference)
    page = HttpAnswer(200, {"content-type": "text/html"}, b"<html></html>")
    assert outcome_of_http(page, table_of({}, DEFAULT), 0).kind is OutcomeKind.PROTOCOL


def confirmation(document, **changes):
    total = {"good": "10", "scrap": [{"reason": None, "qty": "1"}], "rework": "0"}
    return document(1) | {"qty_cumulative": total, "uom": "PCE"} | changes


def fields_of(rendered):
    root = defusedxml.ElementTree.fromstring(rendered.body)
    return {one.tag.rpartition("}")[2]: one.text for one in root.iter() if not len(one)}


def test_times_go_to_their_activities_and_final_to_the_last_ticket(document):
    slots = {"*": {2: ActivitySlot(time="machine"), 6: ActivitySlot(time="labour", unit="H", erp_unit="STD")}}
    own = made(
        mapping=MappingSettings(units={"PCE": "ST"}, activities=slots, reasons={"a": "0001", "b": "0002"}),
        clear_reservations=True,
        unit_iso=True,
    )
    scrap = [{"reason": "a", "qty": "2"}, {"reason": "b", "qty": "1"}]
    sent = confirmation(
        document,
        type="final",
        clear_reservations=True,
        qty={"good": "7", "scrap": scrap, "rework": "0"},
        qty_cumulative={"good": "7", "scrap": [{"reason": None, "qty": "3"}], "rework": "0"},
        times={"machine_min": "105", "labour_min": "30"},
    )
    rendered = render(sent, own, "Europe/Berlin")
    first, last = fields_of(rendered), fields_of(rendered.more[0])
    assert (first["CONF_ACTIVITY2"], first["CONF_ACTI_UNIT2"], first["CONF_ACTI_UNIT2_ISO"]) == (
        "105.000",
        "MIN",
        "MIN",
    )
    assert (first["CONF_ACTIVITY6"], first["CONF_ACTI_UNIT6"], first["CONF_ACTI_UNIT6_ISO"]) == ("0.500", "STD", "HUR")
    assert (first["YIELD"], first["SCRAP"], first["DEV_REASON"], first["CONF_QUAN_UNIT"]) == (
        "7.000",
        "2.000",
        "0001",
        "ST",
    )
    assert (first["RECORDTYPE"], first.get("FIN_CONF")) == ("L20", None)
    assert (last["RECORDTYPE"], last["FIN_CONF"], last["CLEAR_RES"]) == ("L40", "X", "X")
    assert not {"YIELD", "CONF_ACTIVITY2"} & last.keys()
    assert last["EX_IDENT"] == UUID(step_id(sent["confirmation_id"], 1)).hex.upper()
    flat = fields_of(render(sent, made(mapping=own.mapping, header_segment=""), "Europe/Berlin"))
    assert flat["EX_IDENT"] == first["EX_IDENT"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "reversal"}, "CO13"),
        ({"qty": {"good": "-1", "scrap": [], "rework": "0"}}, "nothing below 0"),
        ({"order_id": "1234567890123"}, "ORDERID: found '1234567890123', allowed: up to 12"),
        ({"operation": "00100"}, "OPERATION: found"),
        ({"work_center": "WC-ASSEMBLY"}, "WORK_CNTR: found"),
        ({"plant": "RQ001"}, "PLANT: found"),
        ({"uom": "BOXES"}, "uom: found 'BOXES'"),
        ({"created_at": "now"}, "created_at: found 'now'"),
        ({"seq": 0}, "seq: found 0"),
        ({"confirmation_id": "x"}, "allowed: a UUID"),
    ],
)
def test_what_no_ticket_can_say_is_refused_before_it_is_sent(document, changes, message):
    with pytest.raises(MappingError, match=re.escape(message)):
        render(confirmation(document, **changes), made(), "UTC")


def test_more_reasons_than_a_confirmation_has_room_for(document):
    scrap = [{"reason": f"{number:04d}", "qty": "1"} for number in range(3)]
    total = {"good": "0", "scrap": [{"reason": None, "qty": "3"}], "rework": "0"}
    sent = confirmation(document, qty={"good": "0", "scrap": scrap, "rework": "0"}, qty_cumulative=total)
    assert len(render(sent, made(log_step=3), "UTC").more) == 2
    with pytest.raises(MappingError, match="log_step"):
        render(sent, made(log_step=2), "UTC")


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(0, 2**31),
    waits=st.lists(st.integers(0, 3), min_size=2, max_size=60),
    step_s=st.integers(1, 32),
    data=st.data(),
)
def test_stamps_of_an_operation_are_a_second_apart_however_fast_it_was(start, waits, step_s, data):
    stamps, created = [], start
    for seq, wait in enumerate(waits, 1):
        created += wait
        tickets = data.draw(st.integers(1, step_s))
        stamps += [log_second(created, seq, number, step_s=step_s, lag_s=86_400) for number in range(tickets)]
    assert all(after - before >= 1 for before, after in itertools.pairwise(stamps))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.tuples(st.integers(0, 40), st.lists(st.integers(0, 9), max_size=4), st.integers(0, 99_999)),
        min_size=1,
        max_size=12,
    ),
    transport=st.sampled_from(["soap", "http"]),
)
def test_tickets_are_well_formed_fit_and_add_up_to_the_last_digit(document, parts, transport):
    slots = {"*": {1: ActivitySlot(time="machine", unit="H")}}
    own = made(
        transport=transport,
        mapping=MappingSettings(activities=slots, time_decimals=2),
        partner=Partner(receiver="A&<B"),
    )
    good = scrapped = thousandths = 0
    sums, stamps, keys = {"YIELD": Decimal(0), "SCRAP": Decimal(0), "CONF_ACTIVITY1": Decimal(0)}, [], []
    for seq, (pieces, reasons, minutes) in enumerate(parts, 1):
        good, scrapped, thousandths = good + pieces, scrapped + sum(reasons), thousandths + minutes
        sent = document(seq) | {
            "uom": "PCE",
            "qty": {
                "good": str(pieces),
                "scrap": [{"reason": f"R{number}", "qty": str(lost)} for number, lost in enumerate(reasons)],
                "rework": "0",
            },
            "qty_cumulative": {"good": str(good), "scrap": [{"reason": None, "qty": str(scrapped)}], "rework": "0"},
            "times": {"machine_min": str(Decimal(minutes) / 1000)},
            "times_cumulative": {"machine_min": str(Decimal(thousandths) / 1000)},
        }
        rendered = render(sent, own, "Asia/Kolkata")
        for one in (rendered, *rendered.more):
            one.body.decode("utf-8")
            fields = fields_of(one)
            assert all(len(fields.get(name) or "") <= size for name, size in SIZES.items())
            for name in sums:
                sums[name] += Decimal(fields.get(name, "0"))
            stamps.append(fields["LOGDATE"] + fields["LOGTIME"])
            keys.append(fields["EX_IDENT"])
            assert fields["RCVPRN"] == "A&<B"
    exact = (Decimal(thousandths) / 1000 / 60).quantize(Decimal("0.01"), "ROUND_HALF_UP")
    assert (sums["YIELD"], sums["SCRAP"], sums["CONF_ACTIVITY1"]) == (good, scrapped, exact)
    assert stamps == sorted(set(stamps))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": None}, "url: is missing"),
        ({"transport": "file", "url": None}, "folder: is missing"),
        ({"transport": "file", "folder": "x"}, "url, path"),
        ({"url": "http://10.0.0.1"}, "insecure"),
        ({"client": "1"}, "client"),
        ({"receiver": Receiver(port=1, token=SecretRef(env="T"))}, "folder: is missing"),
        ({"folder": "x", "statuses_folder": "orders"}, "one folder twice"),
        ({"folder": "x", "orders_folder": "../a"}, "one sub-folder"),
        ({"log_step": 33}, "log_step"),
        ({"log_lag": Duration("60 d")}, "log_lag"),
        ({"header_segment": "a b"}, "header_segment"),
        ({"entered_by": "X" * 13}, "entered_by"),
        ({"error_classes": {"*": "busy"}}, "error_classes"),
        ({"path": "sap"}, "path"),
    ],
)
def test_settings_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_cursors_of_others_move_nothing(inbox):
    folder, made_inbox = inbox
    (folder / "a.xml").write_bytes(loipro())
    for cursor in ("7", "[]", json.dumps({"../a.xml": "x"}), json.dumps({"a.xml": "other"})):
        assert len(made_inbox().fetch(cursor).orders) == 1
