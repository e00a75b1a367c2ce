"""The connector to SAP S/4HANA over OData: orders by GET, confirmations by POST, look-up by the GUID that each one has.

It makes one attempt and says how it ended. Order, repeats, back-off and parking are the forwarder's.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import (
    BookedOperation,
    BookedOrder,
    Capabilities,
    ConnectorContext,
    ConnectorError,
    Health,
    Lookup,
    LookupKind,
    Outcome,
    OutcomeKind,
)
from gateway.connectors.error_classes import table_of
from gateway.connectors.http import TransportError
from gateway.connectors.http_answer import kept
from gateway.connectors.mapping.moments import zone_of
from gateway.connectors.material_left import left_of, sends_none
from gateway.connectors.sap_odata import edm, movements
from gateway.connectors.sap_odata.answers import (
    DEFAULT_CLASSES,
    GUID,
    NO_GUID,
    Rows,
    cancelled_of,
    is_booking,
    lacks_guid,
    lookup_of,
    not_rows,
    outcome_of,
    reversal_of,
    rows_of,
)
from gateway.connectors.sap_odata.operations import Address, name_of, same
from gateway.connectors.sap_odata.order_reader import FeedRules, OrderReader
from gateway.connectors.sap_odata.orders import OrderRules, takes_nothing
from gateway.connectors.sap_odata.render import RenderRules, rendered
from gateway.connectors.sap_odata.services import BY_MESSAGE, BY_SETTING, ROOT
from gateway.connectors.sap_odata.session import NoTokenError, Session, is_token_wanted
from gateway.connectors.signed_client import SignedClient, outcome_of_failure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from gateway.connectors.base import OrderPage, Posting, Rendered
    from gateway.connectors.http import HttpAnswer
    from gateway.connectors.sap_odata.services import Service
    from gateway.connectors.sap_odata.settings import SapOdataSettings

ROWS_MAX_BYTES: Final = 16 * 1024 * 1024
#: Confirmations of an operation or an order that are read at most, and in one answer.
CONFIRMATIONS_MAX: Final = 20_000
CONFIRMATIONS_PAGE: Final = 1000
SELECTED: Final = (
    "ConfirmationGroup,ConfirmationCount,OrderID,Sequence,OrderOperation,OrderSuboperation,ConfirmationYieldQuantity,"
    f"ConfirmationScrapQuantity,ConfirmationReworkQuantity,ConfirmationUnit,IsReversed,IsReversal,{GUID}"
)
#: A service says so of a property that it cannot filter by; what else is wrong then shows itself without the filter.
_NO_FILTER: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_IMPLEMENTED})
_FLAGS: Final = (
    "ManufacturingOrder,ProductionUnit,OrderIsTechnicallyCompleted,OrderIsClosed,OrderIsLocked,OrderIsDeleted,"
    "OrderIsMarkedForDeletion"
)


class SapOdataConnector:
    """One SAP system, one plant."""

    def __init__(self, settings: SapOdataSettings, context: ConnectorContext) -> None:
        self._context = context
        self._services = BY_SETTING[settings.orders]
        self._table = table_of(settings.error_classes, DEFAULT_CLASSES)
        zone = zone_of(settings.mapping, context.time_zone)
        self._render_rules = RenderRules(
            plant=settings.plant,
            zone=zone,
            services=self._services,
            mapping=settings.mapping,
            iso_units=settings.iso_units,
            final=settings.final_confirmation,
            goods=settings.goods_movements,
            storage_location=settings.issue_storage_location,
        )
        self._units = _turned(settings.mapping.units)
        work_centers = _turned(settings.mapping.work_centers)
        order_rules = OrderRules(
            zone=zone,
            unit=lambda name: self._units.get(name, name),
            work_center=lambda name: work_centers.get(name, name),
            overlap=settings.overlap,
            issued="erp" if settings.goods_movements == "erp" else "gateway",
            tolerances=(settings.over_tolerance_pct, settings.under_tolerance_pct),
        )
        self._client = SignedClient(
            settings.url, settings.sign_in, context, timeout_ns=int(settings.timeout), ca_file=settings.ca_file
        )
        self._session = Session(self._client, settings.client)
        feed = FeedRules(
            plant=settings.plant,
            services=self._services,
            order=order_rules,
            since_ns=int(settings.orders_since),
            overlap_ns=int(settings.orders_overlap),
            page=settings.orders_page,
        )
        self._reader = OrderReader(self._session, feed, context.now_ns)
        #: False once SAP has refused to filter by the GUID: then all of an operation is read and compared here.
        self._guid_filter = True
        #: False once SAP has booked and not given the GUID back: that it is not found proves nothing then.
        self._keeps_guid = True
        self._capabilities = Capabilities(
            can_lookup=True,
            server_time_limit_ns=int(settings.server_time_limit),
            totals=True,
            correction="cancel",
        )

    @property
    def capabilities(self) -> Capabilities:
        """A GUID can be looked up, and is not unique; what is booked can be taken back."""
        return self._capabilities

    async def open(self) -> None:
        """Make the clients. Raises ConnectorError for a file or a secret that cannot be used."""
        await self._client.open()

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    async def fetch_orders(self, cursor: str) -> OrderPage:
        """Orders of the plant that changed since the cursor, whatever their status. Raises ConnectorError."""
        return await self._reader.fetch(cursor)

    def render(self, confirmation: Mapping[str, Any]) -> Rendered:
        """The messages of a confirmation or a reversal. Raises MappingError."""
        return rendered(confirmation, self._render_rules)

    def not_sent(self, confirmation: Mapping[str, Any]) -> tuple[str, ...]:
        """Material that a person has to post in SAP."""
        is_sent = movements.is_sent if self._render_rules.goods == "components" else sends_none
        return left_of(confirmation, is_sent)

    async def send(self, posting: Posting) -> Outcome:
        """POST it once; once more only where nothing but the token was wrong."""
        service, image = _message_of(posting)
        cancels = posting.rendered.name == service.cancel
        path, query, body = service.confirmation_path, {}, posting.rendered.body
        if cancels:
            path, query, body = service.cancel_path, _parameters(image), b""
        try:
            answer = await self._session.post(service, path, query, body)
        except NoTokenError as error:
            return self._kept(_without_token(error.answer), error.answer)
        except TransportError as error:
            return outcome_of_failure(error)
        now_ns = self._context.now_ns()
        if is_token_wanted(answer):
            outcome = Outcome(OutcomeKind.NOT_SENT, "SAP refuses a token that it gave out a moment ago; trying again")
        elif cancels:
            outcome = cancelled_of(answer, self._table, now_ns, _taken_back(image))
        else:
            outcome = outcome_of(answer, self._table, now_ns, image[GUID])
            self._keeps_guid = self._keeps_guid and not lacks_guid(outcome)
        return outcome if outcome.kind is OutcomeKind.POSTED else self._kept(outcome, answer)

    async def lookup(self, posting: Posting) -> Lookup:
        """Ask for its GUID; of a cancellation, whether what it takes back is taken back."""
        service, image = _message_of(posting)
        try:
            if posting.rendered.name == service.cancel:
                key = f"ConfirmationGroup={edm.text_literal(image['ConfirmationGroup'])}"
                key += f",ConfirmationCount={edm.text_literal(image['ConfirmationCount'])}"
                rows = await self._rows(f"{service.confirmation_path}({key})", {"$select": SELECTED})
                found = reversal_of(rows.rows, _taken_back(image))
            else:
                rows = await self._rows_of_guid(service, image)
                found = lookup_of(rows.rows, image[GUID])
        except (ConnectorError, TransportError) as error:
            return Lookup(LookupKind.UNKNOWN, detail=str(error))
        if found.kind is LookupKind.ABSENT and not rows.status and not self._keeps_guid:
            return Lookup(LookupKind.UNCLEAR, detail=NO_GUID, code="NO_GUID")
        return found if not rows.status else Lookup(LookupKind.UNKNOWN, detail=rows.detail)

    async def booked(self, order: str) -> BookedOrder:
        """What SAP has confirmed of an order, without what was taken back. Raises ConnectorError."""
        try:
            for service in self._services:
                header = await self._rows(f"{service.order_path}({edm.text_literal(order)})", {"$select": _FLAGS})
                if header.status == HTTPStatus.NOT_FOUND and header.code:
                    continue
                if header.status:
                    raise not_rows(f"totals of order {order}", header)
                rows = await self._all(service, f"OrderID eq {edm.text_literal(order)}")
                closed = takes_nothing(header.rows[0])
                return BookedOrder(order, closed=closed, operations=self._sums(rows, header.rows[0]))
        except TransportError as error:
            raise ConnectorError(f"totals: {error}; check the network and that SAP is up") from error
        return BookedOrder(order, known=False)

    async def probe(self) -> Health:
        """Ask each service for its document."""
        for service in self._services:
            for root in (f"{ROOT}{service.orders}/", service.confirmation_root):
                try:
                    answer = await self._session.ask(root, {})
                except TransportError as error:
                    return Health(ok=False, detail=str(error))
                if answer.status != HTTPStatus.OK or "json" not in answer.media_type:
                    media = answer.media_type or "no content type"
                    return Health(ok=False, detail=f"{root} answers HTTP {answer.status} with {media}")
        return Health(ok=True, detail=f"{', '.join(one.word for one in self._services)} orders: the services answer")

    async def _rows_of_guid(self, service: Service, image: Mapping[str, Any]) -> Rows:
        if self._guid_filter:
            query = {"$filter": f"{GUID} eq {edm.guid_literal(image[GUID])}", "$select": SELECTED}
            rows = await self._rows(service.confirmation_path, query)
            strange = any(str(row.get(GUID) or "").lower() != image[GUID] for row in rows.rows)
            if rows.status not in _NO_FILTER and not strange:
                return rows
            self._guid_filter = False  # not filterable here, or the filter is passed over: compare on this side
        condition = (
            f"OrderID eq {edm.text_literal(image['OrderID'])}"
            f" and OrderOperation eq {edm.text_literal(image['OrderOperation'])}"
        )
        found = await self._all(service, condition)
        return Rows([row for row in found if _is_of(row, image)])

    async def _all(self, service: Service, condition: str) -> list[dict[str, Any]]:
        """All rows of a condition, page by page. Raises ConnectorError, TransportError."""
        found: list[dict[str, Any]] = []
        while len(found) < CONFIRMATIONS_MAX:
            query = {
                "$filter": condition,
                "$orderby": "ConfirmationGroup,ConfirmationCount",  # confirmations are added, never removed
                "$select": SELECTED,
                "$top": str(CONFIRMATIONS_PAGE),
                "$skip": str(len(found)),
            }
            rows = await self._rows(service.confirmation_path, query)
            if rows.status:
                raise not_rows(f"confirmations: {service.confirmations}", rows)
            found += rows.rows
            if len(rows.rows) < CONFIRMATIONS_PAGE:
                return found
        raise ConnectorError(f"confirmations: found more than {CONFIRMATIONS_MAX} of one order; they are not summed up")

    async def _rows(self, path: str, query: Mapping[str, str]) -> Rows:
        return rows_of(await self._session.ask(path, query, ROWS_MAX_BYTES))

    def _sums(self, rows: list[dict[str, Any]], header: Mapping[str, Any]) -> tuple[BookedOperation, ...]:
        sums: dict[str, BookedOperation] = {}
        for row in filter(is_booking, rows):
            if row.get("ConfirmationUnit") not in (None, "", header.get("ProductionUnit")):
                text = f"found a confirmation in {row['ConfirmationUnit']!r}, allowed: {header.get('ProductionUnit')!r}"
                raise ConnectorError(f"totals of order {row.get('OrderID')}: {text}; compare this order in SAP")
            sub = str(row.get("OrderSuboperation") or "")
            name = name_of(Address(str(row.get("OrderOperation") or ""), sub, str(row.get("Sequence") or "0")))
            one = sums.get(name, BookedOperation(name))
            sums[name] = one._replace(
                good=one.good + _quantity(row, "ConfirmationYieldQuantity"),
                scrap=one.scrap + _quantity(row, "ConfirmationScrapQuantity"),
                rework=one.rework + _quantity(row, "ConfirmationReworkQuantity"),
            )
        return tuple(sums.values())

    def _kept(self, outcome: Outcome, answer: HttpAnswer) -> Outcome:
        return kept(outcome, answer, self._client.secrets)


def _message_of(posting: Posting) -> tuple[Service, dict[str, Any]]:
    return BY_MESSAGE[posting.rendered.name], json.loads(posting.rendered.body)


def _parameters(image: Mapping[str, Any]) -> dict[str, str]:
    """A function of OData takes its parameters as literals in the address."""
    return {
        "ConfirmationGroup": edm.text_literal(image["ConfirmationGroup"]),
        "ConfirmationCount": edm.text_literal(image["ConfirmationCount"]),
        "PostingDate": f"datetime'{image['PostingDate']}T00:00:00'",
        "ConfirmationText": edm.text_literal(image["ConfirmationText"]),
        GUID: edm.guid_literal(image[GUID]),
    }


def _taken_back(image: Mapping[str, Any]) -> str:
    numbers = (edm.without_zeros(image[name]) for name in ("ConfirmationGroup", "ConfirmationCount"))
    return "/".join(numbers)


def _without_token(answer: HttpAnswer) -> Outcome:
    """No token, nothing sent: refused credentials stop the target, anything else is tried again."""
    kind = OutcomeKind.NOT_SENT
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        kind = OutcomeKind.AUTH
    media = answer.media_type or "no content type"
    return Outcome(kind, f"HTTP {answer.status} with {media} where a token was asked for; nothing was sent")


def _is_of(row: Mapping[str, Any], image: Mapping[str, Any]) -> bool:
    order = edm.without_zeros(str(row.get("OrderID") or "")) == edm.without_zeros(image["OrderID"])
    return order and same(str(row.get("OrderOperation") or ""), image["OrderOperation"])


def _quantity(row: Mapping[str, Any], name: str) -> Decimal:
    number = edm.decimal_of(row.get(name) or "0")
    if number is None:
        raise ConnectorError(f"totals: {name}: found {row.get(name)!r}, allowed: a number")
    return number


def _turned(words: Mapping[str, str]) -> dict[str, str]:
    """From SAP's word to ours; where two of ours are one of SAP's, the first."""
    found: dict[str, str] = {}
    for ours, theirs in words.items():
        found.setdefault(theirs, ours)
    return found
