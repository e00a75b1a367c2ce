"""Reading and pruning of what was recorded. Rows are written by ``Store.commit`` only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.step import JournalRow

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiosqlite

    from buffer.store import Store

READ_MAX_ROWS: Final = 10_000
#: Pruning holds up other writes for at most this many rows.
PRUNE_CHUNK_ROWS: Final = 1000


class PiecesSpan(NamedTuple):
    """From ``from_ns`` (included) to ``to_ns`` (not included), of one work unit."""

    work_unit: str
    from_ns: int
    to_ns: int


_READ: Final = "SELECT seq, at_ns, kind, body FROM journal WHERE work_unit = ? AND seq >= ? ORDER BY seq LIMIT ?"
#: Rows of a work unit are in the order of time, so the old ones are at its start.
_PRUNE: Final = """
    DELETE FROM journal WHERE work_unit = ?1 AND seq IN (
        SELECT seq FROM (SELECT seq, at_ns FROM journal WHERE work_unit = ?1 ORDER BY seq LIMIT ?3) WHERE at_ns < ?2
    ) RETURNING 1
"""
#: Kinds that are read by time, each with its query: only a literal lets SQLite use the partial index.
_OF_KIND: Final = {
    kind: f"""
        SELECT seq, at_ns, kind, body FROM journal
        WHERE work_unit = ? AND kind = '{kind}' AND at_ns >= ? ORDER BY at_ns, seq LIMIT ?
    """  # noqa: S608 - constants
    for kind in ("interval", "stop_reason", "reclassified")
}
_BOUNDS: Final = "SELECT min(seq), max(seq) FROM journal WHERE work_unit = ?"
_AT: Final = "SELECT at_ns FROM journal WHERE work_unit = ? AND seq = ?"
_PIECES: Final = "SELECT body FROM journal WHERE work_unit = ? AND seq >= ? AND seq < ? AND kind = 'pieces'"


def of_kind_query(work_unit: str, kind: str, from_ns: int, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Rows of one kind that were written at this time or later, oldest first. Raises KeyError for another kind."""
    return _OF_KIND[kind], (work_unit, from_ns, limit)


def pieces_between(read: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]], span: PiecesSpan) -> list[bytes]:
    """The bodies of all pieces that were booked in a stretch of time. ``read`` runs a query."""
    ((first, last),) = read(_BOUNDS, (span.work_unit,))
    if first is None:
        return []
    # Rows of a work unit are in the order of time and without a gap: their numbers are found by halving.
    ends = [_first_from(read, span.work_unit, (first, last), at_ns) for at_ns in (span.from_ns, span.to_ns)]
    return [body for (body,) in read(_PIECES, (span.work_unit, *ends))]


def _first_from(
    read: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]], unit: str, bounds: tuple[int, int], at_ns: int
) -> int:
    low, high = bounds[0], bounds[1] + 1
    while low < high:
        middle = (low + high) // 2
        found = read(_AT, (unit, middle))
        # A row that was pruned meanwhile was older than all that are left.
        if not found or found[0][0] < at_ns:
            low = middle + 1
        else:
            high = middle
    return low


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
