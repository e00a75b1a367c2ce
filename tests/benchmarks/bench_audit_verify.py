"""How long ``linegate audit verify`` takes for a long trail, and how much memory: as a user has it, in its own process.

    python -P tests/benchmarks/bench_audit_verify.py [entries]

The trail is made first, in transactions of 1000; that time is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from buffer.audit_chain import APPEND_MAX, append
from buffer.store import Store
from gateway.core.audit.entry import EntryContent

CONTENT = EntryContent(
    1, 2, 4, 7200, "Europe/Berlin", "ann", "supervisor", "token 0123abcd", "127.0.0.1", "start", "event", "operation",
    "4711/0010", "state", "DISPATCHED", "IN_PROGRESS", order="4711", config_version="a" * 64, sw_version="0.1.0",
)  # fmt: skip
ENTRIES = 1_000_000
MAX_BYTES = 1 << 34


async def make(path, entries):
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=MAX_BYTES)
    for _ in range(entries // APPEND_MAX):
        await store.write(partial(append, [CONTENT] * APPEND_MAX))
    await store.close()


def verified(folder):
    """Seconds of the wall clock and of the processor, and the most memory in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway", "audit", "verify", "-d", folder], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"not whole: {status}")
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(Path(folder) / "linegate.db", entries))
        wall_s, cpu_s, mib = verified(folder)
    told = {"entries": entries, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), "max_mib": round(mib)}
    print(json.dumps(told))  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
