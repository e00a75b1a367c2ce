"""What every ERP double has: ledger, faults, request log, listener, late bookings, demo orders, the bench's doors.

A double subclasses ``Double``, adds routes in its own protocol and says how a booking is read from a message, how
success looks, and how a fault looks. Speaks no ERP's language itself, and knows nothing of any connector.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from simulators.control import CommandError, answer_of
from simulators.erp import orders
from simulators.erp.answers import AFTER, BEFORE, RequestLog, Spoiled
from simulators.erp.checks import RefusedError, object_of
from simulators.erp.faults import Due, Faults
from simulators.erp.http import Answer, Request, Response, document, refusal, serve
from simulators.erp.ledger import Booking, Ledger
from simulators.listener import Listener

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Mapping

    from simulators.control import Control
    from simulators.erp.faults import Route

#: Doors of the test bench: nobody signs in there, and no fault stands before them.
OPEN_PATHS: Final = frozenset({"/health", "/ledger", "/_faults", "/_orders"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that every ERP double has."""
    parser.add_argument("--ledger", type=Path, help="SQLite file of bookings and orders (default: in memory)")
    parser.add_argument("--release", choices=("demo", "none"), default="none", help="demo: keep small orders released")
    parser.add_argument("--idempotent", action="store_true", help="book the same key only once")
    parser.add_argument("--requests", type=Path, help="append every request and its answer as a JSON line")


class Double:
    """A fake ERP: what it books it keeps; by default a repeated key is booked again, so that the sum convicts.

    To be overridden: ``routes``, ``fault_answer``, ``booking_of``, ``booked_answer``, ``refused_answer``; and where the
    protocol wants it ``route_of``, ``login_missing``, ``facts``, ``key_and_order``, ``duplicate_answer``, ``open``.
    """

    #: Faults that may also stand before orders and look-ups.
    page_faults: ClassVar[tuple[str, ...]] = ("unauthorized", "html")

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.ledger = Ledger(options.ledger)
        self.faults = Faults()
        self.listener = Listener(options.host, options.port, self._serve)
        self.idempotent: bool = options.idempotent
        self._spoiled = Spoiled(options.seed, self.fault_answer)
        self._log = RequestLog(options.requests, self.key_and_order)
        self._demo = options.release == "demo"
        self._late: set[asyncio.Task[None]] = set()
        self._control: Control | None = None
        self._doors: dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/ledger"): self._whole_ledger,
            ("POST", "/_faults"): self._fault,
            ("POST", "/_orders"): self._release_order,
        }
        self._routes = self._doors | dict(self.routes())
        self.release_orders()

    # What a double says in its own protocol.

    def routes(self) -> Mapping[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """Method and route (see ``route_of``) to what serves it; called once, before ``open``."""
        raise NotImplementedError

    def route_of(self, request: Request) -> str:
        """The route of a request: its path's first word, unless the protocol has another way."""
        return "/" + request.path.strip("/").partition("/")[0]

    def login_missing(self, _request: Request) -> Response | None:
        """The answer to a request without a valid login; None: it may go on. Not asked for the open doors."""
        return None

    def fault_answer(self, due: Due) -> Response:
        """How a fault looks here.

        Names: ``unauthorized``, ``unavailable`` and ``too-many`` (number: seconds to wait), ``html``, ``locked``,
        ``error`` and ``error-booked`` (number: HTTP status). What spoils the connection itself never gets here.
        """
        raise NotImplementedError

    def booking_of(self, request: Request) -> Booking:
        """The booking that a message asks for. Raises RefusedError."""
        raise NotImplementedError

    def booked_answer(self, reference: str, request: Request) -> Response:
        """How success looks."""
        raise NotImplementedError

    def refused_answer(self, error: RefusedError) -> Response:
        """How a business error looks."""
        raise NotImplementedError

    def duplicate_answer(self, reference: str, request: Request) -> Response:
        """How a key looks that was booked before; only with ``--idempotent``."""
        return self.booked_answer(reference, request)

    def key_and_order(self, _request: Request) -> tuple[str, str]:
        """Key and order of a message, for the log of requests; "" where they cannot be told."""
        return "", ""

    def facts(self) -> dict[str, object]:
        """What else the ready line says."""
        return {}

    async def open(self) -> None:
        """Listen. Raises SimulatorError if the port is busy."""
        await self.listener.open()

    # What a double uses.

    async def confirm(
        self,
        request: Request,
        *,
        parse: Callable[[Request], Any] | None = None,
        book: Callable[[Any], str] | None = None,
        answer: Callable[[str, Request], Response] | None = None,
    ) -> Answer:
        """One message that books: faults before it, checks, poison, late booking, the booking, faults after it.

        ``parse`` gives something with ``order`` (a ``Booking`` unless ``book`` takes something else) or raises
        RefusedError; ``book`` returns the reference.
        """
        parse, book, answer = parse or self.booking_of, book or self.book, answer or self.booked_answer
        spared = self.faults.spared()
        due = None if spared else self.faults.take("confirmations", *BEFORE)
        if due is not None:
            return self._spoiled.before_booking(due)
        try:
            wanted = parse(request)
            self._accepted(wanted.order)
            if not spared and self.faults.take("confirmations", "refuse"):
                raise RefusedError("ORDER_REJECTED", "the period is closed")  # noqa: TRY301 - one way out for refusals
            if wanted.order in self.faults.poisoned:
                return self._shown(Due("error", self.faults.poisoned[wanted.order]))
            before = self._booked_before(wanted)
        except RefusedError as error:
            return self.refused_answer(error)
        if before is not None:
            return self.duplicate_answer(before, request)
        if spared:
            return answer(book(wanted), request)
        late = self.faults.take("confirmations", "late-book")
        if late is not None:
            self.later(late.number, lambda: self._book_late(wanted, book))
            return None
        return await self.after_booking(answer(book(wanted), request))

    async def after_booking(self, response: Response) -> Answer:
        """The answer to what has been booked, or what a fault makes of it."""
        due = self.faults.take("confirmations", *AFTER)
        if due is None:
            return response
        if due.name == "slow":
            await asyncio.sleep(due.number)
        return self._spoiled.after_booking(due, response)

    def page_fault(self, path: Route) -> Response | None:
        """The fault whose turn it is on ``orders`` or ``lookups``; None: answer as ever."""
        due = self.faults.take(path, *self.page_faults)
        return None if due is None else self._shown(due)

    def book(self, booking: Booking) -> str:
        """Book it; returns the reference."""
        reference = self.ledger.book(booking)
        self.release_orders()
        return reference

    def order_of(self, order: object) -> dict[str, Any]:
        """The canonical image of a released order. Raises RefusedError."""
        found = self.ledger.image(order) if isinstance(order, str) else None
        if found is None:
            raise RefusedError("ORDER_UNKNOWN", f"order {order!r} is not released here")
        return found[0]

    def operation_of(self, image: Mapping[str, Any], operation: object) -> dict[str, Any]:
        """The image of an order's operation. Raises RefusedError."""
        for one in image["operations"]:
            if one["op"] == operation:
                return dict(one)
        known = [one["op"] for one in image["operations"]]
        raise RefusedError(
            "OPERATION_UNKNOWN", f"order {image['order_id']} has no operation {operation!r}, only {known}"
        )

    def later(self, seconds: float, run: Callable[[], object]) -> None:
        """Do something after so many seconds, unless the double ends before."""

        async def waiting() -> None:
            await asyncio.sleep(seconds)
            run()

        task = asyncio.create_task(waiting())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def release_orders(self) -> None:
        """Keep demo orders released, if asked to."""
        if self._demo:
            orders.release_demo(self.ledger)

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
        door = self._doors.get((request.method, "/" + request.path.strip("/").partition("/")[0]))
        if door is not None:
            return await door(request)
        missing = self.login_missing(request)
        if missing is not None:
            return missing
        if self.faults.signed_out:
            return self._shown(Due("unauthorized"))
        serving = self._routes.get((request.method, self.route_of(request)))
        if serving is None:
            return refusal(404, "NO_SUCH_PATH", f"{request.method} {request.path}: not served here")
        return await serving(request)

    def _shown(self, due: Due) -> Response:
        return dataclasses.replace(self.fault_answer(due), fault=due.name)

    def _accepted(self, order: str) -> None:
        if order in self.faults.rejected:
            raise RefusedError("ORDER_REJECTED", f"order {order} takes no confirmations")

    def _booked_before(self, wanted: Any) -> str | None:
        found = self.ledger.find(wanted.key) if self.idempotent and isinstance(wanted, Booking) else None
        if found is None:
            return None
        reference, digest, _ = found
        if digest != wanted.digest:
            raise RefusedError("KEY_REUSE", f"key {wanted.key} was used for other content ({reference})")
        return reference

    def _book_late(self, wanted: Any, book: Callable[[Any], str]) -> None:
        if not self.idempotent or not isinstance(wanted, Booking) or self.ledger.find(wanted.key) is None:
            book(wanted)

    async def _health(self, _request: Request) -> Response:
        return document(200, {"ok": True, "idempotent": self.idempotent})

    async def _whole_ledger(self, _request: Request) -> Response:
        return document(200, {"bookings": self.ledger.bookings(), "sums": self.ledger.sums()})

    async def _release_order(self, request: Request) -> Response:
        return self.put_order(request)

    def put_order(self, request: Request) -> Response:
        """Release the order whose canonical image is the body (the door ``POST /_orders`` of every double)."""
        try:
            image = object_of(request.body)
            change = orders.put(self.ledger, image)
        except RefusedError as error:
            return refusal(400, error.code, str(error))
        except orders.OrderError as error:
            code, status = ("STALE_REVISION", 409) if error.stale else ("ORDER_INVALID", 422)
            return refusal(status, code, str(error))
        return document(201, {"order_id": image["order_id"], "revision": image["revision"], "change": change})

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

    def _external(self, order: str, operation: str, count: int) -> str:
        """A person posts good pieces in the ERP, past the gateway."""
        seq = len(self.ledger.bookings()) + 1
        booking = Booking(f"manual-{seq}", order, operation, seq, "", "", count, 0, 0, final=False, digest="")
        return self.ledger.book(booking)

    def _totals(self) -> dict[str, Any]:
        sums = self.ledger.sums()
        return {name: sum(row[name] for row in sums) for name in ("good", "scrap", "rework", "bookings", "keys")}


def url_of(facts: Mapping[str, Any]) -> str:
    """The base address that ``--print-config`` shows."""
    host = f"[{facts['host']}]" if ":" in facts["host"] else facts["host"]
    return f"http://{host}:{facts['port']}"


async def run_double(
    kind: Callable[[argparse.Namespace], Double], options: argparse.Namespace, control: Control
) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    double = kind(options)
    try:
        double.declare(control)
        await double.open()
        port = double.listener.port
        control.ready(port=port, host=options.host, url=url_of({"host": options.host, "port": port}), **double.facts())
        await control.until_exit()
    finally:
        await double.close()
