"""Modbus TCP as a source. Importing this loads no protocol library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drivers.base import DriverType
from drivers.modbus.settings import BIT_TABLES, ModbusSettings

if TYPE_CHECKING:
    from drivers.base import Driver, DriverContext

#: What manuals print before the number of a register or coil, counted from 1.
_MANUAL_PREFIX: Final = {"coil": 0, "discrete": 1, "input": 3, "holding": 4}


def _build(settings: ModbusSettings, context: DriverContext) -> Driver:
    from drivers.modbus.driver import ModbusDriver

    return ModbusDriver(settings, context)


def _describe(settings: ModbusSettings) -> list[str]:
    lines = []
    for name, signal in settings.signals.items():
        kind = signal.value_type if signal.bit is None else f"bit {signal.bit}"
        scaling = "".join(
            f", {key} {text}" for key, text in (("scale", signal.scale), ("offset", signal.offset)) if text
        )
        where = _where(signal.table, signal.address)
        lines.append(f"{name}: {where}{'' if signal.table in BIT_TABLES else f', {kind}'}{scaling}")
    lines += [
        f"{block.name}.0 to {block.name}.{block.count - 1}: from {_where(block.table, block.address)}, "
        f"{block.value_type}"
        for block in settings.blocks
    ]
    return lines


def _where(table: str, address: int) -> str:
    return f"{table} {address} (PDU address; {_MANUAL_PREFIX[table]}{address + 1:05d} in manuals)"


def _cycle_ns(settings: ModbusSettings) -> int:
    return settings.scan


PLUGIN: Final = DriverType(name="modbus", settings=ModbusSettings, build=_build, describe=_describe, cycle_ns=_cycle_ns)
