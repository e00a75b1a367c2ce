"""Servers without a file for one more connection: they try once a second, and answer once there is one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket

from gateway.api.server import ApiServer, Listening
from gateway.connectors.sap_idoc.receiver import Receiver
from gateway.control import ControlServer

WAIT_S = 60.0
ROUNDS = 2
#: Of three servers in so many rounds, and more on a slow computer; a server that spins says 32 to 100 at once.
TOLD_MAX = 20


async def answered(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def no_file_left():
    """The next file of this process would have a number that it may not have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.asynccontextmanager
async def three_servers(folder):
    control = ControlServer(folder / "control.sock", {})
    receiver = Receiver("127.0.0.1", 0, "t", spool=None)
    api = ApiServer(answered, Listening("127.0.0.1", 0, None, 4096, 10**10, 10))
    api.start()
    running = asyncio.create_task(api.run())
    await control.start()
    await receiver.open()
    await until(lambda: api._server.started)
    try:
        yield str(folder / "control.sock"), ("127.0.0.1", receiver.port), api.address
    finally:
        await control.close()
        await receiver.close()
        await api.close()
        await running


async def test_where_no_file_is_left_for_a_connection_it_is_tried_once_a_second_and_answered_later(tmp_path):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))
    async with three_servers(tmp_path) as places, asyncio.timeout(WAIT_S):
        asking = [socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET) for place in places]
        with no_file_left():
            for link, place in zip(asking, places, strict=True):
                link.connect(place)
                link.sendall(b"GET / HTTP/1.1\r\nHost: linegate\r\n\r\n")
            await until(lambda: len(told) >= ROUNDS * len(places))
            assert set(told) == {"socket.accept() out of system resource"}
            assert len(told) < TOLD_MAX
        for link in asking:
            link.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(link, 100)
            link.close()
