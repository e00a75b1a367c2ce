"""Derives the machine's state from what is known now: the live side.

Evidence in order: no valid data is UNKNOWN and never STOPPED; an explicit state signal; else the time since the last
cycle. Does not amend the past and knows no calendar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import MachineState, Status

if TYPE_CHECKING:
    from gateway.core.model import DataValue
    from gateway.core.rules import StateRule

STOP_DETECT_MIN_NS: Final = 5_000_000_000
STOP_DETECT_CYCLES: Final = 2
STOP_DETECT_UNKNOWN_CYCLE_NS: Final = 60_000_000_000  # without an ideal cycle time


class MachineTrack(NamedTuple):
    """What the derivation remembers. ``lost`` holds the watched signals that have no valid value."""

    state: MachineState = MachineState.UNKNOWN
    since_ns: int = 0
    reason: str = "no data yet"
    last_cycle_ns: int | None = None
    explicit: str | None = None
    lost: frozenset[str] = frozenset()

    def with_cycle(self, at_ns: int) -> MachineTrack:
        """A cycle ended; named field by field, because every count passes here."""
        last_ns = max(at_ns, self.last_cycle_ns or 0)
        return MachineTrack(self.state, self.since_ns, self.reason, last_ns, self.explicit, self.lost)


class StateDerivation:
    """The rule of one work unit, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one cycle, None if unknown.
        watched: signals without which the state is unknown.
    """

    def __init__(self, rule: StateRule, ideal_cycle_ns: int | None, watched: frozenset[str]) -> None:
        self._signal = rule.signal
        self._map = rule.map
        # With an explicit state the counters need not be there to know what the machine does.
        self._watched = watched if rule.signal is None else frozenset({rule.signal})
        self._ideal = ideal_cycle_ns or 0
        cycles = STOP_DETECT_CYCLES * ideal_cycle_ns if ideal_cycle_ns else STOP_DETECT_UNKNOWN_CYCLE_NS
        self._stop_detect = int(rule.stop_detect or max(cycles, STOP_DETECT_MIN_NS))
        self._micro_stop = max(self._stop_detect, self._ideal + rule.micro_stop_max)

    @property
    def watched(self) -> frozenset[str]:
        """Signals whose quality matters here."""
        return self._watched

    def initial(self) -> MachineTrack:
        """Nothing seen yet: unknown."""
        return MachineTrack(lost=self._watched)

    def restored(self, track: MachineTrack) -> MachineTrack:
        """Nothing seen since the restart: unknown until the first value."""
        return track._replace(lost=self._watched, explicit=None)

    def on_value(self, track: MachineTrack, value: DataValue) -> MachineTrack:
        """A watched signal arrived, good or bad."""
        if value.status is Status.GOOD:
            if value.signal in track.lost:
                track = track._replace(lost=track.lost - {value.signal})
            if value.signal == self._signal:
                text = _text(value.value)
                if text != track.explicit:
                    track = track._replace(explicit=text)
        elif value.signal not in track.lost:
            track = track._replace(lost=track.lost | {value.signal})
        return track

    def derive(self, track: MachineTrack, now_ns: int, *, has_job: bool) -> tuple[MachineState, str]:
        """The state at ``now_ns`` and why."""
        if track.lost:
            return MachineState.UNKNOWN, f"no valid value of {', '.join(sorted(track.lost))}"
        if self._signal is not None:
            if track.explicit in self._map:
                return self._map[track.explicit], f"{self._signal} is {track.explicit}"
            return MachineState.UNKNOWN, f"STATE_UNMAPPED: {self._signal} is {track.explicit}"
        stopped = MachineState.STOPPED if has_job else MachineState.IDLE_NO_ORDER
        if track.last_cycle_ns is None:
            return stopped, "no cycle seen yet"
        gap = now_ns - track.last_cycle_ns
        if gap <= self._stop_detect:
            return MachineState.PRODUCING, "cycles"
        if has_job and gap <= self._micro_stop:
            return MachineState.MICRO_STOP, "no cycle for longer than stop_detect"
        return stopped, "no cycle for longer than micro_stop_max" if has_job else "no cycle and no order"

    def deadline(self, track: MachineTrack) -> int | None:
        """When the state changes by itself."""
        if track.lost or self._signal is not None or track.last_cycle_ns is None:
            return None
        if track.state is MachineState.PRODUCING:
            return track.last_cycle_ns + self._stop_detect + 1
        if track.state is MachineState.MICRO_STOP:
            return track.last_cycle_ns + self._micro_stop + 1
        return None


def _text(value: object) -> str:
    """State values compare as text: 2, 2.0 and "2" are the same state; true and false are 1 and 0."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
