"""Pieces that a person judges anew: good ones that are scrap, held ones that are good. No piece is made or lost.

What is not confirmed yet goes first. Of what is confirmed a correction is made (``correcting.py``): a confirmation that
is out never changes. Changes the numbers of the order and what was counted by role, ends an order that is full by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.entries import PiecesReclassified
from gateway.core.model import Role
from gateway.core.orders.correcting import Target, judged_anew, placed, put_back, target_of
from gateway.core.orders.job_run import with_reason, without_reasons
from gateway.core.orders.places import named, refusal_of
from gateway.core.refusal import Refusal, refused
from gateway.core.wording import pieces_of

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
    target = target_of(dispatch, state, entry) if entry.ledger is not None else None
    if isinstance(run, str) and not isinstance(target, Target):
        out.append(refused(entry.at_ns, run))
        return state
    if isinstance(target, Target) and (isinstance(run, str) or entry.pieces > getattr(run, f"open_{entry.from_role}")):
        return _confirmed(dispatch, state, target, entry, out)
    assert not isinstance(run, str), "it was looked at"
    why = target if isinstance(target, str) else None
    if refusal := _why_not(run, entry, JUDGED_FROM if back else JUDGED_AS, why):
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
    return placed(dispatch, state, run, moved, entry.at_ns, out)


def _confirmed(dispatch: Dispatch, state: State, target: Target, entry: ReclassifyEntry, out: list[Output]) -> State:
    """Pieces of which some are confirmed already: a correction."""
    run = target.run
    if refusal := _no_judgement(entry, JUDGED_AS):
        out.append(refusal_of(entry.at_ns, run.job, refusal))
        return state
    made: list[Output] = []
    result = judged_anew(dispatch, state, target, entry, made)
    if isinstance(result, str):
        out.append(refusal_of(entry.at_ns, run.job, result))
        return state
    changed, after = result
    placed_anew = put_back(dispatch, changed, target, after, entry.at_ns, made)
    if isinstance(placed_anew, Refusal):
        out.append(refusal_of(entry.at_ns, run.job, placed_anew))
        return state
    pieces, roles = entry.pieces, (entry.from_role, entry.to_role)
    out.append(PiecesReclassified(entry.at_ns, *run.job.key, pieces, *roles, entry.reason, entry.who))
    out += made
    return placed_anew


def _no_judgement(entry: ReclassifyEntry, judged_as: tuple[Role, ...]) -> str:
    before, after = entry.from_role, entry.to_role
    if before not in JUDGED_FROM or after not in judged_as or before is after:
        allowed = f"from one of {', '.join(JUDGED_FROM)} to another one of {', '.join(judged_as)}"
        text = f"found {before} to {after}, allowed {allowed}"
        return Refusal(text, "JUDGEMENT", found=f"{before} to {after}", allowed=allowed, what_to_do="name two of them")
    if entry.pieces < 1:
        text = f"found {pieces_of(entry.pieces)}, allowed 1 and more"
        return Refusal(text, "PIECES", found=str(entry.pieces), allowed="1 and more", what_to_do="name how many")
    return ""


def _why_not(run: JobRun, entry: ReclassifyEntry, judged_as: tuple[Role, ...], target: str | None) -> str:
    """``target``: why what is confirmed cannot be corrected; None: it was not asked about."""
    if refusal := _no_judgement(entry, judged_as):
        return refusal
    before = entry.from_role
    open_pieces: int = getattr(run, f"open_{before}")
    if entry.pieces <= open_pieces:
        return ""
    confirmed = getattr(run, str(before)) - open_pieces
    text = f"found {pieces_of(entry.pieces)}, allowed up to {open_pieces}: so many {before} ones are not confirmed yet"
    if confirmed >= entry.pieces - open_pieces and target:
        return target
    todo = f"name up to {open_pieces}" if open_pieces else "see how many there are: linegate status"
    if confirmed:
        # They become a correction where one operation is meant: an order may have several here, some over.
        text += f"; {confirmed} are confirmed, and are corrected where the operation is named, too"
        todo = f"name the operation, too, or {todo}"
    return Refusal(text, "OPEN_PIECES", found=str(entry.pieces), allowed=f"up to {open_pieces}", what_to_do=todo)


def _moved(run: JobRun, role: Role, pieces: int) -> JobRun:
    name, still_open = str(role), f"open_{role}"
    return run._replace(**{name: getattr(run, name) + pieces, still_open: getattr(run, still_open) + pieces})
