"""The long run: memory, open files and threads stay as they are; and what a card has to bear.

``LINEGATE_SOAK_HOURS=72 make soak`` runs it for three days; five minutes by default.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import pytest
from rig import Rig

SEED = 20_261_127
HOURS = float(os.environ.get("LINEGATE_SOAK_HOURS", "") or 1 / 12)
SAMPLE_S = 1.0
#: The ERP's demo orders end at 10,000: a long run is a slow one.
SPEED = 50 if HOURS <= 1 else 1
GROWTH_MAX_BYTES = 5 * 1024 * 1024
#: Sockets of those who ask at this very moment.
FILES_MORE_MAX = 6
DAY_S = 24 * 3600
WEAR_MAX_BYTES_PER_DAY = 2_000_000_000


def sampled(pid):
    """(bytes resident, open files, threads) of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(told["VmRSS"].split()[0]) * 1024, files, int(told["Threads"])


def verdict(samples):
    """What is wrong with the samples of a run, "" where nothing is; the first fifth is warm-up."""
    rest = samples[len(samples) // 5 :]
    first, last = rest[: len(rest) // 8], rest[-(len(rest) // 8) :]
    middle = [[statistics.median(column) for column in zip(*part, strict=True)] for part in (first, last)]
    growth = middle[1][0] - middle[0][0]
    if growth >= GROWTH_MAX_BYTES:
        return f"resident memory grew by {growth / 1024:.0f} KiB"
    if abs(middle[1][1] - middle[0][1]) > 1 or max(one[1] for one in rest) > middle[0][1] + FILES_MORE_MAX:
        return f"open files went from {middle[0][1]} to {middle[1][1]}, at most {max(one[1] for one in rest)}"
    if middle[1][2] != middle[0][2]:
        return f"threads went from {middle[0][2]} to {middle[1][2]}"
    return ""


def test_the_verdict_finds_what_grows():
    flat = [(70_000_000 + n % 7 * 1000, 15 + n % 2, 4) for n in range(200)]
    assert verdict(flat) == ""
    assert "memory grew" in verdict([(rss + 40_000 * n, files, 4) for n, (rss, files, _) in enumerate(flat)])
    assert "open files" in verdict([(rss, files + n // 40, 4) for n, (rss, files, _) in enumerate(flat)])
    assert "threads" in verdict([(rss, files, 4 + n // 100) for n, (rss, files, _) in enumerate(flat)])


@pytest.mark.soak
@pytest.mark.timeout(HOURS * 3600 + 900)
async def test_memory_files_and_threads_stay_as_they_are(tmp_path):
    async with Rig(tmp_path / "plant", seed=SEED, speed=SPEED) as rig:
        await rig.open()
        await rig.produce()
        samples = []
        end = time.monotonic() + HOURS * 3600
        while time.monotonic() < end:
            samples.append(sampled(rig.daemon.pid))
            if rig.rng.random() < 1 / 60:
                await rig.erp.command("down 2")
            await asyncio.sleep(SAMPLE_S)
        assert rig.ends == [], rig.failed(f"it ended: {rig.ends}")
        wrong = verdict(samples)
        assert not wrong, rig.failed(f"{wrong}; {samples[0]} ... {samples[-1]}")
        await rig.settled()
        rig.check()
        sys.stdout.write(f"\n{HOURS:.2f} h: {sum(rig.made('ASM-01'))} pieces, first {samples[0]}, last {samples[-1]}\n")


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_card_has_little_to_bear(tmp_path, card):
    """In real time, one reading a second; durable bytes as the file system saw them, for a day."""
    async with Rig(tmp_path / "plant", seed=SEED, card=card, speed=1) as rig:
        rig.document["sources"]["asm"]["scan"] = "1 s"
        rig.document["buffer"]["checkpoint"] = "5 s"
        await rig.open()
        await rig.produce()
        await rig.status_where(lambda view: view["targets"][0]["posted"] > 0, "the first confirmation")
        before, began_s = card("stats"), time.monotonic()
        await rig.status_where(
            lambda view: view["targets"][0]["posted"] > 3 and time.monotonic() - began_s > 60, "some more", 300
        )
        after, took_s = card("stats"), time.monotonic() - began_s
        per_day = (after["bytes_durable"] - before["bytes_durable"]) / took_s * DAY_S
        flushes = (after["fsyncs"] - before["fsyncs"]) / took_s
        sys.stdout.write(f"\n{per_day / 1e9:.2f} GB a day, {flushes:.2f} flushes/s")
        assert per_day < WEAR_MAX_BYTES_PER_DAY, rig.failed(f"{per_day / 1e9:.2f} GB a day")
