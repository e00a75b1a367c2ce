"""Productions as orders: rows of ``search_read`` in, checked orders and refusals out. Pure."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import RefusedOrder
from gateway.connectors.order_fields import ID_MAX_CHARS, OrderFields
from gateway.connectors.order_images import with_image
from gateway.core.foreign_text import clean
from gateway.core.model import Operation, ProductionOrder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPERATIONS_MAX: Final = 500
REASONS_MAX: Final = 50
#: What is read of a production; a point leads to another record.
FIELDS: Final = (
    "number",
    "reference",
    "state",
    "quantity",
    "unit.symbol",
    "product.code",
    "planned_start_date",
    "planned_date",
    "bom.tolerance",
    "create_date",
    "write_date",
    "works.sequence",
    "works.operation.name",
    "works.work_center.name",
    "work_center.name",
    "routing.steps.sequence",
    "routing.steps.operation.name",
    "inputs.quantity",
    "inputs.unit.symbol",
    "inputs.product.code",
)
_STATUS: Final = {
    "request": "planned",
    "draft": "planned",
    "waiting": "planned",
    "assigned": "released",
    "running": "released",
    "done": "closed",
    "cancelled": "closed",
}
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_COMPONENT_STEP: Final = Decimal("0.000001")
_PER_CENT: Final = 100


def operation_of(work: Mapping[str, Any], works: Sequence[Mapping[str, Any]]) -> str:
    """What an operation is called: its sequence where no other work has it, else ``w`` and the work's id."""
    sequence = work.get("sequence")
    alone = isinstance(sequence, int) and sum(other.get("sequence") == sequence for other in works) == 1
    return str(sequence) if alone else f"w{work['id']}"


def revision_of(row: Mapping[str, Any]) -> int:
    """When the production was last written, microseconds since 1970: every change is a higher one."""
    changed = row.get("write_date") or row.get("create_date")
    return (changed - _EPOCH) // _MICROSECOND if isinstance(changed, dt.datetime) else 0


def read_orders(
    rows: Sequence[Mapping[str, Any]], work_centers: Mapping[str, str]
) -> tuple[list[ProductionOrder], list[RefusedOrder]]:
    """The orders in these rows, and those that cannot be taken. ``work_centers``: Tryton's name to ours."""
    orders: list[ProductionOrder] = []
    refused: list[RefusedOrder] = []
    for row in rows:
        reasons: list[str] = []
        order = _order(row, work_centers, reasons)
        if len(reasons) > REASONS_MAX:
            reasons[REASONS_MAX:] = [f"... and {len(reasons) - REASONS_MAX} more"]
        if reasons:
            number = clean(str(row.get("number") or row.get("reference") or ""), ID_MAX_CHARS)
            refused.append(RefusedOrder(f"production {row.get('id')} ({number})", tuple(reasons)))
        else:
            orders.append(order)
    return orders, refused


def _order(row: Mapping[str, Any], work_centers: Mapping[str, str], reasons: list[str]) -> ProductionOrder:
    fields = OrderFields(row, "", reasons)
    quantity = _plain(fields.quantity("quantity"))
    product = {"id": _of(row, "product", "code"), "uom": _of(row, "unit", "symbol")}
    told = OrderFields(product, "product.", reasons)
    works = _works(row)
    if not 1 <= len(works) <= OPERATIONS_MAX:
        fields.refuse("works", len(works), f"1 to {OPERATIONS_MAX} works; give the production a routing")
    images = [_operation(work, works, work_centers, quantity) for work in works]
    reference = row.get("reference")
    order = ProductionOrder(
        order=fields.identifier("number"),
        revision=revision_of(row),
        product=told.identifier("id"),
        uom=told.identifier("uom"),
        quantity=quantity,
        operations=tuple(_checked(image, number, reasons) for number, image in enumerate(images)),
        planned_start_ns=_day_ns(row.get("planned_start_date")),
        planned_end_ns=_day_ns(row.get("planned_date"), end=True),
        cancelled=row.get("state") == "cancelled",
        echo={"reference": clean(reference, ID_MAX_CHARS)} if isinstance(reference, str) and reference else {},
    )
    if reasons:
        return order
    document: dict[str, Any] = {
        "status": _STATUS.get(str(row.get("state")), "released"),
        "components": [_component(one, quantity) for one in _rows(row, "inputs") if one.get("quantity")],
    }
    tolerance = _of(row, "bom", "tolerance")
    if isinstance(tolerance, (int, Decimal)):
        percent = _plain(Decimal(tolerance) * _PER_CENT)
        document |= {"over_tolerance_pct": percent, "under_tolerance_pct": min(percent, Decimal(_PER_CENT))}
    return with_image(order, document, product, images, reasons)


def _works(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Its works. Of a cancelled production Tryton deletes those without a cycle: its routing says what they were."""
    works = _rows(row, "works")
    routing = row.get("routing.")
    if row.get("state") != "cancelled" or not isinstance(routing, dict):
        return works
    center = {"work_center.": {"name": _of(row, "work_center", "name") or "-"}}
    there = {work.get("sequence") for work in works}
    gone = [{**step, **center} for step in _rows(routing, "steps") if step.get("sequence") not in there]
    return sorted([*works, *gone], key=lambda one: (one.get("sequence") is None, one.get("sequence") or 0))


def _operation(
    work: Mapping[str, Any], works: Sequence[Mapping[str, Any]], work_centers: Mapping[str, str], quantity: Decimal
) -> dict[str, Any]:
    theirs = _of(work, "work_center", "name")
    return {
        "op": operation_of(work, works),
        "work_center": work_centers.get(str(theirs), theirs),
        "qty": quantity,
        "text": _of(work, "operation", "name") or "",
        # The last one books what is made; the others tell how far the order is.
        "control": {"final_op": work is works[-1]},
    }


def _checked(image: Mapping[str, Any], number: int, reasons: list[str]) -> Operation:
    fields = OrderFields(image, f"works[{number}].", reasons)
    return Operation(
        operation=fields.identifier("op", forbidden="/"),
        work_center=fields.identifier("work_center"),
        quantity=fields.quantity("qty"),
        text=fields.text("text"),
    )


def _component(row: Mapping[str, Any], quantity: Decimal) -> dict[str, Any]:
    per_unit = (Decimal(row["quantity"]) / quantity).quantize(_COMPONENT_STEP, ROUND_HALF_UP)
    return {
        "item": _of(row, "product", "code") or f"product {_of(row, 'product', 'id')}",
        "qty_per": _plain(max(per_unit, _COMPONENT_STEP)),
        "uom": _of(row, "unit", "symbol"),
        # Tryton takes the material when the production starts.
        "flush_method": "erp",
    }


def _rows(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The records of a list, which Tryton writes under the name with a point."""
    return [one for one in row.get(f"{name}.") or [] if isinstance(one, dict)]


def _of(row: Mapping[str, Any], record: str, name: str) -> Any:
    """A field of a record that the row points to."""
    image = row.get(f"{record}.")
    return image.get(name) if isinstance(image, dict) else None


def _plain(number: Decimal) -> Decimal:
    """Without the zeros of a float: 100 for 100.0."""
    return Decimal(f"{number.normalize():f}")


def _day_ns(day: Any, *, end: bool = False) -> int | None:
    """A day's first moment in UTC, or its last second: Tryton plans days, not times."""
    if not isinstance(day, dt.date):
        return None
    moment = dt.datetime.combine(day, dt.time(23, 59, 59) if end else dt.time(), tzinfo=dt.UTC)
    return ((moment - _EPOCH) // _MICROSECOND) * 1000
