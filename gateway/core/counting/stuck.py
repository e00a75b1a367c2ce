"""Whether a signal that never changes is stuck: only while the machine is reported as running, where anything says so.

A pulse input tells that its level holds for too long; here it is set aside while the machine stands, and asked again
once it has run for as long. What running is, the machine's own state or a running signal says; the time between pieces
does not, because a stuck signal makes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.counting.pulse import STUCK_WAITS, PulseState
from gateway.core.model import MachineState
from gateway.core.rule_signals import inner_rules
from gateway.core.rules_inputs import PulseRule

if TYPE_CHECKING:
    from gateway.core.counting.detector import Events
    from gateway.core.rules import AnyCountingRule, WorkUnitRules
    from gateway.core.state.evidence import Context
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.unit_state import DetectorState, State

FLAG: Final = "STUCK_SIGNAL"


class StuckSignals:
    """The rules of one work unit, prepared. Holds no state.

    ``watched``: its counting rules, by their places, whose pulses may be stuck only while the machine runs.
    """

    def __init__(self, rules: WorkUnitRules) -> None:
        running = rules.state.running
        # A running signal whose absence means nothing does not say that the machine stands.
        self._told = rules.state.signal is not None or (running is not None and running.off == "stopped")
        limits = [_limits(rule) if self._told else {} for rule in rules.counters]
        self._limits = limits
        self.watched = tuple(index for index, found in enumerate(limits) if found)

    def judged(
        self, index: int, after: DetectorState, events: Events, track: MachineTrack
    ) -> tuple[DetectorState, Events]:
        """What one detector became and told, without signals that do not change because the machine stands."""
        kept = []
        for event in events:
            limit_ns = self._limits[index].get(event.signal) if event.flag == FLAG else None
            since_ns = None if limit_ns is None else _running_since(track.timeline.contexts)
            if limit_ns is None or (since_ns is not None and event.t_to_ns - since_ns >= limit_ns):
                kept.append(event)
            else:
                after = _anew(after, STUCK_WAITS if since_ns is None else since_ns, level_since_ns=event.t_from_ns)
        return after, tuple(kept)

    def resumed(self, state: State) -> State:
        """Where the machine runs again, what was set aside counts from then on."""
        since_ns = _running_since(state.track.timeline.contexts)
        if since_ns is None:
            return state
        found = list(state.detectors)
        for index in self.watched:
            found[index] = _anew(found[index], since_ns)
        if all(one is other for one, other in zip(found, state.detectors, strict=True)):
            return state
        return state._replace(detectors=tuple(found))


def _limits(rule: AnyCountingRule) -> dict[str, int]:
    pulses = [inner for _, inner in inner_rules(rule) if isinstance(inner, PulseRule)]
    return {pulse.signal: int(pulse.stuck_after) for pulse in pulses if pulse.stuck_after is not None}


def _running_since(contexts: tuple[Context, ...]) -> int | None:
    """Since when the machine is reported as running; None where it is not."""
    since_ns = None
    for context in reversed(contexts):
        says = context.running if context.explicit is None else context.explicit is MachineState.PRODUCING
        if not says or not context.known:
            break
        since_ns = context.from_ns
    return since_ns


def _anew(state: Any, from_ns: int, *, level_since_ns: int | None = None) -> Any:
    """A detector's state in which a level counts as stuck from then on.

    ``level_since_ns`` names the level that was just told; without it those that wait are meant.
    """
    if isinstance(state, PulseState):
        waits = state.stuck_told and state.stuck_from_ns == STUCK_WAITS
        if not (waits if level_since_ns is None else state.stuck_told and state.level_since_ns == level_since_ns):
            return state
        return state._replace(stuck_told=from_ns == STUCK_WAITS, stuck_from_ns=from_ns)
    if not isinstance(state, tuple):
        return state
    items = [_anew(item, from_ns, level_since_ns=level_since_ns) for item in state]
    if all(one is other for one, other in zip(items, state, strict=True)):
        return state
    return type(state)(*items) if hasattr(state, "_fields") else tuple(items)
