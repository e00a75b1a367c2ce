import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.layout import ORDERS, REGISTERS_OF
from drivers.modbus.plan import Field, Limits, plan
from drivers.modbus.registers import decode_all, decoder
from drivers.scaling import Scaling

LIMITS = Limits(125, 2_000, 8)


def words_of(code, value):
    data = struct.pack(">" + code, value)
    return list(struct.unpack(f">{len(data) // 2}H", data))


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("uint16", [65_535], 65_535),
        ("int16", [65_535], -1),
        ("int16", [0x8000], -32_768),
        ("uint32", [0x0001, 0x0000], 65_536),
        ("uint32", [0xFFFF, 0xFFFF], 4_294_967_295),
        ("int32", [0xFFFF, 0xFFFE], -2),
        ("uint64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], 18_446_744_073_709_551_615),
        ("uint64", [0x0020, 0x0000, 0x0000, 0x0001], 9_007_199_254_740_993),
        ("int64", [0x8000, 0, 0, 0], -9_223_372_036_854_775_808),
        ("float32", [0x4144, 0xCCCD], struct.unpack(">f", b"\x41\x44\xcc\xcd")[0]),
        ("float64", words_of("d", 0.1), 0.1),
        ("float32", [0x7FC0, 0x0000], None),
        ("float32", [0x7F80, 0x0000], None),
        ("float64", words_of("d", -math.inf), None),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_words_become_exact_values_in_every_order(kind, words, value, order):
    field = Field("plc.x", "holding", 10, kind, order)
    (request,) = plan([field], LIMITS)
    (found,) = decoder(request, request.fields)(reordered(words, order))
    assert found == value
    assert type(found) is type(value)


def reordered(words, order):
    """The registers of a device that keeps a big-endian number in another order."""
    if order in ("BADC", "DCBA"):
        words = [word >> 8 | (word & 0xFF) << 8 for word in words]
    return words[::-1] if order in ("CDAB", "DCBA") else words


def test_the_orders_are_those_of_their_letters():
    abcd, efgh = 0x0A0B_0C0D, 0x0E0F_0102
    read = {order: [0x0A0B, 0x0C0D] for order in ORDERS}
    read |= {"CDAB": [0x0C0D, 0x0A0B], "BADC": [0x0B0A, 0x0D0C], "DCBA": [0x0D0C, 0x0B0A]}
    for order, words in read.items():
        field = Field("plc.x", "holding", 0, "uint32", order)
        (request,) = plan([field], LIMITS)
        assert decoder(request, [field])(words) == [abcd]
    field = Field("plc.x", "holding", 0, "uint64", "DCBA")
    (request,) = plan([field], LIMITS)
    assert decoder(request, [field])([0x0201, 0x0F0E, 0x0D0C, 0x0B0A]) == [abcd << 32 | efgh]


@pytest.mark.parametrize(
    ("field", "words", "value"),
    [
        (Field("", "holding", 0, "uint8"), [0xFF07], 7),
        (Field("", "holding", 0, "uint8", byte="high"), [0xFF07], 255),
        (Field("", "holding", 0, "int8", byte="high"), [0xFF07], -1),
        (Field("", "holding", 0, "int8", "BADC"), [0xFF07], -1),
        (Field("", "holding", 0, "bit", "BADC", bit=0), [0x0100], True),
        (Field("", "holding", 0, "bit", bit=15), [0x8000], True),
        (Field("", "holding", 0, "float16"), [0x3E00], 1.5),
        (Field("", "holding", 0, "float16"), [0x7C00], None),
        (Field("", "holding", 0, "bcd16"), [0x1234], 1234),
        (Field("", "holding", 0, "bcd16"), [0x0007], 7),
        (Field("", "holding", 0, "bcd16"), [0x12A4], None),
        (Field("", "holding", 0, "bcd16", "BADC"), [0x3412], 1234),
        (Field("", "holding", 0, "bcd32"), [0x1234, 0x5678], 12_345_678),
        (Field("", "holding", 0, "bcd32", "CDAB"), [0x5678, 0x1234], 12_345_678),
        (Field("", "holding", 0, "bcd32"), [0x1234, 0x567F], None),
        (Field("", "holding", 0, "bcd16", scaling=Scaling.parse("0.1", None)), [0x0125], 12.5),
        (Field("", "holding", 0, "float32", scaling=Scaling.parse("2", "1")), [0x3FC0, 0], 4.0),
        (Field("", "holding", 0, "string", length=6), [0x4F52, 0x442D, 0x3139], "ORD-19"),
        (Field("", "holding", 0, "string", "BADC", length=6), [0x524F, 0x2D44, 0x3931], "ORD-19"),
        (Field("", "holding", 0, "string", "CDAB", length=6), [0x4F52, 0x442D, 0x3139], "ORD-19"),
        (Field("", "holding", 0, "string", length=5), [0x4F52, 0x442D, 0x3139], "ORD-1"),
        (Field("", "holding", 0, "string", length=6), [0x4F52, 0x0044, 0x3139], "OR"),
        (Field("", "holding", 0, "string", length=6), [0x4F52, 0x2020, 0x0D0A], "OR"),
        (Field("", "holding", 0, "string", length=4), [0, 0], ""),
        (Field("", "holding", 0, "string", length=4), [0x4F07, 0x4F4F], None),
        (Field("", "holding", 0, "string", length=4), [0x4FE4, 0x4F4F], None),
        (Field("", "holding", 0, "string", length=4, encoding="latin-1"), [0x4FE4, 0x4F4F], "OäOO"),
        (Field("", "holding", 0, "string", length=4, encoding="utf-8"), [0x4FC3, 0xA44F], "OäO"),
    ],
)
def test_small_numbers_decimal_digits_and_texts(field, words, value):
    (request,) = plan([field], LIMITS)
    (found,) = decoder(request, [field])(words)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("scale", "offset", "raw", "value"),
    [
        ("0.1", None, 123, 12.3),
        ("0.1", None, 120, 12),
        ("0.001", "-50", 50_000, 0),
        (None, "-0.5", 1, 0.5),
        ("10", None, 6_553, 65_530),
        ("0.3333", "0.0001", 3, 1),
        ("-1", None, 7, -7),
    ],
)
def test_scaled_integers_are_exact_and_integral_ones_stay_integers(scale, offset, raw, value):
    field = Field("plc.x", "holding", 0, "uint16", scaling=Scaling.parse(scale, offset))
    (request,) = plan([field], LIMITS)
    (found,) = decoder(request, [field])([raw])
    assert found == value
    assert type(found) is type(value)


def test_a_scaled_64_bit_number_loses_nothing():
    field = Field("plc.x", "holding", 0, "uint64", scaling=Scaling.parse("0.5", None))
    (request,) = plan([field], LIMITS)
    assert decoder(request, [field])([0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]) == [9_223_372_036_854_775_807]


def test_a_scale_of_one_is_no_scale():
    assert Scaling.parse("1.0", "0") is None


def test_fields_may_overlap_and_come_in_any_order():
    fields = [
        Field("plc.state.3", "holding", 5, "bit", bit=3),
        Field("plc.state.0", "holding", 5, "bit", bit=0),
        Field("plc.state", "holding", 5, "uint16"),
        Field("plc.long", "holding", 4, "uint32", "CDAB"),
        Field("plc.first", "holding", 2, "int16"),
    ]
    (request,) = plan(fields, LIMITS)
    assert (request.address, request.length) == (2, 4)
    assert list(decoder(request, fields)([0xFFFF, 0, 0x0002, 0x0009])) == [True, True, 9, 0x0009_0002, -1]


CODES = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float16": "e"}
CODES |= {"float32": "f", "float64": "d", "uint8": "xB", "int8": "xb"}


@st.composite
def fields_in(draw):
    kinds = st.lists(
        st.tuples(st.sampled_from(sorted(CODES)), st.sampled_from(ORDERS), st.integers(0, 400)), min_size=1
    )
    return [
        Field(f"plc.{number}", "holding", address, kind, order)
        for number, (kind, order, address) in enumerate(draw(kinds))
    ]


@given(fields_in(), st.lists(st.integers(0, 65_535), min_size=410, max_size=410))
def test_decoding_agrees_with_a_plain_reading_of_the_memory(fields, memory):
    for request in plan(fields, LIMITS):
        answer = memory[request.address : request.address + request.length]
        for field, found in zip(request.fields, decoder(request, request.fields)(answer), strict=True):
            words = reordered(memory[field.address : field.address + REGISTERS_OF[field.type]], field.order)
            (value,) = struct.unpack(">" + CODES[field.type], struct.pack(f">{len(words)}H", *words))
            assert found == value or (found is None and not math.isfinite(value))


def test_all_decodings_of_a_number_name_the_right_one():
    words = [0x0000, 0x42F6]  # 123.0 as float32, low register first
    matching = [(found.type, found.order) for found in decode_all(words) if found.value == 123.0]
    assert matching == [("float32", "CDAB")]
    assert ("uint32", "ABCD", None, 2, 0x42F6) in decode_all(words)


def test_all_decodings_have_every_type_and_no_values_that_are_none():
    words = [0x1234, 0x5678, 0x3132, 0x3334]
    found = decode_all(words)
    assert {decoding.type for decoding in found} == set(REGISTERS_OF) - {"bit"}, "no text: 0x12 cannot be printed"
    assert all(decoding.value is not None for decoding in found)
    assert {d.order for d in found if d.type == "uint64"} == set(ORDERS)
    assert {(d.byte, d.value) for d in found if d.type == "uint8"} == {("high", 0x12), ("low", 0x34)}
    assert [d.value for d in decode_all([0x4142]) if d.type == "string"] == ["AB", "BA"]
    assert {d.registers for d in decode_all([0x4142])} == {1}


def test_bits_of_a_bit_table_are_taken_as_they_are():
    fields = [Field("plc.b", "coil", 7, "bit"), Field("plc.a", "coil", 3, "bit")]
    (request,) = plan(fields, LIMITS)
    assert list(decoder(request, fields)([True, False, False, False, False])) == [False, True]
