"""What a correction changes of an order's times and material: what was told is due again, or told otherwise.

Arithmetic on what the order remembers. What was told of an order before it was opened again is not remembered: its
minutes are due again all the same, its material is left to the ERP.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.core.work.backflush import LineKind, Made, components_of, per_unit, reckoned
from gateway.core.work.rounding import RoundingCarry, decimal_steps, half_up, step_of, steps_of
from gateway.core.work.run_work import ConfirmedLines, ConfirmedWork
from gateway.core.work.time_account import MINUTE_PLACES, TimeAccount

if TYPE_CHECKING:
    from gateway.core.confirming.quantities import Pieces
    from gateway.core.job_order import JobOrder
    from gateway.core.rules_material import BackflushRule
    from gateway.core.work.backflush import Backflush
    from gateway.core.work.run_work import RunWork


def due_again(work: RunWork, said: ConfirmedWork, job: JobOrder, pieces: Pieces, rule: BackflushRule) -> RunWork:
    """After a confirmation of these pieces was taken back: all that it said is told with the next one."""
    times = (_less(carry, minutes) for carry, minutes in zip(work.times, said.minutes, strict=True))
    states = dict(work.states)
    for name, minutes in said.states:
        states[name] = _less(states.get(name, RoundingCarry()), minutes)
    material = _booked(work.material, job, _made(pieces, -1), rule)
    for one in said.lines:
        material = _told(material, one, -_quantity(one, rule))
    return work._replace(
        times=TimeAccount(*times),
        states=tuple(sorted(states.items())),
        material=material,
        made=(*work.made, *(one for one in said.lots if one.pieces)),
        operators=tuple(sorted({*work.operators, *said.operators})),
    )


def told_otherwise(
    work: RunWork, said: ConfirmedWork, job: JobOrder, change: Pieces, rule: BackflushRule
) -> tuple[RunWork, ConfirmedWork]:
    """After a confirmation was replaced by one with so many more pieces (below 0: fewer): what the new one says.

    Times, people and lots are the same, and so is material that does not go by pieces.
    """
    units = reckoned(_made(change), rule)
    parts = () if job.image is None else components_of(job.image, job.operation)
    each = {one.item: per_unit(one) for one in parts}
    material = _booked(work.material, job, _made(change), rule)
    lines: list[ConfirmedLines] = []
    for one in said.lines:
        if one.line.kind is not LineKind.PIECES or not units:
            lines.append(one)
            continue
        places, before = rule.places(one.line.uom), _quantity(one, rule)
        more = half_up(units * each.get(one.line.item, Fraction(0)) / step_of(places))
        after = max(before + more, 0)
        material = _told(material, one, after - before)
        quantity = decimal_steps(after, places)
        lots = ((one.lots[0][0], str(quantity)),) if len(one.lots) == 1 else one.lots
        lines.append(ConfirmedLines(one.line._replace(quantity=quantity), lots))
    made = said.lots
    if len(made) == 1:
        made = (made[0]._replace(pieces=max(made[0].pieces + change.total, 0)),)
    return work._replace(material=material), said._replace(lines=tuple(lines), lots=made)


def _less(carry: RoundingCarry, minutes: Decimal | str) -> RoundingCarry:
    # Below 0 where it was told before the order was opened again: it is due on top of what comes.
    return carry._replace(told=carry.told - steps_of(Decimal(minutes), MINUTE_PLACES))


def _made(pieces: Pieces, sign: int = 1) -> Made:
    return Made(sign * pieces.good, sign * pieces.scrap, sign * pieces.rework)


def _quantity(told: ConfirmedLines, rule: BackflushRule) -> int:
    """In whole steps of its unit."""
    return half_up(Fraction(told.line.quantity) / step_of(rule.places(told.line.uom)))


def _booked(material: Backflush, job: JobOrder, made: Made, rule: BackflushRule) -> Backflush:
    """With the use of so many pieces more or fewer, where it is remembered; tells nothing."""
    if job.image is None:
        return material
    units = reckoned(made, rule)
    each = {one.item: per_unit(one) for one in components_of(job.image, job.operation)}
    accounts = tuple(
        one._replace(used=one.used.plus(units * each.get(one.item, Fraction(0))))
        if one.kind is LineKind.PIECES
        else one
        for one in material.accounts
    )
    return material._replace(accounts=accounts)


def _told(material: Backflush, told: ConfirmedLines, steps: int) -> Backflush:
    """With so many steps of this line more told, where it is remembered."""
    line = told.line
    key = (line.item, line.uom, line.kind, line.posting)
    accounts = tuple(
        one._replace(used=one.used._replace(told=one.used.told + steps))
        if (one.item, one.uom, one.kind, one.posting) == key
        else one
        for one in material.accounts
    )
    return material._replace(accounts=accounts)
