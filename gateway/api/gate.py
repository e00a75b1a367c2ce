"""What every request passes first: is there room, does it call the gateway by its own name, does it come from its page.

A page in somebody's browser may be made to ask this address under a name of its own (DNS rebinding): such a request is
refused before anything of it is looked at. There is no CORS: no page of another site may ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog

from gateway.api.problem import ProblemError, refuse, shown
from gateway.api.reply import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.api.reply import Reply

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
BUSY_RETRY_S: Final = 1
#: Under which the service finds the room of a request.
ROOM: Final = "linegate.room"
#: Of the body of a request that was refused before it was read.
DRAIN_BYTES_MAX: Final = 64 * 1024
DRAIN_S: Final = 1.0
#: No answer is kept by anybody between, and none is taken for something else than it says.
SAFE_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

_ASKS: Final = frozenset({"GET", "HEAD"})
_STOPPING: Final = "the gateway is stopping"
_STOPPING_DECIDED: Final = f"{_STOPPING}: what was asked for may be done, or not"
_TODO_STOPPING: Final = "come again once it runs; a decision with the same Idempotency-Key, which knows how it ended"

log = structlog.get_logger(__name__)


class Room:
    """How many requests may be under way, and how many more that only wait for something to happen."""

    def __init__(self, concurrent_max: int, waiting_max: int, waiting_per_token: int) -> None:
        self.concurrent_max = concurrent_max
        self.under_way = 0
        self._waiting_max = waiting_max
        self._per_token = waiting_per_token
        self._waiting: Counter[str] = Counter()

    @contextlib.contextmanager
    def aside(self, token: str) -> Iterator[None]:
        """A request under way makes room for others while it waits. Raises ProblemError where too many do.

        ``token``: the id of the one that asks; it does not get the room of all others.
        """
        if (found := self._waiting.total()) >= self._waiting_max:
            raise self._too_many(f"found {found}, allowed: {self._waiting_max} (api.waiting_requests)")
        if (found := self._waiting[token]) >= self._per_token:
            raise self._too_many(f"found {found} of this token, allowed: {self._per_token} (api.waiting_per_token)")
        self._waiting[token] += 1
        self.under_way -= 1
        try:
            yield
        finally:
            self._waiting[token] -= 1
            if not self._waiting[token]:
                del self._waiting[token]
            self.under_way += 1

    @staticmethod
    def _too_many(text: str) -> Exception:
        return refuse("BUSY", f"requests that wait: {text}", todo="ask without wait", retry_after_s=BUSY_RETRY_S)


class Gate:
    """In front of the service. ``hosts``: names by which the gateway may be called."""

    def __init__(
        self,
        inner: ASGIApp,
        *,
        hosts: Iterable[str],
        concurrent_max: int,
        head_bytes_max: int,
        waiting_max: int = 0,
        waiting_per_token: int = 0,
    ) -> None:
        self._inner = inner
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in hosts}
        self._head_bytes_max = head_bytes_max
        self._room = Room(concurrent_max, waiting_max, waiting_per_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        assert scope["type"] == "http", "neither lifespan nor websockets are switched on"
        body = _Body(receive, scope["headers"])
        guarded = _guarded(send, body)
        room = self._room
        if room.under_way >= room.concurrent_max:
            text = f"requests under way: found {room.under_way}, allowed: {room.concurrent_max}"
            problem = refuse("BUSY", text, todo="come again in a moment", retry_after_s=BUSY_RETRY_S).problem
            await send_reply(refusal(problem), guarded)
            return
        room.under_way += 1
        scope[ROOM] = room
        try:
            self._check(scope)
            await self._inner(scope, body.receive, guarded)
        except asyncio.CancelledError:
            # Only the server does that, once it has waited long enough for those under way at its end.
            if not body.answered:
                # A question is answered by nothing; a decision may be made, and 503 would say that nothing was changed.
                code, text = ("BUSY", _STOPPING) if scope["method"] in _ASKS else ("ANSWER_TIMEOUT", _STOPPING_DECIDED)
                await send_reply(refusal(refuse(code, text, todo=_TODO_STOPPING).problem), guarded)
        except ProblemError as error:
            client = (scope.get("client") or ("",))[0]
            log.warning("api request refused", code=error.problem.code, client=client)
            await send_reply(refusal(error.problem), guarded)
        finally:
            room.under_way -= 1

    def _check(self, scope: Scope) -> None:
        # The server limits only what comes in pieces.
        headers = sum(len(name) + len(value) for name, value in scope["headers"])
        if (found := headers + len(scope["raw_path"]) + len(scope["query_string"])) > self._head_bytes_max:
            text = f"request line and headers: found {found} bytes, allowed: {self._head_bytes_max} (api.max_header)"
            raise refuse("HEADER_TOO_LARGE", text)
        if {b"content-length", b"transfer-encoding"} <= {name for name, _value in scope["headers"]}:
            # Whoever passes requests on may read its end elsewhere, and take what follows for a request of its own.
            text = "Transfer-Encoding: found together with Content-Length, allowed: one of them"
            raise refuse("BAD_HEADER", text, todo="send the length, or pieces")
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = hosts[0] if len(hosts) == 1 else ""
        own = (scope.get("server") or ("",))[0]
        if (name := host_name(host)) not in self._hosts and not _is_address(name, own):
            text = f"Host: found {shown(host)}, allowed: {', '.join(sorted(self._hosts))}"
            raise refuse("WRONG_HOST", text, todo="call it by one of these names, or add yours to api.hosts")
        for key, value in scope["headers"]:
            if key == b"origin" and value.decode("latin-1").lower() != f"{scope['scheme']}://{host}".lower():
                text = f"Origin: found {shown(value.decode('latin-1'))}, allowed: none, or the gateway's own"
                raise refuse("FOREIGN_ORIGIN", text)


class _Body:
    """Knows whether the body was read to its end: the rest of one that was not is not waited for."""

    def __init__(self, receive: Receive, headers: list[tuple[bytes, bytes]]) -> None:
        self._receive = receive
        self._length = max((int(value) for name, value in headers if name == b"content-length"), default=0)
        chunked = any(name == b"transfer-encoding" for name, _value in headers)
        self.unread = chunked or self._length > 0
        #: Its answer has begun.
        self.answered = False
        #: Two lengths are said: where the next request begins depends on who reads it.
        self.ambiguous = chunked and any(name == b"content-length" for name, _value in headers)

    async def drain(self) -> None:
        """Take the rest of a short body away: a connection closed upon it would take the answer with it."""
        if self._length > DRAIN_BYTES_MAX:
            return
        taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self.unread and taken <= DRAIN_BYTES_MAX:
                    message = await self.receive()
                    taken += len(message.get("body", b""))

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self.unread = False
        return message


def _guarded(send: Send, body: _Body) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *SAFE_HEADERS]
            await body.drain()
            if body.unread or body.ambiguous:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
            body.answered = True  # behind the rest of the body: whoever is cut off in it has no answer yet
        await send(message)

    return sending


async def send_reply(reply: Reply, send: Send) -> None:
    """Send an answer."""
    headers = [
        (b"content-type", reply.media_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in reply.headers),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def host_name(host: str) -> str:
    """The name in a Host header, without its port; "" where it is none."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name.lower() if not port or (port[0] == ":" and port[1:].isdecimal()) else ""
    name, colon, port = host.partition(":")
    return name.lower().removesuffix(".") if not colon or port.isdecimal() else ""


def _is_address(name: str, own: str) -> bool:
    """Whether the name is the very address at which the request came in: no page can be named so."""
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(own)
    except ValueError:
        return False
