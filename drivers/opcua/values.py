"""What an OPC UA value is in our terms: scalars, severities, nanoseconds. Pure; knows no protocol library."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from gateway.core.model import Status

if TYPE_CHECKING:
    from gateway.core.model import Scalar

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: The two highest bits of a StatusCode are its severity (OPC 10000-4, 7.38).
_SEVERITY_SHIFT: Final = 30
#: Texts longer than this are cut in a reason.
_SHOWN: Final = 60


class UnusableValueError(Exception):
    """A value that cannot be a scalar; says what was found."""


def severity(code: int) -> Status:
    """Good, uncertain or bad; the reserved severity counts as bad."""
    return Status(min(code >> _SEVERITY_SHIFT, Status.BAD))


def scalar(value: object) -> Scalar:
    """A variant's content as a scalar; integers exact, points in time as ISO 8601 text.

    Raises UnusableValueError for arrays, structures, empty values and floats that are not numbers.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnusableValueError(f"the value is {value}, not a number")
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return _utc(value).isoformat().replace("+00:00", "Z")
    if value is None:
        raise UnusableValueError("the value is empty")
    if isinstance(value, (list, tuple)):
        raise UnusableValueError(f"the value is an array of {len(value)}; only single values can be read")
    text = getattr(value, "Text", None)  # LocalizedText
    if isinstance(text, str):
        return text
    raise UnusableValueError(
        f"the value is a {type(value).__name__} ({str(value)[:_SHOWN]}); only numbers, texts and times can be read"
    )


def time_ns(stamp: datetime | None) -> int | None:
    """A time stamp in nanoseconds UTC; None where the server has none (null is 1601 on the wire)."""
    if stamp is None:
        return None
    since = _utc(stamp) - _EPOCH
    return since // _MICROSECOND * 1_000 if since > timedelta(0) else None


def _utc(stamp: datetime) -> datetime:
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)
