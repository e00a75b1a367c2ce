"""What a time stamp is worth, and how it becomes right once the time is known.

Two axes. The steady one orders everything and measures every length: it follows the monotonic clock, is never set, and
is what all rules compute with. UTC is the steady time plus an offset. An offset that was learned late puts right the
stamps that were given before, because between two of them exactly as much time passed as the steady axis says. So a
wrong or stepped wall clock changes no count, no order and no timer; only the names of the instants change.

Reads no clock: ``gateway/timing/clock.py`` does, and makes the corrections.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class TimeQuality(enum.IntEnum):
    """Who vouches for a time stamp's date, the least first."""

    IMPLAUSIBLE = 0  # before the gateway itself existed: a box without a battery
    UNSYNCHRONISED = 1  # possible, and nobody vouches for it
    TRUSTED = 2  # the configuration says that this clock is right
    HOLDOVER = 3  # it was known, and the monotonic clock has carried it on since
    SYNCHRONISED = 4  # a time server keeps it now

    @property
    def known(self) -> bool:
        """Somebody vouches, or did."""
        return self >= TimeQuality.TRUSTED


class CorrectionReason(enum.StrEnum):
    """Why the offset is as it is from now on."""

    STARTED = "started"
    RESUMED = "resumed"  # another run of the same boot: its axis goes on
    LEARNED = "learned"  # the quality rose: now it is known what time it was all along
    STEPPED = "stepped"  # a clock that is vouched for was set


class ClockCorrection(NamedTuple):
    """From the steady time ``from_ns`` on, UTC is the steady time plus ``offset_ns``.

    ``at_ns`` is the steady time at which that was learned: stamps in between were shown with ``previous_offset_ns``.
    """

    at_ns: int
    from_ns: int
    offset_ns: int
    previous_offset_ns: int
    quality: TimeQuality
    reason: CorrectionReason


class ClockRecord(NamedTuple):
    """What a run of the gateway leaves for the next one: one instant on all clocks, in one boot of the box.

    ``quality`` is what ``offset_ns`` was based on, never HOLDOVER.
    """

    boot_id: str
    steady_ns: int
    monotonic_ns: int
    offset_ns: int
    quality: TimeQuality


class Outage(NamedTuple):
    """The time between the last commit of the run before and the start of this one, on the steady axis.

    ``length_ns`` is how long it really was, None if nobody knows: then ``to_ns - from_ns`` says nothing.
    """

    from_ns: int
    to_ns: int
    length_ns: int | None

    @property
    def gap_known(self) -> bool:
        """The length is known."""
        return self.length_ns is not None


def correction_for(corrections: Sequence[ClockCorrection], steady_ns: int) -> ClockCorrection | None:
    """The latest correction that holds for a steady time; ``corrections`` in the order in which they were learned."""
    for found in reversed(corrections):  # asked for each time that is shown
        if found.from_ns <= steady_ns:
            return found
    return None


def utc_of(corrections: Sequence[ClockCorrection], steady_ns: int) -> int:
    """UTC of a steady time, nanoseconds, as it is known now; unchanged where no correction holds."""
    found = correction_for(corrections, steady_ns)
    return steady_ns if found is None else steady_ns + found.offset_ns


def utc_span(corrections: Sequence[ClockCorrection], from_ns: int, to_ns: int) -> tuple[int, int]:
    """UTC of both ends of an interval, by what is known of its end: it keeps its length, also across a step back."""
    end_ns = utc_of(corrections, to_ns)
    return end_ns - (to_ns - from_ns), end_ns
