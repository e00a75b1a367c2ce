"""The HTTP server of one run: uvicorn inside of the gateway's event loop, with limits on every connection.

It takes no signal and starts no process: the composition root starts and ends it. What requests mean is ``service.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import h11
import orjson
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.accepting import AT_ONCE, let_wait
from gateway.api.problem import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

    from starlette.types import ASGIApp

#: Connections that were taken but not yet looked at; the kernel refuses more.
BACKLOG: Final = 64
#: Beyond the requests that may be under way: connections that only stand there.
IDLE_CONNECTIONS_MAX: Final = 64
KEEP_ALIVE_S: Final = 15
HANDSHAKE_TIMEOUT_S: Final = 5.0
#: An answer of which the client takes nothing for so long is given up, with its connection.
SEND_STALL_S: Final = 30.0
STOP_S: Final = 2
NS_PER_S: Final = 1_000_000_000


class ApiError(Exception):
    """The API cannot listen; says where, why and what to do."""


class Listening(NamedTuple):
    """Where and how it listens. ``tls``: None for plain HTTP on loopback."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    header_bytes_max: int
    head_timeout_ns: int
    connections_max: int


class ApiServer:
    """Listens from ``start`` to ``close``; ``run`` is a task of the gateway."""

    def __init__(self, app: ASGIApp, listening: Listening) -> None:
        self._listening = listening
        self._server = _Server(app, listening)
        self._socket: socket.socket | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port at which it listens."""
        assert self._socket is not None, "start() comes first"
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Take the port. Raises ApiError."""
        host = "127.0.0.1" if self._listening.host == "localhost" else self._listening.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = _bound(family, host, self._listening.port)
        except OSError as error:
            where = f"api: cannot listen at {host}, port {self._listening.port}"
            raise ApiError(
                f"{where}: {error.strerror}; choose another address or port, or end what listens there"
            ) from error
        self._socket.setblocking(False)

    async def run(self) -> None:
        """Serve until ``close``."""
        assert self._socket is not None, "start() comes first"
        await self._server.serve(sockets=[self._socket])

    async def close(self) -> None:
        """Take no request any more; those under way may end, for ``STOP_S``. ``run`` then returns."""
        self._server.should_exit = True
        if not self._server.started and self._socket is not None:
            self._socket.close()


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # Named as TCP: otherwise asyncio leaves Nagle's algorithm on, and each answer waits 40 ms for an acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


class _Server(uvicorn.Server):
    """Without signal handlers, and with a time limit on the TLS handshake."""

    def __init__(self, app: ASGIApp, listening: Listening) -> None:
        config = uvicorn.Config(
            app,
            http=type("Connection", (_Connection,), {"listening": listening}),
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # nobody but the connection says where a request comes from
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=listening.header_bytes_max,
        )
        super().__init__(config)
        self._tls = listening.tls
        self.servers: list[asyncio.base_events.Server] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for taken in sockets or ():
            server = await loop.create_server(
                self._connection,
                sock=taken,
                ssl=self._tls,
                backlog=AT_ONCE,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_TIMEOUT_S,
            )
            let_wait(server, BACKLOG)
            self.servers.append(server)
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # uvicorn's own protocols
            config=self.config, server_state=self.server_state, app_state={}
        )
        return made


class _Connection(H11Protocol):
    """One connection: its number, the time for a request's head and the time without any progress are limited."""

    listening: Listening  # of the class that is made for one server

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > self.listening.connections_max:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._head_timer)
        self._end(self._stall_timer)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None and not self.transport.is_closing():
            self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_progress()  # what is not taken of the answer must not keep the connection for ever

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end(self._stall_timer)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or has too long a head."""
        limit = self.listening.header_bytes_max
        text = f"{msg} Allowed: HTTP/1.1, request line and headers up to {limit} bytes (api.max_header)"
        body = orjson.dumps(Problem("BAD_HEADER", text).document())
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self._await_progress()
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for another protocol is answered in this one; uvicorn's advice is of no use in a log."""

    def _await_head(self) -> None:
        timeout_s = self.listening.head_timeout_ns / NS_PER_S
        self._head_timer = self.loop.call_later(timeout_s, self.transport.abort)

    def _await_progress(self) -> None:
        self._end(self._stall_timer)
        self._stall_timer = self.loop.call_later(SEND_STALL_S, self.transport.abort)

    def _end(self, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
