"""What an ERP says of a job order: new, changed, moved, held, withdrawn, or one that is known already.

Each image is answered by an acknowledgement among the outputs. What may change stands in ``order_changes.py``; what
starts or ends is done by ``dispatch.py``. Sends nothing.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.model import FinalAcknowledged, JobChanged, JobOrderState, OrderProgress, OrderReceived
from gateway.core.orders import dispatch as dispatching
from gateway.core.orders import lead, member
from gateway.core.orders.change_table import ChangeEffect, Phase
from gateway.core.orders.divided_images import answered, as_one
from gateway.core.orders.divided_material import left_to_siblings
from gateway.core.orders.engineering_change import dated, waits
from gateway.core.orders.erp_status import (
    BEFORE_START,
    ERP_CLOSED,
    closed,
    following,
    is_closed,
    state_of,
    status_of,
    told_closed,
)
from gateway.core.orders.job_image import comparable, with_image
from gateway.core.orders.job_run import JobRun, filled, from_record
from gateway.core.orders.lifecycle import RUNNING, ActorRole, Trigger
from gateway.core.orders.order_changes import (
    AckKind,
    ChangeAccepted,
    ChangeRefused,
    OrderAck,
    RunFacts,
    decide,
)
from gateway.core.orders.order_steps import Cause
from gateway.core.orders.places import enqueue, notice, with_run, without
from gateway.core.orders.progress import compared, with_progress
from gateway.core.orders.shares import BETWEEN_MACHINES, LeadTold, MemberTold
from gateway.core.orders.standing_holds import freed
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.orders.unneeded import comes_back, was_unneeded

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, JobRecord, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.order_changes import ChangeDecision
    from gateway.core.orders.order_image import OrderImage, OrderStatus
    from gateway.core.unit_state import State

_S: Final = JobOrderState
_ENDED: Final = frozenset({_S.COMPLETED, _S.CLOSED})
#: What the ERP and other machines tell a work unit.
HEARD: Final = (OrderReceived, FinalAcknowledged, OrderProgress, *BETWEEN_MACHINES)
Heard: TypeAlias = OrderReceived | FinalAcknowledged | OrderProgress | MemberTold | LeadTold
_GONE: Final = frozenset({_S.CANCELLED, _S.SPLIT, _S.MERGED})
_CANCELLED: Final = "cancelled by the ERP"
_RELEASED: Final = "released by the ERP"
_CLOSED: Final = "closed by the ERP"
_LEFT_OUT: Final = "left out of revision {revision}"


class Intake:
    """The ERP's word at one work unit."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._work_center = dispatch.identity.work_center
        self._rule = dispatch.rule
        self.cancel_policy = dispatch.rule.cancel_in_progress

    def hear(self, state: State, given: Heard, out: list[Output]) -> State:
        """An ERP's image of a job order, that it has booked the last of one, or the word of another machine."""
        if isinstance(given, FinalAcknowledged):
            first = len(out)
            closed(given, self._rule, out)
            return _unremembered(state, (given.order, given.operation)) if len(out) > first else state
        if isinstance(given, MemberTold):
            return lead.booked(self._dispatch, state, given, out)
        if isinstance(given, LeadTold):
            return member.told(self._dispatch, state, given, out)
        if isinstance(given, OrderProgress):
            after = with_progress(state, given.records)
            after = compared(after, given.at_ns, self._rule, self._dispatch.closer.rule.delivery, given.records, out)
            return state if after is state else self._dispatch.advance(after, given.at_ns, out)
        return self.receive(state, as_known(given, out), out)

    def receive(self, state: State, received: OrderReceived, out: list[Output]) -> State:
        """An ERP's image of a job order; it is answered unless it is another work center's, or has no room here."""
        first = len(out)
        state = self._received(state, received, out)
        operation = received.job.operation
        out[first:] = [one._replace(operation=operation) if isinstance(one, OrderAck) else one for one in out[first:]]
        return state

    def _received(self, state: State, received: OrderReceived, out: list[Output]) -> State:
        job, known = received.job, received.known
        after = answered(self, state, received, out)
        if after is not None:
            return after
        run = next((one for one in state.open_runs() if one.job.key == job.key), None)
        if run is not None:
            return self._changed(state, run, received, out)
        if job.work_center != self._work_center:
            return state
        if known is None and job.cancelled:
            reason = f"order {job.order} is not held here; there is nothing to cancel"
            out.append(OrderAck(AckKind.UNKNOWN_ORDER, job.order, job.revision, None, (reason,)))
            return state
        if known is None:
            if is_closed(job):
                reason = f"order {job.order} is not held here, and closed in the ERP"
                out.append(OrderAck(AckKind.UNKNOWN_ORDER, job.order, job.revision, None, (reason,)))
                return state
            left = received.forgotten
            if left is not None and job.revision <= left.revision:
                kind = AckKind.DUPLICATE if job.revision == left.revision else AckKind.STALE
                out.append(OrderAck(kind, job.order, job.revision, left.revision, (f"order {job.order} is over here",)))
                return state
            run = JobRun(job, state_of(job, self._rule))
            if left is not None:
                run = run._replace(seq=left.seq, last_hash=left.last_hash)
            return self._taken(state, run, received, out)
        return self._remembered(state, known, received, out)

    # --- new here --------------------------------------------------------------------------------------------------

    def _taken(self, state: State, run: JobRun, received: OrderReceived, out: list[Output]) -> State:
        job, at_ns, known = received.job, received.at_ns, received.known
        most = dispatching.JOB_QUEUE_MAX
        if len(state.queue) >= most:
            out.append(notice(at_ns, "JOB_QUEUE_FULL", job, limit=str(most)))
            return state
        before = known.state if known else None
        if known is None and run.state is _S.DISPATCHED:  # by the life of an order it is released first
            out.append(JobChanged(at_ns, run._replace(state=_S.RELEASED).record(), None, _RELEASED))
            before = _S.RELEASED
        out.append(JobChanged(at_ns, run.record(), before, _RELEASED))
        out.append(OrderAck(AckKind.ORDER_ACCEPTED, job.order, job.revision, job.revision))
        state = with_progress(enqueue(state, run), received.others)
        if job.image is not None and job.image.hold and run.state is not _S.ON_HOLD:
            state = self.held(state, run, at_ns, "hold by the ERP", job.image.hold, out)
        return self._dispatch.advance(state, at_ns, out)

    def _remembered(self, state: State, known: JobRecord, received: OrderReceived, out: list[Output]) -> State:
        """An order that is not open here but was, here or elsewhere.

        One operation is never held by two work units: both would give out the same confirmation numbers.
        """
        job, at_ns = received.job, received.at_ns
        counts = self._rule.target_counts
        back = known.state is _S.CANCELLED and (_is_left_out(known.job.image, job) or comes_back(known, job, counts))
        over = known.state in _GONE and not back and not was_unneeded(known, counts)
        decision = self._judged(state, known.job, received, gone=over)
        if isinstance(decision, ChangeRefused):
            return _rejected(state, at_ns, job, decision.ack, out)
        if back and isinstance(decision, ChangeAccepted) and not job.cancelled and not is_closed(job):
            again = from_record(known, job)._replace(state=state_of(job, self._rule))
            return self._taken(state, again, received._replace(known=None), out)
        if known.state in _ENDED or known.state in _GONE or known.held_from in _ENDED:
            if isinstance(decision, ChangeAccepted):
                after = known._replace(job=job)
                out.append(JobChanged(at_ns, after, known.state, f"revision {job.revision}"))
                state = _unremembered(state, job.key)
            out.append(decision.ack)
            return state
        at = known.held_from or known.state
        given_up = at is not _S.DISPATCHED and at not in RUNNING and isinstance(decision, ChangeAccepted)
        if known.state is not _S.RELEASED and not given_up and known.job.work_center != job.work_center:
            holder = f"work center {known.job.work_center} holds it, {known.state}; interrupt it there first"
            kind, held = AckKind.ORDER_CHANGE_REJECTED, known.job.revision
            return _rejected(state, at_ns, job, OrderAck(kind, job.order, job.revision, held, (holder,)), out)
        left_out = isinstance(decision, ChangeAccepted) and _is_left_out(decision.image, job)
        gone = job.cancelled or left_out or (is_closed(job) and known.state in BEFORE_START)
        if gone and isinstance(decision, ChangeAccepted):  # it waits for a work unit, and gets none any more
            text = _LEFT_OUT.format(revision=job.revision) if left_out else _CLOSED
            text = _CANCELLED if job.cancelled else text
            out.append(JobChanged(at_ns, known._replace(job=job, state=_S.CANCELLED), known.state, text))
        if gone or job.revision < known.job.revision:
            out.append(decision.ack)
            return state
        job = dated(known.job.image, job, at_ns + state.utc_offset_ns, bom=False)
        return self._taken(state, self._as_it_was(known, job), received, out)

    def _as_it_was(self, known: JobRecord, job: JobOrder) -> JobRun:
        """An order that comes here from elsewhere: what was started is interrupted, what was held is on hold."""
        run = from_record(known, job)._replace(state=state_of(job, self._rule))
        if known.state is _S.INTERRUPTED or known.state in RUNNING:
            run = run._replace(state=_S.INTERRUPTED)
        elif known.state is _S.ON_HOLD:
            run = run._replace(state=_S.ON_HOLD, held_from=known.held_from, hold_reason=known.hold_reason)
        if not is_closed(job):
            return run
        held_from = run.held_from if run.state is _S.ON_HOLD else run.state
        return run._replace(state=_S.ON_HOLD, held_from=held_from, hold_reason=run.hold_reason or ERP_CLOSED)

    # --- open here -------------------------------------------------------------------------------------------------

    def _changed(self, state: State, run: JobRun, received: OrderReceived, out: list[Output]) -> State:
        """A further image of a job order that is open here."""
        job, at_ns = received.job, received.at_ns
        decision = self._judged(state, run.job, received)
        if isinstance(decision, ChangeRefused):
            return _rejected(state, at_ns, job, decision.ack, out)
        if not isinstance(decision, ChangeAccepted):
            out.append(decision.ack)
            return state
        effects = {due.effect for due in decision.effects if due.operation in ("", job.operation)}
        bom = ChangeEffect.BOM_FROM_EFFECTIVE_TIME in effects
        job = dated(run.job.image, job, at_ns + state.utc_offset_ns, bom=bom)
        reasons = (*decision.ack.reasons, *filter(None, (waits(job),)))
        out.append(decision.ack._replace(reasons=reasons))
        if job.cancelled:
            return self.cancelled(state, run, job, at_ns, _CANCELLED, out)
        if _is_left_out(decision.image, job):
            return self.cancelled(state, run, job, at_ns, _LEFT_OUT.format(revision=job.revision), out)
        if job.work_center != self._work_center:
            return self._moved(state, run, job, at_ns, out)
        if job.revision == run.job.revision:
            job = with_image(run.job, decision.image)
        state = self._revised(state, run, job, at_ns, effects, out)
        return self._at_status(state, job, status_of(run.job), at_ns, out)

    def _at_status(self, state: State, job: JobOrder, before: OrderStatus, at_ns: int, out: list[Output]) -> State:
        """What follows where the ERP's status of the order is another one than before."""
        run = next((one for one in state.open_runs() if one.job.key == job.key), None)
        if run is None or status_of(job) is before:
            return state
        if is_closed(job):
            return self._closed_there(state, run, at_ns, out)
        if run.state is _S.ON_HOLD and run.hold_reason == ERP_CLOSED:
            return self.released(state, run, at_ns, "opened again by the ERP", out)
        state = with_run(state, following(run, before, self._rule, at_ns, out))
        return self._dispatch.advance(state, at_ns, out)

    def _closed_there(self, state: State, run: JobRun, at_ns: int, out: list[Output]) -> State:
        """Nobody stops the machine: what it makes from now on has no order."""
        text = _CLOSED
        if run.state in BEFORE_START:
            return self.cancelled(state, run, run.job, at_ns, text, out)
        out.append(told_closed(at_ns, run.job))
        if not run.hold_reason:
            state = self.held(state, run, at_ns, text, ERP_CLOSED, out)
        if state.works_on(run.job.key):
            here = next(one for one in state.at_work() if one.job.key == run.job.key)
            cause = Cause(Trigger.ERP_MESSAGE, ActorRole.PLANNER, text)
            state = self._dispatch.away(state, at_ns, cause, out, run=here)
        return state

    def _revised(
        self, state: State, run: JobRun, job: JobOrder, at_ns: int, effects: set[ChangeEffect], out: list[Output]
    ) -> State:
        before = run.job.image
        unstable = ChangeEffect.PLAN_UNSTABLE in effects
        waited = before is not None and before.former is not None
        if (ChangeEffect.BOM_FROM_EFFECTIVE_TIME in effects or waited) and run.anything_open and not waits(job):
            # What was made so far is made of what the former revision says.
            run = self._dispatch.confirmed(state, run, at_ns, "engineering change", out)
        revised = run._replace(job=job, plan_changes=run.plan_changes + unstable)
        if _material(before) != _material(job.image):  # who speaks last is right
            revised = revised._replace(material=None)
        out.append(JobChanged(at_ns, revised.record(), run.state, f"revision {job.revision}"))
        state = with_run(state, revised)
        ask_to_stop(self._dispatch, state, run, revised, at_ns, out)
        if ChangeEffect.PLAN_UNSTABLE in effects:
            out.append(notice(at_ns, "PLAN_UNSTABLE", job, changes=str(revised.plan_changes)))
        if ChangeEffect.OVER_DELIVERY in effects:
            made = str(filled(run, self._rule.target_counts))
            out.append(notice(at_ns, "OVER_DELIVERY", job, made=made, quantity=str(job.quantity)))
        if ChangeEffect.RELEASE_HOLD in effects and before is not None and revised.hold_reason == before.hold:
            return self.released(state, revised, at_ns, "hold released by the ERP", out)
        if ChangeEffect.SET_HOLD in effects and not revised.hold_reason and job.image is not None:
            return self.held(state, revised, at_ns, "hold by the ERP", job.image.hold, out)
        if ChangeEffect.COMPLETE in effects and revised.state in (_S.IN_PROGRESS, _S.INTERRUPTED):
            cause = Cause(Trigger.ERP_MESSAGE, ActorRole.PLANNER, f"revision {job.revision}")
            state = self._dispatch.ended(state, revised, at_ns, cause, out)
            return self._dispatch.advance(state, at_ns, out)
        state = self._dispatch.complete_if_full(state, at_ns, out)
        return self._dispatch.advance(state, at_ns, out)  # it may have waited for what has changed

    def _moved(self, state: State, run: JobRun, job: JobOrder, at_ns: int, out: list[Output]) -> State:
        """The ERP gave the operation to another work center. It begins there as a released one, with its numbers."""
        run = self._dispatch.left(state, run, at_ns, "moved", out)
        if state.works_on(job.key):
            state = self._dispatch.ceased(state, at_ns, run)
        run = freed(run)  # the holds that stand there are others
        # What was dispatched is revoked; what was started stays interrupted, and is resumed there.
        revoked = run.state is _S.DISPATCHED
        moved = run._replace(job=job, state=_S.RELEASED if revoked else run.state)
        out.append(JobChanged(at_ns, moved.record(), run.state, f"moved to work center {job.work_center}"))
        return self._dispatch.advance(without(state, run), at_ns, out)

    def cancelled(self, state: State, run: JobRun, job: JobOrder, at_ns: int, text: str, out: list[Output]) -> State:
        """What was made is a fact and is confirmed; what is made from now on has no order."""
        if state.works_on(run.job.key):
            state = self._dispatch.ceased(state, at_ns, run)
        run = self._dispatch.left(state, run, at_ns, text, out)
        gone = run._replace(state=_S.CANCELLED, job=job, held_from=None, hold_reason="", standing=())
        out.append(JobChanged(at_ns, gone.record(), run.state, text))
        return self._dispatch.advance(left_to_siblings(without(state, run), run), at_ns, out)

    # --- holds -----------------------------------------------------------------------------------------------------

    def held(self, state: State, run: JobRun, at_ns: int, text: str, reason: str, out: list[Output]) -> State:
        """A hold. A running order stays on the machine, which nobody stops: what it makes waits for a verdict."""
        if run.state in RUNNING and run.anything_open:
            run = self._dispatch.confirmed(state, run, at_ns, "hold", out)
        if run.state is _S.ON_HOLD:  # by a standing hold: from now on by its own, too
            own = run._replace(hold_reason=reason)
            out.append(JobChanged(at_ns, own.record(), run.state, text))
            return with_run(state, own)
        on_hold = run._replace(state=_S.ON_HOLD, held_from=run.state, hold_reason=reason)
        out.append(JobChanged(at_ns, on_hold.record(), run.state, text))
        return with_run(state, on_hold)

    def released(self, state: State, run: JobRun, at_ns: int, text: str, out: list[Output]) -> State:
        """The end of its own hold: it is where it was before, unless a standing hold keeps it, or its ERP closed it."""
        own = ERP_CLOSED if is_closed(run.job) else ""
        if run.standing or own:
            kept = run._replace(hold_reason=own)
            out.append(JobChanged(at_ns, kept.record(), run.state, text))
            return with_run(state, kept)
        assert run.held_from is not None, "an order on hold remembers where it was"
        back = run._replace(state=run.held_from, held_from=None, hold_reason="")
        out.append(JobChanged(at_ns, back.record(), run.state, text))
        state = with_run(state, back)
        state = self._dispatch.complete_if_full(state, at_ns, out)
        return self._dispatch.advance(state, at_ns, out)

    # --- facts -----------------------------------------------------------------------------------------------------

    def _judged(self, state: State, old: JobOrder, received: OrderReceived, *, gone: bool = False) -> ChangeDecision:
        before, after = comparable(old, received.job)
        if gone:
            before = before._replace(cancelled=True)
        order = received.job.order
        others = [as_one(state, received, one) for one in received.others if one.job.order == order]
        facts = {one.job.operation: self.facts(one) for one in others}
        if received.known is not None:
            facts[received.job.operation] = self.facts(received.known)
        facts |= {run.job.operation: self.facts(run.record()) for run in state.open_runs() if run.job.order == order}
        return decide(before, facts, after, self._rule.cancel_in_progress)

    def facts(self, record: JobRecord) -> RunFacts:
        """What a change asks of an operation."""
        produced = filled(record._replace(external=(0, 0, 0)), self._rule.target_counts)
        at = record.held_from if record.state is _S.ON_HOLD else record.state
        if at is _S.IN_PROGRESS or at in _ENDED or record.good or record.scrap or record.rework:
            phase = Phase.AFTER_FIRST_PIECE
        else:
            phase = Phase.SETUP if at in (_S.SETUP, _S.INTERRUPTED) else Phase.BEFORE_START
        return RunFacts(
            phase=phase,
            produced=Decimal(produced),
            external=Decimal(filled(record, self._rule.target_counts) - produced),
            running=at in RUNNING,
            work_center=record.job.work_center,
            on_hold=record.state is _S.ON_HOLD,
            ended=record.state in _ENDED,
        )


def _material(image: OrderImage | None) -> bool | None:
    return None if image is None else image.material_available


def _is_left_out(image: OrderImage | None, job: JobOrder) -> bool:
    """Whether the order, as it is in force, has no such operation: an ERP sends it whole."""
    return image is not None and image.operation(job.operation) is None


def _unremembered(state: State, key: tuple[str, str]) -> State:
    """What is over for good, or is another order by now, gets no pieces behind its end."""
    previous = state.previous
    return state._replace(previous=None) if previous is not None and previous.job.key == key else state


def as_known(given: OrderReceived, fired: list[Output]) -> OrderReceived:
    """What a timer changed of this very order right before it is known too, though it was not stored yet."""
    records = [one.record for one in fired if isinstance(one, JobChanged) and one.record.job.key == given.job.key]
    return given._replace(known=records[-1]) if records else given


def _rejected(state: State, at_ns: int, job: JobOrder, ack: OrderAck, out: list[Output]) -> State:
    out.append(ack)
    out.append(notice(at_ns, "ORDER_CHANGE_REJECTED", job, reason="; ".join(ack.reasons)))
    return state
