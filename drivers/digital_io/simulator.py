"""The local socket on which a simulator moves the pins: one simulator at a time, JSON lines.

First ``{"hello": NAME, "t_ns": N, "levels": {"17": 0}}``, then ``{"pin": 17, "level": 1, "t_ns": N}`` for each edge and
``{"t_ns": N, "levels": {...}}`` as a sign of life; ``t_ns`` is on CLOCK_MONOTONIC. Knows nothing of pins beyond their
numbers, and sends nothing.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from drivers.base import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Longest line of a simulator, in bytes.
LINE_MAX: Final = 4_096
#: Longest path that the kernel takes for a Unix socket, in bytes.
PATH_MAX: Final = 107
#: Only the gateway's own user may move the pins.
SOCKET_MODE: Final = 0o600
#: Latest time that a line may name, on CLOCK_MONOTONIC: beyond the life of a computer, and of 64 bits with its offset.
TIME_MAX_NS: Final = 2**62
#: How much of a line an error shows.
_SHOWN: Final = 80


class Message(NamedTuple):
    """One line: levels of pins, or one edge. ``hello`` is the simulator's name on its first line."""

    t_ns: int
    levels: dict[int, int]
    is_edge: bool
    hello: str | None


def parse(line: bytes) -> Message:
    """Read a line. Raises DriverError naming it."""
    try:
        document = json.loads(line)
        t_ns = document["t_ns"]
        if "pin" in document:
            levels = {document["pin"]: document["level"]}
        else:
            levels = {int(pin): level for pin, level in document["levels"].items()}
        hello = document.get("hello")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed(line, f"{type(error).__name__}: {error}") from error
    if type(t_ns) is not int or not 0 <= t_ns <= TIME_MAX_NS:
        raise _malformed(line, f"t_ns is not a whole number of nanoseconds from 0 to {TIME_MAX_NS}")
    if any(type(pin) is not int or type(level) is not int or level not in (0, 1) for pin, level in levels.items()):
        raise _malformed(line, "a level is 0 or 1, a pin a number")
    if hello is not None and not isinstance(hello, str):
        raise _malformed(line, "hello is not a text")
    return Message(t_ns, levels, "pin" in document, hello)


def _malformed(line: bytes, why: str) -> DriverError:
    return DriverError(f"the simulator sent a line that cannot be read ({why}): {line[:_SHOWN]!r}")


class SimulatorSocket:
    """Listens for a simulator.

    ``on_message`` hears each line, the hello too, before the next one is read; it may raise DriverError, which ends the
    connection. ``on_lost`` hears why a connection ended that had said hello.
    """

    def __init__(self, path: Path, on_message: Callable[[Message], None], on_lost: Callable[[str], None]) -> None:
        self._path = path
        self._on_message = on_message
        self._on_lost = on_lost
        self._server: asyncio.Server | None = None
        self._inode: int | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._hello: asyncio.Future[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Listen, and wait for a simulator's first line. Raises DriverError."""
        self._hello = asyncio.get_running_loop().create_future()
        listener = self._listen()
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_MAX)
        await self._hello

    async def close(self) -> None:
        """End the connection and the listening, and remove the socket's file."""
        self._closed = True
        if self._server is not None:
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            # What was accepted and has no transport yet would be lost by the server, and its simulator wait for ever.
            await asyncio.sleep(0)
            self._server.close()
        if self._writer is not None:
            self._writer.transport.abort()
        if self._hello is not None:
            self._hello.cancel()
        if self._inode is not None and self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink()
        self._inode = None

    def _listen(self) -> socket.socket:
        length = len(str(self._path).encode())
        if length > PATH_MAX:
            raise DriverError(f"{self._path}: {length} bytes are too long for a socket, allowed {PATH_MAX}; set socket")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._remove_stale()
            listener.bind(str(self._path))
            self._inode = self._path.stat().st_ino
            self._path.chmod(SOCKET_MODE)  # before listen(): until then nobody can connect
            listener.listen(1)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise DriverError(
                f"{self._path}: cannot listen for a simulator: {error.strerror}; check that the folder exists and "
                f"may be written to"
            ) from error
        except DriverError:
            listener.close()
            raise
        return listener

    def _remove_stale(self) -> None:
        """Remove what an earlier run left. Raises DriverError where it is in use or no socket."""
        if not self._path.exists():
            return
        if not self._path.is_socket():
            raise DriverError(f"{self._path}: found a file that is no socket; remove it, or set socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink()
                return
            except BlockingIOError:
                pass  # its queue is full: somebody listens
        raise DriverError(f"{self._path}: another process listens there; stop it, or set socket to another path")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed or self._writer is not None:
            writer.transport.abort()  # one at a time
            return
        self._writer = writer
        try:
            await self._read(reader)
        except DriverError as error:
            self._end(str(error))
        except OSError as error:
            self._end(f"{self._path}: the simulator's connection broke: {error}")
        else:
            self._end(f"{self._path}: the simulator has left")
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        assert self._hello is not None, "open() comes first"
        while True:
            try:
                line = await reader.readline()
            except ValueError as error:
                raise DriverError(f"{self._path}: the simulator sent a line of more than {LINE_MAX} bytes") from error
            if not line.endswith(b"\n"):
                return
            message = parse(line)
            if self._hello.done() is (message.hello is not None):
                raise _malformed(line, "the first line says hello, and no other does")
            self._on_message(message)
            if message.hello is not None:
                self._hello.set_result(None)

    def _end(self, reason: str) -> None:
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(DriverError(reason))
        else:
            self._on_lost(reason)
