"""``sap_odata``: a fake SAP S/4HANA with the OData V2 services of production and process orders.

It has SAP's manners: a token against forged requests that is bound to a session, most refusals as HTTP 400 with a code,
quantities as texts, local dates, warnings beside a success. It is careless: a GUID that comes twice is booked twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from simulators.erp import double, sap_odata_orders
from simulators.erp import sap_odata_forms as forms
from simulators.erp.answers import login_page
from simulators.erp.checks import RefusedError, object_of
from simulators.erp.double import Double, run_double, url_of
from simulators.erp.ledger import Booking
from simulators.erp.sap_odata_book import Book
from simulators.erp.sap_odata_kinds import KINDS, PRODUCTION, Kind
from simulators.erp.sap_odata_reading import KEYED, Reading
from simulators.erp.sap_odata_sessions import Sessions
from simulators.erp.sap_odata_tickets import GUID, checked, shown_row

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping

    from simulators.control import Control
    from simulators.erp.faults import Due
    from simulators.erp.http import Answer, Request, Response

USUAL_PORT: Final = 18082

Row = dict[str, Any]


class Ticket(NamedTuple):
    """A confirmation or a cancellation, checked; ``reverses`` is the number of what it takes back."""

    order: str
    booking: Booking
    row: Row
    kind: Kind
    reverses: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--user", help="NAME:PASSWORD that is demanded by basic authentication")
    parser.add_argument("--token-requests", type=int, default=0, metavar="N", help="a token is good for N messages")
    parser.add_argument("--no-guid-filter", action="store_true", help="the external key cannot be filtered by")
    parser.add_argument("--latest-first", action="store_true", help="only the youngest confirmation can be cancelled")


class SapOdata(Double):
    """The fake SAP."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._book_of_rows = Book(options.ledger)
        self._sessions = Sessions(options.token_requests)
        self._user: str | None = options.user
        self._unreleased: dict[str, float] = {}
        self._closed_before = ""
        self._warnings = 0
        super().__init__(options)

    def declare(self, control: Control) -> None:
        """Add what only SAP can do wrong."""
        super().declare(control)
        control.add("forget KEY", self._forget)
        control.add("expire-tokens", self._sessions.expire)
        control.add("token-requests COUNT", self._set_token_requests)
        control.add("user TEXT", self._set_user)
        control.add("unreleased SECONDS ORDER", self._unrelease)
        control.add("close-period DAY", self._close_period)
        control.add("warn COUNT", self._warn)
        control.add("reverse KEY", self._reverse)

    async def close(self) -> None:
        """End everything."""
        await super().close()
        self._book_of_rows.close()

    def routes(self) -> Mapping[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """Of all four services."""
        self._reading = Reading(
            self.ledger, self._book_of_rows, self._sessions, self.page_fault, barred_guid=self.options.no_guid_filter
        )
        found: dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]] = {}
        for kind in KINDS:
            for service in (kind.orders, kind.confirmations):
                found["GET", f"{service}/"] = self._of(kind, self._reading.service)
                found["GET", f"{service}/$metadata"] = self._of(kind, self._reading.metadata)
            found["GET", f"{kind.orders}/{kind.order_set}"] = self._of(kind, self._reading.orders)
            found["GET", f"{kind.confirmations}/{kind.confirmation_set}"] = self._of(kind, self._reading.confirmations)
            found["POST", f"{kind.confirmations}/{kind.confirmation_set}"] = self._of(kind, self._create)
            found["POST", f"{kind.confirmations}/{kind.cancel}"] = self._of(kind, self._cancel)
            found["POST", f"{kind.confirmations}/GetConfProposal"] = self._of(kind, self._proposal)
        return found

    def _of(
        self, kind: Kind, serve: Callable[[Kind, Request], Awaitable[Answer]]
    ) -> Callable[[Request], Awaitable[Answer]]:
        return lambda request: serve(kind, request)

    def route_of(self, request: Request) -> str:
        """Service and set, without the key in parentheses."""
        rest = unquote(request.path).removeprefix(forms.ROOT)
        service, _, part = rest.partition("/")
        match = KEYED.fullmatch(part)
        return f"{service}/{match[1] if match else part}"

    def login_missing(self, request: Request) -> Response | None:
        """401 with a page for another user or password."""
        if self._user is None:
            return None
        wanted = "Basic " + base64.b64encode(self._user.encode()).decode()
        given = request.headers.get("authorization", "")
        return None if hmac.compare_digest(given.encode(), wanted.encode()) else forms.unauthorized()

    def fault_answer(self, due: Due) -> Response:
        """As the gateway of SAP says it, or the web server before it."""
        match due.name:
            case "unauthorized":
                return forms.unauthorized()
            case "html":
                return login_page()
            case "locked":
                return forms.error(400, forms.LOCKED, "Order is being processed by user CJONES")
            case "unavailable" | "too-many":
                status = 503 if due.name == "unavailable" else 429
                wait = {"Retry-After": str(int(due.number))}
                return forms.error(status, "/IWFND/CM_BEC/026", "The system is busy", headers=wait)
        text = "posted, and then something went wrong" if due.name == "error-booked" else "something went wrong"
        return forms.error(int(due.number), "/IWFND/CM_BEC/020", text)

    def refused_answer(self, error: RefusedError) -> Response:
        """400 with the business code; what the bench refuses has one of SAP's, too."""
        known = {"ORDER_UNKNOWN": forms.NO_ORDER, "OPERATION_UNKNOWN": forms.NO_OPERATION, "BODY_INVALID": "005056/000"}
        return forms.error(400, known.get(error.code, error.code), str(error))

    def key_and_order(self, request: Request) -> tuple[str, str]:
        """From the document."""
        try:
            document = json.loads(request.body)
            return str(document.get(GUID, "")), str(document.get("OrderID", ""))
        except (ValueError, AttributeError):
            return request.query.get(GUID, "").removeprefix("guid").strip("'"), ""

    # Booking

    async def _create(self, kind: Kind, request: Request) -> Answer:
        refused = self._sessions.refused(request)
        if refused is not None:
            return refused
        return await self.confirm(
            request,
            parse=lambda asked: self._ticket(kind, asked),
            book=self._book_ticket,
            answer=lambda reference, _: self._created(kind, reference, 201),
        )

    async def _cancel(self, kind: Kind, request: Request) -> Answer:
        refused = self._sessions.refused(request)
        if refused is not None:
            return refused
        return await self.confirm(
            request,
            parse=lambda asked: self._cancellation(kind, asked),
            book=self._book_ticket,
            answer=lambda reference, _: self._created(kind, reference, 200),
        )

    def _ticket(self, kind: Kind, request: Request) -> Ticket:
        body = object_of(request.body)
        order = self._inside(str(body.get("OrderID", "")))
        image = self.order_of(order)
        operation = self.operation_of(image, self._operation_inside(image, str(body.get("OrderOperation", ""))))
        self._takes(order, image, body)
        fields = checked(body, kind.movements)
        good, scrap, rework = (
            forms.pieces(f"Confirmation{name}Quantity", body.get(f"Confirmation{name}Quantity", "0"))
            for name in ("Yield", "Scrap", "Rework")
        )
        self._within(order, operation, image, good)
        guid = str(body.get(GUID, ""))
        final = int(body.get("IsFinalConfirmation") is True or body.get("FinalConfirmationType") in ("1", "X"))
        booking = Booking(
            key=guid,
            order=order,
            operation=operation["op"],
            seq=len(self._book_of_rows.of_guid(guid)) + 1,
            work_center=str(body.get("WorkCenter", "")),
            machine="",
            good=good,
            scrap=scrap,
            rework=rework,
            final=final,
            digest=hashlib.sha256(request.body).hexdigest(),
        )
        return Ticket(order, booking, shown_row(fields), kind)

    def _takes(self, order: str, image: Row, body: Row) -> None:
        head = sap_odata_orders.header(image, "")
        if head["OrderIsLocked"]:
            raise RefusedError(forms.LOCKED, f"Order {order} is being processed by user CJONES")
        if self._unreleased.get(order, 0) > time.monotonic() or not head["OrderIsReleased"]:
            raise RefusedError(forms.NOT_RELEASED, f"Order {order} is not released")
        if any(head[name] for name in ("OrderIsTechnicallyCompleted", "OrderIsClosed", "OrderIsDeleted")):
            raise RefusedError(forms.CLOSED, f"Order {order} takes no more confirmations")
        if body.get("PostingDate") and forms.day_of(body["PostingDate"]) < self._closed_before:
            raise RefusedError(forms.PERIOD_CLOSED, "Posting only possible in the open periods")

    def _within(self, order: str, operation: Row, image: Row, good: int) -> None:
        over = image.get("over_tolerance_pct")
        if over is None:
            return
        booked = sum(
            row["good"] for row in self.ledger.sums() if (row["order"], row["operation"]) == (order, operation["op"])
        )
        if (booked + good) * 100 > int(str(operation.get("qty") or image["qty"])) * (100 + int(over)):
            raise RefusedError(forms.OVER_DELIVERY, f"Order {order}: yield {booked + good} is above the tolerance")

    def _cancellation(self, kind: Kind, request: Request) -> Ticket:
        group, count = (request.query.get(name, "").strip("'") for name in ("ConfirmationGroup", "ConfirmationCount"))
        found = self._book_of_rows.find(group, count)
        if found is None or found[1]["IsReversed"] or found[1]["IsReversal"]:
            raise RefusedError(forms.NOT_THERE, f"Confirmation {group} {count} cannot be cancelled")
        if self.options.latest_first and self._book_of_rows.later_of(found[0]):
            raise RefusedError(forms.NOT_LATEST, f"Confirmation {group} {count}: cancel the younger ones first")
        number, row = found
        guid = request.query.get(GUID, "").removeprefix("guid").strip("'")
        return self._taking_back(number, row, guid, kind)

    def _taking_back(self, number: int, row: Row, guid: str, kind: Kind) -> Ticket:
        order = self._inside(row["OrderID"])
        quantities = [forms.pieces(name, row[f"Confirmation{name}Quantity"]) for name in ("Yield", "Scrap", "Rework")]
        good, scrap, rework = quantities
        was_final = bool(row["FinalConfirmationType"] or row["IsFinalConfirmation"])
        booking = Booking(
            key=guid,
            order=order,
            operation=self._operation_inside(self.order_of(order), row["OrderOperation"]),
            seq=1,
            work_center=row["WorkCenter"],
            machine="",
            good=-good,
            scrap=-scrap,
            rework=-rework,
            final=-int(was_final),
            digest="",
            reverses=row[GUID],
        )
        return Ticket(order, booking, {**row, GUID: guid}, kind, reverses=number)

    def _book_ticket(self, ticket: Ticket) -> str:
        row, place = ticket.row, f"{ticket.order}/{ticket.row['Sequence']}/{ticket.booking.operation}"
        process, reverses = ticket.kind.process, ticket.reverses
        self.ledger.book(ticket.booking)
        if reverses is not None:
            self._book_of_rows.take_back(reverses)
        kept = {name: value for name, value in row.items() if name not in ("ConfirmationGroup", "ConfirmationCount")}
        group, count = self._book_of_rows.add(place, ticket.booking.key, kept, process=process, reverses=reverses)
        self.release_orders()
        return f"{group}/{count}"

    def _created(self, kind: Kind, reference: str, status: int) -> Response:
        group, _, count = reference.partition("/")
        found = self._book_of_rows.find(group, count)
        assert found is not None, "it was booked a moment ago"
        key = f"{kind.confirmation_set}(ConfirmationGroup='{group}',ConfirmationCount='{count}')"
        uri = f"{forms.ROOT}{kind.confirmations}/{key}"
        headers = {"Location": uri}
        if self._warnings:
            self._warnings -= 1
            warning = {"code": "RU/404", "message": "Underdelivery of the operation", "severity": "warning"}
            headers["sap-message"] = json.dumps({**warning, "details": []})
        row = {
            **found[1],
            "__metadata": {"uri": uri},
            kind.movements: {"__deferred": {"uri": f"{uri}/{kind.movements}"}},
        }
        return forms.one(row if status == 201 else {kind.cancel: row}, status, headers=headers)  # noqa: PLR2004 - Created

    async def _proposal(self, kind: Kind, request: Request) -> Answer:
        refused = self._sessions.refused(request)
        if refused is not None:
            return refused
        asked = {name: value.strip("'") for name, value in request.query.items()}
        try:
            image = self.order_of(self._inside(asked.get("OrderID", "")))
            operation = self.operation_of(image, self._operation_inside(image, asked.get("OrderOperation", "")))
        except RefusedError as error:
            return self.refused_answer(error)
        minutes = float(operation.get("std_cycle_s", "0")) * float(image["qty"]) / 60
        found = {
            "OrderID": asked["OrderID"],
            "OrderOperation": operation["op"],
            "ConfirmationYieldQuantity": image["qty"],
        }
        slots = {"OpWorkQuantityUnit1": "MIN", "OpConfirmedWorkQuantity1": "0.000"}
        machine = {"OpWorkQuantityUnit2": "MIN", "OpConfirmedWorkQuantity2": f"{minutes:.3f}"}
        del kind
        return forms.one({"GetConfProposal": found | slots | machine})

    def _inside(self, order: str) -> str:
        """The ledger's number of an order: what OData shows has no leading zeros."""
        if self.ledger.image(order) is not None or not order.isdecimal():
            return order
        found = [
            str(one["order_id"])
            for one in self._reading.images()
            if forms.outside(str(one["order_id"])) == order.lstrip("0")
        ]
        return found[0] if found else order

    @staticmethod
    def _operation_inside(image: Row, operation: str) -> str:
        return next(
            (one["op"] for one in image["operations"] if forms.outside(one["op"]) == forms.outside(operation)), ""
        )

    # Commands

    def _forget(self, key: str) -> int:
        self._book_of_rows.forget(key)
        return self.ledger.forget(key)

    def _set_token_requests(self, count: int) -> None:
        self._sessions.messages = count

    def _set_user(self, text: str) -> None:
        self._user = text
        self._sessions.expire()

    def _unrelease(self, seconds: float, order: str) -> None:
        self._unreleased[order] = time.monotonic() + seconds

    def _close_period(self, day: str) -> None:
        self._closed_before = day

    def _warn(self, count: int) -> None:
        self._warnings = count

    def _reverse(self, key: str) -> str:
        """A person cancels the confirmations of a key in SAP."""
        for number, row in self._book_of_rows.of_guid(key):
            if not row["IsReversed"] and not row["IsReversal"]:
                return self._book_ticket(self._taking_back(number, row, "", PRODUCTION))
        return ""

    def _external(self, order: str, operation: str, count: int) -> str:
        """A person confirms good pieces in SAP, past the gateway."""
        body = {
            "OrderID": forms.outside(order),
            "OrderOperation": operation,
            "Sequence": "0",
            "ConfirmationYieldQuantity": forms.decimal(count),
        }
        booking = Booking(f"manual-{secrets.token_hex(4)}", order, operation, 1, "", "", count, 0, 0, 0, "")
        return self._book_ticket(Ticket(order, booking, shown_row(body), PRODUCTION))


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's connector for this SAP."""
    del options
    return f"""\
connectors:
  erp:
    connector: sap_odata
    url: {url_of(facts)}
    plant: "{sap_odata_orders.PLANT}"
    final_confirmation: final
    overlap: true
    error_classes: {{ {forms.NOT_RELEASED}: wait_precondition }}
    server_time_limit: 30 s
    poll_orders: 2 s
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    await run_double(SapOdata, options, control)
