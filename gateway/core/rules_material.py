"""The rules of activity times, labour, material and lots, exactly as the configuration file writes them.

Plain frozen dataclasses like those of ``rules.py``. What they mean is decided in ``work/``.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.ratio import decimal_of
from gateway.core.rules_inputs import FORBID_UNKNOWN_KEYS

if TYPE_CHECKING:
    from decimal import Decimal

CREW_MAX: Final = 100  # persons at one machine
CREW_PLACES_MAX: Final = 3  # decimals of a crew factor
DECIMALS_MAX: Final = 6  # of a quantity
UNITS_MAX: Final = 100  # units of measure with decimals of their own
FEEDERS_MAX: Final = 32  # places at one machine where material is mounted
PURGED_ITEMS_MAX: Final = 32
LOG_IN_MAX: Final = Duration("7 d")
LOT_FORMAT_CHARS_MAX: Final = 80

MachineTimeBasis = Literal["production", "busy"]
FamilyTime = Literal["equal", "by_piece", "by_weight", "leading_order"]
LotPolicy = Literal["order", "shift", "material_change", "erp"]

#: What a lot's name may be made of; which of them a policy needs so that two lots never have one name.
LOT_KEYS: Final = frozenset({"order", "operation", "machine", "day", "shift", "n"})
_LOT_FORMATS: Final[dict[LotPolicy, tuple[str, frozenset[str]]]] = {
    "order": ("{order}", frozenset({"order"})),
    "shift": ("{order}-{day}{shift}", frozenset({"order", "day", "shift"})),
    "material_change": ("{order}-{machine}-{n}", frozenset({"order", "n"})),
    "erp": ("", frozenset()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRule:
    """Which time of a machine is confirmed for an order.

    Attributes:
        machine_time_basis: ``busy``: production and delays (AUBT - AUST); ``production``: production only (APT). Setup
            is apart in both.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    machine_time_basis: MachineTimeBasis = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabourRule:
    """How the time of people is confirmed for an order.

    Attributes:
        share: who is logged in at several running machines gives each an equal share (``by_running_machines``) or each
            of them ``full`` time.
        crew_factor: persons per machine, in quotes, for machine time in which nobody is logged in; without it the crew
            that the operation names, "0" for none.
        skills: person to what he can do, for the guard ``skill``: an operation that asks for a skill starts where
            somebody who has it is logged in. While nobody is listed here, nobody is asked.
        breaks: time in planned stops and outside of shifts is labour, too.
        log_in_max: nobody is logged in longer than this; who forgot to log out is logged out then.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    share: Literal["by_running_machines", "full"] = "by_running_machines"
    skills: dict[str, tuple[str, ...]] = field(default_factory=dict)
    crew_factor: str | None = None
    breaks: bool = False
    log_in_max: Duration = Duration("16 h")

    def __post_init__(self) -> None:
        """A number of persons, and a length of a shift."""
        crew = self.crew
        if crew is not None and (not 0 <= crew <= CREW_MAX or round(crew, CREW_PLACES_MAX) != crew):
            raise ValueError(
                f'crew_factor: found "{self.crew_factor}", allowed "0" to "{CREW_MAX}" with at most '
                f"{CREW_PLACES_MAX} decimals"
            )
        if not 0 < self.log_in_max <= LOG_IN_MAX:
            raise ValueError(f"log_in_max: found {self.log_in_max}, allowed more than 0 s, up to {LOG_IN_MAX}")

    @property
    def crew(self) -> Decimal | None:
        """``crew_factor`` as a number."""
        return None if self.crew_factor is None else decimal_of("crew_factor", self.crew_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackflushRule:
    """How much material is proposed as used for what was made.

    Attributes:
        basis: ``produced``: good, scrap and rework pieces used material; ``good``: only good ones are reckoned.
        decimals: of the quantities that are told.
        unit_decimals: unit to its own number of decimals, such as PC to 0; what is rounded off is told later.
        purge: item to the quantity, in quotes and in the component's unit, that each setup uses up.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    basis: Literal["produced", "good"] = "produced"
    decimals: int = 3
    unit_decimals: dict[str, int] = field(default_factory=dict)
    purge: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Quantities that can be written."""
        for key, table, most in (
            ("unit_decimals", self.unit_decimals, UNITS_MAX),
            ("purge", self.purge, PURGED_ITEMS_MAX),
        ):
            if len(table) > most:
                raise ValueError(f"{key}: found {len(table)} entries, allowed at most {most}")
        places = {"decimals": self.decimals} | {f"unit_decimals.{unit}": n for unit, n in self.unit_decimals.items()}
        for key, number in places.items():
            if not 0 <= number <= DECIMALS_MAX:
                raise ValueError(f"{key}: found {number}, allowed 0 to {DECIMALS_MAX}")
        for item in self.purge:
            if self.purged(item) <= 0:
                raise ValueError(f'purge.{item}: found "{self.purge[item]}", allowed more than "0"')

    def places(self, unit: str) -> int:
        """Decimals of a quantity in that unit."""
        return self.unit_decimals.get(unit, self.decimals)

    def purged(self, item: str) -> Decimal:
        """What one setup uses up of an item that ``purge`` names."""
        return decimal_of(f"purge.{item}", self.purge[item])


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederRule:
    """A place at the machine where material is mounted: a hopper, a bowl, a spool.

    Attributes:
        item: the material that belongs there.
        required: no order that uses it starts while no lot is mounted.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    item: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LotRule:
    """Lots of material at a machine, and of what it makes.

    Attributes:
        feeders: name of the feeder to what belongs there.
        missing: an order whose material has no lot mounted is kept from starting (``block``), or its material is told
            as of an unknown lot (``flag``). What is already running is always flagged.
        produced: a new lot of the product begins with each ``order``, each ``shift``, each ``material_change``, or it
            is the one that the ``erp`` names.
        lot_format: name of a produced lot from {order}, {operation}, {machine}, {day}, {shift} and {n}, its number at
            this machine. Without it: {order}, {order}-{day}{shift}, or {order}-{machine}-{n}.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    feeders: dict[str, FeederRule] = field(default_factory=dict)
    missing: Literal["block", "flag"] = "block"
    produced: LotPolicy = "order"
    lot_format: str | None = None

    def __post_init__(self) -> None:
        """Feeders that can be told apart, and names that are never given twice."""
        if len(self.feeders) > FEEDERS_MAX:
            raise ValueError(f"feeders: found {len(self.feeders)}, allowed at most {FEEDERS_MAX}")
        items = [feeder.item for feeder in self.feeders.values()]
        doubled = sorted({item for item in items if items.count(item) > 1})
        if doubled:
            raise ValueError(
                f"feeders: {', '.join(doubled)} is at two feeders, allowed one: nobody could say which lot was used"
            )
        if self.lot_format is not None:
            self._check_format(self.lot_format)

    def _check_format(self, text: str) -> None:
        if self.produced == "erp":
            raise ValueError("lot_format: found one with produced: erp, allowed none: the ERP names the lot")
        if len(text) > LOT_FORMAT_CHARS_MAX:
            raise ValueError(f"lot_format: found {len(text)} characters, allowed at most {LOT_FORMAT_CHARS_MAX}")
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"lot_format: found {text!r}, which is no format ({error})") from error
        keys = {name for _, name, _, _ in fields if name is not None}
        plain = all(not spec and conversion is None for _, name, spec, conversion in fields if name is not None)
        if not keys <= LOT_KEYS or not plain:
            raise ValueError(
                f"lot_format: found {text!r}, allowed {', '.join(f'{{{key}}}' for key in sorted(LOT_KEYS))}"
            )
        needed = _LOT_FORMATS[self.produced][1]
        if not needed <= keys:
            lacking = ", ".join(f"{{{key}}}" for key in sorted(needed - keys))
            raise ValueError(f"lot_format: found {text!r} without {lacking}: two lots would have one name")

    @property
    def format(self) -> str:
        """``lot_format``, or the usual one."""
        return _LOT_FORMATS[self.produced][0] if self.lot_format is None else self.lot_format


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRule:
    """Times, labour, material and lots of a work unit.

    Attributes:
        times: which machine time is confirmed.
        labour: which time of people is.
        backflush: how much material is proposed as used.
        lots: which lots it came from, and which it became.
        serial_signal: ``source.name`` of the text that a reader shows of each piece; each other text is a further piece
            of the running order, an empty one is none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    times: ActivityRule = field(default_factory=ActivityRule)
    labour: LabourRule = field(default_factory=LabourRule)
    backflush: BackflushRule = field(default_factory=BackflushRule)
    lots: LotRule = field(default_factory=LotRule)
    serial_signal: str | None = None
