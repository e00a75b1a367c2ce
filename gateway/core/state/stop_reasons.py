"""Why the machine stood: the first alarm around the beginning of a stop, else what the state itself says.

Prepared from the rule; functions of what is handed in. A person's reason is an annotation (``annotations.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import MachineState
from gateway.core.state.interval import ALARMS_SHOWN_MAX, STOPS, StateInterval
from gateway.core.state.maps import as_text

if TYPE_CHECKING:
    from gateway.core.model import Scalar
    from gateway.core.rules_state import StopReasonRule

UNSPECIFIED: Final = "UNSPECIFIED"
ALARMS_KEPT_MAX: Final = 64  # raised around stops that are not settled; the first ones are the ones that matter

_BY_STATE: Final = {
    MachineState.MICRO_STOP: "MICRO_STOP",
    MachineState.BLOCKED: "BLOCKED",
    MachineState.STARVED: "STARVED",
    MachineState.OFF: "POWER_OFF",
}


class Alarm(NamedTuple):
    """An alarm that was raised, by the device's own clock where it has one."""

    at_ns: int
    code: str


class StopReasons:
    """The rule, prepared."""

    def __init__(self, rule: StopReasonRule) -> None:
        self._alarms = rule.alarms
        self._states = {**_BY_STATE, **rule.states}
        self.before_ns = int(rule.before)
        self.after_ns = int(rule.after)
        self.required_after_ns = int(rule.required_after)

    def with_reason(self, found: StateInterval, alarms: tuple[Alarm, ...]) -> StateInterval:
        """The interval with its reason; one that has a source already, or is no stop, stays as it is."""
        found = self.with_alarm(found, alarms)
        if found.state not in STOPS or found.reason_source:
            return found
        reason = found.reason or self._states.get(found.state, "")
        return found._replace(reason=reason or UNSPECIFIED, reason_source="rule" if reason else "")

    def with_alarm(self, found: StateInterval, alarms: tuple[Alarm, ...]) -> StateInterval:
        """The interval with the alarm that it began with, if there is one."""
        if found.state not in STOPS or found.reason_source:
            return found
        codes = self._around(found.from_ns if found.stop_from_ns is None else found.stop_from_ns, alarms)
        if not codes:
            return found
        reason = self._alarms.get(codes[0], f"UNMAPPED({codes[0]})")
        return found._replace(reason=reason, reason_source="alarm", alarms=codes[:ALARMS_SHOWN_MAX])

    def _around(self, stop_ns: int, alarms: tuple[Alarm, ...]) -> tuple[str, ...]:
        """Codes raised in the window (both ends included), the first one first."""
        near = [alarm for alarm in alarms if stop_ns - self.before_ns <= alarm.at_ns <= stop_ns + self.after_ns]
        # Equal stamps keep the order of their arrival.
        return tuple(alarm.code for alarm in sorted(near, key=lambda alarm: alarm.at_ns))


def raised(before: Scalar, value: Scalar) -> str | None:
    """The code that an alarm signal newly shows; None: none, or the same as before."""
    code = as_text(value)
    if value is None or code in ("", "0") or code == as_text(before):
        return None
    return code
