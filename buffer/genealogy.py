"""Links of genealogy in the database: written with the step that told them, read along the way of a trace.

The way itself is ``gateway/core/work/genealogy.py``'s. Changes and deletes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.work.genealogy import LINKS_MAX, GenealogyLink, Tracked, TrackedKind
from gateway.core.work.lots import Certainty
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from buffer.store import Store

INSERT: Final = """
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
_FROM: Final = f"SELECT {_FIELDS} FROM genealogy WHERE parent = ? AND parent_item = ? LIMIT ?"  # noqa: S608 - constants
_INTO: Final = f"SELECT {_FIELDS} FROM genealogy WHERE child = ? AND child_item = ? LIMIT ?"  # noqa: S608 - constants


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


async def named(store: Store, number: str) -> list[Tracked]:
    """Everything of that number that some link speaks of. Raises StoreError."""
    return [_tracked(*row) for row in await store.read(_NAMED, (number,))]


async def along(store: Store, start: Tracked, *, down: bool) -> list[GenealogyLink]:
    """The links on all ways from something, at most LINKS_MAX. Raises StoreError."""
    found: list[GenealogyLink] = []
    seen, row = {start}, [start]
    while row and len(found) < LINKS_MAX:
        node = row.pop(0)
        values = (node.number, node.item, LINKS_MAX - len(found))
        for one in await store.read(_FROM if down else _INTO, values):
            link = _link(one)
            found.append(link)
            other = link.child if down else link.parent
            if other not in seen:
                seen.add(other)
                row.append(other)
    return found


def _link(row: tuple[Any, ...]) -> GenealogyLink:
    numerator, _, denominator = row[6].partition("/")
    quantity = Exact(int(numerator), int(denominator))
    uom, run, from_ns, to_ns, certainty = row[7:]
    ends = (_tracked(*row[:3]), _tracked(*row[3:6]))
    return GenealogyLink(*ends, quantity, uom, run, from_ns, to_ns, Certainty(certainty))


def _tracked(kind: str, item: str, number: str) -> Tracked:
    return Tracked(TrackedKind(kind), item, number)
