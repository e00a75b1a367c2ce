"""Rows of the API about people at machines, what changed there, lots and material. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.changes import CURSOR_PATTERN, WAIT_MAX_S
from gateway.api.fields import NAME_PATTERN, Choice, Field, Matching, Text, Whole
from gateway.api.route import Route
from gateway.core.access.permissions import Action
from gateway.core.work.genealogy import NODES_MAX, PAGE_NODES_MAX
from gateway.core.work.lots import LOT_CHARS_MAX
from gateway.core.work.produced_lots import SERIAL_CHARS_MAX

_NAME: Final = Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _")
_MACHINE: Final = Field("machine", _NAME, "work unit, as in the configuration")
_ORDER: Final = Field("order", Text(), "order number")
_OPERATION: Final = Field("operation", Text(), "needed where the order has several at this machine", required=False)
_PERSON: Final = Field("person", Text(), "whom it is about")
_FEEDER: Final = Field("feeder", _NAME, "place where material is mounted, as in the configuration")
_LOT: Final = Field("lot", Text(LOT_CHARS_MAX), "lot, as on its label")
_QUANTITY: Final = Matching(r"^[0-9]{1,12}(\.[0-9]{1,6})?$", "a decimal number, such as 12.5, up to 6 decimals")
WORKING: Final[tuple[Route, ...]] = (
    Route(
        "changes",
        "GET",
        "/v1/changes",
        (Action.SEE,),
        "changes",
        "Which machines changed and what happened since a cursor; with wait, as soon as something does",
        query=(
            Field("after", Matching(CURSOR_PATTERN, "the cursor of an answer before"), "what is known", required=False),
            Field("wait", Whole(0, WAIT_MAX_S), "so many seconds at most; at once if nothing is said", required=False),
            _MACHINE._replace(required=False),
        ),
        waits=True,
        may_be_missing=True,
    ),
    Route(
        "labour.in",
        "POST",
        "/v1/labour/in",
        (Action.LOG_ON,),
        "done",
        "A person begins to work at a machine: his time counts for its orders",
        body=(_MACHINE, _PERSON),
    ),
    Route(
        "labour.out",
        "POST",
        "/v1/labour/out",
        (Action.LOG_ON,),
        "done",
        "A person ceases to work at a machine",
        body=(_MACHINE, _PERSON),
    ),
    Route(
        "lot.mount",
        "POST",
        "/v1/lots/mount",
        (Action.MOUNT_LOT,),
        "done",
        "Mount a lot at a feeder, behind those that are there or in their place",
        body=(
            _MACHINE,
            _FEEDER,
            _LOT,
            Field("item", Text(), "what the label says; without it what belongs there", required=False),
            Field("quantity", _QUANTITY, "what is left of it in the item's unit", required=False),
            Field("replace", Choice(("true", "false")), "true: what was mounted is taken off", required=False),
        ),
    ),
    Route(
        "lot.unmount",
        "POST",
        "/v1/lots/unmount",
        (Action.MOUNT_LOT,),
        "done",
        "Take a lot off a feeder",
        body=(_MACHINE, _FEEDER, _LOT),
    ),
    Route(
        "material.issue",
        "POST",
        "/v1/material/issue",
        (Action.ISSUE_MATERIAL,),
        "done",
        "Say what an order used without pieces: purged, or to get going",
        body=(
            _MACHINE,
            _ORDER,
            _OPERATION,
            Field("item", Text(), "item of the order's BOM"),
            Field("quantity", _QUANTITY, "how much, in the item's unit"),
            Field("kind", Choice(("purge", "startup")), "what for"),
            Field("reason", Text(), "why; it is written down", required=False),
        ),
    ),
    Route(
        "lots.name",
        "POST",
        "/v1/lots/name",
        (Action.CORRECT,),
        "done",
        "Say which lot an order took at a feeder while nobody knew; a trace calls it assumed",
        body=(
            _MACHINE,
            _ORDER,
            _OPERATION,
            _FEEDER,
            _LOT,
            Field("reason", Text(), "why; it is written down"),
        ),
    ),
    Route(
        "lots.serial",
        "POST",
        "/v1/lots/serial",
        (Action.MOUNT_LOT,),
        "done",
        "Give the serial number of a piece; one that was there before puts a piece on hold",
        body=(
            _MACHINE,
            Field("serial", Text(SERIAL_CHARS_MAX), "serial number, as on the piece"),
            Field("order", Text(), "order number; without it the running one", required=False),
            _OPERATION,
        ),
    ),
    Route(
        "lots.trace",
        "GET",
        "/v1/lots/trace",
        (Action.SEE,),
        "trace",
        "What a lot or serial number went into, or was made from, however far, and how sure that is",
        query=(
            Field("number", Text(), "lot or serial number"),
            Field("direction", Choice(("forward", "backward")), "went into, or was made from"),
            Field("skip", Whole(0, NODES_MAX), "so many of what was reached: the next of an answer", required=False),
            Field("limit", Whole(1, PAGE_NODES_MAX), "so many of it at most", required=False),
        ),
        may_be_missing=True,
    ),
    Route(
        "lots.used",
        "GET",
        "/v1/lots/used",
        (Action.SEE,),
        "lot_use",
        "Where a lot was used: orders, products, serial numbers, handling units, confirmations, and what is still open",
        query=(_LOT,),
        may_be_missing=True,
    ),
)
