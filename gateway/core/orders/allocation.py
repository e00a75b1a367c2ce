"""Pieces without an order become an order's: by a person's word, or by the policy that the configuration names.

What is allocated is a confirmation of its own, with the origin "allocation" and the time at which it was made; what is
open of the order besides stays open. Which pieces may go where is ``unallocated.py``'s; counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.confirming.checklist import tolerated_part
from gateway.core.confirming.corrections import Origin
from gateway.core.document import utc
from gateway.core.model import ConfirmationKind, CountEvent, JobChanged, JobOrderState, OrderReceived, Role
from gateway.core.orders.closing import Said
from gateway.core.orders.job_run import book, filled, from_record, room, with_reason
from gateway.core.orders.lead import has_begun
from gateway.core.orders.member import begun
from gateway.core.orders.places import named, notice, with_run
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.orders.unallocated import (
    AllocationRefused,
    AllocationRequest,
    NextOrder,
    PreviousOrder,
    allocate,
    by_policy,
)
from gateway.core.refusal import Refusal, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.entries import AllocateEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.intake import Heard
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.unallocated import Bucket, CountAllocation
    from gateway.core.rules import WorkUnitRules
    from gateway.core.unit_state import State

#: The flag of a confirmation of pieces that no order ran for when they were made.
ALLOCATED: Final = "ALLOCATED"
TRIGGER: Final = "allocation"
#: The notice that an order has come after pieces which could be its own.
PROPOSED: Final = "ALLOCATION_PROPOSED"
#: Policies that give pieces to an order when it begins.
_AS_IT_BEGINS: Final = frozenset({"to_next_order_if_same_product_within", "scrap_as_setup"})

_S: Final = JobOrderState
_ROLES: Final = tuple(role.value for role in Role)


class Allocation:
    """The bucket's way out at one work unit. Every method returns the new state and appends to ``out``."""

    def __init__(self, rules: WorkUnitRules, dispatch: Dispatch) -> None:
        self._rule = rules.unallocated
        self._delivery = rules.confirm.delivery
        self._target_counts = rules.orders.target_counts
        self._runs_on = rules.orders.at_target != "complete"
        self._dispatch = dispatch
        self._draws = dispatch.work.material.follows_lots

    # --- a person --------------------------------------------------------------------------------------------------

    def said(self, state: State, entry: AllocateEntry, out: list[Output]) -> State:
        """Pieces to an order, or written off; what cannot be done is a REFUSED notice."""
        before, run = state, self._target(state, entry) if entry.order else None
        if isinstance(run, str) and self._dispatch.closer.silent:
            state, run = self._stretch(state, entry, run)
        if isinstance(run, str):
            out.append(refused(entry.at_ns, run))
            return before
        key = ("", "") if run is None else run.job.key
        request = AllocationRequest(
            entry.at_ns,
            entry.who,
            *key,
            product="" if run is None else run.job.product,
            pieces=entry.pieces,
            role=entry.from_role,
            role_to=entry.to_role,
            numbers=entry.numbers,
            reason=entry.reason,
        )
        result = allocate(state.bucket, request)
        if isinstance(result, AllocationRefused):
            why = Refusal(str(result), result.code, found=result.text, what_to_do=result.what_to_do)
            out.append(refused(entry.at_ns, why))
            return before
        return self._given(state, run, *result, entry.at_ns, out)

    def _target(self, state: State, entry: AllocateEntry) -> JobRun | str:
        """The order that is meant: open here, or complete and not closed yet."""
        run = named(state, entry.order, entry.operation)
        if isinstance(run, str):
            known = entry.known
            here = known is not None and known.job.work_center == self._dispatch.identity.work_center
            if known is None or not here or known.state is not _S.COMPLETED or known.job.leads:
                return run
            return from_record(known, known.job)._replace(state=_S.COMPLETED)
        if run.state is _S.ON_HOLD:
            todo = "release it first"
            text = f"ORDER_ON_HOLD: found order {run.job.order} {run.state}, allowed: an order without a hold; {todo}"
            return Refusal(text, "ORDER_ON_HOLD", found=run.state, allowed="no hold", what_to_do=todo)
        return run

    def _stretch(self, state: State, entry: AllocateEntry, why: str) -> tuple[State, JobRun | str]:
        """Another machine holds the order: the pieces are told to that one."""
        known = entry.known
        if known is None or known.job.work_center != self._dispatch.identity.work_center:
            return state, why
        return begun(state, known.job, entry.at_ns) or (state, why)

    # --- the policy ------------------------------------------------------------------------------------------------

    def earlier(self, state: State, due_ns: int | None) -> int | None:
        """``due_ns``, or when it is decided what the order that ended last gets, if that is sooner."""
        timer = self._deadline(state)
        return timer if timer is not None and (due_ns is None or timer < due_ns) else due_ns

    def on_time(self, state: State, now_ns: int, out: list[Output]) -> State:
        """What the order that ended last gets, if its time is over."""
        due_ns = self._deadline(state)
        return state if due_ns is None or now_ns < due_ns else self._to_previous(state, now_ns, out)

    def _deadline(self, state: State) -> int | None:
        run = state.previous
        return None if run is None or not state.bucket.entries else run.confirmed_ns + self._rule.within

    def _to_previous(self, state: State, at_ns: int, out: list[Output]) -> State:
        """The order that ended last gets what it may still deliver, and is then none of ours any more."""
        run, state = state.previous, state._replace(previous=None)
        if run is None or not state.bucket.entries or any(one.job.key == run.job.key for one in state.open_runs()):
            return state
        image = run.job.image
        tolerance = None if image is None else image.allowed_over
        made = filled(run, self._target_counts)
        left, _ = tolerated_part(self._delivery, run.job.quantity, tolerance, made, sum(state.bucket.left))
        # What the counters showed for its end is a little older than the decision: behind that is behind its end.
        read = (one for one in state.past.ceased if one.decided_ns and (one.order, one.operation) == run.job.key)
        ended_ns = min((one.until_ns for one in read if one.decided_ns >= run.confirmed_ns), default=run.confirmed_ns)
        before = PreviousOrder(*run.job.key, run.job.product, ended_ns, left)
        return self._given(state, run, *by_policy(self._rule, state.bucket, at_ns, None, before), at_ns, out)

    def begun(self, before: State, state: State, at_ns: int, out: list[Output]) -> State:
        """What the policy gives now that other orders run than before; what is full by it makes way for the next."""
        if not state.bucket.entries and state.previous is None:
            return state
        known = {run.job.key for run in before.at_work()}
        while (run := next((one for one in state.at_work() if one.job.key not in known), None)) is not None:
            known.add(run.job.key)
            if state.previous is not None:
                state = self._to_previous(state, at_ns, out)
            if not state.bucket.entries:
                return state
            if run.state is _S.ON_HOLD:
                continue
            left = None if self._runs_on else room(run, Role.GOOD, self._target_counts)
            follows = NextOrder(*run.job.key, run.job.product, run.open_from_ns, left)
            bucket, given = by_policy(self._rule, state.bucket, at_ns, follows, None)
            state = self._given(state, run, bucket, given, at_ns, out)
        return state

    # --- a proposal ------------------------------------------------------------------------------------------------

    def arrived(self, state: State, given: Heard, at_ns: int, out: list[Output]) -> State:
        """Who may give pieces is told of an order that comes after them, unless the policy gives them as it begins."""
        if not state.bucket.entries or not isinstance(given, OrderReceived) or given.known is not None:
            return state
        job = given.job
        if all(run.job.key != job.key for run in state.open_runs()):
            return state
        latest_ns = at_ns - self._rule.within if self._rule.policy in _AS_IT_BEGINS else at_ns
        fitting = [
            one.what
            for one in state.bucket.entries
            if one.what.product in ("", job.product) and one.what.t_from_ns < latest_ns
        ]
        if fitting:
            pieces, since_ns = sum(one.pieces for one in fitting), min(one.t_from_ns for one in fitting)
            since = utc(since_ns + state.utc_offset_ns)
            out.append(notice(at_ns, PROPOSED, job, pieces=str(pieces), made_since=since or ""))
        return state

    # --- parts -----------------------------------------------------------------------------------------------------

    def _given(
        self,
        state: State,
        run: JobRun | None,
        bucket: Bucket,
        given: Sequence[CountAllocation],
        at_ns: int,
        out: list[Output],
    ) -> State:
        """The state with these pieces where they belong now; ``run`` None: written off."""
        if not given:
            return state
        out.extend(given)
        counted = state.counted
        for one in given:
            counted = counted.plus(one.what.role, -one.what.pieces).plus(one.role_to, one.what.pieces)
        state = state._replace(bucket=bucket, counted=counted)
        if run is None:
            return state
        if state.previous is not None and state.previous.job.key == run.job.key:
            state = state._replace(previous=None)  # its numbers are others from here on
        state, after = self._confirmed(state, run, given, at_ns, out)
        if run.state is _S.COMPLETED:
            return state
        if state.works_on(run.job.key):
            ask_to_stop(self._dispatch, state, run, after, at_ns, out)
            return self._dispatch.complete_if_full(with_run(state, after), at_ns, out)
        if after.state is _S.DISPATCHED:
            after = has_begun(after, at_ns, TRIGGER, out)
        return self._dispatch.late(with_run(state, after), after, at_ns, out, more=True)

    def _confirmed(
        self, state: State, run: JobRun, given: Sequence[CountAllocation], at_ns: int, out: list[Output]
    ) -> tuple[State, JobRun]:
        """The order with these pieces, which are confirmed by themselves, with the lots that they were made of."""
        if self._dispatch.closer.silent:
            return _told_on(state, run, given, at_ns)
        confirmed: dict[str, Any] = {role: getattr(run, role) - getattr(run, f"open_{role}") for role in _ROLES}
        alone = run._replace(
            **confirmed | {f"open_{role}": 0 for role in _ROLES},
            open_cycles=0,
            open_estimated=sum(one.what.estimated for one in given),
            open_flags=(ALLOCATED,),
            open_scrap_reasons=(),
            work=run.work._replace(made=(), serials=(), linked_serials=0, setups=0),
            open_from_ns=min(one.what.t_from_ns for one in given),
            last_event_ns=max(one.what.t_to_ns for one in given),
            last_derived_ns=at_ns,
        )
        for one in given:
            role, pieces = one.role_to.value, one.what.pieces
            more: dict[str, Any] = {name: getattr(alone, name) + pieces for name in (role, f"open_{role}")}
            alone = alone._replace(**more)
            if one.role_to is Role.SCRAP:
                alone = with_reason(alone, one.reason, pieces)
            if self._draws:
                event = CountEvent(one.what.signal, 0, one.what.t_from_ns, one.what.t_to_ns, ALLOCATED)
                state, alone = self._dispatch.work.drawn(state, alone, event, pieces, at_ns, out)
        by = given[0].by if given[0].by != self._rule.policy else ""
        said = Said(by, given[0].reason, Origin.ALLOCATION)
        closed = self._dispatch.closer.closed(state, alone, at_ns, ConfirmationKind.PARTIAL, TRIGGER, out, said=said)
        still_open: dict[str, Any] = {f"open_{role}": getattr(run, f"open_{role}") for role in _ROLES}
        totals = {role: getattr(closed, role) + still_open[f"open_{role}"] for role in _ROLES}
        whole = closed._replace(
            **still_open | totals,
            open_cycles=run.open_cycles,
            open_estimated=run.open_estimated,
            open_flags=run.open_flags,
            open_scrap_reasons=run.open_scrap_reasons,
            open_from_ns=run.open_from_ns,
            last_event_ns=run.last_event_ns,
            last_derived_ns=run.last_derived_ns,
            waiting=run.waiting,
            work=closed.work._replace(
                made=run.work.made,
                serials=run.work.serials,
                linked_serials=run.work.linked_serials,
                setups=run.work.setups,
            ),
            confirmed_ns=run.confirmed_ns,
        )
        out.append(JobChanged(at_ns, whole.record(), whole.state, TRIGGER))
        return state, whole


def _told_on(state: State, run: JobRun, given: Sequence[CountAllocation], at_ns: int) -> tuple[State, JobRun]:
    """With pieces that another machine confirms; the one that was counted last is still that."""
    last_ns, derived_ns = run.last_event_ns, run.last_derived_ns
    for one in given:
        what = one.what
        event = CountEvent(what.signal, 0, what.t_from_ns, what.t_to_ns, ALLOCATED)
        run = book(run, one.role_to, what.pieces, event, cycles=0, at_ns=at_ns)
        run = run._replace(open_estimated=run.open_estimated + what.estimated)
        state = state._replace(sharing=state.sharing.with_said(run.share_no, one.role_to, what.pieces))
    return state, run._replace(last_event_ns=last_ns, last_derived_ns=derived_ns)
