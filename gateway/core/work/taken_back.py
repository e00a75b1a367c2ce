"""What a correction changes of an order's times and material: what was told is due again, or told otherwise.

Arithmetic on what the order remembers. Links and serial numbers are stored already and are not told again. What was
told of an order before it was opened again is not remembered: its minutes are due again all the same, its material is
left to the ERP. Pieces that waited for their verdict bring the lots that their confirmation named for them, those that
were taken first before the others.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.core.work.backflush import LineKind, Made, MaterialLine, Posting, by_pieces, components_of
from gateway.core.work.held_back import apart
from gateway.core.work.lots import USES_MAX, Certainty, LotUse, collected
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.rounding import (
    Exact,
    RoundingCarry,
    decimal_steps,
    decimal_text,
    half_up,
    largest_remainders,
    step_of,
    steps_of,
)
from gateway.core.work.run_work import SERIALS_MAX, ConfirmedLines, ConfirmedWork, HeldMaterial, MadeLot
from gateway.core.work.time_account import MINUTE_PLACES, ActivityMinutes, TimeAccount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.confirming.quantities import Pieces
    from gateway.core.job_order import JobOrder
    from gateway.core.rules_material import BackflushRule
    from gateway.core.work.backflush import Backflush
    from gateway.core.work.run_work import RunWork


def links_stored(work: RunWork) -> RunWork:
    """As the order was before a confirmation that was taken back: what that linked is linked."""
    made: list[MadeLot] = []
    for one in work.made:
        at = next((at for at, before in enumerate(made) if _fit(before, one)), None)
        if at is None:
            made.append(one._replace(linked=True))
            continue
        before = made[at]
        made[at] = before._replace(
            pieces=before.pieces + one.pieces,
            uses=collected(before.uses, one.uses),
            from_ns=min(before.from_ns, one.from_ns),
            to_ns=max(before.to_ns, one.to_ns),
        )
    return work._replace(made=tuple(made), linked_serials=len(work.serials))


def due_again(work: RunWork, said: ConfirmedWork, job: JobOrder, pieces: Pieces, rule: BackflushRule) -> RunWork:
    """After a confirmation of these pieces was taken back: all that it said is told with the next one."""
    times = (_less(carry, minutes) for carry, minutes in zip(work.times, said.minutes, strict=True))
    states = dict(work.states)
    for name, minutes in said.states:
        states[name] = _less(states.get(name, RoundingCarry()), minutes)
    material = _booked(work.material, job, _made(pieces, -1), rule)
    for one in said.lines:
        material = _told(material, one, -_quantity(one, rule))
    room = max(SERIALS_MAX - len(work.serials), 0)
    back = tuple(SerialRecord(job.product, serial, *job.key, 0) for serial in said.serials[:room])
    # One that judged pieces otherwise made none.
    lots = () if min(pieces) < 0 else _lots_of(said, pieces.hold)
    return work._replace(
        times=TimeAccount(*times),
        states=tuple(sorted(states.items())),
        material=material,
        made=(*work.made, *lots),
        serials=(*back, *work.serials),
        linked_serials=len(back) + work.linked_serials,
        operators=tuple(sorted({*work.operators, *said.operators})),
    )


def told_otherwise(
    work: RunWork, said: ConfirmedWork, job: JobOrder, change: Pieces, rule: BackflushRule, held_pieces: int = 0
) -> tuple[RunWork, ConfirmedWork]:
    """After a confirmation was replaced by one with so many more pieces (below 0: fewer): what the new one says.

    ``held_pieces``: how many the one before told as on hold.

    Times and people are the same, and so is material that does not go by pieces. What goes by pieces is shared by the
    lots that were told, as they were: nobody knows of which lot a piece is that was judged otherwise. Only pieces that
    waited for their verdict have lots of their own.
    """
    parts = () if job.image is None else components_of(job.image, job.operation)
    changes = by_pieces(parts, _made(change), rule)
    material = _booked(work.material, job, _made(change), rule)
    waits = max(-change.hold, 0)
    held, judged = _judged(said.held, waits, max(held_pieces, waits))
    lines: list[ConfirmedLines] = []
    for one in said.lines:
        line = one.line
        _, amount = changes.pop((line.item, line.uom, line.kind, line.posting), (None, Fraction(0)))
        if amount:
            lots = judged.get(line.item, ()) if line.kind is LineKind.PIECES else ()
            one, steps = _with_more(one, amount, rule, lots)  # noqa: PLW2901 - the same line, told otherwise
            material = _told(material, one, steps)
        lines.append(one)
    for account, amount in changes.values():  # so little was made that nothing was told of it
        item, uom, kind, posting, separate, *_ = account
        nothing = MaterialLine(item, uom, decimal_steps(0, rule.places(uom)), kind, posting, separate)
        lots = judged.get(item, ()) if kind is LineKind.PIECES else ()
        one, steps = _with_more(ConfirmedLines(nothing), amount, rule, lots)
        if steps:
            material = _told(material, one, steps)
            lines.append(one)
    lots_made = _lots_with(said.lots, change.total)
    return work._replace(material=material), said._replace(lines=tuple(lines), lots=lots_made, held=held)


def judged_apart(
    work: RunWork, known: Sequence[tuple[Pieces, ConfirmedWork]], job: JobOrder, change: Pieces, rule: BackflushRule
) -> tuple[RunWork, ConfirmedWork | None]:
    """After pieces that confirmations told as on hold were judged, in one that says nothing else: what that one says.

    ``known``: the pieces and the work of all confirmations that hold, and of those that judged some before. None: there
    is nothing to say.
    """
    sums: dict[tuple[str, str], dict[str, Decimal]] = {}
    for one in (one for _, said in known for one in said.held):
        lots = sums.setdefault((one.item, one.uom), {})
        for lot, quantity in one.lots:
            lots[lot] = lots.get(lot, Decimal(0)) + Decimal(quantity)
    held = tuple(
        HeldMaterial(*name, tuple((lot, str(left)) for lot, left in lots.items() if left > 0))
        for name, lots in sums.items()
    )
    nothing = ConfirmedWork(ActivityMinutes(*(Decimal(0),) * len(ActivityMinutes._fields)), held=held)
    waiting = sum(pieces.hold for pieces, _ in known)
    work, said = told_otherwise(work, nothing, job, change, rule, waiting)
    left = {(one.item, one.uom, lot): Decimal(quantity) for one in said.held for lot, quantity in one.lots}
    taken = []
    for one in held:
        gone = [(lot, left.get((one.item, one.uom, lot), Decimal(0)) - Decimal(had)) for lot, had in one.lots]
        taken.append(one._replace(lots=tuple((lot, str(number)) for lot, number in gone if number)))
    said = said._replace(held=tuple(one for one in taken if one.lots))
    return work, said if said.lines or said.held else None


def _judged(
    held: Sequence[HeldMaterial], pieces: int, of: int
) -> tuple[tuple[HeldMaterial, ...], dict[str, list[tuple[str, Fraction]]]]:
    """What the others of so many held pieces were made from, and by item what these were: whole lots, one by one."""
    if not pieces or not held:
        return tuple(held), {}
    rest: list[HeldMaterial] = []
    judged: dict[str, list[tuple[str, Fraction]]] = {}
    for one in held:
        due = sum((Fraction(quantity) for _, quantity in one.lots), Fraction(0)) * pieces / of
        left: list[tuple[str, str]] = []
        for lot, quantity in one.lots:
            taken = min(due, Fraction(quantity))
            due -= taken
            if taken:
                judged.setdefault(one.item, []).append((lot, taken))
            if more := Fraction(quantity) - taken:
                left.append((lot, decimal_text(Exact.of(more))))
        if left:
            rest.append(one._replace(lots=tuple(left)))
    return tuple(rest), judged


def _with_more(
    told: ConfirmedLines, amount: Fraction, rule: BackflushRule, of: Sequence[tuple[str, Fraction]] = ()
) -> tuple[ConfirmedLines, int]:
    """A line with so much more, never below 0, and by how many steps it differs.

    What comes on top is ``of`` these lots, in their proportion; where nobody knows any, of those of the line.
    """
    places, before = rule.places(told.line.uom), _quantity(told, rule)
    after = max(before + half_up(amount / step_of(places)), 0)
    lots = told.lots
    if of and after > before:
        parts = largest_remainders(after - before, [quantity for _, quantity in of])
        sums = {lot: Decimal(quantity) for lot, quantity in lots}
        for (lot, _), part in zip(of, parts, strict=True):
            sums[lot] = sums.get(lot, Decimal(0)) + decimal_steps(part, places)
        lots = tuple((lot, str(quantity)) for lot, quantity in sums.items() if quantity)
    elif lots and all(Decimal(quantity) >= 0 for _, quantity in lots):
        steps = largest_remainders(after, [Fraction(quantity) for _, quantity in lots])
        lots = tuple((lot, str(decimal_steps(part, places))) for (lot, _), part in zip(lots, steps, strict=True))
    line = told.line._replace(quantity=decimal_steps(after, places))
    return ConfirmedLines(line, lots), after - before


def _lots_with(made: tuple[MadeLot, ...], more: int) -> tuple[MadeLot, ...]:
    """The produced lots with so many more pieces in all, in their proportion."""
    if not made or not more:
        return made
    whole = max(sum(one.pieces for one in made) + more, 0)
    parts = largest_remainders(whole, [max(one.pieces, 0) for one in made])
    return tuple(one._replace(pieces=part) for one, part in zip(made, parts, strict=True))


def _fit(one: MadeLot, more: MadeLot) -> bool:
    return one.lot == more.lot and len(one.uses) + len(more.uses) <= USES_MAX


def _lots_of(said: ConfirmedWork, hold: int) -> tuple[MadeLot, ...]:
    """What it made, and from which lots: no link is told of it again. Its pieces on hold stand last, with their own."""
    uses = tuple(
        LotUse("", told.line.item, lot, 0, Exact.of(Fraction(quantity)), 0, 0, Certainty.INTERVAL)
        for told in said.lines
        for lot, quantity in told.lots
        if Decimal(quantity) > 0
    )[:USES_MAX]
    made = [one._replace(linked=True) for one in said.lots if one.pieces]
    if uses:
        made.append(MadeLot("", 0, uses, linked=True))
    if not hold or not said.held:
        return tuple(made)
    judged, waits = apart(made, hold)
    last = waits[-1] if waits else MadeLot("", hold, linked=True)
    return (*judged, *waits[:-1], last._replace(uses=_held_uses(said.held, hold)[:USES_MAX]))


def _held_uses(held: Sequence[HeldMaterial], pieces: int) -> tuple[LotUse, ...]:
    """As so many pieces took it."""
    uses: list[LotUse] = []
    for one in held:
        quantities = [Fraction(quantity) for _, quantity in one.lots]
        parts = largest_remainders(pieces, quantities) if quantities else ()
        for (lot, _), part, quantity in zip(one.lots, parts, quantities, strict=True):
            uses.append(LotUse("", one.item, lot, part, Exact.of(quantity), 0, 0, Certainty.INTERVAL))
    return tuple(uses)


def _less(carry: RoundingCarry, minutes: Decimal | str) -> RoundingCarry:
    # Below 0 where it was told before the order was opened again: it is due on top of what comes.
    return carry._replace(told=carry.told - steps_of(Decimal(minutes), MINUTE_PLACES))


def _made(pieces: Pieces, sign: int = 1) -> Made:
    return Made(sign * pieces.good, sign * pieces.scrap, sign * pieces.rework, sign * pieces.test)


def _quantity(told: ConfirmedLines, rule: BackflushRule) -> int:
    """In whole steps of its unit."""
    return half_up(Fraction(told.line.quantity) / step_of(rule.places(told.line.uom)))


def _booked(material: Backflush, job: JobOrder, made: Made, rule: BackflushRule) -> Backflush:
    """With the use of so many pieces more or fewer, where it is remembered; tells nothing."""
    if job.image is None:
        return material
    changes = by_pieces(components_of(job.image, job.operation), made, rule)
    accounts = tuple(
        one._replace(used=one.used.plus(changes[one.key][1])) if one.key in changes else one
        for one in material.accounts
    )
    return material._replace(accounts=accounts)


def _told(material: Backflush, told: ConfirmedLines, steps: int) -> Backflush:
    """With so many steps of this line more told, where it is remembered."""
    line = told.line
    keys = {(line.item, line.uom, line.kind, line.posting)}
    if line.kind is LineKind.RETURN:  # what pieces did not use after all
        steps = -steps
        keys = {(line.item, line.uom, LineKind.PIECES, posting) for posting in (Posting.CONFIRMATION, Posting.SEPARATE)}
    accounts = tuple(
        one._replace(used=one.used._replace(told=one.used.told + steps)) if one.key in keys else one
        for one in material.accounts
    )
    return material._replace(accounts=accounts)
