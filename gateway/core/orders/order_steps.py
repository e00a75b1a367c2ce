"""Whether a job order may change its state so: the table of its life and the guards, asked together.

Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.job_order import JobOrderState
from gateway.core.orders.guards import GuardFacts, check
from gateway.core.orders.lifecycle import ILLEGAL_TRANSITION, ILLEGAL_TRIGGER, ROLE_NOT_ALLOWED, Refused, decide
from gateway.core.refusal import Refusal, all_of

if TYPE_CHECKING:
    from gateway.core.orders.guards import GuardRefusal
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.lifecycle import ActorRole, Trigger
    from gateway.core.rules_orders import OrderBookRule


class Cause(NamedTuple):
    """What asks for a change, who, and what is written down of it. ``by`` "": nobody, but the machine or the ERP.

    ``passed``: what guards objected that only warn.
    """

    trigger: Trigger
    role: ActorRole
    text: str
    by: str = ""
    reason: str = ""
    passed: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """``refusal`` "": it may happen, else a text, with its parts where it is a ``Refusal``.

    ``warnings`` are shown and hinder nothing.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()


def may(
    run: JobRun, state_to: JobOrderState, cause: Cause, rule: OrderBookRule, facts: GuardFacts | None = None
) -> Verdict:
    """The verdict on a change; a refusal names what is in the way, and what to do."""
    answer = decide(run.state, state_to, cause.trigger, cause.role, run.held_from)
    if isinstance(answer, Refused):
        return Verdict(refused_step(answer, run.state))
    found = check(answer.guards, facts or GuardFacts(), rule)
    return Verdict(
        all_of(objection(one) for one in found if one.blocks), tuple(str(one) for one in found if not one.blocks)
    )


def despite(cause: Cause, verdict: Verdict) -> Cause:
    """The cause, with what was passed over: that is written down with the start."""
    return cause._replace(passed=verdict.warnings) if verdict.warnings else cause


def objection(one: GuardRefusal) -> Refusal:
    """What a guard objects, with its parts."""
    return Refusal(str(one), one.guard, found=one.found, allowed=one.wanted, what_to_do=one.what_to_do)


def refused_step(answer: Refused, found: JobOrderState) -> Refusal:
    """What the table of the order's life refuses, with its parts."""
    allowed = ", ".join(answer.allowed) or "nothing: it has ended"
    todo = _TODO.get(answer.code, "")
    if answer.code == ILLEGAL_TRANSITION and found is JobOrderState.ON_HOLD:
        todo = "release its hold first (order release)"
    return Refusal(f"{answer.code}: {answer.text}", answer.code, found=found.value, allowed=allowed, what_to_do=todo)


_TODO: Final = {
    ILLEGAL_TRANSITION: "bring the order into a state from which that is allowed, or release a new order",
    ILLEGAL_TRIGGER: "have it done in one of the ways that are allowed",
    ROLE_NOT_ALLOWED: "ask one whose role is allowed",
}
