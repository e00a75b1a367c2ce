"""What somebody confirmed in the ERP, past the gateway, and a person takes over: less remains to be made.

It is in none of the gateway's own totals and is confirmed by nobody here, so nothing is posted twice. The ERP knows no
division: what it has of an order that is merged here is its original's, whose leader makes less for it; what it has of
one that was split is its open children's, the last one first, as far as each still wants pieces.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.division import leader_of
from gateway.core.orders.job_run import filled
from gateway.core.orders.places import named, with_run
from gateway.core.orders.stop_request import ask_to_stop
from gateway.core.refusal import Refusal, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.entries import ExternalEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

_CAUSE: Final = "confirmed in the ERP"
Numbers = tuple[int, int, int]


def taken_over(dispatch: Dispatch, state: State, entry: ExternalEntry, out: list[Output]) -> State:
    """The state with these pieces known; what cannot be done is a REFUSED notice.

    An order that is full by them completes; one that was never begun leaves the queue.
    """
    found = concerned(state, entry.order, entry.operation)
    told = (entry.good, entry.scrap, entry.rework)
    if not found:
        missing = named(state, entry.order, entry.operation)
        assert isinstance(missing, str), "one that is open is concerned itself"
        out.append(refused(entry.at_ns, missing))
        return state
    if min(told) < 0 or not any(told):
        made = f"{entry.good} good, {entry.scrap} scrap, {entry.rework} rework"
        todo = "have the difference settled in the ERP"
        text = f"PIECES: found {made}, allowed: 1 and more in all, none below 0; {todo}"
        out.append(refused(entry.at_ns, Refusal(text, "PIECES", found=made, allowed="1 and more", what_to_do=todo)))
        return state
    keys = {run.job.key for run in found}
    for run, part in zip(found, _parts(found, told, dispatch.rule.target_counts), strict=True):
        if any(part):
            state = _known_of(dispatch, state, run, part, entry.at_ns, out)
    state = dispatch.complete_if_full(state, entry.at_ns, out)
    for run in [one for one in state.queue if one.state is JobOrderState.INTERRUPTED and one.job.key in keys]:
        state = dispatch.late(state, run, entry.at_ns, out, more=True)
    return dispatch.advance(state, entry.at_ns, out)


def concerned(state: State, order: str, operation: str) -> tuple[JobRun, ...]:
    """Of whom something is taken over that the ERP says of an order: itself, or its open children, the last one first.

    Originals are as their leaders have them. Empty: neither it nor any part of it is open here.
    """
    itself = named(state, order, operation)
    if not isinstance(itself, str):
        return (itself,)
    runs = [one for run in state.open_runs() for one in (run, *(() if run.merged is None else run.merged.runs))]
    runs = [run for run in runs if operation in ("", run.job.operation)]
    originals = [run for run in runs if run.job.order == order]
    if originals:
        return tuple(originals) if len(originals) == 1 else ()
    children = [run for run in runs if run.job.erp_order == order]
    if len({run.job.operation for run in children}) > 1:
        return ()
    return tuple(sorted(children, key=lambda run: run.job.order, reverse=True))


def _parts(runs: Sequence[JobRun], told: Numbers, target_counts: str) -> list[Numbers]:
    """What each takes of it: what counts against the quantity by what still remains, all else the first."""
    rooms = [max(math.ceil(run.job.quantity) - filled(run, target_counts), 0) for run in runs]
    parts = [[0, 0, 0] for _ in runs]
    for role, pieces in enumerate(told):
        left = pieces
        for at, room in enumerate(rooms if _counts(role, target_counts) else ()):
            taken = min(room, left)
            parts[at][role] += taken
            rooms[at], left = room - taken, left - taken
        parts[0][role] += left
    return [(good, scrap, rework) for good, scrap, rework in parts]


def _counts(role: int, target_counts: str) -> bool:
    """Whether good (0), scrap (1) or rework (2) counts against the quantity."""
    return role < (2 if target_counts == "good_plus_scrap" else 1)


def _known_of(dispatch: Dispatch, state: State, run: JobRun, told: Numbers, at_ns: int, out: list[Output]) -> State:
    leader = leader_of(state, run.job.key)
    after = run._replace(external=_plus(run.external, told))
    if leader is None:
        out.append(JobChanged(at_ns, after.record(), run.state, _CAUSE))
        ask_to_stop(dispatch, state, run, after, at_ns, out)
        return with_run(state, after)
    led = _led(leader, after, told, dispatch.rule.target_counts)
    out.append(JobChanged(at_ns, after._replace(state=JobOrderState.MERGED).record(), JobOrderState.MERGED, _CAUSE))
    out.append(JobChanged(at_ns, led.record(), leader.state, _CAUSE))
    ask_to_stop(dispatch, state, leader, led, at_ns, out)
    return with_run(state, led)


def _led(leader: JobRun, original: JobRun, told: Numbers, target_counts: str) -> JobRun:
    """The leader with an original that wants less; what that was given already is not taken back.

    The leader's own ``external`` is what its originals want less of it by now: good pieces, whatever they were.
    """
    merged = leader.merged
    assert merged is not None, "it leads"
    at = next(place for place, run in enumerate(merged.runs) if run.job.key == original.job.key)
    share = merged.originals[at]
    has = sum(shares.given[at] for role, shares in enumerate(merged.given) if _counts(role, target_counts))
    counted = sum(pieces for role, pieces in enumerate(told) if _counts(role, target_counts))
    less = min(counted, max(share.open_pieces - has, 0))
    originals = (
        *merged.originals[:at],
        share._replace(open_pieces=share.open_pieces - less),
        *merged.originals[at + 1 :],
    )
    runs = (*merged.runs[:at], original, *merged.runs[at + 1 :])
    return leader._replace(
        merged=merged._replace(originals=originals, runs=runs), external=_plus(leader.external, (less, 0, 0))
    )


def _plus(one: Numbers, two: Numbers) -> Numbers:
    return (one[0] + two[0], one[1] + two[1], one[2] + two[2])
