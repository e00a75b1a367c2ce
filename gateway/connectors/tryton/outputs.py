"""Which output moves of a production have to change so that they say what its last operation made. Pure.

Always the whole: the sum of all confirmations, never what one of them adds. Repeated, it changes nothing.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.connectors.base import MappingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.connectors.tryton.records import Move


class Change(NamedTuple):
    """Moves to write (id, its stamp, quantity), and moves to make (location, quantity)."""

    write: tuple[tuple[Move, Decimal], ...]
    create: tuple[tuple[int, Decimal], ...]

    def __bool__(self) -> bool:
        return bool(self.write or self.create)


def wanted(
    moves: Sequence[Move], product: int, good: tuple[int | None, Decimal], scrap: tuple[int | None, Decimal]
) -> Change:
    """What is to be done so that ``good`` and ``scrap`` (location, pieces) are there. Raises MappingError.

    Moves of the product to any other location than the scrap location count as good. By-products are left alone.
    """
    ours = [move for move in moves if move.product == product]
    thrown = [move for move in ours if move.location == scrap[0]]
    kept = [move for move in ours if move.location != scrap[0]]
    write: list[tuple[Move, Decimal]] = []
    create: list[tuple[int, Decimal]] = []
    for found, (location, pieces), name in ((kept, good, "good"), (thrown, scrap, "scrap")):
        if pieces < 0:
            raise MappingError(f"{name}: the confirmations come to {pieces}, allowed: 0 and more; look at the notes")
        if found:
            others = sum((move.quantity for move in found[1:]), Decimal(0))
            if pieces < others:
                raise MappingError(
                    f"{name}: the count is {pieces}, and further output moves in Tryton say {others}; correct these"
                )
            if found[0].quantity != pieces - others:
                write.append((found[0], pieces - others))
        elif pieces:
            if location is None:
                raise MappingError(f"{name}: no location is known for {pieces} pieces; set up the warehouse in Tryton")
            create.append((location, pieces))
    return Change(tuple(write), tuple(create))


def booked(moves: Sequence[Move], product: int, scrap: int | None) -> tuple[Decimal, Decimal]:
    """Good and scrap that the moves of the product say."""
    ours: list[Any] = [move for move in moves if move.product == product]
    good = sum((move.quantity for move in ours if move.location != scrap), Decimal(0))
    return good, sum((move.quantity for move in ours if move.location == scrap), Decimal(0))
