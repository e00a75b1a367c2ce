"""Modbus requests and their answers without any framing: function code, addresses, values, exceptions.

Pure: no socket, no clock. What the tables hold is theirs (``Tables``).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16
READS: Final = range(READ_COILS, READ_INPUT + 1)
BIT_READS: Final = range(READ_COILS, READ_DISCRETE + 1)
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_SUCH_UNIT = 1, 2, 3, 0x0B
#: Most bits and registers that one request may ask for or write (Modbus application protocol 6.1, 6.3, 6.11, 6.12).
MAX_BITS: Final = 2000
MAX_REGISTERS: Final = 125
MAX_BITS_WRITTEN: Final = 1968
MAX_REGISTERS_WRITTEN: Final = 123
ADDRESSES: Final = 65_536
COIL_ON, COIL_OFF = 0xFF00, 0
#: Bytes of a request that reads or writes one: function, address, count or value.
SHORT: Final = 5
#: Bytes before the values of a request that writes many: function, address, count, number of bytes.
HEAD: Final = 6
BITS: Final = 8
EXCEPTION: Final = 0x80


class Refused(Exception):  # noqa: N818 - the device's answer, not a failure
    """The device answers with an exception of this code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Tables(Protocol):
    """What one unit holds. Each method may raise Refused; the range has been checked against the protocol only."""

    def coils(self, address: int, count: int) -> Sequence[int]:
        """Bits of table 0."""

    def discrete(self, address: int, count: int) -> Sequence[int]:
        """Bits of table 1."""

    def inputs(self, address: int, count: int) -> Sequence[int]:
        """Words of table 3."""

    def holding(self, address: int, count: int) -> Sequence[int]:
        """Words of table 4."""

    def write_coils(self, address: int, values: Sequence[int]) -> None:
        """All or nothing."""

    def write_holding(self, address: int, values: Sequence[int]) -> None:
        """All or nothing."""


class AddressTables:
    """A unit whose words are their addresses and whose bits are the lowest bits of theirs; it cannot be written."""

    def coils(self, address: int, count: int) -> Sequence[int]:
        """The lowest bits of the addresses."""
        return [at & 1 for at in range(address, address + count)]

    def discrete(self, address: int, count: int) -> Sequence[int]:
        """The lowest bits of the addresses."""
        return self.coils(address, count)

    def inputs(self, address: int, count: int) -> Sequence[int]:
        """The addresses."""
        return range(address, address + count)

    def holding(self, address: int, count: int) -> Sequence[int]:
        """The addresses."""
        return range(address, address + count)

    def write_coils(self, address: int, values: Sequence[int]) -> None:  # noqa: ARG002 - the protocol's signature
        """Raise Refused."""
        raise Refused(ILLEGAL_FUNCTION)

    def write_holding(self, address: int, values: Sequence[int]) -> None:  # noqa: ARG002 - the protocol's signature
        """Raise Refused."""
        raise Refused(ILLEGAL_FUNCTION)


def span(pdu: bytes) -> range:
    """The addresses that a request touches; empty if it names none."""
    if len(pdu) < SHORT:
        return range(0)
    address, count = struct.unpack_from(">HH", pdu, 1)
    return range(address, address + (1 if pdu[0] in {WRITE_COIL, WRITE_REGISTER} else count))


def refusal(pdu: bytes, code: int) -> bytes:
    """The answer that says no."""
    return bytes([pdu[0] | EXCEPTION, code])


def answer(tables: Tables, pdu: bytes) -> bytes:
    """What a unit with these tables answers to a request of at least one byte."""
    try:
        if pdu[0] in READS:
            return _read(tables, pdu)
        if pdu[0] in {WRITE_COIL, WRITE_REGISTER}:
            return _write_one(tables, pdu)
        if pdu[0] in {WRITE_COILS, WRITE_REGISTERS}:
            return _write_many(tables, pdu)
    except Refused as refused:
        return refusal(pdu, refused.code)
    return refusal(pdu, ILLEGAL_FUNCTION)


def _read(tables: Tables, pdu: bytes) -> bytes:
    if len(pdu) != SHORT:
        raise Refused(ILLEGAL_VALUE)
    function = pdu[0]
    address, count = struct.unpack_from(">HH", pdu, 1)
    if not 1 <= count <= (MAX_BITS if function in BIT_READS else MAX_REGISTERS):
        raise Refused(ILLEGAL_VALUE)
    if address + count > ADDRESSES:
        raise Refused(ILLEGAL_ADDRESS)
    if function in BIT_READS:
        body = _packed((tables.coils if function == READ_COILS else tables.discrete)(address, count))
    else:
        words = (tables.holding if function == READ_HOLDING else tables.inputs)(address, count)
        body = struct.pack(f">{count}H", *words)
    return bytes([function, len(body)]) + body


def _write_one(tables: Tables, pdu: bytes) -> bytes:
    if len(pdu) != SHORT:
        raise Refused(ILLEGAL_VALUE)
    address, value = struct.unpack_from(">HH", pdu, 1)
    if pdu[0] == WRITE_REGISTER:
        tables.write_holding(address, [value])
    elif value in {COIL_ON, COIL_OFF}:
        tables.write_coils(address, [int(value == COIL_ON)])
    else:
        raise Refused(ILLEGAL_VALUE)
    return pdu


def _write_many(tables: Tables, pdu: bytes) -> bytes:
    if len(pdu) < HEAD or len(pdu) != HEAD + pdu[HEAD - 1]:
        raise Refused(ILLEGAL_VALUE)
    address, count, size = struct.unpack_from(">HHB", pdu, 1)
    coils = pdu[0] == WRITE_COILS
    most, wanted = (MAX_BITS_WRITTEN, -(-count // BITS)) if coils else (MAX_REGISTERS_WRITTEN, 2 * count)
    if not 1 <= count <= most or size != wanted:
        raise Refused(ILLEGAL_VALUE)
    if address + count > ADDRESSES:
        raise Refused(ILLEGAL_ADDRESS)
    if coils:
        number = int.from_bytes(pdu[HEAD:], "little")
        tables.write_coils(address, [number >> at & 1 for at in range(count)])
    else:
        tables.write_holding(address, struct.unpack_from(f">{count}H", pdu, HEAD))
    return pdu[:SHORT]


def _packed(bits: Sequence[int]) -> bytes:
    number = sum(bit << at for at, bit in enumerate(bits))
    return number.to_bytes((len(bits) + BITS - 1) // BITS, "little")
