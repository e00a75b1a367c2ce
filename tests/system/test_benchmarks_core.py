"""The benchmarks of the core run and count; a work unit does not grow. How fast anything is here proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.counting.modes import MODES

FOLDER = Path(__file__).parents[1] / "benchmarks"
SECONDS_MAX = 280
pytestmark = pytest.mark.timeout(300)
#: What ten looks at the memory need themselves is about 300 blocks.
BLOCKS_MAX = 1_000
GROWTH_KIB_MAX = 1_024
STORED_BYTES_MAX = 16 * 1024


def run(name, *options):
    done = subprocess.run(
        [sys.executable, "-P", str(FOLDER / name), "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_counting_mode_is_measured_and_counts():
    found = run("bench_modes.py", "--quick")
    assert set(MODES) < set(found)
    for name, row in found.items():
        assert row["inputs_per_s"] > 0
        assert row["times_bare_loop"] > 0
        assert sum(row["counted"].values()) > 0, name


def test_a_work_unit_with_everything_on_does_not_grow():
    found = run("bench_memory.py", "--quick")
    assert 0 < found["memory"]["traced_kib_per_unit"] < 100
    looks = found["growth"]
    warm, last = looks[1], looks[-1]
    assert last["inputs"] == 300_000
    assert last["counted"]["good"] > warm["counted"]["good"] > 0
    assert last["blocks"] - warm["blocks"] < BLOCKS_MAX
    assert last["resident_kib"] - warm["resident_kib"] < GROWTH_KIB_MAX
    assert max(look["stored_bytes"] for look in looks) < STORED_BYTES_MAX


def test_the_plain_work_unit_is_measured():
    found = run("bench_core.py", "--inputs", "2000", "--growth-inputs", "0")
    assert found["every value one more, pieces"] == 2_000
    assert found["pulse edges, pieces"] == 1_000
    assert found["value unchanged, pieces"] == 0
