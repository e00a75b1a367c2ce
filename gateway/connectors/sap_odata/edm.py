"""The forms in which OData V2 of SAP writes values: literals, dates, times of day, decimals, flags, local time. Pure.

It knows no field and no service. Dates and times of day of SAP are those of the plant, whatever the "UTC" in them says.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from gateway.core.duration import NS_PER_S

#: Of a quantity with 13 digits, 3 of them behind the point.
QUANTITY_MAX: Final = Decimal(10) ** 10
MS_PER_DAY: Final = 86_400_000

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY: Final = dt.date(1970, 1, 1)
_DATE: Final = re.compile(r"/Date\((-?\d{1,15})(?:[+-]\d{1,4})?\)/")
_TIME: Final = re.compile(r"PT(?:(\d{1,2})H)?(?:(\d{1,2})M)?(?:(\d{1,2})(?:\.\d+)?S)?")
_STAMP: Final = re.compile(r"\d{14}")


def text_literal(text: str) -> str:
    """A text in a query: quotes are doubled."""
    return "'" + text.replace("'", "''") + "'"


def guid_literal(guid: str) -> str:
    """A GUID in a query. Raises ValueError for what is none."""
    return f"guid'{UUID(guid)}'"


def date_literal(day: dt.date) -> str:
    """A date in a query."""
    return f"datetime'{day.isoformat()}T00:00:00'"


def date_value(day: dt.date) -> str:
    """A date in a document."""
    return f"/Date({(day - _EPOCH_DAY).days * MS_PER_DAY})/"


def time_value(time: dt.time) -> str:
    """A time of day in a document."""
    return f"PT{time.hour:02d}H{time.minute:02d}M{time.second:02d}S"


def date_of(value: Any) -> dt.date | None:
    """The date in a document; None where there is none. Raises ValueError for another form."""
    if value in (None, ""):
        return None
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("/Date(milliseconds)/")
    try:
        return _EPOCH_DAY + dt.timedelta(days=int(match[1]) // MS_PER_DAY)
    except OverflowError as error:
        raise ValueError("a date of the years 1 to 9999") from error


def time_of(value: Any) -> dt.time:
    """The time of day in a document; midnight where there is none. Raises ValueError for another form."""
    if value in (None, ""):
        return dt.time()
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("PT00H00M00S to PT24H00M00S")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if (hours, minutes, seconds) == (24, 0, 0):  # SAP's end of the day
        return dt.time(23, 59, 59)
    return dt.time(hours, minutes, seconds)


def decimal_of(value: Any) -> Decimal | None:
    """The number in a document, mostly a text; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    if isinstance(value, str) and (not value.isascii() or "_" in value):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def flag_of(value: Any) -> bool:
    """A flag: "X" or true."""
    return value is True or (isinstance(value, str) and value.strip().upper() == "X")


def utc_ns(day: dt.date, time: dt.time, zone: dt.tzinfo) -> int:
    """Local date and time of day as nanoseconds UTC.

    Of the hour that comes twice the first one; of the hour that is left out, as if the clocks had gone on.
    """
    local = dt.datetime.combine(day, time, tzinfo=zone)
    return (local.astimezone(dt.UTC) - _EPOCH) // dt.timedelta(seconds=1) * NS_PER_S


def is_stamp(value: Any) -> bool:
    """Whether it is a time of a change, ``YYYYMMDDhhmmss``."""
    return isinstance(value, str) and _STAMP.fullmatch(value) is not None


def stamp_before(stamp: str, length_ns: int) -> str:
    """The stamp so many nanoseconds earlier."""
    return (_read_stamp(stamp) - dt.timedelta(seconds=length_ns // NS_PER_S)).strftime("%Y%m%d%H%M%S")


def stamp_at(t_ns: int) -> str:
    """The stamp of a point in time, UTC."""
    return (_EPOCH + dt.timedelta(seconds=t_ns // NS_PER_S)).strftime("%Y%m%d%H%M%S")


def without_zeros(number: str) -> str:
    """A number as it is compared: with and without leading zeros it is the same."""
    text = number.strip()
    return text.lstrip("0") or "0" if text.isdecimal() else text


def cut(text: str, units: int) -> str:
    """At most so many characters as SAP counts them (UTF-16), never half of one; nothing else is changed."""
    kept = text
    while len(kept.encode("utf-16-le", "surrogatepass")) // 2 > units:
        kept = kept[:-1]
    return kept.rstrip()


def _read_stamp(stamp: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(stamp, "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise ValueError(f"found {stamp!r}, allowed: YYYYMMDDhhmmss") from error
