"""The memory of one machine's state: what must survive a restart. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.core.counting.analog import AnalogState
from gateway.core.counting.detector import loaded as loaded_fields
from gateway.core.model import MachineState, PlannedTime
from gateway.core.state import timeline_state
from gateway.core.state.data_watch import WatchState
from gateway.core.state.setup import SetupState
from gateway.core.state.signals import SignalState

if TYPE_CHECKING:
    from gateway.core.state.timeline_state import TimelineState


class MachineTrack(NamedTuple):
    """What must survive a restart.

    ``state`` is what the machine was last said to do, since ``since_ns``, and ``reason`` why. ``plan`` is what the
    calendar says of the time ahead. ``down_ns``: the gateway was not alive from then on, which is not told yet.
    ``named``: the reason that a person gave to the stop that goes on. ``running`` is what the running signal told.
    ``awaited``: when parts came in a setup whose verdict is not known: one of them may be the piece that ended it.
    """

    state: MachineState
    since_ns: int
    reason: str
    signals: SignalState
    watch: WatchState
    setup: SetupState
    timeline: TimelineState
    plan: tuple[PlannedTime, ...] = ()
    down_ns: int | None = None
    named: str = ""
    running: AnalogState = AnalogState()
    awaited: tuple[int, ...] = ()

    # Every value passes through the first two, every piece through the third: four times as fast as ``_replace``.

    def ran(self, running: AnalogState) -> MachineTrack:
        """The running signal had a value."""
        return tuple.__new__(MachineTrack, (*self[:-2], running, self[-1]))

    def watched(self, watch: WatchState) -> MachineTrack:
        """A watched signal had a value."""
        state, since_ns, reason, signals, _, setup, timeline, plan, down_ns, *others = self
        fields = (state, since_ns, reason, signals, watch, setup, timeline, plan, down_ns, *others)
        return tuple.__new__(MachineTrack, fields)

    def made(self, setup: SetupState, timeline: TimelineState) -> MachineTrack:
        """Something was made."""
        state, since_ns, reason, signals, watch, _, _, plan, down_ns, *others = self
        fields = (state, since_ns, reason, signals, watch, setup, timeline, plan, down_ns, *others)
        return tuple.__new__(MachineTrack, fields)


def plain(track: MachineTrack, signals: tuple[str, ...]) -> dict[str, Any]:
    """The memory as JSON data; signals by name, so that other rules find theirs."""
    return {
        **track._asdict(),
        "signals": dict(zip(signals, track.signals.values, strict=True)),
        "watch": track.watch._asdict(),
        "setup": track.setup._asdict(),
        "timeline": timeline_state.plain(track.timeline),
        "plan": [list(entry) for entry in track.plan],
        "running": track.running._asdict(),
    }


def loaded(data: dict[str, Any], signals: tuple[str, ...]) -> MachineTrack:
    """The memory from JSON data. Raises AttributeError, KeyError, TypeError or ValueError where it is none."""
    watch = data["watch"]
    return MachineTrack(
        **{
            **data,
            "state": MachineState(data["state"]),
            "signals": SignalState(tuple(data["signals"].get(name) for name in signals)),
            "watch": WatchState(**{**watch, "good_ns": tuple(watch["good_ns"]), "bad": tuple(watch["bad"])}),
            "setup": loaded_fields(SetupState, data["setup"]),
            "timeline": timeline_state.loaded(data["timeline"]),
            "plan": tuple(
                PlannedTime(from_ns, None if planned is None else MachineState(planned), shift)
                for from_ns, planned, shift in data["plan"]
            ),
            "running": loaded_fields(AnalogState, data.get("running", {})),
            "awaited": tuple(data.get("awaited", ())),
        }
    )
