"""``linegate scan``: units and addresses of real listeners."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest


@pytest.fixture(scope="module")
def asm(simulator):
    return simulator("asm-01", "--unit", "3", "--stop-after", "1")


def address_of(machine):
    return f"modbus://127.0.0.1:{machine.ready['port']}"


#: It answers everything at once; a busy computer lets it do so late.
PATIENT = ("--timeout", "20 s")


def test_units_and_the_next_step(linegate, asm):
    done = linegate("scan", address_of(asm), "--units", "1-8", "--pause", "0", *PATIENT)
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split() == ["3", "answers"]
    assert "8 of 8 units asked: 1 there, 7 gave no answer" in done.out
    assert f"next: linegate scan '{address_of(asm)}' --unit 3" in done.out


def test_units_for_programs(linegate, asm):
    told = json.loads(linegate("scan", address_of(asm), "--units", "2-3", "--json", *PATIENT).out)
    assert told["units"] == [
        {"unit": 2, "result": "no answer", "exception": 11},
        {"unit": 3, "result": "answers", "exception": None},
    ]


def test_addresses_of_a_table(linegate, asm):
    done = linegate(
        "scan", address_of(asm), "--unit", "3", "--from", "59950", "--to", "60100", "--pause", "0", "--json", *PATIENT
    )
    told = json.loads(done.out)
    assert [(area["first"], area["last"], area["result"]) for area in told["areas"]] == [
        (59_950, 59_999, "answers"),
        (60_000, 60_100, "refused"),
    ]
    assert told["areas"][1]["exception"] == 2
    assert (told["stopped"], told["max_registers"]) == (None, None)
    assert told["requests"] < 40


def test_values_are_shown(linegate, asm):
    done = linegate("scan", address_of(asm), "--unit", "3", "--from", "20", "--to", "29", "--values", *PATIENT)
    assert "holding    20:    20    21    22    23    24    25    26    27" in done.out
    assert "10 addresses can be read; 1 requests" in done.out


def test_another_unit_is_not_there(linegate, asm):
    done = linegate("scan", address_of(asm), "--unit", "4", *PATIENT)
    assert done.code == 1
    assert "unit 4 is not there" in done.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--units", "0-300"], "--units"),
        (["--units", "9-3"], "--units"),
        (["--units", "x"], "--units"),
        (["--unit", "256"], "--unit"),
        (["--unit", "1", "--from", "9", "--to", "3"], "--from 9 --to 3"),
        (["--pause", "-1"], "--pause"),
        (["--timeout", "soon"], "timeout"),
    ],
)
def test_options_have_ranges(wrong_usage, options, said):
    done = wrong_usage("scan", "modbus://127.0.0.1:1", *options)
    assert done.code == 2
    assert said in done.err
    assert said == "timeout" or "connecting" not in done.err, "what is wrong is told before anything begins"
    assert "allowed" in done.err or "such as" in done.err


def test_opc_ua_has_no_registers(wrong_usage):
    done = wrong_usage("scan", "opc.tcp://127.0.0.1:1")
    assert (done.code, "linegate browse" in done.err) == (2, True)


def test_nobody_listens(linegate):
    done = linegate("scan", "modbus://127.0.0.1:1", "--units", "1-3")
    assert (done.code, "no connection" in done.err) == (1, True)


def test_ctrl_c_keeps_what_was_found(start_cli, asm):
    process = start_cli("scan", address_of(asm), "--units", "3-247", "--pause", "1", *PATIENT)
    while "1 found" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert out.splitlines()[1].split() == ["3", "answers"]
    assert "of 245 units asked: 1 there" in out


class MuteUnits:
    """Modbus TCP behind a gateway that says nothing for units that are not there."""

    def __init__(self, unit):
        self.unit = unit
        self.server = None

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            while head := await reader.readexactly(12):
                if head[6] == self.unit:
                    writer.write(head[:5] + bytes([5, head[6], 3, 2, 0, 7]))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def test_silent_units_are_told_from_those_that_answer(linegate):
    async with MuteUnits(2) as port:
        done = await asyncio.to_thread(
            linegate, "scan", f"modbus://127.0.0.1:{port}", "--units", "1-3", "--timeout", "2 s", "--json"
        )
    assert [one["result"] for one in json.loads(done.out)["units"]] == ["no answer", "answers", "no answer"]
    assert done.code == 0


async def test_a_unit_that_stays_silent_ends_the_search(linegate):
    async with MuteUnits(2) as port:
        done = await asyncio.to_thread(
            linegate, "scan", f"modbus://127.0.0.1:{port}", "--unit", "1", "--timeout", "500 ms"
        )
    assert done.code == 1
    assert "did not answer 3 times in a row" in done.out


def test_a_serial_line(linegate, simulator):
    """The leak tester has no holding registers; a unit that is silent costs one timeout."""
    tester = simulator("tst-01", "--steady")
    line = f"rtu:{tester.ready['device']}?parity=N"
    units = linegate("scan", line, "--units", "6-7", "--timeout", "3 s")
    assert units.code == 0, units.err
    assert "7     refused  exception 1 (illegal function)" in units.out
    assert units.out.splitlines()[-1].endswith("--unit 7 --table input")
    table = linegate("scan", f"{line}&unit=7", "--table", "input", "--to", "70", "--json", *PATIENT)
    assert [(area["first"], area["last"], area["result"]) for area in json.loads(table.out)["areas"]] == [
        (0, 63, "answers"),
        (64, 70, "refused"),
    ]
