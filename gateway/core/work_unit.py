"""One work unit as a pure state machine: counting, state, orders and confirmations composed.

``handle(state, input)`` returns the new state and the outputs in order. Time enters only as ``TimePassed`` or as an
input's own stamp; timers that fell due before an input fire before it, at their own time, so the outputs are the same
in whatever batches the inputs arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core import confirmation
from gateway.core.counting.counter import CounterDetector, CounterState
from gateway.core.counting.detector import LOOKED_AT_EVERY_UNKNOWN, Sample
from gateway.core.counting.evidence import is_told, kinds_of, shown
from gateway.core.counting.modes import datings, detector_of, ideal_ns_of, pieces_per_cycle, waits_for_time
from gateway.core.counting.pulse import PulseDetector
from gateway.core.counting.stuck import StuckSignals
from gateway.core.model import CalendarPlan, ClockTold, CountersRead, CountEvent, DatabaseLost, DataValue, Status
from gateway.core.orders.allocation import Allocation
from gateway.core.orders.attribution import Dating
from gateway.core.orders.booking import Booking
from gateway.core.orders.closing import Closer
from gateway.core.orders.decisions import Decisions
from gateway.core.orders.dispatch import Dispatch
from gateway.core.orders.engineering_change import earlier
from gateway.core.orders.handling_units import filled
from gateway.core.orders.intake import HEARD, Intake
from gateway.core.orders.lead import changed
from gateway.core.orders.member import rows_of, since
from gateway.core.orders.read_at_change import taken
from gateway.core.orders.shift_end import shift_followed
from gateway.core.persons import PERSONS, Persons
from gateway.core.rule_signals import named
from gateway.core.rules_inputs import CounterRule, PulseRule
from gateway.core.rules_state import LOSS_FOUND_WITHIN
from gateway.core.source_clock import looked_at
from gateway.core.state.report import plain_rules
from gateway.core.state.running import with_running
from gateway.core.state.state_unit import MachineStateUnit
from gateway.core.turns import by_times, turns_of
from gateway.core.undo import Undo
from gateway.core.unit_state import DetectorState, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.calendar.shift_calendar import ShiftCalendar, Zone
    from gateway.core.document import Identity
    from gateway.core.duration import Duration
    from gateway.core.model import Input, Output
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.shares import MemberRow
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.machine_track import MachineTrack

#: Timers that may fire for one input; more means a rule that never comes to rest.
TIMERS_PER_INPUT_MAX: Final = 10_000
#: Of a device's text (a name, a code); the rest is cut off: it is stored with every step.
TEXT_CHARS_MAX: Final = 1_000


class WorkUnit:
    """The rules of one machine, prepared. Holds no state: every method is a function of its arguments.

    ``loss_found_within``: how long its sources may be silent before a link is taken for lost. ``looked_at_every``: how
    often its signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``. ``calendar`` and ``zone``: on which day
    its confirmations are posted.
    """

    def __init__(
        self,
        rules: WorkUnitRules,
        identity: Identity,
        *,
        loss_found_within: Duration = LOSS_FOUND_WITHIN,
        looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN,
        calendar: ShiftCalendar | None = None,
        zone: Zone | None = None,
    ) -> None:
        self.rules = rules = rules.in_effect()
        self.looked_at_every = looked_at_every
        self.identity = identity
        self.loss_found_within = loss_found_within
        ideal = int(rules.ideal_cycle) if rules.ideal_cycle is not None else None
        self._detectors = [detector_of(rule, ideal, looked_at_every) for rule in rules.counters]
        self._timed = [(at, self._detectors[at]) for at, rule in enumerate(rules.counters) if waits_for_time(rule)]
        plain = [(at, rule) for at, rule in enumerate(rules.counters) if isinstance(rule, (CounterRule, PulseRule))]
        self._counting = {rule.signal: index for index, rule in plain}
        self._composed: dict[str, tuple[int, ...]] = {}
        for index, detector in enumerate(self._detectors):
            if not isinstance(detector, (CounterDetector, PulseDetector)):
                for signal in detector.signals:
                    self._composed[signal] = (*self._composed.get(signal, ()), index)
        self._told = [(at, kinds_of(rule)) for at, rule in plain if isinstance(rule, CounterRule)]
        self.evidence_signals = tuple(dict.fromkeys(signal for _, kinds in self._told for signal in kinds))
        self._evidence = {signal: index for index, signal in enumerate(self.evidence_signals)}
        watched = tuple(dict.fromkeys(rule.signal for rule in rules.counters))
        timeline = with_running(rules.state.timeline(rules.ideal_cycle, loss_found_within), rules.counters)
        self.machine = MachineStateUnit(timeline, watched, has_calendar=rules.calendar is not None)
        self._state_signals = self.machine.signals
        self._pieces_per_cycle = pieces_per_cycle(rules.counters)
        self.kpi_rules = plain_rules(rules.state, rules.ideal_cycle, self._pieces_per_cycle)
        self.closer = Closer(rules, identity, self.machine, calendar=calendar, zone=zone)
        self._dispatch = Dispatch(rules, identity, self.machine, self.closer)
        self._intake = Intake(self._dispatch)
        self._undo = Undo(self._dispatch, self._intake, self.machine, int(rules.confirm.undo_window))
        self._allocation = Allocation(rules, self._dispatch)
        decide = Decisions(self._dispatch, self._intake)
        self._persons = Persons(self._dispatch, decide, self._allocation, self.machine, self._undo)
        dated = datings(rules.counters)
        self._booking = Booking(rules, self._dispatch, dated)
        #: Counters that a reading at a change of orders divides exactly.
        self.read_at_change = frozenset(name for name, what in dated.items() if what is Dating.READINGS)
        self.lost = self._booking.lost
        self._named = {rules.orders.job_signal, rules.orders.cycle_job_signal, rules.confirm.handling_unit_signal}
        self._just_counted = frozenset(self._counting) - {*self._composed, *self._evidence, *self._named}
        self._turns = turns_of(rules, [d.signals for d in self._detectors if hasattr(d, "signals")])
        self._skew_ns = int(rules.max_source_skew)
        self._stuck = StuckSignals(rules)
        self._confirms = rules.confirm.every is not None or rules.confirm.spacing_ns > 0

    @property
    def signals(self) -> frozenset[str]:
        """Every signal that a rule of this work unit reads."""
        known = {*self._state_signals, *self._named, self.rules.work.serial_signal}
        read = {signal for rule in self.rules.counters for _, signal in named(rule)}
        return frozenset(read | set(filter(None, known)))

    def turn(self, value: DataValue) -> int:
        """In which turn a value of one scan is handed over, whatever order the device delivers.

        A boot counter goes first: it says how the counters are to be read. The job's name goes last: what was counted
        up to it belongs to the job before. In between each rule says in what order its signals are read.
        """
        return self._turns.get(value.signal, 1)

    def in_order(self, values: Sequence[DataValue]) -> Sequence[DataValue]:
        """The values of one reading as they are to be handed over: by times where a rule reads several signals."""
        if len(values) < 2:  # noqa: PLR2004 - nothing to sort
            return values
        return by_times(values, self._turns, self.event_time) if self._composed else sorted(values, key=self.turn)

    def initial(self, at_ns: int) -> State:
        """A work unit that has never seen anything."""
        detectors = tuple(detector.initial() for detector in self._detectors)
        nothing = (None,) * len(self.evidence_signals)
        state = State(at_ns, detectors, self.machine.initial(at_ns), evidence=nothing)
        return self._dispatch.work.adapted(state)

    def shares(self, state: State) -> tuple[MemberRow, ...]:
        """What it made for the machine whose orders it works on."""
        return rows_of(self._dispatch.work, state)

    def restored(self, state: State) -> State:
        """The state after a restart: baselines stay, what must be seen anew is unknown."""
        pairs = zip(self._detectors, state.detectors, strict=True)
        # A counter goes on from its persisted baseline: parts made meanwhile are caught up.
        detectors = tuple(kept if isinstance(one, CounterDetector) else one.restored(kept) for one, kept in pairs)
        track = self.machine.restored(state.track, state.at_ns)
        state = state._replace(detectors=detectors, track=track, sharing=state.sharing.restored())
        return self._dispatch.work.adapted(state)

    # --- inputs ----------------------------------------------------------------------------------------------------

    def handle(self, state: State, given: Input) -> tuple[State, tuple[Output, ...]]:
        """One input. Outputs are in the order in which they happened."""
        out: list[Output] = []
        at_ns = given.received_time_ns if isinstance(given, DataValue) else given.at_ns
        at_ns = max(at_ns, state.at_ns)
        due_ns = self.next_deadline(state)
        if due_ns is not None and due_ns <= at_ns:
            state = self._fire_timers(state, due_ns, at_ns, out)
        instant_ns, before = at_ns, state
        if isinstance(given, DataValue):
            if isinstance(given.value, str) and len(given.value) > TEXT_CHARS_MAX:
                given = given._replace(value=given.value[:TEXT_CHARS_MAX])
            t_ns, stamp = self.event_time(given, at_ns), given.source_time_ns
            if stamp is not None and (state.clocks.off or abs(stamp - given.received_time_ns) > self._skew_ns):
                state = self._look_at_clock(state, given, out)
            state = self._on_value(state, given, t_ns, at_ns, out)
            instant_ns = min(t_ns, at_ns)
        elif isinstance(given, HEARD):
            state = self._intake.hear(state, given._replace(at_ns=at_ns), out)
            state = self._allocation.arrived(state, given, at_ns, out)
            instant_ns = since(before, given, at_ns)
        elif isinstance(given, PERSONS):
            state = self._persons.said(state, given._replace(at_ns=at_ns), out)
        else:
            state = self._informed(state, given, at_ns, out)
        if before.past.read_ns:
            state = state._replace(past=state.past.unread(before.past, at_ns))
        state = self._followed(before, state, instant_ns, at_ns, out)
        if out or state.at_ns != at_ns:
            state = state.moved(at_ns, len(out))
        return (state if state.last_word is None else self._undo.kept(state)), tuple(out)

    def _informed(self, state: State, given: Input, at_ns: int, out: list[Output]) -> State:
        """What is neither a value nor anybody's word."""
        match given:
            case CalendarPlan():
                track, told = self.machine.on_calendar(state.track, given, at_ns)
                out += told
                return shift_followed(self._dispatch, state.track, state._replace(track=track), at_ns, out)
            case CountersRead():
                return taken(state, given._replace(at_ns=at_ns), self.rules.orders, out)
            case ClockTold():
                return state.at_clock(given.utc_offset_ns, given.known)
            case DatabaseLost():
                return self.lost.told(state, given, at_ns, out)
        return state  # time alone

    def next_deadline(self, state: State) -> int | None:
        """When to hand over a ``TimePassed`` although nothing arrives; None: never."""
        due = self.machine.deadline(state.track)
        due = due if state.previous is None else self._allocation.earlier(state, due)
        for run in state.at_work() if self._confirms else ():
            due = earlier(run, state.utc_offset_ns, confirmation.earlier(self.rules.confirm, run, due))
        for index, detector in self._timed:
            timer = detector.deadline(state.detectors[index])
            if timer is not None and (due is None or timer < due):
                due = timer
        return due

    def _fire_timers(self, state: State, first_ns: int, until_ns: int, out: list[Output]) -> State:
        due_ns: int | None = first_ns
        for _ in range(TIMERS_PER_INPUT_MAX):
            if due_ns is None or due_ns > until_ns:
                return state
            due_ns = max(due_ns, state.at_ns)
            before, state = state, self._on_timer(state, due_ns, out)
            state = self._followed(before, state, due_ns, due_ns, out)
            state = state if state.at_ns == due_ns else state.moved(due_ns, 0)
            due_ns = self.next_deadline(state)
        raise AssertionError(f"{TIMERS_PER_INPUT_MAX} timers fired for one input: a timer does not move on")

    def _on_timer(self, state: State, now_ns: int, out: list[Output]) -> State:
        track, told = self.machine.on_time(state.track, now_ns)
        if track is not state.track:
            out += told
            state = shift_followed(self._dispatch, state.track, state._replace(track=track), now_ns, out)
        for index, detector in self._timed:
            kept = state.detectors[index]
            after, events = detector.on_time(kept, now_ns)
            if events and self._stuck.watched:
                after, events = self._stuck.judged(index, after, events, state.track)
            if after is not kept:
                state = self._on_counts(state, state.track, index, after, events, now_ns, out)
        state = self._allocation.on_time(state, now_ns, out)
        return self._dispatch.confirmed_by_time(state, now_ns, out) if self._confirms else state

    def _on_value(self, state: State, value: DataValue, t_ns: int, at_ns: int, out: list[Output]) -> State:
        signal, track = value.signal, state.track
        if signal in self._state_signals:
            track, told = self.machine.on_value(track, signal, value.value, value.status, t_ns, at_ns)
            if told:
                out += told
        index = self._counting.get(signal)
        if index is not None:
            state = self._on_counting_value(state, track, index, value, t_ns, at_ns, out)
            if signal in self._just_counted:  # the usual case
                return state
            track = state.track
        if signal in self._composed:
            state = self._on_composed_value(state, track, value, t_ns, at_ns, out)
        elif track is not state.track:
            state = state.seen(at_ns, state.detectors, track)
        if signal in self._evidence:
            state = self._on_evidence(state, self._evidence[signal], value, t_ns)
        if signal in self._named and value.status is Status.GOOD:
            state = self._on_name(state, signal, str(value.value), t_ns, at_ns, out)
        return state

    def _on_name(self, state: State, signal: str, text: str, t_ns: int, at_ns: int, out: list[Output]) -> State:
        if signal == self.rules.orders.job_signal:
            return self._dispatch.job_tag(state, text, at_ns, out, since_ns=t_ns)
        if signal == self.rules.orders.cycle_job_signal:
            return self._booking.named(state, text)
        return filled(self._dispatch, state, text, at_ns, out)

    def _on_counting_value(
        self, state: State, track: MachineTrack, index: int, value: DataValue, t_ns: int, at_ns: int, out: list[Output]
    ) -> State:
        detector, kept = self._detectors[index], state.detectors[index]
        if isinstance(kept, CounterState):
            after, event = detector.on_value(kept, t_ns, value.value, value.status)
            return self._on_counts(state, track, index, after, () if event is None else (event,), at_ns, out)
        pulses, events = detector.on_value(kept, t_ns, value.value, value.status, at_ns)
        return self._on_counts(state, track, index, pulses, events, at_ns, out)

    def _on_composed_value(
        self, state: State, track: MachineTrack, value: DataValue, t_ns: int, at_ns: int, out: list[Output]
    ) -> State:
        sample = Sample(value.signal, t_ns, value.value, value.status, at_ns)
        for index in self._composed[value.signal]:
            kept = state.detectors[index]
            after, events = self._detectors[index].on_value(kept, sample)
            if events or after is not kept or track is not state.track:
                state = self._on_counts(state, track, index, after, events, at_ns, out)
                track = state.track
        return state

    def event_time(self, value: DataValue, at_ns: int) -> int:
        """When it was so: as its device says, or where that clock is not to be believed as it arrived."""
        source = value.source_time_ns
        return at_ns if source is None or abs(source - value.received_time_ns) > self._skew_ns else source

    def _look_at_clock(self, state: State, value: DataValue, out: list[Output]) -> State:
        """A stamp that is too far off, or of a signal that had such stamps."""
        clocks, notice = looked_at(state.clocks, value, self._skew_ns, state.utc_offset_ns)
        out += () if notice is None else (notice,)
        return state if clocks is state.clocks else state._replace(clocks=clocks)

    def _on_evidence(self, state: State, index: int, value: DataValue, t_ns: int) -> State:
        """A changed boot counter or start time, a fallen uptime, a changed job: what it says about the counters."""
        signal = self.evidence_signals[index]
        known, detectors, text = state.evidence[index], state.detectors, None
        for position, kinds in self._told:
            kind = kinds.get(signal)
            if kind is None:
                continue
            uptime = kind == "uptime"
            text = shown(value.value, value.status, uptime=uptime)
            kept, detector = detectors[position], self._detectors[position]
            if text is not None and is_told(text, known, uptime=uptime):
                detectors = _with(detectors, position, detector.told(kept, kind, t_ns, (signal, known or "", text)))
        if text is None or text == known:
            return state
        evidence = (*state.evidence[:index], text, *state.evidence[index + 1 :])
        return state._replace(detectors=detectors, evidence=evidence)

    # --- counts ----------------------------------------------------------------------------------------------------

    def _on_counts(
        self,
        state: State,
        track: MachineTrack,
        index: int,
        after: DetectorState,
        events: tuple[CountEvent, ...],
        at_ns: int,
        out: list[Output],
    ) -> State:
        """What one detector became, and what it counted; ``track`` is what the machine's state became meanwhile."""
        detectors = _with(state.detectors, index, after)
        if not events:
            return state.seen(at_ns, detectors, track)
        rule = self.rules.counters[index]
        for event in events:
            counted = event
            if event.delta or event.cycles or event.activity:
                role = event.role or rule.role
                track, told, made_as = self.machine.on_count(track, event, role, at_ns)
                if told:
                    out += told
                if made_as is not role:
                    counted = event._replace(role=made_as)
            state = self._booking.count(state, track, rule, counted, detectors, at_ns, out)
            track = state.track
        return state

    def _followed(self, before: State, state: State, instant_ns: int, at_ns: int, out: list[Output]) -> State:
        """The machine's state after one input or timer, asked only where something came that it could tell."""
        other = _other_job(before.running, state.running)
        if other or before.beside is not state.beside:
            state = self._allocation.begun(before, state, at_ns, out)
            other = _other_job(before.running, state.running)
        # After a restart the rules may be others, and with them the ideal cycle of an order that names none.
        if other or before.track.down_ns is not state.track.down_ns:
            instant_ns = self._dispatch.work.free_from_ns(before, state, instant_ns, at_ns, out)
            state = changed(self._dispatch, before, state, instant_ns, out)
            state = self._follow(state, instant_ns, at_ns, out)
        elif self.machine.may_differ(before.track, state.track):
            state = self._changed(state, at_ns, out)
        return self._dispatch.followed(before, state, at_ns, out)

    def _follow(self, state: State, instant_ns: int, at_ns: int, out: list[Output]) -> State:
        """What the machine's state makes of the order that runs now and did so since ``instant_ns``, and what it is."""
        track, job = state.track, None if state.running is None else state.running.job
        ideal_ns = ideal_ns_of(job, self._pieces_per_cycle)
        track = track if job is None else self._dispatch.parts.of_one_tool(track, job.product)
        if not self.machine.runs(track, job, ideal_ns):
            track, told = self.machine.on_job(track, job, ideal_ns, instant_ns, at_ns)
            out += told
        return self._changed(state if track is state.track else state._replace(track=track), at_ns, out)

    def _changed(self, state: State, at_ns: int, out: list[Output]) -> State:
        if self._stuck.watched:
            state = self._stuck.resumed(state)
        track, changed = self.machine.changed(state.track, at_ns)
        out += changed
        return state if track is state.track else state._replace(track=track)


def _other_job(before: JobRun | None, after: JobRun | None) -> bool:
    return before is not after and (before is None or after is None or before.job is not after.job)


def _with(detectors: tuple[DetectorState, ...], index: int, after: DetectorState) -> tuple[DetectorState, ...]:
    return (*detectors[:index], after, *detectors[index + 1 :])
