"""What this fake SAP shows: service documents, orders and confirmations, as a query asks for them. Changes nothing."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from simulators.erp import sap_odata_forms as forms
from simulators.erp import sap_odata_orders
from simulators.erp.sap_odata_query import QueryError, chosen, expanded, selected
from simulators.erp.sap_odata_tickets import GUID, shown_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.erp.faults import Route
    from simulators.erp.http import Answer, Request, Response
    from simulators.erp.ledger import Ledger
    from simulators.erp.sap_odata_book import Book
    from simulators.erp.sap_odata_kinds import Kind
    from simulators.erp.sap_odata_sessions import Sessions

KEYED: Final = re.compile(r"([A-Za-z_0-9$]+)\((.*)\)")

Row = dict[str, Any]


class Reading:
    """Serves GET. ``page_fault`` says whether a fault has its turn."""

    def __init__(
        self,
        ledger: Ledger,
        book: Book,
        sessions: Sessions,
        page_fault: Callable[[Route], Response | None],
        *,
        barred_guid: bool,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._sessions = sessions
        self._page_fault = page_fault
        self._barred_guid = barred_guid

    async def service(self, kind: Kind, request: Request) -> Answer:
        """The service document."""
        is_orders = kind.orders in request.path
        names = [kind.order_set] if is_orders else [kind.confirmation_set]
        return self._sessions.with_token(request, forms.one({"EntitySets": names}))

    async def metadata(self, kind: Kind, request: Request) -> Answer:
        """A small $metadata."""
        if kind.orders in request.path:
            return self._sessions.with_token(request, forms.metadata(kind.orders, [kind.order_set], []))
        functions = [kind.cancel, "GetConfProposal"]
        return self._sessions.with_token(
            request, forms.metadata(kind.confirmations, [kind.confirmation_set], functions)
        )

    async def orders(self, kind: Kind, request: Request) -> Answer:
        """Orders: a set or one of them."""
        broken = self._page_fault("orders")
        if broken is not None:
            return broken
        try:
            key = _key_of(request)
            if key:
                rows = [row for row, _ in self._order_rows(kind) if row["ManufacturingOrder"] == forms.outside(key[""])]
                rows = rows or [row for row, _ in [self._single(kind, key[""])] if row]
                if not rows:
                    return forms.error(404, "/IWBEP/CM_MGW_RT/020", "Resource not found for segment", kind.orders)
                return self._sessions.with_token(request, forms.one(selected(rows[0], request.query, ())))
            pairs = {row["ManufacturingOrder"]: image for row, image in self._order_rows(kind)}
            rows = [row for row, _ in self._order_rows(kind)]
            names = frozenset(rows[0]) if rows else frozenset(sap_odata_orders.header({"order_id": "1"}, ""))
            navigations = {f"{kind.nav}{word}" for word in ("Operation", "Component", "Item", "Status")}
            wanted = expanded(request.query, navigations)
            found = []
            for row in chosen(rows, request.query, names, frozenset()):
                parts = _parts(kind, pairs[row["ManufacturingOrder"]], wanted)
                found.append(selected(row, request.query, wanted) | parts)
            return self._sessions.with_token(request, forms.many(found))
        except QueryError as error:
            return forms.error(400, "/IWBEP/CM_MGW_RT/000", str(error), kind.orders)

    async def confirmations(self, kind: Kind, request: Request) -> Answer:
        """Confirmations: a set or one of them."""
        broken = self._page_fault("lookups")
        if broken is not None:
            return broken
        try:
            key = _key_of(request)
            if key:
                found = self._book.find(key.get("ConfirmationGroup", ""), key.get("ConfirmationCount", ""))
                if found is None:
                    return forms.error(404, "/IWBEP/CM_MGW_RT/020", "Resource not found", kind.confirmations)
                return self._sessions.with_token(request, forms.one(selected(found[1], request.query, ())))
            rows = self._book.rows(process=kind.process)
            names = frozenset(shown_row({})) | {"ConfirmationGroup", "ConfirmationCount", "IsReversed", "IsReversal"}
            barred = frozenset({GUID}) if self._barred_guid else frozenset[str]()
            found_rows = chosen(rows, request.query, names, barred)
            return self._sessions.with_token(
                request, forms.many(selected(row, request.query, ()) for row in found_rows)
            )
        except QueryError as error:
            return forms.error(400, "/IWBEP/CM_MGW_RT/000", str(error), kind.confirmations)

    def images(self) -> list[Row]:
        """The images of all orders that are not finished."""
        images: list[Row] = []
        since = 0
        while True:
            after, page = self._ledger.changes(since)
            images += page
            if not page or after == since:
                return images
            since = after

    def _order_rows(self, kind: Kind) -> list[tuple[Row, Row]]:
        images = [image for image in self.images() if sap_odata_orders.is_process(image) == kind.process]
        return [(sap_odata_orders.header(image, self._stamp(image)), image) for image in images]

    def _single(self, kind: Kind, order: str) -> tuple[Row, Row]:
        found = self._ledger.image(order)
        if found is None or sap_odata_orders.is_process(found[0]) != kind.process:
            return {}, {}
        return sap_odata_orders.header(found[0], self._stamp(found[0])), found[0]

    def _stamp(self, image: Row) -> str:
        digest = hashlib.sha256(json.dumps(image, sort_keys=True).encode()).hexdigest()
        return self._book.stamp_of(str(image["order_id"]), digest)


def _parts(kind: Kind, image: Row, wanted: tuple[str, ...]) -> Row:
    made = {
        f"{kind.nav}Operation": sap_odata_orders.operations,
        f"{kind.nav}Component": sap_odata_orders.components,
        f"{kind.nav}Item": sap_odata_orders.items,
    }
    return {
        name: {"results": serve(image)} if name in wanted else {"__deferred": {"uri": name}}
        for name, serve in made.items()
    }


def _key_of(request: Request) -> dict[str, str]:
    match = KEYED.search(unquote(request.path).rpartition("/")[2])
    if match is None:
        return {}
    pairs = (part.strip().rpartition("=") for part in match[2].split(","))
    return {name: value.strip("'").replace("''", "'") for name, _, value in pairs}
