"""The fake ERP's order book: checks images that are put, and releases small orders for the demo by itself.

Stores nothing (``ledger.py``) and speaks no HTTP.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.erp.ledger import Ledger

#: The demo releases so many open orders of each kind ahead, and never more than the limit in all.
AHEAD: Final = 2
LIMIT: Final = 10_000
#: From the start of one demo order to the next of the same kind, in seconds.
ORDER_S: Final = 3600
#: Longest order number.
MAX_ORDER: Final = 40


class OrderError(ValueError):
    """An image was refused; ``stale`` if a newer one is released."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProduct:
    """What the demo makes over and over: one operation at its machine, one at the case packer."""

    product: str
    first_number: int
    numbers: int  # so many order numbers from the first on; then the block from ``more_numbers`` on
    more_numbers: int
    sequence_no: int
    quantity: int
    work_center: str
    std_cycle_s: str
    text: str

    def order_id(self, number: int) -> str:
        """The order's name: the first one is number 0."""
        inside = number < self.numbers
        return str(self.first_number + number if inside else self.more_numbers + number - self.numbers)


#: The two kinds alternate at the case packer: their sequence numbers interleave.
DEMO: Final = (
    DemoProduct(
        product="ASSY-D20",
        first_number=100_240,
        numbers=260,
        more_numbers=120_000,
        sequence_no=10,
        quantity=24,
        work_center="WC-ASM",
        std_cycle_s="2.4",
        text="assemble",
    ),
    DemoProduct(
        product="CAP-38",
        first_number=100_500,
        numbers=10_000,
        more_numbers=140_000,
        sequence_no=20,
        quantity=48,
        work_center="WC-IMM",
        std_cycle_s="2.25",
        text="mould",
    ),
)
OPERATIONS: Final = ("0010", "0020")


def put(ledger: Ledger, image: object) -> int:
    """Release an order or a newer revision of it; returns the change number. Raises OrderError."""
    checked = _checked(image)
    found = ledger.image(checked["order_id"])
    if found is not None:
        known, change = found
        if known == checked:
            return change
        if checked["revision"] <= known["revision"]:
            raise OrderError(
                f"order {checked['order_id']} revision {checked['revision']}: revision {known['revision']} is released "
                "with other content; raise the revision",
                stale=True,
            )
    return ledger.put(checked)


def release_demo(ledger: Ledger) -> None:
    """Release until enough orders of each kind are open at each of their operations."""
    for kind in DEMO:
        while _waiting(ledger, kind) < AHEAD and (number := ledger.count(kind.product)) < LIMIT:
            ledger.put(_image(kind, number), kind=kind.product)


def _waiting(ledger: Ledger, kind: DemoProduct) -> int:
    # Counted per operation: a slow case packer must not starve the machine before it.
    return min(ledger.open_orders(kind.product, operation) for operation in OPERATIONS)


def _image(kind: DemoProduct, number: int) -> dict[str, Any]:
    start_s = time.time_ns() // 1_000_000_000 + number * ORDER_S
    quantity = str(kind.quantity)
    return {
        "order_id": kind.order_id(number),
        "revision": 1,
        "type": "MTO",
        "product": {"id": kind.product, "revision": "F", "uom": "PC"},
        "qty": quantity,
        "planned_start": _utc(start_s),
        "planned_end": _utc(start_s + ORDER_S),
        "priority": 5,
        "sequence_no": kind.sequence_no + 20 * number,
        "sales_order": f"SO-{7000 + number}",
        "customer": "Hydro Armaturen GmbH",
        "cost_center": "4711",
        "operations": [
            {
                "op": OPERATIONS[0],
                "work_center": kind.work_center,
                "qty": quantity,
                "std_cycle_s": kind.std_cycle_s,
                "text": kind.text,
                "control": {"overlap": True},  # packing begins while the machine before it still works
            },
            {"op": OPERATIONS[1], "work_center": "WC-PCK", "qty": quantity, "std_cycle_s": "2.25", "text": "pack"},
        ],
    }


def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _checked(image: object) -> dict[str, Any]:
    # Only what the ERP itself needs: a test may well release what a gateway has to refuse.
    if not isinstance(image, dict):
        raise OrderError(f"an order is a JSON object, found {type(image).__name__}")
    order, revision, operations = image.get("order_id"), image.get("revision"), image.get("operations")
    if not isinstance(order, str) or not 1 <= len(order) <= MAX_ORDER:
        raise OrderError(f"order_id: found {order!r}, allowed is text of 1 to {MAX_ORDER} characters")
    if type(revision) is not int or revision < 1:
        raise OrderError(f"order {order}: revision: found {revision!r}, allowed is a whole number from 1 on")
    if not isinstance(operations, list) or not operations or not all(map(_is_operation, operations)):
        raise OrderError(f"order {order}: operations: a list of at least one object with op and work_center is needed")
    return image


def _is_operation(operation: Mapping[str, object] | object) -> bool:
    return isinstance(operation, dict) and all(isinstance(operation.get(name), str) for name in ("op", "work_center"))
