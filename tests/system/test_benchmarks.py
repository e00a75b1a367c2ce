"""The benchmarks of the daemon run and print what they are for; how fast anything is here proves nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SECONDS_MAX = 60


@pytest.fixture(autouse=True)
def broker():
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed")


def run(name, *options):
    done = subprocess.run(
        [sys.executable, "-P", str(FOLDER / name), "--quick", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", ["bench_modbus.py", "bench_opcua.py"])
def test_both_candidates_are_measured(name):
    found = json.loads(run(name, "--json"))
    assert found["cpu_ratio"]["median"] > 0
    for candidate in (found["daemon"], found["bare loop"]):
        assert candidate["cpu_s_per_1000_values"]["median"] > 0
        assert 5 < candidate["rss_mb"] < 500
        assert candidate["pss_mb"] <= candidate["rss_mb"]
        assert 0 < candidate["latency_p50_ms"] <= candidate["latency_p99_ms"]
        assert candidate["delivered_percent"] > 30  # a window of one second on a busy machine is no round number
        assert candidate["lost"] == 0


def test_the_table_names_the_ratio():
    table = run("bench_modbus.py")
    assert "ratio of CPU, daemon / bare loop: " in table
    assert "added latency: p50 " in table


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
