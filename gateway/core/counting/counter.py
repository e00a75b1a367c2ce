"""Counting mode ``counter``: a free-running counter in the PLC.

Decides, sample by sample, whether a value continues the track, rolled over, was reset, or is not to be believed.
A suspicious value waits for the next sample; what cannot be known is bounded (``max_lost``), never invented. Knows no
pieces and no orders.

The words: the *baseline* is the last accepted sample; a *pending* value is one that fits neither the track nor a
roll-over; the *old track* is the value before the last reset, remembered for a while because PLCs in STOP read zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.counting.counter_limits import IDEAL_CYCLE_MARGIN, RATE_TOLERANCE, STEP_MAX, STEP_SURE, CounterLimits
from gateway.core.counting.counter_state import CounterState, OldTrack, Pending
from gateway.core.model import CountEvent, Status

if TYPE_CHECKING:
    from gateway.core.model import Scalar

__all__ = ["IDEAL_CYCLE_MARGIN", "RATE_TOLERANCE", "CounterDetector", "CounterState", "OldTrack", "Pending"]

PENDING_TRIES_MAX: Final = 3  # so many values on different tracks, then the newest is the new baseline
JUMPS_MAX: Final = 3  # so many jumps that were hardly too far, then it is told that the maximum rate may be too low
HARDLY_TOO_FAR: Final = 3  # times the limit
SUSPECT_BELOW: Final = 1e-30  # no counter shows such a fraction; a whole number that was decoded as REAL does


class CounterDetector(CounterLimits):
    """The rule of one counter, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one count, for the default rate limit; None: no limit unless the rule names one.
    """

    def initial(self) -> CounterState:
        """No baseline yet: the first good sample becomes it."""
        return CounterState()

    def on_value(
        self, state: CounterState, t_ns: int, value: Scalar, status: Status
    ) -> tuple[CounterState, CountEvent | None]:
        """One sample. The event is None where nothing moved and nothing is to be told."""
        base = state.value
        # The hot path first: a good sample, a step within the limit, nothing suspicious pending.
        if status is Status.GOOD and type(value) is int and base is not None and self._up:
            calm = state.pending is None and state.old is None and not state.evidence and not state.quality_bad
            dt_ns = t_ns - state.t_ns
            if calm and dt_ns < self._round_ns and value < self._end:
                # By place, without the call of the class: every value passes here.
                latest_ns = t_ns if dt_ns > 0 else state.t_ns
                after = tuple.__new__(CounterState, (latest_ns, value, None, None, "", False, 0, *state[7:]))
                if value == base:
                    return after, None
                limit, step = self.limit(dt_ns), value - base
                if 0 < step <= (STEP_SURE if limit is None else limit):
                    return after, CountEvent(self._signal, step, state.t_ns, t_ns, "OK", step > 1)
        elif status is not Status.GOOD:
            return self._on_bad(state, t_ns)
        count = self._as_count(value)
        if count is None:
            suspect = isinstance(value, float) and 0 < abs(value) < SUSPECT_BELOW
            return self._on_bad(state, t_ns, flag="SUSPECT_DATATYPE" if suspect else "IMPLAUSIBLE_VALUE")
        state = state._replace(quality_bad=False)
        if base is None:
            return state._replace(t_ns=t_ns, value=count, evidence=""), self._event(t_ns, t_ns, 0, "BASELINE")
        if state.evidence:
            return self._on_announced(state, t_ns, count)
        if state.pending is not None:
            return self._on_pending(state, state.pending, t_ns, count)
        return self._on_plain(state, t_ns, count)

    def told(
        self, state: CounterState, kind: str, t_ns: int, change: tuple[str, str, str] | None = None
    ) -> CounterState:
        """Evidence: the PLC restarted, or the counter is set back (``reset``) now or soon.

        ``change`` is the signal that tells it, what it showed before and what it shows now.
        """
        if kind != "reset":
            return state._replace(evidence="restart")
        if change is not None:
            signal, known, text = change
            old = state.old
            if old is not None and state.before == f"{signal}={text}":
                # As if nothing had been: what it showed in between may have been a misread, and the reset with it.
                state = state._replace(old=old._replace(told=False))
            state = state._replace(before=f"{signal}={known}")
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
        since = value - self._reset_to
        if value < _baseline(state) and self._plausible(since, t_ns - state.t_ns):
            return self._on_evidence(state._replace(evidence="reset"), t_ns, value)
        plain = state._replace(evidence="")
        event: CountEvent | None
        if plain.pending is not None:
            after, event = self._on_pending(plain, plain.pending, t_ns, value)
        else:
            after, event = self._on_plain(plain, t_ns, value)
        caught_up = state.told_ns > state.t_ns and value >= _baseline(state) and after.pending is None
        if caught_up and self._counts is not None and self._plausible(since, t_ns - state.t_ns):
            # So low, it may have been set back and be where it was.
            event = event or self._event(state.t_ns, t_ns, 0, "")
            event = event._replace(flag="COUNTER_AMBIGUOUS", max_lost=self._max_lost(t_ns - state.t_ns))
        if t_ns - state.told_ns >= self._rule.reset_within:
            return after, event
        return after._replace(evidence="announced", told_ns=state.told_ns), event

    def _on_evidence(self, state: CounterState, t_ns: int, value: int) -> tuple[CounterState, CountEvent]:
        base, dt_ns = _baseline(state), t_ns - state.t_ns
        lost = self._max_lost(dt_ns)
        restart = state.evidence == "restart"
        state = state._replace(pending=None, evidence="")
        old, doubted = state.old, 0
        if restart and old is not None and base in self._nothing and value <= old.value:
            # It stood at zero since it rolled over: with a restart now, that may have been a zero read.
            doubted = old.booked
            lost = lost + doubted if lost >= 0 else lost
            state = state._replace(old=old._replace(booked=0, owed=old.owed + doubted))
        since = 0 if self._rule.count_on_reset == "zero" else value - self._reset_to
        kept = value - base
        if restart and kept >= 0 and self._plausible(kept, dt_ns):
            # So low, it may also have started anew and caught up: the least is booked.
            anew = self._plausible(value - self._reset_to, dt_ns)
            least = min(since, kept) if anew else kept
            flag = "COUNTER_AMBIGUOUS" if least < kept else "RESTART_RETENTIVE"
            return self._step(state, t_ns, value, least, flag, max_lost=lost if anew or doubted else 0)
        if restart and value > base and self._kind(state, t_ns, value) == "restore":
            return self._settle(state, Pending(t_ns, value, "restore", 0, t_ns), t_ns, value)
        review = max(kept if restart else 0, since)  # so much more may have been made than is plausible
        if since < 0 or not self._plausible(review, dt_ns):
            return self._rebase(state, t_ns, value, 0, "COUNTER_DISCONTINUITY", review=max(review, 0), max_lost=lost)
        after, event = self._rebase(state, t_ns, value, since, "RESET", max_lost=lost)
        if after.old is not None and not restart and state.told_ns > state.t_ns:  # told with this very value
            after = after._replace(old=after.old._replace(told=True))
        return after, event

    def _on_plain(self, state: CounterState, t_ns: int, value: int) -> tuple[CounterState, CountEvent | None]:
        base, dt_ns, modulus = _baseline(state), t_ns - state.t_ns, self._modulus
        if modulus is not None and dt_ns >= self._round_ns:
            # It may have wrapped more than once: the least is booked, the rest is bounded.
            delta, lost = (value - base) % modulus, self._max_lost(dt_ns)
            wrap = self._rolled if value in self._nothing and value < base else self._book
            return wrap(state, t_ns, value, delta, "COUNTER_AMBIGUOUS", max_lost=lost)
        if value == base:
            return state._replace(t_ns=max(t_ns, state.t_ns)), None
        limit = self.limit(dt_ns)
        if value > base:
            at_once = STEP_MAX if self._rule.confirm_samples == 0 else STEP_SURE
            if value - base <= (at_once if limit is None else limit):
                return self._step(state, t_ns, value, value - base, "OK")
        elif base - value <= self._rule.jitter:
            return state, self._event(state.t_ns, t_ns, 0, "COUNTER_JITTER")
        elif modulus is not None and self._rolls_over(base, value, dt_ns):
            wrap = self._rolled if value in self._nothing else self._book
            return wrap(state, t_ns, value, value + modulus - base, "ROLLOVER")
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
            return self._on_old_track(cleared, pending, t_ns, value, step, continues=continues)
        if continues:
            return self._settle(cleared, pending, t_ns, value)
        if pending.tries < PENDING_TRIES_MAX:
            again = Pending(t_ns, value, self._kind(state, t_ns, value), pending.tries + 1, pending.doubt_ns)
            return state._replace(pending=again), self._event(state.t_ns, t_ns, 0, "PENDING")
        return self._rebase(cleared, t_ns, value, 0, "COUNTER_DISCONTINUITY", max_lost=self._max_lost(dt_ns))

    def _on_old_track(
        self, state: CounterState, pending: Pending, t_ns: int, value: int, step: int, *, continues: bool
    ) -> tuple[CounterState, CountEvent]:
        """After a doubt a value that fits the track before it: the doubtful one was a spike, if nothing else fits."""
        base, dt_ns = _baseline(state), t_ns - state.t_ns
        lost = self._max_lost(pending.t_ns - state.t_ns)
        rounds = self._max_lost(dt_ns) if dt_ns >= self._round_ns else 0  # unseen, it may have gone round
        since = 0 if value in self._nothing else value - self._reset_to
        if value < base and 0 <= since < step and self._plausible(since, dt_ns):
            # Over the end of the range, or set back near it: whatever it was, so many were made at least.
            lost = max(lost, step - since, rounds)
            return self._book(state, t_ns, value, since, "COUNTER_AMBIGUOUS", max_lost=lost)
        if self._counts is None:
            flag = "OK" if continues and pending.value > base else "SPIKE_DROPPED"
            return self._step(state, t_ns, value, step, flag)
        if continues:
            more = max(since - step, 0) if pending.kind == "reset" else 0
            return self._step(state, t_ns, value, step, "COUNTER_AMBIGUOUS", max_lost=max(lost + more, rounds))
        if pending.kind == "restore" and state.old is not None:
            # It may have come back after all, and been set back since.
            missed = max(self._ahead(state.old, pending.value) - state.old.booked, 0)
            lost = max(missed + self._max_lost(t_ns - pending.t_ns), rounds)
            return self._step(state, t_ns, value, step, "COUNTER_AMBIGUOUS", max_lost=lost)
        flag = "COUNTER_AMBIGUOUS" if rounds else "SPIKE_DROPPED"
        return self._step(state, t_ns, value, step, flag, max_lost=rounds)

    def _settle(self, state: CounterState, pending: Pending, t_ns: int, value: int) -> tuple[CounterState, CountEvent]:
        """The pending value is confirmed: what its kind means."""
        base, since = _baseline(state), value - pending.value
        if pending.value == self._nothing[0] < self._reset_to <= value:
            since = value - self._reset_to  # zero was no value that this counter can have
        lost = self._max_lost(pending.t_ns - state.t_ns)
        match pending.kind:
            case "restore":
                old = state.old or OldTrack(state.t_ns, base, 0)
                delta = self._ahead(old, value) - old.booked - old.owed
                owed = max(-delta, 0)
                restored = state._replace(old=OldTrack(t_ns, value, 0, owed) if owed else None)
                anew, flag = value - self._reset_to, "RESTORED"
                if not self._plausible(anew, t_ns - old.t_ns):
                    return self._book(restored, t_ns, value, max(delta, 0), flag)
                # So low, it may have been set back as well: the least is booked.
                if anew < delta:
                    lost, delta, flag = lost + delta - anew, anew, "COUNTER_AMBIGUOUS"
                return self._book(restored, t_ns, value, max(delta, 0), flag, max_lost=lost)
            case "jump":
                return self._jump(state, pending, t_ns, value, since)
            case kind:
                flag, counted = "COUNTER_DISCONTINUITY", since
                if kind == "reset":
                    flag = "RESET"
                    counted += 0 if self._rule.count_on_reset == "zero" else pending.value - self._reset_to
                above = base - value
                if above > 0 and lost >= 0 and self._plausible(above, t_ns - state.t_ns):
                    # So close below, it may be a late answer, or the last value was wrong: then it is owed.
                    owed = 0 if value in self._nothing else above
                    after, event = self._rebase(state, t_ns, value, 0, flag, max_lost=lost + counted + owed)
                    old = after.old or OldTrack(state.t_ns, base, 0)
                    old = old._replace(booked=old.booked - owed, owed=old.owed + owed)
                    return after._replace(old=old), event
                return self._rebase(state, t_ns, value, counted, flag, max_lost=lost)

    def _jump(
        self, state: CounterState, pending: Pending, t_ns: int, value: int, since: int
    ) -> tuple[CounterState, CountEvent]:
        """Further than the machine can have come: set aside. If that happens again and again, the rate is wrong."""
        old, base = state.old or OldTrack(state.t_ns, 0, 0), _baseline(state)
        apart, flag = pending.value - base, "COUNTER_JUMP"
        hardly = apart <= HARDLY_TOO_FAR * self._max_lost(pending.t_ns - state.t_ns)
        jumps = old.jumps + 1 if hardly else old.jumps
        if jumps > JUMPS_MAX:
            jumps, flag = 0, "MAX_RATE_TOO_LOW"
        jumped = state._replace(old=OldTrack(state.t_ns, base, 0, old.owed, jumps=jumps))
        return self._book(jumped, t_ns, value, since, flag, review=apart)

    # --- what the cases are made of --------------------------------------------------------------------------------

    def _kind(self, state: CounterState, t_ns: int, value: int) -> str:
        if value > _baseline(state):
            old = state.old
            fits = (
                old is not None
                and self._comes_back(old, t_ns, value)
                and (value - old.value >= max(old.booked, 0) or _baseline(state) in self._nothing)
                and old.value >= _baseline(state)
            )
            return "restore" if fits else "jump"
        old = state.old
        jumped = old is not None and old.value not in self._nothing and value - old.value >= old.booked
        if jumped and old is not None and self._comes_back(old, t_ns, value):
            return "restore"  # it had jumped, and comes back
        since = value - self._reset_to
        return "reset" if since >= 0 and self._plausible(since, t_ns - state.t_ns) else "drop"

    def _comes_back(self, old: OldTrack, t_ns: int, value: int) -> bool:
        """Whether this value may go on where the old track ended."""
        return t_ns - old.t_ns <= self._rule.remember_old_track and self._plausible(
            self._ahead(old, value), t_ns - old.t_ns
        )

    def _step(
        self, state: CounterState, t_ns: int, value: int, step: int, flag: str, *, max_lost: int = 0
    ) -> tuple[CounterState, CountEvent]:
        """A step that fits. Where the old track come back explains it with fewer counts, these are booked."""
        old, base = state.old, _baseline(state)
        if old is None:
            return self._book(state, t_ns, value, step, flag, max_lost=max_lost)
        stood = base in self._nothing  # nothing was seen of the new track yet
        ahead = self._ahead(old, value)
        forgotten = t_ns - old.t_ns > self._rule.remember_old_track and not stood
        if forgotten or not self._plausible(ahead, t_ns - old.t_ns):
            # What is owed is not forgotten.
            state = state if old.owed or not forgotten else state._replace(old=None)
        elif not old.owed and not old.told and (not old.booked or stood):
            other = ahead - old.booked
            if 0 <= other < step or (other > step and stood):
                lost = max_lost if max_lost < 0 else max_lost + abs(other - step)
                gone = state._replace(old=None)
                return self._book(gone, t_ns, value, min(other, step), "COUNTER_AMBIGUOUS", max_lost=lost)
        anew = value - self._reset_to
        if base == self._nothing[0] < self._reset_to and 0 <= anew < step:
            # Zero was no value that this counter can have: it may have started where it starts.
            lost = max_lost if max_lost < 0 else max_lost + step - anew
            return self._book(state, t_ns, value, anew, "COUNTER_AMBIGUOUS", max_lost=lost)
        return self._book(state, t_ns, value, step, flag, max_lost=max_lost)

    def _rolled(
        self, state: CounterState, t_ns: int, value: int, step: int, flag: str, *, max_lost: int = 0
    ) -> tuple[CounterState, CountEvent]:
        """A roll-over to zero, remembered: PLCs in STOP read zero, so it may be no value at all."""
        after, event = self._book(state, t_ns, value, step, flag, max_lost=max_lost)
        owed = 0 if after.old is None else after.old.owed
        return after._replace(old=OldTrack(state.t_ns, _baseline(state), step, owed)), event

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
            paid = min(delta, old.owed)
            delta -= paid
            owed = old.owed - paid
            settled = old.owed and not owed
            old = None if settled else OldTrack(old.t_ns, old.value, old.booked + delta, owed, jumps=old.jumps)
        event = CountEvent(self._signal, delta, state.t_ns, t_ns, flag, delta > 1, review, max_lost)
        return CounterState(max(t_ns, state.t_ns), value, None, old, "", False, 0, state.before), event

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
        old, base = state.old, _baseline(state)
        if old is None or old.booked or old.value <= base:
            old = OldTrack(state.t_ns, base, delta, 0 if old is None else old.owed)
        else:  # nothing was seen of the track that ends here: it may have been a misread, too
            old = OldTrack(old.t_ns, old.value, delta, old.owed)
        event = CountEvent(self._signal, delta, state.t_ns, t_ns, flag, delta > 1, review, max_lost)
        return CounterState(max(t_ns, state.t_ns), value, None, old, "", False, 0, state.before), event

    def _event(self, t_from_ns: int, t_to_ns: int, delta: int, flag: str) -> CountEvent:
        return CountEvent(self._signal, delta, t_from_ns, t_to_ns, flag)


def _baseline(state: CounterState) -> int:
    assert state.value is not None, "asked only after the first sample"
    return state.value
