"""Which postings may be worked on now: the heads of the lanes, by kind. Reads, and brings forward when one is due.

A lane is an operation of an order as the ERP knows it, or that whole order. A head that waits, is accepted, sending or
parked holds back its own lane only; what is accepted and ``passed`` is a head beside the others. What is told
beside them (an answer to the order, a notice) holds up no confirmation, nor the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buffer.entry import COLUMNS, OVER_SQL, OutboxEntry, entry_of

if TYPE_CHECKING:
    import aiosqlite

    from buffer.store import Store

_ANY: Final = "state IN ('held', 'ready', 'retry_wait', 'uncertain', 'accepted')"
#: Both lists stand in the partial indexes; a query that says the same uses them.
_UNTRIED: Final = f"{_ANY} AND +state IN ('held', 'ready')"
_TRIED: Final = "state IN ('retry_wait', 'uncertain', 'accepted')"
_FIRST_OF_ORDER: Final = """
    AND (entry.passed = 1 OR NOT EXISTS (
        SELECT 1 FROM outbox
        WHERE target = entry.target AND lane_order = entry.lane_order AND id < entry.id
            AND (kind = 'ack') = (entry.kind = 'ack') AND (kind = 'notice') = (entry.kind = 'notice')
            AND state NOT IN ('posted', 'delivered', 'superseded', 'voided') AND passed = 0
    ))
"""
_OLDEST: Final = "due_ns, id"
_NEWEST: Final = "due_ns DESC, id DESC"
_BEHIND: Final = f"""
    SELECT {COLUMNS} FROM outbox
    WHERE target = ? AND lane_order = ? AND operation = ? AND id > ? AND state NOT IN {OVER_SQL}
    ORDER BY id LIMIT ?
"""  # noqa: S608 - COLUMNS is a constant
_ACCEPTED_NOW: Final = f"""
    UPDATE outbox SET due_ns = ?1 WHERE target = ?2 AND head = 1 AND {_TRIED} AND due_ns > ?1 AND +state = 'accepted'
"""  # noqa: S608 - constants
_NEXT_DUE: Final = f"SELECT min(due_ns) FROM outbox WHERE target = ? AND head = 1 AND {_ANY} AND due_ns > ?"  # noqa: S608 - constants


def query(states: str, order: str, *, lane_by_order: bool) -> str:
    """The heads in these states; values: target, time, limit."""
    which = _FIRST_OF_ORDER if lane_by_order else ""
    return f"""
        SELECT {COLUMNS} FROM outbox AS entry
        WHERE target = ? AND head = 1 AND {states} AND due_ns <= ? {which}
        ORDER BY {order} LIMIT ?
    """  # noqa: S608 - constants of this module


async def all_due(
    store: Store, target: str, now_ns: int, limit: int, *, lane_by_order: bool = False
) -> list[OutboxEntry]:
    """Every head that is due, longest due first."""
    return await _read(store, query(_ANY, _OLDEST, lane_by_order=lane_by_order), (target, now_ns, limit))


async def by_kind(
    store: Store, target: str, now_ns: int, limit: int, *, lane_by_order: bool
) -> tuple[list[OutboxEntry], list[OutboxEntry], list[OutboxEntry]]:
    """Not tried, newest first; not tried, oldest first; tried and waiting again, longest due first."""
    values = (target, now_ns, limit)
    oldest = await _read(store, query(_UNTRIED, _OLDEST, lane_by_order=lane_by_order), values)
    if len(oldest) < limit:
        newest = oldest[::-1]
    else:
        newest = await _read(store, query(_UNTRIED, _NEWEST, lane_by_order=lane_by_order), values)
    return newest, oldest, await _read(store, query(_TRIED, _OLDEST, lane_by_order=lane_by_order), values)


async def behind(store: Store, entry: OutboxEntry, limit: int) -> list[OutboxEntry]:
    """Open postings of its lane that come after it, in their order."""
    return await _read(store, _BEHIND, (entry.target, *entry.lane, entry.id, limit))


async def next_due_ns(store: Store, target: str, after_ns: int) -> int | None:
    """The earliest time after ``after_ns`` at which a head becomes due, None if there is none."""
    rows = await store.read(_NEXT_DUE, (target, after_ns))
    due_ns: int | None = rows[0][0]
    return due_ns


async def accepted_now(store: Store, target: str, now_ns: int) -> None:
    """All that is accepted may be asked about now. Raises StoreError."""

    async def work(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(_ACCEPTED_NOW, (now_ns, target))

    await store.write(work)


async def _read(store: Store, sql: str, values: tuple[Any, ...]) -> list[OutboxEntry]:
    return [entry_of(row) for row in await store.read(sql, values)]
