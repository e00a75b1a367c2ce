"""Counting mode ``weighing``: a weight that holds still on a scale is one weighing; then the scale must be empty.

Weights are whole numbers of the scale's steps, and what is not a whole step of the unit yet is carried as a fraction:
nothing drifts. A weight that a bad value interrupts goes on where it is the same afterwards; a long loss is declared.
Knows no pieces and no orders, and converts nothing between units of measure.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.counting.detector import NOTHING, lost_bound
from gateway.core.counting.pulse import SETTLE_GRACE_NS
from gateway.core.model import CountEvent, Role, Status
from gateway.core.rules_weighing import DIGITS_MAX

if TYPE_CHECKING:
    from gateway.core.counting.detector import Events, Sample
    from gateway.core.rules_weighing import WeighingRule

OUTSIDE: Final = "WEIGHT_OUTSIDE"
TARE_UNKNOWN: Final = "TARE_UNKNOWN"


class WeighingState(NamedTuple):
    """Everything that a scale must remember. Weights are in steps of the scale.

    ``armed``: the scale was empty since the last weighing, so the next weight that holds is one. ``since_ns``: since
    when the weight on it is the same, None where that is not known; ``first`` and ``last``: that weight, then and now;
    ``judged``: it was a weighing, or refused. ``empty_ns``: since when the scale is empty, ``loaded_ns``: since when
    it is not, None for not. ``early``: only time proved the weighing, a late value may still undo it; ``booked``: what
    it weighed, None where nothing was counted. ``prepaid``: a weighing was counted that did not hold; the next one is
    it. ``dark_ns``: since when the weight is not known, None where it is. ``seen_ns``: the last good value, 0 for none;
    ``arrived_ns``: when it came. ``carry / carry_of`` and ``held / held_of``: the parts of a step that are not booked
    yet, of what counts and of what is held; below 0 where too much was counted early.
    """

    armed: bool = False
    since_ns: int | None = None
    first: int = 0
    last: int = 0
    judged: bool = False
    empty_ns: int | None = None
    loaded_ns: int | None = None
    early: bool = False
    booked: int | None = None
    prepaid: bool = False
    tare: int | None = None
    dark_ns: int | None = None
    seen_ns: int = 0
    arrived_ns: int = 0
    counted_ns: int = 0
    cycle_valid: bool = False
    carry: int = 0
    carry_of: int = 1
    held: int = 0
    held_of: int = 1


class WeighingDetector:
    """The rule of one scale, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: not needed: how long a weight must hold bounds what may have been lost.
    """

    def __init__(self, rule: WeighingRule, ideal_cycle_ns: int | None) -> None:
        self._rule = rule
        self._ideal = ideal_cycle_ns
        step = Fraction(Decimal(rule.resolution))
        self._step = (step.numerator, step.denominator)
        self._stable, self._empty_for, self._max_gap = int(rule.stable_for), int(rule.empty_for), int(rule.longest_gap)
        self._tolerance = Fraction(Decimal(rule.tolerance)) // step
        self._empty_below = math.ceil(Fraction(Decimal(rule.empty_below)) / step)
        self._least = None if rule.min_weight is None else math.ceil(Fraction(Decimal(rule.min_weight)) / step)
        self._most = None if rule.max_weight is None else Fraction(Decimal(rule.max_weight)) // step
        self._tare = None if rule.tare_signal is not None else round(Fraction(Decimal(rule.tare)) / step)
        by_weight = rule.unit_weight
        #: Steps of the unit that one step of the scale is; None where a weighing is a number of pieces.
        self._per_digit = None if by_weight is None else step / by_weight.exact * 10**rule.decimals
        # The tare of one scan is known when its weight is judged.
        self.signals = (rule.signal,) if rule.tare_signal is None else (rule.tare_signal, rule.signal)

    def initial(self) -> WeighingState:
        """Nothing known: what is on the scale is not counted."""
        return WeighingState(tare=self._tare)

    def restored(self, state: WeighingState) -> WeighingState:
        """Since the last value nobody looked: the weight must hold anew, and be told anew with its tare."""
        dark_ns = state.seen_ns if state.dark_ns is None and state.seen_ns else state.dark_ns
        return self._stood_empty(state, state.seen_ns)._replace(
            since_ns=None, first=0, last=0, early=False, booked=None, tare=self._tare, dark_ns=dark_ns
        )

    def carry(self, state: WeighingState) -> Fraction:
        """The part of a step that is not booked yet, exactly: below 1, held weighings apart."""
        return Fraction(state.carry, state.carry_of)

    def deadline(self, state: WeighingState) -> int | None:
        """When a weight has held for long enough."""
        if state.since_ns is None or not state.armed or state.judged or state.dark_ns is not None:
            return None
        return max(state.since_ns, state.arrived_ns) + self._stable + SETTLE_GRACE_NS

    def on_time(self, state: WeighingState, now_ns: int) -> tuple[WeighingState, Events]:
        """Time has come: the weight held."""
        due_ns = self.deadline(state)
        return (state, NOTHING) if due_ns is None or now_ns < due_ns else self._weighed(state, early=True)

    def on_value(self, state: WeighingState, sample: Sample) -> tuple[WeighingState, Events]:
        """One weight, or the tare; what is not good or no number is a loss of the signal."""
        value, t_ns = self._digits(sample), sample.t_ns
        state, events = self._held(state, t_ns)
        if sample.signal != self._rule.signal:
            return (state if state.tare == value else state._replace(tare=value)), events
        if value is None:
            return self._on_bad(state, sample), events
        if not state.seen_ns:
            events = (CountEvent(sample.signal, 0, t_ns, t_ns, "BASELINE"),)
        elif state.dark_ns is not None:
            state, more = self._back(state, state.dark_ns, t_ns, value)
            events += more
        seen: dict[str, Any] = {"seen_ns": max(t_ns, state.seen_ns), "arrived_ns": sample.arrived_ns, "dark_ns": None}
        if value < self._empty_below:
            state = self._look_back(state, t_ns)
            empty_ns = t_ns if state.empty_ns is None else state.empty_ns
            return state._replace(since_ns=None, loaded_ns=None, judged=False, empty_ns=empty_ns, **seen), events
        state = self._emptied(state, t_ns)
        if state.since_ns is not None and abs(value - state.first) <= self._tolerance:
            state, more = self._held(state._replace(last=value, **seen), t_ns)
            return state, events + more
        state = self._look_back(state, t_ns)
        loaded_ns = t_ns if state.loaded_ns is None else state.loaded_ns
        state = state._replace(since_ns=t_ns, first=value, last=value, judged=False, loaded_ns=loaded_ns, **seen)
        return state, events

    # --- what a value shows ------------------------------------------------------------------------------------------

    def _held(self, state: WeighingState, t_ns: int) -> tuple[WeighingState, Events]:
        """Up to here the weight was the same."""
        if state.since_ns is None or state.dark_ns is not None or t_ns - state.since_ns < self._stable:
            return state, NOTHING
        if state.early:
            state = state._replace(early=False, booked=None)
        return self._weighed(state, early=False) if state.armed and not state.judged else (state, NOTHING)

    def _emptied(self, state: WeighingState, t_ns: int) -> WeighingState:
        """The scale is empty no more, or nobody knows: it was so for long enough, or only for a moment."""
        return state if state.empty_ns is None else self._stood_empty(state, t_ns)._replace(empty_ns=None)

    def _stood_empty(self, state: WeighingState, t_ns: int) -> WeighingState:
        """If the scale was empty up to here for long enough, the next weight that holds is a weighing."""
        long_enough = state.empty_ns is not None and t_ns - state.empty_ns >= self._empty_for
        return state._replace(armed=True) if long_enough and not state.armed else state

    def _on_bad(self, state: WeighingState, sample: Sample) -> WeighingState:
        if state.dark_ns is not None or not state.seen_ns:
            return state
        state = self._stood_empty(state, sample.t_ns)
        return state._replace(dark_ns=sample.t_ns, early=False, booked=None)

    def _back(self, state: WeighingState, dark_ns: int, t_ns: int, value: int) -> tuple[WeighingState, Events]:
        """The signal is back: what is as it was goes on after a short loss, a long one is declared."""
        state = state._replace(dark_ns=None)
        if t_ns - dark_ns > self._max_gap:
            anew = state._replace(since_ns=None, empty_ns=None, loaded_ns=None, judged=False, cycle_valid=False)
            bound = lost_bound(t_ns - dark_ns, self._stable, self._ideal) + 1  # one more: what the loss ended in
            lost = bound if self._per_digit is None or self._most is None else bound * self._rounded_up(self._most)
            return anew, (CountEvent(self._rule.signal, 0, dark_ns, t_ns, "PULSES_POSSIBLY_LOST", max_lost=lost),)
        if state.empty_ns is not None and value >= self._empty_below:
            return state._replace(empty_ns=None), NOTHING
        return state, NOTHING

    def _look_back(self, state: WeighingState, t_ns: int) -> WeighingState:
        """A late value may show that a weight which the timer believed did not hold: then it was no weighing."""
        if not state.early or state.since_ns is None or t_ns - state.since_ns >= self._stable:
            return state
        undone = state._replace(armed=True, judged=False, early=False, booked=None)
        if state.booked is None:
            return undone
        if self._per_digit is None:
            return undone._replace(prepaid=True)
        owed = Fraction(state.carry, state.carry_of) - state.booked * self._per_digit
        return undone._replace(carry=owed.numerator, carry_of=owed.denominator)

    # --- weighings ---------------------------------------------------------------------------------------------------

    def _weighed(self, state: WeighingState, *, early: bool) -> tuple[WeighingState, Events]:
        """The weight held: what it is worth."""
        at_ns = state.since_ns
        assert at_ns is not None, "asked only where a weight is on the scale"
        net = None if state.tare is None else state.last - state.tare
        judges = self._per_digit is not None or self._least is not None or self._most is not None
        fits = net is not None and self._fits(net)
        flag = "OK" if fits or not judges else TARE_UNKNOWN if net is None else OUTSIDE
        from_ns = at_ns if state.loaded_ns is None else state.loaded_ns
        if flag == OUTSIDE and self._rule.outside == "refuse":
            told = CountEvent(self._rule.signal, 0, from_ns, at_ns, flag)
            return state._replace(judged=True, early=early, booked=None), (told,)
        since = at_ns - state.counted_ns
        longest = self._rule.max_cycle
        single = state.cycle_valid and since >= 0 and (longest is None or since <= longest)
        event = CountEvent(self._rule.signal, 1, from_ns, at_ns, flag, cycle_ns=since if single else None)
        weighed = state._replace(armed=False, judged=True, early=early, counted_ns=at_ns, cycle_valid=True)
        if flag != "OK":
            event = event._replace(role=Role.HOLD)
        if self._per_digit is None:
            weighed = weighed._replace(booked=0 if early else None, prepaid=False)
            return weighed, NOTHING if state.prepaid else (event,)
        return self._by_weight(weighed, event, net)

    def _by_weight(self, state: WeighingState, event: CountEvent, net: int | None) -> tuple[WeighingState, Events]:
        """Whole steps of the unit now, the rest with the next weighing."""
        assert self._per_digit is not None, "asked only where the weight is what counts"
        if net is None:  # nobody knows how much of what the scale shows it was
            most = self._rounded_up(max(state.last, 0))
            return state._replace(booked=None), (event._replace(delta=0, cycles=1, max_lost=most),)
        if self._most is not None and net > self._most:
            return state._replace(booked=None), (event._replace(delta=0, cycles=1, review=self._rounded_up(net)),)
        net = max(net, 0)
        holds = event.role is Role.HOLD
        before = Fraction(state.held, state.held_of) if holds else self.carry(state)
        total = before + net * self._per_digit
        whole = max(math.floor(total), 0)
        rest = total - whole
        booked = net if state.early else None
        parts = (rest.numerator, rest.denominator)
        kept = {"held": parts[0], "held_of": parts[1]} if holds else {"carry": parts[0], "carry_of": parts[1]}
        return state._replace(booked=booked, **kept), (event._replace(delta=whole, cycles=1),)

    def _fits(self, net: int) -> bool:
        if self._per_digit is not None and net <= 0:
            return False
        return (self._least is None or net >= self._least) and (self._most is None or net <= self._most)

    def _rounded_up(self, digits: int) -> int:
        """So many steps of the scale as steps of the unit, for a bound."""
        return digits if self._per_digit is None else math.ceil(digits * self._per_digit)

    def _digits(self, sample: Sample) -> int | None:
        """The nearest step of the scale; None where the value is no weight."""
        value = sample.value
        if sample.status is not Status.GOOD or value is None or isinstance(value, (bool, str)):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        above, below = value.as_integer_ratio()
        of = below * self._step[0]
        digits = (2 * above * self._step[1] + of) // (2 * of)
        return digits if -DIGITS_MAX <= digits <= DIGITS_MAX else None
