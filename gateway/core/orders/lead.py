"""The machine that holds an order which several machines work on: it books what its members made, each piece once.

A member tells sums; what they are more than what is booked is new. So a message that comes twice, late or again after a
power cut changes nothing. Pieces of a running order are its own in whole, also beyond its target (over-delivery);
pieces of an order that waits are late ones; what no order takes any more is unallocated here, under the member's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.job_order import JobOrderState
from gateway.core.model import CountEvent, JobChanged, Notice, Role
from gateway.core.orders.attribution import Ceased, Dating, PastOrders, Share, shares
from gateway.core.orders.job_run import book, filled
from gateway.core.orders.places import enqueue, with_run, without
from gateway.core.orders.shares import ROLES, SAME_INSTANT_NS, LeadTold, MemberPieces, MemberRow, MemberTold, with_times
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.orders.unallocated import Found, add, review_of
from gateway.core.work.ledger import RunLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

_S: Final = JobOrderState
#: States of a waiting order that takes pieces which were made before.
_TAKES: Final = frozenset({_S.DISPATCHED, _S.INTERRUPTED, _S.ON_HOLD})
_TRIGGER: Final = "pieces of another machine"


def booked(dispatch: Dispatch, state: State, given: MemberTold, out: list[Output]) -> State:
    """The state with what a member made and was not booked yet."""
    known = state.sharing.member(given.machine)
    if given.said_ns < known.said_ns:  # an older message: what it tells may be booked and forgotten
        return state
    rows = {row.number: row for row in known.rows}
    kept: list[MemberRow] = []
    changed_ns = state.sharing.since_ns
    for told in sorted(given.rows):
        row = told
        before = rows.get(row.number) or MemberRow(row.number, *row.key, from_ns=row.from_ns)
        if not row.newer(before):
            kept.append(before.standing())
            continue
        runs = state.works_on(row.key)
        if given.since_ns < changed_ns < given.said_ns:  # it thinks that what ended here goes on
            row = row.timed(before.after(state.sharing.passed_ns(known, row.key, given.said_ns, runs=runs)))
        kept.append(row)
        state = _pieces(dispatch, state, given, before, row, out)
        state = _times(state, before, row)
    # What the member does not tell any more it has forgotten, because it was booked.
    read_ns = max(known.read_ns, given.read_ns)
    after = known._replace(said_ns=given.said_ns, rows=tuple(kept), read_ns=read_ns)
    return state if after == known else state._replace(sharing=state.sharing.with_member(after))


def word_for(state: State, machine: str, at_ns: int, counts: str = "good_plus_scrap") -> LeadTold:
    """What a lead tells a member now; ``counts``: what fills its orders."""
    run = state.running
    known = (state.sharing.member(machine).rows, state.sharing.since_ns, state.sharing.ended)
    if run is None:
        return LeadTold(at_ns, None, False, *known)
    full = filled(run, counts) >= run.job.quantity
    return LeadTold(at_ns, run.job, run.waits_for_verdict, *known, full)


def changed(dispatch: Dispatch, before: State, state: State, instant_ns: int, out: Sequence[Output]) -> State:
    """After an input: with the instant from which on another order runs, or none, which its members go by."""
    was, runs = (None if run is None else run.job.key for run in (before.running, state.running))
    if not state.sharing.members or was == runs:
        return state
    counts = dispatch.rule.target_counts
    records = [one.record for one in out if isinstance(one, JobChanged) and one.record.job.key == was]
    records += [] if before.running is None else [before.running.record()]
    full = any(filled(one, counts) >= one.job.quantity for one in records)
    return state._replace(sharing=state.sharing.changed(was, instant_ns, full=full))


def left(state: State, machine: str, at_ns: int) -> MemberTold | None:
    """The last word of a machine that is no member any more and cannot say it; None: it has said all."""
    known = state.sharing.member(machine)
    if not any(row.doing for row in known.rows):
        return None
    rows = tuple(row.standing() for row in known.after(at_ns))
    return MemberTold(at_ns, machine, at_ns, rows, since_ns=state.sharing.since_ns)


def _pieces(
    dispatch: Dispatch, state: State, given: MemberTold, before: MemberRow, row: MemberRow, out: list[Output]
) -> State:
    cycles, estimated = row.cycles - before.cycles, row.estimated - before.estimated
    for role, said in zip(ROLES, row.said_since(before), strict=True):
        pieces = getattr(row, role.value) - getattr(before, role.value) - said
        if not pieces and not said:
            continue
        # A piece that was under way when its counters were read for another lot is of that lot, as the lead's own are.
        from_ns = max(before.to_ns, row.from_ns, state.sharing.member(given.machine).read_ns)
        event = CountEvent(given.machine, 0, min(from_ns, row.to_ns), row.to_ns, "OK")
        found = _whose(state, row, event, pieces, cycles, out, given.at_ns) if pieces else []
        if said:  # whoever gave them named the order: when they were made does not matter
            found.append(Share(row.key, said, 0 if found else cycles))
        for share in found:
            made_as = role if share.key == row.key else _judged(state, role, share.key)
            names = share.key or (None, None)
            told = MemberPieces(given.at_ns, given.machine, row.number, made_as, share.pieces, *names)
            besides = (share.cycles, max(estimated, share.pieces if share.estimated else 0))
            state = state._replace(counted=state.counted.plus(made_as, share.pieces))
            state = _booked(dispatch, state, event, told, besides, out)
            estimated = 0
        cycles = estimated = 0
    return state if not cycles else _idle(state, row, cycles)


def _whose(
    state: State, row: MemberRow, event: CountEvent, pieces: int, cycles: int, out: list[Output], at_ns: int
) -> list[Share]:
    """Whose a member's pieces are: of its stretch's order, unless that had ended here and the member had not heard so.

    Then a piece is the order's in whose time its cycle began, and several are shared by time, as the lead's own are.
    """
    key, sharing = row.key, state.sharing
    own, works = Share(key, pieces, cycles), state.works_on(key)
    end_ns = sharing.since_ns if works else max((one.at_ns for one in sharing.ended if one.key == key), default=0)
    begun_ns = end_ns - SAME_INSTANT_NS
    heard = event.t_from_ns >= begun_ns if works else event.t_to_ns <= end_ns
    if heard or row.from_ns >= begun_ns:  # no end of it is known behind the beginning of the stretch
        return [own]
    running = None if state.running is None else state.running.job.key
    past = PastOrders(ceased=tuple(Ceased(one.at_ns, *one.key) for one in sharing.ended))
    dating = Dating.START if pieces == 1 else Dating.READINGS
    span_ns = event.t_to_ns - event.t_from_ns
    _, found = shares(past, event, pieces, cycles, dating=dating, stop_ns=span_ns, running=running)
    several = sum(1 for one in found if one.pieces) > 1
    task = review_of(event, found, running) if several else None
    if task is not None:
        names = (("signal", task.signal), ("from_ns", str(task.t_from_ns)), ("to_ns", str(task.t_to_ns)))
        out.append(Notice(at_ns, "SHARED_BY_TIME", (*names, ("reason", str(task)))))
    made = [one._replace(key=one.key or running, estimated=one.estimated and several) for one in found if one.pieces]
    idle = cycles - sum(one.cycles for one in made)
    return [made[0]._replace(cycles=made[0].cycles + idle), *made[1:]]


def _judged(state: State, role: Role, key: tuple[str, str] | None) -> Role:
    """What is made for an order that waits for a verdict waits for it, too; the member did not know that it was its."""
    run = next((one for one in state.at_work() if one.job.key == key), None)
    return Role.HOLD if role is Role.GOOD and run is not None and run.waits_for_verdict else role


def _booked(
    dispatch: Dispatch,
    state: State,
    event: CountEvent,
    told: MemberPieces,
    besides: tuple[int, int],
    out: list[Output],
) -> State:
    role, pieces, at_ns = told.role, told.pieces, told.at_ns
    run = next((one for one in state.open_runs() if one.job.key == (told.order, told.operation)), None)
    works = run is not None and state.works_on(run.job.key)
    if run is None or not (works or run.state in _TAKES):
        out.append(told._replace(order=None, operation=None))
        spent = Found(event.signal, role, pieces, min(event.t_from_ns, event.t_to_ns), event.t_to_ns)
        return state._replace(bucket=add(dispatch.unallocated_rule, state.bucket, spent))
    out.append(told)
    last_ns = max(run.last_event_ns or 0, event.t_to_ns)
    had, run = run, book(run, role, pieces, event, cycles=besides[0], at_ns=at_ns)
    run = run._replace(last_event_ns=last_ns, open_estimated=run.open_estimated + besides[1])
    if dispatch.work.material.follows_lots:
        state, run = dispatch.work.drawn(state, run, event, pieces, at_ns, out)
    if works:
        ask_to_stop(dispatch, state, had, run, at_ns, out)
        state = dispatch.complete_if_full(with_run(state, run), at_ns, out)
        still = next((one for one in state.at_work() if one.job.key == run.job.key), None)
        return state if still is None else with_run(state, dispatch.closer.by_pieces(state, still, at_ns, out))
    if run.state is _S.DISPATCHED:
        run = has_begun(run, at_ns, _TRIGGER, out)
    return dispatch.late(enqueue(without(state, run), run), run, at_ns, out, more=False)


def has_begun(run: JobRun, at_ns: int, trigger: str, out: list[Output]) -> JobRun:
    """Pieces of an order that waits were made before it: it has begun, and stands."""
    for now in (_S.IN_PROGRESS, _S.INTERRUPTED):
        before, run = run.state, run._replace(state=now)
        out.append(JobChanged(at_ns, run.record(), before, trigger))
    return run


def _idle(state: State, row: MemberRow, cycles: int) -> State:
    run = next((one for one in state.open_runs() if one.job.key == row.key), None)
    return state if run is None else with_run(state, run._replace(open_cycles=run.open_cycles + cycles))


def _times(state: State, before: MemberRow, row: MemberRow) -> State:
    """The member's times are the order's, whichever machine they are of."""
    if row.period == before.period and row.states == before.states:
        return state
    work = state.work
    after = with_times(work.ledger(row.key) or RunLedger(*row.key), before, row)
    others = tuple(after if one.key == row.key else one for one in work.ledgers)
    ledgers = others if after in others else (*others, after)
    return state._replace(work=work._replace(ledgers=ledgers))
