"""Rows of the API about the audit trail and about what the ERP has booked. Runs nothing."""

from __future__ import annotations

from typing import Final

from gateway.api.fields import NAME_PATTERN, Field, Matching, Text, Time, Whole
from gateway.api.route import Route
from gateway.control import NUMBER_MAX
from gateway.core.access.permissions import Action

AUDIT_ENTRIES_MAX: Final = 1000
ANCHORS_MAX: Final = 1000
DAYS_MAX: Final = 400
DAY_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
USER_CHARS_MAX: Final = 64

_ORDER: Final = Field("order", Text(), "order number")
_WHY: Final = Field("reason", Text(), "why; it is written down")
_POSTING_NUMBER: Final = (Field("number", Whole(1, NUMBER_MAX), "number of the posting"),)
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
        "audit.anchors",
        "GET",
        "/v1/audit/anchors",
        (Action.SEE_AUDIT,),
        "anchors",
        "The end of the audit trail and its daily anchors, newest first: keep them where nobody can change them",
        query=(Field("limit", Whole(1, ANCHORS_MAX), "at most so many; 50 if nothing is said", required=False),),
    ),
    Route(
        "days",
        "GET",
        "/v1/days",
        (Action.SEE,),
        "days",
        "Closing records of production days, newest first: complete or not, why, and what was counted and confirmed",
        query=(
            Field("machine", Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _"), "only of it", required=False),
            Field("day", Matching(DAY_PATTERN, "YYYY-MM-DD"), "only this production day", required=False),
            Field("limit", Whole(1, DAYS_MAX), "at most so many; 31 if nothing is said", required=False),
        ),
    ),
    Route(
        "retention",
        "GET",
        "/v1/retention",
        (Action.SEE,),
        "retention",
        "How long each kind of record is kept, from when on it is there, and what is not acknowledged yet",
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
        "reconcile",
        "POST",
        "/v1/reconciliation/run",
        (Action.SEE_AUDIT,),
        "reconciled",
        "Compare now what was confirmed with what the ERP has booked; nothing is repaired",
        body=(_ORDER._replace(required=False),),
    ),
    Route(
        "reconcile.settle",
        "POST",
        "/v1/reconciliation/settle",
        (Action.RESOLVE_POSTING,),
        "done",
        "You have dealt with what the last report found of an operation: it is no finding any more, nothing is sent",
        body=(
            _ORDER,
            Field("operation", Text(), "operation"),
            Field("finding", Text(), "its code, or its identity; needed where there are several", required=False),
            _WHY,
        ),
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
        "erp.render",
        "GET",
        "/v1/erp/render",
        (Action.RESOLVE_POSTING,),
        "rendered",
        "The exact messages that would be sent: of an order's next confirmation, or of a posting; nothing is sent",
        query=(
            _ORDER._replace(required=False, text="order number; or which"),
            Field("operation", Text(), "only this one of its operations", required=False),
            Field("which", Whole(1, NUMBER_MAX), "number of a posting, whatever became of it", required=False),
            _TARGET._replace(text="as this connector would be told"),
        ),
    ),
    Route(
        "erp.orders",
        "GET",
        "/v1/erp/orders",
        (Action.RESOLVE_POSTING,),
        "offered",
        "What an ERP offers, how it would be read, what would be refused and why; nothing is taken",
        query=(
            _TARGET._replace(text="of this connector; needed where there are several"),
            Field("since", Text(), "only from this cursor on, as the answer names it", required=False),
        ),
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
    Route(
        "outbox.resend_from",
        "POST",
        "/v1/reconciliation/resend-from",
        (Action.RESOLVE_POSTING,),
        "resent",
        "Send the booked confirmations of an operation again from a number on, which the ERP has lost",
        body=(
            _TARGET._replace(required=True, text="connector, as in the configuration"),
            _ORDER,
            Field("operation", Text(), "operation"),
            Field("from", Whole(1, NUMBER_MAX), "from this number within the operation on (seq)"),
            Field("to", Whole(1, NUMBER_MAX), "up to this one; all if nothing is said", required=False),
            _WHY,
        ),
    ),
    Route(
        "alerts.test",
        "POST",
        "/v1/alerts/test",
        (Action.TEST_ALERTS,),
        "told",
        "Send one message that says it is a test to each channel, or to one, and say what came back",
        body=(
            Field(
                "channel",
                Matching(NAME_PATTERN, "1 to 64 letters, digits, - and _"),
                "as in the configuration; all if nothing is said",
                required=False,
            ),
        ),
    ),
    Route(
        "outbox.material-posted",
        "POST",
        "/v1/outbox/{number}/material-posted",
        (Action.RESOLVE_POSTING,),
        "resolved",
        "The material of a booked confirmation, which the ERP could not book, is posted now",
        params=_POSTING_NUMBER,
        body=(_WHY,),
    ),
)
