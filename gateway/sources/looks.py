"""How often sources look at what work units count, and how long they may be silent: as their drivers say.

Reads settings only; decides nothing about what was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.crosscheck import signal_uses
from gateway import plugins
from gateway.core.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.settings import Settings, SourceSettings

STALE_AFTER_MIN_NS: Final = Duration("10 s")
STALE_AFTER_CYCLES: Final = 3


def stale_after_ns(settings: SourceSettings) -> int:
    """After so many nanoseconds without a reading a source's link is taken for lost."""
    if settings.stale_after is not None:
        return settings.stale_after
    cycle_ns = plugins.drivers()[settings.driver].cycle_ns(settings.driver_settings)
    return max(STALE_AFTER_CYCLES * cycle_ns, STALE_AFTER_MIN_NS)


def loss_found_within(settings: Settings, name: str) -> Duration:
    """How long the slowest source of a work unit may be silent before its link is taken for lost."""
    return Duration(max(stale_after_ns(settings.sources[source]) for source, _ in _read(settings, name)))


def looked_at_every(settings: Settings, name: str) -> Mapping[str, int]:
    """How often the signals of a work unit are looked at, nanoseconds, by signal.

    Only those that are told with every look: of one that tells all edges, or only what has changed, silence says
    nothing.
    """
    found: dict[str, int] = {}
    drivers = plugins.drivers()
    for source, signal in _read(settings, name):
        own, driver = settings.sources[source].driver_settings, drivers[settings.sources[source].driver]
        told_ns = driver.told_every_ns(own, signal)
        if told_ns and driver.looked_at_ns(own, signal):
            found[f"{source}.{signal}"] = told_ns
    return found


def _read(settings: Settings, name: str) -> set[tuple[str, str]]:
    """Source and name of every signal that a work unit reads."""
    used = {signal for _, signal in signal_uses({name: settings.work_units[name]})}
    return {(source, own) for source, _, own in (signal.partition(".") for signal in used)}
