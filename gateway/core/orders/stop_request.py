"""Where a machine is to be asked to stop, because the target of its order is reached. Says so; writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.orders.job_run import filled

if TYPE_CHECKING:
    from gateway.core.model import Output
    from gateway.core.orders.dispatch import Dispatch
    from gateway.core.orders.job_run import JobRun
    from gateway.core.unit_state import State


class StopRequested(NamedTuple):
    """The target of an order is reached: the machine is to be asked to stop, by writing a signal. Said once."""

    at_ns: int
    order: str
    operation: str
    signal: str
    value: str


def ask_to_stop(dispatch: Dispatch, state: State, before: JobRun, after: JobRun, at_ns: int, out: list[Output]) -> None:
    """Ask once, where an order at work is at its target now and was not before: by pieces or by another quantity.

    Nothing is remembered for it: an order that lost pieces again and is filled anew asks anew, because the machine was
    set going for those.
    """
    delivery, counts = dispatch.closer.rule.delivery, dispatch.rule.target_counts
    if delivery.stop_signal is None or after.share_no or not state.works_on(after.job.key):
        return  # a member's sums are not the order's: its lead says when that is at its target
    if filled(before, counts) < before.job.quantity and filled(after, counts) >= after.job.quantity:
        out.append(StopRequested(at_ns, *after.job.key, delivery.stop_signal, delivery.stop_value))


def ask_member(dispatch: Dispatch, before: JobRun, was: bool, now: bool, at_ns: int, out: list[Output]) -> None:  # noqa: FBT001 - what its lead said, and says
    """Ask a machine that works on another one's order once it hears that this has come to its target."""
    delivery = dispatch.closer.rule.delivery
    if delivery.stop_signal is not None and now and not was:
        out.append(StopRequested(at_ns, *before.job.key, delivery.stop_signal, delivery.stop_value))
