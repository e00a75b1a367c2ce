"""What must be right in a message to the fake ERP before anything else is asked: form, digest, quantities.

Knows no order and no ledger.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from simulators.erp.http import Request

DIGITS: Final = re.compile(r"\d{1,12}")


class RefusedError(Exception):
    """A confirmation cannot be booked."""

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises RefusedError."""
    try:
        content = json.loads(body)
    except ValueError as error:
        raise RefusedError("BODY_INVALID", f"the body is not JSON: {error}", 400) from error
    if not isinstance(content, dict):
        raise RefusedError("BODY_INVALID", f"the body is a {type(content).__name__}, needed is an object", 400)
    return content


def check_digest(request: Request) -> None:
    """The Content-Digest header (RFC 9530), if there is one with sha-256, must fit the body. Raises RefusedError."""
    match = re.search(r"sha-256=:([^:]*):", request.headers.get("content-digest", ""))
    if match and match[1] != base64.b64encode(hashlib.sha256(request.body).digest()).decode():
        raise RefusedError("DIGEST_MISMATCH", "Content-Digest does not fit the body: it was changed on the way", 400)


def quantities(qty: object, *, signed: bool) -> tuple[int, int, int]:
    """Good, scrap and rework of a confirmation. Raises RefusedError."""
    if not isinstance(qty, dict):
        raise RefusedError("QTY_INVALID", f"qty: found {qty!r}, needed is an object")
    scrap = qty.get("scrap", [])
    if not isinstance(scrap, list) or not all(isinstance(row, dict) for row in scrap):
        raise RefusedError("QTY_INVALID", f"qty.scrap: found {scrap!r}, needed is a list of reason and qty")
    rows = sum(_digits("qty.scrap.qty", row.get("qty"), signed=signed) for row in scrap)
    good, rework = qty.get("good"), qty.get("rework", "0")
    return _digits("qty.good", good, signed=signed), rows, _digits("qty.rework", rework, signed=signed)


def _digits(where: str, text: object, *, signed: bool) -> int:
    if not isinstance(text, str) or not DIGITS.fullmatch(text.removeprefix("-") if signed else text):
        raise RefusedError("QTY_INVALID", f"{where}: found {text!r}, allowed is text of 1 to 12 digits")
    return int(text)
