"""A real API server on a real socket with verbs that only note what they were told, and a client that sends bytes."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

import pytest

from gateway.access import tokens, users
from gateway.access.access_file import AccessFile
from gateway.api.body import BodyLimits
from gateway.api.changes import Changes
from gateway.api.gate import Gate
from gateway.api.identity import Identity
from gateway.api.rate import RateLimit
from gateway.api.replays import Replays
from gateway.api.routes import ROUTES
from gateway.api.server import ApiServer, Listening
from gateway.api.service import Answering, Service
from gateway.control import RequestError
from gateway.core.duration import Duration

START_NS = 1_780_000_000 * 10**9
ROLES = ("operator", "setter", "supervisor", "quality", "planner", "service")
#: A time limit that no busy computer reaches; a test of somebody slow sets another.
PATIENT = Duration("20 s")
START = {"machine": "M-1", "order": "4711"}


class Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Bench:
    """The server and everything that a test turns: the clock, the verbs, the users."""

    def __init__(self, folder, **limits):
        self.now_ns = START_NS
        self.told = []  # what verbs were asked, whoever asked
        self.file = AccessFile(folder)
        self.hold = None  # an event that verbs wait for
        self.fail = None  # what verbs raise
        take = {"per_minute": 600, "concurrent": 32, "body": 4096, "timeout": PATIENT, "header": 4096, **limits}
        # Rates are held against a clock of their own: a test turns the one of tokens.
        identity = Identity(
            self.file, lambda: self.now_ns, RateLimit(take["per_minute"], lambda: self.now_ns),
            RateLimit(take.get("failures", 60), lambda: self.now_ns),
        )  # fmt: skip
        self.replays = Replays(Duration("10 min"), lambda: self.now_ns)
        self.changes = Changes(START_NS, lambda ns: ns)
        verbs = {route.verb: self.verb for route in ROUTES} | (self.changes.table() if take.get("waiting") else {})
        service = Service(
            ROUTES, verbs, identity=identity, replays=self.replays,
            limits=Answering(BodyLimits(take["body"], take["timeout"]), take["timeout"]), version="0",
        )  # fmt: skip
        gate = Gate(
            service, hosts=("box-1.example",), concurrent_max=take["concurrent"], head_bytes_max=take["header"],
            waiting_max=take.get("waiting", 8), waiting_per_token=take.get("waiting_per_token", 8),
        )  # fmt: skip
        self.server = ApiServer(
            gate,
            Listening("127.0.0.1", 0, take.get("tls"), take["header"], take["timeout"], take.get("connections", 100)),
        )

    async def verb(self, asked):
        self.told.append(dict(asked))
        if self.hold is not None:
            await self.hold.wait()
        if self.fail is not None:
            raise self.fail
        if asked["verb"] in {"health", "ready"}:
            return {"status": "ok"}
        return f"{asked['verb']} done"

    def token(self, name="anna", role="operator", days=90):
        issued = []

        def how(directory):
            if directory.user(name) is None:
                directory = users.add_user(directory, name, "Anna Z", ROLES, by="test", at_ns=self.now_ns)
            issued.append(tokens.issue(directory, name, role, days=days, by="test", at_ns=self.now_ns))
            return issued[-1].directory

        self.file.change(how)
        return issued[-1].text

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - conditions are of many kinds
                await asyncio.sleep(0.01)

    @property
    def port(self):
        return self.server.address[1]

    async def raw(self, data):
        """Send bytes as they are; everything that comes back until the server closes or has answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            async with asyncio.timeout(60):
                return await _answer(reader)
        finally:
            writer.close()

    async def ask(self, method, path, body=None, token=None, key="k1", **headers):
        """One request as a well-behaved client sends it; ``headers`` replace its own, None takes one away."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(data)), "Idempotency-Key": key}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        head = "".join(f"{name}: {text}\r\n" for name, text in sent.items() if text is not None)
        return await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data)

    async def start_order(self, body=START, **more):
        return await self.ask("POST", "/v1/orders/start", body, **more)


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {}
    for line in lines:
        name, _, text = line.partition(": ")
        headers[name.lower()] = text
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(first.split(" ")[1]), headers, body)


@pytest.fixture
async def make(tmp_path):
    """Starts servers with other limits."""
    running = []

    async def started(**limits):
        bench = Bench(tmp_path, **limits)
        bench.server.start()
        task = asyncio.create_task(bench.server.run())
        running.append((bench, task))
        while not bench.server._server.started:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)
        return bench

    yield started
    for bench, task in running:
        if bench.hold is not None:
            bench.hold.set()
        await bench.server.close()
        async with asyncio.timeout(60):
            await task


@pytest.fixture
async def bench(make):
    return await make()


@pytest.fixture
def refused():
    return RequestError
