"""An order as the ERP releases it: read whole, refused whole (data/order_image.txt), kept as JSON, hashed."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.orders.order_image import (
    Component,
    Control,
    FlushMethod,
    ImageOperation,
    OrderImage,
    OrderKind,
    OrderType,
    decode,
    encode,
    snapshot_hash,
)
from gateway.core.orders.order_image_fields import ImageRefused, read

TABLE = Path(__file__).parent / "data" / "order_image.txt"
WHOLE = {
    "order_id": "100240",
    "revision": 3,
    "type": "MTO",
    "kind": "discrete",
    "product": {"id": "ASSY-D20", "revision": "B", "uom": "PC", "conversions": {"BOX": "24"}},
    "qty": "4800",
    "under_tolerance_pct": "2.5",
    "planned_start": "2026-03-27T06:00:00+01:00",
    "planned_end": "2026-03-28T22:00:00+01:00",
    "priority": 2,
    "sequence_no": 40,
    "operations": [
        {
            "op": "0010",
            "work_center": "WC-1",
            "std_setup_min": "30",
            "std_cycle_s": "14.4",
            "base_qty": "8",
            "cavities": 8,
            "std_scrap_pct": "1.5",
            "tool": "T-20",
            "recipe": "R-7",
            "control": {"milestone": True, "overlap": True},
        },
        {"op": "0020", "work_center": "WC-2", "qty": 4700, "crew": 2, "required_skill": "PACK", "text": "pack"},
    ],
    "components": [
        {"item": "GRAN", "qty_per": "1.2", "uom": "G", "op": "0010", "scrap_pct": "0.5", "flush_method": "backflush"},
        {"item": "ORING", "qty_per": 1, "uom": "PC", "lot_required": True, "flush_method": "manual"},
        {"item": "PURGE", "qty_per": "250", "uom": "G", "fixed": True, "serialised": False},
    ],
    "sales_order": "SO-9",
    "cost_center": "4711",
    "documents": ["WI-20", "SAFETY"],
    "quality_plan": "QP-1",
    "batch": "B26-113",
    "hold": "",
}
MINIMAL = {
    "order_id": "1",
    "product": {"id": "CAP", "uom": "PC"},
    "qty": 5,
    "operations": [{"op": "0010", "work_center": "WC-1"}],
}


def with_value(path, value, base=WHOLE):
    document = deepcopy(base)
    *way, last = path
    place = document
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def test_a_whole_order():
    image = read(WHOLE, "erp", work_centers={"WC-1", "WC-2"}, units={"PC"})
    assert isinstance(image, OrderImage)
    assert (image.source, image.order, image.revision) == ("erp", "100240", 3)
    assert (image.product, image.product_revision, image.uom) == ("ASSY-D20", "B", "PC")
    assert (image.order_type, image.order_kind) == (OrderType.MTO, OrderKind.DISCRETE)
    assert image.conversions == (("BOX", Decimal(24)),)
    assert (image.under_tolerance, image.over_tolerance, image.allowed_over) == (Decimal("2.5"), None, Decimal(0))
    assert image.planned_start_ns == 1_774_587_600_000_000_000
    assert image.echo == (("sales_order", "SO-9"), ("cost_center", "4711"))
    first, packing = image.operations
    assert first == ImageOperation(
        operation="0010",
        work_center="WC-1",
        quantity=Decimal(4800),
        std_setup_ns=1_800_000_000_000,
        std_cycle_ns=14_400_000_000,
        base_quantity=Decimal(8),
        cavities=8,
        std_scrap=Decimal("1.5"),
        tool="T-20",
        recipe="R-7",
        control=Control(milestone=True, overlap=True),
    )
    assert first.unit_time_ns == Fraction(1_800_000_000)
    assert (packing.quantity, packing.crew, packing.skill, packing.unit_time_ns) == (Decimal(4700), 2, "PACK", None)
    assert image.components == (
        Component("GRAN", Decimal("1.2"), "G", "0010", scrap=Decimal("0.5")),
        Component("ORING", Decimal(1), "PC", lot_required=True, flush_method=FlushMethod.MANUAL),
        Component("PURGE", Decimal(250), "G", fixed=True),
    )
    assert (image.documents, image.quality_plan, image.batch) == (("WI-20", "SAFETY"), "QP-1", "B26-113")


def test_the_least_that_is_an_order():
    image = read(MINIMAL, "erp")
    assert isinstance(image, OrderImage)
    assert image.operations == (ImageOperation("0010", "WC-1", Decimal(5)),)
    assert (image.order_type, image.allowed_over, image.components) == (OrderType.MTS, None, ())


def test_what_is_not_known_is_passed_over():
    assert read({**MINIMAL, "colour": "red"}, "erp") == read(MINIMAL, "erp")


def wrong_fields():
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            place, value, error = line.split(" | ", 2)
            path = [int(step) if step.isdecimal() else step for step in re.findall(r"\w+", place)]
            yield pytest.param(path, ... if value == "nothing" else json.loads(value), error, id=f"{place}-{value}")


@pytest.mark.parametrize(("path", "value", "reason"), list(wrong_fields()))
def test_a_wrong_field_refuses_the_order(path, value, reason):
    refused = read(with_value(path, value), "erp", work_centers={"WC-1", "WC-2"}, units={"PC", "KG"})
    assert isinstance(refused, ImageRefused)
    (error,) = refused.errors
    assert str(error) == reason


def test_every_error_is_told_at_once():
    document = with_value(["qty"], -1)
    document["operations"][0]["op"] = ""
    document["product"]["id"] = None
    refused = read(document, "erp")
    assert isinstance(refused, ImageRefused)
    assert refused.order == "100240"
    # The component names an operation that there is no more.
    found = [error.path for error in refused.errors]
    assert found == ["qty", "operations[0].op", "product.id", "components[0].op"]


def test_two_last_operations_are_one_too_many():
    document = deepcopy(WHOLE)
    for one in document["operations"]:
        one["control"] = {"final_op": True}
    (error,) = read(document, "erp").errors
    assert str(error) == "operations: found final_op at 0010, 0020, allowed: final_op at one operation at most"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, "op", "id", "uom"]), inner),
    max_leaves=12,
)
PLACES = [
    *([name] for name in WHOLE),
    *(["operations", 0, name] for name in WHOLE["operations"][0]),
    *(["components", 0, name] for name in WHOLE["components"][0]),
    *(["product", name] for name in WHOLE["product"]),
]


@given(st.sampled_from(PLACES), ANYTHING)
def test_whatever_stands_there_it_is_an_image_or_refused(path, value):
    result = read(with_value(path, value), "erp")
    if isinstance(result, OrderImage):
        assert decode(json.loads(json.dumps(encode(result)))) == result
        json.dumps(encode(result)).encode()
    else:
        assert result.errors
        assert all(error.path and error.allowed for error in result.errors)
        "\n".join(map(str, result.errors)).encode()


@given(st.dictionaries(st.sampled_from([*WHOLE]), ANYTHING, max_size=5))
def test_a_document_of_anything(document):
    """Whatever is there and whatever is not: never an exception, and never an image without its parts."""
    result = read(document, "erp")
    assert isinstance(result, OrderImage | ImageRefused)
    if isinstance(result, OrderImage):
        assert result.order
        assert result.operations


@pytest.mark.parametrize("document", [WHOLE, MINIMAL])
def test_an_image_survives_json(document):
    image = read(document, "erp")
    stored = json.loads(json.dumps(encode(image)))
    assert decode(stored) == image
    assert encode(decode(stored)) == stored


# --- the hash --------------------------------------------------------------------------------------------------------


def hashed(path=None, value=None):
    return snapshot_hash(read(with_value(path, value) if path else WHOLE, "erp"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["revision"], 4),
        (["qty"], 9),
        (["planned_end"], "2026-03-29T22:00:00+01:00"),
        (["operations", 1, "text"], "other"),
        (["operations", 1, "qty"], 3),
        (["batch"], "B9"),
        (["operations", 0, "base_qty"], "8.000"),
        (["components", 0, "qty_per"], "1.20"),
        (["components"], WHOLE["components"][::-1]),
    ],
)
def test_the_hash_is_of_bom_and_routing_only(path, value):
    assert hashed(path, value) == hashed()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["product", "id"], "OTHER"),
        (["product", "revision"], "C"),
        (["product", "uom"], "KG"),
        (["operations", 0, "tool"], "T-21"),
        (["operations", 0, "std_cycle_s"], "14.5"),
        (["operations", 0, "work_center"], "WC-3"),
        (["operations"], [WHOLE["operations"][0]]),
        (["operations"], WHOLE["operations"][::-1]),
        (["components", 0, "qty_per"], "1.3"),
        (["components", 1, "lot_required"], False),
        (["components"], WHOLE["components"][:2]),
    ],
)
def test_the_hash_sees_what_is_made_of_what_and_how(path, value):
    document = with_value(path, value)
    if path == ["operations"]:
        document["components"][0].pop("op")
        assert snapshot_hash(read(document, "erp")) != snapshot_hash(read(document | WHOLE, "erp"))
        return
    assert hashed(path, value) != hashed()


def test_the_operation_before():
    operations = [("0010", "0"), ("0015", "1"), ("0020", "0"), ("0030", "0")]
    image = read(MINIMAL, "erp")._replace(
        operations=tuple(ImageOperation(op, "WC-1", Decimal(1), sequence=seq) for op, seq in operations)
    )
    before = {op: image.predecessor(op) for op, _ in operations}
    assert {op: one and one.operation for op, one in before.items()} == {
        "0010": None,
        "0015": None,
        "0020": "0010",
        "0030": "0020",
    }
    assert image.predecessor("0099") is None
