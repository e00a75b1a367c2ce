"""Links of genealogy and serial numbers in the database: written with the step that told them, read along a trace.

Neither finds the way (``gateway/core/work/genealogy.py``) nor says when an order is forgotten (``retention.py``). Where
nobody knew a lot a person may name it; a link that would make something out of itself is kept apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.work.genealogy import LINKS_MAX, GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import UNKNOWN_LOT, Certainty
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiosqlite

    from buffer.step import Step
    from buffer.store import Store
    from gateway.core.entries import LotNamed

#: The certainty of a link that no trace goes along.
REFUSED: Final = "refused"
RECORDS_MAX: Final = 1000  # of one serial number that are looked at
REFUSED_SHOWN_MAX: Final = 100
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
"""
# Constants only, no value from outside.
_ALONG: Final = f"SELECT {_FIELDS} FROM genealogy WHERE certainty <> '{REFUSED}' AND "  # noqa: S608 - constants of this module
_FROM: Final = f"{_ALONG} parent = ?1 AND parent_item = ?2 AND parent_kind = ?3 LIMIT ?4"
_INTO: Final = f"{_ALONG} child = ?1 AND child_item = ?2 AND child_kind = ?3 LIMIT ?4"
_APART: Final = f"""
    SELECT {_FIELDS} FROM genealogy WHERE certainty = '{REFUSED}' AND (parent = ?1 OR child = ?1) ORDER BY id LIMIT ?2
"""  # noqa: S608 - constants of this module
#: Whether something went into another thing, however far; it goes into itself, too.
_LEADS: Final = f"""
    WITH RECURSIVE down (kind, item, number) AS (
        VALUES (?1, ?2, ?3)
        UNION SELECT child_kind, child_item, child FROM genealogy
        JOIN down ON parent = number AND parent_item = item AND parent_kind = kind WHERE certainty <> '{REFUSED}'
        LIMIT {LINKS_MAX}
    )
    SELECT 1 FROM down WHERE kind = ?4 AND item = ?5 AND number = ?6 LIMIT 1
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


async def named(store: Store, number: str) -> list[Tracked]:
    """Everything of that number that some link speaks of. Raises StoreError."""
    return [_tracked(*row) for row in await store.read(_NAMED, (number,))] if number.isprintable() else []


async def along(store: Store, start: Tracked, *, down: bool) -> Links:
    """The links on all ways from something, at most LINKS_MAX. Raises StoreError."""
    found: list[GenealogyLink] = []
    seen, row = {start}, [start]
    while row and len(found) < LINKS_MAX:
        node = row.pop()
        values = (node.number, node.item, node.kind.value, LINKS_MAX - len(found))
        for one in await store.read(_FROM if down else _INTO, values):
            link = _link(one)
            found.append(link)
            other = link.child if down else link.parent
            if other not in seen:
                seen.add(other)
                row.append(other)
    return Links(tuple(found), complete=not row and len(found) < LINKS_MAX)


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
    values = (child.kind.value, *child[1:], parent.kind.value, *parent[1:])
    return bool(list(await connection.execute_fetchall(_LEADS, values)))


def _link(row: tuple[Any, ...]) -> GenealogyLink:
    numerator, _, denominator = row[6].partition("/")
    quantity = Exact(int(numerator), int(denominator))
    uom, run, from_ns, to_ns, certainty = row[7:]
    ends = (_tracked(*row[:3]), _tracked(*row[3:6]))
    return GenealogyLink(*ends, quantity, uom, run, from_ns, to_ns, Certainty(certainty))


def _tracked(kind: str, item: str, number: str) -> Tracked:
    return Tracked(TrackedKind(kind), item, number)
