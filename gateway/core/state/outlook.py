"""What an open gap seems to be now, and when it cannot become anything else: the live side of the timeline.

Asks the evidence and the gap rule. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import MachineState
from gateway.core.state.evidence import Layer
from gateway.core.state.timeline_state import Live

if TYPE_CHECKING:
    from gateway.core.state.evidence import Context, Verdict
    from gateway.core.state.gaps import CycleGaps
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.timeline_state import TimelineState


class Outlook:
    """Questions about a state, answered with the rule of one machine."""

    def __init__(self, gaps: CycleGaps) -> None:
        self._gaps = gaps

    def live(self, state: TimelineState) -> Live:
        """What the machine seems to do at ``state.now_ns``."""
        context = state.contexts[-1]
        found = self._gaps.verdict(context, state.gap)
        through = self.in_reach(state) and context.planned is not None and _cycle_within(state)
        if through:
            found = self._gaps.verdict(context, state.gap, ran_through=True)
        if found.state is not None:
            return Live(found.state, found.reason, found.reduced_speed)
        if self.in_reach(state) and (state.gap.by_cycle or through):
            return Live(MachineState.PRODUCING, "cycles")
        if context.order is None:
            return Live(MachineState.IDLE_NO_ORDER, "no cycle and no order")
        expected, ideal = self._expected(state)
        if expected > self._gaps.decided_ns(ideal) or not state.gap.by_cycle:
            return Live(MachineState.STOPPED, "no cycle for longer than micro_stop_max" if expected else "no cycle yet")
        return Live(MachineState.MICRO_STOP, "no cycle for longer than stop_detect")

    def is_decided(self, state: TimelineState, kind: Layer) -> bool:
        """What is not judged yet cannot become anything else any more."""
        if kind is Layer.CYCLES:
            limit = self._gaps.decided_ns(self._gaps.ideal_ns(state.contexts, state.gap))
            idle = state.contexts[-1].order is None and not state.gap.by_cycle and not state.gap.spent_ns
            return state.gap.spent_ns > limit or (idle and not self.in_reach(state))
        return kind in (Layer.CALENDAR, Layer.MODE) and not self.in_reach(state)

    def _expected(self, state: TimelineState) -> tuple[int, int]:
        """Time of this gap in which cycles were to be expected, until now, and the ideal cycle it is measured with."""
        spans = self._gaps.spans(state.contexts, state.pending_ns, state.now_ns, state.gap)
        return self._gaps.expected_ns(spans, state.gap), self._gaps.ideal_ns(state.contexts, state.gap)

    def in_reach(self, state: TimelineState) -> bool:
        """The last cycle is so near that the next one may still come without a stop."""
        cycle_ns = state.gap.cycle_ns
        if cycle_ns is None:
            return False
        ideal = self._gaps.ideal_ns(state.contexts, state.gap)
        return state.now_ns - cycle_ns <= self._gaps.stop_detect_ns(ideal)

    def seen_ns(self, state: TimelineState) -> int | None:
        """When the live state leaves PRODUCING by itself."""
        if not self.in_reach(state) or state.gap.cycle_ns is None:
            return None
        ideal = self._gaps.ideal_ns(state.contexts, state.gap)
        at_ns = state.gap.cycle_ns + self._gaps.stop_detect_ns(ideal) + 1
        return at_ns if at_ns > state.now_ns else None

    def decides_ns(self, state: TimelineState) -> int | None:
        """When the open gap is decided, whatever comes."""
        context, gap = state.contexts[-1], state.gap
        if not context.known or state.unknown_to_ns is not None:
            return None
        ideal = self._gaps.ideal_ns(state.contexts, gap)
        limit = self._gaps.decided_ns(ideal)
        found = self._gaps.verdict(context, gap)
        if found.state is not None:
            return context.from_ns + limit + 1 if context.from_ns >= state.pending_ns else None
        if context.order is None:
            if gap.cycle_ns is None or not (gap.by_cycle or gap.spent_ns):
                return None
            return max(gap.cycle_ns + self._gaps.stop_detect_ns(ideal) + 1, context.from_ns)
        if gap.spent_ns > limit:
            return None
        begin_ns = max(context.from_ns, state.pending_ns)
        earlier = self._gaps.spans(state.contexts, state.pending_ns, begin_ns, gap)
        due_ns = begin_ns + limit + 1 - self._gaps.expected_ns(earlier, gap)
        return due_ns if gap.by_cycle else due_ns + ideal

    def judged_to_ns(self, state: TimelineState, due_ns: int) -> int:
        """How far an open gap is judged when it is decided: a piece that may still come takes its ideal cycle."""
        context = state.contexts[-1]
        found = self._gaps.verdict(context, state.gap)
        at_the_end = found.layer is Layer.CALENDAR or (
            found.state is None and (context.order is None or not state.gap.by_cycle)
        )
        kept_ns = self._gaps.ideal_ns(state.contexts, state.gap) if at_the_end else 0
        return max(due_ns - kept_ns, min(context.from_ns, due_ns), state.pending_ns)


def kind(found: Verdict) -> Layer:
    """Evidence that can be joined in one gap: a machine's own word and a running signal are one kind."""
    return Layer.EXPLICIT if found.layer is Layer.ANALOG else found.layer


def _cycle_within(state: TimelineState) -> bool:
    """The last cycle lies in the planned time that goes on, whatever else changed in it."""
    since_ns, cycle_ns = state.now_ns, state.gap.cycle_ns
    told: tuple[StateInterval | Context, ...] = (*state.row, *state.contexts)
    for known in reversed(told):
        if known.planned is None or cycle_ns is None or since_ns < cycle_ns:
            break
        since_ns = known.from_ns
    return cycle_ns is not None and since_ns < cycle_ns
