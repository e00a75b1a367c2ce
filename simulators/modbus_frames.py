"""Modbus frames: the header of Modbus TCP, and unit and checksum of a serial line. Answers nothing itself."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from simulators.modbus_pdu import READ_COILS, WRITE_COILS, WRITE_REGISTER, WRITE_REGISTERS

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

MBAP: Final = struct.Struct(">HHHB")
#: Length field of the header: the unit byte and at least a function code, at most 253 bytes of PDU.
MBAP_LENGTHS: Final = range(2, 255)
#: Largest serial frame: unit, 253 bytes of PDU, checksum.
RTU_MAX: Final = 256
#: Unit, function, checksum: nothing shorter is a frame.
RTU_MIN: Final = 4
RTU_CHUNK: Final = 512
#: A silence this long ends a frame, in seconds. Real lines say 3.5 characters; a busy computer cannot keep that.
RTU_GAP_S: Final = 0.03
CHECKSUM_BYTES: Final = 2


class Framing(Protocol):
    """How an answer is wrapped. ``checksum``: whether a damaged frame can be told from a whole one."""

    @property
    def checksum(self) -> bool:
        """True on serial lines."""

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """The whole frame."""

    def garbage(self, frame: bytes, rng: random.Random) -> bytes:
        """Bytes of the same length that are surely no frame of this kind."""


class Request(NamedTuple):
    """One request; answers to it are wrapped by ``framing``."""

    unit: int
    pdu: bytes
    framing: Framing


class MbapFraming(NamedTuple):
    """Modbus TCP: answers bear the transaction of their request."""

    transaction: int
    checksum: bool = False

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """The whole frame."""
        return MBAP.pack(self.transaction, 0, len(pdu) + 1, unit) + pdu

    def garbage(self, frame: bytes, rng: random.Random) -> bytes:
        """A protocol identifier that is not 0 makes it surely no Modbus frame."""
        return frame[:2] + b"\xff\xff" + rng.randbytes(max(1, len(frame) - 4))


class RtuFraming(NamedTuple):
    """A serial line: nothing tells which request an answer belongs to."""

    checksum: bool = True

    def wrap(self, unit: int, pdu: bytes) -> bytes:
        """The whole frame."""
        data = bytes([unit]) + pdu
        return data + crc(data)

    def garbage(self, frame: bytes, rng: random.Random) -> bytes:
        """Random bytes whose checksum is wrong."""
        data = rng.randbytes(len(frame))
        return data if not whole(data) else data[:-1] + bytes([data[-1] ^ 1])


RTU: Final = RtuFraming()


def crc(data: bytes) -> bytes:
    """The checksum of a serial frame, in the order of the line (Modbus over serial line 6.2.2)."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value.to_bytes(CHECKSUM_BYTES, "little")


def whole(frame: bytes) -> bool:
    """Whether it ends with its own checksum."""
    return len(frame) >= RTU_MIN and frame[-CHECKSUM_BYTES:] == crc(frame[:-CHECKSUM_BYTES])


def from_datagram(data: bytes) -> Request | None:
    """The request of one datagram; None if it is none."""
    if len(data) <= MBAP.size:
        return None
    transaction, protocol, length, unit = MBAP.unpack_from(data)
    if protocol != 0 or length not in MBAP_LENGTHS or len(data) != MBAP.size + length - 1:
        return None
    return Request(unit, data[MBAP.size :], MbapFraming(transaction))


async def mbap_requests(reader: asyncio.StreamReader) -> AsyncIterator[Request]:
    """The requests of a connection, until bytes come that are none."""
    while True:
        transaction, protocol, length, unit = MBAP.unpack(await reader.readexactly(MBAP.size))
        if protocol != 0 or length not in MBAP_LENGTHS:
            return
        yield Request(unit, await reader.readexactly(length - 1), MbapFraming(transaction))


async def rtu_requests(reader: asyncio.StreamReader) -> AsyncIterator[Request]:
    """The requests of a serial line, until its end; what is no frame by the next silence is forgotten."""
    waiting = b""
    while True:
        try:
            async with asyncio.timeout(RTU_GAP_S if waiting else None):
                data = await reader.read(RTU_CHUNK)
        except TimeoutError:
            # A function that this side does not know has an unknown length: the silence ends it.
            if whole(waiting):
                yield Request(waiting[0], waiting[1:-CHECKSUM_BYTES], RTU)
            waiting = b""
            continue
        if not data:
            return
        waiting += data
        while size := _size(waiting):
            frame, waiting = waiting[:size], waiting[size:]
            if whole(frame):
                yield Request(frame[0], frame[1:-CHECKSUM_BYTES], RTU)
        waiting = waiting[-RTU_MAX:]


def _size(data: bytes) -> int:
    """Length of the complete request at the beginning; 0 if it is not complete or of unknown length."""
    size = 0
    if len(data) > 1:
        if READ_COILS <= data[1] <= WRITE_REGISTER:
            size = 8
        elif data[1] in {WRITE_COILS, WRITE_REGISTERS} and len(data) > 6:  # noqa: PLR2004 - where the number of bytes is
            size = 9 + data[6]
    return size if size <= len(data) else 0


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC_TABLE: Final = tuple(_entry(byte) for byte in range(256))
