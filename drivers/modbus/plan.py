"""Which requests to send for which values. Pure: no clock, no socket, no library."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from drivers.modbus.layout import BIT_TABLES, BITS_PER_REGISTER, width_of
from drivers.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drivers.modbus.layout import ByteOfRegister, Encoding, Order, Table, ValueType
    from drivers.modbus.settings import ModbusSettings


class Field(NamedTuple):
    """One value: where it is and how it is read. ``name`` is ``source.name``; ``address`` counts from 0."""

    name: str
    table: Table
    address: int
    type: ValueType
    order: Order = "ABCD"
    bit: int | None = None
    byte: ByteOfRegister = "low"
    length: int | None = None
    encoding: Encoding = "ascii"
    scaling: Scaling | None = None
    scan_ns: int = 0
    block: str | None = None

    @property
    def width(self) -> int:
        """Registers (or coils) that it takes."""
        return width_of(self.type, self.length)

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.width


class Limits(NamedTuple):
    """What one request may span: ``registers``, ``bits``, and ``hole`` unused registers (or 16 times as many bits)."""

    registers: int
    bits: int
    hole: int

    @classmethod
    def of(cls, settings: ModbusSettings) -> Limits:
        """Those of a device."""
        return cls(settings.max_registers, settings.bits_in_request, settings.max_hole)

    def length_in(self, table: Table) -> int:
        """Longest request in a table."""
        return self.bits if table in BIT_TABLES else self.registers

    def hole_in(self, table: Table) -> int:
        """Longest run of unused addresses in a request."""
        return self.hole * BITS_PER_REGISTER if table in BIT_TABLES else self.hole


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
    fields = []
    for name, signal in settings.signals.items():
        place = settings.place_of(signal)
        fields.append(
            Field(
                name=f"{source}.{name}",
                table=place.table,
                address=place.address,
                type=signal.value_type_in(place.table),
                order=settings.order_of(signal),
                bit=signal.bit,
                byte=signal.byte or "low",
                length=signal.length,
                encoding=signal.encoding or "ascii",
                scaling=Scaling.parse(signal.scale, signal.offset),
                scan_ns=settings.scan_of(signal),
            )
        )
    for block in settings.blocks:
        place = settings.place_of(block)
        fields += [
            Field(
                name=f"{source}.{block.name}.{index}",
                table=place.table,
                address=place.address + index * block.width_in(place.table),
                type=block.value_type_in(place.table),
                order=settings.order_of(block),
                scan_ns=settings.scan_of(block),
                block=block.name,
            )
            for index in range(block.count)
        ]
    return tuple(fields)


def plan(fields: Iterable[Field], limits: Limits) -> tuple[Request, ...]:
    """Few requests that cover every field exactly once, never tearing one.

    Neighbours are joined from the lowest address up, which for a limit of length needs no more requests than any other
    way. Raises ValueError where a field is longer than a request may be.
    """
    requests: list[Request] = []
    taken: list[Field] = []
    end = 0
    for field in sorted(fields, key=lambda field: (field.table, field.address, field.width)):
        length = limits.length_in(field.table)
        if field.width > length:
            raise ValueError(f"{field.name} takes {field.width} registers, a request may have {length}")
        joins = (
            bool(taken)
            and field.table == taken[0].table
            and field.address - end <= limits.hole_in(field.table)
            and max(end, field.end) - taken[0].address <= length
        )
        if taken and not joins:
            requests.append(_request(taken, end))
            taken = []
        end = max(end, field.end) if taken else field.end
        taken.append(field)
    if taken:
        requests.append(_request(taken, end))
    return tuple(requests)


def plan_single(fields: Iterable[Field], limits: Limits) -> tuple[Request, ...]:
    """A request for every signal; the values of a block still share theirs, without holes."""
    alone = limits._replace(hole=0)
    requests: list[Request] = []
    for block, members in groupby(fields, key=lambda field: field.block):
        if block is None:
            requests += [Request(field.table, field.address, field.width, (field,)) for field in members]
        else:
            requests += plan(members, alone)
    return tuple(requests)


def halves(request: Request) -> tuple[Request, ...]:
    """The request in two, neither tearing a value; only itself where nothing can be split.

    Values that overlap stay together. Where unnamed addresses lie between values, the widest such hole is left out.
    """
    groups = _islands(request.fields)
    if len(groups) == 1:
        return (request,)
    holes = [two[0].address - _end(one) for one, two in pairwise(groups)]
    widest = max(holes)
    cut = holes.index(widest) + 1 if widest else len(groups) // 2
    parts = (groups[:cut], groups[cut:])
    return tuple(_request([field for group in part for field in group], _end(part[-1])) for part in parts)


def without_holes(request: Request) -> tuple[Request, ...]:
    """The request in pieces that touch no unnamed address."""
    return plan(request.fields, Limits(request.length, request.length, 0))


def _islands(fields: Sequence[Field]) -> list[list[Field]]:
    """Fields in the order of their addresses; those that share an address are in one group."""
    groups: list[list[Field]] = []
    for field in fields:
        if groups and field.address < _end(groups[-1]):
            groups[-1].append(field)
        else:
            groups.append([field])
    return groups


def _end(group: Sequence[Field]) -> int:
    return max(field.end for field in group)


def _request(fields: Sequence[Field], end: int) -> Request:
    first = fields[0]
    return Request(first.table, first.address, end - first.address, tuple(fields))
