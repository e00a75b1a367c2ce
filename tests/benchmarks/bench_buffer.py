"""The buffer: durable confirmations per second with group commit, and the bytes that one, and an idle hour, write.

    python -P tests/benchmarks/bench_buffer.py [--confirmations 20000] [--idle-s 60] [--folder DIR] [--json] [--quick]

The bare candidate is the standard library's sqlite3 in one thread, on the same schema with the same statements and
groups of the same size. Bytes are those that the kernel sent towards the device (``/proc/PID/io``); where the folder is
in memory there are none. The idle hour is measured at the daemon itself, with 20 signals of a Modbus device that is
asked once a second and one of which counts, and taken up to an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal
from pathlib import Path

import yaml

from buffer import jobs, schema
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from buffer.writer import GROUP_MAX
from gateway.core.model import JobOrder, JobOrderState, JobRecord

UNITS = 256
MAX_BYTES = 1 << 32
SIGNALS = 20
SETTLE_S = 6.0
JOURNAL = "INSERT INTO journal (work_unit, seq, at_ns, kind, body, checksum) VALUES (?, ?, ?, ?, ?, ?)"
SNAPSHOT = """
    INSERT INTO work_unit (id, snapshot) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET snapshot = excluded.snapshot
"""
POSTING = """
    INSERT INTO outbox (target, key, message_id, order_id, operation, seq, kind, payload, created_ns, state, due_ns)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready', ?)
"""
TIME = "UPDATE meta SET last_time_ns = max(last_time_ns, ?)"


def step(unit, seq):
    order = f"{100_000 + unit}"
    job = JobOrder(
        order=order, operation="0010", sequence="0", revision=1, work_center="WC", product="P", product_revision="",
        uom="PC", quantity=Decimal(1000), sequence_no=10, std_cycle_ns=10**9, planned_start_ns=None,
        planned_end_ns=None, cancelled=False, source="erp", echo=(),
    )  # fmt: skip
    key = f"GW1/abcdefghijklm/{order}/0010/{seq}"
    posting = NewPosting("erp", key, f"id-{key}", order, "0010", seq, "partial", b'{"good":1}' * 60, seq)
    record = JobRecord(job, JobOrderState.IN_PROGRESS, seq, seq, 0, 0, "ab" * 32)
    return Step(
        f"U{unit}", b"s" * 1500, seq, (JournalRow(seq, seq, "confirmation", b"{}" * 100),), (posting,), (record,)
    )


def written():
    """Bytes that this process sent towards a device."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["write_bytes"])


async def through_the_store(folder, confirmations):
    store = await Store.open(folder / "linegate.db", now_ns=lambda: 1, max_bytes=MAX_BYTES, reserve_bytes=0)

    async def unit(number):
        for seq in range(1, confirmations // UNITS + 1):
            await store.commit(step(number, seq))

    before, begin = written(), time.perf_counter()
    await asyncio.gather(*map(unit, range(UNITS)))
    taken = time.perf_counter() - begin
    done = confirmations // UNITS * UNITS
    bytes_each = (written() - before) / done
    await store.close()
    return done / taken, bytes_each


async def prepared(path):
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=MAX_BYTES, reserve_bytes=0)
    await store.close()


def bare(folder, confirmations):
    path = folder / "bare.db"
    asyncio.run(prepared(path))
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in schema._WRITING:
        connection.execute(pragma)
    begin = time.perf_counter()
    for seq in range(1, confirmations // UNITS + 1):
        for first in range(0, UNITS, GROUP_MAX):
            connection.execute("BEGIN IMMEDIATE")
            for number in range(first, min(first + GROUP_MAX, UNITS)):
                one = step(number, seq)
                connection.executemany(JOURNAL, [(one.work_unit, *row, 1 << 30) for row in one.rows])
                connection.executemany(POSTING, [(*posting[:9], seq) for posting in one.postings])
                connection.executemany(jobs.PUT, [jobs.row(record, seq) for record in one.jobs])
                connection.execute(SNAPSHOT, (one.work_unit, one.snapshot))
                connection.execute(TIME, (seq,))
            connection.execute("COMMIT")
    taken = time.perf_counter() - begin
    connection.close()
    return confirmations // UNITS * UNITS / taken


def document(folder, port):
    """One machine, counted by one of 20 registers that are read every second."""
    signals = {f"r{number}": {"address": f"{40_001 + number}", "type": "uint16"} for number in range(SIGNALS)}
    return {
        "gateway": {"id": "GW-B", "plant": "P1", "line": "L1", "timezone": "UTC", "state_dir": str(folder / "state")},
        "sources": {"plc": {"driver": "modbus", "host": "127.0.0.1", "port": port, "scan": "1 s", "signals": signals}},
        "work_units": {
            "M-1": {
                "work_center": "WC-1",
                "counters": [{"signal": "plc.r0", "role": "good", "mode": "counter"}],
            }
        },
        "connectors": {"erp": {"connector": "file", "folder": str(folder / "erp")}},
    }


class Device(socketserver.BaseRequestHandler):
    """Answers every question for registers with zeros."""

    def handle(self):
        while len(head := self.request.recv(12)) == 12:
            count = int.from_bytes(head[10:12], "big")
            body = bytes([head[6], head[7], 2 * count]) + bytes(2 * count)
            self.request.sendall(head[:4] + len(body).to_bytes(2, "big") + body)


def idle_hour(folder, idle_s):
    """Bytes that the daemon writes in an hour in which no piece is made."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Device)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    for name in ("orders", "confirmations"):
        (folder / "erp" / name).mkdir(parents=True)
    config = folder / "idle.yaml"
    config.write_text(yaml.safe_dump(document(folder, port)), encoding="utf-8")
    log = (folder / "idle.log").open("wb")
    daemon = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway", "run", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while b'"running"' not in (text := (folder / "idle.log").read_bytes()) and b"running" not in text:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the daemon did not start: {text[-2000:].decode(errors='replace')}")
            time.sleep(0.1)
        time.sleep(SETTLE_S)
        io = Path(f"/proc/{daemon.pid}/io")
        before, begin = io.read_text(), time.monotonic()
        time.sleep(idle_s)
        after, taken = io.read_text(), time.monotonic() - begin
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
        log.close()
        server.shutdown()
        server.server_close()
    values = [int(dict(line.split(": ") for line in text.splitlines())["write_bytes"]) for text in (before, after)]
    return (values[1] - values[0]) / taken * 3600


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--confirmations", type=int, default=20_000)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few confirmations and no idle hour")
    chosen = parser.parse_args()
    number = 10 * UNITS if chosen.quick else chosen.confirmations
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        rate, each = asyncio.run(through_the_store(folder, number))
        bare_rate = bare(folder, number)
        hour = 0.0 if chosen.quick else idle_hour(folder, chosen.idle_s)
    told = {
        "confirmations_per_s": round(rate),
        "bare_per_s": round(bare_rate),
        "ratio": round(rate / bare_rate, 2),
        "bytes_per_confirmation": round(each),
        "idle_mb_per_hour": None if chosen.quick else round(hour / 1e6, 2),
        "idle_gb_per_day": None if chosen.quick else round(hour * 24 / 1e9, 3),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(told) if chosen.json else "\n".join(f"{key}: {value}" for key, value in told.items()))  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
