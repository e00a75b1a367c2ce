"""``kingdee``: a fake Kingdee K/3 Cloud: sign-in by a message, bills that are saved, submitted and audited, HTTP 200.

Knows two forms: PRD_MO (production orders, one row each) and PRD_MORPT (production reports). A report is in the ledger
once it is audited. Careless: a repeated bill number makes a second bill, and each audited one is booked.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulators.erp import double
from simulators.erp.checks import RefusedError, object_of
from simulators.erp.double import Double, run_double, url_of
from simulators.erp.http import Answer, Request, Response, document
from simulators.erp.kingdee_query import Bills, bill_rows, entry_of, order_rows
from simulators.erp.ledger import Booking

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from simulators.control import Control
    from simulators.erp.faults import Due

USUAL_PORT: Final = 18083
ACCOUNT: Final = "demo-account"
USER: Final = "linegate"
PASSWORD: Final = "demo"  # noqa: S105 - of a test double
PASSWORD_VARIABLE: Final = "KINGDEE_PASSWORD"  # noqa: S105 - a name
COOKIE: Final = "kdservice-sessionid"
SERVICE: Final = "Kingdee.BOS.WebApi.ServicesStub."
SUFFIX: Final = ".common.kdsvc"
SESSION_LOST, NO_PERMISSION, EXCEPTION, NOT_VALID, NOT_NOW, LOCKED, TOO_MANY = 1, 2, 4, 11, 12, 13, 14
#: Digits of a quantity, whole pieces only.
QUANTITY_MAX: Final = 10**9
CODES: Final = {"ORDER_REJECTED": NOT_VALID, "ORDER_UNKNOWN": NOT_VALID, "NOT_NOW": NOT_NOW}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--session", type=float, default=1200.0, metavar="SECONDS", help="a session ends after so long")


class Bill(NamedTuple):
    """What a save asks for: a report, not yet in the ledger."""

    number: str
    order: str
    model: dict[str, Any]
    digest: str


class Known(NamedTuple):
    """What a submit or an audit asks for."""

    order: str
    bill: dict[str, Any]


class Kingdee(Double):
    """The fake Kingdee."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._sessions: dict[str, float] = {}
        super().__init__(options)
        self._bills = Bills(self.ledger.database)

    def routes(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """Services by their names; the folder before them does not matter."""
        return {
            ("POST", "AuthService.ValidateUser"): self._sign_in,
            ("POST", "DynamicFormService.ExecuteBillQuery"): self._query,
            ("POST", "DynamicFormService.Push"): self._push,
            ("POST", "DynamicFormService.Save"): self._save,
            ("POST", "DynamicFormService.Submit"): self._submit,
            ("POST", "DynamicFormService.Audit"): self._audit,
        }

    def route_of(self, request: Request) -> str:
        """The service."""
        return request.path.rpartition("/")[2].removeprefix(SERVICE).removesuffix(SUFFIX)

    def declare(self, control: Control) -> None:
        """Besides what every double does: end all sessions."""
        super().declare(control)
        control.add("expire", self._sessions.clear)

    def facts(self) -> dict[str, object]:
        """What the gateway's configuration expects in its environment."""
        return {"environment": {PASSWORD_VARIABLE: PASSWORD}}

    def login_missing(self, request: Request) -> Response | None:
        """The session lost, with HTTP 200, in the form that this service answers in."""
        service = self.route_of(request)
        if service == "AuthService.ValidateUser":
            return None
        cookies = dict(one.strip().partition("=")[::2] for one in request.headers.get("cookie", "").split(";"))
        if self._sessions.get(cookies.get(COOKIE, ""), 0.0) > time.monotonic():
            return None
        lost = _status("the session is lost, sign in again", SESSION_LOST)
        wrapped: Any = [[lost]] if service.endswith("ExecuteBillQuery") else lost
        return document(200, wrapped)

    def fault_answer(self, due: Due) -> Response:
        """HTTP 200 with IsSuccess false for what the application says; HTTP's own for what stands before it."""
        match due.name:
            case "locked":
                return document(200, _status("the bill is being edited by another user", LOCKED))
            case "unauthorized":
                self._sessions.clear()
                return document(200, _status("the session is lost, sign in again", SESSION_LOST))
            case "too-many":
                return document(200, _status("too many calls", TOO_MANY))
            case "unavailable":
                page = b"<html><body><h1>Service Unavailable</h1></body></html>"
                wait = {"Retry-After": str(int(due.number))}
                return Response(503, page, content_type="text/html", headers=wait)
            case "html":
                return Response(
                    200, b"<!DOCTYPE html><html><body>K/3 Cloud: sign in</body></html>", content_type="text/html"
                )
        page = b"<html><body><h2>Server Error in '/K3Cloud' Application.</h2></body></html>"
        return Response(int(due.number), page, content_type="text/html")

    def refused_answer(self, error: RefusedError) -> Response:
        """HTTP 200 with the reason."""
        return document(200, _status(str(error), CODES.get(error.code, NOT_VALID)))

    def key_and_order(self, request: Request) -> tuple[str, str]:
        """Of a save: the bill's number and its order."""
        try:
            model = json.loads(request.body)["data"]["Model"]
            return str(model["FBillNo"]), str(model["FEntity"][0]["FMoBillNo"])
        except (ValueError, KeyError, TypeError, IndexError):
            return "", ""

    async def _sign_in(self, request: Request) -> Response:
        said = object_of(request.body)
        if (said.get("acctID"), said.get("username"), said.get("password")) != (ACCOUNT, USER, PASSWORD):
            return document(200, {"LoginResultType": 0, "Message": "user name or password is wrong", "Context": None})
        session = secrets.token_hex(12)
        self._sessions[session] = time.monotonic() + self.options.session
        cookie = {"Set-Cookie": f"{COOKIE}={session}; path=/; HttpOnly"}
        return document(200, {"LoginResultType": 1, "Message": None, "KDSVCSessionId": session}, headers=cookie)

    async def _query(self, request: Request) -> Response:
        try:
            data = _data(request)
            form = data.get("FormId")
            broken = self.page_fault("orders" if form == "PRD_MO" else "lookups")
            return broken or document(200, self._rows(form, data))
        except RefusedError as error:
            return document(200, [[_status(str(error), NOT_VALID)]])

    def _rows(self, form: object, data: dict[str, Any]) -> list[list[Any]]:
        if form == "PRD_MO":
            return order_rows(self.ledger, data)
        if form == "PRD_MORPT":
            return bill_rows(self._bills, data)
        raise RefusedError("FORM", f"FormId: found {form!r}, known: PRD_MO, PRD_MORPT")

    async def _push(self, request: Request) -> Answer:
        return await self.confirm(request, parse=self._pushed, book=self._make_draft, answer=self._made_answer)

    async def _save(self, request: Request) -> Answer:
        return await self.confirm(request, parse=self._saved, book=self._keep, answer=self._saved_answer)

    async def _submit(self, request: Request) -> Answer:
        return await self.confirm(request, parse=self._submittable, book=self._to_submitted, answer=self._made_answer)

    async def _audit(self, request: Request) -> Answer:
        return await self.confirm(request, parse=self._auditable, book=self._to_audited, answer=self._made_answer)

    def _pushed(self, request: Request) -> Bill:
        entry = str(_data(request).get("EntryIds") or "")
        found = [
            image["order_id"]
            for image, _ in self.ledger.images()
            for number in range(1, len(image["operations"]) + 1)
            if str(entry_of(image["order_id"], number)) == entry
        ]
        if not found:
            raise RefusedError("ORDER_UNKNOWN", f"PRD_MO: there is no row with the id {entry!r}")
        return Bill("", found[0], {}, "")

    def _make_draft(self, bill: Bill) -> str:
        return str(self._bills.put("", bill.order, "{}", "Z"))

    def _saved(self, request: Request) -> Bill:
        model = _data(request).get("Model")
        if not isinstance(model, dict) or not isinstance(model.get("FEntity"), list) or len(model["FEntity"]) != 1:
            raise RefusedError("MODEL", "Model: FEntity with one row is needed")
        row = model["FEntity"][0]
        order, number = row.get("FMoBillNo"), row.get("FMoEntrySeq")
        if number not in range(1, len(self.order_of(order)["operations"]) + 1):
            raise RefusedError("ORDER_UNKNOWN", f"PRD_MO {order}: there is no row {number!r}")
        made = [_pieces(row, name) for name in ("FQuaQty", "FFailQty", "FReworkQty")]
        if sum(made) != _pieces(row, "FFinishQty"):
            raise RefusedError("QTY", "FFinishQty: is not the sum of FQuaQty, FFailQty and FReworkQty")
        self._within(str(order), number, sum(made))
        return Bill(str(model.get("FBillNo") or ""), str(order), model, hashlib.sha256(request.body).hexdigest())

    def _within(self, order: str, number: int, pieces: int) -> None:
        """Raises RefusedError where the row would be reported beyond its quantity and tolerance."""
        image = self.order_of(order)
        one = image["operations"][number - 1]
        before = sum(
            sums["good"] + sums["scrap"] + sums["rework"]
            for sums in self.ledger.sums_of(order)
            if sums["operation"] == one["op"]
        )
        tolerance = Decimal(str(image.get("over_tolerance_pct") or 0))
        allowed = Decimal(str(one.get("qty", image["qty"]))) * (100 + tolerance) / 100
        if image.get("over_tolerance_pct") is not None and before + pieces > allowed:
            raise RefusedError("OVER", f"FFinishQty: {before + pieces} is above the {allowed:f} of PRD_MO {order}")

    def _keep(self, bill: Bill) -> str:
        content = json.dumps({"model": bill.model, "digest": bill.digest})
        draft = bill.model.get("FID")
        replaces = draft if isinstance(draft, int) else None
        return str(self._bills.put(bill.number, bill.order, content, "A", replaces=replaces))

    def _submittable(self, request: Request) -> Known:
        return self._in_status(request, ("A",), "submitted")

    def _auditable(self, request: Request) -> Known:
        return self._in_status(request, ("B",), "audited")

    def _in_status(self, request: Request, allowed: tuple[str, ...], verb: str) -> Known:
        wanted = str(_data(request).get("Ids") or "")
        bill = self._bills.find(wanted)
        if bill is None:
            raise RefusedError("BILL", f"PRD_MORPT: there is no bill {wanted!r}")
        if bill["status"] not in allowed:
            raise RefusedError("NOT_NOW", f"{bill['number']} has the status {bill['status']}: cannot be {verb}")
        return Known(bill["order"], bill)

    def _to_submitted(self, known: Known) -> str:
        self._bills.set_status(known.bill["id"], "B")
        return str(known.bill["id"])

    def _to_audited(self, known: Known) -> str:
        content = json.loads(known.bill["content"])
        row = content["model"]["FEntity"][0]
        image = self.order_of(known.order)
        good, scrap, rework = (_pieces(row, name) for name in ("FQuaQty", "FFailQty", "FReworkQty"))
        seq = len(self.ledger.bookings()) + 1
        # Our key came in the description: the ledger speaks of it, so that every double can be compared.
        key = str(content["model"].get("FDescription") or known.bill["number"])
        one = image["operations"][row["FMoEntrySeq"] - 1]
        operation = one["op"]
        place = str((row.get("FWorkshipId") or {}).get("FNumber", ""))
        planned = int(one.get("qty", image["qty"]))
        done = (
            sum(sums["good"] for sums in self.ledger.sums_of(known.order) if sums["operation"] == operation) + good
            >= planned
        )
        booking = Booking(
            key, known.order, operation, seq, place, "", good, scrap, rework, int(done), content["digest"]
        )
        self._bills.set_status(known.bill["id"], "C")
        self.book(booking)
        return str(known.bill["id"])

    def _saved_answer(self, made: str, _request: Request) -> Response:
        bill = self._bills.find(made)
        assert bill is not None
        whole = _status("", 0, bill)
        whole["Result"] |= {"Id": bill["id"], "Number": bill["number"], "NeedReturnData": [{}]}
        return document(200, whole)

    def _made_answer(self, made: str, _request: Request) -> Response:
        return document(200, _status("", 0, self._bills.find(made)))


def _status(message: str, code: int, bill: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer; with a message it is an error."""
    success = not message
    errors = [] if success else [{"FieldName": None, "Message": message, "DIndex": 0}]
    done = []
    if bill is not None:
        entries = {"FEntity": [str(bill["id"] + ENTRY_OFFSET)]}
        done = [{"Id": str(bill["id"]), "Number": bill["number"], "DIndex": 0, "EntryIds": entries}]
    status = {
        "ErrorCode": 0 if success else 500,
        "IsSuccess": success,
        "Errors": errors,
        "SuccessEntitys": done,
        "SuccessMessages": [],
        "MsgCode": code,
    }
    return {"Result": {"ResponseStatus": status}}


#: Ids of rows and of bills are different numbers.
ENTRY_OFFSET: Final = 500_000


def _data(request: Request) -> dict[str, Any]:
    data = object_of(request.body).get("data")
    if isinstance(data, str):  # client libraries send it as text
        data = json.loads(data)
    if not isinstance(data, dict):
        raise RefusedError("DATA", f"data: found {type(data).__name__}, needed is an object")
    return data


def _pieces(row: dict[str, Any], name: str) -> int:
    value: Any = row.get(name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= QUANTITY_MAX or value != int(value):
        raise RefusedError("QTY", f"{name}: found {value!r}, allowed: pieces from 0 on")
    return int(value)


def config_text(_options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's connector for this ERP."""
    return f"""\
connectors:
  erp:
    connector: rest
    profile: kingdee
    url: {url_of(facts)}/k3cloud
    values: {{ account: {ACCOUNT}, user: {USER}, organisation: "100" }}
    secrets: {{ password: {{ env: {PASSWORD_VARIABLE} }} }} # {PASSWORD}
    server_time_limit: 5 s
    poll_orders: 2 s
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    await run_double(Kingdee, options, control)
