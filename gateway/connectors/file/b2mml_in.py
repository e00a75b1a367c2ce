"""Orders from an OperationsSchedule of B2MML 7 (Sync, Process, Show or Cancel). Pure.

The Business To Manufacturing Markup Language (B2MML) is used courtesy of MESA International.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.file.b2mml_out import SCHEDULE_ECHO, SEGMENT_ECHO
from gateway.connectors.file.order_rows import LINES_MAX, Line
from gateway.connectors.file.order_xml import below, root_of
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from gateway.connectors.file.settings import FileSettings

VERBS: Final = ("Sync", "Process", "Show", "Cancel")
NOUN: Final = "OperationsSchedule"
#: RequestState of what is not to be made now. Any other one is released.
_PLANNED: Final = frozenset({"Forecast"})
_HELD: Final = frozenset({"Held", "Suspended", "Hold"})
_CANCELLED: Final = frozenset({"Aborted", "Cancelled", "Canceled", "Stopped"})
_CLOSED: Final = frozenset({"Completed", "Closed"})
#: What is made besides, as MaterialUse says it, to the kind of the component.
_BESIDES: Final = {"Co-product Produced": "co_product", "By-product Produced": "by_product"}
_DECIMALS_MAX: Final = 6
_SHOWN_MAX_CHARS: Final = 60


def b2mml_rows(content: bytes, settings: FileSettings, reasons: list[str]) -> list[Line]:
    """One line for each segment requirement of each operations request."""
    root = root_of(content, settings, reasons)
    if root is None:
        return []
    space, _, name = str(root.tag).rpartition("}")
    verb = name.removesuffix(NOUN)
    if verb not in VERBS or verb + NOUN != name:
        shown = clean(name, _SHOWN_MAX_CHARS)
        reasons.append(f"line 1: found {shown}, allowed: {', '.join(one + NOUN for one in VERBS)}")
        return []
    if space.removeprefix("{") != settings.namespace:
        shown = clean(space.removeprefix("{"), _SHOWN_MAX_CHARS)
        reasons.append(f"line 1: found the namespace {shown!r}, allowed: {settings.namespace} (setting namespace)")
        return []
    created = _first(root, "ApplicationArea/CreationDateTime")
    lines: list[Line] = []
    for schedule in below(root, f"DataArea/{NOUN}"):
        version = _seconds(_first(schedule, "PublishedDate") or created)
        for request in below(schedule, "OperationsRequest"):
            lines += _request(schedule, request, version, reasons, withdrawn=verb == "Cancel")
            if len(lines) > LINES_MAX:
                reasons.append(f"order {len(lines)}: is one too many, allowed: {LINES_MAX} operations")
                return []
    return lines


def _request(schedule: Element, request: Element, version: str, reasons: list[str], *, withdrawn: bool) -> list[Line]:
    order, state = _first(request, "ID"), _first(request, "RequestState")
    place = f"order {clean(order, _SHOWN_MAX_CHARS) or '?'}"
    segments = below(request, "SegmentRequirement")
    if not segments:
        reasons.append(f"{place}: found no SegmentRequirement, allowed: one for each operation")
    image: dict[str, Any] = {}
    if state in _PLANNED:
        image["status"] = "planned"
    elif state in _CLOSED:
        image["status"] = "closed"
    elif state in _HELD:
        image["hold"] = f"RequestState {state}"
    product = _produced(segments)
    quantity = "" if product is None else _first(product, "Quantity/QuantityString")
    components = [one for segment in segments for one in _consumed(segment, quantity)]
    if components:
        image["components"] = components
    echo = {
        SCHEDULE_ECHO: _first(schedule, "ID"),
        **{f"{SEGMENT_ECHO}{_operation(one)}": _first(one, "ID") for one in segments},
    }
    head = {
        "order": order,
        "revision": version,
        "priority": _first(request, "Priority"),
        "planned_start": _first(request, "StartTime"),
        "planned_end": _first(request, "EndTime"),
        "cancelled": "true" if withdrawn or state in _CANCELLED else "",
        "product": "" if product is None else _first(product, "MaterialDefinitionID"),
        "uom": "" if product is None else _first(product, "Quantity/UnitOfMeasure"),
        "batch": "" if product is None else _first(product, "MaterialLotID"),
    }
    lines = []
    for segment in segments:
        own = _produced([segment])
        made = _first(own, "Quantity/QuantityString") if own is not None else quantity
        cells = {
            **head,
            "operation": _operation(segment),
            "work_center": _first(segment, "EquipmentRequirement/EquipmentID"),
            "quantity": made,
            "text": _first(segment, "Description"),
        }
        where = f"{place}, operation {clean(cells['operation'], _SHOWN_MAX_CHARS) or '?'}"
        lines.append(Line(where, {name: cell for name, cell in cells.items() if cell}, image, echo))
    return lines


def _operation(segment: Element) -> str:
    """The operation's number: its place in the routing, or what stands last in the requirement's id."""
    return _first(segment, "OperationsSegmentID") or _first(segment, "ID").rpartition("/")[2]


def _produced(segments: list[Element]) -> Element | None:
    """What is made: of the last segment that names it."""
    found = [
        part
        for segment in segments
        for part in below(segment, "MaterialRequirement")
        if _first(part, "MaterialUse") in {"Produced", "Material Produced"}
    ]
    return found[-1] if found else None


def _consumed(segment: Element, made: str) -> list[dict[str, Any]]:
    found = []
    for part in below(segment, "MaterialRequirement"):
        use = _first(part, "MaterialUse")
        if use not in {"Consumed", "Material Consumed"} and use not in _BESIDES:
            continue
        total = _first(part, "Quantity/QuantityString")
        each = _each(total, made)
        found.append(
            {
                "item": _first(part, "MaterialDefinitionID"),
                "qty_per": total if each is None else f"{each:f}",
                "uom": _first(part, "Quantity/UnitOfMeasure"),
                "op": _operation(segment),
                "fixed": each is None,
                **({"kind": _BESIDES[use]} if use in _BESIDES else {}),
            }
        )
    return found


def _each(total: str, made: str) -> Decimal | None:
    """How much is used for one; None where that is no number of few decimals: then it is that much for the order."""
    try:
        each = Decimal(total) / Decimal(made)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return each if each == round(each, _DECIMALS_MAX) else None


def _seconds(text: str) -> str:
    """The time as a revision that grows with it; "" where there is none."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return ""
    return str(int(found.timestamp())) if found.tzinfo is not None else ""


def _first(element: Element, path: str) -> str:
    found = below(element, path)
    return (found[0].text or "").strip() if found else ""
