"""Why something that a person or a reader asked for was not done.

Words only; each module decides for itself.
"""

from __future__ import annotations

from typing import NamedTuple


class WorkRefused(NamedTuple):
    """Nothing was changed. ``code`` is a word of the domain, ``where`` the thing it is about."""

    code: str
    where: str
    found: str
    allowed: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.where}: {self.code}: found {self.found}, allowed: {self.allowed}; {self.what_to_do}"
