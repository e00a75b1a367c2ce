import json
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
    assert page.orders == (
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
