"""A person knows that a posting, or one of its steps, is booked at its target: his word settles it, with the reference.

What it changes, and its entry in the audit trail, are one transaction. Whether the target says otherwise is asked
before, by who calls this. It sends nothing and asks nobody. What was never sent from here has an
empty message for ever, and is never sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import audit_chain, outbox_sends, steps
from buffer.entry import BOOKED_FROM, BY_PERSON, COLUMNS, OutboxEntry, OutboxState, Settlement, entry_of
from buffer.errors import OutboxError
from buffer.outbox_sends import ERROR_TEXT_MAX_CHARS, REFERENCE_MAX_CHARS
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent

_FOUND: Final = f"SELECT {COLUMNS} FROM outbox WHERE id = ?"  # noqa: S608 - constants
_BOOKED: Final = """
    state = 'posted', settled_ns = :now, due_ns = :now, reference = :reference, unclear_ns = NULL, passed = 0,
    error_kind = :kind, error_code = '', error_text = :text, error_since_ns = NULL, error_count = 0,
    body = coalesce(body, x''), content_type = coalesce(content_type, 'text/plain'), name = coalesce(name, '')
"""


class Word(NamedTuple):
    """What a person says: which step is meant (from 0), under which reference it is booked; who he is, and why."""

    step: int
    reference: str
    who: str
    reason: str


async def by_person(
    store: Store, posting: int, word: Word, now_ns: int, *, audit: Sequence[EntryContent] = ()
) -> OutboxEntry:
    """The posting after its due step was told to be booked: posted, or its next step is due.

    Raises OutboxError where it is in another state, or another step is due by now; then nothing is kept.
    """

    async def work(connection: aiosqlite.Connection) -> OutboxEntry:
        rows = list(await connection.execute_fetchall(_FOUND, (posting,)))
        entry = entry_of(tuple(rows[0])) if rows else None
        if entry is None or entry.state not in BOOKED_FROM:
            raise await outbox_sends.refused(connection, posting, BOOKED_FROM, "be told to be booked")
        if entry.step != word.step:
            text = f"outbox, id {posting}: found step {word.step + 1}, allowed the one that is due: {entry.step + 1}"
            raise OutboxError(text, found=f"step {word.step + 1}", allowed=f"step {entry.step + 1}")
        made = await _settled(connection, entry, word, now_ns)
        if audit:
            await audit_chain.append_all(audit, connection)
        return made

    return await store.write(work)


async def _settled(connection: aiosqlite.Connection, entry: OutboxEntry, word: Word, now_ns: int) -> OutboxEntry:
    reference = clean(word.reference, REFERENCE_MAX_CHARS)
    if entry.step < entry.steps - 1:
        return await outbox_sends.step_told(connection, entry, Settlement(OutboxState.POSTED, 0, reference), now_ns)
    text = clean(f"booked there, says {word.who}: {word.reason}", ERROR_TEXT_MAX_CHARS)
    values = {"id": entry.id, "now": now_ns, "reference": reference, "kind": BY_PERSON, "text": text}
    sql = outbox_sends.updating(_BOOKED, BOOKED_FROM, "")
    rows = list(await connection.execute_fetchall(sql, values))
    if entry.steps > 1:
        await steps.done(connection, entry, OutboxState.POSTED.value, reference, now_ns)
        await steps.join(connection, entry.id, REFERENCE_MAX_CHARS, now_ns)
        rows = list(await connection.execute_fetchall(_FOUND, (entry.id,)))
    return entry_of(tuple(rows[0]))
