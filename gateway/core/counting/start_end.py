"""Counting mode ``start_end``: a cycle with a start and an end, from two signals or from the two levels of one.

A cycle is dated by its start, so that it belongs to the order in which it was begun. An end whose start was not seen
counts without a cycle time; a start without an end is aborted or counted, as the rule says. Knows no pieces and no
orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.counting.detector import LOOKED_AT_EVERY_UNKNOWN, NOTHING
from gateway.core.counting.edges import Edges
from gateway.core.counting.pulse import LOST, PulseState
from gateway.core.counting.verdicts import OpenPart, Verdicts, VerdictState
from gateway.core.model import CountEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Events, Sample
    from gateway.core.counting.edges import Edge
    from gateway.core.rules_counting import StartEndRule


class StartEndState(NamedTuple):
    """Everything that a cycle must remember.

    ``open_ns``: start of the cycle that is on, None for none; ``whole``: nothing of it was missed so far. ``stopped``:
    it was aborted, the end that follows ends nothing. ``end_ns``: the last end, 0 for none.
    """

    edges: tuple[PulseState, ...] = ()
    open_ns: int | None = None
    whole: bool = False
    stopped: bool = False
    end_ns: int = 0
    aborted: int = 0
    orphan_end: int = 0
    verdicts: VerdictState = VerdictState()

    def moved(self, edges: tuple[PulseState, ...]) -> StartEndState:
        """An input had a value, or time passed."""
        # By place, because every value passes here: four times as fast as ``_replace``.
        return tuple.__new__(StartEndState, (edges, *self[1:]))

    def opened(self, t_ns: int) -> StartEndState:
        """A cycle began."""
        return tuple.__new__(StartEndState, (self.edges, t_ns, True, False, *self[4:]))

    def closed(self, t_ns: int) -> StartEndState:
        """A cycle ended."""
        return tuple.__new__(StartEndState, (self.edges, None, *self[2:4], t_ns, *self[5:]))


class StartEndDetector:
    """The rule of one start and end, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of a cycle; bounds what may have been lost where no minimum is set.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self,
        rule: StartEndRule,
        ideal_cycle_ns: int | None,
        looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN,
    ) -> None:
        self._rule = rule
        self._count_start = rule.count_on == "start"
        self._steps = {"start": self._start, "end": self._end, "abort": self._abort}
        inputs = rule.inputs
        self._edges = Edges(inputs, ideal_cycle_ns, looked_at_every)
        self._counting = inputs[rule.count_on].signal
        self._verdicts = (
            None
            if rule.results is None
            else Verdicts(rule.results, self._counting, latch=True, looked_at_every=looked_at_every)
        )
        # Of one scan: results first, they are latched at the end; then in the order of the inputs.
        self.signals = (*(() if self._verdicts is None else self._verdicts.signals), *self._edges.signals)

    def initial(self) -> StartEndState:
        """Nothing known."""
        verdicts = VerdictState() if self._verdicts is None else self._verdicts.initial()
        return StartEndState(self._edges.initial(), verdicts=verdicts)

    def restored(self, state: StartEndState) -> StartEndState:
        """Levels must be seen anew; a cycle that was on still is, but its time is not known any more."""
        verdicts = VerdictState() if self._verdicts is None else self._verdicts.restored(state.verdicts)
        return state._replace(edges=self._edges.restored(state.edges), whole=False, verdicts=verdicts)

    def deadline(self, state: StartEndState) -> int | None:
        """When a level is believed, or a cycle that waits for its verdict is decided."""
        settled_ns = self._edges.deadline(state.edges)
        if self._verdicts is None:
            return settled_ns
        judged_ns = self._verdicts.deadline(state.verdicts)
        return judged_ns if settled_ns is None or (judged_ns is not None and judged_ns < settled_ns) else settled_ns

    def on_time(self, state: StartEndState, now_ns: int) -> tuple[StartEndState, Events]:
        """Levels that held are believed, cycles whose window is over are counted."""
        edges, found = self._edges.on_time(state.edges, now_ns)
        state, events = self._cycles(state.moved(edges), found, now_ns)
        if self._verdicts is None:
            return state, events
        unsettled_ns = self._edges.unsettled(edges)
        verdicts, more = self._verdicts.on_time(state.verdicts, now_ns, unsettled_ns=unsettled_ns)
        return state._replace(verdicts=verdicts), events + more

    def on_value(self, state: StartEndState, sample: Sample) -> tuple[StartEndState, Events]:
        """One of the signals."""
        edges, found = self._edges.on_value(state.edges, sample)
        state, events = self._cycles(state.moved(edges), found, sample.arrived_ns)
        if state.whole and not self._edges.known(edges):
            state = state._replace(whole=False)
        if self._verdicts is None:
            return state, events
        unsettled_ns = self._edges.unsettled(edges)
        verdicts, more = self._verdicts.on_value(state.verdicts, sample, unsettled_ns=unsettled_ns)
        return state._replace(verdicts=verdicts), events + more

    def _cycles(self, state: StartEndState, found: list[Edge], arrived_ns: int) -> tuple[StartEndState, Events]:
        out: Events = NOTHING
        for name, event in found:
            if self._verdicts is not None:
                verdicts, events = self._verdicts.passed(state.verdicts, event.t_to_ns)
                state, out = state._replace(verdicts=verdicts), out + events
            if not event.delta:
                if event.flag == LOST and state.whole:
                    state = state._replace(whole=False)
                # Only what is missed of the edges that count is pieces.
                out += (event,) if name == self._rule.count_on else ()
                continue
            state, events = self._steps[name](state, event.t_to_ns, arrived_ns)
            out += events
        return state, out

    def _start(self, state: StartEndState, t_ns: int, arrived_ns: int) -> tuple[StartEndState, Events]:
        events = NOTHING
        if state.open_ns is not None:
            state, events = self._never_ended(state, state.open_ns, t_ns, arrived_ns)
        state = state.opened(t_ns)
        if self._count_start:
            events += (CountEvent(self._counting, 1, t_ns, t_ns, "OK"),)
        return state, events

    def _never_ended(
        self, state: StartEndState, open_ns: int, t_ns: int, arrived_ns: int
    ) -> tuple[StartEndState, Events]:
        """A start while a cycle is on: what the former one was."""
        if self._rule.missing_end == "abort":
            event = CountEvent(self._counting, 0, open_ns, t_ns, "CYCLE_ABORTED")
            return state._replace(aborted=state.aborted + 1), (event,)
        if self._count_start:  # it is counted already
            return state, NOTHING
        return self._count(state, OpenPart(open_ns, t_ns, arrived_ns, None, "END_MISSING"))

    def _abort(self, state: StartEndState, t_ns: int, _arrived_ns: int) -> tuple[StartEndState, Events]:
        if state.open_ns is None:
            return state, NOTHING
        event = CountEvent(self._counting, 0, state.open_ns, t_ns, "CYCLE_ABORTED")
        return state._replace(open_ns=None, stopped=True, aborted=state.aborted + 1), (event,)

    def _end(self, state: StartEndState, t_ns: int, arrived_ns: int) -> tuple[StartEndState, Events]:
        last_ns, open_ns = state.end_ns, state.open_ns
        if state.stopped:
            return state._replace(stopped=False, end_ns=t_ns), NOTHING
        state = state.closed(t_ns)
        if open_ns is None:
            orphan = OpenPart(last_ns or t_ns, t_ns, arrived_ns, None, "ORPHAN_END")
            return self._count(state._replace(orphan_end=state.orphan_end + 1), orphan)
        longest = self._rule.max_cycle
        single = state.whole and open_ns <= t_ns and (longest is None or t_ns - open_ns <= longest)
        cycle_ns = t_ns - open_ns if single else None
        if not self._count_start:
            return self._count(state, OpenPart(open_ns, t_ns, arrived_ns, cycle_ns))
        if cycle_ns is None:
            return state, NOTHING
        # The piece is counted; only now its cycle time is known.
        return state, (CountEvent(self._counting, 0, open_ns, t_ns, "OK", cycle_ns=cycle_ns, cycles=0),)

    def _count(self, state: StartEndState, part: OpenPart) -> tuple[StartEndState, Events]:
        if self._verdicts is None:
            missed = part.flag != "OK"
            event = CountEvent(self._counting, 1, part.t_from_ns, part.t_ns, part.flag, missed, cycle_ns=part.cycle_ns)
            return state, (event,)
        verdicts, events = self._verdicts.opened(state.verdicts, part)
        return state._replace(verdicts=verdicts), events
