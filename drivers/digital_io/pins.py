"""The inputs behind gpiozero: real ones through lgpio, simulated ones driven by messages.

Gives edges as they come, with the kernel's or the simulator's time; does not debounce, count or convert times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from gpiozero.exc import GPIOZeroError
from gpiozero.pins.mock import MockFactory, MockPin
from gpiozero.pins.pi import PiPin

from drivers.base import DriverError
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.digital_io.settings import DigitalSignal

#: gpiozero's words for the resistors.
_PULL: Final = {"up": "up", "down": "down", "none": "floating"}


class EdgeListener(Protocol):
    """Hears each edge. Called from the thread that saw it; must not raise."""

    def __call__(self, pin: int, level: int, t_ns: int) -> None:
        """``t_ns`` is on CLOCK_MONOTONIC."""


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
    """Open inputs. ``on_edge`` hears their edges until ``close()``."""

    def __init__(
        self, factory: Any, signals: Mapping[str, DigitalSignal], on_edge: EdgeListener, ns_per_tick: int
    ) -> None:
        self._factory = factory
        self._pins: dict[int, Any] = {}
        self._listeners: list[Callable[[Any, Any], None]] = []  # the library holds them by weak reference only
        try:
            for signal in signals.values():
                self._open(signal, on_edge, ns_per_tick)
        except GPIOZeroError as error:
            self.close()
            raise DriverError(f"digital_io: pin cannot be used: {type(error).__name__}: {error}") from error

    def levels(self) -> dict[int, int]:
        """The present level of each pin, 0 or 1."""
        return {number: int(bool(pin.state)) for number, pin in self._pins.items()}

    def drive(self, number: int, level: int, t_ns: int) -> None:
        """Move a simulated pin. Raises KeyError for one that is not an input here."""
        self._pins[number].drive(level, t_ns)

    def close(self) -> None:
        """Release the pins; no edge is heard afterwards."""
        for pin in self._pins.values():
            pin.when_changed = None
        self._pins = {}
        self._factory.close()

    def _open(self, signal: DigitalSignal, on_edge: EdgeListener, ns_per_tick: int) -> None:
        number = signal.pin
        pin = self._factory.pin(f"GPIO{number}")
        pin.input_with_pull(_PULL[signal.pull])
        pin.bounce = None  # the core debounces by time stamps; the library's filter differs between its backends
        pin.edges = "both"

        def heard(ticks: Any, state: Any) -> None:
            on_edge(number, int(bool(state)), round(ticks * ns_per_tick))

        self._listeners.append(heard)
        self._pins[number] = pin
        pin.when_changed = heard


def simulated_pins(signals: Mapping[str, DigitalSignal], on_edge: EdgeListener) -> Pins:
    """Pins that only ``drive`` moves. Raises DriverError."""
    return Pins(MockFactory(pin_class=SimulatedPin), signals, on_edge, ns_per_tick=1)


def gpio_pins(signals: Mapping[str, DigitalSignal], on_edge: EdgeListener) -> Pins:
    """The inputs of a Raspberry Pi. Raises DriverError where lgpio, the chip or a pin is missing."""
    try:
        import lgpio  # type: ignore[import-not-found,unused-ignore]  # the extra "pi", not everywhere
        from gpiozero.pins.lgpio import LGPIOFactory
    except (ImportError, OSError) as error:
        raise DriverError(
            f"digital_io: lgpio cannot be loaded ({error}); install linegate[pi], and run the gateway in a folder that "
            f"it may write to"
        ) from error
    try:
        # lgpio's backend gives the kernel's time in seconds.
        return Pins(LGPIOFactory(), signals, on_edge, ns_per_tick=NS_PER_S)
    except (GPIOZeroError, OSError, lgpio.error) as error:
        raise DriverError(
            f"digital_io: no GPIO: {error}; pins: gpio needs a Raspberry Pi, the gateway's user in the group gpio, and "
            f"pins that nothing else uses"
        ) from error
