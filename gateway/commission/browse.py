"""Walks the tree of an OPC UA server and shows nodes as the configuration names them. Reads only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from drivers.base import DriverError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asyncua import ua

    from drivers.opcua.browse import Child
    from drivers.opcua.session import Session
    from drivers.opcua.structures import TypeBook
    from gateway.commission.target import Target

OBJECTS_PATH: Final = "/Objects"
#: The server's description of itself: hundreds of nodes that nobody counts pieces with.
SERVER_NODE: Final = "i=2253"
#: Nodes of one walk; a tree can be without end.
NODES_MAX: Final = 100_000
#: A value that is no number or text is shown up to here, an array up to so many elements.
SHOWN_MAX: Final = 60
ELEMENTS_SHOWN: Final = 16


class Node(NamedTuple):
    """One node of the tree.

    ``level`` counts from 0 below the start; ``path`` is the browse path for the configuration. ``value`` is None where
    it was not asked for, ``status`` names why it cannot be read. ``cut``: it has children that were not looked at.
    """

    level: int
    name: str
    path: str
    node: str
    node_class: str
    type_name: str
    value: str | None
    status: str
    cut: bool

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "path": self.path,
            "name": self.name,
            "node": self.node,
            "class": self.node_class,
            "type": self.type_name,
            "value": self.value,
            "status": self.status,
            "more": self.cut,
        }


class Walk:
    """A walk from one node down; ``seen`` counts nodes, ``whole`` is False where the limit ended it."""

    def __init__(
        self, target: Target, *, depth: int, values: bool, wanted: str, on_progress: Callable[[str], None]
    ) -> None:
        self.seen = 0
        self.whole = True
        self._target = target
        self._depth = depth
        self._values = values
        self._wanted = wanted.casefold()
        self._on_progress = on_progress
        self._visited: set[str] = set()
        self._book: TypeBook | None = None

    async def nodes(self, start: str | None, now_ns: Callable[[], int]) -> AsyncIterator[list[Node]]:
        """Siblings, each list followed by what is below its nodes. Raises DriverError, LookupError for the start."""
        from drivers.opcua.certificates import FOLDER
        from drivers.opcua.client import LINK_ERRORS, said
        from drivers.opcua.session import Session

        target = self._target
        session = Session(
            target.settings,
            target.state_dir / FOLDER,
            now_ns=now_ns,
            source=target.source,
            base_dir=target.base_dir,
            secrets=target.secrets,
        )
        try:
            await session.open()
            node = await session.resolve(start) if start is not None else None
            path = start.rstrip("/") if start is not None and start.startswith("/") else ""
            async for siblings in self._below(session, node, path or (OBJECTS_PATH if start is None else ""), 0):
                yield siblings
        except LINK_ERRORS as error:
            raise DriverError(f"{target.where}: the link was lost: {said(error)}; try again") from error
        finally:
            await session.close()

    async def _below(
        self, session: Session, node: ua.NodeId | None, path: str, level: int
    ) -> AsyncIterator[list[Node]]:
        try:
            children = await session.browse(node)
        except LookupError:
            if level == 0:
                raise
            return  # the server showed it and does not know it any more
        new = [child for child in children if child.node not in self._visited]
        self._visited.update(child.node for child in new)
        self.seen += len(new)
        self._on_progress(f"{self.seen} nodes, at {path or 'the start'}; Ctrl-C ends")
        found = await self._described(session, new, path, level)
        if not self._wanted:
            for child, one in zip(new, found, strict=True):
                yield [one]
                async for siblings in self._further(session, child, one):
                    yield siblings
            return
        matching = [one for one in found if self._wanted in f"{one.name}\n{one.node}".casefold()]
        if matching:
            yield matching
        for child, one in zip(new, found, strict=True):
            async for siblings in self._further(session, child, one):
                yield siblings

    async def _further(self, session: Session, child: Child, one: Node) -> AsyncIterator[list[Node]]:
        if self.seen >= NODES_MAX:
            self.whole = False
        elif child.has_children and not one.cut and child.node_class != "Method":
            async for siblings in self._below(session, child.node_id, one.path, one.level + 1):
                yield siblings

    async def _described(self, session: Session, children: list[Child], path: str, level: int) -> list[Node]:
        values: dict[str, tuple[str | None, str]] = {}
        variables = [child for child in children if child.node_class == "Variable"]
        if self._values and variables:
            from drivers.opcua.client import LINK_ERRORS
            from drivers.opcua.structures import TypeBook
            from drivers.opcua.values import UnusableValueError

            self._book = self._book or TypeBook(session.client)
            for child, result in zip(variables, await session.read([one.node_id for one in variables]), strict=True):
                good = result.status.startswith(("Good", "Uncertain"))
                if good and is_structure(result.value):
                    # What the server does not describe is shown as it is; a lost link fails at the next request.
                    with contextlib.suppress(UnusableValueError, *LINK_ERRORS):
                        await self._book.learn(child.node_id)
                values[child.node] = (
                    value_of(result.value, self._book) if good else None,
                    "" if good else result.status,
                )
        last = level + 1 >= self._depth
        nodes = []
        for child in children:
            value, status = values.get(child.node, (None, ""))
            # A name with a namespace is "{uri}Name"; a person reads the name.
            name = child.browse_name.rpartition("}")[2]
            cut = child.has_children and (last or child.node == SERVER_NODE)
            below = f"{path}/{child.browse_name}" if path else ""
            nodes.append(Node(level, name, below, child.node, child.node_class, child.type_name, value, status, cut))
        return nodes


def is_structure(value: Any) -> bool:
    """Whether a value is a structure that the library left as bytes."""
    first = value[0] if isinstance(value, list) and value else value
    return hasattr(first, "TypeId") and hasattr(first, "Body")


def value_of(value: Any, book: TypeBook) -> str:
    """A value of any type as a short text; the members of a structure by their names."""
    from drivers.opcua.values import UnusableValueError, scalar
    from gateway.commission.view import value_text

    if isinstance(value, (list, tuple)):
        inner = ", ".join(value_of(one, book) for one in value[:ELEMENTS_SHOWN])
        return f"[{inner}{', ...' if len(value) > ELEMENTS_SHOWN else ''}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {value_of(one, book)}" for name, one in value.items()) + "}"
    if value is None:
        return "(empty)"
    try:
        return value_of(book.decode(value), book) if is_structure(value) else value_text(scalar(value))
    except UnusableValueError:
        return clean(str(value), SHOWN_MAX)
