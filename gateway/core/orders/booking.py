"""From counts to pieces of orders: each count is booked to the order it belongs to, up to that order's target.

What belongs to no order is unallocated, what nobody can know is declared. Decides neither what was counted nor which
order runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core import confirmation
from gateway.core.model import JobOrderState, Notice, PiecesProduced, Role, UnknownInterval
from gateway.core.orders.attribution import Dating, Share, owner, shares
from gateway.core.orders.job_run import book, room, stays_open, with_reason
from gateway.core.orders.lead import has_begun
from gateway.core.orders.lost_database import LostDatabase
from gateway.core.orders.part_map import taker
from gateway.core.orders.places import job_tag, with_run
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.orders.unallocated import Found, add, review_of
from gateway.core.state.gaps import CycleGaps
from gateway.core.unit_state import remember_unknown

if TYPE_CHECKING:
    from gateway.core.model import CountEvent, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import AnyCountingRule, WorkUnitRules
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.unit_state import DetectorState, State

#: Wild values add up beyond what a display or a JSON reader can hold; the journal has each of them.
REVIEW_PIECES_MAX: Final = 2**53 - 1

_QUIET_FLAGS: Final = frozenset({"OK"})


class Booking:
    """The booking rules of one work unit, prepared. Every method returns the new state and appends to ``out``.

    Args:
        rules: the settings.
        dispatch: confirms and ends orders.
        datings: what the interval of an event is, by its signal.
    """

    def __init__(self, rules: WorkUnitRules, dispatch: Dispatch, datings: dict[str, Dating]) -> None:
        delivery = rules.confirm.delivery
        self._stops_booking = delivery.at_target == "stop_booking"
        self._asks_stop = delivery.stop_signal is not None
        self._completes = rules.orders.at_target == "complete"
        reasons = {rule.signal: str(getattr(rule, "scrap_reason", "")) for rule in rules.counters}
        self._scrap_reasons = {signal: reason for signal, reason in reasons.items() if reason}
        #: Nothing happens at the target: the usual way is open for every piece.
        self._runs_on = not self._completes and delivery.at_target == "continue"
        self._target_counts = rules.orders.target_counts
        self._confirm = rules.confirm
        self._unallocated_rule = rules.unallocated
        self._held_apart = rules.orders.held_pieces == "unallocated"
        self._observes = rules.orders.counting_source == "operator"
        self._job_format = rules.orders.job_format
        self._delay_ns = int(rules.orders.transport_delay)
        self._dispatch = dispatch
        self.lost = LostDatabase(rules)
        self._datings = datings
        self._parts = dispatch.parts.by_signal
        self._draws = dispatch.work.material.follows_lots
        ideal = rules.ideal_cycle
        self._stop_ns = CycleGaps(rules.state.timeline(ideal).gaps).stop_detect_ns(int(ideal or 0))

    def count(
        self,
        state: State,
        track: MachineTrack,
        rule: AnyCountingRule,
        event: CountEvent,
        detectors: tuple[DetectorState, ...],
        at_ns: int,
        out: list[Output],
    ) -> State:
        """What one count changes, together with what its detector and the machine's state became."""
        # Every piece passes here: one new state for all that it changes.
        if event.flag not in _QUIET_FLAGS:
            out.append(event)
            state = self.lost.seen_again(state, rule, event, detectors, out)
        if self._observes:  # a person says how many pieces it was
            run = _idle(state.running, event.delta if event.cycles is None else event.cycles)
            return state.with_count(detectors, track, state.counted, state.last_piece_ns, run)
        if event.review:
            state = _set_aside(state, event.review * rule.pieces)
        if self._parts and event.part is None and rule.signal in self._parts:
            event = event._replace(part=self._parts[rule.signal])
        role, run = event.role or rule.role, state.running
        if role is Role.GOOD and not (run is not None and run.state is JobOrderState.IN_PROGRESS and _alone(state)):
            role = self._judged(self._run_named(state) if state.past.cycle_job else taker(state, event.part))
        if event.max_lost or event.flag == "PULSES_POSSIBLY_LOST":
            state = self._declare_unknown(state, rule, role, event, out)
        cycles = event.delta if event.cycles is None else event.cycles
        if event.delta == 0:
            # The machine worked and made nothing, or just tells something.
            state = _idle_beside(state, event.part, cycles) if state.beside else _idling(state, cycles)
            return state.with_count(detectors, track, state.counted, state.last_piece_ns, state.running)
        pieces = event.delta * rule.pieces
        counted = state.counted.plus(role, pieces)
        # The usual case: all of it belongs to the running order, and it has room for more.
        run, past = state.running, state.past
        if (
            run is None
            or event.t_from_ns - self._delay_ns < past.until_ns
            or past.transit
            or past.cycle_job
            or event.part is not None
            or state.beside
            or self._draws
            or self._apart(run)
            or not (self._runs_on or stays_open(run, role, pieces, self._target_counts))
            or (role is Role.SCRAP and (event.reason or rule.signal in self._scrap_reasons))
        ):
            state = state.with_count(detectors, track, counted, event.t_to_ns, run)
            return self._attribute(state, event, role, pieces, cycles, at_ns, out)
        order, operation = run.job.order, run.job.operation
        out.append(
            PiecesProduced(at_ns, event.signal, role, pieces, order, operation, event.t_from_ns, event.estimated)
        )
        run = book(run, role, pieces, event, cycles=cycles, at_ns=at_ns)
        state = state.with_count(detectors, track, counted, event.t_to_ns, run)
        if confirmation.due_by_pieces(self._confirm, run):
            state = state._replace(running=self._dispatch.closer.by_pieces(state, run, at_ns, out))
        return state

    def _judged(self, run: JobRun | None) -> Role:
        """Nobody stops the machine: what it makes on hold, or before its first article is approved, waits."""
        if run is None or not run.waits_for_verdict:
            return Role.GOOD
        return Role.GOOD if self._apart(run) else Role.HOLD

    def _apart(self, run: JobRun) -> bool:
        """Whether what is made now is no order's, because this one is on hold."""
        return self._held_apart and run.state is JobOrderState.ON_HOLD

    def _room(self, run: JobRun, role: Role) -> int | None:
        return room(run, role, self._target_counts) if self._completes or self._stops_booking else None

    def _attribute(
        self, state: State, event: CountEvent, role: Role, pieces: int, cycles: int, at_ns: int, out: list[Output]
    ) -> State:
        """Each part of the count to the order in whose time it was made."""
        dating = self._datings.get(event.signal, Dating.START)
        if role is Role.SCRAP and not event.reason:
            event = event._replace(reason=self._scrap_reasons.get(event.signal, ""))
        if state.past.cycle_job:
            return self._to_named(state, event, role, Share(None, pieces, cycles), at_ns, out)
        run, known = taker(state, event.part), state.past.of_part(event.part)
        # A count of another part than the running order's is nobody's, but it asks nothing of the past either.
        run = state.running if run is None and not state.beside else run
        running = None if run is None else run.job.key
        past, found = shares(
            known,
            event,
            pieces,
            cycles,
            dating=dating,
            stop_ns=self._stop_ns,
            running=running,
            delay_ns=self._delay_ns,
        )
        if past is not known:
            state = state._replace(past=past)
        task = review_of(event, found, running)
        if task is not None:
            names = (("signal", task.signal), ("from_ns", str(task.t_from_ns)), ("to_ns", str(task.t_to_ns)))
            out.append(Notice(at_ns, "SHARED_BY_TIME", (*names, ("reason", str(task)))))
        for share in found:
            given = event._replace(estimated=True) if share.estimated else event
            if share.key is None:
                state = self._to_running(state, given, role, share.pieces, share.cycles, at_ns, out)
            else:
                state = self._to_former(state, given, role, share, at_ns, out)
        return state

    def _to_running(
        self, state: State, event: CountEvent, role: Role, pieces: int, cycles: int, at_ns: int, out: list[Output]
    ) -> State:
        """Pieces belong to the running order up to its target, then to the next one; without one to nobody yet."""
        if not pieces:
            return _idle_beside(state, event.part, cycles) if state.beside else _idling(state, cycles)
        while pieces:
            run = taker(state, event.part)
            if run is None or self._apart(run):
                return self._unallocated(state, event, role, pieces, at_ns, out, held=run is not None)
            free = self._room(run, role)
            taken = pieces if free is None else min(pieces, free)
            if taken:
                out.append(_pieces(event, role, taken, at_ns, run))
                before, run = run, _booked(run, role, taken, event, cycles, at_ns)
                if self._draws:
                    state, run = self._dispatch.work.drawn(state, run, event, taken, at_ns, out)
                if self._asks_stop:
                    ask_to_stop(self._dispatch, state, before, run, at_ns, out)
                cycles = 0  # a cycle that fills one order and starts the next is one cycle
                state = with_run(state, run)
            pieces -= taken
            if free is not None and not self._completes and taken == free and pieces:
                return self._unallocated(state, event, role, pieces, at_ns, out)
            if free is None or taken == free:
                state = self._dispatch.complete_if_full(state, at_ns, out)
            if taker(state, event.part) is run and confirmation.due_by_pieces(self._confirm, run):
                state = with_run(state, self._dispatch.closer.by_pieces(state, run, at_ns, out))
        return state

    def named(self, state: State, text: str) -> State:
        """The machine says which job its cycles are of from here on."""
        name = text.strip("\0 \t\r\n")
        return state if name == state.past.cycle_job else state._replace(past=state.past._replace(cycle_job=name))

    def _run_named(self, state: State) -> JobRun | None:
        """The open order that the machine says its cycles are of; one that has not come to the machine is none."""
        for run in state.open_runs():
            if job_tag(self._job_format, run.job) == state.past.cycle_job and run.state is not JobOrderState.RELEASED:
                return run
        return None

    def _to_named(
        self, state: State, event: CountEvent, role: Role, share: Share, at_ns: int, out: list[Output]
    ) -> State:
        """What the machine says is a job's own; without such an order it is nobody's."""
        run = self._run_named(state)
        if run is None or self._apart(run):
            held = run is not None
            return self._unallocated(state, event, role, share.pieces, at_ns, out, held=held) if share.pieces else state
        if state.running is not None and run.job.key == state.running.job.key:
            return self._to_running(state, event, role, share.pieces, share.cycles, at_ns, out)
        return self._to_former(state, event, role, share._replace(key=run.job.key), at_ns, out)

    def _to_former(
        self, state: State, event: CountEvent, role: Role, share: Share, at_ns: int, out: list[Output]
    ) -> State:
        """Pieces of an order that ran before. If it has ended meanwhile, its numbers are final: a person decides."""
        if share.key is not None and state.works_on(share.key):
            return self._to_running(state, event, role, share.pieces, share.cycles, at_ns, out)
        run = next((waiting for waiting in state.queue if waiting.job.key == share.key), None)
        if run is None or not _makes(run, event):
            return self._unallocated(state, event, role, share.pieces, at_ns, out) if share.pieces else state
        free = self._room(run, role)
        taken = share.pieces if free is None else min(share.pieces, free)
        if taken:
            out.append(_pieces(event, role, taken, at_ns, run))
        # What lies between two readings at a change carries its flag as any other.
        run = _booked(run, role, taken, event, share.cycles, at_ns)
        if self._draws and taken:
            state, run = self._dispatch.work.drawn(state, run, event, taken, at_ns, out)
        if taken and run.state is JobOrderState.DISPATCHED:  # it took over from an order that was divided
            run = has_begun(run, at_ns, "late pieces", out)
        # What the machine names goes on; else each cycle would be a confirmation of its own.
        more = bool(state.past.cycle_job) or any((one.order, one.operation) == share.key for one in state.past.transit)
        state = self._dispatch.late(state, run, at_ns, out, more=more)
        return self._to_running(state, event, role, share.pieces - taken, 0, at_ns, out)

    def _unallocated(
        self,
        state: State,
        event: CountEvent,
        role: Role,
        pieces: int,
        at_ns: int,
        out: list[Output],
        *,
        held: bool = False,
    ) -> State:
        out.append(_pieces(event, role, pieces, at_ns, None))
        setup = state.track.setup
        found = Found(
            signal=event.signal,
            role=role,
            pieces=pieces,
            t_from_ns=min(event.t_from_ns, event.t_to_ns),
            t_to_ns=event.t_to_ns,
            product=event.part or setup.product,
            tool=setup.tool,
            lot=_lot(state, event.t_to_ns),
            estimated=pieces if event.estimated else 0,
            held=held,
        )
        return state._replace(bucket=add(self._unallocated_rule, state.bucket, found))

    def _declare_unknown(
        self, state: State, rule: AnyCountingRule, role: Role, event: CountEvent, out: list[Output]
    ) -> State:
        run = taker(state, event.part) if state.beside else state.running
        key = owner(state.past.of_part(event.part), event.t_from_ns - self._delay_ns) or (
            run.job.key if run else (None, None)
        )
        interval = UnknownInterval(
            signal=event.signal,
            role=role,
            t_from_ns=event.t_from_ns,
            t_to_ns=event.t_to_ns,
            max_pieces=event.max_lost * rule.pieces if event.max_lost >= 0 else None,
            flag=event.flag,
            order=key[0],
            operation=key[1],
        )
        out.append(interval)
        return remember_unknown(state, interval)


def _alone(state: State) -> bool:
    """Whether only the running order can be meant."""
    return not state.beside and not state.past.cycle_job


def _booked(run: JobRun, role: Role, pieces: int, event: CountEvent, cycles: int, at_ns: int) -> JobRun:
    after = book(run, role, pieces, event, cycles=cycles, at_ns=at_ns)
    return with_reason(after, event.reason, pieces) if event.reason else after


def _set_aside(state: State, pieces: int) -> State:
    """A person looks at them; the order that ran remembers that, too."""
    state, run = state._replace(review=min(state.review + pieces, REVIEW_PIECES_MAX)), state.running
    if run is None:
        return state
    checks = run.checks._replace(review=min(run.checks.review + pieces, REVIEW_PIECES_MAX))
    return state._replace(running=run._replace(checks=checks))


def _idle(run: JobRun | None, cycles: int) -> JobRun | None:
    return run if run is None or not cycles else run._replace(open_cycles=run.open_cycles + cycles)


def _idling(state: State, cycles: int) -> State:
    return state if state.running is None else state._replace(running=_idle(state.running, cycles))


def _idle_beside(state: State, part: str | None, cycles: int) -> State:
    run = taker(state, part)
    return state if run is None or not cycles else with_run(state, run._replace(open_cycles=run.open_cycles + cycles))


def _lot(state: State, at_ns: int) -> str:
    """What was mounted where only one lot can be meant: a piece may be of several materials."""
    lots = [one.lot for feeder in state.work.feeders for one in feeder.mounted_at(at_ns)]
    return lots[0] if len(lots) == 1 else ""


def _makes(run: JobRun, event: CountEvent) -> bool:
    """Whether this order is for what was made: a family tool makes other products too."""
    return event.part is None or event.part == run.job.product


def _pieces(event: CountEvent, role: Role, pieces: int, at_ns: int, run: JobRun | None) -> PiecesProduced:
    order, operation = (None, None) if run is None else run.job.key
    return PiecesProduced(
        at_ns, event.signal, role, pieces, order, operation, event.t_from_ns, event.estimated, event.part
    )
