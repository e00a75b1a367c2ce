"""Numbers with the word that belongs to them, in what a person reads. Decides nothing, and knows no other language."""

from __future__ import annotations


def pieces_of(number: int) -> str:
    """``1 piece``, ``0 pieces``, ``7 pieces``; a number below 0 is written as it is."""
    return f"{number} piece" if number == 1 else f"{number} pieces"
