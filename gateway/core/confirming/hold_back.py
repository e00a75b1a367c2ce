"""How long a confirmation waits before it may be sent, so that an undo or another verdict still changes what is sent.

Delayed is the sending, not the closing. The period ends at its trigger, in one transaction that gives number, key and
bytes; from then on nothing in it changes. A change within the window makes it void (both it and its reversal stay, none
is sent) and a corrected one takes its place (``corrections.py``). Had the closing been delayed, there would be content
that is neither open nor confirmed, several periods of it behind each other, and a key that does not exist yet for what
a person already sees. The price: numbers of void confirmations are missing at the ERP, which must not count them.

Within a lane (the confirmations of one operation) none goes before the one ahead of it. Sends nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.rules_confirming import ConfirmingRule


class Delivery(enum.StrEnum):
    """How far a confirmation is on its way to the ERP."""

    NEEDS_APPROVAL = "NEEDS_APPROVAL"  # beyond a tolerance: a person signs first
    HELD = "HELD"
    READY = "READY"
    SENDING = "SENDING"
    UNCERTAIN = "UNCERTAIN"  # sent, no answer
    RETRY_WAIT = "RETRY_WAIT"
    ACCEPTED = "ACCEPTED"  # taken, booked later
    PARKED = "PARKED"  # surely not booked: refused, or never left
    BY_HAND = "BY_HAND"  # a person books it in the ERP
    ELSEWHERE = "ELSEWHERE"  # given up here, or the ERP confirms it by itself: what became of it is known there only
    POSTED = "POSTED"
    VOIDED_BEFORE_SEND = "VOIDED_BEFORE_SEND"


#: Nothing of it is at the ERP, nor will be if it is made void now (READY: in the transaction that finds it so).
VOIDABLE: Final = frozenset({Delivery.NEEDS_APPROVAL, Delivery.HELD, Delivery.READY, Delivery.PARKED})
#: Nobody knows yet whether it is at the ERP.
IN_DOUBT: Final = frozenset(
    {
        Delivery.SENDING,
        Delivery.UNCERTAIN,
        Delivery.RETRY_WAIT,
        Delivery.ACCEPTED,
        Delivery.BY_HAND,
        Delivery.ELSEWHERE,
    }
)
#: On its way before it may be sent.
BEFORE_READY: Final = frozenset({Delivery.NEEDS_APPROVAL, Delivery.HELD})


class HeldConfirmation(NamedTuple):
    """A confirmation before it may be sent. ``release_ns``: not before that time, nor before the ones ahead."""

    key: str
    created_ns: int
    release_ns: int
    delivery: Delivery


def restored(data: Mapping[str, Any]) -> HeldConfirmation:
    """What ``_asdict`` and JSON made of one. Raises TypeError or ValueError for anything else."""
    return HeldConfirmation(**{**data, "delivery": Delivery(data["delivery"])})


def admitted(
    rule: ConfirmingRule, key: str, created_ns: int, *, by_person: bool = False, needs_approval: bool = False
) -> HeldConfirmation:
    """A confirmation that was just closed. ``by_person``: somebody's entry caused it, and may be undone."""
    window_ns = max(rule.hold_back, rule.undo_window) if by_person else rule.hold_back
    first = Delivery.NEEDS_APPROVAL if needs_approval else Delivery.HELD if window_ns else Delivery.READY
    return HeldConfirmation(key, created_ns, created_ns + window_ns, first)


def released(lane: Sequence[HeldConfirmation], at_ns: int) -> tuple[HeldConfirmation, ...]:
    """The lane now: what has waited long enough is READY, up to the first that has not, or that needs an approval.

    ``lane`` in the order of numbers. What is READY behind one that waits waits with it.
    """
    free = True
    found: list[HeldConfirmation] = []
    for one in lane:
        if one.delivery in BEFORE_READY or one.delivery is Delivery.READY:
            free = free and one.delivery is not Delivery.NEEDS_APPROVAL and at_ns >= one.release_ns
            waits = Delivery.NEEDS_APPROVAL if one.delivery is Delivery.NEEDS_APPROVAL else Delivery.HELD
            found.append(one._replace(delivery=Delivery.READY if free else waits))
        else:
            found.append(one)
    return tuple(found)


def deadline(lane: Sequence[HeldConfirmation]) -> int | None:
    """When ``released`` is due; None: nothing waits for time alone."""
    first = next((one for one in lane if one.delivery in BEFORE_READY), None)
    return None if first is None or first.delivery is Delivery.NEEDS_APPROVAL else first.release_ns


def approved(one: HeldConfirmation, at_ns: int) -> HeldConfirmation:
    """A person signed: it waits for its time, if that has not come. Raises ValueError where nothing is to be signed."""
    if one.delivery is not Delivery.NEEDS_APPROVAL:
        raise ValueError(f"confirmation {one.key}: found {one.delivery}, allowed {Delivery.NEEDS_APPROVAL}")
    return one._replace(delivery=Delivery.HELD if at_ns < one.release_ns else Delivery.READY)
