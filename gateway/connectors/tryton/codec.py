"""Tryton's JSON: values with a class marker (date, datetime, timedelta, Decimal) in both directions. Pure."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_DATE: Final = ("year", "month", "day")
_TIME: Final = ("hour", "minute", "second", "microsecond")


def encoded(value: Any) -> bytes:
    """The document as Tryton reads it. A Decimal is a plain number: quantities are floats there."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_marked).encode()


def decoded(body: bytes) -> Any:
    """What the bytes say: numbers with a point are Decimals. Raises ValueError or RecursionError."""
    return json.loads(body, parse_float=Decimal, parse_constant=_no_constant, object_hook=_unmarked)


def _marked(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dt.datetime):
        return {"__class__": "datetime", **{name: getattr(value, name) for name in (*_DATE, *_TIME)}}
    if isinstance(value, dt.timedelta):
        return {"__class__": "timedelta", "seconds": value.total_seconds()}
    raise TypeError(f"{type(value).__name__} has no form in Tryton's JSON")


def _unmarked(image: dict[str, Any]) -> Any:
    marker = image.get("__class__")
    try:
        match marker:
            case "datetime":
                day = dt.date(*(int(image[name]) for name in _DATE))
                # Without an offset, and UTC: that is how Tryton keeps its times.
                return dt.datetime.combine(day, _time(image), dt.UTC)
            case "date":
                return dt.date(*(int(image[name]) for name in _DATE))
            case "timedelta":
                return dt.timedelta(microseconds=int(Decimal(image["seconds"]) * 1_000_000))
            case "Decimal":
                return Decimal(image["decimal"])
    except (KeyError, TypeError, InvalidOperation) as error:
        raise ValueError(f"found a {marker} that is none: {error!r}") from error
    return image


def _time(image: dict[str, Any]) -> dt.time:
    hour, minute, second, microsecond = (int(image[name]) for name in _TIME)
    return dt.time(hour, minute, second, microsecond)


def _no_constant(name: str) -> None:
    raise ValueError(f"found {name}, which is not JSON")
