"""How values lie in registers: tables, types, widths and orders. Pure facts; decodes nothing."""

from __future__ import annotations

from typing import Final, Literal

Table = Literal["holding", "input", "coil", "discrete"]
ValueType = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "float32", "float64", "bcd16", "bcd32", "string", "bit",
]  # fmt: skip
#: The letters are the bytes of a 32-bit number, A the highest; 16 and 64 bits follow the same pattern.
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
WordOrder = Literal["high_first", "low_first"]
ByteOfRegister = Literal["low", "high"]
Encoding = Literal["ascii", "latin-1", "utf-8"]

ORDERS: Final[tuple[Order, ...]] = ("ABCD", "CDAB", "BADC", "DCBA")
#: Orders with the low register first.
LOW_FIRST: Final = frozenset({"CDAB", "DCBA"})
#: Orders with the two bytes of every register swapped.
SWAPPED: Final = frozenset({"BADC", "DCBA"})
ORDER_OF_WORDS: Final[dict[WordOrder, Order]] = {"high_first": "ABCD", "low_first": "CDAB"}

#: Registers that a value of each type takes; what is smaller is read with its whole register. A text: by its length.
REGISTERS_OF: Final[dict[str, int]] = {
    "uint8": 1,
    "int8": 1,
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "uint64": 4,
    "int64": 4,
    "float16": 1,
    "float32": 2,
    "float64": 4,
    "bcd16": 1,
    "bcd32": 2,
    "bit": 1,
}
FLOATS: Final = frozenset({"float16", "float32", "float64"})
BYTES: Final = frozenset({"uint8", "int8"})
BIT_TABLES: Final = ("coil", "discrete")
WRITABLE_TABLES: Final = ("holding", "coil")
ADDRESSES: Final = 65_536
#: The protocol's limits in one request (Modbus Application Protocol 1.1b3, 6.1, 6.3 and 6.12).
REGISTERS_PER_READ_MAX: Final = 125
BITS_PER_READ_MAX: Final = 2_000
REGISTERS_PER_WRITE_MAX: Final = 123
#: A register carries as much as 16 coils; so do the limits.
BITS_PER_REGISTER: Final = 16
BIT_MAX: Final = 15
#: Longest text, in characters of one byte.
TEXT_MAX: Final = 2 * REGISTERS_PER_WRITE_MAX


def width_of(value_type: ValueType, length: int | None = None) -> int:
    """Registers (or coils) that a value takes; ``length`` is that of a text, in bytes."""
    if value_type == "string":
        assert length is not None
        return -(-length // 2)
    return REGISTERS_OF[value_type]


def order_of(order: Order | None, word_order: WordOrder | None) -> Order | None:
    """The order that either key names; None where both are left out."""
    return order or (ORDER_OF_WORDS[word_order] if word_order else None)
