"""``linegate decode``: the way from a display to a line of configuration."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def asm(simulator):
    return simulator("asm-01", "--stop-after", "1", "--good", "1234")


def test_registers_as_arguments(linegate):
    done = linegate("decode", "52429", "17142", "--shows", "123.4")
    assert done.code == 0
    assert "{ table: holding, address: 0, type: float32, order: CDAB }" in done.out.splitlines()[2]


def test_registers_of_a_device_give_a_line_that_reads_what_the_display_shows(linegate, asm):
    address = f"modbus://127.0.0.1:{asm.ready['port']}/1"
    done = linegate("decode", "--read", f"{address}/holding/20", "--shows", "2.0", "--json")
    (best, *_) = json.loads(done.out)["matches"]
    assert best["signal"] == {"table": "holding", "address": 20, "type": "uint16", "scale": "0.1"}
    assert set(best) == {"offset", "type", "order", "byte", "registers", "scale", "value", "also", "signal"}
    value = f"{best['signal']['table']} {best['signal']['address']} {best['type']} scale={best['scale']}"
    read = json.loads(linegate("read", address, value, "--json").out)
    assert read["signals"][0]["value"] == 2


def test_at_the_last_register_fewer_are_read(linegate, asm):
    done = linegate(
        "decode", "--read", f"modbus://127.0.0.1:{asm.ready['port']}/1/holding/59999", "--shows", "59999", "--json"
    )
    assert (done.code, json.loads(done.out)["words"]) == (0, [59_999])


def test_a_refused_register(linegate, asm):
    done = linegate("decode", "--read", f"modbus://127.0.0.1:{asm.ready['port']}/1/holding/61000", "--shows", "5")
    assert (done.code, done.out) == (1, "")
    assert "refused: exception 2" in done.err
    assert "linegate scan" in done.err


def test_nothing_fits(linegate):
    done = linegate("decode", "1", "2", "--shows", "98765.4")
    assert done.code == 1
    assert "no reading of them gives 98765.4" in done.out


def test_zero_says_little(linegate):
    assert "0 says little" in linegate("decode", "0", "0", "--shows", "0").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shows", "1"], "allowed one of them"),
        (["1", "--read", "modbus://h/1/holding/0", "--shows", "1"], "allowed one of them"),
        (["70000", "--shows", "1"], "0 to 65535"),
        (["1", "--shows", " "], "--shows: found nothing"),
        (["1", "--shows", "1", "--tolerance", "x"], "tolerance"),
        (["1", "--shows", "1", "--count", "3"], "--count"),
        (["--read", "modbus://h/1/coil/0", "--shows", "1"], "one bit"),
        (["--read", "modbus://h/1", "--shows", "1"], "allowed holding"),
        (["--read", "opc.tcp://h", "--shows", "1"], "only a Modbus device"),
    ],
)
def test_wrong_usage(wrong_usage, arguments, said):
    done = wrong_usage("decode", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_nobody_there(linegate):
    done = linegate("decode", "--read", "modbus://127.0.0.1:1/1/holding/0", "--shows", "1")
    assert (done.code, "no connection" in done.err) == (1, True)
