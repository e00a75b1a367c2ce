"""The address space of a simulated OPC UA machine: namespaces, folders, and variables as lists declare them.

Can be built again in another order of the namespaces, as after a restart of the server. What the variables show is
``opcua_values.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncua import ua
from asyncua.common.structures104 import new_enum
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from asyncua.common.node import Node
    from asyncua.server.server import Server

#: Namespaces 0 (OPC UA itself) and 1 (the server) have their index by the standard.
FIRST_OWN: Final = 2


class TypeId(NamedTuple):
    """A data type by the URI of its namespace ("": OPC UA itself) and its number there."""

    uri: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable; ``key`` is its identifier, its last part after a dot its browse name.

    Attributes:
        key: identifier of its NodeId, unique in the machine.
        folder: browse names from the machine down.
        kind: how it is encoded; a list as ``first`` makes it an array.
        first: its value at the start.
        data_type: its data type; None: that of its encoding.
        zero: what it shows instead of a value where a fault makes it zero; None: it is no counter.
    """

    key: str
    folder: tuple[str, ...]
    kind: ua.VariantType
    first: Any
    data_type: TypeId | None = None
    zero: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """Its browse name."""
        return self.key.rpartition(".")[2]


class Space:
    """The nodes of one machine.

    ``machine`` is a namespace URI and the machine's name; the variables and folders are in the namespace ``uri``.
    ``types`` makes the data types, each time that the nodes are built.
    """

    def __init__(
        self,
        server: Server,
        *,
        machine: tuple[str, str],
        uri: str,
        variables: Sequence[Variable],
        types: Callable[[Space], Awaitable[None]],
    ) -> None:
        self.server = server
        self.variables = {variable.key: variable for variable in variables}
        self.nodes: dict[str, ua.NodeId] = {}
        self._machine_uri, self._machine = machine
        self._uri = uri
        self._types = types
        #: The machine's own namespace first, so that nobody can get away with assuming index 2.
        self._order = list(dict.fromkeys((self._machine_uri, uri)))

    def index(self, uri: str) -> int:
        """The present index of a namespace, 0 for ""."""
        return self._order.index(uri) + FIRST_OWN if uri else 0

    def node_id(self, identifier: str) -> ua.NodeId:
        """The NodeId of a variable or folder."""
        return ua.NodeId.from_string(f"ns={self.index(self._uri)};s={identifier}")

    async def build(self) -> None:
        """Make all nodes. The server must have been initialised, and know its application URI."""
        array = self.server.nodes.namespace_array
        present = await array.read_value()
        await array.write_value([*present[:FIRST_OWN], *self._order])
        own, name = self.index(self._machine_uri), self._machine
        machine_id = ua.NodeId.from_string(f"ns={own};s={name}")
        machine = await self.server.nodes.objects.add_object(machine_id, f"{own}:{name}")
        await self._types(self)
        folders: dict[tuple[str, ...], Node] = {(): machine}
        for variable in self.variables.values():
            parent = await self._folder(folders, variable.folder)
            self.nodes[variable.key] = await self._add(parent, variable, variable.first)

    async def rebuild(self, *, shuffle: bool) -> None:
        """Make all nodes anew; ``shuffle``: every namespace gets another index. Their values are the first ones."""
        aspace = self.server.iserver.aspace
        own = [node for node in list(aspace.keys()) if node.NamespaceIndex >= FIRST_OWN]
        for node in own:
            del aspace[node]
        for node in list(aspace.keys()):
            references = aspace[node].references
            references[:] = [one for one in references if one.NodeId.NamespaceIndex < FIRST_OWN]
        if shuffle:
            self._order = [*self._order[1:], self._order[0]]
        await self.build()

    async def remove(self, key: str) -> None:
        """Delete a variable; who has subscribed to it is told so."""
        node = self.nodes[key]
        gone = ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadNodeIdUnknown)))
        await self.server.write_attribute_value(node, gone)
        aspace = self.server.iserver.aspace
        # The library would call those who listen to the variable once more, wrongly.
        for handle in list(aspace[node].attributes[AttributeIds.Value].datachange_callbacks):
            aspace.delete_datachange_callback(handle)
        await self.server.delete_nodes([self.server.get_node(node)])

    async def add_again(self, key: str, value: Any) -> None:
        """Make a deleted variable anew: same NodeId, and no subscription is left from before."""
        variable = self.variables[key]
        parent = self.server.get_node(self._folder_id(variable.folder))
        self.nodes[key] = await self._add(parent, variable, value)

    async def add_enumeration(self, type_id: TypeId, name: str, words: Sequence[str]) -> None:
        """Make an enumeration, numbered from 0."""
        index = self.index(type_id.uri)
        fields: list[str | ua.EnumField] = list(words)
        await new_enum(self.server, ua.NodeId(ua.Int32(type_id.number), ua.Int16(index)), f"{index}:{name}", fields)

    async def add_plain(self, name: str) -> ua.NodeId:
        """Add a Double to the machine itself, apart from its variables: no fault touches it."""
        index = self.index(self._uri)
        machine = self.server.get_node(self._folder_id(()))
        node = await machine.add_variable(self.node_id(name), f"{index}:{name}", 0.0, ua.VariantType.Double)
        return node.nodeid

    async def _folder(self, folders: dict[tuple[str, ...], Node], path: tuple[str, ...]) -> Node:
        if path not in folders:
            parent = await self._folder(folders, path[:-1])
            name = f"{self.index(self._uri)}:{path[-1]}"
            folders[path] = await parent.add_object(self._folder_id(path), name)
        return folders[path]

    def _folder_id(self, path: tuple[str, ...]) -> ua.NodeId:
        if path:
            return self.node_id(".".join(path))
        return ua.NodeId.from_string(f"ns={self.index(self._machine_uri)};s={self._machine}")

    async def _add(self, parent: Node, variable: Variable, value: Any) -> ua.NodeId:
        data_type = None
        if variable.data_type is not None:
            number = ua.Int32(variable.data_type.number)
            data_type = ua.NodeId(number, ua.Int16(self.index(variable.data_type.uri)))
        name = f"{self.index(self._uri)}:{variable.name}"
        node = await parent.add_variable(self.node_id(variable.key), name, value, variable.kind, data_type)
        if isinstance(value, list):
            await node.write_value_rank(ua.ValueRank.OneDimension)
        return node.nodeid
