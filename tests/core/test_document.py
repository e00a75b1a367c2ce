"""The canonical document: data/confirmation.json is what an ERP has received since the first release."""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from gateway.core import document
from gateway.core.model import Confirmation
from gateway.core.rules import CounterRule, OrderRule, Role
from gateway.core.rules_state import SetupRule, StateRule

GOLDEN = Path(__file__).parent / "data" / "confirmation.json"


@pytest.fixture
def made(rig):
    """An order with text that needs care, one partial confirmation, one final one."""
    counters = [CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in Role]
    floor = rig(*counters, orders=OrderRule(at_target="continue"))
    echo = (("sales_order", '80 "42"'), ("Kostenträger", "Rößler"))
    floor.at("1 s").order("4711", "100.50", product="ART-1", echo=echo, revision=3)
    for role in Role:
        floor.make(0, f"plc.{role}")
    floor.at("61.0015 s").make(12)
    floor.make(2, "plc.scrap")
    floor.at("90 s").says("interrupt", "4711")
    floor.at("100 s").says("start", "4711")
    floor.at("101 s").make(1, "plc.rework")
    floor.at("110 s").says("finish", "4711")
    return floor.all(Confirmation)


def test_the_golden_document(made, identity):
    """Field for field, in this order, byte for byte (the file is indented for the reader)."""
    golden = json.loads(GOLDEN.read_text())
    found = [document.fields(identity, confirmation) for confirmation in made]
    assert found == golden
    assert [document.encode(one) for one in found] == [
        json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() for one in golden
    ], "the order of the fields is part of the contract"


def test_every_field_stands_in_the_table_for_integrators(made, identity):
    """Field by field as the golden document has them; nothing that it has not."""

    def paths(value, path=""):
        leaf = not isinstance(value, dict) or path in ("echo", "machine_states")
        return (
            [path]
            if leaf
            else [one for key, inner in value.items() for one in paths(inner, f"{path}.{key}".strip("."))]
        )

    text = (Path(document.__file__).parents[1] / "connectors" / "CONFIRMATION.md").read_text().split("## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    # What only pieces on hold bring along is in the table, too.
    assert sorted(told) == sorted([*paths(document.fields(identity, made[0])), "components_held"])


def test_what_the_machine_says_is_on_it_is_the_tool(rig, identity):
    floor = rig(state=StateRule(setup=SetupRule(tool_signal="plc.tool", on_tool_change=False)))
    floor.value("plc.tool", "T9")
    floor.order("4711", 100)
    floor.make(0)
    floor.at("10 s").make(3)
    floor.says("confirm", "4711")
    (made,) = floor.all(Confirmation)
    assert document.fields(identity, made)["tool"] == "T9"
    assert document.digest_of(identity, made._replace(tool="T1")) != made.digest


@pytest.mark.parametrize(
    ("estimated", "pieces", "told"),
    [
        (0, {"good": 7}, {"any": False, "pieces": "0", "share": "0"}),
        (7, {"good": 5, "scrap": 2}, {"any": True, "pieces": "7", "share": "1"}),
        (1, {"good": 1, "rework": 1, "hold": 1}, {"any": True, "pieces": "1", "share": "0.3334"}),
        (1, {"good": 99_999, "test": 1}, {"any": True, "pieces": "1", "share": "0.0001"}),
        (-5, {"good": -10}, {"any": True, "pieces": "-5", "share": "0.5"}),
        (9, {"good": 3}, {"any": True, "pieces": "9", "share": "1"}),
        (3, {}, {"any": True, "pieces": "3", "share": "1"}),
    ],
)
def test_the_share_that_is_estimated(made, identity, estimated, pieces, told):
    nothing = dict.fromkeys(("good", "scrap", "rework", "test", "hold"), 0)
    confirmation = made[0]._replace(estimated_pieces=estimated, scrap_reasons=(), **nothing | pieces)
    assert document.fields(identity, confirmation)["estimated"] == told


def test_the_digest_can_be_recomputed_from_the_document_alone(made, identity):
    previous = ""
    for confirmation in made:
        received = json.loads(document.encode(document.fields(identity, confirmation)))
        claimed = received.pop("hash")
        plain = json.dumps(received, ensure_ascii=False, separators=(",", ":")).encode()
        assert hashlib.sha256(plain).hexdigest() == claimed == confirmation.digest
        assert received["prev_hash"] == previous
        previous = claimed


@pytest.mark.parametrize(
    "change", [{"good": 13}, {"seq": 9}, {"flags": ("X",)}, {"previous_digest": "0"}, {"created_ns": 0}]
)
def test_every_change_shows_in_the_digest(made, identity, change):
    assert document.digest_of(identity, made[0]._replace(**change)) != made[0].digest


def test_quantities_are_decimal_strings(made, identity):
    def numbers(value, path=""):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from numbers(inner, f"{path}/{key}")
        elif isinstance(value, list):
            for inner in value:
                yield from numbers(inner, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path

    for confirmation in made:
        found = document.fields(identity, confirmation)
        assert set(numbers(found)) == {"/schema_version", "/order_revision", "/seq", "/cycles"}, (
            "no quantity is a number"
        )
        assert Decimal(found["qty"]["good"]) == confirmation.good


def test_the_key_and_its_id_never_change(made):
    assert [confirmation.key for confirmation in made] == ["P1/e0/4711/0010/1", "P1/e0/4711/0010/2"]
    assert document.message_id_of("P1/e0/4711/0010/1") == made[0].message_id
    assert UUID(made[0].message_id).version == 5
    assert made[0].message_id == json.loads(GOLDEN.read_text())[0]["confirmation_id"]


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_780_000_000_999_999_999, "2026-05-28T20:26:40.999Z"),
        (1_780_000_000_001_000_000, "2026-05-28T20:26:40.001Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(time_ns, text):
    assert document.utc(time_ns) == text
