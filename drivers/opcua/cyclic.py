"""Reads variables in scans, for servers whose subscriptions are poor or missing. Retries nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from drivers.base import Reading, TelemetryBlock
from drivers.opcua.items import NODE_GONE
from drivers.report import TELEMETRY_REFRESH_NS
from gateway.core.duration import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.opcua.items import Item, Translator
    from drivers.opcua.session import Session
    from gateway.core.model import DataValue, Scalar


class _Scan:
    """The variables of one scan time."""

    def __init__(self, scan_ns: int, now_s: float) -> None:
        self.scan_s = seconds(scan_ns)
        self.due_s = now_s
        self.items: list[Item] = []
        self.wanted: list[ua.ReadValueId] = []
        self.refreshed_ns = 0
        self.block_names: tuple[str, ...] = ()


class CyclicReader:
    """The scans of one connection. Times are those of the event loop, in seconds."""

    def __init__(self, session: Session, translator: Translator, now_ns: Callable[[], int]) -> None:
        self._session = session
        self._translator = translator
        self._now_ns = now_ns
        self._scans: dict[int, _Scan] = {}
        self._left_out = 0

    @property
    def next_s(self) -> float:
        """When the next scan is due."""
        return min((scan.due_s for scan in self._scans.values() if scan.items), default=math.inf)

    async def add(self, items: Sequence[Item], now_s: float) -> list[tuple[Item, str]]:
        """Scan resolved items; those that the server does not know, each with its reason. Raises LINK_ERRORS."""
        refused: list[tuple[Item, str]] = []
        wanted = [request_of(item) for item in items]
        found: list[ua.DataValue] = []
        for first in range(0, len(wanted), self._session.read_max):
            found += await self._session.read_data(wanted[first : first + self._session.read_max])
        for item, data in zip(items, found, strict=True):
            if data.StatusCode is not None and data.StatusCode.value in NODE_GONE:
                refused.append((item, f"{data.StatusCode.name}: {data.StatusCode.doc}"))
                continue
            scan = self._scans.setdefault(item.scan_ns, _Scan(item.scan_ns, now_s))
            scan.items.append(item)
            scan.wanted.append(request_of(item))
        return refused

    def remove(self, items: Sequence[Item]) -> None:
        """Scan these no longer."""
        for scan in self._scans.values():
            scan.items = [item for item in scan.items if item not in items]
            scan.wanted = [request_of(item) for item in scan.items]

    async def read_due(self, now_s: float) -> list[Reading]:
        """Read what is due, a reading for each scan. Raises LINK_ERRORS."""
        due = [scan for scan in self._scans.values() if scan.items and scan.due_s <= now_s]
        readings = []
        for scan in due:
            readings.append(await self._read(scan))
            late = int((now_s - scan.due_s) // scan.scan_s)
            self._left_out += late
            scan.due_s += (late + 1) * scan.scan_s
        return readings

    async def _read(self, scan: _Scan) -> Reading:
        values: list[DataValue] = []
        names: list[str] = []
        samples: list[Scalar] = []
        now_ns = self._now_ns()
        refresh = now_ns - scan.refreshed_ns >= TELEMETRY_REFRESH_NS
        if refresh:
            scan.refreshed_ns = now_ns
        found: list[ua.DataValue] = []
        for first in range(0, len(scan.wanted), self._session.read_max):
            found += await self._session.read_data(scan.wanted[first : first + self._session.read_max])
        received_ns = self._now_ns()
        for item, data in zip(scan.items, found, strict=True):
            self._translator.convert(item, data, received_ns, values, names, samples, refresh=refresh)
        self._translator.look_at_clock(found[0], received_ns)
        if not names:
            return Reading(tuple(values))
        if tuple(names) != scan.block_names:
            scan.block_names = tuple(names)  # receivers prepare per tuple, not per block
        return Reading(tuple(values), (TelemetryBlock(scan.block_names, samples, received_ns),))

    def notices(self) -> dict[str, str]:
        """Scans that had to be left out."""
        if not self._left_out:
            return {}
        return {"scan": f"{self._left_out} scans were left out: the server answers too slowly; set a longer scan"}


def request_of(item: Item) -> ua.ReadValueId:
    """What is asked for an item that was found."""
    assert item.node is not None, "only resolved items are read"
    return ua.ReadValueId(NodeId=item.node, AttributeId=ua.IntegerId(AttributeIds.Value))
