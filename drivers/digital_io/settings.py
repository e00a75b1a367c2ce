"""What the configuration may say about digital inputs; checks ranges, knows no hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from drivers.signal import FORBID_UNKNOWN_KEYS, SignalCommon
from gateway.core.duration import NS_PER_UNIT, Duration

#: GPIO numbers of the 40-pin header (BCM numbering); 0 and 1 are kept for the identification of extension boards.
PIN_MIN: Final = 2
PIN_MAX: Final = 27

#: These two carry a resistor on the board (they are also the I2C bus).
PINS_PULLED_UP: Final = (2, 3)

#: Edges that the kernel keeps for one input: its own default, and the most that it gives.
EVENT_BUFFER_MIN: Final = 16
EVENT_BUFFER_MAX: Final = 1_024

#: The kernel takes microseconds; a contact that needs longer is not counted but looked at.
DEBOUNCE_MAX: Final = Duration("1 s")

#: Keys of ``SignalCommon`` that mean nothing for an input that is true or false.
_NO_MEANING: Final = ("scale", "offset", "deadband")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalSignal(SignalCommon):
    """One digital input: a pin of the 40-pin header, or a line of a GPIO chip.

    Attributes:
        pin: GPIO number (BCM numbering) on the 40-pin header, not the number on the connector; with a chip: the number
            of its line.
        line: name of a line ("DI3"), or its number on the chip.
        chip: the chip that it is on, where that is not the source's.
        kind: ``pulse``: every edge is reported; ``level``: only what the level is after the edges that came together
            (for states, never for counting).
        active_low: a low level means true.
        pull: the resistor inside the chip; none: the circuit outside decides the level.
        debounce: the kernel reports a level only once it held this long, and dates it then; without it every edge.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    pin: int | None = None
    line: int | str | None = None
    chip: str | None = None
    kind: Literal["pulse", "level"] = "pulse"
    active_low: bool = False
    pull: Literal["up", "down", "none"] = "none"
    debounce: Duration | None = None

    def __post_init__(self) -> None:
        """One place, and nothing that an input cannot do."""
        self.check_common()
        for key in _NO_MEANING:
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: found {getattr(self, key)!r}, allowed: nothing; an input is true or false")
        if self.writable is not None:
            raise ValueError("writable: found limits, allowed: nothing; digital inputs cannot be written")
        self._check_place()
        if self.debounce is not None:
            _check_debounce(self.debounce)

    def _check_place(self) -> None:
        if (self.pin is None) == (self.line is None):
            found = "none" if self.pin is None else "both"
            raise ValueError(f"pin and line: found {found}, allowed: one of them")
        if self.chip is not None and not self.chip.strip():
            raise ValueError("chip: found an empty text, allowed a path, a name such as gpiochip0 or a label")
        if self.pin is None:
            if isinstance(self.line, int) and self.line < 0:
                raise ValueError(f"line: found {self.line}, allowed 0 and above, or a name")
            if isinstance(self.line, str) and not self.line.strip():
                raise ValueError("line: found an empty text, allowed a name or a number")
            return
        if not PIN_MIN <= self.pin <= PIN_MAX:
            raise ValueError(f"pin: found {self.pin}, allowed {PIN_MIN} to {PIN_MAX} (GPIO number)")

    @property
    def place(self) -> str:
        """Where it is, for a reader."""
        return f"GPIO {self.pin}" if self.pin is not None else f"line {self.line}"


def _check_debounce(debounce: Duration) -> None:
    if not 0 < debounce <= DEBOUNCE_MAX:
        raise ValueError(f"debounce: found {debounce}, allowed 1 us to {DEBOUNCE_MAX}")
    if debounce % NS_PER_UNIT["us"]:
        raise ValueError(f"debounce: found {debounce}, allowed whole microseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalIOSettings:
    """Digital inputs of this computer, or a simulation of them.

    Attributes:
        driver: ``digital_io``.
        pins: ``gpio``: the inputs of this computer; ``simulated``: a simulator moves them over a local socket.
        chip: the GPIO chip: a path (/dev/gpiochip0), a name (gpiochip4) or a label (pinctrl-bcm2711); without it the
            one of the 40-pin header, and for the name of a line all of them.
        event_buffer: edges that the kernel keeps for each input while the gateway is busy, 16 to 1024; default 1024.
        socket: path of the simulation's socket; default ``pins.sock`` in the gateway's state folder, which relative
            paths start at.
        signals: name of the signal to its input.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["digital_io"]
    pins: Literal["gpio", "simulated"]
    chip: str | None = None
    event_buffer: int | None = None
    socket: str | None = None
    signals: dict[str, DigitalSignal]

    def __post_init__(self) -> None:
        """Each input once, and each key where it has a meaning."""
        if not self.signals:
            raise ValueError("signals: found none, allowed one and more")
        if self.chip is not None and not self.chip.strip():
            raise ValueError("chip: found an empty text, allowed a path, a name such as gpiochip0 or a label")
        buffer = self.event_buffer
        if buffer is not None and not EVENT_BUFFER_MIN <= buffer <= EVENT_BUFFER_MAX:
            raise ValueError(f"event_buffer: found {buffer}, allowed {EVENT_BUFFER_MIN} to {EVENT_BUFFER_MAX}")
        if self.socket is not None and (self.pins != "simulated" or not self.socket.strip()):
            raise ValueError(f"socket: found {self.socket!r}, allowed a path, and only with pins: simulated")
        if self.pins == "simulated":
            self._check_simulated()
        self._check_each_once()
        self._check_resistors()

    def chip_of(self, signal: DigitalSignal) -> str | None:
        """The chip that a signal is on, as it is written; None: not written."""
        return signal.chip if signal.chip is not None else self.chip

    def _check_simulated(self) -> None:
        for key in ("chip", "event_buffer"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: found {getattr(self, key)!r}, allowed only with pins: gpio")
        for name, signal in self.signals.items():
            for key in ("line", "chip", "debounce"):
                if getattr(signal, key) is not None:
                    raise ValueError(
                        f"signals: {name} has {key}, allowed only with pins: gpio; a simulation has the pins of the "
                        f"header, and the rules debounce"
                    )

    def _check_each_once(self) -> None:
        first: dict[tuple[str | None, str], str] = {}
        for name, signal in self.signals.items():
            other = first.setdefault((self.chip_of(signal), signal.place), name)
            if other != name:
                shown = f"pin {signal.pin}" if signal.pin is not None else signal.place
                raise ValueError(f"signals: {shown} is used twice, by {other} and {name}")
            if isinstance(signal.line, int) and self.chip_of(signal) is None:
                raise ValueError(f"signals: {name} has line {signal.line} and no chip; name the chip that it is on")

    def _check_resistors(self) -> None:
        for name, signal in self.signals.items():
            if signal.pin in PINS_PULLED_UP and signal.pull != "up" and self.chip_of(signal) is None:
                raise ValueError(
                    f"signals: {name}: pull: found {signal.pull}, pin {signal.pin} has a resistor on the board: "
                    f"allowed up"
                )
