"""What a lost database leaves unknown at one work unit: declared, never booked.

A counter's bound is what its register moved by, from its last value in the lost database to the first one that is read
again; where that value is gone, or is no track to go on from, what the rate allows. Reads no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.counting.counter import CounterState
from gateway.core.counting.counter_limits import CounterLimits
from gateway.core.counting.pulse import PulseDetector, PulseState
from gateway.core.model import DatabaseLost, LostCounter, Notice, UnknownInterval
from gateway.core.orders.standing_holds import StandingHoldChanged
from gateway.core.rules_inputs import CounterRule, PulseRule
from gateway.core.unit_state import ROLES, remember_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.model import CountEvent, Output, Role
    from gateway.core.rules import AnyCountingRule, WorkUnitRules
    from gateway.core.unit_state import DetectorState, State

DATABASE_LOST: Final = "DATABASE_LOST"
#: The first value that a counter or pulse input shows: nothing is declared before it.
BASELINE: Final = "BASELINE"


class LostDatabase:
    """The rules of one work unit, prepared.

    Args:
        rules: the settings, as they are in effect.
    """

    def __init__(self, rules: WorkUnitRules) -> None:
        ideal = None if rules.ideal_cycle is None else int(rules.ideal_cycle)
        self._rules = rules.counters
        counters = [rule for rule in rules.counters if isinstance(rule, CounterRule)]
        pulses = [rule for rule in rules.counters if isinstance(rule, PulseRule)]
        self._limits = {rule.signal: CounterLimits(rule, ideal) for rule in counters}
        self._pulses = {rule.signal: PulseDetector(rule, ideal) for rule in pulses}

    def told(self, state: State, given: DatabaseLost, at_ns: int, out: list[Output]) -> State:
        """Declare what is known at once, and keep what waits for the first reading of its signal."""
        out += given.pieces
        for interval in (*given.before, *given.pieces):
            state = remember_unknown(state, interval)
        lost = {one.signal: one for one in given.counters}
        waiting: list[LostCounter] = []
        for rule, kept in zip(self._rules, state.detectors, strict=True):
            one = lost.get(rule.signal, LostCounter(rule.signal, given.at_ns, measured=False))
            if _is_new(kept):
                waiting.append(one)
            else:  # it has no one value to wait for, or is read already
                state = _declared(state, rule, one, at_ns, -1, out)
        names = ("signals", ", ".join(one.signal for one in waiting))
        since = ("since_ns", str(min((one.since_ns for one in lost.values()), default=at_ns)))
        out.append(Notice(at_ns, DATABASE_LOST, (since, names)))
        for hold in given.standing:
            out.append(StandingHoldChanged(at_ns, hold.scope, hold.name, True, hold.reason, hold.who))
        return state._replace(lost=tuple(waiting), standing=(*state.standing, *given.standing))

    def seen_again(
        self,
        state: State,
        rule: AnyCountingRule,
        event: CountEvent,
        detectors: Sequence[DetectorState],
        out: list[Output],
    ) -> State:
        """The first reading of a signal: what its counter moved by meanwhile is the bound."""
        first = event.flag == BASELINE
        one = next((lost for lost in state.lost if first and lost.signal == rule.signal), None)
        if one is None:
            return state
        state = state._replace(lost=tuple(lost for lost in state.lost if lost is not one))
        dt_ns = event.t_to_ns - one.since_ns if one.measured and event.t_to_ns >= one.since_ns else None
        bound = -1
        if rule.signal in self._limits:
            kept = detectors[self._rules.index(rule)]
            if isinstance(kept, CounterState) and kept.value is not None:
                bound = self._limits[rule.signal].moved_at_most(one.value, kept.value, dt_ns)
        elif dt_ns is not None and rule.signal in self._pulses:
            bound = self._pulses[rule.signal].bound(dt_ns)
        return _declared(state, rule, one, event.t_to_ns, bound, out)

    def left_in(self, state: State, at_ns: int, shift_ns: int, *, measured: bool) -> DatabaseLost:
        """What the last state in the lost database knew; ``shift_ns`` brings its times to those of now.

        Pieces that were counted and not confirmed are known exactly, and gone; what it had not declared yet stays to be
        declared, and what it had stays known.
        """
        open_already = {one.signal: one for one in state.lost}
        lead = state.running
        order, operation = (None, None) if lead is None else lead.job.key
        counters: list[LostCounter] = []
        for rule, kept in zip(self._rules, state.detectors, strict=True):
            since_ns, value = state.at_ns, None
            if isinstance(kept, CounterState) and kept.value is not None:
                since_ns, value = kept.t_ns, kept.value
            elif isinstance(kept, PulseState) and kept.seen_ns:
                since_ns = kept.seen_ns
            one = LostCounter(rule.signal, since_ns, value, order, operation)
            one = open_already.get(rule.signal, one)
            counters.append(one._replace(since_ns=one.since_ns + shift_ns, measured=one.measured and measured))
        pieces = self._unconfirmed(state)
        before, gone = (_moved(found, shift_ns) for found in (state.unknown, pieces))
        standing = tuple(one._replace(since_ns=one.since_ns + shift_ns) for one in state.standing)
        return DatabaseLost(at_ns, tuple(counters), gone, before, standing)

    def nothing_left(self, at_ns: int, since_ns: int, *, measured: bool) -> DatabaseLost:
        """Where the last state cannot be read: since when nothing is known, for every signal."""
        return DatabaseLost(at_ns, tuple(LostCounter(rule.signal, since_ns, measured=measured) for rule in self._rules))

    def _unconfirmed(self, state: State) -> list[UnknownInterval]:
        """Pieces of orders, and of none, that were counted and stood in no confirmation."""
        found: list[UnknownInterval] = []
        for run in (None, *state.open_runs()):
            since_ns = (state.unallocated_since_ns or 0) if run is None else run.open_from_ns
            order, operation = (None, None) if run is None else run.job.key
            for role in ROLES:
                pieces = getattr(state.unallocated, role) if run is None else getattr(run, f"open_{role}")
                if pieces > 0:
                    span = (since_ns or state.at_ns, state.at_ns)
                    found.append(
                        UnknownInterval(self._signal_of(role), role, *span, pieces, DATABASE_LOST, order, operation)
                    )
        return found

    def _signal_of(self, role: Role) -> str:
        """The signal that counts it, else the first one: who judged it otherwise is no signal."""
        signals = [rule.signal for rule in self._rules]
        return next((rule.signal for rule in self._rules if rule.role is role), signals[0] if signals else "")


def _is_new(kept: DetectorState) -> bool:
    """Whether it is a counter or pulse input that was not read yet."""
    if isinstance(kept, CounterState):
        return kept.value is None
    return isinstance(kept, PulseState) and not kept.seen_ns


def _declared(
    state: State, rule: AnyCountingRule, one: LostCounter, to_ns: int, bound: int, out: list[Output]
) -> State:
    pieces = bound * rule.pieces if bound >= 0 else None
    span = (min(one.since_ns, to_ns), to_ns)
    interval = UnknownInterval(rule.signal, rule.role, *span, pieces, DATABASE_LOST, one.order, one.operation)
    out.append(interval)
    return remember_unknown(state, interval)


def _moved(found: Sequence[UnknownInterval], shift_ns: int) -> tuple[UnknownInterval, ...]:
    return tuple(one._replace(t_from_ns=one.t_from_ns + shift_ns, t_to_ns=one.t_to_ns + shift_ns) for one in found)
