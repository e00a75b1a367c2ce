"""A TCP listener that can be cut off and restored on the same port.

Speaks no protocol: it hands streams to a handler, and can drop all of them at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

from simulators.control import SimulatorError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable


def bound_socket(host: str, port: int, *, datagrams: bool = False) -> socket.socket:
    """Bind without listening: the port is taken, and whoever connects is refused. Raises SimulatorError."""
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    if not datagrams:  # there it would let two programs share the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise SimulatorError(unusable(host, port, error)) from error
    return sock


def unusable(host: str, port: int, error: OSError) -> str:
    """Why an address cannot be listened on, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is busy; end the program that uses it, or give another --port (0: any free one)"
    return f"cannot listen on {host}, port {port}: {error.strerror}; check --host and --port"


class Listener:
    """Serves streams on one port.

    ``serve`` runs once per connection; its connection is closed when it returns. ``port`` 0 means any free one.
    ``context`` None: no TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._host = host
        self.port = port
        self._serve = serve
        self._context = context
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def shut(self) -> bool:
        """True while connections are refused."""
        return self._server is None

    async def open(self) -> None:
        """Listen. Raises SimulatorError if the port is busy."""
        sock = self._reserved or bound_socket(self._host, self.port)
        self._reserved = None
        self.port = sock.getsockname()[1]
        try:
            # A plain function as callback: the tasks are ours, so that none is left over at the end.
            self._server = await asyncio.start_server(self._accept, sock=sock, ssl=self._context)
        except OSError as error:
            sock.close()
            raise SimulatorError(unusable(self._host, self.port, error)) from error

    async def cut(self, seconds: float) -> None:
        """Drop everybody and refuse connections for so long; a later cut replaces an earlier one."""
        if self._server is not None:
            server, self._server = self._server, None
            for sock in server.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
            # What has been accepted and has no transport yet would be lost by the server, and stay open for ever.
            await asyncio.sleep(0)
            server.close()
            self.drop_connections()
            # Nobody else may take the port meanwhile.
            self._reserved = bound_socket(self._host, self.port)
        if self._restoring is not None:
            self._restoring.cancel()
        self._restoring = asyncio.create_task(self._restore(seconds))

    def end_cut(self) -> None:
        """Listen again now, if cut off."""
        if self._restoring is not None:
            self._restoring.cancel()
            self._restoring = asyncio.create_task(self._restore(0.0))

    def drop_connections(self) -> None:
        """Close every connection without a word; the listener stays."""
        for task, writer in list(self._open.items()):
            writer.transport.abort()
            task.cancel()

    async def close(self) -> None:
        """End everything."""
        if self._restoring is not None:
            self._restoring.cancel()
        if self._server is not None:
            self._server.close()
        tasks = list(self._open)
        self.drop_connections()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted in the very moment of a cut
            writer.transport.abort()
            return
        task = asyncio.create_task(self._handle(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        if not task.cancelled():
            task.result()  # a defect of a handler is heard on standard error

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self._serve(reader, writer)
        writer.close()

    async def _restore(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._restoring = None
        await self.open()
