"""Which job order runs: orders arrive, start by sequence, by the PLC's job tag or by a person, and end.

Changes the state's ``running`` and ``queue`` and makes the confirmations that go with an end. Counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.confirmation import confirm, shift_of
from gateway.core.model import (
    ConfirmationKind,
    JobChanged,
    JobOrder,
    JobOrderState,
    Notice,
    OperatorVerb,
)
from gateway.core.orders.job_run import JobRun, from_record, is_full

if TYPE_CHECKING:
    from gateway.core.document import Identity
    from gateway.core.model import Confirmation, JobRecord, OperatorEntry, OrderReceived, Output
    from gateway.core.rules import WorkUnitRules
    from gateway.core.unit_state import State

JOB_QUEUE_MAX: Final = 2000  # open job orders at one work unit

_ENDED: Final = frozenset({JobOrderState.COMPLETED, JobOrderState.CLOSED})


class Dispatch:
    """The order rules of one work unit, prepared. Every method returns the new state and appends to ``out``."""

    def __init__(self, rules: WorkUnitRules, identity: Identity) -> None:
        self._orders = rules.orders
        self._identity = identity
        self._delay_pieces = rules.orders.transport_delay_pieces

    # --- what arrives ----------------------------------------------------------------------------------------------

    def receive(self, state: State, received: OrderReceived, out: list[Output]) -> State:
        """An ERP's image of a job order: new, changed, withdrawn, or one we know already."""
        job, at_ns = received.job, received.at_ns
        held = next((run for run in state.open_runs() if run.job.key == job.key), None)
        if held is not None:
            return self._change(state, held, job, at_ns, out)
        known = received.known
        if job.cancelled or job.work_center != self._identity.work_center:
            return state
        if known is not None:
            refusal = self._why_not(known, job)
            if refusal is not None:
                if refusal:
                    out.append(_notice(at_ns, "ORDER_CHANGE_REJECTED", job, reason=refusal))
                return state
        if len(state.queue) >= JOB_QUEUE_MAX:
            out.append(_notice(at_ns, "JOB_QUEUE_FULL", job, limit=str(JOB_QUEUE_MAX)))
            return state
        run = JobRun(job) if known is None else from_record(known, job)
        out.append(JobChanged(at_ns, run.record(), known.state if known else None, "released by the ERP"))
        state = _enqueue(state, run)
        return self.advance(state, at_ns, out)

    def operator(self, state: State, entry: OperatorEntry, out: list[Output]) -> State:
        """A person's decision. What cannot be done becomes a REFUSED notice that says why."""
        run = named(state, entry.order, entry.operation)
        if isinstance(run, str):
            out.append(Notice(entry.at_ns, "REFUSED", (("reason", run),)))
            return state
        running = state.running is not None and state.running.job.key == run.job.key
        trigger = f"{entry.verb} by {entry.who}"
        match entry.verb:
            case OperatorVerb.START if running:
                out.append(_notice(entry.at_ns, "REFUSED", run.job, reason="it is running already"))
                return state
            case OperatorVerb.START:
                return self.start(state, run, entry.at_ns, trigger, out)
            case OperatorVerb.INTERRUPT if running:
                state = self._interrupt(state, entry.at_ns, trigger, out, by_person=True)
                return self.advance(state, entry.at_ns, out)
            case OperatorVerb.INTERRUPT:
                out.append(_notice(entry.at_ns, "REFUSED", run.job, reason=f"it is not running but {run.state}"))
                return state
            case OperatorVerb.FINISH if run.state is JobOrderState.DISPATCHED:
                out.append(_notice(entry.at_ns, "REFUSED", run.job, reason="it has not been started"))
                return state
            case OperatorVerb.FINISH:
                if running:
                    state = self._ceased(state, entry.at_ns)
                state = self._end(state, run, entry.at_ns, trigger, out)
                return self.advance(state, entry.at_ns, out)

    def job_tag(self, state: State, text: str, at_ns: int, out: list[Output], *, since_ns: int) -> State:
        """The PLC names the running job, and did so from ``since_ns`` on."""
        name = text.strip("\0 \t\r\n")
        if name == state.job_tag:
            return state
        return self._follow_tag(state._replace(job_tag=name), at_ns, out, changed=True, since_ns=since_ns)

    # --- what follows ----------------------------------------------------------------------------------------------

    def advance(self, state: State, at_ns: int, out: list[Output]) -> State:
        """Start the next order by itself, where the rule says so."""
        if self._orders.choose == "job_signal" and state.running is None:
            return self._follow_tag(state, at_ns, out, changed=False, since_ns=at_ns)
        if state.running is not None or self._orders.choose != "sequence":
            return state
        for run in state.queue:
            if not run.waits_for_person:
                return self.start(state, run, at_ns, "next in sequence", out)
        return state

    def start(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> State:
        """Start a queued job order; the running one is interrupted."""
        if state.running is not None:
            state = self._interrupt(state, at_ns, trigger, out, by_person=False)
        started = run._replace(
            state=JobOrderState.IN_PROGRESS, open_from_ns=at_ns, confirmed_ns=at_ns, waits_for_person=False
        )
        out.append(JobChanged(at_ns, started.record(), run.state, trigger))
        return _without(state, run)._replace(running=started)

    def complete_if_full(self, state: State, at_ns: int, out: list[Output]) -> State:
        """End the running order at its target."""
        run = state.running
        if run is None or self._orders.at_target != "complete" or not is_full(run, self._orders.target_counts):
            return state
        state = self._end(state, run, at_ns, "target reached", out)
        return self.advance(state, at_ns, out)

    def confirm_running(self, state: State, at_ns: int, trigger: str, out: list[Output]) -> State:
        """A partial confirmation of the running order, if there is anything to confirm."""
        run = state.running
        if run is None or not run.anything_open:
            return state
        closed, confirmation = self._confirm(state, run, at_ns, ConfirmationKind.PARTIAL, trigger)
        out.extend((confirmation, JobChanged(at_ns, closed.record(), closed.state, trigger)))
        return state._replace(running=closed)

    def late(self, state: State, run: JobRun, at_ns: int, out: list[Output], *, more: bool) -> State:
        """Pieces were booked to a waiting order in whose time they were made: confirm them, unless more will come."""
        rules = self._orders
        if rules.at_target == "complete" and is_full(run, rules.target_counts):
            return self._end(state, run, at_ns, "target reached", out)
        if not more and run.anything_open:
            run, confirmation = self._confirm(state, run, at_ns, ConfirmationKind.PARTIAL, "late pieces")
            out.extend((confirmation, JobChanged(at_ns, run.record(), run.state, "late pieces")))
        return _enqueue(_without(state, run), run)

    # --- parts -----------------------------------------------------------------------------------------------------

    def _confirm(
        self, state: State, run: JobRun, at_ns: int, kind: ConfirmationKind, trigger: str
    ) -> tuple[JobRun, Confirmation]:
        return confirm(
            self._identity,
            run,
            at_ns,
            kind,
            trigger,
            state.utc_offset_ns,
            clock_known=state.clocks.known,
            shift=shift_of(state.track.timeline, at_ns),
        )

    def _why_not(self, known: JobRecord, job: JobOrder) -> str | None:
        """Why a job order that is remembered but not held here cannot be taken; "" without a word, None: it can.

        One operation is never held by two work units: both would give out the same confirmation numbers.
        """
        if known.state in _ENDED:
            return f"it is {known.state} here" if job.revision > known.job.revision else ""
        if known.state is JobOrderState.CANCELLED:
            return None if job.revision > known.job.revision else ""
        if known.job.source != job.source:
            return f"it came from {known.job.source} and is {known.state}"
        if known.state is not JobOrderState.RELEASED and known.job.work_center != job.work_center:
            return f"work center {known.job.work_center} holds it, {known.state}; interrupt it there first"
        return None if job.revision >= known.job.revision else ""

    def _change(self, state: State, held: JobRun, job: JobOrder, at_ns: int, out: list[Output]) -> State:
        """A further image of a job order that is held here; a page may come twice, so older ones change nothing."""
        if job.source != held.job.source:
            reason = f"it came from {held.job.source} and is {held.state}"
            out.append(_notice(at_ns, "ORDER_CHANGE_REJECTED", job, reason=reason))
            return state
        if job.cancelled:
            if job.revision < held.job.revision:
                return state
            return self._cancel(state, held, job, at_ns, out)
        if job.revision <= held.job.revision:
            return state
        if job.work_center != self._identity.work_center:
            return self._give_up(state, held, job, at_ns, out)
        return self._revise(state, held, job, at_ns, out)

    def _give_up(self, state: State, held: JobRun, job: JobOrder, at_ns: int, out: list[Output]) -> State:
        """The ERP moved the operation to another work center: what runs here is not torn away."""
        if held.state is JobOrderState.IN_PROGRESS:
            reason = f"it runs at {self._identity.work_center}; interrupt it there before it moves to {job.work_center}"
            out.append(_notice(at_ns, "ORDER_CHANGE_REJECTED", job, reason=reason))
            return state
        moved = held._replace(job=job, state=JobOrderState.RELEASED)
        out.append(JobChanged(at_ns, moved.record(), held.state, f"moved to work center {job.work_center}"))
        return _without(state, held)

    def _follow_tag(self, state: State, at_ns: int, out: list[Output], *, changed: bool, since_ns: int) -> State:
        tag = state.job_tag
        if tag is None:
            return state
        if state.running is not None:
            if self._tag_of(state.running.job) == tag:
                return state
            state = self._interrupt(state, at_ns, f"job signal says {tag!r}", out, by_person=False, since_ns=since_ns)
        for run in state.queue:
            if self._tag_of(run.job) == tag:
                # What a person interrupted starts again when the PLC names it anew, not because it still does.
                if run.waits_for_person and not changed:
                    return state
                return self.start(state, run, at_ns, "job signal", out)
        if tag:
            out.append(Notice(at_ns, "UNKNOWN_JOB", (("job_signal", tag),)))
        return state

    def _tag_of(self, job: JobOrder) -> str:
        return self._orders.job_format.replace("{order}", job.order).replace("{operation}", job.operation)

    def _interrupt(
        self,
        state: State,
        at_ns: int,
        trigger: str,
        out: list[Output],
        *,
        by_person: bool,
        since_ns: int | None = None,
    ) -> State:
        state = self.confirm_running(state, at_ns, "interruption", out)
        run = state.running
        assert run is not None, "only a running order is interrupted"
        state = self._ceased(state, at_ns if since_ns is None else since_ns)
        held = run._replace(state=JobOrderState.INTERRUPTED, waits_for_person=by_person)
        out.append(JobChanged(at_ns, held.record(), run.state, trigger))
        return _enqueue(state._replace(running=None), held)

    def _ceased(self, state: State, until_ns: int) -> State:
        """The running order ran until then, for whatever is counted later."""
        assert state.running is not None, "only a running order ceases to run"
        return state._replace(past=state.past.after(state.running.job.key, until_ns, self._delay_pieces))

    def _end(self, state: State, run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> State:
        closed, confirmation = self._confirm(state, run, at_ns, ConfirmationKind.FINAL, trigger)
        ended = closed._replace(state=JobOrderState.COMPLETED)
        out.extend((confirmation, JobChanged(at_ns, ended.record(), run.state, trigger)))
        return _without(state, run)

    def _cancel(self, state: State, held: JobRun, job: JobOrder, at_ns: int, out: list[Output]) -> State:
        # What was made is a fact and is confirmed; what is made from now on has no order.
        if state.running is held:
            state = self._ceased(state, at_ns)
        if held.anything_open:
            held, confirmation = self._confirm(state, held, at_ns, ConfirmationKind.PARTIAL, "cancelled by the ERP")
            out.append(confirmation)
        cancelled = held._replace(state=JobOrderState.CANCELLED, job=job)
        out.append(JobChanged(at_ns, cancelled.record(), held.state, "cancelled by the ERP"))
        return self.advance(_without(state, held), at_ns, out)

    def _revise(self, state: State, held: JobRun, job: JobOrder, at_ns: int, out: list[Output]) -> State:
        started = held.state is not JobOrderState.DISPATCHED
        if started and (job.product, job.uom) != (held.job.product, held.job.uom):
            out.append(_notice(at_ns, "ORDER_CHANGE_REJECTED", job, reason="CLOSE_AND_CREATE_NEW: product or unit"))
            return state
        revised = held._replace(job=job)
        out.append(JobChanged(at_ns, revised.record(), held.state, f"revision {job.revision}"))
        if state.running is not None and state.running.job.key == job.key:
            return self.complete_if_full(state._replace(running=revised), at_ns, out)
        return _enqueue(_without(state, held), revised)


def named(state: State, order: str, operation: str) -> JobRun | str:
    """The open job order that a person means, or why it is none; ``operation`` may be empty where there is only one."""
    found = [run for run in state.open_runs() if run.job.order == order and operation in ("", run.job.operation)]
    if len(found) == 1:
        return found[0]
    name = f"{order}/{operation}" if operation else order
    if found:
        operations = ", ".join(run.job.operation for run in found)
        return f"order {name} has several operations here: {operations}; name one"
    here = ", ".join("/".join(run.job.key) for run in state.open_runs()) or "none"
    return f"order {name} is not open at this work unit; open orders: {here}"


def _enqueue(state: State, run: JobRun) -> State:
    return state._replace(queue=tuple(sorted((*state.queue, run), key=_rank)))


def _rank(run: JobRun) -> tuple[int, int, str, str]:
    job = run.job
    return (job.sequence_no, job.planned_start_ns or 0, job.order, job.operation)


def _without(state: State, run: JobRun) -> State:
    if state.running is not None and state.running.job.key == run.job.key:
        return state._replace(running=None)
    return state._replace(queue=tuple(other for other in state.queue if other.job.key != run.job.key))


def _notice(at_ns: int, code: str, job: JobOrder, **detail: str) -> Notice:
    return Notice(at_ns, code, (("order", job.order), ("operation", job.operation), *detail.items()))
