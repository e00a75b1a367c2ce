"""One Modbus TCP connection: the only module that knows pymodbus.

Checks of an answer what the library does not: its kind, its unit and its exact length. Never repeats a request and
never reconnects: after anything but a refusal the connection is of no use.
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.pdu import ExceptionResponse
from pymodbus.pdu.bit_message import ReadCoilsResponse, ReadDiscreteInputsResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from drivers.base import DriverError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymodbus.pdu import ModbusPDU

    from drivers.modbus.settings import Table

#: Modbus Application Protocol 1.1b3, chapter 7.
EXCEPTION_NAMES: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
_BITS_PER_BYTE: Final = 8

# The library reports each failure with a dump of the packet; we raise instead.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


def _decode_registers(pdu: ModbusPDU, data: bytes) -> None:
    """All registers in one step: 2 us for 125; the library takes them one by one and writes them as text, 17 us."""
    size = data[0]
    if size % 2 or size >= len(data):
        raise ModbusIOException(f"{size} bytes of registers announced, {len(data) - 1} sent", pdu.function_code)
    pdu.registers = list(struct.unpack_from(f">{size // 2}H", data, 1))


class _HoldingRegisters(ReadHoldingRegistersResponse):
    """The library's answer, read faster."""

    decode = _decode_registers

    def __str__(self) -> str:
        # The library makes this text of every answer, to log it or not.
        return f"{len(self.registers)} holding registers of unit {self.dev_id}"


class _InputRegisters(ReadInputRegistersResponse):
    """The library's answer, read faster."""

    decode = _decode_registers

    def __str__(self) -> str:
        return f"{len(self.registers)} input registers of unit {self.dev_id}"


_RESPONSE: Final[dict[str, type[ModbusPDU]]] = {
    "holding": _HoldingRegisters,
    "input": _InputRegisters,
    "coil": ReadCoilsResponse,
    "discrete": ReadDiscreteInputsResponse,
}


class RequestRefused(Exception):  # noqa: N818 - the device's answer, not an error of the link
    """The device answered with a Modbus exception; the link is fine. ``code`` is its exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code} ({EXCEPTION_NAMES.get(code, 'unknown')})")
        self.code = code


class ModbusLink:
    """A connection to one unit; ``timeout_s`` bounds connecting and each answer."""

    def __init__(self, *, host: str, port: int, unit: int, timeout_s: float) -> None:
        self._place = f"{host}:{port} unit {unit}"
        self._unit = unit
        self._timeout_s = timeout_s
        self._asking = False
        # A delay of 0 switches the library's own reconnecting off.
        self._client = AsyncModbusTcpClient(
            host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0, trace_connect=self._on_link
        )
        self._client.register(_HoldingRegisters)
        self._client.register(_InputRegisters)
        self._read = {
            "holding": self._client.read_holding_registers,
            "input": self._client.read_input_registers,
            "coil": self._client.read_coils,
            "discrete": self._client.read_discrete_inputs,
        }

    def __str__(self) -> str:
        return self._place

    async def connect(self) -> None:
        """Connect. Raises DriverError."""
        if not await self._client.connect():
            raise DriverError(
                f"{self._place}: no connection within {self._timeout_s:g} s; check address, port and cable, and that "
                f"the device has a connection free"
            )

    async def read(self, table: Table, address: int, count: int) -> Sequence[int] | Sequence[bool]:
        """Read ``count`` registers or bits from a PDU address on.

        Raises RequestRefused where the device answers with an exception, DriverError where the link is lost or
        something else answers.
        """
        self._asking = True
        try:
            response = await self._read[table](address, count=count, device_id=self._unit)
        except (ModbusException, OSError) as error:
            raise DriverError(
                f"{self._place}: no usable answer to {table} {address} (length {count}) within {self._timeout_s:g} s;"
                " is the device on, and is it this unit?"
            ) from error
        finally:
            self._asking = False
        if type(response) is _RESPONSE[table] and response.dev_id == self._unit:
            if table in ("holding", "input"):
                if len(response.registers) == count:
                    return response.registers
            elif len(response.bits) == -(-count // _BITS_PER_BYTE) * _BITS_PER_BYTE:
                return response.bits[:count]
        if isinstance(response, ExceptionResponse) and response.dev_id == self._unit:
            raise RequestRefused(response.exception_code)
        raise DriverError(
            f"{self._place}: the answer to {table} {address} (length {count}) does not belong to it: {response}; "
            f"check that nothing else uses this address"
        )

    def close(self) -> None:
        """Close the connection; also one that was never made."""
        self._client.close()

    def _on_link(self, connected: bool) -> None:  # noqa: FBT001 - the library's signature
        # The library lets a request that is under way run into its time limit when the link goes down.
        future = self._client.ctx.response_future
        if not connected and self._asking and not future.done():
            future.set_exception(ConnectionResetError("the device closed the connection"))
