"""Exact amounts that are told in whole steps: what rounding leaves over goes on to the next telling.

Arithmetic only. Knows no unit: a step is a thousandth of a minute here and a milligram there.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLACES_MAX: Final = 6  # decimals of a told amount


class Exact(NamedTuple):
    """A rational number that JSON can hold, in lowest terms; the denominator is 1 or more."""

    numerator: int = 0
    denominator: int = 1

    @classmethod
    def of(cls, number: Fraction | Decimal | int) -> Exact:
        """That number, exactly."""
        if isinstance(number, int):  # most are: fractions are slow
            return cls(number)
        exact = Fraction(number)
        return cls(exact.numerator, exact.denominator)

    @property
    def fraction(self) -> Fraction:
        """As a number to compute with."""
        return Fraction(self.numerator, self.denominator)

    def plus(self, number: Fraction | Decimal | int) -> Exact:
        """With so much more."""
        if isinstance(number, int | Fraction) and self.denominator == number.denominator == 1:
            return Exact(self.numerator + number.numerator)
        return Exact.of(self.fraction + Fraction(number))


NOTHING: Final = Exact()


class RoundingCarry(NamedTuple):
    """A sum that only grows in the long run, and what was told of it in whole steps of ``step``.

    All that was told is the exact sum, rounded once (a half goes up). Where a correction takes back more than has
    come, nothing is told until the sum has made up for it: ``owed``.
    """

    total: Exact = NOTHING
    told: int = 0

    def plus(self, amount: Fraction | Decimal | int) -> RoundingCarry:
        """With so much more; less where the amount is negative."""
        return self._replace(total=self.total.plus(amount))

    def due(self, step: Fraction) -> int:
        """Whole steps that are still to be told; negative: so many were told too much."""
        return half_up(self.total.fraction / step) - self.told

    def tell(self, step: Fraction) -> tuple[RoundingCarry, int]:
        """What is told now, in whole steps, never below 0; and what remains to remember."""
        now = max(0, self.due(step))
        return self._replace(told=self.told + now), now

    def take_back(self, steps: int) -> RoundingCarry:
        """After a telling of so many steps was reversed: they are due again. Raises ValueError for more than told."""
        if not 0 <= steps <= self.told:
            raise ValueError(f"take back: found {steps} steps, allowed 0 to {self.told}, which is what was told")
        return self._replace(told=self.told - steps)


def half_up(number: Fraction) -> int:
    """The nearest whole number; a half goes up."""
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)


def step_of(places: int) -> Fraction:
    """The smallest amount with so many decimals, 0 to PLACES_MAX. Raises ValueError."""
    if not 0 <= places <= PLACES_MAX:
        raise ValueError(f"decimals: found {places}, allowed 0 to {PLACES_MAX}")
    return Fraction(1, 10**places)


def decimal_steps(steps: int, places: int) -> Decimal:
    """So many steps as a decimal number with that many places; exact at any size."""
    return Decimal(f"{steps}e-{places}")


def decimal_text(number: Exact) -> str:
    """The number as a person reads it, with at most PLACES_MAX decimals."""
    return f"{decimal_steps(half_up(number.fraction * 10**PLACES_MAX), PLACES_MAX).normalize():f}"


def steps_of(number: Decimal, places: int) -> int:
    """The whole steps of a decimal number. Raises ValueError where it has more places than that."""
    steps = Fraction(number) / step_of(places)
    if steps.denominator != 1:
        raise ValueError(f"found {number}, allowed at most {places} decimals")
    return steps.numerator


def largest_remainders(total: int, weights: Sequence[Fraction | int]) -> tuple[int, ...]:
    """``total`` in whole parts by weight, exact in sum; what is left over goes to the largest remainders.

    The first of equals goes before. Without any weight the parts are equal. ``total`` 0 or more, weights 0 or more, at
    least one of them. Raises ValueError.
    """
    if total < 0 or not weights or min(weights) < 0:
        raise ValueError(f"found {total} by weights {list(weights)}, allowed 0 and above, and one weight or more")
    exact = [Fraction(weight) for weight in weights] if any(weights) else [Fraction(1)] * len(weights)
    whole_weight = sum(exact)
    due = [total * weight / whole_weight for weight in exact]
    parts = [int(one) for one in due]
    by_remainder = sorted(range(len(due)), key=lambda one: (parts[one] - due[one], one))
    for one in by_remainder[: total - sum(parts)]:
        parts[one] += 1
    return tuple(parts)


def carry_from(document: Mapping[str, Any]) -> RoundingCarry:
    """What ``_asdict`` and JSON made of a ``RoundingCarry``."""
    return RoundingCarry(Exact(*document["total"]), document["told"])


def carry_from_row(row: Sequence[Any]) -> RoundingCarry:
    """The same, where it stood inside of another tuple."""
    total, told = row
    return RoundingCarry(Exact(*total), told)
