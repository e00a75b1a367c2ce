"""Modbus as a source. Importing this loads no protocol library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from drivers.base import DriverType
from drivers.modbus.layout import BIT_TABLES, BYTES, LOW_FIRST, SWAPPED
from drivers.modbus.settings import ModbusSettings

if TYPE_CHECKING:
    from drivers.base import Driver, DriverContext
    from drivers.modbus.layout import Table
    from drivers.modbus.signals import ModbusBlock, ModbusSignal


def _build(settings: ModbusSettings, context: DriverContext) -> Driver:
    from drivers.modbus.driver import ModbusDriver

    return ModbusDriver(settings, context)


def _describe(settings: ModbusSettings) -> list[str]:
    lines = [f"{name}: {_signal(settings, signal)}" for name, signal in settings.signals.items()]
    for block in settings.blocks:
        place = settings.place_of(block)
        lines.append(
            f"{block.name}.0 to {block.name}.{block.count - 1}: from {place}, {block.value_type_in(place.table)}"
            f"{_extras(settings, block, place.table)}"
        )
    return lines


def _signal(settings: ModbusSettings, signal: ModbusSignal) -> str:
    place = settings.place_of(signal)
    kind: str = signal.value_type_in(place.table)
    if signal.bit is not None:
        kind = f"bit {signal.bit}"
    elif signal.length is not None:
        kind = f"string of {signal.length} characters"
    elif kind in BYTES:
        kind = f"{kind} in the {signal.byte or 'low'} byte"
    scaling = "".join(f", {key} {text}" for key, text in (("scale", signal.scale), ("offset", signal.offset)) if text)
    shown = "" if place.table in BIT_TABLES else f", {kind}"
    return f"{place}{shown}{_extras(settings, signal, place.table)}{scaling}"


def _extras(settings: ModbusSettings, item: ModbusSignal | ModbusBlock, table: Table) -> str:
    """What differs from the plainest device."""
    order = settings.order_of(item)
    has_words = item.width_in(table) > 1 and item.type != "string"
    matters = table not in BIT_TABLES and (order in SWAPPED or (order in LOW_FIRST and has_words))
    scan = "" if item.scan is None else f", every {item.scan}"
    return f"{f', order {order}' if matters else ''}{scan}"


def _cycle_ns(settings: ModbusSettings) -> int:
    return min(settings.scans)


def _looked_at_ns(settings: ModbusSettings, name: str) -> int:
    item = settings.signals.get(name)
    return int(settings.scan) if item is None else int(settings.scan_of(item))


def _told_every_ns(settings: ModbusSettings, name: str) -> int:
    item = settings.signals.get(name)
    return 0 if item is None or item.report == "change" else int(settings.scan_of(item))


def _value_type(settings: ModbusSettings, name: str) -> str | None:
    item = settings.signals.get(name)
    return None if item is None else item.value_type_in(settings.place_of(item).table)


PLUGIN: Final = DriverType(
    name="modbus",
    settings=ModbusSettings,
    build=_build,
    describe=_describe,
    cycle_ns=_cycle_ns,
    looked_at_ns=_looked_at_ns,
    told_every_ns=_told_every_ns,
    value_type=_value_type,
    templates=Path(__file__).with_name("templates"),
)
