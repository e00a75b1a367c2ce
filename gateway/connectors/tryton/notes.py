"""The notes on a work: which confirmations it has, with what each of them said. Pure.

The notes are the ledger of an operation. A confirmation is one note by its id, however often it was written, so that
their sum is right after any repeat.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import BookedOperation, ConnectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = "gw:"
_KEY_PARTS_MIN: Final = 5


class Note(NamedTuple):
    """One confirmation as its work's note has it; ``cycle`` None: a correction."""

    confirmation: str
    id: int
    key: str
    cycle: int | None
    good: Decimal
    scrap: Decimal
    rework: Decimal


def with_cycle(text: str, cycle: int) -> str:
    """The text of a note, its cycle put in."""
    head, _, told = text.partition(" ")
    return f"{head} " + json.dumps({"cycle": cycle, **json.loads(told)}, ensure_ascii=False, separators=(",", ":"))


def read_notes(rows: Iterable[Mapping[str, Any]]) -> dict[str, Note]:
    """The confirmations in these notes by id; notes of people are passed over. Raises ConnectorError for a broken one.

    A note of ours that somebody changed makes the sum of the operation wrong: nothing is booked until it is put right.
    """
    found: dict[str, Note] = {}
    for row in sorted(rows, key=lambda row: int(row["id"])):
        text = str(row.get("message") or "")
        head, _, told = text.partition(" ")
        if head.startswith(PREFIX):
            found.setdefault(head.removeprefix(PREFIX), _note(head, told, int(row["id"])))
    return found


def summed(operation: str, notes: Iterable[Note]) -> BookedOperation:
    """What these confirmations come to, and the highest number of each epoch."""
    good = scrap = rework = Decimal(0)
    highest: dict[str, int] = {}
    for note in notes:
        good, scrap, rework = good + note.good, scrap + note.scrap, rework + note.rework
        parts = note.key.split("/")
        if len(parts) >= _KEY_PARTS_MIN and parts[-1].isdecimal():
            highest[parts[1]] = max(highest.get(parts[1], 0), int(parts[-1]))
    return BookedOperation(operation, good, scrap, rework, tuple(sorted(highest.items())))


def _note(head: str, told: str, number: int) -> Note:
    try:
        image = json.loads(told)
        quantities = [Decimal(image[name]) for name in ("good", "scrap", "rework")]
        cycle = image.get("cycle")
        return Note(
            head.removeprefix(PREFIX), number, str(image["key"]), None if cycle is None else int(cycle), *quantities
        )
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation, RecursionError) as error:
        raise ConnectorError(
            f"note {number} in Tryton ({head}): cannot be read any more ({error!r}); it is part of the count: write "
            "back what stood there"
        ) from error
