"""Which job order runs: started by sequence, by the PLC's job tag or by a person, set up, interrupted, held and ended.

Changes the state's ``running`` and ``queue``. Counts nothing. An ERP's word is for ``intake.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.confirmation import deadline
from gateway.core.confirming.corrections import Origin
from gateway.core.confirming.triggers import Trigger as Asked
from gateway.core.model import ConfirmationKind, JobChanged, JobOrderState, Notice
from gateway.core.orders import queue as queues
from gateway.core.orders.closing import NOBODY, Said
from gateway.core.orders.divided_material import taking
from gateway.core.orders.engineering_change import in_force
from gateway.core.orders.finishing import Finishing
from gateway.core.orders.guards import START_GUARDS, check
from gateway.core.orders.job_run import JobRun, is_full
from gateway.core.orders.lifecycle import RUNNING, ActorRole, Trigger
from gateway.core.orders.order_steps import Cause, despite
from gateway.core.orders.places import (
    enqueue,
    job_tag,
    named,
    notice,
    owing,
    put_to_work,
    refusal_of,
    told,
    with_run,
    without,
)
from gateway.core.orders.queue_entries import entry_of
from gateway.core.orders.shift_end import waits_for_shift
from gateway.core.orders.standing_holds import applied, held_otherwise
from gateway.core.orders.starting import Starting
from gateway.core.orders.unneeded import without_unneeded
from gateway.core.work.held_back import judged_only, with_held
from gateway.core.work.packing import noted

if TYPE_CHECKING:
    from gateway.core.document import Identity
    from gateway.core.model import Output
    from gateway.core.orders.closing import Closer
    from gateway.core.orders.part_map import PartMap
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State

__all__ = ["JOB_QUEUE_MAX", "Dispatch", "enqueue", "named", "notice", "refusal_of", "with_run", "without"]

JOB_QUEUE_MAX: Final = 2000  # open job orders at one work unit

_S: Final = JobOrderState
BY_SEQUENCE: Final = Cause(Trigger.AUTO_ADVANCE, ActorRole.SERVICE, "next in sequence")
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
        self.unallocated_rule = rules.unallocated
        self._remembers = rules.unallocated.policy == "to_previous_if_within_tolerance"
        self.identity = identity
        self.finishing = Finishing(rules, closer.work)
        self.starting = Starting(rules, machine, closer.work, self.finishing)
        self.parts: PartMap = self.starting.parts
        self._machine = machine
        self._has_calendar = rules.calendar is not None
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
        """Start the next order by itself, or propose it, where the rule says so; with parallel ones each that can."""
        if state.standing:  # of what has just come, before it could start
            state = applied(self, state, at_ns, out)
        state = without_unneeded(self, state, at_ns, out)
        for _ in range(self.rule.max_parallel_orders):
            before = len(state.at_work())
            if before >= self.rule.max_parallel_orders:
                return state
            state = self._advance(state, at_ns, out)
            if len(state.at_work()) == before:
                return state
        return state

    def _advance(self, state: State, at_ns: int, out: list[Output]) -> State:
        rule = self.rule
        if rule.choose == "job_signal":
            return self._follow_tag(state, at_ns, out, changed=False, since_ns=at_ns)
        first = self.parts.candidate(state)
        if rule.choose != "sequence" or rule.auto_advance == "off" or first is None:
            return state
        if why := waits_for_shift(rule, state, has_calendar=self._has_calendar):
            return told(state, at_ns, "ORDER_WAITS", first.job, why, out)
        facts = self.starting.start_facts(state, first)
        said = self._machine.tool_told(state.track)
        tool = (state.track.setup.tool or None) if said is None else said
        waiting = queues.AdvanceFacts(None, tool, check(START_GUARDS, facts, rule))
        next_one = queues.next_order([entry_of(first, setup_planned=facts.changeover)], waiting, rule.auto_advance)
        match next_one:
            case queues.Start():
                verdict = self.starting.may_start(state, first, BY_SEQUENCE, at_ns)
                if verdict.refusal:
                    return told(state, at_ns, "ORDER_WAITS", first.job, verdict.refusal, out)
                return self.start(state, first, at_ns, despite(BY_SEQUENCE, verdict), out)
            case queues.Propose(warnings=warnings):
                text = "start it, or another one" + "".join(f"; {one}" for one in warnings)
                return told(state, at_ns, "ORDER_PROPOSED", first.job, text, out)
            case queues.Wait(reason=reason, text=text) if reason in _WORTH_TELLING:
                return told(state, at_ns, "ORDER_WAITS", first.job, text, out)
        return state

    def start(
        self, state: State, run: JobRun, at_ns: int, cause: Cause, out: list[Output], *, interrupt: bool = False
    ) -> State:
        """Start a waiting job order, whatever its guards say; what is in its way goes as the rule says.

        ``interrupt``: whatever the rule says it is interrupted, and is next once this order is over.
        """
        for one in self.parts.in_the_way(state, run):
            if self.starting.ends(one, interrupt=interrupt):
                ending = self.finishing.may_end(state, one, cause, at_ns, reason=cause.text)
                state = self.ended(state, one, at_ns, cause, out, ending.flags)
            else:
                state = self.away(state, at_ns, cause, out, run=one, resumes=interrupt)
        state, run = taking(state, run)
        started = run._replace(
            state=self.starting.begins_as(state, run),
            open_from_ns=at_ns,
            confirmed_ns=at_ns,
            waits_for_person=False,
            resumes=False,
            awaits_article=self.starting.awaits_article(run),
        )
        out.append(JobChanged(at_ns, started.record(), run.state, "; despite ".join((cause.text, *cause.passed))))
        return put_to_work(without(state, run), started)._replace(next_told="")

    def rush(self, state: State, run: JobRun, at_ns: int, cause: Cause, out: list[Output]) -> State:
        """A waiting order goes before all others but earlier rush orders; where orders start by themselves, now."""
        entries = [entry_of(one, setup_planned=False) for one in state.queue if one.state in queues.QUEUED]
        running = next((one for one in self.parts.in_the_way(state, run)), None)
        key, is_rush = (None, False) if running is None else (running.job.key, bool(running.rush_no))
        inserted = queues.insert_rush(entries, entry_of(run, setup_planned=False), key, running_is_rush=is_rush)
        number = next(one.rush_no for one in inserted.queue if one.key == run.job.key)
        hurried = run._replace(rush_no=number, waits_for_person=False)
        out.append(JobChanged(at_ns, hurried.record(), run.state, cause.text))
        state = enqueue(without(state, run), hurried)
        by_itself = self.rule.choose == "sequence" and self.rule.auto_advance == "auto"
        if inserted.interrupt is None or not by_itself:
            return self.advance(state, at_ns, out)
        # A machine is not stopped for an order that could not start on it.
        refusal = self.starting.may_start(state, hurried, BY_SEQUENCE, at_ns, interrupt=True).refusal
        if refusal:
            return told(state, at_ns, "ORDER_WAITS", run.job, refusal, out)
        return self.start(state, hurried, at_ns, BY_SEQUENCE._replace(text=cause.text), out, interrupt=True)

    def followed(self, before: State, state: State, at_ns: int, out: list[Output]) -> State:
        """After each input: the running order is in setup as long as the machine is; times that are final are kept."""
        if state.running is not None and not self.closer.silent:
            state = self.setup_follows(state, at_ns, out)
        elif state.next_told and before.track.signals is not state.track.signals:
            state = self.advance(state, at_ns, out)  # what waits may have waited for this tool or recipe
        state = noted(before, state, self.identity.machine, at_ns, out)
        was, run = before.running, state.running
        other = was is not run and (was is None or run is None or was.job is not run.job)
        if state.standing and (other or held_otherwise(before, state)):
            state = applied(self, state, at_ns, out)
        if other or state.track.timeline.left or before.queue is not state.queue or before.beside is not state.beside:
            return self.work.followed(before, state, at_ns, out)
        return state

    def setup_follows(self, state: State, at_ns: int, out: list[Output]) -> State:
        """A running order is in setup as long as the machine is, or the first article waits for its approval."""
        sets_up, first = state.track.setup.since_ns is not None, state.running
        if not state.beside and (first is None or first.state not in RUNNING or (first.state is _S.SETUP) == sets_up):
            return state
        for run in state.at_work():
            if run.state not in RUNNING or (run.state is _S.SETUP) == sets_up:
                continue
            if sets_up:
                state = with_run(state, self._to(run, at_ns, _SETUP_BEGAN, out))
                continue
            verdict = self.starting.may_end_setup(state, run, _SETUP_ENDED)
            if verdict.refusal:
                state = told(state, at_ns, "SETUP_WAITS", run.job, verdict.refusal, out)
            else:
                out += (notice(at_ns, "START_WARNING", run.job, reason=warning) for warning in verdict.warnings)
                state = with_run(state, self._to(run, at_ns, _SETUP_ENDED, out))
        return state

    def _to(self, run: JobRun, at_ns: int, cause: Cause, out: list[Output]) -> JobRun:
        """Into a setup, or out of it."""
        begins = cause is _SETUP_BEGAN
        work = run.work if begins else run.work._replace(setups=run.work.setups + 1)
        after = run._replace(state=_S.SETUP if begins else _S.IN_PROGRESS, work=work, awaits_article=False)
        out.append(JobChanged(at_ns, after.record(), run.state, cause.text))
        return after

    # --- what ends -------------------------------------------------------------------------------------------------

    def complete_if_full(self, state: State, at_ns: int, out: list[Output]) -> State:
        """End the running orders that are at their target; what waits for a verdict keeps them open."""
        if self.rule.at_target != "complete":
            return state
        full = [run for run in state.at_work() if is_full(run, self.rule.target_counts)]
        for run in full:
            state = self._at_target(state, run, at_ns, out)
        return self.advance(state, at_ns, out) if full else state

    def _at_target(self, state: State, run: JobRun, at_ns: int, out: list[Output]) -> State:
        refusal = self.starting.may_end_setup(state, run, _SETUP_ENDED).refusal
        if not refusal and run.state is _S.SETUP:  # what a setup makes may fill an order; it was run for that
            run = self._to(run, at_ns, _SETUP_ENDED, out)
            state = with_run(state, run)
        flags: tuple[str, ...] = ()
        if not refusal:
            refusal, flags, _ = self.finishing.may_end(state, run, _AT_TARGET, at_ns)
        if not refusal:
            return self._end(state, run, at_ns, _AT_TARGET.text, out, Said(flags=flags))
        # It makes way for the next one, and what it waits for stays open for whoever settles it: that ends it.
        settled = self._settled(state, run, at_ns, _AT_TARGET.text, out)
        aside = settled._replace(state=_S.INTERRUPTED, waits_for_person=True)
        out.append(JobChanged(at_ns, aside.record(), run.state, _AT_TARGET.text))
        out.append(notice(at_ns, "COMPLETION_WAITS", run.job, reason=refusal))
        return enqueue(without(state, run), aside)

    def ended(
        self, state: State, run: JobRun, at_ns: int, cause: Cause, out: list[Output], flags: tuple[str, ...] = ()
    ) -> State:
        """End an order that was started, now; ``flags``: of its final confirmation."""
        if state.works_on(run.job.key):
            state = self.ceased(state, at_ns, run)
        said = Said(cause.by, cause.reason, Origin.OPERATOR, flags) if cause.by else Said(flags=flags)
        return self._end(state, run, at_ns, cause.text, out, said)

    def confirmed(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> JobRun:
        """A partial confirmation of an order that has something to confirm."""
        return self.closer.partial(state, run, at_ns, trigger, out)

    def left(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> JobRun:
        """The last confirmation here of an order that goes elsewhere or is no more, if anything of it is not told."""
        told = not run.anything_open and not self.work.untold(state, run, at_ns)
        return run if told else self.closer.partial(state, run, at_ns, trigger, out, last=True)

    def asked(self, state: State, run: JobRun, at_ns: int, out: list[Output], *asked: Asked) -> State:
        """Something asks for a confirmation of an open order: it is made, or waits, or there is nothing to say."""
        return with_run(state, self.closer.asked(state, run, at_ns, out, *asked))

    def confirmed_by_hand(
        self, state: State, run: JobRun, at_ns: int, cause: Cause, out: list[Output]
    ) -> JobRun | None:
        """The order after a confirmation that a person wants, of all that is judged; None: there is nothing of it."""
        judged = judged_only(run)
        if not judged.anything_open:
            return None
        said = Said(cause.by, cause.reason, Origin.OPERATOR)
        after = self.closer.asked(state, judged, at_ns, out, Asked.MANUAL, said=said)
        return with_held(after, run)

    def confirmed_by_time(self, state: State, now_ns: int, out: list[Output]) -> State:
        """The running orders after their timers, as far as those are due."""
        state = in_force(self, state, now_ns, out)
        for run in state.at_work():
            due_ns = deadline(self.closer.rule, run)
            if due_ns is not None and due_ns <= now_ns:
                state = with_run(state, self.closer.asked(state, run, now_ns, out))
        return state

    def _settled(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> JobRun:
        """All that is judged is confirmed; what waits for a verdict stays open."""
        judged = judged_only(run)
        if judged.anything_open:
            judged = self.confirmed(state, judged, at_ns, trigger, out)
        return with_held(judged, run)

    def settled(self, state: State, run: JobRun, at_ns: int, out: list[Output]) -> State:
        """The state with an order of which something is settled; where it waited only for that, it ends."""
        if state.works_on(run.job.key):
            return with_run(state, run)
        return self.advance(self.late(with_run(state, run), run, at_ns, out, more=True), at_ns, out)

    def late(self, state: State, run: JobRun, at_ns: int, out: list[Output], *, more: bool) -> State:
        """Pieces were booked to a waiting order in whose time they were made: confirm them, unless more will come."""
        rule = self.rule
        full = run.state is _S.INTERRUPTED and rule.at_target == "complete" and is_full(run, rule.target_counts)
        if full:
            refusal, flags, _ = self.finishing.may_end(state, run, _AT_TARGET, at_ns)
            if not refusal:
                return self._end(state, run, at_ns, _AT_TARGET.text, out, Said(flags=flags))
        if not more and run.anything_open:
            run = (self._settled if full else self.confirmed)(state, run, at_ns, "late pieces", out)
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
        run: JobRun | None = None,
        resumes: bool = False,
    ) -> State:
        """A running order (None: the leading one) stops; a person's word keeps it from starting again by itself.

        ``resumes``: it is next, before those that have not begun.
        """
        run = state.running if run is None else run
        assert run is not None, "only a running order is interrupted"
        if run.anything_open:
            run = self.confirmed(state, run, at_ns, "interruption", out)
        state = self.ceased(state, at_ns if since_ns is None else since_ns, run)
        stopped = run._replace(state=_S.INTERRUPTED, waits_for_person=by_person, resumes=resumes)
        out.append(JobChanged(at_ns, stopped.record(), run.state, text))
        return enqueue(without(state, run), stopped)

    def away(
        self,
        state: State,
        at_ns: int,
        cause: Cause,
        out: list[Output],
        *,
        since_ns: int | None = None,
        run: JobRun | None = None,
        resumes: bool = False,
    ) -> State:
        """What runs makes way; an order on hold stays on hold, and returns as an interrupted one."""
        run = state.running if run is None else run
        assert run is not None, "something makes way"
        if run.state is not _S.ON_HOLD:
            text = cause.text
            return self.interrupt(state, at_ns, text, out, by_person=False, since_ns=since_ns, run=run, resumes=resumes)
        state = self.ceased(state, at_ns if since_ns is None else since_ns, run)
        aside = run._replace(held_from=_S.INTERRUPTED, resumes=resumes)
        out.append(JobChanged(at_ns, aside.record(), run.state, cause.text))
        return enqueue(without(state, run), aside)

    def ceased(self, state: State, until_ns: int, run: JobRun | None = None) -> State:
        """An order (None: the leading one) ran until then, for whatever is counted later."""
        run = state.running if run is None else run
        assert run is not None, "only a running order ceases to run"
        part = run.job.product if self.parts.most > 1 else ""
        return state._replace(past=state.past.after(run.job.key, until_ns, self._delay_pieces, part))

    # --- parts -----------------------------------------------------------------------------------------------------

    def _end(
        self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output], said: Said = NOBODY
    ) -> State:
        closed = self.closer.closed(state, run, at_ns, ConfirmationKind.FINAL, trigger, out, said=said)
        done = closed._replace(state=_S.COMPLETED)
        out.append(JobChanged(at_ns, done.record(), run.state, trigger))
        return owing(without(state, run), run)._replace(previous=done if self._remembers else None)

    def _follow_tag(self, state: State, at_ns: int, out: list[Output], *, changed: bool, since_ns: int) -> State:
        tag = state.job_tag
        if tag is None:
            return state
        if state.running is not None:
            if job_tag(self.rule.job_format, state.running.job) == tag:
                return state
            cause = _BY_TAG._replace(text=f"job signal says {tag!r}")
            state = self.away(state, at_ns, cause, out, since_ns=since_ns)
        for run in state.queue:
            if job_tag(self.rule.job_format, run.job) == tag:
                # What a person interrupted starts again when the PLC names it anew, not because it still does.
                if run.waits_for_person and not changed:
                    return state
                verdict = self.starting.may_start(state, run, _BY_TAG, at_ns)
                if verdict.refusal:
                    return told(state, at_ns, "ORDER_WAITS", run.job, verdict.refusal, out)
                return self.start(state, run, at_ns, despite(_BY_TAG, verdict), out)
        if tag:
            out.append(Notice(at_ns, "UNKNOWN_JOB", (("job_signal", tag),)))
        return state
