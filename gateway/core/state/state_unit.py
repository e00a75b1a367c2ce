"""The state of one machine as one object: signals, data loss, setup and timeline behind a few methods.

Every method takes the memory and what happened, and returns the next memory with what is to be told. At one instant
they are called in this order: ``on_value``, ``on_count`` for each count, ``on_job``; ``changed`` comes last and says
what the machine does now. Reads no clock, counts nothing, dispatches no order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.model import MachineState, Notice, PlannedTime, StateChanged
from gateway.core.orders.job_image import planned_setup_ns, tool_of
from gateway.core.state import machine_track, planned_time
from gateway.core.state.awaited_parts import heard_of, setup_over
from gateway.core.state.data_watch import DataLost, DataWatch
from gateway.core.state.display import StateDisplay
from gateway.core.state.interval import STOPS
from gateway.core.state.machine_track import MachineTrack
from gateway.core.state.running import RunningSignal
from gateway.core.state.setup import SetupEnded, SetupOutput, SetupStarted, SetupState, SetupTracker
from gateway.core.state.signals import AlarmTold, ExplicitTold, ModeTold, ReleaseTold, StateSignals, ToolTold, unmapped
from gateway.core.state.time_elements import TimeModel
from gateway.core.state.timeline import Timeline
from gateway.core.state.timeline_state import ReasonRequired, TimelineOutput

if TYPE_CHECKING:
    from gateway.core.counting.analog import AnalogState
    from gateway.core.model import CalendarPlan, CountEvent, JobOrder, Role, Scalar, Status
    from gateway.core.rules_state import StateTimelineRule
    from gateway.core.state.data_watch import DataBack
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.signals import Told

#: What a machine's state tells.
MachineOutput = TimelineOutput | SetupOutput | StateChanged | Notice
_Out = tuple[MachineOutput, ...]

TIMERS_PER_CALL_MAX: Final = 10_000


class MachineStateUnit:
    """The rules of one machine's state, prepared.

    Args:
        rule: the settings.
        watched: signals without which the state is unknown; the machine's own state signal stands for all of them.
        has_calendar: a plan is handed over from time to time.
    """

    def __init__(self, rule: StateTimelineRule, watched: tuple[str, ...], *, has_calendar: bool = False) -> None:
        explicit = rule.explicit
        self._told_by = None if explicit is None else explicit.signal
        self._has_mode = explicit is not None and explicit.mode_signal is not None
        self._signals = StateSignals(rule)
        heard_by = watched if explicit is None else (explicit.signal,)
        self._watch = DataWatch(rule.data_loss, heard_by, rule.loss_found_within)
        self._setup = SetupTracker(rule.setup)
        self._timeline = Timeline(rule)
        self._running = RunningSignal(rule.running)
        self._has_calendar = has_calendar
        self._signal_names = frozenset(self._signals.signals)
        self._read = self._signal_names | frozenset(self._watch.signals) | set(filter(None, [self._running.signal]))
        self._asked: MachineTrack | None = None
        self._due_ns: int | None = None
        self.time_model = TimeModel(rule.time_model, rule.reasons)
        self.settle_ns = rule.settle_ns
        self.display = StateDisplay(rule)

    @property
    def signals(self) -> frozenset[str]:
        """Every signal that is read or watched here."""
        return self._read

    # --- beginnings --------------------------------------------------------------------------------------------------

    def initial(self, at_ns: int) -> MachineTrack:
        """Nothing is known from here on."""
        return MachineTrack(
            MachineState.UNKNOWN,
            at_ns,
            "no data yet",
            self._signals.initial(),
            self._watch.initial(),
            self._setup.initial(),
            self._timeline.initial(at_ns),
        )

    def restored(self, track: MachineTrack, at_ns: int) -> MachineTrack:
        """After a restart: nothing is known since ``at_ns``, when the gateway was last alive; due at once."""
        plan = track.plan if self._has_calendar else (PlannedTime(at_ns, None, ""),)
        return track._replace(
            signals=self._signals.restored(track.signals),
            watch=self._watch.restored(track.watch),
            plan=plan,
            down_ns=at_ns,
            running=self._running.restored(track.running),
            awaited=(),
        )

    # --- evidence ----------------------------------------------------------------------------------------------------

    def on_value(
        self, track: MachineTrack, signal: str, value: Scalar, status: Status, at_ns: int, now_ns: int
    ) -> tuple[MachineTrack, _Out]:
        """A value of one of ``signals``, true from ``at_ns`` on, that arrived at ``now_ns``."""
        watch, heard = self._watch.on_value(track.watch, signal, status, now_ns)
        if watch is not track.watch:
            track = track.watched(watch)
        out: _Out = ()
        if heard:
            track, out = self._heard(track, heard, now_ns)
        if signal == self._running.signal:
            track, ran = self._ran(track, self._running.on_value(track.running, value, status, at_ns, now_ns), now_ns)
            out += ran
        if signal in self._signal_names:
            kept, told = self._signals.on_value(track.signals, signal, value, status)
            if kept is not track.signals:
                track = track._replace(signals=kept)
            for one in told:
                track, more = self._on_told(track, one, at_ns, now_ns)
                out += more
        return track, out

    def on_count(
        self, track: MachineTrack, event: CountEvent, role: Role, now_ns: int
    ) -> tuple[MachineTrack, _Out, Role]:
        """Something was made; also what it is, because a setup makes other pieces than production does."""
        cycles = event.delta if event.cycles is None else event.cycles
        out: _Out = ()
        setup, timeline = track.setup, track.timeline
        if event.delta:
            ideal_ns = timeline.contexts[-1].ideal_ns or None
            took_ns = event.cycle_ns
            if setup.since_ns is not None and took_ns is None and cycles == 1 and timeline.gap.cycle_ns is not None:
                took_ns = event.t_to_ns - timeline.gap.cycle_ns  # a counter measures no cycles, but it shows them
            setup, told, role, _ = self._setup.piece(setup, event.t_to_ns, role, took_ns, ideal_ns)
            if told:
                # The piece that ends a setup begins production: its end comes after the setup's.
                track, out = self._on_setup(track._replace(setup=setup), told, event.t_to_ns, now_ns)
                timeline = track.timeline
        if event.activity is not None:
            track, cycles = heard_of(track, event)
        if cycles:
            timeline, more = self._timeline.cycle(timeline, now_ns, event.t_from_ns, event.t_to_ns, cycles)
            out += more
        return track.made(setup, timeline), out, role

    def on_job(
        self, track: MachineTrack, job: JobOrder | None, ideal_ns: int | None, at_ns: int, now_ns: int
    ) -> tuple[MachineTrack, _Out]:
        """The running order from ``at_ns`` on, None for none; ``ideal_ns`` is the ideal cycle that it names itself."""
        order, operation = (None, None) if job is None else job.key
        timeline, out = self._timeline.job(track.timeline, now_ns, at_ns, order, operation, ideal_ns)
        product = None if job is None else job.product
        named = ("", None) if job is None else (tool_of(job), planned_setup_ns(job))
        kept, told = self._setup.job(track.setup, at_ns, product, *named)
        track, more = self._on_setup(track._replace(timeline=timeline, setup=kept), told, at_ns, now_ns)
        return track, out + more

    def runs(self, track: MachineTrack, job: JobOrder | None, ideal_ns: int | None) -> bool:
        """Whether this is the order that ``on_job`` was told last."""
        context = track.timeline.contexts[-1]
        key = (None, None) if job is None else job.key
        return (context.order, context.operation, context.ideal_ns) == (*key, self._timeline.ideal_ns(ideal_ns))

    def sets_up(self, track: MachineTrack, job: JobOrder) -> bool:
        """Whether the machine is being set up, or would be for this order."""
        return track.setup.since_ns is not None or self._setup.begins(track.setup, job.product, tool_of(job))

    def tool_told(self, track: MachineTrack) -> str | None:
        """The tool that the signal names, "" where it says nothing; None where there is no such signal."""
        return self._signals.tool_told(track.signals)

    def recipe_told(self, track: MachineTrack) -> str | None:
        """As the tool, of the recipe."""
        return self._signals.recipe_told(track.signals)

    def on_running(self, track: MachineTrack, at_ns: int, now_ns: int, *, on: bool | None) -> tuple[MachineTrack, _Out]:
        """An analog signal says that the machine works, that it does not, or nothing (None)."""
        if track.timeline.contexts[-1].running is on:
            return track, ()
        timeline, out = self._timeline.running(track.timeline, now_ns, at_ns, on=on)
        return track.made(track.setup, timeline), out

    def on_calendar(self, track: MachineTrack, plan: CalendarPlan, now_ns: int) -> tuple[MachineTrack, _Out]:
        """The plan of the time ahead; it replaces the one before. Raises ValueError for one out of order."""
        planned_time.check(plan)
        holds = PlannedTime(now_ns, None, "")
        for entry in plan.entries:
            if entry.from_ns <= now_ns:
                holds = entry
        ahead = tuple(entry for entry in plan.entries if entry.from_ns > now_ns)
        return self._planned(track._replace(plan=ahead), holds, now_ns)

    def operator_setup(
        self, track: MachineTrack, at_ns: int, *, begins: bool, who: str = ""
    ) -> tuple[MachineTrack, _Out]:
        """A person begins a setup, or says that it is done."""
        verb = self._setup.operator_start if begins else self._setup.operator_confirm
        kept, told = verb(track.setup, at_ns)
        signed = tuple(one._replace(who=who) if isinstance(one, (SetupStarted, SetupEnded)) else one for one in told)
        return self._on_setup(track._replace(setup=kept), signed, at_ns, at_ns)

    def setup_as(self, track: MachineTrack, before: SetupState, at_ns: int, who: str) -> tuple[MachineTrack, _Out]:
        """The setup as it was before a person's word, which he takes back; the time in between stays what it was."""
        began, now = before.since_ns is not None, track.setup.since_ns is not None
        track = track._replace(setup=before.again(track.setup, self.tool_told(track)))
        if began == now:
            return track, ()
        told = SetupStarted(at_ns, at_ns, "undo", who) if began else SetupEnded(at_ns, "undo", who)
        return self._on_setup(track, (told,), at_ns, at_ns)

    def not_final(self, track: MachineTrack, to_ns: int) -> tuple[StateInterval, ...]:
        """What it did up to an instant and nobody summed up yet, as it would be judged if nothing more came."""
        return (*track.timeline.left, *self._timeline.seems(track.timeline, to_ns))

    # --- time --------------------------------------------------------------------------------------------------------

    def deadline(self, track: MachineTrack) -> int | None:
        """When to call ``on_time`` although nothing arrives; None: never."""
        # What was asked last is asked again: before a timer, in it, and behind one that was another's.
        if track is not self._asked:
            self._asked, self._due_ns = track, self._deadline(track)
        return self._due_ns

    def _deadline(self, track: MachineTrack) -> int | None:
        if track.down_ns is not None:
            return track.down_ns
        due = self._timeline.deadline(track.timeline)
        lost = self._watch.deadline(track.watch)
        if lost is not None and (due is None or lost < due):
            due = lost
        if track.plan and (due is None or track.plan[0].from_ns < due):
            due = track.plan[0].from_ns
        turns = None if self._running.signal is None else self._running.deadline(track.running)
        if turns is not None and (due is None or turns < due):
            due = turns
        if track.setup.since_ns is None:
            return due
        late = self._setup.deadline(track.setup)
        return late if late is not None and (due is None or late < due) else due

    def on_time(self, track: MachineTrack, now_ns: int) -> tuple[MachineTrack, _Out]:
        """Everything due until now, each at its own time, with every change of the state in between."""
        out: _Out = ()
        for _ in range(TIMERS_PER_CALL_MAX):
            due_ns = self.deadline(track)
            if due_ns is None or due_ns > now_ns:
                return track, out
            due_ns = max(due_ns, track.timeline.now_ns)
            track, told = self._fire(track, due_ns)
            track, change = self.changed(track, due_ns)
            out += told + change
        raise AssertionError(f"{TIMERS_PER_CALL_MAX} timers fired for one call: a timer does not move on")

    @staticmethod
    def may_differ(before: MachineTrack, track: MachineTrack) -> bool:
        """Whether something came that ``changed`` could tell; the time that passed is ``on_time``'s."""
        return (
            track.timeline is not before.timeline
            or track.signals is not before.signals
            or (track.watch is not before.watch and (track.watch.lost or before.watch.lost))
        )

    def changed(self, track: MachineTrack, at_ns: int) -> tuple[MachineTrack, tuple[StateChanged, ...]]:
        """What the machine does now, told where it is another state than before."""
        live = self._timeline.live(track.timeline)
        reason = live.reason
        if track.watch.lost:
            reason = f"no valid value of {', '.join(self._watch.silent(track.watch, at_ns))}"
        elif self._told_by is not None and not track.timeline.contexts[-1].planned:
            told = track.signals.values[self._signals.signals.index(self._told_by)]
            shown = f"{self._told_by} is {told}"
            reason = f"{reason}: {shown}" if reason else shown
        if live.state is track.state:
            return (track if reason == track.reason else track._replace(reason=reason)), ()
        change = StateChanged(at_ns, live.state, track.state, reason)
        named = track.named if live.state in STOPS else ""
        return track._replace(state=live.state, since_ns=at_ns, reason=reason, named=named), (change,)

    # --- as data -----------------------------------------------------------------------------------------------------

    def plain(self, track: MachineTrack) -> dict[str, Any]:
        """The memory as JSON data; signals by name, so that other rules find theirs."""
        return machine_track.plain(track, self._signals.signals)

    def loaded(self, data: dict[str, Any]) -> MachineTrack:
        """The memory from JSON data. Raises AttributeError, KeyError, TypeError or ValueError where it is none."""
        return machine_track.loaded(data, self._signals.signals)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _fire(self, track: MachineTrack, due_ns: int) -> tuple[MachineTrack, _Out]:
        if track.down_ns is not None:
            timeline, down = self._timeline.lost(track.timeline, due_ns, track.down_ns, "GATEWAY_DOWN")
            track, silent = self._silenced(track._replace(timeline=timeline, down_ns=None), due_ns)
            return track, down + silent
        watch, lost = self._watch.on_time(track.watch, due_ns)
        setup, late = self._setup.on_time(track.setup, due_ns)
        timeline, out = self._timeline.on_time(track.timeline, due_ns)
        if track.named:  # nobody asks for what was said
            out = tuple(one for one in out if not isinstance(one, ReasonRequired))
        track, told = self._heard(track.watched(watch).made(setup, timeline), lost, due_ns)
        track, ran = self._ran(track, self._running.on_time(track.running, due_ns), due_ns)
        more: _Out = (*out, *told, *late, *ran)
        if track.plan and track.plan[0].from_ns <= due_ns:
            holds, ahead = track.plan[0], track.plan[1:]
            track, told = self._planned(track._replace(plan=ahead), holds, due_ns)
            more += told
        return track, more

    def _ran(self, track: MachineTrack, kept: AnalogState, now_ns: int) -> tuple[MachineTrack, _Out]:
        """What the running signal became."""
        if kept is track.running:
            return track, ()
        since_ns = self._running.since(kept)
        return self.on_running(track.ran(kept), since_ns, now_ns, on=self._running.says(kept))

    def _silenced(self, track: MachineTrack, now_ns: int) -> tuple[MachineTrack, _Out]:
        """What other rules heard of signals that these do not have is true no longer."""
        out: _Out = ()
        if self._told_by is None:
            timeline, out = self._timeline.explicit(track.timeline, now_ns, now_ns, None)
            track = track._replace(timeline=timeline)
        if self._running.signal is None:
            track, more = self.on_running(track, now_ns, now_ns, on=None)
            out += more
        if not self._has_mode:
            timeline, more = self._timeline.mode(track.timeline, now_ns, now_ns, None)
            kept, told = self._setup.mode(track.setup, now_ns, in_setup=False)
            track, ended = self._on_setup(track._replace(timeline=timeline, setup=kept), told, now_ns, now_ns)
            out += more + ended
        return track, out

    def _planned(self, track: MachineTrack, holds: PlannedTime, now_ns: int) -> tuple[MachineTrack, _Out]:
        from_ns = min(holds.from_ns, now_ns)
        timeline, out = self._timeline.calendar(track.timeline, now_ns, from_ns, holds.planned, holds.shift)
        return track._replace(timeline=timeline), out

    def _heard(
        self, track: MachineTrack, found: tuple[DataLost | DataBack, ...], now_ns: int
    ) -> tuple[MachineTrack, _Out]:
        out: _Out = ()
        timeline = track.timeline
        for one in found:
            if isinstance(one, DataLost):
                timeline, more = self._timeline.lost(timeline, max(one.at_ns, timeline.now_ns), one.last_good_ns)
            else:
                timeline, more = self._timeline.heard(timeline, now_ns, one.at_ns)
            out += more
        if not found:
            return track, out
        # What came before a loss is not made while nobody listens.
        return track._replace(timeline=timeline, awaited=() if track.watch.lost else track.awaited), out

    def _on_told(self, track: MachineTrack, told: Told, at_ns: int, now_ns: int) -> tuple[MachineTrack, _Out]:
        timeline = track.timeline
        out: _Out = ()
        match told:
            case ExplicitTold():
                timeline, said = self._timeline.explicit(
                    timeline, now_ns, at_ns, told.state, told.reason, reduced_speed=told.reduced_speed
                )
                out = (*said, *unmapped(told, self._told_by, now_ns))
            case AlarmTold(code=code):
                timeline, out = self._timeline.alarm(timeline, now_ns, at_ns, code)
            case ModeTold(mode=mode):
                return self._on_mode(track, mode, at_ns, now_ns)
            case ToolTold(tool=tool):
                kept, started = self._setup.tool(track.setup, at_ns, tool)
                return self._on_setup(track._replace(setup=kept), started, at_ns, now_ns)
            case ReleaseTold():
                kept, ended = self._setup.release(track.setup, at_ns)
                return self._on_setup(track._replace(setup=kept), ended, at_ns, now_ns)
        return track._replace(timeline=timeline), out

    def _on_mode(
        self, track: MachineTrack, mode: MachineState | None, at_ns: int, now_ns: int
    ) -> tuple[MachineTrack, _Out]:
        timeline, out = self._timeline.mode(track.timeline, now_ns, at_ns, mode)
        kept, told = self._setup.mode(track.setup, at_ns, in_setup=mode is MachineState.SETUP)
        track, more = self._on_setup(track._replace(timeline=timeline, setup=kept), told, at_ns, now_ns)
        return track, out + more

    def _on_setup(
        self, track: MachineTrack, told: tuple[SetupOutput, ...], at_ns: int, now_ns: int
    ) -> tuple[MachineTrack, _Out]:
        """What the setup rule found, in the timeline too."""
        out: _Out = ()
        timeline = track.timeline
        for one in told:
            if isinstance(one, SetupStarted):
                timeline, more = self._timeline.setup(timeline, now_ns, one.from_ns, one.trigger, active=True)
                out += more
            elif isinstance(one, SetupEnded):
                timeline, more = setup_over(self._timeline, timeline, track, now_ns, at_ns, one.trigger)
                track, out = track._replace(awaited=()), out + more
            out += (one,)
        return (track._replace(timeline=timeline) if told else track), out
