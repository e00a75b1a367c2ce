"""One connection to an OPC UA server: security, log-in, finding nodes, reading, writing, browsing.

Uses none of the library's reconnecting: a lost link ends this object, and the next attempt makes a new one. Knows no
signals and no rules.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from drivers.base import DriverError, WriteRefusedError
from drivers.opcua import address, browse, certificates, refusals
from drivers.opcua.client import LINK_ERRORS, LoginClient, said
from drivers.opcua.endpoints import MODES, POLICIES, choose, offers
from drivers.opcua.values import time_ns
from drivers.opcua.writing import expressed
from gateway.core.duration import seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from drivers.opcua.address import Address
    from drivers.opcua.settings import OpcUaSettings
    from gateway.core.model import Scalar

#: After a gateway crash the server frees the session after this (its memory may hold few sessions).
SESSION_TIMEOUT_MS: Final = 60_000
#: The library asks for the server's state this often at most; a slower PLC would be taken for dead.
PROBE_EVERY_S: Final = 5.0
#: Operations of one request, where the server names no limit.
OPERATIONS_MAX: Final = 500
#: Closing politely must not hold the supervisor.
DISCONNECT_TIMEOUT_S: Final = 0.4
_HERE: Final = Path()
_LIMITS: Final = (
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
)
_YES: Final = cast("ua.Boolean", True)
_NO: Final = cast("ua.Boolean", False)
_HIERARCHICAL: Final = ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences))


class ReadResult(NamedTuple):
    """One attribute as it was read: the library's value, the status in words, and the server's time (None: none).

    ``value`` is None where the status is bad.
    """

    value: Any
    status: str
    source_ns: int | None


class Session:
    """A session with one server; ``open``, use, ``close``, and throw away.

    ``folder`` holds the certificates (``certificates.FOLDER`` below the state directory), ``source`` names the pinned
    one there, ``now_ns`` is UTC, in which they are dated. ``secrets`` are those of the settings by dotted path,
    ``base_dir`` is where their relative paths start. ``on_lost`` hears once when the connection breaks.
    """

    def __init__(
        self,
        settings: OpcUaSettings,
        folder: Path,
        *,
        now_ns: Callable[[], int],
        source: str = "",
        base_dir: Path = _HERE,
        secrets: Mapping[str, str] = MappingProxyType({}),
        on_lost: Callable[[Exception], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._now_ns = now_ns
        self._source = source
        self._base_dir = base_dir
        self._secrets = secrets
        timeout_s = seconds(settings.timeout)
        self.client = LoginClient(
            settings.endpoint, timeout=timeout_s, watchdog_intervall=max(PROBE_EVERY_S, timeout_s)
        )
        self.client.session_timeout = SESSION_TIMEOUT_MS
        self.client.name = self.client.description = "linegate"
        self.client.connection_lost_callback = on_lost  # type: ignore[assignment] # it wants a coroutine, nothing more
        self.client.may_send_plain_password = settings.insecure or settings.security == "none"
        self._certificates: dict[str, bytes] = {}
        self._variant_types: dict[ua.NodeId, ua.VariantType] = {}
        self.namespaces: list[str] = []
        self.read_max = self.items_max = self._paths_max = OPERATIONS_MAX

    async def open(self) -> None:
        """Connect, with the security that is configured, and log in. Raises DriverError."""
        try:
            await self._secure()
            await self._identify()
            await self.client.connect()
            await self.read_namespaces()
            await self._read_limits()
        except LINK_ERRORS as error:
            raise DriverError(await self._why(error)) from error

    async def close(self) -> None:
        """Close session and connection; a server that does not answer is left."""
        client = self.client
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT_S):
                await client.disconnect()
        except LINK_ERRORS:
            pass  # there is nothing left to close
        finally:
            client.disconnect_socket()

    def notices(self) -> dict[str, str]:
        """Certificates that end soon, have ended, or are not yet valid."""
        found = {}
        for what, der in self._certificates.items():
            notice = certificates.validity_notice(f"the {what} certificate", der, self._now_ns())
            if notice is not None:
                found[f"{what.replace(' ', '_')}_certificate"] = notice
        return found

    # --- connecting ------------------------------------------------------------------------------------------------

    async def _secure(self) -> None:
        settings, client = self._settings, self.client
        if settings.security == "none":
            client.application_uri = certificates.existing_application_uri(self._folder)
            return
        own = await asyncio.to_thread(certificates.own, self._folder, self._now_ns())
        client.application_uri = own.application_uri
        pinned = certificates.pinned(self._folder, self._source)
        if pinned is None:
            raise DriverError(
                f"{settings.endpoint}: nobody has trusted this server's certificate yet; run "
                f"'linegate opcua trust {self._source} --config FILE' and compare the fingerprint with the server's"
            )
        offer = choose(settings, await offers(settings.endpoint, seconds(settings.timeout)))
        if offer.certificate != pinned:
            raise DriverError(
                f"{settings.endpoint}: the server shows another certificate than the trusted one: found SHA-256 "
                f"{certificates.fingerprint(offer.certificate) if offer.certificate else 'none'}, allowed "
                f"{certificates.fingerprint(pinned)}; if it was renewed on purpose, run "
                f"'linegate opcua trust {self._source} --config FILE', else somebody may be in between"
            )
        self._certificates = {"own": own.der, "server": pinned}
        client.use(
            POLICIES[settings.policy](
                certificates.load(pinned), certificates.load(own.der), own.key, MODES[settings.security]
            )
        )

    async def _identify(self) -> None:
        user, client = self._settings.user, self.client
        if user is None:
            return
        if user.name is not None:
            client.set_user(user.name)
            client.set_password(self._secrets["user.password"])
            return
        assert user.cert_file is not None, "checked by the settings"
        certificate, der = certificates.load_file(self._base_dir / user.cert_file)
        self._certificates["user"] = der
        client.user_certificate = certificate
        client.user_private_key = certificates.key_of(self._secrets["user.key"], f"{self._source}: user.key")

    async def _why(self, error: BaseException) -> str:
        """Why connecting failed, with what to do; asks the server what it offers where that may be the reason."""
        advice = refusals.advice(error, self._settings, self.client.application_uri)
        ended = [notice for notice in self.notices().values() if "expired" in notice or "clock" in notice]
        if not advice and self._settings.security == "none" and refusals.is_answer(error):
            try:
                choose(self._settings, await offers(self._settings.endpoint, seconds(self._settings.timeout)))
            except DriverError as other:
                return str(other)
            except LINK_ERRORS:
                pass  # the first reason stays the one to be told
        if not advice:
            allows = f", and that the server allows security {self._settings.security}"
            advice = f"check address, port and path{allows if refusals.is_answer(error) else ''}"
        return f"{self._settings.endpoint}: no connection: {said(error)}; {'; '.join([advice, *ended])}"

    async def _read_limits(self) -> None:
        nodes = [ua.NodeId(ua.Int32(identifier)) for identifier in _LIMITS]
        limits = [
            min(OPERATIONS_MAX, one.value) if isinstance(one.value, int) and one.value > 0 else OPERATIONS_MAX
            for one in await self.read(nodes)
        ]
        self.read_max, self.items_max, self._paths_max = limits

    # --- finding ---------------------------------------------------------------------------------------------------

    async def read_namespaces(self) -> None:
        """Read the server's namespaces anew; their order may change while it runs."""
        (found,) = await self.read([ua.NodeId(ua.Int32(ObjectIds.Server_NamespaceArray))])
        if not isinstance(found.value, list):
            raise ConnectionError(f"the server does not name its namespaces ({found.status})")
        self.namespaces = [str(uri) for uri in found.value]

    async def resolve(self, node_text: str) -> ua.NodeId:
        """The node that a NodeId or a browse path names. Raises LookupError with the reason, and LINK_ERRORS."""
        start = self._settings.start_address()
        try:
            wanted = address.parse(node_text, self._settings.namespaces, start)
        except ValueError as error:
            raise LookupError(str(error)) from error
        (found,) = await self.resolve_all([wanted])
        if isinstance(found, str):
            raise LookupError(found)  # noqa: TRY004 - the text is the reason, not a value of a wrong type
        return found

    async def resolve_all(self, addresses: Sequence[Address]) -> list[ua.NodeId | str]:
        """For each address its node, or the reason why there is none. Raises LINK_ERRORS."""
        found: list[ua.NodeId | str] = []
        paths: list[tuple[int, ua.BrowsePath]] = []
        for number, wanted in enumerate(addresses):
            try:
                node = self._node_id(wanted.node)
                if wanted.path:
                    paths.append((number, self._browse_path(node, wanted)))
                found.append(node)
            except LookupError as error:
                found.append(str(error.args[0]))
        for first in range(0, len(paths), self._paths_max):
            chunk = paths[first : first + self._paths_max]
            results = await self.client.uaclient.translate_browsepaths_to_nodeids([path for _, path in chunk])
            for (number, _path), result in zip(chunk, results, strict=True):
                if result.StatusCode.is_good() and result.Targets:
                    found[number] = browse.local(result.Targets[0].TargetId)
                else:
                    found[number] = f"{result.StatusCode.name}: {result.StatusCode.doc}"
        return found

    def _node_id(self, text: str) -> ua.NodeId:
        uri, identifier = "", text
        if text.startswith("nsu="):
            uri, _semicolon, identifier = text[4:].partition(";")
            identifier = f"ns={self._namespace(uri)};{identifier}"
        try:
            return ua.NodeId.from_string(identifier)
        except (UaError, ValueError) as error:
            raise LookupError(f"not a NodeId: {error}") from error

    def _namespace(self, uri: str) -> int:
        if uri not in self.namespaces:
            raise LookupError(f"unknown namespace {uri}; the server has {', '.join(self.namespaces)}")
        return self.namespaces.index(uri)

    def _browse_path(self, node: ua.NodeId, wanted: Address) -> ua.BrowsePath:
        elements = [
            ua.RelativePathElement(
                ReferenceTypeId=_HIERARCHICAL,
                IsInverse=_NO,
                IncludeSubtypes=_YES,
                TargetName=ua.QualifiedName(
                    ua.String(element.name),
                    ua.UInt16(element.namespace if element.uri is None else self._namespace(element.uri)),
                ),
            )
            for element in wanted.path
        ]
        return ua.BrowsePath(StartingNode=node, RelativePath=ua.RelativePath(Elements=elements))

    def text_of(self, node: ua.NodeId) -> str:
        """A node as the configuration should name it: with the URI of its namespace."""
        return browse.node_text(node, self.namespaces)

    # --- reading and writing ---------------------------------------------------------------------------------------

    async def read(self, nodes: Sequence[ua.NodeId], attribute: AttributeIds = AttributeIds.Value) -> list[ReadResult]:
        """One attribute of each node, in requests that the server takes. Raises LINK_ERRORS."""
        found: list[ReadResult] = []
        for first in range(0, len(nodes), self.read_max):
            wanted = [
                ua.ReadValueId(NodeId=node, AttributeId=ua.IntegerId(attribute))
                for node in nodes[first : first + self.read_max]
            ]
            for data in await self.read_data(wanted):
                code = data.StatusCode
                bad = code is not None and code.is_bad()
                value = None if bad or data.Value is None else data.Value.Value
                stamp = time_ns(data.SourceTimestamp) or time_ns(data.ServerTimestamp)
                found.append(ReadResult(value, "Good" if code is None else code.name, stamp))
        return found

    async def read_data(self, wanted: list[ua.ReadValueId]) -> list[ua.DataValue]:
        """One read request as it is. Raises LINK_ERRORS."""
        parameters = ua.ReadParameters(
            MaxAge=ua.Duration(0), TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=wanted
        )
        results = await self.client.uaclient.read(parameters)
        if len(results) != len(wanted):
            raise ConnectionError(f"the server answered {len(wanted)} questions with {len(results)} values")
        return results

    async def write(self, node: ua.NodeId, value: Scalar) -> None:
        """Write the value of a variable in its own data type. Raises WriteRefusedError, LINK_ERRORS."""
        kind = await self._variant_type(node)
        # Neither status nor time stamps: most servers refuse to have them written.
        data = ua.DataValue(ua.Variant(expressed(value, kind), kind), StatusCode=None)
        (status,) = await self.client.uaclient.write_attributes([node], [data], AttributeIds.Value)
        if not status.is_good():
            raise WriteRefusedError(f"{self.text_of(node)}: the server says {status.name}: {status.doc}")

    async def _variant_type(self, node: ua.NodeId) -> ua.VariantType:
        if node not in self._variant_types:
            try:
                self._variant_types[node] = await self.client.get_node(node).read_data_type_as_variant_type()
            except UaStatusCodeError as error:
                raise WriteRefusedError(f"{self.text_of(node)}: its data type cannot be read: {said(error)}") from error
        return self._variant_types[node]

    async def browse(self, node: ua.NodeId | None = None) -> list[browse.Child]:
        """The children of a node (of Objects, where none is named), in the server's order. Raises LINK_ERRORS.

        Raises LookupError where the server does not know the node.
        """
        return await browse.children(self, node)
