"""The OPC UA side of one source: finds its variables, hands on what comes, asks again for what is refused.

One attempt only: a lost link ends this object, and the supervisor makes the next.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from drivers.asking import Asked
from drivers.base import DriverError, Reading, WriteRefusedError
from drivers.opcua import certificates
from drivers.opcua.client import LINK_ERRORS, said
from drivers.opcua.cyclic import CyclicReader, request_of
from drivers.opcua.items import Translator, items_of
from drivers.opcua.refused import Refused
from drivers.opcua.session import Session
from drivers.opcua.silence import SilenceCheck
from drivers.opcua.structures import TypeBook
from drivers.opcua.subscription import Subscription
from drivers.opcua.values import UnusableValueError
from drivers.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from asyncua import ua

    from drivers.asking import AskedReading, Question
    from drivers.base import DriverContext
    from drivers.opcua.items import Item
    from drivers.opcua.settings import OpcUaSettings
    from gateway.core.model import DataValue, Scalar

#: A subscription that reports nothing although the values move is found out by reading them this often.
VERIFY_EVERY_S: Final = 30.0
#: Between two checks lie so many of the longest interval that the server granted: one to look, one to report.
VERIFY_INTERVALS: Final = 3
#: But a server that names absurd intervals is checked as well.
VERIFY_EVERY_MAX_S: Final = 3_600.0
#: Stands among the notifications where a reading out of turn was asked for.
_ASKED: Final = object()


class OpcUaDriver:
    """The OPC UA side of one source (see ``drivers.base`` for who calls what)."""

    def __init__(self, settings: OpcUaSettings, context: DriverContext) -> None:
        self._settings = settings
        self._now_ns = context.now_ns
        self._source = context.source
        self._problems: dict[str, str] = {}
        self._items = items_of(settings, context.source, context.rule_signals, context.telemetry_signals)
        self._session = Session(
            settings,
            context.state_dir / certificates.FOLDER,
            now_ns=context.utc_ns,
            source=context.source,
            base_dir=context.base_dir,
            secrets=context.secrets,
            on_lost=self._on_lost,
        )
        self._book = TypeBook(self._session.client)
        self._translator = Translator(settings.endpoint, self._problems, self._book, context.utc_offset_ns)
        self._refused = Refused(settings.endpoint, self._problems)
        self._subscription = Subscription(self._session, settings, self._translator, context.now_ns)
        self._cyclic = CyclicReader(self._session, self._translator, context.now_ns)
        self._lost_reason = ""
        self._silence = SilenceCheck(self._session, self._subscription, settings.endpoint)
        self._verify_at_s = math.inf
        self._opened = False
        self._asked = Asked()

    async def open(self) -> None:
        """Connect and ask for everything. Raises DriverError; a node that is refused is a problem, not an error."""
        self._opened = True
        await self._session.open()
        loop = asyncio.get_running_loop()
        try:
            subscribes = any(not item.cyclic for item in self._items)
            if subscribes:
                await self._subscription.create()
            await self._admit(self._items, loop.time())
            if subscribes:
                self._verify_at_s = loop.time() + self._verify_every_s()
        except LINK_ERRORS as error:
            raise DriverError(f"{self._settings.endpoint}: no connection: {said(error)}; check the server") from error

    async def readings(self) -> AsyncIterator[Reading]:
        """A reading per notification and scan, an empty one per keep-alive. Raises DriverError for a lost link."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        limit_s = self._subscription.silence_limit_s or math.inf
        first = self._refused.reading(self._now_ns())
        if first is not None:
            yield first
        while True:
            due_s = min(self._refused.next_s, self._cyclic.next_s, self._verify_at_s)
            if due_s <= loop.time():
                for reading in await self._do_due(loop.time()):
                    yield reading
                continue
            try:
                async with asyncio.timeout_at(min(due_s, heard_s + limit_s)):
                    received_ns, result = await self._subscription.notifications.get()
            except TimeoutError:
                if loop.time() >= heard_s + limit_s:
                    raise DriverError(f"{self._settings.endpoint}: no sign of life for {limit_s:g} s") from None
                continue
            if result is not _ASKED:  # that was said here, and is no sign of life of the subscription
                heard_s = loop.time()
            yield await self._taken(received_ns, result)
            if self._translator.gone:
                await self._drop_gone(loop.time())

    async def close(self) -> None:
        """Close session and connection; a server that does not answer is left."""
        if self._opened:
            self._opened = False
            await self._session.close()

    async def write(self, signal: str, value: Scalar) -> None:
        """Write one variable in its own data type. Raises WriteRefusedError, DriverError."""
        settings = self._settings.signals.get(signal)
        if settings is None:
            raise WriteRefusedError(
                f"{signal}: not a signal that can be written; allowed: {', '.join(self._writable())}"
            )
        raw = value
        scaling = Scaling.parse(settings.scale, settings.offset)
        if scaling is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise WriteRefusedError(f"{signal}: found {value!r}, allowed a number, because it has a scale")
            exact = scaling.invert(value)
            raw = int(exact) if exact.denominator == 1 else float(exact)
        try:
            (node,) = await self._session.resolve_all([self._settings.address(settings)])
            if isinstance(node, str):
                raise WriteRefusedError(f"{signal}: {node}")
            await self._session.write(node, raw)
        except LINK_ERRORS as error:
            raise DriverError(
                f"{self._settings.endpoint}: no answer to the write of {signal}: {said(error)}; it is not known "
                f"whether it was written"
            ) from error

    def read_now(self, question: Question) -> None:
        """Read these variables out of turn, behind what was reported by then."""
        if not self._subscription.notifications.full():  # else nothing is read in time, and nobody waits for long
            self._asked.put(question)
            self._subscription.notifications.put_nowait((self._now_ns(), _ASKED))

    def problems(self) -> Mapping[str, str]:
        """Signals whose node is refused, bad or unusable, with the server's word."""
        return dict(self._problems)

    def notices(self) -> Mapping[str, str]:
        """Certificates that end, a wrong clock, lost or unreported values, scans left out, intervals made longer."""
        return {
            **self._session.notices(),
            **self._subscription.notices(),
            **self._cyclic.notices(),
            **self._silence.notices(),
            **self._translator.notices(self._items),
        }

    def _verify_every_s(self) -> float:
        return max(VERIFY_EVERY_S, min(VERIFY_INTERVALS * self._subscription.longest_s, VERIFY_EVERY_MAX_S))

    def _writable(self) -> list[str]:
        return [name for name, signal in self._settings.signals.items() if signal.writable is not None] or ["none"]

    async def _on_lost(self, error: Exception) -> None:
        self._lost_reason = said(error)
        if not self._subscription.notifications.full():  # else the reader finds out when it has read those
            self._subscription.notifications.put_nowait((self._now_ns(), None))

    async def _taken(self, received_ns: int, result: Any) -> Reading:
        """What came, or was asked for. Raises DriverError."""
        if result is None:
            raise DriverError(f"{self._settings.endpoint}: link lost: {self._lost_reason}")
        if result is not _ASKED:
            return self._subscription.translate(received_ns, result, self._lost_reason)
        question = self._asked.take()
        return Reading() if question is None else await self._read_now(question)

    async def _read_now(self, question: Question) -> AskedReading:
        names = frozenset(f"{self._source}.{name}" for name in question.signals)
        items = [item for item in self._items if item.node is not None and any(tap.name in names for tap in item.taps)]
        values: list[DataValue] = []
        try:
            for first in range(0, len(items), self._session.read_max):
                chunk = items[first : first + self._session.read_max]
                found = await self._session.read_data([request_of(item) for item in chunk])
                received_ns = self._now_ns()
                for item, data in zip(chunk, found, strict=True):
                    self._translator.read_now(item, data, names, received_ns, values)
        except LINK_ERRORS as error:
            raise DriverError(f"{self._settings.endpoint}: link lost: {said(error)}") from error
        return question.answered(Reading(tuple(values)))

    async def _do_due(self, now_s: float) -> list[Reading]:
        """What the clock asks for: scans, refused nodes, the check of the subscription. Raises DriverError."""
        readings: list[Reading] = []
        try:
            if self._cyclic.next_s <= now_s:
                readings += await self._cyclic.read_due(now_s)
            if self._refused.next_s <= now_s:
                await self._admit(self._refused.take_due(now_s), now_s)
            if self._verify_at_s <= now_s:
                for item, why in await self._silence.check():
                    self._refused.add(item, why, now_s)
                self._verify_at_s = asyncio.get_running_loop().time() + self._verify_every_s()
        except LINK_ERRORS as error:
            raise DriverError(f"{self._settings.endpoint}: link lost: {said(error)}") from error
        if self._translator.gone:
            await self._drop_gone(now_s)
        bad = self._refused.reading(self._now_ns())
        return readings if bad is None else [*readings, bad]

    async def _admit(self, items: Sequence[Item], now_s: float) -> None:
        """Find the nodes of items and ask for them; what is refused is kept for later. Raises LINK_ERRORS."""
        await self._session.read_namespaces()
        self._translator.namespaces = self._session.namespaces
        found = await self._session.resolve_all([item.address for item in items])
        ready: list[Item] = []
        for item, node in zip(items, found, strict=True):
            if isinstance(node, str):
                self._refused.add(item, node, now_s)
                continue
            item.node = node
            try:
                await self._prepare(item, node)
            except UnusableValueError as error:
                self._refused.add(item, str(error), now_s)
            else:
                ready.append(item)
        subscribed = [item for item in ready if not item.cyclic]
        scanned = [item for item in ready if item.cyclic]
        refused = await self._subscription.add(subscribed) if subscribed else []
        refused += await self._cyclic.add(scanned, now_s) if scanned else []
        for item, why in refused:
            self._refused.add(item, why, now_s)
        for item in set(ready) - {item for item, _why in refused}:
            self._refused.accepted(item, now_s)

    async def _prepare(self, item: Item, node: ua.NodeId) -> None:
        """Learn what the signals of an item need to know. Raises UnusableValueError, LINK_ERRORS."""
        if any(tap.members for tap in item.taps):
            await self._book.learn(node)
        for tap in item.taps:
            if tap.signal.enum == "text":
                tap.texts = await self._book.texts(node)
            if tap.signal.deadband_percent is not None:
                tap.set_range(await self._book.span(node), cyclic=item.cyclic)

    async def _drop_gone(self, now_s: float) -> None:
        """Let go of nodes that are not there any more, to find them anew. Raises DriverError."""
        gone, self._translator.gone = list(dict.fromkeys(self._translator.gone)), []
        try:
            await self._subscription.remove([item for item in gone if not item.cyclic])
        except LINK_ERRORS as error:
            raise DriverError(f"{self._settings.endpoint}: link lost: {said(error)}") from error
        self._cyclic.remove([item for item in gone if item.cyclic])
        for item in gone:
            self._refused.add(item, self._problems.get(item.taps[0].name, "the node is gone"), now_s, said=True)
