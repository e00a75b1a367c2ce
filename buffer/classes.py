"""How many bytes each class of records takes: an estimate from a sample of rows, cheap at any size of the database.

Counted is the content of the rows. Indexes, free space inside pages and small tables are the rest, which is what the
file has in use beyond the sum. Exact page counts would need SQLite's dbstat, which is not everywhere and reads the
whole file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Rows looked at in each table: of the journal, the machines share them.
SAMPLED_ROWS: Final = 200
#: Of the journal of each machine, however many they are.
SAMPLED_ROWS_MIN: Final = 20


class ClassBytes(NamedTuple):
    """One class: rows and bytes, both estimated. ``budget``: what bounds it, in words."""

    name: str
    rows: int
    bytes: int


def _sampled(name: str, table: str, number: str, size: str, *, where: str = "1", rows: str = str(SAMPLED_ROWS)) -> str:
    # Asked for each by itself, SQLite finds the first and the last number without reading what is between.
    # Evenly spaced numbers between the first and the last one: the share that is there tells the number of rows.
    return f"""
        SELECT '{name}', count(*), count(row.{number}), coalesce(sum({size}), 0), span.high - span.low + 1
        FROM (
            SELECT (SELECT min({number}) FROM {table} WHERE {where}) AS low,
                (SELECT max({number}) FROM {table} WHERE {where}) AS high
        ) AS span
        CROSS JOIN (
            WITH RECURSIVE probe(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM probe WHERE n < {rows} - 1)
            SELECT n FROM probe
        ) AS probe
        LEFT JOIN {table} AS row ON {where.replace("work_unit", "row.work_unit")} AND row.{number} = CASE
            WHEN span.high - span.low < {rows} THEN span.low + probe.n
            ELSE span.low + (span.high - span.low) * probe.n / ({rows} - 1) END
        WHERE span.low IS NOT NULL AND (span.high - span.low >= {rows} OR span.low + probe.n <= span.high)
        GROUP BY 1
    """  # noqa: S608 - constants of this module


_CONFIRMATIONS: Final = _sampled(
    "confirmations",
    "outbox",
    "id",
    "length(row.payload) + coalesce(length(row.body), 0) + 2 * length(row.key) + length(row.message_id) + 120",
)
_AUDIT: Final = _sampled(
    "audit",
    "audit_entry",
    "seq",
    "length(coalesce(row.old, '')) + length(coalesce(row.new, '')) + length(row.detail) + length(row.entity_id) + 300",
)
_JOURNAL: Final = _sampled(
    "journal", "journal", "seq", "length(row.body) + length(row.work_unit) + 35", where="work_unit = ?1", rows="?2"
)
_ORDERS: Final = """
    SELECT 'orders', 1, 1, coalesce((SELECT sum(length(record)) FROM job), 0)
        + coalesce((SELECT sum(length(document)) FROM order_image), 0), (SELECT count(*) FROM job)
"""
_UNITS: Final = "SELECT work_unit FROM journal_head"


def bytes_by_class(read: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]) -> tuple[ClassBytes, ...]:
    """Each class once. ``read`` runs a query; several are run, so they should be of one moment."""
    units = read(_UNITS, ())
    probes = max(SAMPLED_ROWS // max(len(units), 1), SAMPLED_ROWS_MIN)
    asked = [(_CONFIRMATIONS, ()), (_AUDIT, ()), (_ORDERS, ()), *((_JOURNAL, (unit, probes)) for (unit,) in units)]
    return _summed(_class_of(row) for sql, values in asked for row in read(sql, values))


def _class_of(row: Sequence[Any]) -> ClassBytes:
    name, probed, hits, size, span = row
    rows = span * hits // probed if probed else 0
    return ClassBytes(str(name), rows, size * span // probed if probed else 0)


def _summed(found: Iterable[ClassBytes]) -> tuple[ClassBytes, ...]:
    sums: dict[str, ClassBytes] = {}
    for one in found:
        before = sums.get(one.name, ClassBytes(one.name, 0, 0))
        sums[one.name] = ClassBytes(one.name, before.rows + one.rows, before.bytes + one.bytes)
    return tuple(sums.values())
