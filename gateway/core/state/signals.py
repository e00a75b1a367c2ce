"""What a machine's state, mode, tool and alarm signals say, as evidence for the timeline and the setup.

Reads values through the rule's maps; a value that no map has is UNKNOWN and told as STATE_UNMAPPED, never STOPPED.
Values that are not good change nothing: whether the machine is heard at all is ``data_watch.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import MachineState, Notice, Status
from gateway.core.state.maps import StateMap, as_text
from gateway.core.state.stop_reasons import raised

if TYPE_CHECKING:
    from gateway.core.model import Scalar
    from gateway.core.rules_state import StateTimelineRule

STATE_UNMAPPED: Final = "STATE_UNMAPPED"
_NOT_RELEASED: Final = frozenset({"0", "", "None"})


class ExplicitTold(NamedTuple):
    """The machine's own state (``Timeline.explicit``); ``unmapped`` is the value that no map has, else empty."""

    state: MachineState
    reason: str
    reduced_speed: bool
    unmapped: str = ""


class ModeTold(NamedTuple):
    """The machine's mode (``Timeline.mode``, ``SetupTracker.mode``); None: it leaves it to the state."""

    mode: MachineState | None


class AlarmTold(NamedTuple):
    """An alarm was raised (``Timeline.alarm``)."""

    code: str


class ToolTold(NamedTuple):
    """Another tool is on the machine (``SetupTracker.tool``)."""

    tool: str


class ReleaseTold(NamedTuple):
    """The PLC released production (``SetupTracker.release``)."""


Told = ExplicitTold | ModeTold | AlarmTold | ToolTold | ReleaseTold


class SignalState(NamedTuple):
    """The last good value of each signal, as text, in the order of ``StateSignals.signals``; None: not seen."""

    values: tuple[str | None, ...]


class StateSignals:
    """The rule, prepared."""

    def __init__(self, rule: StateTimelineRule) -> None:
        explicit = rule.explicit
        self._explicit = explicit
        self._map = None
        self._modes: dict[str, MachineState] = {}
        self._told_anew: frozenset[str | None] = frozenset()
        setup = rule.setup
        names: list[str | None] = [*rule.reasons.alarm_signals, setup.tool_signal, setup.release_signal]
        if explicit is not None:
            self._map = StateMap(
                explicit.map, starting_as=MachineState(explicit.starting_as), reasons=rule.reasons.values
            )
            self._modes = explicit.modes
            names += [explicit.signal, explicit.mode_signal, explicit.blocked_signal, explicit.starved_signal]
            self._told_anew = frozenset(names[-4:])
        names.append(setup.recipe_signal)
        self.signals: tuple[str, ...] = tuple(dict.fromkeys(name for name in names if name is not None))
        self._place = {signal: index for index, signal in enumerate(self.signals)}
        self._alarms = frozenset(rule.reasons.alarm_signals)
        self._tool, self._release = setup.tool_signal, setup.release_signal
        self._recipe = setup.recipe_signal

    def initial(self) -> SignalState:
        """Nothing seen yet."""
        return SignalState((None,) * len(self.signals))

    def restored(self, state: SignalState) -> SignalState:
        """After a restart the same alarm is not raised again, and the same tool is no change.

        The machine's own state is told anew, even if its signal shows the same: the rules may give it another meaning.
        """
        if len(state.values) != len(self.signals):
            return self.initial()
        kept = zip(self.signals, state.values, strict=True)
        return SignalState(tuple(None if name in self._told_anew else value for name, value in kept))

    def tool_told(self, state: SignalState) -> str | None:
        """The tool that its signal names, "" where it says nothing; None where there is no such signal."""
        return None if self._tool is None else state.values[self._place[self._tool]] or ""

    def recipe_told(self, state: SignalState) -> str | None:
        """The recipe that its signal names, "" where it says nothing; None where there is no such signal."""
        return None if self._recipe is None else state.values[self._place[self._recipe]] or ""

    def on_value(
        self, state: SignalState, signal: str, value: Scalar, status: Status
    ) -> tuple[SignalState, tuple[Told, ...]]:
        """A value arrived; what it tells, empty where it is the same as before."""
        index = self._place.get(signal)
        if status is not Status.GOOD or index is None:
            return state, ()
        before, text = state.values[index], as_text(value)
        if before == text:
            return state, ()
        after = SignalState((*state.values[:index], text, *state.values[index + 1 :]))
        told: list[Told] = []
        code = raised(before, value) if signal in self._alarms else None
        if code is not None:
            told.append(AlarmTold(code))
        if signal == self._tool:
            told.append(ToolTold(text))
        if signal == self._release and text not in _NOT_RELEASED and before is not None:
            told.append(ReleaseTold())
        told += self._of_explicit(state, after)
        return after, tuple(told)

    def _of_explicit(self, before: SignalState, after: SignalState) -> list[Told]:
        told: list[Told] = []
        mode = self._mode(after)
        if mode is not self._mode(before) or self._mode_seen(before) is not self._mode_seen(after):
            told.append(ModeTold(mode))
        now = self._state(after)
        if now is not None and now != self._state(before):
            told.append(now)
        return told

    def _mode(self, state: SignalState) -> MachineState | None:
        explicit = self._explicit
        text = None if explicit is None else self._value(state, explicit.mode_signal)
        if text is None or self._map is None:
            return None
        return self._modes[text] if text in self._modes else self._map.mode(text)

    def _mode_seen(self, state: SignalState) -> bool:
        return self._explicit is not None and self._value(state, self._explicit.mode_signal) is not None

    def _state(self, state: SignalState) -> ExplicitTold | None:
        explicit = self._explicit
        text = None if explicit is None else self._value(state, explicit.signal)
        if text is None or explicit is None or self._map is None:
            return None
        found = self._map.state(
            text,
            program=self._value(state, explicit.mode_signal),
            blocked=self._value(state, explicit.blocked_signal) == "1",
            starved=self._value(state, explicit.starved_signal) == "1",
        )
        if found is None:
            return ExplicitTold(MachineState.UNKNOWN, STATE_UNMAPPED, reduced_speed=False, unmapped=text)
        return ExplicitTold(found.state, found.reason, found.reduced_speed)

    def _value(self, state: SignalState, signal: str | None) -> str | None:
        return None if signal is None else state.values[self._place[signal]]


def unmapped(told: ExplicitTold, signal: str | None, now_ns: int) -> tuple[Notice, ...]:
    """What to say of a value of the machine's own state signal that no map has."""
    return (
        (Notice(now_ns, STATE_UNMAPPED, (("signal", str(signal)), ("value", told.unmapped))),) if told.unmapped else ()
    )
