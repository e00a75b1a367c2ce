"""The gateway's clock: UTC that never steps back. It does not set, discipline or judge the system's clock.

A Raspberry Pi without a battery starts with an old date and jumps when the time server answers; an administrator may
turn the clock back. Order in the journal must survive both. So the wall clock is read once, at the start, and carried
on by the monotonic clock; it is never below the last time that was committed. How far the wall clock has gone its own
way since then is ``wall_offset_ns``: a fact to show, not to follow.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SteadyClock:
    """Integer nanoseconds UTC that only go forward, across restarts too.

    ``last_time_ns`` is the latest committed time (0: nothing was committed yet). Raises ValueError if it is negative.
    """

    __slots__ = ("_anchor_ns", "_monotonic_ns", "_started_monotonic_ns", "_wall_ns")

    def __init__(
        self,
        last_time_ns: int,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if last_time_ns < 0:
            raise ValueError(f"last committed time: found {last_time_ns} ns, allowed 0 and above")
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._started_monotonic_ns = monotonic_ns()
        self._anchor_ns = max(wall_ns(), last_time_ns + 1)

    def now_ns(self) -> int:
        """The steady time, nanoseconds UTC; never less than any earlier answer."""
        return self._anchor_ns + self._monotonic_ns() - self._started_monotonic_ns

    def wall_offset_ns(self) -> int:
        """How far the wall clock is ahead of the steady one (negative: behind), nanoseconds."""
        return self._wall_ns() - self.now_ns()


class ManualClock:
    """A clock that stands still until it is moved; for tests and for replaying a recording."""

    __slots__ = ("_now_ns",)

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """The time it was moved to, nanoseconds."""
        return self._now_ns

    def advance(self, duration_ns: int) -> int:
        """Move forward by a length of time and return the new time. Raises ValueError on a step back."""
        if duration_ns < 0:
            raise ValueError(
                f"advance: found {duration_ns} ns, allowed 0 and above: this clock never steps back either"
            )
        self._now_ns += duration_ns
        return self._now_ns
