"""The postings of one step, inside its transaction: new ones, and those that must not be sent any more.

The latter is compare and set: what the core found unsent may be under way by now. Then nothing of the step is kept, and
whoever made it looks again. Opens no transaction and ends none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buffer.entry import ANY_TARGET, VOIDED_FROM
from buffer.errors import PostingMovedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.step import NewPosting

_INSERT: Final = """
    INSERT INTO outbox (
        target, key, message_id, order_id, operation, seq, kind, payload, created_ns, state, due_ns, event_ns,
        derived_ns, error_kind, error_text, settled_ns, lane_order
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_STATES: Final = f"SELECT id, state, attempts, step FROM outbox WHERE {ANY_TARGET} AND key = ?"  # noqa: S608 - constants
_VOID: Final = f"UPDATE outbox SET state = 'voided', settled_ns = ? WHERE {ANY_TARGET} AND key = ?"  # noqa: S608 - constants
_RESTORED: Final = "SELECT EXISTS (SELECT 1 FROM restored_operation)"
_FIRST: Final = "SELECT note FROM restored_operation WHERE order_id = ? AND operation = ?"
_KNOWN_AGAIN: Final = "DELETE FROM restored_operation WHERE order_id = ? AND operation = ?"
_DOUBT: Final = "the database was restored from a copy: what is in it may be booked already; look before you approve"
_SETTLED: Final = frozenset({"voided", "parked"})


async def add(connection: aiosqlite.Connection, postings: Sequence[NewPosting]) -> None:
    """Put them into the outbox, each in the state in which it begins; after a restore some wait for a person."""
    if next(iter(await connection.execute_fetchall(_RESTORED)))[0]:
        postings = [await _after_restore(connection, one) for one in postings]
        await connection.executemany(_KNOWN_AGAIN, [(one.order, one.operation) for one in postings])
    await connection.executemany(_INSERT, [_row(posting) for posting in postings])


async def void(connection: aiosqlite.Connection, keys: Sequence[str], at_ns: int) -> None:
    """Make the postings of these keys void, for every target. Raises PostingMovedError where one may be sent."""
    for key in keys:
        found = list(await connection.execute_fetchall(_STATES, (key,)))
        # Waiting again after it was sent once (a person had it sent again), it may be there as well.
        moved = [
            state
            for _, state, attempts, step in found
            if state not in VOIDED_FROM or step or (attempts and state not in ("parked", "voided"))
        ]
        if moved or not found:
            raise PostingMovedError(f"outbox, {key}: is {', '.join(moved) or 'gone'}, and was not sent a moment ago")
        await connection.execute_fetchall(_VOID, (at_ns, key))


async def _after_restore(connection: aiosqlite.Connection, one: NewPosting) -> NewPosting:
    if one.state not in ("held", "ready"):
        return one
    found = list(await connection.execute_fetchall(_FIRST, (one.order, one.operation)))
    return one._replace(state="needs_approval", note=found[0][0] or _DOUBT) if found else one


def _row(one: NewPosting) -> tuple[object, ...]:
    why = "" if not one.note else "by_hand" if one.state == "parked" else "kept_back"
    settled_ns = one.created_ns if one.state in _SETTLED else None
    due_ns = one.created_ns if one.due_ns is None else one.due_ns
    first = (*one[:9], one.state, due_ns, one.event_ns, one.derived_ns)
    return (*first, why, one.note, settled_ns, one.lane_order or one.order)
