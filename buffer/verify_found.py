"""What a check of the database has found so far. Keeps only the first defects: a broken file has millions."""

from __future__ import annotations

from typing import Final

#: Defects of one check that are told; of more only the number.
TOLD_MAX: Final = 20


class Found:
    """Rows that were looked at, defects, and the first ``TOLD_MAX`` of them as text.

    ``notes``: what could not be held against anything, which is no defect.
    """

    def __init__(self) -> None:
        self.looked_at = 0
        self.defects = 0
        self.told: list[str] = []
        self.notes: list[str] = []

    def defect(self, text: str) -> None:
        """One more."""
        self.defects += 1
        if len(self.told) < TOLD_MAX:
            self.told.append(text)

    def note(self, text: str) -> None:
        """What a reader should know of the check; a few in each."""
        self.notes.append(text)
