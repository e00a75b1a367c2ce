"""A request with everything prepared for its answers, and what is known of its refusals. Sends nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from drivers.base import TelemetryBlock
from drivers.modbus.plan import Limits, fields_of, plan, plan_single
from drivers.modbus.registers import decoder
from drivers.report import TELEMETRY_REFRESH_NS, ReportFilter
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from drivers.base import DriverContext
    from drivers.modbus.plan import Field, Request
    from drivers.modbus.settings import ModbusSettings
    from gateway.core.model import Scalar


class Sinks:
    """Which signals feed rules and which telemetry, and which samples of them are worth reporting."""

    def __init__(self, settings: ModbusSettings, context: DriverContext) -> None:
        source = context.source
        self.rules = frozenset(f"{source}.{name}" for name in context.rule_signals)
        self.telemetry = frozenset(f"{source}.{name}" for name in context.telemetry_signals).union(
            f"{source}.{block.name}.{index}" for block in settings.blocks for index in range(block.count)
        )
        # Filters outlive the slots: a signal that moves into a finer request is still the same signal.
        self.rule_filters: dict[str, ReportFilter] = {}
        self.telemetry_filters: dict[str, ReportFilter] = {}
        self.deadbands: set[str] = set()
        for name, signal in settings.signals.items():
            full = f"{source}.{name}"
            if full in self.rules and not ReportFilter.passes_all(signal):
                self.rule_filters[full] = ReportFilter(signal)
            if full in self.telemetry:
                self.telemetry_filters[full] = ReportFilter(replace(signal, report="change"))
                if signal.deadband is not None:
                    self.deadbands.add(full)


class Slot:
    """A request, and what becomes of its answers."""

    __slots__ = (
        "_block_filters",
        "_block_names",
        "_decode_block",
        "_decode_rules",
        "_last_block_ns",
        "_last_words",
        "_rule_filters",
        "_rule_names",
        "busy_times",
        "family",
        "refused_times",
        "request",
        "retry_at_s",
    )

    def __init__(self, request: Request, sinks: Sinks, family: Family | None = None) -> None:
        rules = [field for field in request.fields if field.name in sinks.rules]
        telemetry = [field for field in request.fields if field.name in sinks.telemetry]
        self.request = request
        self.family = family
        self.busy_times = 0
        self.refused_times = 0
        self.retry_at_s = 0.0  # loop time
        self._rule_names = tuple(field.name for field in rules)
        self._block_names = tuple(field.name for field in telemetry)
        self._decode_rules = decoder(request, rules)
        self._decode_block = decoder(request, telemetry)
        filters = [sinks.rule_filters.get(name) for name in self._rule_names]
        self._rule_filters = filters if any(filters) else None
        # Without a deadband the words tell whether anything moved, which costs nothing for each value.
        deadbands = any(name in sinks.deadbands for name in self._block_names)
        self._block_filters = [sinks.telemetry_filters.get(name) for name in self._block_names] if deadbands else None
        self._last_words: Sequence[int] | Sequence[bool] | None = None
        self._last_block_ns = 0

    def take(
        self,
        words: Sequence[int] | Sequence[bool],
        now_ns: int,
        values: list[DataValue],
        blocks: list[TelemetryBlock],
        now: Collection[str] = (),
    ) -> None:
        """Add what an answer brings; of ``now`` also what has not changed."""
        if self._rule_names:
            found = [
                DataValue(name, value, Status.BAD if value is None else Status.GOOD, None, now_ns)
                for name, value in zip(self._rule_names, self._decode_rules(words), strict=True)
            ]
            values += found if self._rule_filters is None else self._worth_reporting(found, now)
        if not self._block_names:
            return
        due = now_ns - self._last_block_ns >= TELEMETRY_REFRESH_NS
        if not due and words == self._last_words:
            return
        self._last_words = words
        block = self._decode_block(words)
        if self._moved(block) or due:
            self._last_block_ns = now_ns
            blocks.append(TelemetryBlock(self._block_names, block, now_ns))

    def take_refusal(self, now_ns: int, values: list[DataValue], blocks: list[TelemetryBlock]) -> None:
        """Add that none of its signals can be read."""
        self._last_words = None
        self._last_block_ns = 0
        found = [DataValue(name, None, Status.BAD, None, now_ns) for name in self._rule_names]
        values += found if self._rule_filters is None else self._worth_reporting(found)
        if self._block_names:
            nothing = (None,) * len(self._block_names)
            self._moved(nothing)
            blocks.append(TelemetryBlock(self._block_names, nothing, now_ns))

    def has(self, names: Collection[str]) -> bool:
        """Whether one of these signals feeds a rule from here."""
        return any(name in names for name in self._rule_names)

    def _worth_reporting(self, found: Sequence[DataValue], now: Collection[str] = ()) -> list[DataValue]:
        assert self._rule_filters is not None
        return [
            sample
            for sample, report in zip(found, self._rule_filters, strict=True)
            if report is None or report.wants(sample.value, sample.status) or sample.signal in now
        ]

    def _moved(self, block: Sequence[Scalar]) -> bool:
        """Whether a value left its deadband; every filter has to see its value."""
        if self._block_filters is None:
            return True
        wanted = [
            report is None or report.wants(value, Status.BAD if value is None else Status.GOOD)
            for value, report in zip(block, self._block_filters, strict=True)
        ]
        return any(wanted)


class Family:
    """The pieces that a refused request was split into; the whole is tried again from time to time."""

    __slots__ = ("reason", "request", "retry_at_s", "tries")

    def __init__(self, request: Request, reason: str) -> None:
        self.request = request
        self.reason = reason
        self.tries = 0
        self.retry_at_s = 0.0  # loop time


class Group:
    """What is read at the same rhythm. ``due_ns``: time of the next reading since the start."""

    __slots__ = ("due_ns", "families", "scan_ns", "slots")

    def __init__(self, scan_ns: int, slots: list[Slot]) -> None:
        self.scan_ns = scan_ns
        self.slots = slots
        self.families: list[Family] = []
        self.due_ns = 0

    def go_on(self, elapsed_ns: int) -> int:
        """Set the next due time after a reading, on the grid from the start; how many readings had to be left out."""
        self.due_ns += self.scan_ns
        if self.due_ns >= elapsed_ns:
            return 0
        missed = (elapsed_ns - self.due_ns) // self.scan_ns + 1
        self.due_ns += missed * self.scan_ns
        return missed


def groups_of(source: str, settings: ModbusSettings, sinks: Sinks) -> list[Group]:
    """All requests of a source, by rhythm, the fastest first.

    Where nobody wants the values of the fastest rhythm it has no requests, and still gives the signs of life.
    """
    fields = fields_of(source, settings)
    wanted = [field for field in fields if field.name in sinks.rules or field.name in sinks.telemetry] or list(fields)
    fastest_ns = min(field.scan_ns for field in fields)
    by_scan: dict[int, list[Field]] = {fastest_ns: []}
    for field in wanted:
        by_scan.setdefault(field.scan_ns, []).append(field)
    make = plan if settings.batching == "merged" else plan_single
    limits = Limits.of(settings)
    return [
        Group(scan_ns, [Slot(request, sinks) for request in make(members, limits)])
        for scan_ns, members in sorted(by_scan.items())
    ]
