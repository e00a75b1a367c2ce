"""Postings, journal and closing records as plain rows for others, one after the other, and what was left out.

Postings are read of one moment: of what a correction puts in the place of another one, an export never has both as
valid, nor neither. No commit waits for it; the write-ahead log is not cut meanwhile, so whoever takes longer than
``MOMENT_MAX_S`` gets the rest of a later moment, and is told. Journal and closing records never change: they are read
in batches, between which nothing is held. Times are named in UTC as it is known now. Neither a file nor a format is
its business.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import clock_record, closing, moment, steps
from buffer.entry import COLUMNS, entry_of
from buffer.readonly import reading
from gateway.core.calendar.honest_time import utc_of
from gateway.core.document import utc

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from buffer.entry import OutboxEntry
    from buffer.steps import StepRow
    from gateway.core.calendar.honest_time import ClockCorrection

BATCH_ROWS: Final = 500
#: So long (seconds) one moment is held at most, such as for somebody who reads it page by page.
MOMENT_MAX_S: Final = 60.0
POSTING_FIELDS: Final = (
    "no", "key", "target", "order", "operation", "seq", "kind", "state", "created", "event", "sent", "settled",
    "attempts", "reference", "error", "content", "message", "step", "steps", "messages",
)  # fmt: skip
JOURNAL_FIELDS: Final = ("machine", "seq", "at", "kind", "body")

_POSTINGS: Final = f"SELECT {COLUMNS} FROM outbox WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608 - constants
_THERE: Final = """
    SELECT (SELECT coalesce(max(id), 0) FROM outbox), (SELECT coalesce(sum(postings), 0) FROM outbox_tally),
        (SELECT count(*) FROM outbox)
"""
_ROWS: Final = """
    SELECT seq, at_ns, kind, body FROM journal WHERE work_unit = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?
"""


class Wanted(NamedTuple):
    """Which rows; None: whatever it is. Times are UTC, ``from_ns`` is included, ``to_ns`` is not; numbers are, both.

    The time of a posting is when it was made.
    """

    order: str | None = None
    state: str | None = None
    target: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    first: int = 1
    last: int | None = None

    def in_time(self, utc_ns: int) -> bool:
        """Whether an instant is wanted."""
        return (self.from_ns is None or utc_ns >= self.from_ns) and (self.to_ns is None or utc_ns < self.to_ns)


class Export:
    """One export of one database. Iterate first, then ask what was left out."""

    def __init__(self, path: Path, wanted: Wanted, *, moment_max_s: float = MOMENT_MAX_S) -> None:
        self._path = path
        self._wanted = wanted
        self._moment_max_s = moment_max_s
        #: How many moments the postings were read of.
        self.moments = 0
        self.given = 0
        self.left_out: dict[str, int] = {}

    def postings(self) -> Iterator[dict[str, Any]]:
        """Each posting with its content and its message, in the order in which they were made. Raises StoreError."""
        wanted = self._wanted
        after, last = wanted.first - 1, wanted.last
        with reading(self._path) as connection:
            while last is None or after < last:
                self.moments += 1
                with moment.at_most(connection, self._moment_max_s) as look:
                    begun = look(self._begun)
                    if begun is None:  # over before it was begun
                        continue
                    known, newest = begun
                    last = newest if last is None else min(last, newest)
                    while (rows := look(partial(_batch, after, last))) is not None:
                        if not rows:
                            return
                        for one, messages in rows:
                            if not self._fits(one, known):
                                self._leave_out("not asked for", 1)
                                continue
                            self.given += 1
                            yield _posting(one, known, messages)
                        after = rows[-1][0].id

    def _begun(self, connection: sqlite3.Connection) -> tuple[tuple[ClockCorrection, ...], int]:
        """What is known of UTC, and the number of the newest posting; the first time also what is gone."""
        ((newest, told, there),) = connection.execute(_THERE)
        if self.moments == 1:
            self._leave_out("went by their age", max(told - there, 0))
        return _corrections(connection), newest

    def _fits(self, one: OutboxEntry, known: Sequence[ClockCorrection]) -> bool:
        wanted = self._wanted
        return (
            wanted.order in (None, one.order, one.lane_order)
            and wanted.state in (None, one.state)
            and wanted.target in (None, one.target)
            and wanted.in_time(utc_of(known, one.created_ns))
        )

    def journal(self, work_unit: str) -> Iterator[dict[str, Any]]:
        """Each journal row of a work unit from a number on, in their order. Raises StoreError."""
        wanted = self._wanted
        with reading(self._path) as connection:
            known = _corrections(connection)
            head = next(
                (
                    seq
                    for (seq,) in connection.execute(
                        "SELECT last_seq FROM journal_head WHERE work_unit = ?", (work_unit,)
                    )
                ),
                0,
            )
            after, last = wanted.first - 1, head if wanted.last is None else min(wanted.last, head)
            while rows := connection.execute(_ROWS, (work_unit, after, last, BATCH_ROWS)).fetchall():
                for seq, at_ns, kind, body in rows:
                    self._leave_out("went by their age", seq - after - 1)
                    after = seq
                    utc_ns, content = utc_of(known, at_ns), _json(body)
                    if not wanted.in_time(utc_ns) or not _of_order(content, wanted.order):
                        self._leave_out("not asked for", 1)
                        continue
                    self.given += 1
                    yield {"machine": work_unit, "seq": seq, "at": utc(utc_ns), "kind": kind, "body": content}
            self._leave_out("went by their age", max(last - after, 0))

    def days(self, work_unit: str | None = None) -> Iterator[dict[str, Any]]:
        """Each closing record as it is kept. Raises StoreError."""
        for one in closing.records(self._path, work_unit=work_unit):
            if not self._wanted.in_time(one.from_ns) or one.number < self._wanted.first:
                self._leave_out("not asked for", 1)
                continue
            self.given += 1
            document: dict[str, Any] = json.loads(one.document)
            yield document

    def _leave_out(self, why: str, number: int) -> None:
        if number:
            self.left_out[why] = self.left_out.get(why, 0) + number


def _batch(after: int, last: int, connection: sqlite3.Connection) -> list[tuple[OutboxEntry, tuple[StepRow, ...]]]:
    found = map(entry_of, connection.execute(_POSTINGS, (after, last, BATCH_ROWS)).fetchall())
    return [(one, steps.found(connection.execute(steps.READ, (one.id,)))) for one in found]


def _corrections(connection: sqlite3.Connection) -> tuple[ClockCorrection, ...]:
    return clock_record.corrections_of(connection.execute(*clock_record.corrections_query()))


def _posting(one: OutboxEntry, known: Sequence[ClockCorrection], rows: Sequence[StepRow]) -> dict[str, Any]:
    def at(steady_ns: int | None) -> str | None:
        return None if steady_ns is None else utc(utc_of(known, steady_ns))

    return {
        "no": one.id,
        "key": one.key,
        "target": one.target,
        "order": one.order,
        "operation": one.operation,
        "seq": one.seq,
        "kind": one.kind,
        "state": one.state.value,
        "created": at(one.created_ns),
        "event": at(one.event_ns),
        "sent": at(one.last_sent_ns),
        "settled": at(one.settled_ns),
        "attempts": one.attempts,
        "reference": one.reference,
        "error": " ".join(filter(None, (one.error_kind, one.error_code, one.error_text))),
        "content": _json(one.payload),
        "message": None if one.body is None else one.body.decode("utf-8", errors="replace"),
        "step": one.step,
        "steps": one.steps,
        "messages": steps.told(rows, at),
    }


def _json(stored: bytes) -> Any:
    try:
        return json.loads(stored)
    except ValueError:  # it is given as it is: an export is what one looks at when something is wrong
        return stored.decode("utf-8", errors="replace")


def _of_order(content: Any, order: str | None) -> bool:
    return order is None or (isinstance(content, dict) and content.get("order") == order)
