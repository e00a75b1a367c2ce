"""Rows of Business Central become canonical order documents. Pure; asks nobody."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.business_central.lines import ORDER_LINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Status there to ours; every other one is that of a plan.
STATUS: Final = {"Released": "released", "Finished": "closed"}
#: Seconds of a unit of capacity by its code; others give no standard time.
SECONDS: Final = {"MINUTES": 60, "MIN": 60, "HOURS": 3600, "HOUR": 3600, "H": 3600, "SECONDS": 1, "SEC": 1, "S": 1}
NO_DATE: Final = "0001-01-01"


def document_of(
    lines: Sequence[Mapping[str, Any]],
    routing: Sequence[Mapping[str, Any]],
    components: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The canonical document of one order; what is wrong with it is said by who reads it.

    An order of several lines makes several items, and an operation does not tell which one: it has a text in the place
    of its operations here, so it is refused with it.
    """
    line = lines[0]
    number = line.get("Line_No")
    own = [one for one in routing if one.get("Routing_Reference_No", number) == number]
    document: dict[str, Any] = {
        "order_id": line.get("Prod_Order_No"),
        "product": {"id": line.get("Item_No"), "uom": line.get("Unit_of_Measure_Code") or ""},
        "qty": line.get("Quantity"),
        "status": STATUS.get(str(line.get("Status")), "planned"),
        "planned_start": _moment(line.get("Starting_Date_Time")),
        "planned_end": _moment(line.get("Ending_Date_Time")),
        # Who reads it refuses this, and says so.
        "operations": [_operation(one, line) for one in own] if len(lines) == 1 else _several(len(lines)),
        "components": [part for one in components if (part := _component(one)) is not None],
        "bc_line": str(number),
    }
    return {name: value for name, value in document.items() if value is not None}


def echo_of(document: Mapping[str, Any]) -> dict[str, str]:
    """What comes back with each confirmation of the order."""
    return {ORDER_LINE: str(document["bc_line"])}


def is_closed(row: Mapping[str, Any]) -> bool:
    """Whether the order of this line takes nothing more."""
    return STATUS.get(str(row.get("Status"))) == "closed"


def _several(count: int) -> str:
    return f"{count} order lines: make it {count} orders"


def _operation(row: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = {
        "op": str(row.get("Operation_No") or ""),
        "work_center": row.get("No"),
        "qty": line.get("Quantity"),
        "text": str(row.get("Description") or ""),
    }
    run = _seconds(row.get("Run_Time"), row.get("Run_Time_Unit_of_Meas_Code"))
    if run:
        one["std_cycle_s"] = str(round(run, 6))
    setup = _seconds(row.get("Setup_Time"), row.get("Setup_Time_Unit_of_Meas_Code"))
    if setup:
        one["std_setup_min"] = str(round(setup / 60, 6))
    return one


def _component(row: Mapping[str, Any]) -> dict[str, Any] | None:
    quantity = _decimal(row.get("Quantity_per"))
    if not quantity:
        return None
    unit = row.get("Unit_of_Measure_Code") or "PC"
    part = {"item": row.get("Item_No"), "qty_per": str(abs(quantity)), "uom": unit, "flush_method": "erp"}
    return part if quantity > 0 else {**part, "kind": "by_product", "flush_method": "backflush"}


def _moment(text: Any) -> str | None:
    return text if isinstance(text, str) and text and not text.startswith(NO_DATE) else None


def _seconds(time: Any, unit: Any) -> Decimal | None:
    number, factor = _decimal(time), SECONDS.get(str(unit or "").upper())
    return number * factor if number is not None and number > 0 and factor is not None else None


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
