"""What the fake ERP answers when a fault has its turn, and the log of all that it was asked.

Decides nothing: which fault has its turn says ``faults``, what is booked the server.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from typing import TYPE_CHECKING, Final, TextIO

from simulators.control import SimulatorError
from simulators.erp.http import Answer, Request, Response, refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulators.erp.faults import Due

LOGIN_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Sign in</h1><form><input name='user'></form></body></html>"
GARBAGE_BYTES: Final = 96
#: Faults in whose turn nothing is booked, and those that follow a booking.
BEFORE: Final = ("lose-requests", "unauthorized", "unavailable", "too-many", "html", "error", "locked", "hang")
AFTER: Final = ("lose-answers", "error-booked", "half", "garbage", "drip", "twice", "hang-up", "slow")


class Spoiled:
    """Makes the answers of faults; ``seed`` makes the garbage, ``shown`` is how a fault looks in the protocol."""

    def __init__(self, seed: int, shown: Callable[[Due], Response]) -> None:
        self._random = random.Random(f"garbage/{seed}")
        self._shown = shown

    def before_booking(self, due: Due) -> Answer:
        """Instead of booking."""
        if due.name == "lose-requests":
            return None
        if due.name == "hang":
            return Response(0, b"", then="hang", fault=due.name)
        return dataclasses.replace(self._shown(due), fault=due.name)

    def after_booking(self, due: Due, response: Response) -> Answer:
        """Instead of the answer to what has been booked; ``slow`` is the caller's."""
        match due.name:
            case "lose-answers":
                return None
            case "error-booked":
                return dataclasses.replace(self._shown(due), fault=due.name)
            case "half":
                return dataclasses.replace(response, keep_bytes=len(response.body) // 2, fault=due.name)
            case "garbage":
                return Response(0, b"", raw=self._random.randbytes(GARBAGE_BYTES), fault=due.name)
            case "drip":
                return dataclasses.replace(response, drip_s=due.number, fault=due.name)
            case "twice":
                return dataclasses.replace(response, times=2, fault=due.name)
            case "hang-up":
                return dataclasses.replace(response, then="hang-up", fault=due.name)
        return dataclasses.replace(response, fault=due.name)


def json_fault(due: Due) -> Response:
    """How a fault looks in plain JSON with HTTP's own statuses (``Double.fault_answer`` of such an ERP)."""
    match due.name:
        case "unauthorized":
            return unauthorized("the session has expired")
        case "unavailable":
            wait = {"Retry-After": str(int(due.number))}
            return refusal(503, "UNAVAILABLE", "maintenance; come back later", headers=wait)
        case "too-many":
            wait = {"Retry-After": str(int(due.number))}
            return refusal(429, "TOO_MANY", "too many requests", headers=wait)
        case "html":
            return login_page()
        case "locked":
            return refusal(409, "LOCKED", "the order is being processed by another user")
        case "error-booked":
            return refusal(int(due.number), "INTERNAL", "something went wrong after the posting")
    return refusal(int(due.number), f"HTTP_{int(due.number)}", "something went wrong, nothing was posted")


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

    def __init__(self, path: Path | None, key_and_order: Callable[[Request], tuple[str, str]]) -> None:
        self._key_and_order = key_and_order
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
        key, order = self._key_and_order(request)
        line = {
            "began_ns": began_ns,
            "t_ns": time.time_ns(),
            "method": request.method,
            "path": request.path,
            "key": key,
            "order": order,
            "status": 0 if response is None else response.status,
            "fault": "cut" if response is None else response.fault,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
