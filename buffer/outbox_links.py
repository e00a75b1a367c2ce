"""Which confirmation took the place of which: read from what their documents say of each other. Pure; stores nothing.

A correction takes a confirmation back (``reverses`` in the document of the reversal) and, in the same step, may confirm
other numbers instead, one for each reversal, in the same order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buffer.entry import OutboxEntry

_REVERSAL = "reversal"


class Links(NamedTuple):
    """Keys, "" where there is none: what a confirmation replaces, and what replaced it."""

    supersedes: str = ""
    superseded_by: str = ""


def links(entry: OutboxEntry, of_operation: Iterable[OutboxEntry]) -> Links:
    """The links of one among the confirmations of its operation for its target."""
    same = sorted((one for one in of_operation if one.target == entry.target), key=lambda one: one.seq)
    supersedes = superseded_by = ""
    for at_ns in sorted({one.created_ns for one in same if one.kind == _REVERSAL}):
        step = [one for one in same if one.created_ns == at_ns]
        taken = [str(json.loads(one.payload).get("reverses") or "") for one in step if one.kind == _REVERSAL]
        instead = [one.key for one in step if one.kind != _REVERSAL]
        if len(taken) != len(instead):
            continue
        for old, new in zip(taken, instead, strict=True):
            if old == entry.key:
                superseded_by = new
            if new == entry.key:
                supersedes = old
    return Links(supersedes, superseded_by)
