"""Counting mode ``counter``: a free-running counter in the PLC.

Decides, sample by sample, whether a value continues the track, rolled over, was reset, or is not to be believed.
A suspicious value waits for the next sample; what cannot be known is bounded (``max_lost``), never invented. Knows no
pieces and no orders.

The words: the *baseline* is the last accepted sample; a *pending* value is one that fits neither the track nor a
roll-over; the *old track* is the value before the last reset, remembered for a while because PLCs in STOP read zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import CountEvent, Status
from gateway.core.rate import Rate

if TYPE_CHECKING:
    from gateway.core.model import Scalar
    from gateway.core.rules_inputs import CounterRule

PENDING_TRIES_MAX: Final = 3  # so many values on different tracks, then the newest is the new baseline
RATE_TOLERANCE: Final = (6, 5)  # a machine may run this factor faster than its maximum rate for a while
IDEAL_CYCLE_MARGIN: Final = (3, 2)  # default maximum rate: this factor of what the ideal cycle allows
STEP_MAX: Final = 2**40  # counts between two samples that are believed where no rate limits them
FLOAT_EXACT_MAX: Final = 2**53  # above it a float no longer tells neighbouring integers apart


class Pending(NamedTuple):
    """A value that waits for its confirmation; ``doubt_ns`` is when the doubt began."""

    t_ns: int
    value: int
    kind: str
    tries: int
    doubt_ns: int


class OldTrack(NamedTuple):
    """The value before a reset, and what was booked since: to be deducted should the old value come back."""

    t_ns: int
    value: int
    booked: int


class CounterState(NamedTuple):
    """What a counter must remember across restarts.

    ``evidence``: ``restart`` was told, or ``reset``: the next value follows it. ``announced``: a reset was told at
    ``told_ns`` and may still come.
    """

    t_ns: int = 0
    value: int | None = None
    pending: Pending | None = None
    old: OldTrack | None = None
    evidence: str = ""
    quality_bad: bool = False
    told_ns: int = 0


class CounterDetector:
    """The rule of one counter, prepared.

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

    def initial(self) -> CounterState:
        """No baseline yet: the first good sample becomes it."""
        return CounterState()

    def limit(self, dt_ns: int) -> int | None:
        """The most counts that are plausible in ``dt_ns``; None without a rate limit."""
        if self._counts is None:
            return None
        return self._counts * max(dt_ns, 0) // self._per_ns + self._rule.slack

    def on_value(
        self, state: CounterState, t_ns: int, value: Scalar, status: Status
    ) -> tuple[CounterState, CountEvent | None]:
        """One sample. The event is None where nothing moved and nothing is to be told."""
        base = state.value
        # The hot path first: a good sample, a step within the limit, nothing suspicious pending.
        if status is Status.GOOD and type(value) is int and base is not None:
            if state.pending is None and not state.evidence and not state.quality_bad:
                if value == base:
                    return CounterState(max(t_ns, state.t_ns), base, None, state.old), None
                step = value - base
                limit = self.limit(t_ns - state.t_ns)
                modulus = self._modulus
                plain = modulus is None or (value < modulus and (limit is None or limit < modulus))
                if 0 < step <= (STEP_MAX if limit is None else limit) and plain:
                    return self._book(state, t_ns, value, step, "OK")
        elif status is not Status.GOOD:
            return self._on_bad(state, t_ns)
        count = self._as_count(value)
        if count is None:
            return self._on_bad(state, t_ns, flag="IMPLAUSIBLE_VALUE")
        state = state._replace(quality_bad=False)
        if base is None:
            return state._replace(t_ns=t_ns, value=count, evidence=""), self._event(t_ns, t_ns, 0, "BASELINE")
        if state.evidence:
            return self._on_announced(state, t_ns, count)
        if state.pending is not None:
            return self._on_pending(state, state.pending, t_ns, count)
        return self._on_plain(state, t_ns, count)

    def told(self, state: CounterState, kind: str, t_ns: int) -> CounterState:
        """Evidence: the PLC restarted, or the counter is set back (``reset``) now or soon."""
        if kind != "reset":
            return state._replace(evidence="restart")
        # A restart says more: the value may also have been kept.
        return state if state.evidence == "restart" else state._replace(evidence="announced", told_ns=t_ns)

    # --- the cases, in the order of the rule -----------------------------------------------------------------------

    def _on_bad(
        self, state: CounterState, t_ns: int, flag: str = "BAD_QUALITY"
    ) -> tuple[CounterState, CountEvent | None]:
        # Bad quality never moves a baseline. It is told once, not with every poll.
        if state.quality_bad:
            return state, None
        return state._replace(quality_bad=True), self._event(t_ns, t_ns, 0, flag)

    def _on_announced(self, state: CounterState, t_ns: int, value: int) -> tuple[CounterState, CountEvent | None]:
        """Evidence is there. An announced reset is a fall to a value that fits; until it comes nothing is special."""
        if state.evidence != "announced":
            return self._on_evidence(state, t_ns, value)
        since = value - self._rule.reset_to
        if value < _baseline(state) and self._plausible(since, t_ns - state.t_ns):
            return self._on_evidence(state._replace(evidence="reset"), t_ns, value)
        plain = state._replace(evidence="")
        event: CountEvent | None
        if plain.pending is not None:
            after, event = self._on_pending(plain, plain.pending, t_ns, value)
        else:
            after, event = self._on_plain(plain, t_ns, value)
        if t_ns - state.told_ns >= self._rule.reset_within:
            return after, event
        return after._replace(evidence="announced", told_ns=state.told_ns), event

    def _on_evidence(self, state: CounterState, t_ns: int, value: int) -> tuple[CounterState, CountEvent]:
        base, dt_ns = _baseline(state), t_ns - state.t_ns
        lost = self._max_lost(dt_ns)
        restart = state.evidence == "restart"
        state = state._replace(pending=None, evidence="")
        if restart and value >= base and self._plausible(value - base, dt_ns):
            return self._book(state, t_ns, value, value - base, "RESTART_RETENTIVE")
        since = 0 if self._rule.count_on_reset == "zero" else value - self._rule.reset_to
        if since >= 0 and self._plausible(since, dt_ns):
            return self._rebase(state, t_ns, value, since, "RESET", max_lost=lost)
        return self._rebase(state, t_ns, value, 0, "COUNTER_DISCONTINUITY", review=max(since, 0), max_lost=lost)

    def _on_plain(self, state: CounterState, t_ns: int, value: int) -> tuple[CounterState, CountEvent | None]:
        base, dt_ns, modulus = _baseline(state), t_ns - state.t_ns, self._modulus
        if value == base:
            return state._replace(t_ns=max(t_ns, state.t_ns)), None
        limit = self.limit(dt_ns)
        if modulus is not None and limit is not None and limit >= modulus:
            # It may have wrapped more than once: the least is booked, the rest is bounded.
            delta = (value - base) % modulus
            return self._book(state, t_ns, value, delta, "COUNTER_AMBIGUOUS", max_lost=self._max_lost(dt_ns))
        if value > base:
            if value - base <= (STEP_MAX if limit is None else limit):
                return self._book(state, t_ns, value, value - base, "OK")
        elif base - value <= self._rule.jitter:
            return state, self._event(state.t_ns, t_ns, 0, "COUNTER_JITTER")
        elif modulus is not None and self._rolls_over(base, value, dt_ns):
            return self._book(state, t_ns, value, value + modulus - base, "ROLLOVER")
        pending = Pending(t_ns, value, self._kind(state, t_ns, value), 0, t_ns)
        if self._rule.confirm_samples == 0:
            return self._settle(state, pending, t_ns, value)
        return state._replace(pending=pending), self._event(state.t_ns, t_ns, 0, "PENDING")

    def _on_pending(
        self, state: CounterState, pending: Pending, t_ns: int, value: int
    ) -> tuple[CounterState, CountEvent]:
        base, dt_ns = _baseline(state), t_ns - state.t_ns
        step: int | None = value - base
        if value < base:
            wraps = self._modulus is not None and self._counts is not None
            step = value + (self._modulus or 0) - base if wraps else None
        old_track = step is not None and self._plausible(step, dt_ns)
        continues = pending.value <= value and self._plausible(value - pending.value, t_ns - pending.t_ns)
        cleared = state._replace(pending=None)
        if old_track and step is not None:
            if continues and self._counts is not None:
                lost = self._max_lost(pending.doubt_ns - state.t_ns)
                return self._book(cleared, t_ns, value, step, "COUNTER_AMBIGUOUS", max_lost=lost)
            return self._book(cleared, t_ns, value, step, "SPIKE_DROPPED")
        if continues:
            return self._settle(cleared, pending, t_ns, value)
        if pending.tries < PENDING_TRIES_MAX:
            again = Pending(t_ns, value, self._kind(state, t_ns, value), pending.tries + 1, pending.doubt_ns)
            return state._replace(pending=again), self._event(state.t_ns, t_ns, 0, "PENDING")
        lost = self._max_lost(pending.doubt_ns - state.t_ns)
        return self._rebase(cleared, t_ns, value, 0, "COUNTER_DISCONTINUITY", max_lost=lost)

    def _settle(self, state: CounterState, pending: Pending, t_ns: int, value: int) -> tuple[CounterState, CountEvent]:
        """The pending value is confirmed: what its kind means."""
        base, since = _baseline(state), value - pending.value
        lost = self._max_lost(pending.doubt_ns - state.t_ns)
        match pending.kind:
            case "restore":
                old = state.old or OldTrack(state.t_ns, base, 0)
                delta = value - old.value - old.booked
                restored = state._replace(old=None)
                return self._book(restored, t_ns, value, delta, "RESTORED")
            case "jump":
                jumped = state._replace(old=None)
                return self._book(jumped, t_ns, value, since, "COUNTER_JUMP", review=pending.value - base)
            case "reset":
                counted = 0 if self._rule.count_on_reset == "zero" else pending.value - self._rule.reset_to
                return self._rebase(state, t_ns, value, counted + since, "RESET", max_lost=lost)
            case _:
                return self._rebase(state, t_ns, value, since, "COUNTER_DISCONTINUITY", max_lost=lost)

    # --- what the cases are made of --------------------------------------------------------------------------------

    def _kind(self, state: CounterState, t_ns: int, value: int) -> str:
        if value > _baseline(state):
            old = state.old
            fits = (
                old is not None
                and t_ns - old.t_ns <= self._rule.remember_old_track
                and value - old.value >= old.booked
                and self._plausible(value - old.value, t_ns - old.t_ns)
            )
            return "restore" if fits else "jump"
        since = value - self._rule.reset_to
        return "reset" if since >= 0 and self._plausible(since, t_ns - state.t_ns) else "drop"

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

    def _as_count(self, value: Scalar) -> int | None:
        if isinstance(value, float) and value.is_integer() and abs(value) < FLOAT_EXACT_MAX:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return None
        return None if self._modulus is not None and value >= self._modulus else value

    def _book(
        self,
        state: CounterState,
        t_ns: int,
        value: int,
        delta: int,
        flag: str,
        *,
        review: int = 0,
        max_lost: int = 0,
    ) -> tuple[CounterState, CountEvent]:
        old = state.old
        if old is not None and delta:
            old = OldTrack(old.t_ns, old.value, old.booked + delta)
        event = CountEvent(self._signal, delta, state.t_ns, t_ns, flag, delta > 1, review, max_lost)
        return CounterState(max(t_ns, state.t_ns), value, None, old), event

    def _rebase(
        self,
        state: CounterState,
        t_ns: int,
        value: int,
        delta: int,
        flag: str,
        *,
        review: int = 0,
        max_lost: int = 0,
    ) -> tuple[CounterState, CountEvent]:
        """A new track begins; the old one is remembered with what was booked since."""
        old = OldTrack(state.t_ns, _baseline(state), delta)
        event = CountEvent(self._signal, delta, state.t_ns, t_ns, flag, delta > 1, review, max_lost)
        return CounterState(max(t_ns, state.t_ns), value, None, old), event

    def _event(self, t_from_ns: int, t_to_ns: int, delta: int, flag: str) -> CountEvent:
        return CountEvent(self._signal, delta, t_from_ns, t_to_ns, flag)


def _baseline(state: CounterState) -> int:
    assert state.value is not None, "asked only after the first sample"
    return state.value
