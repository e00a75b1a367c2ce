"""Carries times from CLOCK_MONOTONIC, which edges are stamped with, to the gateway's clock.

Two edges keep their distance to the nanosecond, also from one batch to the next: the offset moves only where it is
surely wrong. It judges no stamp.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

#: The two clocks are read again, so often at most, where the process was interrupted for longer in between.
SAMPLES_MAX: Final = 3
INTERRUPTED_NS: Final = 50_000


class Times(NamedTuple):
    """``offset_ns`` is what to add to CLOCK_MONOTONIC, ``now_ns`` the gateway's time."""

    offset_ns: int
    now_ns: int


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC, nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class EdgeClock:
    """The offset between two clocks, as of each question: the gateway's clock is disciplined and may drift away."""

    def __init__(self, now_ns: Callable[[], int], monotonic_ns: Callable[[], int] = monotonic_ns) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns
        self._offset_ns: int | None = None

    def times(self) -> Times:
        """The offset and the gateway's time. Only what the samples rule out changes the offset."""
        low_ns = high_ns = now_ns = 0
        for sample in range(SAMPLES_MAX):
            before_ns = self._monotonic_ns()
            now_ns = self._now_ns()
            after_ns = self._monotonic_ns()
            # The gateway's clock was read somewhere between the two.
            low, high = now_ns - after_ns, now_ns - before_ns
            if not sample or high - low < high_ns - low_ns:
                low_ns, high_ns = low, high
            if after_ns - before_ns < INTERRUPTED_NS:
                break
        if self._offset_ns is None:
            self._offset_ns = (low_ns + high_ns) // 2
        self._offset_ns = min(max(self._offset_ns, low_ns), high_ns)
        return Times(self._offset_ns, now_ns)
