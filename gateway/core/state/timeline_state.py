"""What the timeline remembers and says, and the memory as JSON data and back. Decides nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.core.model import MachineState
from gateway.core.state.evidence import Context
from gateway.core.state.gaps import Gap
from gateway.core.state.interval import StateInterval
from gateway.core.state.stop_reasons import Alarm


class ReasonRequired(NamedTuple):
    """A stop without a reason lasts so long that somebody should give one."""

    at_ns: int
    stop_from_ns: int
    state: MachineState


TimelineOutput = StateInterval | ReasonRequired


class TimelineState(NamedTuple):
    """What must survive a restart.

    ``row`` is judged and not final; its last interval may go on. What is from ``pending_ns`` on is not judged, and
    ``contexts`` is the evidence since then. ``unknown_to_ns``: data came back then, pieces made meanwhile may still be
    told. ``asked_ns``: the stop whose reason was asked for. ``cut_ns``: when another kind of
    evidence took over last. ``left``: what became final within the input that is being handled; whoever sums times up
    takes it before the next. ``unseen``: cycles that counters told of while the state was unknown; where
    that time ends they are its production.
    """

    now_ns: int
    contexts: tuple[Context, ...]
    pending_ns: int
    gap: Gap = Gap()
    row: tuple[StateInterval, ...] = ()
    final_ns: int = 0
    unknown_to_ns: int | None = None
    alarms: tuple[Alarm, ...] = ()
    asked_ns: int | None = None
    cut_ns: int | None = None
    left: tuple[StateInterval, ...] = ()
    unseen: int = 0


class Live(NamedTuple):
    """What the machine seems to do now; final is what the intervals say."""

    state: MachineState
    reason: str
    reduced_speed: bool = False


def plain(state: TimelineState) -> dict[str, Any]:
    """The state as JSON data."""
    return {
        **state._asdict(),
        "contexts": [context._asdict() for context in state.contexts],
        "gap": state.gap._asdict(),
        "row": [interval._asdict() for interval in state.row],
        "alarms": [alarm._asdict() for alarm in state.alarms],
        "left": [interval._asdict() for interval in state.left],
    }


def loaded(data: dict[str, Any]) -> TimelineState:
    """The state from JSON data. Raises KeyError, TypeError or ValueError where it is none."""
    return TimelineState(
        **{
            **data,
            "contexts": tuple(
                Context(**{**kept, **_states(kept, "planned", "mode", "explicit")}) for kept in data["contexts"]
            ),
            "gap": Gap(**data["gap"]),
            "row": tuple(interval_of(kept) for kept in data["row"]),
            "alarms": tuple(Alarm(**kept) for kept in data["alarms"]),
            "left": tuple(interval_of(kept) for kept in data.get("left", ())),
        }
    )


def interval_of(data: dict[str, Any]) -> StateInterval:
    """One interval from JSON data, which may leave out what is by default so.

    Raises KeyError, TypeError or ValueError where it is none.
    """
    whole = {"planned": None, "alarms": (), **data}
    return StateInterval(**{**whole, **_states(whole, "state", "planned"), "alarms": tuple(whole["alarms"])})


def _states(data: dict[str, Any], *names: str) -> dict[str, MachineState | None]:
    return {name: None if data[name] is None else MachineState(data[name]) for name in names}
