"""The canonical document: data/confirmation.json is what an ERP has received since the first release."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from gateway.core import document
from gateway.core.model import Confirmation
from gateway.core.rules import CounterRule, OrderRule, Role

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
