"""What the end of a shift does to a machine's orders: it confirms them, and stops what runs where that is the rule.

It looks at the shift of the machine's calendar only. Where what runs is interrupted, nothing starts by itself until
that order goes on or has ended, nor outside of shifts: somebody, or the job signal, starts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.confirming.triggers import Trigger as Asked
from gateway.core.model import JobOrderState
from gateway.core.orders.lifecycle import RUNNING, ActorRole, Trigger
from gateway.core.orders.order_steps import Cause, may

if TYPE_CHECKING:
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.rules_orders import OrderBookRule
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.unit_state import State

#: Where orders are interrupted by it: who comes next decides what runs.
SHIFT_OVER: Final = "SHIFT_OVER"
_SHIFT_END: Final = Cause(Trigger.SHIFT_END, ActorRole.SERVICE, "shift ended")


def shift_followed(dispatch: Dispatch, before: MachineTrack, state: State, at_ns: int, out: list[Output]) -> State:
    """Where a shift ended: what was made in it is confirmed in it, and its times even where nothing was.

    With ``at_shift_end: interrupt`` what runs is interrupted then, and waits for a person.
    """
    ended = before.timeline.contexts[-1].shift
    shift = state.track.timeline.contexts[-1].shift
    if not ended:  # what came outside of shifts may start now
        begins = bool(shift) and dispatch.rule.at_shift_end == "interrupt"
        return dispatch.advance(state, at_ns, out) if begins else state
    if shift == ended:
        return state
    for run in state.open_runs():
        if run.anything_open or state.works_on(run.job.key):
            state = dispatch.asked(state, run, at_ns, out, Asked.SHIFT_END)
    if dispatch.rule.at_shift_end == "go_on":
        return state
    for run in state.at_work():
        if run.state in RUNNING and not may(run, JobOrderState.INTERRUPTED, _SHIFT_END, dispatch.rule).refusal:
            state = dispatch.interrupt(state, at_ns, _SHIFT_END.text, out, by_person=True, run=run, resumes=True)
    return state


def waits_for_shift(rule: OrderBookRule, state: State, *, has_calendar: bool) -> str:
    """Why no order starts by itself, as far as the end of a shift is the reason; "": it is none."""
    if rule.at_shift_end == "go_on" or not has_calendar:
        return ""
    for run in state.queue:
        if run.resumes and run.waits_for_person and run.state is JobOrderState.INTERRUPTED:
            name = "/".join(run.job.key)
            return f"{SHIFT_OVER}: the end of a shift interrupted order {name}; start that one, or another one"
    if state.track.timeline.contexts[-1].shift:
        return ""
    return f"{SHIFT_OVER}: it is outside of shifts (orders.at_shift_end); start it, or it starts with the next shift"
