"""What the configuration may say about a Modbus device; checks ranges, knows no protocol library."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration

Table = Literal["holding", "input", "coil", "discrete"]
WordType = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64", "bit"]
WordOrder = Literal["high_first", "low_first"]

#: Registers that a value of each type takes; a bit of a register is read with its whole register.
REGISTERS_OF: Final[dict[str, int]] = {
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "uint64": 4,
    "int64": 4,
    "float32": 2,
    "float64": 4,
    "bit": 1,
}
BIT_TABLES: Final = ("coil", "discrete")
ADDRESSES: Final = 65_536
#: The protocol's limit of registers in one answer (Modbus Application Protocol 1.1b3, 6.3).
REGISTERS_PER_REQUEST_MAX: Final = 125
UNIT_MAX: Final = 255
PORT_MAX: Final = 65_535
BIT_MAX: Final = 15
#: Single values of one source, ranges included: bounds memory and the length of a scan.
VALUES_MAX: Final = 20_000
SCAN_MIN: Final = Duration("10 ms")
SCAN_MAX: Final = Duration("1 h")
TIMEOUT_MAX: Final = Duration("30 s")

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSignal:
    """One value of a Modbus device.

    Attributes:
        table: which of the four tables.
        address: PDU address, counted from 0 (a manual's 40001 is holding 0).
        type: how the registers are read; default uint16, coils and discrete inputs are always one bit.
        bit: number of a single bit within a register, 0 is the lowest; makes the signal true or false.
        word_order: which register of a longer value comes first; default: the device's setting.
        scale: the raw number is multiplied by this, a decimal number in quotes such as "0.1".
        offset: added after scaling, a decimal number in quotes.
        telemetry: publish it on MQTT.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    table: Table = "holding"
    address: int
    type: WordType | None = None
    bit: int | None = None
    word_order: WordOrder | None = None
    scale: str | None = None
    offset: str | None = None
    telemetry: bool = False

    def __post_init__(self) -> None:
        """Types that the table can hold, and addresses that exist."""
        if self.table in BIT_TABLES:
            if self.type not in (None, "bit") or self.bit is not None:
                raise ValueError(f"a {self.table} is one bit: leave out type and bit")
        elif (self.bit is not None) != (self.type == "bit") and not (self.bit is not None and self.type is None):
            raise ValueError("type: bit and the number of the bit belong together in a register")
        if self.bit is not None and not 0 <= self.bit <= BIT_MAX:
            raise ValueError(f"bit: found {self.bit}, allowed 0 to {BIT_MAX}")
        _check_scaling(self.value_type, self.scale, self.offset)
        _check_span(self.address, self.width)

    @property
    def value_type(self) -> WordType:
        """The type in force, defaults applied."""
        if self.bit is not None or self.table in BIT_TABLES:
            return "bit"
        return self.type or "uint16"

    @property
    def width(self) -> int:
        """Registers (or coils) that it takes."""
        return REGISTERS_OF[self.value_type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusBlock:
    """A range of equal values for MQTT only, called name.0, name.1 and so on.

    Attributes:
        name: first part of the values' names.
        table: which of the four tables.
        address: PDU address of the first value, counted from 0.
        count: how many values.
        type: how the registers are read; default uint16, coils and discrete inputs are always one bit.
        word_order: which register of a longer value comes first; default: the device's setting.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    name: str
    table: Table = "holding"
    address: int
    count: int
    type: WordType | None = None
    word_order: WordOrder | None = None

    def __post_init__(self) -> None:
        """At least one value, all of them within the table."""
        if self.table in BIT_TABLES and self.type not in (None, "bit"):
            raise ValueError(f"a {self.table} is one bit: leave out type")
        if self.table not in BIT_TABLES and self.type == "bit":
            raise ValueError("type: found bit, a range of bits needs the table coil or discrete")
        if not 1 <= self.count <= VALUES_MAX:
            raise ValueError(f"count: found {self.count}, allowed 1 to {VALUES_MAX}")
        _check_span(self.address, self.count * self.width)

    @property
    def value_type(self) -> WordType:
        """The type in force, defaults applied."""
        return "bit" if self.table in BIT_TABLES else self.type or "uint16"

    @property
    def width(self) -> int:
        """Registers (or coils) of one value."""
        return REGISTERS_OF[self.value_type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSettings:
    """A device that speaks Modbus TCP. It is only ever read.

    Attributes:
        driver: ``modbus``.
        host: name or IP address.
        port: TCP port.
        unit: unit identifier (slave address) of the device behind that address.
        scan: time from one reading of everything to the next.
        timeout: how long one answer may take; later means that the link is lost.
        word_order: which register of a longer value comes first.
        max_registers: registers in one request; some devices allow fewer than 125.
        max_hole: unused registers that are read along to save a request; 0: never touch an unnamed address.
        signals: name of the signal to where it is.
        blocks: ranges of values for MQTT only.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["modbus"]
    host: str
    port: int = 502
    unit: int = 1
    scan: Duration = Duration("1 s")
    timeout: Duration = Duration("1 s")
    word_order: WordOrder = "high_first"
    max_registers: int = REGISTERS_PER_REQUEST_MAX
    max_hole: int = 8
    signals: dict[str, ModbusSignal] = field(default_factory=dict)
    blocks: tuple[ModbusBlock, ...] = ()

    def __post_init__(self) -> None:
        """Ranges, and something to read."""
        if not self.host.strip():
            raise ValueError("host: found nothing, allowed a name or an IP address")
        _check_range("port", self.port, 1, PORT_MAX)
        _check_range("unit", self.unit, 0, UNIT_MAX)
        _check_range("max_registers", self.max_registers, 1, REGISTERS_PER_REQUEST_MAX)
        _check_range("max_hole", self.max_hole, 0, REGISTERS_PER_REQUEST_MAX)
        if not SCAN_MIN <= self.scan <= SCAN_MAX:
            raise ValueError(f"scan: found {self.scan}, allowed {SCAN_MIN} to {SCAN_MAX}")
        if not 0 < self.timeout <= TIMEOUT_MAX:
            raise ValueError(f"timeout: found {self.timeout}, allowed more than 0 s, up to {TIMEOUT_MAX}")
        self._check_values()

    def _check_values(self) -> None:
        count = len(self.signals) + sum(block.count for block in self.blocks)
        if not 1 <= count <= VALUES_MAX:
            raise ValueError(f"signals and blocks: found {count} values, allowed 1 to {VALUES_MAX}")
        widths = [signal.width for signal in self.signals.values()] + [block.width for block in self.blocks]
        widest = max(widths)
        if widest > self.max_registers:
            raise ValueError(
                f"max_registers: found {self.max_registers}, but a value takes {widest} registers and is never torn"
            )
        names = [block.name for block in self.blocks]
        doubled = sorted({name for name in names if names.count(name) > 1 or name in self.signals})
        if doubled:
            raise ValueError(f"blocks: {', '.join(doubled)} is named twice")


def _check_range(key: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise ValueError(f"{key}: found {found}, allowed {least} to {most}")


def _check_span(address: int, width: int) -> None:
    if not 0 <= address <= ADDRESSES - width:
        raise ValueError(
            f"address: found {address} with a length of {width}, allowed 0 to {ADDRESSES - 1} "
            f"(PDU address: a manual's 40001 is 0 in the holding table)"
        )


def _check_scaling(value_type: WordType, scale: str | None, offset: str | None) -> None:
    if value_type == "bit" and (scale is not None or offset is not None):
        raise ValueError("scale and offset: a bit has none")
    for key, text in (("scale", scale), ("offset", offset)):
        if text is None:
            continue
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or (key == "scale" and not number):
            raise ValueError(f'{key}: found {text!r}, allowed a decimal number such as "0.1"')
