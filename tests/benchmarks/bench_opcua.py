"""The daemon against a bare loop: one OPC UA subscription of 500 variables that change at 5 Hz, published over MQTT.

``python -P tests/benchmarks/bench_opcua.py [--rounds N] [--seconds S] [--quick] [--json]``. Latency is
the time from a notification on the wire to the arrival of its values at a subscriber: the waiting for the publishing
interval, the same for both, is left out. The daemon counts a machine besides.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from comparison import BASE, Delivered, arguments, compare, daemons, fail, report
from rig import HOST, Rig, RigError
from subscriber import Arrival, Subscriber
from tap import LargeAnswers, Tap

NODES, RATE = 500, 5
PUBLISH_MS = 100
LARGE_BYTES = 8 * NODES  # a notification of all of them holds 8 bytes of each at the least
NAMESPACE = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
TAG = '      tag{number:04d}: {{ node: "nsu={namespace};s=Tag{number:04d}", telemetry: true }}\n'
SOURCES = """\
  imm:
    driver: opcua
    endpoint: {endpoint}
    security: none
    publish: {publish_ms} ms
    signals:
      shots: {{ node: "nsu={namespace};s=MachineCycleCounter" }}
{tags}work_units:
  IMM-01:
    work_center: WC-1
    ideal_cycle: 18 s
    counters: [{{ mode: counter, signal: imm.shots, pieces: 8 }}]
"""


def judge(wire: LargeAnswers, arrivals: list[Arrival], from_ns: int, to_ns: int) -> Delivered:
    """Hold what arrived against the notifications that went over the wire; each is larger than anything else."""
    values, latencies = 0, []
    for arrival in arrivals:
        values += len(json.loads(arrival.payload)["values"])
        sent = wire.seen_ns[: bisect(wire.seen_ns, arrival.at_ns)]
        latencies.append((arrival.at_ns - sent[-1]) / 1e6)
    # The ends of the window are left out: what was under way there belongs to neither side.
    margin_ns = PUBLISH_MS * 1_000_000
    passed = [at_ns for at_ns in wire.seen_ns if from_ns + margin_ns <= at_ns < to_ns - margin_ns]
    unseen = [at_ns for at_ns in passed if not any(0 <= one.at_ns - at_ns < margin_ns for one in arrivals)]
    wire.seen_ns.clear()
    return Delivered(values, latencies, len(unseen))


def main() -> int:
    chosen = arguments("Daemon against bare loop, OPC UA")
    try:
        with Rig() as rig:
            server = rig.simulator("imm-01", "--nodes", str(NODES), "--rate", str(RATE))
            wire = LargeAnswers(LARGE_BYTES)
            tap = Tap(HOST, server["port"], wire.observe)
            endpoint = server["endpoint"].replace(f":{server['port']}/", f":{tap.port}/")
            subscriber = Subscriber(HOST, rig.broker_port, "/telemetry/imm")
            bare = Path(__file__).with_name("bare_opcua.py")
            sources = SOURCES.format(
                endpoint=endpoint,
                publish_ms=PUBLISH_MS,
                namespace=NAMESPACE,
                tags="".join(TAG.format(number=number, namespace=NAMESPACE) for number in range(NODES)),
            )
            found = compare(
                {
                    **daemons(rig, sources, chosen.against),
                    BASE: lambda: rig.start(
                        BASE, str(bare), endpoint, *map(str, (rig.broker_port, NODES, PUBLISH_MS)), NAMESPACE
                    ),
                },
                subscriber,
                partial(judge, wire),
                chosen.plan,
                NODES * RATE,
            )
            subscriber.close()
            tap.close()
    except RigError as error:
        return fail(error)
    report(
        f"OPC UA: {NODES} variables at {RATE} Hz, published every {PUBLISH_MS} ms",
        found,
        chosen.plan,
        as_json=chosen.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
