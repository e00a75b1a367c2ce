"""What was taken into the audit trail from elsewhere, and how far: users' changes, older writes, settings, what went.

A mark is committed together with the entries that it stands for, so that nothing is taken twice and nothing is left
out, whenever the process ends. Makes no entry itself.
"""

from __future__ import annotations

import json
import zlib
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import audit_chain
from buffer.audit import COLUMNS, AuditRow
from gateway.core.audit.chain import Anchor, Head
from gateway.core.retention import RecordClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent

#: Of one transaction.
WRITES_MAX: Final = 500

#: Records that went by their age, and before it because the disk was nearly full.
PURGED: Final = "purged"
THINNED: Final = "thinned"

_LAST_RUN: Final = """
    SELECT action FROM audit_entry WHERE action IN ('gateway_started', 'gateway_stopped') ORDER BY seq DESC LIMIT 1
"""
_MARK: Final = """
    INSERT INTO audit_taken (source, number) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET number = excluded.number
"""
_SETTINGS: Final = """
    INSERT INTO audit_settings (one, digest, document) VALUES (1, ?, ?)
    ON CONFLICT (one) DO UPDATE SET digest = excluded.digest, document = excluded.document
"""
_WRITES: Final = f"SELECT seq, {COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - constants
_ANCHOR: Final = """
    SELECT (SELECT CASE chain WHEN '' THEN epoch ELSE chain END FROM meta), seq, hash, day
    FROM audit_anchor ORDER BY seq DESC LIMIT 1
"""
_HEAD: Final = "SELECT seq, hash FROM audit_entry ORDER BY seq DESC LIMIT 1"


_COUNT: Final = """
    INSERT INTO audit_taken (source, number) VALUES (?, ?)
    ON CONFLICT (source) DO UPDATE SET number = number + excluded.number
"""
_GONE: Final = """
    SELECT one.source, one.number - coalesce(told.number, 0), one.number
    FROM audit_taken AS one LEFT JOIN audit_taken AS told ON told.source = 'told ' || one.source
    WHERE (one.source LIKE 'purged %' OR one.source LIKE 'thinned %') AND one.number > coalesce(told.number, 0)
    ORDER BY one.source
"""


class Gone(NamedTuple):
    """Records of a class that went and that the trail does not know of yet.

    ``how``: ``PURGED`` or ``THINNED``. ``marks`` are to be taken with the entry that tells it.
    """

    how: str
    record_class: RecordClass
    records: int
    marks: dict[str, int]


class KeptSettings(NamedTuple):
    """Settings by their names, as text."""

    digest: str
    values: Mapping[str, str]


class Kept(NamedTuple):
    """An anchor and the day (YYYY-MM-DD) it was kept for."""

    anchor: Anchor
    day: str


async def last_run(store: Store) -> str:
    """``gateway_started`` where the run before never said that it stops, ``gateway_stopped``, or "" in a new chain."""
    rows = await store.read(_LAST_RUN, ())
    return str(rows[0][0]) if rows else ""


async def mark(store: Store, source: str) -> int:
    """The number up to which that list was taken, 0 at first."""
    rows = await store.read("SELECT number FROM audit_taken WHERE source = ?", (source,))
    return int(rows[0][0]) if rows else 0


async def count_gone(how: str, record_class: RecordClass, records: int, connection: aiosqlite.Connection) -> None:
    """Count what is deleted, in the transaction that deletes it: no crash can hide it from the trail."""
    await connection.execute_fetchall(_COUNT, (f"{how} {record_class.value}", records))


async def gone(store: Store) -> list[Gone]:
    """What went and was not told of yet. Raises StoreError."""
    found = []
    for source, untold, number in await store.read(_GONE, ()):
        how, _, name = str(source).partition(" ")
        found.append(Gone(how, RecordClass(name), int(untold), {f"told {source}": int(number)}))
    return found


async def settings(store: Store) -> KeptSettings | None:
    """The settings that were in force last, None in a new chain."""
    rows = await store.read("SELECT digest, document FROM audit_settings", ())
    return KeptSettings(str(rows[0][0]), json.loads(zlib.decompress(rows[0][1]))) if rows else None


async def writes_after(store: Store, number: int) -> list[AuditRow]:
    """Rows of the audit of writes that are not in the chain yet, oldest first, at most ``WRITES_MAX``."""
    return [AuditRow(*row) for row in await store.read(_WRITES, (number, WRITES_MAX))]


async def last_anchor(store: Store) -> Kept | None:
    """The newest anchor that was kept, None if there is none."""
    rows = await store.read(_ANCHOR, ())
    return Kept(Anchor(*rows[0][:3]), str(rows[0][3])) if rows else None


async def head(store: Store) -> Head | None:
    """The end of the chain, None where it has no entry."""
    rows = await store.read(_HEAD, ())
    return Head(*rows[0]) if rows else None


async def take(
    store: Store,
    contents: Sequence[EntryContent],
    *,
    marks: Mapping[str, int] | None = None,
    kept: KeptSettings | None = None,
) -> None:
    """Return when the entries are durable with the marks and settings they stand for. Raises StoreError."""
    await store.write(partial(_take, contents, marks or {}, kept))


async def _take(
    contents: Sequence[EntryContent],
    marks: Mapping[str, int],
    kept: KeptSettings | None,
    connection: aiosqlite.Connection,
) -> None:
    await audit_chain.append_all(contents, connection)
    for source, number in marks.items():
        await connection.execute_fetchall(_MARK, (source, number))
    if kept is not None:
        packed = zlib.compress(json.dumps(dict(kept.values), separators=(",", ":")).encode())
        await connection.execute_fetchall(_SETTINGS, (kept.digest, packed))
