"""Ranges of lengths of time and sizes, declared beside the setting they belong to; and names of time zones."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from typing import Any

from config.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class Between:
    """Annotation of a ``Duration`` or ``ByteSize``: both ends are allowed; they print themselves with their unit."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        inner = handler(source)
        return {"type": "function-after", "function": {"type": "no-info", "function": self._check}, "schema": inner}

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "$comment": str(self)}

    def _check(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise ValueError(f"allowed: {self}")
        return value


def known_timezone(name: str) -> str:
    """The name, where the time zone database has it. Raises ValueError."""
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if not known:
            raise ValueError("there is no time zone database on this computer; install the package tzdata") from None
        near = did_you_mean(name, known)
        raise ValueError(f"allowed: a name of the IANA time zone database, such as Europe/Berlin{near}") from None
    return name
