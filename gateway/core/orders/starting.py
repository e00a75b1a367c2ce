"""Whether an order may start on its machine, in which state, and what must make way for it; whether a setup may end.

Gathers the facts and asks the order's life and its guards. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.model import JobOrderState
from gateway.core.orders.guards import START_GUARDS, Guard, check, mode_of
from gateway.core.orders.job_image import work_of
from gateway.core.orders.order_steps import Verdict, may, objection
from gateway.core.orders.part_map import PartMap
from gateway.core.orders.queue_entries import start_facts
from gateway.core.refusal import Refusal, all_of

if TYPE_CHECKING:
    from gateway.core.orders.finishing import Finishing
    from gateway.core.orders.guards import GuardFacts
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.order_steps import Cause
    from gateway.core.rules import WorkUnitRules
    from gateway.core.state.state_unit import MachineStateUnit
    from gateway.core.unit_state import State
    from gateway.core.work.work_book import WorkBook

_S: Final = JobOrderState


class Starting:
    """The questions before a start at one work unit."""

    def __init__(self, rules: WorkUnitRules, machine: MachineStateUnit, work: WorkBook, finishing: Finishing) -> None:
        self._finishing = finishing
        self.rule = rules.orders
        self.parts = PartMap(rules)
        self._machine = machine
        self._work = work

    def start_facts(self, state: State, run: JobRun, *, interrupt: bool = False) -> GuardFacts:
        """What is known of the start of a waiting job order; ``interrupt``: what is in its way makes way."""
        sets_up = self._sets_up(state, run)
        facts = self._facts(state, run, setup_planned=sets_up)
        refused = self.parts.refusal(state, run)
        facts = facts._replace(own_part=refused is None or refused.code == "PARALLEL_FULL")
        return facts._replace(running=()) if interrupt else facts

    def may_start(self, state: State, run: JobRun, cause: Cause, at_ns: int, *, interrupt: bool = False) -> Verdict:
        """Whether a waiting job order may start now, and what is in its way may go."""
        facts = self.start_facts(state, run, interrupt=interrupt)
        if facts.holds:  # out of a hold leads its release, never a start
            found = all_of(objection(one) for one in check(START_GUARDS[:1], facts, self.rule))
            return Verdict(found or Refusal("it is on hold", Guard.G1, found=run.state, what_to_do="release it first"))
        verdict = may(run, self.begins_as(state, run), cause, self.rule, facts)
        if verdict.refusal:
            return verdict
        for one in self.parts.in_the_way(state, run):
            refusal = self._may_go(state, one, cause, at_ns, interrupt=interrupt)
            if refusal:
                text = f"order {one.job.order} cannot make way for it: {refusal}"
                guard = refusal.guard if isinstance(refusal, Refusal) else Guard.G6
                todo = refusal.what_to_do if isinstance(refusal, Refusal) else ""
                todo = todo or f"interrupt or finish order {one.job.order} first"
                found = f"order {one.job.order} {one.state}"
                return verdict._replace(refusal=Refusal(text, guard, found=found, what_to_do=todo))
        return verdict

    def may_end_setup(self, state: State, run: JobRun, cause: Cause) -> Verdict:
        """Whether the setup of a running order may end."""
        facts = self._facts(state, run, setup_planned=False)
        asked = self.article_asked(run)
        facts = facts._replace(first_article_required=asked, first_article_approved=run.article_approved)
        return may(run, _S.IN_PROGRESS, cause, self.rule, facts) if run.state is _S.SETUP else Verdict()

    def awaits_article(self, run: JobRun) -> bool:
        """Whether its first piece must still be approved, before production begins."""
        blocks = mode_of(Guard.FIRST_ARTICLE, self.rule) == "block"
        return blocks and self.article_asked(run) and not run.article_approved

    def article_asked(self, run: JobRun) -> bool:
        """Whether its first piece is to be approved, by the order or by the rule."""
        work = work_of(run.job)
        return self.rule.first_article == "always" or (work is not None and work.control.first_article)

    def _facts(self, state: State, run: JobRun, *, setup_planned: bool) -> GuardFacts:
        facts = start_facts(state, run, self._machine, setup_planned=setup_planned)
        needed, there = self._work.material.lacking(state.work.feeders, run, state.at_ns)
        wanted, skills = self._work.skills(state.work, run)
        return facts._replace(lots_required=needed, lots_mounted=there, skill_required=wanted, skills=skills)

    def begins_as(self, state: State, run: JobRun) -> JobOrderState:
        """The state that it starts in: a setup where the machine needs one, or its first article an approval."""
        return _S.SETUP if self.awaits_article(run) or self._sets_up(state, run) else _S.IN_PROGRESS

    def _sets_up(self, state: State, run: JobRun) -> bool:
        return self._machine.sets_up(self.parts.of_one_tool(state.track, run.job.product), run.job)

    def ends(self, run: JobRun, *, interrupt: bool) -> bool:
        """Whether what is in the way of another order is complete by that, or interrupted."""
        return self.rule.when_running == "complete" and run.state is _S.IN_PROGRESS and not interrupt

    def _may_go(self, state: State, run: JobRun, cause: Cause, at_ns: int, *, interrupt: bool) -> str:
        if run.state is _S.ON_HOLD:
            return ""  # it stays on hold, and goes back into the queue
        if self.ends(run, interrupt=interrupt):
            return self._finishing.may_end(state, run, cause, at_ns, reason=cause.text).refusal
        return may(run, _S.INTERRUPTED, cause, self.rule).refusal
