"""``linegate watch``: what changes, live."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
import warm


@pytest.fixture(scope="module")
def asm(simulator):
    return simulator("asm-01", "--speed", "30", "--steady")


def address_of(machine):
    return f"modbus://127.0.0.1:{machine.ready['port']}/1?scan=20%20ms"


def test_lines_for_each_change_and_the_table_at_the_end(linegate, asm):
    done = linegate("watch", address_of(asm), "holding 0", "holding 20", "--seconds", "1.5")
    assert done.code == 0, done.err
    *changes, header, counter, still = done.out.splitlines()
    assert header.split() == ["SIGNAL", "VALUE", "QUALITY", "AGE", "CHANGES", "SLOWEST", "FASTEST"]
    assert len([line for line in changes if "holding 0 " in line]) > 1  # how many depends on how busy the computer is
    assert len([line for line in changes if "holding 20 " in line]) == 1
    assert counter.startswith("holding 0 ")
    assert counter.endswith("/s")  # 12.5 pieces a second
    assert still.split()[-3:] == ["0", "-", "-"]


def test_json_lines(linegate, asm):
    done = linegate("watch", address_of(asm), "holding 0", "--seconds", "1.5", "--json")
    *changes, last = [json.loads(line) for line in done.out.splitlines()]
    values = [change["value"] for change in changes]
    assert values == sorted(set(values))
    assert set(changes[0]) == {"signal", "value", "quality", "time", "source_time", "changes"}
    summary = last["summary"]["holding 0"]
    assert summary["changes"] == len(values) - 1
    assert summary["quality"] == "good"
    assert summary["fastest"].endswith("/s")  # 12.5 pieces a second


def test_a_cut_link_is_said_and_made_again(start_cli, asm):
    process = start_cli("watch", address_of(asm), "holding 0", "--json")
    process.stdout.readline()
    asm.command("cut 0.3")
    while "trying again" not in process.stderr.readline():
        assert process.poll() is None
    after = asm.command("totals")["good_total"]
    while (change := json.loads(process.stdout.readline()))["value"] <= after:
        assert change["signal"] == "holding 0"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "summary" in out.splitlines()[-1]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "100000"])
def test_seconds_have_a_range(wrong_usage, seconds):
    done = wrong_usage("watch", "modbus://127.0.0.1:1/1", "holding 0", f"--seconds={seconds}")
    assert (done.code, "allowed more than 0" in done.err) == (2, True)


def test_nobody_there(linegate):
    done = linegate("watch", "modbus://127.0.0.1:1/1", "holding 0", "--seconds", "5")
    assert (done.code, done.out) == (1, "")
    assert "no connection" in done.err


def test_on_a_terminal_the_table_is_painted_over(asm):
    ours, theirs = pty.openpty()
    process = warm.Popen(
        [sys.executable, "-P", "-m", "gateway", "watch", address_of(asm), "holding 0"],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 60
    try:
        while seen.count(b"SIGNAL") < 3:
            assert time.monotonic() < deadline, seen
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"\x1b[3A" in seen  # three lines up: title, header, one signal
    assert b"Traceback" not in seen
