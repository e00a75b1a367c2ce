"""What a person decides about a job order: start, interrupt, finish, hold, release, reopen, cancel, end its setup.

Each change is asked of the order's life and its guards; what cannot be done becomes a REFUSED notice that names what is
in the way and what to do. Carries out nothing itself but holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.access.permissions import Action
from gateway.core.access.permissions import refusal as refusal_for
from gateway.core.confirming.corrections import CorrectionRefused, Who
from gateway.core.confirming.run_checks import VERDICTS, acknowledged
from gateway.core.model import ConfirmationKind, JobChanged, JobOrderState, OperatorVerb
from gateway.core.orders.correcting import Target, reopened
from gateway.core.orders.dispatch import JOB_QUEUE_MAX
from gateway.core.orders.erp_status import erps_to_release, is_closed
from gateway.core.orders.guards import Guard, GuardFacts, GuardRefusal
from gateway.core.orders.job_run import from_record
from gateway.core.orders.lifecycle import ILLEGAL_TRANSITION, RUNNING, ActorRole, Trigger
from gateway.core.orders.order_steps import Cause, despite, may, objection
from gateway.core.orders.places import named, notice, put_to_work, refusal_of, with_run
from gateway.core.orders.standing_holds import HoldScope, still_held
from gateway.core.refusal import Refusal, refused

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, JobRecord, OperatorEntry, Output
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
            _V.RUSH: self._rush,
            _V.APPROVE_FIRST_ARTICLE: self._approve,
            _V.ACKNOWLEDGE_DOCUMENTS: self._acknowledge,
            _V.ACKNOWLEDGE_DATA: self._settled,
            _V.INSPECT: self._settled,
            _V.CONFIRM: self._confirm,
            _V.MATERIAL_READY: self._material,
            _V.MATERIAL_MISSING: self._material,
        }

    def decide(self, state: State, entry: OperatorEntry, out: list[Output]) -> State:
        """The state after a decision."""
        cause = _cause(entry)
        run = named(state, entry.order, entry.operation)
        if entry.verb is _V.REOPEN:
            return self._reopen(state, entry, None if isinstance(run, str) else run, cause, out)
        if isinstance(run, str):
            known = entry.known
            if known is not None and entry.verb in (_V.HOLD, _V.RELEASE) and (known.held_from or known.state) in _OVER:
                return self._over(state, entry, known, cause, out)
            out.append(refused(entry.at_ns, self._ended(entry) or run))
            return state
        return self._verbs[entry.verb](state, entry, run, cause, out)

    def _ended(self, entry: OperatorEntry) -> str:
        """Why nothing is decided of an order that has ended here; "": it has not, or nobody knows it."""
        known = entry.known
        if known is None or known.job.work_center != self._dispatch.identity.work_center:
            return ""
        at, name = known.state if known.held_from is None else known.held_from, "/".join(known.job.key)
        if at not in _OVER:
            return ""
        todo = _AFTER.get(at, "have the ERP release a new order")
        todo = f"decide of order {known.job.leader}, which leads it" if at is _S.MERGED and known.job.leader else todo
        text = f"{ILLEGAL_TRANSITION}: order {name} has ended, {known.state}; {todo}"
        return Refusal(text, ILLEGAL_TRANSITION, found=known.state, allowed="an open order", what_to_do=todo)

    def _interrupt(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if not state.works_on(run.job.key) or run.state not in RUNNING:
            return _refused(state, entry, run, _wrong_state(run, "it is not running but", "RUNNING"), out)
        refusal = may(run, _S.INTERRUPTED, cause, self._rule).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        state = self._dispatch.interrupt(state, entry.at_ns, cause.text, out, by_person=True, run=run)
        return self._dispatch.advance(state, entry.at_ns, out)

    def _complete_setup(
        self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]
    ) -> State:
        """The end of a setup that goes on is the machine's to tell; here it is only asked for, or missed."""
        refusal = self._dispatch.starting.may_end_setup(state, run, cause).refusal
        return _refused(state, entry, run, refusal or _wrong_state(run, "it is not in setup but", "SETUP"), out)

    def may_complete_setup(self, state: State, entry: OperatorEntry, run: JobRun) -> bool:
        """Whether the setup of the running order may end by this person's word."""
        return not self._dispatch.starting.may_end_setup(state, run, _cause(entry)).refusal

    def _start(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if run.state in RUNNING:
            text, todo = f"{ILLEGAL_TRANSITION}: it is running already ({run.state}); go on with it", "go on with it"
            why = Refusal(text, ILLEGAL_TRANSITION, found=run.state, allowed="an order that waits", what_to_do=todo)
            return _refused(state, entry, run, why, out)
        verdict = self._dispatch.starting.may_start(state, run, cause, entry.at_ns, interrupt=entry.interrupt)
        if verdict.refusal:
            return _refused(state, entry, run, verdict.refusal, out)
        out.extend(notice(entry.at_ns, "START_WARNING", run.job, reason=warning) for warning in verdict.warnings)
        cause = despite(cause, verdict)
        return self._dispatch.start(state, run, entry.at_ns, cause, out, interrupt=entry.interrupt)

    def _rush(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """To the head of the queue; whether what runs makes way is the queue's to say."""
        if run.state in (_S.PLANNED, _S.RELEASED):
            return _refused(state, entry, run, _wrong_state(run, "it is not dispatched but", "DISPATCHED"), out)
        if refusal := _not_permitted(cause.role, Action.DISPATCH):
            return _refused(state, entry, run, refusal, out)
        if state.works_on(run.job.key):
            return _refused(state, entry, run, _wrong_state(run, "it is at the machine already,", "waiting"), out)
        return self._dispatch.rush(state, run, entry.at_ns, cause._replace(trigger=Trigger.RUSH_ORDER), out)

    def _approve(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """The first piece is right: production begins, unless the machine is still being set up."""
        if refusal := _not_permitted(cause.role, Action.APPROVE_FIRST_ARTICLE):
            return _refused(state, entry, run, refusal, out)
        if run.article_approved or not self._dispatch.starting.article_asked(run):
            why = "its first article is approved already" if run.article_approved else "it asks for no approval"
            todo = "go on with it" if run.article_approved else "start it without"
            return _refused(state, entry, run, Refusal(why, Guard.FIRST_ARTICLE, what_to_do=todo), out)
        approved = run._replace(article_approved=True, awaits_article=False)
        out.append(JobChanged(entry.at_ns, approved.record(), run.state, cause.text))
        out.append(notice(entry.at_ns, "FIRST_ARTICLE_APPROVED", run.job, who=entry.who))
        return self._dispatch.setup_follows(with_run(state, approved), entry.at_ns, out)

    def _acknowledge(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """A person has read documents of the order; what waited only for that may start."""
        wanted = () if run.job.image is None else run.job.image.documents
        unknown = [name for name in entry.documents if name not in wanted]
        if unknown or not wanted:
            allowed = ", ".join(wanted) or "none: the order names no documents"
            text = f"documents: found {', '.join(unknown) or 'none'}, allowed {allowed}"
            why = Refusal(
                text, Guard.G7, found=", ".join(unknown), allowed=allowed, what_to_do="name those of the order"
            )
            return _refused(state, entry, run, why, out)
        read = tuple(dict.fromkeys((*run.documents_read, *(entry.documents or wanted))))
        known = run._replace(documents_read=tuple(name for name in read if name in wanted))
        out.append(JobChanged(entry.at_ns, known.record(), run.state, cause.text))
        out.append(
            notice(entry.at_ns, "DOCUMENTS_READ", run.job, documents=", ".join(known.documents_read), who=entry.who)
        )
        return self._dispatch.advance(with_run(state, known), entry.at_ns, out)

    def _material(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """Whether its material is there: that holds for its next start, until somebody, or the ERP, says otherwise."""
        if refusal := _not_permitted(cause.role, Action.TELL_MATERIAL):
            return _refused(state, entry, run, refusal, out)
        known = run._replace(material=entry.verb is _V.MATERIAL_READY)
        out.append(JobChanged(entry.at_ns, known.record(), run.state, cause.text))
        return self._dispatch.advance(with_run(state, known), entry.at_ns, out)

    def _finish(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if run.state is _S.DISPATCHED:
            return _refused(state, entry, run, _NOT_STARTED, out)
        ending = self._dispatch.finishing.may_end(state, run, cause, entry.at_ns, reason=entry.reason)
        if ending.refusal:
            return _refused(state, entry, run, ending.refusal, out)
        out.extend(notice(entry.at_ns, "FINISH_WARNING", run.job, reason=warning) for warning in ending.passed)
        state = self._dispatch.ended(state, run, entry.at_ns, cause, out, ending.flags)
        return self._dispatch.advance(state, entry.at_ns, out)

    def _settled(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """A point of the checklist is settled; an order that waited only for that ends by it."""
        if entry.verb is _V.INSPECT:
            why = _not_permitted(cause.role, Action.INSPECT) or _no_verdict(entry.verdict)
            checks = run.checks._replace(inspection=entry.verdict)
            said = notice(entry.at_ns, "INSPECTED", run.job, verdict=entry.verdict, who=entry.who)
        else:
            why = _not_permitted(cause.role, Action.ACKNOWLEDGE)
            missing = self._dispatch.finishing.lots_missing(run)
            checks = acknowledged(run.checks, entry.at_ns, missing)
            said = notice(entry.at_ns, "DATA_ACKNOWLEDGED", run.job, who=entry.who)
        if not why and run.state is _S.DISPATCHED:
            why = _NOT_STARTED
        if why:
            return _refused(state, entry, run, why, out)
        known = run._replace(checks=checks)
        out += (JobChanged(entry.at_ns, known.record(), run.state, cause.text), said)
        return self._dispatch.settled(state, known, entry.at_ns, out)

    def _confirm(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """A partial confirmation because somebody wants it; what waits for a verdict stays open."""
        why = _not_permitted(cause.role, Action.CONFIRM)
        confirmed = None if why else self._dispatch.confirmed_by_hand(state, run, entry.at_ns, cause, out)
        if confirmed is None:
            return _refused(state, entry, run, why or _nothing(run), out)
        return with_run(state, confirmed)

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
        # What stands on hold with others of its kind may be held for itself, too.
        at = run if run.hold_reason or run.held_from is None else run._replace(state=run.held_from, held_from=None)
        refusal = may(at, _S.ON_HOLD, cause, self._rule).refusal
        if refusal:
            return _refused(state, entry, run, refusal, out)
        return self._intake.held(state, run, entry.at_ns, cause.text, entry.reason or "without a reason", out)

    def _over(self, state: State, entry: OperatorEntry, known: JobRecord, cause: Cause, out: list[Output]) -> State:
        """A hold of what is complete: it is neither closed nor reopened nor given pieces until its release."""
        run = from_record(known, known.job)._replace(
            state=known.state, held_from=known.held_from, hold_reason=known.hold_reason
        )
        holds = entry.verb is _V.HOLD
        if not holds and run.held_from is None:
            return _refused(state, entry, run, _wrong_state(run, "it is not on hold but", "ON_HOLD"), out)
        to = _S.ON_HOLD if holds or run.held_from is None else run.held_from
        facts = GuardFacts(signature_required=True, signed=bool(entry.signed_by))
        if refusal := may(run, to, cause, self._rule, facts).refusal:
            return _refused(state, entry, run, refusal, out)
        reason = entry.reason or "without a reason"
        after = run._replace(state=to, held_from=run.state if holds else None, hold_reason=reason if holds else "")
        out.append(JobChanged(entry.at_ns, after.record(), run.state, cause.text))
        return state

    def _release(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        if run.state is not _S.ON_HOLD or run.held_from is None:
            return _refused(state, entry, run, _wrong_state(run, "it is not on hold but", "ON_HOLD"), out)
        left = still_held(self._dispatch, state, run)
        if not run.hold_reason and left == run.standing and left:
            return _refused(state, entry, run, _stands(left[0]), out)
        facts = GuardFacts(signature_required=True, signed=bool(entry.signed_by))
        refusal = may(run, run.held_from, cause, self._rule, facts).refusal
        refusal = refusal or erps_to_release(run)
        if refusal:
            return _refused(state, entry, run, refusal, out)
        run = run._replace(standing=left)
        return self._intake.released(state, run, entry.at_ns, cause.text, out)

    def _cancel(self, state: State, entry: OperatorEntry, run: JobRun, cause: Cause, out: list[Output]) -> State:
        """A planner speaks for the ERP; nobody else withdraws an order."""
        if cause.role is ActorRole.PLANNER:
            cause = cause._replace(trigger=Trigger.ERP_MESSAGE)
        refusal = may(run, _S.CANCELLED, cause, self._rule).refusal or _led(run.job)
        if not refusal and run.state is not _S.DISPATCHED and self._rule.cancel_in_progress == "reject":
            text = f"{Guard.CANCEL_POLICY}: it was started ({run.state}); finish it, or interrupt it first"
            todo = "finish it, or interrupt it first"
            refusal = Refusal(text, Guard.CANCEL_POLICY, found=run.state, allowed="DISPATCHED", what_to_do=todo)
        if refusal:
            return _refused(state, entry, run, refusal, out)
        if run.owes_final:  # nobody else would tell the ERP that the rest of its order is complete
            run = self._dispatch.closer.closed(state, run, entry.at_ns, ConfirmationKind.FINAL, cause.text, out)
            state = with_run(state, run)
        job = run.job._replace(cancelled=True)
        return self._intake.cancelled(state, run, job, entry.at_ns, cause.text, out)

    def _reopen(self, state: State, entry: OperatorEntry, run: JobRun | None, cause: Cause, out: list[Output]) -> State:
        known = entry.known
        if run is not None:
            text, todo = f"{ILLEGAL_TRANSITION}: it is open, {run.state}; go on with it", "go on with it"
            why = Refusal(text, ILLEGAL_TRANSITION, found=run.state, allowed="COMPLETED", what_to_do=todo)
            return _refused(state, entry, run, why, out)
        if known is None or known.job.work_center != self._dispatch.identity.work_center:
            text = f"no single operation of order {entry.order} is remembered here; name order and operation"
            out.append(refused(entry.at_ns, Refusal(text, "ORDER_KNOWN", what_to_do="name order and operation")))
            return state
        found = from_record(known, known.job)._replace(state=known.state, held_from=known.held_from)
        facts = GuardFacts(closed_by_erp=is_closed(known.job))
        refusal = (
            may(found, _S.IN_PROGRESS, cause, self._rule, facts).refusal or _led(known.job) or self._taken(state, found)
        )
        if refusal:
            return _refused(state, entry, found, refusal, out)
        found, reason = self._not_final(state, found, entry, out)
        opened = found._replace(state=_S.IN_PROGRESS, reopened=True, open_from_ns=entry.at_ns, confirmed_ns=entry.at_ns)
        out.append(JobChanged(entry.at_ns, opened.record(), known.state, cause.text))
        if reason:
            out.append(notice(entry.at_ns, "FINAL_TO_REVERSE", known.job, reason=reason))
        return put_to_work(state, opened)

    def _not_final(self, state: State, run: JobRun, entry: OperatorEntry, out: list[Output]) -> tuple[JobRun, str]:
        """The order with its final confirmation taken back; or why that is left to a person."""
        if entry.ledger is None:
            return run, f"its final confirmation, number {run.seq}, is out; reverse it in the ERP"
        by = Who(entry.at_ns, entry.who, entry.reason or f"opened again by {entry.who}")
        result = reopened(self._dispatch, state, Target(run, entry.ledger, is_open=False), by, out)
        if isinstance(result, CorrectionRefused):
            return run, f"{result.text}; {result.what_to_do}"
        return result, ""

    def _taken(self, state: State, run: JobRun) -> str:
        if len(state.queue) >= JOB_QUEUE_MAX:
            text = f"{JOB_QUEUE_MAX} orders are open here, allowed as many; finish some first"
            return Refusal(text, "QUEUE_LIMIT", allowed=str(JOB_QUEUE_MAX), what_to_do="finish some first")
        there = state.at_work()
        if not there or (self._dispatch.parts.most > 1 and self._dispatch.parts.refusal(state, run) is None):
            return ""
        runs = f"order {there[0].job.order} running"
        what = f"interrupt or finish it, then reopen order {run.job.order}"
        return objection(GuardRefusal(Guard.G6, True, runs, "a free machine", what))


def _led(job: JobOrder) -> str:
    """A leader is no order of the ERP's: nobody can withdraw it there, nor reverse its end."""
    if not job.leads:
        return ""
    names, todo = ", ".join(job.leads), "undo the merge or finish it; afterwards release a new order"
    text = f"LEADER: it leads or led {names}, and the ERP knows these only; {todo}"
    return Refusal(text, "LEADER", found=job.order, allowed="an order of the ERP's", what_to_do=todo)


_OVER: Final = frozenset({_S.COMPLETED, _S.CLOSED, _S.CANCELLED, _S.SPLIT, _S.MERGED})
#: What to do instead, with an order that ended so.
_AFTER: Final = {
    _S.COMPLETED: "a supervisor opens it again (order reopen)",
    _S.SPLIT: "decide of its children",
    _S.MERGED: "decide of the order that leads it",
}
_NOT_STARTED: Final = Refusal(
    f"{ILLEGAL_TRANSITION}: it has not been started (DISPATCHED); start it first, or have it cancelled",
    ILLEGAL_TRANSITION,
    found=_S.DISPATCHED,
    allowed="a started order",
    what_to_do="start it first, or have it cancelled",
)


def _no_verdict(verdict: str) -> str:
    if verdict in VERDICTS:
        return ""
    allowed = ", ".join(VERDICTS)
    text = f"verdict: found {verdict!a}, allowed {allowed}"
    return Refusal(text, "VERDICT", found=verdict, allowed=allowed, what_to_do="name one of them")


def _nothing(run: JobRun) -> str:
    held = f"{run.open_hold} pieces that wait for a verdict" if run.open_hold else "nothing"
    text = f"found {held} that is not confirmed, allowed 1 piece and more; confirm it when something was made"
    return Refusal(
        text, "NOTHING_OPEN", found=held, allowed="1 piece and more", what_to_do="confirm it when something was made"
    )


def _wrong_state(run: JobRun, words: str, allowed: str) -> Refusal:
    todo = f"decide so of an order that is {allowed}; see linegate order list"
    text = f"{ILLEGAL_TRANSITION}: {words} {run.state}; {todo}"
    return Refusal(text, ILLEGAL_TRANSITION, found=run.state, allowed=allowed, what_to_do=todo)


def _stands(one: tuple[str, str, str]) -> Refusal:
    scope, name, reason = one
    what = f"{scope} {name}".rstrip()
    todo = "take the lot off, or release that hold" if scope == HoldScope.LOT else f"release the hold of the {what}"
    text = f"{Guard.G1}: found hold of the {what} ({reason}), wanted a hold of its own; {todo} (hold release)"
    return Refusal(text, Guard.G1, found=f"{what}: {reason}", allowed="its own hold", what_to_do=todo)


def _not_permitted(role: ActorRole, action: Action) -> str:
    no = refusal_for(role, action)
    if no is None:
        return ""
    allowed = ", ".join(one.value for one in no.allowed)
    return Refusal(f"{no.code}: {no.text}", no.code, found=role, allowed=allowed, what_to_do="ask one of them")


def _cause(entry: OperatorEntry) -> Cause:
    text = f"{entry.verb} by {entry.who}" + (f": {entry.reason}" if entry.reason else "")
    trigger = Trigger.SCAN if entry.code else Trigger.COMMAND
    text += f" (barcode {entry.code})" if entry.code else ""
    return Cause(trigger, entry.role or ActorRole.SUPERVISOR, text, entry.who, entry.reason)


def _refused(state: State, entry: OperatorEntry, run: JobRun, reason: str, out: list[Output]) -> State:
    out.append(refusal_of(entry.at_ns, run.job, reason))
    return state
