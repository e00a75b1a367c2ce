"""The daemon against a bare loop: 20 Modbus TCP devices with 50 registers each, every second, published over MQTT.

``python -P tests/benchmarks/bench_modbus_fleet.py [--rounds N] [--seconds S] [--quick] [--json] [--against DIR]``. Each
device has a port, a source and a connection of its own. Latency is the time from the answer, which carries it, to the
arrival of its values at a subscriber. The daemon is measured twice: it counts one of the machines, and it counts all.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from comparison import BASE, Delivered, arguments, compare, daemons, fail, report
from rig import HOST, Rig, RigError
from subscriber import Arrival, Subscriber

DEVICES, COUNT = 20, 50
SCAN_S = 1.0
COUNTS_ALL = "daemon counting 20"
SOURCE = """\
  {plc}:
    driver: modbus
    host: {host}
    port: {port}
    scan: 1 s
    blocks: [{{ name: tag, address: 0, count: {count} }}]
    signals: {{ good: {{ table: holding, address: 49 }} }}
"""
WORK_UNIT = """\
  UNIT-{plc}:
    work_center: WC-{plc}
    ideal_cycle: 2.4 s
    counters: [{{ mode: counter, signal: {plc}.good, modulus: 65536, max_rate: 40 /min }}]
"""


def judge(arrivals: list[Arrival], from_ns: int, to_ns: int) -> Delivered:
    """The registers say when they were read, and a number in each device tells what is missing."""
    values, latencies = 0, []
    seen: dict[str, dict[int, int]] = {}
    for arrival in arrivals:
        found = json.loads(arrival.payload)["values"]
        plc = next(iter(found)).partition(".")[0]
        if f"{plc}.tag.0" not in found:
            continue
        values += COUNT
        at_ns = int.from_bytes(b"".join(found[f"{plc}.tag.{index}"].to_bytes(2, "big") for index in range(4)), "big")
        latencies.append((arrival.at_ns - at_ns) / 1e6)
        seen.setdefault(plc, {})[found[f"{plc}.tag.4"]] = at_ns
    lost = sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in seen.values())
    gaps = [(later - at_ns) / 1e6 for numbers in seen.values() for at_ns, later in pairwise(sorted(numbers.values()))]
    if to_ns - from_ns > 2e9 * SCAN_S:  # in a shorter window a device may have no turn
        lost += DEVICES - len(seen)
    return Delivered(values, latencies, lost, gaps_ms=tuple(gaps))


def main() -> int:
    chosen = arguments("Daemon against bare loop, 20 Modbus TCP devices")
    here = Path(__file__).parent
    try:
        with Rig() as rig:
            ready, _ = rig.device(str(here / "device_modbus.py"), "registers", str(DEVICES))
            ports = {f"plc{number:02d}": port for number, port in enumerate(ready["ports"])}
            subscriber = Subscriber(HOST, rig.broker_port, "/telemetry/plc")
            sources = "".join(SOURCE.format(plc=plc, host=HOST, port=port, count=COUNT) for plc, port in ports.items())
            units = [WORK_UNIT.format(plc=plc) for plc in ports]
            bare = [json.dumps(ports), *map(str, (rig.broker_port, 0, COUNT, SCAN_S))]
            found = compare(
                {
                    **daemons(rig, f"{sources}work_units:\n{units[0]}", chosen.against),
                    COUNTS_ALL: lambda: rig.daemon(f"{sources}work_units:\n{''.join(units)}", COUNTS_ALL),
                    BASE: partial(rig.start, BASE, str(here / "bare_modbus.py"), *bare),
                },
                subscriber,
                judge,
                chosen.plan,
                DEVICES * COUNT / SCAN_S,
            )
            subscriber.close()
    except RigError as error:
        return fail(error)
    report(f"Modbus TCP: {DEVICES} devices, {COUNT} registers each, every 1 s", found, chosen.plan, as_json=chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
