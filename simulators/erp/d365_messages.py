"""What the fake Dynamics takes as a message, and how it writes times. Knows no queue and no ledger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from simulators.erp.checks import RefusedError

if TYPE_CHECKING:
    from simulators.erp.http import Request

COMPANY: Final = "usmf"
START: Final = "ProdProductionOrderStart"
ROUTE_CARD: Final = "ProdProductionOrderRouteCard"
REPORT: Final = "ProdProductionOrderReportFinished"
PICKING: Final = "ProdProductionOrderPickingList"
TYPES: Final = (START, ROUTE_CARD, REPORT, PICKING, "ProdProductionOrderEnd")


class Message(NamedTuple):
    """What is put into the queue."""

    order: str
    type: str
    content: str
    key: str = ""


def message_of(request: Request) -> Message:
    """The message in a request. Raises RefusedError."""
    try:
        envelope = json.loads(request.body)
        content = json.loads(envelope["_messageContent"])
        order = content["ProductionOrderNumber"]
        kind, company = envelope["_messageType"], envelope["_companyId"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError("InvalidMessage", f"the message cannot be read: {error!r}", 400) from error
    if kind not in TYPES or str(company).lower() != COMPANY or not isinstance(order, str):
        raise RefusedError("InvalidMessage", f"type {kind!r} for company {company!r}: not taken", 400)
    return Message(order, kind, envelope["_messageContent"])


def seconds_of(moment: object) -> int:
    """Seconds since midnight of an ISO time; 0 where there is none."""
    clock = str(moment or "")[11:19]
    if len(clock) != len("hh:mm:ss"):
        return 0
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + seconds
