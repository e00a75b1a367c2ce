"""The rows of the API about confirmations that are put right, and those that wait for an approval. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import NAME_PATTERN, PASSPHRASE, Field, Hidden, Matching, Text, Whole
from gateway.api.route import Route
from gateway.connectors.base import STEPS_MAX
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action

_MACHINE: Final = Field(
    "machine", Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _"), "work unit, as in the configuration"
)
_ORDER: Final = Field("order", Text(), "order number")
_OPERATION: Final = Field("operation", Text(), "needed where the order has several at this machine", required=False)
_WHY: Final = Field("reason", Text(), "why; it is written down")
_CONFIRMATION: Final = Field("confirmation", Whole(1, NUMBER_MAX), "its number within the operation (seq)")
_SIGNED: Final = Field(
    PASSPHRASE,
    Hidden(),
    "yours, to sign with; needed after the final confirmation, and where the profile asks for a signature",
    required=False,
)
_WHICH: Final = (_MACHINE, _ORDER, _OPERATION, _CONFIRMATION)

CORRECTING: Final = (
    Route(
        "order.correct",
        "POST",
        "/v1/orders/correct",
        (Action.CORRECT,),
        "done",
        "Give a confirmation other numbers: it is reversed and made anew, or replaced where it was not sent yet",
        body=(
            *_WHICH,
            Field("good", Whole(0, NUMBER_MAX), "good pieces as they should have been"),
            Field("scrap", Whole(0, NUMBER_MAX), "scrap as it should have been"),
            Field("rework", Whole(0, NUMBER_MAX), "pieces for rework as they should have been"),
            _WHY,
            _SIGNED,
        ),
    ),
    Route(
        "order.reverse",
        "POST",
        "/v1/orders/reverse",
        (Action.CORRECT,),
        "done",
        "Take a confirmation of an open order back: its pieces are confirmed with the next one",
        body=(*_WHICH, _WHY, _SIGNED),
    ),
    Route(
        "order.reject",
        "POST",
        "/v1/orders/reject",
        (Action.CORRECT,),
        "done",
        "Refuse the approval of a confirmation: what is tolerated is confirmed, the rest is without an order",
        body=(*_WHICH, _WHY),
    ),
    Route(
        "outbox.edit",
        "POST",
        "/v1/outbox/{number}/edit",
        (Action.CORRECT,),
        "done",
        "Give a parked confirmation other numbers: a new one takes its place; refused where it may be booked",
        params=(Field("number", Whole(1, NUMBER_MAX), "number of the posting"),),
        body=(
            Field("good", Whole(0, NUMBER_MAX), "good pieces as they should have been"),
            Field("scrap", Whole(0, NUMBER_MAX), "scrap as it should have been"),
            Field("rework", Whole(0, NUMBER_MAX), "pieces for rework as they should have been"),
            _WHY,
            _SIGNED,
        ),
    ),
    Route(
        "outbox.post_today",
        "POST",
        "/v1/outbox/{number}/post-today",
        (Action.CORRECT,),
        "done",
        "Post a parked confirmation today, whose period the ERP has closed; the dates of the events stay in it",
        params=(Field("number", Whole(1, NUMBER_MAX), "number of the posting"),),
        body=(_WHY, _SIGNED),
    ),
    Route(
        "outbox.booked",
        "POST",
        "/v1/outbox/{number}/booked",
        (Action.RESOLVE_POSTING,),
        "booked",
        "Say that a parked or unclear posting is booked in the ERP, which is asked first where it can be",
        params=(Field("number", Whole(1, NUMBER_MAX), "number of the posting"),),
        body=(
            Field("reference", Text(), "under which number the ERP has it"),
            Field(
                "step",
                Whole(1, STEPS_MAX),
                "which of its messages, from 1; needed where it has several: the one that is due",
                required=False,
            ),
            _WHY,
        ),
    ),
    Route(
        "outbox.approve",
        "POST",
        "/v1/outbox/approve",
        (Action.APPROVE_OVER_TOLERANCE,),
        "done",
        "Let a confirmation be sent that says more than the order's tolerance allows",
        body=(Field("which", Whole(1, NUMBER_MAX), "number of the posting"), _WHY, _SIGNED),
    ),
)
