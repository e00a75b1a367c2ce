"""What happened at a machine and is told once, as plain values: final intervals, questions to people, setups.

Makes views of the core's outputs; times are steady. Sends and stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.orders.order_changes import OrderAck
from gateway.core.state.interval import StateInterval
from gateway.core.state.setup import SetupObservation, SetupOverrun
from gateway.core.state.timeline_state import ReasonRequired

if TYPE_CHECKING:
    from gateway.core.model import Output
    from gateway.core.state.time_elements import TimeModel


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalEvent:
    """A final stretch of one machine state.

    Attributes:
        work_unit: the machine, as in the configuration.
        interval: what it was.
        element: time element of ISO 22400: APT, AUST, ADET, ADOT, PDOT, UNK, or OUTSIDE of the planned operation time.
    """

    work_unit: str
    interval: StateInterval
    element: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionEvent:
    """Somebody should look.

    Attributes:
        work_unit: the machine, as in the configuration.
        what: ``reason_required``: a stop lasts long and has no reason; ``setup_overrun``: a setup lasts too long.
        at_ns: when that was so.
        since_ns: when the stop or setup began.
        state: the machine's state then, "" where it is not said.
        planned_ns: planned length of the setup, None for a stop.
    """

    work_unit: str
    what: str
    at_ns: int
    since_ns: int
    state: str = ""
    planned_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupEvent:
    """A setup has ended: one entry of a setup matrix.

    Attributes:
        work_unit: the machine, as in the configuration.
        setup: what it was changed from and to, how long that took, and what began it.
    """

    work_unit: str
    setup: SetupObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAnswerEvent:
    """An image of an order that an ERP sent was taken, refused or known already.

    Attributes:
        work_unit: the machine, as in the configuration.
        ack: what it says of the order.
    """

    work_unit: str
    ack: OrderAck


@dataclass(frozen=True, slots=True, kw_only=True)
class DayEvent:
    """A production day is closed.

    Attributes:
        work_unit: the machine, as in the configuration.
        summary: its closing record in short.
    """

    work_unit: str
    summary: Mapping[str, Any]


MachineEvent = IntervalEvent | AttentionEvent | SetupEvent | OrderAnswerEvent | DayEvent


def machine_event(work_unit: str, output: Output, time_model: TimeModel) -> MachineEvent | None:
    """The view of one output, None for one that is not told on its own."""
    match output:
        case StateInterval():
            return IntervalEvent(work_unit=work_unit, interval=output, element=time_model.element(output))
        case ReasonRequired(at_ns, stop_from_ns, state):
            return AttentionEvent(
                work_unit=work_unit, what="reason_required", at_ns=at_ns, since_ns=stop_from_ns, state=state.value
            )
        case SetupOverrun(at_ns, planned_ns, since_ns):
            return AttentionEvent(
                work_unit=work_unit, what="setup_overrun", at_ns=at_ns, since_ns=since_ns, planned_ns=planned_ns
            )
        case SetupObservation():
            return SetupEvent(work_unit=work_unit, setup=output)
        case OrderAck():
            return OrderAnswerEvent(work_unit=work_unit, ack=output)
        case _:
            return None


def shift_and_day(named: str) -> tuple[str | None, str | None]:
    """Shift and production day of the core's ``2026-03-27/F``; None and None outside of shifts."""
    day, _, shift = named.partition("/")
    return shift or None, day or None
