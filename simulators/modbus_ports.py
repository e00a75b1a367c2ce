"""The ways to a Modbus device: TCP, TLS, a serial line, a serial line behind TCP, UDP; and the options that choose one.

Knows no register and no fault: hands requests to a bus, and can cut everybody off for a time.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from simulators.certificates import make_certificates
from simulators.control import SimulatorError
from simulators.listener import Listener, bound_socket, unusable
from simulators.modbus_frames import from_datagram, mbap_requests, rtu_requests
from simulators.serial_port import SerialPort

if TYPE_CHECKING:
    import socket

    from simulators.modbus_bus import Bus

TRANSPORTS: Final = ("tcp", "rtu", "rtu_over_tcp", "udp", "tls")
#: Those on which a checksum guards a frame, nothing names its request, and an unknown unit is silent.
SERIAL: Final = ("rtu", "rtu_over_tcp")
#: Most UDP clients that are remembered.
MAX_PEERS: Final = 64
MAX_UNIT: Final = 255


class Port(Protocol):
    """One way to the device."""

    async def open(self) -> None:
        """Begin to serve. Raises SimulatorError."""

    async def cut(self, seconds: float) -> None:
        """Let nobody through for so long; a later cut replaces an earlier one."""

    def end_cut(self) -> None:
        """Let everybody through again, now."""

    def drop_connections(self) -> None:
        """Close every connection without a word."""

    async def close(self) -> None:
        """End everything."""

    def facts(self) -> dict[str, Any]:
        """Where it is, for the ready line."""


def add_arguments(parser: argparse.ArgumentParser, *, transport: str, unit: int) -> None:
    """Options that every Modbus simulator has."""
    parser.add_argument("--transport", choices=TRANSPORTS, default=transport, help=f"how it is reached ({transport})")
    parser.add_argument("--unit", type=_unit, default=unit, help="the unit that answers")
    parser.add_argument("--other-units", type=units, default=(), metavar="8,9", help="more units; values: addresses")
    parser.add_argument("--silent-units", type=units, default=(), metavar="10", help="units that never answer")
    parser.add_argument("--link", type=Path, metavar="PATH", help="transport rtu: a name for the serial device")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="transport tls: certificate, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="transport tls: private key, PEM")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="transport tls: clients must show one signed by it")
    parser.add_argument(
        "--make-certificates", type=Path, metavar="DIR", help="make what transport tls needs, for both sides"
    )


def units(text: str) -> tuple[int, ...]:
    """Unit numbers with commas between them. Raises argparse.ArgumentTypeError."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) <= MAX_UNIT for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} are no units; allowed: numbers 0 to {MAX_UNIT}, such as 8,9")
    return tuple(int(word) for word in words)


def _unit(text: str) -> int:
    numbers = units(text)
    if len(numbers) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no unit; allowed: one number 0 to {MAX_UNIT}")
    return numbers[0]


def port_for(options: argparse.Namespace, bus: Bus) -> Port:
    """The port that the options name. Raises SimulatorError."""
    if options.transport == "rtu":
        return SerialPort(bus, link=options.link)
    if options.transport == "udp":
        return UdpPort(options.host, options.port, bus)
    context = _server_context(options) if options.transport == "tls" else None
    return StreamPort(options.host, options.port, bus, rtu=options.transport == "rtu_over_tcp", context=context)


class StreamPort:
    """TCP: Modbus TCP, the same in TLS, or serial frames over it."""

    def __init__(self, host: str, port: int, bus: Bus, *, rtu: bool, context: ssl.SSLContext | None) -> None:
        self._host = host
        self._bus = bus
        self._requests = rtu_requests if rtu else mbap_requests
        self._listener = Listener(host, port, self._serve, context=context)
        self.open = self._listener.open
        self.cut = self._listener.cut
        self.end_cut = self._listener.end_cut
        self.drop_connections = self._listener.drop_connections
        self.close = self._listener.close

    @property
    def shut(self) -> bool:
        """True while connections are refused."""
        return self._listener.shut

    def facts(self) -> dict[str, Any]:
        """Where it listens."""
        return {"port": self._listener.port, "host": self._host}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _StreamLine(writer)
        async for request in self._requests(reader):
            await self._bus.respond(line, request)
            await writer.drain()


class _StreamLine:
    """One connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.mute = False
        self._writer = writer

    def write(self, data: bytes) -> None:
        """Send, unless it is closing."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def hang_up(self) -> None:
        """Close after what was written."""
        self._writer.close()


class UdpPort(asyncio.DatagramProtocol):
    """Modbus TCP's frames, one in a datagram. There is no connection: a cut is a silence."""

    def __init__(self, host: str, port: int, bus: Bus) -> None:
        self._bus = bus
        self._host = host
        self._socket: socket.socket = bound_socket(host, port, datagrams=True)
        self._transport: asyncio.DatagramTransport | None = None
        self._lines: OrderedDict[Any, _DatagramLine] = OrderedDict()
        self._answering: set[asyncio.Task[None]] = set()
        self._cut_until_s = 0.0

    async def open(self) -> None:
        """Begin to answer."""
        try:
            endpoint = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=self._socket)
        except OSError as error:
            raise SimulatorError(unusable(self._host, self.facts()["port"], error)) from error
        self._transport = endpoint[0]

    async def cut(self, seconds: float) -> None:
        """Hear nothing for so long."""
        self._cut_until_s = asyncio.get_running_loop().time() + seconds

    def end_cut(self) -> None:
        """Hear again."""
        self._cut_until_s = 0.0

    def drop_connections(self) -> None:
        """Forget whom a word is owed to."""
        for task in self._answering:
            task.cancel()
        self._lines.clear()

    async def close(self) -> None:
        """End everything."""
        self.drop_connections()
        await asyncio.gather(*self._answering, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()

    def facts(self) -> dict[str, Any]:
        """Where it listens."""
        return {"port": self._socket.getsockname()[1], "host": self._host}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """One request, or nothing of ours."""
        request = from_datagram(data)
        if request is None or asyncio.get_running_loop().time() < self._cut_until_s:
            return
        line = self._lines.setdefault(addr, _DatagramLine(self, addr))
        self._lines.move_to_end(addr)
        while len(self._lines) > MAX_PEERS:
            self._lines.popitem(last=False)
        task = asyncio.create_task(self._bus.respond(line, request))
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def error_received(self, exc: Exception) -> None:
        """A client is gone: no matter."""

    def send(self, data: bytes, peer: Any) -> None:
        """One datagram."""
        if self._transport is not None and asyncio.get_running_loop().time() >= self._cut_until_s:
            self._transport.sendto(data, peer)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        if not task.cancelled():
            task.result()  # a defect is heard on standard error


class _DatagramLine:
    """One client."""

    def __init__(self, port: UdpPort, peer: Any) -> None:
        self.mute = False
        self._port = port
        self._peer = peer

    def write(self, data: bytes) -> None:
        """One datagram."""
        self._port.send(data, self._peer)

    def hang_up(self) -> None:
        """There is no connection to close."""


def _server_context(options: argparse.Namespace) -> ssl.SSLContext:
    certificate, key, authority = options.tls_cert, options.tls_key, options.tls_ca
    if options.make_certificates is not None:
        made = make_certificates(options.make_certificates, options.host)
        certificate, key = certificate or made.server_cert, key or made.server_key
        authority = authority or made.ca
    if certificate is None or key is None:
        raise SimulatorError("--transport tls needs --tls-cert and --tls-key, or --make-certificates DIR")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if authority is not None:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (certificate, key, authority) if path is not None)
        raise SimulatorError(f"--transport tls: {error.strerror or error} ({files}); give PEM files") from error
    return context
