"""Reports of reconciliation, what the last one said of each operation, and postings that a person sends again.

Compares nothing: ``gateway/erp/reconciler.py`` does. The schema lets a booked posting be ready again only together with
the record of who wanted it; key and bytes stay.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import audit_chain, audit_taken, notices, postings, steps
from buffer.entry import ANY_TARGET, COLUMNS, THERE, OutboxEntry, entry_of
from buffer.errors import OutboxError
from buffer.outbox import ID_MAX
from buffer.outbox_pages import page_query
from gateway.core.orders.erp_notice import reported
from gateway.core.retention import RecordClass

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent
    from gateway.core.document import Identity
    from gateway.core.model import JobRecord

REPORTS_MAX: Final = 500  # the schema keeps no more
PAGE_MAX: Final = 100

_ADD: Final = (
    "INSERT INTO reconciliation_report (at_ns, cause, findings, document) VALUES (?, ?, ?, ?) RETURNING number"
)
_SAID: Final = """
    INSERT INTO reconciled (order_id, operation, at_ns, codes) VALUES (?, ?, ?, ?)
    ON CONFLICT (order_id, operation) DO UPDATE SET at_ns = excluded.at_ns, codes = excluded.codes
"""
_LAST: Final = """
    SELECT number, at_ns, cause, findings, document FROM reconciliation_report ORDER BY number DESC LIMIT ?
"""
_NEWEST: Final = "SELECT number, at_ns, cause, findings FROM reconciliation_report ORDER BY number DESC LIMIT 1"
_ONE: Final = "SELECT number, at_ns, cause, findings, document FROM reconciliation_report WHERE number = ?"
_OF: Final = "SELECT at_ns, codes FROM reconciled WHERE order_id = ? AND operation = ?"
_SETTLED: Final = "SELECT order_id, operation, finding, at_ns, who, reason FROM reconciliation_settled"
_SETTLE: Final = """
    INSERT INTO reconciliation_settled (order_id, operation, finding, at_ns, who, reason) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (order_id, operation, finding) DO NOTHING
"""
_SAYS_NO_MORE: Final = "UPDATE reconciled SET codes = ? WHERE order_id = ? AND operation = ?"
_PURGE: Final = "DELETE FROM reconciliation_report WHERE at_ns < ? RETURNING 1"
_RECORDS: Final = "SELECT record FROM job WHERE order_id = ? ORDER BY operation"
_BY_KEY: Final = f"SELECT {COLUMNS} FROM outbox WHERE {ANY_TARGET} AND key = ?"  # noqa: S608 - constants
_NUMBERS: Final = f"""
    SELECT {COLUMNS} FROM outbox
    WHERE target = ? AND order_id = ? AND operation = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?
"""  # noqa: S608 - COLUMNS is a constant
_WANTED: Final = """
    INSERT INTO outbox_resend (posting, number, at_ns, who, reason)
    SELECT id, resends + 1, ?, ?, ? FROM outbox WHERE id = ?
"""
_AGAIN: Final = f"""
    UPDATE outbox SET state = CASE WHEN steps > 1 THEN 'uncertain' ELSE 'ready' END, resends = resends + 1, due_ns = ?,
        settled_ns = NULL, step = 0, left_step = steps - 1, released = 0
    WHERE id = ? AND state IN ('posted', 'delivered') AND attempts > 0 RETURNING {COLUMNS}
"""  # noqa: S608 - COLUMNS is a constant


class StoredReport(NamedTuple):
    """A report as it was made; ``at_ns`` steady. ``cause``: ``nightly``, or ``asked``. ``document`` is JSON."""

    number: int
    at_ns: int
    cause: str
    findings: int
    document: bytes


class NewestReport(NamedTuple):
    """The last report in short; ``at_ns`` steady."""

    number: int
    at_ns: int
    cause: str
    findings: int


class SaidOf(NamedTuple):
    """What the last comparison said of an operation: codes of findings, () where both sides agreed."""

    order: str
    operation: str
    codes: tuple[str, ...]


class Settled(NamedTuple):
    """A difference that a person has settled. ``finding`` is what it was: another difference is not settled by it."""

    order: str
    operation: str
    finding: str
    at_ns: int
    who: str
    reason: str


class Telling(NamedTuple):
    """Who tells a report to whom: its notices are kept with it. ``at_utc_ns`` is when it was made."""

    identity: Identity
    targets: tuple[str, ...]
    at_utc_ns: int
    report: Mapping[str, Any]


async def seen(
    store: Store, target: str, orders: Sequence[str], limit: int
) -> tuple[list[JobRecord], list[OutboxEntry]]:
    """What is remembered of these orders, and their newest postings for a target, at most ``limit`` of each order.

    All of one moment: what was confirmed and what is on its way fit together. Raises StoreError.
    """

    def work(connection: sqlite3.Connection) -> tuple[list[bytes], list[Any]]:
        records = [row[0] for one in orders for row in connection.execute(_RECORDS, (one,))]
        pages = [page_query(target=target, order=one, limit=limit) for one in orders]
        return records, [row for page in pages for row in connection.execute(*page)]

    records, postings = await store.at_once(work)
    return store.records(records), [entry_of(row) for row in postings]


async def settled(store: Store) -> dict[tuple[str, str, str], Settled]:
    """What was settled, by order, operation and finding. Raises StoreError."""
    return {(row[0], row[1], row[2]): Settled(*row) for row in await store.read(_SETTLED, ())}


async def settle(store: Store, these: Sequence[Settled], left: Sequence[str], entries: Sequence[EntryContent]) -> None:
    """Keep what a person settled of one operation, with its audit entries. ``left``: codes that stand all the same.

    Raises StoreError.
    """

    async def work(connection: aiosqlite.Connection) -> None:
        await connection.executemany(_SETTLE, these)
        order, operation = these[0].order, these[0].operation
        await connection.execute_fetchall(_SAYS_NO_MORE, (",".join(left), order, operation))
        await audit_chain.append(entries, connection)

    await store.write(work)


async def keep(
    store: Store,
    at_ns: int,
    cause: str,
    document: bytes,
    findings: int,
    said: Sequence[SaidOf],
    telling: Telling | None = None,
) -> StoredReport:
    """Keep a report, with what it says of each operation that was compared and who is told. Raises StoreError."""
    number = await store.write(partial(_keep, (at_ns, cause, findings, document), said, telling))
    return StoredReport(number, at_ns, cause, findings, document)


async def last(store: Store, limit: int = 1) -> list[StoredReport]:
    """The last reports, the newest first. Raises StoreError."""
    return [StoredReport(*row) for row in await store.read(_LAST, (min(limit, PAGE_MAX),))]


async def newest(store: Store) -> NewestReport | None:
    """The last report, without what it says; None where there is none. Raises StoreError."""
    rows = await store.read(_NEWEST, ())
    return NewestReport(*rows[0]) if rows else None


async def report(store: Store, number: int) -> StoredReport | None:
    """One report, None where it is not there (any more). Raises StoreError."""
    rows = await store.read(_ONE, (number,))
    return StoredReport(*rows[0]) if rows else None


async def said_of(store: Store, order: str, operation: str) -> tuple[int, tuple[str, ...]] | None:
    """When an operation was compared last and what was found; None: it never was. Raises StoreError."""
    rows = await store.read(_OF, (order, operation))
    return (rows[0][0], tuple(filter(None, rows[0][1].split(",")))) if rows else None


async def purge(store: Store, before_ns: int) -> int:
    """Delete reports that are older; returns how many. Raises StoreError."""

    async def work(connection: aiosqlite.Connection) -> int:
        done = len(await _rows(_PURGE, (before_ns,), connection))
        if done:
            await audit_taken.count_gone(audit_taken.PURGED, RecordClass.REPORT, done, connection)
        return done

    return await store.write(work)


async def booked(store: Store, key: str) -> list[OutboxEntry]:
    """The postings of a key, for all targets, each of which is booked. Raises OutboxError, StoreError."""
    found = [entry_of(row) for row in await store.read(_BY_KEY, (key,))]
    others = [one.state for one in found if one.state not in THERE]
    if not found or others:
        state = ", ".join(sorted(set(others))) if others else "not there"
        raise OutboxError(
            f"outbox, key {key}: is {state} and cannot be sent again; allowed from: posted, delivered",
            found=str(state),
            allowed="posted, delivered",
        )
    return found


async def resend(store: Store, posting: int, now_ns: int, *, who: str, reason: str) -> OutboxEntry:
    """A booked posting is ready again, by this person's word. Raises OutboxError where it is not booked (any more).

    Of several steps only one may be lost: they are looked at from the first one on.
    """

    async def work(connection: aiosqlite.Connection) -> OutboxEntry:
        await connection.execute_fetchall(_WANTED, (now_ns, who, reason, posting))
        rows = await _rows(_AGAIN, (now_ns, posting), connection)
        if not rows:
            raise _not_again(posting)
        await steps.from_the_first(connection, posting)
        return entry_of(rows[0])

    return await store.write(work)


async def numbers_of(
    store: Store, target: str, order: str, operation: str, first: int, last: int | None, limit: int
) -> list[OutboxEntry]:
    """The postings of an operation for a target from a number on, in order, at most ``limit``. Raises StoreError."""
    values = (target, order, operation, first, ID_MAX if last is None else last, limit)
    return [entry_of(row) for row in await store.read(_NUMBERS, values)]


async def resend_all(
    store: Store, postings: Sequence[int], now_ns: int, *, who: str, reason: str, audit: Sequence[EntryContent] = ()
) -> None:
    """``resend`` for all of these or, where one is not booked (any more), for none. Raises OutboxError.

    ``audit``: what the audit trail is told of it, in the same transaction.
    """

    async def work(connection: aiosqlite.Connection) -> None:
        for posting in postings:
            await connection.execute_fetchall(_WANTED, (now_ns, who, reason, posting))
            if not await _rows(_AGAIN, (now_ns, posting), connection):
                raise _not_again(posting)
            await steps.from_the_first(connection, posting)
        await audit_chain.append_all(audit, connection)

    await store.write(work)


def _not_again(posting: int) -> OutboxError:
    return OutboxError(
        f"outbox, id {posting}: is not posted any more, or was never sent from here; it cannot be sent again"
    )


async def _keep(
    values: tuple[Any, ...], said: Sequence[SaidOf], telling: Telling | None, connection: aiosqlite.Connection
) -> int:
    rows = await _rows(_ADD, values, connection)
    number = int(rows[0][0])
    if telling is not None and telling.targets:
        told = reported(number, values[1], telling.at_utc_ns, telling.report)._replace(targets=telling.targets)
        await postings.add(connection, await notices.postings_of(connection, telling.identity, (told,), values[0]))
    if said:
        await connection.executemany(
            _SAID, [(one.order, one.operation, values[0], ",".join(one.codes)) for one in said]
        )
    return number


async def _rows(sql: str, values: tuple[Any, ...], connection: aiosqlite.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.execute_fetchall(sql, values)]
