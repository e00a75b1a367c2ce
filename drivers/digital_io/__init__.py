"""Digital inputs of this computer as a source. Importing this loads no hardware library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drivers.base import DriverType
from drivers.digital_io.settings import DigitalIOSettings
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from drivers.base import Driver, DriverContext


def _build(settings: DigitalIOSettings, context: DriverContext) -> Driver:
    from drivers.digital_io.driver import DigitalIODriver

    return DigitalIODriver(settings, context)


def _describe(settings: DigitalIOSettings) -> list[str]:
    lines = []
    for name, signal in settings.signals.items():
        chip = settings.chip_of(signal)
        parts = [
            signal.place + (f" of {chip}" if chip else ""),
            f"{'low' if signal.active_low else 'high'} is true",
            f"pull {signal.pull}",
        ]
        if signal.debounce is not None:
            parts.append(f"debounce {signal.debounce} in the kernel")
        if signal.kind == "level":
            parts.append("level only, not for counting")
        lines.append(f"{name}: {', '.join(parts)}")
    return lines


def _simulated(settings: DigitalIOSettings) -> bool:
    return settings.pins == "simulated"


PLUGIN: Final = DriverType(
    name="digital_io",
    settings=DigitalIOSettings,
    build=_build,
    describe=_describe,
    cycle_ns=lambda _settings: NS_PER_S,  # levels are refreshed every second, changed or not
    told_every_ns=lambda settings, name: 0 if settings.signals[name].report == "change" else NS_PER_S,
    value_type=lambda _settings, _name: "bit",
    simulated=_simulated,
)
