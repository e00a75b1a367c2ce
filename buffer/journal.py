"""Reading of what was recorded. Rows are written by ``Store.commit`` and deleted by ``retention.py`` only."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.step import JournalRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from buffer.store import Store

READ_MAX_ROWS: Final = 10_000
#: A checksum at or above this is kept as the negative number of the same 32 bits: SQLite needs 4 bytes for it, not 6.
_SIGN: Final = 1 << 31


class PiecesSpan(NamedTuple):
    """From ``from_ns`` (included) to ``to_ns`` (not included), of one work unit."""

    work_unit: str
    from_ns: int
    to_ns: int


_READ: Final = "SELECT seq, at_ns, kind, body FROM journal WHERE work_unit = ? AND seq >= ? ORDER BY seq LIMIT ?"
#: Kinds that are read by time, each with its query: only a literal lets SQLite use the partial index.
_OF_KIND: Final = {
    kind: f"""
        SELECT seq, at_ns, kind, body FROM journal
        WHERE work_unit = ? AND kind = '{kind}' AND at_ns >= ? ORDER BY at_ns, seq LIMIT ?
    """  # noqa: S608 - constants
    for kind in ("interval", "stop_reason", "reclassified")
}
#: Each by itself: SQLite then finds them without reading what is between.
_BOUNDS: Final = """
    SELECT (SELECT min(seq) FROM journal WHERE work_unit = ?1), (SELECT max(seq) FROM journal WHERE work_unit = ?1)
"""
#: Rows are pruned by their kind, so numbers may be missing.
_AT: Final = "SELECT seq, at_ns FROM journal WHERE work_unit = ? AND seq >= ? ORDER BY seq LIMIT 1"
_PIECES: Final = "SELECT body FROM journal WHERE work_unit = ? AND seq >= ? AND seq < ? AND kind = 'pieces'"


def checksum_of(work_unit: bytes, seq: int, at_ns: int, kind: bytes, body: bytes) -> int:
    """CRC-32 of a whole row, as it is kept with it: it finds what a disk spoiled, not who changes both."""
    found = zlib.crc32(body, zlib.crc32(b"%b\0%d\0%d\0%b\0" % (work_unit, seq, at_ns, kind)))
    return found - 2 * _SIGN if found >= _SIGN else found


def kept_row(work_unit: str, row: JournalRow) -> tuple[Any, ...]:
    """The row as it is kept, with its checksum."""
    checksum = checksum_of(work_unit.encode(), row.seq, row.at_ns, row.kind.encode(), row.body)
    return (work_unit, *row, checksum)


def of_kind_query(work_unit: str, kind: str, from_ns: int, limit: int) -> tuple[str, tuple[Any, ...]]:
    """Rows of one kind that were written at this time or later, oldest first. Raises KeyError for another kind."""
    return _OF_KIND[kind], (work_unit, from_ns, limit)


def pieces_between(read: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]], span: PiecesSpan) -> list[bytes]:
    """The bodies of all pieces that were booked in a stretch of time. ``read`` runs a query."""
    ((first, last),) = read(_BOUNDS, (span.work_unit,))
    if first is None:
        return []
    # Rows of a work unit are in the order of time: their numbers are found by halving.
    ends = [first_from(read, span.work_unit, (first, last), at_ns) for at_ns in (span.from_ns, span.to_ns)]
    return [body for (body,) in read(_PIECES, (span.work_unit, *ends))]


def first_from(
    read: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]], unit: str, bounds: tuple[int, int], at_ns: int
) -> int:
    """The number of the first row that was written then or later, within these bounds; else the one behind them."""
    low, high = bounds[0], bounds[1] + 1
    while low < high:
        middle = (low + high) // 2
        found = read(_AT, (unit, middle))
        if found and found[0][1] < at_ns:
            low = found[0][0] + 1
        else:
            high = middle
    return low


async def read(store: Store, work_unit: str, from_seq: int, limit: int) -> list[JournalRow]:
    """Rows from this number on. Raises ValueError for a limit out of range, StoreError."""
    if not 1 <= limit <= READ_MAX_ROWS:
        raise ValueError(f"limit: found {limit}, allowed 1 to {READ_MAX_ROWS}")
    return [JournalRow(*row) for row in await store.read(_READ, (work_unit, from_seq, limit))]
