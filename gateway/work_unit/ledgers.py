"""What is confirmed of an operation and how far it got: postings of the outbox as the ledger that corrections need.

A confirmation may go to several targets: it is unsent where nothing of it is at any of them, and known to be booked
where no answer is missing. Reads only.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from buffer.entry import OutboxState
from buffer.errors import StoreError
from buffer.outbox import Outbox
from gateway.core.confirming.booked import CONTENTS_MAX, Confirmed, Content, content_of
from gateway.core.confirming.corrections import EntryKind
from gateway.core.confirming.hold_back import IN_DOUBT, VOIDABLE, Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buffer.entry import OutboxEntry
    from buffer.store import Store
    from gateway.core.confirming.corrections import Capability

#: Why a posting is parked although nothing of it is at the target.
_SURELY_NOT: Final = frozenset(
    {"business_reject", "mapping", "not_sent", "busy", "wait_precondition", "auth", "stranded"}
)
_BY_HAND: Final = "by_hand"
_KEPT_BACK: Final = "kept_back"
_REVERSAL: Final = EntryKind.REVERSAL.value
_PLAIN: Final = {
    OutboxState.NEEDS_APPROVAL: Delivery.NEEDS_APPROVAL,
    OutboxState.SENDING: Delivery.SENDING,
    OutboxState.ACCEPTED: Delivery.ACCEPTED,
    OutboxState.POSTED: Delivery.POSTED,
    OutboxState.DELIVERED: Delivery.POSTED,
    OutboxState.UNCERTAIN: Delivery.UNCERTAIN,
    OutboxState.RETRY_WAIT: Delivery.RETRY_WAIT,
}


async def confirmed(store: Store, order: str, operation: str, capability: Capability) -> Confirmed:
    """All that is confirmed of an operation. Raises StoreError."""
    entries = await Outbox(store).of_operation(order, operation, CONTENTS_MAX)
    if not entries:
        return Confirmed((), capability)
    try:
        # In a thread where it takes long: machines are counted meanwhile.
        contents = await asyncio.to_thread(_contents, entries) if len(entries) > _MANY else _contents(entries)
    except (KeyError, TypeError, ValueError) as error:
        where = f"{store.path}: a confirmation of order {order}, operation {operation}"
        raise StoreError(
            f"{where} cannot be read ({error!r}); it was written by another linegate: report it"
        ) from error
    return Confirmed(contents, capability)


def delivery_of(entry: OutboxEntry) -> Delivery:
    """How far one posting got, as corrections see it."""
    match entry.state:
        case OutboxState.HELD | OutboxState.READY:
            if entry.attempts or entry.step:  # sent before: whether it is there is found out when it is sent again
                return Delivery.RETRY_WAIT
            return Delivery.HELD if entry.state is OutboxState.HELD else Delivery.READY
        case OutboxState.PARKED:
            # Of several steps one may be booked: then what is parked is the rest of it.
            surely_not = not entry.step and (not entry.attempts or entry.error_kind in _SURELY_NOT)
            return Delivery.PARKED if surely_not and entry.error_kind != _BY_HAND else Delivery.BY_HAND
        case OutboxState.SUPERSEDED:  # what a person was to book by hand is done so
            return Delivery.POSTED if entry.error_kind == _BY_HAND else Delivery.ELSEWHERE
        case OutboxState.VOIDED:
            by_milestone = entry.error_kind == _KEPT_BACK and entry.kind != _REVERSAL
            return Delivery.ELSEWHERE if by_milestone else Delivery.VOIDED_BEFORE_SEND
    return _PLAIN[entry.state]


_MANY: Final = 100


def _contents(entries: Sequence[OutboxEntry]) -> tuple[Content, ...]:
    by_key: dict[str, list[OutboxEntry]] = {}
    for entry in reversed(entries):
        by_key.setdefault(entry.key, []).append(entry)
    return tuple(
        content_of(json.loads(own[0].payload), _together([delivery_of(one) for one in own])) for own in by_key.values()
    )


def _together(found: Sequence[Delivery]) -> Delivery:
    """Of one confirmation for several targets: the doubt goes first, then what is booked."""
    doubtful = next((one for one in found if one in IN_DOUBT), None)
    if doubtful is not None:
        return doubtful
    if Delivery.POSTED in found:  # the others get it, too, and then what takes it back
        return Delivery.POSTED
    return next((one for one in found if one in VOIDABLE), Delivery.VOIDED_BEFORE_SEND)
