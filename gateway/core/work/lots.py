"""Which lot the material of a piece came from: lots mounted at a feeder, taken whole piece by whole piece.

A lot that is mounted in the middle of a count's interval takes its share of the pieces; one that is used up is followed
by the next that is mounted. How much material a piece takes is ``backflush.py``'s; what it became ``genealogy.py``'s.
"""

from __future__ import annotations

import enum
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact, decimal_steps, half_up, largest_remainders, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from gateway.core.rules_material import LotRule

LOTS_PER_FEEDER_MAX: Final = 32  # mounted, used up and taken off, as long as late counts may need them
USES_MAX: Final = 256  # lots that one confirmation names
LOT_CHARS_MAX: Final = 40

#: The lot of material that was used while none was mounted.
UNKNOWN_LOT: Final = "UNKNOWN"
#: The flag of a confirmation of which some material is of a lot that nobody knows.
LOT_UNKNOWN: Final = "LOT_UNKNOWN"


class Certainty(enum.StrEnum):
    """How surely a piece and its material belong together; the surest first."""

    EXACT = "exact"
    #: It is one of the lots that were mounted in the interval of the count.
    INTERVAL = "interval"
    #: Nobody knows it; a person may have said so afterwards.
    ASSUMED = "assumed"


class MountedLot(NamedTuple):
    """A lot at a feeder from ``mounted_ns`` (included) to ``unmounted_ns`` (not included); None: still there.

    ``remaining`` in the item's unit, 0 or more; None: nobody knows, it never runs out. ``noticed``: it was told that it
    is used up.
    """

    lot: str
    mounted_ns: int
    remaining: Exact | None = None
    unmounted_ns: int | None = None
    noticed: bool = False

    def is_there(self, at_ns: int) -> bool:
        """Whether it was mounted at an instant."""
        return self.mounted_ns <= at_ns and (self.unmounted_ns is None or at_ns < self.unmounted_ns)


class Feeder(NamedTuple):
    """One place where one item is mounted; the lots in the order in which they are used."""

    name: str
    item: str
    lots: tuple[MountedLot, ...] = ()

    def mounted_at(self, at_ns: int) -> tuple[MountedLot, ...]:
        """The lots that were there at an instant."""
        return tuple(one for one in self.lots if one.is_there(at_ns))


class LotUse(NamedTuple):
    """What was taken of one lot. ``pieces`` took it; 0 for material without pieces (a purge, a fixed quantity)."""

    feeder: str
    item: str
    lot: str
    pieces: int
    quantity: Exact
    from_ns: int
    to_ns: int
    certainty: Certainty


class LotNotice(NamedTuple):
    """What a person should see.

    ``LOT_EXHAUSTED``: ``lot`` is used up but for ``amount``, which is too little for a piece; ``next_lot`` follows, ""
    for none. ``LOT_MISSING``: so much was used while none was mounted.
    """

    code: str
    feeder: str
    item: str
    lot: str
    amount: Exact
    next_lot: str = ""


class Draw(NamedTuple):
    """Material that was used in ``[from_ns, to_ns]``: ``each`` for every one of ``pieces``, or once where they are 0.

    ``each`` in the item's unit, more than 0.
    """

    pieces: int
    each: Exact
    from_ns: int
    to_ns: int


def mount(
    feeder: Feeder, lot: str, item: str, at_ns: int, *, quantity: Exact | None = None, replace: bool = False
) -> Feeder | WorkRefused:
    """With one more lot, behind those that are there, or in their place.

    Codes: LOT_NAME, WRONG_ITEM, LOT_QUANTITY, ALREADY_MOUNTED, LOT_IN_THE_PAST (an earlier change is known already),
    FEEDER_FULL.
    """
    where = f"{feeder.name}, lot {lot[:LOT_CHARS_MAX]!r}"
    if not lot.strip() or lot == UNKNOWN_LOT or len(lot) > LOT_CHARS_MAX or not lot.isprintable():
        allowed = f"1 to {LOT_CHARS_MAX} printable characters, not {UNKNOWN_LOT}"
        return WorkRefused("LOT_NAME", where, f"{len(lot)} characters", allowed, "scan the label again")
    if item != feeder.item:
        return WorkRefused("WRONG_ITEM", where, f"item {item}", f"item {feeder.item}", "mount the right material")
    if quantity is not None and quantity.fraction <= 0:
        found = f"{quantity.fraction} left of it"
        return WorkRefused("LOT_QUANTITY", where, found, "more than 0, or none if unknown", "enter what is left")
    if any(one.lot == lot and one.unmounted_ns is None for one in feeder.lots):
        return WorkRefused("ALREADY_MOUNTED", where, "mounted", "a lot that is not", "take it off first")
    last_ns = _last_change_ns(feeder)
    if at_ns < last_ns:
        return WorkRefused("LOT_IN_THE_PAST", where, f"{at_ns} ns", f"{last_ns} ns and later", "give a later time")
    lots = feeder.lots
    if len(lots) >= LOTS_PER_FEEDER_MAX:
        gone = next((one for one in lots if one.unmounted_ns is not None), None)
        if gone is None:
            found, allowed = f"{len(lots)} lots", f"{LOTS_PER_FEEDER_MAX} at once"
            return WorkRefused("FEEDER_FULL", where, found, allowed, "take off those that are used up")
        lots = tuple(one for one in lots if one is not gone)
    if replace:
        lots = tuple(one if one.unmounted_ns is not None else one._replace(unmounted_ns=at_ns) for one in lots)
    return feeder._replace(lots=(*lots, MountedLot(lot, at_ns, quantity)))


def unmount(feeder: Feeder, lot: str, at_ns: int) -> Feeder | WorkRefused:
    """With that lot taken off; what remains of it can be read from it. Codes: NOT_MOUNTED, LOT_IN_THE_PAST."""
    where = f"{feeder.name}, lot {lot[:LOT_CHARS_MAX]!r}"
    if not any(one.lot == lot and one.unmounted_ns is None for one in feeder.lots):
        names = ", ".join(one.lot for one in feeder.lots if one.unmounted_ns is None) or "none"
        return WorkRefused("NOT_MOUNTED", where, "not mounted", names, "scan the lot that is taken off")
    last_ns = _last_change_ns(feeder)
    if at_ns < last_ns:
        return WorkRefused("LOT_IN_THE_PAST", where, f"{at_ns} ns", f"{last_ns} ns and later", "give a later time")
    lots = tuple(
        one._replace(unmounted_ns=at_ns) if one.lot == lot and one.unmounted_ns is None else one for one in feeder.lots
    )
    return feeder._replace(lots=lots)


def swept(feeder: Feeder, before_ns: int) -> Feeder:
    """Without the lots that were taken off before an instant: no later count can reach back there."""
    kept = tuple(one for one in feeder.lots if one.unmounted_ns is None or one.unmounted_ns >= before_ns)
    return feeder._replace(lots=kept)


def missing(feeder: Feeder, at_ns: int, each: Exact, rule: LotRule) -> WorkRefused | None:
    """Why an order that takes ``each`` of this item for a piece may not start now; None: it may.

    With ``missing: flag``, or where the feeder is not ``required``, it may always.
    """
    setting = rule.feeders.get(feeder.name)
    if rule.missing == "flag" or (setting is not None and not setting.required):
        return None
    if any(_pieces_left(one, each.fraction) != 0 for one in feeder.mounted_at(at_ns)):
        return None
    allowed = "one with enough for a piece"
    return WorkRefused("LOT_MISSING", f"{feeder.name}, item {feeder.item}", "no lot", allowed, "scan and mount a lot")


def drawn(feeder: Feeder, draw: Draw) -> tuple[Feeder, tuple[LotUse, ...], tuple[LotNotice, ...]]:
    """The feeder after material was used, from which lots, and what a person should see.

    Each piece comes from one lot. Where lots changed inside of the interval, its pieces are shared by time, a half to
    the earlier part. Raises ValueError for a draw that cannot be.
    """
    if draw.pieces < 0 or draw.each.fraction <= 0 or draw.to_ns < draw.from_ns:
        raise ValueError(f"{feeder.name}: found {draw}, allowed 0 pieces and above, more than 0 each, time forward")
    lots = list(feeder.lots)
    uses: list[LotUse] = []
    parts = _parts(feeder, draw)
    for part, from_ns, to_ns in parts:
        there = [index for index, one in enumerate(feeder.lots) if one.is_there(from_ns)]
        found = _from_lots(lots, there, part, draw.each.fraction)
        surely = len(parts) == 1 and len(found) == 1
        for index, pieces, quantity in found:
            lot = UNKNOWN_LOT if index is None else lots[index].lot
            certainty = Certainty.EXACT if surely else Certainty.INTERVAL
            certainty = Certainty.ASSUMED if index is None else certainty
            uses.append(LotUse(feeder.name, feeder.item, lot, pieces, Exact.of(quantity), from_ns, to_ns, certainty))
    notices = _notices(feeder, lots, uses, draw)
    return feeder._replace(lots=tuple(lots)), tuple(uses), notices


def _parts(feeder: Feeder, draw: Draw) -> list[tuple[int, int, int]]:
    """Pieces and stretch of each part of the interval in which the same lots were mounted."""
    edges = {draw.from_ns, draw.to_ns}
    for one in feeder.lots:
        changes = (one.mounted_ns, one.mounted_ns if one.unmounted_ns is None else one.unmounted_ns)
        edges.update(at_ns for at_ns in changes if draw.from_ns < at_ns < draw.to_ns)
    row = sorted(edges)
    if not draw.pieces or len(row) == 1:
        # What has no pieces, or happened at one instant, was taken from what was mounted then.
        return [(draw.pieces, row[0], row[-1])]
    length_ns = draw.to_ns - draw.from_ns
    before = [half_up(Fraction(draw.pieces * (at_ns - draw.from_ns), length_ns)) for at_ns in row]
    found = [
        (last - first, from_ns, to_ns)
        for (first, last), (from_ns, to_ns) in zip(pairwise(before), pairwise(row), strict=True)
    ]
    return [one for one in found if one[0]]


def _from_lots(
    lots: list[MountedLot], there: Sequence[int], pieces: int, each: Fraction
) -> list[tuple[int | None, int, Fraction]]:
    """Takes the pieces from the lots by turns; index, pieces and quantity of each, None for what no lot had."""
    found: list[tuple[int | None, int, Fraction]] = []
    left, amount = pieces, each
    for index in there:
        has = lots[index].remaining
        if pieces:
            room = _pieces_left(lots[index], each)
            count = left if room is None else min(left, room)
            quantity = count * each
        else:
            count, quantity = 0, amount if has is None else min(amount, has.fraction)
        if quantity:
            found.append((index, count, quantity))
            if has is not None:
                lots[index] = lots[index]._replace(remaining=has.plus(-quantity))
            left, amount = left - count, amount - quantity
        if not (left if pieces else amount):
            return found
    if left or not pieces:
        found.append((None, left, left * each if pieces else amount))
    return found


def _pieces_left(lot: MountedLot, each: Fraction) -> int | None:
    return None if lot.remaining is None else int(lot.remaining.fraction / each)


def _notices(feeder: Feeder, lots: list[MountedLot], uses: Iterable[LotUse], draw: Draw) -> tuple[LotNotice, ...]:
    """Marks what is used up now and was not before; more than what lacks for a piece is not used up."""
    found: list[LotNotice] = []
    each = draw.each.fraction
    touched = {one.lot for one in uses}
    for index, one in enumerate(lots):
        if one.remaining is None or one.noticed or one.lot not in touched:
            continue
        if one.remaining.fraction and (not draw.pieces or one.remaining.fraction >= each):
            continue
        lots[index] = one._replace(noticed=True)
        after = (other.lot for other in lots[index + 1 :] if other.unmounted_ns is None and other.remaining != Exact())
        following = next(after, "")
        found.append(LotNotice("LOT_EXHAUSTED", feeder.name, feeder.item, one.lot, one.remaining, following))
    lacking = sum((one.quantity.fraction for one in uses if one.lot == UNKNOWN_LOT), Fraction(0))
    if lacking:
        found.append(LotNotice("LOT_MISSING", feeder.name, feeder.item, UNKNOWN_LOT, Exact.of(lacking)))
    return tuple(found)


def _last_change_ns(feeder: Feeder) -> int:
    return max(
        (max(one.mounted_ns, one.mounted_ns if one.unmounted_ns is None else one.unmounted_ns) for one in feeder.lots),
        default=0,
    )


def collected(uses: Sequence[LotUse], more: Iterable[LotUse]) -> tuple[LotUse, ...]:
    """Uses with further ones, one for each feeder, lot and certainty. Raises ValueError for more than USES_MAX."""
    found = {(one.feeder, one.item, one.lot, one.certainty): one for one in uses}
    for one in more:
        key = (one.feeder, one.item, one.lot, one.certainty)
        before = found.get(key)
        found[key] = (
            one
            if before is None
            else before._replace(
                pieces=before.pieces + one.pieces,
                quantity=before.quantity.plus(one.quantity.fraction),
                from_ns=min(before.from_ns, one.from_ns),
                to_ns=max(before.to_ns, one.to_ns),
            )
        )
    if len(found) > USES_MAX:
        raise ValueError(f"lots: found {len(found)} in one confirmation, allowed {USES_MAX}; confirm more often")
    return tuple(found.values())


def named(uses: Sequence[LotUse], feeder: str, lot: str) -> tuple[LotUse, ...] | WorkRefused:
    """What was used while no lot was mounted, after a person said which it was: assumed. Code: NOTHING_UNKNOWN."""
    unknown = [one for one in uses if one.feeder == feeder and one.lot == UNKNOWN_LOT]
    if not unknown:
        what = "name the lot of a feeder that ran without one"
        return WorkRefused("NOTHING_UNKNOWN", feeder, "no use of an unknown lot", "one", what)
    rest = [one for one in uses if one not in unknown]
    return collected(rest, [one._replace(lot=lot) for one in unknown])


def incomplete(uses: Iterable[LotUse]) -> tuple[str, ...]:
    """The feeders whose lots are not all known: a point of the final confirmation's checklist."""
    return tuple(dict.fromkeys(one.feeder for one in uses if one.lot == UNKNOWN_LOT))


def by_lot(quantity: Decimal, places: int, uses: Sequence[LotUse]) -> tuple[tuple[str, Decimal], ...]:
    """A told quantity by the lots that it came from, exact in sum, in the proportion of what was taken of each.

    ``uses`` are those of the item in the same confirmation. Without any, all of it is of an unknown lot. Raises
    ValueError for a quantity with more decimals than ``places``.
    """
    amounts: dict[str, Fraction] = {}
    for one in uses:
        amounts[one.lot] = amounts.get(one.lot, Fraction(0)) + one.quantity.fraction
    if not amounts:
        return ((UNKNOWN_LOT, quantity),)
    steps = largest_remainders(steps_of(quantity, places), list(amounts.values()))
    return tuple((lot, decimal_steps(part, places)) for lot, part in zip(amounts, steps, strict=True) if part)


def feeder_from(document: Mapping[str, Any]) -> Feeder:
    """What ``_asdict`` and JSON made of a ``Feeder``."""
    return Feeder(document["name"], document["item"], tuple(_lot_from(one) for one in document["lots"]))


def _lot_from(row: Sequence[Any]) -> MountedLot:
    lot, mounted_ns, remaining, unmounted_ns, noticed = row
    return MountedLot(lot, mounted_ns, None if remaining is None else Exact(*remaining), unmounted_ns, noticed)


def use_from(document: Mapping[str, Any]) -> LotUse:
    """What ``_asdict`` and JSON made of a ``LotUse``."""
    return LotUse(
        **{**document, "quantity": Exact(*document["quantity"]), "certainty": Certainty(document["certainty"])}
    )
