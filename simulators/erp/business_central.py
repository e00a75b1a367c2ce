"""``business_central``: a fake Business Central with pages by OData V4, an output journal and a posting extension.

Its quirks: a line that is inserted is not posted until the job queue runs (``post``), texts of the type Code become
capitals, a line number that is there is refused, more than so many requests in five minutes are refused. The extension
knows its keys, as the one in the README of the connector does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote

from simulators.erp import double
from simulators.erp.answers import login_page
from simulators.erp.checks import RefusedError
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
COMPANY: Final = "CRONUS"
SECRET: Final = "bc-secret"  # noqa: S105 - of a fake
BASE: Final = "/ODataV4"
ACTION: Final = "LinegatePosting_Post"
TOKEN_S: Final = 3600
WINDOW_S: Final = 300
ORDER_LINE: Final = 10_000
CODES: Final = ("Order_No", "Document_No", "External_Document_No", "Operation_No", "Item_No", "Scrap_Code")
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (
    template TEXT NOT NULL, batch TEXT NOT NULL, line INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (template, batch, line)
) STRICT;
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL) STRICT;
"""


class Lines(NamedTuple):
    """What a message asks to be inserted, or posted at once."""

    order: str
    lines: tuple[dict[str, Any], ...]
    key: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--post-ms", type=int, default=0, help="the job queue posts so often; 0: only when told (post)")
    parser.add_argument("--page", type=int, default=100, help="rows of a page; the others follow by @odata.nextLink")
    parser.add_argument("--limit", type=int, default=6000, help="requests in five minutes")


class BusinessCentral(Double):
    """The fake company."""

    def __init__(self, options: argparse.Namespace) -> None:
        name = ":memory:" if options.ledger is None else f"{options.ledger}.journal"
        self._db = sqlite3.connect(name, isolation_level=None)
        self._db.executescript(SCHEMA)
        self._tokens: dict[str, float] = {}
        self._window: tuple[float, int] = (time.monotonic(), 0)
        super().__init__(options)

    def routes(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """The token server, the pages, the journal, the extension."""
        return {
            ("POST", "/token"): self._token,
            ("GET", "page"): self._page,
            ("POST", "OutputJournal"): self._insert,
            ("POST", ACTION): self._post_now,
        }

    def route_of(self, request: Request) -> str:
        """The last word of the path says what is meant."""
        name = request.path.rpartition("/")[2]
        company = unquote(request.path.removeprefix(BASE).strip("/").rpartition("/")[0])
        if request.path.startswith(BASE) and company in {f"Company('{COMPANY}')", ""}:
            return name if request.method == "POST" else "page"
        return request.path

    def login_missing(self, request: Request) -> Response | None:
        """A token, or user and web service key; and not too many requests."""
        if request.path == "/token":
            return None
        began_s, count = self._window
        self._window = (began_s, count + 1) if time.monotonic() < began_s + WINDOW_S else (time.monotonic(), 1)
        if self._window[1] > self.options.limit:
            return _error(429, "Application_TooManyRequests", "too many requests", {"Retry-After": "60"})
        given = request.headers.get("authorization", "")
        basic = "Basic " + base64.b64encode(f"gw:{SECRET}".encode()).decode()
        signed_in = given == basic or self._tokens.get(given.removeprefix("Bearer "), 0.0) > time.monotonic()
        return None if signed_in else _unauthorized()

    def fault_answer(self, due: Due) -> Response:
        """In the words of its OData."""
        wait = {"Retry-After": str(int(due.number))}
        match due.name:
            case "unauthorized":
                self._tokens.clear()
                return _unauthorized()
            case "unavailable":
                return Response(503, b"", headers=wait)
            case "too-many":
                return _error(429, "Application_TooManyRequests", "too many requests", wait)
            case "html":
                return login_page()
            case "locked":
                return _error(409, "Request_EntityChanged", "another user has modified the record")
        return _error(int(due.number), "Internal_ServerError", "something went wrong")

    def refused_answer(self, error: RefusedError) -> Response:
        """Everything is a bad request."""
        return _error(400, error.code, str(error))

    def declare(self, control: Control) -> None:
        """Add the commands, and what a person does in the client."""
        super().declare(control)
        control.add("post", self._post_all)
        control.add("forget KEY", self._forget)
        control.add("delete-lines", lambda: self._db.execute("DELETE FROM journal").rowcount)

    async def open(self) -> None:
        """The job queue begins."""
        await super().open()
        self._job()

    async def close(self) -> None:
        """The journal stays in its file."""
        await super().close()
        self._db.close()

    def facts(self) -> dict[str, object]:
        """What the gateway needs to sign in."""
        return {"company": COMPANY, "environment": {"LINEGATE_BC_SECRET": SECRET}}

    def _job(self) -> None:
        if self.options.post_ms:
            self._post_all()
            self.later(self.options.post_ms / 1000, self._job)

    async def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != "client_credentials" or form.get("client_secret") != SECRET:
            return document(401, {"error": "invalid_client"})
        token = secrets.token_hex(16)
        self._tokens[token] = time.monotonic() + TOKEN_S
        return document(200, {"token_type": "Bearer", "expires_in": TOKEN_S, "access_token": token})

    async def _insert(self, request: Request) -> Answer:
        return await self.confirm(request, parse=self._line_of, book=self._into_journal, answer=_line_answer)

    async def _post_now(self, request: Request) -> Answer:
        return await self.confirm(request, parse=self._call_of, book=self._posted_at_once, answer=_call_answer)

    def _line_of(self, request: Request) -> Lines:
        line = self._checked(_object(request.body))
        if self._db.execute(
            "SELECT 1 FROM journal WHERE template = ? AND batch = ? AND line = ?", _place(line)
        ).fetchone():
            raise RefusedError(
                "Internal_EntityWithSameKeyExists", "The record in table Item Journal Line already exists."
            )
        return Lines(line["Order_No"], (line,))

    def _call_of(self, request: Request) -> Lines:
        told = _object(str(_object(request.body).get("confirmation", "")).encode())
        rows = told.get("lines")
        if not isinstance(rows, list) or not rows:
            raise RefusedError("Application_DialogException", "lines are missing")
        checked = tuple({**self._checked(dict(one)), "final": bool(told.get("final"))} for one in rows)
        return Lines(checked[0]["Order_No"], checked, str(told.get("key", "")))

    def _checked(self, line: dict[str, Any]) -> dict[str, Any]:
        for name in CODES:
            if name in line:
                line[name] = str(line[name]).upper()
        image = self.order_of(line.get("Order_No"))
        self.operation_of(image, line.get("Operation_No"))
        if line.get("Order_Line_No") != ORDER_LINE or line.get("Item_No") != image["product"]["id"].upper():
            raise RefusedError("Application_FieldValidationException", "the order line does not exist")
        if min(line.get("Output_Quantity", 0), line.get("Scrap_Quantity", 0)) < 0:
            raise RefusedError("Application_DialogException", "a negative output must be applied to an entry")
        return line

    def _into_journal(self, wanted: Lines) -> str:
        for line in wanted.lines:
            self._db.execute("INSERT OR IGNORE INTO journal VALUES (?, ?, ?, ?)", (*_place(line), json.dumps(line)))
        return ""

    def _posted_at_once(self, wanted: Lines) -> str:
        external = wanted.lines[0]["External_Document_No"]
        before = [one for one in self._entries() if one["External_Document_No"] == external]
        if before:
            return f"already {before[0]['Entry_No']}"
        entries = [self._post(line, wanted.key) for line in wanted.lines]
        return f"posted {entries.pop(0)}"

    def _post_all(self) -> int:
        rows = self._db.execute("SELECT template, batch, line, content FROM journal ORDER BY line").fetchall()
        posted = 0
        for *place, content in rows:
            line = json.loads(content)
            if line["Order_No"] not in self.faults.rejected:
                self._post(line, "")
                self._db.execute("DELETE FROM journal WHERE template = ? AND batch = ? AND line = ?", place)
                posted += 1
        return posted

    def _external(self, order: str, operation: str, count: int) -> str:
        line = {"Order_No": order, "Operation_No": operation, "Output_Quantity": count, "Scrap_Quantity": 0}
        row = json.dumps({**line, "External_Document_No": ""})
        self._db.execute("INSERT INTO entries (content) VALUES (?)", (row,))
        return super()._external(order, operation, count)

    def _forget(self, key: str) -> int:
        """Bookings and their entries are gone, as after a restored backup."""
        gone = {one["digest"] for one in self.ledger.bookings() if one["key"] == key}
        for number, content in self._db.execute("SELECT id, content FROM entries").fetchall():
            if hashlib.sha256(content.encode()).hexdigest() in gone:
                self._db.execute("DELETE FROM entries WHERE id = ?", (number,))
        return self.ledger.forget(key)

    def _post(self, line: Mapping[str, Any], key: str) -> int:
        entry = self._db.execute("INSERT INTO entries (content) VALUES (?)", (json.dumps(line),)).lastrowid
        tail = key.rpartition("/")[2]
        self.book(
            Booking(
                key=key or line["External_Document_No"], order=line["Order_No"], operation=line["Operation_No"],
                seq=int(tail) if tail.isdigit() else 1, work_center="", machine="",
                good=int(line.get("Output_Quantity", 0)),
                scrap=int(line.get("Scrap_Quantity", 0)), rework=0,
                final=int(bool(line.get("Finished") or line.get("final"))),
                digest=hashlib.sha256(json.dumps(line).encode()).hexdigest(),
            )
        )  # fmt: skip
        return int(entry or 0)

    def _entries(self) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT id, content FROM entries ORDER BY id")
        return [{"Entry_No": number, "Order_Type": "Production", **json.loads(content)} for number, content in rows]

    async def _page(self, request: Request) -> Answer:
        name = request.path.rpartition("/")[2]
        broken = self.page_fault("orders" if name.startswith("ProdOrder") else "lookups")
        if broken is not None:
            return broken
        pages: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "ProdOrderLines": lambda: [self._line(one) for one in self.ledger.all_orders()],
            "ProdOrderRoutingLines": lambda: [row for one in self.ledger.all_orders() for row in self._routing(one)],
            "ProdOrderComponents": list,
            "OutputJournal": lambda: [json.loads(row[0]) for row in self._db.execute("SELECT content FROM journal")],
            "CapacityLedgerEntries": self._entries,
        }
        if name not in pages:
            return _error(404, "BadRequest_ResourceNotFound", f"no page {name}")
        fits = condition_of(request.query.get("$filter", ""))
        base = url_of({"host": self.options.host, "port": self.listener.port})
        return document(200, page_of([row for row in pages[name]() if fits(row)], request, base, self.options.page))

    def _status(self, image: Mapping[str, Any]) -> str:
        if image.get("cancelled"):
            return "Firm Planned"
        over = image.get("status") == "closed" or self.ledger.finished(image["order_id"])
        return "Finished" if over else "Released"

    def _line(self, image: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "@odata.etag": f'W/"{hashlib.sha256(json.dumps(image).encode()).hexdigest()[:8]}"',
            "Status": self._status(image),
            "Prod_Order_No": image["order_id"],
            "Line_No": ORDER_LINE,
            "Item_No": image["product"]["id"].upper(),
            "Quantity": float(image["qty"]),
            "Unit_of_Measure_Code": image["product"].get("uom", "PCS"),
            "Starting_Date_Time": image.get("planned_start", "0001-01-01T00:00:00Z"),
            "Ending_Date_Time": image.get("planned_end", "0001-01-01T00:00:00Z"),
        }

    def _routing(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "Status": self._status(image),
                "Prod_Order_No": image["order_id"],
                "Routing_Reference_No": ORDER_LINE,
                "Operation_No": one["op"],
                "Type": "Machine Center",
                "No": one["work_center"],
                "Description": one.get("text", ""),
                "Run_Time": float(one.get("std_cycle_s", 0)),
                "Run_Time_Unit_of_Meas_Code": "SECONDS",
            }
            for one in image["operations"]
        ]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise RefusedError("BadRequest", f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise RefusedError("BadRequest", "the body is no object")
    return found


def _place(line: Mapping[str, Any]) -> tuple[str, str, int]:
    return str(line["Journal_Template_Name"]), str(line["Journal_Batch_Name"]), int(line["Line_No"])


def _line_answer(_reference: str, request: Request) -> Response:
    return document(201, {"@odata.etag": 'W/"1"', **_object(request.body)})


def _call_answer(reference: str, _request: Request) -> Response:
    status, _, entry = reference.partition(" ")
    return document(200, {"value": json.dumps({"status": status, "entry": entry})})


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return document(status, {"error": {"code": code, "message": message}}, headers=headers or {})


def _unauthorized() -> Response:
    return document(401, {"error": {"code": "Authentication_InvalidCredentials", "message": "sign in"}})


def config_text(_options: argparse.Namespace, facts: Mapping[str, Any]) -> str:
    """The gateway's connector for this ERP; LINEGATE_BC_SECRET holds the client's secret."""
    url = url_of(facts)
    return f"""\
connectors:
  erp:
    connector: business_central
    url: {url}{BASE}
    company: {COMPANY}
    variant: extension
    sign_in:
      method: oauth2
      token_url: {url}/token
      client_id: linegate
      client_secret: {{ env: LINEGATE_BC_SECRET }} # {SECRET}
    poll_orders: 2 s
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    await run_double(BusinessCentral, options, control)
