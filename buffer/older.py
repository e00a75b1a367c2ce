"""Whether a database is older than what has left the box, by its mark; and what follows, in one transaction.

A posting that the mark names and the database does not know may be booked at its target, and its pieces will be counted
again: a new epoch begins, and what may be in it already waits for a person (``epochs``). What the database knows, but
not that it was sent, becomes uncertain: the forwarder looks it up, or repeats it with the same key. It asks nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import epochs
from buffer.mark import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiosqlite

    from buffer.mark import Marked, Sent

#: Keys that a text names; of more only the number.
NAMED_MAX: Final = 5
TEXT_MAX_CHARS: Final = 500
#: Postings in the mark that are written down one by one.
SENT_MAX: Final = 2000
#: What books nothing: sent twice it does no harm, so nothing waits because of it.
BESIDE: Final = frozenset({"ack", "notice"})
_IN_WORDS: Final = {"ack": "an answer to an order", "notice": "a notice"}
#: So begins what stands at each posting that waits.
STOPPED: Final = "the database was older than what has left the box"
_STOPS_ALREADY: Final = "SELECT EXISTS (SELECT 1 FROM restored_operation)"

_LINEAGE: Final = "SELECT epoch_before FROM restored UNION SELECT epoch FROM restored"
_LAST_ID: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"
_ROW: Final = "SELECT id, attempts, payload, state, body IS NOT NULL FROM outbox WHERE target = ? AND key = ?"
_HEADS: Final = "SELECT work_unit, last_seq FROM journal_head"
_TIME: Final = "UPDATE meta SET last_time_ns = max(last_time_ns, ?)"
_LAST_NS: Final = "SELECT last_time_ns FROM meta"
#: Sent once more than the database knows, and how that ended nobody wrote down.
_UNCERTAIN: Final = """
    UPDATE outbox SET state = 'uncertain', attempts = ?1, due_ns = ?2, first_sent_ns = coalesce(first_sent_ns, ?2),
        last_sent_ns = ?2, error_kind = 'older', error_code = '', error_since_ns = ?2, error_count = 1,
        error_text = 'this was sent, and the database went back to before: it is looked up, or repeated as it was'
    WHERE id = ?3 AND state IN ('held', 'ready', 'retry_wait', 'needs_approval') AND body IS NOT NULL
"""
#: The same without its message: whoever can make it again (``rendered``) makes it uncertain.
_UNRENDERED: Final = """
    UPDATE outbox SET state = 'needs_approval', attempts = ?1, due_ns = ?2, error_kind = 'older', error_code = 'SENT',
        error_text = 'this was sent, and the database went back to before: it may be booked already; look before you '
            || 'approve', last_sent_ns = ?2, error_since_ns = ?2, error_count = 1
    WHERE id = ?3 AND state IN ('held', 'ready', 'retry_wait', 'needs_approval') AND body IS NULL
"""
#: Also in a state that stays: up to this step a message has left.
_LEFT: Final = "UPDATE outbox SET left_step = max(left_step, ?) WHERE id = ?"
#: A lane sends one after the other: what stands before one that was sent was sent, too.
_BEFORE: Final = """
    SELECT id, attempts + 1, steps - 1 FROM outbox
    WHERE target = ? AND order_id = ? AND operation = ? AND id < ?
        AND state NOT IN ('posted', 'delivered', 'superseded', 'voided')
"""
_OTHER: Final = """
    UPDATE outbox SET state = 'parked', passed = 0, error_kind = 'older', error_code = 'OTHER_CONTENTS',
        settled_ns = ?1,
        error_text = 'its key left the box with other contents before the database went back: look what is booked '
            || 'under it, then discard this one'
    WHERE id = ?2 AND state NOT IN ('posted', 'delivered', 'superseded', 'voided', 'parked')
"""
_DOUBT: Final = "INSERT INTO doubt (restored, complete) VALUES (?, ?)"
_SENT: Final = """
    INSERT INTO doubt_sent (restored, target, key, kind, order_id, operation, seq, name, good, scrap, rework, found)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_STOPPED: Final = """
    INSERT INTO restored_operation (order_id, operation, note) VALUES (?, ?, ?)
    ON CONFLICT (order_id, operation) DO UPDATE SET note = excluded.note
"""


class Older(NamedTuple):
    """What the mark knows more. ``text`` says it to a person.

    ``missing``: sent, and not in the database; ``behind``: sent more often than it knows; ``other``: sent under their
    key with other contents. ``complete``: the mark names every operation of which something may be missing.
    ``made_anew``: the database was made at this start, though postings had left before.
    """

    missing: tuple[Sent, ...]
    behind: tuple[tuple[int, Sent], ...]
    other: tuple[tuple[int, Sent], ...]
    journal: Mapping[str, tuple[int, int]]
    complete: bool
    made_anew: bool = False
    text: str = ""


async def compare(connection: aiosqlite.Connection, marked: Marked, epoch: str, *, made_anew: bool) -> Older | None:
    """What the mark knows that the database of this epoch does not, None where it is not older."""
    if not marked.sent:
        return None
    if made_anew:
        found = Older(tuple(one for _, one in marked.sent), (), (), {}, complete=not marked.dropped, made_anew=True)
        return found._replace(text=_text(found))
    last = marked.eras[-1]
    lineage = {str(row[0]) for row in await connection.execute_fetchall(_LINEAGE)}
    if epoch != last and last in lineage:
        return None  # it went on from that one, and knows it
    since = marked.eras.index(epoch) if epoch in marked.eras else 0
    wanted = [(era, one) for era, one in marked.sent if era in marked.eras[since:]]
    ((last_id,),) = await connection.execute_fetchall(_LAST_ID)
    missing, behind, other = [], [], []
    for era, one in wanted:
        rows = list(await connection.execute_fetchall(_ROW, (one.target, one.key)))
        if not rows:
            # Of its own epoch a posting with a number that was given out has gone by its age.
            if era != epoch or one.id > last_id:
                missing.append(one)
            continue
        number, attempts, payload, *_ = rows[0]
        if digest_of(payload) != one.digest:
            other.append((int(number), one))
        elif attempts < one.attempt:
            behind.append((int(number), one))
    if epoch == last and not (missing or behind or other):
        return None
    heads = {str(unit): int(seq) for unit, seq in await connection.execute_fetchall(_HEADS)}
    journal = {unit: (heads.get(unit, 0), seq) for unit, seq in marked.journal.items() if seq > heads.get(unit, 0)}
    complete = epoch in marked.eras and not marked.dropped
    found = Older(tuple(missing), tuple(behind), tuple(other), journal, complete)
    return found._replace(text=_text(found))


async def take(connection: aiosqlite.Connection, found: Older, before: str) -> str:
    """Begin a new epoch, and stop what may be booked already; returns the epoch. In a transaction that is open."""
    everything = [*found.missing, *(one for _, one in (*found.behind, *found.other))]
    at_ns = max((one.at_ns for one in everything), default=0)
    await connection.execute_fetchall(_TIME, (at_ns,))
    ((at_ns,),) = await connection.execute_fetchall(_LAST_NS)
    await _sent_again(connection, found)
    for number, _ in found.other:
        await connection.execute_fetchall(_OTHER, (at_ns, number))
    stops = bool([one for one in found.missing if one.kind not in BESIDE]) or not found.complete
    # What waits since a restore must not be let go with what waits from now on.
    ((already,),) = await connection.execute_fetchall(_STOPS_ALREADY)
    why = epochs.Why(
        epochs.OLDER, _stopped((), complete=found.complete), told=found.text, stops=stops, complete=found.complete
    )
    begun = await epochs.begin(connection, at_ns, before, why)
    await connection.execute_fetchall(_DOUBT, (begun.number, int(found.complete and not already)))
    for one in found.missing[-SENT_MAX:]:
        row = (begun.number, one.target, one.key, one.kind, one.order, one.operation, one.seq, one.name)
        # A step leaves once the one before is booked.
        await connection.execute_fetchall(_SENT, (*row, one.good, one.scrap, one.rework, "booked" if one.step else ""))
    by_operation: dict[tuple[str, str], list[Sent]] = {}
    for one in found.missing:
        if one.kind not in BESIDE:
            by_operation.setdefault((one.order, one.operation), []).append(one)
    for operation, sent in by_operation.items():
        note = _stopped(sent, complete=found.complete)
        await connection.execute_fetchall(_STOPPED, (*operation, note))
    return begun.epoch


async def _sent_again(connection: aiosqlite.Connection, found: Older) -> None:
    """What the database has was sent, or sent once more: its end is not known."""
    known = {number for number, _ in found.behind}
    again = [(number, one.attempt, one.at_ns, one.step) for number, one in found.behind]
    for number, one in (*((one.id, one) for one in found.missing), *found.behind):
        lane = (one.target, one.order, one.operation, number)
        for earlier, attempts, last_step in await connection.execute_fetchall(_BEFORE, lane):
            if earlier not in known:
                known.add(earlier)
                again.append((int(earlier), int(attempts), one.at_ns, int(last_step)))
    for number, attempts, sent_ns, step in again:
        await connection.execute_fetchall(_LEFT, (step, number))
        await connection.execute_fetchall(_UNCERTAIN, (attempts, sent_ns, number))
        await connection.execute_fetchall(_UNRENDERED, (attempts, sent_ns, number))


def _stopped(sent: Sequence[Sent], *, complete: bool) -> str:
    """What stands at a confirmation that waits for a person."""
    which = f"of this operation {_named(sent)}" if sent else "not of this operation, as far as is known"
    limits = "" if complete else " (not everything that left is known)"
    text = f"{STOPPED}{limits}: {which}; pieces in it may be in this one again; look in the ERP before you approve"
    return text[:TEXT_MAX_CHARS]


def _named(sent: Sequence[Sent]) -> str:
    made = [f"{one.key} ({_quantity(one)})" for one in sent[-NAMED_MAX:]]
    more = f" and {len(sent) - NAMED_MAX} more" if len(sent) > NAMED_MAX else ""
    return f"{', '.join(made)}{more}"


def _quantity(one: Sent) -> str:
    if one.kind in BESIDE:
        return _IN_WORDS[one.kind]
    parts = ((one.good, "good"), (one.scrap, "scrap"), (one.rework, "rework"))
    return ", ".join(f"{number} {what}" for number, what in parts if number not in ("", "0")) or "no pieces"


def _text(found: Older) -> str:
    if found.made_anew:
        return (
            f"the database is new, though {len(found.missing)} postings of the one before had left, the last of them "
            f"{_named(found.missing[-1:])}: it is gone with what waited in it; look for it before you go on"
        )
    parts = ["the database is older than what has left the box: an older state of its file was opened"]
    if found.missing:
        parts.append(f"sent and not in it: {_named(found.missing)}")
    if found.behind:
        parts.append(f"sent more often than it knows: {_named([one for _, one in found.behind])}")
    if found.other:
        parts.append(f"sent with other contents: {_named([one for _, one in found.other])}")
    for unit, (has, had) in sorted(found.journal.items())[:NAMED_MAX]:
        parts.append(f"{unit}: the journal ends at {has}, it was at {had} or more")
    if not found.complete:
        parts.append("what left longer ago is not named")
    return "; ".join(parts)
