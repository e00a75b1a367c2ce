"""The faults of a simulated OPC UA machine, as commands: each ends by itself, by its own word or by ``faults off``.

Says when a fault begins and ends; what it does stands with the wire, the endpoint and the values.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from simulators import clock
from simulators.control import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulators.control import Control, Truth
    from simulators.opcua_endpoint import Endpoint
    from simulators.opcua_space import Space
    from simulators.opcua_values import Values

MS_PER_S: Final = 1000
#: Earliest and latest time that the clock may jump to: what an OPC UA time stamp and a Linux box can hold.
CLOCK_RANGE: Final = (datetime(1970, 1, 2, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
BAD: Final = ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))
UNCERTAIN: Final = ua.StatusCode(ua.UInt32(StatusCodes.UncertainLastUsableValue))


class Timed:
    """Faults that end after a time; one with the same name replaces an earlier one."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[float, asyncio.Task[None], Callable[[], Awaitable[None]]]] = {}

    def begin(self, name: str, seconds: float, end: Callable[[], Awaitable[None]]) -> None:
        """The fault is on; call ``end`` when its time is over."""
        if name in self._running:
            self._running[name][1].cancel()
        task = asyncio.create_task(self._end_later(name, seconds))
        self._running[name] = (clock.monotonic_s() + seconds, task, end)

    async def off(self) -> None:
        """End all."""
        while self._running:
            _, (_, task, end) = self._running.popitem()
            task.cancel()
            await end()

    def close(self) -> None:
        """Wait for no end any more."""
        for _, task, _ in self._running.values():
            task.cancel()

    def show(self) -> dict[str, float]:
        """What is on, and the seconds that are left."""
        now_s = clock.monotonic_s()
        return {name: round(max(0.0, until_s - now_s), 3) for name, (until_s, _, _) in self._running.items()}

    async def _end_later(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._running.pop(name)[2]()


class Faults:
    """The commands; ``primary`` is the variable that `bad` means by default."""

    def __init__(self, endpoint: Endpoint, space: Space, values: Values, truth: Truth, *, primary: str) -> None:
        self._endpoint = endpoint
        self._space = space
        self._values = values
        self._truth = truth
        self._primary = primary
        self._timed = Timed()

    def declare(self, control: Control) -> None:
        """Add the commands."""
        control.add("cut SECONDS", self._endpoint.cut)
        control.add("blackhole SECONDS", self._black_hole)
        control.add("slow MS SECONDS", self._slow)
        control.add("bad SECONDS [NODE]", lambda seconds, node="": self._quality(BAD, seconds, node))
        control.add("uncertain SECONDS [NODE]", lambda seconds, node="": self._quality(UNCERTAIN, seconds, node))
        control.add("frozen SECONDS [NODE]", self._freeze)
        control.add("remove NODE SECONDS", self._remove)
        control.add("zero SECONDS", self._zero)
        control.add("zero-stopped on|off", self._zero_stopped)
        control.add("clock TEXT", self._clock)
        control.add("session-limit COUNT [SECONDS]", self._limit)
        control.add("drop-subscriptions", self._drop)
        control.add("restart [same|shuffled]", self._restart)
        control.add("faults off|show", self._faults)

    def close(self) -> None:
        """End the waiting; the process ends."""
        self._timed.close()

    async def _black_hole(self, seconds: float) -> None:
        self._endpoint.wire.hold(seconds)
        self._timed.begin("blackhole", seconds, _nothing)

    async def _slow(self, delay_ms: float, seconds: float) -> None:
        self._endpoint.wire.slow(delay_ms / MS_PER_S, seconds)
        self._timed.begin("slow", seconds, _nothing)

    async def _quality(self, status: ua.StatusCode, seconds: float, node: str) -> None:
        keys = self._keys(node or self._primary)

        async def end() -> None:
            for key in keys:
                self._values.quality.pop(key, None)
            await self._values.show(keys)

        self._values.quality.update(dict.fromkeys(keys, status))
        self._timed.begin(f"quality {node or self._primary}", seconds, end)
        await self._values.show(keys)

    async def _freeze(self, seconds: float, node: str = "all") -> None:
        keys = self._keys(node)

        async def end() -> None:
            self._values.frozen.difference_update(keys)
            await self._values.show(keys)

        self._values.frozen.update(keys)
        self._timed.begin(f"frozen {node}", seconds, end)

    async def _remove(self, node: str, seconds: float) -> None:
        keys = self._keys(node)

        async def end() -> None:
            for key in keys:
                await self._values.bring_back(key)

        for key in keys:
            await self._values.remove(key)
        self._timed.begin(f"remove {node}", seconds, end)

    async def _zero(self, seconds: float) -> None:
        async def end() -> None:
            self._values.zeroed = False
            await self._values.show()

        self._values.zeroed = True
        self._timed.begin("zero", seconds, end)
        await self._values.show()

    async def _zero_stopped(self, choice: str) -> None:
        self._values.zero_stopped = choice == "on"
        await self._values.show()

    async def _clock(self, text: str) -> dict[str, object]:
        if text == "ok":
            self._values.clock_offset_s = 0.0
        else:
            self._values.clock_offset_s = _moment(text).timestamp() - clock.wall_ns() / 1e9
        await self._values.tick()
        return {"clock": self._values.now().isoformat()}

    async def _limit(self, count: int, seconds: float | None = None) -> None:
        async def end() -> None:
            self._endpoint.sessions.session_limit = None

        self._endpoint.sessions.session_limit = count
        if seconds is not None:
            self._timed.begin("session-limit", seconds, end)

    async def _drop(self) -> dict[str, object]:
        return {"subscriptions": await self._endpoint.sessions.drop_subscriptions()}

    async def _restart(self, order: str = "same") -> dict[str, object]:
        async def meanwhile() -> None:
            await self._space.rebuild(shuffle=order == "shuffled")
            for key in self._values.removed:
                await self._space.remove(key)
            await self._values.show_rebuilt()
            await self._values.started()

        await self._endpoint.restart(meanwhile)
        self._truth.event("restart", order=order)
        started = await self._endpoint.server.iserver.server_status_node.read_value()
        namespaces = await self._endpoint.server.get_namespace_array()
        return {"start_time": started.StartTime.isoformat(), "namespaces": namespaces}

    async def _faults(self, choice: str) -> dict[str, object]:
        if choice == "off":
            await self._timed.off()
            self._endpoint.wire.clear()
            self._endpoint.sessions.session_limit = None
            self._values.zero_stopped = False
            self._values.clock_offset_s = 0.0
            await self._values.tick()
            await self._values.show()
            await self._endpoint.open_now()
        shown: dict[str, Any] = dict(self._timed.show())
        if self._endpoint.sessions.session_limit is not None:
            shown.setdefault("session-limit", self._endpoint.sessions.session_limit)
        if self._endpoint.shut:
            shown["cut"] = True
        if self._values.zero_stopped:
            shown["zero-stopped"] = True
        if self._values.clock_offset_s:
            shown["clock"] = self._values.now().isoformat()
        return {"faults": shown}

    def _keys(self, node: str) -> list[str]:
        if node == "all":
            return list(self._space.variables)
        if node not in self._space.variables:
            raise CommandError(f"found the node {node!r}; allowed: all, {', '.join(self._space.variables)}")
        return [node]


async def _nothing() -> None:
    """The fault ends by its own time."""


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment is None or not CLOCK_RANGE[0] <= moment <= CLOCK_RANGE[1]:
        first, last = (limit.date().isoformat() for limit in CLOCK_RANGE)
        raise CommandError(f"found the time {text!r}; allowed: ok, or such as 2000-01-01T00:00:00, {first} to {last}")
    return moment
