"""Rows of Dynamics become canonical order documents. Pure; asks nobody.

Dates come as noon UTC and are calendar days; times are seconds since midnight of the environment's own time zone.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.d365.messages import LAST_OPERATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Status there to ours; Created and what is before Released are not shown.
STATUS: Final = {
    "Created": "planned",
    "CostEstimated": "planned",
    "Scheduled": "planned",
    "Released": "released",
    "StartedUp": "released",
    "ReportedFinished": "closed",
    "Completed": "closed",
}
#: The flushing principle of a line that nothing but a picking list posts.
MANUAL: Final = "Manual"
SECONDS_MAX: Final = 86_400
SECONDS_PER_HOUR: Final = 3600
#: A date that is not set.
NO_DATE: Final = "1900-01-01"


class Flushing(NamedTuple):
    """Who posts what an order uses: the gateway by picking lists, or Dynamics.

    ``rule`` is the consumption rule of the other messages, ``field`` where a line of the BOM says its own principle.
    """

    picking_list: bool
    rule: str
    field: str

    def picked(self, row: Mapping[str, Any]) -> bool:
        """Whether the gateway posts it; never what Dynamics flushes, or it would be booked twice."""
        return self.picking_list and (self.rule == "Never" or str(row.get(self.field)) == MANUAL)


DYNAMICS: Final = Flushing(picking_list=False, rule="FlushingPrincip", field="")


def document_of(
    header: Mapping[str, Any],
    operations: Sequence[Mapping[str, Any]],
    components: Sequence[Mapping[str, Any]],
    unit: str,
    zone: dt.tzinfo,
    flushing: Flushing = DYNAMICS,
) -> dict[str, Any]:
    """The canonical document of one order; what is wrong with it is said by who reads it."""
    rows = sorted(
        (one for one in operations if one.get("OperationPriority", "Primary") == "Primary"),
        key=lambda one: _whole(one.get("OperationNumber")),
    )
    document: dict[str, Any] = {
        "order_id": header.get("ProductionOrderNumber"),
        "product": {"id": header.get("ItemNumber"), "uom": unit},
        "qty": header.get("ScheduledQuantity"),
        "priority": max(_whole(header.get("ProductionOrderPriority")), 0),
        "batch": header.get("ItemBatchNumber") or "",
        "status": STATUS.get(str(header.get("ProductionOrderStatus")), "planned"),
        "planned_start": moment_of(header.get("ScheduledStartDate"), header.get("ScheduledStartTime"), zone),
        "planned_end": moment_of(header.get("ScheduledEndDate"), header.get("ScheduledEndTime"), zone),
        "operations": [_operation(one, header) for one in rows],
        "components": [part for one in components if (part := _component(one, header, flushing)) is not None],
    }
    start, end = document["planned_start"], document["planned_end"]
    if start is not None and end is not None and end < start:
        document["planned_end"] = None
    return {name: value for name, value in document.items() if value is not None}


def echo_of(document: Mapping[str, Any]) -> dict[str, str]:
    """What comes back with each confirmation of the order."""
    operations = document.get("operations") or []
    return {LAST_OPERATION: str(operations[-1]["op"])} if operations else {}


def moment_of(date: Any, seconds: Any, zone: dt.tzinfo) -> str | None:
    """Day and seconds since midnight as UTC; None where there is no date."""
    day_text = str(date or "")[: len(NO_DATE)]
    try:
        day = dt.date.fromisoformat(day_text)
    except ValueError:
        return None
    if day_text == NO_DATE:
        return None
    after = _whole(seconds)
    midnight = dt.datetime.combine(day, dt.time(), tzinfo=zone)
    local = midnight + dt.timedelta(seconds=after if 0 <= after < SECONDS_MAX else 0)
    return local.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _operation(row: Mapping[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = {
        "op": str(_whole(row.get("OperationNumber"))),
        "work_center": row.get("CostingOperationResourceId"),
        "qty": header.get("ScheduledQuantity"),
        "text": str(row.get("OperationId") or ""),
    }
    factor = _decimal(row.get("OperationsTimeToHourConversionFactor")) or Decimal(1)
    process, made = _decimal(row.get("ProcessTime")), _decimal(row.get("ProcessQuantity"))
    if process and made and process > 0 and made > 0:
        one["std_cycle_s"] = str(round(process * factor * SECONDS_PER_HOUR / made, 6))
    setup = _decimal(row.get("SetupTime"))
    if setup and setup > 0:
        one["std_setup_min"] = str(round(setup * factor * 60, 6))
    scrap = _decimal(row.get("ScrapPercentage"))
    if scrap and scrap > 0:
        one["std_scrap_pct"] = str(scrap)
    return one


def _component(row: Mapping[str, Any], header: Mapping[str, Any], flushing: Flushing) -> dict[str, Any] | None:
    quantity = _decimal(row.get("BOMLineQuantity"))
    per = _decimal(row.get("BOMLineQuantityDenominator")) or Decimal(1)
    if not quantity or per <= 0 or not header.get("ItemNumber"):
        return None  # a line of text
    if quantity < 0:
        besides = {"kind": "by_product", "flush_method": "backflush"}
        return {**_line(row, -quantity / per), **besides}
    return {**_line(row, quantity / per), "flush_method": "backflush" if flushing.picked(row) else "erp"}


def _line(row: Mapping[str, Any], each: Decimal) -> dict[str, Any]:
    return {
        "item": row.get("ItemNumber"),
        "qty_per": str(round(each, 6)),
        "uom": row.get("BOMLineUnitSymbol") or "PC",
        "flush_method": "erp",
    }


def _whole(value: Any) -> int:
    number = _decimal(value)
    return 0 if number is None else int(number)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
