"""Closing records: what is read of a day, and the records as they are kept. What they say is the core's business.

The rows of a day that is over do not change any more, so they are summed up beside the writer; how far
confirmations got is read in the transaction that keeps the record. Deletes nothing: the schema refuses that.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import audit_chain
from buffer.journal import first_from
from buffer.readonly import reading
from gateway.core.closing_record import (
    ClockStep,
    ConfirmedRow,
    Counted,
    CounterDoubt,
    Record,
    Rows,
    RunMark,
    Standing,
    Unknown,
    record_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import aiosqlite

    from buffer.store import Store
    from gateway.core.audit.entry import EntryContent
    from gateway.core.closing_record import DayFacts

_LAST: Final = """
    SELECT work_unit, number, day, from_ns, to_ns, end_ns, first_seq, last_seq, complete, digest, document, at_ns
    FROM closing_record WHERE work_unit = ? ORDER BY number DESC LIMIT 1
"""
_ALL: Final = """
    SELECT work_unit, number, day, from_ns, to_ns, end_ns, first_seq, last_seq, complete, digest, document, at_ns
    FROM closing_record WHERE (?1 IS NULL OR day = ?1) AND (?2 IS NULL OR work_unit = ?2)
    ORDER BY day, work_unit, number
"""
_HEAD: Final = "SELECT last_seq FROM journal_head WHERE work_unit = ?"
_FOUND: Final = "SELECT count(*) FROM journal WHERE work_unit = ? AND seq BETWEEN ? AND ?"
_PRUNED: Final = "SELECT coalesce(max(seq), 0) FROM journal_pruned WHERE work_unit = ?"
_OF_KIND: Final = "FROM journal WHERE work_unit = ? AND seq BETWEEN ? AND ? AND kind = "
_PIECES: Final = f"""
    SELECT coalesce(json_extract(body, '$.order'), ''), coalesce(json_extract(body, '$.operation'), ''),
        json_extract(body, '$.role'), sum(json_extract(body, '$.pieces'))
    FROM (SELECT CAST(body AS TEXT) AS body {_OF_KIND} 'pieces') GROUP BY 1, 2, 3
"""  # noqa: S608 - constants
_COUNTERS: Final = f"""
    SELECT json_extract(body, '$.signal'), json_extract(body, '$.flag'), count(*), sum(json_extract(body, '$.delta')),
        sum(json_extract(body, '$.review')), sum(max(json_extract(body, '$.max_lost'), 0))
    FROM (SELECT CAST(body AS TEXT) AS body {_OF_KIND} 'count') WHERE json_extract(body, '$.flag') <> 'OK' GROUP BY 1, 2
"""  # noqa: S608 - constants
_RECLASSIFIED: Final = f"""
    SELECT json_extract(body, '$.from_role') || '->' || json_extract(body, '$.to_role'),
        sum(json_extract(body, '$.pieces'))
    FROM (SELECT CAST(body AS TEXT) AS body {_OF_KIND} 'reclassified') GROUP BY 1
"""  # noqa: S608 - constants
_BODIES: Final = f"SELECT body {_OF_KIND} ? ORDER BY seq"
_RUNS: Final = """
    SELECT at_ns, CASE action WHEN 'gateway_started' THEN 'started' ELSE 'stopped' END,
        action = 'gateway_stopped' OR coalesce(old, 'gateway_stopped') = 'gateway_stopped'
    FROM audit_entry WHERE action IN ('gateway_started', 'gateway_stopped') AND at_ns >= ? AND at_ns < ? ORDER BY seq
"""
_CLOCK: Final = """
    SELECT at_ns, offset_ns - previous_offset_ns, reason, quality FROM clock_correction
    WHERE at_ns >= ? AND at_ns < ? ORDER BY seq
"""
_STANDING: Final = """
    SELECT order_id, operation, target, state, count(*) FROM outbox
    WHERE target IN (SELECT DISTINCT target FROM outbox_tally) AND order_id = ? AND operation = ?
        AND kind NOT IN ('ack', 'notice')
    GROUP BY target, state
"""
_KEEP: Final = """
    INSERT INTO closing_record (
        work_unit, number, day, from_ns, to_ns, end_ns, first_seq, last_seq, complete, digest, document, at_ns
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OVER: Final = frozenset({"posted", "delivered", "superseded", "voided"})


class Closed(NamedTuple):
    """A record as it is kept. ``from_ns`` and ``to_ns`` UTC as it was known then, ``end_ns`` and ``at_ns`` steady."""

    work_unit: str
    number: int
    day: str
    from_ns: int
    to_ns: int
    end_ns: int
    first_seq: int
    last_seq: int
    complete: bool
    digest: str
    document: bytes
    at_ns: int


class DayRows(NamedTuple):
    """What the journal, the clock and the runs tell of a day."""

    rows: Rows
    counted: tuple[Counted, ...]
    confirmed: tuple[ConfirmedRow, ...]
    reclassified: dict[str, int]
    unknown: tuple[Unknown, ...]
    counters: tuple[CounterDoubt, ...]
    runs: tuple[RunMark, ...]
    clock: tuple[ClockStep, ...]


class Keeping(NamedTuple):
    """What is to be kept: the facts without their standing, the steady end of the day, and the record's audit entry."""

    facts: DayFacts
    end_ns: int
    carried: frozenset[tuple[str, str]]
    entry: Callable[[Record], EntryContent]


async def last(store: Store, work_unit: str) -> Closed | None:
    """The newest record of a work unit, None while there is none. Raises StoreError."""
    rows = await store.read(_LAST, (work_unit,))
    return closed(rows[0]) if rows else None


def records(path: Path, *, day: str | None = None, work_unit: str | None = None) -> Iterator[Closed]:
    """Every record, in the order of the days; of one day, of one work unit. Raises StoreError."""
    with reading(path) as connection:
        yield from map(closed, connection.execute(_ALL, (day, work_unit)))


def carried(before: Closed | None) -> frozenset[tuple[str, str]]:
    """The operations that a record left with something open: the next one says what became of them."""
    if before is None:
        return frozenset()
    found = json.loads(before.document)["operations"]
    return frozenset(
        (one["order"], one["operation"])
        for one in found
        if one["not_confirmed"] or any(posting["state"] not in _OVER for posting in one["postings"])
    )


def day_rows(path: Path, work_unit: str, before: Closed | None, from_ns: int, end_ns: int) -> DayRows:
    """What there is of a day that began and ended at these steady times. Raises StoreError. Slow: not in the loop."""
    with reading(path) as connection:
        connection.execute("BEGIN")

        def read(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
            return connection.execute(sql, values).fetchall()

        head = next((seq for (seq,) in read(_HEAD, (work_unit,))), 0)
        first = first_from(read, work_unit, (1, head), from_ns) if before is None else before.last_seq + 1
        end = first_from(read, work_unit, (first, head), end_ns) - 1 if head >= first else first - 1
        span = (work_unit, first, end)
        ((found,),), ((pruned,),) = read(_FOUND, span), read(_PRUNED, (work_unit,))
        times = (from_ns if before is None else before.end_ns, end_ns)
        return DayRows(
            rows=Rows(first, end, found, pruned, before is not None or first == 1),
            counted=tuple(Counted(*row) for row in read(_PIECES, span)),
            confirmed=_confirmed(read, span),
            reclassified=dict(read(_RECLASSIFIED, span)),
            unknown=tuple(_unknown(body) for (body,) in read(_BODIES, (*span, "unknown"))),
            counters=tuple(CounterDoubt(*row) for row in read(_COUNTERS, span)),
            runs=tuple(RunMark(at_ns, what, bool(in_order)) for at_ns, what, in_order in read(_RUNS, times)),
            clock=tuple(ClockStep._make((*row[:3], str(row[3]))) for row in read(_CLOCK, times)),
        )


async def keep(store: Store, keeping: Keeping) -> Record:
    """Make the record and keep it with its audit entry, in one transaction. Raises StoreError."""
    return await store.write(partial(_keep, keeping))


async def _keep(keeping: Keeping, connection: aiosqlite.Connection) -> Record:
    facts = keeping.facts
    keys = {(one.order, one.operation) for one in facts.counted if one.order}
    keys |= {(one.order, one.operation) for one in facts.confirmed}
    keys |= {(order, operation) for order, operation, _ in facts.open_now.not_confirmed}
    standing: list[Standing] = []
    for key in sorted(keys | keeping.carried):
        standing += [Standing(*row) for row in await connection.execute_fetchall(_STANDING, key)]
    record = record_of(facts._replace(standing=standing))
    bounds, rows = facts.bounds, facts.rows
    values = (
        *(facts.work_unit, facts.number, bounds.day, bounds.from_ns, bounds.to_ns, keeping.end_ns),
        *(rows.first, rows.last, record.complete, record.digest, record.document, facts.closed_ns),
    )
    await connection.execute_fetchall(_KEEP, values)
    await audit_chain.append([keeping.entry(record)], connection)
    return record


def _confirmed(
    read: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]], span: tuple[str, int, int]
) -> tuple[ConfirmedRow, ...]:
    void = {json.loads(body)["key"] for (body,) in read(_BODIES, (*span, "voided"))}
    made = (json.loads(body) for (body,) in read(_BODIES, (*span, "confirmation")))
    names = ("order", "operation", "seq", "good", "scrap", "rework")
    return tuple(ConfirmedRow._make((*(one[name] for name in names), one["key"] in void)) for one in made)


def _unknown(body: bytes) -> Unknown:
    one = json.loads(body)
    where = (one["order"] or "", one["operation"] or "")
    return Unknown(one["signal"], one["role"], one["t_from_ns"], one["t_to_ns"], one["max_pieces"], one["flag"], *where)


def closed(row: Sequence[Any]) -> Closed:
    """The record of a row, its columns in the order of ``Closed``."""
    return Closed._make((*row[:8], bool(row[8]), *row[9:]))
