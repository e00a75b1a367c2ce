"""A Modbus TCP device on a real socket whose answers a test can spoil, written from the specification alone."""

import asyncio
import contextlib
import struct

import pytest

from drivers.modbus import PLUGIN
from drivers.modbus.settings import ModbusSettings
from drivers.modbus.signals import ModbusSignal
from gateway.core.duration import Duration

REGISTER_TABLES = {3: "holding", 4: "input"}
BIT_TABLES = {1: "coil", 2: "discrete"}


class Device:
    """Tables of values; an address that is missing is refused with exception 2."""

    def __init__(self):
        self.port = 0
        self.tables = {"holding": {}, "input": {}, "coil": {}, "discrete": {}}
        self.requests = []
        self.spoil = None  # takes (tid, unit, pdu of the answer), gives the bytes to send
        self.refuse = {}  # (table, address of the request) -> exception code
        self._server = None
        self._writers = set()

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    tid, _protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                    pdu = self._answer(await reader.readexactly(length - 1))
                    frame = struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu
                    if self.spoil is not None:
                        frame = self.spoil(tid, unit, pdu)
                    writer.write(frame)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, pdu):
        code, address, count = struct.unpack(">BHH", pdu)
        table = {**REGISTER_TABLES, **BIT_TABLES}[code]
        self.requests.append((table, address, count))
        refused = self.refuse.get((table, address))
        values = [self.tables[table].get(address + i) for i in range(count)]
        if refused is None and None in values:
            refused = 2
        if refused is not None:
            return struct.pack(">BB", code | 0x80, refused)
        if table in REGISTER_TABLES.values():
            return struct.pack(f">BB{count}H", code, 2 * count, *values)
        packed = bytearray(-(-count // 8))
        for index, bit in enumerate(values):
            packed[index // 8] |= bool(bit) << index % 8
        return struct.pack(">BB", code, len(packed)) + bytes(packed)


@pytest.fixture
async def device():
    device = Device()
    await device.start()
    yield device
    await device.stop()


@pytest.fixture
async def driver_for(context):
    """Make an opened driver; closed at the end."""
    made = []

    async def make(device, signals, *, rules=None, telemetry=(), now_ns=None, **settings):
        settings = {"scan": Duration("20 ms"), "timeout": Duration("300 ms"), **settings}
        signals = {name: ModbusSignal(**signal) for name, signal in signals.items()}
        clock = {} if now_ns is None else {"now_ns": now_ns}
        driver = PLUGIN.build(
            ModbusSettings(driver="modbus", host="127.0.0.1", port=device.port, signals=signals, **settings),
            context(rules=signals if rules is None else rules, telemetry=telemetry, **clock),
        )
        made.append(driver)
        await driver.open()
        return driver

    yield make
    for driver in made:
        await driver.close()
