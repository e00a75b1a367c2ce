"""What a machine did, as closed intervals without gap or overlap, beside what it seems to do now.

Fed with evidence, each with the instant from which it holds and the time of its arrival. An interval leaves once, and
final, ``settle_ns`` after its end: until then a loss of data, a late alarm or a setup that began with the last good
piece still changes it. Reads no signal and knows no calendar: both are handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.model import MachineState
from gateway.core.state import interval as intervals
from gateway.core.state.back_fill import back_filled
from gateway.core.state.evidence import Context, before, changed_from, in_force, since
from gateway.core.state.gaps import CycleGaps, Gap
from gateway.core.state.interval import BY_ITSELF, MODES, STOPS, StateInterval
from gateway.core.state.outlook import Outlook, kind
from gateway.core.state.steady import Steady
from gateway.core.state.stop_reasons import ALARMS_KEPT_MAX, UNSPECIFIED, Alarm, StopReasons
from gateway.core.state.timeline_state import Live, ReasonRequired, TimelineOutput, TimelineState

if TYPE_CHECKING:
    from gateway.core.rules_state import StateTimelineRule
    from gateway.core.state.gaps import Closing

CONTEXTS_MAX: Final = 64  # changes of evidence within one undecided gap; more than that: it is judged as it stands
ROW_MAX: Final = 256  # intervals that wait to be final
TIMERS_PER_INPUT_MAX: Final = 10_000


class Timeline:
    """The rule of one machine, prepared. Every method takes a state and returns the next one with what is final.

    ``now_ns`` is the time of arrival and never goes back; timers due before it fire first. ``at_ns`` is the instant
    from which the evidence holds: one that is already judged is moved forward to where it is not, except for a loss of
    data and a setup, which reach back as far as nothing is final.
    """

    def __init__(self, rule: StateTimelineRule) -> None:
        self._gaps = CycleGaps(rule.gaps)
        self._outlook = Outlook(self._gaps)
        self._reasons = StopReasons(rule.reasons)
        self._settle = rule.settle_ns
        self._back_fill = rule.data_loss.back_fill
        self._ideal = int(rule.ideal_cycle or 0)
        self._asked: TimelineState | None = None
        self._due_ns: int | None = None
        self._steady = Steady(self._gaps, rule.settle_ns, ROW_MAX, CONTEXTS_MAX)

    # --- beginnings --------------------------------------------------------------------------------------------------

    def initial(self, at_ns: int) -> TimelineState:
        """Nothing is known from here on."""
        return TimelineState(at_ns, (Context(at_ns, ideal_ns=self._ideal),), at_ns, final_ns=at_ns)

    def restored(self, state: TimelineState, now_ns: int, heartbeat_ns: int) -> tuple[TimelineState, _Out]:
        """After a restart of the gateway: nothing is known since it was last alive."""
        alive_ns = max(state.now_ns, min(heartbeat_ns, now_ns))
        state, out = self.lost(state, alive_ns, heartbeat_ns, "GATEWAY_DOWN")
        state, more = self.on_time(state, now_ns)
        return state, out + more

    # --- evidence ----------------------------------------------------------------------------------------------------

    def calendar(
        self, state: TimelineState, now_ns: int, at_ns: int, planned: MachineState | None, shift: str
    ) -> tuple[TimelineState, _Out]:
        """NOT_SCHEDULED, PLANNED_STOP or None (working time), and whose shift it is."""
        return self._told(state, now_ns, at_ns, {"planned": planned, "shift": shift})

    def job(
        self,
        state: TimelineState,
        now_ns: int,
        at_ns: int,
        order: str | None,
        operation: str | None,
        ideal_ns: int | None,
    ) -> tuple[TimelineState, _Out]:
        """The running order, None for none, and its ideal cycle, None where it has none of its own."""
        fields = {"order": order, "operation": operation, "ideal_ns": self.ideal_ns(ideal_ns)}
        return self._told(state, now_ns, at_ns, fields)

    def ideal_ns(self, of_the_order_ns: int | None) -> int:
        """The ideal cycle with such an order, 0 where nobody knows one."""
        return self._ideal if of_the_order_ns is None else of_the_order_ns

    def mode(
        self, state: TimelineState, now_ns: int, at_ns: int, mode: MachineState | None, reason: str = ""
    ) -> tuple[TimelineState, _Out]:
        """SETUP, MAINTENANCE, CLEANING ... as the machine says; None: it says nothing."""
        fields = {"mode": mode, "mode_reason": reason if mode else ""}
        if mode is None:
            return self._told(state, now_ns, at_ns, fields)
        return self._says(state, now_ns, at_ns, fields, StateInterval(mode, at_ns, at_ns, reason), MODES | BY_ITSELF)

    def explicit(
        self,
        state: TimelineState,
        now_ns: int,
        at_ns: int,
        found: MachineState | None,
        reason: str = "",
        *,
        reduced_speed: bool = False,
    ) -> tuple[TimelineState, _Out]:
        """The machine's own state; None: it says none, and the cycles decide."""
        fields = {"explicit": found, "explicit_reason": reason if found else "", "reduced_speed": reduced_speed}
        if found is None:
            return self._told(state, now_ns, at_ns, fields)
        slow = reduced_speed and found is MachineState.PRODUCING
        becomes = StateInterval(found, at_ns, at_ns, reason, reduced_speed=slow)
        return self._says(state, now_ns, at_ns, fields, becomes, BY_ITSELF)

    def running(self, state: TimelineState, now_ns: int, at_ns: int, *, on: bool | None) -> tuple[TimelineState, _Out]:
        """An analog signal's word (motor current above its threshold); None: it says nothing."""
        turned = self._steady.running(state, now_ns, at_ns, on=on)
        return (turned, ()) if turned is not None else self._told(state, now_ns, at_ns, {"running": on})

    def alarm(self, state: TimelineState, now_ns: int, at_ns: int, code: str) -> tuple[TimelineState, _Out]:
        """An alarm was raised."""
        state, out = self.on_time(state, now_ns)
        since_ns = self._alarms_since(state)
        alarms = tuple(alarm for alarm in state.alarms if alarm.at_ns >= since_ns)
        if len(alarms) < ALARMS_KEPT_MAX:
            alarms = (*alarms, Alarm(at_ns, code))
        return state._replace(alarms=alarms), out

    def lost(
        self, state: TimelineState, now_ns: int, last_good_ns: int, reason: str = "COMM_LOSS"
    ) -> tuple[TimelineState, _Out]:
        """The machine is not heard any more: UNKNOWN since the last good instant, and never STOPPED."""
        state, out = self.on_time(state, now_ns)
        if not state.contexts[-1].known:
            return state, out
        if state.unknown_to_ns is not None:
            state = self._judge_unknown(state)
        at_ns = min(max(last_good_ns, state.final_ns), now_ns)
        state = self._reopened(state, at_ns) if at_ns < state.pending_ns else self._judge(state, at_ns, "cut")
        contexts = changed_from(state.contexts, at_ns, {"known": False, "unknown_reason": reason})
        return state._replace(contexts=since(contexts, state.pending_ns), gap=Gap(), cut_ns=state.pending_ns), out

    def heard(self, state: TimelineState, now_ns: int, at_ns: int) -> tuple[TimelineState, _Out]:
        """Every watched signal has a good value again."""
        state, out = self.on_time(state, now_ns)
        if state.contexts[-1].known:
            return state, out
        at_ns = min(max(at_ns, state.contexts[-1].from_ns, state.pending_ns), now_ns)
        contexts = changed_from(state.contexts, at_ns, {"known": True, "unknown_reason": ""})
        return state._replace(contexts=contexts, gap=Gap(), unknown_to_ns=at_ns), out

    def setup(
        self, state: TimelineState, now_ns: int, at_ns: int, reason: str, *, active: bool
    ) -> tuple[TimelineState, _Out]:
        """A setup began or ended; a beginning reaches back over run-down and standstill."""
        if not active:
            return self._told(state, now_ns, at_ns, {"setup": False, "setup_reason": ""})
        state, out = self.on_time(state, now_ns)
        at_ns = max(at_ns, state.final_ns, _standing_since(state.contexts, now_ns))
        if at_ns < state.pending_ns:
            state = state._replace(row=intervals.setup_from(state.row, at_ns, reason))
        state, more = self._told(state, now_ns, at_ns, {"setup": True, "setup_reason": reason})
        return state, out + more

    def cycle(
        self, state: TimelineState, now_ns: int, from_ns: int, to_ns: int, cycles: int = 1
    ) -> tuple[TimelineState, _Out]:
        """So many cycles ended in ``[from_ns, to_ns]``, the last one at ``to_ns``."""
        goes_on = self._steady.cycle(state, now_ns, to_ns, cycles)
        if goes_on is not None:
            return goes_on, ()
        state, out = self.on_time(state, now_ns)
        if state.unknown_to_ns is not None:
            state, cycles = self._told_of_unknown(state, from_ns, cycles)
        at_ns = min(max(to_ns, state.pending_ns), now_ns)
        if not in_force(state.contexts, at_ns).known:  # a counter may be heard before the signal that says the state
            return (state._replace(unseen=state.unseen + cycles) if self._back_fill else state), out
        context = before(state.contexts, at_ns)
        state = self._judge(state, at_ns, "cycle", max(cycles, 1))
        ideal = context.ideal_ns if context.order is not None else 0
        return state._replace(gap=Gap(at_ns, by_cycle=True, ideal_ns=ideal)), out

    def _told_of_unknown(self, state: TimelineState, from_ns: int, cycles: int) -> tuple[TimelineState, int]:
        """Pieces that came while nobody listened are production, estimated; returns the cycles that are left."""
        until_ns = state.unknown_to_ns
        assert until_ns is not None, "asked only while data came back just now"
        if not self._back_fill or from_ns >= until_ns:
            return self._judge_unknown(state), cycles
        ideal, cycles = in_force(state.contexts, state.pending_ns).ideal_ns, cycles + state.unseen
        spans = self._gaps.spans(state.contexts, state.pending_ns, until_ns, state.gap)
        row, used_ns = back_filled(spans, cycles * ideal)
        left = cycles - used_ns // ideal if ideal else cycles
        return self._with_row(state, row, until_ns)._replace(unknown_to_ns=None, unseen=0), left

    def _judge_unknown(self, state: TimelineState) -> TimelineState:
        """Nothing more will be told of the time without data."""
        until_ns = state.unknown_to_ns
        assert until_ns is not None, "asked only while data came back just now"
        spans = self._gaps.spans(state.contexts, state.pending_ns, until_ns, state.gap)
        row, _used = back_filled(spans, state.unseen * in_force(state.contexts, state.pending_ns).ideal_ns)
        return self._with_row(state, row, until_ns)._replace(unknown_to_ns=None, unseen=0)

    # --- time --------------------------------------------------------------------------------------------------------

    def deadline(self, state: TimelineState) -> int | None:
        """When something decides itself or becomes final although nothing arrives; None: never."""
        usual_ns = self._steady.due_ns(state)
        if usual_ns is not None:
            return usual_ns
        # Most values leave it as it is: what was asked last is asked again.
        if state is not self._asked:
            self._asked, self._due_ns = state, self._deadline(state)
        return self._due_ns

    def _deadline(self, state: TimelineState) -> int | None:
        due = [self._outlook.decides_ns(state), self._asks_ns(state), self._outlook.seen_ns(state)]
        if len(state.row) > 1 or (state.row and _is_closed(state)):
            due.append(state.row[0].to_ns + self._settle)
        if len(state.row) > ROW_MAX:
            due.append(state.now_ns)
        if state.unknown_to_ns is not None:
            due.append(state.unknown_to_ns + self._settle)
        return min((at_ns for at_ns in due if at_ns is not None), default=None)

    def on_time(self, state: TimelineState, now_ns: int) -> tuple[TimelineState, _Out]:
        """Everything due until now, each at its own time."""
        later = self._steady.later(state, now_ns)
        if later is not None:
            return later, ()
        out: list[TimelineOutput] = []
        for _ in range(TIMERS_PER_INPUT_MAX):
            due_ns = self.deadline(state)
            if due_ns is None or due_ns > now_ns:
                return state._replace(now_ns=max(now_ns, state.now_ns)), tuple(out)
            state = self._fire(state._replace(now_ns=max(due_ns, state.now_ns)), due_ns, out)
        raise AssertionError(f"{TIMERS_PER_INPUT_MAX} timers fired for one input: a timer does not move on")

    def live(self, state: TimelineState) -> Live:
        """What the machine seems to do at ``state.now_ns``."""
        return self._steady.live(state) or self._outlook.live(state)

    def seems(self, state: TimelineState, to_ns: int) -> tuple[StateInterval, ...]:
        """What is not final yet up to an instant, as it would be judged if nothing more came."""
        row = [intervals.cut(one, to_ns)[0] for one in self._judge(state, max(to_ns, state.pending_ns), "cut").row]
        return tuple(self._reasons.with_reason(one, state.alarms) for one in row if one is not None)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _fire(self, state: TimelineState, due_ns: int, out: list[TimelineOutput]) -> TimelineState:
        if state.unknown_to_ns is not None and due_ns >= state.unknown_to_ns + self._settle:
            state = self._judge_unknown(state)
        decides_ns = self._outlook.decides_ns(state)
        if decides_ns is not None and decides_ns <= due_ns:
            idle = self._gaps.verdict(state.contexts[-1], state.gap).state is None and state.contexts[-1].order is None
            state = self._judge(state, self._outlook.judged_to_ns(state, due_ns), "cut" if idle else "flush")
            state = state._replace(gap=state.gap.anew()) if idle else state
        asks_ns = self._asks_ns(state)
        if asks_ns is not None and asks_ns <= due_ns:
            state = self._ask(state, out)
        return self._emitted(state, due_ns, out)

    def _emitted(self, state: TimelineState, now_ns: int, out: list[TimelineOutput]) -> TimelineState:
        row, closed, left = state.row, _is_closed(state), list(state.left)
        while len(row) > ROW_MAX or (row and row[0].to_ns + self._settle <= now_ns and (closed or len(row) > 1)):
            left.append(self._reasons.with_reason(row[0], state.alarms))
            out.append(left[-1])
            state, row = state._replace(final_ns=left[-1].to_ns), row[1:]
        return state._replace(row=row, left=tuple(left))

    def _told(
        self, state: TimelineState, now_ns: int, at_ns: int, fields: dict[str, Any]
    ) -> tuple[TimelineState, _Out]:
        """Evidence from an instant on; where another kind takes over, what was before is judged."""
        state, out = self.on_time(state, now_ns)
        at_ns = min(max(at_ns, state.pending_ns), now_ns)
        contexts = changed_from(state.contexts, at_ns, fields)
        if contexts == state.contexts:
            return state, out
        if len(contexts) > CONTEXTS_MAX:
            state = self._judge(state, at_ns, "flush")
        elif state.unknown_to_ns is None:  # while pieces may still be told of, nothing before is judged
            was = self._gaps.verdict(before(state.contexts, at_ns), state.gap)
            becomes = self._gaps.verdict(in_force(contexts, at_ns), state.gap)
            if kind(was) is not kind(becomes):
                state = self._judge(state, at_ns, "cut")
                state = state._replace(gap=state.gap.anew(), cut_ns=at_ns)
            elif self._outlook.is_decided(state, kind(was)):
                state = self._judge(state, at_ns, "flush")
        return state._replace(contexts=since(contexts, state.pending_ns)), out

    def _says(
        self,
        state: TimelineState,
        now_ns: int,
        at_ns: int,
        fields: dict[str, Any],
        becomes: StateInterval,
        over: frozenset[MachineState],
    ) -> tuple[TimelineState, _Out]:
        """The machine's own word. One that arrives late is true of the time since, as far as nothing is final."""
        state, out = self.on_time(state, now_ns)
        back_ns = state.unknown_to_ns
        if back_ns is not None and at_ns < back_ns:  # its own history of the time in which nobody heard it
            known_ns = max(at_ns, state.pending_ns)
            contexts = changed_from(state.contexts, known_ns, {"known": True, "unknown_reason": ""})
            state = state._replace(contexts=contexts, unknown_to_ns=known_ns)
        elif max(at_ns, state.final_ns) < state.pending_ns:
            late_ns, ideal = max(at_ns, state.final_ns), state.contexts[0].ideal_ns
            row = intervals.overruled(state.row, late_ns, becomes, over)
            row = tuple(self._shortened(one, ideal) if one.to_ns == late_ns else one for one in row)
            state, more = self._told(state._replace(row=row), now_ns, at_ns, fields)
            return state._replace(cut_ns=None), out + more
        state, more = self._told(state, now_ns, at_ns, fields)
        return state, out + more

    def _judge(self, state: TimelineState, to_ns: int, closing: Closing, cycles: int = 0) -> TimelineState:
        if state.unknown_to_ns is not None and to_ns >= state.unknown_to_ns:
            state = self._judge_unknown(state)
        found = self._gaps.judge(state.contexts, state.pending_ns, to_ns, state.gap, closing, cycles)
        return self._with_row(state, found.row, max(to_ns, state.pending_ns))._replace(gap=found.gap)

    def _with_row(self, state: TimelineState, found: tuple[StateInterval, ...], pending_ns: int) -> TimelineState:
        row = (*state.row[:-1], *intervals.in_a_row((*state.row[-1:], *found))) if found else state.row
        return state._replace(row=row, pending_ns=pending_ns, contexts=since(state.contexts, pending_ns))

    def _reopened(self, state: TimelineState, at_ns: int) -> TimelineState:
        """The state with what was judged from an instant on not judged: whose time it was is kept, nothing else."""
        ideal = state.contexts[0].ideal_ns
        row: list[StateInterval] = []
        contexts: list[Context] = []
        for judged in state.row:
            kept, later = intervals.cut(judged, at_ns)
            if kept is not None:
                row.append(self._shortened(kept, ideal) if later is not None else kept)
            if later is not None:
                found = Context(later.from_ns, planned=later.planned, shift=later.shift, ideal_ns=ideal)
                contexts.append(found._replace(order=later.order, operation=later.operation))
        earlier = (context for context in contexts if context.from_ns < state.contexts[0].from_ns)
        return state._replace(row=tuple(row), contexts=(*earlier, *state.contexts), pending_ns=at_ns)

    def _shortened(self, stop: StateInterval, ideal_ns: int) -> StateInterval:
        """A stop that was one only because of time that is taken back is a micro stop."""
        length_ns = stop.to_ns - (stop.from_ns if stop.stop_from_ns is None else stop.stop_from_ns)
        if stop.amended == "detection_lag" and length_ns <= self._gaps.micro_stop_max_ns(ideal_ns):
            return stop._replace(state=MachineState.MICRO_STOP)
        return stop

    def _standing(self, state: TimelineState) -> StateInterval | None:
        """The stop that goes on now, as far as it is judged."""
        if not state.row or state.row[-1].state not in STOPS:
            return None
        live = self._outlook.live(state).state
        return state.row[-1] if live is state.row[-1].state else None

    def _asks_ns(self, state: TimelineState) -> int | None:
        standing = self._standing(state)
        if standing is None or standing.stop_from_ns is None or standing.stop_from_ns == state.asked_ns:
            return None
        return standing.stop_from_ns + max(self._reasons.required_after_ns, self._reasons.after_ns + self._settle)

    def _ask(self, state: TimelineState, out: list[TimelineOutput]) -> TimelineState:
        standing = self._standing(state)
        if standing is None or standing.stop_from_ns is None:
            return state
        named = self._reasons.with_alarm(standing, state.alarms)
        if self._reasons.with_reason(named, state.alarms).reason == UNSPECIFIED:
            out.append(ReasonRequired(state.now_ns, standing.stop_from_ns, standing.state))
        return state._replace(row=(*state.row[:-1], named), asked_ns=standing.stop_from_ns)

    def _alarms_since(self, state: TimelineState) -> int:
        """Alarms before this can be the cause of nothing any more."""
        begin_ns = state.pending_ns
        if state.gap.spent_ns > self._gaps.decided_ns(self._gaps.ideal_ns(state.contexts, state.gap)):
            begin_ns = state.now_ns - self._settle  # it stands: the next stop cannot have begun
        for waiting in state.row:
            if waiting.state in STOPS and not waiting.reason_source and waiting.stop_from_ns != state.asked_ns:
                begin_ns = min(begin_ns, waiting.from_ns if waiting.stop_from_ns is None else waiting.stop_from_ns)
        return begin_ns - self._reasons.before_ns


_Out = tuple[TimelineOutput, ...]


def _is_closed(state: TimelineState) -> bool:
    """The last judged interval cannot go on: other evidence took over, or the time belongs to somebody else."""
    if not state.row or state.row[-1].to_ns != state.pending_ns:
        return False
    last, context = state.row[-1], in_force(state.contexts, state.pending_ns)
    owner = (context.shift, context.order, context.operation, context.planned)
    return state.cut_ns == last.to_ns or owner != (last.shift, last.order, last.operation, last.planned)


def _standing_since(contexts: tuple[Context, ...], now_ns: int) -> int:
    """How far a setup may reach back in what is not judged: over working time of an order; 0: over all of it."""
    for index in range(len(contexts) - 1, -1, -1):
        context = contexts[index]
        if context.from_ns < now_ns and (context.order is None or context.planned is not None or not context.known):
            return contexts[index + 1].from_ns if index + 1 < len(contexts) else now_ns
    return 0
