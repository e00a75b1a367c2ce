"""One subscription with its monitored items: what the server reports by itself.

Takes whole notifications from the session instead of the library's subscription object, whose task or event per value
costs more than the decoding. Does not decide what is asked for, and retries nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from drivers.base import DriverError, Reading, TelemetryBlock
from gateway.core.duration import NS_PER_S, Duration, seconds
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from drivers.opcua.items import Item, Translator
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaSettings
    from gateway.core.model import Scalar

#: An idle server says that it lives this often, or at every publish interval where that is longer.
KEEP_ALIVE_EVERY_NS: Final = NS_PER_S
#: The server drops a subscription that nobody asks for this long.
SUBSCRIPTION_LIFE_NS: Final = 60 * NS_PER_S
#: Missed keep-alives until the link is taken for lost.
KEEP_ALIVES_MISSED: Final = 3
#: Notifications that wait for the receiver; then no more are asked for.
NOTIFICATIONS_AHEAD: Final = 8
#: A server that grants intervals longer than wished by this is named to a person.
SLOWER_FACTOR: Final = 1.5
_SEQUENCE_MAX: Final = 2**32 - 1
#: Types that a variant's content may have and that need no conversion.
_PLAIN: Final = frozenset({bool, int, str})


class Subscription:
    """The subscription of one connection: ``create``, ``add``, then a reading for every notification."""

    def __init__(
        self, session: Session, settings: OpcUaSettings, translator: Translator, now_ns: Callable[[], int]
    ) -> None:
        self._session = session
        self._settings = settings
        self._translator = translator
        self._now_ns = now_ns
        self._problems = translator.problems
        self._id = 0
        self._items: dict[int, Item] = {}
        self._last_sequence: int | None = None
        self._block_names: tuple[str, ...] = ()
        self._notices: dict[str, str] = {}
        self.notifications: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(NOTIFICATIONS_AHEAD)
        #: Notifications that came, and those of them that were translated.
        self.arrived = self.taken = 0
        #: Handles of items that somebody waits for; a report takes its own out.
        self.watched: set[int] = set()
        #: The longest interval of looking or reporting that the server granted, seconds.
        self.longest_s = 0.0
        #: Longer without a word of the server and the link is lost, seconds.
        self.silence_limit_s = 0.0

    async def create(self) -> None:
        """Make the subscription. Raises what asking raises (``client.LINK_ERRORS``)."""
        publish_ns = self._settings.publish
        keep_alives = max(1, KEEP_ALIVE_EVERY_NS // publish_ns)
        result = await self._session.client.uaclient.create_subscription(
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
        self._id = result.SubscriptionId
        granted_ms = result.RevisedPublishingInterval
        self.longest_s = max(self.longest_s, granted_ms / 1_000)
        keep_alive_s = granted_ms * result.RevisedMaxKeepAliveCount / 1_000
        self.silence_limit_s = KEEP_ALIVES_MISSED * keep_alive_s + seconds(self._settings.timeout)
        if granted_ms * 1e6 > publish_ns * SLOWER_FACTOR:
            self._notices["publish"] = f"asked to report every {publish_ns}, the server does so every {granted_ms:g} ms"

    async def add(self, items: Sequence[Item]) -> list[tuple[Item, str]]:
        """Monitor resolved items; those that the server refuses, each with its reason. Raises LINK_ERRORS."""
        refused: list[tuple[Item, str]] = []
        # Telemetry needs no time stamps: the server need not send nor we decode them.
        for stamps, rule in ((ua.TimestampsToReturn.Both, True), (ua.TimestampsToReturn.Neither, False)):
            wanted = [item for item in items if item.rule is rule]
            for first in range(0, len(wanted), self._session.items_max):
                refused += await self._add(stamps, wanted[first : first + self._session.items_max])
        return refused

    async def _add(self, stamps: ua.TimestampsToReturn, items: Sequence[Item]) -> list[tuple[Item, str]]:
        for item in items:
            self._items[item.handle] = item  # the first value may come before the answer is looked at
        results = await self._session.client.uaclient.create_monitored_items(
            ua.CreateMonitoredItemsParameters(
                SubscriptionId=ua.IntegerId(self._id),
                TimestampsToReturn=stamps,
                ItemsToCreate=[_request(item) for item in items],
            )
        )
        refused = []
        for item, result in zip(items, results, strict=True):
            if result.StatusCode.is_good():
                item.server_handle = result.MonitoredItemId
                self._compare(item, result)
            else:
                del self._items[item.handle]
                refused.append((item, f"{result.StatusCode.name}: {result.StatusCode.doc}"))
        return refused

    def _compare(self, item: Item, result: ua.MonitoredItemCreateResult) -> None:
        """Name it where the server samples more slowly or keeps less than it was asked to."""
        wished_ms = item.sampling_ms if item.sampling_ms >= 0 else self._settings.publish / 1e6
        granted_ms = result.RevisedSamplingInterval
        self.longest_s = max(self.longest_s, granted_ms / 1_000)
        if granted_ms > max(wished_ms, 1.0) * SLOWER_FACTOR:
            self._notices["sampling"] = (
                f"{item.name}: asked to look every {Duration(int(wished_ms * 1e6))}, the server does so every "
                f"{granted_ms:g} ms; faster changes are not seen"
            )
        if item.rule and result.RevisedQueueSize < item.queue_size:
            self._notices["queue_size"] = (
                f"{item.name}: asked to keep {item.queue_size} values between two reports, the server keeps "
                f"{result.RevisedQueueSize}"
            )

    async def remove(self, items: Sequence[Item]) -> None:
        """Stop monitoring; what the server no longer knows is no matter. Raises LINK_ERRORS."""
        handles = [ua.IntegerId(item.server_handle) for item in items]
        for item in items:
            self._items.pop(item.handle, None)
        for first in range(0, len(handles), self._session.items_max):
            await self._session.client.uaclient.delete_monitored_items(
                ua.DeleteMonitoredItemsParameters(
                    SubscriptionId=ua.IntegerId(self._id),
                    MonitoredItemIds=handles[first : first + self._session.items_max],
                )
            )

    def items(self) -> list[Item]:
        """What is monitored now."""
        return list(self._items.values())

    def notices(self) -> dict[str, str]:
        """Where the server grants less than it was asked for."""
        return dict(self._notices)

    def _on_publish(self, result: Any) -> Coroutine[Any, Any, None] | None:
        """The session's callback: a coroutine makes it wait before it asks for more (back-pressure)."""
        entry = (self._now_ns(), result)
        self.arrived += 1
        if self.watched:
            self._note_reports(result)
        if self.notifications.full():
            return self.notifications.put(entry)
        self.notifications.put_nowait(entry)
        return None

    def _note_reports(self, result: Any) -> None:
        for notification in result.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.DataChangeNotification):
                self.watched.difference_update(one.ClientHandle for one in notification.MonitoredItems)

    def translate(self, received_ns: int, result: Any, lost_reason: str) -> Reading:
        """One notification message. Raises DriverError where the subscription ended or a message is missing."""
        self.taken += 1
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
                    f"{f' ({lost_reason})' if lost_reason else ''}"
                )
        self._check_sequence(message.SequenceNumber)
        if not names:
            return Reading(tuple(values))
        if len(set(names)) < len(names):  # several values of one variable: the latest counts
            latest = dict(zip(names, samples, strict=True))
            names, samples = list(latest), list(latest.values())
        block_names = tuple(names)
        if block_names == self._block_names:
            block_names = self._block_names  # receivers prepare per tuple, not per block
        self._block_names = block_names
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
        items, problems, translator = self._items, self._problems, self._translator
        stamped = None
        for notification in notifications:
            item = items.get(notification.ClientHandle)
            if item is None:
                continue
            data = notification.Value
            code = data.StatusCode
            raw = None if data.Value is None else data.Value.Value
            if item.rule:
                if item.read_utc is not None and item.overtaken(data):
                    continue
                item.last = raw
                stamped = data
            if (
                item.plain
                and (type(raw) in _PLAIN or (type(raw) is float and raw - raw == 0.0))
                and (code is None or code.value == 0)
            ):
                if problems:
                    problems.pop(item.name, None)
                if item.telemetry:
                    names.append(item.name)
                    samples.append(raw)
                if item.rule:
                    values.append(DataValue(item.name, raw, Status.GOOD, translator.stamp_ns(data), received_ns))
            else:
                translator.convert(item, data, received_ns, values, names, samples)
        if stamped is not None:
            translator.look_at_clock(stamped, received_ns)


def _request(item: Item) -> ua.MonitoredItemCreateRequest:
    # No deadband is asked of the server: some compare with the last sample instead of the last report, and a slow drift
    # would never be reported. Ours is applied to what arrives.
    assert item.node is not None, "only resolved items are monitored"
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=item.node, AttributeId=ua.IntegerId(AttributeIds.Value)),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=ua.IntegerId(item.handle),
            SamplingInterval=ua.Duration(item.sampling_ms),
            QueueSize=ua.Counter(item.queue_size if item.rule else 1),
            DiscardOldest=True,
        ),
    )
