"""A cursor for targets that number no changes: which orders were taken over, in which revision, and what they said.

Pure. An order that says something else than before gets the next revision; one that is not listed any more is named,
so that its connector asks what became of it. The cursor is the whole memory: the same one gives the same orders.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import ConnectorError, OrderPage
from gateway.connectors.rest.orders import parse_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.model import ProductionOrder

ORDERS_MAX: Final = 5000
DIGEST_CHARS: Final = 12


class Seen(NamedTuple):
    """What a cursor remembers: order to its revision and the digest of what it said."""

    orders: Mapping[str, tuple[int, str]]


class Turned(NamedTuple):
    """Documents that are new or changed, with their ``revision``, and the cursor behind them."""

    changed: tuple[dict[str, Any], ...]
    cursor: str


def seen_of(cursor: str) -> Seen:
    """What a cursor remembers; "" remembers nothing. Raises ConnectorError for what is no cursor of ours."""
    if not cursor:
        return Seen({})
    try:
        rows = json.loads(cursor)
        return Seen({str(order): (int(revision), str(digest)) for order, (revision, digest) in rows.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ConnectorError(
            "orders: the cursor is none of this connector; was the target's connector changed?"
        ) from error


def turned(seen: Seen, documents: Sequence[Mapping[str, Any]], over: Sequence[Mapping[str, Any]] = ()) -> Turned:
    """``documents`` are all orders that are listed now, ``over`` those that were seen and are finished or withdrawn.

    Raises ConnectorError for too many of them.
    """
    if len(documents) > ORDERS_MAX:
        raise ConnectorError(f"orders: found {len(documents)}, allowed at most {ORDERS_MAX}; narrow order_filter")
    changed: list[dict[str, Any]] = []
    kept: dict[str, tuple[int, str]] = {}
    for document in (*documents, *over):
        order, digest = str(document.get("order_id")), _digest(document)
        revision, before = seen.orders.get(order, (0, ""))
        if digest != before:
            revision += 1
            changed.append({**document, "revision": revision})
        kept[order] = (revision, digest)
    for document in over:
        kept.pop(str(document.get("order_id")), None)
    return Turned(tuple(changed), json.dumps(kept, separators=(",", ":"), sort_keys=True))


def page_of(found: Turned, echo_of: Callable[[Mapping[str, Any]], Mapping[str, str]]) -> OrderPage:
    """The page of checked orders; ``echo_of`` says of a document what comes back with its confirmations."""
    page = parse_page(json.dumps({"cursor": "", "orders": found.changed}, default=str).encode())
    echoes = {str(one.get("order_id")): dict(echo_of(one)) for one in found.changed}
    return OrderPage(tuple(_with_echo(one, echoes[one.order]) for one in page.orders), page.refused, found.cursor)


def _with_echo(order: ProductionOrder, echo: Mapping[str, str]) -> ProductionOrder:
    image = None if order.image is None else order.image._replace(echo=tuple(sorted(echo.items())))
    return replace(order, echo=dict(echo), image=image)


def _digest(document: Mapping[str, Any]) -> str:
    written = json.dumps(document, sort_keys=True, default=str).encode()
    return hashlib.sha256(written).hexdigest()[:DIGEST_CHARS]
