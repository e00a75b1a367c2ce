"""What a machine can have made between two samples of its counter, and what the register can show.

Knows the rule and no history: the judgement of a sample is ``counter.py``'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.rate import Rate

if TYPE_CHECKING:
    from gateway.core.counting.counter_state import OldTrack
    from gateway.core.model import Scalar
    from gateway.core.rules_inputs import CounterRule

RATE_TOLERANCE: Final = (6, 5)  # a machine may run this factor faster than its maximum rate for a while
IDEAL_CYCLE_MARGIN: Final = (3, 2)  # default maximum rate: this factor of what the ideal cycle allows
STEP_MAX: Final = 2**40  # counts between two samples that are believed where no rate limits them
STEP_SURE: Final = 2**15  # and so many at once: a torn 32-bit value is off by 65,536 at least
ENDLESS: Final = 2**127  # more counts than any register has, more nanoseconds than lie between two samples
COUNTDOWN_FROM: Final = 2**64  # above every value that a register shows
FLOAT_EXACT_MAX: Final = 2**53  # above it a float no longer tells neighbouring integers apart


class CounterLimits:
    """The limits of one counter, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one count, for the default rate limit; None: no limit unless the rule names one.
    """

    def __init__(self, rule: CounterRule, ideal_cycle_ns: int | None) -> None:
        self._rule = rule
        rate = rule.max_rate
        if rate is None and ideal_cycle_ns is not None:
            rate = Rate(IDEAL_CYCLE_MARGIN[0], IDEAL_CYCLE_MARGIN[1] * ideal_cycle_ns)
        # Fraction arithmetic, prepared: limit(dt) = counts * dt // per + slack.
        self._counts = None if rate is None else rate.counts * RATE_TOLERANCE[0]
        self._per_ns = 1 if rate is None else rate.per_ns * RATE_TOLERANCE[1]
        self._signal = rule.signal
        self._modulus = rule.modulus
        self._end = rule.modulus if rule.modulus is not None else ENDLESS if rule.direction == "up" else COUNTDOWN_FROM
        # Unseen for so long, the counter may have gone once round: then the same value says nothing either.
        self._round_ns = ENDLESS
        if self._modulus is not None and self._counts is not None:
            self._round_ns = max(-(-(self._modulus - rule.slack) * self._per_ns // self._counts), 0)
        # A counter that counts down is judged by what it has come down.
        self._up = rule.direction == "up"
        self._reset_to = self._climbed(rule.reset_to)
        # What a PLC shows that has not started yet, or has just started.
        self._nothing = (self._climbed(0), self._reset_to)

    def limit(self, dt_ns: int) -> int | None:
        """The most counts that are plausible in ``dt_ns``; None without a rate limit."""
        if self._counts is None:
            return None
        return self._counts * max(dt_ns, 0) // self._per_ns + self._rule.slack

    def moved_at_most(self, known: int | None, value: int, dt_ns: int | None) -> int:
        """Upper bound of the counts between two values far apart in time: exact where they are one track, else -1.

        ``known`` None: only the time says something. ``dt_ns`` None: the time says nothing. Both values are climbed.
        """
        limit = -1 if dt_ns is None else self._max_lost(dt_ns)
        if known is None:
            return limit
        step = value - known
        if limit < 0:
            if step < 0 and self._modulus is not None and 4 * known >= 3 * self._modulus and 4 * value <= self._modulus:
                step += self._modulus
            return step if 0 <= step <= STEP_MAX else -1
        step += self._modulus if step < 0 and self._modulus is not None else 0
        # Unseen for so long it may have gone round, and what is further than it can have come is another track.
        return step if dt_ns is not None and dt_ns < self._round_ns and 0 <= step <= limit else limit

    def _ahead(self, old: OldTrack, value: int) -> int:
        """How far a value is ahead of the old track; negative where it is behind."""
        ahead = value - old.value
        rolls = ahead < 0 and self._modulus is not None and self._counts is not None
        return ahead + (self._modulus or 0) if rolls else ahead

    def _rolls_over(self, base: int, value: int, dt_ns: int) -> bool:
        modulus = self._modulus or 0
        if self._counts is None:  # without a rate: only near the ends of the range
            return 4 * base >= 3 * modulus and 4 * value <= modulus
        return self._plausible(value + modulus - base, dt_ns)

    def _plausible(self, step: int, dt_ns: int) -> bool:
        limit = self.limit(dt_ns)
        return 0 <= step <= (STEP_MAX if limit is None else limit)

    def _max_lost(self, dt_ns: int) -> int:
        """Upper bound of the counts that nobody can know: -1 where no rate gives one."""
        limit = self.limit(dt_ns)
        return -1 if limit is None else limit

    def _climbed(self, value: int) -> int:
        if self._up:
            return value
        return COUNTDOWN_FROM - value if self._modulus is None else -value % self._modulus

    def _as_count(self, value: Scalar) -> int | None:
        if isinstance(value, float) and value.is_integer() and abs(value) < FLOAT_EXACT_MAX:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return None
        return None if value >= self._end else self._climbed(value)
