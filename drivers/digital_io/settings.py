"""What the configuration may say about digital inputs; checks ranges, knows no hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

#: GPIO numbers of the 40-pin header (BCM numbering); 0 and 1 are kept for the identification of extension boards.
PIN_MIN: Final = 2
PIN_MAX: Final = 27

#: These two carry a resistor on the board (they are also the I2C bus).
PINS_PULLED_UP: Final = (2, 3)

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalSignal:
    """One digital input.

    Attributes:
        pin: GPIO number (BCM numbering), not the number on the connector.
        active_low: a low level means true.
        pull: the resistor inside the chip; none: the circuit outside decides the level.
        telemetry: publish it on MQTT.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    pin: int
    active_low: bool = False
    pull: Literal["up", "down", "none"] = "none"
    telemetry: bool = False

    def __post_init__(self) -> None:
        """A pin of the header."""
        if not PIN_MIN <= self.pin <= PIN_MAX:
            raise ValueError(f"pin: found {self.pin}, allowed {PIN_MIN} to {PIN_MAX} (GPIO number)")
        if self.pin in PINS_PULLED_UP and self.pull != "up":
            raise ValueError(f"pull: found {self.pull}, pin {self.pin} has a resistor on the board: allowed up")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalIOSettings:
    """Digital inputs of this computer, or a simulation of them.

    Attributes:
        driver: ``digital_io``.
        pins: ``gpio``: the inputs of a Raspberry Pi; ``simulated``: a simulator moves them over a local socket.
        socket: path of that socket; default ``pins.sock`` in the gateway's state folder, which relative paths start at.
        signals: name of the signal to its input.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    driver: Literal["digital_io"]
    pins: Literal["gpio", "simulated"]
    socket: str | None = None
    signals: dict[str, DigitalSignal]

    def __post_init__(self) -> None:
        """Each pin once, and a socket only for the simulation."""
        if not self.signals:
            raise ValueError("signals: found none, allowed one and more")
        pins = [signal.pin for signal in self.signals.values()]
        doubled = sorted({pin for pin in pins if pins.count(pin) > 1})
        if doubled:
            raise ValueError(f"signals: pin {', '.join(map(str, doubled))} is used twice")
        if self.socket is not None and (self.pins != "simulated" or not self.socket.strip()):
            raise ValueError(f"socket: found {self.socket!r}, allowed a path, and only with pins: simulated")
