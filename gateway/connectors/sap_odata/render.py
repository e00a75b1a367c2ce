"""A confirmation as messages to SAP: one posting per reason, a cancellation per posting that is taken back. Pure.

SAP takes differences and never less than nothing. The first posting has the yield, the rework and the activities, each
further one the scrap of one more reason; what is final stands in the last one. What is rounded is rounded by the
mapping, from running totals. Decides nothing about what is sent when.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from gateway.connectors.base import STEPS_MAX, MappingError, Rendered, step_id
from gateway.connectors.mapping import words
from gateway.connectors.mapping.amounts import activity, amounts, written
from gateway.connectors.mapping.moments import posting_date, span
from gateway.connectors.sap_odata import edm
from gateway.connectors.sap_odata.movements import movements
from gateway.connectors.sap_odata.operations import address_of
from gateway.connectors.sap_odata.orders import CATEGORY

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from gateway.connectors.mapping.settings import MappingSettings
    from gateway.connectors.sap_odata.services import Service

CONTENT_TYPE: Final = "application/json"
MESSAGE_MAX_BYTES: Final = 256 * 1024
ORDER_MAX_CHARS: Final = 12
OPERATION_MAX_CHARS: Final = 4
SEQUENCE_MAX_CHARS: Final = 6
USER_MAX_CHARS: Final = 12
TEXT_MAX_CHARS: Final = 40
GUID_SHOWN_CHARS: Final = 8
#: What SAP reads as final: type and flag.
FINAL: Final = {"partial": ("", False), "automatic": ("1", False), "final": ("X", True)}
_REQUIRED: Final = ("confirmation_id", "order_id", "operation", "seq", "qty", "period")
_ZERO: Final = Decimal("0.000")


class RenderRules(NamedTuple):
    """What the settings say of messages; ``services`` are those that may be posted to, the usual one first."""

    plant: str
    zone: dt.tzinfo
    services: tuple[Service, ...]
    mapping: MappingSettings
    iso_units: Mapping[str, str]
    final: str = "partial"
    goods: str = "erp"
    storage_location: str = ""


def rendered(document: Mapping[str, Any], rules: RenderRules) -> Rendered:
    """All messages of a document. Raises MappingError."""
    missing = [name for name in _REQUIRED if name not in document]
    if missing:
        raise MappingError(f"the confirmation has no {', '.join(missing)}; every confirmation must have them")
    is_reversal = document.get("type") == "reversal"
    steps = _cancellations(document, rules) if is_reversal else _postings(document, rules)
    if len(steps) > STEPS_MAX:
        text = f"found {len(steps)} postings for one confirmation, allowed at most {STEPS_MAX}"
        raise MappingError(f"qty.scrap: {text}; give several reasons the same code in mapping.reasons")
    return steps[0]._replace(more=tuple(steps[1:]))


def service_of(document: Mapping[str, Any], services: tuple[Service, ...]) -> Service:
    """Where an order's confirmations go: as the order said, the first service where it said nothing."""
    echo = document.get("echo")
    category = echo.get(CATEGORY) if isinstance(echo, dict) else None
    return next((one for one in services if one.category == category), services[0])


def _postings(document: Mapping[str, Any], rules: RenderRules) -> list[Rendered]:
    made = amounts(rules.mapping, document)
    service = service_of(document, rules.services)
    first, *others = _by_code(document, rules, made.reasons) or [("", _ZERO)]
    quantities = [(made.good, first, made.rework), *((_ZERO, one, _ZERO) for one in others)]
    steps = []
    for number, (good, (reason, scrap), rework) in enumerate(quantities):
        image = {
            **_address(document),
            **_kind(document, rules, is_last=number == len(quantities) - 1),
            "ConfirmationYieldQuantity": _quantity("qty.good", good),
            "ConfirmationScrapQuantity": _quantity("qty.scrap", scrap),
            "ConfirmationReworkQuantity": _quantity("qty.rework", rework),
            **_unit(document, rules),
            **({"VarianceReasonCode": reason} if reason and scrap else {}),
            "Plant": rules.plant,
            "WorkCenter": words.work_center(rules.mapping, document),
            **_times(document, rules),
            **(_activities(document, rules) if number == 0 else {}),
            **_origin(document, number),
            **_goods(document, rules, service, is_first=number == 0),
        }
        steps.append(_message(image, service.confirmation_set))
    return steps


def _by_code(document: Mapping[str, Any], rules: RenderRules, reasons: tuple[Any, ...]) -> list[tuple[str, Decimal]]:
    """Code and quantity of each reason in SAP's words, in the sequence of the document; equal codes are one."""
    found: dict[str, Decimal] = {}
    for reason, quantity in reasons:
        if quantity < 0:  # before it disappears in a sum
            _quantity("qty.scrap", quantity)
        if quantity:  # else it was rounded away, and comes with the next confirmation
            code = words.reason(rules.mapping, reason, document) or ""
            found[code] = found.get(code, _ZERO) + quantity
    return list(found.items())


def _address(document: Mapping[str, Any]) -> dict[str, str]:
    address = address_of(str(document["operation"]))
    sequence = edm.without_zeros(str(document.get("sequence") or address.sequence))
    return {
        "OrderID": _short("order_id", str(document["order_id"]), ORDER_MAX_CHARS),
        "Sequence": _short("sequence", sequence, SEQUENCE_MAX_CHARS),
        "OrderOperation": _short("operation", address.operation, OPERATION_MAX_CHARS),
        **({"OrderSuboperation": _short("operation", address.sub, OPERATION_MAX_CHARS)} if address.sub else {}),
    }


def _kind(document: Mapping[str, Any], rules: RenderRules, *, is_last: bool) -> dict[str, Any]:
    ends = is_last and document.get("type") == "final"
    word, is_final = FINAL[rules.final] if ends else FINAL["partial"]
    return {
        "FinalConfirmationType": word,
        "IsFinalConfirmation": is_final,
        "OpenReservationsIsCleared": bool(word) and document.get("clear_reservations") is True,
    }


def _unit(document: Mapping[str, Any], rules: RenderRules) -> dict[str, str]:
    unit = words.unit(rules.mapping, document)
    iso = rules.iso_units.get(unit)
    return {"ConfirmationUnit": unit, **({"ConfirmationUnitISOCode": iso} if iso else {})}


def _times(document: Mapping[str, Any], rules: RenderRules) -> dict[str, str]:
    start, end = span(document, rules.zone)
    return {
        "PostingDate": edm.date_value(posting_date(document, rules.zone)),
        "ConfirmedExecutionStartDate": edm.date_value(start.date()),
        "ConfirmedExecutionStartTime": edm.time_value(start.time()),
        "ConfirmedExecutionEndDate": edm.date_value(end.date()),
        "ConfirmedExecutionEndTime": edm.time_value(end.time()),
    }


def _activities(document: Mapping[str, Any], rules: RenderRules) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, slot in words.slots(rules.mapping, document).items():
        quantity = activity(rules.mapping, slot, document)
        if quantity:
            found[f"OpWorkQuantityUnit{number}"] = slot.erp_unit or slot.unit
            found[f"OpConfirmedWorkQuantity{number}"] = _quantity(f"times.{slot.time}_min", quantity)
    return found


def _origin(document: Mapping[str, Any], step: int) -> dict[str, str]:
    guid = _guid(document, step)
    gateway = str(document.get("gateway_id") or "gw")
    text = f"{gateway} {guid[:GUID_SHOWN_CHARS]} cyc={document.get('cycles') or 0}"
    return {
        "EnteredByExternalUser": edm.cut(str(document.get("entered_by") or gateway), USER_MAX_CHARS),
        "ConfirmationText": edm.cut(text, TEXT_MAX_CHARS),
        "ExternalSystemConfirmation": guid,
    }


def _goods(document: Mapping[str, Any], rules: RenderRules, service: Service, *, is_first: bool) -> dict[str, Any]:
    if rules.goods == "erp":
        return {}
    # All that was used stands in the first one; without this flag SAP would issue it again by itself.
    rows = movements(document, rules) if rules.goods == "components" and is_first else []
    return {service.to_movements: rows} if rows else {"APIConfHasNoGoodsMovements": True}


def _cancellations(document: Mapping[str, Any], rules: RenderRules) -> list[Rendered]:
    references = document.get("reverses_references")
    if not isinstance(references, (list, tuple)) or not references:
        text = "found nothing, allowed: the references of what is taken back, such as 207/1"
        raise MappingError(f"reverses_references: {text}; it has to be booked before it can be taken back")
    name, day = service_of(document, rules.services).cancel, posting_date(document, rules.zone)
    steps = []
    # SAP takes back the youngest first.
    for step, reference in enumerate(reversed(references)):
        group, slash, count = str(reference).partition("/")
        if not slash or not group.isdecimal() or not count.isdecimal():
            raise MappingError(f"reverses_references: found {reference!r}, allowed: group and count, such as 207/1")
        image = {
            "ConfirmationGroup": group,
            "ConfirmationCount": count,
            "PostingDate": day.isoformat(),
            "ConfirmationText": _origin(document, step)["ConfirmationText"],
            "ExternalSystemConfirmation": _guid(document, step),
        }
        steps.append(_message(image, name))
    return steps


def _guid(document: Mapping[str, Any], step: int) -> str:
    try:
        return str(UUID(step_id(str(document["confirmation_id"]), step)))
    except ValueError as error:
        raise MappingError(f"confirmation_id: found {document['confirmation_id']!r}, allowed: a UUID") from error


def _message(image: dict[str, Any], name: str) -> Rendered:
    body = json.dumps(image, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > MESSAGE_MAX_BYTES:
        raise MappingError(f"the confirmation has {len(body)} bytes, allowed at most {MESSAGE_MAX_BYTES}")
    return Rendered(body, CONTENT_TYPE, name)


def _short(name: str, text: str, most: int) -> str:
    if not 1 <= len(text) <= most:
        raise MappingError(f"{name}: found {text!r}, allowed: 1 to {most} characters")
    return text


def _quantity(name: str, number: Decimal) -> str:
    if not 0 <= number < edm.QUANTITY_MAX:
        raise MappingError(
            f"{name}: found {number}, allowed: 0 to below {edm.QUANTITY_MAX}; SAP takes no quantity below 0, a "
            "correction takes the confirmation back and confirms anew"
        )
    return written(number)
