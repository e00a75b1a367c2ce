"""Turns edges and levels of digital inputs into values: which level is true, what is reported, what was lost.

Pure; knows neither pins nor clocks. Times come in on CLOCK_MONOTONIC and leave on the gateway's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drivers.base import Reading, TelemetryBlock
from drivers.report import CLOCK_OFF_NS, TELEMETRY_REFRESH_NS
from gateway.core.document import utc
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drivers.base import DriverContext
    from drivers.digital_io.edge_clock import Times
    from drivers.digital_io.settings import DigitalIOSettings

#: In the place of a level: what it was since the last edge is not known.
LOST: Final = -1


class Input:
    """One signal: what the settings say, and what was last heard and reported of it."""

    __slots__ = (
        "active_low",
        "edge_ns",
        "every_edge",
        "full",
        "gaps",
        "level",
        "lost",
        "lost_ns",
        "name",
        "only_changes",
        "published",
        "reported",
        "rule",
        "stamped",
        "telemetry",
        "unheard",
    )

    def __init__(self, name: str, settings: DigitalIOSettings, context: DriverContext) -> None:
        signal = settings.signals[name]
        self.name = name
        self.full = f"{context.source}.{name}"
        self.active_low = signal.active_low
        self.rule = name in context.rule_signals
        self.telemetry = name in context.telemetry_signals
        self.every_edge = self.rule and signal.kind == "pulse"
        self.only_changes = signal.report == "change"
        self.stamped = signal.timestamp == "device"
        self.level = 0  # electrical, as of the last edge handed on
        self.edge_ns = 0  # CLOCK_MONOTONIC of that edge
        self.reported: bool | None = None  # as rules know it; None: nothing, or BAD
        self.published: bool | None = None  # as MQTT knows it
        self.lost = 0
        self.gaps = 0
        self.unheard = 0  # changes of level without an edge
        self.lost_ns = 0  # the gateway's time of the last gap

    @property
    def value(self) -> bool:
        """What the level means."""
        return (self.level == 1) is not self.active_low


class Inputs:
    """All inputs of a source."""

    def __init__(self, settings: DigitalIOSettings, context: DriverContext) -> None:
        self.by_name: Mapping[str, Input] = {name: Input(name, settings, context) for name in settings.signals}
        self._all = tuple(self.by_name.values())
        self._published_ns = 0
        self._utc_offset_ns = context.utc_offset_ns
        self._clock_off = ""

    def set_levels(self, levels: Mapping[str, int]) -> None:
        """The levels found at the start: no edges."""
        for name, level in levels.items():
            self.by_name[name].level = level

    def take(self, edges: Iterable[tuple[Input, int, int]], times: Times) -> Reading:
        """Edges in their order: input, level (or LOST), CLOCK_MONOTONIC."""
        offset_ns, now_ns = times
        values: list[DataValue] = []
        append, good = values.append, Status.GOOD
        for signal, level, t_ns in edges:
            signal.edge_ns = t_ns
            stamp_ns = t_ns + offset_ns if signal.stamped else None
            if level == LOST:
                if signal.rule:
                    append(DataValue(signal.full, None, Status.BAD, stamp_ns, now_ns))
                signal.reported = None
                continue
            signal.level = level
            if signal.every_edge:
                value = signal.reported = (level == 1) is not signal.active_low
                append(DataValue(signal.full, value, good, stamp_ns, now_ns))
        for signal in self._all:
            if signal.rule and signal.edge_ns and signal.reported is not signal.value:  # of kind level
                append(self._reported(signal, signal.edge_ns, times))
        self._look_at_clock(values)
        return Reading(tuple(values), self._blocks(now_ns))

    def refresh(self, signals: Sequence[Input], known_ns: int, times: Times) -> Reading:
        """Levels that are vouched for up to ``known_ns`` (CLOCK_MONOTONIC); empty where nothing is to be reported."""
        values = tuple(
            self._reported(signal, known_ns, times)
            for signal in signals
            if signal.rule and not (signal.only_changes and signal.reported is signal.value)
        )
        self._look_at_clock(values)
        return Reading(values, self._blocks(times.now_ns))

    def note_lost(self, name: str, number: int, now_ns: int) -> Input:
        """The kernel dropped so many edges of an input; 0: its level changed and no edge came."""
        signal = self.by_name[name]
        signal.lost += number
        signal.unheard += not number
        signal.gaps += 1
        signal.lost_ns = now_ns
        return signal

    def notices(self, merged: Mapping[str, int]) -> dict[str, str]:
        """What was lost so far, and what else a person should know. ``merged``: see ``GpioPins``."""
        found: dict[str, str] = {}
        for signal in self._all:
            if signal.gaps:
                found[f"edges_lost.{signal.name}"] = _lost_text(signal, self._utc_offset_ns())
            if number := merged.get(signal.name):
                found[f"short_pulses.{signal.name}"] = (
                    f"{signal.full}: the level was back {number} times before the kernel could look; each is taken as "
                    f"a pulse of no length. If these are pieces, the pulse is too short for this computer"
                )
        if self._clock_off:
            found["clock"] = self._clock_off
        return found

    def _reported(self, signal: Input, t_ns: int, times: Times) -> DataValue:
        value = signal.reported = signal.value
        stamp_ns = t_ns + times.offset_ns if signal.stamped else None
        return DataValue(signal.full, value, Status.GOOD, stamp_ns, times.now_ns)

    def _blocks(self, now_ns: int) -> tuple[TelemetryBlock, ...]:
        due = now_ns - self._published_ns >= TELEMETRY_REFRESH_NS
        wanted = [each for each in self._all if each.telemetry and (due or each.published is not each.value)]
        if due:
            self._published_ns = now_ns
        if not wanted:
            return ()
        for each in wanted:
            each.published = each.value
        return (TelemetryBlock(tuple(each.full for each in wanted), tuple(each.value for each in wanted), now_ns),)

    def _look_at_clock(self, values: Sequence[DataValue]) -> None:
        last = values[-1] if values else None
        if last is None or last.source_time_ns is None:
            return
        if abs(last.source_time_ns - last.received_time_ns) < CLOCK_OFF_NS:
            self._clock_off = ""
        else:
            shown = utc(max(last.source_time_ns + self._utc_offset_ns(), 0))
            self._clock_off = f"the clock of the edges shows {shown}; times of arrival are used"


def _lost_text(signal: Input, utc_offset_ns: int) -> str:
    parts = []
    if signal.lost:
        parts.append(f"{signal.lost} edges were dropped by the kernel because nobody read them in time")
    if signal.unheard:
        parts.append(f"{signal.unheard} times the level changed without an edge")
    last = utc(signal.lost_ns + utc_offset_ns)
    return (
        f"{signal.full}: {' and '.join(parts)}, the last time before {last}; rules treat it as not known. The "
        f"computer was too busy, or the input bounces: set debounce"
    )
