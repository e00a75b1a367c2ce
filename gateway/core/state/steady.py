"""The usual case of the timeline, and the only one that has to be fast: an order runs and its pieces follow in time.

Says nothing that the timeline would not say the long way; tests hold the two against each other. Where anything else is
known or waits, it says that this is not its case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.model import MachineState
from gateway.core.state.gaps import Gap
from gateway.core.state.interval import StateInterval
from gateway.core.state.timeline_state import Live, TimelineState

if TYPE_CHECKING:
    from gateway.core.state.evidence import Context
    from gateway.core.state.gaps import CycleGaps

_PRODUCING = MachineState.PRODUCING
#: Makes a named tuple of all its fields in their places, without the call of its class: every piece passes here.
_new = tuple.__new__


class _Limits(NamedTuple):
    """What one context says for all of its cycles."""

    ideal_ns: int
    stop_ns: int
    slow_ns: int
    from_ns: int
    owner: tuple[str, str | None, str | None, MachineState | None]
    live: Live
    reason: str
    reduced_speed: bool

    def interval(self, from_ns: int, to_ns: int, loss_ns: int, *, slow: bool) -> StateInterval:
        """Production that nothing goes before."""
        shift, order, operation, _ = self.owner
        return StateInterval(
            _PRODUCING,
            from_ns,
            to_ns,
            self.reason,
            reduced_speed=slow or self.reduced_speed,
            shift=shift,
            order=order,
            operation=operation,
            speed_loss_ns=loss_ns,
        )


class Steady:
    """The rule, prepared, and what it found last: a state that is asked about is mostly the one that it made itself.

    Args:
        gaps: the limits.
        settle_ns: an interval is final this long after its end.
        row_max: intervals that may wait to be final.
    """

    def __init__(self, gaps: CycleGaps, settle_ns: int, row_max: int) -> None:
        self._gaps = gaps
        self._settle = settle_ns
        self._row_max = row_max
        # Of the last question only: the evidence and its limits, the state and when it is due.
        self._contexts: tuple[Context, ...] = ()
        self._limits: _Limits | None = None
        self._state: TimelineState | None = None
        self._due: int | None = None

    def due_ns(self, state: TimelineState) -> int | None:
        """The state's deadline; None where this is not the usual case."""
        if state is not self._state:
            self._state, self._due = state, self._found(state)
        return self._due

    def live(self, state: TimelineState) -> Live | None:
        """What the machine seems to do; None where this is not the usual case."""
        return None if self.due_ns(state) is None or self._limits is None else self._limits.live

    def cycle(self, state: TimelineState, now_ns: int, to_ns: int, cycles: int) -> TimelineState | None:
        """So many cycles ended at ``to_ns``, in time; None where this is not the usual case."""
        due_ns, limits = self.due_ns(state), self._limits
        before_ns, contexts, pending_ns, _gap, row, final_ns, _unknown, alarms, asked_ns, cut_ns = state
        if due_ns is None or limits is None or not before_ns <= now_ns < due_ns:
            return None
        seen_ns = to_ns + limits.stop_ns + 1
        if not pending_ns < to_ns <= now_ns < seen_ns:
            return None
        ideal_ns, took_ns = limits.ideal_ns, to_ns - pending_ns
        slow = ideal_ns > 0 and took_ns > limits.slow_ns * cycles
        loss_ns = took_ns - cycles * ideal_ns if slow else 0
        last = _gone_on(row[-1], to_ns, loss_ns, limits.reason, reduced=slow or limits.reduced_speed)
        if last is None:
            row = (*row, limits.interval(pending_ns, to_ns, loss_ns, slow=slow))
        else:
            row = (last,) if len(row) == 1 else (*row[:-1], last)
        gap = _new(Gap, (to_ns, True, ideal_ns, 0, 0, 0, False))
        fields = (now_ns, contexts, to_ns, gap, row, final_ns, None, alarms, asked_ns, cut_ns)
        after = self._state = _new(TimelineState, fields)
        self._due = seen_ns if len(row) == 1 else self._due_of(row, seen_ns)
        return after

    def _found(self, state: TimelineState) -> int | None:
        contexts, pending_ns, row = state.contexts, state.pending_ns, state.row
        if contexts is not self._contexts:
            self._contexts, self._limits = contexts, self._limits_of(contexts)
        limits = self._limits
        if limits is None or state.unknown_to_ns is not None or not row or limits.from_ns > pending_ns:
            return None
        if state.gap != (pending_ns, True, limits.ideal_ns, 0, 0, 0, False):
            return None
        last = row[-1]
        if last.state is not _PRODUCING or last.to_ns != pending_ns:
            return None
        if (last.shift, last.order, last.operation, last.planned) != limits.owner:
            return None
        if state.cut_ns is not None and state.cut_ns >= pending_ns:
            return None
        seen_ns = pending_ns + limits.stop_ns + 1
        return self._due_of(row, seen_ns) if seen_ns > state.now_ns else None

    def _due_of(self, row: tuple[StateInterval, ...], seen_ns: int) -> int | None:
        """When the next thing is due: a cycle that is missed, or the first of several intervals that is final."""
        if len(row) == 1:
            return seen_ns
        return min(seen_ns, row[0].to_ns + self._settle) if len(row) <= self._row_max else None

    def _limits_of(self, contexts: tuple[Context, ...]) -> _Limits | None:
        if len(contexts) != 1:
            return None
        (context,) = contexts
        ideal_ns, explicit = context.ideal_ns, context.explicit
        if not context.known or context.order is None or context.setup:
            return None
        if context.planned is not None or context.mode is not None or explicit not in (None, _PRODUCING):
            return None
        if explicit is None and self._gaps.verdict(context, Gap(0)).state is not None:
            return None  # an analog running signal decides
        reason, reduced = (context.explicit_reason, context.reduced_speed) if explicit else ("", False)
        return _Limits(
            ideal_ns,
            self._gaps.stop_detect_ns(ideal_ns),
            self._gaps.slow_ns(ideal_ns),
            context.from_ns,
            (context.shift, context.order, context.operation, None),
            Live(_PRODUCING, reason, reduced) if explicit else Live(_PRODUCING, "cycles"),
            reason,
            reduced,
        )


def _gone_on(last: StateInterval, to_ns: int, loss_ns: int, reason: str, *, reduced: bool) -> StateInterval | None:
    """The last production and what follows as one; None where more than time tells them apart. Of the same owner."""
    state, from_ns, _, why, source, slow, estimated, overtime, amended, planned, *owner, lost_ns, stop_ns, alarms = last
    if slow is not reduced or why != reason or overtime or estimated or amended:
        return None
    told = (state, from_ns, to_ns, why, source, slow, estimated, overtime, amended, planned)
    return _new(StateInterval, (*told, *owner, lost_ns + loss_ns, stop_ns, alarms))
