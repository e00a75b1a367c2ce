"""Number and revision of refused documents, as they say them, so that their ERP can be answered. Pure; judges none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import RefusedOrder
from gateway.connectors.order_fields import ID_MAX_CHARS
from gateway.core.foreign_text import is_clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REVISION_MAX: Final = 2**31 - 1


def refused_image(place: str, image: Any, reasons: Sequence[str]) -> RefusedOrder:
    """The refusal of an image; nobody is answered where it has no number that can be told back."""
    found = image if isinstance(image, dict) else {}
    return RefusedOrder(place, tuple(reasons), named([(found.get("order_id"), found.get("revision"))]))


def named(documents: Iterable[tuple[Any, Any]]) -> tuple[tuple[str, int], ...]:
    """Number and revision by what documents have there, whatever that is; 0 for a revision that is none."""
    return tuple((number, _revision(revision)) for order, revision in documents if (number := _number(order)))


def _number(order: Any) -> str:
    number = order.strip() if isinstance(order, str) else str(order) if _is_whole(order) else ""
    return number if len(number) <= ID_MAX_CHARS and is_clean(number) else ""


def _revision(revision: Any) -> int:
    if isinstance(revision, str) and revision.isascii() and revision.strip().isdecimal():
        revision = int(revision.strip()[: len(str(REVISION_MAX)) + 1])
    return revision if _is_whole(revision) and 0 <= revision <= REVISION_MAX else 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**ID_MAX_CHARS
