"""The gateway's clock: a steady time that never jumps, and what UTC that is. It does not set the system's clock.

A Raspberry Pi without a battery starts with an old date and jumps when the time server answers; an administrator may
set the clock. Order, lengths and timers must survive both. So there are two axes (``core/calendar/honest_time.py``):

- ``now_ns`` is steady: the wall clock is read once, at the start, and carried on by the monotonic clock; it is never
  below the last time that was committed, and no correction ever moves it, forward or backward.
- ``stamp`` adds UTC: the steady time plus an offset, with its quality. ``check``, called every few seconds, learns the
  offset when the wall clock becomes better known than before, and follows its steps as long as it is vouched for. Since
  the steady time needs no correction there is nothing to slew: UTC is right with the next stamp, either way.

``utc_ns`` names any steady time, of this run or of one before: what a person or a neighbour sees goes through it.
``wall_error_ns`` is how far the wall clock is from UTC as it is known: a fact to show, not to follow. Whether the wall
clock is to be believed is judged by ``clock_quality.py``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.calendar.honest_time import (
    ClockCorrection,
    ClockRecord,
    CorrectionReason,
    Outage,
    TimeQuality,
    utc_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Below this the wall clock and the steady one agree: reading noise, and what a time server slews away.
STEP_MIN_NS: Final = 50_000_000
#: A step so soon after the clock became known is a part of that: it tells the time of the whole run.
SETTLING_NS: Final = 60_000_000_000
#: Steps that one run remembers; of more, the oldest become one.
CORRECTIONS_MAX: Final = 64

_READ_APART_MAX_NS: Final = 1_000_000  # the two clocks are read one after the other; more often if that took longer
_READ_ATTEMPTS: Final = 5


class Stamp(NamedTuple):
    """One instant: ``steady_ns`` to order and to measure by, ``utc_ns`` to show, and what the latter is worth."""

    steady_ns: int
    utc_ns: int
    quality: TimeQuality


class SteadyClock:
    """Integer nanoseconds that only go forward, across restarts too, and UTC beside them.

    Args:
        last_time_ns: the latest committed steady time (0: nothing was committed yet).
        wall_ns: the system's wall clock.
        monotonic_ns: the system's monotonic clock.
        judge: the quality of a wall-clock time that was just read; without one the wall clock is trusted.
        boot_id: the name of this boot, empty if unknown.
        before: what the run before left. In the same boot its time axis goes on, exactly, whatever the wall clock says.
        history: what earlier runs learned of UTC, in the order in which they did.

    Raises ValueError if ``last_time_ns`` is negative.
    """

    __slots__ = (
        "_anchor_ns",
        "_before",
        "_boot_id",
        "_booted_ns",
        "_corrections",
        "_history",
        "_judge",
        "_judged",
        "_known_since_ns",
        "_last_time_ns",
        "_monotonic_ns",
        "_quality_since_ns",
        "_same_boot",
        "_started_monotonic_ns",
        "_wall_ns",
    )

    def __init__(
        self,
        last_time_ns: int,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        *,
        judge: Callable[[int], TimeQuality] | None = None,
        boot_id: str = "",
        before: ClockRecord | None = None,
        history: Sequence[ClockCorrection] = (),
    ) -> None:
        if last_time_ns < 0:
            raise ValueError(f"last committed time: found {last_time_ns} ns, allowed 0 and above")
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._judge = _trusted if judge is None else judge
        self._boot_id = boot_id
        self._before = before
        self._history = tuple(history)
        self._last_time_ns = last_time_ns
        monotonic, wall = self._read()
        self._started_monotonic_ns = monotonic
        self._judged = self._judge(wall)
        self._same_boot = before is not None and boot_id == before.boot_id != "" and monotonic >= before.monotonic_ns
        if before is not None and self._same_boot:
            goes_on_ns = before.steady_ns + monotonic - before.monotonic_ns
            self._anchor_ns = max(goes_on_ns, last_time_ns + 1)
            offset_ns, quality = goes_on_ns + before.offset_ns - self._anchor_ns, before.quality
            reason, self._booted_ns = CorrectionReason.RESUMED, _booted_ns(self._history, self._anchor_ns)
        else:
            self._anchor_ns = max(wall, last_time_ns + 1)
            # Where nobody vouches for the wall clock, the last committed time is worth more.
            offset_ns, quality = (wall - self._anchor_ns if self._judged.known else 0), self._judged
            reason, self._booted_ns = CorrectionReason.STARTED, self._anchor_ns
        at = self._anchor_ns
        started = ClockCorrection(at, at, offset_ns, offset_ns, quality, reason)
        self._corrections: tuple[ClockCorrection, ...] = (started,)
        self._known_since_ns = self._quality_since_ns = at

    def now_ns(self) -> int:
        """The steady time, nanoseconds; never less than any earlier answer."""
        return self._anchor_ns + self._monotonic_ns() - self._started_monotonic_ns

    def wall_error_ns(self) -> int:
        """How far the wall clock is ahead of UTC as it is known (negative: behind), nanoseconds."""
        return self._wall_ns() - self.now_ns() - self.offset_ns

    def utc_ns(self, steady_ns: int) -> int:
        """What UTC was at a steady time of this run or of one before, as far as it is known now, nanoseconds."""
        own = steady_ns >= self._corrections[0].from_ns
        return utc_of(self._corrections if own else self._history, steady_ns)

    def utc_now_ns(self) -> int:
        """What UTC is now, as far as it is known, nanoseconds. It may step: lengths are measured by ``now_ns``."""
        return self.now_ns() + self.offset_ns

    def stamp(self) -> Stamp:
        """This instant, with UTC as it is known now."""
        now_ns = self.now_ns()
        return Stamp(now_ns, now_ns + self.offset_ns, self.quality)

    @property
    def offset_ns(self) -> int:
        """UTC minus steady time, as it holds now, nanoseconds."""
        return self._corrections[-1].offset_ns

    @property
    def quality(self) -> TimeQuality:
        """What UTC is worth now, as of the latest ``check``."""
        basis = self._corrections[-1].quality
        return TimeQuality.HOLDOVER if basis.known and self._judged < basis else basis

    @property
    def quality_since_ns(self) -> int:
        """The steady time since which ``quality`` is what it is; where it never changed, the start of this run."""
        return self._quality_since_ns

    @property
    def corrections(self) -> tuple[ClockCorrection, ...]:
        """What was learned in this run, in order; ``utc_of`` and ``utc_span`` map its stamps by them."""
        return self._corrections

    def check(self) -> ClockCorrection | None:
        """Look at the wall clock: what was learned, None if nothing. Call it every few seconds."""
        before = self.quality
        monotonic, wall = self._read()
        now_ns = self._anchor_ns + monotonic - self._started_monotonic_ns
        learned = self._compared(wall, now_ns)
        if self.quality is not before:
            self._quality_since_ns = now_ns
        return learned

    def _compared(self, wall: int, now_ns: int) -> ClockCorrection | None:
        self._judged = self._judge(wall)
        known = self._corrections[-1]
        seen_ns = wall - now_ns
        if not self._judged.known:
            seen_ns = max(seen_ns, 0)  # nobody vouches for it: at least not before what was committed
        agrees = abs(seen_ns - known.offset_ns) < STEP_MIN_NS
        if self._judged > known.quality:
            self._known_since_ns = now_ns
            offset_ns = known.offset_ns if agrees else seen_ns
            # Of every run of this boot: they are on one axis.
            return self._learn(known, now_ns, self._booted_ns, offset_ns, CorrectionReason.LEARNED)
        if self._judged < known.quality or not self._judged.known or agrees:
            return None
        settling = now_ns - self._known_since_ns < SETTLING_NS
        from_ns = self._corrections[0].from_ns if settling else now_ns
        return self._learn(known, now_ns, from_ns, seen_ns, CorrectionReason.STEPPED)

    def outage(self) -> Outage | None:
        """What lies between the last commit and the start of this run, None where nothing was committed before.

        After a reboot its length is known only while both runs know their time; that may come later in this run.
        """
        last_ns, start_ns = self._last_time_ns, self._anchor_ns
        if last_ns == 0:
            return None
        if self._same_boot:
            return Outage(last_ns, start_ns, start_ns - last_ns)
        known = self._corrections[-1].quality.known and (self._before is None or self._before.quality.known)
        last_utc_ns = last_ns + (self._before.offset_ns if self._before is not None else 0)
        length_ns = utc_of(self._corrections, start_ns) - last_utc_ns
        return Outage(last_ns, start_ns, length_ns if known and length_ns > 0 else None)

    def record(self) -> ClockRecord:
        """What the next run needs to know; to be committed now and then, and after every correction."""
        known = self._corrections[-1]
        monotonic = self._monotonic_ns()
        steady_ns = self._anchor_ns + monotonic - self._started_monotonic_ns
        return ClockRecord(self._boot_id, steady_ns, monotonic, known.offset_ns, known.quality)

    def _learn(
        self, known: ClockCorrection, at_ns: int, from_ns: int, offset_ns: int, reason: CorrectionReason
    ) -> ClockCorrection:
        learned = ClockCorrection(at_ns, from_ns, offset_ns, known.offset_ns, self._judged, reason)
        kept = tuple(found for found in self._corrections if found.from_ns < from_ns)
        if len(kept) >= CORRECTIONS_MAX:
            kept = (kept[1]._replace(from_ns=kept[0].from_ns), *kept[2:])
        self._corrections = (*kept, learned)
        return learned

    def _read(self) -> tuple[int, int]:
        """Monotonic and wall clock of the same moment, as nearly as can be."""
        best: tuple[int, int, int] | None = None
        for _ in range(_READ_ATTEMPTS):
            begin = self._monotonic_ns()
            wall = self._wall_ns()
            apart = self._monotonic_ns() - begin
            if best is None or apart < best[0]:
                best = apart, begin + apart // 2, wall
            if apart <= _READ_APART_MAX_NS:
                break
        assert best is not None
        return best[1], best[2]


def _booted_ns(history: Sequence[ClockCorrection], default_ns: int) -> int:
    """When the first run of this boot began, where the latest run is one of this boot."""
    started = (found.from_ns for found in reversed(history) if found.reason is CorrectionReason.STARTED)
    return next(started, default_ns)


def _trusted(wall_ns: int) -> TimeQuality:
    del wall_ns
    return TimeQuality.TRUSTED


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
