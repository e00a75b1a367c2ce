"""``d365``: a fake Dynamics 365 with a message queue, OData entities and a token server.

Its quirks: SendMessage takes everything and says nothing; messages of an order are worked on in the sequence in which
they came, three times each, then they have failed and nobody is told; ReportFinished needs a started order; dates are
noon, times seconds since midnight, enums words. A message that comes twice is booked twice.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from simulators.erp import double
from simulators.erp.answers import login_page
from simulators.erp.checks import RefusedError
from simulators.erp.d365_messages import (
    COMPANY,
    PICKING,
    REPORT,
    ROUTE_CARD,
    START,
    Message,
    check_words,
    error_answer,
    message_of,
    routing_of,
    seconds_of,
    unauthorized,
)
from simulators.erp.double import Double, run_double, url_of
from simulators.erp.http import Answer, Request, Response, document
from simulators.erp.ledger import Booking
from simulators.erp.odata_rows import condition_of, page_of
from simulators.printed import ERP_PORT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping

    from simulators.control import Control
    from simulators.erp.faults import Due

USUAL_PORT: Final = ERP_PORT
TAG: Final = "ExternalReference"
SECRET: Final = "d365-secret"  # noqa: S105 - of a fake
TRIES: Final = 3
TOKEN_S: Final = 3600
SERVICE: Final = "/api/services/SysMessageServices/SysMessageService/SendMessage"
NOON: Final = "T12:00:00Z"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, "order" TEXT NOT NULL, type TEXT NOT NULL, content TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'Queued', tries INTEGER NOT NULL DEFAULT 0, log TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS started ("order" TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS transactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, "order" TEXT NOT NULL, kind TEXT NOT NULL, operation INTEGER NOT NULL,
    good TEXT NOT NULL, error TEXT NOT NULL, hours TEXT NOT NULL, item TEXT NOT NULL DEFAULT ''
) STRICT;
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--queue-ms", type=int, default=50, help="how long a message waits in the queue")
    parser.add_argument("--page", type=int, default=100, help="rows of a page; the others follow by @odata.nextLink")


class D365(Double):
    """The fake environment."""

    def __init__(self, options: argparse.Namespace) -> None:
        name = ":memory:" if options.ledger is None else f"{options.ledger}.queue"
        self._db = sqlite3.connect(name, isolation_level=None)
        self._db.executescript(SCHEMA)
        self._tokens: dict[str, float] = {}
        self._failing = 0
        super().__init__(options)

    def routes(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """The token server, the message service, the entities."""
        return {
            ("POST", "/token"): self._token,
            ("POST", SERVICE): self._send_message,
            ("GET", "/data"): self._entity,
            ("GET", "/messages"): self._messages,
        }

    def route_of(self, request: Request) -> str:
        """The service has a long path."""
        return SERVICE if request.path == SERVICE else super().route_of(request)

    def login_missing(self, request: Request) -> Response | None:
        """A token that has not expired."""
        if self.route_of(request) in {"/token", "/messages"}:
            return None
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return None if self._tokens.get(token, 0.0) > time.monotonic() else unauthorized()

    def fault_answer(self, due: Due) -> Response:
        """In the words of the service."""
        wait = {"Retry-After": str(int(due.number))}
        match due.name:
            case "unauthorized":
                self._tokens.clear()
                return unauthorized()
            case "unavailable":
                return Response(503, b"", headers=wait)
            case "too-many":
                text = "This request is rejected due to too many requests."
                return document(429, {"error": {"code": "TooManyRequests", "message": text}}, headers=wait)
            case "html":
                return login_page()
            case "locked":
                return error_answer(409, "Conflict", "the message queue is locked by another process")
        return error_answer(int(due.number), "InternalServerError", "An error has occurred.")

    def refused_answer(self, error: RefusedError) -> Response:
        """An exception of a service."""
        return error_answer(error.status if error.status != 422 else 400, error.code, str(error))  # noqa: PLR2004 - OData's

    def declare(self, control: Control) -> None:
        """Add the commands, and one for what a person does in the client."""
        super().declare(control)
        control.add("start-order ORDER", self._start_order)
        control.add("fail COUNT", self._fail)

    def _fail(self, count: int) -> None:
        """So many messages fail at all their tries: the processor refuses what the queue has taken."""
        self._failing = count * TRIES

    def _external(self, order: str, operation: str, count: int) -> str:
        """A person posts a route card in the client."""
        self._transaction(order, "route", int(operation), count, 0, 0)
        return super()._external(order, operation, count)

    def _start_order(self, order: str) -> None:
        self._db.execute('INSERT OR IGNORE INTO started ("order") VALUES (?)', (order,))

    async def open(self) -> None:
        """What was in the queue is worked on again."""
        await super().open()
        self.later(self.options.queue_ms / 1000, self._work)

    async def close(self) -> None:
        """The queue stays in its file."""
        await super().close()
        self._db.close()

    def facts(self) -> dict[str, object]:
        """What the gateway needs to sign in."""
        return {"company": COMPANY, "environment": {"LINEGATE_D365_SECRET": SECRET}}

    async def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != "client_credentials" or form.get("client_secret") != SECRET:
            return document(401, {"error": "invalid_client", "error_description": "AADSTS7000215: invalid secret"})
        token = secrets.token_hex(16)
        self._tokens[token] = time.monotonic() + TOKEN_S
        return document(200, {"token_type": "Bearer", "expires_in": TOKEN_S, "access_token": token})

    async def _messages(self, _request: Request) -> Answer:
        names = ("id", "order", "type", "content", "state", "tries", "log")
        rows = self._db.execute('SELECT id, "order", type, content, state, tries, log FROM messages ORDER BY id')
        return document(200, {"messages": [dict(zip(names, row, strict=True)) for row in rows]})

    async def _send_message(self, request: Request) -> Answer:
        return await self.confirm(request, parse=message_of, book=self._enqueue, answer=lambda *_: Response(200, b'""'))

    def _enqueue(self, message: Message) -> str:
        self._db.execute(
            'INSERT INTO messages ("order", type, content) VALUES (?, ?, ?)',
            (message.order, message.type, message.content),
        )
        self.later(self.options.queue_ms / 1000, self._work)
        return ""

    def _work(self) -> None:
        """One round of the batch job: each waiting message once, of an order in sequence."""
        again = False
        held: set[str] = set()
        rows = self._db.execute(
            "SELECT id, \"order\", type, content, tries FROM messages WHERE state = 'Queued' ORDER BY id"
        ).fetchall()
        for number, order, kind, content, tries in rows:
            if order in held:
                again = True
                continue
            try:
                self._process(order, kind, content)
                state, log = "Processed", ""
            except (RefusedError, KeyError, ValueError, TypeError) as error:
                state, log = ("Failed" if tries + 1 >= TRIES else "Queued"), str(error)
                if state == "Queued":
                    held.add(order)
                    again = True
            self._db.execute(
                "UPDATE messages SET state = ?, tries = tries + 1, log = ? WHERE id = ?", (state, log, number)
            )
        if again:
            self.later(self.options.queue_ms / 1000, self._work)
        self.release_orders()

    def _process(self, order: str, kind: str, written: str) -> None:
        content = json.loads(written)
        image = self.order_of(order)
        check_words(content)
        if self._failing:
            self._failing -= 1
            raise RefusedError("POSTING", "the period is closed")
        if order in self.faults.rejected:
            raise RefusedError("ORDER_REJECTED", f"order {order} takes no postings")
        if kind == START:
            self._start_order(order)
        elif not self._started(order):
            raise RefusedError("NOT_STARTED", f"the status of order {order} must be Started")
        elif kind == ROUTE_CARD:
            self._route_card(image, content, written)
        elif kind == REPORT:
            self._report(image, content)
        elif kind == PICKING:
            for line in content["PickingListLines"]:
                quantity = line["ConsumptionBOMQuantity"]
                self._transaction(order, "picking", line["OperationNumber"], quantity, 0, 0, line["ItemNumber"])

    def _report(self, image: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        for line in content["ReportFinishedLines"]:
            if line["ItemNumber"] != image["product"]["id"]:
                raise RefusedError("ITEM", f"item {line['ItemNumber']} is not that of order {image['order_id']}")
            good, error = line.get("ReportedGoodQuantity", 0), line.get("ReportedErrorQuantity", 0)
            self._transaction(image["order_id"], "report", 0, good, error, 0)

    def _route_card(self, image: Mapping[str, Any], content: Mapping[str, Any], written: str) -> None:
        order, lines = image["order_id"], content["RouteCardLines"]
        number = lines[0]["OperationNumber"]
        operation = self.operation_of(
            image, next((one["op"] for one in image["operations"] if int(one["op"]) == number), None)
        )
        for line in lines:
            numbers = (line.get("GoodQuantity", 0), line.get("ErrorQuantity", 0), line.get("Hours", 0))
            if min(numbers) < 0:
                raise RefusedError("NEGATIVE", "quantities below 0 are not taken")
            self._transaction(order, "route", number, *numbers)
        key = str(content.get(TAG) or "").partition("#")[0] or hashlib.sha256(written.encode()).hexdigest()
        tail = key.rpartition("/")[2]
        final = any(line.get("OperationCompleted") == "Yes" for line in lines)
        self.book(
            Booking(
                key=key, order=order, operation=operation["op"], seq=int(tail) if tail.isdigit() else 1,
                work_center=str(lines[0].get("OperationsResourceId", "")), machine="",
                good=int(sum(line.get("GoodQuantity", 0) for line in lines)),
                scrap=int(sum(line.get("ErrorQuantity", 0) for line in lines)),
                rework=0, final=int(final), digest=hashlib.sha256(written.encode()).hexdigest(),
            )
        )  # fmt: skip

    def _transaction(self, order: str, kind: str, operation: int, *rest: object) -> None:
        good, error, hours, *item = rest
        self._db.execute(
            'INSERT INTO transactions ("order", kind, operation, good, error, hours, item)'
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (order, kind, operation, str(good), str(error), str(hours), item[0] if item else ""),
        )

    def _started(self, order: str) -> bool:
        return self._db.execute('SELECT 1 FROM started WHERE "order" = ?', (order,)).fetchone() is not None

    async def _entity(self, request: Request) -> Answer:
        name = request.path.rpartition("/")[2]
        broken = self.page_fault("orders" if name.startswith("ProductionOrder") else "lookups")
        if broken is not None:
            return broken
        entities: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "ProductionOrderHeaders": self._headers,
            "ProductionOrderRouteOperations": lambda: routing_of(self._images()),
            "ProductionOrderBillOfMaterialLines": list,
            "ReleasedProductsV2": self._products,
            "ProductionRouteTransactions": lambda: self._posted("route"),
            "MessageProcessorMessages": self._processed,
            "ProductionPickingTransactions": lambda: self._posted("picking"),
        }
        if name not in entities:
            return error_answer(404, "NotFound", f"no entity set {name}")
        if name != "MessageProcessorMessages" and request.query.get("cross-company") != "true":
            return document(200, {"value": []})  # of the user's own company, which is another one
        fits = condition_of(request.query.get("$filter", ""))
        rows = [row for row in entities[name]() if fits(row)]
        base = url_of({"host": self.options.host, "port": self.listener.port})
        return document(200, page_of(rows, request, base, self.options.page))

    def _processed(self) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT type, content, state, log FROM messages ORDER BY id")
        names = ("MessageType", "MessageContent", "MessageState", "MessageInfolog")
        return [{"MessageQueue": "JmgMES3P", **dict(zip(names, row, strict=True))} for row in rows]

    def _images(self) -> list[dict[str, Any]]:
        return [one for one in self.ledger.all_orders() if self._known(one)]

    def _known(self, image: Mapping[str, Any]) -> bool:
        return not image.get("cancelled")

    def _headers(self) -> list[dict[str, Any]]:
        return [self._header(one) for one in self._images()]

    def _header(self, image: Mapping[str, Any]) -> dict[str, Any]:
        order, quantity = image["order_id"], float(image["qty"])
        told = self._db.execute(
            "SELECT total(good) + total(error) FROM transactions WHERE \"order\" = ? AND kind = 'report'", (order,)
        ).fetchone()[0]
        status = "StartedUp" if self._started(order) else "Released"
        if image.get("status") == "closed" or self.ledger.finished(order):
            status = "ReportedFinished"
        return {
            "@odata.etag": f'W/"{hashlib.sha256(json.dumps(image).encode()).hexdigest()[:8]}"',
            "dataAreaId": COMPANY,
            "ProductionOrderNumber": order,
            "ItemNumber": image["product"]["id"],
            "ProductionOrderStatus": status,
            "ScheduledQuantity": quantity,
            "StartedQuantity": quantity if status != "Released" else 0.0,
            "RemainingReportAsFinishedQuantity": quantity - told,
            "ScheduledStartDate": str(image.get("planned_start", "1900-01-01"))[:10] + NOON,
            "ScheduledStartTime": seconds_of(image.get("planned_start")),
            "ScheduledEndDate": str(image.get("planned_end", "1900-01-01"))[:10] + NOON,
            "ScheduledEndTime": seconds_of(image.get("planned_end")),
            "ProductionOrderPriority": image.get("priority", 0),
            "ProductionPoolId": "",
        }

    def _products(self) -> list[dict[str, Any]]:
        units = {one["product"]["id"]: one["product"].get("uom", "PC") for one in self._images()}
        rows = units.items()
        return [{"dataAreaId": COMPANY, "ItemNumber": item, "InventoryUnitSymbol": unit} for item, unit in rows]

    def _posted(self, kind: str) -> list[dict[str, Any]]:
        rows = self._db.execute(
            'SELECT id, "order", operation, good, error, hours, item FROM transactions WHERE kind = ? ORDER BY id',
            (kind,),
        )
        return [
            {
                "dataAreaId": COMPANY,
                "RecordId": number,
                "ProductionOrderNumber": order,
                "OperationNumber": operation,
                "GoodQuantity": float(good),
                "ErrorQuantity": float(error),
                "Hours": float(hours),
                "ItemNumber": item,
                "ConsumptionBOMQuantity": float(good),
            }
            for number, order, operation, good, error, hours, item in rows
        ]


def config_text(_options: argparse.Namespace, facts: Mapping[str, Any]) -> str:
    """The gateway's connector for this ERP; LINEGATE_D365_SECRET holds the client's secret."""
    url = url_of(facts)
    return f"""\
connectors:
  erp:
    connector: d365
    url: {url}
    company: {COMPANY}
    sign_in:
      method: oauth2
      token_url: {url}/token
      client_id: linegate
      client_secret: {{ env: LINEGATE_D365_SECRET }} # {SECRET}
      scope: {url}/.default
    mapping: {{ default_reason: Material }} # ErrorCause is an enum
    messages_entity: MessageProcessorMessages
    operation_completed: true
    message_tag: {TAG}
    poll_orders: 2 s
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    await run_double(D365, options, control)
