"""The rows of the API about pieces without an order, splits, merges and numbers that people counted. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import NAME_PATTERN, PASSPHRASE, Choice, Field, Hidden, Listed, Matching, Text, Whole
from gateway.api.route import Route
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action

_ROLES: Final = ("good", "scrap", "rework", "hold", "test")
_MACHINE: Final = Field(
    "machine", Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _"), "work unit, as in the configuration"
)
_ORDER: Final = Field("order", Text(), "order number")
_OPERATION: Final = Field("operation", Text(), "needed where the order has several at this machine", required=False)
_WHY: Final = Field("reason", Text(), "why; it is written down")
_MAYBE_WHY: Final = _WHY._replace(required=False)
_SIGNED: Final = Field(PASSPHRASE, Hidden(), "yours, to sign with; needed after the final confirmation", required=False)
_PIECES: Final = Field("pieces", Whole(1, NUMBER_MAX), "how many")

DIVIDING: Final = (
    Route(
        "unallocated",
        "GET",
        "/v1/unallocated",
        (Action.SEE,),
        "unallocated",
        "Pieces of a machine that no order ran for, the entries that they are kept in, how long they wait",
        query=(_MACHINE,),
    ),
    Route(
        "order.allocate",
        "POST",
        "/v1/orders/allocate",
        (Action.ALLOCATE,),
        "done",
        "Give pieces without an order to an order; without one they are written off as scrap",
        body=(
            _MACHINE,
            _ORDER._replace(required=False),
            _OPERATION,
            _PIECES,
            Field("from", Choice(_ROLES), "what they were counted as; good if nothing is said", required=False),
            Field("to", Choice(_ROLES), "what they are; the same if nothing is said", required=False),
            Field("entries", Listed("3,4"), "only from these entries, such as 3,4", required=False),
            _WHY,
        ),
    ),
    Route(
        "order.split",
        "POST",
        "/v1/orders/split",
        (Action.SPLIT,),
        "done",
        "Split an order: its children get all that remains",
        body=(
            _MACHINE,
            _ORDER,
            _OPERATION,
            Field("quantities", Listed("40,30"), "one for each child, such as 40,30; in all what remains"),
            _MAYBE_WHY,
        ),
    ),
    Route(
        "order.merge",
        "POST",
        "/v1/orders/merge",
        (Action.MERGE,),
        "done",
        "Merge orders of one product under a new one; each of them is confirmed",
        body=(
            _MACHINE,
            Field("leader", Text(), "number of the order that leads them; a new one"),
            Field("orders", Listed("4711,4712"), "the orders, such as 4711,4712"),
            _OPERATION,
            Field(
                "distribution",
                Choice(("by_open_qty", "sequential_by_due_date", "fixed_ratio")),
                "how the pieces are shared; as configured if nothing is said",
                required=False,
            ),
            Field("ratios", Listed("2,1"), "for fixed_ratio: one for each order, such as 2,1", required=False),
            _MAYBE_WHY,
        ),
    ),
    Route(
        "order.unmerge",
        "POST",
        "/v1/orders/unmerge",
        (Action.MERGE,),
        "done",
        "Take a merge back, as long as nothing was made",
        body=(_MACHINE, _ORDER, _OPERATION, _MAYBE_WHY),
    ),
    Route(
        "order.report",
        "POST",
        "/v1/orders/report",
        (Action.CONFIRM,),
        "done",
        "Say how many pieces were made, where people count; where the machine counts, only what of these is bad",
        body=(
            _MACHINE,
            _ORDER,
            _OPERATION,
            Field("good", Whole(0, NUMBER_MAX), "good pieces", required=False),
            Field("scrap", Whole(0, NUMBER_MAX), "scrap", required=False),
            Field("rework", Whole(0, NUMBER_MAX), "pieces to be worked on again", required=False),
            _MAYBE_WHY,
        ),
    ),
    Route(
        "order.scrap",
        "POST",
        "/v1/orders/scrap",
        (Action.SCRAP,),
        "done",
        "Good pieces are scrap; none is added, and confirmed ones are corrected",
        body=(_MACHINE, _ORDER, _OPERATION, _PIECES, _WHY, _SIGNED),
    ),
    Route(
        "order.rework",
        "POST",
        "/v1/orders/rework",
        (Action.REWORK,),
        "done",
        "Good pieces are to be worked on again; confirmed ones are corrected",
        body=(_MACHINE, _ORDER, _OPERATION, _PIECES, _WHY, _SIGNED),
    ),
)
