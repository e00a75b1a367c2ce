"""Durations as the configuration writes them ("200 ms") and as the core computes them (integer nanoseconds).

Knows no clock: a duration is a length, never a point in time.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final, Self

NS_PER_UNIT: Final = {
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
NS_PER_S: Final = 1_000_000_000
EXAMPLES: Final = ("200 ms", "2.4 s", "15 min", "8 h", "7 d")

_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


class Duration(int):
    """A length of time in integer nanoseconds, written with its unit.

    ``Duration("2.4 s") == 2_400_000_000``; units are us, ms, s, min, h, d. The arithmetic is exact: no float is
    involved. Raises ValueError naming what was found and what is allowed.
    """

    __slots__ = ()

    def __new__(cls, value: int | str) -> Self:
        """Parse text with a unit, or take nanoseconds."""
        return super().__new__(cls, _parse(value) if isinstance(value, str) else value)

    def __str__(self) -> str:
        """The shortest exact text, in the largest unit that leaves no fraction."""
        for unit in ("d", "h", "min", "s", "ms", "us"):
            if self and self % NS_PER_UNIT[unit] == 0:
                return f"{int(self) // NS_PER_UNIT[unit]} {unit}"
        whole, nanoseconds = divmod(int(self), NS_PER_UNIT["us"])
        return f"{whole}.{nanoseconds:03d}".rstrip("0") + " us" if self else "0 s"

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        # Plain dictionaries are pydantic's own schema language: the core declares its settings without importing it.
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(us|ms|s|min|h|d)$", "examples": list(EXAMPLES)}

    @classmethod
    def _validate(cls, value: object) -> Duration:
        if isinstance(value, (cls, str)):
            return cls(value)
        raise ValueError(f"a duration needs its unit, such as {' or '.join(map(repr, EXAMPLES[:2]))}")


def _parse(text: str) -> int:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration; write a number and a unit, such as {', '.join(map(repr, EXAMPLES))}")
    number, unit = match.groups()
    if unit not in NS_PER_UNIT:
        raise ValueError(f"unknown unit {unit!r}; allowed: {', '.join(NS_PER_UNIT)}")
    exact = Fraction(number) * NS_PER_UNIT[unit]
    if exact.denominator != 1:
        raise ValueError("finer than a nanosecond")
    return int(exact)


def seconds(duration_ns: int) -> float:
    """The length in seconds, for clocks and displays (never for a count)."""
    return duration_ns / NS_PER_S
