"""The plant's time zone for the shift calendar: the IANA database behind the core's ``Zone``. Decides nothing."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.core.calendar.shift_calendar import Zone
from gateway.core.duration import NS_PER_S

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NS_PER_MICROSECOND: Final = 1000


def zone(name: str) -> Zone:
    """The zone of an IANA name, such as Europe/Berlin. Raises ValueError for a name that the database does not have."""
    try:
        info = zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"time zone: found {name!r}, allowed: a name of the IANA time zone database, such as Europe/Berlin; "
            "if the name is right, the system's package tzdata is missing or old"
        ) from error

    def utc_ns(local: datetime) -> int:
        # fold=0: the first of two, and by the offset from before where the clocks skip it.
        return (local.replace(tzinfo=info, fold=0).astimezone(UTC) - _EPOCH) // _MICROSECOND * _NS_PER_MICROSECOND

    def local(t_ns: int) -> datetime:
        return (_EPOCH + timedelta(seconds=t_ns // NS_PER_S)).astimezone(info).replace(tzinfo=None, fold=0)

    return Zone(name, utc_ns, local)
