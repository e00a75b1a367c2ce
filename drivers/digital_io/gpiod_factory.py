"""A pin factory for gpiozero over libgpiod v2: edges with the kernel's time and number, read by the event loop.

Each pin is a request of its own, so that it has the whole of the kernel's buffer, and a number that is left out means
edges of this very pin. Does not count, and does not decide what a lost edge means.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import gpiod
from gpiod.line import Bias, Clock, Direction, Edge, Value
from gpiozero.exc import PinInvalidBounce, PinInvalidEdges, PinInvalidFunction, PinInvalidPin, PinInvalidPull
from gpiozero.pins import BoardInfo, Factory, PinInfo
from gpiozero.pins.pi import PiPin

from drivers.digital_io.chips import DEV, Chips
from drivers.digital_io.edge_clock import monotonic_ns
from drivers.digital_io.settings import EVENT_BUFFER_MAX
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drivers.digital_io.chips import Line, OpenChip

#: Edges that one look at a line takes; the kernel keeps no more.
EVENTS_PER_READ: Final = EVENT_BUFFER_MAX
#: A line that has still more after so many looks is faster than we are; the others must have their turn.
READS_PER_POLL: Final = 4
#: The kernel's numbers have 32 bits.
_SEQNO_MASK: Final = 0xFFFF_FFFF
_FIRST_SEQNO: Final = 1
_BIAS: Final = {"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "floating": Bias.DISABLED}
_EDGES: Final = {"both": Edge.BOTH, "rising": Edge.RISING, "falling": Edge.FALLING, "none": Edge.NONE}
_RISING: Final = gpiod.EdgeEvent.Type.RISING_EDGE


class GpiodFactory(Factory):  # type: ignore[misc]  # gpiozero ships no types
    """Pins of the GPIO chips of this computer, any board.

    ``pin()`` takes what gpiozero calls pins (17, "GPIO17": numbers of the header, or of ``chip``) and names of lines.
    Ticks are integer nanoseconds on CLOCK_MONOTONIC. Raises DriverError where gpiozero's own factories raise their
    exceptions.

    Args:
        loop: reads the edges; ``when_changed`` is called there.
        open_chip: opens a device file; the seam for tests.
        dev: folder of the device files.
        chip: path, name or label of the chip; None: the header's.
        event_buffer: edges that the kernel keeps for each pin.
        on_failure: hears why edges of a pin can no longer be read, or that a listener failed; must not raise.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        open_chip: OpenChip = gpiod.Chip,
        dev: Path = DEV,
        chip: str | None = None,
        event_buffer: int = EVENT_BUFFER_MAX,
        on_failure: Callable[[str], None] = lambda _text: None,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.on_failure = on_failure
        self._chips = Chips(open_chip, dev)
        self._chip = chip
        self._event_buffer = event_buffer
        self._pins: dict[tuple[str, int], GpiodPin] = {}
        self._board = _Board(self)
        self._reading = True

    def pin(self, name: int | str) -> GpiodPin:
        """The pin that gpiozero calls so. Raises DriverError, PinInvalidPin."""
        return self._pin_of(self._line_of(name))

    def header_pin(self, number: int, chip: str | None = None) -> GpiodPin:
        """The pin of this GPIO number. Raises DriverError."""
        return self._pin_of(self._chips.header_pin(number, chip or self._chip))

    def line(self, line: int | str, chip: str | None = None) -> GpiodPin:
        """The pin at a line of a chip, by number or name. Raises DriverError."""
        return self._pin_of(self._chips.line(line, chip or self._chip))

    def close(self) -> None:
        """Release every line."""
        for pin in self._pins.values():
            pin.close()
        self._pins.clear()

    def poll(self) -> bool:
        """Read what the kernel has now; whether nothing is left. Nothing is read while paused."""
        if not self._reading:
            return False
        empty = True
        for pin in tuple(self._pins.values()):
            empty &= pin.drain()  # each has its turn, also behind one that never ends
        return empty

    def pause(self) -> None:
        """Leave the edges with the kernel, which numbers what it has to drop."""
        if self._reading:
            self._reading = False
            for pin in self._pins.values():
                pin.listen(wanted=False)

    def resume(self) -> None:
        """Read again."""
        if not self._reading:
            self._reading = True
            for pin in self._pins.values():
                pin.listen(wanted=True)

    @property
    def reading(self) -> bool:
        """False while paused."""
        return self._reading

    @staticmethod
    def ticks() -> int:
        """CLOCK_MONOTONIC, nanoseconds."""
        return monotonic_ns()

    @staticmethod
    def ticks_diff(later: int, earlier: int) -> float:
        """Seconds, as gpiozero wants them."""
        return (later - earlier) / NS_PER_S

    def request(self, line: Line, settings: gpiod.LineSettings) -> gpiod.LineRequest:
        """Take a line, for a pin. Raises DriverError."""
        return self._chips.request(line, settings, self._event_buffer)

    def info(self, name: int | str) -> PinInfo:
        """What gpiozero wants to know of a pin. Raises DriverError, PinInvalidPin."""
        return _pin_info(self._line_of(name))

    def _line_of(self, name: int | str) -> Line:
        text = str(name)
        number = text.removeprefix("GPIO").removeprefix("BCM")
        if number.isdecimal():
            return self._chips.header_pin(int(number), self._chip)
        if not text:
            raise PinInvalidPin("an empty text is no pin")
        return self._chips.line(text, self._chip)

    def _pin_of(self, line: Line) -> GpiodPin:
        key = (line.chip.path, line.offset)
        if key not in self._pins:
            self._pins[key] = GpiodPin(self, _pin_info(line), line)
        return self._pins[key]

    def _get_board_info(self) -> _Board:
        return self._board


class GpiodPin(PiPin):  # type: ignore[misc]  # gpiozero ships no types
    """One line as an input. The line is taken with the first look at its state, or when ``when_changed`` is set.

    Attributes:
        when_lost: hears how many edges the kernel dropped and the time (ticks) of the last one before, None if there
            was none; before the next edge is told. A plain reference, unlike ``when_changed``.
        lost: edges dropped so far.
        merged: edges so short that the kernel saw only one of the two levels; both are told, with one time.
    """

    def __init__(self, factory: GpiodFactory, info: PinInfo, line: Line) -> None:
        super().__init__(factory, info)
        self.line = line
        self.when_lost: Callable[[int, int | None], None] | None = None
        self.lost = 0
        self.merged = 0
        self._request: gpiod.LineRequest | None = None
        self._listening = False
        self._enabled = False
        self._pull = "floating"
        self._bounce: float | None = None
        self._edges = "both"
        self._next_seqno = _FIRST_SEQNO
        self._last_rising: bool | None = None  # of the last edge heard
        self._last_ticks: int | None = None

    def close(self) -> None:
        """Give the line back."""
        self.listen(wanted=False)
        if self._request is not None:
            self._request.release()
            self._request = None
        self.when_changed = None
        self.when_lost = None

    def listen(self, *, wanted: bool) -> None:
        """Whether the loop reads this line when something is there."""
        wanted = wanted and self._enabled and self._request is not None
        if wanted == self._listening or self._request is None:
            return
        if wanted:
            self._factory.loop.add_reader(self._request.fd, self.read)
        else:
            self._factory.loop.remove_reader(self._request.fd)
        self._listening = wanted

    def drain(self) -> bool:
        """Read what is there without waiting; whether nothing is left."""
        for _ in range(READS_PER_POLL):
            if self._request is None or not self._listening or not self._request.wait_edge_events(0):
                return True
            self.read()
        return False

    def read(self) -> None:
        """Take the edges that are there (the kernel says that there are some) and tell them."""
        assert self._request is not None, "only a taken line is read"
        try:
            events = self._request.read_edge_events(EVENTS_PER_READ)
        except OSError as error:
            self._fail(error)
            return
        for event in events:
            rising = event.event_type is _RISING
            if event.line_seqno != self._next_seqno:
                self._tell_lost((event.line_seqno - self._next_seqno) & _SEQNO_MASK)
            elif rising is self._last_rising and self._edges == "both":
                # The kernel asks for the level after the interrupt: it was back already. Both edges were there.
                self.merged += 1
                self._tell(event.timestamp_ns, not rising)
            self._next_seqno = (event.line_seqno + 1) & _SEQNO_MASK
            self._last_rising = rising
            self._last_ticks = event.timestamp_ns
            self._tell(event.timestamp_ns, rising)

    def forget_level(self) -> None:
        """The level turned out to be another than the last edge said: the next edge is not compared with that one."""
        self._last_rising = None

    def _tell(self, ticks: int, state: bool) -> None:  # noqa: FBT001 - the library's own order of arguments
        try:
            self._call_when_changed(ticks, state)
        except Exception as error:  # noqa: BLE001 - one listener's defect must not silence the inputs
            self._factory.on_failure(f"an edge of {self.line} could not be taken: {type(error).__name__}: {error}")

    def _tell_lost(self, number: int) -> None:
        self.lost += number
        if self.when_lost is not None:
            self.when_lost(number, self._last_ticks)

    def _fail(self, error: OSError) -> None:
        self.listen(wanted=False)  # otherwise the loop would ask for ever
        self._factory.on_failure(f"{self.line} cannot be read any more: {error.strerror or error}; is the chip there?")

    def _configure(self) -> gpiod.LineRequest:
        """Take the line, or tell the kernel what changed."""
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=_EDGES[self._edges] if self._enabled else Edge.NONE,
            bias=_BIAS[self._pull],
            debounce_period=timedelta(seconds=self._bounce or 0),
            event_clock=Clock.MONOTONIC,
        )
        if self._request is None:
            self._request = self._factory.request(self.line, settings)
        else:
            self._request.reconfigure_lines({self.line.offset: settings})
        return self._request

    def _changed(self) -> None:
        if self._request is not None:
            self._configure()

    def _get_state(self) -> int:
        request = self._request or self._configure()
        return int(request.get_values([self.line.offset])[0] is Value.ACTIVE)

    def _get_function(self) -> str:
        return "input"

    def _set_function(self, value: str) -> None:
        if value != "input":
            raise PinInvalidFunction(f"{self.line}: found {value}, allowed input")

    def _get_pull(self) -> str:
        return self._pull

    def _set_pull(self, value: str) -> None:
        if value not in _BIAS:
            raise PinInvalidPull(f"{self.line}: pull: found {value}, allowed {', '.join(_BIAS)}")
        self._pull = value
        self._changed()

    def _get_bounce(self) -> float | None:
        return self._bounce

    def _set_bounce(self, value: float | None) -> None:
        if value is not None and value < 0:
            raise PinInvalidBounce(f"{self.line}: bounce: found {value}, allowed None, or seconds from 0")
        self._bounce = value
        self._changed()

    def _get_edges(self) -> str:
        return self._edges

    def _set_edges(self, value: str) -> None:
        if value not in _EDGES:
            raise PinInvalidEdges(f"{self.line}: edges: found {value}, allowed {', '.join(_EDGES)}")
        self._edges = value
        self._changed()

    def _enable_event_detect(self) -> None:
        self._enabled = True
        self._configure()
        self.listen(wanted=self._factory.reading)

    def _disable_event_detect(self) -> None:
        self.listen(wanted=False)
        self._enabled = False
        self._changed()


class _Board(BoardInfo):  # type: ignore[misc]  # gpiozero ships no types
    """Any board: gpiozero asks it for pins when it reserves them."""

    _factory: GpiodFactory

    def __new__(cls, factory: GpiodFactory) -> Self:
        board: Self = cls._make((*("",) * (len(cls._fields) - 2), {}, ""))
        board._factory = factory
        return board

    def find_pin(self, name: int | str) -> Iterator[tuple[None, PinInfo]]:
        """The pin of this name; no header."""
        yield None, self._factory.info(name)

    @property
    def description(self) -> str:
        """For a reader."""
        return "GPIO chips of this computer"


def _pin_info(line: Line) -> PinInfo:
    return PinInfo(
        number=line.offset,
        name=f"GPIO{line.offset}",
        names=frozenset({str(line)}),
        pull="",
        row=0,
        col=0,
        interfaces=frozenset({"gpio"}),
    )
