"""Pieces by what they are, as confirmations add and subtract them.

Arithmetic only. Whole numbers; below 0 only where something is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.model import Role


class Pieces(NamedTuple):
    """Pieces of one confirmation, or the sum of several."""

    good: int = 0
    scrap: int = 0
    rework: int = 0
    hold: int = 0
    test: int = 0

    @classmethod
    def of(cls, role: Role, pieces: int) -> Pieces:
        """Pieces of one role."""
        return cls(**{role.value: pieces})

    def role(self, role: Role) -> int:
        """How many of that role."""
        number: int = getattr(self, role.value)
        return number

    def plus(self, other: Pieces) -> Pieces:
        """The sum, role by role."""
        return Pieces(*(one + two for one, two in zip(self, other, strict=True)))

    def minus(self, other: Pieces) -> Pieces:
        """The difference, role by role; may be below 0."""
        return Pieces(*(one - two for one, two in zip(self, other, strict=True)))

    def moved(self, pieces: int, role_from: Role, role_to: Role) -> Pieces:
        """The same pieces, so many of them judged otherwise."""
        return self.minus(Pieces.of(role_from, pieces)).plus(Pieces.of(role_to, pieces))

    @property
    def total(self) -> int:
        """All of them, samples too."""
        return sum(self)


NOTHING = Pieces()


def total_of(parts: Iterable[Pieces]) -> Pieces:
    """The sum of many."""
    total = NOTHING
    for one in parts:
        total = total.plus(one)
    return total
