"""How much a work unit with everything on takes in memory, and whether it grows over millions of inputs.

``python tests/benchmarks/bench_memory.py [--units N] [--inputs N] [--json]``. Memory per work unit: resident memory of
many of them, and what Python's allocator says of as many again; each has seen a minute of its machine. Growth: inputs
through one work unit, 10 million of them, with its orders, stops, shifts and restarts; outputs are thrown away. After
each tenth it says how much memory is resident, how many blocks Python holds and how long the stored state is. Processor
time is that of the growth alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import tracemalloc
from dataclasses import replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from workloads import EVERYTHING, START_NS, everything, fed, roles_counted, unit_of

from gateway.core import snapshot

UNITS = 1_000
SEEN_INPUTS = 1_000  # by each of them
GROWTH_INPUTS = 10_000_000
LOOKS = 10


def resident_kib() -> int:
    """Resident memory of this process; 0 where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # pragma: no cover - not Linux
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def held(units: int) -> list[object]:
    """So many work units, each with rules of its own, as a configuration makes them, and a state of its own."""
    given = everything().first(SEEN_INPUTS)
    made = []
    for number in range(units):
        unit = unit_of(replace(EVERYTHING), number)
        state = fed(unit, unit.initial(START_NS), given)
        # A restart: nothing is shared with another work unit but what every process shares.
        made.append((unit, snapshot.load(unit, snapshot.dump(unit, state))))
    return made


def per_unit(units: int) -> dict[str, float]:
    warm = held(2)
    gc.collect()
    before = resident_kib()
    kept = held(units)
    gc.collect()
    resident = (resident_kib() - before) / units
    tracemalloc.start()
    again = held(units)
    gc.collect()
    traced, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(warm) + len(kept) + len(again) == 2 * units + 2, "they are all held until here"
    return {
        "units": units,
        "resident_kib_per_unit": round(resident, 1),
        "traced_kib_per_unit": round(traced / units / 1024, 1),
    }


def growth(inputs: int) -> list[dict[str, object]]:
    unit = unit_of(EVERYTHING)
    given, state = everything().inputs(), unit.initial(START_NS)
    looks: list[dict[str, object]] = []
    part, began = max(inputs // LOOKS, 1), time.process_time()
    for look in range(1, LOOKS + 1):
        handle = unit.handle
        for one in islice(given, part):
            state, _ = handle(state, one)
        spent = time.process_time() - began
        gc.collect()
        looks.append(
            {
                "inputs": look * part,
                "resident_kib": resident_kib(),
                "blocks": sys.getallocatedblocks(),
                "stored_bytes": len(snapshot.dump(unit, state)),
                "cpu_s": round(spent, 1),
                "counted": roles_counted(state),
            }
        )
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the core's memory")
    parser.add_argument("--units", type=int, default=UNITS, help="work units held at once; 0: leave it out")
    parser.add_argument("--inputs", type=int, default=GROWTH_INPUTS, help="inputs of the growth; 0: leave it out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="20 work units, 300,000 inputs")
    chosen = parser.parse_args()
    units, inputs = (20, 300_000) if chosen.quick else (chosen.units, chosen.inputs)
    found: dict[str, object] = {}
    if units:
        found["memory"] = per_unit(units)
        if not chosen.json:
            print(*(f"{name} {value}" for name, value in found["memory"].items()), sep=", ")  # noqa: T201 - a benchmark prints
    if inputs:
        found["growth"] = looks = growth(inputs)
        if not chosen.json:
            for look in looks:
                print(*(f"{name} {value}" for name, value in look.items()), sep=", ")  # noqa: T201 - a benchmark prints
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - a benchmark prints


if __name__ == "__main__":
    main()
