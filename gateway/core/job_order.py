"""A production order, its operations, and what the gateway remembers of each of them. Plain data, no behaviour."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from gateway.core.orders.order_image import OrderImage


class JobOrderState(enum.StrEnum):
    """States of an operation on the shop floor (the ERP's words are maps onto these)."""

    PLANNED = "PLANNED"
    RELEASED = "RELEASED"
    DISPATCHED = "DISPATCHED"
    SETUP = "SETUP"
    IN_PROGRESS = "IN_PROGRESS"
    INTERRUPTED = "INTERRUPTED"
    ON_HOLD = "ON_HOLD"
    COMPLETED = "COMPLETED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    SPLIT = "SPLIT"
    MERGED = "MERGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a production order (ISA-95 segment), performed at one work center.

    ``quantity`` in ``ProductionOrder.uom``; ``std_cycle_ns`` is the planned run time of one piece, None if unknown.
    """

    operation: str
    work_center: str
    quantity: Decimal
    std_cycle_ns: int | None = None
    sequence: str = "0"
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionOrder:
    """An order as the ERP released it: an immutable image of one revision.

    ``echo`` is carried opaquely and returned with every confirmation (sales order, cost center ...). ``image`` is all
    that the document says, None where a connector reads no more than these fields.
    """

    order: str
    revision: int
    product: str
    product_revision: str = ""
    uom: str = "PC"
    quantity: Decimal
    operations: tuple[Operation, ...]
    sequence_no: int = 0
    priority: int = 0
    planned_start_ns: int | None = None
    planned_end_ns: int | None = None
    cancelled: bool = False
    echo: Mapping[str, str] = field(default_factory=dict)
    image: OrderImage | None = None


class JobOrder(NamedTuple):
    """An operation dispatched to one work unit (ISA-95 job order).

    ``source`` names the connector it came from: its confirmations go back there. ``image`` is the whole order as it was
    released, stored once under ``image_digest`` ("": there is none). ``erp_order`` is the order that a child was split
    from, as the ERP knows it, "" where it knows this one. ``leader`` is the order that this one is merged into, and
    ``leads`` are those that are merged into it.
    """

    order: str
    operation: str
    sequence: str
    revision: int
    work_center: str
    product: str
    product_revision: str
    uom: str
    quantity: Decimal
    sequence_no: int
    std_cycle_ns: int | None
    planned_start_ns: int | None
    planned_end_ns: int | None
    cancelled: bool
    source: str
    echo: tuple[tuple[str, str], ...] = ()
    image_digest: str = ""
    image: OrderImage | None = None
    erp_order: str = ""
    leader: str = ""
    leads: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Order and operation: its confirmations are numbered by these."""
        return (self.order, self.operation)

    @property
    def erp_key(self) -> tuple[str, str]:
        """Order and operation as the ERP knows them: the lane of its confirmations."""
        return (self.erp_order or self.order, self.operation)


class JobRecord(NamedTuple):
    """What the gateway must remember of a job order for ever: its last number, totals and state.

    ``seq``: its last confirmation (0: none yet); ``last_hash`` chains them. ``held_from``: before ON_HOLD, else None.
    ``external``: good, scrap and rework that were confirmed in the ERP, and are in none of the totals.
    """

    job: JobOrder
    state: JobOrderState
    seq: int
    good: int
    scrap: int
    rework: int
    last_hash: str
    hold: int = 0
    test: int = 0
    held_from: JobOrderState | None = None
    hold_reason: str = ""
    external: tuple[int, int, int] = (0, 0, 0)


class LastNumber(NamedTuple):
    """What is left of a job order that was forgotten: the last number and hash of its confirmations, its revision."""

    seq: int
    last_hash: str
    revision: int
