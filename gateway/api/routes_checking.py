"""Rows of the API about the audit trail and about what the ERP has booked. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import Field, Text, Time, Whole
from gateway.api.route import Route
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action

AUDIT_ENTRIES_MAX: Final = 1000
USER_CHARS_MAX: Final = 64

_ORDER: Final = Field("order", Text(), "order number")
_WHY: Final = Field("reason", Text(), "why; it is written down")

CHECKING: Final = (
    Route(
        "audit",
        "GET",
        "/v1/audit",
        (Action.SEE_AUDIT,),
        "audit",
        "The audit trail, newest first: who did what, when and why",
        query=(
            _ORDER._replace(required=False),
            Field("who_did", Text(USER_CHARS_MAX), "only what this user did", required=False),
            Field("from", Time(), "from then on", required=False),
            Field("to", Time(), "before then", required=False),
            Field("before", Whole(1, NUMBER_MAX), "only numbers below: the next page", required=False),
            Field("limit", Whole(1, AUDIT_ENTRIES_MAX), "at most so many; 50 if nothing is said", required=False),
        ),
    ),
    Route(
        "buffer",
        "GET",
        "/v1/buffer",
        (Action.SEE,),
        "buffer",
        "The figures of the buffer: what waits, room and growth, what is lost for certain, what is held",
    ),
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
