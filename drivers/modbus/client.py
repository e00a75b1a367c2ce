"""One Modbus connection: with ``answers.py`` the only module that knows pymodbus.

Checks of an answer what the library does not: its kind, its unit, its number and its exact length. Never repeats a
request and never reconnects: after anything but a refusal the connection is of no use. Does not take turns: one
request at a time is the caller's promise (``link.py``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import termios
from typing import TYPE_CHECKING, Any, Final

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.bit_message import (
    WriteSingleCoilRequest,
    WriteSingleCoilResponse,
)
from pymodbus.pdu.diag_message import ReturnQueryDataRequest, ReturnQueryDataResponse
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    MaskWriteRegisterResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)
from pymodbus.transaction import TransactionManager
from pymodbus.transport import CommParams, CommType
from pymodbus.transport.serialtransport import SerialTransport
from serial.rs485 import RS485Settings  # type: ignore[import-untyped]  # pyserial ships no types

from drivers.modbus import tls
from drivers.modbus.answers import READ, rtu_size
from drivers.modbus.endpoint import UNNUMBERED, ModbusTlsSettings, SerialSettings
from gateway.core.duration import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymodbus.pdu import ModbusPDU

    from drivers.modbus.encode import MaskedWrite
    from drivers.modbus.endpoint import Endpoint, Rs485Settings
    from drivers.modbus.layout import Table

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
_ECHOED: Final = 0xA537
#: More bytes than noise around an RTU frame: there may be another frame in them.
_SURPLUS_BYTES: Final = 5
_PARITY: Final = {"none": "N", "even": "E", "odd": "O"}

# The library reports each failure with a dump of the packet; we raise instead.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ConnectionBrokenError(Exception):
    """No connection, or none any more; says why, without naming the device."""


class TlsBrokenError(ConnectionBrokenError):
    """The other side ended it for a reason that TLS gives, such as a certificate that it misses."""


class ForeignAnswerError(Exception):
    """An answer that does not belong to the request; the connection is of no use. Shows it."""


class RequestRefused(Exception):  # noqa: N818 - the device's answer, not an error of the link
    """The device answered with a Modbus exception; the link is fine. ``code`` is its exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code} ({EXCEPTION_NAMES.get(code, 'unknown')})")
        self.code = code


class _Wire(TransactionManager):
    """The library's protocol object, which tells a waiting request at once that nothing will come."""

    def __init__(self, params: CommParams, *, rtu: bool) -> None:
        decoder = DecodePDU(False)
        for _request, response in READ.values():
            decoder.register(response)
        framer = FramerRTU(decoder) if rtu else FramerSocket(decoder)
        super().__init__(params, framer, 0, False, None, None, None)
        self.asking = False
        #: RTU: an answer came that nothing was asked for, so the last one may have been another's.
        self.surplus = False
        self._rtu = rtu
        self.lost_because: BaseException | None = None

    def callback_disconnected(self, exc: Exception | None) -> None:
        """The library lets a request that is under way run into its time limit when the link goes down."""
        self.lost_because = exc or ConnectionResetError("the device closed the connection")
        self._fail(self.lost_because)

    def error_received(self, exc: Exception) -> None:
        """A datagram could not be delivered: nobody listens there."""
        self._fail(exc)

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        """The library raises into the event loop what it cannot decode, and drops what comes too much."""
        waiting = self.asking and not self.response_future.done()
        try:
            used = super().callback_data(data, addr)
        except ModbusException as error:
            self._fail(error)
            return len(data)
        if self._rtu and self.last_pdu is not None:
            # The library takes all that it has for one frame.
            self.surplus |= not waiting or len(data) >= rtu_size(self.last_pdu) + _SURPLUS_BYTES
        return used

    def _fail(self, error: BaseException) -> None:
        if self.asking and not self.response_future.done():
            self.response_future.set_exception(error)


class Connection:
    """A connection that is opened once, used for one request at a time, and thrown away."""

    def __init__(self, endpoint: Endpoint, base_dir: Path) -> None:
        self._endpoint = endpoint
        self._base_dir = base_dir
        self._answered = False
        self._numbered = endpoint.transport not in UNNUMBERED
        serial = endpoint.serial or SerialSettings()
        kinds = {"udp": CommType.UDP, "rtu": CommType.SERIAL}
        params = CommParams(
            comm_type=kinds.get(endpoint.transport, CommType.TCP),
            host=endpoint.device or endpoint.host or "",
            port=endpoint.port_number,
            timeout_connect=seconds(endpoint.timeout),
            handle_local_echo=serial.local_echo,
        )
        self._wire = _Wire(params, rtu=not self._numbered)

    @property
    def alive(self) -> bool:
        """Whether it was opened, and not closed by either side since."""
        return bool(self._wire.transport)

    @property
    def lost_because(self) -> str:
        """Why the other side is gone, if it is."""
        reason = self._wire.lost_because
        return self._tls_reason(reason) or str(reason or "it was closed")

    def _tls_reason(self, error: BaseException | None) -> str | None:
        """What TLS has to do with the end of the connection, if anything."""
        if isinstance(error, ssl.SSLError):
            return tls.reason_of(error)
        # With TLS 1.3 a device refuses our certificate only after the handshake, and some just hang up.
        return tls.HUNG_UP if self._endpoint.transport == "tls" and not self._answered else None

    async def open(self) -> None:
        """Connect. Raises ConnectionBrokenError, and DriverError for certificate files of no use."""
        endpoint = self._endpoint
        limit_s = seconds(endpoint.timeout)
        try:
            if endpoint.transport == "rtu":
                self._open_line(endpoint.serial or SerialSettings())
            else:
                async with asyncio.timeout(limit_s):
                    await self._open_network()
        except TimeoutError as error:
            raise ConnectionBrokenError(f"no connection within {limit_s:g} s; {self._advice()}") from error
        except ssl.SSLError as error:
            raise ConnectionBrokenError(f"no connection: {tls.reason_of(error)}") from error
        except ConnectionResetError as error:
            why = tls.NO_HANDSHAKE if endpoint.transport == "tls" else _why(error)
            raise ConnectionBrokenError(f"no connection ({why}); {self._advice()}") from error
        except (OSError, ValueError, termios.error) as error:  # what pyserial lets through where a port cannot do it
            raise ConnectionBrokenError(f"no connection ({_why(error)}); {self._advice()}") from error

    async def _open_network(self) -> None:
        endpoint, loop = self._endpoint, asyncio.get_running_loop()
        host, port = endpoint.host or "", endpoint.port_number
        if endpoint.transport == "udp":
            await loop.create_datagram_endpoint(lambda: self._wire, remote_addr=(host, port))
        elif endpoint.transport == "tls":
            settings = endpoint.tls or ModbusTlsSettings()
            await loop.create_connection(
                lambda: self._wire,
                host,
                port,
                ssl=tls.context_of(settings, self._base_dir, endpoint.where),
                server_hostname=settings.server_name or host,
            )
        else:
            await loop.create_connection(lambda: self._wire, host, port)

    def _open_line(self, settings: SerialSettings) -> None:
        wire = self._wire
        transport = SerialTransport(
            asyncio.get_running_loop(),
            wire,
            self._endpoint.device,
            settings.baudrate,
            settings.byte_size,
            _PARITY[settings.parity],
            settings.stop_bits,
            0,
        )
        if settings.rs485 is not None:
            try:
                transport.sync_serial.rs485_mode = _rs485(settings.rs485)
            except (OSError, ValueError, termios.error):
                transport.sync_serial.close()
                raise
        transport.setup()
        wire.transport = transport

    def _advice(self) -> str:
        if self._endpoint.transport == "rtu":
            return (
                "check the path, that this user may open it (group dialout), that no other program has it, and that "
                "the port can have these serial settings (a pty has no parity, rs485 needs a kernel driver for it)"
            )
        return "check address, port and cable, and that the device has a connection free"

    async def read(
        self, unit: int, table: Table, address: int, count: int, timeout_s: float
    ) -> Sequence[int] | Sequence[bool]:
        """Registers or bits from a PDU address on.

        Raises RequestRefused where the device answers with an exception, ConnectionBrokenError without an answer,
        ForeignAnswerError where something else answers.
        """
        kind, answer = READ[table]
        response = await self._ask(kind(address=address, count=count, dev_id=unit), answer, timeout_s)
        if table in ("holding", "input"):
            if len(response.registers) == count:
                return response.registers
        elif len(response.bits) == -(-count // _BITS_PER_BYTE) * _BITS_PER_BYTE:
            return response.bits[:count]
        raise ForeignAnswerError(str(response))

    async def echo(self, unit: int, timeout_s: float) -> None:
        """Function 8, Return Query Data; what the echo says is not looked at. Raises as ``read`` does."""
        await self._ask(ReturnQueryDataRequest(_ECHOED, dev_id=unit), ReturnQueryDataResponse, timeout_s)

    async def write_coil(self, unit: int, address: int, state: bool, timeout_s: float) -> None:  # noqa: FBT001 - a value
        """Function 5. Raises as ``read`` does."""
        request = WriteSingleCoilRequest(address=address, bits=[state], dev_id=unit)
        response = await self._ask(request, WriteSingleCoilResponse, timeout_s)
        if (response.address, list(response.bits)) != (address, [state]):
            raise ForeignAnswerError(str(response))

    async def write_register(self, unit: int, address: int, word: int, timeout_s: float) -> None:
        """Function 6. Raises as ``read`` does."""
        request = WriteSingleRegisterRequest(address=address, registers=[word], dev_id=unit)
        response = await self._ask(request, WriteSingleRegisterResponse, timeout_s)
        if (response.address, list(response.registers)) != (address, [word]):
            raise ForeignAnswerError(str(response))

    async def write_registers(self, unit: int, address: int, words: Sequence[int], timeout_s: float) -> None:
        """Function 16. Raises as ``read`` does."""
        request = WriteMultipleRegistersRequest(address=address, registers=list(words), dev_id=unit)
        response = await self._ask(request, WriteMultipleRegistersResponse, timeout_s)
        if (response.address, response.count) != (address, len(words)):
            raise ForeignAnswerError(str(response))

    async def mask_register(self, unit: int, address: int, change: MaskedWrite, timeout_s: float) -> None:
        """Function 22. Raises as ``read`` does."""
        request = MaskWriteRegisterRequest(address, change.and_mask, change.or_mask, dev_id=unit)
        response = await self._ask(request, MaskWriteRegisterResponse, timeout_s)
        assert isinstance(response, MaskWriteRegisterResponse)
        if (response.address, response.and_mask, response.or_mask) != (address, *change):
            raise ForeignAnswerError(str(response))

    async def _ask(self, request: ModbusPDU, answer: type[ModbusPDU], timeout_s: float) -> ModbusPDU:
        wire = self._wire
        if not wire.transport:
            raise ConnectionBrokenError(self.lost_because)
        wire.comm_params.timeout_connect = timeout_s
        wire.asking = True
        try:
            response = await wire.execute(False, request)
        except (ModbusException, OSError) as error:
            reason = None if wire.transport else self._tls_reason(error)
            if reason is not None:
                raise TlsBrokenError(reason) from error
            raise ConnectionBrokenError(str(error)) from error
        finally:
            wire.asking = False
        self._answered = True
        if wire.surplus:
            raise ForeignAnswerError(f"{response} is not the only answer")
        belongs = response.dev_id == request.dev_id and (
            not self._numbered or response.transaction_id == request.transaction_id
        )
        if belongs and type(response) is answer:
            return response
        if belongs and response.function_code == request.function_code | 0x80:
            assert isinstance(response, ExceptionResponse)
            raise RequestRefused(response.exception_code)
        raise ForeignAnswerError(str(response))

    def close(self) -> None:
        """Close the connection at once; also one that was never made."""
        transport: Any = self._wire.transport
        self._wire.close()
        if transport:
            # A polite end waits for the other side, which may be the one that does not answer.
            transport.abort()


def _rs485(settings: Rs485Settings) -> RS485Settings:
    return RS485Settings(
        rts_level_for_tx=settings.rts_on_send,
        rts_level_for_rx=settings.rts_after_send,
        loopback=settings.rx_during_tx,
        delay_before_tx=seconds(settings.delay_before_send),
        delay_before_rx=seconds(settings.delay_after_send),
    )


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return str(error.args[-1]) if error.args else type(error).__name__
