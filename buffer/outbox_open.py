"""What is not over of any target, and how far the journals were at that moment.

A step's postings and its journal rows are one transaction. Whoever also shows a work unit's state can tell by its
journal number whether that state is from before the postings: in between their pieces would stand in both. Reads only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.entry import ANY_TARGET, COLUMNS, OVER_SQL, OutboxEntry, entry_of

if TYPE_CHECKING:
    import sqlite3

    from buffer.store import Store

# One statement, so one moment: state by state, a posting that goes on between two questions would be in neither.
_OPEN: Final = f"""
    SELECT {COLUMNS} FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE {ANY_TARGET} AND state NOT IN {OVER_SQL} ORDER BY id DESC LIMIT ?
    ) ORDER BY id DESC
"""  # noqa: S608 - constants
_HEADS: Final = "SELECT work_unit, last_seq FROM journal_head"


class NotOver(NamedTuple):
    """Postings, newest first, and the last journal number of each work unit, of one moment."""

    postings: list[OutboxEntry]
    journal: dict[str, int]


async def not_over(store: Store, limit: int) -> NotOver:
    """At most ``limit`` of them. Raises StoreError."""
    rows, journal = await store.at_once(partial(_not_over, limit))
    return NotOver([entry_of(row) for row in rows], journal)


def _not_over(limit: int, connection: sqlite3.Connection) -> tuple[list[Any], dict[str, int]]:
    return connection.execute(_OPEN, (limit,)).fetchall(), dict(connection.execute(_HEADS))
