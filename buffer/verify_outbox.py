"""Checks of the outbox: numbers, keys, messages, heads of lanes, sums, and the last numbers of orders.

Booked and void postings go by their age. How many went is what the sums know more than there are rows; which ones they
were nobody keeps, but the next one of a lane is never sent before the one in front of it is settled, so behind a booked
one that is still there no booked one can have gone. What is missing there is a defect.
"""

from __future__ import annotations

import hashlib
import json
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from gateway.core.document import encode, message_id_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from buffer.verify_found import Found

#: What books nothing: their documents are no links of a chain.
_BESIDE: Final = frozenset({"ack", "notice"})
_OVER: Final = "('posted', 'delivered', 'superseded', 'voided')"
_LANES: Final = """
    SELECT target, order_id, operation, seq, id, state, resends FROM outbox ORDER BY target, order_id, operation, seq
"""
_ELSEWHERE: Final = """
    SELECT 1 FROM outbox_tally AS one
    JOIN outbox ON outbox.target = one.target AND order_id = ?2 AND operation = ?3 AND seq = ?4
    WHERE one.target <> ?1 LIMIT 1
"""
_LANE_ELSEWHERE: Final = """
    SELECT 1 FROM outbox_tally AS one
    JOIN outbox ON outbox.target = one.target AND order_id = ?2 AND operation = ?3 WHERE one.target <> ?1 LIMIT 1
"""
_GONE: Final = """
    SELECT target, state, postings - (
        SELECT count(*) FROM outbox WHERE outbox.target = outbox_tally.target AND outbox.state = outbox_tally.state
    ) FROM outbox_tally WHERE state IN ('posted', 'delivered', 'voided')
"""
_KEYS: Final = "SELECT id, key, message_id, target, order_id, operation, seq, kind, payload FROM outbox ORDER BY id"
_CHAIN: Final = """
    SELECT target, order_id, operation, seq, key, payload FROM outbox ORDER BY target, order_id, operation, seq
"""
_TWICE: Final = """
    SELECT one.key, one.target, other.target FROM outbox AS one
    JOIN outbox_tally AS target ON target.target > one.target
    JOIN outbox AS other ON other.target = target.target AND other.key = one.key
    WHERE other.payload <> one.payload OR other.message_id <> one.message_id OR other.seq <> one.seq
    GROUP BY 1, 2, 3
"""
_MESSAGES: Final = """
    SELECT id, key FROM outbox
    WHERE (body IS NULL AND state IN ('sending', 'uncertain', 'accepted', 'posted', 'delivered'))
        OR (body IS NULL) <> (content_type IS NULL) OR (body IS NULL) <> (name IS NULL)
"""
_SAME: Final = "SELECT target, key, count(*) FROM outbox GROUP BY target, key HAVING count(*) > 1"
_NO_HEAD: Final = f"""
    SELECT min(id), target, lane_order, operation FROM outbox WHERE state NOT IN {_OVER} AND passed = 0
    GROUP BY target, lane_order, operation HAVING sum(head) <> 1 OR min(CASE head WHEN 1 THEN id END) <> min(id)
"""  # noqa: S608 - constants
_PASSED: Final = "SELECT id FROM outbox WHERE passed = 1 AND (head <> 1 OR state <> 'accepted')"
_STEPS: Final = """
    SELECT id, key, step, steps, (SELECT count(*) FROM outbox_steps WHERE posting = id),
        (SELECT count(*) FROM outbox_steps AS one WHERE posting = id AND one.step < outbox.step AND outcome = '')
    FROM outbox WHERE steps > 1 OR step > 0
"""
_NOBODYS: Final = "SELECT DISTINCT posting FROM outbox_steps WHERE posting NOT IN (SELECT id FROM outbox)"
_DEAD_HEAD: Final = f"SELECT id FROM outbox WHERE head = 1 AND state IN {_OVER}"  # noqa: S608 - constants
_SUMS: Final = """
    SELECT target, state, sum(rows), sum(told) FROM (
        SELECT target, state, count(*) AS rows, 0 AS told FROM outbox GROUP BY target, state
        UNION ALL SELECT target, state, 0, postings FROM outbox_tally
    ) GROUP BY target, state
"""
#: The sums of answers and of notices, which are parts of it: kind, target, state, those that are there, those told.
_PARTS: Final = """
    SELECT kind, target, state, sum(rows), sum(told) FROM (
        SELECT kind, target, state, count(*) AS rows, 0 AS told FROM outbox WHERE kind IN ('ack', 'notice')
        GROUP BY kind, target, state
        UNION ALL SELECT 'ack', target, state, 0, postings FROM answer_tally
        UNION ALL SELECT 'notice', target, state, 0, postings FROM notice_tally
    ) GROUP BY kind, target, state
"""
_IN_WORDS: Final = {"ack": "answers to orders", "notice": "notices"}
#: The highest number of a notice that is there, and the last one that was given out; 0: none was.
_NOTICE_NUMBERS: Final = """
    SELECT one.target, one.order_id, one.seq, coalesce(last_seq, 0) FROM (
        SELECT target, order_id, max(seq) AS seq FROM outbox WHERE kind = 'notice' GROUP BY target, order_id
    ) AS one LEFT JOIN notice_head USING (target, order_id) WHERE one.seq > coalesce(last_seq, 0)
"""
_NUMBERS: Final = """
    SELECT one.order_id, one.operation, one.seq, job.seq, job_number.seq,
        json_extract(CAST(job.record AS TEXT), '$.seq')
    FROM (
        SELECT order_id, operation, max(seq) AS seq FROM (
            SELECT order_id, operation, max(seq) AS seq FROM outbox WHERE kind NOT IN ('ack', 'notice')
            GROUP BY target, order_id, operation
            UNION ALL SELECT order_id, operation, 0 FROM job
            UNION ALL SELECT order_id, operation, 0 FROM job_number
        ) GROUP BY order_id, operation
    ) AS one
    LEFT JOIN job USING (order_id, operation) LEFT JOIN job_number USING (order_id, operation)
"""


def _numbers(connection: sqlite3.Connection, found: Found) -> None:
    gone = {(target, state): number for target, state, number in connection.execute(_GONE)}
    pruned = any(number > 0 for number in gone.values())
    for lane, rows in groupby(connection.execute(_LANES), itemgetter(0, 1, 2)):
        void_gone = gone.get((lane[0], "voided"), 0) > 0
        last, last_id, booked = 0, 0, False
        for *_, seq, number, state, resends in rows:
            found.looked_at += 1
            explained = void_gone if booked else pruned
            if seq > last + 1 and not explained and not _told_elsewhere(connection, lane, last, seq):
                found.defect(f"{_named(lane)}: numbers {last + 1} to {seq - 1} are missing")
            if number < last_id:
                found.defect(f"{_named(lane)}: number {seq} was put in before number {last}")
            last, last_id = seq, number
            booked = booked or (state in ("posted", "delivered") and not resends)


def _told_elsewhere(connection: sqlite3.Connection, lane: tuple[str, str, str], last: int, seq: int) -> bool:
    """Another target had them: what an order is confirmed to may change with the configuration."""
    if last == 0:
        return connection.execute(_LANE_ELSEWHERE, lane).fetchone() is not None
    return all(connection.execute(_ELSEWHERE, (*lane, number)).fetchone() for number in range(last + 1, seq))


def _keys(connection: sqlite3.Connection, found: Found) -> None:
    for number, key, message_id, target, order, operation, seq, kind, payload in connection.execute(_KEYS):
        found.looked_at += 1
        if message_id != message_id_of(key):
            found.defect(f"id {number}: the message id is not that of the key {key}")
        own = _own_part(kind, target, order, operation)
        if own and not key.endswith(f"/{own}/{seq}"):
            found.defect(f"id {number}: the key {key} is not that of order {order} operation {operation} number {seq}")
        why = _document_fault(key, kind, payload)
        if why:
            found.defect(f"id {number}: {why}")
    for key, one, other in connection.execute(_TWICE):
        found.defect(f"key {key}: {one} and {other} have different contents under it")


def _chain(connection: sqlite3.Connection, found: Found) -> None:
    """Each confirmation names the hash of the one before, also of one that was made void; what went by age is not."""
    before: tuple[tuple[str, str], int, str] = (("", ""), 0, "")
    for target, order, operation, seq, key, payload in connection.execute(_CHAIN):
        try:
            document = json.loads(payload)
        except ValueError:  # the check of contents names it
            continue
        if not isinstance(document, dict) or "prev_hash" not in document:
            continue
        found.looked_at += 1
        of = (target, key.rpartition("/")[0])  # another epoch begins a chain of its own
        lane, number, told = before
        if lane == of and number == seq - 1 and document["prev_hash"] != told:
            found.defect(
                f"{target}, order {order} operation {operation}: number {seq} does not name the hash of number "
                f"{number}: one of them was changed, or another one put in its place"
            )
        before = (of, seq, str(document.get("hash")))


def _own_part(kind: str, target: str, order: str, operation: str) -> str:
    """What a key says before its number; "": an answer's has a form of its own."""
    if kind == "notice":
        return f"{order}/{operation}/{target}"
    return "" if kind == "ack" else f"{order}/{operation}"


def _document_fault(key: str, kind: str, payload: bytes) -> str:
    try:
        document = json.loads(payload)
    except ValueError as error:
        return f"the content of {key} is no JSON: {error}"
    if kind in _BESIDE or not isinstance(document, dict) or "hash" not in document:
        return ""
    told = document.pop("hash")
    same = told == hashlib.sha256(encode(document)).hexdigest()
    if not same:
        return f"the content of {key} is not the one that its hash was made of"
    return "" if document.get("idempotency_key") == key else f"the content of {key} names another key"


def _messages(connection: sqlite3.Connection, found: Found) -> None:
    ((found.looked_at,),) = connection.execute("SELECT count(*) FROM outbox WHERE body IS NOT NULL")
    for number, key in connection.execute(_MESSAGES):
        found.defect(f"id {number}: key {key} has no whole message, though it needs one")
    for target, key, times in connection.execute(_SAME):
        found.defect(f"key {key}: {times} postings for {target}, allowed: one")


def _steps(connection: sqlite3.Connection, found: Found) -> None:
    for number, key, step, steps, rows, unsettled in connection.execute(_STEPS):
        found.looked_at += 1
        if rows != steps:
            found.defect(f"id {number}: key {key} has {steps} steps and the messages of {rows}")
        if not 0 <= step < steps or unsettled:
            found.defect(
                f"id {number}: key {key} is at step {step + 1} of {steps}, {unsettled} before it are not booked"
            )
    for (number,) in connection.execute(_NOBODYS):
        found.defect(f"id {number}: steps without a posting")


def _heads(connection: sqlite3.Connection, found: Found) -> None:
    ((found.looked_at,),) = connection.execute("SELECT count(*) FROM outbox WHERE head = 1")
    for number, *lane in connection.execute(_NO_HEAD):
        found.defect(f"{_named(lane)}: the oldest open posting, id {number}, is not its only head")
    for (number,) in connection.execute(_PASSED):
        found.defect(f"id {number}: lets others of its lane go, and is not an accepted head")
    for (number,) in connection.execute(_DEAD_HEAD):
        found.defect(f"id {number}: is the head of its lane, and over")


def _sums(connection: sqlite3.Connection, found: Found) -> None:
    every: dict[tuple[str, str], int] = {}
    for target, state, rows, told in connection.execute(_SUMS):
        found.looked_at += rows
        every[target, state] = told
        if _is_wrong(state, rows, told):
            found.defect(f"{target}, {state}: {rows} postings, the sum says {told}")
    for kind, target, state, rows, told in connection.execute(_PARTS):
        # What went by its age must have been of all that went.
        if _is_wrong(state, rows, told) or told > every.get((target, state), 0):
            found.defect(f"{target}, {state}: {rows} {_IN_WORDS[kind]}, their sum says {told}")


def _is_wrong(state: str, rows: int, told: int) -> bool:
    return rows > told or (rows < told and state not in ("posted", "delivered", "voided"))


def _orders(connection: sqlite3.Connection, found: Found) -> None:
    pruned = any(number > 0 for _, _, number in connection.execute(_GONE))
    for order, operation, newest, remembered, kept, recorded in connection.execute(_NUMBERS):
        found.looked_at += 1
        name = f"order {order} operation {operation}"
        known = max(remembered or 0, kept or 0)
        if newest > known:
            found.defect(f"{name}: has posting number {newest}, its last number is {known}")
        elif newest < known and remembered is not None and not pruned and known > (kept or 0):
            found.defect(f"{name}: its last number is {known}, the newest posting is {newest}")
        if remembered is not None and remembered != recorded:
            found.defect(f"{name}: its number is {remembered}, its record says {recorded}")
        if remembered is not None and kept is not None and remembered < kept:
            found.defect(f"{name}: its number is {remembered}, and was {kept} before it was forgotten")
    for target, order, newest, given in connection.execute(_NOTICE_NUMBERS):
        found.defect(
            f"{target}, notices of order {order or '(none)'}: number {newest} is there, the last one is {given}"
        )


def _named(lane: Any) -> str:
    return f"{lane[0]}, order {lane[1]} operation {lane[2]}"


CHECKS: Final[Mapping[str, Callable[[sqlite3.Connection, Found], None]]] = {
    "posting numbers": _numbers,
    "keys and contents": _keys,
    "chain of confirmations": _chain,
    "messages": _messages,
    "steps": _steps,
    "heads of lanes": _heads,
    "sums of postings": _sums,
    "last numbers of orders": _orders,
}
