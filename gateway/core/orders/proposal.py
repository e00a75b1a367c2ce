"""Which order was said to be next at a machine, and whether a person is to start it or what it waits for.

Reads what the order book remembers of it (``State.next_told``), so the answer is the same after a restart. Proposes and
starts nothing: that is ``dispatch.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.orders.queue import QUEUED

if TYPE_CHECKING:
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State

PROPOSED: Final = "ORDER_PROPOSED"


class NextOrder(NamedTuple):
    """``proposed``: a person is asked to start it; else it does not start, and ``text`` says why."""

    order: str
    operation: str
    proposed: bool
    text: str


def next_order_told(state: State) -> NextOrder | None:
    """What was said last of the order that is next; None: nothing was, or it does not hold any more."""
    code, _, rest = state.next_told.partition(" ")
    for run in state.open_runs():
        name = "/".join(run.job.key) + ": "
        if rest.startswith(name):
            return _of(run, code, rest.removeprefix(name)) if run.state in QUEUED else None
    return None


def _of(run: JobRun, code: str, text: str) -> NextOrder:
    return NextOrder(*run.job.key, code == PROPOSED, text)
