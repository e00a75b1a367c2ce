"""Whether the clocks of devices are to be believed: finds those that are off, by the stamps of their values.

A stamp in the past need not be wrong: it says when a value changed, and it may have been on its way for long. So a
clock that seems to be behind is named only once two stamps, one after the other, are behind by as much.

Dates nothing: which stamp counts is ``WorkUnit``'s to say. Reads no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.document import utc
from gateway.core.duration import NS_PER_S, NS_PER_UNIT
from gateway.core.model import Notice

if TYPE_CHECKING:
    from gateway.core.model import DataValue

#: A clock that goes wrong again this soon after a person was told is not told of again.
REPEAT_NS: Final = NS_PER_UNIT["h"]
#: 2015-01-01T00:00:00Z. A stamp from before is a clock that was never set, not a value that has not changed since.
NEVER_SET_NS: Final = 1_420_070_400 * NS_PER_S

_YEAR_9999_NS: Final = 253_402_300_799 * NS_PER_S


class OffClock(NamedTuple):
    """One signal whose stamps are too far off, or were.

    ``source_ns`` and ``received_ns`` are of the last stamp that was looked at; ``told_ns`` is when a person was told
    last, None: never; ``off`` is what was told.
    """

    signal: str
    source_ns: int
    received_ns: int
    told_ns: int | None = None
    off: bool = False


class SourceClocks(NamedTuple):
    """What a work unit knows of clocks: whether its own is ``known``, and whose stamps are off or were."""

    known: bool = True
    off: tuple[OffClock, ...] = ()


def looked_at(
    clocks: SourceClocks, value: DataValue, max_skew_ns: int, utc_offset_ns: int
) -> tuple[SourceClocks, Notice | None]:
    """What the stamp of a value says of its device's clock, and what a person should hear of it.

    The value must have a stamp. While nobody vouches for the gateway's own time, nobody knows whose clock is wrong.
    """
    found = next((one for one in clocks.off if one.signal == value.signal), None)
    assert value.source_time_ns is not None, "only a value with a stamp"
    skew_ns = value.source_time_ns - value.received_time_ns
    if not clocks.known:
        return clocks, None
    if abs(skew_ns) <= max_skew_ns:
        return (clocks, None) if found is None else _near(clocks, found, value, skew_ns)
    if found is not None and (found.off or _told_lately(found, value.received_time_ns)):
        return clocks, None
    told_ns = None if found is None else found.told_ns
    seen = OffClock(value.signal, value.source_time_ns, value.received_time_ns, told_ns)
    never_set = value.source_time_ns + utc_offset_ns < NEVER_SET_NS
    if not (skew_ns > 0 or never_set or (found is not None and _keeps_pace(found, seen, max_skew_ns))):
        return _with(clocks, found, seen), None
    detail = {
        "signal": value.signal,
        "shows": utc(min(max(value.source_time_ns + utc_offset_ns, 0), _YEAR_9999_NS)) or "",
        "off_by_s": _in_seconds(skew_ns),
        "allowed_s": _in_seconds(max_skew_ns).lstrip("+"),
        "used_instead": "time of arrival",
    }
    notice = Notice(value.received_time_ns, "SOURCE_CLOCK_SKEW", tuple(detail.items()))
    return _with(clocks, found, seen._replace(told_ns=value.received_time_ns, off=True)), notice


def _near(clocks: SourceClocks, found: OffClock, value: DataValue, skew_ns: int) -> tuple[SourceClocks, Notice | None]:
    """A stamp that is near enough again."""
    if found.off:
        detail = (("signal", value.signal), ("off_by_s", _in_seconds(skew_ns)))
        right = found._replace(told_ns=value.received_time_ns, off=False)
        return _with(clocks, found, right), Notice(value.received_time_ns, "SOURCE_CLOCK_RIGHT", detail)
    if _told_lately(found, value.received_time_ns):
        return clocks, None
    return _with(clocks, found, None), None


def _told_lately(found: OffClock, now_ns: int) -> bool:
    return found.told_ns is not None and now_ns - found.told_ns < REPEAT_NS


def _keeps_pace(before: OffClock, after: OffClock, max_skew_ns: int) -> bool:
    """Two stamps that are off by the same: as much time passed between them there as here."""
    there_ns, here_ns = after.source_ns - before.source_ns, after.received_ns - before.received_ns
    return there_ns > 0 and here_ns > 0 and abs(there_ns - here_ns) <= max_skew_ns


def _with(clocks: SourceClocks, before: OffClock | None, after: OffClock | None) -> SourceClocks:
    others = [one for one in clocks.off if one is not before]
    return clocks._replace(off=tuple(others if after is None else [*others, after]))


def _in_seconds(length_ns: int) -> str:
    """Signed seconds with milliseconds, exact."""
    milliseconds = abs(length_ns) * 1000 // NS_PER_S
    return f"{'-' if length_ns < 0 else '+'}{milliseconds // 1000}.{milliseconds % 1000:03d}"
