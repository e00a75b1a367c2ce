"""OPC UA as a source. Importing this loads no protocol library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drivers.base import DriverType
from drivers.opcua.settings import OpcUaSettings
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from drivers.base import Driver, DriverContext


def _build(settings: OpcUaSettings, context: DriverContext) -> Driver:
    from drivers.opcua.driver import OpcUaDriver

    return OpcUaDriver(settings, context)


def _describe(settings: OpcUaSettings) -> list[str]:
    return [f"{name}: {signal.node}" for name, signal in settings.signals.items()]


def _cycle_ns(settings: OpcUaSettings) -> int:
    # A subscription without news is a keep-alive a second, or one every publishing interval where that is longer.
    return max(settings.publish, NS_PER_S)


PLUGIN: Final = DriverType(name="opcua", settings=OpcUaSettings, build=_build, describe=_describe, cycle_ns=_cycle_ns)
