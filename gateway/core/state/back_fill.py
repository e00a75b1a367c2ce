"""Time without data: UNKNOWN, except for what the pieces that a counter made meanwhile must have taken.

The production is placed as one sum at the beginning, in working time first, and marked as estimated: when in that time
it really was, and how long one cycle took, nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import MachineState
from gateway.core.state.gaps import interval

if TYPE_CHECKING:
    from gateway.core.state.gaps import Span
    from gateway.core.state.interval import StateInterval


def back_filled(spans: tuple[Span, ...], production_ns: int) -> tuple[tuple[StateInterval, ...], int]:
    """The intervals of a time without data, and how much of it was production: at most all of it."""
    taken: dict[int, int] = {}
    left = production_ns
    in_working_time = [index for index, span in enumerate(spans) if span.context.planned is None]
    in_planned_time = [index for index, span in enumerate(spans) if span.context.planned is not None]
    for index in (*in_working_time, *in_planned_time):
        taken[index] = min(max(left, 0), spans[index].length_ns)
        left -= taken[index]
    row: list[StateInterval] = []
    for index, span in enumerate(spans):
        middle_ns = span.from_ns + taken[index]
        if middle_ns > span.from_ns:
            made = interval(span, span.from_ns, middle_ns, MachineState.PRODUCING)
            row.append(made._replace(estimated=True, amended="back_fill"))
        if span.to_ns > middle_ns:
            row.append(interval(span, middle_ns, span.to_ns, MachineState.UNKNOWN))
    return tuple(row), sum(taken.values())
