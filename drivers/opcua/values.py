"""What an OPC UA value is in our terms: scalars, severities, nanoseconds. Pure; knows no protocol library."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from gateway.core.model import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def scalar(value: object, namespaces: Sequence[str] = ()) -> Scalar:
    """A variant's content as a scalar; integers exact, points in time as ISO 8601 text, bytes as hexadecimal text.

    Enumerations are numbers; of a localized text the text counts; a NodeId is written with its namespace URI, taken
    from ``namespaces``. Raises UnusableValueError for arrays, structures, empty values and floats that are no numbers.
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
    if value is None:
        raise UnusableValueError("the value is empty")
    if isinstance(value, (list, tuple)):
        raise UnusableValueError(f"the value is an array of {len(value)}; name one element with index")
    text = _text(value, namespaces)
    if text is None:
        raise UnusableValueError(
            f"the value is a {type(value).__name__} ({str(value)[:_SHOWN]}); only numbers, texts and times can be read"
        )
    return text


def _text(value: Any, namespaces: Sequence[str]) -> str | None:
    """The text of what has one: points in time, bytes, localized texts, qualified names, GUIDs and NodeIds."""
    if isinstance(value, datetime):
        return _utc(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes | UUID):
        return value.hex() if isinstance(value, bytes) else str(value)
    if hasattr(value, "Locale") and hasattr(value, "Text"):
        return str(value.Text or "")
    if hasattr(value, "Name") and hasattr(value, "NamespaceIndex"):
        return str(value.Name or "")
    if hasattr(value, "Identifier") and hasattr(value, "NamespaceIndex"):
        text, index = str(value.to_string()), value.NamespaceIndex
        known = 0 < index < len(namespaces)
        return f"nsu={namespaces[index]};{text.partition(';')[2]}" if known else text
    return None


def time_ns(stamp: datetime | None) -> int | None:
    """A time stamp in nanoseconds UTC; None where the server has none (null is 1601 on the wire)."""
    if stamp is None:
        return None
    since = _utc(stamp) - _EPOCH
    return since // _MICROSECOND * 1_000 if since > timedelta(0) else None


def _utc(stamp: datetime) -> datetime:
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)
