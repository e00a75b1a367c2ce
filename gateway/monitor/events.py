"""Payloads of what happened at a machine: told once, not retained. Pure: no clock, no connection, no memory.

Times are UTC milliseconds, lengths of time milliseconds too, in names that end in ``_ms``. The form is documented in
``README.md`` of this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.monitor.topics import NS_PER_MS, document
from gateway.shown.machine_events import AttentionEvent, DayEvent, IntervalEvent, OrderAnswerEvent, shift_and_day

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.orders.order_changes import OrderAck
    from gateway.shown.machine_events import MachineEvent, SetupEvent


def topic_of(event: MachineEvent) -> str:
    """The last level of its topic."""
    if isinstance(event, IntervalEvent):
        return "interval"
    if isinstance(event, OrderAnswerEvent):
        return "order_answer"
    if isinstance(event, DayEvent):
        return "day_closed"
    return "attention" if isinstance(event, AttentionEvent) else "setup"


def payload_of(event: MachineEvent, utc_ns: Callable[[int], int]) -> bytes:
    """The message. ``utc_ns`` says what UTC was at a steady time."""
    if isinstance(event, IntervalEvent):
        return _interval(event, utc_ns)
    if isinstance(event, AttentionEvent):
        return document(
            what=event.what,
            at=utc_ns(event.at_ns) // NS_PER_MS,
            since=utc_ns(event.since_ns) // NS_PER_MS,
            state=event.state or None,
            planned_ms=None if event.planned_ns is None else event.planned_ns // NS_PER_MS,
        )
    if isinstance(event, OrderAnswerEvent):
        return _answer(event.ack)
    if isinstance(event, DayEvent):
        return document(**event.summary)
    return _setup(event, utc_ns)


def _interval(event: IntervalEvent, utc_ns: Callable[[int], int]) -> bytes:
    found = event.interval
    shift, day = shift_and_day(found.shift)
    stop_ns = found.stop_from_ns
    # All of it by what is known of its end: a step of the clock in between bends no length.
    offset_ns = utc_ns(found.to_ns) - found.to_ns
    return document(
        **{"from": (found.from_ns + offset_ns) // NS_PER_MS},
        to=(found.to_ns + offset_ns) // NS_PER_MS,
        duration_ms=found.length_ns // NS_PER_MS,
        state=found.state.value,
        element=event.element,
        reason=found.reason,
        reason_source=found.reason_source,
        alarms=list(found.alarms),
        stop_since=None if stop_ns is None else (stop_ns + offset_ns) // NS_PER_MS,
        order=found.order,
        operation=found.operation,
        shift=shift,
        production_day=day,
        planned=None if found.planned is None else found.planned.value,
        reduced_speed=found.reduced_speed,
        speed_loss_ms=found.speed_loss_ns // NS_PER_MS,
        estimated=found.estimated,
        overtime=found.overtime,
        amended=found.amended,
    )


def _answer(ack: OrderAck) -> bytes:
    return document(
        order=ack.order,
        operation=ack.operation,
        revision=ack.revision,
        held_revision=ack.held_revision,
        answer=ack.kind.value,
        reasons=list(ack.reasons),
        produced={operation: str(made) for operation, made in ack.produced},
    )


def _setup(event: SetupEvent, utc_ns: Callable[[int], int]) -> bytes:
    found = event.setup
    return document(
        at=utc_ns(found.at_ns) // NS_PER_MS,
        duration_ms=found.duration_ns // NS_PER_MS,
        from_product=found.from_product,
        to_product=found.to_product,
        from_tool=found.from_tool,
        to_tool=found.to_tool,
        trigger=found.trigger,
    )
