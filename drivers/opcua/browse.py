"""The tree of a server, one node at a time: what is below it, and how the configuration names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIdNames, ObjectIds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.session import Session

#: Children of one node that are fetched; the rest is left out.
CHILDREN_MAX: Final = 20_000
#: Answers about the children of one node; a server that gives fewer at a time than we ask for needs several.
PAGES_MAX: Final = 2_000
#: References that the server is asked for at once.
REFERENCES_PER_ANSWER: Final = 1_000
_HIERARCHICAL: Final = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))
_YES: Final = cast("ua.Boolean", True)
_NO: Final = cast("ua.Boolean", False)  # the library's default is to release
_OBJECTS: Final = ua.NodeId(ua.Int32(ObjectIds.ObjectsFolder))


class Child(NamedTuple):
    """What browsing found below a node.

    ``node`` is ready for the configuration (``nsu=...``), ``browse_name`` has the form of a browse path's element,
    ``type_name`` is the data type of a variable, else the type definition.
    """

    node: str
    node_id: ua.NodeId
    browse_name: str
    node_class: str
    type_name: str
    has_children: bool


async def children(session: Session, node: ua.NodeId | None) -> list[Child]:
    """All children, in the server's order. Raises LookupError for an unknown node, and what asking raises."""
    found = await _references(session, _OBJECTS if node is None else node, CHILDREN_MAX)
    nodes = [local(one.NodeId) for one in found]
    types = await _type_names(session, found, nodes)
    below = await _have_children(session, nodes)
    return [
        Child(
            node_text(node_id, session.namespaces),
            node_id,
            _browse_name(one.BrowseName, session.namespaces),
            ua.NodeClass(one.NodeClass).name,
            type_name,
            has_children,
        )
        for one, node_id, type_name, has_children in zip(found, nodes, types, below, strict=True)
    ]


def local(node: ua.NodeId) -> ua.NodeId:
    """The NodeId of an expanded one, which servers return for their own nodes too."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)


def node_text(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """A node as the configuration should name it: with the URI of its namespace instead of its index."""
    text = local(node).to_string()
    index = node.NamespaceIndex
    if not index or index >= len(namespaces):
        return text
    return f"nsu={namespaces[index]};{text.partition(';')[2]}"


def _browse_name(name: ua.QualifiedName, namespaces: Sequence[str]) -> str:
    text = "".join(f"&{character}" if character in "&/:{" else character for character in str(name.Name))
    index = name.NamespaceIndex
    return text if not index or index >= len(namespaces) else f"{{{namespaces[index]}}}{text}"


async def _references(session: Session, node: ua.NodeId, limit: int) -> list[Any]:
    (result,) = await session.client.uaclient.browse(_question([node], min(limit, REFERENCES_PER_ANSWER)))
    if result.StatusCode.is_bad():
        raise LookupError(f"{node_text(node, session.namespaces)}: {result.StatusCode.name}: {result.StatusCode.doc}")
    found = list(result.References or ())
    pages = 1
    while result.ContinuationPoint and len(found) < limit:
        if pages == PAGES_MAX:
            await _release(session, [result.ContinuationPoint])
            raise ConnectionError(
                f"{node_text(node, session.namespaces)}: {pages} answers brought {len(found)} children, and the server "
                f"announces more; allowed are {PAGES_MAX} answers"
            )
        pages += 1
        (result,) = await session.client.uaclient.browse_next(
            ua.BrowseNextParameters(ReleaseContinuationPoints=_NO, ContinuationPoints=[result.ContinuationPoint])
        )
        if result.StatusCode.is_bad():
            raise ConnectionError(
                f"{node_text(node, session.namespaces)}: after {len(found)} children {result.StatusCode.name}: "
                f"{result.StatusCode.doc}"
            )
        found += result.References or ()
    if result.ContinuationPoint:
        await _release(session, [result.ContinuationPoint])
    return list({local(one.NodeId): one for one in found}.values())[:limit]


async def _have_children(session: Session, nodes: list[ua.NodeId]) -> list[bool]:
    found: list[bool] = []
    points: list[ua.ByteString] = []
    for first in range(0, len(nodes), session.read_max):
        for result in await session.client.uaclient.browse(_question(nodes[first : first + session.read_max], 1)):
            found.append(bool(result.References))
            points += [result.ContinuationPoint] if result.ContinuationPoint else []
        if points:  # servers hold few of them
            await _release(session, points)
            points = []
    return found


async def _release(session: Session, points: Sequence[ua.ByteString]) -> None:
    await session.client.uaclient.browse_next(
        ua.BrowseNextParameters(ReleaseContinuationPoints=_YES, ContinuationPoints=list(points))
    )


def _question(nodes: Sequence[ua.NodeId], limit: int) -> ua.BrowseParameters:
    return ua.BrowseParameters(
        View=ua.ViewDescription(),
        RequestedMaxReferencesPerNode=ua.Counter(limit),
        NodesToBrowse=[
            ua.BrowseDescription(
                NodeId=node,
                BrowseDirection=ua.BrowseDirection.Forward,
                ReferenceTypeId=_HIERARCHICAL,
                IncludeSubtypes=_YES,
                NodeClassMask=ua.UInt32(0),
                ResultMask=ua.UInt32(ua.BrowseResultMask.All),
            )
            for node in nodes
        ],
    )


async def _type_names(session: Session, found: Sequence[Any], nodes: Sequence[ua.NodeId]) -> list[str]:
    variables = [node for one, node in zip(found, nodes, strict=True) if one.NodeClass == ua.NodeClass.Variable]
    data_types = {}
    if variables:
        results = await session.read(variables, AttributeIds.DataType)
        data_types = {node: one.value for node, one in zip(variables, results, strict=True)}
    kinds = [data_types.get(node) or one.TypeDefinition for one, node in zip(found, nodes, strict=True)]
    foreign = list({kind for kind in kinds if kind and kind.NamespaceIndex})
    names = {}
    if foreign:
        results = await session.read([local(kind) for kind in foreign], AttributeIds.BrowseName)
        names = {kind: str(getattr(one.value, "Name", "")) for kind, one in zip(foreign, results, strict=True)}
    return [_known_name(kind) if not kind or not kind.NamespaceIndex else names.get(kind, "") for kind in kinds]


def _known_name(kind: ua.NodeId | None) -> str:
    number = kind.Identifier if kind else None
    return str(ObjectIdNames.get(number, "")) if isinstance(number, int) else ""
