"""The demo against doubles of real ERPs with planted faults: one that is drawn in the suite, each by ``make soak``."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys

import drawn_seed
import pytest

from simulators.__main__ import ERPS

pytestmark = pytest.mark.timeout(400)
SEED = drawn_seed.draw("LINEGATE_SEED")
DRAWN = random.Random(SEED).choice(tuple(ERPS))


async def demo(folder, *options):
    # A gateway refuses the variable that repeats a seed here: it is none of its settings.
    mine = {name: text for name, text in os.environ.items() if not name.startswith("LINEGATE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gateway", "demo", "--dir", str(folder / "demo"), "--speed", "20", "--json",
        *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=mine, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(300):
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


async def chaos(folder, name, seconds):
    seed = SEED % 1000 + 1
    result = await demo(folder, "--erp", name, "--seconds", str(seconds), "--seed", str(seed), "--chaos")
    said = f"LINEGATE_SEED={SEED}: {name}: {result}"
    assert result["balanced"], said
    assert len(result["faults"]) >= 4, said  # each kind once


async def test_it_balances_against_an_erp_that_was_drawn(tmp_path):
    await chaos(tmp_path, DRAWN, 12)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["erp", *ERPS])
async def test_it_balances_against_each(tmp_path, name):
    await chaos(tmp_path, name, 15)
