"""OPC UA as a source. Importing this loads no protocol library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from drivers.base import DriverType
from drivers.opcua.settings import OpcUaSettings
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from drivers.base import Driver, DriverContext
    from drivers.opcua.settings import OpcUaSignal


def _build(settings: OpcUaSettings, context: DriverContext) -> Driver:
    from drivers.opcua.driver import OpcUaDriver

    return OpcUaDriver(settings, context)


def _describe(settings: OpcUaSettings) -> list[str]:
    return [f"{name}: {_described(settings, signal)}" for name, signal in settings.signals.items()]


def _described(settings: OpcUaSettings, signal: OpcUaSignal) -> str:
    where = signal.node or signal.path
    if signal.path is not None and not signal.path.startswith("/"):
        where = f"{settings.start} / {signal.path}"
    element = "" if signal.index is None else f"[{signal.index}]"
    member = "" if signal.field is None else f".{signal.field}"
    scan = f", read every {signal.scan or settings.scan}" if (signal.mode or settings.mode) == "read" else ""
    return f"{where}{element}{member}{scan}"


def _cycle_ns(settings: OpcUaSettings) -> int:
    signals = settings.signals.values()
    if any((signal.mode or settings.mode) == "subscribe" for signal in signals):
        # A subscription without news is a keep-alive a second, or one every publishing interval where that is longer.
        return max(settings.publish, NS_PER_S)
    return max(int(signal.scan or settings.scan) for signal in signals)


def _looked_at_ns(settings: OpcUaSettings, name: str) -> int:
    signal = settings.signals.get(name)
    if signal is None:  # a part of one: as often as the source
        return int(settings.scan if settings.mode == "read" else settings.sampling or settings.publish)
    if (signal.mode or settings.mode) == "read":
        return int(signal.scan or settings.scan)
    sampling = settings.sampling if signal.sampling is None else signal.sampling
    # 0 asks the server for every change.
    return int(settings.publish if sampling is None else sampling)


def _told_every_ns(settings: OpcUaSettings, name: str) -> int:
    signal = settings.signals.get(name)
    if signal is None:  # a part of one: as the source
        return int(settings.scan) if settings.mode == "read" else 0
    told = (signal.mode or settings.mode) == "read" and signal.report == "always"
    return int(signal.scan or settings.scan) if told else 0


def _signals(settings: OpcUaSettings) -> tuple[str, ...]:
    return tuple(settings.parts())


PLUGIN: Final = DriverType(
    name="opcua",
    settings=OpcUaSettings,
    build=_build,
    describe=_describe,
    cycle_ns=_cycle_ns,
    looked_at_ns=_looked_at_ns,
    told_every_ns=_told_every_ns,
    signals=_signals,
    templates=Path(__file__).with_name("templates"),
)
