"""``erp``: a fake ERP with an HTTP interface, a durable ledger and a bad character on command.

By default it is careless: the same confirmation posted twice is booked twice, so that the sum convicts a faulty client.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from simulators.control import SimulatorError
from simulators.erp import double
from simulators.erp.answers import json_fault, unauthorized
from simulators.erp.checks import DIGITS, RefusedError, check_digest, object_of, quantities
from simulators.erp.double import Double, run_double, url_of
from simulators.erp.http import Answer, Request, Response, document, refusal
from simulators.erp.ledger import Booking
from simulators.printed import ERP_PORT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from simulators.control import Control
    from simulators.erp.faults import Due

USUAL_PORT: Final = ERP_PORT
MAX_KEY: Final = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this simulator."""
    double.add_arguments(parser)
    parser.add_argument("--token", type=Path, help="file with the bearer token that is demanded")


class Erp(Double):
    """The bundled fake ERP: plain JSON, a bearer token if it is asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._token = _token(options.token)
        super().__init__(options)

    def routes(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[Answer]]]:
        """Orders, confirmations, answers to orders."""
        return {
            ("GET", "/orders"): self._orders,
            ("POST", "/orders"): self._release_order,
            ("GET", "/confirmations"): self._lookup,
            ("POST", "/confirmations"): self.confirm,
            ("GET", "/acknowledgements"): self._answers,
            ("POST", "/acknowledgements"): self._take_answer,
            ("GET", "/notices"): self._notices,
            ("POST", "/notices"): self._take_notice,
        }

    def login_missing(self, request: Request) -> Response | None:
        """401 without the bearer token."""
        given = request.headers.get("authorization", "")
        if self._token and not hmac.compare_digest(given.encode(), b"Bearer " + self._token):
            return unauthorized("the bearer token is missing or wrong")
        return None

    def fault_answer(self, due: Due) -> Response:
        """JSON with HTTP's own statuses."""
        return json_fault(due)

    def booked_answer(self, reference: str, _request: Request) -> Response:
        """201 with the reference."""
        return document(201, {"reference": reference, "duplicate": False})

    def duplicate_answer(self, reference: str, _request: Request) -> Response:
        """200 with the reference."""
        return document(200, {"reference": reference, "duplicate": True})

    def refused_answer(self, error: RefusedError) -> Response:
        """The error's status, with its code."""
        return refusal(error.status, error.code, str(error))

    def key_and_order(self, request: Request) -> tuple[str, str]:
        """From the header and the document."""
        try:
            order = str(json.loads(request.body)["order_id"])
        except (ValueError, KeyError, TypeError):
            order = ""
        return request.headers.get("idempotency-key", ""), order

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

    async def _notices(self, _request: Request) -> Response:
        return document(200, {"notices": self.ledger.notices()})

    async def _take_notice(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key", "")
        try:
            check_digest(request)
            body = object_of(request.body)
        except RefusedError as error:
            return refusal(error.status, error.code, str(error))
        if not 1 <= len(key) <= MAX_KEY or not isinstance(body.get("notice"), str):
            return refusal(400, "NOTICE_INVALID", "Idempotency-Key and notice are needed")
        try:
            fresh = self.ledger.take_notice(key, request.body.decode())
        except ValueError:
            return refusal(422, "KEY_REUSE", f"{key!r}: said something else before")
        return document(201 if fresh else 200, {"reference": key, "duplicate": not fresh})

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
        broken = self.page_fault("orders")
        if broken is not None:
            return broken
        since = request.query.get("since", "") or "0"
        if not DIGITS.fullmatch(since):
            return refusal(400, "CURSOR_INVALID", f"since: found {since!r}, allowed is a cursor of an earlier answer")
        cursor, orders = self.ledger.changes(int(since))
        return document(200, {"cursor": str(cursor), "orders": orders})

    async def _lookup(self, request: Request) -> Response:
        broken = self.page_fault("lookups")
        if broken is not None:
            return broken
        key = unquote(request.path.removeprefix("/confirmations").removeprefix("/"))
        found = self.ledger.find(key)
        if found is None:
            return refusal(404, "NOT_FOUND", f"nothing is booked under {key!r}")
        reference, _, count = found
        return document(200, {"reference": reference, "count": count})

    def booking_of(self, request: Request) -> Booking:
        """The confirmation as the gateway's own document. Raises RefusedError."""
        if not 1 <= len(key := request.headers.get("idempotency-key", "")) <= MAX_KEY:
            raise RefusedError("KEY_MISSING", f"header Idempotency-Key: 1 to {MAX_KEY} characters are needed", 400)
        check_digest(request)
        body = object_of(request.body)
        order, operation, seq = (body.get(name) for name in ("order_id", "operation", "seq"))
        self.operation_of(self.order_of(order), operation)
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
    token = "" if options.token is None else f"\n    token: {{ file: {options.token.resolve()} }}"
    return f"""\
connectors:
  erp:
    connector: rest
    url: {url_of(facts)}
    acknowledgements_path: /acknowledgements
    totals_path: /orders/{{order}}/totals
    correction: cancel
    poll_orders: 2 s{token}
"""


async def run(options: argparse.Namespace, control: Control) -> None:
    """Serve until told to end. Raises SimulatorError if the port is busy or a file cannot be used."""
    await run_double(Erp, options, control)
