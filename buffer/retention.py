"""Deletes what is old enough: rows of the journal by class, booked postings, closed orders with what belongs to them.

How old that is, and what is never deleted, ``gateway/core/retention.py`` says; the schema refuses the rest. The last
number of an order outlives it. Deletes in small transactions, and never from the audit trail.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import audit_chain, audit_taken, genealogy
from buffer.audit_taken import PURGED
from buffer.entry import ANY_TARGET, OVER_SQL
from gateway.core.retention import CLASS_OF_KIND, RecordClass, class_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent

#: One transaction holds up other writes for at most this many rows.
CHUNK_ROWS: Final = 1000
#: So many confirmations are looked into at a time, about a millisecond, and then whoever forwards them may read.
DOCUMENTS_AT_ONCE: Final = 100
PAUSE_S: Final = 0.005
#: Orders that are forgotten in one go; the rest follows with the next one.
ORDERS_AT_ONCE_MAX: Final = 500
#: An operation in one of these states is over. SPLIT and MERGED are where nothing hangs on them any more.
OVER: Final = ("CLOSED", "CANCELLED", "SPLIT", "MERGED")

_UNITS: Final = "SELECT work_unit FROM journal_head ORDER BY work_unit"
_MARK: Final = "SELECT seq FROM journal_pruned WHERE work_unit = ? AND class = ?"
_NEXT: Final = "SELECT seq, at_ns, kind FROM journal WHERE work_unit = ? AND seq > ? ORDER BY seq LIMIT ?"
_DELETE_ROWS: Final = "DELETE FROM journal WHERE work_unit = ? AND seq = ?"
_SET_MARK: Final = """
    INSERT INTO journal_pruned (work_unit, class, seq, before_ns) VALUES (?, ?, ?, ?)
    ON CONFLICT (work_unit, class) DO UPDATE
    SET seq = max(seq, excluded.seq), before_ns = max(before_ns, excluded.before_ns)
"""
_POSTINGS: Final = {
    state: f"""
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE {where} AND settled_ns < ? LIMIT ?
        ) RETURNING 1
    """  # noqa: S608 - constants; only a literal lets SQLite use the partial index
    for state, where in (
        ("posted", f"{ANY_TARGET} AND state = 'posted'"),
        ("delivered", f"{ANY_TARGET} AND state = 'delivered'"),
        ("voided", "state = 'voided'"),
    )
}
#: Along the index of what is open, so many at a time: a million documents would keep everybody else from reading.
_UNCONFIRMED: Final = """
    SELECT target, lane_order, operation, id, kind IN ('ack', 'notice'), json_extract(document, '$.machine'),
        json_extract(document, '$.period.from')
    FROM (
        SELECT target, lane_order, operation, id, kind,
            CASE WHEN json_valid(CAST(payload AS TEXT)) THEN CAST(payload AS TEXT) ELSE '{}' END AS document
        FROM outbox INDEXED BY outbox_lane
        WHERE (target, lane_order, operation, id) > (?, ?, ?, ?)
            AND state NOT IN ('posted', 'delivered', 'superseded', 'voided')
        ORDER BY target, lane_order, operation, id LIMIT ?
    )
"""
_BEFORE_ALL: Final = ("", "", "", 0)
_OVER_STATES: Final = ", ".join(f"'{state}'" for state in OVER)
#: Orders of which every operation is over and old, with nothing that is not booked.
_FORGETTABLE: Final = f"""
    SELECT DISTINCT order_id FROM job AS one
    WHERE state IN ({_OVER_STATES}) AND changed_ns < ?1
        AND NOT EXISTS (
            SELECT 1 FROM job
            WHERE order_id = one.order_id AND (state NOT IN ({_OVER_STATES}) OR changed_ns >= ?1)
        )
        AND NOT EXISTS (
            SELECT 1 FROM outbox
            WHERE {ANY_TARGET} AND order_id = one.order_id AND state NOT IN {OVER_SQL}
        )
"""  # noqa: S608 - constants
#: Another order that a split or a merge ties to this one, and that is still remembered.
_TIED: Final = """
    SELECT 1 FROM job WHERE order_id <> ?1 AND (
        json_extract(CAST(record AS TEXT), '$.job.erp_order') = ?1
        OR json_extract(CAST(record AS TEXT), '$.job.leader') = ?1
        OR order_id IN (
            SELECT json_extract(CAST(record AS TEXT), '$.job.leader') FROM job WHERE order_id = ?1
            UNION SELECT json_extract(CAST(record AS TEXT), '$.job.erp_order') FROM job WHERE order_id = ?1
        )
    ) AND (state NOT IN ('CLOSED', 'CANCELLED', 'SPLIT', 'MERGED') OR changed_ns >= ?2) LIMIT 1
"""
_KEEP_NUMBERS: Final = """
    INSERT INTO job_number (order_id, operation, seq, last_hash, revision, forgotten_ns)
    SELECT order_id, operation, seq,
        json_extract(CAST(record AS TEXT), '$.last_hash'), json_extract(CAST(record AS TEXT), '$.job.revision'), ?2
    FROM job WHERE order_id = ?1
    ON CONFLICT (order_id, operation) DO UPDATE
    SET seq = excluded.seq, last_hash = excluded.last_hash, revision = excluded.revision,
        forgotten_ns = excluded.forgotten_ns
"""
_DELETE_JOBS: Final = "DELETE FROM job WHERE order_id = ? RETURNING 1"
_DELETE_ANSWERS: Final = "DELETE FROM order_answer WHERE order_id = ? AND told IS NOT NULL"
_DELETE_SERIALS: Final = "DELETE FROM serial WHERE order_id = ?"
_DELETE_SAID: Final = (
    "DELETE FROM reconciled WHERE order_id = ?",
    "DELETE FROM reconciliation_settled WHERE order_id = ?",
)
_UNUSED_IMAGES: Final = """
    SELECT digest FROM order_image WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.image_digest = order_image.digest)
    LIMIT ?
"""
_DELETE_IMAGE: Final = """
    DELETE FROM order_image WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM job WHERE image_digest = ?1) RETURNING 1
"""
#: Answers to orders that are not remembered, once the message itself is gone.
_LOOSE_ANSWERS: Final = """
    DELETE FROM order_answer WHERE told IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM job WHERE job.order_id = order_answer.order_id)
        AND NOT EXISTS (
            SELECT 1 FROM outbox WHERE outbox.target = order_answer.target
                AND outbox.order_id = order_answer.order_id AND outbox.operation = ''
        )
    RETURNING 1
"""
_SINCE_JOURNAL: Final = "SELECT class, max(before_ns) FROM journal_pruned GROUP BY class"
_SINCE_POSTED: Final = """
    SELECT min((SELECT min(settled_ns) FROM outbox WHERE target = one.target AND state = 'posted'))
    FROM (SELECT DISTINCT target FROM outbox_tally) AS one
"""
_SINCE_ORDERS: Final = f"SELECT min(changed_ns) FROM job WHERE state IN ({_OVER_STATES})"  # noqa: S608 - constants


class Unconfirmed(NamedTuple):
    """What the ERP has not acknowledged, of one machine ("": it is not known of which).

    ``from_utc``: the oldest period's beginning, ISO 8601 in UTC; "" where one of them does not say it.
    """

    machine: str
    from_utc: str


async def journal(
    store: Store,
    work_unit: str,
    record_class: RecordClass,
    before_ns: int,
    chunks_max: int | None = None,
    how: str = PURGED,
) -> int:
    """Delete rows of one class of a work unit that are older; returns how many. Raises StoreError."""
    found = await store.read(_MARK, (work_unit, record_class.value))
    done, mark, chunks = 0, (found[0][0] if found else 0), 0
    while chunks_max is None or chunks < chunks_max:
        rows = await store.read(_NEXT, (work_unit, mark, CHUNK_ROWS))
        # Rows of a work unit are in the order of time.
        old = [row for row in rows if row[1] < before_ns]
        if not old:
            if mark:
                await store.write(partial(_delete_rows, [], (work_unit, record_class.value, mark, before_ns), how))
            break
        mark, chunks = old[-1][0], chunks + 1
        seqs = [(work_unit, seq) for seq, _, kind in old if class_of(kind) is record_class]
        reached_ns = before_ns if len(old) < CHUNK_ROWS else old[-1][1]
        await store.write(partial(_delete_rows, seqs, (work_unit, record_class.value, mark, reached_ns), how))
        done += len(seqs)
        if len(old) < len(rows) or len(rows) < CHUNK_ROWS:
            break
    return done


async def work_units(store: Store) -> list[str]:
    """Every work unit that has written a journal. Raises StoreError."""
    return [str(row[0]) for row in await store.read(_UNITS, ())]


async def postings(store: Store, before_ns: int) -> int:
    """Delete postings that were booked, or became void, before; returns how many. Raises StoreError."""
    done = 0
    for sql in _POSTINGS.values():
        while deleted := await store.write(partial(_booked, sql, (before_ns, CHUNK_ROWS))):
            done += deleted
    return done


async def unconfirmed(store: Store) -> list[Unconfirmed]:
    """Since when there is something that no target has acknowledged, by machine. Raises StoreError."""
    found: dict[str, str] = {}
    last: tuple[Any, ...] = _BEFORE_ALL
    while rows := await store.read(_UNCONFIRMED, (*last, DOCUMENTS_AT_ONCE)):
        for *_, is_beside, machine, from_utc in rows:
            if not is_beside:
                # "" is before every other text.
                found[machine or ""] = min(found.get(machine or "", from_utc or ""), from_utc or "")
        last = rows[-1][:4]
        if len(rows) == DOCUMENTS_AT_ONCE:
            await asyncio.sleep(PAUSE_S)
    return [Unconfirmed(machine, from_utc) for machine, from_utc in found.items()]


async def orders(store: Store, before_ns: int, now_ns: int, entry: Callable[[str], EntryContent] | None = None) -> int:
    """Forget orders that are over, and were before; their numbers stay. Returns how many. Raises StoreError.

    ``entry``: what the audit trail is told of each, in its transaction.
    """
    done = 0
    for (order,) in await store.read(f"{_FORGETTABLE} LIMIT ?2", (before_ns, ORDERS_AT_ONCE_MAX)):
        if not await store.read(_TIED, (order, before_ns)):
            done += await store.write(partial(_forget, order, before_ns, now_ns, entry))
    return done


async def images(store: Store) -> int:
    """Delete images of orders that no job order refers to; returns how many. Raises StoreError."""
    digests = [row[0] for row in await store.read(_UNUSED_IMAGES, (CHUNK_ROWS,))]
    if not digests:
        return 0
    # Before it is asked for: a step that is made from now on brings its image along, one that waits already is first.
    store.forget_images(digests)
    return await store.write(partial(_delete_images, digests))


async def answers(store: Store) -> int:
    """Delete told answers to orders that are not remembered; returns how many. Raises StoreError."""
    return await store.write(partial(_count, _LOOSE_ANSWERS, ()))


async def kept_since(store: Store) -> dict[RecordClass, int | None]:
    """From when on each class is there, as far as something was deleted; steady time. Raises StoreError."""
    found: dict[RecordClass, int | None] = {RecordClass(row[0]): row[1] for row in await store.read(_SINCE_JOURNAL, ())}
    since = {one: found.get(one) for one in (*dict.fromkeys(CLASS_OF_KIND.values()), RecordClass.ORDER)}
    (orders_ns,), (posted_ns,) = (await store.read(_SINCE_ORDERS, ()))[0], (await store.read(_SINCE_POSTED, ()))[0]
    ((report_ns,),) = await store.read("SELECT min(at_ns) FROM reconciliation_report", ())
    since[RecordClass.REPORT] = report_ns
    return {**since, RecordClass.ORDER: orders_ns, RecordClass.CONFIRMATION: posted_ns}


async def _delete_rows(
    seqs: list[tuple[str, int]], mark: tuple[str, str, int, int], how: str, connection: aiosqlite.Connection
) -> None:
    if seqs:
        await connection.executemany(_DELETE_ROWS, seqs)
        await audit_taken.count_gone(how, RecordClass(mark[1]), len(seqs), connection)
    await connection.execute_fetchall(_SET_MARK, mark)


async def _forget(
    order: str,
    before_ns: int,
    now_ns: int,
    entry: Callable[[str], EntryContent] | None,
    connection: aiosqlite.Connection,
) -> int:
    # What was found may have changed until the transaction began.
    again = await connection.execute_fetchall(f"{_FORGETTABLE} AND order_id = ?2", (before_ns, order))
    if not list(again):
        return 0
    await connection.execute_fetchall(_KEEP_NUMBERS, (order, now_ns))
    await genealogy.forget(connection, order)
    await connection.execute_fetchall(_DELETE_ANSWERS, (order,))
    for sql in _DELETE_SAID:
        await connection.execute_fetchall(sql, (order,))
    await connection.execute_fetchall(_DELETE_SERIALS, (order,))
    await connection.execute_fetchall(_DELETE_JOBS, (order,))
    if entry is not None:
        await audit_chain.append([entry(order)], connection)
    return 1


async def _delete_images(digests: list[str], connection: aiosqlite.Connection) -> int:
    return sum([await _count(_DELETE_IMAGE, (digest,), connection) for digest in digests])


async def _booked(sql: str, values: tuple[Any, ...], connection: aiosqlite.Connection) -> int:
    done = await _count(sql, values, connection)
    if done:
        await audit_taken.count_gone(PURGED, RecordClass.CONFIRMATION, done, connection)
    return done


async def _count(sql: str, values: tuple[Any, ...], connection: aiosqlite.Connection) -> int:
    return len(list(await connection.execute_fetchall(sql, values)))
