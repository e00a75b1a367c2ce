"""The MES messages of one confirmation. Pure: same document, same bytes.

A confirmation becomes up to four steps: Start (once for each order, see ``connector.py``), a picking list where it is
switched on, a route card, and ReportFinished where the operation is the order's last. End is never sent.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError, Rendered
from gateway.connectors.mapping import amounts, moments, words
from gateway.connectors.mapping.settings import ActivitySlot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.d365.settings import D365Settings
    from gateway.connectors.mapping.amounts import Amounts

START: Final = "ProdProductionOrderStart"
ROUTE_CARD: Final = "ProdProductionOrderRouteCard"
REPORT_FINISHED: Final = "ProdProductionOrderReportFinished"
PICKING_LIST: Final = "ProdProductionOrderPickingList"
#: What the order carries along, so that a confirmation knows where it stands in the route.
LAST_OPERATION: Final = "d365_last_operation"
#: Values of ErrorCause as it comes.
CAUSES: Final = ("None", "Material", "Machine", "OperatingStaff")
MEDIA_TYPE: Final = "application/json; charset=utf-8"
REQUIRED: Final = ("idempotency_key", "order_id", "operation", "seq", "qty")
MS: Final = 1000

_BESIDES: Final = frozenset({"co_product", "by_product"})
#: Who posts a component that a picking list takes. It is a message of its own, so that what needs a proposal of its own
#: (a purge, a start) goes with it; what Dynamics flushes or a person picks does not.
_PICKED: Final = frozenset({"confirmation", "separate"})
_SETUP: Final = ActivitySlot(time="machine_setup", unit="H")
_PROCESS: Final = ActivitySlot(time="machine", unit="H")


def rendered(settings: D365Settings, zone: str, document: Mapping[str, Any]) -> Rendered:
    """The steps of a confirmation. ``zone``: the plant's time zone. Raises MappingError."""
    missing = [name for name in REQUIRED if name not in document]
    if missing:
        raise MappingError(f"the confirmation has no {', '.join(missing)}; every confirmation must have them")
    made = amounts.without_rework(amounts.amounts(settings.mapping, document), settings.rework, document)
    if document.get("type") == "reversal" or min(made.good, made.scrap) < 0:
        raise MappingError(
            f"order {document['order_id']}: qty: found good {made.good} and scrap {made.scrap}, allowed from 0 on; "
            "correct it in Dynamics by hand, then give this one up (linegate outbox discard)"
        )
    day = moments.posting_date(document, moments.zone_of(settings.mapping, zone)).isoformat()
    causes = _by_cause(settings, document, made)
    contents: list[tuple[str, dict[str, Any]]] = []
    if settings.start and document["seq"] == 1:
        contents.append((START, _start(settings, document, day)))
    picked = _picked(settings, document) if settings.picking_list else []
    if picked:
        contents.append((PICKING_LIST, _picking_list(settings, document, day, picked)))
    contents.append((ROUTE_CARD, _route_card(settings, document, day, made.good, causes)))
    last = (document.get("echo") or {}).get(LAST_OPERATION)
    if settings.report_finished:
        if not isinstance(last, str):
            raise MappingError(
                f"order {document['order_id']}: echo.{LAST_OPERATION}: is missing; only orders that were read from "
                "Dynamics say which operation is the last one; read it again, or set report_finished: false"
            )
        if last == document["operation"] and (made.good or made.scrap):
            contents.append((REPORT_FINISHED, _report(settings, document, day, made.good, causes)))
    messages = [_message(settings, document, kind, content) for kind, content in contents]
    return messages[0]._replace(more=tuple(messages[1:]))


def written_of(message: Rendered) -> str:
    """The content of a message of ours, letter by letter."""
    return str(json.loads(message.body)["_messageContent"])


def content_of(message: Rendered) -> tuple[str, dict[str, Any]]:
    """Type and content of a message of ours."""
    envelope = json.loads(message.body)
    content: dict[str, Any] = json.loads(envelope["_messageContent"], parse_float=Decimal)
    return str(envelope["_messageType"]), content


def _message(settings: D365Settings, document: Mapping[str, Any], kind: str, content: dict[str, Any]) -> Rendered:
    if settings.message_tag is not None:
        content = {**content, settings.message_tag: f"{document['idempotency_key']}#{kind}"}
    envelope = {
        "_companyId": settings.company,
        "_messageQueue": settings.message_queue,
        "_messageType": kind,
        "_messageContent": json.dumps(content, ensure_ascii=False, separators=(",", ":")),
    }
    return Rendered(json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode(), MEDIA_TYPE, kind)


def _start(settings: D365Settings, document: Mapping[str, Any], day: str) -> dict[str, Any]:
    return {
        "ProductionOrderNumber": document["order_id"],
        "StartedDate": day,
        "AutomaticBOMConsumptionRule": settings.bom_consumption,
        "AutomaticRouteConsumptionRule": settings.route_consumption,
    }


def _route_card(
    settings: D365Settings,
    document: Mapping[str, Any],
    day: str,
    good: Decimal,
    causes: list[tuple[Decimal, str | None]],
) -> dict[str, Any]:
    place = {
        "OperationNumber": _operation_number(document),
        "OperationPriority": "Primary",
        "OperationsResourceId": words.work_center(settings.mapping, document),
        "ConsumptionDate": day,
        "BOMConsumption": "No",
        "ReportAsFinished": "No",
    }
    lines: list[dict[str, Any]] = []
    setup = amounts.activity(settings.mapping, _SETUP, document)
    if setup:
        lines.append({**place, "TaskType": "Setup", "Hours": _number(setup)})
    hours = amounts.activity(settings.mapping, _PROCESS, document)
    for number, (scrap, cause) in enumerate(causes):
        first = number == 0
        line = {**place, "TaskType": "Process", "Hours": _number(hours) if first else 0}
        line |= {"GoodQuantity": _number(good) if first else 0, "ErrorQuantity": _number(scrap)}
        lines.append(line | ({"ErrorCause": cause} if cause is not None else {}))
    if settings.operation_completed and document.get("type") == "final":
        lines[-1]["OperationCompleted"] = "Yes"
    return {
        "ProductionOrderNumber": document["order_id"],
        **_journal(settings.route_card_journal),
        "RouteCardLines": lines,
    }


def _report(
    settings: D365Settings,
    document: Mapping[str, Any],
    day: str,
    good: Decimal,
    causes: list[tuple[Decimal, str | None]],
) -> dict[str, Any]:
    item = (document.get("product") or {}).get("id")
    if not isinstance(item, str) or not item:
        raise MappingError(f"order {document['order_id']}: product.id: found {item!r}, allowed: the item's number")
    lines = []
    for number, (scrap, cause) in enumerate(causes):
        line = {
            "LineNumber": number + 1,
            "ItemNumber": item,
            "ReportedGoodQuantity": _number(good) if number == 0 else 0,
            "ReportedErrorQuantity": _number(scrap),
            "ExecutedDateTime": _executed(document),
            "ReportAsFinishedDate": day,
            "AutomaticBOMConsumptionRule": settings.bom_consumption,
            "AutomaticRouteConsumptionRule": settings.route_consumption,
            "EndJob": "No",
            **_journal(settings.report_finished_journal),
        }
        lines.append(line | ({"ErrorCause": cause} if cause is not None else {}))
    return {"ProductionOrderNumber": document["order_id"], "ReportFinishedLines": lines}


def is_picked(component: Mapping[str, Any]) -> bool:
    """Whether a component of a document goes into a picking list; what is made besides is received and not picked."""
    return component.get("kind") not in _BESIDES and component.get("posting", "confirmation") in _PICKED


def _picked(settings: D365Settings, document: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Decimal]]:
    """The components that go into the picking list, and how much of each; what is given back is below 0."""
    found: list[tuple[Mapping[str, Any], Decimal]] = []
    for one in document.get("components", ()):
        if not is_picked(one):
            continue
        where = f"order {document['order_id']}: components: item {one.get('item')!r}"
        if one.get("separate") == "serialised":
            raise MappingError(
                f"{where}: is serialised, and the gateway does not know which of them were used; let Dynamics flush it "
                "(its flushing principle), or pick it there and switch picking_list off"
            )
        quantity = amounts.rounded(Decimal(str(one["qty"])), settings.mapping.quantity_decimals)
        if quantity < 0:
            raise MappingError(f"{where}: found {quantity}, allowed from 0 on")
        if one.get("kind") == "return":
            if settings.returns == "refuse":
                raise MappingError(
                    f"{where}: {quantity} {one.get('uom')} come back that were told too much, and returns is "
                    "refuse: return it in Dynamics by hand, or set returns: negative"
                )
            quantity = -quantity
        if quantity:
            found.append((one, quantity))
    return found


def _picking_list(
    settings: D365Settings, document: Mapping[str, Any], day: str, picked: list[tuple[Mapping[str, Any], Decimal]]
) -> dict[str, Any]:
    lines = []
    for number, (one, quantity) in enumerate(picked, 1):
        lines.append(
            {
                "LineNumber": number,
                "ItemNumber": str(one["item"]),
                "ConsumptionBOMQuantity": _number(quantity),
                "BOMUnitSymbol": words.unit(settings.mapping, {**document, "uom": one["uom"]}),
                "ConsumptionDate": day,
                "OperationNumber": _operation_number(document),
                "IsConsumptionEnded": "No",
            }
        )
    return {
        "ProductionOrderNumber": document["order_id"],
        **_journal(settings.picking_list_journal),
        "PickingListLines": lines,
    }


def _by_cause(settings: D365Settings, document: Mapping[str, Any], made: Amounts) -> list[tuple[Decimal, str | None]]:
    """Scrap and its cause, at least one row: the first one of a message carries the good pieces."""
    sums: dict[str | None, Decimal] = {}
    for one in made.reasons:
        if one.quantity:
            cause = _cause(settings, one.reason, document)
            sums[cause] = sums.get(cause, Decimal(0)) + one.quantity
    return [(quantity, cause) for cause, quantity in sums.items()] or [(Decimal(0), None)]


def _cause(settings: D365Settings, reason: str | None, document: Mapping[str, Any]) -> str | None:
    """A value of ErrorCause: a message with another one would fail there, long after it was taken over."""
    cause = words.reason(settings.mapping, reason, document)
    allowed = (*CAUSES, *settings.error_causes)
    if cause is not None and cause not in allowed:
        raise MappingError(
            f"order {document['order_id']}: qty.scrap: reason {reason!r} becomes ErrorCause {cause!r}, allowed: "
            f"{', '.join(allowed)}; map it in mapping.reasons, give a mapping.default_reason, or add it to error_causes"
        )
    return cause


def _operation_number(document: Mapping[str, Any]) -> int:
    operation = str(document["operation"])
    if not operation.isascii() or not operation.isdigit():
        raise MappingError(
            f"order {document['order_id']}: operation: found {operation!r}, allowed: a number such as 10"
        )
    return int(operation)


def _executed(document: Mapping[str, Any]) -> str:
    """The end of the period; its milliseconds are the number of the confirmation, so that no two messages are equal."""
    period = document.get("period")
    end = moments.moment(period.get("to") if isinstance(period, dict) else None, "period.to")
    unlike = end.replace(microsecond=int(document["seq"]) % MS * MS)
    return unlike.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _journal(name: str | None) -> dict[str, str]:
    return {"JournalNameId": name} if name is not None else {}


def _number(value: Decimal) -> int | float:
    # Only written, never computed with: with at most six decimals the shortest form of a float is the number itself.
    return int(value) if value == value.to_integral_value() else float(value)
