"""The rows of the API about what the ERP has booked, held against what was confirmed. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import Field, Text, Whole
from gateway.api.route import Route
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action

_ORDER: Final = Field("order", Text(), "order number")
_WHY: Final = Field("reason", Text(), "why; it is written down")

COMPARING: Final = (
    Route(
        "reconcile.reports",
        "GET",
        "/v1/reconciliation",
        (Action.SEE,),
        "reconciliation",
        "The last reports of what was confirmed against what the ERP has booked, newest first; or one of them whole",
        query=(Field("number", Whole(1, NUMBER_MAX), "only this one, with its findings", required=False),),
    ),
    Route(
        "reconcile.accept",
        "POST",
        "/v1/reconciliation/accept",
        (Action.RESOLVE_POSTING,),
        "done",
        "Take over what the last report found to be confirmed in the ERP: less remains, nothing is sent",
        body=(_ORDER, Field("operation", Text(), "operation"), _WHY),
    ),
    Route(
        "outbox.resend",
        "POST",
        "/v1/reconciliation/resend",
        (Action.RESOLVE_POSTING,),
        "resolved",
        "Send a booked confirmation again that the ERP has lost, with the same key and bytes",
        body=(Field("key", Text(), "its idempotency key"), _WHY),
    ),
)
