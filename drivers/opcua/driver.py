"""Subscribes to variables of an OPC UA server: the only module that knows asyncua.

Takes whole notifications from the session instead of the library's subscription object, whose task or event per value
costs more than the decoding. Uses none of the library's reconnecting: a lost link ends this object.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from drivers.base import DriverError, Reading, TelemetryBlock, WriteRefusedError
from drivers.opcua.values import UnusableValueError, scalar, severity, time_ns
from gateway.core.duration import NS_PER_S, seconds
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping

    from drivers.base import DriverContext
    from drivers.opcua.settings import OpcUaSettings
    from gateway.core.model import Scalar

#: After a gateway crash the server frees the session after this (its memory may hold few sessions).
SESSION_TIMEOUT_MS: Final = 60_000
#: An idle server says that it lives this often, or at every publish interval where that is longer.
KEEP_ALIVE_EVERY_NS: Final = NS_PER_S
#: The server drops a subscription that nobody asks for this long.
SUBSCRIPTION_LIFE_NS: Final = 60 * NS_PER_S
#: Missed keep-alives until the link is taken for lost.
KEEP_ALIVES_MISSED: Final = 3
#: The library asks for the server's state this often at most; a slower PLC would be taken for dead.
PROBE_EVERY_S: Final = 5.0
#: Servers bound the items of one request; this is within all limits known.
ITEMS_PER_REQUEST: Final = 500
#: Notifications that wait for the receiver; then no more are asked for.
NOTIFICATIONS_AHEAD: Final = 8
#: A refused node is tried again after this, doubling up to the limit.
REFUSED_RETRY_FIRST_S: Final = 1.0
REFUSED_RETRY_MAX_S: Final = 60.0
#: Closing politely must not hold the supervisor.
DISCONNECT_TIMEOUT_S: Final = 0.4
_SEQUENCE_MAX: Final = 2**32 - 1
_NAMESPACE_URI: Final = re.compile(r"nsu=([^;]+);(.+)", re.DOTALL)
#: Types that a variant's content may have and that need no conversion.
_PLAIN: Final = frozenset({bool, int, str})

# At its usual level the library formats every notification; its client reports losses with tracebacks, we raise.
logging.getLogger("asyncua").setLevel(logging.WARNING)
logging.getLogger("asyncua.client").setLevel(logging.CRITICAL)

LINK_ERRORS: Final = (UaError, OSError, TimeoutError, asyncio.IncompleteReadError)


class _Item:
    """One variable; ``handle`` names it on the wire for the life of the connection."""

    __slots__ = ("handle", "name", "node", "refused_times", "rule", "telemetry")

    def __init__(self, handle: int, name: str, node: str, *, rule: bool, telemetry: bool) -> None:
        self.handle = handle
        self.name = name
        self.node = node
        self.rule = rule
        self.telemetry = telemetry
        self.refused_times = 0


class OpcUaDriver:
    """The OPC UA side of one source (see ``drivers.base`` for who calls what)."""

    def __init__(self, settings: OpcUaSettings, context: DriverContext) -> None:
        self._settings = settings
        self._now_ns = context.now_ns
        self._items = {
            handle: _Item(
                handle,
                f"{context.source}.{name}",
                signal.node or str(signal.path),
                rule=name in context.rule_signals,
                telemetry=name in context.telemetry_signals,
            )
            for handle, (name, signal) in enumerate(settings.signals.items(), start=1)
            if name in context.rule_signals or name in context.telemetry_signals
        }
        self._client: Client | None = None
        self._subscription_id = 0
        self._notifications: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(NOTIFICATIONS_AHEAD)
        self._lost_reason = ""
        self._silence_limit_s = 0.0
        self._last_sequence: int | None = None
        self._refused: list[_Item] = []
        self._retry_at_s = math.inf  # loop time
        self._unsaid: list[_Item] = []  # refused, and not yet delivered as BAD
        self._problems: dict[str, str] = {}
        self._telemetry_names: tuple[str, ...] = ()

    async def open(self) -> None:
        """Connect and subscribe. Raises DriverError; a node that is refused is a problem, not an error."""
        settings = self._settings
        if settings.security != "none":
            raise DriverError(f"{settings.endpoint}: security {settings.security} is not there yet")
        timeout_s = seconds(settings.timeout)
        client = Client(settings.endpoint, timeout=timeout_s, watchdog_intervall=max(PROBE_EVERY_S, timeout_s))
        client.session_timeout = SESSION_TIMEOUT_MS
        client.name = client.description = "linegate"
        client.application_uri = "urn:linegate:gateway"
        client.connection_lost_callback = self._on_lost
        self._client = client
        try:
            await client.connect()
            await self._create_subscription(client)
            await self._subscribe(client, list(self._items.values()))
        except LINK_ERRORS as error:
            raise DriverError(
                f"{settings.endpoint}: no connection: {_said(error)}; check address, port and path, and that the "
                f"server allows security {settings.security}"
            ) from error

    async def readings(self) -> AsyncIterator[Reading]:
        """One reading per notification, an empty one per keep-alive. Raises DriverError when the link is lost."""
        client = self._client
        assert client is not None, "open() comes first"
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        if self._unsaid:
            yield self._bad()
        while True:
            due_s = min(heard_s + self._silence_limit_s, self._retry_at_s)
            try:
                async with asyncio.timeout_at(due_s):
                    received_ns, result = await self._notifications.get()
            except TimeoutError:
                if loop.time() >= heard_s + self._silence_limit_s:
                    raise DriverError(
                        f"{self._settings.endpoint}: no sign of life for {self._silence_limit_s:g} s"
                    ) from None
                await self._retry_refused(client)
                if self._unsaid:
                    yield self._bad()
                continue
            heard_s = loop.time()
            yield self._translate(received_ns, result)

    async def close(self) -> None:
        """Close session and connection; a server that does not answer is left."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT_S):
                await client.disconnect()
        except LINK_ERRORS:
            pass  # there is nothing left to close
        finally:
            client.disconnect_socket()

    async def write(self, signal: str, value: Scalar) -> None:
        """Raise WriteRefusedError: nothing is written yet."""
        raise WriteRefusedError(f"{signal}: this driver cannot write {value!r}")

    def notices(self) -> Mapping[str, str]:
        """Nothing yet."""
        return {}

    def problems(self) -> Mapping[str, str]:
        """Signals whose node is refused, bad or unusable, with the server's word."""
        return dict(self._problems)

    async def _create_subscription(self, client: Client) -> None:
        publish_ns = self._settings.publish
        keep_alives = max(1, KEEP_ALIVE_EVERY_NS // publish_ns)
        result = await client.uaclient.create_subscription(
            ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=ua.Duration(seconds(publish_ns) * 1_000),
                RequestedLifetimeCount=ua.Counter(max(3 * keep_alives, -(-SUBSCRIPTION_LIFE_NS // publish_ns))),
                RequestedMaxKeepAliveCount=ua.Counter(keep_alives),
                MaxNotificationsPerPublish=ua.Counter(0),
                PublishingEnabled=True,
                Priority=ua.Byte(0),
            ),
            self._on_publish,
        )
        self._subscription_id = result.SubscriptionId
        keep_alive_s = result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount / 1_000
        self._silence_limit_s = KEEP_ALIVES_MISSED * keep_alive_s + seconds(self._settings.timeout)

    async def _subscribe(self, client: Client, items: list[_Item]) -> None:
        """Ask for items; what the server refuses goes to ``_refused`` with its problem. Raises LINK_ERRORS."""
        namespaces = await client.get_namespace_array()
        found: list[tuple[_Item, ua.NodeId]] = []
        self._refused = []
        for item in items:
            try:
                found.append((item, _node_id(item.node, namespaces)))
            except LookupError as error:
                self._refuse(item, str(error.args[0]))
        # Telemetry needs no time stamps: the server need not send nor we decode them.
        for stamps, rule in ((ua.TimestampsToReturn.Both, True), (ua.TimestampsToReturn.Neither, False)):
            group = [(item, node) for item, node in found if item.rule is rule]
            for start in range(0, len(group), ITEMS_PER_REQUEST):
                await self._create_items(client, stamps, group[start : start + ITEMS_PER_REQUEST])
        if self._refused:
            tries = min(item.refused_times for item in self._refused) - 1
            wait_s = min(REFUSED_RETRY_FIRST_S * 2.0 ** min(tries, 30), REFUSED_RETRY_MAX_S)
            self._retry_at_s = asyncio.get_running_loop().time() + wait_s
        else:
            self._retry_at_s = math.inf

    async def _create_items(
        self, client: Client, stamps: ua.TimestampsToReturn, group: list[tuple[_Item, ua.NodeId]]
    ) -> None:
        results = await client.uaclient.create_monitored_items(
            ua.CreateMonitoredItemsParameters(
                SubscriptionId=ua.IntegerId(self._subscription_id),
                TimestampsToReturn=stamps,
                ItemsToCreate=[self._item_request(item, node) for item, node in group],
            )
        )
        for (item, _node), result in zip(group, results, strict=True):
            if result.StatusCode.is_good():
                item.refused_times = 0
                self._problems.pop(item.name, None)
            else:
                self._refuse(item, f"{result.StatusCode.name}: {result.StatusCode.doc}")

    def _item_request(self, item: _Item, node: ua.NodeId) -> ua.MonitoredItemCreateRequest:
        sampling = self._settings.sampling
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.IntegerId(AttributeIds.Value)),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=ua.IntegerId(item.handle),
                # -1: as often as it publishes (OPC 10000-4, 7.21)
                SamplingInterval=ua.Duration(-1.0 if sampling is None else seconds(sampling) * 1_000),
                QueueSize=ua.Counter(self._settings.queue_size if item.rule else 1),
                DiscardOldest=True,
            ),
        )

    def _refuse(self, item: _Item, why: str) -> None:
        self._problems[item.name] = f"{self._settings.endpoint}: node {item.node} refused with {why}"
        self._refused.append(item)
        if not item.refused_times:
            self._unsaid.append(item)
        item.refused_times += 1

    async def _retry_refused(self, client: Client) -> None:
        try:
            await self._subscribe(client, self._refused)
        except LINK_ERRORS as error:
            raise DriverError(f"{self._settings.endpoint}: link lost: {_said(error)}") from error

    def _bad(self) -> Reading:
        now_ns = self._now_ns()
        values = tuple(DataValue(item.name, None, Status.BAD, None, now_ns) for item in self._unsaid if item.rule)
        names = tuple(item.name for item in self._unsaid if item.telemetry)
        self._unsaid = []
        return Reading(values, (TelemetryBlock(names, (None,) * len(names), now_ns),) if names else ())

    def _on_publish(self, result: Any) -> Coroutine[Any, Any, None] | None:
        """The session's callback: a coroutine makes it wait before it asks for more (back-pressure)."""
        entry = (self._now_ns(), result)
        if self._notifications.full():
            return self._notifications.put(entry)
        self._notifications.put_nowait(entry)
        return None

    async def _on_lost(self, error: Exception) -> None:
        self._lost_reason = _said(error)

    def _translate(self, received_ns: int, result: Any) -> Reading:
        """One notification message. Raises DriverError where the subscription ended or a message is missing."""
        message = result.NotificationMessage
        if not message.NotificationData:
            self._last_sequence = None  # servers disagree on the number of a keep-alive
            return Reading()
        values: list[DataValue] = []
        names: list[str] = []
        samples: list[Scalar] = []
        for notification in message.NotificationData:
            if isinstance(notification, ua.DataChangeNotification):
                self._take(notification.MonitoredItems, received_ns, values, names, samples)
            elif isinstance(notification, ua.StatusChangeNotification):
                raise DriverError(
                    f"{self._settings.endpoint}: the subscription ended with {notification.Status.name}"
                    f"{f' ({self._lost_reason})' if self._lost_reason else ''}"
                )
        self._check_sequence(message.SequenceNumber)
        if not names:
            return Reading(tuple(values))
        if len(set(names)) < len(names):  # several values of one variable: the latest counts
            latest = dict(zip(names, samples, strict=True))
            names, samples = list(latest), list(latest.values())
        block_names = tuple(names)
        if block_names == self._telemetry_names:
            block_names = self._telemetry_names  # receivers prepare per tuple, not per block
        self._telemetry_names = block_names
        return Reading(tuple(values), (TelemetryBlock(block_names, samples, received_ns),))

    def _check_sequence(self, number: int) -> None:
        last, self._last_sequence = self._last_sequence, number
        if last is not None and number != (1 if last == _SEQUENCE_MAX else last + 1):
            raise DriverError(
                f"{self._settings.endpoint}: notification {number} came after {last}; what was between is lost, so "
                f"everything is read afresh"
            )

    def _take(
        self,
        notifications: Iterable[Any],
        received_ns: int,
        values: list[DataValue],
        names: list[str],
        samples: list[Scalar],
    ) -> None:
        """Sort the values of one notification. Hot: hundreds of values, several times a second."""
        items, problems = self._items, self._problems
        for notification in notifications:
            item = items.get(notification.ClientHandle)
            if item is None:
                continue
            data = notification.Value
            code = data.StatusCode
            raw = None if data.Value is None else data.Value.Value
            status = Status.GOOD
            value: Scalar
            if (type(raw) in _PLAIN or (type(raw) is float and raw - raw == 0.0)) and (code is None or code.value == 0):
                value = raw
                if problems:
                    problems.pop(item.name, None)
            else:
                value, status = self._judge(item, raw, code)
            if item.telemetry:
                names.append(item.name)
                samples.append(value)
            if item.rule:
                stamp = time_ns(data.SourceTimestamp) or time_ns(data.ServerTimestamp)
                values.append(DataValue(item.name, value, status, stamp, received_ns))

    def _judge(self, item: _Item, raw: object, code: ua.StatusCode | None) -> tuple[Scalar, Status]:
        """Value and quality of what is not plainly good; keeps the problem of a bad one."""
        status = Status.GOOD if code is None else severity(code.value)
        reason = ""
        value: Scalar = None
        if status is Status.BAD:
            assert code is not None, "no code is good"
            reason = f"the server says {code.name}: {code.doc}"
        else:
            try:
                value = scalar(raw)
            except UnusableValueError as error:
                reason, status = str(error), Status.BAD
        if reason:
            self._problems[item.name] = f"{self._settings.endpoint}: node {item.node}: {reason}"
        else:
            self._problems.pop(item.name, None)
        return value, status


def _node_id(text: str, namespaces: list[str]) -> ua.NodeId:
    """The NodeId with the namespace's present index. Raises LookupError with the reason."""
    match = _NAMESPACE_URI.fullmatch(text)
    try:
        if match is None:
            return ua.NodeId.from_string(text)
        uri, identifier = match.groups()
        if uri not in namespaces:
            raise LookupError(f"an unknown namespace; the server has {', '.join(map(str, namespaces))}")
        return ua.NodeId.from_string(f"ns={namespaces.index(uri)};{identifier}")
    except UaError as error:
        raise LookupError(f"not a NodeId: {error}") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
