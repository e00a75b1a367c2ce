"""Orders and sums out of the rows of an answer, as a profile says. Pure.

The cursor holds the highest mark so far and short digests of the orders that have it: the next question asks for what
is equal or higher, and what was there before is left out. Nothing is lost where several orders have the same mark.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import BookedOperation, BookedOrder, ConnectorError, MappingError, OrderPage, RefusedOrder
from gateway.connectors.refused_orders import refused_image
from gateway.connectors.rest.filters import Scope, written
from gateway.connectors.rest.orders import ORDERS_MAX, REASONS_MAX, order_of, place_of
from gateway.connectors.rest.placeholders import filled
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    import datetime as dt

    from gateway.connectors.rest.plan import Plan
    from gateway.core.model import ProductionOrder

SEEN_MAX: Final = 100
DIGEST_CHARS: Final = 8
MARK_MAX_CHARS: Final = 100
ROWS_SHOWN: Final = 60


class Cursor(NamedTuple):
    """The highest mark that was delivered, and digests of what had it."""

    mark: str = ""
    seen: tuple[str, ...] = ()

    def text(self) -> str:
        """As it is kept."""
        return json.dumps([self.mark, list(self.seen)], separators=(",", ":"))


def cursor_of(text: str) -> Cursor:
    """The cursor in a text; one that cannot be read begins from the start: orders come at least once."""
    try:
        mark, seen = json.loads(text) if text else ("", [])
    except (ValueError, TypeError):
        return Cursor()
    return Cursor(str(mark), tuple(map(str, seen)))


def page_of(rows: list[Any], plan: Plan, there: dt.tzinfo, cursor: Cursor) -> OrderPage:
    """The orders of these rows and the cursor behind them. Raises ConnectorError."""
    if len(rows) > ORDERS_MAX:
        raise ConnectorError(f"orders: found {len(rows)} rows, allowed at most {ORDERS_MAX}; make the question smaller")
    groups = _groups(rows, plan, there)
    if plan.cursor is None:
        # No mark that grows: all of it is delivered again as soon as anything has changed.
        whole = _digest(rows, 32)
        if cursor.seen == (whole,):
            return OrderPage((), (), cursor.text())
        return _page(groups, plan, there, Cursor("", (whole,)))
    marks = [max((_mark(row, plan, there) for row in group), key=_ordered) for group in groups]
    fresh = [
        (group, mark)
        for group, mark in zip(groups, marks, strict=True)
        if mark != cursor.mark or _digest(group) not in cursor.seen
    ]
    highest = max([cursor.mark, *marks], key=_ordered)
    at_highest = [_digest(group) for group, mark in zip(groups, marks, strict=True) if mark == highest]
    before = cursor.seen if highest == cursor.mark else ()
    seen = tuple(dict.fromkeys((*before, *at_highest)))[-SEEN_MAX:]
    return _page([group for group, _ in fresh], plan, there, Cursor(highest, seen))


def booked_of(rows: list[Any], plan: Plan, there: dt.tzinfo, order: str) -> BookedOrder:
    """The sums of these rows by operation. Raises ConnectorError."""
    sums: dict[str, dict[str, Decimal]] = {}
    for number, row in enumerate(rows):
        scope = _scope(plan, there, row, rows)
        try:
            told = {name: written(filled(one, scope, f"totals.{name}")) for name, one in plan.sums.items()}
            operation = sums.setdefault(told.pop("operation"), dict.fromkeys(("good", "scrap", "rework"), Decimal(0)))
            for name, text in told.items():
                operation[name] += Decimal(text or "0")
        except (MappingError, InvalidOperation) as error:
            raise ConnectorError(f"totals of order {order}, row {number}: {error}; correct the profile") from None
    return BookedOrder(
        order,
        operations=tuple(
            BookedOperation(name, found["good"], found["scrap"], found["rework"]) for name, found in sums.items()
        ),
    )


def _groups(rows: list[Any], plan: Plan, there: dt.tzinfo) -> list[list[Any]]:
    if plan.group is None:
        return [[row] for row in rows]
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(_filled(plan.group, plan, there, row, "orders.group"), []).append(row)
    return list(groups.values())


def _page(groups: list[list[Any]], plan: Plan, there: dt.tzinfo, cursor: Cursor) -> OrderPage:
    orders: list[ProductionOrder] = []
    refused: list[RefusedOrder] = []
    for number, group in enumerate(groups):
        reasons: list[str] = []
        order, image = None, None
        try:
            image = filled(plan.order, _scope(plan, there, group[0], group), "order")
            order = order_of(image, reasons)
        except MappingError as error:
            reasons.append(str(error))
        if order is None or reasons:
            refused.append(refused_image(place_of(number, image), image, reasons[:REASONS_MAX]))
        else:
            orders.append(order)
    return OrderPage(tuple(orders), tuple(refused), cursor.text())


def _mark(row: Any, plan: Plan, there: dt.tzinfo) -> str:
    mark = _filled(plan.cursor, plan, there, row, "orders.cursor")
    if len(mark) > MARK_MAX_CHARS:
        raise ConnectorError(f"orders.cursor: found {clean(mark, ROWS_SHOWN)!r}, allowed: {MARK_MAX_CHARS} characters")
    return mark


def _filled(template: Any, plan: Plan, there: dt.tzinfo, row: Any, where: str) -> str:
    try:
        return written(filled(template, _scope(plan, there, row, [row]), where))
    except MappingError as error:
        raise ConnectorError(f"{error}; correct the profile") from None


def _scope(plan: Plan, there: dt.tzinfo, row: Any, rows: list[Any]) -> Scope:
    return Scope({"row": row, "rows": rows, "value": plan.values}, there, plan.profile.tables)


def _ordered(mark: str) -> tuple[bool, Decimal, str]:
    """Numbers by their value, texts by their letters; nothing at all is first."""
    try:
        number = Decimal(mark)
    except InvalidOperation:
        number = Decimal(0)
    return bool(mark), number if number.is_finite() else Decimal(0), mark


def _digest(value: Any, chars: int = DIGEST_CHARS) -> str:
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:chars]
