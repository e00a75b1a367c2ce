"""Whether a machine works, by a number that rises and falls: the current of its motor, a pressure, a power.

Judges the signal as counting mode ``analog`` does (two thresholds, each must hold) and counts nothing. What that means
for the state is the timeline's to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.counting.analog import AnalogDetector, AnalogState
from gateway.core.counting.detector import Sample
from gateway.core.rules_counting import AnalogRule
from gateway.core.rules_running import RunningRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.model import Scalar, Status
    from gateway.core.rules import AnyCountingRule
    from gateway.core.rules_state import StateTimelineRule


class RunningSignal:
    """The rule, prepared; None where the machine has no such signal."""

    def __init__(self, rule: RunningRule | None) -> None:
        self._detector: AnalogDetector | None = None
        self.signal: str | None = None
        self._off_is_stopped = rule is not None and rule.off == "stopped"
        if rule is not None:
            self.signal = rule.signal
            analog = AnalogRule(
                mode="analog",
                signal=rule.signal,
                hi=rule.hi,
                lo=rule.lo,
                on_delay=rule.on_delay,
                off_delay=rule.off_delay,
                max_gap=rule.max_gap,
            )
            self._detector = AnalogDetector(analog, None)

    def restored(self, state: AnalogState) -> AnalogState:
        """Since the last value nobody looked."""
        return AnalogState() if self._detector is None else self._detector.restored(state)

    def on_value(self, state: AnalogState, value: Scalar, status: Status, at_ns: int, now_ns: int) -> AnalogState:
        """A value of the signal."""
        if self._detector is None or self.signal is None:
            return state
        return self._detector.on_value(state, Sample(self.signal, at_ns, value, status, now_ns))[0]

    def deadline(self, state: AnalogState) -> int | None:
        """When a threshold has held for long enough, or a loss has lasted too long."""
        return None if self._detector is None else self._detector.deadline(state)

    def on_time(self, state: AnalogState, now_ns: int) -> AnalogState:
        """Time has come."""
        return state if self._detector is None else self._detector.on_time(state, now_ns)[0]

    def says(self, state: AnalogState) -> bool | None:
        """Whether the machine works; None where that says nothing."""
        on = None if self._detector is None else self._detector.running(state)
        return None if on is False and not self._off_is_stopped else on

    @staticmethod
    def since(state: AnalogState) -> int:
        """From when on it is so."""
        return state.turned_ns if state.dark_ns is None else state.dark_ns


def with_running(rule: StateTimelineRule, counters: Iterable[AnyCountingRule]) -> StateTimelineRule:
    """The rules of states; a signal that cycles are counted by says that the machine works while it is on.

    While it is off, between two cycles, the cycles decide: that pause is no stop.
    """
    if rule.running is not None:
        return rule
    for found in counters:
        if isinstance(found, AnalogRule):
            by_cycles = RunningRule(
                signal=found.signal,
                hi=found.hi,
                lo=found.lo,
                on_delay=found.on_delay,
                off_delay=found.off_delay,
                max_gap=found.max_gap,
                off="nothing",
            )
            return replace(rule, running=by_cycles)
    return rule
