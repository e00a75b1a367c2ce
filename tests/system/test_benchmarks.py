"""The benchmarks of the daemon run and print what they are for; how fast anything is here proves nothing."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SECONDS_MAX = 240
#: A computer that stands still for a moment of a short window does so once; what is broken is broken each time.
ROUNDS = 8
pytestmark = pytest.mark.timeout((ROUNDS + 1) * SECONDS_MAX)

# Bit, state, ms: before the window, two that arrive, one that is overtaken by its successor, one too late to be judged.
TOGGLED = [(0, True, 50), (0, False, 300), (1, True, 400), (1, False, 600), (1, True, 1_950)]
ARRIVED = [
    (110, {"plc.b0": True, "plc.b1": False}),  # known before
    (325, {"plc.b0": False, "plc.b1": False}),
    (440, {"plc.b0": False, "plc.b1": True}),
    (900, {"plc.b0": False, "plc.b1": True}),  # said again
]


@pytest.fixture(autouse=True)
def broker():
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed")


def run(name, *options, enough=lambda _said: True):
    """What a benchmark says; again where nothing, or not ``enough``, came in the second that it looked."""
    seen = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-P", str(FOLDER / name), "--quick", *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
        if done.returncode == 0 and enough(done.stdout):
            return done.stdout
        stood_still = "arrived in a window of" in done.stderr or "the bare loop" in done.stderr  # that is not ours
        assert done.returncode == 0 or stood_still, done.stderr[-2000:]
        seen.append(f"{done.stdout}{done.stderr[-2000:]}")
    raise AssertionError(seen)


def enough_arrived(said):
    """A window of one second on a busy machine is no round number; where not even a bare loop gets on, half of its."""
    found = [json.loads(line) for line in said.splitlines()]
    return all(one["daemon"]["delivered_percent"] > min(30, one["bare loop"]["delivered_percent"] / 2) for one in found)


def check(found):
    """Whether both candidates were measured."""
    for name in ("daemon", "bare loop"):
        candidate = found[name]
        assert candidate["cpu_s_per_1000_values"]["median"] > 0
        assert 5 < candidate["rss_mb"] < 500
        assert candidate["pss_mb"] <= candidate["rss_mb"]
        assert 0 < candidate["latency_p50_ms"] <= candidate["latency_p99_ms"]
        assert candidate["delivered_percent"] > 0
    assert found["cpu_ratio"]["daemon"]["median"] > 0
    assert "p99" in found["added_latency_ms"]["daemon"]


def enough_in_time(said):
    """That of OPC UA takes a notification for lost that is a tenth of a second late, as those of a bare loop may be."""
    found = json.loads(said)
    return enough_arrived(said) and found["daemon"]["lost"] <= found["bare loop"]["lost"]


@pytest.mark.parametrize(("name", "enough"), [("bench_modbus.py", enough_arrived), ("bench_opcua.py", enough_in_time)])
def test_both_candidates_are_measured(name, enough):
    found = json.loads(run(name, "--json", enough=enough))
    check(found)
    if name == "bench_modbus.py":  # its devices number their answers
        assert found["daemon"]["lost"] == found["bare loop"]["lost"] == 0


def test_a_toggled_bit_is_followed_to_its_arrival():
    said = run("bench_latency.py", "--json", enough=enough_arrived)
    modbus, opcua = (json.loads(line) for line in said.splitlines())
    check(modbus)
    check(opcua)


def test_toggles_that_arrive_late_again_or_never(monkeypatch):
    own = [file.stem for file in FOLDER.glob("*.py")]
    for name in own:  # another folder of tests may have a module of the same name
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))
    try:
        changes = importlib.import_module("changes")
        arrival = importlib.import_module("subscriber").Arrival
    finally:
        for name in own:
            sys.modules.pop(name, None)
    ms = 1_000_000
    lines = [{"bit": bit, "state": state, "at_ns": at * ms} for bit, state, at in TOGGLED]
    toggles = changes.Toggles([json.dumps(line).encode() for line in lines])
    toggles.reader.join()
    found = toggles.judge(
        [arrival(at * ms, json.dumps({"values": values}).encode()) for at, values in ARRIVED], 100 * ms, 2_000 * ms
    )
    assert found.latencies_ms == [25.0, 40.0]
    assert (found.values, found.lost, found.expected) == (2, 1, 3)


def test_the_table_names_the_ratio():
    table = run("bench_modbus_fleet.py")
    assert "daemon / bare loop: ratio of CPU " in table
    assert "daemon counting 20 / bare loop: ratio of CPU " in table
    assert "; added latency p50 " in table
    lost = next(line for line in table.splitlines() if line.startswith("readings lost"))
    assert lost.split()[2:] == ["0", "0", "0"]


def test_without_a_broker_it_says_what_to_do():
    program = (
        "import shutil, sys; shutil.which = lambda *_, **__: None; sys.argv[1:] = ['--quick'];"
        f"sys.path.insert(0, {str(FOLDER)!r}); import bench_modbus; sys.exit(bench_modbus.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    assert done.returncode == 1
    assert "apt-get install mosquitto" in done.stderr


def test_a_backlog_drains_whole_and_in_order_and_what_is_made_meanwhile_does_not_wait_for_it():
    options = ("--postings", "200", "--orders", "8", "--live-s", "2", "--backlog", "2000", "--delay-ms", "50")
    command = [sys.executable, "-P", str(FOLDER / "bench_drain.py"), *options, "--json"]
    seen = []
    for _ in range(ROUNDS):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads(done.stdout.splitlines()[-1])
        assert (found["missing"], found["twice"], found["disordered"]) == (0, 0, 0)
        live = found["live"]
        if live["still_waiting"] > 500 and live["arrived"] >= 5 and live["p95_ms"] < 3000:
            return
        seen.append(live)
    raise AssertionError(seen)
