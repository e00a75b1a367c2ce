"""Which job order runs: started by sequence, by the PLC's job tag or by a person, set up, interrupted, held and ended.

Changes the state's ``running`` and ``queue`` and makes the confirmations that go with an end. Counts nothing. What an
ERP says of an order is read by ``intake.py``, what a person says by ``decisions.py``.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from gateway.core.confirmation import deadline
from gateway.core.confirming.triggers import Trigger as Asked
from gateway.core.model import ConfirmationKind, JobChanged, JobOrderState, Notice
from gateway.core.orders import queue as queues
from gateway.core.orders.closing import NOBODY
from gateway.core.orders.guards import START_GUARDS, Guard, check
from gateway.core.orders.job_run import JobRun, is_full
from gateway.core.orders.lifecycle import RUNNING, ActorRole, Trigger
from gateway.core.orders.order_steps import Cause, Verdict, may, objection
from gateway.core.orders.queue_entries import entry_of, rank_of, start_facts
from gateway.core.refusal import REFUSED, Refusal, all_of, details

if TYPE_CHECKING:
    from gateway.core.document import Identity
    from gateway.core.model import Confirmation, JobOrder, Output
    from gateway.core.orders.closing import Closer, Said
    from gateway.core.orders.guards import GuardFacts
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State

JOB_QUEUE_MAX: Final = 2000  # open job orders at one work unit

_S: Final = JobOrderState
_BY_SEQUENCE: Final = Cause(Trigger.AUTO_ADVANCE, ActorRole.SERVICE, "next in sequence")
_AT_TARGET: Final = Cause(Trigger.TARGET_REACHED, ActorRole.SERVICE, "target reached")
_SETUP_ENDED: Final = Cause(Trigger.SETUP_END, ActorRole.SERVICE, "setup ended")
_SETUP_BEGAN: Final = Cause(Trigger.MACHINE_SIGNAL, ActorRole.SERVICE, "setup began")
_BY_TAG: Final = Cause(Trigger.JOB_TAG, ActorRole.SERVICE, "job signal")
#: Why nothing starts by itself, as far as a person should hear of it.
_WORTH_TELLING: Final = frozenset(
    {queues.WaitReason.HOLD, queues.WaitReason.TOOL, queues.WaitReason.LOT, queues.WaitReason.GUARD}
)


class Dispatch:
    """The order rules of one work unit, prepared. Every method returns the new state and appends to ``out``."""

    def __init__(self, rules: WorkUnitRules, identity: Identity, machine: MachineStateUnit, closer: Closer) -> None:
        self.rule = rules.orders
        self.closer = closer
        self.identity = identity
        self._machine = machine
        self.work = closer.work
        self._delay_pieces = rules.orders.transport_delay_pieces

    # --- what starts -----------------------------------------------------------------------------------------------

    def job_tag(self, state: State, text: str, at_ns: int, out: list[Output], *, since_ns: int) -> State:
        """The PLC names the running job, and did so from ``since_ns`` on."""
        name = text.strip("\0 \t\r\n")
        if name == state.job_tag:
            return state
        return self._follow_tag(state._replace(job_tag=name), at_ns, out, changed=True, since_ns=since_ns)

    def advance(self, state: State, at_ns: int, out: list[Output]) -> State:
        """Start the next order by itself, or propose it, where the rule says so."""
        rule = self.rule
        if state.running is not None:
            return state
        if rule.choose == "job_signal":
            return self._follow_tag(state, at_ns, out, changed=False, since_ns=at_ns)
        if rule.choose != "sequence" or rule.auto_advance == "off":
            return state
        first = next((run for run in state.queue if not run.waits_for_person), None)
        if first is None:
            return state
        sets_up = self._machine.sets_up(state.track, first.job)
        facts = self._facts(state, first, setup_planned=sets_up)
        refusals = check(START_GUARDS, facts, rule)
        told = self._machine.tool_told(state.track)
        tool = (state.track.setup.tool or None) if told is None else told
        waiting = queues.AdvanceFacts(None, tool, refusals)
        next_one = queues.next_order([entry_of(first, setup_planned=sets_up)], waiting, rule.auto_advance)
        match next_one:
            case queues.Start():
                return self.start(state, first, at_ns, _BY_SEQUENCE, out)
            case queues.Propose(warnings=warnings):
                text = "start it, or another one" + "".join(f"; {one}" for one in warnings)
                return _told(state, at_ns, "ORDER_PROPOSED", first.job, text, out)
            case queues.Wait(reason=reason, text=text) if reason in _WORTH_TELLING:
                return _told(state, at_ns, "ORDER_WAITS", first.job, text, out)
        return state

    def may_start(self, state: State, run: JobRun, cause: Cause) -> Verdict:
        """Whether a waiting job order may start now."""
        sets_up = self._machine.sets_up(state.track, run.job)
        facts = self._facts(state, run, setup_planned=sets_up)
        if facts.holds:  # out of a hold leads its release, never a start
            found = all_of(objection(one) for one in check(START_GUARDS[:1], facts, self.rule))
            return Verdict(found or Refusal("it is on hold", Guard.G1, found=run.state, what_to_do="release it first"))
        return may(run, _S.SETUP if sets_up else _S.IN_PROGRESS, cause, self.rule, facts)

    def may_end_setup(self, state: State, run: JobRun, cause: Cause) -> Verdict:
        """Whether the setup of the running order may end."""
        facts = self._facts(state, run, setup_planned=False)
        return may(run, _S.IN_PROGRESS, cause, self.rule, facts) if run.state is _S.SETUP else Verdict()

    def start(self, state: State, run: JobRun, at_ns: int, cause: Cause, out: list[Output]) -> State:
        """Start a waiting job order, whatever its guards say; what runs makes way as the rule says."""
        if state.running is not None:
            ends = self.rule.when_running == "complete" and state.running.state is _S.IN_PROGRESS
            state = self.ended(state, state.running, at_ns, cause, out) if ends else self.away(state, at_ns, cause, out)
        sets_up = self._machine.sets_up(state.track, run.job)
        started = run._replace(
            state=_S.SETUP if sets_up else _S.IN_PROGRESS,
            open_from_ns=at_ns,
            confirmed_ns=at_ns,
            waits_for_person=False,
        )
        out.append(JobChanged(at_ns, started.record(), run.state, cause.text))
        return without(state, run)._replace(running=started, next_told="")

    def followed(self, before: State, state: State, at_ns: int, out: list[Output]) -> State:
        """After each input: the running order is in setup as long as the machine is; times that are final are kept."""
        if state.running is not None:
            state = self._setup_follows(state, at_ns, out)
        was, run = before.running, state.running
        other = was is not run and (was is None or run is None or was.job is not run.job)
        if other or state.track.timeline.left or before.queue is not state.queue:
            return self.work.followed(before, state, at_ns, out)
        return state

    def _setup_follows(self, state: State, at_ns: int, out: list[Output]) -> State:
        run, sets_up = state.running, state.track.setup.since_ns is not None
        if run is None or run.state not in RUNNING or (run.state is _S.SETUP) == sets_up:
            return state
        return state._replace(running=self._to(run, at_ns, _SETUP_BEGAN if sets_up else _SETUP_ENDED, out))

    def _to(self, run: JobRun, at_ns: int, cause: Cause, out: list[Output]) -> JobRun:
        """Into a setup, or out of it."""
        begins = cause is _SETUP_BEGAN
        work = run.work if begins else run.work._replace(setups=run.work.setups + 1)
        after = run._replace(state=_S.SETUP if begins else _S.IN_PROGRESS, work=work)
        out.append(JobChanged(at_ns, after.record(), run.state, cause.text))
        return after

    # --- what ends -------------------------------------------------------------------------------------------------

    def complete_if_full(self, state: State, at_ns: int, out: list[Output]) -> State:
        """End the running order at its target."""
        run = state.running
        if run is None or self.rule.at_target != "complete" or not is_full(run, self.rule.target_counts):
            return state
        if run.state is _S.SETUP:  # what a setup makes may fill an order; it was run for that
            run = self._to(run, at_ns, _SETUP_ENDED, out)
        state = self._end(state._replace(running=run), run, at_ns, _AT_TARGET.text, out)
        return self.advance(state, at_ns, out)

    def ended(self, state: State, run: JobRun, at_ns: int, cause: Cause, out: list[Output]) -> State:
        """End an order that was started, now."""
        if state.running is run:
            state = self.ceased(state, at_ns)
        return self._end(state, run, at_ns, cause.text, out)

    def confirm_running(self, state: State, at_ns: int, trigger: str, out: list[Output]) -> State:
        """A partial confirmation of the running order, if there is anything to confirm."""
        run = state.running
        if run is None or not run.anything_open:
            return state
        return state._replace(running=self.confirmed(state, run, at_ns, trigger, out))

    def confirmed(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> JobRun:
        """A partial confirmation of an order that has something to confirm."""
        return self.closer.partial(state, run, at_ns, trigger, out)

    def asked(self, state: State, run: JobRun, at_ns: int, out: list[Output], *asked: Asked) -> State:
        """Something asks for a confirmation of an open order: it is made, or waits, or there is nothing to say."""
        return with_run(state, self.closer.asked(state, run, at_ns, out, *asked))

    def confirmed_by_time(self, state: State, now_ns: int, out: list[Output]) -> State:
        """The running order after its timer, if that is due."""
        run = state.running
        due_ns = None if run is None else deadline(self.closer.rule, run)
        if run is None or due_ns is None or due_ns > now_ns:
            return state
        return state._replace(running=self.closer.asked(state, run, now_ns, out))

    def shift_followed(self, before: MachineTrack, state: State, at_ns: int, out: list[Output]) -> State:
        """Where a shift ended: what was made in it is confirmed in it, and its times even where nothing was."""
        ended = before.timeline.contexts[-1].shift
        if not ended or state.track.timeline.contexts[-1].shift == ended:
            return state
        for run in state.open_runs():
            if run.anything_open or run is state.running:
                state = self.asked(state, run, at_ns, out, Asked.SHIFT_END)
        return state

    def late(self, state: State, run: JobRun, at_ns: int, out: list[Output], *, more: bool) -> State:
        """Pieces were booked to a waiting order in whose time they were made: confirm them, unless more will come."""
        rule = self.rule
        if run.state is _S.INTERRUPTED and rule.at_target == "complete" and is_full(run, rule.target_counts):
            return self._end(state, run, at_ns, _AT_TARGET.text, out)
        if not more and run.anything_open:
            run = self.confirmed(state, run, at_ns, "late pieces", out)
        return enqueue(without(state, run), run)

    def interrupt(
        self,
        state: State,
        at_ns: int,
        text: str,
        out: list[Output],
        *,
        by_person: bool,
        since_ns: int | None = None,
    ) -> State:
        """The running order stops; a person's word keeps it from starting again by itself."""
        state = self.confirm_running(state, at_ns, "interruption", out)
        run = state.running
        assert run is not None, "only a running order is interrupted"
        state = self.ceased(state, at_ns if since_ns is None else since_ns)
        stopped = run._replace(state=_S.INTERRUPTED, waits_for_person=by_person)
        out.append(JobChanged(at_ns, stopped.record(), run.state, text))
        return enqueue(state._replace(running=None), stopped)

    def away(self, state: State, at_ns: int, cause: Cause, out: list[Output], *, since_ns: int | None = None) -> State:
        """What runs makes way; an order on hold stays on hold, and returns as an interrupted one."""
        run = state.running
        assert run is not None, "something makes way"
        if run.state is not _S.ON_HOLD:
            return self.interrupt(state, at_ns, cause.text, out, by_person=False, since_ns=since_ns)
        state = self.ceased(state, at_ns if since_ns is None else since_ns)
        aside = run._replace(held_from=_S.INTERRUPTED)
        out.append(JobChanged(at_ns, aside.record(), run.state, cause.text))
        return enqueue(state._replace(running=None), aside)

    def ceased(self, state: State, until_ns: int) -> State:
        """The running order ran until then, for whatever is counted later."""
        assert state.running is not None, "only a running order ceases to run"
        return state._replace(past=state.past.after(state.running.job.key, until_ns, self._delay_pieces))

    # --- parts -----------------------------------------------------------------------------------------------------

    def confirm(
        self, state: State, run: JobRun, at_ns: int, kind: ConfirmationKind, trigger: str, said: Said = NOBODY
    ) -> tuple[JobRun, Confirmation]:
        """The next confirmation of an order."""
        return self.closer.close(state, run, at_ns, kind, trigger, said)

    def _facts(self, state: State, run: JobRun, *, setup_planned: bool) -> GuardFacts:
        """What is known of the start of a job order."""
        facts = start_facts(state, run, self._machine, setup_planned=setup_planned)
        needed, there = self.work.material.lacking(state.work.feeders, run, state.at_ns)
        return facts._replace(lots_required=needed, lots_mounted=there)

    def _end(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> State:
        closed, confirmation = self.confirm(state, run, at_ns, ConfirmationKind.FINAL, trigger)
        done = closed._replace(state=_S.COMPLETED)
        out.extend((confirmation, JobChanged(at_ns, done.record(), run.state, trigger)))
        return without(state, run)

    def _follow_tag(self, state: State, at_ns: int, out: list[Output], *, changed: bool, since_ns: int) -> State:
        tag = state.job_tag
        if tag is None:
            return state
        if state.running is not None:
            if self._tag_of(state.running.job) == tag:
                return state
            cause = _BY_TAG._replace(text=f"job signal says {tag!r}")
            state = self.away(state, at_ns, cause, out, since_ns=since_ns)
        for run in state.queue:
            if self._tag_of(run.job) == tag:
                # What a person interrupted starts again when the PLC names it anew, not because it still does.
                if run.waits_for_person and not changed:
                    return state
                refusal = self.may_start(state, run, _BY_TAG).refusal
                if refusal:
                    return _told(state, at_ns, "ORDER_WAITS", run.job, refusal, out)
                return self.start(state, run, at_ns, _BY_TAG, out)
        if tag:
            out.append(Notice(at_ns, "UNKNOWN_JOB", (("job_signal", tag),)))
        return state

    def _tag_of(self, job: JobOrder) -> str:
        return self.rule.job_format.replace("{order}", job.order).replace("{operation}", job.operation)


def named(state: State, order: str, operation: str) -> JobRun | str:
    """The open job order that a person means, or why it is none; ``operation`` may be empty where there is only one."""
    found = [run for run in state.open_runs() if run.job.order == order and operation in ("", run.job.operation)]
    if len(found) == 1:
        return found[0]
    name = f"{order}/{operation}" if operation else order
    if found:
        operations = ", ".join(run.job.operation for run in found)
        text = f"order {name} has several operations here: {operations}; name one"
        return Refusal(text, "ONE_OPERATION", found=operations, allowed="one of them", what_to_do="name the operation")
    here = ", ".join("/".join(run.job.key) for run in state.open_runs()) or "none"
    text = f"order {name} is not open at this work unit; open orders: {here}"
    todo = "name an open order, or have this one released to this machine"
    return Refusal(text, "ORDER_OPEN", found=name, allowed=here, what_to_do=todo)


def enqueue(state: State, run: JobRun) -> State:
    """The state with one more waiting job order, at its place."""
    waiting = list(state.queue)
    bisect.insort(waiting, run, key=rank_of)
    return state._replace(queue=tuple(waiting))


def without(state: State, run: JobRun) -> State:
    """The state without a job order."""
    if state.running is not None and state.running.job.key == run.job.key:
        return state._replace(running=None)
    return state._replace(queue=tuple(other for other in state.queue if other.job.key != run.job.key))


def with_run(state: State, run: JobRun) -> State:
    """The state with a job order as it is now, at its place."""
    if state.running is not None and state.running.job.key == run.job.key:
        return state._replace(running=run)
    return enqueue(without(state, run), run)


def notice(at_ns: int, code: str, job: JobOrder, **detail: str) -> Notice:
    """Something a person should see of a job order."""
    return Notice(at_ns, code, (("order", job.order), ("operation", job.operation), *detail.items()))


def refusal_of(at_ns: int, job: JobOrder, why: str) -> Notice:
    """What is not done with a job order, and why; a ``Refusal`` with its parts."""
    return Notice(at_ns, REFUSED, (("order", job.order), ("operation", job.operation), *details(why)))


def _told(state: State, at_ns: int, code: str, job: JobOrder, text: str, out: list[Output]) -> State:
    """Said once, not each time that somebody asks."""
    said = f"{code} {'/'.join(job.key)}: {text}"
    if state.next_told == said:
        return state
    out.append(notice(at_ns, code, job, reason=text))
    return state._replace(next_told=said)
