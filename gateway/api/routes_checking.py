"""Rows of the API about the audit trail and about what the ERP has booked. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import NAME_PATTERN, Field, Matching, Text, Time, Whole
from gateway.api.route import Route
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action

AUDIT_ENTRIES_MAX: Final = 1000
USER_CHARS_MAX: Final = 64

_ORDER: Final = Field("order", Text(), "order number")
_WHY: Final = Field("reason", Text(), "why; it is written down")
_TARGET: Final = Field(
    "target",
    Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _"),
    "connector, as in the configuration; without it each that is meant",
    required=False,
)

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
        "erp.probe",
        "GET",
        "/v1/erp/probe",
        (Action.RESOLVE_POSTING,),
        "probes",
        "Whether each ERP answers to one harmless question",
        query=(_TARGET,),
    ),
    Route(
        "erp.lookup",
        "GET",
        "/v1/erp/lookup",
        (Action.RESOLVE_POSTING,),
        "lookups",
        "Whether the ERP has a key booked: asked now, each message of it that may have left",
        query=(Field("key", Text(), "idempotency key of a confirmation"), _TARGET),
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
