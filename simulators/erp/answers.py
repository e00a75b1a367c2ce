"""What the fake ERP answers when a fault has its turn, and the log of all that it was asked.

Decides nothing: which fault has its turn says ``faults``, what is booked the server.
"""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Final, TextIO

from simulators.control import SimulatorError
from simulators.erp.http import Answer, Request, Response, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.erp.faults import Due

LOGIN_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Sign in</h1><form><input name='user'></form></body></html>"
GARBAGE_BYTES: Final = 96
#: Faults in whose turn nothing is booked, and those that follow a booking.
BEFORE: Final = ("unauthorized", "unavailable", "too-many", "html", "error", "locked", "hang")
AFTER: Final = ("lose-answers", "error-booked", "half", "garbage", "drip", "twice", "hang-up", "slow")


class Spoiled:
    """Makes the answers of faults; ``seed`` makes the garbage."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"garbage/{seed}")

    def before_booking(self, due: Due) -> Response:
        """Instead of booking."""
        match due.name:
            case "unauthorized":
                return unauthorized("the session has expired")
            case "unavailable":
                wait = {"Retry-After": str(int(due.number))}
                return refusal(503, "UNAVAILABLE", "maintenance; come back later", headers=wait, fault=due.name)
            case "too-many":
                wait = {"Retry-After": str(int(due.number))}
                return refusal(429, "TOO_MANY", "too many requests", headers=wait, fault=due.name)
            case "html":
                return login_page()
            case "hang":
                return Response(0, b"", then="hang", fault=due.name)
            case "locked":
                return refusal(409, "LOCKED", "the order is being processed by another user", fault=due.name)
        return poisoned(int(due.number))

    def after_booking(self, due: Due, response: Response) -> Answer:
        """Instead of the answer to what has been booked; ``slow`` is the caller's."""
        status, body = response.status, response.body
        match due.name:
            case "lose-answers":
                return None
            case "error-booked":
                text = "something went wrong after the posting"
                return refusal(int(due.number), "INTERNAL", text, fault=due.name)
            case "half":
                return Response(status, body, keep_bytes=len(body) // 2, fault=due.name)
            case "garbage":
                return Response(0, b"", raw=self._random.randbytes(GARBAGE_BYTES), fault=due.name)
            case "drip":
                return Response(status, body, drip_s=due.number, fault=due.name)
            case "twice":
                return Response(status, body, times=2, fault=due.name)
            case "hang-up":
                return Response(status, body, then="hang-up", fault=due.name)
        return Response(status, body, fault=due.name)


def poisoned(status: int) -> Response:
    """An error of the server's own; nothing is booked."""
    return refusal(status, f"HTTP_{status}", "something went wrong, nothing was posted", fault="error")


def login_page() -> Response:
    """What stands in front of an ERP where nobody is signed in."""
    return Response(200, LOGIN_PAGE, content_type="text/html; charset=utf-8", fault="html")


def unauthorized(message: str) -> Response:
    """401."""
    return refusal(401, "UNAUTHORIZED", message, headers={"WWW-Authenticate": "Bearer"}, fault="unauthorized")


class RequestLog:
    """Every request as a JSON line: when (UTC), what, and how it was answered; ``None``: nothing is written.

    Raises SimulatorError if the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8")
            except OSError as error:
                raise SimulatorError(f"--requests {path}: {error.strerror}; name a file that can be written") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def note(self, request: Request, response: Answer, began_ns: int) -> None:
        """One line, once it is known what is answered.

        ``status`` 0: no answer that can be read; ``fault`` "": the answer is sent whole and once.
        """
        if self._file is None:
            return
        line = {
            "began_ns": began_ns,
            "t_ns": time.time_ns(),
            "method": request.method,
            "path": request.path,
            "key": request.headers.get("idempotency-key", ""),
            "order": _order_of(request.body),
            "status": 0 if response is None else response.status,
            "fault": "cut" if response is None else response.fault,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _order_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["order_id"])
    except (ValueError, KeyError, TypeError):
        return ""
