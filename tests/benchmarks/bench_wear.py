"""What a memory card has to bear: bytes that the daemon writes while nothing happens, per piece, and per confirmation.

    python -P tests/benchmarks/bench_wear.py [--seconds 60] [--folder DIR] [--json] [--quick]

The real daemon reads 20 registers of a Modbus device once a second and talks to the simulated ERP over HTTP, with two
machines that have an order each. Three windows: nothing changes; one machine makes a piece every 2 s, and nothing of it
is confirmed; the other makes a piece every 2 s, and each is confirmed at once. For each window it says

* what the kernel took towards the device (``write_bytes`` of ``/proc/PID/io``), as GB a day and MB an hour. Where the
  folder is in memory there is nothing to say (null);
* flushes, and bytes of the write-ahead log per flush, from the log itself: frames, by the marks of the transactions.
  They do not depend on how fast anything is. Writing them back to the file comes on top, and is in the first figure.

``--quick`` reads every 100 ms, makes a piece every 200 ms, and looks for 2 s, at ten of them at least; only its bytes
per flush mean anything.
"""

from __future__ import annotations

import argparse
import json
import signal
import socketserver
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from buffer.errors import StoreError
from buffer.readonly import ReadOnlyStore

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALS = 20
DAY_S = 24 * 3600
HOUR_S = 3600
DEADLINE_S = 60.0
SETTLE_S = 6.0
#: With ``--quick``: a busy computer may make one piece in the two seconds, and send none of it.
QUICK_LEAST = 10
LOG_HEAD_BYTES = 32
FRAME_HEAD_BYTES = 24
POSTED = "SELECT coalesce(sum(postings), 0) FROM outbox_tally WHERE state = 'posted'"
UNDER_WAY = "SELECT coalesce(sum(postings), 0) FROM outbox_tally WHERE state <> 'posted'"
PIECES = "SELECT count(*) FROM journal WHERE kind = 'pieces'"


class Device(socketserver.ThreadingTCPServer):
    """A Modbus device; ``runs`` is the register that counts now, None: none does."""

    daemon_threads = True

    def __init__(self, every_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.every_s = every_s
        self.runs: int | None = None
        self._values = [0] * SIGNALS
        self._next_s = 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def run(self, register: int | None) -> None:
        """From here on this one counts."""
        self.runs, self._next_s = register, time.monotonic() + self.every_s

    def registers(self, first: int, count: int) -> bytes:
        """The values as they are now: at most one piece between two questions."""
        if self.runs is not None and time.monotonic() >= self._next_s:
            self._values[self.runs] += 1
            self._next_s += self.every_s
        return struct.pack(f">{count}H", *self._values[first : first + count])


class _Answering(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while len(head := self.request.recv(12)) == 12:
            first, count = struct.unpack(">HH", head[8:])
            body = bytes([head[6], head[7], 2 * count]) + self.server.registers(first, count)
            self.request.sendall(head[:4] + len(body).to_bytes(2, "big") + body)


class Log:
    """The write-ahead log, read while it is written: transactions and bytes since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-wal")
        self._salt, self._at = b"", LOG_HEAD_BYTES
        self.look()

    def look(self) -> tuple[int, int]:
        """(transactions, bytes) that are new. Look often: of a log that began anew only what is new in it is seen."""
        log = self._path.read_bytes()
        page_bytes, salt = struct.unpack(">I", log[8:12])[0], log[16:24]
        if salt != self._salt:
            self._salt, self._at = salt, LOG_HEAD_BYTES
        flushes, began, at = 0, self._at, self._at
        step = FRAME_HEAD_BYTES + page_bytes
        while at + step <= len(log) and log[at + 8 : at + 16] == salt:
            at += step
            if struct.unpack(">I", log[at - step + 4 : at - step + 8])[0]:
                flushes, self._at = flushes + 1, at
        return flushes, self._at - began


def document(folder: Path, device: Device, erp_port: int, scan: str) -> dict:
    """Two machines at one PLC: the pieces of the one are confirmed at the end of its order, of the other at once."""
    signals = {f"r{number}": {"table": "holding", "address": number, "type": "uint16"} for number in range(SIGNALS)}
    plc = {"driver": "modbus", "host": "127.0.0.1", "port": device.server_address[1], "scan": scan, "signals": signals}

    def unit(center: str, register: int, pieces: int) -> dict:
        return {
            "work_center": center,
            "counters": [{"signal": f"plc.r{register}", "role": "good", "mode": "counter", "modulus": 65536}],
            "confirm": {"every_pieces": pieces, "min_interval": "0 s"},
        }

    return {
        "gateway": {"id": "GW-B", "plant": "P1", "line": "L1", "timezone": "UTC", "state_dir": str(folder / "state")},
        "sources": {"plc": plc},
        "work_units": {"M-1": unit("WC-ASM", 0, 10_000), "M-2": unit("WC-IMM", 1, 1)},
        "connectors": {"erp": {"connector": "rest", "url": f"http://127.0.0.1:{erp_port}", "poll_orders": "2 s"}},
    }


def written(pid: int) -> int:
    """Bytes that a process sent towards a device."""
    return int(dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())["write_bytes"])


def count(path: Path, sql: str) -> int:
    """One number of the database."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as link:
        return int(link.execute(sql).fetchone()[0])


def wait_for_orders(path: Path, daemon: subprocess.Popen, log: Path) -> None:
    """Until both machines have an order and what they had to say of it is told."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            with ReadOnlyStore(path) as view:
                states = [json.loads(state) for state in view.snapshots().values()]
                if len(states) == 2 and all(state["running"] for state in states):
                    return
        except StoreError:
            pass  # it is being made
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the daemon did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def too_few(path: Path, device: Device, sql: str) -> Callable[[], bool]:
    """Tells whether a short window has to go on: fewer than a few of these, or some under way with nothing new."""
    least, end = count(path, sql) + QUICK_LEAST, time.monotonic() + DEADLINE_S

    def goes_on() -> bool:
        if count(path, sql) >= least:
            device.run(None)
        return time.monotonic() < end and (device.runs is not None or count(path, UNDER_WAY) > 0)

    return goes_on


def window(path: Path, pid: int, seconds: float, goes_on: Callable[[], bool]) -> dict[str, float | None]:
    """What is written in it."""
    log, flushes, logged = Log(path), 0, 0
    before, begin = (written(pid), count(path, PIECES), count(path, POSTED)), time.monotonic()
    while (left := begin + seconds - time.monotonic()) > 0 or goes_on():
        time.sleep(min(max(left, 0.1), 0.5))
        found = log.look()
        flushes, logged = flushes + found[0], logged + found[1]
    taken = time.monotonic() - begin
    sent, pieces, posted = (
        after - one for after, one in zip((written(pid), count(path, PIECES), count(path, POSTED)), before, strict=True)
    )
    return {
        "seconds": round(taken, 1),
        "gb_per_day": round(sent / taken * DAY_S / 1e9, 3) if sent else None,
        "mb_per_hour": round(sent / taken * HOUR_S / 1e6, 2) if sent else None,
        "flushes": flushes,
        "log_bytes_per_flush": round(logged / flushes) if flushes else None,
        "pieces": pieces,
        "log_bytes_per_piece": round(logged / pieces) if pieces else None,
        "confirmations": posted,
        "log_bytes_per_confirmation": round(logged / posted) if posted else None,
    }


def measured(folder: Path, *, seconds: float, quick: bool) -> dict[str, dict[str, float | None]]:
    """The three windows."""
    (folder / "state").mkdir()
    device, config, log = Device(0.2 if quick else 2.0), folder / "wear.yaml", folder / "wear.log"
    path = folder / "state" / "linegate.db"
    erp = subprocess.Popen(
        [sys.executable, "-P", "-m", "simulators", "erp", "--port", "0", "--release", "demo"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    port = json.loads(erp.stdout.readline())["port"]
    config.write_text(yaml.safe_dump(document(folder, device, port, "100 ms" if quick else "1 s")), encoding="utf-8")
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway", "run", str(config)],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    found = {}
    try:
        wait_for_orders(path, daemon, log)
        for name, register, sql in (("idle", None, ""), ("pieces", 0, PIECES), ("confirmations", 1, POSTED)):
            device.run(register)
            time.sleep(0.5 if quick else SETTLE_S)
            goes_on = too_few(path, device, sql) if quick and sql else bool  # bool() is False
            found[name] = window(path, daemon.pid, seconds, goes_on)
    finally:
        daemon.send_signal(signal.SIGTERM)
        erp.stdin.close()
        daemon.wait(DEADLINE_S)
        erp.terminate()
        erp.wait(DEADLINE_S)
        erp.stdout.close()
        device.shutdown()
        device.server_close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each of the three windows")
    parser.add_argument("--folder", type=Path, default=None, help="where the database stands; must be on a disk")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="faster, and 2 s: only bytes per flush mean anything")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        found = measured(Path(name), seconds=2.0 if chosen.quick else chosen.seconds, quick=chosen.quick)
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - a benchmark prints
        return
    for name, row in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))  # noqa: T201 - as above


if __name__ == "__main__":
    main()
