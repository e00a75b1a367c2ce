"""A confirmation as it enters the outbox: in which state it begins, when it may be sent, how it may be corrected.

Decides nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buffer.entry import OutboxState
from buffer.step import NewPosting
from gateway.core.confirming.corrections import Capability
from gateway.core.confirming.hold_back import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.connectors.base import Connector
    from gateway.core.model import Confirmation

_BY_HAND = "a correction that this ERP does not take: book it there by hand, then say so (linegate outbox booked)"


def posting_of(confirmation: Confirmation, target: str, payload: bytes) -> NewPosting:
    """The posting of a confirmation for one target."""
    state, note = _first_state(confirmation)
    anything_made = confirmation.derived_ns is not None
    return NewPosting(
        target=target,
        key=confirmation.key,
        message_id=confirmation.message_id,
        order=confirmation.job.order,
        operation=confirmation.job.operation,
        seq=confirmation.seq,
        kind=confirmation.kind.value,
        payload=payload,
        created_ns=confirmation.created_ns,
        state=state.value,
        due_ns=confirmation.release_ns,
        event_ns=confirmation.last_event_ns if anything_made else None,
        derived_ns=confirmation.derived_ns,
        note=note,
        lane_order=confirmation.job.erp_order,
    )


def capability_of(connectors: Iterable[Connector | None]) -> Capability:
    """How all of those who get a confirmation take a correction of it: as the least able of them does."""
    found = {"manual" if one is None else one.capabilities.correction for one in connectors}
    if not found or "manual" in found:
        return Capability.MANUAL
    return Capability.CANCEL if found == {"cancel"} else Capability.NEGATIVE


def _first_state(one: Confirmation) -> tuple[OutboxState, str]:
    if one.kept_back:
        return OutboxState.VOIDED, f"the ERP confirms it with operation {one.kept_back}, a milestone"
    if one.delivery == Delivery.VOIDED_BEFORE_SEND:
        return OutboxState.VOIDED, "what it takes back was never sent"
    if one.delivery == Delivery.BY_HAND:
        return OutboxState.PARKED, _BY_HAND
    if one.needs_approval or one.delivery == Delivery.NEEDS_APPROVAL:
        return OutboxState.NEEDS_APPROVAL, ""
    return (OutboxState.HELD if one.release_ns > one.created_ns else OutboxState.READY), ""
