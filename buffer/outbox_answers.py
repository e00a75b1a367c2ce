"""What a target answered to a posting that it did not book: kept for the person who must decide. One for each posting.

Written in the transaction of the settlement that follows from it, and deleted with its posting. Judges nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from gateway.core.foreign_text import clean
from gateway.core.target_answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.entry import OutboxEntry

#: Of an answer's body so much is kept.
BODY_MAX_BYTES: Final = 4096
HEADERS_MAX: Final = 16
HEADER_MAX_CHARS: Final = 200

_PUT: Final = """
    INSERT INTO outbox_answer (posting, at_ns, attempt, status, headers, body) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (posting) DO UPDATE SET at_ns = excluded.at_ns, attempt = excluded.attempt, status = excluded.status,
        headers = excluded.headers, body = excluded.body
"""
READ: Final = "SELECT at_ns, attempt, status, headers, body FROM outbox_answer WHERE posting = ?"


async def keep(connection: aiosqlite.Connection, entry: OutboxEntry, answer: Answer, now_ns: int) -> None:
    """Keep it instead of the one before, inside the caller's transaction."""
    headers = {
        clean(name, HEADER_MAX_CHARS): clean(text, HEADER_MAX_CHARS) for name, text in answer.headers[:HEADERS_MAX]
    }
    body = "\n".join(clean(line, BODY_MAX_BYTES) for line in answer.body[:BODY_MAX_BYTES].splitlines())
    values = (entry.id, now_ns, entry.attempts, clean(answer.status, HEADER_MAX_CHARS), json.dumps(headers), body)
    await connection.execute_fetchall(_PUT, values)


def found(rows: Sequence[Sequence[Any]]) -> tuple[int, int, Answer] | None:
    """When (ns), at which attempt, and the answer in the rows of ``READ``; None without any."""
    if not rows:
        return None
    at_ns, attempt, status, headers, body = rows[0]
    return at_ns, attempt, Answer(status, tuple(json.loads(headers).items()), body)
