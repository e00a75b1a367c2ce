"""Links of genealogy and serial numbers in the database: written with the step that told them, read along a trace.

Neither finds the way (``gateway/core/work/genealogy.py``) nor says when an order is forgotten (``retention.py``). Where
nobody knew a lot a person may name it; a link that would make something out of itself is kept apart.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.readonly import reading
from gateway.core.work.genealogy import LINKS_MAX, GenealogyLink, Tracked, TrackedKind, joined
from gateway.core.work.lots import UNKNOWN_LOT, Certainty
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import aiosqlite

    from buffer.step import Step
    from buffer.store import Store
    from gateway.core.entries import LotNamed

#: The certainty of a link that no trace goes along.
REFUSED: Final = "refused"
RECORDS_MAX: Final = 1000  # of one serial number that are looked at
REFUSED_SHOWN_MAX: Final = 100
# A trace reads a hundred thousand of each; looked up they take a tenth of the time.
_KINDS: Final = {one.value: one for one in TrackedKind}
_CERTAINTIES: Final = {one.value: one for one in Certainty}
NAMED_MAX: Final = 20  # things of one number: of different items, or a lot and a piece
ASKED_MAX: Final = 500  # nodes of a trace in one question
# Whoever counts has the interpreter to himself that often: else each of its steps waits for the thread's turn to end.
ROWS_AT_ONCE: Final = 1_000
BREATH_S: Final = 0.001
ROWS_MAX: Final = 300_000  # of one trace that are looked at; each confirmation wrote its own
_INSERT: Final = """
    INSERT INTO genealogy (parent_kind, parent_item, parent, child_kind, child_item, child, quantity, uom, run, from_ns,
        to_ns, certainty) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FIELDS: Final = """
    parent_kind, parent_item, parent, child_kind, child_item, child, quantity, uom, run, from_ns, to_ns, certainty
"""
_NAMED: Final = """
    SELECT parent_kind, parent_item, parent FROM genealogy WHERE parent = ?1
    UNION SELECT child_kind, child_item, child FROM genealogy WHERE child = ?1
    ORDER BY 1, 2 LIMIT ?2
"""
# Constants only, no value from outside. As many nodes as one question names.
_ALONG: Final = f"""
    WITH wanted (w_kind, w_item, w_number) AS MATERIALIZED (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?1)
    )
    SELECT {_FIELDS} FROM wanted CROSS JOIN genealogy
    ON {{0}} = w_number AND {{0}}_item = w_item AND {{0}}_kind = w_kind
    WHERE certainty <> '{REFUSED}' LIMIT ?2
"""  # noqa: S608 - constants of this module
_FROM: Final = _ALONG.format("parent")
_INTO: Final = _ALONG.format("child")
_APART: Final = f"""
    SELECT {_FIELDS} FROM genealogy WHERE certainty = '{REFUSED}' AND (parent = ?1 OR child = ?1) ORDER BY id LIMIT ?2
"""  # noqa: S608 - constants of this module
#: Whether a parent is linked with that very child already: then it was found to be no ring.
_LINKED: Final = f"""
    SELECT 1 FROM genealogy WHERE child = ?4 AND child_item = ?5 AND child_kind = ?6
    AND parent = ?1 AND parent_item = ?2 AND parent_kind = ?3 AND certainty <> '{REFUSED}' LIMIT 1
"""  # noqa: S608 - constants of this module
_GOES_ON: Final = "SELECT 1 FROM genealogy WHERE parent = ? AND parent_item = ? AND parent_kind = ? LIMIT 1"
#: Whether something was made from another thing, however far back; it is made from itself, too. Upwards, because a lot
#: is made from a few and may have become a hundred thousand pieces.
_COMES_FROM: Final = f"""
    WITH RECURSIVE up (number, item, kind) AS (
        VALUES (?1, ?2, ?3)
        UNION SELECT parent, parent_item, parent_kind FROM genealogy
        JOIN up ON child = number AND child_item = item AND child_kind = kind WHERE certainty <> '{REFUSED}'
        LIMIT {LINKS_MAX}
    )
    SELECT 1 FROM up WHERE number = ?4 AND item = ?5 AND kind = ?6 LIMIT 1
"""  # noqa: S608 - constants of this module
_SERIAL: Final = "INSERT OR IGNORE INTO serial VALUES (?, ?, ?, ?, ?, ?)"
_SERIALS: Final = """
    SELECT item, serial, order_id, operation, at_ns FROM serial WHERE serial = ? ORDER BY at_ns LIMIT ?
"""
_UNKNOWN: Final = f"""
    SELECT DISTINCT run, parent_item FROM genealogy
    WHERE run >= ?1 || '/' AND run < ?1 || '0' AND parent = '{UNKNOWN_LOT}' AND certainty <> '{REFUSED}'
"""  # noqa: S608 - "0" follows "/"
_OF_RUN: Final = """
    SELECT id, child_kind, child_item, child FROM genealogy WHERE run = ? AND parent = ? AND parent_item = ?
"""
_FORGET_LINKS: Final = "DELETE FROM genealogy WHERE run >= ?1 || '/' AND run < ?1 || '0'"  # as above
_FORGET_SERIALS: Final = "DELETE FROM serial WHERE order_id = ?"
_NAME: Final = "UPDATE genealogy SET parent = ?, certainty = ? WHERE id = ?"
_ORDERS_IN: Final = """
    SELECT order_id, operation, length(order_id) AS long FROM job WHERE instr(?1, order_id) > 0
    UNION SELECT order_id, operation, length(order_id) FROM job_number WHERE instr(?1, order_id) > 0
    ORDER BY long DESC, order_id, operation LIMIT ?2
"""


class Links(NamedTuple):
    """Links on the ways from something; ``complete``: all of them."""

    row: tuple[GenealogyLink, ...]
    complete: bool


async def keep(step: Step, connection: aiosqlite.Connection) -> None:
    """What a step says of genealogy, in its transaction."""
    known: dict[tuple[Tracked, Tracked], bool] = {}
    for link in step.links:
        ends = (link.parent, link.child)
        if ends not in known:
            known[ends] = await _makes_a_ring(connection, *ends)
        row = row_of(link)
        await connection.execute_fetchall(_INSERT, (*row[:-1], REFUSED) if known[ends] else row)
    for one in step.serials:
        values = (one.serial, one.item, one.order, one.operation, one.at_ns, step.work_unit)
        await connection.execute_fetchall(_SERIAL, values)
    for lot in step.lots:
        await _name(connection, lot)


def row_of(link: GenealogyLink) -> tuple[Any, ...]:
    """A link as a row."""
    quantity = f"{link.quantity.numerator}/{link.quantity.denominator}"
    span = (link.from_ns, link.to_ns, link.certainty.value)
    return (
        link.parent.kind.value,
        *link.parent[1:],
        link.child.kind.value,
        *link.child[1:],
        quantity,
        link.uom,
        link.run,
        *span,
    )


async def forget(connection: aiosqlite.Connection, order: str) -> None:
    """Links and serial numbers of an order that is forgotten, in the transaction that forgets it."""
    await connection.execute_fetchall(_FORGET_LINKS, (order,))
    await connection.execute_fetchall(_FORGET_SERIALS, (order,))


async def orders_in(store: Store, lot: str, limit: int) -> list[tuple[str, str]]:
    """Orders and operations whose number stands in the name of a lot, the longest first. Raises StoreError."""
    rows = await store.read(_ORDERS_IN, (lot, limit)) if lot.isprintable() else []
    return [(str(order), str(operation)) for order, operation, _ in rows]


async def named(store: Store, number: str) -> list[Tracked]:
    """What of that number some link speaks of, NAMED_MAX at most. Raises StoreError."""
    return [_tracked(*row) for row in await store.read(_NAMED, (number, NAMED_MAX))] if number.isprintable() else []


async def along(store: Store, start: Tracked, *, down: bool, links_max: int = LINKS_MAX) -> Links:
    """The links on all ways from something, so many at most, found beside the event loop. Raises StoreError.

    What the confirmations of one order and operation at one machine told of the same two is one link with the sum.
    """
    # On a connection of its own: what goes by while it looks waits for no row of it.
    return await asyncio.to_thread(_along, store.path, start, down, links_max)


def _along(path: Path, start: Tracked, down: bool, links_max: int) -> Links:  # noqa: FBT001 - only called above
    found: dict[tuple[Any, ...], GenealogyLink] = {}
    seen = {start}
    row, rows_left = [start], ROWS_MAX
    with reading(path) as connection:
        while row and rows_left:
            asked, row = row[:ASKED_MAX], row[ASKED_MAX:]
            values = (json.dumps([[one.kind.value, one.item, one.number] for one in asked]), rows_left)
            for one in connection.execute(_FROM if down else _INTO, values):
                rows_left -= 1
                if not rows_left % ROWS_AT_ONCE:
                    time.sleep(BREATH_S)
                link = _link(one)
                other = link.child if down else link.parent
                key = (link.parent, link.child, link.uom, link.run, link.certainty)
                before = found.get(key)
                if before is None and len(found) >= links_max:
                    return Links(tuple(found.values()), complete=False)
                found[key] = link if before is None else joined(before, link)
                if other not in seen:
                    seen.add(other)
                    row.append(other)
    return Links(tuple(found.values()), complete=not row and rows_left > 0)


async def refused(store: Store, number: str) -> list[GenealogyLink]:
    """Links with that number at one end that would have made something out of itself. Raises StoreError."""
    rows = await store.read(_APART, (number, REFUSED_SHOWN_MAX))
    return [_link((*row[:-1], Certainty.ASSUMED)) for row in rows]


async def serials(store: Store, serial: str) -> tuple[SerialRecord, ...]:
    """Where a piece with that number was seen before, of whatever item. Raises StoreError."""
    # What cannot be stored was never seen.
    rows = await store.read(_SERIALS, (serial, RECORDS_MAX)) if serial.isprintable() else []
    return tuple(SerialRecord(*row) for row in rows)


async def unknown(store: Store, order: str, operation: str, machine: str) -> tuple[tuple[str, str], ...]:
    """Run and item of what an order took of lots that nobody knew, at a machine. Raises StoreError."""
    found = await store.read(_UNKNOWN, (order,)) if order.isprintable() else []
    rows: Iterable[tuple[str, str]] = [(run, item) for run, item in found]
    begin = f"{order}/{operation}/" if operation else f"{order}/"
    return tuple(one for one in rows if one[0].startswith(begin) and one[0].endswith(f"/{machine}"))


async def _name(connection: aiosqlite.Connection, given: LotNamed) -> None:
    lot = Tracked(TrackedKind.LOT, given.item, given.lot)
    for number, *child in await connection.execute_fetchall(_OF_RUN, (given.run, UNKNOWN_LOT, given.item)):
        ring = await _makes_a_ring(connection, lot, _tracked(*child))
        certainty = REFUSED if ring else Certainty.ASSUMED.value
        await connection.execute_fetchall(_NAME, (given.lot, certainty, number))


async def _makes_a_ring(connection: aiosqlite.Connection, parent: Tracked, child: Tracked) -> bool:
    """Whether the parent was made from the child, or is it."""
    if parent == child:
        return True
    above, below = ((one.number, one.item, one.kind.value) for one in (parent, child))
    if not await _any(connection, _GOES_ON, below) or await _any(connection, _LINKED, (*above, *below)):
        return False
    return await _any(connection, _COMES_FROM, (*above, *below))


async def _any(connection: aiosqlite.Connection, sql: str, values: tuple[str, ...]) -> bool:
    return bool(list(await connection.execute_fetchall(sql, values)))


def _link(row: tuple[Any, ...]) -> GenealogyLink:
    numerator, _, denominator = row[6].partition("/")
    quantity = Exact(int(numerator), int(denominator))
    uom, run, from_ns, to_ns, certainty = row[7:]
    ends = (_tracked(*row[:3]), _tracked(*row[3:6]))
    return GenealogyLink(*ends, quantity, uom, sys.intern(run), from_ns, to_ns, _CERTAINTIES[certainty])


def _tracked(kind: str, item: str, number: str) -> Tracked:
    return Tracked(_KINDS[kind], sys.intern(item), sys.intern(number))
