import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.connectors.base import ConnectorError, OrderPage
from gateway.connectors.rest.orders import parse_page
from gateway.core.foreign_text import is_clean
from gateway.core.model import Operation, ProductionOrder


def page_of(*orders, cursor="17"):
    return json.dumps({"cursor": cursor, "orders": orders}).encode()


def test_a_complete_order(order_image):
    page = parse_page(page_of(order_image("100240"), cursor=17))
    assert page.cursor == "17"
    assert page.refused == ()
    assert tuple(replace(order, image=None) for order in page.orders) == (
        ProductionOrder(
            order="100240",
            revision=1,
            product="ASSY-D20",
            product_revision="F",
            uom="PC",
            quantity=Decimal(24),
            operations=(
                Operation(
                    operation="0010",
                    work_center="WC-ASM",
                    quantity=Decimal(24),
                    std_cycle_ns=2_400_000_000,
                    text="assemble",
                ),
                Operation(operation="0020", work_center="WC-PCK", quantity=Decimal(24)),
            ),
            sequence_no=10,
            priority=5,
            planned_start_ns=1_795_327_200_000_000_000,
            planned_end_ns=1_795_330_800_000_000_000,
            cancelled=False,
            echo={"type": "MTO", "sales_order": "S-1", "customer": "Müller", "cost_center": "K1"},
        ),
    )


def test_the_whole_document_becomes_the_image(order_image):
    operation = {
        "op": "0010", "work_center": "WC-ASM", "std_cycle_s": "30", "base_qty": 4, "cavities": 4, "std_setup_min": "20",
        "tool": "T-7", "required_skill": "mould", "control": {"milestone": True},
    }  # fmt: skip
    component = {"item": "PA66", "qty_per": "0.0012", "uom": "KG", "op": "0010", "lot_required": True}
    more = {"operations": [operation], "components": [component], "batch": "L1", "kind": "campaign", "hold": "customs"}
    (order,) = parse_page(page_of(order_image("1", over_tolerance_pct="5", documents=["D-1"], **more))).orders
    image = order.image
    (work,), (part,) = image.operations, image.components
    assert (image.batch, image.order_kind, image.hold, image.over_tolerance) == ("L1", "campaign", "customs", 5)
    assert (image.documents, image.order_type, image.priority) == (("D-1",), "MTO", 5)
    assert dict(image.echo)["type"] == "MTO"
    assert (work.tool, work.skill, work.std_setup_ns, work.control.milestone) == ("T-7", "mould", 1200 * 10**9, True)
    assert (part.item, part.quantity, part.lot_required) == ("PA66", Decimal("0.0012"), True)
    assert (work.std_cycle_ns, order.operations[0].std_cycle_ns) == (30 * 10**9, 7_500_000_000), "of one piece"


def test_documents_as_they_were_stay_valid(order_image):
    """What was read leniently until now is, whatever the image makes of it."""
    old = {"type": "ZP01", "cancelled": "no", "planned_end": "2020-01-01T00:00:00Z", "product": {"id": "P"}}
    operation = {"op": "1", "work_center": "W", "std_cycle_s": "1.23456789"}
    (order,) = parse_page(page_of(order_image("1", **old, operations=[operation] * 1))).orders
    assert (order.uom, order.image.uom, order.image.order_type, order.echo["type"]) == ("PC", "PC", "MTS", "ZP01")
    assert order.image.operations[0].std_cycle_ns == order.operations[0].std_cycle_ns == 1_234_567_890
    assert order.image.planned_end_ns == order.planned_end_ns


def test_the_smallest_order():
    image = {"order_id": "1", "product": {"id": "P"}, "qty": 5, "operations": [{"op": "10", "work_center": "W"}]}
    (order,) = parse_page(page_of(image)).orders
    assert (order.revision, order.uom, order.quantity, order.echo) == (0, "PC", 5, {})
    assert order.operations == (Operation(operation="10", work_center="W", quantity=Decimal(5)),)


def test_numbers_are_exact(order_image):
    body = page_of(order_image("1", qty="QTY")).replace(b'"QTY"', b"0.100001")
    (order,) = parse_page(body).orders
    assert order.quantity == Decimal("0.100001")


REFUSALS = [
    ({"order_id": None}, "order_id: is missing; it must be text"),
    ({"order_id": 100240}, "order_id: found 100240, allowed: text"),
    ({"order_id": ""}, "order_id: found '', allowed: 1 to 64"),
    ({"order_id": "a\nb"}, "no control characters"),
    ({"order_id": "x" * 65}, "1 to 64"),
    ({"revision": "two"}, "revision: found 'two', allowed: a whole number from 0 on"),
    ({"revision": -1}, "revision: found -1"),
    ({"revision": 1.5}, "revision: found 1.5"),
    ({"revision": True}, "revision: found True"),
    ({"product": "ASSY"}, "product: found 'ASSY', allowed: an object"),
    ({"product": {}}, "product.id: is missing"),
    ({"qty": "many"}, "qty: found 'many', allowed: a number above 0"),
    ({"qty": 0}, "qty: found 0"),
    ({"qty": "NaN"}, "qty: found 'NaN'"),
    ({"qty": "1e30"}, "qty: found '1e30'"),
    ({"qty": "1_000"}, "qty: found '1_000'"),
    ({"qty": "0.0000001"}, "at most 6 decimals"),
    ({"qty": None}, "qty: is missing"),
    ({"planned_start": "2026-11-22T06:00:00"}, "planned_start: found '2026-11-22T06:00:00', allowed: ISO 8601"),
    ({"planned_end": 17}, "planned_end: found 17"),
    ({"cancelled": "perhaps"}, "cancelled: found 'perhaps', allowed: true or false"),
    ({"operations": []}, "operations: found 0, allowed: a list of 1 to 500"),
    ({"operations": "x"}, "operations: found 'x'"),
    ({"operations": [5]}, "operations[0]: found 5, allowed: an object"),
    ({"operations": [{"op": "1"}]}, "operations[0].work_center: is missing"),
    ({"operations": [{"op": "1/2", "work_center": "W"}]}, "operations[0].op: found '1/2'"),
    (
        {"operations": [{"op": "1", "work_center": "W"}] * 2},
        "operations[1].op: found '1', allowed: each operation once",
    ),
    ({"operations": [{"op": "1", "work_center": "W", "std_cycle_s": 0}]}, "operations[0].std_cycle_s: found 0"),
    ({"operations": [{"op": "1", "work_center": "W", "std_cycle_s": "1e-99999"}]}, "std_cycle_s: found '1e-99999'"),
    ({"components": [{"item": "X", "uom": "KG", "qty_per": "x"}]}, "components[0].qty_per: found x, allowed: a number"),
    ({"kind": "weekly"}, "kind: found weekly, allowed: discrete, campaign, rework, sample"),
    (
        {"operations": [{"op": "1", "work_center": "W", "crew": "two"}]},
        "operations[0].crew: found two, allowed: a whole",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSALS)
def test_an_order_that_cannot_be_taken(order_image, changes, reason):
    page = parse_page(page_of(order_image("1"), order_image("100240", **changes), order_image("2")))
    assert [order.order for order in page.orders] == ["1", "2"]
    (refused,) = page.refused
    assert refused.place.startswith("orders[1]")
    assert len(refused.reasons) == 1
    assert reason in refused.reasons[0]


def test_every_reason_is_listed(order_image):
    page = parse_page(page_of(order_image("7", qty="x", revision="y", operations=[{"qty": "z"}])))
    assert len(page.refused[0].reasons) == 5
    assert page.refused[0].place == "orders[0] (7)"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"orders": []}',
        b'{"cursor": null, "orders": []}',
        b'{"cursor": true, "orders": []}',
        b'{"cursor": "1", "orders": {}}',
        b'{"cursor": "1", "orders": [NaN]}',
        b"[" * 100_000,
        b"\xff",
        json.dumps({"cursor": "x" * 2000, "orders": []}).encode(),
        b'{"cursor": "17\\ud800", "orders": []}',
        b'{"cursor": "17\\n", "orders": []}',
        b'{"cursor": "\\u001b[2J", "orders": []}',
        json.dumps({"cursor": "x", "orders": [0] * 10_001}).encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_page(body):
    with pytest.raises(ConnectorError, match="orders"):
        parse_page(body)


def test_a_refused_page_is_told_in_a_short_clean_line():
    with pytest.raises(ConnectorError) as refused:
        parse_page(json.dumps({"cursor": "\x1b[2J\n" + "x" * 100_000, "orders": []}).encode())
    assert is_clean(str(refused.value))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["A\x1b[31mRED\nWARNING everything is fine", "half \ud83d", "x" * 100_000])
def test_a_refused_order_is_told_in_short_clean_lines(order_image, name):
    page = parse_page(page_of(order_image(name, customer=name, text=name, operations=[{"op": name}] * 400)))
    (refused,) = page.refused
    assert refused.place.startswith(f"orders[0] ({name[0]}")
    assert len(refused.place) < 90
    assert len(refused.reasons) == 51
    assert refused.reasons[-1].startswith("... and ")
    for text in (refused.place, *refused.reasons):
        assert is_clean(text)
        assert len(text) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


NAMES = ("order_id", "revision", "product", "qty", "planned_start", "cancelled", "operations")


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy computer takes a second for the first drawing
@given(st.dictionaries(st.sampled_from(NAMES), json_values))
def test_any_order_is_taken_or_refused(image):
    page = parse_page(page_of(image))
    assert isinstance(page, OrderPage)
    assert len(page.orders) + len(page.refused) == 1
