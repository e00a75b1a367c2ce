"""What the variables of a simulated OPC UA machine show: their latest values, unless a fault is in the way.

Knows no machine; who may see the values is the endpoint's business.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from simulators import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from simulators.opcua_space import Space

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Values:
    """The latest value of every variable, and the faults that keep it from being seen.

    Sets of keys: ``frozen`` shows what was there before, ``removed`` has no node, ``quality`` another status. Zeros are
    shown where ``zeroed`` is set, or ``zero_stopped`` is and the machine does not produce.
    """

    def __init__(self, space: Space, producing: Callable[[], bool]) -> None:
        self._space = space
        self._producing = producing
        self._latest: dict[str, Any] = {key: variable.first for key, variable in space.variables.items()}
        self.frozen: set[str] = set()
        self.removed: set[str] = set()
        self.quality: dict[str, ua.StatusCode] = {}
        self.zeroed = False
        self.zero_stopped = False
        self.clock_offset_s = 0.0

    def now(self) -> datetime:
        """The machine's own clock."""
        return EPOCH + timedelta(microseconds=clock.wall_ns() // 1_000, seconds=self.clock_offset_s)

    def stamp(self) -> ua.DateTime:
        """The same as a source time stamp."""
        now = self.now()
        return ua.DateTime.combine(now.date(), now.timetz())

    async def put(self, key: str, value: Any) -> None:
        """A new value."""
        self._latest[key] = value
        await self._show(key)

    def latest(self, key: str) -> Any:
        """The latest value, whether a fault hides it or not."""
        return self._latest[key]

    async def show(self, keys: Iterable[str] | None = None) -> None:
        """Show the latest values again (of all variables by default): a fault came or went."""
        for key in list(self._space.variables if keys is None else keys):
            await self._show(key)

    async def show_rebuilt(self) -> None:
        """The nodes are new: show all values, the frozen ones as they are now."""
        frozen, self.frozen = self.frozen, set()
        await self.show()
        self.frozen = frozen

    async def show_counters(self) -> None:
        """The same for what can be zero: the machine stops or starts."""
        if self.zero_stopped:
            await self.show(key for key, one in self._space.variables.items() if one.zero is not None)

    async def remove(self, key: str) -> None:
        """Take the node away."""
        if key not in self.removed:
            self.removed.add(key)
            await self._space.remove(key)

    async def bring_back(self, key: str) -> None:
        """The node is there again."""
        self.removed.discard(key)
        await self._space.add_again(key, self._latest[key])
        await self._show(key)

    async def tick(self) -> None:
        """The server's own clock: ServerStatus and its CurrentTime."""
        status_node, now = self._space.server.iserver.server_status_node, self.now()
        status = dataclasses.replace(await status_node.read_value(), CurrentTime=now)
        await status_node.write_value(status)
        await self._space.server.iserver.current_time_node.write_value(now)

    async def started(self) -> datetime:
        """The server has just (re)started: its StartTime, by the machine's clock."""
        server, now = self._space.server, self.now()
        status_node = server.iserver.server_status_node
        status = dataclasses.replace(await status_node.read_value(), StartTime=now, CurrentTime=now)
        await status_node.write_value(status)
        started = ua.DataValue(ua.Variant(now, ua.VariantType.DateTime), SourceTimestamp=self.stamp())
        await server.write_attribute_value(ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_StartTime)), started)
        return now

    async def _show(self, key: str) -> None:
        if key in self.frozen or key in self.removed:
            return
        variable, value = self._space.variables[key], self._latest[key]
        if variable.zero is not None and (self.zeroed or (self.zero_stopped and not self._producing())):
            value = variable.zero(value)
        status = self.quality.get(key)
        content = None if status is not None and status.is_bad() else ua.Variant(value, variable.kind)
        data = ua.DataValue(content, StatusCode=status or ua.StatusCode(), SourceTimestamp=self.stamp())
        await self._space.server.write_attribute_value(self._space.nodes[key], data)
