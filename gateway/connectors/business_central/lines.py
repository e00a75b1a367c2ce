"""The journal lines of one confirmation, or the message to the extension. Pure: same document, same bytes.

A line has one scrap code, so a confirmation with several reasons becomes several lines, each a step of its own. The
number of a line and its External Document No. come from the step's id: the same step always has the same ones.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from gateway.connectors.base import MappingError, Rendered, step_id
from gateway.connectors.mapping import amounts, moments, words
from gateway.connectors.mapping.settings import ActivitySlot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.business_central.settings import BusinessCentralSettings

#: What the order carries along: the number of its line.
ORDER_LINE: Final = "bc_order_line"
MEDIA_TYPE: Final = "application/json"
REQUIRED: Final = ("idempotency_key", "confirmation_id", "order_id", "operation", "seq", "qty")
#: Behind it there is room: who adds a line by hand gets the last number and 10,000.
LINE_MAX: Final = 2_000_000_000
#: Lengths of fields there, in characters.
LENGTHS: Final = {"Order_No": 20, "Document_No": 20, "Operation_No": 10, "Item_No": 20, "Scrap_Code": 10}


def rendered(settings: BusinessCentralSettings, zone: str, document: Mapping[str, Any]) -> Rendered:
    """The messages of a confirmation. ``zone``: the plant's time zone. Raises MappingError."""
    missing = [name for name in REQUIRED if name not in document]
    if missing:
        raise MappingError(f"the confirmation has no {', '.join(missing)}; every confirmation must have them")
    made = amounts.without_rework(amounts.amounts(settings.mapping, document), settings.rework, document)
    if document.get("type") == "reversal" or min(made.good, made.scrap) < 0:
        raise MappingError(
            f"order {document['order_id']}: qty: found good {made.good} and scrap {made.scrap}, allowed from 0 on; "
            "correct it in Business Central by hand, then give this one up (linegate outbox discard)"
        )
    sums: dict[str | None, Decimal] = {}
    for one in made.reasons:
        if one.quantity:
            code = words.reason(settings.mapping, one.reason, document)
            sums[code] = sums.get(code, Decimal(0)) + one.quantity
    scraps = [(quantity, code) for code, quantity in sums.items()] or [(Decimal(0), None)]
    lines = [_line(settings, zone, document, number, made.good, scrap) for number, scrap in enumerate(scraps)]
    if settings.variant == "extension":
        return _whole(document, lines)
    if settings.finished and document.get("type") == "final":
        lines[-1]["Finished"] = True
    messages = [Rendered(_written(line), MEDIA_TYPE, line["External_Document_No"]) for line in lines]
    return messages[0]._replace(more=tuple(messages[1:]))


def external_number(message_id: str) -> str:
    """32 upper-case hex digits: what is written is what comes back, although the field makes capitals of letters."""
    return UUID(message_id).hex.upper()


def line_number(message_id: str) -> int:
    """The number of a journal line: 1 to 2,000,000,000, always the same for a message."""
    digest = hashlib.sha256(f"line/{message_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % LINE_MAX + 1


def _line(
    settings: BusinessCentralSettings,
    zone: str,
    document: Mapping[str, Any],
    number: int,
    good: Decimal,
    scrap: tuple[Decimal, str | None],
) -> dict[str, Any]:
    message_id = step_id(str(document["confirmation_id"]), number)
    order, first = document["order_id"], number == 0
    order_line = (document.get("echo") or {}).get(ORDER_LINE)
    if not isinstance(order_line, str) or not order_line.isdigit():
        raise MappingError(
            f"order {order}: echo.{ORDER_LINE}: found {order_line!r}, allowed: the number of the order's line; only "
            "orders that were read from Business Central have it: read it again"
        )
    setup, run = (
        amounts.activity(settings.mapping, ActivitySlot(time=name, unit=settings.time_unit), document)
        for name in ("machine_setup", "machine")
    )
    line: dict[str, Any] = {
        "Journal_Template_Name": settings.journal_template,
        "Journal_Batch_Name": settings.journal_batch,
        "Line_No": line_number(message_id),
        "Posting_Date": moments.posting_date(document, moments.zone_of(settings.mapping, zone)).isoformat(),
        "Order_No": order,
        "Order_Line_No": int(order_line),
        "Item_No": (document.get("product") or {}).get("id") or "",
        "Operation_No": document["operation"],
        "Setup_Time": _number(setup) if first else 0,
        "Run_Time": _number(run) if first else 0,
        "Output_Quantity": _number(good) if first else 0,
        "Scrap_Quantity": _number(scrap[0]),
        "Document_No": order,
        "External_Document_No": external_number(message_id),
    }
    if settings.capacity_unit is not None:
        line["Cap_Unit_of_Measure_Code"] = settings.capacity_unit
    if scrap[1] is not None:
        line["Scrap_Code"] = scrap[1]
    for name, length in LENGTHS.items():
        text = line.get(name, "x")
        if not isinstance(text, str) or not 1 <= len(text) <= length:
            raise MappingError(f"order {order}: {name}: found {text!r}, allowed: 1 to {length} characters")
    return line


def _whole(document: Mapping[str, Any], lines: list[dict[str, Any]]) -> Rendered:
    """One call: the extension books all lines, or none, and knows the key."""
    external = external_number(str(document["confirmation_id"]))
    lines = [{**line, "External_Document_No": external} for line in lines]
    final = document.get("type") == "final"
    told = {"key": document["idempotency_key"], "externalDocumentNo": external, "final": final, "lines": lines}
    content = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return Rendered(_written({"confirmation": content}), MEDIA_TYPE, external)


def _written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _number(value: Decimal) -> int | float:
    # Only written, never computed with: with at most six decimals the shortest form of a float is the number itself.
    return int(value) if value == value.to_integral_value() else float(value)
