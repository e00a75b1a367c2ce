"""A Modbus device as a process: its units on a port, the commands that break the link, its life from ready to exit.

Knows no register and no machine.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulators.modbus_bus import Bus
from simulators.modbus_pdu import AddressTables, Tables
from simulators.modbus_ports import SERIAL, port_for

if TYPE_CHECKING:
    import argparse

    from simulators.control import Control
    from simulators.modbus_faults import ModbusFaults
    from simulators.pace import Pace


class Station:
    """The link of one device. Raises SimulatorError if its options cannot be."""

    def __init__(self, options: argparse.Namespace, tables: Tables, faults: ModbusFaults) -> None:
        units: dict[int, Tables | None] = dict.fromkeys(options.other_units, AddressTables())
        units |= dict.fromkeys(options.silent_units)
        units[options.unit] = tables
        self._serial = options.transport in SERIAL
        self._options = options
        self._faults = faults
        self._bus = Bus(units, faults, gateway=not self._serial)
        self.port = port_for(options, self._bus)
        faults.also_end(self.port.end_cut)

    def declare(self, control: Control) -> None:
        """Add the commands that break the link."""
        self._faults.declare_answers(control, checksum=self._serial, unit=self._options.unit)
        control.add("cut SECONDS", self.port.cut)

    async def restart(self, seconds: float) -> None:
        """What a power cycle does to the link: it is gone for so long, 0: only its connections."""
        if seconds:
            await self.port.cut(seconds)
        else:
            self.port.drop_connections()

    async def run(self, control: Control, pace: Pace) -> None:
        """Serve until told to end. Raises SimulatorError if the port cannot be had."""
        await self.port.open()
        try:
            facts: dict[str, Any] = {**self.port.facts(), "unit": self._options.unit}
            control.ready(**facts, transport=self._options.transport)
            await control.until_exit(asyncio.create_task(pace.run()))
        finally:
            await self._bus.close()
            await self.port.close()


def complete_link(options: argparse.Namespace, *, port: int, link: str) -> list[str]:
    """Fill in where the device is, if nobody said it; the words that say the same on the command line."""
    if options.transport == "rtu":
        if options.link is None:
            options.link = Path(tempfile.gettempdir()) / link
            return ["--link", str(options.link)]
    elif not options.port:
        options.port = port
        return ["--port", str(port)]
    return []


def source_keys(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The lines of the gateway's source that say where such a device is, indented by 4."""
    lines = ["driver: modbus"]
    if options.transport != "tcp":
        lines.append(f"transport: {options.transport}")
    if options.transport == "rtu":
        lines.append(f"device: {options.link}")
        lines.append("serial: { parity: none } # a pseudo-terminal has no other")
    else:
        lines += [f"host: {facts['host']}", f"port: {facts['port']}"]
    if options.transport == "tls":
        folder = options.make_certificates
        if folder is not None:
            text = f"ca_file: {folder}/ca.pem, cert_file: {folder}/client.pem, key_file: {folder}/client.key"
        else:
            text = f"ca_file: {options.tls_cert or 'ca.pem'}"  # a certificate signed by itself is its own authority
            text += ", cert_file: client.pem, key_file: client.key" if options.tls_ca else ""
        lines.append(f"tls: {{ {text} }}")
    lines.append(f"unit: {options.unit}")
    return "\n".join(f"    {line}" for line in lines)
