"""Real asyncua servers, each in a thread with its own loop: one is made for all tests of a module."""

import asyncio
import contextlib
import threading

import pytest
from asyncua import Server, ua

URI = "http://linegate.test/machine"


class ServerThread:
    """An OPC UA server with the namespace of the machine; ``others`` are registered before it."""

    def __init__(self, others=()):
        self.port = 0
        self.nodes = {}
        self._others = others
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self):
        self._thread.start()
        self.call(self._start())

    def stop(self):
        self.call(self._server.stop())
        self.call(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def add(self, name, value, kind):
        async def add():
            self.nodes[name] = await self._server.nodes.objects.add_variable(
                ua.NodeId(name, self.index), name, value, varianttype=kind
            )

        self.call(add())

    def write(self, name, value, kind=None, status=None, source_time=None):
        async def write():
            variant = None if value is None else ua.Variant(value, kind)
            code = ua.StatusCode(status) if status is not None else ua.StatusCode(0)
            await self.nodes[name].write_value(ua.DataValue(variant, code, source_time))

        self.call(write())

    async def _start(self):
        self._server = Server()
        await self._server.init()
        self._server.set_endpoint("opc.tcp://127.0.0.1:0/")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for uri in self._others:
            await self._server.register_namespace(uri)
        self.index = await self._server.register_namespace(URI)
        await self._server.start()
        self.port = self._server.bserver._server.sockets[0].getsockname()[1]

    async def _settle(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def server():
    server = ServerThread()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server_with_other_index():
    server = ServerThread(others=("http://linegate.test/came-first",))
    server.start()
    yield server
    server.stop()
