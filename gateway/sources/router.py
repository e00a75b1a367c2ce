"""Hands a source's readings to the work units that need them, and its telemetry to the monitor. Changes no value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drivers.base import Reading, TelemetryBlock
    from gateway.core.model import DataValue
    from gateway.work_unit.runner import Runner


class Router:
    """The way of one source's readings.

    Args:
        source: name of the source.
        runners: the work units of this gateway.
        telemetry: takes blocks, never waits; None where nothing is published.
    """

    def __init__(
        self,
        source: str,
        runners: Sequence[Runner],
        telemetry: Callable[[str, Sequence[TelemetryBlock]], None] | None,
    ) -> None:
        self._source = source
        self._telemetry = telemetry
        self._routes: dict[str, tuple[Runner, ...]] = {}
        prefix = f"{source}."
        for runner in runners:
            for signal in runner.unit.signals:
                if signal.startswith(prefix):
                    self._routes[signal] = (*self._routes.get(signal, ()), runner)

    @property
    def rule_signals(self) -> tuple[str, ...]:
        """Full names of this source's signals that feed a rule."""
        return tuple(sorted(self._routes))

    async def deliver(self, reading: Reading) -> None:
        """Hand over one reading; waits while a work unit has too much to do."""
        if reading.blocks and self._telemetry is not None:
            self._telemetry(self._source, reading.blocks)
        if reading.values:
            for runner, values in self._by_runner(reading.values).items():
                await runner.put(tuple(runner.unit.in_order(values)))

    def _by_runner(self, values: Sequence[DataValue]) -> Mapping[Runner, list[DataValue]]:
        by_runner: dict[Runner, list[DataValue]] = {}
        for value in values:
            for runner in self._routes.get(value.signal, ()):
                mine = by_runner.setdefault(runner, [])
                mine.append(value)
        return by_runner
