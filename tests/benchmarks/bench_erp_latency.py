"""How long after a piece was made its ERP has it, and the gateway knows: the whole way, with the link up.

    python -P tests/benchmarks/bench_erp_latency.py [--erp NAME] [--seconds 30] [--every N] [--speed X] [--scan-ms MS]
        [--set NAME=VALUE ...] [--quick] [--json]

Three processes: ``asm-01`` (a piece every 2.4 s, divided by the speed), the real daemon, and the double of an ERP with
the connector that it prints of itself. A confirmation is due after every N pieces, and at the end of an order. What is
counted begins with the instant at which the machine made the last piece in it (its own record), so that waiting for the
trigger is left out and waiting for the next scan is not. It ends

* ``booked``: when the ERP books it (its ledger), the last of its steps;
* ``acknowledged``: when the gateway knows that, the time that it keeps.

All clocks are the wall clock of one machine. An ERP that takes over first and books later is asked every
``ask_accepted`` (30 s, unless ``--set ask_accepted="1 s"``). No speed is asserted: whether the claim held is told.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import math
import os
import sys
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import NamedTuple, Self

import yaml

from buffer.entry import THERE, OutboxEntry
from buffer.readonly import ReadOnlyStore
from gateway.control import ControlError, call
from gateway.demo.bookings import in_our_words
from gateway.demo.process import Process, ProcessError
from simulators.__main__ import ERPS

MACHINE = "ASM-01"
CYCLE_S = 2.4
#: Confirmations that reached the ERP later than this, one in twenty, would break the claim.
CLAIM_P95_MS = 2_000
DEADLINE_S = 60.0
POLL_S = 0.1
#: Looks in a row that find everything settled.
SETTLED_LOOKS = 5
PAGE = 500
NS_PER_MS = 1_000_000
#: With ``--quick`` the machine goes on until so many are acknowledged: in a second a busy computer may make none.
QUICK_CONFIRMATIONS = 3
#: A posting that tells of an order what became of it, and of no piece.
ANSWER = "ack"
WITH_FOLDER = ("file_partner", "sap_idoc")


class Posted(NamedTuple):
    """A confirmation that its target has: when its last piece was made, it was booked and acknowledged; ns UTC."""

    made_ns: int
    booked_ns: int
    acknowledged_ns: int


class BenchError(Exception):
    """Nothing can be said; why."""


class Line:
    """A machine, the gateway and an ERP in a folder."""

    def __init__(self, folder: Path, chosen: argparse.Namespace) -> None:
        self.folder, self.chosen = folder, chosen
        self.state_dir = folder / "state"
        self._truth = folder / "truth.jsonl"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        chosen = self.chosen
        exchange = ["--folder", str(self.folder / "exchange")] if chosen.erp in WITH_FOLDER else []
        options = ["--seed", "1", "--speed", str(chosen.speed), "--even", "--truth", str(self._truth)]
        try:
            self.machine = await self._start("asm-01", ["simulators", "asm-01", "--port", "0", *options])
            await self.machine.command("stop")
            words = ["simulators", chosen.erp, "--release", "demo", *exchange]
            self.erp = await self._start("erp", [*words, "--port", "0"])
            config = self.folder / "linegate.yaml"
            config.write_text(yaml.safe_dump(await self._document(words)), encoding="utf-8")
            self.daemon = await self._start("gateway", ["gateway", "run", str(config)], speaks=False)
            await self.until(self._ready, "the machine has an order")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def until(self, condition, what: str) -> dict:
        """The status, once it is so. Raises BenchError."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    if self.daemon.returncode is not None:
                        raise BenchError(f"the gateway ended: {self._said()}")
                    try:
                        view = await asyncio.to_thread(call, self.state_dir, "status", steady=True)
                    except ControlError:
                        view = None
                    if view is not None and condition(view):
                        return view
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise BenchError(f"waited {DEADLINE_S:g} s in vain until {what}: {self._said()}") from None

    async def posted(self) -> list[Posted]:
        """Every confirmation so far, by the order in which they were made. Raises BenchError where one is missing."""
        postings = await asyncio.to_thread(self._postings)
        named = [one._asdict() | {"machine": MACHINE} for one in postings]
        booked: dict[str, int] = {}
        for row in await asyncio.to_thread(_ledger, self.erp.ready["port"]):
            key = in_our_words([row], named)[0]["key"]
            booked[key] = max(booked.get(key, 0), int(row["t_ns"]))
        made = [row for row in map(json.loads, self._truth.read_text().splitlines()) if row["event"] == "pieces"]
        before, pieces, found = self._made_before, 0, []
        for one in postings:
            qty = json.loads(one.payload)["qty"]
            pieces += int(qty["good"]) + sum(int(scrap["qty"]) for scrap in qty["scrap"])
            last = next((row for row in made if row["good_total"] + row["scrap_total"] >= before + pieces), None)
            if last is None or one.settled_ns is None or one.state not in THERE or one.key not in booked:
                raise BenchError(f"{one.key}: {one.state}, {pieces} pieces of {len(made)}: {one.error_text}")
            found.append(Posted(last["t_ns"], booked[one.key], one.settled_ns))
        return found

    async def produce(self, seconds: float, confirmations: int = 0) -> dict:
        """Let the machine run so long and for so many, then wait until everything is acknowledged; the status."""
        totals = await self.machine.command("totals")
        self._made_before = totals["good_total"] + totals["scrap_total"]
        await self.machine.command("start")
        await asyncio.sleep(seconds)

        def enough(view: dict) -> bool:
            return view["targets"][0]["posted"] + view["targets"][0]["delivered"] >= confirmations

        await self.until(enough, f"{confirmations} confirmations are acknowledged")
        await self.machine.command("stop")
        totals = await self.machine.command("totals")
        pieces = totals["good_total"] + totals["scrap_total"] - self._made_before

        seen = 0

        def settled(view: dict) -> bool:
            # What was just counted may be confirmed a moment later, and what is being sent waits no more.
            nonlocal seen
            unit = view["work_units"][0]
            counted = unit["counted_good"] + unit["counted_scrap"]
            still = counted == pieces and all(one.settled_ns is not None for one in self._postings())
            seen = seen + 1 if still and not view["targets"][0]["waiting"] else 0
            return seen >= SETTLED_LOOKS

        return await self.until(settled, "everything is acknowledged")

    async def _start(self, name: str, words: list[str], *, speaks: bool = True) -> Process:
        told = self.erp.ready.get("environment", {}) if name == "gateway" else {}
        process = Process(name, words, self.folder / f"{name}.log", told)
        self._stack.push_async_callback(process.stop)
        await process.start(speaks=speaks)
        return process

    async def _document(self, words: list[str]) -> dict:
        ready = self.erp.ready
        broker = ["--broker", ready["broker"]] if "broker" in ready else []
        printing = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", *words, "--port", str(ready["port"]), *broker, "--print-config",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, _ = await printing.communicate()
        ((name, connector),) = yaml.safe_load(printed)["connectors"].items()
        chosen = self.chosen
        signals = {
            word: {"table": "holding", "address": at, "type": "uint16"}
            for word, at in (("good", 0), ("scrap", 1), ("boots", 6))
        }
        source = {"driver": "modbus", "host": "127.0.0.1", "port": self.machine.ready["port"], "unit": 1,
                  "scan": f"{chosen.scan_ms} ms", "signals": signals}  # fmt: skip
        rule = {"mode": "counter", "modulus": 65536, "restart_evidence": ["asm.boots"]}
        counters = [rule | {"signal": f"asm.{role}", "role": role} for role in ("good", "scrap")]
        unit = {"work_center": "WC-ASM", "ideal_cycle": f"{CYCLE_S * 1000 / chosen.speed:.0f} ms", "counters": counters,
                "confirm": {"every_pieces": chosen.every, "min_interval": "0 s"}}  # fmt: skip
        return {
            "gateway": {"id": "bench", "plant": "RQ1", "line": "L1", "timezone": "UTC",
                        "state_dir": str(self.state_dir)},
            "sources": {"asm": source}, "work_units": {MACHINE: unit},
            "connectors": {name: {**connector, **dict(one.split("=", 1) for one in chosen.set)}},
        }  # fmt: skip

    @staticmethod
    def _ready(view: dict) -> bool:
        return view["sources"][0]["state"] == "up" and bool(view["work_units"][0]["order"])

    def _postings(self) -> list[OutboxEntry]:
        with ReadOnlyStore(self.state_dir / "linegate.db") as store:
            found = page = store.outbox(limit=PAGE)
            while page:
                page = store.outbox(limit=PAGE, before_id=page[-1].id)
                found = [*found, *page]
        return sorted(one for one in found if one.kind != ANSWER)

    def _said(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")[-1500:]


def _ledger(port: int) -> list[dict]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as link:
        link.request("GET", "/ledger")
        return json.loads(link.getresponse().read())["bookings"]


def spread(took_ns: list[int]) -> dict[str, float]:
    """Median, 95th of a hundred and the longest, ms; of at least one."""
    rising = sorted(took_ns)
    ranks = {"p50_ms": 0.5, "p95_ms": 0.95, "max_ms": 1.0}
    return {name: round(rising[math.ceil(share * len(rising)) - 1] / NS_PER_MS, 1) for name, share in ranks.items()}


async def measure(chosen: argparse.Namespace) -> dict:
    """Everything that is told. Raises BenchError, ProcessError."""
    with tempfile.TemporaryDirectory(prefix="linegate-bench-") as folder:
        async with Line(Path(folder), chosen) as line:
            view = await line.produce(chosen.seconds, QUICK_CONFIRMATIONS if chosen.quick else 0)
            found = await line.posted()
    unit = view["work_units"][0]
    if not found:
        raise BenchError(f"nothing was confirmed in {chosen.seconds:g} s: more --seconds, fewer pieces with --every")
    acknowledged = spread([one.acknowledged_ns - one.made_ns for one in found])
    return {
        "erp": chosen.erp, "seconds": chosen.seconds, "every_pieces": chosen.every, "scan_ms": chosen.scan_ms,
        "set": chosen.set, "pieces": unit["counted_good"] + unit["counted_scrap"], "confirmations": len(found),
        "load": round(os.getloadavg()[0], 1), "booked": spread([one.booked_ns - one.made_ns for one in found]),
        "acknowledged": acknowledged, "claim_p95_ms": CLAIM_P95_MS,
        "claim_held": acknowledged["p95_ms"] <= CLAIM_P95_MS,
    }  # fmt: skip


def main() -> int:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--erp", choices=("erp", *ERPS), default="sap_odata", help="the double (sap_odata)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the machine runs (30)")
    parser.add_argument("--every", type=int, default=3, help="pieces in a confirmation (3)")
    parser.add_argument("--speed", type=float, default=6.0, help="of the machine: 6 is a piece every 0.4 s (6)")
    parser.add_argument("--scan-ms", type=int, default=250, help="how often the machine is read (250)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the connector")
    parser.add_argument("--quick", action="store_true", help="1 s or a few confirmations, faster: shows that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.every, chosen.speed, chosen.scan_ms = 1.0, 2, 24.0, 50
    try:
        found = asyncio.run(measure(chosen))
    except (BenchError, ProcessError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - as below
        return 1
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - a benchmark prints
        return 0
    for name, value in found.items():
        told = ", ".join(f"{word} {ms}" for word, ms in value.items()) if isinstance(value, dict) else value
        print(f"{name:<14} {told}")  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main())
