"""``linegate write`` and ``linegate audit`` against a running gateway, with a device that is a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

WAIT_S = 60.0
#: A driver in a distribution of its own: each signal is a key of a JSON file.
DRIVER = """
import asyncio, json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from drivers.base import DriverError, DriverType, Reading, WriteRefusedError
from drivers.signal import SignalCommon
from gateway.core.model import DataValue, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    driver: Literal["json_file"]
    file: str
    signals: dict[str, SignalCommon] = field(default_factory=dict)


class Driver:
    def __init__(self, settings, context):
        self.file, self.context = context.base_dir / settings.file, context

    def _load(self):
        try:
            return json.loads(self.file.read_text())
        except OSError as error:
            raise DriverError(f"{self.file.name}: {error.strerror}") from error

    async def open(self):
        self._load()

    async def readings(self):
        while True:
            found, now_ns = self._load(), self.context.now_ns()
            values = [
                DataValue(f"{self.context.source}.{name}", found[name], Status.GOOD, None, now_ns)
                for name in sorted(self.context.rule_signals)
            ]
            yield Reading(tuple(values))
            await asyncio.sleep(0.05)

    async def close(self):
        pass

    async def write(self, signal, value):
        if signal == "locked":
            raise WriteRefusedError("the device is in manual mode")
        self.file.write_text(json.dumps({**self._load(), signal: value}))

    def problems(self):
        return {}

    def notices(self):
        return {"clock": "the device's clock shows 2000-01-01T00:00:12Z; times of arrival are used"}


DRIVER = DriverType(name="json_file", settings=Settings, build=Driver, describe=lambda s: [])
"""

CONFIG = """\
gateway: { id: box-1, plant: P1, state_dir: state }
sources:
  plc:
    driver: json_file
    file: device.json
    signals:
      good: {}
      job: { writable: { max_length: 12 } }
      speed: { writable: { min: "-10", max: "10" } }
      locked: { writable: { values: ["true", "false"] } }
work_units:
  M-1:
    work_center: WC-1
    ideal_cycle: 2 s
    counters: [{ mode: counter, signal: plc.good }]
    orders: { choose: job_signal, job_signal: plc.job }
connectors:
  share: { connector: file, folder: share }
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A running gateway; returns a function that runs a command beside it."""
    folder = tmp_path_factory.mktemp("writing")
    info = folder / "site" / "json_file-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: json-file\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[linegate.drivers]\njson_file = json_file_driver:DRIVER\n")
    (folder / "site" / "json_file_driver.py").write_text(DRIVER)
    (folder / "linegate.yaml").write_text(CONFIG)
    (folder / "device.json").write_text(json.dumps({"good": 1, "job": "4710-0010", "speed": 0}))
    for name in ("orders", "confirmations"):
        (folder / "share" / name).mkdir(parents=True)
    mine = {name: text for name, text in os.environ.items() if not name.startswith(("LINEGATE_", "PYTHON", "NOTIFY_"))}
    env = {**mine, "PYTHONPATH": f"{folder / 'site'}:{Path(__file__).parents[2]}", "LOGNAME": "ann", "COLUMNS": "100"}

    def run(*arguments):
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "gateway", *map(str, arguments)], capture_output=True, text=True, timeout=90,
            check=False, cwd=folder, env=env, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert "Traceback" not in ended.stderr, ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    run.folder = folder
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway", "run", "linegate.yaml"], stdout=log, stderr=log, cwd=folder,
            env=env, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + WAIT_S
            while "up for" not in run("status", "-d", "state").out:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield run
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()


@pytest.fixture
def ask(gateway):
    return lambda *arguments: gateway(*arguments, "-d", "state")


@pytest.fixture
def audited(ask):
    """Rows of the audit since the test began."""

    def rows():
        found = json.loads(ask("audit", "show", "--json", "-n", 10_000).out)
        return [row for row in found if row["action"] == "write_signal"]

    before = len(rows())
    return lambda: rows()[before:]


def device(gateway):
    return json.loads((gateway.folder / "device.json").read_text())


def test_a_value_reaches_the_device_and_the_audit(gateway, ask, audited):
    code, out, err = ask("write", "plc.job", "4711-0010", "--reason", "hand over", "--as", "shift 2")
    assert (code, err) == (0, "")
    assert out == "plc.job: wrote 4711-0010 (it was 4710-0010)\n"
    assert device(gateway)["job"] == "4711-0010"
    attempt, end = audited()
    assert (attempt["outcome"], end["outcome"], end["field"]) == ("attempted", "done", attempt["field"])
    assert (attempt["entity_id"], attempt["old"], attempt["new"]) == ("plc.job", "4710-0010", "4711-0010")
    assert (attempt["user"], attempt["reason_text"]) == ("shift 2 (ann)", "hand over")
    assert attempt["at"].startswith("20")


def test_a_negative_number_is_no_option(gateway, ask):
    code, out, err = ask("write", "plc.speed", "-7.5")
    assert (code, out, err) == (0, "plc.speed: wrote -7.5\n", "")
    assert device(gateway)["speed"] == -7.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("plc.speed", "11"),
            "linegate.yaml:9:26: sources.plc.signals.speed.writable: found '11', allowed: -10 to 10",
        ),
        (("plc.good", "1"), "linegate.yaml:7:13: sources.plc.signals.good.writable: found nothing, allowed: limits"),
        (
            ("plc.jop", "1"),
            "found 'plc.jop', source 'plc' has no such signal; allowed: plc.job, plc.speed, plc.locked; ",
        ),
        (("plc.locked", "true"), "plc.locked: not written: the device is in manual mode"),
        (("plc.job", "x" * 301), "value: found 'xxxxxxxxxxxxxxxx"),
        (("plc.job", "A", "--reason", "two\nlines"), "reason: found 'two\\nlines', allowed: a text of 1 to 300"),
    ],
)
def test_what_is_not_written_says_why(gateway, ask, arguments, said):
    before = device(gateway)
    code, out, err = ask("write", *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert device(gateway) == before


def test_refused_attempts_are_in_the_audit(ask, audited):
    ask("write", "plc.speed", "11")
    ask("write", "plc.locked", "true")
    assert [(row["entity_id"], row["outcome"]) for row in audited()] == [
        ("plc.speed", "refused"),
        ("plc.locked", "attempted"),
        ("plc.locked", "failed"),
    ]
    shown = ask("audit", "show", "-n", "3").out.splitlines()
    assert len(shown) == 3
    assert "(supervisor)  write_signal signal plc.speed attempt" in shown[0]
    assert shown[2].endswith("plc.locked: not written: the device is in manual mode")


@pytest.mark.parametrize("number", ["0", "-1", "10001"])
def test_the_audit_is_shown_in_bounds(ask, number):
    code, out, err = ask("audit", "show", "-n", number)
    assert (code, out) == (2, "")
    assert f"-n: found {number}, allowed 1 to 10000" in err


def test_without_a_gateway_nothing_is_written(gateway, tmp_path):
    code, out, err = gateway("write", "plc.job", "A", "-d", tmp_path)
    assert (code, out) == (3, "")
    assert "no linegate daemon runs" in err
    code, _out, err = gateway("audit", "show", "-d", tmp_path)
    assert code == 1
    assert "there is no database" in err


def test_what_a_driver_notices_stands_in_the_status(ask):
    assert "note: the device's clock shows 2000-01-01T00:00:12Z; times of arrival are used" in ask("status").out
    (source,) = json.loads(ask("status", "--json").out)["sources"]
    assert set(source["notices"]) == {"clock"}
    assert (source["reconnects"], source["problems"]) == (0, {})


def test_check_names_what_may_be_written(gateway):
    done = gateway("check", "linegate.yaml")
    assert done.code == 0, done.err
    assert "  may be written: job: printable text of up to 12 characters\n" in done.out
    assert "  may be written: speed: -10 to 10\n" in done.out
    assert json.loads(gateway("check", "linegate.yaml", "--json").out)["sources"]["plc"]["writable"] == {
        "job": "printable text of up to 12 characters",
        "speed": "-10 to 10",
        "locked": "one of true, false",
    }
