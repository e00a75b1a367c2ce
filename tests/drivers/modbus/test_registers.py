import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.registers import Field, Scaling, decoder, fields_of, plan
from drivers.modbus.settings import REGISTERS_OF, ModbusBlock, ModbusSettings, ModbusSignal

TYPES = sorted(set(REGISTERS_OF) - {"bit"})


@st.composite
def sets_of_fields(draw):
    fields = []
    for number in range(draw(st.integers(1, 30))):
        table = draw(st.sampled_from(["holding", "input", "coil", "discrete"]))
        kind = draw(st.sampled_from(TYPES)) if table in ("holding", "input") else "bit"
        address = draw(st.integers(0, 400) | st.integers(65_000, 65_536 - REGISTERS_OF[kind]))
        fields.append(Field(f"plc.{number}", table, address, kind, low_first=draw(st.booleans())))
    return fields


@given(sets_of_fields(), st.integers(4, 125), st.integers(0, 20))
def test_a_plan_has_every_field_once_untorn_within_the_limits(fields, max_registers, max_hole):
    requests = plan(fields, max_registers, max_hole)
    assert sorted(f.name for r in requests for f in r.fields) == sorted(f.name for f in fields)
    for request in requests:
        factor = 16 if request.table in ("coil", "discrete") else 1
        assert 1 <= request.length <= max_registers * factor
        touched = set()
        for field in request.fields:
            assert field.table == request.table
            span = range(field.address, field.address + field.width)
            assert request.address <= span[0]
            assert span[-1] < request.address + request.length
            touched |= set(span)
        holes = sorted(set(range(request.address, request.address + request.length)) - touched)
        runs = [list(g) for g in _runs(holes)]
        assert all(len(run) <= max_hole * factor for run in runs)
        assert {request.address, request.address + request.length - 1} <= touched


def _runs(numbers):
    run = []
    for number in numbers:
        if run and number != run[-1] + 1:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


@given(sets_of_fields())
def test_neighbours_within_the_limits_share_a_request(fields):
    requests = plan(fields, 125, 8)
    by_table = {}
    for request in requests:
        by_table.setdefault(request.table, []).append(request)
    for table, several in by_table.items():
        factor = 16 if table in ("coil", "discrete") else 1
        for one, two in itertools.pairwise(several):
            first = two.fields[0]
            gap = first.address - (one.address + one.length)
            joint = max(one.address + one.length, first.address + first.width) - one.address
            assert gap > 8 * factor or joint > 125 * factor


def test_a_value_wider_than_a_request_is_refused():
    with pytest.raises(ValueError, match="takes 4 registers"):
        plan([Field("plc.total", "holding", 0, "uint64")], 3, 0)


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
@pytest.mark.parametrize("low_first", [False, True])
def test_words_become_exact_values_in_either_order(kind, words, value, low_first):
    field = Field("plc.x", "holding", 10, kind, low_first=low_first)
    (request,) = plan([field], 125, 0)
    (found,) = decoder(request, request.fields)(words[::-1] if low_first else words)
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
    (request,) = plan([field], 125, 0)
    (found,) = decoder(request, [field])([raw])
    assert found == value
    assert type(found) is type(value)


def test_a_scaled_64_bit_number_loses_nothing():
    field = Field("plc.x", "holding", 0, "uint64", scaling=Scaling.parse("0.5", None))
    (request,) = plan([field], 125, 0)
    assert decoder(request, [field])([0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]) == [9_223_372_036_854_775_807]


def test_a_scale_of_one_is_no_scale():
    assert Scaling.parse("1.0", "0") is None


def test_fields_may_overlap_and_come_in_any_order():
    fields = [
        Field("plc.state.3", "holding", 5, "bit", bit=3),
        Field("plc.state.0", "holding", 5, "bit", bit=0),
        Field("plc.state", "holding", 5, "uint16"),
        Field("plc.long", "holding", 4, "uint32", low_first=True),
        Field("plc.first", "holding", 2, "int16"),
    ]
    (request,) = plan(fields, 125, 8)
    assert (request.address, request.length) == (2, 4)
    assert list(decoder(request, fields)([0xFFFF, 0, 0x0002, 0x0009])) == [True, True, 9, 0x0009_0002, -1]


@given(st.data())
def test_decoding_agrees_with_a_plain_reading_of_the_memory(data):
    fields = [f for f in data.draw(sets_of_fields()) if f.table == "holding" and f.address < 65_000]
    memory = data.draw(st.lists(st.integers(0, 65_535), min_size=410, max_size=410))
    codes = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q"}
    codes |= {"float32": "f", "float64": "d"}
    for request in plan(fields, 125, 8):
        answer = memory[request.address : request.address + request.length]
        for field, found in zip(request.fields, decoder(request, request.fields)(answer), strict=True):
            words = memory[field.address : field.address + field.width]
            raw = struct.pack(f">{field.width}H", *(words[::-1] if field.low_first else words))
            (value,) = struct.unpack(">" + codes[field.type], raw)
            assert found == value or (found is None and not math.isfinite(value))


def test_bits_of_a_bit_table_are_taken_as_they_are():
    fields = [Field("plc.b", "coil", 7, "bit"), Field("plc.a", "coil", 3, "bit")]
    (request,) = plan(fields, 125, 8)
    assert list(decoder(request, fields)([True, False, False, False, False])) == [False, True]


def test_a_block_has_a_name_for_each_value():
    settings = ModbusSettings(
        driver="modbus",
        host="plc",
        word_order="low_first",
        signals={"total": ModbusSignal(address=0, type="uint32", word_order="high_first")},
        blocks=(ModbusBlock(name="regs", address=100, count=300, type="int32"),),
    )
    fields = fields_of("plc", settings)
    assert fields[0] == Field("plc.total", "holding", 0, "uint32")
    assert fields[1] == Field("plc.regs.0", "holding", 100, "int32", low_first=True)
    assert fields[300] == Field("plc.regs.299", "holding", 698, "int32", low_first=True)
    lengths = [r.length for r in plan(fields, 125, 8)]
    assert lengths == [2, 124, 124, 124, 124, 104], "600 registers, two at a time, never torn"
