"""The steps of a posting that needs several messages at its target, and what it says before one is first sent.

Each function works inside a transaction that is open, but for reading. It decides nothing and sends nothing.
A posting of one message has no rows here, unless its target is asked for a baseline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.entry import BY_PERSON, GOODS_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import aiosqlite

    from buffer.entry import OutboxEntry

#: Content, content type and name of a message.
Message = tuple[bytes, str, str]
#: Between the references of several steps, where they stand in one text.
REFERENCES_APART: Final = ", "
GOODS_APART: Final = "; "

_COLUMNS: Final = "step, body, content_type, name, baseline, accepted, reference, sent_ns, settled_ns, outcome"
READ: Final = f"SELECT {_COLUMNS} FROM outbox_steps WHERE posting = ? ORDER BY step"  # noqa: S608 - constants
_FIX: Final = "INSERT OR IGNORE INTO outbox_steps (posting, step, body, content_type, name) VALUES (?, ?, ?, ?, ?)"
_BEGUN: Final = """
    INSERT INTO outbox_steps (posting, step, baseline, sent_ns) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (posting, step) DO UPDATE SET sent_ns = coalesce(sent_ns, ?4), baseline = coalesce(?3, baseline)
"""
_SENT: Final = """
    UPDATE outbox_steps SET sent_ns = coalesce(sent_ns, ?3), baseline = coalesce(?4, baseline)
    WHERE posting = ?1 AND step = ?2
"""
_ACCEPTED: Final = "UPDATE outbox_steps SET accepted = ? WHERE posting = ? AND step = ?"
_DONE: Final = """
    UPDATE outbox_steps SET reference = ?1, settled_ns = ?2, outcome = ?3, goods_error = ?6
    WHERE posting = ?4 AND step = ?5
"""
_JOINED: Final = """
    UPDATE outbox SET reference = substr((
        SELECT group_concat(reference, ?1) FROM (
            SELECT reference FROM outbox_steps WHERE posting = ?2 AND reference <> '' ORDER BY step
        )
    ), 1, ?3) WHERE id = ?2
"""
#: What a person says of its last message stays behind it: he says nothing of the material of those before.
_GOODS_JOINED: Final = f"""
    UPDATE outbox SET error_kind = '{GOODS_ERROR}', error_count = 1, error_since_ns = coalesce(error_since_ns, ?4),
        error_text = substr((
            SELECT group_concat(goods_error, ?1) FROM (
                SELECT goods_error FROM outbox_steps WHERE posting = ?2 AND goods_error <> '' ORDER BY step
            )
        ) || CASE error_kind WHEN '{BY_PERSON}' THEN ?1 || error_text ELSE '' END, 1, ?3)
    WHERE id = ?2 AND error_kind IN ('', '{BY_PERSON}', '{GOODS_ERROR}')
        AND EXISTS (SELECT 1 FROM outbox_steps WHERE posting = ?2 AND goods_error <> '')
"""  # noqa: S608 - constants
#: What of a posting is booked already, in words; "" where nothing is.
BOOKED_IN_PART: Final = """
    CASE WHEN step > 0 THEN ' (booked: the first ' || step || ' of ' || steps || ' steps' || coalesce(': ' || (
        SELECT group_concat(reference, ', ') FROM (
            SELECT reference FROM outbox_steps
            WHERE posting = outbox.id AND outcome <> '' AND reference <> '' ORDER BY outbox_steps.step
        )
    ), '') || ')' ELSE '' END
"""
_ASK_AGAIN: Final = """
    UPDATE outbox_steps SET baseline = NULL
    WHERE posting = ?1 AND step = (SELECT step FROM outbox WHERE id = ?1) AND baseline IS NOT NULL
"""
_FROM_THE_FIRST: Final = """
    UPDATE outbox_steps SET baseline = NULL, accepted = '', settled_ns = NULL, outcome = '', goods_error = ''
    WHERE posting = ?
"""


class StepRow(NamedTuple):
    """One step. ``body``, ``content_type`` and ``name`` are None for step 0: they stand with the posting.

    ``accepted`` is the reference that came when its target took it over, ``reference`` that of its booking, "" before.
    ``outcome``: posted, delivered, or "" while it is not over. Times are nanoseconds UTC, None before.
    """

    step: int
    body: bytes | None
    content_type: str | None
    name: str | None
    baseline: bytes | None
    accepted: str
    reference: str
    sent_ns: int | None
    settled_ns: int | None
    outcome: str


def found(rows: Iterable[Sequence[Any]]) -> tuple[StepRow, ...]:
    """The steps in the rows of ``READ``."""
    return tuple(StepRow(*row) for row in rows)


def told(rows: Iterable[StepRow], named: Callable[[int | None], str | None]) -> list[dict[str, Any]]:
    """The steps for a person; ``named`` says when a steady time was. The message of step 0 stands with the posting."""
    return [
        {
            "step": one.step,
            "state": one.outcome,
            "reference": one.reference,
            "accepted": one.accepted,
            "sent": named(one.sent_ns),
            "settled": named(one.settled_ns),
            "before": None if one.baseline is None else one.baseline.decode("utf-8", errors="replace"),
            "name": one.name,
            "body": None if one.body is None else one.body.decode("utf-8", errors="replace"),
        }
        for one in rows
    ]


async def fix(connection: aiosqlite.Connection, posting: int, more: Sequence[Message]) -> None:
    """All messages behind the first one, which stands with the posting."""
    if more:
        rows = [(posting, 0, None, None, None), *((posting, at, *one) for at, one in enumerate(more, start=1))]
        await connection.executemany(_FIX, rows)


async def begun(
    connection: aiosqlite.Connection, entry: OutboxEntry, more: Sequence[Message], baseline: bytes | None, now_ns: int
) -> None:
    """The step that is due becomes *sending*; its messages are fixed with the first one."""
    await fix(connection, entry.id, more)
    if entry.step == 0:
        await connection.execute_fetchall(_BEGUN, (entry.id, 0, baseline, now_ns))
    else:
        await connection.execute_fetchall(_SENT, (entry.id, entry.step, now_ns, baseline))


async def accepted(connection: aiosqlite.Connection, entry: OutboxEntry, reference: str) -> None:
    """Its target took over the step that is due."""
    if reference:
        await connection.execute_fetchall(_ACCEPTED, (reference, entry.id, entry.step))


async def done(
    connection: aiosqlite.Connection,
    entry: OutboxEntry,
    outcome: str,
    reference: str,
    now_ns: int,
    goods_error: str = "",
) -> None:
    """The step that is due is over; ``goods_error``: why its material is not booked."""
    values = (reference, now_ns, outcome, entry.id, entry.step, goods_error)
    await connection.execute_fetchall(_DONE, values)


async def join(connection: aiosqlite.Connection, posting: int, max_chars: int, now_ns: int) -> None:
    """The reference of the posting becomes all those of its steps, and so does why material of it is not booked."""
    await connection.execute_fetchall(_JOINED, (REFERENCES_APART, posting, max_chars))
    await connection.execute_fetchall(_GOODS_JOINED, (GOODS_APART, posting, max_chars, now_ns))


async def ask_again(connection: aiosqlite.Connection, postings: Iterable[int]) -> None:
    """Somebody decided: what the target said before is no measure any more for the step that is due."""
    for posting in postings:
        await connection.execute_fetchall(_ASK_AGAIN, (posting,))


async def from_the_first(connection: aiosqlite.Connection, posting: int) -> None:
    """A posting that is over begins again."""
    await connection.execute_fetchall(_FROM_THE_FIRST, (posting,))
