"""Points in time as the configuration writes them ("2026-05-28T06:00:00+02:00"): integer nanoseconds UTC.

A point in time without its offset from UTC is refused: an hour may exist twice.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Self

EXAMPLES: Final = ("2026-05-28T06:00:00Z", "2026-05-28 06:00:00+02:00")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NS_PER_US: Final = 1000


class Instant(int):
    """A point in time in integer nanoseconds UTC, written with date, time and offset.

    ``Instant("1970-01-01T00:00:01Z") == 1_000_000_000``. Raises ValueError naming what was found and what is allowed.
    """

    __slots__ = ()

    def __new__(cls, value: int | str) -> Self:
        """Parse text with an offset, or take nanoseconds."""
        return super().__new__(cls, _parse(value) if isinstance(value, str) else value)

    def __str__(self) -> str:
        """ISO 8601 UTC."""
        moment = _EPOCH + dt.timedelta(microseconds=int(self) // _NS_PER_US)
        return moment.isoformat().replace("+00:00", "Z")

    def __repr__(self) -> str:
        return f"Instant({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validate}}

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "examples": list(EXAMPLES)}

    @classmethod
    def _validate(cls, value: object) -> Instant:
        if isinstance(value, (cls, str)):
            return cls(value)
        if isinstance(value, dt.datetime):  # YAML reads a time without quotes as one
            return cls(_ns_of(value))
        raise ValueError(f"a point in time needs its date, time and offset, such as {' or '.join(map(repr, EXAMPLES))}")


def _parse(text: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"a point in time needs its date, time and offset, such as {EXAMPLES[0]!r}") from error
    return _ns_of(moment)


def _ns_of(moment: dt.datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"a point in time without its offset from UTC; write it such as {EXAMPLES[0]!r}")
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * _NS_PER_US
