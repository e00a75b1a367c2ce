"""Which order a count belongs to where several run at once: each has a part of its own, told by cavity or by counter.

Answers questions about the orders on one machine. Starts and books nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.orders.parallel import ParallelRefused, ParallelRun, ParallelRuns
from gateway.core.orders.queue import QUEUED

if TYPE_CHECKING:
    from gateway.core.orders.job_run import JobRun
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.unit_state import State


class PartMap:
    """The parts of one machine, prepared."""

    def __init__(self, rules: WorkUnitRules) -> None:
        self.most = rules.orders.max_parallel_orders
        #: The part that all counts of a rule are of, by the rule's signal.
        self.by_signal = dict(rules.orders.parts)
        self._parts = frozenset(rules.parts_told())

    def own(self, run: JobRun) -> str:
        """The part by which an order's pieces are told from others, "" for none."""
        return run.job.product if run.job.product in self._parts else ""

    def refusal(self, state: State, run: JobRun) -> ParallelRefused | None:
        """Why an order cannot run beside those that are at work; None: it can."""
        asked = self._of(self._others(state, run)).started(self._parallel(run))
        return asked if isinstance(asked, ParallelRefused) else None

    def in_the_way(self, state: State, run: JobRun) -> tuple[JobRun, ...]:
        """What must leave the machine for this order: all, the one that makes the same part, or the first of many."""
        others = self._others(state, run)
        if self.most == 1 or not all(map(self.own, (*others, run))):
            return others
        same = tuple(one for one in others if one.job.product == run.job.product)
        rest = tuple(one for one in others if one not in same)
        return (*same, *rest[: max(0, len(rest) + 1 - self.most)])

    def candidate(self, state: State) -> JobRun | None:
        """The first waiting order that may start by itself; beside others only one of a part that nobody makes.

        An order that runs alone is not walked around: it waits until the machine is free, and those behind it wait too.
        """
        made = {run.job.product for run in state.at_work()}
        for run in state.queue:
            if run.state in QUEUED and not run.waits_for_person and run.job.product not in made:
                return None if made and not self.own(run) else run
        return None

    def of_one_tool(self, track: MachineTrack, product: str) -> MachineTrack:
        """Another part of a family tool is no other product: the machine was set up for all of them."""
        setup = track.setup
        if self.most == 1 or setup.product == product or not {setup.product, product} <= self._parts:
            return track
        return track._replace(setup=setup._replace(product=product))

    def _others(self, state: State, run: JobRun) -> tuple[JobRun, ...]:
        return tuple(one for one in state.at_work() if one.job.key != run.job.key)

    def _of(self, runs: tuple[JobRun, ...]) -> ParallelRuns:
        return ParallelRuns(self.most, tuple(map(self._parallel, runs)))

    def _parallel(self, run: JobRun) -> ParallelRun:
        return ParallelRun(*run.job.key, self.own(run))


def taker(state: State, part: str | None) -> JobRun | None:
    """Whose a piece is that is made now: of the order that runs, of several the one for this part; None: nobody's.

    A count that names no part is nobody's where several orders run: nobody could say whose it is.
    """
    if not state.beside:
        run = state.running
        return run if run is None or part is None or part == run.job.product else None
    return next((run for run in state.at_work() if run.job.product == part), None)
