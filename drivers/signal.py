"""What every driver's signals have in common in the configuration. Knows no protocol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal

from drivers.scaling import check_decimal

FORBID_UNKNOWN_KEYS: Final[dict[str, Any]] = {"extra": "forbid"}
#: Longest text that may be written to a machine, in characters.
TEXT_MAX: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Writable:
    """What may be written to a signal; without it nothing may.

    Attributes:
        min: least number, as the signal reads (after scale and offset), a decimal number in quotes.
        max: greatest number.
        values: the only values allowed, written as texts ("1", "true", "READY").
        max_length: longest text, in characters.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    min: str | None = None
    max: str | None = None
    values: tuple[str, ...] = ()
    max_length: int | None = None

    def __post_init__(self) -> None:
        """A limit of some kind: nobody means "anything"."""
        check_decimal("min", self.min, zero=True)
        check_decimal("max", self.max, zero=True)
        if (self.min is None) != (self.max is None):
            raise ValueError("min and max belong together: name both or neither")
        if self.min is not None and self.max is not None and Decimal(self.min) > Decimal(self.max):
            raise ValueError(f"min ({self.min}) must not be above max ({self.max})")
        if self.max_length is not None and not 1 <= self.max_length <= TEXT_MAX:
            raise ValueError(f"max_length: found {self.max_length}, allowed 1 to {TEXT_MAX}")
        if self.min is None and not self.values and self.max_length is None:
            raise ValueError("found no limit, allowed min and max, values, or max_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalCommon:
    """Keys that every signal has, whatever its driver.

    Attributes:
        scale: the raw number is multiplied by this, a decimal number in quotes such as "0.1".
        offset: added after scaling, a decimal number in quotes.
        deadband: a number that moved less than this since it was last reported is not reported; needs report: change
            where rules use the signal.
        report: ``always``: rules get every sample; ``change``: only a new value or a new quality. Telemetry is
            published on change in any case.
        timestamp: ``device``: the device's or kernel's time where it gives a plausible one; ``gateway``: the time of
            arrival.
        writable: limits within which ``linegate write`` may write it; without it nothing may.
        telemetry: publish it on MQTT.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    scale: str | None = None
    offset: str | None = None
    deadband: str | None = None
    report: Literal["always", "change"] = "always"
    timestamp: Literal["device", "gateway"] = "device"
    writable: Writable | None = None
    telemetry: bool = False

    def check_common(self) -> None:
        """Ranges of the common keys; a signal's ``__post_init__`` calls it. Raises ValueError."""
        check_decimal("scale", self.scale, zero=False)
        check_decimal("offset", self.offset, zero=True)
        check_decimal("deadband", self.deadband, zero=True)
        if self.deadband is not None and Decimal(self.deadband) < 0:
            raise ValueError(f"deadband: found {self.deadband}, allowed 0 and above")
