"""The whole image of an order whose main fields were read already: what else its document says is checked and added.

Pure. The fields that connectors have always read keep their own, more lenient rules; the image takes them as they were
read. Refuses an order for a further field that is wrong, with its path, what was found and what is allowed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.core.orders import order_image_fields
from gateway.core.orders.order_image import OrderType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.model import Operation, ProductionOrder
    from gateway.core.orders.order_image import ImageOperation, OrderImage

_TYPES: Final = frozenset(OrderType)


def with_image(
    order: ProductionOrder,
    document: Mapping[str, Any],
    product: Mapping[str, Any],
    operations: Sequence[Mapping[str, Any]],
    reasons: list[str],
) -> ProductionOrder:
    """The order with its image, or as it was after noting what is wrong with the document.

    ``product`` and ``operations`` are the parts of the document that were read into ``order``, in the same sequence.
    """
    canonical = {
        **document,
        "order_id": order.order,
        "revision": order.revision,
        "qty": order.quantity,
        "product": {**product, "id": order.product, "revision": order.product_revision, "uom": order.uom},
        "operations": [_canonical(one, read) for one, read in zip(operations, order.operations, strict=True)],
        "sequence_no": order.sequence_no,
        "priority": order.priority,
        "cancelled": order.cancelled,
        # An ERP's own order types go back with every confirmation; only those that are known mean something here.
        "type": document.get("type") if document.get("type") in _TYPES else None,
    }
    for name in ("planned_start", "planned_end", *order_image_fields.ECHOED):
        canonical.pop(name, None)
    image = order_image_fields.read(canonical, "")
    if isinstance(image, order_image_fields.ImageRefused):
        reasons.extend(str(error) for error in image.errors)
        return order
    return _joined(order, image)


def _canonical(document: Mapping[str, Any], read: Operation) -> dict[str, Any]:
    known = {"op": read.operation, "work_center": read.work_center, "qty": read.quantity, "sequence": read.sequence}
    return {**document, **known, "text": read.text, "std_cycle_s": None}


def _joined(order: ProductionOrder, image: OrderImage) -> ProductionOrder:
    works = tuple(
        work._replace(std_cycle_ns=read.std_cycle_ns)
        for work, read in zip(image.operations, order.operations, strict=True)
    )
    whole = image._replace(
        operations=works,
        planned_start_ns=order.planned_start_ns,
        planned_end_ns=order.planned_end_ns,
        echo=tuple(sorted(order.echo.items())),
    )
    operations = tuple(
        replace(read, std_cycle_ns=_unit_time_ns(work)) for read, work in zip(order.operations, works, strict=True)
    )
    return replace(order, operations=operations, image=whole)


def _unit_time_ns(work: ImageOperation) -> int | None:
    """The planned time of one piece: a cycle of a tool may make several."""
    return None if work.unit_time_ns is None else round(work.unit_time_ns)
