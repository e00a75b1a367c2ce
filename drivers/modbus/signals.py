"""What the configuration may say about one value, or a range of values, of a Modbus device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from drivers.modbus.address import place_of
from drivers.modbus.layout import (
    BIT_MAX,
    BIT_TABLES,
    BYTES,
    TEXT_MAX,
    WRITABLE_TABLES,
    ByteOfRegister,
    Encoding,
    Order,
    Table,
    ValueType,
    WordOrder,
    width_of,
)
from drivers.signal import SignalCommon
from gateway.core.duration import Duration

SCAN_MIN: Final = Duration("10 ms")
SCAN_MAX: Final = Duration("1 h")
#: Values of one block.
BLOCK_MAX: Final = 20_000

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSignal(SignalCommon):
    """One value of a Modbus device.

    Attributes:
        table: which of the four tables; default holding, or the one that the address names.
        address: a number as the source's addressing says (default: PDU address, counted from 0), or a text: a manual's
            number with its table ("40001", "00033"), or a hexadecimal PDU address ("0x1024"); "+3" behind a text counts
            on from there.
        type: how the registers are read; default uint16, coils and discrete inputs are always one bit.
        bit: number of a single bit within a register, 0 is the lowest; makes the signal true or false.
        byte: which byte of the register an 8-bit number is; default low.
        length: of a text, in characters of one byte, two to a register.
        encoding: of a text; default ascii.
        order: bytes of a 32-bit number as the registers bring them; default: the device's setting.
        word_order: the older way to say order; default: the device's setting.
        scan: time between two readings; default: the device's setting.
        verify_writes: read back what was written; default: the device's setting.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    table: Table | None = None
    address: int | str
    type: ValueType | None = None
    bit: int | None = None
    byte: ByteOfRegister | None = None
    length: int | None = None
    encoding: Encoding | None = None
    order: Order | None = None
    word_order: WordOrder | None = None
    scan: Duration | None = None
    verify_writes: bool | None = None

    def __post_init__(self) -> None:
        """What can be said without the source's keys."""
        self.check_common()
        if self.bit is not None and not 0 <= self.bit <= BIT_MAX:
            raise ValueError(f"bit: found {self.bit}, allowed 0 to {BIT_MAX}")
        if (self.type == "string") != (self.length is not None):
            raise ValueError("type: string and its length (in characters) belong together")
        if self.length is not None and not 1 <= self.length <= TEXT_MAX:
            raise ValueError(f"length: found {self.length}, allowed 1 to {TEXT_MAX}")
        if self.encoding is not None and self.type != "string":
            raise ValueError("encoding: only with type: string")
        if self.byte is not None and self.type not in BYTES:
            raise ValueError("byte: only with type: uint8 or int8")
        if self.order is not None and self.word_order is not None:
            raise ValueError("order and word_order: both say the same; name one")
        if self.scan is not None:
            check_scan(self.scan)
        if isinstance(self.address, str):
            self.check_in(place_of(self.address, self.table, "pdu").table, mask_writes=True)
        elif self.table is not None:
            self.check_in(self.table, mask_writes=True)

    def value_type_in(self, table: Table) -> ValueType:
        """The type in force, defaults applied."""
        if self.bit is not None or table in BIT_TABLES:
            return "bit"
        return self.type or "uint16"

    def width_in(self, table: Table) -> int:
        """Registers (or coils) that it takes."""
        return width_of(self.value_type_in(table), self.length)

    def check_in(self, table: Table, *, mask_writes: bool) -> None:
        """Whether the table can hold it, and be written. Raises ValueError."""
        if table in BIT_TABLES:
            if self.type not in (None, "bit") or self.bit is not None:
                raise ValueError(f"a {table} is one bit: leave out type and bit")
        elif (self.bit is not None) != (self.type == "bit") and not (self.bit is not None and self.type is None):
            raise ValueError("type: bit and the number of the bit belong together in a register")
        value_type = self.value_type_in(table)
        if value_type in ("bit", "string"):
            what = "a bit" if value_type == "bit" else "a text"
            if self.scale is not None or self.offset is not None:
                raise ValueError(f"scale and offset: {what} has none")
            if self.deadband is not None:
                raise ValueError(f"deadband: {what} has none")
        if self.writable is None:
            return
        if table not in WRITABLE_TABLES:
            raise ValueError(f"writable: the table {table} can only be read")
        if table == "holding" and (value_type == "bit" or value_type in BYTES) and not mask_writes:
            raise ValueError(
                "writable: a part of a register could only be read, changed and written, and the device may change the "
                "rest meanwhile; set mask_writes: true where it knows function 22, or write the whole register"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusBlock:
    """A range of equal values for MQTT only, called name.0, name.1 and so on.

    Attributes:
        name: first part of the values' names.
        table: which of the four tables; default holding, or the one that the address names.
        address: of the first value, written as a signal's.
        count: how many values.
        type: how the registers are read; default uint16, coils and discrete inputs are always one bit.
        order: bytes of a 32-bit number as the registers bring them; default: the device's setting.
        word_order: the older way to say order; default: the device's setting.
        scan: time between two readings; default: the device's setting.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    name: str
    table: Table | None = None
    address: int | str
    count: int
    type: ValueType | None = None
    order: Order | None = None
    word_order: WordOrder | None = None
    scan: Duration | None = None

    def __post_init__(self) -> None:
        """What can be said without the source's keys."""
        if not 1 <= self.count <= BLOCK_MAX:
            raise ValueError(f"count: found {self.count}, allowed 1 to {BLOCK_MAX}")
        if self.type == "string":
            raise ValueError("type: found string, a range has numbers only")
        if self.order is not None and self.word_order is not None:
            raise ValueError("order and word_order: both say the same; name one")
        if self.scan is not None:
            check_scan(self.scan)

    def value_type_in(self, table: Table) -> ValueType:
        """The type in force, defaults applied."""
        return "bit" if table in BIT_TABLES else self.type or "uint16"

    def width_in(self, table: Table) -> int:
        """Registers (or coils) of one value."""
        return width_of(self.value_type_in(table))

    def check_in(self, table: Table) -> None:
        """Whether the table can hold it. Raises ValueError."""
        if table in BIT_TABLES and self.type not in (None, "bit"):
            raise ValueError(f"a {table} is one bit: leave out type")
        if table not in BIT_TABLES and self.type == "bit":
            raise ValueError("type: found bit, a range of bits needs the table coil or discrete")


def check_scan(scan: Duration) -> None:
    """Whether anybody can want this. Raises ValueError."""
    if not SCAN_MIN <= scan <= SCAN_MAX:
        raise ValueError(f"scan: found {scan}, allowed {SCAN_MIN} to {SCAN_MAX}")
