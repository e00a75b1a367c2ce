"""How fast and how small the core is: inputs per second through one work unit, and memory.

``python tests/benchmarks/bench_core.py [--inputs N] [--json]``. One work unit with a counter, a pulse input, a running
order and a confirmation every 100 pieces. Outputs are thrown away, so nothing but the core is measured. Processor time,
best of five rounds: a machine that is shared disturbs in one direction only. Every counting mode is measured in
``bench_modes.py``, memory with everything on in ``bench_memory.py``.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import DataValue, JobOrder, OrderReceived, Status
from gateway.core.rate import Rate
from gateway.core.rules import ConfirmRule, CounterRule, PulseRule, Role, WorkUnitRules
from gateway.core.work_unit import WorkUnit

ROUNDS = 5
START_NS = 1_780_000_000_000_000_000
SCAN_NS = 250_000_000
UNITS = 200  # work units held at once, for the memory of one
AIM_PER_S = 100_000


def work_unit(number: int = 0) -> WorkUnit:
    rules = WorkUnitRules(
        work_center=f"WC-{number}",
        ideal_cycle=Duration("100 ms"),
        counters=(
            CounterRule(mode="counter", signal="plc.good", modulus=2**32, max_rate=Rate.parse("20 /s")),
            PulseRule(mode="pulse", signal="box.reject", role=Role.SCRAP),
        ),
        confirm=ConfirmRule(every_pieces=100, every=Duration("30 min")),
    )
    identity = Identity(
        plant="P", epoch="e", gateway_id="gw", line="L", machine=f"M-{number}", work_center=f"WC-{number}"
    )
    return WorkUnit(rules, identity)


def order() -> JobOrder:
    return JobOrder(
        order="4711",
        operation="0010",
        sequence="0",
        revision=1,
        work_center="WC-0",
        product="ART",
        product_revision="",
        uom="PC",
        quantity=Decimal(10**12),
        sequence_no=0,
        std_cycle_ns=None,
        planned_start_ns=None,
        planned_end_ns=None,
        cancelled=False,
        source="erp",
    )


def begun(unit: WorkUnit):
    """A state in which the order runs and both baselines are known."""
    state = unit.initial(START_NS)
    for given in (
        OrderReceived(START_NS, order(), None),
        DataValue("plc.good", 1000, Status.GOOD, None, START_NS),
        DataValue("box.reject", False, Status.GOOD, None, START_NS),
    ):
        state, _ = unit.handle(state, given)
    return state


def unchanged(number: int) -> DataValue:
    at_ns = START_NS + number * SCAN_NS
    return DataValue("plc.good", 1000, Status.GOOD, at_ns, at_ns)


def one_more(number: int) -> DataValue:
    at_ns = START_NS + number * SCAN_NS
    return DataValue("plc.good", 1000 + number, Status.GOOD, at_ns, at_ns)


def edges(number: int) -> DataValue:
    at_ns = START_NS + number * SCAN_NS
    return DataValue("box.reject", number % 2 == 1, Status.GOOD, at_ns, at_ns)


CASES = {"value unchanged": unchanged, "every value one more": one_more, "pulse edges": edges}


def per_second(make, inputs: int) -> tuple[float, int]:
    """Inputs per second, and the pieces that were counted (so that nothing was skipped)."""
    unit = work_unit()
    values = [make(number) for number in range(1, inputs + 1)]
    best, state = float("inf"), None
    for _ in range(ROUNDS):
        state, handle = begun(unit), unit.handle
        began = time.process_time()
        for value in values:
            state, _ = handle(state, value)
        best = min(best, time.process_time() - began)
    return inputs / best, sum(state.counted)


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # pragma: no cover - where there is no /proc


def memory_per_unit() -> float:
    """KiB of one work unit with its running order."""
    gc.collect()
    before = resident_kib()
    held = [(unit, begun(unit)) for unit in map(work_unit, range(UNITS))]
    gc.collect()
    return (resident_kib() - before) / len(held)


def growth(inputs: int) -> int:
    """KiB that a work unit grows by over so many inputs, once it is warm."""
    unit = work_unit()
    state = begun(unit)
    warm = inputs // 10
    before = 0
    for number in range(1, inputs + warm + 1):
        if number == warm:
            gc.collect()
            before = resident_kib()
        state, _ = unit.handle(state, one_more(number) if number % 3 else edges(number // 3))
    gc.collect()
    return resident_kib() - before


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the pure core")
    parser.add_argument("--inputs", type=int, default=200_000, help="inputs of each speed case")
    parser.add_argument(
        "--growth-inputs", type=int, default=1_000_000, help="inputs of the memory case; 0: leave it out"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    found: dict[str, float | int | str] = {"python": sys.version.split()[0], "inputs": chosen.inputs}
    found["kib_per_work_unit"] = round(memory_per_unit(), 1)
    for name, make in CASES.items():
        speed, pieces = per_second(make, chosen.inputs)
        found[f"{name}, inputs/s"] = round(speed)
        found[f"{name}, pieces"] = pieces
    if chosen.growth_inputs:
        found["growth_kib"] = growth(chosen.growth_inputs)
        found["growth_inputs"] = chosen.growth_inputs
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - a benchmark prints
        return
    for name, value in found.items():
        print(f"{name:<34} {value}")  # noqa: T201 - a benchmark prints
    slow = [name for name in CASES if found[f"{name}, inputs/s"] < AIM_PER_S]
    print(f"aim {AIM_PER_S} inputs/s: {'met' if not slow else 'missed by ' + ', '.join(slow)}")  # noqa: T201 - a benchmark prints


if __name__ == "__main__":
    main()
