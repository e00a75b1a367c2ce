"""``linegate witness``: a machine makes parts, and the proposal counts them."""

from __future__ import annotations

import json
import signal

import pytest
import yaml

from config.loader import load
from gateway import plugins

PINS = """
gateway: { id: box-1, plant: P1, state_dir: STATE }
sources:
  box:
    driver: digital_io
    pins: simulated
    signals: { carton: { pin: 17 }, running: { pin: 22 } }
work_units:
  PCK: { work_center: WC-1, ideal_cycle: 2 s, counters: [{ mode: pulse, signal: box.carton }] }
connectors:
  share: { connector: file, folder: share }
"""


@pytest.fixture
def standing(simulator, tmp_path):
    """Starts a machine that stands from its beginning on: a word of a test comes late on a busy computer."""

    def start(*arguments):
        scenario = tmp_path / "standing.yaml"
        scenario.write_text("- { at: 0, do: stop }\n")
        machine = simulator(*arguments, "--scenario", scenario)
        made = machine.command("stop")
        assert (made["good_total"], made["scrap_total"]) == (0, 0)
        return machine

    return start


def test_a_counter_from_standstill_to_standstill(start_cli, standing):
    """The total is 32 bits, low word first; the machine starts when the measurement is under way."""
    parts = 30
    asm = standing("asm-01", "--speed", "40", "--steady", "--stop-after", parts, "--seed", "5")
    process = start_cli(
        "witness", address_of(asm), "holding 2 uint32 CDAB", "--parts", str(parts), "--seconds", "100", "--json"
    )
    while "now " not in process.stderr.readline():
        assert process.poll() is None
    asm.command("start")
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode == 0, out
    told = json.loads(out)
    assert (told["kind"], told["counted"], told["sure"]) == ("counter", parts, "sure")
    assert told["proposal"]["counter"] | {"max_rate": ""} == {
        "mode": "counter", "signal": "SOURCE.SIGNAL", "role": "good", "modulus": 2**32, "max_rate": "",
    }  # fmt: skip
    assert told["measured"]["resets"] == 0


def address_of(machine):
    return f"modbus://127.0.0.1:{machine.ready['port']}/1?scan=10%20ms"


def test_pulses_with_bounce_and_a_proposal_that_the_configuration_takes(start_cli, standing, tmp_path):
    """Twelve cartons, none of them a reject with this seed."""
    file = tmp_path / "linegate.yaml"
    file.write_text(PINS.replace("STATE", str(tmp_path)))
    box = standing(
        "pck-01",
        "--socket",
        tmp_path / "pins.sock",
        "--speed",
        "200",
        "--steady",
        "--seed",
        "3",
        "--stop-after",
        12 * 24,
    )
    process = start_cli("witness", "box.carton", "--parts", "12", "-c", file, "--seconds", "100", "--json")
    while "now " not in process.stderr.readline():
        assert process.poll() is None
    box.command("start")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in err) == (0, False), out + err
    told = json.loads(out)
    assert (told["kind"], told["counted"]) == ("pulse", 12)
    assert told["measured"]["bounce_edges"] >= 12
    rule = told["proposal"]["counter"]
    document = yaml.safe_load(file.read_text())
    document["work_units"]["PCK"] |= {"ideal_cycle": told["proposal"]["ideal_cycle"], "counters": [rule]}
    file.write_text(yaml.safe_dump(document))
    settings = load(file, drivers=plugins.drivers(), connectors=plugins.connectors(), env={})
    (counter,) = settings.work_units["PCK"].counters
    assert told["measured"]["bounce_ns"] < counter.debounce < told["measured"]["width_ns"]["least"]
    assert counter.debounce < counter.min_cycle < told["measured"]["cycle_ns"]["least"]


def test_ctrl_c_ends_and_judges(start_cli, simulator):
    asm = simulator("asm-01", "--speed", "40", "--steady")
    process = start_cli("witness", address_of(asm), "holding 2", "--json")
    while "now " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    told = json.loads(out)
    assert (told["parts"], told["sure"]) == (None, "unsure")


def test_a_text_is_refused_at_once(linegate, simulator):
    asm = simulator("asm-01")
    done = linegate("witness", address_of(asm), "holding 8 type=string length=16", "--parts", "5", "--seconds", "20")
    assert done.code == 1
    assert "witness measures digital inputs and counters" in done.out
    assert "None" not in done.out


def test_a_signal_that_rests_is_told_with_the_next_step(linegate, simulator):
    asm = simulator("asm-01", "--stop-after", "1")
    done = linegate(
        "witness", f"modbus://127.0.0.1:{asm.ready['port']}/1", "holding 20", "--parts", "5", "--seconds", "3"
    )
    assert done.code == 1
    assert "the value never rose (it stayed at 20)" in done.out
    assert "linegate watch" in done.out


def test_nobody_there(linegate):
    done = linegate("witness", "modbus://127.0.0.1:1/1", "holding 0", "--parts", "5", "--seconds", "5")
    assert (done.code, done.out) == (1, "")
    assert "no connection" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["press", "--parts", "5"], "allowed SOURCE.SIGNAL"),
        (["press.good", "--parts", "0"], "--parts"),
        (["press.good", "--parts", "5", "--seconds", "0"], "--seconds"),
        (["modbus://h/1", "holding 0 x3", "--parts", "5"], "allowed one"),
    ],
)
def test_wrong_usage(wrong_usage, arguments, said):
    done = wrong_usage("witness", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
