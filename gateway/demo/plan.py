"""The demo's configuration: ``config/examples/demo.yaml`` with free ports, its own folder, and every time scaled.

Shifts are by the clock on the wall at any speed, and there is one at every hour.
The speed scales machines, ideal cycles, rate limits and timers together: a plausibility rule that allows two pieces
between two polls in real time allows two pieces between two polls at any speed.
"""

from __future__ import annotations

import socket
from dataclasses import fields
from fractions import Fraction
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from config.document import flatten
from config.include import read_with_includes
from gateway.core.duration import Duration
from gateway.core.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.connectors.base import ConnectorType

SCAN_MIN_NS: Final = 20_000_000  # below this the demo would measure the operating system, not the product
TIMER_KEYS: Final = frozenset(
    {"ideal_cycle", "min_cycle", "max_cycle", "debounce", "stuck_after", "stop_detect", "micro_stop_max", "every"}
    | {"remember_old_track", "poll_orders", "server_time_limit", "checkpoint"}
)
#: Keys of every connector, which the configuration handles.
COMMON: Final = frozenset({"poll_orders"})
#: Settings of the example that say where its own ERP is.
ADDRESS: Final = frozenset({"url"})
SCAN_KEYS: Final = frozenset({"scan", "publish"})
#: Shortest that the configuration allows; speed 50 would go below it.
TIMER_MIN_NS: Final = {"poll_orders": Duration("100 ms"), "checkpoint": Duration("100 ms")}
RATE_KEYS: Final = frozenset({"max_rate"})
#: Defaults that the file leaves out but that must scale with the rest.
DEBOUNCE_DEFAULT: Final = "5 ms"


class Ports(NamedTuple):
    """Where the demo's processes listen; all on the loopback interface."""

    modbus: int
    opcua: int
    erp: int
    broker: int


def free_ports(document: dict[str, Any]) -> Ports:
    """The ports of the file, or free ones where they are taken."""
    sources = document["sources"]
    return Ports(
        modbus=_free(sources["asm"]["port"]),
        opcua=_free(int(sources["imm"]["endpoint"].split(":")[2].split("/")[0])),
        erp=_free(int(document["connectors"]["erp"]["url"].rsplit(":", 1)[1])),
        broker=_free(document["mqtt"]["port"]),
    )


def example() -> dict[str, Any]:
    """The example configuration as data."""
    # Read by our own loader: YAML 1.1 takes the machine state OFF for a truth value.
    with resources.as_file(resources.files("config").joinpath("examples/demo.yaml")) as path:
        root, _notes = read_with_includes(path)
    document: dict[str, Any] = flatten(root).data
    del document["tests"]  # they are about the rules in real time
    return document


def with_bundled_erp(document: dict[str, Any], port: int) -> dict[str, Any]:
    """The document with the bundled ERP where it listens."""
    connector = {**document["connectors"]["erp"], "url": f"http://127.0.0.1:{port}"}
    return {**document, "connectors": {"erp": connector}}


def with_connector(document: dict[str, Any], printed: str, types: Mapping[str, ConnectorType]) -> dict[str, Any]:
    """The document with the connector that a double prints of itself; what it does not say goes on from the example.

    ``types``: the connectors that there are, for the settings that each has. Raises ValueError where none is printed.
    """
    found = yaml.safe_load(printed)
    connectors = found.get("connectors") if isinstance(found, dict) else None
    if not isinstance(connectors, dict) or len(connectors) != 1:
        raise ValueError(f"found {printed[:200]!r}, allowed: YAML with one connector")
    ((_, told),) = connectors.items()
    of_example, word = document["connectors"]["erp"], str(told.get("connector"))
    if word not in types:
        raise ValueError(f"found connector {word!r}, allowed: {', '.join(sorted(types))}")
    known = COMMON | {one.name for one in fields(types[word].settings)} - {"connector"}
    kept = {name: value for name, value in of_example.items() if name in known and name not in ADDRESS}
    units = {name: _without_waiting(unit) for name, unit in document["work_units"].items()}
    return {**document, "work_units": units, "connectors": {"erp": {**kept, **told}}}


def _without_waiting(unit: dict[str, Any]) -> dict[str, Any]:
    """A work unit that does not wait for the operation before: most ERPs cannot say that operations overlap."""
    orders = unit.get("orders") or {}
    guards = {**(orders.get("guards") or {}), "predecessor": "off"}
    return {**unit, "orders": {**orders, "guards": guards}}


def write(
    path: Path, document: dict[str, Any], ports: Ports, state_dir: Path, speed: Fraction, *, broker: bool
) -> None:
    """Write the configuration that the daemon is started with."""
    scaled: dict[str, Any] = _scale(document, speed)
    scaled["gateway"]["state_dir"] = str(state_dir)
    sources = scaled["sources"]
    sources["asm"]["port"] = ports.modbus
    sources["imm"]["endpoint"] = f"opc.tcp://127.0.0.1:{ports.opcua}/imm-01"
    scaled["mqtt"]["port"] = ports.broker
    scaled.setdefault("buffer", {}).setdefault("checkpoint", str(_faster(Duration("5 s"), speed)))
    for unit in scaled["work_units"].values():
        for rule in unit["counters"]:
            if rule["mode"] == "pulse":
                rule.setdefault("debounce", str(_faster(Duration(DEBOUNCE_DEFAULT), speed)))
    if not broker:
        del scaled["mqtt"]
    # Quoted by the dumper where a plain word would be read as a number: the loader is as strict with us as with a user.
    path.write_text(yaml.safe_dump(scaled, sort_keys=False, default_style=None), encoding="utf-8")


def _scale(node: Any, speed: Fraction, key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: _scale(value, speed, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_scale(item, speed, key) for item in node]
    if key in TIMER_KEYS:
        return str(Duration(max(_faster(Duration(node), speed), TIMER_MIN_NS.get(key, 0))))
    if key in SCAN_KEYS:
        return str(Duration(max(_faster(Duration(node), speed), SCAN_MIN_NS)))
    if key in RATE_KEYS:
        rate = Rate.parse(node)
        per_min = Fraction(rate.counts * 60_000_000_000, rate.per_ns) * speed
        return f"{float(per_min):.6f} /min"
    return str(node) if isinstance(node, str) else node  # the loader's words carry more than the dumper knows


def _faster(duration: Duration, speed: Fraction) -> Duration:
    microseconds = int(Fraction(duration) / speed / 1000)
    return Duration(max(microseconds, 1) * 1000)


def _free(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            # Without SO_REUSEADDR: a double that is cut off keeps its port bound and does not listen meanwhile.
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            taken: int = probe.getsockname()[1]
            return taken
    raise OSError("no free port on 127.0.0.1")
