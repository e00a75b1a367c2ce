"""The daemon dies by SIGKILL again and again, ERP and broker go away in between: no piece is lost or doubled."""

from __future__ import annotations

import asyncio
import random
from fractions import Fraction

import pytest

from gateway.demo.stage import Stage

SEED = 20_261_122


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [20, pytest.param(1000, marks=pytest.mark.soak)])
async def test_kills_lose_and_double_nothing(tmp_path, kills):
    rng = random.Random(SEED)
    stage = Stage(tmp_path / "plant", seed=SEED, speed=Fraction(20))
    faults = []
    try:
        await stage.open()
        await stage.produce()
        erp_down = set(rng.sample(range(kills), kills // 5))
        broker_down = set(rng.sample(range(kills), kills // 5))
        for kill in range(kills):
            if kill in erp_down:
                await stage.erp.command(f"down {rng.uniform(0.5, 2.0):.2f}")
                faults.append(f"kill {kill}: ERP down")
            if kill in broker_down:
                stage.broker.kill()
                await stage.broker.wait()
                faults.append(f"kill {kill}: broker gone")
            await asyncio.sleep(rng.uniform(0.05, 1.6))  # the moment of death is random: that is the test
            stage.daemon.kill()
            await stage.daemon.wait()
            await asyncio.sleep(rng.uniform(0.0, 0.4))
            if kill in broker_down:
                await stage.broker.start(speaks=True)
            await stage.start_daemon()
        await stage.halt()
        final = await stage.settled()
        result = await stage.reconcile(final, tuple(faults))
    finally:
        await stage.close()
    told = f"seed {SEED}: {result.to_json()}"
    assert result.duplicate_keys == (), told
    assert result.gaps == (), told
    assert result.balanced, told
    for row in result.machines:
        assert sum(row.made) > 0, told
        if row.machine in ("ASM-01", "IMM-01"):  # free-running counters: everything is caught up, nothing is unknown
            assert row.unknown == 0, told
            known = zip(row.booked, row.waiting, row.unconfirmed, row.unallocated, strict=True)
            booked = [sum(column) for column in known]
            assert tuple(booked) == row.made, told
