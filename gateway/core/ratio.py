"""Exact numbers as the configuration writes them: ratios ("24", "1/3", "2.5") and decimals in quotes."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final, NamedTuple

EXAMPLES: Final = ("24", "1/3", "2.5")
#: Digits before and behind the point: 10 to the power of a billion would be built as a number.
PLACES_MAX: Final = 30
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*(\d+(?:\.\d+)?))?\s*")


class Ratio(NamedTuple):
    """``numerator / denominator`` in lowest terms; both positive integers."""

    numerator: int
    denominator: int

    @classmethod
    def parse(cls, text: str) -> Ratio:
        """``Ratio.parse("1/3")``. Raises ValueError."""
        match = _WRITTEN.fullmatch(text)
        if match is None or len(text) > 4 * PLACES_MAX:
            raise ValueError(f"found {text!r}, allowed a number or a fraction such as {', '.join(map(repr, EXAMPLES))}")
        above, below = Fraction(match[1]), Fraction(match[2] or 1)
        if not above or not below:
            raise ValueError(f"found {text!r}, allowed more than zero")
        return cls((above / below).numerator, (above / below).denominator)

    @property
    def exact(self) -> Fraction:
        """As a number to compute with."""
        return Fraction(self.numerator, self.denominator)

    def __str__(self) -> str:
        return str(self.exact)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        number = r"\d+(\.\d+)?"
        return {
            "anyOf": [
                {"type": "string", "pattern": rf"^{number}(\s*/\s*{number})?$", "examples": list(EXAMPLES)},
                {"type": "integer", "minimum": 1},
            ]
        }

    @classmethod
    def _validate(cls, value: object) -> Ratio:
        if isinstance(value, cls):
            return value
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return cls.parse(str(value))
        raise ValueError(f"a ratio is a whole number or a text, such as {' or '.join(map(repr, EXAMPLES))}")


def decimal_of(key: str, text: str) -> Decimal:
    """The decimal number that a setting names. Raises ValueError unless it is a finite one of bounded length."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f'{key}: found {text!r}, allowed a decimal number in quotes such as "8.5"')
    if number.adjusted() >= PLACES_MAX or int(number.as_tuple().exponent) < -PLACES_MAX:
        raise ValueError(f"{key}: found {text!r}, allowed up to {PLACES_MAX} digits before and behind the point")
    return number
