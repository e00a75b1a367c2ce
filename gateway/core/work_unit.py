"""One work unit as a pure state machine: counting, state, orders and confirmations composed.

``handle(state, input)`` returns the new state and the outputs in order. Time enters only as ``TimePassed`` or as an
input's own stamp; timers that fell due before an input fire before it, at their own time, so the outputs are the same
in whatever batches the inputs arrive.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from gateway.core import confirmation
from gateway.core.counting.counter import CounterDetector, CounterState
from gateway.core.counting.pulse import PulseDetector, PulseState
from gateway.core.model import (
    CountEvent,
    DataValue,
    MachineState,
    Notice,
    OperatorEntry,
    OrderReceived,
    PiecesProduced,
    Role,
    StateChanged,
    Status,
    UnknownInterval,
)
from gateway.core.orders.dispatch import Dispatch
from gateway.core.orders.job_run import JobRun, book, room
from gateway.core.state.machine_state import StateDerivation
from gateway.core.unit_state import DetectorState, State, remember_unknown

if TYPE_CHECKING:
    from gateway.core.document import Identity
    from gateway.core.model import Input, Output, Scalar
    from gateway.core.rules import CounterRule, CountingRule, WorkUnitRules

#: Timers that may fire for one input; more means a rule that never comes to rest.
TIMERS_PER_INPUT_MAX: Final = 10_000

#: Wild values add up beyond what a display or a JSON reader can hold; the journal has each of them.
REVIEW_PIECES_MAX: Final = 2**53 - 1

_QUIET_FLAGS: Final = frozenset({"OK"})


class WorkUnit:
    """The rules of one machine, prepared. Holds no state: every method is a function of its arguments."""

    def __init__(self, rules: WorkUnitRules, identity: Identity) -> None:
        self.rules = rules
        self.identity = identity
        ideal = int(rules.ideal_cycle) if rules.ideal_cycle is not None else None
        self._detectors = [_detector(rule, ideal) for rule in rules.counters]
        self._pulses = [(at, d) for at, d in enumerate(self._detectors) if isinstance(d, PulseDetector)]
        self._counting = {rule.signal: index for index, rule in enumerate(rules.counters)}
        self.evidence_signals = _evidence_signals(rules)
        self._evidence = {signal: index for index, signal in enumerate(self.evidence_signals)}
        self._uptimes = frozenset(signal for rule in _counters(rules) for signal in rule.restart_uptime)
        self._derivation = StateDerivation(rules.state, ideal, frozenset(self._counting))
        self._dispatch = Dispatch(rules, identity)
        self._skew_ns = int(rules.max_source_skew)

    @property
    def signals(self) -> frozenset[str]:
        """Every signal that a rule of this work unit reads."""
        named = {self.rules.state.signal, self.rules.orders.job_signal} - {None}
        return frozenset(self._counting) | frozenset(self._evidence) | frozenset(filter(None, named))

    def turn(self, value: DataValue) -> int:
        """In which turn a value of one scan is handed over, whatever order the device delivers.

        A boot counter goes first: it says how the counters are to be read. The job's name goes last: what was counted
        up to it belongs to the job before.
        """
        if value.signal in self._evidence:
            return 0
        return 2 if value.signal == self.rules.orders.job_signal else 1

    def initial(self, at_ns: int) -> State:
        """A work unit that has never seen anything."""
        detectors: tuple[DetectorState, ...] = tuple(detector.initial() for detector in self._detectors)
        track = self._derivation.initial()._replace(since_ns=at_ns)
        return State(at_ns, detectors, track, evidence=(None,) * len(self.evidence_signals))

    def restored(self, state: State) -> State:
        """The state after a restart: baselines stay, what must be seen anew is unknown."""
        detectors: list[DetectorState] = []
        for detector, kept in zip(self._detectors, state.detectors, strict=True):
            if isinstance(detector, PulseDetector) and isinstance(kept, PulseState):
                detectors.append(detector.restored(kept))
            else:  # a counter goes on from its persisted baseline: parts made meanwhile are caught up
                detectors.append(kept)
        return state._replace(detectors=tuple(detectors), track=self._derivation.restored(state.track))

    # --- inputs ----------------------------------------------------------------------------------------------------

    def handle(self, state: State, given: Input) -> tuple[State, tuple[Output, ...]]:
        """One input. Outputs are in the order in which they happened."""
        out: list[Output] = []
        at_ns = given.received_time_ns if isinstance(given, DataValue) else given.at_ns
        at_ns = max(at_ns, state.at_ns)
        state = self._fire_timers(state, at_ns, out)
        if isinstance(given, DataValue):
            state = self._on_value(state, given, at_ns, out)
        elif isinstance(given, OrderReceived):
            state = self._dispatch.receive(state, given._replace(at_ns=at_ns), out)
        elif isinstance(given, OperatorEntry):
            state = self._dispatch.operator(state, given._replace(at_ns=at_ns), out)
        state = self._derive(state, at_ns, out)
        return state.moved(at_ns, len(out)), tuple(out)

    def next_deadline(self, state: State) -> int | None:
        """When to hand over a ``TimePassed`` although nothing arrives; None: never."""
        due = self._derivation.deadline(state.track)
        run = state.running
        if run is not None:
            timer = confirmation.deadline(self.rules.confirm, run)
            if timer is not None and (due is None or timer < due):
                due = timer
        for index, detector in self._pulses:
            kept = state.detectors[index]
            timer = detector.deadline(kept) if isinstance(kept, PulseState) else None
            if timer is not None and (due is None or timer < due):
                due = timer
        return due

    def _fire_timers(self, state: State, until_ns: int, out: list[Output]) -> State:
        for _ in range(TIMERS_PER_INPUT_MAX):
            due_ns = self.next_deadline(state)
            if due_ns is None or due_ns > until_ns:
                return state
            due_ns = max(due_ns, state.at_ns)
            state = self._derive(self._on_timer(state, due_ns, out), due_ns, out).moved(due_ns, 0)
        raise AssertionError(f"{TIMERS_PER_INPUT_MAX} timers fired for one input: a timer does not move on")

    def _on_timer(self, state: State, now_ns: int, out: list[Output]) -> State:
        for index, detector in self._pulses:
            kept = state.detectors[index]
            assert isinstance(kept, PulseState), "detectors and their states stand in the order of the rules"
            after, events = detector.on_time(kept, now_ns)
            if after is not kept:
                state = self._on_counts(state, index, after, events, now_ns, out)
        run = state.running
        if run is not None:
            timer = confirmation.deadline(self.rules.confirm, run)
            if timer is not None and timer <= now_ns:
                state = self._dispatch.confirm_running(state, now_ns, "timer", out)
        return state

    def _on_value(self, state: State, value: DataValue, at_ns: int, out: list[Output]) -> State:
        signal = value.signal
        if signal in self._derivation.watched:
            track = self._derivation.on_value(state.track, value)
            if track is not state.track:
                state = state._replace(track=track)
        index = self._counting.get(signal)
        if index is not None:
            state = self._on_counting_value(state, index, value, at_ns, out)
        if signal in self._evidence:
            state = self._on_evidence(state, self._evidence[signal], value)
        if signal == self.rules.orders.job_signal and value.status is Status.GOOD:
            state = self._dispatch.job_tag(state, str(value.value), at_ns, out)
        return state

    def _on_counting_value(self, state: State, index: int, value: DataValue, at_ns: int, out: list[Output]) -> State:
        detector, kept = self._detectors[index], state.detectors[index]
        t_ns = self._event_time(value, at_ns)
        if isinstance(detector, CounterDetector) and isinstance(kept, CounterState):
            after, event = detector.on_value(kept, t_ns, value.value, value.status)
            return self._on_counts(state, index, after, () if event is None else (event,), at_ns, out)
        if isinstance(detector, PulseDetector) and isinstance(kept, PulseState):
            pulses, events = detector.on_value(kept, t_ns, value.value, value.status, at_ns)
            return self._on_counts(state, index, pulses, events, at_ns, out)
        return state

    def _event_time(self, value: DataValue, at_ns: int) -> int:
        source = value.source_time_ns
        if source is None or abs(source - value.received_time_ns) > self._skew_ns:
            return at_ns
        return source

    def _on_evidence(self, state: State, index: int, value: DataValue) -> State:
        """A changed boot counter or start time, a fallen uptime: the next value of its counters is after a restart."""
        if value.status is not Status.GOOD:
            return state
        signal = self.evidence_signals[index]
        uptime = signal in self._uptimes
        if uptime and not _is_uptime(value.value):
            return state
        text, known = str(value.value), state.evidence[index]
        if text == known:
            return state
        state = state._replace(evidence=(*state.evidence[:index], text, *state.evidence[index + 1 :]))
        if known is None or (uptime and not _fell(text, known)):
            return state
        for position, rule in enumerate(self.rules.counters):
            kept = state.detectors[position]
            if rule.mode == "counter" and signal in _evidence_of(rule) and isinstance(kept, CounterState):
                warned = _with(state.detectors, position, kept._replace(evidence="restart"))
                state = state._replace(detectors=warned)
        return state

    # --- counts ----------------------------------------------------------------------------------------------------

    def _on_counts(
        self,
        state: State,
        index: int,
        after: DetectorState,
        events: tuple[CountEvent, ...],
        at_ns: int,
        out: list[Output],
    ) -> State:
        """What one detector became, and what it counted."""
        detectors = _with(state.detectors, index, after)
        if not events:
            return state.with_detectors(detectors)
        for event in events:
            state = self._on_count(state, self.rules.counters[index], event, detectors, at_ns, out)
        return state

    def _on_count(
        self,
        state: State,
        rule: CountingRule,
        event: CountEvent,
        detectors: tuple[DetectorState, ...],
        at_ns: int,
        out: list[Output],
    ) -> State:
        # Every piece passes here: one new state for all that it changes.
        if event.flag not in _QUIET_FLAGS:
            out.append(event)
        if event.review:
            review = min(state.review + event.review * rule.pieces, REVIEW_PIECES_MAX)
            state = state._replace(review=review)
        if event.max_lost or event.flag == "PULSES_POSSIBLY_LOST":
            state = self._declare_unknown(state, rule, event, out)
        if event.delta == 0:
            return state.with_detectors(detectors)
        track = state.track.with_cycle(event.t_to_ns)
        pieces = event.delta * rule.pieces
        counted = state.counted.plus(rule.role, pieces)
        # The usual case: all of it belongs to the running order, and it has room for more.
        run = state.running
        if run is None or not self._fits(run, rule, pieces):
            state = state.with_count(detectors, track, counted, event.t_to_ns, run)
            return self._attribute(state, rule, event, pieces, at_ns, out)
        out.append(_pieces(event, rule.role, pieces, at_ns, run.job.order, run.job.operation))
        run = book(run, rule.role, pieces, event, cycles=event.delta)
        state = state.with_count(detectors, track, counted, event.t_to_ns, run)
        if confirmation.due_by_pieces(self.rules.confirm, run):
            state = self._dispatch.confirm_running(state, at_ns, "pieces", out)
        return state

    def _fits(self, run: JobRun, rule: CountingRule, pieces: int) -> bool:
        """True where these pieces surely leave the order open."""
        if self.rules.orders.at_target != "complete":
            return True
        free = room(run, rule.role, self.rules.orders.target_counts)
        return free is not None and pieces < free

    def _room(self, run: JobRun, rule: CountingRule) -> int | None:
        orders = self.rules.orders
        return room(run, rule.role, orders.target_counts) if orders.at_target == "complete" else None

    def _attribute(
        self, state: State, rule: CountingRule, event: CountEvent, pieces: int, at_ns: int, out: list[Output]
    ) -> State:
        """Pieces belong to the running order up to its target, then to the next one; without one to nobody yet."""
        confirm_rule = self.rules.confirm
        cycles = event.delta
        while pieces:
            run = state.running
            if run is None:
                out.append(_pieces(event, rule.role, pieces, at_ns, None, None))
                since = state.unallocated_since_ns or event.t_from_ns
                unallocated = state.unallocated.plus(rule.role, pieces)
                return state._replace(unallocated=unallocated, unallocated_since_ns=since)
            free = self._room(run, rule)
            taken = pieces if free is None else min(pieces, free)
            if taken:
                out.append(_pieces(event, rule.role, taken, at_ns, run.job.order, run.job.operation))
                run = book(run, rule.role, taken, event, cycles=cycles)
                cycles = 0  # a cycle that fills one order and starts the next is one cycle
                state = state._replace(running=run)
            pieces -= taken
            before = state.running
            if free is None or taken == free:
                state = self._dispatch.complete_if_full(state, at_ns, out)
            if state.running is before and confirmation.due_by_pieces(confirm_rule, run):
                state = self._dispatch.confirm_running(state, at_ns, "pieces", out)
        return state

    def _declare_unknown(self, state: State, rule: CountingRule, event: CountEvent, out: list[Output]) -> State:
        run = state.running
        interval = UnknownInterval(
            signal=event.signal,
            role=rule.role,
            t_from_ns=event.t_from_ns,
            t_to_ns=event.t_to_ns,
            max_pieces=event.max_lost * rule.pieces if event.max_lost >= 0 else None,
            flag=event.flag,
            order=run.job.order if run else None,
            operation=run.job.operation if run else None,
        )
        out.append(interval)
        return remember_unknown(state, interval)

    # --- machine state ---------------------------------------------------------------------------------------------

    def _derive(self, state: State, at_ns: int, out: list[Output]) -> State:
        track = state.track
        now, reason = self._derivation.derive(track, at_ns, has_job=state.running is not None)
        if now is track.state and reason == track.reason:
            return state
        since_ns = track.since_ns
        if now is not track.state:
            since_ns = at_ns
            out.append(StateChanged(at_ns, now, track.state, reason))
        if now is MachineState.UNKNOWN and reason.startswith("STATE_UNMAPPED"):
            out.append(
                Notice(
                    at_ns,
                    "STATE_UNMAPPED",
                    (("signal", str(self.rules.state.signal)), ("value", str(track.explicit))),
                )
            )
        return state._replace(track=track._replace(state=now, since_ns=since_ns, reason=reason))


def _detector(rule: CountingRule, ideal_cycle_ns: int | None) -> CounterDetector | PulseDetector:
    if rule.mode == "counter":
        return CounterDetector(rule, ideal_cycle_ns)
    return PulseDetector(rule, ideal_cycle_ns)


def _counters(rules: WorkUnitRules) -> list[CounterRule]:
    return [rule for rule in rules.counters if rule.mode == "counter"]


def _evidence_of(rule: CounterRule) -> tuple[str, ...]:
    return (*rule.restart_evidence, *rule.restart_uptime)


def _evidence_signals(rules: WorkUnitRules) -> tuple[str, ...]:
    return tuple(dict.fromkeys(signal for rule in _counters(rules) for signal in _evidence_of(rule)))


def _fell(text: str, known: str) -> bool:
    try:
        return Decimal(text) < Decimal(known)
    except InvalidOperation:  # remembered from a configuration in which this signal was something else
        return False


def _is_uptime(value: Scalar) -> bool:
    """A number that can be compared: no text, no truth value, no infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _with(detectors: tuple[DetectorState, ...], index: int, after: DetectorState) -> tuple[DetectorState, ...]:
    return (*detectors[:index], after, *detectors[index + 1 :])


def _pieces(
    event: CountEvent, role: Role, pieces: int, at_ns: int, order: str | None, operation: str | None
) -> PiecesProduced:
    return PiecesProduced(at_ns, event.signal, role, pieces, order, operation, event.t_from_ns, event.estimated)
