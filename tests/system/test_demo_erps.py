"""The demo against doubles of real ERPs: two that are drawn in the suite, each with planted faults by ``make soak``."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import sys

import pytest

from simulators.__main__ import ERPS

THERE = [name for name in ERPS if importlib.util.find_spec(ERPS[name])]
SEED = int(os.environ.get("LINEGATE_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
DRAWN = sorted(random.Random(SEED).sample(THERE, 2))


async def demo(folder, *options):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gateway", "demo", "--dir", str(folder / "demo"), "--speed", "20", "--json",
        *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(180):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()
    said = f"LINEGATE_SEED={SEED}: {options}: {out.decode()}{err.decode()}"
    assert process.returncode == 0, said
    result = json.loads(out)
    assert sum(sum(row["booked"]) for row in result["machines"]) > 0, said
    return result


@pytest.mark.parametrize("at", [0, 1])
async def test_it_balances_against_an_erp_that_was_drawn(tmp_path, at):
    result = await demo(tmp_path, "--erp", DRAWN[at], "--seconds", "4")
    assert result["balanced"], (SEED, DRAWN[at])


@pytest.mark.soak
@pytest.mark.parametrize("name", ["erp", *THERE])
async def test_it_balances_against_each_with_planted_faults(tmp_path, name):
    result = await demo(tmp_path, "--erp", name, "--seconds", "15", "--seed", str(SEED % 1000 + 1), "--chaos")
    assert result["balanced"], (SEED, name)
    assert len(result["faults"]) >= 4
