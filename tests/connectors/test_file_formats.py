"""What the file connector writes and reads, in every format and code page. Pure: no folder is touched."""

import csv
import io
import os
from decimal import Decimal
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from gateway.connectors.base import MappingError
from gateway.connectors.file import PLUGIN
from gateway.connectors.file.columns import Column
from gateway.connectors.file.orders import parse_file
from gateway.connectors.file.settings import FileSettings
from gateway.connectors.mapping.settings import ActivitySlot, MappingSettings

CODE_PAGES = ["utf-8", "cp850", "latin-1", "cp1252", "gb18030"]
NS = "{http://www.mesa.org/xml/B2MML}"
#: The schemas are MESA's; they are looked for where a developer or the build has put them.
SCHEMAS = Path(os.environ.get("LINEGATE_B2MML", Path(__file__).parents[3] / "shared" / "b2mml"))

ORDER_COLUMNS = (
    Column(name="AUFNR", value="order", width=12),
    Column(name="AG", value="operation", width=4),
    Column(name="PLATZ", value="work_center", width=10),
    Column(name="TEIL", value="product", width=12),
    Column(name="MENGE", value="quantity", width=10),
    Column(name="START", value="planned_start", date="dd.mm.yyyy", width=10),
    Column(name="EGAL", width=5),
)


def settings_of(**changes):
    return FileSettings(**{"connector": "file", "folder": "share", **changes})


@pytest.fixture
def render(context, document):
    def rendered(seq=1, base_dir=None, *, zone="UTC", image=None, **changes):
        here = context()
        here = type(here)(
            name=here.name, gateway_id="demo", now_ns=here.now_ns, secrets={}, base_dir=base_dir or here.base_dir,
            time_zone=zone,
        )  # fmt: skip
        return PLUGIN.build(settings_of(**changes), here).render(image or document(seq))

    return rendered


@pytest.fixture
def whole(document):
    """A confirmation that says all that one can say."""
    return {
        **document(3),
        "product": {"id": "ASSY-Größe", "revision": "B"},
        "qty": {
            "good": "10", "rework": "2", "test": "0", "hold": "0",
            "scrap": [{"reason": "Riß", "qty": "1"}, {"reason": "<&\"'>", "qty": "3"}],
        },
        "qty_cumulative": {
            "good": "30", "rework": "2", "test": "0", "hold": "0", "scrap": [{"reason": None, "qty": "9"}],
        },
        "period": {"from": "2026-10-25T00:30:00.000Z", "to": "2026-10-25T22:59:59.000Z"},
        "times": {"machine_min": "1.5", "labour_min": None, "machine_setup_min": None, "labour_setup_min": None},
        "times_cumulative": {"machine_min": "4.5", "labour_min": None},
        "posting_date": "2026-10-25",
        "operators": ["4711"],
        "lots": [{"lot": "L1", "qty": "10"}],
        "echo": {"b2mml_schedule": "sched-1", "b2mml_segment_0010": "REQ-7"},
    }  # fmt: skip


@pytest.mark.parametrize("encoding", CODE_PAGES)
def test_free_columns_in_every_code_page(render, whole, encoding):
    columns = (
        Column(name="Satz", constant="RM"),
        Column(name="Größe", value="product"),
        Column(name="Gut", value="good", decimals=2),
        Column(name="Tag", value="to", date="dd.mm.yyyy"),
        Column(name="Zeit", value="to", date="hhmmss"),
        Column(name="Buchung", value="posting_date", date="yyyymmdd"),
        Column(name="Minuten", value="t_machine_min"),
        Column(name="Personal", value="operators"),
        Column(name="Charge", value="batch"),
    )
    body = render(
        image=whole, zone="Europe/Berlin", columns=columns, encoding=encoding, decimal_separator=",", quotes="always"
    ).body
    rows = list(csv.reader(io.StringIO(body.decode(encoding)), delimiter=";"))
    assert rows[0] == ["Satz", "Größe", "Gut", "Tag", "Zeit", "Buchung", "Minuten", "Personal", "Charge"]
    assert rows[1] == ["RM", "ASSY-Größe", "10,00", "25.10.2026", "235959", "20261025", "1,5", "4711", "L1"]
    assert body.decode(encoding).startswith('"Satz";')


def test_local_time_over_the_end_of_summer(render, whole):
    columns = (Column(name="a", value="from", date="local_iso"), Column(name="b", value="to", date="yyyymmddhhmmss"))
    body = render(image=whole, columns=columns, mapping=MappingSettings(time_zone="Europe/Berlin"), header=False,
                  order_columns=ORDER_COLUMNS).body  # fmt: skip
    assert body == b"2026-10-25T02:30:00+02:00;20261025235959\r\n"


def test_a_line_for_each_reason_adds_up(render, whole):
    columns = tuple(Column(name=name, value=name) for name in ("line_number", "good", "rework", "reason", "scrap"))
    body = render(image=whole, columns=columns, lines="reasons", header=False, order_columns=ORDER_COLUMNS,
                  trailer="T").body.decode()  # fmt: skip
    assert body.splitlines() == ["1;10;2;Riß;1", '2;0;0;"<&""\'>";3', "T;2;16"]


def test_rounded_quantities_add_up_to_the_rounded_total(render, document):
    columns = (Column(name="good", value="good", decimals=0),)
    made, total = [], Decimal(0)
    for seq in range(1, 30):
        by = Decimal("0.4")
        total += by
        image = {**document(seq), "qty": {"good": str(by), "scrap": [], "rework": "0"}}
        image["qty_cumulative"] = {"good": str(total), "scrap": [], "rework": "0"}
        made.append(int(render(image=image, columns=columns, header=False, order_columns=ORDER_COLUMNS).body))
    assert sum(made) == round(total)
    assert set(made) == {0, 1}


def test_mapped_words(render, whole):
    mapping = MappingSettings(
        units={"PC": "ST"}, reasons={"Riß": "0001"}, default_reason="0099", work_centers={"WC-ASM": "4711"},
        activities={"*": {2: ActivitySlot(time="machine", unit="S")}}, quantity_decimals=0, time_decimals=1,
    )  # fmt: skip
    names = ("uom", "scrap_reasons", "work_center", "activity_2", "activity_2_unit", "good")
    columns = tuple(Column(name=name, value=name) for name in names)
    body = render(image=whole, columns=columns, mapping=mapping).body.decode()
    assert body.splitlines()[1] == "ST;0001=1,0099=3;4711;90.0;S;10"


@pytest.mark.parametrize("encoding", CODE_PAGES)
def test_fields_of_fixed_length(render, whole, encoding):
    columns = (
        Column(value="order", width=12),
        Column(value="product", width=16),
        Column(value="good", width=10),
        Column(value="good", width=8, decimals=2, fill="0"),
        Column(value="posting_date", width=8, date="yyyymmdd"),
        Column(constant="L20", width=4, align="right"),
    )
    body = render(
        image=whole, format="fixed", columns=columns, order_columns=ORDER_COLUMNS, encoding=encoding, trailer="E"
    ).body
    first, last, rest = body.split(b"\r\n")
    assert rest == b""
    assert len(first) == 12 + 16 + 10 + 8 + 8 + 4
    assert first.startswith(b"100240      ")
    assert first[12:28].decode(encoding).rstrip() == "ASSY-Größe"
    assert first[28:].decode() == "        10" + "00010.00" + "20261025" + " L20"
    assert last.split() == [b"E", b"1", b"10"]


def test_a_quantity_below_0_in_the_way_of_sap(render, document):
    image = document(1)
    image["qty"]["good"] = "-12"
    columns = (Column(name="a", value="good", decimals=3, sign="trailing"), Column(name="b", value="good"))
    body = render(image=image, columns=columns, header=False, order_columns=ORDER_COLUMNS).body
    assert body == b"12.000-;-12\r\n"
    fixed = (Column(value="good", width=8, fill="0"),)
    body = render(image=image, format="fixed", columns=fixed, order_columns=ORDER_COLUMNS).body
    assert body == b"-0000012\r\n"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column(value="product", width=5), "product: found 'ASSY-Größe', 10 bytes long, allowed 5"),
        (Column(value="good", width=1, cut=True), "good: found '10', 2 bytes long, allowed 1"),
    ],
)
def test_what_does_not_fit_is_parked(render, whole, column, message):
    with pytest.raises(MappingError, match=message):
        render(image=whole, format="fixed", columns=(column,), order_columns=ORDER_COLUMNS, encoding="cp1252")


def test_a_text_may_be_cut_but_never_through_a_character(render, whole):
    column = Column(value="product", width=8, cut=True)  # ö is two bytes: its first one would be the eighth
    whole["product"]["id"] = "ASSY-Grö"
    assert render(image=whole, format="fixed", columns=(column,), order_columns=ORDER_COLUMNS).body == b"ASSY-Gr \r\n"


@pytest.mark.parametrize(
    ("text", "encoding", "written"),
    [
        ("Größe „ß“", "ascii", "Groesse 'ss'"),
        ("Ångström", "ascii", "Aangstroem"),
        ("Łódź \u2013 ½", "cp850", "Lódz - ½"),
        ("ﬁne", "cp1252", "fine"),
    ],
)
def test_other_letters_for_what_the_code_page_lacks(render, document, text, encoding, written):
    columns = (Column(name="m", value="machine"),)
    image = {**document(1), "machine": text}
    body = render(image=image, columns=columns, header=False, order_columns=ORDER_COLUMNS, encoding=encoding,
                  unmappable="transliterate").body.decode(encoding)  # fmt: skip
    assert body.strip() == written
    with pytest.raises(MappingError, match=f"m: found .*which {encoding} cannot carry"):
        render(image=image, columns=columns, encoding=encoding)


@pytest.mark.parametrize("unmappable", ["park", "transliterate"])
def test_never_a_question_mark(render, document, unmappable):
    with pytest.raises(MappingError, match="found '机', which cp1252 cannot carry"):
        render(image={**document(1), "machine": "机"}, encoding="cp1252", unmappable=unmappable)
    assert "机".encode("gb18030") in render(image={**document(1), "machine": "机"}, encoding="gb18030").body


TEMPLATE = """<?xml version="1.0" encoding="{encoding}"?>
<Meldung nr="{{{{message_id}}}}"><Teil>{{{{product}}}}</Teil><Gut>{{{{good 1}}}}</Gut><Tag>{{{{to dd.mm.yyyy}}}}</Tag>
{{{{#reasons}}}}<Grund code="{{{{reason}}}}">{{{{reason_qty}}}}</Grund>{{{{/reasons}}}}</Meldung>
"""
XML = {"format": "xml", "template": "t.xml", "order_path": "A/B", "order_columns": ORDER_COLUMNS}


@pytest.mark.parametrize("encoding", ["utf-8", "cp850", "latin-1", "cp1252"])
def test_xml_by_template(render, whole, tmp_path, encoding):
    (tmp_path / "t.xml").write_text(TEMPLATE.format(encoding=encoding), encoding="utf-8")
    whole["product"]["id"] = "机 Größe"  # what the code page lacks is written by its number
    made = render(image=whole, encoding=encoding, zone="Europe/Berlin", **XML)
    assert made.name.endswith(".xml")
    root = fromstring(made.body)
    assert root.get("nr") == whole["confirmation_id"]
    assert [root.findtext(name) for name in ("Teil", "Gut", "Tag")] == ["机 Größe", "10.0", "25.10.2026"]
    assert [(one.get("code"), one.text) for one in root.findall("Grund")] == [("Riß", "1"), ("<&\"'>", "3")]
    assert b"?" not in made.body.replace(b"<?", b"").replace(b"?>", b"")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>{{god}}</a>", "found {{god}}, allowed: activity_1"),
        ("<a>{{good 9}}</a>", "found {{good 9}}, allowed: decimals"),
        ("<a>{{good}}", "is no XML"),
        (None, "t.xml.*that can be read"),
    ],
)
def test_a_template_that_is_wrong(render, whole, tmp_path, text, message):
    if text is not None:
        (tmp_path / "t.xml").write_text(text)
    with pytest.raises(MappingError, match=message):
        render(image=whole, **XML)


def test_a_template_is_checked_before_anything_starts(tmp_path):
    columns = tuple(Column(name=one, value=one) for one in ("order", "operation", "work_center", "product", "quantity"))
    settings = FileSettings(
        connector="file", folder="x", format="xml", template="t.xml", order_path="A/B", order_columns=columns
    )
    path = tmp_path / "t.xml"
    assert "t.xml: No such file" in PLUGIN.check(settings, tmp_path)[0]
    for text, said in (
        (b"<a>\xff</a>", "allowed: a file in utf-8"),
        (b"<a>\n{{ordr}}</a>", "line 2: found {{ordr}}, allowed: activity_1"),
        (b"<a>\n\n{{Order}}</a>", "line 3: found '{{Order}}</a>', allowed: {{field}}"),
        (b"<a>{{to yymd}}</a>", "line 1: found {{to yymd}}, allowed: decimals 0 to 6"),
        (b"<a>\n{{#reasons}}{{reason}}</a>", "line 2: found '{{#reasons}}"),
        (b"<a>\n{{order}}\n</b>", "line 3: is no XML: mismatched tag"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "is no XML that can be taken"),
    ):
        path.write_bytes(text)
        (found,) = PLUGIN.check(settings, tmp_path)
        assert f"template: {path}: " in found or said.startswith("allowed"), found
        assert said in found, found
    path.write_text('<?xml version="1.0"?>\n<a b="{{order}}">{{#reasons}}<r>{{reason_qty 2}}</r>{{/reasons}}</a>')
    assert PLUGIN.check(settings, tmp_path) == []


def test_what_xml_cannot_carry(render, whole, tmp_path):
    (tmp_path / "t.xml").write_text("<a>{{machine}}</a>")
    with pytest.raises(MappingError, match="which XML cannot carry"):
        render(image={**whole, "machine": "a\x00b"}, **XML)
    with pytest.raises(MappingError, match="which XML cannot carry"):
        render(image={**whole, "work_center": "a\x00b"}, format="b2mml")


@pytest.mark.parametrize("encoding", CODE_PAGES)
def test_orders_with_the_columns_of_the_erp_in_any_sequence(encoding):
    text = "MENGE;TEIL;x;AUFNR;PLATZ;AG;START\r\nX;100;W1;10;Y\r\nX;100;W2;20;Y\r\n"
    text = text.replace("X", "12,50;Größe;").replace("Y", "25.10.2026")
    settings = settings_of(order_columns=ORDER_COLUMNS[:-1], encoding=encoding, decimal_separator=",")
    (order,), reasons = parse_file(text.encode(encoding), settings, "Europe/Berlin")
    assert reasons == ()
    assert (order.order, order.product, order.quantity) == ("100", "Größe", Decimal("12.5"))
    assert [one.work_center for one in order.operations] == ["W1", "W2"]
    assert order.planned_start_ns == 1_792_879_200 * 10**9


@pytest.mark.parametrize("encoding", CODE_PAGES)
def test_orders_of_fixed_length(encoding):
    def line(*cells):
        widths = [column.width for column in ORDER_COLUMNS]
        return b"".join(cell.encode(encoding).ljust(width) for cell, width in zip(cells, widths, strict=True))

    content = b"\r\n".join(
        (line("100", "10", "W1", "Größe", "0000024,50", "22.11.2026", "ABCDE"), b"T         1          24,50", b"\x1a")
    )
    settings = settings_of(
        format="fixed", columns=(Column(value="order", width=3),), order_columns=ORDER_COLUMNS, encoding=encoding,
        decimal_separator=",", trailer="T",
    )  # fmt: skip
    (order,), reasons = parse_file(content, settings)
    assert reasons == ()
    assert (order.order, order.product, order.quantity) == ("100", "Größe", Decimal("24.5"))
    bad = parse_file(content.replace(b"24,50\r\n\x1a", b"24,51\r\n\x1a"), settings)
    assert bad[1] == ("line 2: found a trailer with '1 24,51', allowed: 1 lines and the sum 24.50",)
    assert "is no trailer" in parse_file(content.partition(b"\r\nT")[0], settings)[1][0]
    assert "allowed: 63 as in order_columns" in parse_file(b"1" * 70 + b"\n", settings)[1][0]


ORDERS_XML = """<?xml version="1.0" encoding="x-{encoding}"?><ORDERS xmlns="urn:x">
<ORDER nr="100"><TEIL>Größe</TEIL>
<AG><NR>10</NR><PLATZ>W1</PLATZ><MENGE>5</MENGE></AG><AG><NR>20</NR><PLATZ>W2</PLATZ><MENGE>5</MENGE></AG></ORDER>
<ORDER nr="101"><TEIL>B</TEIL><AG><NR>10</NR><PLATZ>W1</PLATZ><MENGE>7</MENGE></AG></ORDER></ORDERS>"""
PATHS = (
    Column(name="../@nr", value="order"),
    Column(name="../TEIL", value="product"),
    Column(name="NR", value="operation"),
    Column(name="PLATZ", value="work_center"),
    Column(name="MENGE", value="quantity"),
    Column(value="uom", constant="PC"),
)


@pytest.mark.parametrize("encoding", CODE_PAGES)
def test_orders_of_xml(encoding):
    settings = settings_of(format="xml", template="t", order_path="ORDERS/ORDER", operation_path="AG",
                           order_columns=PATHS, encoding=encoding)  # fmt: skip
    text = ORDERS_XML.replace("x-{encoding}", "utf-8" if encoding == "utf-8" else "x-other")
    orders, reasons = parse_file(text.encode(encoding), settings)
    assert reasons == ()
    assert [(one.order, one.product, len(one.operations), one.quantity) for one in orders] == [
        ("100", "Größe", 2, 5),
        ("101", "B", 1, 7),
    ]
    bomb = '<!DOCTYPE a [<!ENTITY x "y">]><ORDERS>&x;</ORDERS>'
    assert parse_file(bomb.encode(encoding), settings)[1] == (
        "line 1: found an entity or an external document, allowed: plain XML",
    )
    assert parse_file(b"<ORDERS><ORDER", settings)[1][0].endswith("allowed: XML that is complete")
    broken = text.replace("<NR>20</NR>", "").encode(encoding)
    assert parse_file(broken, settings)[1][0].startswith("order 1, operation 2, operation: is missing")


SCHEDULE = """<?xml version="1.0" encoding="UTF-8"?>
<SyncOperationsSchedule xmlns="http://www.mesa.org/xml/B2MML" releaseID="0700" versionID="0700">
 <ApplicationArea><Sender><LogicalID>ERP</LogicalID></Sender><CreationDateTime>2026-11-22T06:00:00Z</CreationDateTime>
  <BODID>s-17</BODID></ApplicationArea>
 <DataArea><Sync><ActionCriteria><ActionExpression actionCode="Add"/></ActionCriteria></Sync>
  <OperationsSchedule><ID>s-17</ID><PublishedDate>2026-11-22T06:00:00Z</PublishedDate>
   <OperationsType>Production</OperationsType>
   <OperationsRequest><ID>1000001</ID><StartTime>2026-11-23T06:00:00Z</StartTime><EndTime>2026-11-23T14:00:00Z</EndTime>
    <Priority>5</Priority><RequestState>Released</RequestState>
    <SegmentRequirement><ID>1000001/0/0010</ID><ProcessSegmentID>MOULDING</ProcessSegmentID>
     <OperationsDefinitionID>R1</OperationsDefinitionID><OperationsSegmentID>0010</OperationsSegmentID>
     <SegmentState>Released</SegmentState>
     <EquipmentRequirement><ID>e1</ID><EquipmentID>IMM07</EquipmentID></EquipmentRequirement>
     <MaterialRequirement><ID>m1</ID><MaterialDefinitionID>FG-100</MaterialDefinitionID>
      <MaterialUse>Produced</MaterialUse><Quantity><QuantityString>100</QuantityString><DataType>decimal</DataType>
      <UnitOfMeasure>C62</UnitOfMeasure></Quantity></MaterialRequirement>
     <MaterialRequirement><ID>m2</ID><MaterialDefinitionID>RM-010</MaterialDefinitionID>
      <MaterialUse>Consumed</MaterialUse><Quantity><QuantityString>12.500</QuantityString><DataType>decimal</DataType>
      <UnitOfMeasure>KGM</UnitOfMeasure></Quantity></MaterialRequirement>
    </SegmentRequirement></OperationsRequest></OperationsSchedule></DataArea></SyncOperationsSchedule>"""


def test_orders_of_b2mml():
    settings = settings_of(format="b2mml")
    (order,), reasons = parse_file(SCHEDULE.encode(), settings)
    assert reasons == ()
    assert (order.order, order.product, order.quantity, order.uom) == ("1000001", "FG-100", 100, "C62")
    assert (order.revision, order.priority, order.planned_start_ns) == (1795327200, 5, 1795413600 * 10**9)
    (operation,) = order.operations
    assert (operation.operation, operation.work_center) == ("0010", "IMM07")
    assert order.echo == {"b2mml_schedule": "s-17", "b2mml_segment_0010": "1000001/0/0010"}
    (part,) = order.image.components
    assert (part.item, part.quantity, part.uom, part.operation, part.fixed) == (
        "RM-010", Decimal("0.125"), "KGM", "0010", False,
    )  # fmt: skip
    ((order,), _) = parse_file(SCHEDULE.replace(">Consumed<", ">By-product Produced<").encode(), settings)
    assert [(one.item, one.kind) for one in order.image.components] == [("RM-010", "by_product")]


@pytest.mark.parametrize(
    ("state", "cancelled", "hold", "status"),
    [
        ("Forecast", False, "", "planned"),
        ("Held", False, "RequestState Held", "released"),
        ("Aborted", True, "", "released"),
        ("Completed", False, "", "closed"),
        ("Ready", False, "", "released"),
    ],
)
def test_the_state_of_a_request(state, cancelled, hold, status):
    text = SCHEDULE.replace("RequestState>Released", f"RequestState>{state}", 1)
    (order,), reasons = parse_file(text.encode(), settings_of(format="b2mml"))
    assert reasons == ()
    assert (order.cancelled, order.image.hold, order.image.status) == (cancelled, hold, status)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("SyncOperationsSchedule", "SyncProductionSchedule"), "line 1: found SyncProductionSchedule, allowed: Sync"),
        (("/xml/B2MML", "/xml/B2MML-V0600"), "line 1: found the namespace 'http://www.mesa.org/xml/B2MML-V0600'"),
        (("<EquipmentID>IMM07</EquipmentID>", ""), "order 1000001, operation 0010, work_center: is missing"),
        (("<QuantityString>100<", "<QuantityString>many<"), "order 1000001, operation 0010, quantity: found 'many'"),
        (("</DataArea>", ""), "line "),
    ],
)
def test_a_schedule_that_is_refused(change, reason):
    orders, reasons = parse_file(SCHEDULE.replace(*change).encode(), settings_of(format="b2mml"))
    assert orders == ()
    assert reasons[0].startswith(reason)


def test_a_partner_of_an_older_release():
    older = "http://www.mesa.org/xml/B2MML-V0600"
    settings = settings_of(format="b2mml", namespace=older)
    text = SCHEDULE.replace("http://www.mesa.org/xml/B2MML", older)
    assert parse_file(text.encode(), settings)[0][0].order == "1000001"


def test_a_confirmation_of_b2mml(render, whole):
    made = render(image={**whole, "type": "final"}, format="b2mml", ack="file")
    root = fromstring(made.body)
    at = f"{NS}DataArea/{NS}OperationsPerformance"
    segment = root.find(f"{at}/{NS}OperationsResponse/{NS}SegmentResponse")
    assert root.findtext(f"{NS}ApplicationArea/{NS}BODID") == whole["confirmation_id"]
    assert root.findtext(f"{at}/{NS}Endtime") == "2026-10-25T22:59:59.000Z"
    assert root.findtext(f"{at}/{NS}OperationsScheduleID") == "sched-1"
    assert (segment.findtext(f"{NS}SegmentRequirementID"), segment.findtext(f"{NS}SegmentState")) == (
        "REQ-7", "Completed",
    )  # fmt: skip
    found = [
        (
            one.findtext(f"{NS}MaterialUse"),
            one.find(f"{NS}MaterialUse").get("OtherValue"),
            one.findtext(f"{NS}Quantity/{NS}QuantityString"),
            one.findtext(f"{NS}Quantity/{NS}UnitOfMeasure"),
            one.findtext(f"{NS}MaterialActualProperty/{NS}Value/{NS}ValueString"),
        )
        for one in segment.findall(f"{NS}MaterialActual")
    ]
    assert found == [
        ("Produced", None, "10", "H87", None),
        ("Other", "Scrap", "1", "H87", "Riß"),
        ("Other", "Scrap", "3", "H87", "<&\"'>"),
        ("Other", "Rework", "2", "H87", None),
    ]


def test_the_id_of_a_segment_that_no_schedule_named(render, document):
    body = render(image=document(1), format="b2mml", segment_id="{order}-{operation}").body
    assert b"<SegmentRequirementID>100240-0010</SegmentRequirementID>" in body
    assert b"<SegmentRequirementID>100240/0/0010<" in render(image=document(1), format="b2mml").body


def test_a_reversal_of_b2mml_names_what_it_takes_back(render, whole):
    key = "RQ1/epochepochabc/100240/0010/1"
    image = {**whole, "type": "reversal", "reverses": key}
    image["qty"] = {"good": "-10", "scrap": [], "rework": "0"}
    root = fromstring(render(image=image, format="b2mml", correction="cancel").body)
    assert root.tag == f"{NS}CancelOperationsPerformance"
    from gateway.core.document import message_id_of

    assert root.findtext(f"{NS}DataArea/{NS}OperationsPerformance/{NS}ID") == message_id_of(key)
    assert fromstring(render(image=image, format="b2mml").body).tag == f"{NS}ProcessOperationsPerformance"


def test_b2mml_is_valid_by_its_schemas(render, whole, document):
    if not (SCHEMAS / "AllSchemas.xsd").exists():
        pytest.skip(f"the schemas of B2MML are not at hand in {SCHEMAS}; LINEGATE_B2MML names their folder")
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(SCHEMAS / "AllSchemas.xsd"))
    reversal = {**whole, "type": "reversal", "reverses": "RQ1/e/100240/0010/1"}
    for image, changes in (
        (whole, {}), ({**whole, "type": "final"}, {"ack": "file"}), (document(1), {}),
        (reversal, {"correction": "cancel"}),
    ):  # fmt: skip
        schema.assertValid(etree.fromstring(render(image=image, format="b2mml", **changes).body))
    schema.assertValid(etree.fromstring(SCHEDULE.encode()))
    wrong = render(image=whole, format="b2mml").body.replace(b"Endtime>", b"EndTime>")
    assert not schema.validate(etree.fromstring(wrong))


def test_the_name_of_a_file_comes_from_the_document_alone(render, document):
    first, second = render(seq=7, name_style="gateway"), render(seq=7, name_style="gateway")
    assert first == second
    parts = first.name.split("_")
    assert parts[:4] == ["CONF", "demo", "20261122T060100", "00000007"]
    assert len({render(seq=seq, name_style="gateway").name for seq in range(1, 50)}) == 49


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": ""}, "folder: is empty"),
        ({"url": "sftp://u@h/p"}, "folder and url: found both"),
        ({"folder": "", "url": "ftp://u@h/p"}, "url: found 'ftp://u@h/p', allowed: sftp"),
        ({"folder": "", "url": "sftp://u:p@h/p"}, "url: holds a password"),
        ({"folder": "", "url": "sftp://u@h/p"}, "host_key: is missing"),
        ({"folder": "", "url": "sftp://u@h/p", "host_key": "k"}, "password, private_key: are both missing"),
        ({"host_key": "x"}, "host_key: found without url"),
        ({"columns": (Column(name="x", value="god"),)}, "columns: found value 'god', allowed: activity_1"),
        ({"order_columns": (Column(name="x", value="god"),)}, "order_columns: found value 'god', allowed: base_qty"),
        ({"format": "fixed"}, "columns, order_columns: are missing"),
        ({"format": "fixed", "columns": (Column(value="order"),), "order_columns": ORDER_COLUMNS}, "without width"),
        ({"header": False}, "order_columns: is missing"),
        ({"format": "xml"}, "template, order_path, order_columns: one is missing"),
        ({"template": "x"}, "found without format xml"),
        ({"format": "b2mml", "encoding": "cp1252"}, "encoding: found 'cp1252' with format b2mml"),
        ({"format": "b2mml", "columns": (Column(name="x", value="good"),)}, "found with format b2mml"),
        ({"format": "b2mml", "trailer": "T"}, "trailer, append_to: found with format b2mml"),
        ({"segment_id": "x"}, "segment_id: found 'x'"),
        ({"append_to": "A"}, "append_to, semaphore, semaphore_held: found some of them"),
        ({"append_to": "A", "semaphore": "B", "semaphore_held": "C", "ack": "moved"}, "ack: found moved with append"),
        ({"append_to": "A", "semaphore": "B", "semaphore_held": "C", "checksum": True}, "found with append_to"),
        ({"orders_trigger": "OK"}, "orders_trigger: found 'OK'"),
        ({"orders_number": "("}, "orders_number: found '\\('"),
        ({"orders_number": "x"}, "with 0 groups"),
        ({"ack_booked": ("OK",), "ack_refused": ("ok",)}, "ack_booked, ack_refused"),
        ({"marker_file": "a/b"}, "marker_file: found 'a/b'"),
        ({"ack": "file", "receipts_folder": "orders"}, "found one folder twice"),
    ],
)
def test_settings_that_contradict(changes, message):
    with pytest.raises(ValueError, match=message):
        settings_of(**changes)


@pytest.mark.parametrize(
    "changes", [{"width": 0}, {"width": 501}, {"decimals": 7}, {"fill": "ab"}, {"name": "", "width": None}]
)
def test_columns_that_are_refused(changes):
    with pytest.raises(ValueError, match="found"):
        Column(**changes)
