"""Reading and pruning of what was recorded. Rows are written by ``Store.commit`` only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from buffer.step import JournalRow

if TYPE_CHECKING:
    import aiosqlite

    from buffer.store import Store

READ_MAX_ROWS: Final = 10_000
#: Pruning holds up other writes for at most this many rows.
PRUNE_CHUNK_ROWS: Final = 1000

_READ: Final = "SELECT seq, at_ns, kind, body FROM journal WHERE work_unit = ? AND seq >= ? ORDER BY seq LIMIT ?"
#: Rows of a work unit are in the order of time, so the old ones are at its start.
_PRUNE: Final = """
    DELETE FROM journal WHERE work_unit = ?1 AND seq IN (
        SELECT seq FROM (SELECT seq, at_ns FROM journal WHERE work_unit = ?1 ORDER BY seq LIMIT ?3) WHERE at_ns < ?2
    ) RETURNING 1
"""


async def read(store: Store, work_unit: str, from_seq: int, limit: int) -> list[JournalRow]:
    """Rows from this number on. Raises ValueError for a limit out of range, StoreError."""
    if not 1 <= limit <= READ_MAX_ROWS:
        raise ValueError(f"limit: found {limit}, allowed 1 to {READ_MAX_ROWS}")
    return [JournalRow(*row) for row in await store.read(_READ, (work_unit, from_seq, limit))]


async def prune(store: Store, before_ns: int) -> int:
    """Delete rows that are older, in small transactions; returns how many."""
    units = [str(row[0]) for row in await store.read("SELECT work_unit FROM journal_head", ())]
    total = 0
    for unit in units:
        while deleted := await store.write(partial(_delete_chunk, (unit, before_ns, PRUNE_CHUNK_ROWS))):
            total += deleted
    return total


async def _delete_chunk(values: tuple[str, int, int], connection: aiosqlite.Connection) -> int:
    return len(list(await connection.execute_fetchall(_PRUNE, values)))
