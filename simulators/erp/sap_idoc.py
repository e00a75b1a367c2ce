"""``sap_idoc``: a fake SAP that speaks IDocs, with a durable ledger and a bad character on command.

Storing an IDoc is not booking it: that is done by CO1L, at once, after some seconds or on command, in the sequence of
LOGDATE and LOGTIME (equal ones in any). What cannot be booked goes to the error pool. Over SOAP a message id is stored
once; over plain HTTP and from files each repeat is stored again. Whether a ticket is booked can be read over OData, or
comes back as files. Orders go out as LOIPRO, into a folder or pushed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from simulators.control import SimulatorError
from simulators.erp import double
from simulators.erp.answers import login_page, unauthorized
from simulators.erp.checks import RefusedError
from simulators.erp.double import Double, run_double, url_of
from simulators.erp.http import Answer, Request, Response, document
from simulators.erp.ledger import Booking
from simulators.erp.sap_idoc_store import BOOKED, POOL, IdocStore
from simulators.erp.sap_idoc_wire import assigned, audit_idoc, fault, order_idoc, posted, sap_number, ticket_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from simulators.control import Control
    from simulators.erp.faults import Due

USUAL_PORT: Final = 18084
SOAP: Final = "/sap/bc/srt/idoc"
PLAIN: Final = "/sap/bc/idoc_xml"
READBACK: Final = "/sap/opu/odata/sap/API_PROD_ORDER_CONFIRMATION_2_SRV/ProdnOrdConf2"
LOOK_S: Final = 0.2
MAX_QUANTITY: Final = 10**9
OK: Final = 200

_BY_KEY = re.compile(r"ExternalSystemConfirmation eq guid'([0-9a-fA-F-]{36})'")
_BY_OPERATION = re.compile(r"OrderID eq '([^']*)' and OrderOperation eq '([^']*)'")


class Message(NamedTuple):
    """One IDoc that came in."""

    order: str
    sent_as: str
    message_id: str
    ticket: dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--folder", type=Path, help="exchange orders/, confirmations/ and statuses/ here; it is made")
    parser.add_argument("--push", help="URL of the gateway's receiver that orders are sent to")
    parser.add_argument("--push-token", default="", help="the receiver's token")
    parser.add_argument(
        "--co1l", default="0", metavar="SECONDS|hand", help="when what is stored is booked (default: 0)"
    )


class SapIdoc(Double):
    """SAP with its IDoc services."""

    def __init__(self, options: argparse.Namespace) -> None:
        path = None if options.ledger is None else options.ledger.with_name(options.ledger.name + ".idocs")
        self.store = IdocStore(path, options.seed)
        self._soap = False
        self._delay_s = _delay(options.co1l)
        self._folder: Path | None = options.folder
        self._files = 0
        self._tasks: list[asyncio.Task[None]] = []
        if self._folder is not None:
            for name in ("orders", "confirmations", "statuses"):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        super().__init__(options)

    def routes(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """The services of SAP's own paths."""
        return {
            ("POST", SOAP): self._take_soap,
            ("POST", PLAIN): self._take_plain,
            ("GET", SOAP): self._not_allowed,
            ("GET", PLAIN): self._not_allowed,
            ("GET", READBACK): self._read_back,
            ("GET", READBACK.rpartition("/")[0]): self._service_document,
        }

    def route_of(self, request: Request) -> str:
        """The whole path."""
        return request.path.rstrip("/")

    def declare(self, control: Control) -> None:
        """Add CO1L and the error pool."""
        super().declare(control)
        control.add("co1l", self.book_waiting)
        control.add("pool", self.store.counts)
        control.add("correct", self._correct)

    async def open(self) -> None:
        """Listen, and begin to look at the folder."""
        await super().open()
        if self._folder is not None:
            self._tasks.append(asyncio.create_task(self._look()))
        if self.options.push:
            self._tasks.append(asyncio.create_task(self._push()))

    async def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().close()
        self.store.close()

    def fault_answer(self, due: Due) -> Response:
        """Statuses of the ICF, and SOAP faults where the service itself speaks."""
        match due.name:
            case "unauthorized":
                return unauthorized("logon failed")
            case "html":
                return login_page()
            case "unavailable" | "too-many":
                status = 503 if due.name == "unavailable" else 429
                return _xml(status, b"", headers={"Retry-After": str(int(due.number))})
            case "locked":
                if self._soap:
                    return _xml(500, fault("MSGID_LOCKED", "EA728: the message is being processed", sender=False))
                return _xml(423, b"")
        return _xml(int(due.number), b"")

    def booking_of(self, request: Request) -> Booking:
        """Not asked for: what comes in is stored first."""
        raise NotImplementedError

    def booked_answer(self, reference: str, _request: Request) -> Response:
        """200 with the IDoc's number over SOAP, without a word over HTTP."""
        return _xml(200, assigned(int(reference))) if self._soap else _xml(200, b"")

    def refused_answer(self, error: RefusedError) -> Response:
        """A SOAP fault; over HTTP the IDoc is kept with status 51."""
        if self._soap:
            return _xml(500, fault(error.code, str(error), sender=True))
        if error.status == 400:  # noqa: PLR2004 - not even an IDoc
            return _xml(400, b"")
        return _xml(200, f"<IDOC><STATUS>51</STATUS><STATXT>{error.code}</STATXT></IDOC>".encode())

    def key_and_order(self, request: Request) -> tuple[str, str]:
        """The ticket's key and its order."""
        try:
            ticket = ticket_of(request.body, soap=False)[2]
        except RefusedError:
            return "", ""
        return _key(ticket), self._order_name(ticket.get("ORDERID", ""))

    def release_orders(self) -> None:
        """Demo orders, and all that is new into the folder."""
        super().release_orders()
        if self._folder is not None:
            self._orders_out(self._folder / "orders")

    def put_order(self, request: Request) -> Response:
        """Release it, and send it out."""
        answer = super().put_order(request)
        self.release_orders()
        return answer

    def book_waiting(self) -> int:
        """CO1L: book all that is stored; returns how many were."""
        booked = 0
        for row in self.store.waiting():
            try:
                reference = self.book(self._booking(row["ticket"]))
            except RefusedError as error:
                self.store.settle(row["number"], POOL, error.code)
                self._tell(row, error.code, str(error))
                continue
            self.store.settle(row["number"], BOOKED)
            self._tell(row, "", reference)
            booked += 1
        return booked

    def _correct(self) -> int:
        self.store.pool_to_waiting()
        return self.book_waiting()

    async def _take_soap(self, request: Request) -> Answer:
        return await self._take(request, soap=True)

    async def _take_plain(self, request: Request) -> Answer:
        return await self._take(request, soap=False)

    async def _take(self, request: Request, *, soap: bool) -> Answer:
        self._soap = soap  # nothing waits between here and the answer being made

        def parse(asked: Request) -> Message:
            sent_as, message_id, ticket = ticket_of(asked.body, soap=soap)
            return Message(self._order_name(ticket.get("ORDERID", "")), sent_as, message_id, ticket)

        def answer(reference: str, asked: Request) -> Response:
            return self.booked_answer(reference, asked)

        return await self.confirm(request, parse=parse, book=lambda one: self._store(one, once=soap), answer=answer)

    def _store(self, message: Message, *, once: bool) -> str:
        known = self.store.number_of(message.message_id) if once else None
        if known is not None:
            return str(known)
        number = self.store.keep(message.sent_as, message.message_id, message.ticket)
        if self._delay_s == 0:
            self.book_waiting()
        elif self._delay_s is not None:
            self.later(self._delay_s, self.book_waiting)
        return str(number)

    def _booking(self, ticket: dict[str, str]) -> Booking:
        order = self._order_name(ticket.get("ORDERID", ""))
        image = self.order_of(order)
        operation = self.operation_of(image, ticket.get("OPERATION"))
        self._accepted(order)
        good, scrap, rework = (_pieces(name, ticket.get(name, "0")) for name in ("YIELD", "SCRAP", "REWORK"))
        seq = int("".join(one for one in ticket.get("CONF_TEXT", "") if one.isdigit()) or "1")
        return Booking(
            key=_key(ticket),
            order=order,
            operation=operation["op"],
            seq=seq,
            work_center=ticket.get("WORK_CNTR", ""),
            machine="",
            good=good,
            scrap=scrap,
            rework=rework,
            final=int(ticket.get("FIN_CONF") in {"X", "1"}),
            digest="",
        )

    def _order_name(self, number: str) -> str:
        """The order's own name in the ledger, which may have no leading zeros."""
        if self.ledger.image(number) is None and number.isdigit():
            short = number.lstrip("0") or "0"
            return short if self.ledger.image(short) is not None else number
        return number

    async def _not_allowed(self, _request: Request) -> Response:
        return _xml(405, b"", headers={"Allow": "POST"})

    async def _service_document(self, _request: Request) -> Response:
        return document(200, {"d": {"EntitySets": ["ProdnOrdConf2"]}})

    async def _read_back(self, request: Request) -> Response:
        broken = self.page_fault("lookups")
        if broken is not None:
            return broken
        wanted = request.query.get("$filter", "")
        by_key, by_operation = _BY_KEY.fullmatch(wanted), _BY_OPERATION.fullmatch(wanted)
        if by_key is None and by_operation is None:
            error = {"code": "/IWBEP/CM_MGW_RT/021", "message": {"lang": "en", "value": "filter not supported"}}
            return document(400, {"error": error})
        rows = [_shown(number, row) for number, row in enumerate(self.ledger.bookings(), 1)]
        if by_key is not None:
            rows = [row for row in rows if row["ExternalSystemConfirmation"] == by_key[1].lower()]
        elif by_operation is not None:
            rows = [row for row in rows if (row["OrderID"], row["OrderOperation"]) == by_operation.groups()]
        return document(200, {"d": {"results": rows}})

    def _orders_out(self, folder: Path) -> None:
        since = self.store.mark("orders")
        while True:
            newest, found = self.ledger.changes(since)
            if not found or newest <= since:
                return
            for image in found:
                change = self.ledger.image(image["order_id"])
                assert change is not None
                _put(folder / f"LOIPRO_{change[1]:08d}.xml", order_idoc(image, change[1]))
            since = newest
            self.store.set_mark("orders", since)

    def _tell(self, row: dict[str, Any], code: str, text: str) -> None:
        if self._folder is None:
            return
        folder = self._folder / "statuses"
        stem = f"{row['number']:08d}_{self.store.mark('told'):08d}"
        self.store.set_mark("told", self.store.mark("told") + 1)
        if code:
            _put(folder / f"ALEAUD_{stem}.xml", audit_idoc(row["sent_as"], "51", code, text, row["number"]))
        else:
            line = f"{row['ticket'].get('EX_IDENT', '')};posted;{text};1\r\n"
            _put(folder / f"AFRU_{stem}.csv", b"EX_IDENT;STATUS;RUECK;RMZHL\r\n" + line.encode())

    async def _look(self) -> None:
        """The file port: takes each confirmation, and deletes it."""
        assert self._folder is not None
        folder = self._folder / "confirmations"
        while True:
            if not self.listener.shut:
                for path in sorted(folder.glob("*.xml")):
                    with contextlib.suppress(RefusedError):
                        sent_as, message_id, ticket = ticket_of(path.read_bytes(), soap=False)
                        message = Message(self._order_name(ticket.get("ORDERID", "")), sent_as, message_id, ticket)
                        self._store(message, once=False)
                    path.unlink()
            await asyncio.sleep(LOOK_S)

    async def _push(self) -> None:
        since = self.store.mark("pushed")
        while True:
            newest, images = self.ledger.changes(since)
            for image in images:
                found = self.ledger.image(image["order_id"])
                assert found is not None
                content = order_idoc(image, found[1])
                while await posted(self.options.push, self.options.push_token, content) != OK:  # noqa: ASYNC110 - asked
                    await asyncio.sleep(LOOK_S)
            since = newest
            self.store.set_mark("pushed", since)
            await asyncio.sleep(LOOK_S)


def _shown(number: int, row: dict[str, Any]) -> dict[str, Any]:
    key = row["key"] if len(row["key"]) == len(str(UUID(int=0))) else None
    return {
        "ConfirmationGroup": str(number),
        "ConfirmationCount": "1",
        "OrderID": sap_number(row["order"]),
        "OrderOperation": row["operation"],
        "ExternalSystemConfirmation": key,
        "IsReversed": bool(row["reverses"]),
        "IsReversal": False,
    }


def _key(ticket: dict[str, str]) -> str:
    try:
        return str(UUID(ticket.get("EX_IDENT", "")))
    except ValueError:
        return ticket.get("EX_IDENT", "")


def _pieces(name: str, text: str) -> int:
    try:
        number = Decimal(text or "0")
    except InvalidOperation as error:
        raise RefusedError("RU/029", f"{name}: found {text!r}, needed is a number") from error
    if not 0 <= number <= MAX_QUANTITY or number != int(number):
        raise RefusedError("RU/029", f"{name}: found {text!r}, allowed are whole pieces from 0 on")
    return int(number)


def _delay(text: str) -> float | None:
    try:
        return None if text == "hand" else max(float(text), 0.0)
    except ValueError as error:
        raise SimulatorError(f"--co1l: found {text!r}, allowed: seconds, or hand") from error


def _xml(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(status, body, content_type="text/xml; charset=utf-8", headers=headers or {})


def _put(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(content)
    draft.replace(path)


def config_text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """The gateway's connector for this ERP."""
    lines = ""
    if options.folder is not None:
        lines = f"\n    folder: {json.dumps(str(options.folder.resolve()))}\n    statuses_folder: statuses"
    return f"""\
connectors:
  erp:
    connector: sap_idoc
    transport: soap
    url: {url_of(facts)}{lines}
    order_numbers: short
    partner: {{ receiver_port: SAPS4P, receiver: S4PCLNT100 }}
    readback: {{ url: "{url_of(facts)}" }}
    poll_orders: 2 s
    ask_accepted: 1 s
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    await run_double(SapIdoc, options, control)
