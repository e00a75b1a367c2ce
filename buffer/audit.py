"""Who told the gateway to do what, and how it ended: rows that are added and never changed. Judges nothing."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.store import Store

PAGE_MAX: Final = 10_000

_COLUMNS: Final = "at_ns, actor, action, entity, old, new, reason, outcome, detail, about"
_ADD: Final = f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq"  # noqa: S608 - a constant
_NEWEST: Final = f"SELECT seq, {_COLUMNS} FROM audit ORDER BY seq DESC LIMIT ?"  # noqa: S608 - a constant


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


async def add(store: Store, row: NewAuditRow) -> int:
    """The number of the row, once it is durable. Raises StoreError: nothing was kept."""
    return await store.write(partial(_insert, row))


def newest_query(limit: int) -> tuple[str, Sequence[Any]]:
    """The last rows, newest first. Raises ValueError for a limit out of range."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"limit: found {limit}, allowed 1 to {PAGE_MAX}")
    return _NEWEST, (limit,)


async def _insert(row: NewAuditRow, connection: aiosqlite.Connection) -> int:
    return int(next(iter(await connection.execute_fetchall(_ADD, row)))[0])
