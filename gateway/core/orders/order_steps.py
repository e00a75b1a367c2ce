"""Whether a job order may change its state so: the table of its life and the guards, asked together.

Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.orders.guards import GuardFacts, check
from gateway.core.orders.lifecycle import Refused, decide

if TYPE_CHECKING:
    from gateway.core.model import JobOrderState
    from gateway.core.orders.job_run import JobRun
    from gateway.core.orders.lifecycle import ActorRole, Trigger
    from gateway.core.rules_orders import OrderBookRule


class Cause(NamedTuple):
    """What asks for a change, who, and what is written down of it."""

    trigger: Trigger
    role: ActorRole
    text: str


class Verdict(NamedTuple):
    """``refusal`` "": it may happen. ``warnings`` are shown and hinder nothing."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()


def may(
    run: JobRun, state_to: JobOrderState, cause: Cause, rule: OrderBookRule, facts: GuardFacts | None = None
) -> Verdict:
    """The verdict on a change; a refusal names what is in the way, and what to do."""
    answer = decide(run.state, state_to, cause.trigger, cause.role, run.held_from)
    if isinstance(answer, Refused):
        return Verdict(f"{answer.code}: {answer.text}")
    found = check(answer.guards, facts or GuardFacts(), rule)
    return Verdict(
        "; ".join(str(one) for one in found if one.blocks), tuple(str(one) for one in found if not one.blocks)
    )
