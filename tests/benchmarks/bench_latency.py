"""From a bit that toggles in a device to its arrival over MQTT: the daemon against a bare loop.

``python -P tests/benchmarks/bench_latency.py [--rounds N] [--seconds S] [--quick] [--json] [--against DIR]``. Modbus:
discrete inputs at a 50 ms scan; OPC UA: Boolean variables, published every 50 ms. The device itself says when it
toggled. Waiting for the next scan or publishing is part of it: 25 ms in the mean, 50 ms at the most, for any candidate.
The daemon counts one of the bits besides.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from changes import Toggles
from comparison import BASE, arguments, compare, daemons, fail, report
from rig import HOST, Rig, RigError
from subscriber import Subscriber

BITS = 8
EVERY_MS = 50
NAMESPACE = "urn:bench:bits"
HERE = Path(__file__).parent
MODBUS = """\
  plc:
    driver: modbus
    host: {host}
    port: {port}
    scan: {every_ms} ms
    signals:
{signals}{work_units}"""
OPCUA = """\
  plc:
    driver: opcua
    endpoint: {endpoint}
    security: none
    publish: {every_ms} ms
    signals:
{signals}{work_units}"""
WORK_UNITS = """\
work_units:
  PCK-01:
    work_center: WC-1
    ideal_cycle: 600 ms
    counters: [{{ mode: pulse, signal: plc.{signal}, min_cycle: 300 ms }}]
"""


def modbus(chosen) -> dict:
    """The discrete inputs of one device."""
    with Rig() as rig:
        ready, lines = rig.device(str(HERE / "device_modbus.py"), "bits", str(BITS))
        port = ready["ports"][0]
        signals = "".join(
            f"      b{bit}: {{ table: discrete, address: {bit}, telemetry: true }}\n" for bit in range(BITS)
        )
        sources = MODBUS.format(
            host=HOST, port=port, every_ms=EVERY_MS, signals=signals, work_units=WORK_UNITS.format(signal="b0")
        )
        bare = ["bare_bits.py", *map(str, (port, rig.broker_port, BITS, EVERY_MS / 1000))]
        return measure(rig, Toggles(lines), sources, bare, chosen)


def opcua(chosen) -> dict:
    """The variables of one server."""
    with Rig() as rig:
        ready, lines = rig.device(str(HERE / "device_opcua.py"), str(BITS), NAMESPACE)
        signals = "".join(
            f'      tag{bit:04d}: {{ node: "nsu={NAMESPACE};s=Tag{bit:04d}", telemetry: true }}\n'
            for bit in range(BITS)
        )
        sources = OPCUA.format(
            endpoint=ready["endpoint"],
            every_ms=EVERY_MS,
            signals=signals,
            work_units=WORK_UNITS.format(signal="tag0000"),
        )
        bare = ["bare_opcua.py", ready["endpoint"], *map(str, (rig.broker_port, BITS, EVERY_MS)), NAMESPACE]
        return measure(rig, Toggles(lines), sources, bare, chosen)


def measure(rig: Rig, toggles: Toggles, sources: str, bare: list[str], chosen) -> dict:
    """All windows on one device."""
    subscriber = Subscriber(HOST, rig.broker_port, "/telemetry/")
    found = compare(
        {
            **daemons(rig, sources, chosen.against),
            BASE: partial(rig.start, BASE, str(HERE / bare[0]), *bare[1:]),
        },
        subscriber,
        toggles.judge,
        chosen.plan,
        0,
    )
    subscriber.close()
    return found


def main() -> int:
    chosen = arguments("Daemon against bare loop: latency of a toggled bit")
    try:
        for number, (title, protocol) in enumerate(
            (
                (f"Modbus TCP: {BITS} discrete inputs toggle, scanned every {EVERY_MS} ms", modbus),
                (f"OPC UA: {BITS} Booleans toggle, published every {EVERY_MS} ms", opcua),
            )
        ):
            if number and not chosen.json:
                print()  # noqa: T201 - a benchmark prints
            report(title, protocol(chosen), chosen.plan, as_json=chosen.json)
    except RigError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
