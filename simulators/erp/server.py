"""``erp``: a fake ERP with an HTTP interface, a durable ledger and a bad character on command.

By default it is careless: the same confirmation posted twice is booked twice, so that the sum convicts a faulty client.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from simulators.control import CommandError, SimulatorError, answer_of
from simulators.erp import orders
from simulators.erp.answers import AFTER, BEFORE, RequestLog, Spoiled, login_page, poisoned, unauthorized
from simulators.erp.checks import DIGITS, RefusedError, check_digest, object_of, quantities
from simulators.erp.faults import Faults
from simulators.erp.http import Answer, Request, Response, document, refusal, serve
from simulators.erp.ledger import Booking, Ledger
from simulators.listener import Listener
from simulators.printed import ERP_PORT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from simulators.control import Control
    from simulators.erp.faults import Route

USUAL_PORT: Final = ERP_PORT
MAX_KEY: Final = 400
#: Doors of the test bench: no token is asked for here.
OPEN_PATHS: Final = frozenset({"/health", "/ledger", "/_faults"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    parser.add_argument("--ledger", type=Path, help="SQLite file of bookings and orders (default: in memory)")
    parser.add_argument("--release", choices=("demo", "none"), default="none", help="demo: keep small orders released")
    parser.add_argument("--idempotent", action="store_true", help="book the same key only once")
    parser.add_argument("--token", type=Path, help="file with the bearer token that is demanded")
    parser.add_argument("--requests", type=Path, help="append every request and its answer as a JSON line")


class Erp:
    """The fake ERP: routes, checks and books."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.ledger = Ledger(options.ledger)
        self.faults = Faults()
        self._spoiled = Spoiled(options.seed)
        self._log = RequestLog(options.requests)
        self.listener = Listener(options.host, options.port, self._serve)
        self._idempotent = options.idempotent
        self._demo = options.release == "demo"
        self._token = _token(options.token)
        self._late: set[asyncio.Task[None]] = set()
        self._control: Control | None = None
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/ledger"): self._whole_ledger,
            ("POST", "/_faults"): self._fault,
            ("GET", "/orders"): self._orders,
            ("POST", "/orders"): self._put_order,
            ("GET", "/confirmations"): self._lookup,
            ("POST", "/confirmations"): self._confirm,
            ("GET", "/acknowledgements"): self._answers,
            ("POST", "/acknowledgements"): self._take_answer,
        }
        self._release()

    def declare(self, control: Control) -> None:
        """Add the commands; the same are taken by ``POST /_faults``."""
        self._control = control
        control.add("down SECONDS", self.listener.cut)
        control.add("totals", self._totals)
        control.add("external ORDER OPERATION COUNT", self._external)
        control.add("forget KEY", self.ledger.forget)
        self.faults.declare(control)

    async def close(self) -> None:
        """End everything; what was to be booked late is not booked any more."""
        for task in self._late:
            task.cancel()
        await self.listener.close()
        self.ledger.close()
        self._log.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer, self._noted)

    async def _noted(self, request: Request) -> Answer:
        began_ns = time.time_ns()
        answer = await self._answer(request)
        self._log.note(request, answer, began_ns)
        return answer

    async def _answer(self, request: Request) -> Answer:
        route = (request.method, "/" + request.path.strip("/").partition("/")[0])
        if self._token and route[1] not in OPEN_PATHS:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), b"Bearer " + self._token):
                return unauthorized("the bearer token is missing or wrong")
        if self.faults.signed_out and route[1] not in OPEN_PATHS:
            return unauthorized("nobody is signed in")
        serving = self._routes.get(route)
        if serving is None:
            return refusal(404, "NO_SUCH_PATH", f"{request.method} {request.path}: not served here")
        return await serving(request)

    async def _health(self, _request: Request) -> Response:
        return document(200, {"ok": True, "idempotent": self._idempotent})

    async def _whole_ledger(self, _request: Request) -> Response:
        return document(200, {"bookings": self.ledger.bookings(), "sums": self.ledger.sums()})

    async def _fault(self, request: Request) -> Response:
        assert self._control is not None, "commands are declared before the listener opens"
        try:
            values = object_of(request.body)
            command = self._control.command(str(values.pop("fault", "")))
            parsed = command.parse_named(values)
            if command.name == "down":
                # The answer first: this connection goes down with the others.
                return document(200, {"ok": True}, afterwards=lambda: self.listener.cut(float(str(parsed[0]))))
            return document(200, await answer_of(command, parsed))
        except CommandError as error:
            return document(400, {"ok": False, "error": str(error)})
        except RefusedError as error:
            return document(400, {"ok": False, "error": str(error)})

    def _page_fault(self, path: Route) -> Response | None:
        due = self.faults.take(path, "unauthorized", "html")
        if due is None:
            return None
        return login_page() if due.name == "html" else unauthorized("the session has expired")

    async def _answers(self, _request: Request) -> Response:
        return document(200, {"answers": self.ledger.answers()})

    async def _take_answer(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key", "")
        try:
            check_digest(request)
            body = object_of(request.body)
        except RefusedError as error:
            return refusal(error.status, error.code, str(error))
        order, answer = body.get("order_id"), body.get("answer")
        if not 1 <= len(key) <= MAX_KEY or not isinstance(order, str) or not isinstance(answer, str):
            return refusal(400, "ANSWER_INVALID", "Idempotency-Key, order_id and answer are needed")
        fresh = self.ledger.take_answer(key, order, answer, request.body.decode())
        return document(201 if fresh else 200, {"reference": key, "duplicate": not fresh})

    def _external(self, order: str, operation: str, count: int) -> str:
        """A person posts good pieces in the ERP, past the gateway."""
        seq = len(self.ledger.bookings()) + 1
        booking = Booking(f"manual-{seq}", order, operation, seq, "", "", count, 0, 0, final=False, digest="")
        return self.ledger.book(booking)

    async def _order_totals(self, order: str) -> Response:
        found = self.ledger.image(order)
        if found is None:
            return refusal(404, "ORDER_UNKNOWN", f"order {order!r} is not released here")
        closed = found[0].get("status") == "closed"
        return document(200, {"order_id": order, "closed": closed, "operations": self.ledger.totals(order)})

    async def _orders(self, request: Request) -> Response:
        _, _, rest = request.path.strip("/").partition("/")
        if rest.endswith("/totals"):
            return await self._order_totals(unquote(rest.removesuffix("/totals")))
        broken = self._page_fault("orders")
        if broken is not None:
            return broken
        since = request.query.get("since", "") or "0"
        if not DIGITS.fullmatch(since):
            return refusal(400, "CURSOR_INVALID", f"since: found {since!r}, allowed is a cursor of an earlier answer")
        cursor, orders = self.ledger.changes(int(since))
        return document(200, {"cursor": str(cursor), "orders": orders})

    async def _put_order(self, request: Request) -> Response:
        try:
            image = object_of(request.body)
            change = orders.put(self.ledger, image)
        except RefusedError as error:
            return refusal(400, error.code, str(error))
        except orders.OrderError as error:
            code, status = ("STALE_REVISION", 409) if error.stale else ("ORDER_INVALID", 422)
            return refusal(status, code, str(error))
        return document(201, {"order_id": image["order_id"], "revision": image["revision"], "change": change})

    async def _lookup(self, request: Request) -> Response:
        broken = self._page_fault("lookups")
        if broken is not None:
            return broken
        key = unquote(request.path.removeprefix("/confirmations").removeprefix("/"))
        found = self.ledger.find(key)
        if found is None:
            return refusal(404, "NOT_FOUND", f"nothing is booked under {key!r}")
        reference, _, count = found
        return document(200, {"reference": reference, "count": count})

    async def _confirm(self, request: Request) -> Answer:
        due = self.faults.take("confirmations", *BEFORE)
        if due is not None:
            return self._spoiled.before_booking(due)
        try:
            booking = self._checked(request)
            if booking.order in self.faults.poisoned:
                return poisoned(self.faults.poisoned[booking.order])
            duplicate = self._duplicate(booking)
        except RefusedError as error:
            return refusal(error.status, error.code, str(error))
        if duplicate is not None:
            return duplicate
        late = self.faults.take("confirmations", "late-book")
        if late is not None:
            task = asyncio.create_task(self._book_late(booking, late.number))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return None
        response = document(201, {"reference": self._book(booking), "duplicate": False})
        return await self._after_booking(response)

    async def _after_booking(self, response: Response) -> Answer:
        due = self.faults.take("confirmations", *AFTER)
        if due is None:
            return response
        if due.name == "slow":
            await asyncio.sleep(due.number)
        return self._spoiled.after_booking(due, response)

    def _checked(self, request: Request) -> Booking:
        if not 1 <= len(key := request.headers.get("idempotency-key", "")) <= MAX_KEY:
            raise RefusedError("KEY_MISSING", f"header Idempotency-Key: 1 to {MAX_KEY} characters are needed", 400)
        check_digest(request)
        body = object_of(request.body)
        order, operation, seq = (body.get(name) for name in ("order_id", "operation", "seq"))
        found = self.ledger.image(order) if isinstance(order, str) else None
        if found is None:
            raise RefusedError("ORDER_UNKNOWN", f"order {order!r} is not released here")
        if order in self.faults.rejected:
            raise RefusedError("ORDER_REJECTED", f"order {order} takes no confirmations")
        known = [one["op"] for one in found[0]["operations"]]
        if operation not in known:
            raise RefusedError("OPERATION_UNKNOWN", f"order {order} has no operation {operation!r}, only {known}")
        if type(seq) is not int or seq < 1:
            raise RefusedError("SEQ_INVALID", f"seq: found {seq!r}, allowed is a whole number from 1 on")
        if body.get("type") not in {"partial", "final", "reversal"}:
            raise RefusedError("TYPE_INVALID", f"type: found {body.get('type')!r}, allowed: partial, final, reversal")
        signed = body["type"] == "reversal" or body.get("origin") == "correction"
        good, scrap, rework = quantities(body.get("qty"), signed=signed)
        reverses, final = str(body.get("reverses") or ""), int(body["type"] == "final")
        if body["type"] == "reversal":
            was_final = self.ledger.reversible(reverses, str(order), str(operation))
            if was_final is None and self.ledger.find(key) is None:
                raise RefusedError("NOTHING_TO_REVERSE", f"reverses: {reverses!r} is not booked, or was taken back")
            final = -int(was_final or False)
        return Booking(
            key=key,
            order=str(order),
            operation=str(operation),
            seq=seq,
            work_center=str(body.get("work_center", "")),
            machine=str(body.get("machine", "")),
            good=good,
            scrap=scrap,
            rework=rework,
            final=final,
            reverses=reverses,
            digest=hashlib.sha256(request.body).hexdigest(),
        )

    def _duplicate(self, booking: Booking) -> Response | None:
        found = self.ledger.find(booking.key) if self._idempotent else None
        if found is None:
            return None
        reference, digest, _ = found
        if digest != booking.digest:
            raise RefusedError("KEY_REUSE", f"key {booking.key} was used for other content ({reference})")
        return document(200, {"reference": reference, "duplicate": True})

    def _book(self, booking: Booking) -> str:
        reference = self.ledger.book(booking)
        self._release()
        return reference

    async def _book_late(self, booking: Booking, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self._idempotent or self.ledger.find(booking.key) is None:
            self._book(booking)

    def _release(self) -> None:
        if self._demo:
            orders.release_demo(self.ledger)

    def _totals(self) -> dict[str, Any]:
        sums = self.ledger.sums()
        return {name: sum(row[name] for row in sums) for name in ("good", "scrap", "rework", "bookings", "keys")}


def _token(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise SimulatorError(f"--token {path}: {error.strerror}; name a file that holds the token") from error
    if not token:
        raise SimulatorError(f"--token {path}: the file is empty; put the token into it")
    return token


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's connector for this ERP."""
    host = f"[{facts['host']}]" if ":" in facts["host"] else facts["host"]
    token = "" if options.token is None else f"\n    token: {{ file: {options.token.resolve()} }}"
    return f"""\
connectors:
  erp:
    connector: rest
    url: http://{host}:{facts["port"]}
    acknowledgements_path: /acknowledgements
    totals_path: /orders/{{order}}/totals
    correction: cancel
    poll_orders: 2 s{token}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    erp = Erp(options)
    erp.declare(control)
    await erp.listener.open()
    try:
        host = f"[{options.host}]" if ":" in options.host else options.host
        control.ready(port=erp.listener.port, host=options.host, url=f"http://{host}:{erp.listener.port}")
        await control.until_exit()
    finally:
        await erp.close()
