"""The inputs behind gpiozero: real ones through libgpiod, simulated ones driven by messages.

Gives edges as they come, with the kernel's or the simulator's time; does not debounce, count or convert times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from gpiozero.exc import GPIOZeroError
from gpiozero.pins.mock import MockFactory, MockPin
from gpiozero.pins.pi import PiPin

from drivers.base import DriverError
from gateway.core.duration import seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from drivers.digital_io.chips import OpenChip
    from drivers.digital_io.gpiod_factory import GpiodFactory
    from drivers.digital_io.settings import DigitalIOSettings, DigitalSignal

#: gpiozero's words for the resistors.
_PULL: Final = {"up": "up", "down": "down", "none": "floating"}
#: Least release of the library that has what is used here.
GPIOD_MIN: Final = "2.3"


class Listener(Protocol):
    """Hears what becomes of the inputs, in the event loop; must not raise. Times are on CLOCK_MONOTONIC."""

    def on_edge(self, name: str, level: int, t_ns: int) -> None:
        """A change of level."""

    def on_lost(self, name: str, number: int, since_ns: int | None) -> None:
        """The kernel dropped edges since that time (of the last edge heard); None: since the beginning."""

    def on_failure(self, reason: str) -> None:
        """The inputs cannot be read any more."""


class SimulatedPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
    """A mock pin whose edges carry the simulator's time, and which keeps no history (the library's never ends)."""

    _state: bool  # set by the library

    def __init__(self, factory: Any, info: Any) -> None:
        self._t_ns = 0
        super().__init__(factory, info)

    def drive(self, level: int, t_ns: int) -> None:
        """Set the level from outside, at a time on CLOCK_MONOTONIC; an equal level is no edge."""
        self._t_ns = t_ns
        (self.drive_high if level else self.drive_low)()

    def _change_state(self, value: Any) -> bool:
        if self._state == value:
            return False
        self._state = value
        return True

    def _call_when_changed(self) -> None:
        PiPin._call_when_changed(self, self._t_ns, self._state)  # noqa: SLF001 - the library's hook, its own class skips the time


class Pins:
    """Open inputs, by the name of their signal. ``listener`` hears their edges until ``close()``."""

    def __init__(self, factory: Any, listener: Listener) -> None:
        self._factory = factory
        self._listener = listener
        self._pins: dict[str, Any] = {}
        self._heard: list[Callable[[int, Any], None]] = []  # the library holds them by weak reference only

    def levels(self) -> dict[str, int]:
        """The present level of each input, 0 or 1. Raises OSError: the chip has gone."""
        return {name: int(bool(pin.state)) for name, pin in self._pins.items()}

    def close(self) -> None:
        """Release the pins; no edge is heard afterwards."""
        self._pins = {}
        self._factory.close()

    def add(self, name: str, signal: DigitalSignal, pin: Any) -> None:
        """Make this pin the input of a signal. Raises DriverError."""
        on_edge = self._listener.on_edge

        def heard(ticks: int, state: Any) -> None:
            on_edge(name, 1 if state else 0, ticks)

        try:
            pin.edges = "both"
            pin.bounce = None if signal.debounce is None else seconds(signal.debounce)
            pin.input_with_pull(_PULL[signal.pull])
            pin.when_changed = heard
        except (GPIOZeroError, OSError) as error:
            raise DriverError(f"digital_io: {name} cannot be an input: {type(error).__name__}: {error}") from error
        self._heard.append(heard)
        self._pins[name] = pin


class SimulatedPins(Pins):
    """Inputs that only ``drive`` moves."""

    def drive(self, name: str, level: int, t_ns: int) -> None:
        """Move an input. Raises KeyError for one that is not here."""
        self._pins[name].drive(level, t_ns)


class GpioPins(Pins):
    """Inputs of this computer."""

    _factory: GpiodFactory

    def add(self, name: str, signal: DigitalSignal, pin: Any) -> None:
        """Make this pin the input of a signal. Raises DriverError: it is another signal's already."""
        other = next((known for known, each in self._pins.items() if each is pin), None)
        if other is not None:
            raise DriverError(f"digital_io: {other} and {name} are both {pin.line}; remove one")
        super().add(name, signal, pin)
        pin.when_lost = lambda number, since_ns: self._listener.on_lost(name, number, since_ns)

    def poll(self) -> bool:
        """Read the edges that the kernel has now; whether it has no more."""
        return self._factory.poll()

    def pause(self) -> None:
        """Leave the edges with the kernel: it keeps some, and numbers them all."""
        self._factory.pause()

    def resume(self) -> None:
        """Read again."""
        self._factory.resume()

    def forget_level(self, name: str) -> None:
        """The level of an input changed without an edge."""
        self._pins[name].forget_level()

    def merged(self) -> dict[str, int]:
        """How many edges of each input came with the next one."""
        return {name: pin.merged for name, pin in self._pins.items() if pin.merged}


def simulated_pins(settings: DigitalIOSettings, listener: Listener) -> SimulatedPins:
    """Pins that only ``drive`` moves. Raises DriverError."""
    pins = SimulatedPins(MockFactory(pin_class=SimulatedPin), listener)
    _add_all(pins, settings, lambda signal: pins._factory.pin(f"GPIO{signal.pin}"))  # noqa: SLF001 - its maker
    return pins


def gpio_pins(
    settings: DigitalIOSettings,
    listener: Listener,
    loop: asyncio.AbstractEventLoop,
    *,
    open_chip: OpenChip | None = None,
    dev: Path | None = None,
) -> GpioPins:
    """The inputs of this computer. Raises DriverError where the library, a chip or a line is missing."""
    try:
        from drivers.digital_io.gpiod_factory import GpiodFactory
    except (ImportError, AttributeError) as error:  # the first generation of the library has other names
        raise DriverError(
            f"digital_io: libgpiod's Python package cannot be loaded ({error}); install linegate[pi] (gpiod "
            f"{GPIOD_MIN} or later)"
        ) from error
    optional: dict[str, Any] = {"open_chip": open_chip, "dev": dev, "event_buffer": settings.event_buffer}
    factory = GpiodFactory(
        loop,
        chip=settings.chip,
        on_failure=listener.on_failure,
        **{key: value for key, value in optional.items() if value is not None},
    )
    pins = GpioPins(factory, listener)

    def pin_of(signal: DigitalSignal) -> Any:
        if signal.pin is not None:
            return factory.header_pin(signal.pin, signal.chip)
        assert signal.line is not None, "the settings' check: pin or line"
        return factory.line(signal.line, signal.chip)

    _add_all(pins, settings, pin_of)
    return pins


def _add_all(pins: Pins, settings: DigitalIOSettings, pin_of: Callable[[DigitalSignal], Any]) -> None:
    try:
        for name, signal in settings.signals.items():
            pins.add(name, signal, pin_of(signal))
    except DriverError:
        pins.close()
        raise
