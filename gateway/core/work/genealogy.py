"""Which material went into which product: links between lots, serials and handling units, and the way along them.

Pure functions over a set of links, wherever they are kept. Which lot a piece came from is ``lots.py``'s.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.work.lots import UNKNOWN_LOT, Certainty, LotUse
from gateway.core.work.refused import WorkRefused
from gateway.core.work.rounding import Exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LINKS_MAX: Final = 100_000  # in one set
NODES_MAX: Final = 10_000  # that one trace tells of
PAGE_NODES_MAX: Final = 1_000  # of what it reached, on one page
PAGE_LINKS_MAX: Final = 5_000  # that one page of it tells of

_RANK: Final = {certainty: rank for rank, certainty in enumerate(Certainty)}


class TrackedKind(enum.StrEnum):
    """What carries a number of its own."""

    LOT = "lot"
    SERIAL = "serial"
    HANDLING_UNIT = "handling_unit"


class Tracked(NamedTuple):
    """One lot, piece or handling unit. A number is unique for its item; ``item`` is "" for a mixed handling unit."""

    kind: TrackedKind
    item: str
    number: str

    def __str__(self) -> str:
        return f"{self.kind} {self.number}" + (f" of {self.item}" if self.item else "")


class GenealogyLink(NamedTuple):
    """So much of the parent went into the child, in ``[from_ns, to_ns]``.

    ``quantity`` in ``uom`` of the parent, more than 0. ``run`` names order, operation and machine.
    """

    parent: Tracked
    child: Tracked
    quantity: Exact
    uom: str
    run: str
    from_ns: int
    to_ns: int
    certainty: Certainty


class Reached(NamedTuple):
    """What a trace came to, over ``depth`` links at least, as certain as the surest way there."""

    node: Tracked
    depth: int
    certainty: Certainty


class Trace(NamedTuple):
    """All that was reached, the nearest first, and the links on the way; not ``complete`` beyond NODES_MAX."""

    start: Tracked
    reached: tuple[Reached, ...]
    links: tuple[GenealogyLink, ...]
    complete: bool


class Page(NamedTuple):
    """A part of a trace: some of what was reached, and the links that lead to these, PAGE_LINKS_MAX at most.

    Each link is on one page. ``links_left_out``: links of this page beyond that.
    """

    reached: tuple[Reached, ...]
    links: tuple[GenealogyLink, ...]
    links_left_out: int


def page_of(trace: Trace, skip: int, limit: int, *, down: bool) -> Page:
    """What stands behind the first ``skip`` of what was reached, ``limit`` at most."""
    reached = trace.reached[skip : skip + limit]
    here = {one.node for one in reached}
    links = [one for one in trace.links if (one.child if down else one.parent) in here]
    return Page(reached, tuple(links[:PAGE_LINKS_MAX]), max(0, len(links) - PAGE_LINKS_MAX))


def links_of(uses: Iterable[LotUse], child: Tracked, run: str, uoms: Mapping[str, str]) -> tuple[GenealogyLink, ...]:
    """The links from the lots that were used to what they became. ``uoms`` has the unit of each item, if known."""
    return tuple(
        GenealogyLink(
            Tracked(TrackedKind.LOT, one.item, one.lot),
            child,
            one.quantity,
            uoms.get(one.item, ""),
            run,
            one.from_ns,
            one.to_ns,
            one.certainty,
        )
        for one in uses
    )


def linked(links: Sequence[GenealogyLink], link: GenealogyLink) -> tuple[GenealogyLink, ...] | WorkRefused:
    """The set with one more; the same parent, child, run and certainty are one link with the sum.

    Codes: LINK_VALUE, GENEALOGY_CYCLE (the parent was made from the child), GENEALOGY_FULL.
    """
    where = f"{link.parent} into {link.child}"
    if link.quantity.fraction <= 0 or link.to_ns < link.from_ns:
        found = f"quantity {link.quantity.fraction} from {link.from_ns} to {link.to_ns} ns"
        return WorkRefused("LINK_VALUE", where, found, "more than 0, time forward", "correct the entry")
    if link.child.number == UNKNOWN_LOT or not link.child.number or not link.parent.number:
        return WorkRefused("LINK_VALUE", where, "no name of its own", "a known child", "name the lot that was made")
    for at, one in enumerate(links):
        if _key(one) == _key(link):
            return (*links[:at], joined(one, link), *links[at + 1 :])
    if len(links) >= LINKS_MAX:
        return WorkRefused("GENEALOGY_FULL", where, f"{len(links)} links", f"at most {LINKS_MAX}", "close older orders")
    way = _way(_index(links, down=True), link.child, link.parent)
    if way:
        found = " into ".join(str(node) for node in way)
        what = "give what is used again (regrind, rework) a lot of its own"
        return WorkRefused("GENEALOGY_CYCLE", where, found, "nothing that it was made from itself", what)
    return (*links, link)


def joined(one: GenealogyLink, more: GenealogyLink) -> GenealogyLink:
    """Two links of the same ends, unit, run and certainty as one with the sum."""
    return one._replace(
        quantity=one.quantity.plus(more.quantity.fraction),
        from_ns=min(one.from_ns, more.from_ns),
        to_ns=max(one.to_ns, more.to_ns),
    )


def where_used(links: Iterable[GenealogyLink], start: Tracked) -> Trace:
    """Everything that something went into, however far."""
    return _trace(links, start, down=True)


def where_from(links: Iterable[GenealogyLink], start: Tracked) -> Trace:
    """Everything that something was made from, however far back."""
    return _trace(links, start, down=False)


def cycle_in(links: Iterable[GenealogyLink]) -> tuple[Tracked, ...]:
    """The way of one cycle, its first node at both ends; empty where there is none, as it should be."""
    index = _index(links, down=True)
    done: set[Tracked] = set()
    for root in index:
        path: list[Tracked] = []
        on_path: set[Tracked] = set()
        open_nodes: list[tuple[Tracked, bool]] = [(root, False)]
        while open_nodes:
            node, left = open_nodes.pop()
            if left:
                path.pop()
                on_path.discard(node)
                done.add(node)
                continue
            if node in on_path:
                return (*path[path.index(node) :], node)
            if node in done:
                continue
            path.append(node)
            on_path.add(node)
            open_nodes.append((node, True))
            open_nodes += [(link.child, False) for link in index.get(node, ())]
    return ()


_Index = dict[Tracked, list[GenealogyLink]]


def _index(links: Iterable[GenealogyLink], *, down: bool) -> _Index:
    index: _Index = {}
    for link in links:
        index.setdefault(link.parent if down else link.child, []).append(link)
    return index


def _trace(links: Iterable[GenealogyLink], start: Tracked, *, down: bool) -> Trace:
    index = _index(links, down=down)
    depths: dict[Tracked, int] = {}
    best: dict[Tracked, Certainty] = {}
    way: list[GenealogyLink] = []
    for certainty in Certainty:
        # What this search comes to first cannot be reached by surer links only.
        depths, way = _search(index, start, certainty, down=down)
        for node in depths:
            best.setdefault(node, certainty)
    reached = sorted((Reached(node, depth, best[node]) for node, depth in depths.items() if node != start), key=_near)
    shown = {one.node for one in reached[:NODES_MAX]} | {start}
    links_shown = tuple(one for one in way if one.parent in shown and one.child in shown)
    return Trace(start, tuple(reached[:NODES_MAX]), links_shown, complete=len(reached) <= NODES_MAX)


def _search(
    index: _Index, start: Tracked, worst: Certainty, *, down: bool
) -> tuple[dict[Tracked, int], list[GenealogyLink]]:
    """Depth of each node that links of at least this certainty lead to, nearest first, and these links."""
    depths = {start: 0}
    row, way = [start], []
    while row and len(depths) <= NODES_MAX + 1:
        following: list[Tracked] = []
        for node in row:
            for link in index.get(node, ()):
                if _RANK[link.certainty] > _RANK[worst]:
                    continue
                way.append(link)
                other = link.child if down else link.parent
                if other not in depths:
                    depths[other] = depths[node] + 1
                    following.append(other)
        row = following
    return depths, way


def _way(index: _Index, start: Tracked, goal: Tracked) -> tuple[Tracked, ...]:
    """The nodes from one to another along the links; empty where there is no way."""
    before: dict[Tracked, Tracked | None] = {start: None}
    row = [start]
    while row and goal not in before:
        following = []
        for node in row:
            for link in index.get(node, ()):
                if link.child not in before:
                    before[link.child] = node
                    following.append(link.child)
        row = following
    if goal not in before:
        return ()
    way: list[Tracked] = []
    at: Tracked | None = goal
    while at is not None:
        way.append(at)
        at = before[at]
    return tuple(reversed(way))


def _near(one: Reached) -> tuple[int, Tracked]:
    return (one.depth, one.node)


def _key(link: GenealogyLink) -> tuple[Tracked, Tracked, str, str, Certainty]:
    return (link.parent, link.child, link.uom, link.run, link.certainty)


def link_from(document: Mapping[str, Any]) -> GenealogyLink:
    """What ``_asdict`` and JSON made of a ``GenealogyLink``."""
    return GenealogyLink(
        **{
            **document,
            "parent": tracked_from(document["parent"]),
            "child": tracked_from(document["child"]),
            "quantity": Exact(*document["quantity"]),
            "certainty": Certainty(document["certainty"]),
        }
    )


def tracked_from(row: Sequence[Any]) -> Tracked:
    """What JSON made of ``Tracked``."""
    kind, item, number = row
    return Tracked(TrackedKind(kind), item, number)
