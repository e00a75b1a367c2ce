"""The endpoint of a simulated OPC UA machine: a server whose port can be shut and opened while its nodes live on.

Knows no node: what the server offers is ``opcua_space.py``, who may connect is ``opcua_security.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from simulators.control import SimulatorError
from simulators.listener import bound_socket, unusable
from simulators.opcua_wire import LimitedServer, Wire, WiredServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from asyncua.server.user_managers import UserManager

#: How long closing connections may take before it is given up, in seconds.
CLOSE_S: Final = 0.5
#: How long a restart keeps the port shut, in seconds.
RESTART_S: Final = 0.2


class Endpoint:
    """One server on one port; ``path`` ends its URL. Raises SimulatorError if the port is busy."""

    def __init__(self, host: str, port: int, path: str, users: UserManager | None) -> None:
        self._host = host
        self._reserved: socket.socket | None = bound_socket(host, port)
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"opc.tcp://{f'[{host}]' if ':' in host else host}:{self.port}{path}"
        self.wire = Wire()
        self.sessions = LimitedServer(user_manager=users)
        # The simulator keeps its own clock, so that it can be wrong (and the library's takes a second to end).
        self.sessions.disabled_clock = True
        self.server = WiredServer(self.sessions, self.wire, self._take_socket)
        self._restoring: asyncio.Task[None] | None = None

    @property
    def shut(self) -> bool:
        """True while connections are refused."""
        return self._reserved is not None

    async def open(self) -> None:
        """Listen; the first time the server starts. Raises SimulatorError if the port was taken meanwhile."""
        reserved = self._reserved
        try:
            if self.server.bserver is None:
                await self.server.start()
            else:
                await self.server.bserver.start()
        except OSError as error:  # two may bind one port as long as neither listens
            if reserved is not None:
                reserved.close()
            raise SimulatorError(unusable(self._host, self.port, error)) from error

    async def cut(self, seconds: float) -> None:
        """Drop everybody and refuse connections for so long; a later cut replaces an earlier one."""
        self._keep_shut()
        await self._shut()
        self._restoring = asyncio.create_task(self._restore(seconds))

    async def restart(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Drop everybody with sessions and subscriptions, do something, and open a little later."""
        self._keep_shut()
        await self._shut()
        await self.sessions.end_sessions()
        await meanwhile()
        self._restoring = asyncio.create_task(self._restore(RESTART_S))

    async def open_now(self) -> None:
        """End a cut; nothing happens without one."""
        if self.shut:
            self._keep_shut()
            await self.open()

    async def close(self) -> None:
        """End everything, quickly."""
        self._keep_shut()
        if self._reserved is not None:
            self._reserved.close()
        else:
            await self._shut_down()

    def _keep_shut(self) -> None:
        if self._restoring is not None:
            self._restoring.cancel()
            self._restoring = None

    def _take_socket(self) -> socket.socket:
        reserved, self._reserved = self._reserved, None
        assert reserved is not None, "a shut endpoint has its port reserved"
        return reserved

    async def _shut(self) -> None:
        """Drop everybody; nobody else may take the port meanwhile."""
        if self._reserved is None:
            await self._shut_down()
            self._reserved = bound_socket(self._host, self.port)

    async def _shut_down(self) -> None:
        assert self.server.bserver is not None, "only an opened endpoint is shut"
        for transport in list(self.sessions.asyncio_transports):
            transport.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.server.bserver.stop(), CLOSE_S)

    async def _restore(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._restoring = None
        await self.open()
