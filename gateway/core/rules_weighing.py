"""The rule of single weighings, exactly as the configuration file writes it. What it does: ``counting/weighing.py``."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal

from gateway.core.duration import Duration
from gateway.core.model import Role
from gateway.core.ratio import Ratio, decimal_of
from gateway.core.rules_counting import check_distinct, check_pieces
from gateway.core.rules_inputs import FORBID_UNKNOWN_KEYS
from gateway.core.rules_pieces import DECIMALS_MAX

#: Steps that a scale may have between nothing and what is the most on it.
DIGITS_MAX: Final = 10**12
PLACES_MAX: Final = 12  # of a weight in the file, before and behind its point


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighingRule:
    """A scale: each weight that holds still is one weighing, and the scale must be empty before the next one.

    Attributes:
        mode: ``weighing``.
        signal: ``source.name`` of the weight that the scale shows.
        role: what a weighing within min_weight and max_weight is.
        pieces: pieces per weighing.
        unit_weight: instead of it, the weight of one unit, exactly: "0.25", "1/3"; the net weight says how many.
        decimals: with unit_weight, book in steps of this many decimals of a unit (3: thousandths); 0: whole units.
        tare: weight of what is on the scale besides (a pallet, a container), a decimal number in quotes.
        tare_signal: instead of it, ``source.name`` of the tare.
        resolution: step of the scale, a decimal number in quotes: every weight is taken as the nearest step.
        stable_for: a weight must hold this long; the weighing is dated at its beginning.
        tolerance: weights up to this far from the first one are the same, a decimal number in quotes.
        empty_below: below this value of the signal (tare and all) the scale is empty, a decimal number in quotes.
        empty_for: it must be empty this long before the next weighing counts.
        min_weight: a lighter net weight is no proper weighing, a decimal number in quotes.
        max_weight: nor is a heavier one. Needed with unit_weight.
        outside: ``hold``: what is lighter or heavier is counted and held (with unit_weight what is heavier is set aside
            for review); ``refuse``: it counts nothing, and the load may still come to a weight that counts.
        max_gap: a loss of the signal up to this long changes nothing (a weighing that fits into it is not seen);
            default stable_for.
        max_cycle: a longer time between two weighings is a stop, not a cycle time.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    mode: Literal["weighing"]
    signal: str
    role: Role = Role.GOOD
    pieces: int = 1
    unit_weight: Ratio | None = None
    decimals: int = 0
    tare: str = "0"
    tare_signal: str | None = None
    resolution: str = "0.000001"
    stable_for: Duration = Duration("1 s")
    tolerance: str
    empty_below: str
    empty_for: Duration = Duration("200 ms")
    min_weight: str | None = None
    max_weight: str | None = None
    outside: Literal["hold", "refuse"] = "hold"
    max_gap: Duration | None = None
    max_cycle: Duration | None = None

    def __post_init__(self) -> None:
        """Weights and times against each other."""
        check_pieces(self.pieces)
        check_distinct({"signal": self.signal, "tare_signal": self.tare_signal})
        if self.stable_for <= 0:
            raise ValueError("stable_for: found 0 s, allowed more than that: a weight must hold to be one")
        if self.max_cycle is not None and self.max_cycle <= self.stable_for:
            raise ValueError(f"max_cycle ({self.max_cycle}) must be longer than stable_for ({self.stable_for})")
        self._check_unit()
        self._check_weights()

    def _check_unit(self) -> None:
        by_weight = self.unit_weight is not None
        if by_weight and self.pieces != 1:
            raise ValueError(f"pieces: found {self.pieces} with unit_weight, allowed one of them")
        if not 0 <= self.decimals <= DECIMALS_MAX:
            raise ValueError(f"decimals: found {self.decimals}, allowed 0 to {DECIMALS_MAX}")
        if self.decimals and not by_weight:
            raise ValueError("decimals: found without unit_weight, allowed only with it: pieces are whole")
        if by_weight and self.max_weight is None:
            raise ValueError("max_weight is needed with unit_weight: what the scale can carry")
        if not by_weight and self.min_weight is None and self.max_weight is None and self.has_tare:
            raise ValueError("tare: found where no weight is looked at; name unit_weight, min_weight or max_weight")

    def _check_weights(self) -> None:
        if self.tare_signal is not None and self.tare != "0":
            raise ValueError("tare: found beside tare_signal, allowed one of them")
        step = _weight("resolution", self.resolution)
        if step <= 0:
            raise ValueError(f"resolution: found {self.resolution}, allowed more than 0")
        if _weight("tolerance", self.tolerance) < 0:
            raise ValueError(f"tolerance: found {self.tolerance}, allowed 0 and above")
        for key in ("tare", "empty_below", "min_weight", "max_weight"):
            text = getattr(self, key)
            if text is not None and abs(_weight(key, text)) > step * DIGITS_MAX:
                raise ValueError(f"{key}: found {text}, allowed up to {DIGITS_MAX} times the resolution {step}")
        least = self.min_weight or "0"
        if self.max_weight is not None and Decimal(self.max_weight) <= Decimal(least):
            raise ValueError(f"max_weight ({self.max_weight}) must be above min_weight ({least})")

    @property
    def has_tare(self) -> bool:
        """Whether the net weight differs from what the scale shows."""
        return self.tare_signal is not None or Decimal(self.tare) != 0

    @property
    def longest_gap(self) -> Duration:
        """A loss of the signal that is longer is declared."""
        return self.stable_for if self.max_gap is None else self.max_gap


def _weight(key: str, text: str) -> Decimal:
    number = decimal_of(key, text)
    if number.adjusted() >= PLACES_MAX or int(number.as_tuple().exponent) < -PLACES_MAX:
        raise ValueError(f"{key}: found {text}, allowed up to {PLACES_MAX} digits before and behind the point")
    return number
