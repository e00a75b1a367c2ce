"""The power fails while the plant produces, again and again: no piece is lost, and none is booked twice."""

from __future__ import annotations

import asyncio
import time

import lossy_disk
import pytest
from rig import Rig

SEED = 20_261_123
#: From the start of the process until values are read again. The short form runs beside other tests: no time is fair.
READING_AGAIN_S = 10.0
SHORT = 6
CHANGES_MAX = 120


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("cuts", [SHORT, pytest.param(500, marks=pytest.mark.soak)])
async def test_power_cuts_while_producing(tmp_path, card, cuts):
    async with Rig(tmp_path / "plant", seed=SEED, card=card) as rig:
        await rig.open()
        await rig.produce()
        slowest_s = 0.0
        for cut in range(cuts):
            mode = rig.rng.choice(lossy_disk.MODES)
            # Exactly at a write or a flush, mostly in the middle of a start; or at any moment, which is random.
            if rig.rng.random() < 1 / 2:
                await asyncio.sleep(rig.rng.choice((0, 0.4)))  # a start has some 100 changes, producing 60 a second
                await rig.kill_at(rig.rng.randint(1, CHANGES_MAX), cut=mode)
            else:
                await asyncio.sleep(rig.rng.uniform(0.05, 0.8))
                await rig.power_cut(mode)
            if rig.rng.random() < 1 / 2:
                began_s = time.monotonic()
                await rig.status_where(lambda view: view["sources"][0]["state"] == "up", f"reading after cut {cut}")
                slowest_s = max(slowest_s, time.monotonic() - began_s)
        await rig.settled()
        rig.check()
        assert sum(rig.made("ASM-01")) > 0
        assert cuts == SHORT or slowest_s < READING_AGAIN_S, rig.failed(f"reading again after {slowest_s:.1f} s")
        assert all(ordered for _, ordered in rig.ends), rig.failed(f"ended by itself: {rig.ends}")
