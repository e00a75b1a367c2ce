"""``linegate read``: one look at a source, between real simulators."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

CONFIG = """
gateway: { id: box-1, plant: P1, state_dir: STATE }
sources:
  asm:
    driver: modbus
    host: 127.0.0.1
    port: PORT
    scan: 100 ms
    timeout: 20 s
    signals:
      scrap: { table: holding, address: 1 }
      plain: { table: holding, address: 20 }
      current: { table: holding, address: 7, type: int16, scale: "0.1", telemetry: true }
      BAD
work_units:
  M-1: { work_center: WC-1, ideal_cycle: 2 s, counters: [{ mode: counter, signal: asm.plain }] }
connectors:
  share: { connector: file, folder: share }
"""


@pytest.fixture(scope="module")
def asm(simulator):
    return simulator("asm-01", "--unit", "1", "--stop-after", "1")


@pytest.fixture
def configured_asm(asm, tmp_path):
    def write(*, bad="", port=asm.ready["port"]):
        file = tmp_path / "linegate.yaml"
        text = CONFIG.replace("STATE", str(tmp_path)).replace("PORT", str(port)).replace("BAD", bad)
        file.write_text(text)
        return file

    return write


def test_every_signal_of_a_source(linegate, configured_asm):
    done = linegate("read", "asm", "--config", configured_asm())
    assert done.code == 0, done.err
    rows = {line.split()[0]: line.split() for line in done.out.splitlines()[1:]}
    assert rows["plain"][1:3] == ["20", "good"]
    assert rows["current"][2] == "good"
    assert rows["plain"][4] == "here"  # Modbus gives no time


def test_some_signals_for_programs(linegate, configured_asm):
    done = linegate("read", "asm", "plain", "asm.scrap", "--json", "-c", configured_asm())
    told = json.loads(done.out)
    assert [row["signal"] for row in told["signals"]] == ["plain", "scrap"]
    assert told["signals"][0] | {"time": ""} == {
        "signal": "plain", "value": 20, "quality": "good", "time": "", "source_time": None, "problem": "",
    }  # fmt: skip
    assert (done.code, set(told)) == (0, {"source", "signals", "notices"})


def test_the_configuration_of_the_folder_needs_no_option(linegate, configured_asm):
    done = linegate("read", "asm", "plain", cwd=configured_asm().parent)
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split()[:2] == ["plain", "20"]


def test_a_refused_register_spoils_itself_only(linegate, configured_asm):
    done = linegate("read", "asm", "-c", configured_asm(bad="gone: { address: 61000 }"), "--json")
    rows = {row["signal"]: row for row in json.loads(done.out)["signals"]}
    assert done.code == 1
    assert rows["plain"]["quality"] == "good"
    assert rows["gone"]["quality"] == "bad"
    assert "exception 2" in rows["gone"]["problem"]


def test_an_address_without_any_configuration(linegate, asm):
    address = f"modbus://127.0.0.1:{asm.ready['port']}/1"
    done = linegate(
        "read", address, "holding 20", "40022 uint16", "holding 30 x3", "holding 40 int16 scale=0.1", "--json"
    )
    assert done.code == 0, done.err
    values = {row["signal"]: row["value"] for row in json.loads(done.out)["signals"]}
    assert values == {
        "holding 20": 20, "40022 uint16": 21, "holding 30": 30, "holding 31": 31, "holding 32": 32,
        "holding 40 int16 scale=0.1": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modbus://127.0.0.1:1/1"], "found no value to read"),
        (["modbus://127.0.0.1:1/1", "holding 0 uint17"], "did you mean"),
        (["modbus://127.0.0.1:1/1", "hold 0 uint16"], "allowed one type"),
        (["modbus://127.0.0.1:1/1", "holding"], "found no address"),
        (["modbus://127.0.0.1:1/one", "holding 0"], "found unit 'one'"),
        (["modbus://", "holding 0"], "found no host"),
        (["http://127.0.0.1", "x"], "allowed modbus"),
        (["rtu:ttyUSB0", "holding 0"], "found no device file"),
        (["opc.tcp://127.0.0.1:1/x"], "found no value to read"),
        (["opc.tcp://127.0.0.1:1/x", "not a node"], "allowed"),
        (["modbus://127.0.0.1:1/1", "holding 0 uint32 ABCDEFGH"], "ABCDEFGH"),
        (["modbus://anna:geheim@127.0.0.1/1", "holding 0"], "found a user name"),
        (["opc.tcp://anna:geheim@127.0.0.1:1/x", "i=1"], "found a user name"),
        (["rtu:/dev/none?local_echo=perhaps", "holding 0"], "local_echo"),
        (["modbus+tls://127.0.0.1:1/1?cert_file=a.pem", "holding 0"], "key_file"),
        (["plc"], "no linegate.yaml here"),
    ],
)
def test_wrong_usage_says_what_is_allowed(wrong_usage, arguments, said):
    done = wrong_usage("read", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "geheim" not in done.err


@pytest.mark.parametrize("query", ["local_echo=true", "rs485=true", "rs485=false&local_echo=false"])
def test_every_key_of_a_serial_line_can_be_written(linegate, query):
    done = linegate("read", f"rtu:/dev/none-such?unit=3&{query}", "holding 0")
    assert done.code == 1, "the keys are right, only the device is not there"
    assert "/dev/none-such" in done.err
    assert "unknown key" not in done.err


def test_tls_has_an_address(linegate):
    done = linegate("read", "modbus+tls://127.0.0.1:1/1?server_name=plc", "holding 0")
    assert (done.code, "127.0.0.1:1" in done.err) == (1, True)


def test_names_that_are_nearly_right(linegate, configured_asm):
    source = linegate("read", "asn", "-c", configured_asm())
    assert (source.code, "did you mean 'asm'?" in source.err) == (2, True)
    one = linegate("read", "asm", "plane", "-c", configured_asm())
    assert (one.code, "did you mean 'plain'?" in one.err) == (2, True)


@pytest.mark.parametrize("address", ["modbus://127.0.0.1:{port}/1", "opc.tcp://127.0.0.1:{port}/x"])
def test_nobody_there_is_a_sentence_with_the_next_step(linegate, port_for_later, address):
    value = "i=2258" if address.startswith("opc") else "holding 0"
    done = linegate("read", address.format(port=port_for_later()), value)
    assert (done.code, done.out) == (1, "")
    assert "no connection" in done.err
    assert "check address, port" in done.err


def test_a_broken_configuration_is_told_as_check_does(linegate, tmp_path):
    (tmp_path / "linegate.yaml").write_text("gateway: {}\n")
    done = linegate("read", "asm", "-c", tmp_path / "linegate.yaml")
    assert done.code == 1
    assert "linegate.yaml:1:" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_without_a_trace(start_cli, number):
    """A device that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"modbus://127.0.0.1:{silent.getsockname()[1]}/1?timeout=20"
        process = start_cli("read", f"{address}%20s", "holding 0")
        silent.settimeout(60)
        link, _ = silent.accept()
        link.settimeout(60)
        assert link.recv(100)  # the question is out
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
        link.close()
    assert process.returncode == 130
    assert (out, "Traceback" in err) == ("", False)


HEAVY = ("aiosqlite", "asyncua", "cryptography", "httpx", "paho", "pydantic", "pymodbus", "serial", "structlog", "yaml")
#: Prints what is loaded of it as the last line.
LOADED = f"sys.__stdout__.write('LOADED' + ''.join(' ' + name for name in {HEAVY!r} if name in sys.modules) + chr(10))"


def run_program(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=90
    ).stdout.splitlines()


@pytest.mark.parametrize("arguments", [["--help"], ["browse", "--help"], ["scan", "--help"], ["read", "plc"]])
def test_what_needs_nothing_heavy_loads_nothing_heavy(arguments):
    program = f"import sys\nfrom gateway.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n{LOADED}"
    assert run_program(program, *arguments)[-1] == "LOADED"


def test_the_measure_of_heaviness_has_teeth():
    assert run_program(f"import sys, yaml\n{LOADED}") == ["LOADED yaml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "modbus://127.0.0.1:1/1", "holding 0"],
        ["watch", "modbus://127.0.0.1:1/1", "holding 0"],
        ["scan", "modbus://127.0.0.1:1"],
        ["browse", "opc.tcp://127.0.0.1:1"],
        ["decode", "--read", "modbus://127.0.0.1:1/1/holding/0", "--shows", "1"],
        ["witness", "modbus://127.0.0.1:1/1", "holding 0", "--parts", "3"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_first_word_comes_before_the_heavy_libraries(arguments):
    program = f"""
import sys
from gateway.cli import main
class FirstWord:
    def isatty(self): return False
    def flush(self): pass
    def write(self, text):
        {LOADED}
        sys.__stdout__.flush()
        raise SystemExit(0)
sys.stderr = FirstWord()
main(sys.argv[1:])
"""
    assert run_program(program, *arguments) == ["LOADED"]
