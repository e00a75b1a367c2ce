"""The units behind one port: takes requests, sends their answers or what a fault makes of them.

Knows neither sockets (``modbus_ports.py``, ``serial_port.py``) nor what the registers mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from simulators.modbus_pdu import NO_SUCH_UNIT, answer, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.modbus_faults import ModbusFaults
    from simulators.modbus_frames import Request
    from simulators.modbus_pdu import Tables


class Line(Protocol):
    """Where the answers to one client go. ``mute``: it has said its last word."""

    mute: bool

    def write(self, data: bytes) -> None:
        """Send; a client that is gone is no error."""

    def hang_up(self) -> None:
        """Close the connection, where there is one."""


class Bus:
    """All units of one port.

    ``units`` maps a number to its tables, None to a unit that is there and never answers. Any other number gets
    exception 11 if ``gateway`` (as behind a Modbus TCP gateway), and silence otherwise (as on a serial line).
    """

    def __init__(self, units: Mapping[int, Tables | None], faults: ModbusFaults, *, gateway: bool) -> None:
        self._units = units
        self._faults = faults
        self._gateway = gateway
        self._late: set[asyncio.Task[None]] = set()

    async def respond(self, line: Line, request: Request) -> None:
        """Answer one request, sooner or later or never."""
        faults = self._faults
        if not faults.any and not line.mute:
            self._answer_well(line, request)
            return
        if line.mute or faults.on("blackhole"):
            return
        delay_s = faults.take("slow")
        if delay_s is not None:
            await asyncio.sleep(delay_s)
        pdu = self._answer(request)
        if pdu is None or faults.on(f"silent {request.unit}"):
            return
        late_s = faults.take("late")
        if late_s is None:
            await self._send(line, request, pdu)
        else:
            task = asyncio.create_task(self._send(line, request, pdu, after_s=late_s))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def close(self) -> None:
        """Forget the answers that are still to come."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    def _answer_well(self, line: Line, request: Request) -> None:
        pdu = self._answer(request)
        if pdu is not None:
            line.write(request.framing.wrap(request.unit, pdu))

    def _answer(self, request: Request) -> bytes | None:
        if request.unit not in self._units:
            return refusal(request.pdu, NO_SUCH_UNIT) if self._gateway else None
        tables = self._units[request.unit]
        if tables is None:
            return None
        code = self._faults.take_exception(request.pdu)
        return refusal(request.pdu, code) if code else answer(tables, request.pdu)

    async def _send(self, line: Line, request: Request, pdu: bytes, *, after_s: float = 0.0) -> None:
        if after_s:
            await asyncio.sleep(after_s)
        sending = self._faults.spoil(request, pdu)
        with contextlib.suppress(ConnectionError):
            for number, part in enumerate(sending.parts):
                if number:
                    await asyncio.sleep(sending.pause_s)
                line.write(part)
        if sending.then_mute:
            line.mute = True
        if sending.then_close:
            line.hang_up()
