"""A small HTTP/1.1 server: keep-alive, bodies with a Content-Length, and connections that break on purpose.

Routes nothing and knows no ERP. No chunked requests, no TLS, no pipelining beyond one request after the other.
"""

from __future__ import annotations

import asyncio
import http
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

#: Longest body taken, in bytes.
MAX_BODY: Final = 1_000_000
#: How long a client may think between two requests, in seconds.
IDLE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked; ``path`` is still quoted, header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What it gets.

    Attributes:
        keep_bytes: so much of the body is sent, then the connection is cut; None sends all of it.
        afterwards: called once the answer has gone out.
        raw: sent instead of the answer, then the connection is cut.
        drip_s: pause before each byte, in seconds; 0: all at once.
        times: so often it is sent, one right behind the other.
        then: ``hang``: nothing is said until the client leaves; ``hang-up``: the next request is not read any more.
        fault: the fault that made it, "" for none.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    keep_bytes: int | None = None
    afterwards: Callable[[], Awaitable[None]] | None = None
    raw: bytes | None = None
    drip_s: float = 0.0
    times: int = 1
    then: Literal["", "hang", "hang-up"] = ""
    fault: str = ""


#: The answer to a request: None cuts the connection without a word.
Answer = Response | None


def document(status: int, content: Mapping[str, Any] | list[Any], **more: Any) -> Response:
    """A JSON answer."""
    return Response(status, json.dumps(content).encode(), **more)


def refusal(status: int, code: str, message: str, **more: Any) -> Response:
    """A JSON error."""
    return document(status, {"error": {"code": code, "message": message}}, **more)


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Callable[[Request], Awaitable[Answer]]
) -> None:
    """Answer the requests of one connection until it ends."""
    while True:
        try:
            request = await asyncio.wait_for(_read(reader), IDLE_S)
        except TimeoutError:
            return
        except _BadRequestError as error:
            writer.write(_bytes(refusal(error.status, "BAD_REQUEST", str(error))))
            await writer.drain()
            return
        if request is None:
            return
        response = await answer(request)
        if response is None:
            return
        if response.then != "hang":
            await _deliver(writer, response)
        if response.then:
            await reader.read(1)  # to hang up here is what a client sees last: the request is on its way
            return
        if response.afterwards is not None:
            await response.afterwards()
        if (
            response.raw is not None
            or response.keep_bytes is not None
            or request.headers.get("connection", "").lower() == "close"
        ):
            return


async def _deliver(writer: asyncio.StreamWriter, response: Response) -> None:
    data = _bytes(response) * response.times if response.raw is None else response.raw
    step = 1 if response.drip_s else max(len(data), 1)
    for at in range(0, len(data), step):
        await asyncio.sleep(response.drip_s)
        writer.write(data[at : at + step])
        await writer.drain()


class _BadRequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    try:
        method, target, version = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    except ValueError:
        raise _BadRequestError(400, f"not an HTTP request: {first[:80]!r}") from None
    if not version.startswith("HTTP/1."):
        raise _BadRequestError(505, f"{version[:20]!r}: only HTTP/1.x is spoken here")
    if "transfer-encoding" in headers:
        raise _BadRequestError(411, "no Content-Length; chunked requests are not taken")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise _BadRequestError(413, f"Content-Length {length[:20]!r}; allowed: 0 to {MAX_BODY}")
    parts = urlsplit(target)
    body = await reader.readexactly(int(length))
    return Request(method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)


def _bytes(response: Response) -> bytes:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        **response.headers,
    }
    head = [f"HTTP/1.1 {response.status} {_phrase(response.status)}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + response.body[: response.keep_bytes]


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
