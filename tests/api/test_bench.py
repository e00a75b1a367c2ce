"""The benchmark of the API runs and prints what it is for; how fast anything is here proves nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.api.routes import ROUTES

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bench_api.py"


def test_every_call_is_measured_while_pieces_are_counted():
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed")
    done = subprocess.run(
        [sys.executable, "-P", str(SCRIPT), "--seconds", "3", "--quick", "--json"],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["pieces"] > 0
    rows = {f"{route.method} {route.path}" for route in ROUTES}
    assert rows - set(found["calls"]) == set(), "each row of the API is measured"
    for one in found["calls"].values():
        assert one["calls"] > 0
        assert 0 < one["p50"] <= one["p99"] <= one["max"]
    # What was not sent yet, what stands already, what needs a posting that failed.
    assert {guard.split(" ")[0] for guards in found["refused"].values() for guard in guards} <= {"404", "409"}
