"""The benchmark of the buffer runs and says what it is for; how fast anything is here proves nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "bench_buffer.py"


@pytest.mark.timeout(300)
def test_the_buffer_and_the_bare_library_are_measured(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), "--quick", "--json", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["confirmations_per_s"] > 0
    assert found["bare_per_s"] > 0
    assert found["ratio"] > 0
    assert found["bytes_per_confirmation"] >= 0
