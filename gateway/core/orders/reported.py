"""Numbers that a person tells of an operation: booked where people count it, never where the machine does.

Where the machine counts, scrap and rework are said of what it counted, and add nothing. Who counts is decided by
``counting_source.py``; neither starts nor confirms anything by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.entries import ReclassifyEntry
from gateway.core.model import CountEvent, JobOrderState, PiecesProduced, Role
from gateway.core.orders.counting_source import CountingSource, CountRefused, judged
from gateway.core.orders.disposition import reclassified
from gateway.core.orders.job_run import book, with_reason
from gateway.core.orders.places import named, with_run
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.refusal import Refusal, refused
from gateway.core.wording import pieces_of

if TYPE_CHECKING:
    from gateway.core.entries import ReportEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

#: What stands where a counted piece has its signal.
SIGNAL: Final = "operator"


def reported(dispatch: Dispatch, state: State, entry: ReportEntry, out: list[Output]) -> State:
    """The state with these pieces; what cannot be done is a REFUSED notice that says why, and changes nothing."""
    run = named(state, entry.order, entry.operation)
    if isinstance(run, str):
        out.append(refused(entry.at_ns, run))
        return state
    source = CountingSource(dispatch.rule.counting_source)
    why = _why_not(run, entry, source)
    if why:
        out.append(refused(entry.at_ns, why))
        return state
    if source is CountingSource.MACHINE:
        return _judged(dispatch, state, run, entry, out)
    return _booked(dispatch, state, run, entry, out)


def _why_not(run: JobRun, entry: ReportEntry, source: CountingSource) -> str:
    told = entry.good + entry.scrap + entry.rework
    if told < 1 or min(entry.good, entry.scrap, entry.rework) < 0:
        found = f"{entry.good} good, {entry.scrap} scrap, {entry.rework} rework"
        todo = "say how many"
        text = f"PIECES: found {found}, allowed: 1 and more in all, none below 0; {todo}"
        return Refusal(text, "PIECES", found=found, allowed="1 and more in all", what_to_do=todo)
    if source is CountingSource.MACHINE:
        answer = judged(source, CountingSource.OPERATOR, entry.good)
        if entry.good and isinstance(answer, CountRefused):
            return Refusal(str(answer), answer.code, found=f"{entry.good} good", what_to_do=answer.what_to_do)
        if entry.scrap + entry.rework > run.open_good:
            found, allowed = pieces_of(entry.scrap + entry.rework), f"up to {run.open_good}"
            todo = "only counted good pieces that are not confirmed yet can be said to be something else"
            text = f"OPEN_PIECES: found {found}, allowed {allowed}; {todo}"
            return Refusal(text, "OPEN_PIECES", found=found, allowed=allowed, what_to_do=todo)
        return ""
    at = run.held_from if run.state is JobOrderState.ON_HOLD else run.state
    if at is JobOrderState.DISPATCHED:
        todo = "start it first"
        text = f"NOT_STARTED: found order {run.job.order} {run.state}, allowed: an order that was started; {todo}"
        return Refusal(text, "NOT_STARTED", found=run.state, allowed="started", what_to_do=todo)
    return ""


def _judged(dispatch: Dispatch, state: State, run: JobRun, entry: ReportEntry, out: list[Output]) -> State:
    for role, pieces in ((Role.SCRAP, entry.scrap), (Role.REWORK, entry.rework)):
        if pieces:
            said = ReclassifyEntry(entry.at_ns, *run.job.key, pieces, Role.GOOD, role, entry.reason, entry.who)
            state = reclassified(dispatch, state, said, out)
    return state


def _booked(dispatch: Dispatch, state: State, run: JobRun, entry: ReportEntry, out: list[Output]) -> State:
    at_ns = entry.at_ns
    from_ns = min(max(run.open_from_ns, run.last_event_ns or 0), at_ns)
    event = CountEvent(SIGNAL, 0, from_ns, at_ns, "OK")
    good_as = Role.HOLD if run.state is JobOrderState.ON_HOLD else Role.GOOD
    counted, after = state.counted, run
    for role, pieces in ((good_as, entry.good), (Role.SCRAP, entry.scrap), (Role.REWORK, entry.rework)):
        if pieces:
            out.append(PiecesProduced(at_ns, SIGNAL, role, pieces, *run.job.key, from_ns, estimated=False))
            after = book(after, role, pieces, event, cycles=0)
            if role is Role.SCRAP:
                after = with_reason(after, entry.reason, pieces)
            counted = counted.plus(role, pieces)
            if dispatch.work.material.follows_lots:
                state, after = dispatch.work.drawn(state, after, event, pieces, at_ns, out)
    state = state._replace(counted=counted, last_piece_ns=at_ns)
    if state.works_on(run.job.key):
        ask_to_stop(dispatch, state, run, after, at_ns, out)
        state = with_run(state, dispatch.closer.by_pieces(state, after, at_ns, out))
        return dispatch.complete_if_full(state, at_ns, out)
    return dispatch.late(state, after, at_ns, out, more=False)
