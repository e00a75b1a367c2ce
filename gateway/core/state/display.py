"""What can be seen of a machine's state while it goes on: the same words that its interval will have, as far as known.

For displays only: what is final is in the intervals. Decides no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.state.gaps import CycleGaps
from gateway.core.state.interval import STOPS, StateInterval
from gateway.core.state.outlook import Outlook
from gateway.core.state.stop_reasons import StopReasons

if TYPE_CHECKING:
    from gateway.core.model import MachineState
    from gateway.core.rules_state import StateTimelineRule
    from gateway.core.state.machine_track import MachineTrack


class Shown(NamedTuple):
    """A machine's state as it seems now.

    ``reason`` is what it is put down to, by whom says ``reason_source`` (``alarm``, ``rule``, ``operator`` or empty).
    ``shift`` is production day and name, ``planned`` what the calendar says.
    """

    reason: str
    reason_source: str
    reduced_speed: bool
    planned: MachineState | None
    shift: str


class StateDisplay:
    """The rules of one machine's state, prepared for looking at it."""

    def __init__(self, rule: StateTimelineRule) -> None:
        self._gaps = CycleGaps(rule.gaps)
        self._outlook = Outlook(self._gaps)
        self._reasons = StopReasons(rule.reasons)

    def shown(self, track: MachineTrack) -> Shown:
        """What can be seen now."""
        timeline = track.timeline
        context, last = timeline.contexts[-1], timeline.row[-1] if timeline.row else None
        goes_on = last is not None and last.state is track.state and last.to_ns == timeline.pending_ns
        slow = goes_on and last is not None and last.reduced_speed
        reason, source = self._reason(track, last if goes_on else None)
        return Shown(reason, source, slow or self._outlook.live(timeline).reduced_speed, context.planned, context.shift)

    def _reason(self, track: MachineTrack, judged: StateInterval | None) -> tuple[str, str]:
        timeline = track.timeline
        found = self._gaps.verdict(timeline.contexts[-1], timeline.gap)
        if track.state not in STOPS:
            return found.reason if found.state is track.state else "", ""
        if track.named:
            return track.named, "operator"
        if judged is None:
            gap = timeline.gap
            # An open gap began with one cycle of production.
            begin_ns = timeline.pending_ns + (gap.ideal_ns if gap.by_cycle and found.state is None else 0)
            judged = StateInterval(track.state, begin_ns, begin_ns + 1, found.reason, stop_from_ns=begin_ns)
        named = self._reasons.with_reason(judged, timeline.alarms)
        return named.reason, named.reason_source
