"""What to write for a value: the way back from ``registers.py``. Pure; decides nothing about who may write."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.base import WriteRefusedError
from drivers.modbus.layout import BYTES, FLOATS, LOW_FIRST, SWAPPED
from drivers.scaling import Scaling

if TYPE_CHECKING:
    from fractions import Fraction

    from drivers.modbus.plan import Field
    from gateway.core.model import Scalar

_CODE: Final = {
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}
_UNSCALED: Final = Scaling(1, 0, 1)
_DIGITS: Final = {"bcd16": 4, "bcd32": 8}
_REGISTER: Final = 0xFFFF
_BYTE: Final = 0xFF


class MaskedWrite(NamedTuple):
    """A part of a register: ``(register and and_mask) or (or_mask and not and_mask)`` is what will be there."""

    and_mask: int
    or_mask: int


def coil_of(field: Field, value: Scalar) -> bool:
    """The state that a coil or a bit shall have. Raises WriteRefusedError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise WriteRefusedError(f"{field.name}: found {value!r}, allowed true or false (1 or 0)")


def words_of(field: Field, value: Scalar) -> list[int]:
    """The registers of a whole-register value, in the order of their addresses. Raises WriteRefusedError."""
    if field.type == "string":
        data = _text(field, value)
    elif field.type in FLOATS:
        data = _float(field, value)
    elif field.type in _DIGITS:
        data = _bcd(field, _integer(field, value))
    else:
        data = _packed(field, _integer(field, value))
    return _ordered(field, data)


def mask_of(field: Field, value: Scalar) -> MaskedWrite:
    """The change of a register for one of its bits or bytes. Raises WriteRefusedError."""
    if field.type in BYTES:
        part, shift = _packed(field, _integer(field, value))[0], 8 if field.byte == "high" else 0
        mask, wanted = _BYTE << shift, part << shift
    else:
        assert field.bit is not None
        mask = 1 << field.bit
        wanted = mask if coil_of(field, value) else 0
    if field.order in SWAPPED:
        mask, wanted = _swapped(mask), _swapped(wanted)
    return MaskedWrite(_REGISTER ^ mask, wanted)


def _exact(field: Field, value: Scalar) -> Fraction:
    """The raw number behind a value, exactly: a float stands for the shortest decimal number that it prints as."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WriteRefusedError(f"{field.name}: found {value!r}, allowed a number")
    return (field.scaling or _UNSCALED).invert(value)


def _integer(field: Field, value: Scalar) -> int:
    raw = _exact(field, value)
    if raw.denominator != 1:
        near = sorted({_shown(field, math.floor(raw)), _shown(field, math.ceil(raw))}, key=float)
        raise WriteRefusedError(
            f"{field.name}: {value} cannot be expressed as {field.type}; the nearest are {' and '.join(near)}"
        )
    return int(raw)


def _shown(field: Field, raw: int) -> str:
    return str(raw if field.scaling is None else field.scaling.apply(raw))


def _packed(field: Field, raw: int) -> bytes:
    try:
        return struct.pack(f">{_CODE[field.type]}", raw)
    except struct.error:
        bits = 8 * struct.calcsize(f">{_CODE[field.type]}")
        least, most = (0, 2**bits - 1) if field.type.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        raise _out_of_range(field, raw, least, most) from None


def _bcd(field: Field, raw: int) -> bytes:
    digits = _DIGITS[field.type]
    if not 0 <= raw < 10**digits:
        raise _out_of_range(field, raw, 0, 10**digits - 1)
    return bytes.fromhex(f"{raw:0{digits}d}")


def _out_of_range(field: Field, raw: int, least: int, most: int) -> WriteRefusedError:
    scaled = "" if field.scaling is None else " before scaling"
    return WriteRefusedError(f"{field.name}: found {raw}{scaled}, {field.type} allows {least} to {most}")


def _float(field: Field, value: Scalar) -> bytes:
    raw = float(_exact(field, value))
    try:
        return struct.pack(f">{_CODE[field.type]}", raw)
    except OverflowError:
        raise WriteRefusedError(f"{field.name}: {value} is beyond what {field.type} can express") from None


def _text(field: Field, value: Scalar) -> bytes:
    assert field.length is not None
    if not isinstance(value, str):
        raise WriteRefusedError(f"{field.name}: found {value!r}, allowed a text")
    try:
        data = value.encode(field.encoding)
    except UnicodeEncodeError as error:
        raise WriteRefusedError(f"{field.name}: {value!r} has characters that {field.encoding} does not") from error
    if len(data) > field.length or b"\0" in data or not value.isprintable():
        raise WriteRefusedError(
            f"{field.name}: found {len(data)} bytes, allowed {field.length} bytes of printable characters"
        )
    # The last register of an odd length is written whole: its second byte is nobody's.
    return data.ljust(2 * field.width, b"\0")


def _ordered(field: Field, data: bytes) -> list[int]:
    end = "<" if field.order in SWAPPED else ">"
    words = list(struct.unpack(f"{end}{len(data) // 2}H", data))
    return words[::-1] if field.order in LOW_FIRST and field.type != "string" else words


def _swapped(word: int) -> int:
    return word >> 8 | (word & _BYTE) << 8
