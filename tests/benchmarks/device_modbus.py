"""Modbus TCP devices of benchmarks whose values tell when they were true. No machine, no faults, no other function.

``python device_modbus.py registers PORTS``: so many devices, each with 50 holding registers. 0 to 3: CLOCK_MONOTONIC
nanoseconds of the answer, high word first; 4 to 48: the number of the answer; 49: pieces, one in 2.4 s.
``python device_modbus.py bits COUNT``: one device with so many discrete inputs that toggle (``toggling.py``).
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from toggling import say, toggle

HOST = "127.0.0.1"
HEADER = struct.Struct(">HHHB")  # transaction, protocol, length of the rest, unit
READ_DISCRETE, READ_HOLDING = 2, 3
REGISTERS = 50
PIECE_NS = 2_400_000_000


class Registers:
    """The registers of one device."""

    def __init__(self) -> None:
        self._answers = 0

    def answer(self, function: int, address: int, count: int) -> bytes:
        if function != READ_HOLDING or address + count > REGISTERS:
            return bytes((function | 0x80, 2))
        self._answers = (self._answers + 1) % 65_536
        now_ns = time.monotonic_ns()
        image = struct.pack(">Q", now_ns) + struct.pack(">H", self._answers) * (REGISTERS - 5)
        image += struct.pack(">H", now_ns // PIECE_NS % 65_536)
        return bytes((function, 2 * count)) + image[2 * address : 2 * (address + count)]


class Bits:
    """The discrete inputs of one device."""

    def __init__(self, count: int) -> None:
        self._states = [False] * count

    def answer(self, function: int, address: int, count: int) -> bytes:
        if function != READ_DISCRETE or address + count > len(self._states):
            return bytes((function | 0x80, 2))
        word = sum(state << place for place, state in enumerate(self._states[address : address + count]))
        size = -(-count // 8)
        return bytes((function, size)) + word.to_bytes(size, "little")

    async def show(self, bit: int, state: bool) -> None:
        self._states[bit] = state


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, device: Registers | Bits) -> None:
        self._device = device
        self._kept = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._kept + data
        while len(data) >= HEADER.size and len(data) >= (size := 6 + HEADER.unpack_from(data)[2]):
            transaction, protocol, _length, unit = HEADER.unpack_from(data)
            answer = self._device.answer(*struct.unpack_from(">BHH", data, HEADER.size))
            self._transport.write(HEADER.pack(transaction, protocol, len(answer) + 1, unit) + answer)
            data = data[size:]
        self._kept = data


async def main(kind: str, count: int) -> None:
    devices = [Registers() for _ in range(count)] if kind == "registers" else [Bits(count)]
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda device=device: Connection(device), HOST, 0) for device in devices]
    say({"ready": True, "ports": [server.sockets[0].getsockname()[1] for server in servers]})
    if kind == "bits":
        await toggle(count, devices[0].show)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
