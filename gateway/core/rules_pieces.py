"""The rules that make pieces or quantities of another rule's counts, exactly as the configuration file writes them.

Cavities of a tool, and units of measure. What they do stands in ``counting/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.core.instant import Instant
from gateway.core.model import Role
from gateway.core.ratio import Ratio, decimal_of
from gateway.core.rules_inputs import FORBID_UNKNOWN_KEYS, CounterRule, CountingRule, PulseRule

CAVITIES_MAX: Final = 256  # of one tool; moulds for preforms reach 144
CLOSED_MAX: Final = 1000  # entries of one table of closed cavities
DECIMALS_MAX: Final = 6  # a gram in a tonne


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedCavity:
    """A cavity that makes nothing for a while.

    Attributes:
        cavity: its number, from 1.
        since: from this point in time on, with its offset from UTC.
        until: up to this point in time; none: until further notice.
        reason: why, for the person who reads it later.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    cavity: int
    since: Instant
    until: Instant | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        """A beginning before the end."""
        if self.until is not None and self.until <= self.since:
            raise ValueError(f"until ({self.until}) must be later than since ({self.since})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CavityRule:
    """A tool that makes several pieces in one cycle.

    Attributes:
        mode: ``cavity``.
        cycle: the counter or pulse of the machine's cycles.
        cavities: cavities of the tool.
        role: what a piece is where nothing says otherwise.
        closed: cavities that make nothing, with their times; what is valid at the end of a cycle counts.
        active_signal: ``source.name`` of the number of cavities that make a piece.
        verdict_signals: one signal for each cavity, in their order: 0 no part, 1 good, 2 bad, 3 rework (OPC 40083).
        quality_signal: the whole cycle: 0 good, 1 bad, 2 test sample, 3 failed (OPC 40083).
        unseen: what pieces of cycles are whose verdict or quality was not read, because several fell between two
            samples or the signal was not known.
        parts: family tool: product to its cavities, each cavity once.
        machine_time: how orders that run at once share the time of the machine and its people: ``by_piece``
            (cavities that are not closed), ``equal``, ``by_weight``, or all of it to the ``leading_order``.
        weights: weight of one piece of each part, a decimal number in quotes, for machine_time: by_weight.
        leading_part: the part that carries all of it, for machine_time: leading_order.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["cavity"]
    cycle: CountingRule
    cavities: int
    role: Role = Role.GOOD
    closed: tuple[ClosedCavity, ...] = ()
    active_signal: str | None = None
    verdict_signals: tuple[str, ...] = ()
    quality_signal: str | None = None
    unseen: Literal["hold", "good", "scrap"] = "hold"
    parts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    machine_time: Literal["by_piece", "equal", "by_weight", "leading_order"] = "by_piece"
    weights: dict[str, str] = field(default_factory=dict)
    leading_part: str | None = None
    pieces: ClassVar[int] = 1  # its events count pieces

    def __post_init__(self) -> None:
        """Every cavity stands where it belongs."""
        _check_plain("cycle", self.cycle)
        if not 1 <= self.cavities <= CAVITIES_MAX:
            raise ValueError(f"cavities: found {self.cavities}, allowed 1 to {CAVITIES_MAX}")
        if len(self.closed) > CLOSED_MAX:
            raise ValueError(f"closed: found {len(self.closed)} entries, allowed {CLOSED_MAX}; drop the oldest")
        wrong = sorted({entry.cavity for entry in self.closed if not 1 <= entry.cavity <= self.cavities})
        if wrong:
            raise ValueError(f"closed: found cavity {', '.join(map(str, wrong))}, allowed 1 to {self.cavities}")
        if self.verdict_signals and len(self.verdict_signals) != self.cavities:
            raise ValueError(
                f"verdict_signals: found {len(self.verdict_signals)}, allowed one for each of {self.cavities} cavities"
            )
        if self.verdict_signals and self.active_signal is not None:
            raise ValueError("active_signal: found beside verdict_signals, allowed one: a verdict says no part too")
        names = [self.cycle.signal, *self.verdict_signals]
        names += [name for name in (self.active_signal, self.quality_signal) if name is not None]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"cavity: found {', '.join(doubled)} more than once, allowed one signal for each")
        self._check_parts()

    def _check_parts(self) -> None:
        placed = sorted(cavity for cavities in self.parts.values() for cavity in cavities)
        if self.parts and placed != list(range(1, self.cavities + 1)):
            raise ValueError(
                f"parts: found cavities {', '.join(map(str, placed))}, allowed each of 1 to {self.cavities} once"
            )
        if (self.machine_time == "by_weight") != bool(self.weights):
            raise ValueError("weights are needed with machine_time: by_weight, and only then")
        if self.weights and set(self.weights) != set(self.parts):
            raise ValueError(f"weights: found {_names(self.weights)}, allowed exactly the parts {_names(self.parts)}")
        light = [part for part, text in self.weights.items() if decimal_of(f"weights.{part}", text) <= 0]
        if light:
            raise ValueError(f"weights.{light[0]}: found {self.weights[light[0]]}, allowed more than 0")
        if (self.machine_time == "leading_order") != (self.leading_part is not None):
            raise ValueError("leading_part is needed with machine_time: leading_order, and only then")
        if self.leading_part is not None and self.leading_part not in self.parts:
            raise ValueError(f"leading_part: found {self.leading_part}, allowed {_names(self.parts)}")

    @property
    def signal(self) -> str:
        """The signal that stands for the rule."""
        return self.cycle.signal


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsRule:
    """A quantity in another unit than what is counted: cartons, kilograms, metres.

    Attributes:
        mode: ``units``.
        count: the counter or pulse that is counted.
        pulses_per_unit: counts that make one unit, exactly: "24", "1/3", "2.5".
        resolution: instead of it, units per count, a decimal number in quotes: "0.1" kg per digit of a totaliser.
        decimals: book in steps of this many decimals of a unit (2: hundredths); 0: whole units.
        role: what is counted.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["units"]
    count: CountingRule
    pulses_per_unit: Ratio | None = None
    resolution: str | None = None
    decimals: int = 0
    role: Role = Role.GOOD
    pieces: ClassVar[int] = 1  # its events count steps of a unit

    def __post_init__(self) -> None:
        """One ratio, said once."""
        _check_plain("count", self.count)
        if (self.pulses_per_unit is None) == (self.resolution is None):
            raise ValueError("units: found neither or both, allowed pulses_per_unit or resolution")
        if self.resolution is not None and decimal_of("resolution", self.resolution) <= 0:
            raise ValueError(f"resolution: found {self.resolution}, allowed more than 0")
        if not 0 <= self.decimals <= DECIMALS_MAX:
            raise ValueError(f"decimals: found {self.decimals}, allowed 0 to {DECIMALS_MAX}")

    @property
    def signal(self) -> str:
        """The signal that stands for the rule."""
        return self.count.signal


def _check_plain(key: str, rule: CounterRule | PulseRule) -> None:
    """A counter inside of another rule says how it counts, not what it means."""
    if rule.pieces != 1:
        raise ValueError(f"{key}.pieces: found {rule.pieces}, allowed 1: the rule around it says what a count is")
    if rule.role is not Role.GOOD:
        raise ValueError(f"{key}.role: found {rule.role.value}; write it beside {key}, not inside")


def _names(parts: dict[str, Any]) -> str:
    return ", ".join(parts) or "none"
