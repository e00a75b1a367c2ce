"""The body of a request: received within its limits of length and time, and read as one flat JSON object.

Duplicate keys, NaN and a second document are refused. Whether the fields are right is ``fields.py``'s to say.
"""

from __future__ import annotations

import asyncio
import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.api.problem import refuse, shown

if TYPE_CHECKING:
    from starlette.types import Receive

NS_PER_S: Final = 1_000_000_000
#: Braces and brackets inside of each other; no field is a list or an object.
DEPTH_MAX: Final = 4
#: More is beyond every field; and no power of ten is worked out to learn so.
WHOLE_DIGITS_MAX: Final = 20
JSON_TYPES: Final = ("application/json", "application/json;charset=utf-8")


class BodyLimits(NamedTuple):
    """``bytes_max`` and the time for the whole body."""

    bytes_max: int
    timeout_ns: int


def check_type(headers: list[tuple[bytes, bytes]]) -> None:
    """Raises ProblemError for another content type than JSON in UTF-8, and for any encoding of it."""
    types = [value.decode("latin-1") for name, value in headers if name == b"content-type"]
    plain = types[0].lower().replace(" ", "").replace('"', "") if len(types) == 1 else ""
    if plain not in JSON_TYPES:
        found = shown(types[0] if types else "nothing")
        raise refuse("BAD_CONTENT_TYPE", f"Content-Type: found {found}, allowed: application/json")
    if encodings := [value for name, value in headers if name == b"content-encoding" and value != b"identity"]:
        text = f"Content-Encoding: found {shown(encodings[0].decode('latin-1'))}, allowed: none"
        raise refuse("BAD_CONTENT_TYPE", text)


async def received(headers: list[tuple[bytes, bytes]], receive: Receive, limits: BodyLimits) -> bytes:
    """The whole body. Raises ProblemError where it is too long or too slow, and where the client has gone."""
    for name, value in headers:
        if name == b"content-length" and int(value) > limits.bytes_max:  # HTTP has checked that it is a number
            raise _too_large(f"{int(value)} bytes", limits)
    parts = bytearray()
    try:
        async with asyncio.timeout(limits.timeout_ns / NS_PER_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise refuse("BODY_TIMEOUT", "the connection ended within the body")
                parts += message.get("body", b"")
                if len(parts) > limits.bytes_max:
                    raise _too_large(f"more than {limits.bytes_max} bytes", limits)
                if not message.get("more_body", False):
                    return bytes(parts)
    except TimeoutError as error:
        allowed = f"{limits.timeout_ns / NS_PER_S:g} s (api.request_timeout)"
        text = f"body: found {len(parts)} bytes and no end, allowed: the whole of it within {allowed}"
        raise refuse("BODY_TIMEOUT", text) from error


def parsed(body: bytes) -> dict[str, Any]:
    """The object that a body is. Raises ProblemError."""
    try:
        text = body.decode("utf-8")
        _check_depth(text)
        found = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_number
        )
    except (ValueError, RecursionError) as error:
        raise refuse("BAD_JSON", f"body: {shown(str(error))[1:-1]}; allowed: one JSON object in UTF-8") from error
    if not isinstance(found, dict):
        raise refuse("BAD_JSON", f"body: found {type(found).__name__}, allowed: one JSON object")
    return found


def _check_depth(text: str) -> None:
    depth, quoted, escaped = 0, False, False
    for sign in text:
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError(f"nested deeper than {DEPTH_MAX}")
        elif sign in "]}":
            depth -= 1


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _number(text: str) -> int | float:
    """7.0 and 7e0 are the whole number 7, exactly; what is none stays one that no field takes."""
    value = Decimal(text)
    whole = not value or (
        -WHOLE_DIGITS_MAX < value.adjusted() < WHOLE_DIGITS_MAX and value == value.to_integral_value()
    )
    return int(value) if whole else math.inf


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _too_large(found: str, limits: BodyLimits) -> Exception:
    return refuse("BODY_TOO_LARGE", f"body: found {found}, allowed: {limits.bytes_max} (api.max_body)")
