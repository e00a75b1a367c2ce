"""Orders that were never begun and of which nothing is left to make: somebody confirmed all of it in the ERP.

They leave the queue as one does that the ERP closed before its start: nobody sets a machine up for them, and they are
in no other order's way. Where the ERP wants more of one later it comes back with what is known of it (``intake.py``).
A leader stays until a person takes its merge apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from gateway.core.model import JobChanged, JobOrderState
from gateway.core.orders.divided_material import left_to_siblings
from gateway.core.orders.erp_status import BEFORE_START
from gateway.core.orders.job_run import filled, is_full
from gateway.core.orders.places import without

if TYPE_CHECKING:
    from gateway.core.model import JobOrder, JobRecord, Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.unit_state import State

_CAUSE: Final = "all of it is confirmed in the ERP: nothing is left to make"
_NONE: Final = (0, 0, 0)


def without_unneeded(dispatch: Dispatch, state: State, at_ns: int, out: list[Output]) -> State:
    """The state without such orders, where the rule ends an order at its target."""
    if dispatch.rule.at_target != "complete":
        return state
    for run in [one for one in state.queue if one.external != _NONE]:
        if run.state in BEFORE_START and run.merged is None and is_full(run, dispatch.rule.target_counts):
            told = dispatch.left(state, run, at_ns, _CAUSE, out)
            gone = told._replace(state=JobOrderState.CANCELLED)
            out.append(JobChanged(at_ns, gone.record(), run.state, _CAUSE))
            state = left_to_siblings(without(state, told), told)
    return state


def was_unneeded(known: JobRecord, target_counts: str) -> bool:
    """Whether an order that is over here was one of these: nothing was made of it, and nobody cancelled it."""
    over = known.state is JobOrderState.CANCELLED and not known.job.cancelled
    made = known.good or known.scrap or known.rework or known.hold or known.test
    return over and not made and known.external != _NONE and not _wants_more(known, known.job, target_counts)


def comes_back(known: JobRecord, job: JobOrder, target_counts: str) -> bool:
    """Whether the ERP wants more of such an order than was confirmed there."""
    return was_unneeded(known, target_counts) and _wants_more(known, job, target_counts)


def _wants_more(known: JobRecord, job: JobOrder, target_counts: str) -> bool:
    return math.ceil(job.quantity) > filled(known, target_counts)
