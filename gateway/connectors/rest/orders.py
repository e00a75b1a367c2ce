"""Reads a page of orders: JSON bytes in, checked orders and refusals out. Pure; unknown fields are ignored."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from gateway.connectors.base import ConnectorError, OrderPage, RefusedOrder
from gateway.connectors.order_fields import ID_MAX_CHARS, OrderFields
from gateway.connectors.order_images import with_image
from gateway.connectors.refused_orders import refused_image
from gateway.core.foreign_text import clean, is_clean
from gateway.core.model import Operation, ProductionOrder

ORDERS_MAX: Final = 10_000
OPERATIONS_MAX: Final = 500
CURSOR_MAX_CHARS: Final = 1000
CURSOR_SHOWN_MAX_CHARS: Final = 60
REASONS_MAX: Final = 50
ECHOED: Final = ("type", "sales_order", "customer", "cost_center")


def parse_page(body: bytes) -> OrderPage:
    """The page in these bytes. Raises ConnectorError where the page as a whole is no page of orders."""
    try:
        # A JSON number is read as decimal: 0.1 stays 0.1.
        document = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConnectorError(f"orders: the answer is not JSON ({error}); check orders_path") from error
    if not isinstance(document, dict) or not isinstance(document.get("orders"), list):
        raise ConnectorError('orders: the answer is no {"cursor": ..., "orders": [...]}; check orders_path')
    cursor, images = document.get("cursor"), document["orders"]
    if isinstance(cursor, int) and not isinstance(cursor, bool):
        cursor = str(cursor)
    if not isinstance(cursor, str) or len(cursor) > CURSOR_MAX_CHARS or not is_clean(cursor):
        # A cursor is handed back as it came, so it is refused and never cleaned.
        found = clean(repr(cursor), CURSOR_SHOWN_MAX_CHARS)
        allowed = f"text of at most {CURSOR_MAX_CHARS} characters, no control characters and no half ones"
        raise ConnectorError(f"orders: cursor: found {found}, allowed: {allowed}; correct it in the ERP")
    if len(images) > ORDERS_MAX:
        raise ConnectorError(f"orders: found {len(images)} on one page, allowed at most {ORDERS_MAX}")
    orders: list[ProductionOrder] = []
    refused: list[RefusedOrder] = []
    for number, image in enumerate(images):
        reasons: list[str] = []
        order = order_of(image, reasons)
        if len(reasons) > REASONS_MAX:
            reasons[REASONS_MAX:] = [f"... and {len(reasons) - REASONS_MAX} more"]
        if order is None or reasons:
            refused.append(refused_image(place_of(number, image), image, reasons))
        else:
            orders.append(order)
    return OrderPage(tuple(orders), tuple(refused), cursor)


def order_of(image: Any, reasons: list[str]) -> ProductionOrder | None:
    """The order in an image, None or what is wrong with it in ``reasons``."""
    if not isinstance(image, dict):
        reasons.append(f"found {type(image).__name__}, allowed: an object")
        return None
    fields = OrderFields(image, "", reasons)
    product_image = image.get("product")
    if not isinstance(product_image, dict):
        fields.refuse("product", product_image, 'an object such as {"id": "ASSY-D20", "uom": "PC"}')
        product_image = {"id": "?"}
    product = OrderFields(product_image, "product.", reasons)
    quantity = fields.quantity("qty")
    order = ProductionOrder(
        order=fields.identifier("order_id"),
        revision=fields.integer("revision", default=0),
        product=product.identifier("id"),
        product_revision=product.identifier("revision", default=""),
        uom=product.identifier("uom", default="PC"),
        quantity=quantity,
        operations=_operations(image.get("operations"), quantity, fields, reasons),
        sequence_no=fields.integer("sequence_no", default=0),
        priority=fields.integer("priority", default=0),
        planned_start_ns=fields.time_ns("planned_start"),
        planned_end_ns=fields.time_ns("planned_end"),
        cancelled=fields.flag("cancelled"),
        echo={name: text for name in ECHOED if (text := fields.text(name))},
    )
    return order if reasons else with_image(order, image, product_image, image["operations"], reasons)


def _operations(images: Any, order_quantity: Decimal, order: OrderFields, reasons: list[str]) -> tuple[Operation, ...]:
    if not isinstance(images, list) or not 1 <= len(images) <= OPERATIONS_MAX:
        found = len(images) if isinstance(images, list) else images
        order.refuse("operations", found, f"a list of 1 to {OPERATIONS_MAX} operations")
        return ()
    operations: list[Operation] = []
    for number, image in enumerate(images):
        if not isinstance(image, dict):
            order.refuse(f"operations[{number}]", image, "an object")
            continue
        fields = OrderFields(image, f"operations[{number}].", reasons)
        operation = Operation(
            # A slash would make the key of a confirmation ambiguous.
            operation=fields.identifier("op", forbidden="/"),
            work_center=fields.identifier("work_center"),
            quantity=fields.quantity("qty", default=order_quantity),
            std_cycle_ns=fields.cycle_ns("std_cycle_s"),
            sequence=fields.identifier("sequence", default="0"),
            text=fields.text("text"),
        )
        if any(operation.operation == other.operation for other in operations):
            fields.refuse("op", operation.operation, "each operation once")
        operations.append(operation)
    return tuple(operations)


def place_of(number: int, image: Any) -> str:
    """Where an image stood, for a person."""
    name = image.get("order_id") if isinstance(image, dict) else None
    return f"orders[{number}]" + (f" ({clean(name, ID_MAX_CHARS)})" if isinstance(name, str) else "")


def _no_constant(name: str) -> None:
    raise ValueError(f"found {name}, which is not JSON")
