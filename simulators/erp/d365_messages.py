"""What the fake Dynamics takes as a message, how it writes times and routes, and its errors. Knows no queue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulators.erp.checks import RefusedError
from simulators.erp.http import Response, document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulators.erp.http import Request

COMPANY: Final = "usmf"
START: Final = "ProdProductionOrderStart"
ROUTE_CARD: Final = "ProdProductionOrderRouteCard"
REPORT: Final = "ProdProductionOrderReportFinished"
PICKING: Final = "ProdProductionOrderPickingList"
TYPES: Final = (START, ROUTE_CARD, REPORT, PICKING, "ProdProductionOrderEnd")


CAUSES: Final = ("None", "Material", "Machine", "OperatingStaff")
TASKS: Final = ("QueueBefore", "Setup", "Process", "Overlap", "Transport", "QueueAfter", "Burden")
PRIORITIES: Final = ("Primary", *(f"Secondary{number}" for number in range(1, 21)))
#: Words that a field of a line may have.
WORDS: Final = {
    "ErrorCause": CAUSES,
    "TaskType": TASKS,
    "OperationPriority": PRIORITIES,
    "OperationCompleted": ("Yes", "No"),
    "BOMConsumption": ("Yes", "No"),
    "ReportAsFinished": ("Yes", "No"),
    "EndJob": ("Yes", "No"),
    "AutomaticBOMConsumptionRule": ("FlushingPrincip", "Always", "Never"),
    "AutomaticRouteConsumptionRule": ("RouteDependent", "Always", "Never"),
}


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


def check_words(content: Mapping[str, Any]) -> None:
    """Whether every enum of a message has one of its words. Raises RefusedError: the message fails."""
    for row in (content, *content.get("RouteCardLines", ()), *content.get("ReportFinishedLines", ())):
        for name, allowed in WORDS.items():
            if name in row and row[name] not in allowed:
                raise RefusedError("ENUM", f"{name}: {row[name]!r} is none of {', '.join(allowed)}")


def seconds_of(moment: object) -> int:
    """Seconds since midnight of an ISO time; 0 where there is none."""
    clock = str(moment or "")[11:19]
    if len(clock) != len("hh:mm:ss"):
        return 0
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def routing_of(images: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The routes of some orders, as the entity tells them."""
    return [
        {
            "dataAreaId": COMPANY,
            "ProductionOrderNumber": image["order_id"],
            "OperationNumber": int(one["op"]),
            "OperationPriority": "Primary",
            "OperationId": one.get("text", ""),
            "CostingOperationResourceId": one["work_center"],
            "SetupTime": 0.0,
            "ProcessTime": float(one.get("std_cycle_s", 0)),
            "ProcessQuantity": 1.0,
            "OperationsTimeToHourConversionFactor": 1 / 3600,
        }
        for image in images
        for one in image["operations"]
    ]


def error_answer(status: int, code: str, message: str) -> Response:
    """An error in the form of OData."""
    return document(status, {"error": {"code": code, "message": message}})


def unauthorized() -> Response:
    """No token, or none that is good."""
    return Response(401, b"", headers={"WWW-Authenticate": "Bearer"}, fault="unauthorized")
