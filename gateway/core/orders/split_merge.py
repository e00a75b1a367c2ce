"""Splits an order into children and merges orders under a leader: who may, which quantities, which names.

Pure. Which state allows it stands in ``lifecycle.py``; the leader's pieces are shared by ``distribution.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import JobOrderState
from gateway.core.orders.distribution import ORIGINALS_MAX, Original
from gateway.core.orders.lifecycle import RUNNING, following

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from decimal import Decimal

    from gateway.core.orders.order_image import OrderImage
    from gateway.core.rules_orders import Distribution

CHILDREN_MAX: Final = 99
CHILD_NUMBER_MAX: Final = 999
ORIGINALS_MIN: Final = 2


class SplitRequest(NamedTuple):
    """An order that is to be split. ``quantity`` and ``produced`` in its unit; ``wanted`` one for each child.

    ``produced`` is all that counts against its quantity: made here, or confirmed in the ERP past the gateway.
    ``held_from`` is the state before a hold; ``taken`` are names of orders that exist.
    """

    order: str
    state: JobOrderState
    quantity: Decimal
    produced: Decimal
    wanted: tuple[Decimal, ...]
    taken: tuple[str, ...] = ()
    held_from: JobOrderState | None = None


class Child(NamedTuple):
    """An order made by a split."""

    order: str
    parent: str
    quantity: Decimal


class SplitPlan(NamedTuple):
    """What a split makes. The parent keeps ``parent_keeps``: what was made, with its lots and confirmations."""

    children: tuple[Child, ...]
    parent_keeps: Decimal


class MergeMember(NamedTuple):
    """An order that is to be merged, as far as it matters. ``open_pieces`` is what it still wants, above 0."""

    order: str
    state: JobOrderState
    product: str
    product_revision: str
    uom: str
    open_pieces: int
    due_ns: int | None = None
    ratio: int = 1
    held_from: JobOrderState | None = None


class MergePlan(NamedTuple):
    """What a merge makes: a leader that wants ``open_pieces`` in all.

    It is confirmed and cancelled as a whole, and nothing but it. ``on_hold``: originals whose hold goes over to it.
    """

    leader: str
    open_pieces: int
    how: Distribution
    originals: tuple[Original, ...]
    on_hold: tuple[str, ...]


class DivisionRefused(NamedTuple):
    """Why an order is not split or merged."""

    code: str
    found: str
    allowed: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: found {self.found}, allowed: {self.allowed}; {self.what_to_do}"


def split(request: SplitRequest) -> SplitPlan | DivisionRefused:
    """The children ``ORDER-001`` and on, which together get exactly what remains, or why not.

    Codes: INTERRUPT_FIRST, ILLEGAL_TRANSITION, NOTHING_REMAINS, CHILDREN, CHILD_QUANTITY, SPLIT_SUM, CHILD_NAMES.
    """
    refusal = _state_refusal(request.order, request.state, request.held_from, JobOrderState.SPLIT)
    if refusal is not None:
        return refusal
    remaining, wanted = request.quantity - request.produced, request.wanted
    if remaining <= 0:
        found = f"{request.produced} of {request.quantity} made or confirmed in the ERP"
        return DivisionRefused("NOTHING_REMAINS", found, "an order that is not full", "complete it instead")
    # One child of an order that nothing was made for is that order with another name.
    least = 1 if request.produced else 2
    if not least <= len(wanted) <= CHILDREN_MAX:
        return DivisionRefused(
            "CHILDREN", str(len(wanted)), f"{least} to {CHILDREN_MAX}", "name a quantity for each child"
        )
    if any(one <= 0 for one in wanted):
        found = ", ".join(map(str, wanted))
        return DivisionRefused("CHILD_QUANTITY", found, "more than 0 for each child", "leave such a child out")
    if sum(wanted) != remaining:
        what = "divide what remains, neither more nor less"
        return DivisionRefused("SPLIT_SUM", f"{sum(wanted)} in all", f"{remaining} (remaining quantity)", what)
    names = _child_names(request.order, len(wanted), request.taken)
    if len(names) < len(wanted):
        found = f"names up to {request.order}-{CHILD_NUMBER_MAX} taken"
        return DivisionRefused("CHILD_NAMES", found, "enough free names", "split one of the children instead")
    children = (Child(name, request.order, quantity) for name, quantity in zip(names, wanted, strict=True))
    return SplitPlan(tuple(children), request.produced)


def child_image(image: OrderImage, child: Child, operation: str) -> OrderImage:
    """The image of a child: the parent's, this operation for the child's quantity.

    The whole routing and BOM stay: which operation is before it, which milestone confirms it in the ERP and which
    operation uses a component is said by the order as a whole. Raises ValueError for an operation that is not there.
    """
    if image.operation(operation) is None:
        raise ValueError(f"operation: found {operation}, allowed one of order {image.order}")
    operations = tuple(
        one._replace(quantity=child.quantity) if one.operation == operation else one for one in image.operations
    )
    return image._replace(order=child.order, quantity=child.quantity, operations=operations)


def merge(
    leader: str, members: Sequence[MergeMember], how: Distribution, taken: Collection[str] = ()
) -> MergePlan | DivisionRefused:
    """The leader and its originals, or why not. ``taken`` are names of orders that exist.

    Codes: ORIGINALS, INTERRUPT_FIRST, ILLEGAL_TRANSITION, LEADER_NAME, DIFFERENT_PRODUCT, NOTHING_REMAINS, RATIO.
    """
    names = [one.order for one in members]
    if not ORIGINALS_MIN <= len(set(names)) == len(names) <= ORIGINALS_MAX:
        allowed = f"{ORIGINALS_MIN} to {ORIGINALS_MAX} orders, each once"
        return DivisionRefused("ORIGINALS", ", ".join(names) or "none", allowed, "name the orders to merge")
    if leader in names or leader in taken:
        return DivisionRefused("LEADER_NAME", leader, "a new order number", "choose another name for the leader")
    for one in members:
        refusal = _state_refusal(one.order, one.state, one.held_from, JobOrderState.MERGED)
        if refusal is not None:
            return refusal
    refusal = _unlike(members) or _without_share(members, how)
    if refusal is not None:
        return refusal
    originals = tuple(Original(one.order, one.open_pieces, one.due_ns, one.ratio) for one in members)
    on_hold = tuple(one.order for one in members if one.state is JobOrderState.ON_HOLD)
    return MergePlan(leader, sum(one.open_pieces for one in members), how, originals, on_hold)


def _state_refusal(
    order: str, state: JobOrderState, held_from: JobOrderState | None, end: JobOrderState
) -> DivisionRefused | None:
    if state in RUNNING:
        return DivisionRefused("INTERRUPT_FIRST", f"order {order} {state}", "INTERRUPTED", "interrupt it first")
    if end in following(state, held_from):
        return None
    allowed = "RELEASED, DISPATCHED, INTERRUPTED, ON_HOLD"
    was = f" (held from {held_from})" if held_from else ""
    return DivisionRefused("ILLEGAL_TRANSITION", f"order {order} {state}{was}", allowed, "choose an order that is open")


def _unlike(members: Sequence[MergeMember]) -> DivisionRefused | None:
    first = members[0]
    for one in members:
        differs = [
            f"{name} {value or 'none'} at {one.order} and {wanted or 'none'} at {first.order}"
            for name, value, wanted in zip(
                ("product", "revision", "unit"),
                (one.product, one.product_revision, one.uom),
                (first.product, first.product_revision, first.uom),
                strict=True,
            )
            if value != wanted
        ]
        if differs:
            what = "merge only orders for the same product"
            return DivisionRefused("DIFFERENT_PRODUCT", ", ".join(differs), "the same product, revision and unit", what)
    return None


def _without_share(members: Sequence[MergeMember], how: Distribution) -> DivisionRefused | None:
    for one in members:
        if one.open_pieces < 1:
            found = f"{one.open_pieces} open at {one.order}"
            return DivisionRefused("NOTHING_REMAINS", found, "1 and above", "leave it out and complete it")
        if how == "fixed_ratio" and one.ratio < 1:
            found = f"{one.ratio} at {one.order}"
            return DivisionRefused("RATIO", found, "1 and above", "name a whole number for each order")
    return None


def _child_names(order: str, wanted: int, taken: Collection[str]) -> list[str]:
    """The next numbers behind those that exist."""
    pattern = re.compile(re.escape(order) + r"-(\d{3})")
    used = [int(match[1]) for name in taken if (match := pattern.fullmatch(name))]
    first = max(used, default=0) + 1
    last = min(first + wanted - 1, CHILD_NUMBER_MAX)
    return [f"{order}-{number:03d}" for number in range(first, last + 1)]
