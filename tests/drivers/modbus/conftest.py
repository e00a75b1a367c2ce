"""Modbus devices on real sockets and ptys whose answers a test can spoil, written from the specification alone."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import ssl
import struct
import tty

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.modbus import PLUGIN
from drivers.modbus.endpoint import SerialSettings
from drivers.modbus.settings import ModbusSettings
from drivers.modbus.signals import ModbusSignal
from gateway.core.duration import Duration

#: A time limit that no busy computer reaches; a test of a device that does not answer sets another.
PATIENT = Duration("20 s")
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
#: Bytes of the requests with a fixed length, without unit and check sum.
REQUEST_LENGTH = {1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 8: 5, 22: 7}


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


class Memory:
    """Tables of values; an address that is missing is refused with exception 2."""

    def __init__(self):
        self.tables = {"holding": {}, "input": {}, "coil": {}, "discrete": {}}
        self.requests = []  # (table, address, count) of every read
        self.asked = []  # unit of every request
        self.written = []  # (function, address, values)
        self.refuse = {}  # (table, address of the request) -> exception code
        self.diagnostics = "refused"  # function 8: echo, refused, silent
        self.checks = 0  # requests with function 8
        self.silent_units = set()
        self.late_s = {}  # address of a read -> how late its answer comes
        self.deaf_writes = False  # confirms a write and does nothing
        self.spoil = None  # takes (tid, unit, pdu of the answer), gives the bytes to send
        self.port = 0

    async def answer(self, unit, pdu):
        """The PDU of the answer, or None."""
        self.asked.append(unit)
        if unit in self.silent_units:
            return None
        if pdu[0] == 8:
            self.checks += 1
            return {"echo": pdu, "refused": b"\x88\x01", "silent": None}[self.diagnostics]
        if pdu[0] not in TABLES:
            return self._write(pdu)
        code, address, count = struct.unpack(">BHH", pdu)
        table = TABLES[code]
        self.requests.append((table, address, count))
        values = [self.tables[table].get(address + i) for i in range(count)]
        if address in self.late_s:
            await asyncio.sleep(self.late_s[address])
        refused = self.refuse.get((table, address))
        if refused is None and None in values:
            refused = 2
        if refused is not None:
            return struct.pack(">BB", code | 0x80, refused)
        if table in ("holding", "input"):
            return struct.pack(f">BB{count}H", code, 2 * count, *values)
        packed = bytearray(-(-count // 8))
        for index, bit in enumerate(values):
            packed[index // 8] |= bool(bit) << index % 8
        return struct.pack(">BB", code, len(packed)) + bytes(packed)

    def _write(self, pdu):
        code, address = struct.unpack_from(">BH", pdu)
        values = list(struct.unpack_from(f">{len(pdu[3:]) // 2}H", pdu, 3))
        if code == 16:
            count, size = struct.unpack_from(">HB", pdu, 3)
            values = list(struct.unpack_from(f">{count}H", pdu, 6))
            assert size == 2 * count
        table = "coil" if code == 5 else "holding"
        refused = self.refuse.get((table, address))
        if refused is not None:
            return struct.pack(">BB", code | 0x80, refused)
        self.written.append((code, address, values))
        if not self.deaf_writes:
            self._store(code, table, address, values)
        return pdu[:5] if code == 16 else pdu

    def _store(self, code, table, address, values):
        if code == 22:
            and_mask, or_mask = values
            values = [self.tables[table][address] & and_mask | or_mask & ~and_mask]
        if code == 5:
            values = [values[0] == 0xFF00]
        self.tables[table] |= {address + i: value for i, value in enumerate(values)}

    def framed(self, tid, unit, pdu):
        if pdu is None:
            return b""
        return (
            struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu if self.spoil is None else self.spoil(tid, unit, pdu)
        )


class Device(Memory):
    """Modbus TCP, with TLS if it has a context."""

    def __init__(self, tls=None):
        super().__init__()
        self.connections = 0
        self._tls = tls
        self._server = None
        self._writers = set()

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await self._converse(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _converse(self, reader, writer):
        while True:
            tid, _protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            writer.write(self.framed(tid, unit, await self.answer(unit, await reader.readexactly(length - 1))))
            await writer.drain()


class UdpDevice(Memory, asyncio.DatagramProtocol):
    """Modbus over UDP; late answers do not hold up the next ones."""

    def __init__(self):
        super().__init__()
        self._transport = None
        self._tasks = set()

    async def start(self):
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        self.port = self._transport.get_extra_info("sockname")[1]

    async def stop(self):
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def datagram_received(self, data, addr):
        task = asyncio.ensure_future(self._reply(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, data, addr):
        tid, _protocol, _length, unit = struct.unpack_from(">HHHB", data)
        frame = self.framed(tid, unit, await self.answer(unit, data[7:]))
        if frame and self._transport is not None:
            self._transport.sendto(frame, addr)


class Bus(Memory):
    """RTU frames on a wire without connections: what is sent late arrives late, whoever listens by then."""

    def __init__(self):
        super().__init__()
        self._received = b""
        self._questions = asyncio.Queue()
        self._task = None

    def start_bus(self):
        self._task = asyncio.create_task(self._work())

    def stop_bus(self):
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def hear(self, data):
        """Cut the stream into requests by their lengths; garbage is dropped as a device would, by its check sum."""
        self._received += data
        while len(self._received) > 7:
            length = REQUEST_LENGTH.get(self._received[1]) or 6 + self._received[6]
            if len(self._received) < length + 3:
                return
            frame, self._received = self._received[: length + 3], self._received[length + 3 :]
            if crc(frame[:-2]) == frame[-2:]:
                self._questions.put_nowait((frame[0], frame[1:-2]))
            else:
                self._received = b""

    def framed(self, tid, unit, pdu):
        if pdu is None:
            return b""
        frame = bytes([unit]) + pdu
        return frame + crc(frame) if self.spoil is None else self.spoil(tid, unit, pdu)

    async def _work(self):
        while True:
            unit, pdu = await self._questions.get()
            frame = self.framed(0, unit, await self.answer(unit, pdu))
            if frame:
                self.say(frame)


class RtuOverTcpDevice(Bus):
    """A serial device server: what the bus says goes to whoever is connected at that time."""

    def __init__(self):
        super().__init__()
        self._server = None
        self._writer = None

    async def start(self):
        self.start_bus()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self.stop_bus()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    def say(self, data):
        if self._writer is not None:
            self._writer.write(data)

    async def _serve(self, reader, writer):
        self._writer = writer
        with contextlib.suppress(OSError):
            while data := await reader.read(1_000):
                self.hear(data)
        writer.transport.abort()


class SerialDevice(Bus):
    """RTU on a pty; ``path`` is a link to its end for the gateway."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self._ends = ()

    async def start(self):
        self.start_bus()
        self._ends = os.openpty()
        for end in self._ends:
            tty.setraw(end)
        os.set_blocking(self._ends[0], False)
        self.path.symlink_to(os.ttyname(self._ends[1]))
        asyncio.get_running_loop().add_reader(self._ends[0], self._readable)

    async def stop(self):
        self.stop_bus()
        if self._ends:
            asyncio.get_running_loop().remove_reader(self._ends[0])
            self.path.unlink()
            for end in self._ends:
                os.close(end)
            self._ends = ()

    def say(self, data):
        os.write(self._ends[0], data)

    def _readable(self):
        with contextlib.suppress(OSError):
            self.hear(os.read(self._ends[0], 1_000))


class Certificates:
    """An authority of the test and what it signs, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.ca_file = folder / "ca.pem"
        self._write(self.ca_file, self._signed(self._name, self._key, authority=True))

    def make(self, name, *, ip=None):
        """Certificate and key files of somebody."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name)] + ([x509.IPAddress(ipaddress.ip_address(ip))] if ip else [])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(certificate, self._signed(subject, key, names=names))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key_file

    def server(self, name, *, ip=None, wants_client=False):
        """The context of a device."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.make(name, ip=ip))
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        return context

    def _signed(self, subject, key, *, names=(), authority=False):
        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - a certificate's dates are those of the machine
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, path, certificate):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


@pytest.fixture
async def device(port_for_later):
    device = Device()
    device.port = port_for_later()  # it comes back at the port that it had
    await device.start()
    yield device
    await device.stop()


@pytest.fixture
def make_device(tmp_path, port_for_later):
    """A device that is not started yet, by transport, and the settings that reach it."""

    def make(transport, **extra):
        if transport == "rtu":
            device = SerialDevice(tmp_path / "line")
            line = extra.pop("serial", SerialSettings(parity="none"))  # a pty has no parity
            return device, lambda: {"transport": "rtu", "device": str(device.path), "serial": line, **extra}
        device = {"tcp": Device, "udp": UdpDevice, "rtu_over_tcp": RtuOverTcpDevice}[transport]()
        if transport != "udp":  # the probe of a port is one of TCP
            device.port = port_for_later()  # it comes back at the port that it had
        return device, lambda: {"transport": transport, "host": "127.0.0.1", "port": device.port, **extra}

    return make


@pytest.fixture
def tls_device():
    """A device with TLS that is not started yet."""
    return Device


@pytest.fixture
async def driver_for(context):
    """Make an opened driver; closed at the end."""
    made = []

    async def make(device, signals, *, rules=None, telemetry=(), now_ns=None, reached=None, opened=True, **settings):
        reached = reached or {"host": "127.0.0.1", "port": device.port}
        settings = {"scan": Duration("20 ms"), "timeout": PATIENT, **reached, **settings}
        signals = {name: ModbusSignal(**signal) for name, signal in signals.items()}
        clock = {} if now_ns is None else {"now_ns": now_ns}
        driver = PLUGIN.build(
            ModbusSettings(driver="modbus", signals=signals, **settings),
            context(rules=signals if rules is None else rules, telemetry=telemetry, **clock),
        )
        made.append(driver)
        if opened:
            await driver.open()
        return driver

    yield make
    for driver in made:
        await driver.close()
