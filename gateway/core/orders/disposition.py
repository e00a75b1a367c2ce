"""Pieces that a person judges anew: good ones that are scrap, held ones that are good. No piece is made or lost.

Bounded by what is not confirmed yet: a confirmation that is out never changes. Changes the numbers of the order, what
was counted by role, and ends an order that is full by it; counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.entries import PiecesReclassified
from gateway.core.model import Role
from gateway.core.orders.job_run import is_full, with_reason, without_reasons
from gateway.core.orders.places import named, refusal_of, with_run
from gateway.core.refusal import Refusal, refused

if TYPE_CHECKING:
    from gateway.core.entries import ReclassifyEntry
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State, Tally

#: What pieces can be judged to be, and what they can have been: samples stay samples.
JUDGED_AS: Final = (Role.GOOD, Role.SCRAP, Role.REWORK)
JUDGED_FROM: Final = (*JUDGED_AS, Role.HOLD)


def reclassified(
    dispatch: Dispatch, state: State, entry: ReclassifyEntry, out: list[Output], *, back: bool = False
) -> State:
    """The state with these pieces as what they are said to be; what cannot be done is a REFUSED notice.

    ``back``: a judgement is taken back, so they may be what waits for one, too.
    """
    run = named(state, entry.order, entry.operation)
    if isinstance(run, str):
        out.append(refused(entry.at_ns, run))
        return state
    if refusal := _why_not(run, entry, JUDGED_FROM if back else JUDGED_AS):
        out.append(refusal_of(entry.at_ns, run.job, refusal))
        return state
    before, after, pieces = entry.from_role, entry.to_role, entry.pieces
    out.append(PiecesReclassified(entry.at_ns, *run.job.key, pieces, before, after, entry.reason, entry.who))
    moved = _moved(run, before, -pieces)
    if before is Role.SCRAP:
        moved = without_reasons(run, pieces)._replace(scrap=moved.scrap, open_scrap=moved.open_scrap)
    moved = _moved(moved, after, pieces)
    if after is Role.SCRAP:
        moved = with_reason(moved, entry.reason, pieces)
    counted: Tally = state.counted.plus(before, -pieces).plus(after, pieces)
    state = state._replace(counted=counted)
    if state.works_on(run.job.key):
        return dispatch.complete_if_full(with_run(state, moved), entry.at_ns, out)
    counts = dispatch.rule.target_counts
    if is_full(run, counts) and not is_full(moved, counts):
        moved = moved._replace(waits_for_person=False)  # it was put aside as full, and is to make some more
    return dispatch.advance(dispatch.late(state, moved, entry.at_ns, out, more=True), entry.at_ns, out)


def _why_not(run: JobRun, entry: ReclassifyEntry, judged_as: tuple[Role, ...]) -> str:
    before, after = entry.from_role, entry.to_role
    if before not in JUDGED_FROM or after not in judged_as or before is after:
        allowed = f"from one of {', '.join(JUDGED_FROM)} to another one of {', '.join(judged_as)}"
        text = f"found {before} to {after}, allowed {allowed}"
        return Refusal(text, "JUDGEMENT", found=f"{before} to {after}", allowed=allowed, what_to_do="name two of them")
    if entry.pieces < 1:
        text = f"found {entry.pieces} pieces, allowed 1 and more"
        return Refusal(text, "PIECES", found=str(entry.pieces), allowed="1 and more", what_to_do="name how many")
    open_pieces: int = getattr(run, f"open_{before}")
    if entry.pieces <= open_pieces:
        return ""
    confirmed = getattr(run, str(before)) - open_pieces
    text = f"found {entry.pieces} pieces, allowed up to {open_pieces}: so many {before} ones are not confirmed yet"
    if confirmed:
        text += f"; {confirmed} are confirmed, and a confirmation that is out is corrected in the ERP"
    todo = f"name up to {open_pieces}" if open_pieces else "correct the confirmation that they are in"
    return Refusal(text, "OPEN_PIECES", found=str(entry.pieces), allowed=f"up to {open_pieces}", what_to_do=todo)


def _moved(run: JobRun, role: Role, pieces: int) -> JobRun:
    name, still_open = str(role), f"open_{role}"
    return run._replace(**{name: getattr(run, name) + pieces, still_open: getattr(run, still_open) + pieces})
