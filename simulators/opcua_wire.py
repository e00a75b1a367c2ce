"""The wire of a simulated OPC UA server: a black hole, late answers, a limit of sessions.

Works on bytes and on the library's sessions; knows no node and no machine. Nothing is lost in a black hole: it delivers
everything once it ends, as TCP would.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from asyncua.common.utils import ServiceError
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from asyncua.server.internal_session import InternalSession

#: What one connection may hold back at most (bytes); then it is dropped.
MAX_HELD: Final = 16 * 2**20


class Wire:
    """What is wrong with the way to all clients; times are those of the event loop, in seconds."""

    def __init__(self) -> None:
        self.open_s = 0.0
        self._delay_s = 0.0
        self._slow_until_s = 0.0
        self.held: set[Held] = set()

    def hold(self, seconds: float) -> None:
        """Deliver nothing in either direction for so long."""
        self.open_s = asyncio.get_running_loop().time() + seconds

    def slow(self, delay_s: float, seconds: float) -> None:
        """Deliver answers late, for so long."""
        self._delay_s = delay_s
        self._slow_until_s = asyncio.get_running_loop().time() + seconds

    def clear(self) -> None:
        """Deliver everything now, and be a good wire again."""
        self.open_s = self._slow_until_s = 0.0
        for held in list(self.held):
            held.flush()

    def due_s(self, now_s: float, *, answer: bool) -> float:
        """When something that is sent now arrives, apart from the black hole."""
        return now_s + self._delay_s if answer and now_s < self._slow_until_s else now_s


class Held:
    """One direction of one connection: what was sent and has not arrived, in order."""

    def __init__(
        self, wire: Wire, deliver: Callable[[bytes], None], give_up: Callable[[], None], *, answer: bool
    ) -> None:
        self._wire = wire
        self._deliver = deliver
        self._give_up = give_up
        self._answer = answer
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        wire.held.add(self)

    def send(self, data: bytes) -> None:
        """Deliver now or later."""
        now_s = self._loop.time()
        due_s = self._wire.due_s(now_s, answer=self._answer)
        if not self._waiting and max(due_s, self._wire.open_s) <= now_s:
            self._deliver(data)
            return
        self._waiting.append((due_s, data))
        self._size += len(data)
        if self._size > MAX_HELD:
            self._give_up()
        elif self._timer is None:
            self._set_timer()

    def flush(self) -> None:
        """Deliver everything now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting, self._size = self._waiting, deque(), 0
        for _, data in waiting:
            self._deliver(data)

    def close(self) -> None:
        """Forget what has not arrived."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self._wire.held.discard(self)

    def _set_timer(self) -> None:
        self._timer = self._loop.call_at(max(self._waiting[0][0], self._wire.open_s), self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._waiting and max(self._waiting[0][0], self._wire.open_s) <= now_s:
            data = self._waiting.popleft()[1]
            self._size -= len(data)
            self._deliver(data)
        if self._waiting:
            self._set_timer()


class _Sender(asyncio.Transport):
    """A connection's way out, as the library sees it."""

    def __init__(self, real: asyncio.Transport, held: Held) -> None:
        super().__init__()
        self._real = real
        self._held = held

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._held.send(bytes(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._real.is_closing()

    def close(self) -> None:
        self._real.close()

    def abort(self) -> None:
        self._real.abort()


class _Connection(OPCUAProtocol):
    """One client: the library's protocol between the two directions of a wire."""

    wire: Wire
    _in: Held | None = None
    _out: Held | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP gives a two-way transport"

        def answer(data: bytes) -> None:
            if not transport.is_closing():
                transport.write(data)

        self._out = Held(self.wire, answer, transport.abort, answer=True)
        self._in = Held(self.wire, super().data_received, transport.abort, answer=False)
        super().connection_made(_Sender(transport, self._out))

    def data_received(self, data: bytes) -> None:
        assert self._in is not None, "data comes after the connection"
        self._in.send(data)

    def connection_lost(self, ex: BaseException | None) -> None:
        for held in (self._in, self._out):
            if held is not None:
                held.close()
        super().connection_lost(ex)


class _Listener(BinaryServer):
    """The library's listener on a socket that is bound already, with a wire to each client."""

    wire: Wire
    take_socket: Callable[[], socket.socket]

    def _make_protocol(self) -> OPCUAProtocol:
        connection = _Connection(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)
        connection.wire = self.wire
        return connection

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make_protocol, sock=self.take_socket())
        self.cleanup_task = asyncio.create_task(self._close_task_loop())


class LimitedServer(InternalServer):
    """The library's server behind the connections, with a limit of sessions (None: the library's own)."""

    session_limit: int | None = None

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        """Make the nodes of the standard; the collector stays out of it, now and later, for they live to the end."""
        gc.disable()
        try:
            await super().load_standard_address_space(shelf_file)
        finally:
            gc.freeze()
            gc.enable()

    def create_session(self, *args: Any, **options: Any) -> InternalSession:
        """Refuse with BadTooManySessions beyond the limit; a session that nobody closed counts until it times out."""
        if self.session_limit is not None and len(self._external_sessions) >= self.session_limit:
            raise ServiceError(StatusCodes.BadTooManySessions)
        return super().create_session(*args, **options)

    async def end_sessions(self) -> None:
        """Forget all clients' sessions and subscriptions, as a restart does."""
        for session in list(self._external_sessions.values()):
            await session.close_session(delete_subs=True)

    async def drop_subscriptions(self) -> int:
        """Forget all subscriptions without a word to the clients; how many there were."""
        service = self.subscription_service
        return len(await service.delete_subscriptions(list(service.subscriptions)))


class WiredServer(Server):
    """The library's server whose clients come over a ``Wire``, on sockets that ``take_socket`` hands out."""

    def __init__(self, iserver: LimitedServer, wire: Wire, take_socket: Callable[[], socket.socket]) -> None:
        super().__init__(iserver=iserver)
        self._wire = wire
        self._take_socket = take_socket

    async def start(self) -> None:
        """Listen for the first time."""
        await self._setup_server_nodes()
        await self.iserver.start()
        listener = _Listener(self.iserver, "", 0, self.limits)
        listener.wire = self._wire
        listener.take_socket = self._take_socket
        listener.set_policies(self._policies)
        self.bserver = listener
        await listener.start()
