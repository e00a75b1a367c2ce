"""Values of entries as JSON data: decimals as text, tuples as lists. Knows no entry."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any


def plain(value: Any) -> Any:
    """The value as JSON data; words of an enumeration are text already."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def decimal_read(text: Any) -> Decimal:
    """The number that ``plain`` wrote. Raises ValueError for anything else."""
    try:
        return Decimal(text)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise ValueError(f"number {text!r}") from error
