"""The daemon starts over a huge backlog: how soon it delivers, what memory that takes, what its statements cost.

    python -P tests/benchmarks/bench_backlog.py [--postings N] [--lanes N] [--seconds S] [--statements] [--json]

A first run of the daemon makes the database. While it is stopped, so many confirmations that wait are put in through
the real schema with all its triggers, each with a row of the journal, in so many lanes, whose orders are complete.
Then ``linegate run`` starts over it, beside a double of an ERP in a process of its own, and drains for so many
seconds. Told: from the start of the process to the first booking at the ERP; bookings a second; the highest resident
memory (VmHWM) and processor time. With ``--statements`` each statement's cost is counted in steps of SQLite's machine
(``counted_statements.py``), also of those behind ``linegate status`` and the like; the dearest are told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import httpx
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from rig import Rig

from buffer import packing
from gateway.control import ControlError, call
from gateway.core.document import encode, message_id_of
from gateway.demo import plan

HERE = Path(__file__).parent
UNIT = "ASM-01"
START_TIMEOUT_S = 120.0
POLL_S = 0.02
#: One confirmation a second was made; the oldest waits since that long ago.
EVERY_NS = 1_000_000_000
AT_ONCE = 20_000
CLOCK_TICKS_S = 100
DEAREST = 15
#: What a person asks.
ASKED = ("status", "buffer", "retention")
TEXT_CHARS = 160

_POSTING = """
    INSERT INTO outbox (target, key, message_id, order_id, operation, seq, kind, payload, created_ns, due_ns, event_ns,
        derived_ns, lane_order)
    VALUES ('erp', ?, ?, ?, '0010', ?, 'partial', ?, ?, ?, ?, ?, ?)
"""
_JOURNAL = "INSERT INTO journal (work_unit, seq, at_ns, kind, body) VALUES (?, ?, ?, 'confirmation', ?)"
_JOB = "INSERT INTO job (order_id, operation, record, seq, state, changed_ns) VALUES (?, '0010', ?, ?, 'COMPLETED', ?)"


def configuration(folder: Path, erp_port: int, machine_port: int) -> Path:
    """One machine of the demo, one target, room for everything."""
    document = plan._scale(plan.example(), Fraction(1))
    for name, source in (("IMM-01", "imm"), ("PCK-01", "box")):
        del document["work_units"][name]
        del document["sources"][source]
    del document["mqtt"]
    document["gateway"]["state_dir"] = str(folder / "state")
    document["sources"]["asm"]["port"] = machine_port
    document["connectors"]["erp"]["url"] = f"http://127.0.0.1:{erp_port}"
    document["buffer"] = {"max_size": "64 GiB"}
    path = folder / "linegate.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def document(order: str, seq: int, epoch: str) -> bytes:
    """A confirmation of the usual size."""
    key = f"RQ1/{epoch}/{order}/0010/{seq}"
    return encode({
        "schema_version": 1, "confirmation_id": message_id_of(key), "idempotency_key": key, "gateway_id": "demo",
        "plant": "RQ1", "line": "L1", "work_center": "WC-ASM", "machine": UNIT, "order_id": order, "order_revision": 1,
        "operation": "0010", "sequence": "0", "seq": seq, "type": "partial", "trigger": "pieces",
        "period": {"from": "2026-11-22T06:00:00.000Z", "to": "2026-11-22T06:01:00.000Z"},
        "qty": {"good": "10", "scrap": [{"reason": None, "qty": "1"}], "rework": "0", "test": "0", "hold": "0"},
        "uom": "PC", "cycles": 11, "estimated": {"any": False, "pieces": "0"}, "data_quality_flags": [],
        "created_at": "2026-11-22T06:01:00.000Z", "prev_hash": "ab" * 32,
    })  # fmt: skip


def record(order: str, seq: int) -> bytes:
    """What is remembered of an order that is complete, and not all booked."""
    job = {
        "order": order, "operation": "0010", "sequence": "0", "revision": 1, "work_center": "WC-ASM", "product": "P-1",
        "uom": "PC", "quantity": "1000", "sequence_no": 1, "source": "erp", "echo": [], "image_digest": "",
    }  # fmt: skip
    said = {"job": job, "state": "COMPLETED", "seq": seq, "good": 10, "scrap": 0, "rework": 0, "last_hash": ""}
    return json.dumps(said).encode()


def fill(path: Path, postings: int, lanes: int) -> None:
    """Put the backlog into a database that no daemon has open. It need not survive a power cut: the rig does not."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        for pragma in ("synchronous=OFF", "cache_size=-400000", "wal_autocheckpoint=20000"):
            link.execute(f"PRAGMA {pragma}")
        ((epoch, now_ns),) = link.execute("SELECT epoch, last_time_ns FROM meta")
        journal = link.execute("SELECT last_seq FROM journal_head WHERE work_unit = ?", (UNIT,)).fetchone()
        begin = journal[0] if journal else 0
        ((before_ns,),) = link.execute("SELECT coalesce(max(at_ns), 0) FROM journal WHERE work_unit = ?", (UNIT,))
        for first in range(0, postings, AT_ONCE):
            link.execute("BEGIN")
            rows = []
            for at in range(first, min(first + AT_ONCE, postings)):
                order, seq = f"7{at % lanes:07}", at // lanes + 1
                at_ns = now_ns - (postings - at) * EVERY_NS
                key = f"RQ1/{epoch}/{order}/0010/{seq}"
                said = document(order, seq, epoch)
                rows.append((key, message_id_of(key), order, seq, said, at_ns, at_ns, at_ns, at_ns, order))
            link.executemany(_POSTING, rows)
            # Beside the writer's time, the row of the journal is about as long.
            made_ns = max(before_ns, now_ns)
            link.executemany(_JOURNAL, [(UNIT, begin + first + n + 1, made_ns, row[4]) for n, row in enumerate(rows)])
            link.execute("COMMIT")
        link.execute("BEGIN")
        each = [postings // lanes + (lane < postings % lanes) for lane in range(lanes)]
        link.executemany(_JOB, [(f"7{at:07}", record(f"7{at:07}", n), n, now_ns) for at, n in enumerate(each) if n])
        ((snapshot,),) = link.execute("SELECT snapshot FROM work_unit WHERE id = ?", (UNIT,))
        again = json.dumps({**json.loads(packing.unpacked(snapshot)), "journal_seq": begin + postings}).encode()
        link.execute("UPDATE work_unit SET snapshot = ? WHERE id = ?", (again, UNIT))
        link.execute("COMMIT")
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Daemon:
    """One run of ``linegate run``, or of it with its statements counted."""

    def __init__(self, config: Path, log: Path, statements: Path | None = None) -> None:
        counted = [] if statements is None else [str(HERE / "counted_statements.py"), str(statements)]
        self._log = log
        with log.open("ab") as output:
            self.began_ns = time.monotonic_ns()
            self._process = subprocess.Popen(
                [sys.executable, "-P", *(counted or ["-m", "gateway"]), "run", str(config)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def until(self, condition, what: str) -> float:
        """Seconds from the start of the process until it is true."""
        while not condition():
            passed_s = (time.monotonic_ns() - self.began_ns) / 1e9
            if self._process.poll() is not None or passed_s > START_TIMEOUT_S:
                raise SystemExit(f"no {what} after {passed_s:.1f} s: {self._log.read_text()[-2000:]}")
            time.sleep(POLL_S)
        return (time.monotonic_ns() - self.began_ns) / 1e9

    def peak_mb(self) -> float:
        """The most resident memory so far, MB of 10^6 bytes."""
        text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor time so far, seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_S

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def drained(config: Path, log: Path, url: str, seconds: float, statements: Path | None = None) -> dict:
    """What one run does in so many seconds behind its first booking."""
    httpx.get(f"{url}/stats", timeout=30)
    daemon = Daemon(config, log, statements)
    try:
        arrived: dict[str, int] = {}

        def some() -> bool:
            arrived.update(httpx.get(f"{url}/stats", timeout=30).json()["arrived"])
            return bool(arrived)

        daemon.until(some, "booking")
        first_s = (min(arrived.values()) - daemon.began_ns) / 1e9
        begin_s = time.monotonic()
        if statements is not None:
            for verb in ASKED:
                # Their statements are what counts here; the answer may take longer than a person waits.
                with contextlib.suppress(ControlError):
                    call(config.parent / "state", verb)
        time.sleep(seconds)
        took_s = time.monotonic() - begin_s
        more = httpx.get(f"{url}/stats", timeout=30).json()
        found = {
            "first_booking_s": round(first_s, 2), "booked_per_s": round(len(more["arrived"]) / took_s),
            "twice": more["twice"], "peak_mb": round(daemon.peak_mb(), 1), "cpu_s": round(daemon.cpu_s(), 2),
        }  # fmt: skip
    finally:
        code = daemon.stop()
    return {**found, "exit": code}


def dearest(path: Path) -> list[dict]:
    """The statements that cost most, the dearest first; those that differ in their values only are one."""
    most: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        most[one["sql"][:TEXT_CHARS]] = max(most[one["sql"][:TEXT_CHARS]], one["steps"])
    return [{"steps": steps, "sql": sql} for sql, steps in most.most_common(DEAREST)]


def measure(chosen) -> dict:
    """Everything that was asked for."""
    with Rig() as rig:
        machine = rig.simulator("asm-01")
        double = rig.device(str(HERE / "erp_double.py"), "0")[0]
        url, log = f"http://127.0.0.1:{double['port']}", rig.folder / "daemon.log"
        config = configuration(rig.folder, double["port"], machine["port"])
        database = rig.folder / "state" / "linegate.db"
        (rig.folder / "state").mkdir()
        first = Daemon(config, log)
        first.until(lambda: _has_snapshot(database), "state of the machine")
        first.stop()
        begin_s = time.monotonic()
        fill(database, chosen.postings, chosen.lanes)
        filled_s = time.monotonic() - begin_s
        found = {
            "postings": chosen.postings, "lanes": chosen.lanes, "database_mb": round(database.stat().st_size / 1e6),
            "filled_s": round(filled_s, 1),
        }  # fmt: skip
        told = rig.folder / "statements.jsonl" if chosen.statements else None
        found["run"] = drained(config, log, url, chosen.seconds, told)
        if told is not None:
            found["dearest"] = dearest(told)
        return found


def _has_snapshot(path: Path) -> bool:
    if not path.exists():
        return False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as link:
        return link.execute("SELECT count(*) FROM work_unit").fetchone()[0] > 0
    return False


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description="the daemon starts over a huge backlog")
    parser.add_argument("--postings", type=int, default=1_000_000)
    parser.add_argument("--lanes", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--statements", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen)
    if chosen.json:
        print(json.dumps(found))  # noqa: T201 - the figures
        return
    for name, value in found.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            print(f"{name:<12} {row}")  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
