"""Counting mode ``analog``: a cycle told by a number that rises above one threshold and falls below another.

A value holds until the next one. A threshold must hold for its delay; the beginning and the end are dated where it was
first reached. A short loss of the signal changes nothing; a long one ends an open cycle uncounted and is declared.
Knows no pieces and no orders; ``running`` serves the machine's state too.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.counting.detector import NOTHING, lost_bound
from gateway.core.counting.pulse import SETTLE_GRACE_NS
from gateway.core.model import CountEvent, Status

if TYPE_CHECKING:
    from gateway.core.counting.detector import Events, Sample
    from gateway.core.rules_counting import AnalogRule


class AnalogState(NamedTuple):
    """Everything that an analog cycle must remember.

    ``on`` None: not known. ``on_ns``: beginning of the cycle that is on; None where it was not seen, then its end
    counts nothing. ``cross_ns``: since when the other threshold is reached, None for not. ``turned_ns``, ``was_on_ns``,
    ``early``: the last turn, the beginning before it, and whether only time proved it: a late value may still undo it.
    ``prepaid``: a cycle was counted that did not hold; the next one is it. ``dark_ns``: since when the value is not
    known, None where it is. ``seen_ns``: the last good value, 0 for none; ``arrived_ns``: when the last news came.
    """

    on: bool | None = None
    on_ns: int | None = None
    cross_ns: int | None = None
    turned_ns: int = 0
    was_on_ns: int | None = None
    early: bool = False
    prepaid: bool = False
    counted_ns: int = 0
    cycle_valid: bool = False
    dark_ns: int | None = None
    seen_ns: int = 0
    arrived_ns: int = 0
    aborted: int = 0
    rejected_short: int = 0

    def heard(self, seen_ns: int, arrived_ns: int, cross_ns: int | None) -> AnalogState:
        """A good value."""
        # Fields by their places, because every value passes here: four times as fast as ``_replace``.
        on, on_ns, _, turned_ns, was_on_ns, early, prepaid, counted_ns, valid, _, _, _, aborted, short = self
        fields = (on, on_ns, cross_ns, turned_ns, was_on_ns, early, prepaid, counted_ns, valid)
        return tuple.__new__(AnalogState, (*fields, None, seen_ns, arrived_ns, aborted, short))


class AnalogDetector:
    """The rule of one analog signal, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of a cycle; bounds what may have been lost where the delays do not.
    """

    def __init__(self, rule: AnalogRule, ideal_cycle_ns: int | None) -> None:
        self._rule = rule
        self._ideal = ideal_cycle_ns
        self._hi, self._lo = Decimal(rule.hi), Decimal(rule.lo)
        self._on_delay, self._off_delay = int(rule.on_delay), int(rule.off_delay)
        self._min_on = int(rule.min_on)
        self._max_gap = int(rule.max_gap)
        self._count_on = rule.count_on == "on"
        self.signals = (rule.signal,)

    def initial(self) -> AnalogState:
        """Nothing known: a cycle that is on is not counted."""
        return AnalogState()

    def restored(self, state: AnalogState) -> AnalogState:
        """Since the last value nobody looked."""
        if state.dark_ns is not None or not state.seen_ns:
            return state
        return state._replace(dark_ns=state.seen_ns, early=False)

    def running(self, state: AnalogState) -> bool | None:
        """Whether the machine works; None where the signal does not say so."""
        return None if state.dark_ns is not None else state.on

    def deadline(self, state: AnalogState) -> int | None:
        """When a threshold has held for long enough, or a loss has lasted too long."""
        if state.dark_ns is not None:
            if state.on is None:
                return None
            return max(state.dark_ns, state.arrived_ns) + self._max_gap + SETTLE_GRACE_NS
        if state.cross_ns is None:
            return None
        return max(state.cross_ns, state.arrived_ns) + self._delay(state) + SETTLE_GRACE_NS

    def on_time(self, state: AnalogState, now_ns: int) -> tuple[AnalogState, Events]:
        """Time has come: a threshold held, or the cycle is lost."""
        due_ns = self.deadline(state)
        if due_ns is None or now_ns < due_ns:
            return state, NOTHING
        if state.dark_ns is not None:
            return self._lost(state, state.dark_ns)
        return self._turn(state, early=True)

    def on_value(self, state: AnalogState, sample: Sample) -> tuple[AnalogState, Events]:
        """One value; what is not good or no number is a loss of the signal."""
        value, t_ns = _number(sample), sample.t_ns
        if value is None:
            return self._on_bad(state, sample)
        level = True if value >= self._hi else False if value <= self._lo else None
        events = NOTHING
        if state.dark_ns is not None:
            state, events = self._back(state, state.dark_ns, t_ns, level=level)
        if state.on is None:
            state, more = self._found(state, sample, level=level)
            return state, events + more
        if state.cross_ns is not None and t_ns - state.cross_ns >= self._delay(state):
            state, events = self._turn(state, early=False)
        elif state.early:
            state = self._look_back(state, t_ns, level=level)
        if level is None or level is state.on:
            return state.heard(max(t_ns, state.seen_ns), sample.arrived_ns, None), events
        crosses = state.cross_ns is None
        state = state.heard(max(t_ns, state.seen_ns), sample.arrived_ns, t_ns if crosses else state.cross_ns)
        if crosses and not self._delay(state):
            state, more = self._turn(state, early=False)
            events += more
        return state, events

    def _back(self, state: AnalogState, dark_ns: int, t_ns: int, *, level: bool | None) -> tuple[AnalogState, Events]:
        """The signal is back: after too long all is lost, else only what it says now keeps a crossing alive."""
        if t_ns - dark_ns > self._max_gap:
            return self._lost(state, dark_ns)
        if level is None or level is state.on:
            return state._replace(cross_ns=None), NOTHING
        return state, NOTHING

    def _on_bad(self, state: AnalogState, sample: Sample) -> tuple[AnalogState, Events]:
        if state.dark_ns is not None or state.on is None:
            return state, NOTHING
        events = NOTHING
        if state.cross_ns is not None and sample.t_ns - state.cross_ns >= self._delay(state):
            state, events = self._turn(state, early=False)
        # The last value held up to here.
        return state._replace(dark_ns=sample.t_ns, arrived_ns=sample.arrived_ns, early=False), events

    def _found(self, state: AnalogState, sample: Sample, *, level: bool | None) -> tuple[AnalogState, Events]:
        """The first value, or the first after a loss: a cycle that is on then began unseen and is not counted."""
        signal, t_ns = self._rule.signal, sample.t_ns
        found = state._replace(on=level is True, on_ns=None, cross_ns=None, turned_ns=t_ns, early=False)
        if not state.seen_ns:
            return self._seen(found, sample), (CountEvent(signal, 0, t_ns, t_ns, "BASELINE"),)
        dark_ns = state.seen_ns if state.dark_ns is None else state.dark_ns
        bound = lost_bound(t_ns - dark_ns, self._min_on + self._off_delay, self._ideal)
        # And one for the cycle that the loss began or ended in.
        lost = CountEvent(signal, 0, dark_ns, t_ns, "PULSES_POSSIBLY_LOST", max_lost=bound + 1 if bound >= 0 else bound)
        return self._seen(found, sample), (lost,)

    def _lost(self, state: AnalogState, dark_ns: int) -> tuple[AnalogState, Events]:
        """The signal was lost for too long: an open cycle is not counted, everything must be found anew."""
        events = NOTHING
        if state.on and state.on_ns is not None and not self._count_on:
            until_ns = dark_ns + self._max_gap
            events = (CountEvent(self._rule.signal, 0, state.on_ns, until_ns, "CYCLE_ABORTED", estimated=True),)
        return (
            state._replace(
                on=None,
                on_ns=None,
                cross_ns=None,
                was_on_ns=None,
                early=False,
                prepaid=False,
                cycle_valid=False,
                aborted=state.aborted + len(events),
            ),
            events,
        )

    def _turn(self, state: AnalogState, *, early: bool) -> tuple[AnalogState, Events]:
        """The other threshold held: the cycle begins or ends where it was first reached."""
        at_ns = state.cross_ns
        assert at_ns is not None, "asked only where a threshold was reached"
        begins = not state.on
        turned = state._replace(
            on=begins,
            on_ns=at_ns if begins else None,
            cross_ns=None,
            turned_ns=at_ns,
            was_on_ns=state.on_ns,
            early=early,
        )
        if begins:
            return self._count(turned, at_ns, at_ns) if self._count_on else (turned, NOTHING)
        if self._count_on or state.on_ns is None:
            return turned, NOTHING
        if at_ns - state.on_ns < self._min_on:
            return turned._replace(rejected_short=state.rejected_short + 1), NOTHING
        return self._count(turned, state.on_ns, at_ns)

    def _count(self, state: AnalogState, t_from_ns: int, t_to_ns: int) -> tuple[AnalogState, Events]:
        since = t_to_ns - state.counted_ns
        if state.prepaid:
            return state._replace(prepaid=False, counted_ns=t_to_ns, cycle_valid=True), NOTHING
        longest = self._rule.max_cycle
        single = state.cycle_valid and since >= 0 and (longest is None or since <= longest)
        event = CountEvent(self._rule.signal, 1, t_from_ns, t_to_ns, "OK", cycle_ns=since if single else None)
        return state._replace(counted_ns=t_to_ns, cycle_valid=True), (event,)

    def _look_back(self, state: AnalogState, t_ns: int, *, level: bool | None) -> AnalogState:
        """A late value may show that a threshold which the timer believed did not hold: then there was no turn."""
        delay = self._on_delay if state.on else self._off_delay
        if level is state.on or t_ns - state.turned_ns >= delay:
            return state
        counted = state.counted_ns == state.turned_ns and (state.on is self._count_on)
        undone = state._replace(on=not state.on, on_ns=state.was_on_ns, early=False, prepaid=state.prepaid or counted)
        period = None if state.on or state.was_on_ns is None else state.turned_ns - state.was_on_ns
        if period is not None and period < self._min_on:
            return undone._replace(rejected_short=state.rejected_short - 1)
        return undone

    def _seen(self, state: AnalogState, sample: Sample) -> AnalogState:
        return state.heard(max(sample.t_ns, state.seen_ns), sample.arrived_ns, state.cross_ns)

    def _delay(self, state: AnalogState) -> int:
        return self._off_delay if state.on else self._on_delay


def _number(sample: Sample) -> int | float | None:
    value = sample.value
    if sample.status is not Status.GOOD or isinstance(value, (bool, str)):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value
