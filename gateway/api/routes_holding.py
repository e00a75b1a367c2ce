"""Rows of the API about holds of a whole machine, a product, a lot or an order. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import NAME_PATTERN, PASSPHRASE, Choice, Field, Hidden, Matching, Text
from gateway.api.route import Route
from gateway.core.access.permissions import Action
from gateway.core.orders.standing_holds import HoldScope

_NAME: Final = Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _")
_MACHINE: Final = Field(
    "machine", _NAME, "work unit, as in the configuration; without it all of them that have orders", required=False
)
_SCOPE: Final = Field("scope", Choice(tuple(one.value for one in HoldScope)), "what it is of")
_OF: Final = Field("name", Text(), "the product, lot or order; none with scope machine", required=False)
_WHY: Final = Field("reason", Text(), "why; it is written down")
_SIGNED: Final = Field(
    PASSPHRASE, Hidden(), "yours, to sign with; needed where the profile or the machine asks for it", required=False
)
HOLDING: Final[tuple[Route, ...]] = (
    Route(
        "hold.list",
        "GET",
        "/v1/holds",
        (Action.SEE,),
        "holds",
        "Holds that stand, machine by machine",
        query=(_MACHINE,),
        may_be_missing=True,
    ),
    Route(
        "hold.set",
        "POST",
        "/v1/holds/set",
        (Action.HOLD,),
        "done",
        "Hold a machine, a product, a lot or an order: all that is open of it, and what comes later",
        body=(_MACHINE, _SCOPE, _OF, _WHY),
    ),
    Route(
        "hold.release",
        "POST",
        "/v1/holds/release",
        (Action.RELEASE,),
        "done",
        "Release such a hold: its orders are where they were before, unless another one keeps them",
        body=(_MACHINE, _SCOPE, _OF, _WHY, _SIGNED),
    ),
)
