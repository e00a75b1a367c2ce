"""What the configuration may say about a Modbus device; checks ranges, knows no protocol library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from drivers.modbus.address import Addressing, Place, place_of
from drivers.modbus.endpoint import Endpoint
from drivers.modbus.layout import (
    BIT_TABLES,
    BITS_PER_READ_MAX,
    BITS_PER_REGISTER,
    REGISTERS_PER_READ_MAX,
    Order,
    WordOrder,
    order_of,
)
from drivers.modbus.signals import ModbusBlock, ModbusSignal, check_scan
from gateway.core.duration import Duration

#: Single values of one source, ranges included: bounds memory and the length of a scan.
VALUES_MAX: Final = 20_000
#: Different scan times within one source: each has requests of its own.
SCANS_MAX: Final = 8

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSettings(Endpoint):
    """A device that speaks Modbus. It is read in scans; written only where a signal is ``writable``.

    Attributes:
        driver: ``modbus``.
        scan: time from one reading of everything to the next; also per signal.
        addressing: how numbers are meant: ``pdu``: counted from 0; ``one_based``: counted from 1; ``manual``: 40001,
            30017, 10001. A text such as "40001" or "00033" is a manual's number with its table in any case.
        order: bytes of a 32-bit number as the registers bring them: ABCD, CDAB (low register first), BADC (bytes of
            each register swapped), DCBA (both); 16 and 64 bits likewise; also per signal. Default ABCD.
        word_order: the older way to say order: high_first is ABCD, low_first is CDAB.
        max_registers: registers in one request; some devices allow fewer than 125.
        max_bits: coils or discrete inputs in one request; default 16 times max_registers, at most 2000.
        max_hole: unused registers that are read along to save a request (16 times as many bits); 0: never touch an
            unnamed address.
        batching: ``merged``: neighbours share a request; ``single``: every signal has a request of its own.
        write_multiple: write a single register with function 16 too, for devices without function 6.
        mask_writes: write a bit or a byte of a register with function 22; without it that is refused.
        verify_writes: read back what was written; also per signal.
        signals: name of the signal to where it is.
        blocks: ranges of values for MQTT only.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["modbus"]
    scan: Duration = Duration("1 s")
    addressing: Addressing = "pdu"
    order: Order | None = None
    word_order: WordOrder | None = None
    max_registers: int = REGISTERS_PER_READ_MAX
    max_bits: int | None = None
    max_hole: int = 16
    batching: Literal["merged", "single"] = "merged"
    write_multiple: bool = False
    mask_writes: bool = False
    verify_writes: bool = True
    signals: dict[str, ModbusSignal] = field(default_factory=dict)
    blocks: tuple[ModbusBlock, ...] = ()

    def __post_init__(self) -> None:
        """Ranges, and something to read."""
        self.check_endpoint()
        _check_range("max_registers", self.max_registers, 1, REGISTERS_PER_READ_MAX)
        _check_range("max_hole", self.max_hole, 0, REGISTERS_PER_READ_MAX)
        if self.max_bits is not None:
            _check_range("max_bits", self.max_bits, 1, BITS_PER_READ_MAX)
        if self.order is not None and self.word_order is not None:
            raise ValueError("order and word_order: both say the same; name one")
        check_scan(self.scan)
        self._check_values()
        self._check_places()

    @property
    def bits_in_request(self) -> int:
        """Coils or discrete inputs in one request, default applied."""
        return self.max_bits or min(BITS_PER_REGISTER * self.max_registers, BITS_PER_READ_MAX)

    def place_of(self, item: ModbusSignal | ModbusBlock) -> Place:
        """Table and PDU address of a signal or of a block's first value. Raises ValueError."""
        return place_of(item.address, item.table, self.addressing)

    def order_of(self, item: ModbusSignal | ModbusBlock) -> Order:
        """The order in force, defaults applied."""
        return order_of(item.order, item.word_order) or order_of(self.order, self.word_order) or "ABCD"

    def scan_of(self, item: ModbusSignal | ModbusBlock) -> Duration:
        """Time between two readings of it, default applied."""
        return self.scan if item.scan is None else item.scan

    @property
    def scans(self) -> frozenset[Duration]:
        """The times between two readings that occur."""
        found = {self.scan_of(signal) for signal in self.signals.values()}
        return frozenset(found.union(self.scan_of(block) for block in self.blocks))

    def verifies(self, signal: ModbusSignal) -> bool:
        """Whether a write to it is read back."""
        return self.verify_writes if signal.verify_writes is None else signal.verify_writes

    def _check_values(self) -> None:
        count = len(self.signals) + sum(block.count for block in self.blocks)
        if not 1 <= count <= VALUES_MAX:
            raise ValueError(f"signals and blocks: found {count} values, allowed 1 to {VALUES_MAX}")
        names = [block.name for block in self.blocks]
        doubled = sorted({name for name in names if names.count(name) > 1 or name in self.signals})
        if doubled:
            raise ValueError(f"blocks: {', '.join(doubled)} is named twice")
        if len(self.scans) > SCANS_MAX:
            raise ValueError(f"scan: found {len(self.scans)} different times, allowed {SCANS_MAX}")

    def _check_places(self) -> None:
        for name, signal in self.signals.items():
            try:
                place = self.place_of(signal)
                signal.check_in(place.table, mask_writes=self.mask_writes)
                self._check_fits(place, signal.width_in(place.table), 1)
            except ValueError as error:
                raise ValueError(f"signals: {name}: {error}") from error
        for block in self.blocks:
            try:
                place = self.place_of(block)
                block.check_in(place.table)
                self._check_fits(place, block.width_in(place.table), block.count)
            except ValueError as error:
                raise ValueError(f"blocks: {block.name}: {error}") from error

    def _check_fits(self, place: Place, width: int, count: int) -> None:
        place.check_span(width * count)
        if place.table not in BIT_TABLES and width > self.max_registers:
            raise ValueError(
                f"max_registers: found {self.max_registers}, but a value takes {width} registers and is never torn"
            )


def _check_range(key: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise ValueError(f"{key}: found {found}, allowed {least} to {most}")
