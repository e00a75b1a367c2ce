"""Judges the time between two cycles: production, slow production, micro stop or stop.

A gap up to ``stop_detect`` was production; in a longer one the first ideal cycle was, and the rest is a standstill that
began there, which can only be said afterwards. Where a gap does not begin with a cycle (start of a shift, data heard
again) it is the last ideal cycle, right before the piece came. Keeps no state and knows no calendar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.core.model import MachineState
from gateway.core.state.evidence import Context, Evidence, Layer, Verdict, verdict
from gateway.core.state.interval import StateInterval

if TYPE_CHECKING:
    from gateway.core.rules_state import CycleGapRule

STOP_DETECT_UNKNOWN_CYCLE_NS = 60_000_000_000  # without an ideal cycle

#: ``cycle``: pieces came; ``cut``: other evidence takes over; ``flush``: so long that it is decided, and it goes on.
Closing = Literal["cycle", "cut", "flush"]


class Gap(NamedTuple):
    """The time since the last cycle.

    ``cycle_ns``: end of the last cycle since the machine is heard. ``by_cycle``: this gap begins there. ``ideal_ns``:
    the ideal cycle of what was made at its beginning, 0 where that is not said. What was judged of it already:
    ``spent_ns`` of expected time, ``produced_ns`` of it production, ``lost_ns`` of that a speed loss.
    ``broken``: the machine stood in between by its own word, so this is no cycle time.
    """

    cycle_ns: int | None = None
    by_cycle: bool = False
    ideal_ns: int = 0
    spent_ns: int = 0
    produced_ns: int = 0
    lost_ns: int = 0
    broken: bool = False

    def anew(self) -> Gap:
        """Other evidence came between: what follows is judged for itself."""
        return Gap(self.cycle_ns)


class Span(NamedTuple):
    """A stretch of one context, with what decides in it."""

    from_ns: int
    to_ns: int
    context: Context
    verdict: Verdict

    @property
    def length_ns(self) -> int:
        """How long it is."""
        return self.to_ns - self.from_ns


class Judged(NamedTuple):
    """What a stretch of time was, and what is remembered of a gap that goes on."""

    row: tuple[StateInterval, ...]
    gap: Gap


class CycleGaps:
    """The rule, prepared."""

    def __init__(self, rule: CycleGapRule) -> None:
        self._slow = rule.slow
        self._stop_detect = rule.stop_detect
        self._stop_detect_min = int(rule.stop_detect_min)
        self._micro = rule.micro_stop_max
        self._fallback_above = int(rule.fallback_above)

    def slow_ns(self, ideal_ns: int) -> int:
        """A cycle longer than this is slow."""
        return max(self._slow.of(ideal_ns), ideal_ns)

    def stop_detect_ns(self, ideal_ns: int) -> int:
        """A gap longer than this holds a stop."""
        if self._stop_detect.is_share and not ideal_ns:
            return STOP_DETECT_UNKNOWN_CYCLE_NS
        return max(self._stop_detect.of(ideal_ns), self._stop_detect_min, ideal_ns)

    def micro_stop_max_ns(self, ideal_ns: int) -> int:
        """A standstill longer than this is a stop."""
        return self._micro.of(ideal_ns or STOP_DETECT_UNKNOWN_CYCLE_NS)

    def decided_ns(self, ideal_ns: int) -> int:
        """A gap longer than this is a stop whatever comes."""
        # Without an ideal cycle a gap may be production up to stop_detect, and that may be the longer of the two.
        return max(ideal_ns + self.micro_stop_max_ns(ideal_ns), self.stop_detect_ns(ideal_ns))

    def verdict(self, context: Context, gap: Gap, *, ran_through: bool = False) -> Verdict:
        """What decides in this context, cycles being seen or not."""
        return verdict(context, Evidence(gap.cycle_ns is not None, self._fallback_above), ran_through=ran_through)

    def spans(
        self, contexts: tuple[Context, ...], from_ns: int, to_ns: int, gap: Gap, *, ran_through: bool = False
    ) -> tuple[Span, ...]:
        """The stretches of a length of time, each with what decides in it."""
        found: list[Span] = []
        for index, context in enumerate(contexts):
            begin = max(context.from_ns, from_ns)
            end = min(contexts[index + 1].from_ns, to_ns) if index + 1 < len(contexts) else to_ns
            if begin < end:
                found.append(Span(begin, end, context, self.verdict(context, gap, ran_through=ran_through)))
        return tuple(found)

    def ideal_ns(self, contexts: tuple[Context, ...], gap: Gap) -> int:
        """The ideal cycle that a gap is measured with: of the order at its beginning, else of the first one in it."""
        if gap.ideal_ns:
            return gap.ideal_ns
        return next((context.ideal_ns for context in contexts if context.order is not None), contexts[-1].ideal_ns)

    def expected_ns(self, spans: tuple[Span, ...], gap: Gap) -> int:
        """How much of a gap cycles were to be expected in."""
        return gap.spent_ns + sum(span.length_ns for span in spans if _expects(span, ran=False))

    def judge(
        self, contexts: tuple[Context, ...], from_ns: int, to_ns: int, gap: Gap, closing: Closing, cycles: int = 0
    ) -> Judged:
        """What ``[from_ns, to_ns)`` was. ``cycles`` of them ended at ``to_ns``, with ``closing="cycle"``."""
        if from_ns >= to_ns:
            return Judged((), gap)
        ideal = self.ideal_ns(contexts, gap)
        ran = self._ran_through(contexts, from_ns, to_ns, gap, ideal, closing, cycles)
        spans = self.spans(contexts, from_ns, to_ns, gap, ran_through=ran)
        expected = gap.spent_ns + sum(span.length_ns for span in spans if _expects(span, ran=ran))
        needed = cycles * ideal if closing == "cycle" else ideal if gap.by_cycle else 0
        limit = self.stop_detect_ns(ideal) + max(cycles - 1, 0) * ideal
        no_stop = expected <= limit and (closing == "cycle" or gap.by_cycle)
        if not any(span.verdict.state is None for span in spans):
            no_stop = True  # the machine's own word, or somebody else's
        loss = 0
        broken = gap.broken or not all(_expects(span, ran=ran) for span in spans)
        slow = bool(ideal) and not broken and expected > self.slow_ns(ideal) * max(cycles, 1)
        if no_stop and slow and (closing == "cycle" or (closing == "flush" and gap.by_cycle)):
            loss = max(0, expected - needed - gap.lost_ns)
        if no_stop:
            rest = MachineState.PRODUCING
            produced = {span: (span.from_ns, span.to_ns) for span in spans if _expects(span, ran=ran)}
        else:
            standstill = expected - needed
            rest = MachineState.MICRO_STOP if standstill <= self.micro_stop_max_ns(ideal) else MachineState.STOPPED
            wanted = [span for span in spans if span.verdict.state is None and span.context.order is not None]
            produced = _placed(wanted, max(0, needed - gap.produced_ns), from_front=gap.by_cycle)
        if closing == "cycle" and not ran:
            self._place_tail(produced, spans[-1], gap, cycles * ideal - gap.produced_ns)
        row = _row(spans, produced, rest, slow=loss > 0)
        row = _with_loss(row, loss)
        made = sum(to - begin for begin, to in produced.values())
        after = gap._replace(
            ideal_ns=ideal if expected else gap.ideal_ns,
            spent_ns=expected,
            produced_ns=gap.produced_ns + made,
            lost_ns=gap.lost_ns + loss,
            broken=broken,
        )
        return Judged(row, after)

    def _place_tail(self, produced: dict[Span, tuple[int, int]], last: Span, gap: Gap, budget: int) -> None:
        """A piece that came in a time without an order, or in planned time, was made right before."""
        budget -= sum(to - begin for begin, to in produced.values())
        unexpected = last.verdict.state is None and last.context.order is None
        if last.verdict.layer is Layer.CALENDAR:
            beneath = self.verdict(last.context, gap, ran_through=True).state
            unexpected = beneath in (None, MachineState.PRODUCING)
        if unexpected and budget > 0:
            produced[last] = (max(last.from_ns, last.to_ns - budget), last.to_ns)

    def _ran_through(
        self,
        contexts: tuple[Context, ...],
        from_ns: int,
        to_ns: int,
        gap: Gap,
        ideal: int,
        closing: Closing,
        cycles: int,
    ) -> bool:
        """No standstill can have been: pieces came without a gap, in planned time too."""
        if gap.cycle_ns is None:
            return False
        limit = self.stop_detect_ns(ideal) + max(cycles - 1, 0) * ideal
        if to_ns - gap.cycle_ns > limit:
            return False
        if closing == "cycle":
            return True
        # The end of planned time in which pieces were made.
        first = next(context for context in reversed(contexts) if context.from_ns <= from_ns)
        return gap.by_cycle and first.planned is not None and gap.cycle_ns >= first.from_ns


def _expects(span: Span, *, ran: bool) -> bool:
    """Time in which the machine should make pieces, or says that it does."""
    state = span.verdict.state
    return state is MachineState.PRODUCING or (state is None and (ran or span.context.order is not None))


def _placed(spans: list[Span], budget: int, *, from_front: bool) -> dict[Span, tuple[int, int]]:
    """Where in these spans so much production was: at the beginning, or at the end."""
    produced: dict[Span, tuple[int, int]] = {}
    for span in spans if from_front else reversed(spans):
        taken = min(budget, span.length_ns)
        if taken > 0:
            begin = span.from_ns if from_front else span.to_ns - taken
            produced[span] = (begin, begin + taken)
        budget -= taken
    return produced


def _row(
    spans: tuple[Span, ...], produced: dict[Span, tuple[int, int]], rest: MachineState, *, slow: bool
) -> tuple[StateInterval, ...]:
    row: list[StateInterval] = []
    for span in spans:
        state = span.verdict.state
        if state is None:
            state = rest if span.context.order is not None else MachineState.IDLE_NO_ORDER
        begin, end = produced.get(span, (span.from_ns, span.from_ns))
        if begin > span.from_ns:
            row.append(interval(span, span.from_ns, begin, state))
        if end > begin:
            row.append(interval(span, begin, end, MachineState.PRODUCING, slow=slow))
        if end < span.to_ns:
            row.append(interval(span, max(end, span.from_ns), span.to_ns, state))
    return tuple(row)


def _with_loss(row: tuple[StateInterval, ...], loss: int) -> tuple[StateInterval, ...]:
    """The loss of a gap stands with its last production."""
    if loss:
        for index in range(len(row) - 1, -1, -1):
            if row[index].state is MachineState.PRODUCING:
                return (*row[:index], row[index]._replace(speed_loss_ns=loss), *row[index + 1 :])
    return row


def interval(span: Span, from_ns: int, to_ns: int, state: MachineState, *, slow: bool = False) -> StateInterval:
    """A part of a span as an interval of this state."""
    context, found = span.context, span.verdict
    planned = context.planned
    judged = found.state is None and state in (MachineState.MICRO_STOP, MachineState.STOPPED)
    produces = state is MachineState.PRODUCING
    return StateInterval(
        state,
        from_ns,
        to_ns,
        found.reason if found.state is state else "",
        reduced_speed=produces and (slow or found.reduced_speed),
        overtime=produces and planned is not None,
        amended="detection_lag" if judged else "",
        planned=planned,
        shift=context.shift,
        order=context.order,
        operation=context.operation,
    )
