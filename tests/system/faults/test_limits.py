"""Too few open files, too little memory: said clearly at the start; in the middle of a run nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import Rig

SEED = 20_261_126
ROUNDS = [1, pytest.param(20, marks=pytest.mark.soak)]
FEW_FILES, LITTLE_MEMORY = 24, 90_000_000
#: Where it listens, and where it connects.
NO_FILE, TRIES_MAX, TRIES_PER_S = "out of system resource", 60, 3


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (f"--nofile={FEW_FILES}", ("open files are limited to 24", "LimitNOFILE=")),
        (f"--as={LITTLE_MEMORY}", ("not enough memory", "MemoryMax=")),
    ],
)
async def test_a_limit_that_is_too_low_is_said_at_the_start(tmp_path, limit, told):
    async with Rig(tmp_path / "plant", seed=SEED) as rig:
        await rig.open(daemon=False)
        done = await asyncio.to_thread(
            subprocess.run, ["prlimit", limit, sys.executable, "-P", "-m", "gateway", "run", str(rig.config)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        for words in told:
            assert words in done.stderr


def limited(pid, what, limits):
    """Set it; whoever has died of the last one, and is waited for this moment, has none any more."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, what, limits)


def open_files(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def address_space(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


async def squeezed(rig):
    """So many pieces are made under the limit; whether it lives or dies of it is not said here."""
    goal = sum(rig.made("ASM-01")) + 15
    end = time.monotonic() + 120
    while sum(rig.made("ASM-01")) < goal:
        assert time.monotonic() < end, rig.failed("the machine makes nothing")
        with contextlib.suppress(TimeoutError):  # who finds no file free waits for his answer until the limit has gone
            async with asyncio.timeout(1):
                await rig.status()
        await asyncio.sleep(0.02)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", ROUNDS)
async def test_limits_in_the_middle_of_a_run_lose_nothing(tmp_path, rounds):
    async with Rig(tmp_path / "plant", seed=SEED) as rig:
        await rig.open()
        await rig.produce()
        without_files_s = 0.0
        for _ in range(rounds):
            pid = rig.daemon.pid
            files, before = rig.rng.randint(-2, 2), resource.prlimit(pid, resource.RLIMIT_NOFILE)
            rig.note(f"no more files than are open, and {files}")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid) + files, before[1]))
            began_s = time.monotonic()
            await rig.erp.command("down 0.5")  # its next connection needs a file
            await squeezed(rig)
            if rig.daemon.pid == pid and rig.daemon.returncode is None:
                limited(pid, resource.RLIMIT_NOFILE, before)
            await rig.status_where(lambda view: view["sources"][0]["state"] == "up", "reading with files again")
            without_files_s += time.monotonic() - began_s
            pid, memory = rig.daemon.pid, rig.rng.choice((0, 1 << 20, 1 << 22))
            rig.note(f"no more memory than there is, and {memory}")
            resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid) + memory, resource.RLIM_INFINITY))
            await squeezed(rig)
            if rig.daemon.pid == pid and rig.daemon.returncode is None:
                unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                limited(pid, resource.RLIMIT_AS, unlimited)
            await rig.status_where(lambda view: view["sources"][0]["state"] == "up", "reading with memory again")
        await rig.settled()
        rig.check()
        # One try a second, not as many as a processor can.
        tries_max = TRIES_MAX * rounds + TRIES_PER_S * without_files_s
        assert rig.log().count(NO_FILE) <= tries_max, rig.failed("it spins where no file is left")
