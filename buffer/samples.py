"""Samples of size and depth, one a minute: what rates and the time until full are told from. Deletes the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.duration import Duration

if TYPE_CHECKING:
    import aiosqlite

EVERY_NS: Final = Duration("1 min")
#: Each of them for a little more than the hour of which the growth is told; after that one an hour, for a day.
FINE_NS: Final = Duration("65 min")
COARSE_NS: Final = Duration("26 h")

_SIZE: Final = """
    INSERT OR IGNORE INTO size_sample (at_ns, used_bytes, max_bytes)
    SELECT ?1, (pages.page_count - free.freelist_count) * page.page_size, ?2
    FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS page
"""
_DEPTH: Final = """
    INSERT OR IGNORE INTO target_sample (at_ns, target, made, settled)
    SELECT ?1, target, sum(postings), coalesce(
        sum(postings) FILTER (WHERE state IN ('posted', 'delivered', 'superseded', 'voided')), 0
    ) FROM outbox_tally GROUP BY target
"""
_OLD: Final = """
    DELETE FROM {table} WHERE at_ns < ?1 OR (at_ns < ?2 AND at_ns NOT IN (
        SELECT min(at_ns) FROM {table} GROUP BY at_ns / 3600000000000
    ))
"""
_TABLES: Final = ("size_sample", "target_sample")


async def take(connection: aiosqlite.Connection, *, at_ns: int, max_bytes: int) -> None:
    """Inside a transaction of the writer: one sample, and the old ones go."""
    await connection.execute_fetchall(_SIZE, (at_ns, max_bytes))
    await connection.execute_fetchall(_DEPTH, (at_ns,))
    for table in _TABLES:
        await connection.execute_fetchall(_OLD.format(table=table), (at_ns - COARSE_NS, at_ns - FINE_NS))
