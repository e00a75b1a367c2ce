"""Which decision was taken under which Idempotency-Key, and what was answered. A key goes with the decision's own step.

Bounded by age; how many there may be is the API's business, which refuses more. Interprets no answer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import aiosqlite

    from buffer.store import Store

#: Of one start; the API keeps no more either.
LOADED_MAX: Final = 8000

_TAKE: Final = "INSERT OR IGNORE INTO api_replay (user, key, digest, at_ns) VALUES (?, ?, ?, ?)"
_ANSWER: Final = """
    INSERT INTO api_replay (user, key, digest, at_ns, status, media_type, body) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (user, key) DO UPDATE
    SET status = excluded.status, media_type = excluded.media_type, body = excluded.body
"""
_FORGET: Final = "DELETE FROM api_replay WHERE at_ns < ?"
_LOAD: Final = """
    SELECT user, key, digest, at_ns, status, media_type, body FROM api_replay WHERE at_ns >= ? ORDER BY at_ns LIMIT ?
"""


class TakenKey(NamedTuple):
    """A key that stands for a decision from now on. ``digest``: of what was asked; ``at_ns`` steady."""

    user: str
    key: str
    digest: bytes
    at_ns: int


class KeptAnswer(NamedTuple):
    """What was answered under a key; ``status`` None: the gateway ended before anybody was told."""

    taken: TakenKey
    status: int | None
    media_type: str
    body: bytes


async def take(taken: TakenKey, connection: aiosqlite.Connection) -> None:
    """Keep a key, inside of the transaction of its decision; a decision of several steps keeps it once."""
    await connection.execute_fetchall(_TAKE, taken)


async def answered(store: Store, kept: KeptAnswer, *, before_ns: int) -> None:
    """Keep an answer, and forget what is older than ``before_ns``. Raises StoreError."""
    await store.write(partial(_answer, kept, before_ns))


async def forget(store: Store, before_ns: int) -> None:
    """Forget what is older. Raises StoreError."""
    await store.write(partial(_forget, before_ns))


async def load(store: Store, from_ns: int) -> list[KeptAnswer]:
    """What was kept since then, oldest first. Raises StoreError."""
    rows = await store.read(_LOAD, (from_ns, LOADED_MAX))
    return [KeptAnswer(TakenKey(*row[:4]), row[4], row[5] or "", row[6] or b"") for row in rows]


async def _forget(before_ns: int, connection: aiosqlite.Connection) -> None:
    await connection.execute_fetchall(_FORGET, (before_ns,))


async def _answer(kept: KeptAnswer, before_ns: int, connection: aiosqlite.Connection) -> None:
    await connection.execute_fetchall(_FORGET, (before_ns,))
    await connection.execute_fetchall(_ANSWER, (*kept.taken, kept.status, kept.media_type, kept.body))
