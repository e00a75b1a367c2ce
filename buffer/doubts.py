"""What is still in doubt after a database turned out to be older than what has left the box, and how it ends.

It keeps what was found out about each posting that the database does not know, lets go what nobody has to look at any
more, and settles the doubt once nothing of it waits. It asks no target (``gateway/erp/doubt_round.py`` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import audit_chain, steps
from buffer.entry import COLUMNS, entry_of
from buffer.older import STOPPED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.entry import OutboxEntry
    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent

#: Read at once.
UNKNOWN_MAX: Final = 50

#: As the index of what stands still says it.
_STANDING: Final = "('needs_approval', 'held', 'accepted', 'uncertain', 'retry_wait', 'parked')"
_OPEN: Final = """
    SELECT number, told, complete, (SELECT count(*) FROM doubt_sent WHERE restored = number AND found = 'booked'),
        (SELECT count(*) FROM doubt_sent WHERE restored = number AND found = 'absent'),
        (SELECT count(*) FROM doubt_sent WHERE restored = number AND found = '' AND kind NOT IN ('ack', 'notice'))
    FROM doubt JOIN restored ON number = restored WHERE doubt.settled_ns IS NULL ORDER BY number DESC
"""
_UNKNOWN: Final = """
    SELECT restored, target, key, kind, order_id, operation, seq, name FROM doubt_sent JOIN doubt USING (restored)
    WHERE found = '' AND kind NOT IN ('ack', 'notice') AND settled_ns IS NULL ORDER BY restored DESC, key LIMIT ?
"""
_FOUND: Final = "UPDATE doubt_sent SET found = ? WHERE restored = ? AND target = ? AND key = ?"
_UNRENDERED: Final = f"""
    SELECT {COLUMNS} FROM outbox
    WHERE state IN {_STANDING} AND error_kind = 'older' AND error_code = 'SENT' LIMIT {UNKNOWN_MAX}
"""  # noqa: S608 - constants
_RENDERED: Final = """
    UPDATE outbox SET state = 'uncertain', steps = CASE WHEN body IS NULL THEN ? ELSE steps END,
        body = coalesce(body, ?), content_type = coalesce(content_type, ?),
        name = coalesce(name, ?), error_code = ''
    WHERE id = ? AND state = 'needs_approval' AND error_kind = 'older' AND error_code = 'SENT' RETURNING 1
"""
_WAITING: Final = f"""
    SELECT
        (SELECT count(*) FROM outbox WHERE state IN {_STANDING} AND state = 'needs_approval'
            AND (error_kind = 'older' OR error_text LIKE ?1 || '%'))
        + (SELECT count(*) FROM outbox WHERE state IN {_STANDING} AND state = 'parked' AND error_kind = 'older')
        + (SELECT count(*) FROM outbox WHERE state IN {_STANDING} AND state = 'uncertain' AND error_kind = 'older'),
        (SELECT count(*) FROM restored_operation JOIN job USING (order_id, operation)
            WHERE note LIKE ?1 || '%' AND state NOT IN ('CLOSED', 'CANCELLED', 'SPLIT', 'MERGED'))
"""  # noqa: S608 - constants
_LET_GO: Final = (
    f"""
    UPDATE outbox SET state = CASE WHEN due_ns > ?2 THEN 'held' ELSE 'ready' END, error_kind = '', error_code = '',
        error_text = ''
    WHERE state IN {_STANDING} AND state = 'needs_approval' AND error_text LIKE ?1 || '%'
    """,  # noqa: S608 - constants
    "DELETE FROM restored_operation WHERE note LIKE ?1 || '%' AND ?2 IS NOT NULL",
)
_SETTLE: Final = "UPDATE doubt SET settled_ns = ?, outcome = ? WHERE restored = ? AND settled_ns IS NULL"


class Doubt(NamedTuple):
    """One database that was older. Of what it did not know so many are booked, absent, or nobody has said yet."""

    number: int
    told: str
    complete: bool
    booked: int
    absent: int
    unknown: int


class Unknown(NamedTuple):
    """A posting that left the box, and that the database does not know."""

    doubt: int
    target: str
    key: str
    kind: str
    order: str
    operation: str
    seq: int
    name: str


async def open_ones(store: Store) -> list[Doubt]:
    """Those that are not settled, the newest first. Raises StoreError."""
    rows = await store.read(_OPEN, ())
    return [Doubt(number, told, bool(complete), *counts) for number, told, complete, *counts in rows]


async def unknown(store: Store) -> list[Unknown]:
    """What a target may be asked about, at most ``UNKNOWN_MAX``. Raises StoreError."""
    return [Unknown(*row) for row in await store.read(_UNKNOWN, (UNKNOWN_MAX,))]


async def found(store: Store, one: Unknown, *, booked: bool) -> None:
    """What the target said. Raises StoreError."""
    values = ("booked" if booked else "absent", one.doubt, one.target, one.key)

    async def work(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(_FOUND, values)

    await store.write(work)


async def unrendered(store: Store) -> list[OutboxEntry]:
    """Postings that were sent, and whose message is lost. Raises StoreError."""
    return [entry_of(row) for row in await store.read(_UNRENDERED, ())]


async def rendered(
    store: Store, entry_id: int, message: tuple[bytes, str, str], more: Sequence[tuple[bytes, str, str]] = ()
) -> None:
    """It has its messages again: it is uncertain now, and the forwarder goes on with it. Raises StoreError."""

    async def work(connection: aiosqlite.Connection) -> None:
        if list(await connection.execute_fetchall(_RENDERED, (1 + len(more), *message, entry_id))):
            await steps.fix(connection, entry_id, more)

    await store.write(work)


async def waiting(store: Store) -> tuple[int, int]:
    """Postings that wait for a person or their look-up, and operations whose next one will. Raises StoreError."""
    ((postings, operations),) = await store.read(_WAITING, (STOPPED,))
    return int(postings), int(operations)


async def settle(
    store: Store, number: int, now_ns: int, outcome: str, audit: EntryContent, *, let_go: bool = False
) -> None:
    """It is over; ``let_go``: nothing of it is booked, and what waits for it goes on. Raises StoreError."""

    async def work(connection: aiosqlite.Connection) -> None:
        for statement in _LET_GO if let_go else ():
            await connection.execute_fetchall(statement, (STOPPED, now_ns))
        await connection.execute_fetchall(_SETTLE, (now_ns, outcome, number))
        await audit_chain.append_all([audit], connection)

    await store.write(work)
