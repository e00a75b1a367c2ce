"""Which requests to send for which values, and what the answers mean. Pure: no clock, no socket, no library.

Numbers of up to 64 bits stay integers. A scaled integer is computed exactly: an integral result is an integer, any
other the nearest float. Floats that are not numbers (NaN, infinity) are no value.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.modbus.settings import BIT_TABLES, REGISTERS_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drivers.modbus.settings import ModbusSettings, Table, WordType
    from gateway.core.model import Scalar

#: struct codes; words are put in big-endian order first, so that one unpack serves all fields of a request.
_CODE: Final[dict[str, str]] = {
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float32": "f",
    "float64": "d",
    "bit": "H",
}
#: A register carries as much as 16 coils; so do the limits.
BITS_PER_REGISTER: Final = 16


class Scaling(NamedTuple):
    """``(raw * factor + summand) / divisor`` in integers: exact for every decimal scale and offset."""

    factor: int
    summand: int
    divisor: int

    @classmethod
    def parse(cls, scale: str | None, offset: str | None) -> Scaling | None:
        """From decimal texts; None where neither changes anything."""
        multiplier, summand = Fraction(scale or 1), Fraction(offset or 0)
        if multiplier == 1 and summand == 0:
            return None
        divisor = math.lcm(multiplier.denominator, summand.denominator)
        return cls(int(multiplier * divisor), int(summand * divisor), divisor)


class Field(NamedTuple):
    """One value: where it is and how it is read. ``name`` is ``source.name``; ``address`` counts from 0."""

    name: str
    table: Table
    address: int
    type: WordType
    bit: int | None = None
    low_first: bool = False
    scaling: Scaling | None = None

    @property
    def width(self) -> int:
        """Registers (or coils) that it takes."""
        return REGISTERS_OF[self.type]


class Request(NamedTuple):
    """One read of neighbouring addresses, and the fields that are wholly within it."""

    table: Table
    address: int
    length: int
    fields: tuple[Field, ...]

    def __str__(self) -> str:
        return f"{self.table} {self.address} to {self.address + self.length - 1}"


def fields_of(source: str, settings: ModbusSettings) -> tuple[Field, ...]:
    """All values of a source, the ranges of blocks one by one."""
    fields = [
        Field(
            name=f"{source}.{name}",
            table=signal.table,
            address=signal.address,
            type=signal.value_type,
            bit=signal.bit,
            low_first=(signal.word_order or settings.word_order) == "low_first",
            scaling=Scaling.parse(signal.scale, signal.offset),
        )
        for name, signal in settings.signals.items()
    ]
    for block in settings.blocks:
        fields += [
            Field(
                name=f"{source}.{block.name}.{index}",
                table=block.table,
                address=block.address + index * block.width,
                type=block.value_type,
                low_first=(block.word_order or settings.word_order) == "low_first",
            )
            for index in range(block.count)
        ]
    return tuple(fields)


def plan(fields: Iterable[Field], max_registers: int, max_hole: int) -> tuple[Request, ...]:
    """Few requests that cover every field exactly once, never tearing one.

    ``max_registers`` bounds a request, ``max_hole`` the unused registers between two fields of one; in the tables of
    bits both count sixteenfold. Raises ValueError where a field is longer than a request may be.
    """
    requests: list[Request] = []
    taken: list[Field] = []
    end = 0
    for field in sorted(fields, key=lambda field: (field.table, field.address, field.width)):
        per_register = BITS_PER_REGISTER if field.table in BIT_TABLES else 1
        if field.width > max_registers * per_register:
            raise ValueError(f"{field.name} takes {field.width} registers, a request may have {max_registers}")
        joins = (
            bool(taken)
            and field.table == taken[0].table
            and field.address - end <= max_hole * per_register
            and max(end, field.address + field.width) - taken[0].address <= max_registers * per_register
        )
        if taken and not joins:
            requests.append(_request(taken, end))
            taken = []
        end = max(end, field.address + field.width) if taken else field.address + field.width
        taken.append(field)
    if taken:
        requests.append(_request(taken, end))
    return tuple(requests)


def _request(fields: list[Field], end: int) -> Request:
    first = fields[0]
    return Request(first.table, first.address, end - first.address, tuple(fields))


def decoder(request: Request, fields: Sequence[Field]) -> Callable[[Sequence[int] | Sequence[bool]], Sequence[Scalar]]:
    """Prepare the reading of some fields of a request: words of the answer in, values in the order of fields out.

    All Python-level work is done here once; an answer then costs one gather, one pack and one unpack in C, and a
    block of plain registers only a slice. None stands for a float that is not a number.
    """
    gather = _gather(request, fields)
    if request.table in BIT_TABLES or all(_is_plain(field) for field in fields):
        return gather
    words = sum(field.width for field in fields)
    pack = struct.Struct(f">{words}H").pack
    unpack = struct.Struct(">" + "".join(_CODE[field.type] for field in fields)).unpack
    finishers = [(index, finish) for index, field in enumerate(fields) if (finish := _finish(field)) is not None]

    def decode(answer: Sequence[int] | Sequence[bool]) -> Sequence[Scalar]:
        values: list[Scalar] = list(unpack(pack(*gather(answer))))
        for index, finish in finishers:
            values[index] = finish(values[index])
        return values

    return decode


def _is_plain(field: Field) -> bool:
    return field.type == "uint16" and field.scaling is None


def _gather(
    request: Request, fields: Sequence[Field]
) -> Callable[[Sequence[int] | Sequence[bool]], Sequence[int] | Sequence[bool]]:
    """Pick the words of the fields in their order, the high word of each first."""
    indices: list[int] = []
    for field in fields:
        start = field.address - request.address
        words = range(start, start + field.width)
        indices += reversed(words) if field.low_first else words
    if not indices:
        return lambda _answer: ()
    first = indices[0]
    if indices == list(range(first, first + len(indices))):
        return itemgetter(slice(first, first + len(indices)))
    return itemgetter(*indices)


def _finish(field: Field) -> Callable[[Scalar], Scalar] | None:
    if field.bit is not None:
        return partial(_bit, field.bit)
    if field.type in ("float32", "float64"):
        return partial(_float, field.scaling)
    if field.scaling is not None:
        return partial(_scaled, field.scaling)
    return None


def _bit(number: int, word: Scalar) -> bool:
    assert isinstance(word, int)
    return bool(word >> number & 1)


def _float(scaling: Scaling | None, raw: Scalar) -> float | None:
    assert isinstance(raw, float)
    value = raw if scaling is None else (raw * scaling.factor + scaling.summand) / scaling.divisor
    return value if math.isfinite(value) else None


def _scaled(scaling: Scaling, raw: Scalar) -> int | float:
    assert isinstance(raw, int)
    numerator = raw * scaling.factor + scaling.summand
    whole, rest = divmod(numerator, scaling.divisor)
    return whole if rest == 0 else numerator / scaling.divisor
