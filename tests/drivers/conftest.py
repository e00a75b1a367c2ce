"""Shared by the drivers' tests: waiting for a condition, contexts, and a TCP proxy that can be cut."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from drivers.base import DriverContext

DEADLINE_S = 60.0


@pytest.fixture
def until():
    """Poll a condition until it holds; its last value."""

    async def wait(condition, deadline_s=DEADLINE_S):
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while not (value := condition()):
            assert loop.time() < end, "the condition did not come true in time"
            await asyncio.sleep(0.005)
        return value

    return wait


@pytest.fixture
def context():
    """Make a driver context; the clock is the machine's."""

    def make(source="plc", rules=(), telemetry=(), state_dir=Path(), now_ns=time.time_ns):
        return DriverContext(
            source=source,
            now_ns=now_ns,
            rule_signals=frozenset(rules),
            telemetry_signals=frozenset(telemetry),
            state_dir=state_dir,
        )

    return make


class TcpProxy:
    """Forwards connections to a port that may change; can be cut (reset) or frozen (black hole)."""

    def __init__(self, port):
        self.port = 0
        self.target = 0
        self._will_be = port
        self.frozen = False
        self._server = None
        self._writers = set()

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._will_be)
        self.port = self._will_be

    async def cut(self):
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        finally:
            for each in (writer, up_writer):
                self._writers.discard(each)
                each.transport.abort()

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not self.frozen:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def proxy(port_for_later):
    proxy = TcpProxy(port_for_later())  # it comes back at the port that it had
    yield proxy
    await proxy.cut()
