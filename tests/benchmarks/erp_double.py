"""An ERP that answers every confirmation at once, or after a fixed time: ``python -P erp_double.py [delay_ms]``.

Prints its port as a line of JSON, ends with its standard input. It keeps when each key came (CLOCK_MONOTONIC, ns), what
came twice and what came out of its lane's order; ``GET /stats`` tells, and forgets.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

HEAD_END = b"\r\n\r\n"


class Told:
    """What came so far."""

    def __init__(self) -> None:
        self.arrived: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.twice = 0
        self.disordered = 0

    def take(self, key: str) -> None:
        lane, _, number = key.rpartition("/")
        if key in self.arrived:
            self.twice += 1
        if int(number) != self.last.get(lane, 0) + 1:
            self.disordered += 1
        self.last[lane] = int(number)
        self.arrived[key] = time.monotonic_ns()


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, told: Told, delay_s: float) -> None:
        self.told = told
        self.delay_s = delay_s
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(HEAD_END)) >= 0:
            first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
            length = end + len(HEAD_END) + int(headers.get("content-length", 0))
            if len(self.buffer) < length:
                return
            self.buffer = self.buffer[length:]
            if first.startswith("GET /stats"):
                told = {"arrived": self.told.arrived, "twice": self.told.twice, "disordered": self.told.disordered}
                self.answer(200, json.dumps(told).encode())
                self.told.__init__()
            elif not first.startswith("POST"):
                self.answer(404, b'{"error": {"code": "NOT_FOUND"}}')
            else:
                self.told.take(headers["idempotency-key"])
                asyncio.get_running_loop().call_later(self.delay_s, self.answer, 201, b'{"reference": "R-1"}')

    def answer(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def main(delay_ms: float) -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    told = Told()
    server = await loop.create_server(lambda: Connection(told, delay_ms / 1000), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)  # noqa: T201 - the port
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
