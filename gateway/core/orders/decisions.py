"""What a person decides about a job order: start, interrupt, finish, hold, release, reopen, cancel, end its setup.

Each change is asked of the order's life and its guards; what cannot be done becomes a REFUSED notice that names what is
in the way and what to do. Carries out nothing itself but holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.model import JobChanged, JobOrderState, OperatorVerb
from gateway.core.orders.dispatch import JOB_QUEUE_MAX, named, notice, refusal_of, with_run
from gateway.core.orders.guards import Guard, GuardFacts, GuardRefusal
from gateway.core.orders.job_run import from_record
from gateway.core.orders.lifecycle import RUNNING, ActorRole, Trigger
from gateway.core.orders.order_steps import Cause, may, objection
from gateway.core.refusal import AS_IT_IS, Refusal, refused

if TYPE_CHECKING:
    from gateway.core.model import JobRecord, OperatorEntry, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.intake import Intake
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

_S: Final = JobOrderState
_V: Final = OperatorVerb


class Decisions:
    """The decisions at one work unit."""

    def __init__(self, dispatch: Dispatch, intake: Intake) -> None:
        self._dispatch = dispatch
        self._intake = intake
        self._rule = dispatch.rule
        self._verbs: Final = {
            _V.START: self._start,
            _V.INTERRUPT: self._interrupt,
            _V.FINISH: self._finish,
            _V.HOLD: self._hold,
            _V.RELEASE: self._release,
            _V.CANCEL: self._cancel,
            _V.COMPLETE_SETUP: self._complete_setup,
            _V.DISPATCH: self._queued,
            _V.REVOKE: self._queued,
        }

    def decide(self, state: State, entry: OperatorEntry, out: list[Output]) -> State:
        """The state after a decision."""
        cause = _cause(entry)
        run = named(state, entry.order, entry.operation)
        if entry.verb is _V.REOPEN:
            return self._reopen(state, entry, None if isinstance(run, str) else run, cause, out)
        if isinstance(run, str):
            out.append(refused(entry.at_ns, run))
            return state
        return self._verbs[entry.verb](state, entry, run, cause, out)

    def _interrupt(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        running = state.running is not None and state.running.job.key == run.job.key
        if not running or run.state not in RUNNING:
            return _refused(state, entry, run, _wrong_state(run, "it is not running but", "RUNNING"), out)
        refusal = may(run, _S.INTERRUPTED, cause, self._rule).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        state = self._dispatch.interrupt(state, entry.at_ns, cause.text, out, by_person=True)
        return self._dispatch.advance(state, entry.at_ns, out)

    def _complete_setup(
        self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]
    ) -> State:
        """The end of a setup that goes on is the machine's to tell; here it is only asked for, or missed."""
        refusal = self._dispatch.may_end_setup(state, run, cause).refusal
        return _refused(state, entry, run, refusal or _wrong_state(run, "it is not in setup but", "SETUP"), out)

    def may_complete_setup(self, state: State, entry: OperatorEntry, run: JobRun) -> bool:
        """Whether the setup of the running order may end by this person's word."""
        return not self._dispatch.may_end_setup(state, run, _cause(entry)).refusal

    def _start(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if run.state in RUNNING:
            why = Refusal("it is running already", AS_IT_IS, found=run.state, allowed="an order that waits")
            return _refused(state, entry, run, why, out)
        verdict = self._dispatch.may_start(state, run, cause)
        if verdict.refusal:
            return _refused(state, entry, run, verdict.refusal, out)
        out.extend(notice(entry.at_ns, "START_WARNING", run.job, reason=warning) for warning in verdict.warnings)
        return self._dispatch.start(state, run, entry.at_ns, cause, out)

    def _finish(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if run.state is _S.DISPATCHED:
            return _refused(state, entry, run, _NOT_STARTED, out)
        # What was confirmed as held is the ERP's to judge; what was not is still ours.
        refusal = may(run, _S.COMPLETED, cause, self._rule, GuardFacts(pieces_on_hold=run.open_hold)).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        state = self._dispatch.ended(state, run, entry.at_ns, cause, out)
        return self._dispatch.advance(state, entry.at_ns, out)

    def _queued(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """Into the queue, or out of it again as long as it has not been started."""
        state_to = _S.DISPATCHED if entry.verb is _V.DISPATCH else _S.RELEASED
        if state_to is _S.RELEASED and run.state is _S.ON_HOLD:  # out of a hold leads its release, never this
            return _refused(state, entry, run, _wrong_state(run, "it is not dispatched but", "DISPATCHED"), out)
        started = bool(run.good or run.scrap or run.rework or run.hold or run.test)
        refusal = may(run, state_to, cause, self._rule, GuardFacts(started=started)).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        queued = run._replace(state=state_to)
        out.append(JobChanged(entry.at_ns, queued.record(), run.state, cause.text))
        return self._dispatch.advance(with_run(state, queued), entry.at_ns, out)

    def _hold(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        refusal = may(run, _S.ON_HOLD, cause, self._rule).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        return self._intake.held(state, run, entry.at_ns, cause.text, entry.reason or "without a reason", out)

    def _release(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if run.state is not _S.ON_HOLD or run.held_from is None:
            return _refused(state, entry, run, _wrong_state(run, "it is not on hold but", "ON_HOLD"), out)
        refusal = may(run, run.held_from, cause, self._rule).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        return self._intake.released(state, run, entry.at_ns, cause.text, out)

    def _cancel(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """A planner speaks for the ERP; nobody else withdraws an order."""
        if cause.role is ActorRole.PLANNER:
            cause = cause._replace(trigger=Trigger.ERP_MESSAGE)
        refusal = may(run, _S.CANCELLED, cause, self._rule).refusal
        if not refusal and run.state is not _S.DISPATCHED and self._rule.cancel_in_progress == "reject":
            text = f"{Guard.CANCEL_POLICY}: it was started ({run.state}); finish it, or interrupt it first"
            todo = "finish it, or interrupt it first"
            refusal = Refusal(text, Guard.CANCEL_POLICY, found=run.state, allowed="DISPATCHED", what_to_do=todo)
        if refusal:
            return _refused(state, entry, run, refusal, out)
        job = run.job._replace(cancelled=True)
        return self._intake.cancelled(state, run, job, entry.at_ns, cause.text, out)

    def _reopen(self, state: State, entry: OperatorEntry, run: JobRun | None, cause: Cause, out: list[Output]) -> State:
        known = entry.known
        if run is not None:
            why = Refusal(f"it is open, {run.state}", AS_IT_IS, found=run.state, allowed="COMPLETED")
            return _refused(state, entry, run, why, out)
        if known is None or known.job.work_center != self._dispatch.identity.work_center:
            text = f"no single operation of order {entry.order} is remembered here; name order and operation"
            out.append(refused(entry.at_ns, Refusal(text, "ORDER_KNOWN", what_to_do="name order and operation")))
            return state
        found = from_record(known, known.job)._replace(state=known.state, held_from=known.held_from)
        refusal = may(found, _S.IN_PROGRESS, cause, self._rule).refusal or _taken(state, known)
        if refusal:
            return _refused(state, entry, found, refusal, out)
        opened = found._replace(state=_S.IN_PROGRESS, reopened=True, open_from_ns=entry.at_ns, confirmed_ns=entry.at_ns)
        out.append(JobChanged(entry.at_ns, opened.record(), known.state, cause.text))
        text = f"its final confirmation, number {known.seq}, is out; reverse it in the ERP"
        out.append(notice(entry.at_ns, "FINAL_TO_REVERSE", known.job, reason=text))
        return with_run(state._replace(running=opened), opened)


def _taken(state: State, known: JobRecord) -> str:
    if len(state.queue) >= JOB_QUEUE_MAX:
        text = f"{JOB_QUEUE_MAX} orders are open here, allowed as many; finish some first"
        return Refusal(text, "QUEUE_LIMIT", allowed=str(JOB_QUEUE_MAX), what_to_do="finish some first")
    if state.running is None:
        return ""
    runs = f"order {state.running.job.order} running"
    what = f"interrupt or finish it, then reopen order {known.job.order}"
    return objection(GuardRefusal(Guard.G6, True, runs, "a free machine", what))


_NOT_STARTED: Final = Refusal(
    "it has not been started", AS_IT_IS, found=_S.DISPATCHED, allowed="a started order", what_to_do="start it first"
)


def _wrong_state(run: JobRun, words: str, allowed: str) -> Refusal:
    todo = f"decide so of an order that is {allowed}; see linegate order list"
    return Refusal(f"{words} {run.state}", AS_IT_IS, found=run.state, allowed=allowed, what_to_do=todo)


def _cause(entry: OperatorEntry) -> Cause:
    text = f"{entry.verb} by {entry.who}" + (f": {entry.reason}" if entry.reason else "")
    return Cause(Trigger.COMMAND, entry.role or ActorRole.SUPERVISOR, text)


def _refused(state: State, entry: OperatorEntry, run: JobRun, reason: str, out: list[Output]) -> State:
    out.append(refusal_of(entry.at_ns, run.job, reason))
    return state
