"""Limits on a cycle time as the configuration writes them: a share of the ideal cycle ("120 %") or a length ("20 s").

Exact: a share is a fraction, a limit of a known cycle is integer nanoseconds. Knows no default.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final, NamedTuple

from gateway.core.duration import Duration

EXAMPLES: Final = ("120 %", "20 s")
_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


class CycleLimit(NamedTuple):
    """Either ``share_num / share_den`` of the ideal cycle, or ``length_ns`` where that is not None."""

    share_num: int = 0
    share_den: int = 1
    length_ns: int | None = None

    @classmethod
    def parse(cls, text: str) -> CycleLimit:
        """``CycleLimit.parse("120 %")`` or ``CycleLimit.parse("20 s")``. Raises ValueError."""
        match = _SHARE.fullmatch(text)
        if match is None:
            try:
                return cls(length_ns=int(Duration(text)))
            except ValueError as error:
                raise ValueError(
                    f"found {text!r}, allowed: a share of the ideal cycle or a length of time, such as "
                    f"{' or '.join(map(repr, EXAMPLES))} ({error})"
                ) from error
        share = Fraction(match[1]) / 100
        return cls(share.numerator, share.denominator)

    @property
    def is_share(self) -> bool:
        """True where it means nothing without an ideal cycle."""
        return self.length_ns is None

    def of(self, cycle_ns: int) -> int:
        """The limit for this ideal cycle, nanoseconds, rounded down."""
        return cycle_ns * self.share_num // self.share_den if self.length_ns is None else self.length_ns

    def __str__(self) -> str:
        if self.length_ns is not None:
            return str(Duration(self.length_ns))
        percent = Fraction(100 * self.share_num, self.share_den)
        return f"{percent.numerator} %" if percent.denominator == 1 else f"{float(percent):g} %"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": r"^\d+(\.\d+)?\s*(%|us|ms|s|min|h|d)$",
            "examples": list(EXAMPLES),
        }

    @classmethod
    def _validate(cls, value: object) -> CycleLimit:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError(f"a limit needs % or a unit of time, such as {' or '.join(map(repr, EXAMPLES))}")
