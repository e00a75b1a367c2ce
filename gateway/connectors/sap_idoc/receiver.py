"""A small HTTP server that takes IDocs from SAP and answers once they are on the disk. It reads no order.

Only POST with the token, only IDocs, bounded in size, in time and in connections; anything else is refused. The same
IDoc again has the same file name: it is not kept twice while the first one is there. One request a connection.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

import h11

from gateway.accepting import AT_ONCE, let_wait
from gateway.connectors.base import ConnectorError
from gateway.connectors.file.place import FolderError
from gateway.connectors.sap_idoc.idoc_xml import IDOC_MAX_BYTES, IdocError, read
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.connectors.sap_idoc.idoc_xml import Idoc

CONNECTIONS_MAX: Final = 16
REQUEST_S: Final = 60.0
CHUNK_BYTES: Final = 64 * 1024
#: What is too long is heard to its end, up to here: who is cut off in the middle of it may never see the answer.
HEARD_MAX_BYTES: Final = 4 * IDOC_MAX_BYTES
BACKLOG: Final = 32


class _Reply(NamedTuple):
    status: int
    text: str


class Receiver:
    """Listens on one port. ``spool`` puts the content of a request durably away; it raises FolderError."""

    def __init__(
        self, host: str, port: int, token: str, spool: Callable[[bytes, tuple[Idoc, ...]], Awaitable[None]]
    ) -> None:
        self._host = host
        self._port = port
        self._token = token.encode()
        self._spool = spool
        self._server: asyncio.Server | None = None
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens; 0 before."""
        return 0 if self._server is None else int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        """Listen. Raises ConnectorError if the port cannot be used."""
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port, backlog=AT_ONCE)
            let_wait(self._server, BACKLOG)
        except OSError as error:
            raise ConnectorError(
                f"receiver: cannot listen on {self._host}, port {self._port}: {error.strerror}; give another port"
            ) from error

    async def close(self) -> None:
        """End everything; what was not answered SAP sends again."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S), self._free:
                connection = h11.Connection(h11.SERVER)
                with contextlib.suppress(ConnectionError, h11.LocalProtocolError):
                    reply = await self._reply(reader, connection)
                    writer.write(_written(connection, reply))
                    await writer.drain()
        except TimeoutError:
            pass  # SAP tries again
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _reply(self, reader: asyncio.StreamReader, connection: h11.Connection) -> _Reply:
        try:
            request, body = await _request(reader, connection)
        except h11.RemoteProtocolError as error:
            return _Reply(error.error_status_hint, "no HTTP request")
        if request is None:
            raise ConnectionResetError
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in request.headers}
        if not self._may(headers.get("authorization", "")):
            return _Reply(401, "the token is missing or wrong")
        if request.method != b"POST":
            return _Reply(405, "allowed: POST")
        if body is None:
            return _Reply(413, f"allowed: {IDOC_MAX_BYTES} bytes")
        try:
            idocs = read(body)
        except IdocError as error:
            return _Reply(422, str(error))
        try:
            await self._spool(body, idocs)
        except FolderError as error:
            return _Reply(503, str(error))
        return _Reply(200, "")

    def _may(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode("latin-1", "replace"), self._token)


async def _request(reader: asyncio.StreamReader, connection: h11.Connection) -> tuple[h11.Request | None, bytes | None]:
    """The request and its body; no request: the client left; no body: it is too long."""
    request: h11.Request | None = None
    body = bytearray()
    length = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(CHUNK_BYTES)
            connection.receive_data(data)
            if not data and request is None:
                return None, None
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            length += len(event.data)
            if length <= IDOC_MAX_BYTES:
                body += event.data
            elif length > HEARD_MAX_BYTES:
                return request, None
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body) if length <= IDOC_MAX_BYTES else None
        else:
            return None, None


def _written(connection: h11.Connection, reply: _Reply) -> bytes:
    content = clean(reply.text).encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(content))),
        ("Connection", "close"),
    ]
    if reply.status == 401:  # noqa: PLR2004 - unauthorized
        headers.append(("WWW-Authenticate", 'Basic realm="linegate"'))
    parts = (
        connection.send(h11.Response(status_code=reply.status, headers=headers)),
        connection.send(h11.Data(data=content)),
        connection.send(h11.EndOfMessage()),
    )
    return b"".join(part for part in parts if part)
