"""Which productions changed since a cursor, read without a gap and without telling the same twice.

A transaction that ends late brings records with an earlier time: changes are asked for again from ``overlap`` before
the cursor. The cursor also carries a digest of what that stretch held: while it holds the same, nothing is told twice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import ConnectorError
from gateway.connectors.tryton.orders import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.connectors.tryton.session import Session
    from gateway.connectors.tryton.settings import TrytonSettings

ORDERS_MAX: Final = 10_000
PAGE: Final = 200
DIGEST_CHARS: Final = 16
_RELEASED: Final = ("assigned", "running")
_OVER: Final = ("done", "cancelled")

#: Id of a production and when it was last written.
Change = tuple[int, dt.datetime]


async def changed_since(session: Session, cursor: str, settings: TrytonSettings) -> tuple[list[dict[str, Any]], str]:
    """Whole rows of the productions that changed, and the cursor behind them. Raises CallError, ConnectorError."""
    planned = ("waiting",) if settings.planned else ()
    overlap = dt.timedelta(microseconds=settings.overlap // 1000)
    if not cursor:
        found = await _changes(session, [["state", "in", [*_RELEASED, *planned]]])
        if not found:
            return [], ""
        since, before = max(moment for _, moment in found), ""
        new = found
    else:
        since, before = _read(cursor)
        new = []
    states = ["state", "in", [*_RELEASED, *planned, *_OVER]]
    if cursor:
        stretch = await _changes(session, [states, ["write_date", ">=", since - overlap]])
        same = _digest([one for one in stretch if one[1] <= since]) == before
        new = [one for one in stretch if one[1] > since] if same else stretch
        if not new:
            return [], cursor
        since = max(since, *(moment for _, moment in new))
    window = await _changes(session, [states, ["write_date", ">=", since - overlap], ["write_date", "<=", since]])
    rows: list[dict[str, Any]] = []
    for at in range(0, len(new), PAGE):
        ids = [number for number, _ in new[at : at + PAGE]]
        rows += await session.read(
            "production.search_read", [["id", "in", ids]], 0, PAGE, [["id", "ASC"]], list(FIELDS)
        )
    return rows, _written(since, _digest(window))


async def _changes(session: Session, domain: list[Any]) -> list[Change]:
    found = await session.read(
        "production.search_read", domain, 0, ORDERS_MAX + 1, [["write_date", "ASC"], ["id", "ASC"]], ["write_date"]
    )
    if len(found) > ORDERS_MAX:
        raise ConnectorError(f"orders: found more than {ORDERS_MAX} changed productions, allowed at most so many")
    return [(int(row["id"]), row["write_date"]) for row in found if isinstance(row["write_date"], dt.datetime)]


def _digest(changes: Sequence[Change]) -> str:
    listed = json.dumps([[number, moment.isoformat()] for number, moment in sorted(changes)])
    return hashlib.sha256(listed.encode()).hexdigest()[:DIGEST_CHARS]


def _written(since: dt.datetime, digest: str) -> str:
    return f"{since.isoformat()} {digest}"


def _read(cursor: str) -> tuple[dt.datetime, str]:
    moment, _, digest = cursor.partition(" ")
    try:
        return dt.datetime.fromisoformat(moment), digest
    except ValueError as error:
        raise ConnectorError(f"orders: found the cursor {cursor[:40]!r}, which is none of this connector") from error
