"""Which reading of some registers is what a display shows."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest

from gateway.commission.decodings import matches, parse_shown, parse_words


def words_of(code, value, order="ABCD"):
    """Registers in which a device keeps a value, made here independently of the driver."""
    raw = struct.pack(f">{code}", value)
    pairs = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if order in ("CDAB", "DCBA"):
        pairs.reverse()
    if order in ("BADC", "DCBA"):
        pairs = [pair[::-1] for pair in pairs]
    return [int.from_bytes(pair, "big") for pair in pairs]


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize(
    ("kind", "code", "value", "shows", "scale"),
    [
        ("float32", "f", 123.4, "123.4", "1"),
        ("uint32", "I", 123_456_789, "123456789", "1"),
        ("int32", "i", -654_321, "-6543.21", "0.01"),
        ("uint64", "Q", 2**53 + 1, str(2**53 + 1), "1"),
        ("float64", "d", -0.0625, "-0.0625", "1"),
    ],
)
def test_the_right_type_and_order_come_first(kind, code, value, shows, scale, order):
    best = matches(words_of(code, value, order), parse_shown(shows))[0]
    assert (best.offset, best.type, best.order, best.scale) == (0, kind, order, scale)


def test_one_register_with_a_scale():
    best = matches([1234], parse_shown("123.4"))[0]
    assert (best.type, best.scale, best.value, best.also) == ("uint16", "0.1", 123.4, ("int16",))
    assert best.signal("input", 30) == {"table": "input", "address": 30, "type": "uint16", "scale": "0.1"}


def test_a_value_further_back_has_its_address():
    best = matches([1, 2, *words_of("f", 87.5, "CDAB")], parse_shown("87.5"))[0]
    assert best.signal("holding", 100) == {"table": "holding", "address": 102, "type": "float32", "order": "CDAB"}


def test_a_text():
    words = [int.from_bytes(pair, "big") for pair in (b"JO", b"B-", b"47", b"11", b"\0\0")]
    best = matches(words, parse_shown("JOB-4711"))[0]
    assert best.signal("holding", 8) == {"table": "holding", "address": 8, "type": "string", "length": 8}


def test_digits_of_the_display_are_the_tolerance():
    assert matches([1234], parse_shown("123"))[0].scale == "0.1"
    assert not matches([1240], parse_shown("123.4"))
    assert matches([1240], parse_shown("123.4", "1"))
    assert parse_shown("123,4").tolerance == Fraction(1, 20)
    assert parse_shown("1500").tolerance == Fraction(1, 2)


def test_what_reads_otherwise_is_left_out():
    assert matches([1, 2, 3, 4], parse_shown("987654.3")) == []


def test_nothing_and_next_to_nothing_prove_nothing():
    found = matches([10, 13, 0, 0], parse_shown("0.3", "1"))
    assert all(match.value for match in found)
    assert all(match.type != "float32" for match in found)
    assert matches([0], parse_shown("0"))


@pytest.mark.parametrize("text", ["70000", "-1", "x", "0xzz", ""])
def test_registers_that_are_none(text):
    with pytest.raises(ValueError, match="allowed"):
        parse_words([text])


def test_registers_as_people_copy_them():
    assert parse_words(["0x00ff,12", "7"]) == [255, 12, 7]


@pytest.mark.parametrize("tolerance", ["x", "-1", "nan"])
def test_a_tolerance_is_a_number(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        parse_shown("5", tolerance)
