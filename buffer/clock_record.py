"""What a run leaves of its clock for the next one, and what was learned of UTC. Judges no clock.

The record is written at the start and with every correction: in the same boot the steady time goes on from any instant
of the past, so it need not be fresh.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from buffer import audit_chain
from gateway.core.calendar.honest_time import ClockCorrection, ClockRecord, CorrectionReason, TimeQuality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent

#: Corrections that are kept; the schema deletes older ones.
CORRECTIONS_KEPT: Final = 10_000

_RECORD: Final = """
    INSERT INTO clock (one, boot_id, steady_ns, monotonic_ns, offset_ns, quality) VALUES (1, ?, ?, ?, ?, ?)
    ON CONFLICT (one) DO UPDATE SET boot_id = excluded.boot_id, steady_ns = excluded.steady_ns,
        monotonic_ns = excluded.monotonic_ns, offset_ns = excluded.offset_ns, quality = excluded.quality
"""
_CORRECTION: Final = """
    INSERT INTO clock_correction (at_ns, from_ns, offset_ns, previous_offset_ns, quality, reason)
    VALUES (?, ?, ?, ?, ?, ?)
"""
_NEWEST: Final = """
    SELECT at_ns, from_ns, offset_ns, previous_offset_ns, quality, reason FROM (
        SELECT * FROM clock_correction ORDER BY seq DESC LIMIT ?
    ) ORDER BY seq
"""


async def load(store: Store) -> ClockRecord | None:
    """What the run before left, None if nothing. Raises StoreError."""
    rows = await store.read("SELECT boot_id, steady_ns, monotonic_ns, offset_ns, quality FROM clock", ())
    if not rows:
        return None
    boot_id, steady_ns, monotonic_ns, offset_ns, quality = rows[0]
    return ClockRecord(boot_id, steady_ns, monotonic_ns, offset_ns, TimeQuality(quality))


async def save(
    store: Store, record: ClockRecord, corrections: Sequence[ClockCorrection], audit: Sequence[EntryContent] = ()
) -> None:
    """Return when the record, what was newly learned and its audit entries are durable.

    Raises StoreError: nothing of it was kept.
    """
    await store.write(partial(_save, record, tuple(corrections), audit))


async def corrections(store: Store, limit: int = CORRECTIONS_KEPT) -> tuple[ClockCorrection, ...]:
    """What was learned, of all runs, in the order in which it was: the newest so many. Raises StoreError."""
    return corrections_of(await store.read(*corrections_query(limit)))


def corrections_query(limit: int = CORRECTIONS_KEPT) -> tuple[str, tuple[int]]:
    """What to ask for the newest corrections; the rows are for ``corrections_of``."""
    return _NEWEST, (limit,)


def corrections_of(rows: Iterable[tuple[Any, ...]]) -> tuple[ClockCorrection, ...]:
    """Rows of the database as corrections."""
    return tuple(
        ClockCorrection(at_ns, from_ns, offset_ns, previous_ns, TimeQuality(quality), CorrectionReason(reason))
        for at_ns, from_ns, offset_ns, previous_ns, quality, reason in rows
    )


async def _save(
    record: ClockRecord,
    learned: tuple[ClockCorrection, ...],
    audit: Sequence[EntryContent],
    connection: aiosqlite.Connection,
) -> None:
    await audit_chain.append_all(audit, connection)
    await connection.execute_fetchall(_RECORD, (*record[:-1], int(record.quality)))
    for found in learned:
        values = (*found[:-2], int(found.quality), found.reason.value)
        await connection.execute_fetchall(_CORRECTION, values)
