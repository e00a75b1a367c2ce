"""What a target answered to a posting that it did not book, as a person reads it. Plain data, no behaviour."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """As it came: status ("HTTP 422"), headers of use by name, the beginning of the body; secrets are left out."""

    status: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
