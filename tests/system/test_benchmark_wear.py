"""The benchmark of wear runs, and what it says of a flush, which no computer's speed changes, is little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "bench_wear.py"
#: Measured: 9 KB and 56 KB; with pages of 4 KiB it would be 26 KB and 140 KB.
FLUSH_MAX_BYTES = 15_000
CONFIRMATION_MAX_BYTES = 90_000


@pytest.mark.timeout(420)
def test_a_flush_and_a_confirmation_write_little(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), "--quick", "--json", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    pieces, confirmed = found["pieces"], found["confirmations"]
    assert pieces["pieces"] > 0
    assert 2_000 < pieces["log_bytes_per_flush"] < FLUSH_MAX_BYTES, found
    assert confirmed["confirmations"] > 0, found
    assert 4_000 < confirmed["log_bytes_per_confirmation"] < CONFIRMATION_MAX_BYTES, found
