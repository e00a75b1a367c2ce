"""Reads digital inputs: every edge with its own time, and all levels once per second.

Does not debounce or count (the core does), and does not know where edges come from (``pins.py``, ``simulator.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.base import DriverError, Reading, TelemetryBlock, WriteRefusedError
from drivers.digital_io.pins import gpio_pins, simulated_pins
from drivers.digital_io.simulator import SimulatorSocket
from gateway.core.duration import NS_PER_S
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from drivers.base import DriverContext
    from drivers.digital_io.pins import Pins
    from drivers.digital_io.settings import DigitalIOSettings
    from drivers.digital_io.simulator import Message
    from gateway.core.model import Scalar

#: Edges that may wait for the core; more are a loss that is said, never swallowed.
EDGES_MAX: Final = 4_096
#: Levels are repeated this often, so that an interval of loss stays tight.
REFRESH_S: Final = 1.0
#: An edge may take this long from the kernel to us: a level is only vouched for up to then.
EDGE_DELAY_NS: Final = NS_PER_S // 10
#: Two clocks are compared again, so often at most, where the process was interrupted for longer in between.
OFFSET_SAMPLES: Final = 3
OFFSET_GAP_NS: Final = 50_000
#: A simulator speaks every 200 ms; this long without a word and it is taken for dead.
SIMULATOR_SILENCE_NS: Final = 2 * NS_PER_S


class Edge(NamedTuple):
    """A change of level; ``t_ns`` is on CLOCK_MONOTONIC."""

    pin: int
    level: int
    t_ns: int


class _Input(NamedTuple):
    name: str
    active_low: bool
    rule: bool
    telemetry: bool


class DigitalIODriver:
    """The digital inputs of one source (see ``drivers.base`` for who calls what)."""

    def __init__(self, settings: DigitalIOSettings, context: DriverContext) -> None:
        self._settings = settings
        self._source = context.source
        self._now_ns = context.now_ns
        self._path = context.state_dir / (settings.socket or "pins.sock")
        self._inputs = {
            signal.pin: _Input(
                f"{context.source}.{name}",
                signal.active_low,
                name in context.rule_signals,
                name in context.telemetry_signals,
            )
            for name, signal in settings.signals.items()
        }
        self._pins: Pins | None = None
        self._simulator: SimulatorSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._wake_pending = False
        self._edges: deque[Edge] = deque()
        self._lost_reason = ""
        self._levels: dict[int, int] = {}  # as delivered
        self._heard_ns = 0  # CLOCK_MONOTONIC when the simulator's last message came
        self._known_until_ns = 0  # CLOCK_MONOTONIC up to which no edge can come any more
        self._disagreeing: set[int] = set()

    async def open(self) -> None:
        """Claim the pins; a simulation waits for its simulator. Raises DriverError."""
        self._loop = asyncio.get_running_loop()
        if self._settings.pins == "gpio":
            self._pins = gpio_pins(self._settings.signals, self._on_edge)
            self._levels = self._pins.levels()
            return
        self._pins = simulated_pins(self._settings.signals, self._on_edge)
        self._simulator = SimulatorSocket(self._path, self._on_message, self._on_lost)
        await self._simulator.open()

    async def readings(self) -> AsyncIterator[Reading]:
        """Edges as they come, all levels at first and then every second. Raises DriverError when the link is lost."""
        loop = asyncio.get_running_loop()
        refresh_s = loop.time()
        while True:
            if self._edges:
                yield self._take_edges()
            self._check()
            if loop.time() >= refresh_s:
                refresh_s = loop.time() + REFRESH_S
                yield self._refresh()
            if self._edges or self._lost_reason:
                continue
            self._wake.clear()
            self._wake_pending = False
            if self._edges:  # came from another thread in between
                continue
            try:
                async with asyncio.timeout_at(refresh_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Release the pins and the socket."""
        if self._simulator is not None:
            self._simulator.close()
        if self._pins is not None:
            self._pins.close()
        self._simulator = self._pins = None

    async def write(self, signal: str, value: Scalar) -> None:
        """Raise WriteRefusedError: nothing is written yet."""
        raise WriteRefusedError(f"{signal}: this driver cannot write {value!r}")

    def notices(self) -> Mapping[str, str]:
        """Nothing yet."""
        return {}

    def problems(self) -> Mapping[str, str]:
        """Nothing: an input is there or the source is lost."""
        return {}

    def _on_edge(self, pin: int, level: int, t_ns: int) -> None:
        """From the thread that saw it: an exception here would deafen all inputs of the process."""
        try:
            if len(self._edges) >= EDGES_MAX:
                self._lost_reason = (
                    f"{self._source}: more than {EDGES_MAX} edges waited, some are lost; the inputs are too fast for "
                    f"this computer, or bounce"
                )
            else:
                self._edges.append(Edge(pin, level, t_ns))
            self._call_wake()
        except Exception as error:  # noqa: BLE001 - lgpio's thread dies of any exception
            self._lost_reason = f"{self._source}: an edge could not be taken: {type(error).__name__}: {error}"

    def _call_wake(self) -> None:
        if not self._wake_pending and self._loop is not None:
            self._wake_pending = True
            self._loop.call_soon_threadsafe(self._wake.set)

    def _on_message(self, message: Message) -> None:
        if self._pins is None:
            return  # closed
        missing = sorted(set(self._inputs) - set(message.levels))
        if missing and message.hello is not None:
            raise DriverError(f"{self._path}: simulator {message.hello} has no pin {', '.join(map(str, missing))}")
        self._heard_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._known_until_ns = message.t_ns
        for pin in self._inputs.keys() & message.levels.keys():
            self._pins.drive(pin, message.levels[pin], message.t_ns)
        if message.hello is not None:
            self._edges.clear()  # the way from the resistors' level to the first known one is no edge
            self._levels = self._pins.levels()

    def _on_lost(self, reason: str) -> None:
        self._lost_reason = reason
        self._wake.set()

    def _check(self) -> None:
        if self._lost_reason and not self._edges:
            raise DriverError(self._lost_reason)
        if self._simulator is not None:
            silent_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self._heard_ns
            if silent_ns > SIMULATOR_SILENCE_NS:
                raise DriverError(f"{self._path}: the simulator has been silent for {silent_ns / NS_PER_S:.1f} s")

    def _to_steady(self) -> int:
        """What to add to CLOCK_MONOTONIC now; sampled each time, because the steady clock is disciplined."""
        best: tuple[int, int] | None = None
        for _ in range(OFFSET_SAMPLES):
            before_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            now_ns = self._now_ns()
            gap_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - before_ns
            if best is None or gap_ns < best[0]:
                best = (gap_ns, now_ns - before_ns - gap_ns // 2)
            if gap_ns < OFFSET_GAP_NS:
                break
        assert best is not None, "at least one sample"
        return best[1]

    def _take_edges(self) -> Reading:
        offset_ns, now_ns = self._to_steady(), self._now_ns()
        values: list[DataValue] = []
        telemetry: dict[str, bool] = {}
        for _ in range(len(self._edges)):
            edge = self._edges.popleft()
            self._levels[edge.pin] = edge.level
            self._known_until_ns = max(self._known_until_ns, edge.t_ns)
            signal = self._inputs[edge.pin]
            value = bool(edge.level) is not signal.active_low
            if signal.rule:
                values.append(DataValue(signal.name, value, Status.GOOD, edge.t_ns + offset_ns, now_ns))
            if signal.telemetry:
                telemetry[signal.name] = value
        return _reading(values, telemetry, now_ns)

    def _refresh(self) -> Reading:
        self._find_lost_edges()
        now_ns = self._now_ns()
        if self._simulator is None:
            settled_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - EDGE_DELAY_NS
            self._known_until_ns = max(self._known_until_ns, settled_ns)
        stamp_ns = self._known_until_ns + self._to_steady()
        values: list[DataValue] = []
        telemetry: dict[str, bool] = {}
        for pin, signal in self._inputs.items():
            value = bool(self._levels[pin]) is not signal.active_low
            if signal.rule:
                values.append(DataValue(signal.name, value, Status.GOOD, stamp_ns, now_ns))
            if signal.telemetry:
                telemetry[signal.name] = value
        return _reading(values, telemetry, now_ns)

    def _find_lost_edges(self) -> None:
        """A level that differs from the last edge twice in a row means that the kernel dropped an edge."""
        assert self._pins is not None, "open() comes first"
        disagreeing = {pin for pin, level in self._pins.levels().items() if level != self._levels[pin]}
        stuck = disagreeing & self._disagreeing
        self._disagreeing = disagreeing if not self._edges else set()
        if stuck and not self._edges:
            raise DriverError(
                f"{self._source}: edges of pin {', '.join(map(str, sorted(stuck)))} were lost: the level changed "
                f"and no edge was heard"
            )


def _reading(values: list[DataValue], telemetry: dict[str, bool], now_ns: int) -> Reading:
    blocks = (TelemetryBlock(tuple(telemetry), tuple(telemetry.values()), now_ns),) if telemetry else ()
    return Reading(tuple(values), blocks)
