"""The usual case of the timeline, and the only one that has to be fast: an order runs and its pieces follow in time.

Says nothing that the timeline would not say the long way; tests hold the two against each other. Where anything else is
known or waits, it says that this is not its case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.model import MachineState
from gateway.core.state.evidence import Context, Layer, since
from gateway.core.state.gaps import Gap
from gateway.core.state.interval import StateInterval
from gateway.core.state.timeline_state import Live, TimelineState

if TYPE_CHECKING:
    from gateway.core.state.gaps import CycleGaps

_PRODUCING = MachineState.PRODUCING
#: Makes a named tuple of all its fields in their places, without the call of its class: every piece passes here.
_new = tuple.__new__


class _Limits(NamedTuple):
    """What the evidence says for all of its cycles."""

    ideal_ns: int
    stop_ns: int
    slow_ns: int
    owner: tuple[str, str | None, str | None, MachineState | None]
    live: Live
    reason: str
    reduced_speed: bool
    deaf: bool  # to a running signal

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
        contexts_max: changes of evidence within one gap.
    """

    def __init__(self, gaps: CycleGaps, settle_ns: int, row_max: int, contexts_max: int) -> None:
        self._gaps = gaps
        self._settle = settle_ns
        self._row_max = row_max
        self._contexts_max = contexts_max
        # Of the last question only: the evidence and its limits, the state and when it is due.
        self._contexts: tuple[Context, ...] = ()
        self._core: tuple[object, ...] = ()
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
        before_ns, contexts, pending_ns, _gap, row, final_ns, _unknown, alarms, asked_ns, cut_ns, left, unseen = state
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
        if len(contexts) > 1:
            contexts = self._contexts = since(contexts, to_ns)
        gap = _new(Gap, (to_ns, True, ideal_ns, 0, 0, 0, False))
        fields = (now_ns, contexts, to_ns, gap, row, final_ns, None, alarms, asked_ns, cut_ns, left, unseen)
        after = self._state = _new(TimelineState, fields)
        self._due = seen_ns if len(row) == 1 else self._due_of(row, seen_ns)
        return after

    def later(self, state: TimelineState, now_ns: int) -> TimelineState | None:
        """The same with nothing due until now; None where this is not the usual case."""
        due_ns = self.due_ns(state)
        if due_ns is None or not state.now_ns <= now_ns < due_ns:
            return None
        self._state = _new(TimelineState, (now_ns, *state[1:]))
        return self._state

    def running(self, state: TimelineState, now_ns: int, at_ns: int, *, on: bool | None) -> TimelineState | None:
        """A running signal where the cycles decide; None where this is not the usual case."""
        due_ns, limits, contexts, pending_ns = self.due_ns(state), self._limits, state.contexts, state.pending_ns
        if due_ns is None or limits is None or not limits.deaf or not state.now_ns <= now_ns < due_ns:
            return None
        at_ns, last = min(max(at_ns, pending_ns), now_ns), contexts[-1]
        if last.running is on:
            return self.later(state, now_ns)
        if at_ns < last.from_ns or len(contexts) >= self._contexts_max:
            return None
        turned = _new(Context, (at_ns, *last[1:8], on, *last[9:]))
        contexts = (*contexts[:-1], turned) if at_ns == last.from_ns else (*contexts, turned)
        self._contexts = since(contexts, pending_ns)
        self._state = _new(TimelineState, (now_ns, self._contexts, *state[2:]))
        return self._state

    def _found(self, state: TimelineState) -> int | None:
        contexts, pending_ns, row = state.contexts, state.pending_ns, state.row
        if contexts is not self._contexts:
            self._contexts = contexts
            self._look_at(contexts)
        limits = self._limits
        if limits is None or state.unknown_to_ns is not None or not row or contexts[0].from_ns > pending_ns:
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

    def _look_at(self, contexts: tuple[Context, ...]) -> None:
        """The limits where nothing but a running signal that decides nothing tells the contexts apart."""
        core = _but_running(contexts[0])
        if any(_but_running(context) != core for context in contexts[1:]):
            self._core, self._limits = (), None
            return
        if core != self._core:
            self._core, self._limits = core, self._limits_of(contexts[0]._replace(running=None))
        heard = self._limits is not None and not self._limits.deaf
        if heard and any(context.running is not None for context in contexts):
            self._core, self._limits = (), None

    def _limits_of(self, context: Context) -> _Limits | None:
        ideal_ns, explicit = context.ideal_ns, context.explicit
        if not context.known or context.order is None or context.setup:
            return None
        if context.planned is not None or context.mode is not None or explicit not in (None, _PRODUCING):
            return None
        reason, reduced = (context.explicit_reason, context.reduced_speed) if explicit else ("", False)
        return _Limits(
            ideal_ns,
            self._gaps.stop_detect_ns(ideal_ns),
            self._gaps.slow_ns(ideal_ns),
            (context.shift, context.order, context.operation, None),
            Live(_PRODUCING, reason, reduced) if explicit else Live(_PRODUCING, "cycles"),
            reason,
            reduced,
            self._gaps.verdict(context._replace(running=True), Gap(0)).layer is not Layer.ANALOG,
        )


def _but_running(context: Context) -> tuple[object, ...]:
    _from_ns, known, planned, shift, mode, setup, explicit, reduced, _running, *others = context
    return (known, planned, shift, mode, setup, explicit, reduced, *others)


def _gone_on(last: StateInterval, to_ns: int, loss_ns: int, reason: str, *, reduced: bool) -> StateInterval | None:
    """The last production and what follows as one; None where more than time tells them apart. Of the same owner."""
    if last.reduced_speed is not reduced or last.reason != reason or last.overtime or last.estimated or last.amended:
        return None
    return _new(StateInterval, (*last[:2], to_ns, *last[3:13], last.speed_loss_ns + loss_ns, *last[14:]))
