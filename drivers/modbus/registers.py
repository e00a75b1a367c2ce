"""What registers mean: answers become values. Pure: no clock, no socket, no library.

Numbers of up to 64 bits stay integers. A scaled integer is computed exactly: an integral result is an integer, any
other the nearest float. No value (None): a float that is no number, a BCD digit above 9, a text with unprintable
characters.
"""

from __future__ import annotations

import math
import struct
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.modbus.layout import (
    BIT_TABLES,
    BYTES,
    FLOATS,
    LOW_FIRST,
    ORDERS,
    REGISTERS_OF,
    SWAPPED,
    ByteOfRegister,
    Order,
    ValueType,
)
from drivers.modbus.plan import Field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.modbus.layout import Encoding
    from drivers.modbus.plan import Request
    from drivers.scaling import Scaling
    from gateway.core.model import Scalar

#: struct codes; words are put in big-endian order first, so that one unpack serves all fields of a request.
_CODE: Final[dict[str, str]] = {
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "bcd16": "H",
    "bcd32": "I",
    "bit": "H",
}
NUMBERS: Final[tuple[ValueType, ...]] = (
    "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bcd16", "bcd32",
)  # fmt: skip
PARTS: Final[tuple[ValueType, ...]] = ("uint8", "int8")
BYTES_OF_REGISTER: Final[tuple[ByteOfRegister, ...]] = ("high", "low")
#: The orders that differ within one register, and within a text.
ORDERS_OF_ONE: Final[tuple[Order, ...]] = ("ABCD", "BADC")
_DIGITS: Final = {"bcd16": 4, "bcd32": 8}
#: What devices fill a text up with.
_PADDING: Final = " \r\n\t"


class Decoding(NamedTuple):
    """One way to read registers. ``byte`` is None but for 8-bit numbers; ``registers`` is how many were used."""

    type: ValueType
    order: Order
    byte: ByteOfRegister | None
    registers: int
    value: Scalar


def decode_all(words: Sequence[int]) -> list[Decoding]:
    """Every reading of a value that begins with the first of these registers, in every type and order.

    Left out: readings that are no value, and orders that make no difference for the type. A text takes all registers.
    ``words``: 1 to 125 registers, 0 to 65535 each.
    """
    found: list[Decoding] = []
    for kind in NUMBERS:
        width = REGISTERS_OF[kind]
        for order in ORDERS if width > 1 else ORDERS_OF_ONE:
            found += [_decoding(Field("", "holding", 0, kind, order), words)] if width <= len(words) else []
    for kind in PARTS:
        found += [_decoding(Field("", "holding", 0, kind, byte=byte), words) for byte in BYTES_OF_REGISTER]
    for order in ORDERS_OF_ONE:
        found.append(_decoding(Field("", "holding", 0, "string", order, length=2 * len(words)), words))
    return [decoding for decoding in found if decoding.value is not None]


def _decoding(field: Field, words: Sequence[int]) -> Decoding:
    (value,) = _reader((field,), 0)(words)
    return Decoding(field.type, field.order, field.byte if field.type in PARTS else None, field.width, value)


def decoder(request: Request, fields: Sequence[Field]) -> Callable[[Sequence[int] | Sequence[bool]], Sequence[Scalar]]:
    """Prepare the reading of some fields of a request: words of the answer in, values in the order of fields out.

    All Python-level work is done here once; an answer then costs one gather, one pack and one unpack in C, and a
    block of plain registers only a slice.
    """
    if request.table in BIT_TABLES or all(_is_plain(field) for field in fields):
        return _gather(fields, request.address)
    swapped = [index for index, field in enumerate(fields) if field.order in SWAPPED]
    if len(swapped) in (0, len(fields)):
        return _reader(fields, request.address)
    straight = [index for index, field in enumerate(fields) if field.order not in SWAPPED]
    parts = [(indices, _reader([fields[i] for i in indices], request.address)) for indices in (straight, swapped)]

    def decode(answer: Sequence[int] | Sequence[bool]) -> Sequence[Scalar]:
        values: list[Scalar] = [None] * len(fields)
        for indices, read in parts:
            for index, value in zip(indices, read(answer), strict=True):
                values[index] = value
        return values

    return decode


def _reader(fields: Sequence[Field], start: int) -> Callable[[Sequence[int] | Sequence[bool]], Sequence[Scalar]]:
    """Fields whose registers are all swapped, or none."""
    gather = _gather(fields, start)
    words = sum(field.width for field in fields)
    end = "<" if fields and fields[0].order in SWAPPED else ">"
    pack = struct.Struct(f"{end}{words}H").pack
    unpack = struct.Struct(">" + "".join(_code(field) for field in fields)).unpack
    finishers = [(index, finish) for index, field in enumerate(fields) if (finish := _finish(field)) is not None]

    def decode(answer: Sequence[int] | Sequence[bool]) -> Sequence[Scalar]:
        values: list[Scalar] = list(unpack(pack(*gather(answer))))
        for index, finish in finishers:
            values[index] = finish(values[index])
        return values

    return decode


def _is_plain(field: Field) -> bool:
    return field.type == "uint16" and field.scaling is None and field.order not in SWAPPED


def _gather(
    fields: Sequence[Field], first_address: int
) -> Callable[[Sequence[int] | Sequence[bool]], Sequence[int] | Sequence[bool]]:
    """Pick the words of the fields in their order, the high word of each first."""
    indices: list[int] = []
    for field in fields:
        start = field.address - first_address
        words = range(start, start + field.width)
        indices += reversed(words) if field.order in LOW_FIRST and field.type != "string" else words
    if not indices:
        return lambda _answer: ()
    first = indices[0]
    if indices == list(range(first, first + len(indices))):
        return itemgetter(slice(first, first + len(indices)))
    return itemgetter(*indices)


def _code(field: Field) -> str:
    if field.type == "string":
        return f"{2 * field.width}s"
    if field.type in BYTES:
        letter = "B" if field.type == "uint8" else "b"
        return f"x{letter}" if field.byte == "low" else f"{letter}x"
    return _CODE[field.type]


def _finish(field: Field) -> Callable[[Scalar], Scalar] | None:
    if field.bit is not None:
        return partial(_bit, field.bit)
    if field.type == "string":
        assert field.length is not None
        return partial(_text, field.length, field.encoding)
    if field.type in FLOATS:
        return partial(_float, field.scaling)
    if field.type in _DIGITS:
        return partial(_bcd, _DIGITS[field.type], field.scaling)
    return field.scaling.apply if field.scaling is not None else None  # type: ignore[return-value]  # raw is a number


def _bit(number: int, word: Scalar) -> bool:
    assert isinstance(word, int)
    return bool(word >> number & 1)


def _float(scaling: Scaling | None, raw: Scalar) -> float | None:
    assert isinstance(raw, float)
    value = raw if scaling is None else scaling.apply(raw)
    return value if math.isfinite(value) else None


def _bcd(digits: int, scaling: Scaling | None, raw: Scalar) -> int | float | None:
    """Hexadecimal digits read as decimal ones."""
    text = f"{raw:0{digits}x}"
    if not text.isdecimal():
        return None
    return int(text) if scaling is None else scaling.apply(int(text))


def _text(length: int, encoding: Encoding, raw: Scalar) -> str | None:
    """Up to the first NUL, without the padding behind; what cannot be printed is not repaired."""
    assert isinstance(raw, bytes)
    try:
        text = raw[:length].partition(b"\0")[0].decode(encoding).rstrip(_PADDING)
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
