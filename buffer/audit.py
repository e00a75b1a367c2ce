"""Who told the gateway to do what, and how it ended: rows that are added and never changed. Judges nothing."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import audit_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent

PAGE_MAX: Final = 10_000

_TAKEN: Final = """
    INSERT INTO audit_taken (source, number) VALUES ('writes', ?)
    ON CONFLICT (source) DO UPDATE SET number = excluded.number
"""

COLUMNS: Final = "at_ns, actor, action, entity, old, new, reason, outcome, detail, about"
_ADD: Final = f"INSERT INTO audit ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq"  # noqa: S608 - a constant
_NEWEST: Final = f"SELECT seq, {COLUMNS} FROM audit ORDER BY seq DESC LIMIT ?"  # noqa: S608 - a constant

_LAST: Final = """
    SELECT at_ns, reason, coalesce((SELECT ended.outcome FROM audit AS ended WHERE ended.about = one.seq), outcome),
        coalesce((SELECT ended.detail FROM audit AS ended WHERE ended.about = one.seq), detail)
    FROM audit AS one WHERE entity = ? AND actor = ? AND about IS NULL AND substr(reason, -length(?)) = ?
    ORDER BY seq DESC LIMIT 1
"""


class AuditOutcome(enum.StrEnum):
    """How an action stands. An attempt that no other row is about ended with the process: nobody knows how."""

    ATTEMPTED = "attempted"
    DONE = "done"
    REFUSED = "refused"  # by the gateway: nothing was tried
    FAILED = "failed"  # surely not done
    UNVERIFIED = "unverified"  # confirmed by the device, but it reads otherwise or cannot be read back
    UNKNOWN = "unknown"  # perhaps done


class NewAuditRow(NamedTuple):
    """One row to add; ``about`` is the number of the attempt whose end it tells."""

    at_ns: int
    actor: str
    action: str
    entity: str
    old: str | None
    new: str | None
    reason: str
    outcome: AuditOutcome
    detail: str = ""
    about: int | None = None


class AuditRow(NamedTuple):
    """One row as it is kept; ``seq`` counts from 1."""

    seq: int
    at_ns: int
    actor: str
    action: str
    entity: str
    old: str | None
    new: str | None
    reason: str
    outcome: str
    detail: str
    about: int | None


async def add(store: Store, row: NewAuditRow, common: EntryContent | None = None) -> int:
    """The number of the row, once it is durable with its entry in the chain. Raises StoreError: nothing was kept.

    ``common``: who, and date, zone and versions of the entry; without it there is none.
    """
    return await store.write(partial(_insert, row, common))


def newest_query(limit: int) -> tuple[str, Sequence[Any]]:
    """The last rows, newest first. Raises ValueError for a limit out of range."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"limit: found {limit}, allowed 1 to {PAGE_MAX}")
    return _NEWEST, (limit,)


class Ended(NamedTuple):
    """An action and how it ended; ``outcome`` is ``ATTEMPTED`` where nobody knows."""

    at_ns: int
    reason: str
    outcome: AuditOutcome
    detail: str


async def last_of(store: Store, entity: str, actor: str, reason_end: str) -> Ended | None:
    """The last action of this actor on it whose reason ends so, None: there was none. Raises StoreError."""
    rows = await store.read(_LAST, (entity, actor, reason_end, reason_end))
    return next((Ended(at_ns, why, AuditOutcome(how), text) for at_ns, why, how, text in rows), None)


async def _insert(row: NewAuditRow, common: EntryContent | None, connection: aiosqlite.Connection) -> int:
    seq = int(next(iter(await connection.execute_fetchall(_ADD, row)))[0])
    if common is not None:
        await audit_chain.append([audit_chain.of_write_attempt(AuditRow(seq, *row), common)], connection)
        await connection.execute_fetchall(_TAKEN, (seq,))
    return seq
