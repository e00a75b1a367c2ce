"""What Business Central has booked of an order: its capacity ledger entries, summed by operation. Pure; asks nobody.

An entry that a person posted counts like one of ours, and so does one with a quantity below 0, which corrects another.
A published page that does not show what is summed says nothing, and is never taken for zero.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import BookedOperation, ConnectorError
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Orders of other kinds have numbers of their own series, which may be the same.
PRODUCTION: Final = "Production"
SHOWN_MAX_CHARS: Final = 40


def summed(entries: Iterable[Mapping[str, Any]], where: str) -> tuple[BookedOperation, ...]:
    """Good and scrap by operation. ``where`` names page and order in errors. Raises ConnectorError."""
    sums: dict[str, BookedOperation] = {}
    for row in entries:
        if row.get("Order_Type") not in (None, PRODUCTION):
            continue
        name = row.get("Operation_No")
        if not isinstance(name, str) or not name:
            found = clean(repr(name), SHOWN_MAX_CHARS)
            raise ConnectorError(f"{where}: Operation_No: found {found}, allowed: a text; does the page show it?")
        before = sums.get(name, BookedOperation(name))
        good, scrap = (_quantity(row, field, where) for field in ("Output_Quantity", "Scrap_Quantity"))
        sums[name] = before._replace(good=before.good + good, scrap=before.scrap + scrap)
    return tuple(sums.values())


def _quantity(row: Mapping[str, Any], field: str, where: str) -> Decimal:
    value = row.get(field)
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        found = clean(repr(value), SHOWN_MAX_CHARS)
        raise ConnectorError(f"{where}: {field}: found {found}, allowed: a number; does the page show it?")
    return number
