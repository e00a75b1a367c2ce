"""Reads digital inputs: every edge with its own time, and all levels once per second.

Does not count (the core does), and does not know where edges come from (``pins.py``, ``simulator.py``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from drivers.base import DriverError, WriteRefusedError
from drivers.digital_io.edge_clock import EdgeClock, monotonic_ns
from drivers.digital_io.inputs import LOST, Inputs
from drivers.digital_io.pins import GpioPins, SimulatedPins, gpio_pins, simulated_pins
from drivers.digital_io.simulator import SimulatorSocket
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from drivers.base import DriverContext, Reading
    from drivers.digital_io.chips import OpenChip
    from drivers.digital_io.inputs import Input
    from drivers.digital_io.settings import DigitalIOSettings
    from drivers.digital_io.simulator import Message
    from gateway.core.model import Scalar

#: Edges that may wait for the core. Beyond, real ones stay with the kernel; a simulator's are a lost link.
EDGES_MAX: Final = 4_096
#: Levels are repeated this often, so that an interval of loss stays tight.
REFRESH_S: Final = 1.0
#: An edge may take this long from the kernel to us: a level is only vouched for up to then.
EDGE_DELAY_NS: Final = NS_PER_S // 10
#: A simulator speaks every 200 ms; this long without a word and it is taken for dead.
SIMULATOR_SILENCE_NS: Final = 2 * NS_PER_S


class DigitalIODriver:
    """The digital inputs of one source (see ``drivers.base`` for who calls what).

    Args:
        settings: what the configuration says.
        context: names, clock, folder.
        open_chip: opens a GPIO chip; None: libgpiod does. The seam for tests.
        dev: folder of the chips' device files.
    """

    def __init__(
        self,
        settings: DigitalIOSettings,
        context: DriverContext,
        *,
        open_chip: OpenChip | None = None,
        dev: Path | None = None,
    ) -> None:
        self._settings = settings
        self._source = context.source
        self._clock = EdgeClock(context.now_ns)
        self._path = context.state_dir / (settings.socket or "pins.sock")
        self._open_chip = open_chip
        self._dev = dev
        self._inputs = Inputs(settings, context)
        self._by_name = self._inputs.by_name
        self._by_pin = {signal.pin: name for name, signal in settings.signals.items() if signal.pin is not None}
        self._gpio: GpioPins | None = None
        self._simulated: SimulatedPins | None = None
        self._simulator: SimulatorSocket | None = None
        self._wake = asyncio.Event()
        self._edges: list[tuple[Input, int, int]] = []
        self._lost_reason = ""
        self._heard_ns = 0  # CLOCK_MONOTONIC when the simulator's last message came
        self._known_until_ns = 0  # CLOCK_MONOTONIC up to which no edge can come any more
        self._disagreeing: set[str] = set()

    async def open(self) -> None:
        """Claim the pins; a simulation waits for its simulator. Raises DriverError."""
        if self._settings.pins == "gpio":
            loop = asyncio.get_running_loop()
            self._gpio = gpio_pins(self._settings, self, loop, open_chip=self._open_chip, dev=self._dev)
            self._known_until_ns = monotonic_ns() - EDGE_DELAY_NS
            self._inputs.set_levels(self._levels(self._gpio))
            return
        self._simulated = simulated_pins(self._settings, self)
        self._simulator = SimulatorSocket(self._path, self._on_message, self.on_failure)
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
                reading = self._refresh()
                if reading is None:  # there are edges to tell first
                    await asyncio.sleep(0)  # they may never end, and others must have their turn
                    continue
                refresh_s = loop.time() + REFRESH_S
                yield reading
            if self._edges or self._lost_reason:
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout_at(refresh_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Release the pins and the socket."""
        if self._simulator is not None:
            await self._simulator.close()
        for pins in (self._gpio, self._simulated):
            if pins is not None:
                pins.close()
        self._simulator = self._gpio = self._simulated = None

    async def write(self, signal: str, value: Scalar) -> None:
        """Raise WriteRefusedError: these are inputs."""
        raise WriteRefusedError(f"{self._source}.{signal}: a digital input cannot be written (found {value!r})")

    def problems(self) -> Mapping[str, str]:
        """Nothing: an input is there or the source is lost."""
        return {}

    def notices(self) -> Mapping[str, str]:
        """Edges that were lost, with their number."""
        return self._inputs.notices(self._gpio.merged() if self._gpio is not None else {})

    # --- what the pins and the simulator tell (pins.Listener) --------------------------------------------------------

    def on_edge(self, name: str, level: int, t_ns: int) -> None:
        """A change of level."""
        waiting = len(self._edges)
        if waiting >= EDGES_MAX:
            if self._gpio is None:
                self.on_failure(
                    f"{self._source}: more than {EDGES_MAX} edges waited, some are lost; the inputs are too fast for "
                    f"this computer, or bounce"
                )
                return
            self._gpio.pause()  # what was already read is at most one look at the line
        self._edges.append((self._by_name[name], level, t_ns))
        if not waiting:
            self._wake.set()

    def on_lost(self, name: str, number: int, since_ns: int | None) -> None:
        """The kernel dropped edges of an input; the next edge comes right after."""
        signal = self._inputs.note_lost(name, number, self._clock.times().now_ns)
        self._edges.append((signal, LOST, self._known_until_ns if since_ns is None else since_ns))

    def on_failure(self, reason: str) -> None:
        """The link is lost; the first reason counts."""
        self._lost_reason = self._lost_reason or reason
        self._wake.set()

    def _on_message(self, message: Message) -> None:
        if self._simulated is None:
            return  # closed
        missing = sorted(self._by_pin.keys() - message.levels.keys())
        if missing and message.hello is not None:
            raise DriverError(f"{self._path}: simulator {message.hello} has no pin {', '.join(map(str, missing))}")
        self._heard_ns = monotonic_ns()
        self._known_until_ns = message.t_ns
        for pin in self._by_pin.keys() & message.levels.keys():
            self._simulated.drive(self._by_pin[pin], message.levels[pin], message.t_ns)
        if message.hello is not None:
            self._edges.clear()  # the way from the resistors' level to the first known one is no edge
            self._inputs.set_levels(self._simulated.levels())

    # --- what goes out -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._lost_reason and not self._edges:
            raise DriverError(self._lost_reason)
        if self._simulator is not None:
            silent_ns = monotonic_ns() - self._heard_ns
            if silent_ns > SIMULATOR_SILENCE_NS:
                raise DriverError(f"{self._path}: the simulator has been silent for {silent_ns / NS_PER_S:.1f} s")

    def _take_edges(self) -> Reading:
        edges, self._edges = self._edges, []
        self._known_until_ns = max(self._known_until_ns, *(edge[2] for edge in edges))
        if self._gpio is not None:
            self._gpio.resume()
        return self._inputs.take(edges, self._clock.times())

    def _refresh(self) -> Reading | None:
        """All levels that can be vouched for; None where edges must be told first."""
        signals = tuple(self._by_name.values())
        if self._gpio is not None:
            looked_ns = monotonic_ns()
            if not self._gpio.poll() or self._edges:
                return None
            disagreeing = self._disagree(self._gpio)
            if self._edges or self._lost_reason:
                return None
            self._known_until_ns = max(self._known_until_ns, looked_ns - EDGE_DELAY_NS)
            signals = tuple(signal for name, signal in self._by_name.items() if name not in disagreeing)
        return self._inputs.refresh(signals, self._known_until_ns, self._clock.times())

    def _disagree(self, pins: GpioPins) -> set[str]:
        """Inputs whose level is not that of their last edge. Twice in a row: an edge never came, and is told as lost.

        Once may be an edge that is on its way; until that is clear the old level is not vouched for.
        """
        levels = self._levels(pins)
        if not pins.poll() or self._edges:
            return set()
        disagreeing = {name for name, level in levels.items() if level != self._by_name[name].level}
        for name in sorted(disagreeing & self._disagreeing):
            self.on_lost(name, 0, None)
            pins.forget_level(name)
            self._edges.append((self._by_name[name], levels[name], monotonic_ns()))
            disagreeing.discard(name)
        self._disagreeing = disagreeing
        return disagreeing

    def _levels(self, pins: GpioPins) -> dict[str, int]:
        try:
            return pins.levels()
        except OSError as error:
            raise DriverError(
                f"{self._source}: inputs cannot be read: {error.strerror or error}; is the chip there?"
            ) from error
