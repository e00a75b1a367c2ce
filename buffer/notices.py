"""Notices to an ERP on their way into the outbox: each target gets its own numbers, without a gap, by order.

Works inside of a transaction that is open: a notice is kept with what it tells, or not at all. Of pieces that go on
coming without an order no second one is made for a target that has not got the first: what waits for an ERP that is
away must not grow with the time. Of everything else ``WAITING_MAX`` wait for a target; what comes then is counted, and
the next one that is made says how many are missing. Sends nothing, and decides neither what else is told nor to whom.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from buffer.entry import OVER, OVER_SQL
from buffer.step import NewPosting
from gateway.core.document import encode, message_id_of
from gateway.core.orders import erp_notice

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiosqlite

    from gateway.core.document import Identity
    from gateway.core.orders.erp_notice import ErpNotice

_NEXT: Final = """
    INSERT INTO notice_head (target, order_id, last_seq) VALUES (?, ?, 1)
    ON CONFLICT (target, order_id) DO UPDATE SET last_seq = last_seq + 1 RETURNING last_seq
"""
#: So many notices may wait for one target, parked ones included. A status, a verdict or a report has a few kilobytes:
#: they must not fill the database while an ERP is away for weeks.
WAITING_MAX: Final = 20_000
_WAITING: Final = f"""
    SELECT coalesce(sum(postings), 0) FROM notice_tally WHERE target = ? AND state NOT IN {OVER_SQL}
"""  # noqa: S608 - constants
_LEAVE_OUT: Final = """
    INSERT INTO notice_left_out (target, type, notices) VALUES (?, ?, 1)
    ON CONFLICT (target, type) DO UPDATE SET notices = notices + 1
"""
_LEFT_OUT: Final = "SELECT type, notices FROM notice_left_out WHERE target = ? ORDER BY type"
_TOLD: Final = "DELETE FROM notice_left_out WHERE target = ?"
#: So many of the newest notices about no order are looked at for the last ones of a machine.
LOOKED_BACK_MAX: Final = 500
_LAST: Final = """
    SELECT state, json_extract(document, '$.event'), json_extract(document, '$.detail') FROM (
        SELECT seq, state,
            CASE WHEN json_valid(CAST(payload AS TEXT)) THEN CAST(payload AS TEXT) ELSE '{}' END AS document
        FROM outbox WHERE target = ? AND order_id = '' AND operation = ? ORDER BY seq DESC LIMIT ?
    )
    WHERE json_extract(document, '$.notice') = ? AND json_extract(document, '$.machine') = ? ORDER BY seq DESC
"""
#: What of the sums tells whether anything is new.
_SUMS: Final = ("waiting", "received")


async def postings_of(
    connection: aiosqlite.Connection, identity: Identity, told: Iterable[ErpNotice], created_ns: int
) -> list[NewPosting]:
    """The postings of a step's notices, one of each for each target to which it is news.

    The numbers that they take are given once; the caller adds them all, in this transaction.
    """
    made: list[NewPosting] = []
    waiting: dict[str, int] = {}  # with those of this step, which are not added yet
    for notice in told:
        targets = notice.targets
        if notice.event == erp_notice.GROWING:
            targets = tuple([one for one in targets if await _is_news(connection, identity.machine, notice, one)])
        for target in targets:
            if target not in waiting:
                waiting[target] = await _waiting(connection, target)
            if waiting[target] < WAITING_MAX:
                made.append(await _posting(connection, identity, notice, target, created_ns))
                waiting[target] += 1
            elif notice.event != erp_notice.GROWING:  # what grows is offered again, with its sums
                await connection.execute_fetchall(_LEAVE_OUT, (target, notice.type.value))
    return made


async def _waiting(connection: aiosqlite.Connection, target: str) -> int:
    ((waiting,),) = await connection.execute_fetchall(_WAITING, (target,))
    return int(waiting)


async def _is_news(connection: aiosqlite.Connection, machine: str, notice: ErpNotice, target: str) -> bool:
    """Whether none such of this machine waits, and the last that was made did not say the same already."""
    values = (target, erp_notice.NOTICE_LANE, LOOKED_BACK_MAX, notice.type.value, machine)
    last = list(await connection.execute_fetchall(_LAST, values))
    if any(event == erp_notice.GROWING and state not in OVER for state, event, _ in last):
        return False
    if not notice.again:
        return True
    told = json.loads(last[0][2]) if last else notice.detail  # to whom nothing was told, nothing is told later
    return any(told.get(name) != notice.detail[name] for name in _SUMS)


async def _posting(
    connection: aiosqlite.Connection, identity: Identity, notice: ErpNotice, target: str, created_ns: int
) -> NewPosting:
    order = notice.erp_order
    ((seq,),) = await connection.execute_fetchall(_NEXT, (target, order))
    key = erp_notice.key_of(identity, target, order, int(seq))
    left_out = {str(name): int(number) for name, number in await connection.execute_fetchall(_LEFT_OUT, (target,))}
    if left_out:
        await connection.execute_fetchall(_TOLD, (target,))
    return NewPosting(
        target=target,
        key=key,
        message_id=message_id_of(key),
        order=order,
        operation=erp_notice.NOTICE_LANE,
        seq=int(seq),
        kind=erp_notice.NOTICE,
        payload=encode(erp_notice.document(identity, notice, target, int(seq), left_out)),
        created_ns=created_ns,
    )
