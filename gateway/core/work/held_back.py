"""What waits for a verdict stays behind a confirmation of all that is judged: the pieces with what they were made from.

Nobody knows which of the pieces wait; those that were made last are taken for them. Judges nothing, confirms nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.work.lots import LOT_UNKNOWN, UNKNOWN_LOT
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.orders.job_run import JobRun
    from gateway.core.work.lots import LotUse
    from gateway.core.work.run_work import MadeLot


def judged_only(run: JobRun) -> JobRun:
    """The order without its open pieces on hold, and without what they were made from."""
    told, _ = apart(run.work.made, run.open_hold)
    return run._replace(open_hold=0, hold=run.hold - run.open_hold, work=run.work._replace(made=told))


def with_held(after: JobRun, before: JobRun) -> JobRun:
    """The order with what ``judged_only`` took out of it as it was before; ``after`` may be confirmed."""
    _, held = apart(before.work.made, before.open_hold)
    flags = after.open_flags
    if LOT_UNKNOWN not in flags and any(use.lot == UNKNOWN_LOT for one in held for use in one.uses):
        flags = (*flags, LOT_UNKNOWN)
    work = after.work._replace(made=(*after.work.made, *held))
    return after._replace(open_hold=before.open_hold, hold=before.hold, open_flags=flags, work=work)


def apart(made: Sequence[MadeLot], pieces: int) -> tuple[tuple[MadeLot, ...], tuple[MadeLot, ...]]:
    """All but the last pieces, and these; each with its share of the lots. A side without pieces keeps no uses."""
    told: list[MadeLot] = []
    held: list[MadeLot] = []
    for one in reversed(made):
        taken = min(pieces, max(one.pieces, 0))
        pieces -= taken
        if not taken:
            told.insert(0, one)
            continue
        rest, last = _shared(one.uses, taken, one.pieces)
        held.insert(0, one._replace(pieces=taken, uses=last))
        if taken < one.pieces or rest:
            told.insert(0, one._replace(pieces=one.pieces - taken, uses=rest))
    return tuple(told), tuple(held)


def _shared(uses: Sequence[LotUse], taken: int, pieces: int) -> tuple[tuple[LotUse, ...], tuple[LotUse, ...]]:
    """What the others took, and what the last ``taken`` of so many pieces did; what no piece took is the others'."""
    # An item that the BOM names twice is taken twice by each piece.
    due = {(one.feeder, one.item): 0 for one in uses}
    for one in uses:
        due[one.feeder, one.item] += one.pieces
    due = {place: number * taken // pieces for place, number in due.items()}
    rest: list[LotUse] = []
    last: list[LotUse] = []
    # Of one count the lots stand in the order in which they were taken.
    for _, one in sorted(enumerate(uses), key=lambda use: (use[1].to_ns, use[0]), reverse=True):
        number = min(due[one.feeder, one.item], one.pieces)
        due[one.feeder, one.item] -= number
        if number < max(one.pieces, 1):
            rest.append(_part(one, one.pieces - number))
        if number:
            last.append(_part(one, number))
    return tuple(reversed(rest)), tuple(reversed(last))


def _part(one: LotUse, pieces: int) -> LotUse:
    if pieces == one.pieces:
        return one
    return one._replace(pieces=pieces, quantity=Exact.of(one.quantity.fraction * pieces / one.pieces))
