"""Dates and times of SAP: eight and six digits in the plant's own time. Pure; knows no clock."""

from __future__ import annotations

import datetime as dt
from typing import Final

NO_DATE: Final = frozenset({"", "00000000"})
DATE_CHARS: Final = 8
TIME_CHARS: Final = 6
#: SAP writes the end of a day so.
END_OF_DAY: Final = "240000"

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def instant(date: str, time: str, zone: dt.tzinfo) -> str | None:
    """The moment as ISO 8601 UTC; None for no date. In the hour that comes twice it is the first of the two.

    Raises ValueError for what is no date or time.
    """
    if date in NO_DATE:
        return None
    at_end = time == END_OF_DAY
    digits = date + ("000000" if at_end or not time else time)
    if len(digits) != DATE_CHARS + TIME_CHARS or not digits.isascii() or not digits.isdigit():
        raise ValueError(f"found {date!r} {time!r}, allowed: eight and six digits")
    local = dt.datetime.strptime(digits + "+0000", "%Y%m%d%H%M%S%z").replace(tzinfo=zone, fold=0)
    if at_end:
        local += dt.timedelta(days=1)
    return local.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(found: dt.datetime) -> int:
    """Whole seconds since 1970."""
    return (found - _EPOCH) // dt.timedelta(seconds=1)


def digits(found: dt.date) -> str:
    """Eight digits."""
    return found.strftime("%Y%m%d")


def utc_digits(second: int) -> tuple[str, str]:
    """Date and time of a second since 1970 in UTC, where no hour comes twice."""
    found = _EPOCH + dt.timedelta(seconds=second)
    return found.strftime("%Y%m%d"), found.strftime("%H%M%S")
