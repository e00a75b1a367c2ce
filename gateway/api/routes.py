"""The table of the API: each verb with its method, path, permission, request and answer. One row is one verb.

Nothing else knows a path: the server, the OpenAPI document and the tests are made from these rows. A new verb is a new
row here and a verb of the same name in the gateway's table. Runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buffer.entry import OutboxState
from gateway.api.correcting import CORRECTING
from gateway.api.dividing import DIVIDING
from gateway.api.fields import NAME_PATTERN, PASSPHRASE, Choice, Field, Flag, Hidden, Matching, Text, Time, Whole
from gateway.api.route import Route
from gateway.api.routes_checking import CHECKING
from gateway.api.routes_holding import HOLDING
from gateway.api.routes_working import WORKING
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action
from gateway.core.orders.erp_notice import POSTING_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

POSTINGS_MAX: Final = 1000
OUTBOX_STATES: Final = tuple(state.value for state in OutboxState)
ORDER_STATES_CHARS_MAX: Final = 32


_NAME: Final = Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _")
_MACHINE: Final = Field("machine", _NAME, "work unit, as in the configuration")
_ORDER: Final = Field("order", Text(), "order number")
_OPERATION: Final = Field("operation", Text(), "needed where the order has several at this machine", required=False)
_WHY: Final = Field("reason", Text(), "why; it is written down")
_SPLIT_AT: Final = Field("at", Time(), "the instant of the split")
_POSTING_NUMBER: Final = (Field("number", Whole(1, NUMBER_MAX), "number of the posting"),)
_SIGNED: Final = Field(
    PASSPHRASE, Hidden(), "yours, to sign with; needed where the profile asks for a signature", required=False
)
_DECISION: Final = (_MACHINE, _ORDER, _OPERATION)


def _may(field: Field) -> Field:
    return field._replace(required=False)


def _decision(name: str, action: Action, summary: str) -> Route:
    """A decision about one order that needs nothing besides."""
    return Route(f"order.{name}", "POST", f"/v1/orders/{name}", (action,), "done", summary, body=_DECISION)


def _judgement(body: Mapping[str, Any]) -> Action:
    """Held pieces are released; good ones are declared as something else; what is bad is corrected."""
    if body["from"] == "hold":
        return Action.RELEASE
    return {"scrap": Action.SCRAP, "rework": Action.REWORK}.get(body["to"], Action.CORRECT)


_OPEN: Final = (
    Route("health", "GET", "/health", (), "health", "Whether the process answers; needs no token"),
    Route("ready", "GET", "/ready", (), "ready", "Whether the gateway counts and commits; needs no token"),
)
_READING: Final = (
    Route("me", "GET", "/v1/me", (Action.SEE,), "me", "Whose token it is, and what may be done with it"),
    Route("status", "GET", "/v1/status", (Action.SEE,), "status", "The whole gateway at this moment"),
    Route("work_units", "GET", "/v1/work-units", (Action.SEE,), "work_units", "All machines: state, order, pieces"),
    Route(
        "work_unit",
        "GET",
        "/v1/work-units/{machine}",
        (Action.SEE,),
        "work_unit",
        "One machine: state, order, pieces",
        params=(_MACHINE,),
        may_be_missing=True,
    ),
    Route(
        "orders",
        "GET",
        "/v1/orders",
        (Action.SEE,),
        "orders",
        "Open orders, machine by machine, in their sequence",
        query=(
            _may(_MACHINE),
            Field(
                "state", Text(ORDER_STATES_CHARS_MAX), "only orders in this state, such as DISPATCHED", required=False
            ),
        ),
        may_be_missing=True,
    ),
    Route(
        "states",
        "GET",
        "/v1/states",
        (Action.SEE,),
        "states",
        "What a machine did: final intervals, sums and indicators; without a choice of time the last 24 hours",
        query=(
            _MACHINE,
            Field("from", Time(), "from then on", required=False),
            Field("to", Time(), "up to then", required=False),
            Field("shift", Text(), "one shift, such as 2026-03-27/F", required=False),
            Field("day", Text(), "one production day, such as 2026-03-27", required=False),
            Field("order", Text(), "one order, all of its operations here", required=False),
            Field("by", Choice(("shift", "day", "order")), "what is summed up", required=False),
            Field("sums", Choice(("true", "false")), "true: no intervals", required=False),
        ),
        may_be_missing=True,
    ),
    Route(
        "stop.list",
        "GET",
        "/v1/stops",
        (Action.SEE,),
        "stops",
        "The final stops of a machine, each part of one that was split; without a choice of time the last 24 hours",
        query=(
            _MACHINE,
            Field("from", Time(), "from then on", required=False),
            Field("to", Time(), "up to then", required=False),
            Field("without_reason", Choice(("true", "false")), "true: only those without a reason", required=False),
        ),
        may_be_missing=True,
    ),
    Route(
        "dispatch",
        "GET",
        "/v1/work-units/{machine}/dispatch",
        (Action.SEE,),
        "dispatch",
        "What a person at the machine decides on: running orders, queue, what waits for a verdict, what can be undone",
        params=(_MACHINE,),
        may_be_missing=True,
    ),
    Route(
        "outbox",
        "GET",
        "/v1/outbox",
        (Action.SEE,),
        "outbox",
        "Confirmations on their way to the ERP, newest first",
        query=(
            Field("state", Choice(OUTBOX_STATES), "only these", required=False),
            _may(_ORDER),
            Field("key", Text(), "only the one with this idempotency key", required=False),
            Field("kind", Choice(POSTING_KINDS), "only these: ack answers an order, notice tells else", required=False),
            Field("before", Whole(1, NUMBER_MAX), "only numbers below: the next page", required=False),
            Field("limit", Whole(1, POSTINGS_MAX), "at most so many; 50 if nothing is said", required=False),
        ),
    ),
    Route(
        "posting",
        "GET",
        "/v1/outbox/{number}",
        (Action.SEE,),
        "posting",
        "One confirmation whole: what it says, the message as it was sent, how it ended",
        params=_POSTING_NUMBER,
        may_be_missing=True,
    ),
)
_DECIDING: Final = (
    Route(
        "order.start",
        "POST",
        "/v1/orders/start",
        (Action.START,),
        "done",
        "Start or resume an order; the running one is interrupted",
        body=(
            *_DECISION,
            Field(
                "interrupt", Flag(), "true: what runs is interrupted in any case, and is next after it", required=False
            ),
        ),
    ),
    Route(
        "order.scan",
        "POST",
        "/v1/orders/scan",
        (Action.START,),
        "done",
        "Start or resume the order of a barcode, as start does",
        body=(
            _MACHINE,
            Field("order", Text(), "the barcode: order number, alone or with the operation behind / - + * or a blank"),
        ),
    ),
    _decision(
        "rush", Action.DISPATCH, "Put an order before all others; what runs is interrupted for it, and goes on after it"
    ),
    _decision("approve-first-article", Action.APPROVE_FIRST_ARTICLE, "The first piece is right: production begins"),
    Route(
        "order.acknowledge-documents",
        "POST",
        "/v1/orders/acknowledge-documents",
        (Action.ACKNOWLEDGE,),
        "done",
        "The documents of an order were read: all of them, or the one that is named",
        body=(*_DECISION, Field("document", Text(), "as the order names it", required=False)),
    ),
    _decision("material-ready", Action.TELL_MATERIAL, "The material of an order is at the machine"),
    _decision("material-missing", Action.TELL_MATERIAL, "The material of an order is not there: it does not start"),
    _decision("interrupt", Action.INTERRUPT, "Interrupt the running order"),
    Route(
        "order.finish",
        "POST",
        "/v1/orders/finish",
        (Action.FINISH,),
        "done",
        "End an order and confirm it finally; below what is tolerated a reason is needed",
        body=(*_DECISION, _may(_WHY)),
    ),
    Route(
        "order.confirm",
        "POST",
        "/v1/orders/confirm",
        (Action.CONFIRM,),
        "done",
        "Confirm now what was made of an order since its last confirmation",
        body=(*_DECISION, _may(_WHY)),
    ),
    Route(
        "order.acknowledge-data",
        "POST",
        "/v1/orders/acknowledge-data",
        (Action.ACKNOWLEDGE,),
        "done",
        "Take time without data, counters in doubt and unknown lots of an order as they are",
        body=(*_DECISION, _may(_WHY)),
    ),
    Route(
        "order.inspect",
        "POST",
        "/v1/orders/inspect",
        (Action.INSPECT,),
        "done",
        "Enter the verdict of an order's inspection; its final confirmation may wait for it",
        body=(*_DECISION, Field("verdict", Choice(("passed", "failed")), "what it says"), _may(_WHY)),
    ),
    _decision("complete-setup", Action.FINISH_SETUP, "The setup of the running order is done"),
    Route(
        "order.hold",
        "POST",
        "/v1/orders/hold",
        (Action.HOLD,),
        "done",
        "Set an order on hold: it does not start, and what it makes waits for a verdict",
        body=(*_DECISION, _WHY),
    ),
    Route(
        "order.release",
        "POST",
        "/v1/orders/release",
        (Action.RELEASE,),
        "done",
        "End a hold: the order is where it was before",
        body=(*_DECISION, _WHY, _SIGNED),
    ),
    Route(
        "order.reopen",
        "POST",
        "/v1/orders/reopen",
        (Action.REOPEN,),
        "done",
        "Open an order again that is complete; its final confirmation is reversed",
        body=(*_DECISION, _WHY),
    ),
    _decision("dispatch", Action.DISPATCH, "Put a released order into the queue of its machine"),
    _decision("revoke", Action.DISPATCH, "Take an order that was not started out of the queue again"),
    Route(
        "order.reclassify",
        "POST",
        "/v1/orders/reclassify",
        (Action.SCRAP, Action.REWORK, Action.RELEASE, Action.CORRECT),
        "done",
        "Say what pieces are that were booked as something else, or were held; no piece is made or lost",
        body=(
            *_DECISION,
            Field("pieces", Whole(1, NUMBER_MAX), "how many"),
            Field("from", Choice(("good", "scrap", "rework", "hold")), "what they were booked as"),
            Field("to", Choice(("good", "scrap", "rework")), "what they are"),
            _WHY,
            _SIGNED,
        ),
        action_of=_judgement,
    ),
    Route(
        "reason",
        "POST",
        "/v1/stops/reason",
        (Action.NAME_STOP,),
        "done",
        "Say why a machine stands, or stood: the stop that goes on, the one at an instant, or a part of one",
        body=(
            _MACHINE,
            Field("reason", Text(), "such as NO_MATERIAL"),
            Field("from", Time(), "an instant of the stop; with to: only from then on", required=False),
            Field("to", Time(), "only up to then; needs from", required=False),
        ),
    ),
    Route(
        "stop.split",
        "POST",
        "/v1/stops/split",
        (Action.NAME_STOP,),
        "done",
        "Say that a stop was two, before and after an instant; both keep the reason, and no sum changes",
        body=(_MACHINE, _SPLIT_AT, _WHY),
    ),
    Route(
        "stop.merge",
        "POST",
        "/v1/stops/merge",
        (Action.NAME_STOP,),
        "done",
        "Take the split of a stop back",
        body=(_MACHINE, _SPLIT_AT, _WHY),
    ),
    Route(
        "undo",
        "POST",
        "/v1/undo",
        (Action.UNDO,),
        "done",
        "Take back your own last decision at a machine, within confirm.undo_window",
        body=(_MACHINE,),
    ),
    Route(
        "order.cancel",
        "POST",
        "/v1/orders/cancel",
        (Action.DISPATCH,),
        "done",
        "Withdraw an order for the ERP; what was made is confirmed",
        body=(*_DECISION, _may(_WHY)),
    ),
    Route(
        "outbox.retry",
        "POST",
        "/v1/outbox/{number}/retry",
        (Action.RESOLVE_POSTING,),
        "resolved",
        "Send a posting again that waits for a person",
        params=_POSTING_NUMBER,
        body=(_WHY,),
    ),
    Route(
        "outbox.release",
        "POST",
        "/v1/outbox/{number}/release",
        (Action.RELEASE_POSTING,),
        "resolved",
        "Send a posting before its window is over, or although its target warned of it; a retry passes no warning over",
        params=_POSTING_NUMBER,
        body=(_WHY, _SIGNED),
    ),
    Route(
        "outbox.discard",
        "POST",
        "/v1/outbox/{number}/discard",
        (Action.RESOLVE_POSTING,),
        "resolved",
        "Give a posting up that waits for a person: it is not sent any more",
        params=_POSTING_NUMBER,
        body=(_WHY,),
    ),
    Route(
        "setup.begin",
        "POST",
        "/v1/setups/begin",
        (Action.SETUP_AGAIN,),
        "done",
        "From now on the time is setup",
        body=(_MACHINE,),
    ),
    Route(
        "setup.end",
        "POST",
        "/v1/setups/end",
        (Action.FINISH_SETUP,),
        "done",
        "The setup is done",
        body=(_MACHINE,),
    ),
)

ROUTES: Final[tuple[Route, ...]] = (
    *_OPEN,
    *_READING,
    *CHECKING,
    *_DECIDING,
    *CORRECTING,
    *DIVIDING,
    *HOLDING,
    *WORKING,
)
