"""Whether an operation may be confirmed finally: its life, and the checklist, asked of one set of facts.

Gathers the facts of the machine, the order and what people said to it. Ends nothing and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.confirming.checklist import Check, FinalFacts, OpenPoint, UnknownTime, open_points
from gateway.core.confirming.run_checks import merged
from gateway.core.counting.counter import CounterState
from gateway.core.model import JobOrderState, MachineState
from gateway.core.orders.guards import Guard
from gateway.core.orders.job_image import work_of
from gateway.core.orders.job_run import filled
from gateway.core.orders.order_steps import may
from gateway.core.refusal import Refusal, all_of

if TYPE_CHECKING:
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.order_steps import Cause
    from gateway.core.rules import WorkUnitRules
    from gateway.core.unit_state import State
    from gateway.core.work.work_book import WorkBook

#: Guards of the order's life that are points of the checklist, too.
_GUARD: Final = {
    Check.HOLDS: Guard.DISPOSITIONS.value,
    Check.LOTS: Guard.LOTS_COMPLETE.value,
    Check.DURATION: Guard.DURATION.value,
}


class Ending(NamedTuple):
    """``refusal`` "": it may end; ``flags`` are then those of the final confirmation, of points that only warn.

    ``passed`` says these points in words.
    """

    refusal: str = ""
    flags: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


class Finishing:
    """The questions before an end at one work unit."""

    def __init__(self, rules: WorkUnitRules, work: WorkBook) -> None:
        self._rule = rules.orders
        self._checklist = rules.confirm.checklist
        self._delivery = rules.confirm.delivery
        self._signals = tuple(rule.signal for rule in rules.counters)
        self._work = work

    def may_end(self, state: State, run: JobRun, cause: Cause, at_ns: int, *, reason: str = "") -> Ending:
        """Whether it may end now; ``reason``: why it ends short, where it does."""
        # What is a point of the checklist blocks as that says, so the guards have nothing against it.
        refusal = may(run, JobOrderState.COMPLETED, cause, self._rule).refusal
        if refusal:
            return Ending(refusal)
        points = open_points(self.facts(state, run, at_ns, reason=reason), self._checklist, self._delivery)
        blocking = all_of(_refusal(one) for one in points if one.blocks)
        if blocking:
            return Ending(blocking)
        return Ending("", tuple(_flag(one) for one in points), tuple(str(_refusal(one)) for one in points))

    def facts(self, state: State, run: JobRun, at_ns: int, *, reason: str = "") -> FinalFacts:
        """What is known of an operation that is about to be confirmed finally."""
        checks, image, asked = run.checks, run.job.image, work_of(run.job)
        # Its own clock: without a confirmation the run goes on since it began.
        ran_ns = at_ns - run.open_from_ns if not run.seq else 1
        return FinalFacts(
            # What a leader confirmed as held was shared among its originals, and is judged at them.
            hold_pieces=run.open_hold if run.job.leads else run.hold,
            counters_in_doubt=self._in_doubt(state, run),
            review_pieces=checks.review,
            unknown=self._unknown(state, run, at_ns),
            lots_missing=self.lots_missing(run),
            inspection_required=asked is not None and asked.control.inspection,
            inspection_verdict=checks.inspection,
            duration_ns=max(ran_ns, 0),
            # A leader is no order of the ERP's: each of those that it leads has its own.
            target=None if run.job.leads else run.job.quantity,
            made=filled(run, self._rule.target_counts),
            under_tolerance=None if image is None else image.under_tolerance,
            under_reason=reason,
        )

    def lots_missing(self, run: JobRun) -> tuple[str, ...]:
        """Items of which pieces took a lot that nobody knows, and nobody took that as it is."""
        found = dict.fromkeys((*run.checks.lots_missing, *self._work.material.unknown_items(run)))
        return tuple(item for item in found if item not in run.checks.lots_accepted)

    def _in_doubt(self, state: State, run: JobRun) -> tuple[str, ...]:
        known_ns = run.checks.acknowledged_ns
        return tuple(
            signal
            for signal, kept in zip(self._signals, state.detectors, strict=True)
            if isinstance(kept, CounterState) and kept.pending is not None and kept.pending.t_ns > known_ns
        )

    def _unknown(self, state: State, run: JobRun, at_ns: int) -> tuple[UnknownTime, ...]:
        """Time without data, and pieces that nobody can know: what was not taken as it is."""
        if self._checklist.unknown == "off":
            return ()
        seeming = self._work.not_final(state, run.job.key, MachineState.UNKNOWN, at_ns)
        pieces = tuple(
            (one.t_from_ns, one.t_to_ns) for one in state.unknown if (one.order, one.operation) == run.job.key
        )
        known_ns = run.checks.acknowledged_ns
        cut = ((max(from_ns, known_ns), to_ns) for from_ns, to_ns in (*run.checks.unknown, *seeming, *pieces))
        return tuple(UnknownTime(*one) for one in merged(one for one in cut if one[0] < one[1]))


def _refusal(point: OpenPoint) -> Refusal:
    guard = _GUARD.get(point.check, f"checklist {point.check}")
    text = f"{guard}: found {point.found}, wanted {point.wanted}; {point.what_to_do}"
    return Refusal(text, guard, found=point.found, allowed=point.wanted, what_to_do=point.what_to_do)


def _flag(point: OpenPoint) -> str:
    return f"CHECKLIST_{point.check.name}"
