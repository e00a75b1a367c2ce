"""Sizes as the configuration writes them ("2 GiB") and as the buffer computes them (integer bytes).

Binary units only: a limit of a disk's space is no place for two meanings of "GB".
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final, Self

BYTES_PER_UNIT: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
EXAMPLES: Final = ("512 MiB", "2 GiB")

_WRITTEN = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([A-Za-z]+)\s*", re.ASCII)


class ByteSize(int):
    """A number of bytes, written with its unit.

    ``ByteSize("2 GiB") == 2 * 1024**3``; units are B, KiB, MiB, GiB, TiB. Raises ValueError naming what is allowed.
    """

    __slots__ = ()

    def __new__(cls, value: int | str) -> Self:
        """Parse text with a unit, or take bytes."""
        return super().__new__(cls, _parse(value) if isinstance(value, str) else value)

    def __str__(self) -> str:
        """The shortest exact text, in the largest unit that leaves no fraction."""
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self and self % BYTES_PER_UNIT[unit] == 0:
                return f"{int(self) // BYTES_PER_UNIT[unit]} {unit}"
        return f"{int(self)} B"

    def __repr__(self) -> str:
        return f"ByteSize({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|KiB|MiB|GiB|TiB)$", "examples": list(EXAMPLES)}

    @classmethod
    def _validate(cls, value: object) -> ByteSize:
        if isinstance(value, (cls, str)):
            return cls(value)
        raise ValueError(f"a size needs its unit, such as {' or '.join(map(repr, EXAMPLES))}")


def _parse(text: str) -> int:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size; write a number and a unit, such as {' or '.join(map(repr, EXAMPLES))}")
    number, unit = match.groups()
    if unit not in BYTES_PER_UNIT:
        raise ValueError(f"unknown unit {unit!r}; allowed: {', '.join(BYTES_PER_UNIT)}")
    exact = Fraction(number) * BYTES_PER_UNIT[unit]
    if exact.denominator != 1:
        raise ValueError("finer than a byte")
    return int(exact)
