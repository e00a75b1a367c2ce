"""A gateway loads only what its configuration needs: each library costs memory on a box that has little of it."""

from __future__ import annotations

import compileall
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.control import ControlError, call

DEADLINE_S = 100.0
RSS_MAX_MB = 80.0
ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("gateway", "drivers", "buffer", "config")
#: Never needed by a gateway without an OPC UA source, a REST connector or real pins.
OPCUA = {"asyncua", "cryptography"}
HTTP = {"httpx", "httpcore"}
PINS = {"gpiozero", "gpiod", "RPi"}
OTHERS_WORK = {"simulators", "amqtt", "pytest", "hypothesis", "uvicorn", "websockets"}
MODBUS = """
  plc:
    driver: modbus
    host: 127.0.0.1
    port: {port}
    scan: 100 ms
    signals: {{ good: {{ table: holding, address: 0 }} }}
    blocks: [{{ name: tag, address: 1000, count: 1000 }}]
"""
OPC_UA = """
  plc:
    driver: opcua
    endpoint: opc.tcp://127.0.0.1:{port}/imm-01
    security: none
    signals: {{ good: {{ node: "i=2257" }} }}
"""
PIN = """
  plc: { driver: digital_io, pins: simulated, signals: { good: { pin: 17 } } }
"""
COUNTER = "{ mode: counter, signal: plc.good, modulus: 65536, max_rate: 40 /min }"
MQTT = "mqtt: { host: 127.0.0.1, port: 1 }\n"  # nobody listens: the library is loaded all the same


@pytest.fixture
def plc():
    """The port of a simulated Modbus device."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "simulators", "asm-01", "--port", "0", "--ramp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()


@pytest.fixture
def configured(tmp_path):
    """Writes a configuration with these sources and one counted machine."""

    def write(sources, *, counter=COUNTER, mqtt=""):
        for folder in ("state", "orders", "confirmations"):
            (tmp_path / folder).mkdir()
        config = tmp_path / "linegate.yaml"
        config.write_text(
            f"gateway: {{ id: lean, plant: P, timezone: UTC, state_dir: {tmp_path / 'state'} }}\n"
            f"sources:{sources}{mqtt}"
            f"work_units:\n  M-1: {{ work_center: WC-1, ideal_cycle: 2.4 s, counters: [{counter}] }}\n"
            "connectors: { erp: { connector: file, folder: . } }\n"
        )
        return config

    return write


@pytest.fixture
def run(tmp_path, configured):
    """Runs a gateway until a condition on its status holds; what it had imported, and its resident MB."""

    def until(sources, condition, **settings):
        config = configured(sources, **settings)
        said = tmp_path / "said.txt"
        with said.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-X", "importtime", "-m", "gateway", "run", str(config)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not condition(status(tmp_path / "state")):
                assert process.poll() is None, said.read_text()[-2000:]
                assert time.monotonic() < deadline, "the gateway did not come to that state in time"
                time.sleep(0.05)
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        finally:
            process.terminate()
            process.wait(DEADLINE_S)
        names = {line.rpartition("|")[2].strip() for line in said.read_text().splitlines() if "import time:" in line}
        rss_mb = int(re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) * 1024 / 1e6
        return names, rss_mb

    return until


def status(state_dir):
    try:
        return call(state_dir, "status")
    except ControlError:
        return None


def is_up(view):
    return view is not None and all(source["state"] == "up" and source["last_value_ns"] for source in view["sources"])


def is_down(view):
    return view is not None and all(source["state"] == "down" for source in view["sources"])


def packages(names):
    return {name.partition(".")[0] for name in names}


def test_a_gateway_with_modbus_only_loads_no_other_protocol_and_stays_small(run, plc):
    for room in ROOMS:  # who starts a changed checkout first compiles it, and keeps the memory of that
        assert compileall.compile_dir(ROOT / room, quiet=1), room
    names, rss_mb = run(MODBUS.format(port=plc), is_up, mqtt=MQTT)
    assert {"pymodbus", "paho", "gateway"} <= packages(names)  # the list of imports does work
    assert packages(names) & (OPCUA | HTTP | PINS | OTHERS_WORK) == set()
    assert not {name for name in names if name.startswith(("gateway.demo.", "drivers.opcua.driver"))}
    assert rss_mb <= RSS_MAX_MB


def test_an_opcua_source_is_what_loads_asyncua(run):
    names, _ = run(OPC_UA.format(port=1), is_down)
    assert packages(names) >= OPCUA
    assert "pymodbus" not in packages(names)


def test_an_idle_gateway_with_its_own_inputs_loads_neither_protocols_nor_mqtt(run, tmp_path):
    pins = tmp_path / "state" / "pins.sock"  # the driver waits there for its simulator
    names, _ = run(PIN, lambda view: view and pins.exists(), counter="{ mode: pulse, signal: plc.good }")
    loaded = packages(names)
    assert "gpiozero" in loaded
    assert loaded & (OPCUA | HTTP | OTHERS_WORK | {"pymodbus", "serial", "paho", "gpiod", "RPi"}) == set()


FROZEN = """
import gc, os, signal, sys
from gateway import app
from gateway.cli import main

real_open, real_exempt = app.open_database, app._exempt_from_collection

async def opened(*arguments):
    print("collecting", gc.isenabled(), flush=True)
    return await real_open(*arguments)

def exempted():
    real_exempt()
    print("switch", sys.getswitchinterval(), flush=True)
    print("frozen", gc.get_freeze_count(), "of", gc.get_freeze_count() + len(gc.get_objects()), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

app.open_database, app._exempt_from_collection = opened, exempted
app.SETTLED_AFTER_S = 0.5
sys.exit(main(["run", sys.argv[1]]))
"""


def test_what_lives_for_ever_is_exempt_from_full_collections(configured):
    """And what a start makes after the loading is collected: a big database may take minutes."""
    config = configured(PIN, counter="{ mode: pulse, signal: plc.good }")
    done = subprocess.run(
        [sys.executable, "-P", "-c", FROZEN, str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("collecting True\n")
    assert "switch 0.001\n" in done.stdout, "a thread that computes must let the event loop go on soon"
    frozen, everything = map(int, re.search(r"^frozen (\d+) of (\d+)$", done.stdout, re.MULTILINE).groups())
    assert frozen > 10_000
    assert frozen > 0.99 * everything
