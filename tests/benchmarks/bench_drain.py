"""How fast a backlog goes out: the forwarder with its store against bare httpx posting the same bodies.

    python -P tests/benchmarks/bench_drain.py [--postings N] [--orders N] [--parallel N] [--delay-ms MS] [--live-s S]
        [--whole] [--quick] [--json]

Both post to a double in a process of its own, each order's confirmations one after the other, so many orders at a time.
The forwarder commits before each send and after each answer (WAL, synchronous=FULL); bare httpx keeps nothing. With
``--live-s``, while the backlog goes out, another order makes a confirmation every 200 ms for so many seconds: the time
from its commit to its arrival is told (``live``), and the same without any backlog (``undisturbed``). With ``--whole``
nothing but this: exactly ``--backlog`` old confirmations go out to the last one while that order goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.connectors.base import ConnectorContext
from gateway.connectors.rest import PLUGIN
from gateway.connectors.rest.settings import RestSettings
from gateway.core.duration import Duration
from gateway.forwarder import Forwarder, ForwarderSettings

HERE = Path(__file__).parent
MAX_BYTES = 1 << 30
STEP_POSTINGS = 500
LIVE_EVERY_S = 0.2
DEADLINE_S = 600.0
OLD_NS = Duration("1 h")


def now_ns() -> int:
    """Steady, like the gateway's own clock."""
    return time.monotonic_ns()


def document(order: str, seq: int) -> dict:
    """A confirmation of the usual size."""
    return {
        "schema_version": 1, "confirmation_id": f"00000000-0000-5000-8000-{seq:012d}",
        "idempotency_key": f"RQ1/epochepochabc/{order}/0010/{seq}", "gateway_id": "demo", "plant": "RQ1", "line": "L1",
        "work_center": "WC-ASM", "machine": "ASM-01", "order_id": order, "order_revision": 1, "operation": "0010",
        "sequence": "0", "seq": seq, "type": "partial", "trigger": "pieces",
        "period": {"from": "2026-11-22T06:00:00.000Z", "to": "2026-11-22T06:01:00.000Z"},
        "qty": {"good": "10", "scrap": [{"reason": None, "qty": "1"}], "rework": "0", "test": "0", "hold": "0"},
        "uom": "PC", "cycles": 11, "estimated": {"any": False, "pieces": "0"}, "data_quality_flags": [],
        "created_at": "2026-11-22T06:01:00.000Z", "prev_hash": "ab" * 32, "hash": "cd" * 32,
    }  # fmt: skip


def posting(order: str, seq: int, created_ns: int) -> NewPosting:
    """The same, as it enters the outbox."""
    said = document(order, seq)
    key, number = said["idempotency_key"], said["confirmation_id"]
    body = json.dumps(said, separators=(",", ":")).encode()
    return NewPosting("erp", key, number, order, "0010", seq, "partial", body, created_ns)


class Double:
    """The other process."""

    def __init__(self, delay_ms: float) -> None:
        command = [sys.executable, "-P", str(HERE / "erp_double.py"), str(delay_ms)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"

    def stats(self) -> dict:
        """What came since the last question."""
        return httpx.get(f"{self.url}/stats", timeout=30).json()

    def end(self) -> None:
        """Stop it."""
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Filled:
    """A store with postings, and the forwarder that takes them away."""

    def __init__(self, store: Store, url: str, parallel: int) -> None:
        self.store = store
        self.outbox = Outbox(store)
        self._url, self._parallel = url, parallel
        self._journal = 0

    async def add(self, postings: list[NewPosting]) -> None:
        """Keep them durably, in steps."""
        for start in range(0, len(postings), STEP_POSTINGS):
            self._journal += 1
            row = JournalRow(self._journal, 1, "k", b"")
            await self.store.commit(Step("U", b"", 1, (row,), tuple(postings[start : start + STEP_POSTINGS])))

    async def forwarding(self):
        """A forwarder under way: itself, its task, its connector."""
        context = ConnectorContext(name="erp", gateway_id="demo", now_ns=now_ns, secrets={}, base_dir=HERE)
        connector = PLUGIN.build(RestSettings(connector="rest", url=self._url), context)
        await connector.open()
        forwarder = Forwarder(
            name="erp", connector=connector, outbox=self.outbox, now_ns=now_ns, rng=random.Random(1),
            settings=ForwarderSettings(parallel_lanes=self._parallel),
        )  # fmt: skip
        return forwarder, asyncio.create_task(forwarder.run()), connector

    async def until_posted(self, count: int) -> None:
        """Wait until so many are booked."""
        end = time.monotonic() + DEADLINE_S
        while (await self.outbox.counts("erp")).posted < count:
            if time.monotonic() > end:
                raise SystemExit(f"only {await self.outbox.counts('erp')} after {DEADLINE_S:g} s")
            await asyncio.sleep(0.02)


async def opened(folder: str, name: str, url: str, parallel: int) -> Filled:
    """An empty store."""
    store = await Store.open(Path(folder) / f"{name}.db", now_ns=now_ns, max_bytes=MAX_BYTES)
    return Filled(store, url, parallel)


async def drained(folder: str, url: str, lanes: list[list[NewPosting]], parallel: int) -> float:
    """Seconds until the forwarder has taken all of them away and the store knows."""
    filled = await opened(folder, "drain", url, parallel)
    rounds = range(max(map(len, lanes)))
    await filled.add([lane[at] for at in rounds for lane in lanes if at < len(lane)])
    begin = time.monotonic()
    _forwarder, task, connector = await filled.forwarding()
    await filled.until_posted(sum(map(len, lanes)))
    took_s = time.monotonic() - begin
    await ended(filled, task, connector)
    return took_s


async def ended(filled: Filled, task: asyncio.Task, connector) -> None:
    """Stop all of it."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connector.close()
    await filled.store.close()


async def bare(url: str, lanes: list[list[NewPosting]], parallel: int) -> float:
    """Seconds that httpx alone takes, each lane in order, so many lanes at a time."""
    waiting = list(lanes)
    begin = time.monotonic()
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=40)) as client:

        async def work() -> None:
            while waiting:
                for one in waiting.pop():
                    answer = await client.post(
                        f"{url}/confirmations",
                        content=one.payload,
                        headers={"Content-Type": "application/json", "Idempotency-Key": one.key},
                    )
                    answer.raise_for_status()

        await asyncio.gather(*(work() for _ in range(parallel)))
    return time.monotonic() - begin


async def latencies(folder: str, double: Double, chosen, *, backlog: int) -> dict:
    """From the commit of a confirmation to its arrival, ms, while so many old ones wait."""
    filled = await opened(folder, f"live-{backlog}", double.url, chosen.parallel)
    old_ns = now_ns() - OLD_NS
    await filled.add([posting(f"OLD-{at % chosen.orders}", at // chosen.orders + 1, old_ns) for at in range(backlog)])
    forwarder, task, connector = await filled.forwarding()
    committed = {}
    for seq in range(1, int(chosen.live_s / LIVE_EVERY_S) + 1):
        one = posting("LIVE", seq, now_ns())
        await filled.add([one])
        committed[one.key] = time.monotonic_ns()
        forwarder.wake()
        await asyncio.sleep(LIVE_EVERY_S)
    waiting = (await filled.outbox.counts("erp")).waiting
    await asyncio.sleep(LIVE_EVERY_S)
    arrived = double.stats()["arrived"]
    await ended(filled, task, connector)
    took = sorted((arrived[key] - at_ns) / 1e6 for key, at_ns in committed.items() if key in arrived)
    return {
        "sent": len(committed), "arrived": len(took), "still_waiting": waiting,
        "p50_ms": round(took[len(took) // 2], 1) if took else None,
        "p95_ms": round(took[int(len(took) * 0.95)], 1) if took else None,
    }  # fmt: skip


async def whole(folder: str, double: Double, chosen) -> dict:
    """A backlog to its last posting while another order goes on: rate, order, and how late the live ones arrive."""
    filled = await opened(folder, "whole", double.url, chosen.parallel)
    old_ns = now_ns() - OLD_NS
    await filled.add(
        [posting(f"OLD-{at % chosen.orders}", at // chosen.orders + 1, old_ns) for at in range(chosen.backlog)]
    )
    forwarder, task, connector = await filled.forwarding()
    committed, begin = {}, time.monotonic()
    while (posted := (await filled.outbox.counts("erp")).posted) < chosen.backlog + len(committed):
        if time.monotonic() > begin + DEADLINE_S:
            raise SystemExit(f"only {await filled.outbox.counts('erp')} after {DEADLINE_S:g} s")
        if posted < chosen.backlog:
            one = posting("LIVE", len(committed) + 1, now_ns())
            await filled.add([one])
            committed[one.key] = time.monotonic_ns()
            forwarder.wake()
        await asyncio.sleep(LIVE_EVERY_S)
    took_s = time.monotonic() - begin
    seen = double.stats()
    await ended(filled, task, connector)
    late = sorted((seen["arrived"][key] - at_ns) / 1e6 for key, at_ns in committed.items() if key in seen["arrived"])
    return {
        "backlog": chosen.backlog, "orders": chosen.orders, "took_s": round(took_s, 1),
        "per_s": round((chosen.backlog + len(committed)) / took_s), "twice": seen["twice"],
        "disordered": seen["disordered"], "missing": chosen.backlog + len(committed) - len(seen["arrived"]),
        "live": len(committed), "live_p50_ms": round(late[len(late) // 2], 1), "live_worst_ms": round(late[-1], 1),
    }  # fmt: skip


async def measure(chosen) -> dict:
    """Everything that was asked for."""
    double = Double(chosen.delay_ms)
    try:
        if chosen.whole:
            with tempfile.TemporaryDirectory() as folder:
                return await whole(folder, double, chosen)
        with tempfile.TemporaryDirectory() as folder:
            each = chosen.postings // chosen.orders
            old_ns = now_ns() - OLD_NS
            lanes = [[posting(f"O-{lane}", seq, old_ns) for seq in range(1, each + 1)] for lane in range(chosen.orders)]
            count = each * chosen.orders
            bare_s = await bare(double.url, lanes, chosen.parallel)
            double.stats()
            own_s = await drained(folder, double.url, lanes, chosen.parallel)
            seen = double.stats()
            found = {
                "postings": count, "orders": chosen.orders, "parallel_lanes": chosen.parallel,
                "delay_ms": chosen.delay_ms, "forwarder_per_s": round(count / own_s),
                "bare_httpx_per_s": round(count / bare_s), "ratio": round(bare_s / own_s, 2),
                "missing": count - len(seen["arrived"]), "twice": seen["twice"], "disordered": seen["disordered"],
            }  # fmt: skip
            if chosen.live_s:
                found["undisturbed"] = await latencies(folder, double, chosen, backlog=0)
                found["live"] = await latencies(folder, double, chosen, backlog=chosen.backlog)
        return found
    finally:
        double.end()


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description="drain rate of the forwarder against bare httpx")
    parser.add_argument("--postings", type=int, default=4000)
    parser.add_argument("--orders", type=int, default=16)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--live-s", type=float, default=10.0)
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--whole", action="store_true", help="the backlog to its last one, beside a live order")
    parser.add_argument("--quick", action="store_true", help="shows that it works, and no more")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.postings, chosen.orders, chosen.live_s, chosen.backlog = 200, 4, 1.0, 200
    found = asyncio.run(measure(chosen))
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - the figures
        return
    for name, value in found.items():
        print(f"{name:<18} {value}")  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
