"""Scale and offset of a raw number, exact for every decimal pair. Pure."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import NamedTuple


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

    def apply(self, raw: float) -> int | float:
        """An integer stays exact: an integral result is an integer, any other the nearest float."""
        if isinstance(raw, int):
            numerator = raw * self.factor + self.summand
            whole, rest = divmod(numerator, self.divisor)
            return whole if rest == 0 else numerator / self.divisor
        return (raw * self.factor + self.summand) / self.divisor

    def invert(self, value: float) -> Fraction:
        """The raw number that would read as ``value``, exactly; a float stands for the decimal that a person wrote."""
        exact = Fraction(value) if isinstance(value, int) else Fraction(repr(value))
        return (exact * self.divisor - self.summand) / self.factor


def check_decimal(key: str, text: str | None, *, zero: bool) -> None:
    """Raise ValueError unless ``text`` is None or a finite decimal number; ``zero``: whether 0 is one."""
    if text is None:
        return
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or (not zero and not number):
        raise ValueError(f'{key}: found {text!r}, allowed a decimal number such as "0.1"')
