"""Times of day as the configuration writes them ("06:00"): wall clock, whole minutes.

Knows no date and no zone: which instant it is, ``shift_calendar.py`` finds out.
"""

from __future__ import annotations

import re
from typing import Any, Final, Self

MINUTES_PER_DAY: Final = 24 * 60
MINUTES_PER_HOUR: Final = 60

_WRITTEN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00")


class TimeOfDay(int):
    """Minutes since midnight on the wall clock, 0 to 1440; written "HH:MM", with "24:00" for the end of the day.

    Raises ValueError naming what is allowed.
    """

    __slots__ = ()

    def __new__(cls, value: int | str) -> Self:
        """Parse "HH:MM", or take minutes since midnight."""
        minutes = _parse(value) if isinstance(value, str) else value
        if not 0 <= minutes <= MINUTES_PER_DAY:
            raise ValueError(f"not a time of day: found {minutes} min, allowed 0 to {MINUTES_PER_DAY}")
        return super().__new__(cls, minutes)

    def __str__(self) -> str:
        hours, minutes = divmod(int(self), MINUTES_PER_HOUR)
        return f"{hours:02d}:{minutes:02d}"

    def __repr__(self) -> str:
        return f"TimeOfDay({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({_WRITTEN.pattern})$", "examples": ["06:00", "22:30"]}

    @classmethod
    def _validate(cls, value: object) -> TimeOfDay:
        if isinstance(value, (cls, str)):
            return cls(value)
        raise ValueError("a time of day is written with a colon, such as '06:00' or '22:30'")


def minutes_from(start: int, end: int) -> int:
    """How many minutes on the wall clock from one time of day to the next ``end``, 0 to 1439."""
    return (end - start) % MINUTES_PER_DAY


def _parse(text: str) -> int:
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a time of day; write hours and minutes, such as '06:00' or '22:30'")
    hours, minutes = match.groups()
    return MINUTES_PER_DAY if hours is None else int(hours) * MINUTES_PER_HOUR + int(minutes)
