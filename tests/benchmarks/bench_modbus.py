"""The daemon against a bare loop: 1,000 holding registers every 100 ms, published over MQTT.

``python -P tests/benchmarks/bench_modbus.py [--rounds N] [--seconds S] [--quick] [--json]``. Latency is the time from
the last answer of a scan on the wire to the arrival of its values at a subscriber. The daemon counts a machine besides.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from comparison import BASE, Delivered, arguments, compare, daemons, fail, report
from rig import HOST, Rig, RigError
from subscriber import Arrival, Subscriber
from tap import ModbusScans, Tap

FIRST, COUNT = 1000, 1000
SCAN_S = 0.1
LAST_NAME = f"plc.tag.{COUNT - 1}"
SOURCES = """\
  plc:
    driver: modbus
    host: {host}
    port: {port}
    scan: 100 ms
    blocks: [{{ name: tag, address: {first}, count: {count} }}]
  counter:
    driver: modbus
    host: {host}
    port: {port}
    scan: 1 s
    signals: {{ good: {{ table: holding, address: 0 }} }}
work_units:
  ASM-01:
    work_center: WC-1
    ideal_cycle: 2.4 s
    counters: [{{ mode: counter, signal: counter.good, modulus: 65536, max_rate: 40 /min }}]
"""


def judge(scans: ModbusScans, arrivals: list[Arrival], from_ns: int, to_ns: int) -> Delivered:
    """Hold what arrived against what went over the wire."""
    values, latencies = 0, []
    arrived = set()
    for arrival in arrivals:
        found = json.loads(arrival.payload)["values"]
        values += len(found)
        arrived.add(found[LAST_NAME])
        latencies.append((arrival.at_ns - scans.seen[found[LAST_NAME]]) / 1e6)
    # The ends of the window are left out: what was under way there belongs to neither side.
    margin_ns = int(SCAN_S * 1e9)
    passed = {word for word, at_ns in scans.seen.items() if from_ns + margin_ns <= at_ns < to_ns - margin_ns}
    scans.seen.clear()
    return Delivered(values, latencies, len(passed - arrived))


def main() -> int:
    chosen = arguments("Daemon against bare loop, Modbus TCP")
    try:
        with Rig() as rig:
            device = rig.simulator("asm-01", "--ramp")
            scans = ModbusScans(FIRST + COUNT - 1)
            tap = Tap(HOST, device["port"], scans.observe)
            subscriber = Subscriber(HOST, rig.broker_port, "/telemetry/plc")
            sources = SOURCES.format(host=HOST, port=tap.port, first=FIRST, count=COUNT)
            bare = Path(__file__).with_name("bare_modbus.py")
            found = compare(
                {
                    **daemons(rig, sources, chosen.against),
                    BASE: lambda: rig.start(
                        BASE,
                        str(bare),
                        json.dumps({"plc": tap.port}),
                        *map(str, (rig.broker_port, FIRST, COUNT, SCAN_S)),
                    ),
                },
                subscriber,
                partial(judge, scans),
                chosen.plan,
                COUNT / SCAN_S,
            )
            subscriber.close()
            tap.close()
    except RigError as error:
        return fail(error)
    report("Modbus TCP: 1 device, 1000 registers every 100 ms", found, chosen.plan, as_json=chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
