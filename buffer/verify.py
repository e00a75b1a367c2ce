"""Whether the database keeps its promises: each promise of the schema and of the steps, looked at row by row.

Reads only, one state of the file for each check, a few rows in memory at a time, so a gateway that runs goes on. It
repairs nothing. What went by its age is told from what is missing by the marks that pruning leaves; where it left none,
a missing row is a defect. The outbox has its checks in ``verify_outbox.py``, contents have theirs in
``verify_proofs.py``.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import closing, packing, schema, verify_outbox, verify_proofs
from buffer.audit_chain import ChainReader
from buffer.audit_guards import unguarded_in
from buffer.readonly import reading
from buffer.verify_found import TOLD_MAX, Found
from gateway.core.audit.chain import Broken
from gateway.core.closing_record import digest_of
from gateway.core.retention import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

#: Links that are copied at a time into the place where circles are looked for.
LINKS_AT_ONCE: Final = 1000

#: How sqlite3 names a text that is none any more.
_NO_TEXT: Final = "Could not decode"
_JOURNAL: Final = "SELECT work_unit, seq, at_ns, kind FROM journal ORDER BY work_unit, seq"
_MARKS: Final = "SELECT class, seq FROM journal_pruned WHERE work_unit = ?"
_LINKS: Final = """
    SELECT parent_kind || '/' || parent_item || '/' || parent, child_kind || '/' || child_item || '/' || child
    FROM genealogy WHERE certainty <> 'refused'
"""
_RECORDS: Final = """
    SELECT work_unit, number, day, from_ns, to_ns, end_ns, first_seq, last_seq, complete, digest, document, at_ns
    FROM closing_record ORDER BY work_unit, number
"""


class Checked(NamedTuple):
    """One check: how many rows it looked at, how many defects it found, and the first ``TOLD_MAX`` of them.

    ``notes``: what it could hold against nothing.
    """

    name: str
    looked_at: int
    defects: int
    told: tuple[str, ...]
    notes: tuple[str, ...] = ()


def verified(
    path: Path,
    *,
    quick: bool = False,
    load: Callable[[str, bytes], str] | None = None,
    without: Collection[str] = (),
) -> Iterator[Checked]:
    """Each check in turn but those of these names. ``load`` says why a snapshot cannot be loaded, "" where it can.

    Raises StoreError where the file cannot be read, NewerSchemaError.
    """
    checks: dict[str, Callable[[sqlite3.Connection, Found], None]] = {
        "SQLite quick_check" if quick else "SQLite integrity_check": _quick if quick else _whole,
        "journal numbers": _journal,
        "snapshots": lambda connection, found: _snapshots(connection, found, load),
        **verify_outbox.CHECKS,
        **verify_proofs.CHECKS,
        "audit trail": _audit,
        "genealogy": _genealogy,
        "closing records": _closing,
    }
    with reading(path) as connection:
        schema.check_present(path, connection.execute("PRAGMA user_version").fetchone()[0])
        for name, check in checks.items():
            if name in without:
                continue
            found = Found()
            # One state of the file for the whole check, and none held between two checks.
            connection.execute("BEGIN")
            try:
                check(connection, found)
            except sqlite3.DatabaseError as error:  # a page that cannot be read is what is looked for
                if isinstance(error, sqlite3.OperationalError) and _NO_TEXT not in str(error):
                    raise
                found.defect(f"cannot be read: {error}")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            yield Checked(name, found.looked_at, found.defects, tuple(found.told), tuple(found.notes))


def _whole(connection: sqlite3.Connection, found: Found) -> None:
    _sound(connection, found, "integrity_check")


def _quick(connection: sqlite3.Connection, found: Found) -> None:
    _sound(connection, found, "quick_check")


def _sound(connection: sqlite3.Connection, found: Found, name: str) -> None:
    (found.looked_at,) = connection.execute("PRAGMA page_count").fetchone()
    for (text,) in connection.execute(f"PRAGMA {name}({TOLD_MAX})"):
        if text != "ok":
            found.defect(str(text))


def _journal(connection: sqlite3.Connection, found: Found) -> None:
    heads = dict(connection.execute("SELECT work_unit, last_seq FROM journal_head"))
    for unit, rows in groupby(connection.execute(_JOURNAL), itemgetter(0)):
        marks = dict(connection.execute(_MARKS, (unit,)))
        last = _rows_of(unit, rows, marks, found)
        _tail(unit, last, heads.pop(unit, None), max(marks.values(), default=0), found)
    for unit, head in heads.items():
        found.looked_at += 1
        _tail(unit, 0, head, max((seq for _, seq in connection.execute(_MARKS, (unit,))), default=0), found)


def _rows_of(unit: str, rows: Iterator[tuple[Any, ...]], marks: dict[str, int], found: Found) -> int:
    pruned, last, last_ns = max(marks.values(), default=0), 0, 0
    for _, seq, at_ns, kind in rows:
        found.looked_at += 1
        if seq != last + 1 and last + 1 > pruned:
            found.defect(f"{unit}: numbers {last + 1} to {seq - 1} are missing, and none of them went by its age")
        elif seq != last + 1 and seq - 1 > pruned:
            found.defect(f"{unit}: numbers {pruned + 1} to {seq - 1} are missing, and none of them went by its age")
        if at_ns < last_ns:
            found.defect(f"{unit}: number {seq} is older than the one before")
        if seq <= marks.get(class_of(kind).value, 0):
            found.defect(f"{unit}: number {seq} ({kind}) is there, though its class is pruned up to beyond it")
        last, last_ns = seq, at_ns
    return last


def _tail(unit: str, last: int, head: int | None, pruned: int, found: Found) -> None:
    if head is None:
        found.defect(f"{unit}: has {last} as its last number, and no head")
    elif last > head:
        found.defect(f"{unit}: has number {last}, its head says {head}")
    elif max(last, pruned) < head:
        found.defect(f"{unit}: numbers {max(last, pruned) + 1} to {head} are missing at the end")


def _snapshots(connection: sqlite3.Connection, found: Found, load: Callable[[str, bytes], str] | None) -> None:
    heads = dict(connection.execute("SELECT work_unit, last_seq FROM journal_head"))
    for unit, stored in connection.execute("SELECT id, snapshot FROM work_unit ORDER BY id"):
        found.looked_at += 1
        try:
            state = packing.unpack(stored)
            seq = json.loads(state)["journal_seq"]
        except (ValueError, KeyError, TypeError) as error:
            found.defect(f"{unit}: the snapshot cannot be read: {error!r}")
            continue
        if seq != heads.get(unit, 0):
            found.defect(f"{unit}: the snapshot is of number {seq}, the journal ends at {heads.get(unit, 0)}")
        why = "" if load is None else load(unit, state)
        if why:
            found.defect(why)


def _audit(connection: sqlite3.Connection, found: Found) -> None:
    for one in unguarded_in(connection):
        found.defect(f"{one}: whoever can change the schema can change entries; put the database before it back")
    verdict = ChainReader(connection).verify()
    if isinstance(verdict, Broken):
        found.looked_at = verdict.seq
        found.defect(f"broken at {verdict.seq}: {verdict.why}")
    else:
        found.looked_at = verdict.entries


def _genealogy(connection: sqlite3.Connection, found: Found) -> None:
    # A temporary database of SQLite's own spills to the disk: a million links need no memory here.
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as place:
        place.execute("CREATE TABLE link (parent TEXT, child TEXT, PRIMARY KEY (parent, child)) WITHOUT ROWID")
        place.execute("CREATE INDEX link_child ON link (child)")
        place.execute("BEGIN")
        links = connection.execute(_LINKS)
        while rows := links.fetchmany(LINKS_AT_ONCE):
            found.looked_at += len(rows)
            place.executemany("INSERT OR IGNORE INTO link VALUES (?, ?)", rows)
        # What nothing went into is in no circle; nor is then what only such things went into, and so on.
        while place.execute("DELETE FROM link WHERE parent NOT IN (SELECT child FROM link)").rowcount:
            pass
        while place.execute("DELETE FROM link WHERE child NOT IN (SELECT parent FROM link)").rowcount:
            pass
        for parent, child in place.execute("SELECT parent, child FROM link LIMIT ?", (TOLD_MAX,)):
            found.defect(f"{parent} went into {child}, and that into it again")


def _closing(connection: sqlite3.Connection, found: Found) -> None:
    heads = dict(connection.execute("SELECT work_unit, last_seq FROM journal_head"))
    before: closing.Closed | None = None
    for row in connection.execute(_RECORDS):
        one = closing.closed(row)
        found.looked_at += 1
        follows = before if before is not None and before.work_unit == one.work_unit else None
        for text in _record_faults(connection, one, follows, heads.get(one.work_unit, 0)):
            found.defect(f"{one.work_unit} {one.day}, record {one.number}: {text}")
        before = one


def _record_faults(
    connection: sqlite3.Connection, one: closing.Closed, before: closing.Closed | None, head: int
) -> Iterator[str]:
    try:
        document = json.loads(one.document)
        rows, previous = document["journal"]["rows"], document["previous"]
    except (ValueError, KeyError, TypeError) as error:
        yield f"cannot be read: {error!r}"
        return
    if not one.digest == document.get("digest") == digest_of(document):
        yield "its digest is not that of its content"
    if (one.number, previous) != ((1, "") if before is None else (before.number + 1, before.digest)):
        yield "it does not follow the record before"
    if before is not None and one.first_seq != before.last_seq + 1:
        yield f"begins at journal number {one.first_seq}, the record before ends at {before.last_seq}"
    told = connection.execute(
        "SELECT 1 FROM audit_entry WHERE action = 'day_closed' AND entity_id = ? AND new = ?",
        (one.work_unit, one.digest),
    )
    if told.fetchone() is None:
        yield "its digest does not stand in the audit trail"
    if one.last_seq > head:
        yield f"ends at journal number {one.last_seq}, the journal at {head}"
    ((there,),) = connection.execute(
        "SELECT count(*) FROM journal WHERE work_unit = ? AND seq BETWEEN ? AND ?",
        (one.work_unit, one.first_seq, one.last_seq),
    )
    pruned = max((seq for _, seq in connection.execute(_MARKS, (one.work_unit,))), default=0)
    if there > rows or (there < rows and pruned < one.first_seq):
        yield f"was made of {rows} journal rows, found {there}"
