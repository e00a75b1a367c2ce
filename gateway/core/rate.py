"""Rates as the configuration writes them ("25 /min"): exact, so that a plausibility limit is the same everywhere."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from gateway.core.duration import NS_PER_UNIT

EXAMPLES: Final = ("2 /s", "25 /min", "600 /h")
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*([a-z]+)\s*")


class Rate(NamedTuple):
    """``counts`` in every ``per_ns`` nanoseconds; both positive integers."""

    counts: int
    per_ns: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """``Rate.parse("25 /min")``; units are those of durations. Raises ValueError."""
        match = _WRITTEN.fullmatch(text)
        if match is None or match[2] not in NS_PER_UNIT:
            raise ValueError(f"not a rate; write counts per unit of time, such as {', '.join(map(repr, EXAMPLES))}")
        exact = Fraction(Decimal(match[1])) / NS_PER_UNIT[match[2]]
        if exact <= 0:
            raise ValueError("a rate is greater than zero")
        return cls(exact.numerator, exact.denominator)

    def within(self, duration_ns: int) -> int:
        """How many whole counts fit into a length of time."""
        return self.counts * duration_ns // self.per_ns

    def __str__(self) -> str:
        for unit in ("s", "min", "h", "d"):
            per_unit = Fraction(self.counts * NS_PER_UNIT[unit], self.per_ns)
            if per_unit.denominator == 1:
                return f"{per_unit.numerator} /{unit}"
        return f"{self.counts * NS_PER_UNIT['s'] / self.per_ns:g} /s"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": r"^\d+(\.\d+)?\s*/\s*(us|ms|s|min|h|d)$",
            "examples": list(EXAMPLES),
        }

    @classmethod
    def _validate(cls, value: object) -> Rate:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError(f"a rate needs its unit of time, such as {' or '.join(map(repr, EXAMPLES[:2]))}")
