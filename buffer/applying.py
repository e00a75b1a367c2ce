"""Writes what one step leaves behind, inside a transaction that is open, in the order that the schema asks for.

It opens no transaction and ends none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buffer import answers, audit_chain, genealogy, jobs, journal, notices, packing, postings, replays

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import aiosqlite

    from buffer.step import Step

_JOURNAL: Final = "INSERT INTO journal (work_unit, seq, at_ns, kind, body, checksum) VALUES (?, ?, ?, ?, ?, ?)"
_IMAGE: Final = "INSERT OR IGNORE INTO order_image (digest, document) VALUES (?, ?)"
_SNAPSHOT: Final = """
    INSERT INTO work_unit (id, snapshot) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET snapshot = excluded.snapshot
"""
_TIME: Final = "UPDATE meta SET last_time_ns = max(last_time_ns, ?)"


async def apply(
    step: Step,
    records: Iterable[tuple[object, ...]],
    images: Sequence[tuple[str, bytes]],
    connection: aiosqlite.Connection,
) -> None:
    """The step with the rows of its job records and the images that are new: each with its digest."""
    unit = step.work_unit
    if step.rows:
        await connection.executemany(_JOURNAL, [journal.kept_row(unit, row) for row in step.rows])
    if step.voids:
        await postings.void(connection, step.voids, step.last_time_ns)
    new = list(step.postings)
    for answer in step.answers:
        assert step.identity is not None, "who answers says who he is"
        whole = await answers.put(connection, step.identity, answer, step.last_time_ns)
        new += [] if whole is None else [whole]
    if step.notices:
        assert step.identity is not None, "who tells says who he is"
        new += await notices.postings_of(connection, step.identity, step.notices, step.last_time_ns)
    if new:
        await postings.add(connection, new)
    if images:
        await connection.executemany(_IMAGE, images)
    if records:
        await connection.executemany(jobs.PUT, records)
    await genealogy.keep(step, connection)
    if step.audit:
        await audit_chain.append_all(step.audit, connection)
    for taken in step.keys:
        await replays.take(taken, connection)
    await connection.execute_fetchall(_SNAPSHOT, (unit, packing.pack(step.snapshot)))
    await connection.execute_fetchall(_TIME, (step.last_time_ns,))
