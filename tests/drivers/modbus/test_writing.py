import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import DriverError, WriteRefusedError, WriteUnverifiedError
from drivers.modbus.encode import coil_of, mask_of, words_of
from drivers.modbus.layout import ORDERS
from drivers.modbus.plan import Field, Limits, plan
from drivers.modbus.registers import decoder
from drivers.scaling import Scaling
from drivers.signal import Writable
from gateway.core.duration import Duration

#: For a device that does not answer: each time costs as much.
SHORT = Duration("1 s")
ANYTHING = Writable(min="-1e30", max="1e30", max_length=200)


def decoded(field, words):
    (request,) = plan([field], Limits(125, 2_000, 0))
    (value,) = decoder(request, [field])(words)
    return value


INTEGERS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (16, 32, 64)}


@given(st.sampled_from(sorted(INTEGERS)), st.sampled_from(ORDERS), st.data())
def test_whole_numbers_come_back_exactly_in_every_order(kind, order, data):
    bits = INTEGERS[kind]
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    value = data.draw(st.integers(low, high))
    field = Field("plc.x", "holding", 0, kind, order)
    assert decoded(field, words_of(field, value)) == value


@given(st.integers(0, 65_535), st.sampled_from(["0.1", "0.01", "2", "-0.5", "1000"]), st.sampled_from([None, "-50"]))
def test_a_scaled_value_as_it_reads_can_be_written_back(raw, scale, offset):
    field = Field("plc.x", "holding", 0, "uint16", scaling=Scaling.parse(scale, offset))
    assert words_of(field, decoded(field, [raw])) == [raw]


@given(st.integers(0, 9_999), st.integers(0, 99_999_999), st.sampled_from(ORDERS))
def test_decimal_digits_come_back(short, long, order):
    for kind, value in (("bcd16", short), ("bcd32", long)):
        field = Field("plc.x", "holding", 0, kind, order)
        assert decoded(field, words_of(field, value)) == value


@given(st.text("ABC -/0äß", max_size=9).map(str.rstrip), st.sampled_from(ORDERS), st.sampled_from(["latin-1", "utf-8"]))
def test_texts_come_back(text, order, encoding):
    field = Field("plc.x", "holding", 0, "string", order, length=20, encoding=encoding)
    assert decoded(field, words_of(field, text)) == text


@given(st.integers(0, 65_535), st.integers(0, 15), st.booleans(), st.sampled_from(ORDERS))
def test_a_mask_changes_its_bit_and_no_other(register, bit, state, order):
    field = Field("plc.x", "holding", 0, "bit", order, bit=bit)
    change = mask_of(field, state)
    after = register & change.and_mask | change.or_mask & ~change.and_mask
    for number in range(16):
        other = field._replace(bit=number)
        assert decoded(other, [after]) == (state if number == bit else decoded(other, [register]))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (Field("plc.x", "holding", 0, "uint16"), 65_536, "found 65536, uint16 allows 0 to 65535"),
        (Field("plc.x", "holding", 0, "int16"), -32_769, "int16 allows -32768 to 32767"),
        (Field("plc.x", "holding", 0, "bcd16"), 10_000, "bcd16 allows 0 to 9999"),
        (Field("plc.x", "holding", 0, "uint16"), 1.5, "1.5 cannot be expressed as uint16; the nearest are 1 and 2"),
        (
            Field("plc.x", "holding", 0, "uint16", scaling=Scaling.parse("0.1", None)),
            12.34,
            "12.34 cannot be expressed as uint16; the nearest are 12.3 and 12.4",
        ),
        (
            Field("plc.x", "holding", 0, "uint16", scaling=Scaling.parse("0.1", None)),
            -1,
            "found -10 before scaling, uint16 allows",
        ),
        (Field("plc.x", "holding", 0, "float32"), 1e39, "beyond what float32 can express"),
        (Field("plc.x", "holding", 0, "float32"), float("nan"), "found nan, allowed a number"),
        (Field("plc.x", "holding", 0, "uint16"), True, "found True, allowed a number"),
        (Field("plc.x", "holding", 0, "uint16"), "5", "found '5', allowed a number"),
        (Field("plc.x", "holding", 0, "string", length=4), "ABCDE", "found 5 bytes, allowed 4 bytes"),
        (Field("plc.x", "holding", 0, "string", length=4), "Ä", "characters that ascii does not"),
        (Field("plc.x", "holding", 0, "string", length=4), "A\n", "printable"),
        (Field("plc.x", "holding", 0, "string", length=4), 5, "allowed a text"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_what_can(field, value, words):
    with pytest.raises(WriteRefusedError, match=words):
        words_of(field, value)


def test_a_coil_takes_a_state_only():
    field = Field("plc.x", "coil", 0, "bit")
    assert [coil_of(field, value) for value in (True, False, 1, 0)] == [True, False, True, False]
    with pytest.raises(WriteRefusedError, match="found 2, allowed true or false"):
        coil_of(field, 2)


SIGNALS = {
    "coil": {"table": "coil", "address": 3, "writable": ANYTHING},
    "word": {"address": 5, "scale": "0.1", "writable": ANYTHING},
    "long": {"address": 6, "type": "uint32", "order": "CDAB", "writable": ANYTHING},
    "text": {"address": 8, "type": "string", "length": 4, "writable": ANYTHING},
    "input": {"table": "input", "address": 0},
}


@pytest.fixture
async def written(device, driver_for):
    device.tables["coil"] = {3: False}
    device.tables["holding"] = dict.fromkeys(range(5, 12), 0)
    device.tables["input"] = {0: 0}

    async def make(signals=SIGNALS, **settings):
        return await driver_for(device, signals, **settings)

    return make


async def test_each_kind_is_written_with_its_function_and_read_back(device, written):
    driver = await written()
    await driver.write("coil", True)
    await driver.write("word", 12.3)
    await driver.write("long", 65_537 * 2)
    await driver.write("text", "PO")
    assert device.written == [(5, 3, [0xFF00]), (6, 5, [123]), (16, 6, [2, 2]), (16, 8, [0x504F, 0])]
    assert device.requests == [("coil", 3, 1), ("holding", 5, 1), ("holding", 6, 2), ("holding", 8, 2)]
    reading = await anext(driver.readings())
    assert {s.signal: s.value for s in reading.values} == {
        "plc.coil": True, "plc.word": 12.3, "plc.long": 131_074, "plc.text": "PO", "plc.input": 0,
    }  # fmt: skip


async def test_a_device_without_function_6_gets_function_16(device, written):
    driver = await written(write_multiple=True)
    await driver.write("word", 1)
    assert device.written == [(16, 5, [10])]


async def test_a_bit_is_written_by_mask_only(device, written):
    signals = {"bit": {"address": 5, "bit": 2, "writable": ANYTHING}}
    signals["byte"] = {"address": 6, "type": "uint8", "byte": "high", "writable": ANYTHING}
    device.tables["holding"] |= {5: 0b1001, 6: 0x0102}
    driver = await written(signals, mask_writes=True)
    await driver.write("bit", True)
    await driver.write("byte", 255)
    assert [device.tables["holding"][address] for address in (5, 6)] == [0b1101, 0xFF02]
    assert [code for code, _address, _values in device.written] == [22, 22]
    with pytest.raises(ValueError, match="signals: bit: writable: a part of a register"):
        await written(signals)
    unasked = await written({"bit": {"address": 5, "bit": 2}})
    with pytest.raises(WriteRefusedError, match="only with mask_writes: true"):
        await unasked.write("bit", True)


async def test_what_was_confirmed_and_not_done_is_found_out(device, written):
    driver = await written()
    device.deaf_writes = True
    with pytest.raises(
        WriteUnverifiedError, match=r"plc.word was written and confirmed, but reads back \[0\] .*\[123\]"
    ):
        await driver.write("word", 12.3)
    trusting = await written(verify_writes=False)
    await trusting.write("word", 12.3)
    per_signal = {"clear": {"table": "coil", "address": 3, "writable": ANYTHING, "verify_writes": False}}
    await (await written(per_signal)).write("clear", True)


async def test_a_text_that_the_device_fills_up_with_blanks_was_written(device, written):
    driver = await written()
    store, fill = device._store, 0x2020
    device._store = lambda code, table, address, words: store(code, table, address, [words[0] | 0x20, fill])
    await driver.write("text", "P")
    assert [device.tables["holding"][address] for address in (8, 9)] == [0x5020, 0x2020]
    reading = await anext(driver.readings())
    assert {s.signal: s.value for s in reading.values}["plc.text"] == "P"
    fill = 0x4F20
    with pytest.raises(WriteUnverifiedError, match=r"plc\.text was written and confirmed, but reads"):
        await driver.write("text", "P")


async def test_what_was_confirmed_and_cannot_be_read_back_is_not_called_unwritten(device, written, until):
    driver = await written(timeout=SHORT)
    read = device.answer

    async def answer(unit, pdu):
        return b"\x83\x02" if pdu[0] == 3 else await read(unit, pdu)

    device.answer = answer
    with pytest.raises(
        WriteUnverifiedError, match=r"plc\.word was written and confirmed, but cannot be read back \(ex"
    ):
        await driver.write("word", 12.3)
    device.answer = read
    device.late_s[5] = 5.0
    with pytest.raises(WriteUnverifiedError, match=r"cannot be read back \(.* no usable answer"):
        await driver.write("word", 12.4)
    writing = asyncio.create_task(driver.write("word", 12.5))
    await until(lambda: len(device.written) == 3 and len(device.requests) == 2)
    writing.cancel()
    await asyncio.wait({writing})
    assert isinstance(writing.exception(), WriteUnverifiedError)
    assert [code_and_rest[2] for code_and_rest in device.written] == [[123], [124], [125]]


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
async def test_what_never_left_the_gateway_was_surely_not_written(make_device, driver_for, until, transport):
    device, reached = make_device(transport)
    await device.start()
    device.tables["holding"] = dict.fromkeys(range(5, 12), 0)
    signals = {"word": SIGNALS["word"]}
    driver = await driver_for(device, signals, reached=reached(), timeout=Duration("2 s"))
    answer, goes_on = device.answer, asyncio.Event()

    async def held(unit, pdu):
        found = await answer(unit, pdu)
        await goes_on.wait()
        return found

    device.answer = held
    reading = asyncio.create_task(anext(driver.readings()))
    await until(lambda: device.requests)
    waiting = asyncio.create_task(driver.write("word", 12.3))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    with pytest.raises(WriteRefusedError, match=r"its turn; writing holding 5 \(length 1\) was not sent"):
        waiting.result()
    goes_on.set()
    await reading
    await device.stop()
    with pytest.raises(WriteRefusedError, match=r"no connection.*; writing holding 5 \(length 1\) was not sent"):
        await until_lost(driver)
    assert device.written == []


async def until_lost(driver):
    """Writes until the end of the connection is noticed; what was sent into it is not known."""
    while True:
        with contextlib.suppress(DriverError):
            await driver.write("word", 12.3)
        await asyncio.sleep(0.01)


async def test_a_write_before_which_the_unit_must_prove_itself_is_not_sent_without_the_proof(make_device, driver_for):
    device, reached = make_device("rtu_over_tcp")
    await device.start()
    device.tables["holding"] = dict.fromkeys(range(5, 12), 0)
    driver = await driver_for(device, {"word": SIGNALS["word"]}, reached=reached(), timeout=Duration("500 ms"))
    device.silent_units = {1}
    with pytest.raises(DriverError):
        await anext(driver.readings())
    device.diagnostics = "silent"
    with pytest.raises(
        WriteRefusedError, match=r"the check by function 8, .*; writing holding 5 \(length 1\) was not s"
    ):
        await driver.write("word", 12.3)
    assert device.written == []
    await device.stop()


async def test_refusals_of_the_device_and_of_the_table(device, written):
    driver = await written()
    device.refuse[("holding", 5)] = 3
    with pytest.raises(WriteRefusedError, match=r"writing 12.3 to plc.word \(holding 5\) refused with exception 3"):
        await driver.write("word", 12.3)
    with pytest.raises(WriteRefusedError, match="the table input can only be read"):
        await driver.write("input", 1)
    with pytest.raises(WriteRefusedError, match=r"plc\.nowhere: there is no such signal"):
        await driver.write("nowhere", 1)
    assert device.written == []


async def test_a_write_without_an_answer_is_a_lost_link(device, written):
    driver = await written(timeout=SHORT)
    device.spoil = lambda *_answer: b""
    with pytest.raises(DriverError, match=r"no usable answer to writing holding 5 \(length 1\)"):
        await driver.write("word", 12.3)


async def test_an_echo_of_something_else_is_no_confirmation(device, written):
    import struct

    driver = await written()
    device.spoil = lambda tid, unit, pdu: struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu[:-1] + b"\x07"
    with pytest.raises(DriverError, match="does not belong to it"):
        await driver.write("word", 12.3)


@pytest.mark.parametrize("transport", ["rtu", "rtu_over_tcp", "udp"])
async def test_writing_over_the_other_transports(make_device, driver_for, transport):
    device, reached = make_device(transport)
    await device.start()
    device.tables["coil"] = {3: False}
    device.tables["holding"] = dict.fromkeys(range(5, 12), 0)
    device.tables["input"] = {0: 0}
    driver = await driver_for(device, SIGNALS, reached=reached())
    device.written.clear()
    await driver.write("coil", True)
    await driver.write("word", 12.3)
    await driver.write("long", 7)
    assert device.written == [(5, 3, [0xFF00]), (6, 5, [123]), (16, 6, [7, 0])]
    await device.stop()
