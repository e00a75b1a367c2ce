"""A TCP proxy that does to a connection what cables, switches, firewalls and tired servers do.

Runs in the event loop of the test. Forwards bytes and knows no protocol: an answer is what comes downstream in one
piece. Everything random comes from the seed; when it meets the connection does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

CHUNK_BYTES = 65_536
#: SO_LINGER on with 0 seconds: the close is an RST.
RESET = struct.pack("ii", 1, 0)


class Way:
    """One direction: ``up`` from the client to the server, ``down`` back. Faults may be on together."""

    def __init__(self, name, seed):
        self.name = name
        self.carried = 0  # bytes
        self.spoiled = 0  # pieces that a fault has touched
        self._random = random.Random(f"{seed}/{name}")
        self.mend()

    def mend(self):
        """Forward faithfully."""
        self._delay_s = self._jitter_s = self._drip_s = 0.0
        self._corrupt = self._duplicate = self._cuts = 0
        self._keep = 0
        self._then = "close"

    def delay(self, seconds, jitter_s=0.0):
        """Each piece is late by this, and by up to so much more."""
        self._delay_s, self._jitter_s = seconds, jitter_s

    def drip(self, pause_s):
        """Bytes one by one."""
        self._drip_s = pause_s

    def corrupt(self, pieces):
        """The next pieces have one byte that is another."""
        self._corrupt = pieces

    def duplicate(self, pieces):
        """The next pieces come twice."""
        self._duplicate = pieces

    def truncate(self, keep, pieces=1, then="close"):
        """Of each of the next pieces only the first ``keep`` bytes; then ``close``, ``reset`` or ``mute``."""
        assert then in {"close", "reset", "mute"}
        self._keep, self._cuts, self._then = keep, pieces, then

    def spoil(self, data):
        """What becomes of a piece, and how its connection ends ("": it goes on)."""
        then = ""
        before = data
        if self._corrupt > 0:
            self._corrupt -= 1
            at = self._random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ self._random.randrange(1, 256)]) + data[at + 1 :]
        if self._duplicate > 0:
            self._duplicate -= 1
            data += data
        if self._cuts > 0:
            self._cuts -= 1
            data, then = data[: self._keep], self._then
        self.spoiled += bool(then) or data != before
        return data, then

    async def wait(self):
        if self._delay_s or self._jitter_s:
            self.spoiled += 1
            await asyncio.sleep(self._delay_s + self._random.uniform(0.0, self._jitter_s))

    async def write(self, writer, data):
        self.carried += len(data)
        if self._drip_s <= 0:
            writer.write(data)
            await writer.drain()
            return
        self.spoiled += 1
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(self._drip_s)


class Link:
    """One connection through the proxy."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        self.mute = set()  # ways that swallow what they get
        self.moved = asyncio.Event()

    def end(self, *, reset):
        for writer in (self.near, self.far):
            if writer is None:
                continue
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if reset:
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """A port of its own before ``target``; ``up`` and ``down`` are its ways."""

    def __init__(self, target, *, seed, host="127.0.0.1"):
        self.target = target
        self.port = 0
        self.accepted = 0
        self.up = Way("up", seed)
        self.down = Way("down", seed)
        self._host = host
        self._hanging = False
        self._server = None
        self._reserved = None
        self._links = set()
        self._tasks = set()

    async def start(self):
        await self._listen()
        return self

    async def close(self):
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        self.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()

    # --- what happens to connections ---------------------------------------------------------------------------------

    async def mend(self):
        """New connections are well again. One that was half-open stays so: what it swallowed is gone."""
        self._hanging = False
        self.up.mend()
        self.down.mend()
        if self._server is None:
            await self._listen()

    async def refuse(self):
        """Connections are reset and refused; nobody else gets the port."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            self._reserved = _bound(self._host, self.port)
        self.reset()

    def hang(self):
        """New connections are accepted, and that is all that ever happens to them."""
        self._hanging = True

    def half_open(self, *ways):
        """Connections that stand now stay, but carry nothing any more (``up``, ``down``; none: both)."""
        for link in self._links:
            link.mute.update(ways or ("up", "down"))

    def reset(self):
        """RST on both sides of every connection."""
        for link in list(self._links):
            link.end(reset=True)

    def cut(self):
        """An orderly end of every connection, in the middle of whatever it is."""
        for link in list(self._links):
            link.end(reset=False)

    @property
    def open(self):
        """How many connections stand."""
        return len(self._links)

    # --- forwarding --------------------------------------------------------------------------------------------------

    async def _listen(self):
        sock = self._reserved or _bound(self._host, self.port)
        self._reserved = None
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=sock)

    def _accept(self, reader, writer):
        self.accepted += 1
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader, writer):
        link = Link(writer, None)
        self._links.add(link)
        try:
            with contextlib.suppress(OSError):
                if self._hanging:
                    while await reader.read(CHUNK_BYTES):
                        pass
                    return
                far_reader, link.far = await asyncio.open_connection(self._host, self.target)
                pumps = [
                    asyncio.create_task(self._pump(self.up, reader, link.far, link)),
                    asyncio.create_task(self._pump(self.down, far_reader, writer, link)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.end(reset=False)

    async def _pump(self, way, reader, writer, link):
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await way.wait()
                if way.name in link.mute:
                    way.spoiled += 1
                    continue
                data, then = way.spoil(data)
                await way.write(writer, data)
                if then == "mute":
                    link.mute.update(("up", "down"))
                elif then:
                    link.end(reset=then == "reset")
                    return


def _bound(host, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock
