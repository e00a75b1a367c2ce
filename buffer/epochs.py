"""A new epoch in a database that does not know what left the box last: a restored copy, or one that went back in time.

No key is given out twice, and nothing that may be booked already goes on by itself: what was about to be sent, and the
first confirmation of every operation that is not over, wait for a person. Finds out nothing (``restore``, ``older``).
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import catching_up

if TYPE_CHECKING:
    import aiosqlite

EPOCH_BYTES: Final = 8
#: The kind of error of what waits: the copy was restored by a person, or the database went back by itself.
RESTORED: Final = "restored"
OLDER: Final = "older"

_OVER: Final = "('CLOSED', 'CANCELLED', 'SPLIT', 'MERGED')"
_EPOCH: Final = "UPDATE meta SET chain = CASE chain WHEN '' THEN epoch ELSE chain END, epoch = ?"
_WAIT: Final = """
    UPDATE outbox SET state = 'needs_approval', error_kind = ?, error_code = '', error_text = ?
    WHERE state IN ('held', 'ready', 'retry_wait') AND kind NOT IN ('ack', 'notice') RETURNING 1
"""
_OPERATIONS: Final = f"""
    INSERT INTO restored_operation (order_id, operation, note)
    SELECT order_id, operation, ? FROM job WHERE state NOT IN {_OVER}
    ON CONFLICT (order_id, operation) DO UPDATE SET note = excluded.note RETURNING 1
"""  # noqa: S608 - constants
_RESTORED: Final = """
    INSERT INTO restored (at_ns, file, epoch_before, epoch, set_aside, postings, operations, told)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING number
"""


class Begun(NamedTuple):
    """The new epoch, its number among those that began so, and what waits."""

    epoch: str
    number: int
    postings: int
    operations: int


class Why(NamedTuple):
    """Why an epoch begins. ``file``: the copy that was restored, "" where nobody restored one.

    ``kind`` and ``text`` stand at what waits, ``told`` in the record. ``stops`` False: nothing has to wait.
    ``complete``: every order that may come again only later is known by name.
    """

    kind: str
    text: str
    file: str = ""
    set_aside: str = ""
    told: str = ""
    stops: bool = True
    complete: bool = False


def new_epoch() -> str:
    """A random name, 13 base32 characters."""
    return base64.b32encode(secrets.token_bytes(EPOCH_BYTES)).decode().rstrip("=").lower()


async def begin(connection: aiosqlite.Connection, at_ns: int, before: str, why: Why) -> Begun:
    """In a transaction that is open; ``before`` is the epoch that ends."""
    epoch = new_epoch()
    await connection.execute_fetchall(_EPOCH, (epoch,))
    postings = operations = 0
    if why.stops:
        postings = len(list(await connection.execute_fetchall(_WAIT, (why.kind, why.text))))
        operations = len(list(await connection.execute_fetchall(_OPERATIONS, (why.text,))))
    if why.stops and not why.complete:
        await catching_up.begin(connection)
    row = (at_ns, why.file, before, epoch, why.set_aside, postings, operations, why.told)
    ((number,),) = await connection.execute_fetchall(_RESTORED, row)
    return Begun(epoch, int(number), postings, operations)
