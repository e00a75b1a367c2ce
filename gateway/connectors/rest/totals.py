"""Reads what an ERP has booked of an order: JSON bytes in, checked sums out. Pure; unknown fields are ignored."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import BookedOperation, BookedOrder, ConnectorError
from gateway.connectors.rest.answers import refused_with
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from gateway.connectors.http import HttpAnswer

OPERATIONS_MAX: Final = 500
EPOCHS_MAX: Final = 100
SEQ_MAX: Final = 2**53
QUANTITY_MAX: Final = Decimal(10) ** 12
SHOWN_MAX_CHARS: Final = 40


def booked_of(answer: HttpAnswer, order: str) -> BookedOrder:
    """The sums in an answer; an order that the ERP does not know is one of it, too. Raises ConnectorError."""
    where = f"totals of order {clean(order, SHOWN_MAX_CHARS)}"
    code = refused_with(answer)
    if answer.status == HTTPStatus.NOT_FOUND and code:
        return BookedOrder(order, known=False)
    if answer.status != HTTPStatus.OK:
        raise ConnectorError(f"{where}: HTTP {answer.status}, allowed: 200, or 404 with an error; check totals_path")
    try:
        document = json.loads(answer.body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ConnectorError(f"{where}: the answer is not JSON ({error}); check totals_path") from error
    rows = document.get("operations") if isinstance(document, dict) else None
    if not isinstance(rows, list) or len(rows) > OPERATIONS_MAX or not all(isinstance(row, dict) for row in rows):
        raise ConnectorError(
            f'{where}: found no {{"operations": [...]}} with up to {OPERATIONS_MAX}; check totals_path'
        )
    if document.get("order_id") not in (None, order):
        found = clean(repr(document["order_id"]), SHOWN_MAX_CHARS)
        raise ConnectorError(f"{where}: the answer speaks of order {found}; check totals_path")
    operations = tuple(_operation(row, f"{where}, operations[{number}]") for number, row in enumerate(rows))
    return BookedOrder(order, closed=document.get("closed") is True, operations=operations)


def _operation(row: dict[str, Any], where: str) -> BookedOperation:
    name, highest = row.get("op"), row.get("highest", [])
    if not isinstance(name, str) or not name:
        raise ConnectorError(f"{where}.op: found {clean(repr(name), SHOWN_MAX_CHARS)}, allowed: a text")
    if not isinstance(highest, list) or len(highest) > EPOCHS_MAX or not all(map(_is_epoch, highest)):
        text = f'a list of up to {EPOCHS_MAX} objects like {{"epoch": "...", "seq": 3}}'
        raise ConnectorError(f"{where}.highest: found {clean(repr(highest), SHOWN_MAX_CHARS)}, allowed: {text}")
    good, scrap, rework = (_quantity(row.get(role, "0"), f"{where}.{role}") for role in ("good", "scrap", "rework"))
    epochs = tuple((one["epoch"], one["seq"]) for one in highest)
    return BookedOperation(name, good, scrap, rework, epochs)


def _is_epoch(one: object) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("epoch"), str):
        return False
    seq = one.get("seq")
    return isinstance(seq, int) and not isinstance(seq, bool) and 1 <= seq <= SEQ_MAX


def _quantity(value: object, where: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number) > QUANTITY_MAX:
        raise ConnectorError(f"{where}: found {clean(repr(value), SHOWN_MAX_CHARS)}, allowed: a number")
    return number
