"""What the audit trail costs a commit: steps with an entry in the chain against the same steps without one.

    python -P tests/benchmarks/bench_audit.py [steps]

Each step is one transaction on this computer's disk (WAL, synchronous=FULL), as a decision of a person makes one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from buffer.step import JournalRow, Step
from buffer.store import Store
from gateway.core.audit.entry import EntryContent

STEPS = 500
MAX_BYTES = 1 << 30
CONTENT = EntryContent(
    1, 2, 4, 7200, "Europe/Berlin", "ann", "supervisor", "token 0123abcd", "127.0.0.1", "start", "event", "operation",
    "4711/0010", "state", "DISPATCHED", "IN_PROGRESS", order="4711", config_version="a" * 64, sw_version="0.1.0",
)  # fmt: skip


def step(seq, audit):
    rows = (JournalRow(seq, seq, "job", b"{}" * 200),)
    return Step("M-1", b"{}" * 2000, seq, rows, audit=(CONTENT,) if audit else ())


async def medians(steps):
    """Microseconds of a commit without an entry and with one, taken in turns."""
    taken = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(Path(folder) / "linegate.db", now_ns=lambda: 1, max_bytes=MAX_BYTES)
        for seq in range(1, 2 * steps + 1):
            audit = seq % 2 == 0
            begin = time.perf_counter_ns()
            await store.commit(step(seq, audit))
            taken[audit].append((time.perf_counter_ns() - begin) / 1000)
        await store.close()
    return statistics.median(taken[False]), statistics.median(taken[True])


def main():
    plain, audited = asyncio.run(medians(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS))
    told = {"commit_us": round(plain), "with_entry_us": round(audited), "ratio": round(audited / plain, 2)}
    print(json.dumps(told))  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
