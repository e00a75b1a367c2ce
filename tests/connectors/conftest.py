"""A real HTTP target on loopback with every fault, a clock to set, and plain data."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter, deque
from pathlib import Path
from urllib.parse import unquote

import new_database
import pytest

from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.connectors.base import ConnectorContext
from simulators.control import Control

# What several test files of this folder share stands beside them.
sys.path.append(str(Path(__file__).parent))
#: For the tests of the fault contract that begin anew for each moment at which a process may die, in seconds: a hang
#: guard that a computer which others use does not reach.
KILLED_S = 600


def pytest_collection_modifyitems(items):
    for item in items:
        # The soak has a limit of its own, given with the command.
        mine = item.path.parent == Path(__file__).parent and item.get_closest_marker("soak") is None
        if mine and "killed" in item.name:
            item.add_marker(pytest.mark.timeout(KILLED_S))


class Clock:
    def __init__(self) -> None:
        self.ns = 1_800_000_000_000_000_000

    def __call__(self) -> int:
        return self.ns

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1_000_000_000)


class Erp:
    """One request a connection's turn; ``faults`` are taken by POSTs, ``get_faults`` by GETs, one each.

    A fault is a dict: ``status``, ``body``, ``type``, ``headers``; ``book`` (before the answer), ``cut`` (close without
    an answer), ``half`` (close in the middle of the body), ``drip`` (a byte now and then), ``hold`` (answer when
    ``release`` is set), ``book_on_release``.
    """

    def __init__(self, port: int) -> None:
        self.booked: Counter[str] = Counter()
        self.order: list[str] = []  # keys in the order of booking
        self.bodies: dict[str, list[bytes]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: deque[dict] = deque()
        self.notice_faults = deque()
        self.get_faults: deque[dict] = deque()
        self.always: dict | None = None
        self.by_order: dict[str, dict] = {}
        self.orders: list[dict] = []
        self.idempotent = False
        self.release = threading.Event()
        self.slow: set[str] = set()  # keys that are still worked on
        self.in_flight: Counter[str] = Counter()
        self.overlaps: list[str] = []
        self.lock = threading.Lock()
        self.tls = None  # an SSLContext where a test wants TLS
        self.port = port
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self.start()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self.lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.release.set()
        self.stop()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def posts(self) -> list[str]:
        return [path for method, path, _ in self.requests if method == "POST"]

    def _spawn(self, function, *values) -> None:
        thread = threading.Thread(target=function, args=values)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(100)
        with self.lock:
            self._open.add(connection)
        wrapped = connection
        try:
            if self.tls is not None:
                wrapped = self.tls.wrap_socket(connection, server_side=True)
            stream = wrapped.makefile("rb")
            while self._one(wrapped, stream):
                pass
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self._open.discard(connection)
            with contextlib.suppress(OSError):
                wrapped.close()
            connection.close()

    def _one(self, connection, stream) -> bool:
        first = stream.readline().decode()
        if not first:
            return False
        method, path, _ = first.split()
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        self.requests.append((method, path, headers))
        if method == "POST":
            return self._confirm(connection, headers, body)
        return self._get(connection, path)

    def _confirm(self, connection, headers, body) -> bool:
        document = json.loads(body)
        key, lane = headers["idempotency-key"], f"{document['order_id']}/{document['operation']}"
        with self.lock:
            self.in_flight[lane] += 1
            if self.in_flight[lane] > 1:
                self.overlaps.append(lane)
            self.bodies.setdefault(key, []).append(body)
            faults = self.notice_faults if document.get("type") == "notice" else self.faults
            fault = faults.popleft() if faults else self.by_order.get(document["order_id"], self.always)
        if fault is None:
            body = json.dumps(self._book(key)).encode()
            self._over(lane)  # before the answer leaves: it is what the next one of the lane waits for
            return self._answer(connection, 201, body)
        try:
            return self._misbehave(connection, fault, key)
        finally:
            self._over(lane)

    def _over(self, lane: str) -> None:
        with self.lock:
            self.in_flight[lane] -= 1

    def _book(self, key: str) -> dict:
        with self.lock:
            duplicate = self.booked[key] > 0
            if not (duplicate and self.idempotent):
                self.booked[key] += 1
                self.order.append(key)
            return {"reference": f"CNF-{self.order.index(key) + 1}", "duplicate": duplicate and self.idempotent}

    def _misbehave(self, connection, fault: dict, key: str) -> bool:
        if fault.get("book"):
            self._book(key)
        if fault.get("hold") or fault.get("book_on_release"):
            if fault.get("book_on_release"):
                connection.shutdown(socket.SHUT_RDWR)
            self.release.wait(100)
            if fault.get("book_on_release"):
                self._book(key)
                return False
        if "slow_s" in fault:
            self.slow.add(key)
            time.sleep(fault["slow_s"])
            self._book(key)
            self.slow.discard(key)
            return False
        if fault.get("cut"):
            return False
        body = fault.get("body", b'{"reference": "CNF-X"}')
        media = fault.get("type", "application/json")
        if fault.get("half"):
            self._send(connection, 201, body[: len(body) // 2], media, {}, len(body))
            return False
        if fault.get("drip"):
            self._send(connection, 201, b"", media, {}, 10_000)
            for _ in range(200):
                connection.sendall(b" ")
                time.sleep(0.05)
            return False
        return self._answer(connection, fault.get("status", 201), body, media, fault.get("headers", {}))

    def _get(self, connection, path: str) -> bool:
        if self.get_faults:
            return self._misbehave(connection, self.get_faults.popleft(), "")
        plain, _, query = path.partition("?")
        if plain == "/health":
            return self._answer(connection, 200, b"{}")
        if plain == "/orders":
            since = int(query.partition("=")[2] or 0)
            page = {"cursor": str(len(self.orders)), "orders": self.orders[since:]}
            return self._answer(connection, 200, json.dumps(page).encode())
        key = unquote(plain.removeprefix("/confirmations/"))
        if self.booked[key]:
            return self._answer(connection, 200, json.dumps({"reference": "CNF-F", "count": self.booked[key]}).encode())
        return self._answer(connection, 404, b'{"error": {"code": "NOT_FOUND", "message": "no such key"}}')

    def _answer(self, connection, status, body, media="application/json", headers=None) -> bool:
        self._send(connection, status, body, media, headers or {}, len(body))
        return True

    @staticmethod
    def _send(connection, status, body, media, headers, length) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {media}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def make_document(seq: int, order: str = "100240", operation: str = "0010") -> dict:
    key = f"RQ1/epochepochabc/{order}/{operation}/{seq}"
    return {
        "schema_version": 1,
        "confirmation_id": f"00000000-0000-5000-8000-{abs(hash_of(key)):012d}",
        "idempotency_key": key,
        "gateway_id": "demo",
        "plant": "RQ1",
        "line": "L1",
        "work_center": "WC-ASM",
        "machine": "ASM-01",
        "order_id": order,
        "order_revision": 1,
        "operation": operation,
        "sequence": "0",
        "seq": seq,
        "type": "partial",
        "trigger": "pieces",
        "period": {"from": "2026-11-22T06:00:00.000Z", "to": "2026-11-22T06:01:00.000Z"},
        "qty": {"good": "10", "scrap": [{"reason": None, "qty": "1"}], "rework": "0", "test": "0", "hold": "0"},
        "uom": "PC",
        "cycles": 11,
        "estimated": {"any": False, "pieces": "0", "share": "0"},
        "data_quality_flags": [],
        "created_at": "2026-11-22T06:01:00.000Z",
        "prev_hash": "",
        "hash": "ab" * 32,
    }


def hash_of(text: str) -> int:
    return sum(ord(character) * 31**place for place, character in enumerate(reversed(text))) % 10**12


def make_order(order: str, **changes) -> dict:
    image = {
        "order_id": order,
        "revision": 1,
        "type": "MTO",
        "product": {"id": "ASSY-D20", "revision": "F", "uom": "PC"},
        "qty": "24",
        "planned_start": "2026-11-22T06:00:00Z",
        "planned_end": "2026-11-22T08:00:00+01:00",
        "priority": 5,
        "sequence_no": 10,
        "sales_order": "S-1",
        "customer": "Müller",
        "cost_center": "K1",
        "cancelled": False,
        "operations": [
            {"op": "0010", "work_center": "WC-ASM", "qty": "24", "std_cycle_s": "2.4", "text": "assemble"},
            {"op": "0020", "work_center": "WC-PCK", "qty": 24},
        ],
    }
    return {**image, **changes}


class Filled:
    """A store whose outbox is filled with confirmations of the documents above."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.outbox = Outbox(store)
        self._clock = clock
        self._journal = 0

    async def add(
        self, *lanes: tuple[str, str, int], target: str = "erp", state: str = "ready", due_ns: int | None = None
    ) -> None:
        postings = []
        for order, operation, seq in lanes:
            document = make_document(seq, order, operation)
            postings.append(
                NewPosting(
                    target, document["idempotency_key"], document["confirmation_id"], order, operation, seq, "partial",
                    json.dumps(document, separators=(",", ":")).encode(), self._clock(), state, due_ns,
                )
            )  # fmt: skip
        self._journal += 1
        row = JournalRow(self._journal, self._clock(), "k", b"")
        await self.store.commit(Step("U", b"", self._clock(), (row,), tuple(postings)))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def erp(port_for_later):
    # One that nobody else takes while it is stopped.
    erp = Erp(port_for_later())
    yield erp
    erp.close()


@pytest.fixture
def document():
    return make_document


@pytest.fixture
def order_image():
    return make_order


@pytest.fixture
def context(tmp_path, clock):
    def made(**secrets):
        return ConnectorContext(name="erp", gateway_id="demo", now_ns=clock, secrets=secrets, base_dir=Path(tmp_path))

    return made


@pytest.fixture
async def filled(tmp_path, clock):
    store = await Store.open(new_database.at(tmp_path / "linegate.db"), now_ns=clock, max_bytes=1 << 26)
    yield Filled(store, clock)
    await store.close()


@pytest.fixture
def reopen(tmp_path, clock):
    async def opened():
        return Filled(
            await Store.open(new_database.at(tmp_path / "linegate.db"), now_ns=clock, max_bytes=1 << 26), clock
        )

    return opened


#: What the fault suite calls a fault, as a double that is spoken to over HTTP is told it.
FAULTS = {
    "lost_answer": "lose-answers {}",
    "lost_request": "lose-requests {}",
    "slow_booking": "late-book 0.05 {}",
    "busy": "locked {}",
    "refused": "refuse {}",
    "login_expired": "unauthorized {}",
    "html": "html {}",
    "half_answer": "half {}",
}


class RunningDouble:
    """An ERP double in a thread of its own: it can be taken away in the middle of a test, and asked by its doors."""

    def __init__(self, kind, **options) -> None:
        usual = {"host": "127.0.0.1", "port": 0, "seed": 1, "ledger": None, "release": "none", "requests": None}
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.control = Control(kind.__name__, read_stdin=False)
        self.double = self.run(self._made(kind, argparse.Namespace(**{**usual, "idempotent": False, **options})))
        self.url = f"http://127.0.0.1:{self.double.listener.port}"

    async def _made(self, kind, options):
        double = kind(options)
        double.declare(self.control)
        await double.open()
        return double

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(100)

    def call(self, function, *arguments):
        async def called():
            return function(*arguments)

        return self.run(called())

    def do(self, line):
        answer = self.run(self.control.execute(line))
        assert answer["ok"], answer
        return answer

    def meets(self, name, count=1, spared=0):
        """A fault of the fault suite, behind so many messages that it spares."""
        self.do(f"spare {spared}")
        self.do(FAULTS[name].format(count))
        return True

    def put_order(self, image):
        request = urllib.request.Request(f"{self.url}/_orders", json.dumps(image).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def bookings(self):
        with urllib.request.urlopen(f"{self.url}/ledger", timeout=60) as answer:
            return json.load(answer)["bookings"]

    def take_away(self):
        self.run(self.double.listener.cut(60))

    def close(self):
        self.run(self.double.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()


@pytest.fixture
def running_double():
    """A factory of running ERP doubles: ``running_double(Kingdee, session=60.0)``."""
    running = []

    def start(kind, **options):
        running.append(RunningDouble(kind, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()
