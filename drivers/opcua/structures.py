"""Reads the members of structures, and the texts of enumerations, as the server itself describes them.

The library would register a Python class per structure for the whole process, under a namespace index: with a second
server, or after a restart with another order of namespaces, a value would be read by the wrong description. So the
descriptions are kept here, per connection, and a value stays bytes until it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua import ua_binary
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIdNames, ObjectIds
from asyncua.ua.uaerrors import UaError

from drivers.opcua.values import UnusableValueError

if TYPE_CHECKING:
    from asyncua.client.client import Client

#: Structures in structures, and supertypes of a type.
DEPTH_MAX: Final = 16
FIELDS_MAX: Final = 1_000
#: Elements of an array within a structure.
ELEMENTS_MAX: Final = 100_000
_BUILTIN_MAX: Final = 25
_STRUCTURE: Final = 22
_ENUMERATION: Final = 29
_ABSTRACT: Final = ua.NodeId(ua.Int32(_STRUCTURE))
_YES: Final = cast("ua.Boolean", True)
_NO: Final = cast("ua.Boolean", False)
_HAS_SUBTYPE: Final = ua.NodeId(ua.Int32(ObjectIds.HasSubtype))
_HAS_ENCODING: Final = ua.NodeId(ua.Int32(ObjectIds.HasEncoding))
_HAS_PROPERTY: Final = ua.NodeId(ua.Int32(ObjectIds.HasProperty))


class Member(NamedTuple):
    """One member of a structure. ``kind``: a built-in type, a nested structure, or a class of the standard."""

    name: str
    kind: ua.VariantType | Layout | type
    array: bool
    optional: bool


class Layout(NamedTuple):
    """How a structure lies in its bytes."""

    name: str
    members: tuple[Member, ...]
    has_mask: bool
    is_union: bool


class UnknownStructureError(UnusableValueError):
    """A structure that the server has not described yet; asking it again may help."""


class TypeBook:
    """What one server says of its data types; good for one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._by_encoding: dict[ua.NodeId, Layout] = {}
        self._by_type: dict[ua.NodeId, Layout | type] = {}
        self._texts: dict[ua.NodeId, dict[int, str]] = {}

    async def learn(self, node: ua.NodeId) -> None:
        """Learn the structure of a variable from its data type and its present value.

        Raises UnusableValueError where the server does not describe it, and what asking raises.
        """
        data_type, value = await self._attributes(node, AttributeIds.DataType, AttributeIds.Value)
        if not isinstance(data_type, ua.NodeId):
            return  # the node is bad: that is said when it is read
        found = value if isinstance(value, list) else [value]
        while found and isinstance(found[0], list):
            found = found[0]
        unknown = {one.TypeId for one in found if isinstance(one, ua.ExtensionObject)} - set(self._by_encoding)
        for encoding in unknown:
            if encoding.Identifier:
                own = await self._related(encoding, _HAS_ENCODING, ua.BrowseDirection.Inverse)
                await self._structure(own or data_type, encoding, 0)
        if not found or found[0] is None:
            kind = await self._base(data_type)
            if kind == _STRUCTURE and data_type != _ABSTRACT:
                await self._structure(data_type, None, 0)

    async def texts(self, node: ua.NodeId) -> dict[int, str]:
        """The texts of a variable's enumeration. Raises UnusableValueError, and what asking raises."""
        (data_type,) = await self._attributes(node, AttributeIds.DataType)
        if not isinstance(data_type, ua.NodeId):
            return {}
        if data_type not in self._texts:
            self._texts[data_type] = await self._read_texts(data_type)
        return self._texts[data_type]

    async def span(self, node: ua.NodeId) -> float:
        """Width of the range that a variable may take. Raises UnusableValueError where the server names none."""
        found = await self._property(node, "EURange")
        value = (await self._attributes(found, AttributeIds.Value))[0] if found is not None else None
        if not isinstance(value, ua.Range):
            raise UnusableValueError("no EURange, of which percent could be taken; set deadband instead")
        return float(value.High - value.Low)

    def decode(self, value: ua.ExtensionObject) -> dict[str, Any]:
        """Members by name. Raises UnusableValueError where the structure is unknown or does not fit."""
        layout = self._by_encoding.get(value.TypeId)
        if layout is None:
            raise UnknownStructureError(
                f"a structure of the type {value.TypeId.to_string()}, which the server does not describe; configure "
                f"the variable of the single member, if the server has one"
            )
        try:
            return _read_structure(layout, Buffer(value.Body or b""))
        except (NotEnoughData, UaError, ValueError, IndexError, TypeError) as error:
            raise UnusableValueError(f"a {layout.name} whose bytes do not fit its description: {error}") from error

    async def _structure(self, data_type: ua.NodeId, encoding: ua.NodeId | None, depth: int) -> Layout | type:
        known = self._by_type.get(data_type)
        if known is None:
            known = self._by_type[data_type] = await self._describe(data_type, depth)
        if encoding is not None and isinstance(known, Layout):
            self._by_encoding[encoding] = known
        return known

    async def _describe(self, data_type: ua.NodeId, depth: int) -> Layout | type:
        if depth > DEPTH_MAX:
            raise UnusableValueError(f"a structure of more than {DEPTH_MAX} levels")
        standard = _standard(data_type)
        if standard is not None:
            return standard
        name, described = await self._attributes(data_type, AttributeIds.BrowseName, AttributeIds.DataTypeDefinition)
        shown = getattr(name, "Name", None) or data_type.to_string()
        if not isinstance(described, ua.StructureDefinition):
            raise UnusableValueError(
                f"a structure {shown}, which the server does not describe (it has no DataTypeDefinition, OPC UA 1.04); "
                f"configure the variable of the single member, if the server has one"
            )
        kind = described.StructureType
        if kind not in (
            ua.StructureType.Structure,
            ua.StructureType.StructureWithOptionalFields,
            ua.StructureType.Union,
        ):
            raise UnusableValueError(f"a structure {shown} of the kind {kind!r}, which cannot be read")
        members = [await self._member(one, depth) for one in await self._fields(described, depth)]
        layout = Layout(
            shown,
            tuple(members),
            kind == ua.StructureType.StructureWithOptionalFields,
            kind == ua.StructureType.Union,
        )
        if described.DefaultEncodingId is not None and described.DefaultEncodingId.Identifier:
            self._by_encoding[described.DefaultEncodingId] = layout
        return layout

    async def _fields(self, described: ua.StructureDefinition, depth: int) -> list[ua.StructureField]:
        """Members of the supertypes come first, where the server does not list them itself."""
        fields = list(described.Fields or ())
        base = described.BaseDataType
        if depth <= DEPTH_MAX and base is not None and base.NamespaceIndex != 0 and base.Identifier:
            (inherited,) = await self._attributes(base, AttributeIds.DataTypeDefinition)
            if isinstance(inherited, ua.StructureDefinition):
                names = {one.Name for one in fields}
                fields = [one for one in await self._fields(inherited, depth + 1) if one.Name not in names] + fields
        if len(fields) > FIELDS_MAX:
            raise UnusableValueError(f"a structure of {len(fields)} members, allowed {FIELDS_MAX}")
        return fields

    async def _member(self, described: ua.StructureField, depth: int) -> Member:
        kind: ua.VariantType | Layout | type
        base = await self._base(described.DataType)
        if base == _STRUCTURE:
            abstract = described.DataType == _ABSTRACT
            kind = (
                ua.VariantType.ExtensionObject
                if abstract
                else await self._structure(described.DataType, None, depth + 1)
            )
        else:
            kind = ua.VariantType.Int32 if base == _ENUMERATION else ua.VariantType(base)
        return Member(str(described.Name), kind, described.ValueRank >= 1, bool(described.IsOptional))

    async def _base(self, data_type: ua.NodeId) -> int:
        """Number of the built-in type, 22 for structures, 29 for enumerations."""
        found: ua.NodeId | None = data_type
        for _ in range(DEPTH_MAX):
            if found is None:
                break
            identifier = found.Identifier
            if found.NamespaceIndex == 0 and isinstance(identifier, int):
                if identifier <= _BUILTIN_MAX or identifier == _ENUMERATION:
                    return identifier
                if _standard(found) is not None:
                    return _STRUCTURE
            found = await self._related(found, _HAS_SUBTYPE, ua.BrowseDirection.Inverse)
        raise UnusableValueError(f"a data type {data_type.to_string()}, which the server does not describe")

    async def _read_texts(self, data_type: ua.NodeId) -> dict[int, str]:
        (described,) = await self._attributes(data_type, AttributeIds.DataTypeDefinition)
        if isinstance(described, ua.EnumDefinition):
            return {one.Value: str(one.DisplayName.Text or one.Name) for one in described.Fields}
        for name in ("EnumValues", "EnumStrings"):
            node = await self._property(data_type, name)
            values = (await self._attributes(node, AttributeIds.Value))[0] if node is not None else None
            if isinstance(values, list) and values:
                if isinstance(values[0], ua.EnumValueType):
                    return {one.Value: str(one.DisplayName.Text) for one in values}
                return {number: str(one.Text) for number, one in enumerate(values)}
        raise UnusableValueError(
            f"an enumeration {data_type.to_string()}, for which the server has no texts; set enum: number"
        )

    async def _property(self, node: ua.NodeId, name: str) -> ua.NodeId | None:
        path = ua.RelativePath(
            Elements=[
                ua.RelativePathElement(
                    ReferenceTypeId=_HAS_PROPERTY,
                    IsInverse=_NO,
                    IncludeSubtypes=_YES,
                    TargetName=ua.QualifiedName(ua.String(name)),
                )
            ]
        )
        (result,) = await self._client.translate_browsepaths(node, [path])
        if not result.StatusCode.is_good() or not result.Targets:
            return None
        target: ua.NodeId = result.Targets[0].TargetId
        return target

    async def _related(self, node: ua.NodeId, reference: ua.NodeId, way: ua.BrowseDirection) -> ua.NodeId | None:
        described = ua.BrowseDescription(
            NodeId=node,
            BrowseDirection=way,
            ReferenceTypeId=reference,
            IncludeSubtypes=_YES,
            NodeClassMask=ua.UInt32(0),
            ResultMask=ua.UInt32(0),
        )
        parameters = ua.BrowseParameters(
            View=ua.ViewDescription(), RequestedMaxReferencesPerNode=ua.UInt32(1), NodesToBrowse=[described]
        )
        (result,) = await self._client.uaclient.browse(parameters)
        return result.References[0].NodeId if result.References else None

    async def _attributes(self, node: ua.NodeId, *attributes: AttributeIds) -> list[Any]:
        wanted = [ua.ReadValueId(NodeId=node, AttributeId=ua.IntegerId(attribute)) for attribute in attributes]
        parameters = ua.ReadParameters(
            MaxAge=ua.Duration(0), TimestampsToReturn=ua.TimestampsToReturn.Neither, NodesToRead=wanted
        )
        results = await self._client.uaclient.read(parameters)
        return [None if one.Value is None else one.Value.Value for one in results]


def _standard(data_type: ua.NodeId) -> type | None:
    """The library's class of a structure that the standard itself defines; its index never changes."""
    number = data_type.Identifier
    if data_type.NamespaceIndex or not isinstance(number, int):
        return None
    found = getattr(ua, ObjectIdNames.get(number, ""), None)
    return found if isinstance(found, type) and getattr(found, "data_type", None) == data_type else None


def _read_structure(layout: Layout, data: Buffer) -> dict[str, Any]:
    if layout.is_union:
        chosen = ua_binary.Primitives.UInt32.unpack(data)
        if not chosen:
            return {}
        member = layout.members[chosen - 1]
        return {member.name: _read_member(member, data)}
    mask = ua_binary.Primitives.UInt32.unpack(data) if layout.has_mask else 0
    found: dict[str, Any] = {}
    bit = 0
    for member in layout.members:
        if layout.has_mask and member.optional:
            present = mask >> bit & 1
            bit += 1
            if not present:
                found[member.name] = None
                continue
        found[member.name] = _read_member(member, data)
    return found


def _read_member(member: Member, data: Buffer) -> Any:
    if not member.array:
        return _read_one(member.kind, data)
    count = ua_binary.Primitives.Int32.unpack(data)
    if count > ELEMENTS_MAX:
        raise ValueError(f"{member.name} has {count} elements, allowed {ELEMENTS_MAX}")
    return [_read_one(member.kind, data) for _ in range(max(0, count))]


def _read_one(kind: ua.VariantType | Layout | type, data: Buffer) -> Any:
    if isinstance(kind, Layout):
        return _read_structure(kind, data)
    if isinstance(kind, ua.VariantType):
        return ua_binary.unpack_uatype(kind, data)
    return ua_binary.struct_from_binary(kind, data)
