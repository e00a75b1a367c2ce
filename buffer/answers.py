"""Answers to orders on their way into the outbox: kept by operation until an order has answered whole.

Works inside of the transaction of a step: an answer is kept with what it answers for, or not at all. Sends nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from buffer.step import NewPosting
from gateway.core.document import encode, message_id_of
from gateway.core.orders import order_answer

if TYPE_CHECKING:
    import aiosqlite

    from gateway.core.document import Identity
    from gateway.core.orders.order_answer import OperationAnswer

_HELD: Final = """
    SELECT answer FROM order_answer
    WHERE target = ? AND order_id = ? AND operation = ? AND revision = ? AND told IS NULL
"""
_PUT: Final = """
    INSERT INTO order_answer (target, order_id, operation, revision, answer) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (target, order_id, operation)
    DO UPDATE SET revision = excluded.revision, answer = excluded.answer, told = NULL
"""
_WAITING: Final = """
    SELECT operation, answer FROM order_answer WHERE target = ? AND order_id = ? AND revision = ? AND told IS NULL
"""
_TOLD: Final = """
    UPDATE order_answer SET told = ? WHERE target = ? AND order_id = ? AND revision = ? AND told IS NULL
"""
_REFUSAL_OVER: Final = "DELETE FROM order_answer WHERE target = ? AND order_id = ? AND operation = ''"
_REFUSAL_TOLD: Final = "UPDATE order_answer SET told = ? WHERE target = ? AND order_id = ? AND operation = ''"
_NEXT: Final = """
    INSERT INTO order_answer_head (target, order_id, last_seq) VALUES (?, ?, 1)
    ON CONFLICT (target, order_id) DO UPDATE SET last_seq = last_seq + 1 RETURNING last_seq
"""


async def put(
    connection: aiosqlite.Connection, identity: Identity, answer: OperationAnswer, created_ns: int
) -> NewPosting | None:
    """Keep what one operation says; the posting of the whole answer once no operation is missing, else None."""
    lane = (answer.target, answer.order)
    held = [json.loads(row[0]) for row in await rows(connection, _HELD, (*lane, answer.operation, answer.revision))]
    data = order_answer.data_of(answer)
    if order_answer.replaces(held[0] if held else None, data):
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        await connection.execute_fetchall(_PUT, (*lane, answer.operation, answer.revision, text))
    waiting = {row[0]: json.loads(row[1]) for row in await rows(connection, _WAITING, (*lane, answer.revision))}
    if not set(answer.expected) <= set(waiting):
        return None
    seq = await next_seq(connection, *lane)
    await connection.execute_fetchall(_REFUSAL_OVER, lane)
    await connection.execute_fetchall(_TOLD, (seq, *lane, answer.revision))
    parts = [waiting[name] for name in (*answer.expected, *sorted(set(waiting) - set(answer.expected)))]
    whole = order_answer.document(identity, answer.order, answer.revision, seq, answer.at_utc_ns, parts)
    return posting_of(identity, answer.target, answer.order, seq, whole, created_ns)


async def next_seq(connection: aiosqlite.Connection, target: str, order: str) -> int:
    """The number of the next answer to this order, given out once."""
    ((seq,),) = await rows(connection, _NEXT, (target, order))
    return int(seq)


async def keep_refusal(
    connection: aiosqlite.Connection, target: str, order: str, revision: int, text: bytes, seq: int
) -> None:
    """Remember that this was told of the whole order, until it is answered otherwise."""
    lane = (target, order, order_answer.NO_OPERATION, revision, text)
    await connection.execute_fetchall(_PUT, lane)
    await connection.execute_fetchall(_REFUSAL_TOLD, (seq, target, order))


def posting_of(
    identity: Identity, target: str, order: str, seq: int, whole: dict[str, Any], created_ns: int
) -> NewPosting:
    """A whole answer as it goes into the outbox."""
    key = order_answer.key_of(identity, order, seq)
    return NewPosting(
        target=target,
        key=key,
        message_id=message_id_of(key),
        order=order,
        operation=order_answer.NO_OPERATION,
        seq=seq,
        kind=order_answer.ACK,
        payload=encode(whole),
        created_ns=created_ns,
    )


async def rows(connection: aiosqlite.Connection, sql: str, values: tuple[Any, ...]) -> list[Any]:
    """The rows of a query, inside of the transaction."""
    return list(await connection.execute_fetchall(sql, values))
