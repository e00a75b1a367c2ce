"""How fast every counting mode is, and a work unit with everything on: inputs per second, and against a bare loop.

``python tests/benchmarks/bench_modes.py [--inputs N] [--only NAME] [--json]``. Whole work units: an order runs, is
confirmed every 100 pieces and by time, and the machine's states are told. Outputs are thrown away, so nothing but the
core is measured. The bare loop looks at the same values and sums up by how much the numbers rose, as one writes it in
six lines. Processor time, best of the rounds, the two in turns: a machine that is shared disturbs in one direction
only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from workloads import START_NS, everything, fed, modes, roles_counted, unit_of

from gateway.core.model import DataValue

if TYPE_CHECKING:
    from workloads import Workload

    from gateway.core.model import Input

ROUNDS = 5
WARM_INPUTS = 1_000  # baselines and the first order; not measured
AIM_PER_S = 50_000


def workloads() -> dict[str, Workload]:
    return modes() | {"everything on": everything(), "everything on, a piece in every scan": everything(1)}


def bare_loop(inputs: list[Input]) -> int:
    last: dict[str, object] = {}
    rose = 0
    for given in inputs:
        if isinstance(given, DataValue):
            before = last.get(given.signal)
            if before is not None and given.value > before:
                rose += given.value - before
            last[given.signal] = given.value
    return rose


def measured(workload: Workload, inputs: int, rounds: int = ROUNDS) -> dict[str, object]:
    unit = unit_of(workload.rules)
    given = workload.first(WARM_INPUTS + inputs)
    warm, given = given[:WARM_INPUTS], given[WARM_INPUTS:]
    begun = fed(unit, unit.initial(START_NS), warm)
    best, bare, state = float("inf"), float("inf"), begun
    for _ in range(rounds):
        began = time.process_time()
        state = fed(unit, begun, given)
        best = min(best, time.process_time() - began)
        began = time.process_time()
        bare_loop(given)
        bare = min(bare, time.process_time() - began)
    return {
        "inputs_per_s": round(inputs / best),
        "us_per_input": round(best / inputs * 1e6, 2),
        "times_bare_loop": round(best / bare, 1),
        "counted": roles_counted(state),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the counting modes")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs of each case")
    parser.add_argument("--only", choices=workloads(), help="one case")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="one round of 2,000 inputs: it works, and no more")
    chosen = parser.parse_args()
    inputs, rounds = (2_000, 1) if chosen.quick else (chosen.inputs, ROUNDS)
    cases = {name: case for name, case in workloads().items() if chosen.only in (None, name)}
    found = {}
    for name, case in cases.items():
        found[name] = measured(case, inputs, rounds)
        if not chosen.json:
            row = found[name]
            print(  # noqa: T201 - a benchmark prints
                f"{name:<38} {row['inputs_per_s']:>8} inputs/s {row['us_per_input']:>6} us"
                f" {row['times_bare_loop']:>6} x bare loop  {row['counted']}"
            )
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - a benchmark prints
        return
    slow = [name for name, row in found.items() if row["inputs_per_s"] < AIM_PER_S]
    print(f"aim {AIM_PER_S} inputs/s: {'met' if not slow else 'missed by ' + ', '.join(slow)}")  # noqa: T201 - a benchmark prints


if __name__ == "__main__":
    main()
