"""However much waits, the daemon starts and delivers: none of its statements reads the outbox or the journal whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "bench_backlog.py"
POSTINGS = 24_000
#: One look at each row of the outbox takes SQLite six steps and more; the dearest statement there is looks at 1,000.
STEPS_MAX = 60_000
MEMORY_MB_MAX = 150


@pytest.mark.timeout(600)
def test_no_statement_costs_more_where_more_waits():
    done = subprocess.run(
        [
            sys.executable, "-P", str(PROGRAM), "--postings", str(POSTINGS), "--lanes", "600", "--seconds", "2",
            "--statements", "--json",
        ],
        capture_output=True, text=True, check=False, timeout=560,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["run"]["exit"] == 0
    assert found["run"]["twice"] == 0
    assert found["run"]["peak_mb"] < MEMORY_MB_MAX, found
    told = {one["sql"]: one["steps"] for one in found["dearest"]}
    # The check of a small file before it is used is meant to read all of it: that costs are counted at all.
    assert any("quick_check" in sql for sql in told), found
    dear = {sql: steps for sql, steps in told.items() if steps > STEPS_MAX and "quick_check" not in sql}
    assert not dear, dear


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_million_wait():
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), "--json"], capture_output=True, text=True, check=False, timeout=1700
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run = json.loads(done.stdout)["run"]
    assert run["first_booking_s"] < 5, run
    assert run["peak_mb"] < MEMORY_MB_MAX, run
    assert (run["twice"], run["exit"]) == (0, 0), run
