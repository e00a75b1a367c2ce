"""One posting with all that is known of it, of one moment: answer, steps, what it replaced or is replaced by.

Asked one by one, a posting that goes on in between would be shown as waiting beside the reference of its booking. Reads
only, for the gateway itself and for other processes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import outbox_answers, steps
from buffer.entry import ANY_TARGET, COLUMNS, entry_of
from buffer.outbox_links import Links, links

if TYPE_CHECKING:
    import sqlite3

    from buffer.entry import OutboxEntry
    from buffer.steps import StepRow
    from buffer.store import Store
    from gateway.core.target_answer import Answer

#: Of an operation's confirmations so many are looked at for what replaced what.
OF_OPERATION_MAX: Final = 1000
#: The confirmations of an operation for every target, newest first.
OF_OPERATION: Final = f"""
    SELECT {COLUMNS} FROM outbox WHERE {ANY_TARGET} AND order_id = ? AND operation = ? AND kind NOT IN ('ack', 'notice')
    ORDER BY seq DESC, id DESC LIMIT ?
"""  # noqa: S608 - constants
_ENTRY: Final = f"SELECT {COLUMNS} FROM outbox WHERE id = ?"  # noqa: S608 - constants


class Whole(NamedTuple):
    """A posting and what stands beside it; times are steady. ``answer``: when, at which attempt, and the answer."""

    entry: OutboxEntry
    answer: tuple[int, int, Answer] | None
    steps: tuple[StepRow, ...]
    links: Links


async def whole(store: Store, posting: int) -> Whole | None:
    """The posting with this id, None if there is none (or no longer). Raises StoreError."""
    return await store.at_once(partial(whole_of, posting))


def whole_of(posting: int, connection: sqlite3.Connection) -> Whole | None:
    """The same, for whoever holds a moment of the connection. Raises sqlite3.Error."""
    rows = connection.execute(_ENTRY, (posting,)).fetchall()
    if not rows:
        return None
    entry = entry_of(rows[0])
    beside: list[Any] = connection.execute(OF_OPERATION, (entry.order, entry.operation, OF_OPERATION_MAX)).fetchall()
    return Whole(
        entry,
        outbox_answers.found(connection.execute(outbox_answers.READ, (posting,)).fetchall()),
        steps.found(connection.execute(steps.READ, (posting,))),
        links(entry, map(entry_of, beside)),
    )
