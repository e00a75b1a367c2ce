"""Which operations the ERP confirms by itself, because a later one is a milestone: the gateway keeps theirs back.

Reads the control keys of an order's image; counts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.orders.order_image import OrderImage


def confirmed_by(image: OrderImage, number: str) -> str | None:
    """The milestone whose confirmation makes the ERP confirm this operation; None: the gateway does.

    It is the next milestone behind it in its sequence. A milestone is never confirmed by another. Raises KeyError for
    an operation that the order does not have.
    """
    own = image.operation(number)
    if own is None:
        raise KeyError(number)
    if own.control.milestone:
        return None
    behind = image.operations[image.operations.index(own) + 1 :]
    return next((one.operation for one in behind if one.control.milestone and one.sequence == own.sequence), None)
