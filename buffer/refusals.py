"""Answers to orders that reached no work unit: refused as a whole, before any operation of it could say a word.

An ERP that sends the same again is answered once: what was told last of an order is kept beside the answers of its
operations. Judges no order and sends nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import answers, jobs, postings
from gateway.core.orders import order_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiosqlite

    from buffer.store import Store
    from gateway.core.document import Identity

_HELD: Final = "SELECT answer FROM order_answer WHERE target = ? AND order_id = ? AND operation = '' AND revision = ?"

_RECORDS: Final = "SELECT record FROM job WHERE order_id = ?"


class Refused(NamedTuple):
    """The image of an order that was refused as a whole, and every reason."""

    order: str
    revision: int
    reasons: Sequence[str]


async def put(store: Store, identity: Identity, target: str, refused: Refused, *, now_ns: int, utc_ns: int) -> bool:
    """Have the target told that this image of an order is refused; False: it was told just that. Raises StoreError.

    ``now_ns`` is steady time, ``utc_ns`` the same in UTC. What is new is durable when this returns.
    """
    order, revision = refused.order, refused.revision
    part = order_answer.refusal(refused.reasons)
    text = json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()

    async def work(connection: aiosqlite.Connection) -> bool:
        held = await answers.rows(connection, _HELD, (target, order, revision))
        if held and held[0][0] == text:
            return False
        records = [jobs.decode(row[0]) for row in await answers.rows(connection, _RECORDS, (order,))]
        part["held_revision"] = min((one.job.revision for one in records), default=None)
        seq = await answers.next_seq(connection, target, order)
        await answers.keep_refusal(connection, target, order, revision, text, seq)
        whole = order_answer.document(identity, order, revision, seq, utc_ns, [part])
        await postings.add(connection, [answers.posting_of(identity, target, order, seq, whole, now_ns)])
        return True

    return await store.write(work)
