import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.layout import REGISTERS_OF
from drivers.modbus.plan import Field, Limits, fields_of, halves, plan, plan_single, without_holes
from drivers.modbus.settings import ModbusSettings
from drivers.modbus.signals import ModbusBlock, ModbusSignal

TYPES = sorted(set(REGISTERS_OF) - {"bit"})


@st.composite
def sets_of_fields(draw):
    fields = []
    for number in range(draw(st.integers(1, 30))):
        table = draw(st.sampled_from(["holding", "input", "coil", "discrete"]))
        kind = draw(st.sampled_from([*TYPES, "string"])) if table in ("holding", "input") else "bit"
        length = draw(st.integers(1, 8)) if kind == "string" else None
        address = draw(st.integers(0, 400) | st.integers(65_000, 65_532))
        fields.append(Field(f"plc.{number}", table, address, kind, length=length))
    return fields


def names(requests):
    return sorted(field.name for request in requests for field in request.fields)


def check_untorn(requests):
    for request in requests:
        for field in request.fields:
            assert field.table == request.table
            assert request.address <= field.address
            assert field.end <= request.address + request.length


@given(sets_of_fields(), st.integers(4, 125), st.integers(1, 2_000), st.integers(0, 20))
def test_a_plan_has_every_field_once_untorn_within_the_limits(fields, max_registers, max_bits, max_hole):
    requests = plan(fields, Limits(max_registers, max_bits, max_hole))
    assert names(requests) == sorted(field.name for field in fields)
    check_untorn(requests)
    for request in requests:
        bits = request.table in ("coil", "discrete")
        assert 1 <= request.length <= (max_bits if bits else max_registers)
        touched = {address for field in request.fields for address in range(field.address, field.end)}
        holes = sorted(set(range(request.address, request.address + request.length)) - touched)
        assert all(len(run) <= max_hole * (16 if bits else 1) for run in _runs(holes))
        assert {request.address, request.address + request.length - 1} <= touched


@given(sets_of_fields(), st.integers(0, 20))
def test_finer_requests_have_the_same_fields_untorn_down_to_single_signals(fields, max_hole):
    waiting = list(plan(fields, Limits(125, 2_000, max_hole)))
    steps = 0
    singles = []
    while waiting:
        request = waiting.pop()
        pieces = without_holes(request)
        if len(pieces) == 1:
            pieces = halves(request)
        assert names(pieces) == names([request])
        check_untorn(pieces)
        if len(pieces) == 1:
            singles.append(request)
            # Nothing in it can be asked for without the rest: each value overlaps one before it.
            ends = list(itertools.accumulate((field.end for field in request.fields), max))
            assert all(field.address < end for field, end in zip(request.fields[1:], ends, strict=False))
        else:
            assert all(piece.length < request.length for piece in pieces)
            waiting += pieces
            steps += 1
    assert names(singles) == sorted(field.name for field in fields)
    assert steps <= len(fields)


@given(sets_of_fields())
def test_single_requests_have_one_signal_each_and_nothing_else(fields):
    requests = plan_single(fields, Limits(125, 2_000, 8))
    assert [(r.table, r.address, r.length, r.fields) for r in requests] == [
        (field.table, field.address, field.width, (field,)) for field in fields
    ]


def test_a_block_shares_requests_even_where_signals_do_not():
    settings = ModbusSettings(
        driver="modbus",
        host="plc",
        batching="single",
        signals={"a": ModbusSignal(address=0), "b": ModbusSignal(address=1)},
        blocks=(ModbusBlock(name="regs", address=100, count=200),),
    )
    assert [r.length for r in plan_single(fields_of("plc", settings), Limits.of(settings))] == [1, 1, 125, 75]


def scattered():
    """A packing line's PLC: 83 signals in the areas that its integrator laid out.

    Counters at the start; six stations of 9 registers, 20 apart; four drives of 11, 25 apart; alarm words; order texts;
    heating zones and an energy meter among the input registers; a few coils and inputs, far from each other.
    """
    registers = {
        **{f"line.{i}": (address, kind) for i, (address, kind) in enumerate(
            [(0, "uint32"), (2, "uint32"), (4, "uint16"), (6, "uint16"), (8, "uint16")])},
        **{f"station{s}.{offset}": (100 + 20 * s + offset, kind) for s in range(6)
           for offset, kind in [(0, "uint32"), (2, "uint16"), (4, "float32"), (8, "uint16")]},
        **{f"drive{d}.{offset}": (1_000 + 25 * d + offset, "int16") for d in range(4) for offset in (0, 1, 2, 10)},
        **{f"alarm.{address}": (address, "uint16") for address in (4_096, 4_097, 4_100)},
        "lot": (5_040, "uint32"),
    }  # fmt: skip
    inputs = {f"zone{z}": (300 + 2 * z, "float32") for z in range(12)}
    inputs |= {f"meter.{m}": (4_000 + 6 * m, "float32") for m in range(6)} | {"meter.total": (4_100, "uint64")}
    signals = {name: ModbusSignal(address=at, type=kind) for name, (at, kind) in registers.items()}
    signals |= {name: ModbusSignal(table="input", address=at, type=kind) for name, (at, kind) in inputs.items()}
    signals["order"] = ModbusSignal(address=5_000, type="string", length=16)
    signals["product"] = ModbusSignal(address=5_020, type="string", length=12)
    signals |= {f"coil.{a}": ModbusSignal(table="coil", address=a) for a in (0, 5, 17, 40, 1_000, 1_003)}
    signals |= {f"in.{a}": ModbusSignal(table="discrete", address=a) for a in (0, 1, 2, 8, 300, 1_500, 1_501)}
    return signals


def test_83_scattered_signals_need_at_most_14_requests():
    signals = scattered()
    assert len(signals) == 83
    settings = ModbusSettings(driver="modbus", host="plc", signals=signals)
    requests = plan(fields_of("plc", settings), Limits.of(settings))
    assert len(requests) <= 14
    assert names(requests) == sorted(f"plc.{name}" for name in signals)


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
    requests = plan(fields, Limits(125, 2_000, 8))
    by_table = {}
    for request in requests:
        by_table.setdefault(request.table, []).append(request)
    for table, several in by_table.items():
        factor = 16 if table in ("coil", "discrete") else 1
        for one, two in itertools.pairwise(several):
            first = two.fields[0]
            gap = first.address - (one.address + one.length)
            joint = max(one.address + one.length, first.end) - one.address
            assert gap > 8 * factor or joint > 125 * factor


def test_a_value_wider_than_a_request_is_refused():
    with pytest.raises(ValueError, match="takes 4 registers"):
        plan([Field("plc.total", "holding", 0, "uint64")], Limits(3, 48, 0))


def test_a_block_has_a_name_for_each_value():
    settings = ModbusSettings(
        driver="modbus",
        host="plc",
        word_order="low_first",
        signals={"total": ModbusSignal(address=0, type="uint32", word_order="high_first")},
        blocks=(ModbusBlock(name="regs", address=100, count=300, type="int32"),),
    )
    fields = fields_of("plc", settings)
    second = 1_000_000_000
    assert fields[0] == Field("plc.total", "holding", 0, "uint32", scan_ns=second)
    assert fields[1] == Field("plc.regs.0", "holding", 100, "int32", "CDAB", scan_ns=second, block="regs")
    assert fields[300] == Field("plc.regs.299", "holding", 698, "int32", "CDAB", scan_ns=second, block="regs")
    lengths = [r.length for r in plan(fields, Limits.of(settings))]
    assert lengths == [2, 124, 124, 124, 124, 104], "600 registers, two at a time, never torn"
