"""Who counts an operation: the machine or a person, never both.

Decides whether a number that somebody tells is booked. A person who judges pieces otherwise, or allocates them, tells
no number of pieces made: neither comes here.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from gateway.core.wording import pieces_of


class CountingSource(enum.StrEnum):
    """Whose numbers are booked for an operation."""

    MACHINE = "machine"
    OPERATOR = "operator"


class Observed(NamedTuple):
    """A number that is kept as evidence beside the booked ones, and never booked itself."""

    pieces: int


class CountRefused(NamedTuple):
    """A person's number is not taken."""

    code: str
    text: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}; {self.what_to_do}"


class Booked(NamedTuple):
    """The number is booked."""

    pieces: int


def judged(source: CountingSource, told_by: CountingSource, pieces: int) -> Booked | Observed | CountRefused:
    """What becomes of ``pieces`` that the machine or a person tells. Raises ValueError below 0."""
    if pieces < 0:
        raise ValueError(f"pieces: found {pieces}, allowed 0 and above")
    if told_by is source:
        return Booked(pieces)
    if told_by is CountingSource.MACHINE:
        return Observed(pieces)
    return CountRefused(
        "COUNTED_BY_MACHINE",
        f"found {pieces_of(pieces)} by hand, the machine counts this operation",
        "say what is scrap or rework among the counted ones, or have counting_source set to operator",
    )


def may_change(made: int) -> bool:
    """Whether an operation may still be counted by the other side: only before its first piece."""
    return made == 0
