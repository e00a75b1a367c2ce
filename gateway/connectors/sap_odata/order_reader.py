"""Asks SAP for orders of a plant that changed, page by page, and makes canonical orders of them.

A page begins where the one before ended, and its first row must be the last one of that: whatever changes meanwhile
moves to the end, and nothing is passed over. What a row means is ``orders.py``, what is new ``order_pages.py``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import ConnectorError, OrderPage, RefusedOrder
from gateway.connectors.http import TooLongError, TransportError
from gateway.connectors.sap_odata import edm
from gateway.connectors.sap_odata.answers import not_rows, rows_of
from gateway.connectors.sap_odata.order_pages import (
    Memory,
    Seen,
    cursor_of,
    digest_of,
    lower_bound,
    next_cursor,
)
from gateway.connectors.sap_odata.orders import OrderRules, is_over, read_order
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.connectors.sap_odata.services import Service
    from gateway.connectors.sap_odata.session import Session
    from gateway.core.model import ProductionOrder

ORDERS_MAX_BYTES: Final = 32 * 1024 * 1024
#: Orders of one fetch at most; the rest follows at once.
ORDERS_MAX: Final = 2000
#: So often a page is begun anew because orders moved.
RESTARTS_MAX: Final = 5
REASONS_MAX: Final = 50
ID_MAX_CHARS: Final = 64
_STAMP: Final = "LastChangeDateTime"
_ORDER: Final = "ManufacturingOrder"

Row = dict[str, Any]


class FeedRules(NamedTuple):
    """What the settings say of fetching: lengths in nanoseconds, ``page`` in orders."""

    plant: str
    services: tuple[Service, ...]
    order: OrderRules
    since_ns: int
    overlap_ns: int
    page: int


class OrderReader:
    """The orders of one plant."""

    def __init__(self, session: Session, rules: FeedRules, now_ns: Callable[[], int]) -> None:
        self._session = session
        self._rules = rules
        self._now_ns = now_ns
        self._memory = Memory()

    async def fetch(self, text: str) -> OrderPage:
        """Orders that changed since a cursor. Raises ConnectorError."""
        before = cursor_of(text)
        self._memory.asked(text)
        if before is None:
            since = edm.stamp_at(max(self._now_ns() - self._rules.since_ns, 0))
        else:
            since = lower_bound(before, self._rules.overlap_ns)
        found: list[tuple[Service, Row]] = []
        whole: list[str] = []
        partly: list[str] = []
        for service in self._rules.services:
            rows, reached = await self._read(service, since)
            found += [(service, row) for row in rows]
            (whole if reached else partly).append(max((str(row[_STAMP]) for row in rows), default=""))
        # Where one has more, the other must not run ahead of it.
        newest, more = (min(partly), True) if partly else (max(whole), False)
        # In a thread: a long page takes a second, and machines are counted meanwhile.
        orders, refused, delivered = await asyncio.to_thread(self._made, found, first=before is None or before.first)
        cursor = next_cursor(before, newest, delivered=bool(delivered), more=more)
        behind = str(cursor) if cursor is not None else ""
        self._memory.offer(behind, delivered, since)
        return OrderPage(tuple(orders), tuple(refused), behind)

    def _made(
        self, found: list[tuple[Service, Row]], *, first: bool
    ) -> tuple[list[ProductionOrder], list[RefusedOrder], dict[str, Seen]]:
        orders: list[ProductionOrder] = []
        refused: list[RefusedOrder] = []
        delivered: dict[str, Seen] = {}
        for service, row in found:
            number, stamp, digest = str(row[_ORDER]), str(row[_STAMP]), digest_of(row)
            seen = self._memory.change_of(number, stamp, digest)
            if seen is None:
                continue
            delivered[number] = seen
            # What was over before this gateway came is none of its business.
            if first and is_over(row) and not self._memory.knows(number):
                continue
            reasons: list[str] = []
            order = read_order(row, service, self._rules.order, seen, reasons)
            if order is None:
                if len(reasons) > REASONS_MAX:
                    reasons[REASONS_MAX:] = [f"... and {len(reasons) - REASONS_MAX} more"]
                refused.append(RefusedOrder(f"order {clean(number, ID_MAX_CHARS)}", tuple(reasons)))
            else:
                orders.append(order)
        return orders, refused, delivered

    async def _read(self, service: Service, since: str) -> tuple[list[Row], bool]:
        """Rows from a stamp on, the youngest state of each order, and whether these are all."""
        found: dict[str, Row] = {}
        skip, anchor, restarts, page = 0, "", 0, self._rules.page
        while True:
            rows = await self._page(service, since, skip)
            if anchor and (not rows or _mark(rows[0]) != anchor):
                # An order before this page has changed: it stands at the end now, and the others moved up.
                restarts += 1
                if restarts > RESTARTS_MAX:
                    raise ConnectorError(
                        "orders: they change faster than they can be read; orders_page may be too small"
                    )
                skip, anchor = 0, ""
                continue
            found |= {str(row[_ORDER]): row for row in rows}
            if len(rows) < page:
                return list(found.values()), True
            last = str(rows[-1][_STAMP])
            if last > since:  # from the last stamp on, as if it were the first page
                since, skip, anchor = last, 0, ""
                if len(found) >= ORDERS_MAX:
                    return list(found.values()), False
            else:  # a whole page of one second
                skip, anchor = skip + page - 1, _mark(rows[-1])

    async def _page(self, service: Service, since: str, skip: int) -> list[Row]:
        """One page of rows with a number and a stamp each. Raises ConnectorError."""
        plant = edm.text_literal(self._rules.plant)
        query = {
            "$filter": f"ProductionPlant eq {plant} and {_STAMP} ge {edm.text_literal(since)}",
            "$expand": f"{service.to_operations},{service.to_components},{service.to_items}",
            "$orderby": f"{_STAMP},{_ORDER}",
            "$top": str(self._rules.page),
            "$skip": str(skip),
        }
        try:
            answer = await self._session.ask(service.order_path, query, ORDERS_MAX_BYTES)
        except TooLongError as error:
            raise ConnectorError(f"orders: {error}; write a smaller orders_page") from error
        except TransportError as error:
            raise ConnectorError(f"orders: {error}; check the network and that SAP is up") from error
        rows = await asyncio.to_thread(rows_of, answer)
        if rows.status:
            raise not_rows(f"orders: {service.orders}", rows)
        for row in rows.rows:
            if not isinstance(row.get(_ORDER), str) or not edm.is_stamp(row.get(_STAMP)):
                shown = clean(repr(row.get(_ORDER)), ID_MAX_CHARS)
                text = f"found {row.get(_STAMP)!r}, allowed: YYYYMMDDhhmmss; without it nothing new can be asked for"
                raise ConnectorError(f"orders: order {shown}: {_STAMP}: {text}")
        return rows.rows


def _mark(row: Row) -> str:
    return f"{row[_STAMP]} {row[_ORDER]}"
