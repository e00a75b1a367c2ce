"""One work unit that is run on given inputs outside of the daemon, and everything that came of it.

Commits nothing and sends nothing; the rules are the core's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import (
    ClockTold,
    Confirmation,
    CountEvent,
    DataValue,
    MachineState,
    Notice,
    StateChanged,
    TimePassed,
)
from gateway.core.state.interval import StateInterval
from gateway.core.work_unit import WorkUnit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.model import CalendarPlan, Input, Output
    from gateway.core.rules import WorkUnitRules
    from gateway.core.unit_state import State

    #: The hours ahead of a machine from a steady instant on; the second number is UTC minus steady time, ns.
    Hours = Callable[[int, int], CalendarPlan]

#: A plan reaches this far ahead, and another one follows so soon.
PLAN_AHEAD_NS: Final = Duration("48 h")
PLAN_EVERY_NS: Final = Duration("24 h")
#: More outputs than this of one run are a mistake of the rules, not a result.
OUTPUTS_MAX: Final = 5_000_000


class TooMuchError(Exception):
    """A run makes more outputs than anybody could look at."""


class Found(NamedTuple):
    """What can be seen of a machine at one moment."""

    good: int
    scrap: int
    rework: int
    hold: int
    test: int
    unallocated: int
    review: int
    unknown: int
    unknown_intervals: int
    order: str | None
    confirmations: int


class Happening(NamedTuple):
    """An input or an output, at the time it was handled, ns UTC."""

    at_ns: int
    what: Input | Output


def identity_of(machine: str, rules: WorkUnitRules) -> Identity:
    """Who confirms in a trial: nobody that an ERP knows."""
    return Identity(
        plant="TRIAL", epoch="trial", gateway_id="trial", line="", machine=machine, work_center=rules.work_center
    )


class TriedMachine:
    """A work unit under trial.

    Args:
        unit: the rules, prepared.
        state: where it begins.
        hours: its calendar, None where it has none.
    """

    def __init__(self, unit: WorkUnit, state: State, hours: Hours | None = None) -> None:
        self.unit = unit
        self._hours = hours
        self._planned_ns = state.at_ns  # when the next plan is due
        self.state = state
        self.happened: list[Happening] = []
        self.confirmations: list[Confirmation] = []
        self.flags: set[str] = set()
        self._began_with = state
        self._live: list[tuple[int, MachineState]] = [(state.at_ns, state.track.state)]
        self._intervals: list[StateInterval] = []

    @classmethod
    def fresh(cls, machine: str, rules: WorkUnitRules, at_ns: int, hours: Hours | None = None) -> TriedMachine:
        """A machine that has never seen anything."""
        unit = WorkUnit(rules, identity_of(machine, rules))
        return cls(unit, unit.initial(at_ns), hours)

    def feed(self, given: Input) -> None:
        """One input, behind the hours that are due until then. Raises TooMuchError, ValueError beyond the calendar."""
        if self._hours is not None:
            self._plan_until(time_of(given), self._hours)
        self._handle(given)
        if self._hours is not None and isinstance(given, ClockTold):  # the same hours are other instants now
            self._handle(self._hours(self.state.at_ns, given.utc_offset_ns))

    def _plan_until(self, at_ns: int, hours: Hours) -> None:
        while self._planned_ns <= at_ns:
            self._handle(hours(self._planned_ns, self.state.utc_offset_ns))
            self._planned_ns += PLAN_EVERY_NS

    def _handle(self, given: Input) -> None:
        self.state, outputs = self.unit.handle(self.state, given)
        if not isinstance(given, TimePassed):
            self.happened.append(Happening(time_of(given), given))
        for output in outputs:
            self._take(output)
        if len(self.happened) > OUTPUTS_MAX:
            raise TooMuchError(f"{self.unit.identity.machine}: more than {OUTPUTS_MAX} inputs and outputs; shorten it")

    def found(self) -> Found:
        """What can be seen now; pieces since the beginning of the trial."""
        state, before = self.state, self._began_with
        good, scrap, rework, hold, test = (now - then for now, then in zip(state.counted, before.counted, strict=True))
        intervals = len(state.unknown) + state.unknown_older[0]
        bound = sum(one.max_pieces or 0 for one in state.unknown) + state.unknown_older[1]
        began_intervals = len(before.unknown) + before.unknown_older[0]
        began_bound = sum(one.max_pieces or 0 for one in before.unknown) + before.unknown_older[1]
        return Found(
            good=good,
            scrap=scrap,
            rework=rework,
            hold=hold,
            test=test,
            unallocated=sum(state.unallocated) - sum(before.unallocated),
            review=state.review - before.review,
            unknown=bound - began_bound,
            unknown_intervals=intervals - began_intervals,
            order=state.running.job.order if state.running is not None else None,
            confirmations=len(self.confirmations),
        )

    def state_at(self, at_ns: int) -> MachineState:
        """The state at a moment, as it is known now."""
        for interval in self._judged():
            if interval.from_ns <= at_ns < interval.to_ns:
                return interval.state
        found = self._live[0][1]
        for since_ns, state in self._live:
            if since_ns > at_ns:
                break
            found = state
        return found

    def durations_ns(self, from_ns: int, to_ns: int) -> dict[MachineState, int]:
        """How long it was in each state: by its intervals, and behind the last of them as it was seen live."""
        total: dict[MachineState, int] = {}

        def add(state: MachineState, begin_ns: int, end_ns: int) -> None:
            length_ns = min(end_ns, to_ns) - max(begin_ns, from_ns)
            if length_ns > 0:
                total[state] = total.get(state, 0) + length_ns

        judged = self._judged()
        for interval in judged:
            add(interval.state, interval.from_ns, interval.to_ns)
        final_ns = judged[-1].to_ns if judged else from_ns
        ends = [since_ns for since_ns, _ in self._live[1:]] + [to_ns]
        for (since_ns, state), end_ns in zip(self._live, ends, strict=True):
            add(state, max(since_ns, final_ns), end_ns)
        return total

    def _judged(self) -> list[StateInterval]:
        """Final intervals, and those behind them that are judged and may still go on; they tile."""
        return [*self._intervals, *self.state.track.timeline.row]

    def _take(self, output: Output) -> None:
        at_ns = self.state.at_ns
        if isinstance(output, StateChanged):
            at_ns = output.at_ns
            self._live.append((at_ns, output.state))
        elif isinstance(output, StateInterval):
            self._intervals.append(output)
        elif isinstance(output, Confirmation):
            self.confirmations.append(output)
        elif isinstance(output, CountEvent):
            self.flags.add(output.flag)
        elif isinstance(output, Notice):
            self.flags.add(output.code)
        self.happened.append(Happening(at_ns, output))


def by_time(inputs: Iterable[Input]) -> list[Input]:
    """Inputs in the order of their arrival; those of one moment stay as they are given."""
    return sorted(inputs, key=time_of)


def time_of(given: Input) -> int:
    """When an input reached the core, ns."""
    return given.received_time_ns if isinstance(given, DataValue) else given.at_ns
