"""The daemon dies by SIGKILL again and again, ERP and broker go away in between: no piece is lost or doubled.

Half of the deaths are exact: at the n-th change of a file, in the middle of a commit, a checkpoint or a start.
"""

from __future__ import annotations

import asyncio

import lossyfs
import pytest
from rig import Rig

SEED = 20_261_122
CHANGES_MAX = 200
#: Where less is booked in between, the deaths met nothing that could be lost.
BOOKINGS_PER_KILLS = 5


@pytest.fixture
def maybe_card(request):
    """Without /dev/fuse the moments are random ones only."""
    return None if lossyfs.no_device() or lossyfs.missing() else request.getfixturevalue("card")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kills", [6, pytest.param(1000, marks=pytest.mark.soak)])
async def test_kills_lose_and_double_nothing(tmp_path, maybe_card, kills):
    machines = ("ASM-01", "IMM-01", "PCK-01")
    async with Rig(
        tmp_path / "plant", seed=SEED, card=maybe_card, machines=machines, speed=20, broker=True
    ) as rig:  # fmt: skip
        rig.machine_options = {machine: [] for machine in machines}
        rig.machine_options["ASM-01"] = ["--good", "65500"]  # the roll-over belongs to it
        await rig.open()
        await rig.produce()
        erp_down = set(rig.rng.sample(range(kills), kills // 5))
        broker_gone = set(rig.rng.sample(range(kills), kills // 5))
        for kill in range(kills):
            if kill in erp_down:
                down_s = rig.rng.uniform(0.5, 2.0)
                rig.note(f"ERP down for {down_s:.2f} s")
                await rig.erp.command(f"down {down_s:.2f}")
            if kill in broker_gone:
                await rig.kill_broker()
            if rig.rng.random() < 1 / 2:
                # A process that is always killed in its start is never killed at work.
                await rig.status_where(_reads, f"reading before kill {kill}")
            await asyncio.sleep(rig.rng.uniform(0.05, 1.2))  # the moment of death is random: that is the test
            if maybe_card is not None and rig.rng.random() < 1 / 2:
                await rig.kill_at(rig.rng.randint(1, CHANGES_MAX), start=False)
            else:
                await rig.kill(start=False)
            if kill in broker_gone:
                await rig.start_broker()
            rig.start()
        booked = (await rig.erp.command("totals"))["bookings"]
        await rig.settled()
        # Pulses fall while nobody looks; the free-running counters of the other two are caught up.
        rig.check(may_be_unknown=("PCK-01",))
        for machine in machines:
            assert sum(rig.made(machine)) > 0, rig.failed(f"{machine} has made nothing")
        assert booked >= kills // BOOKINGS_PER_KILLS, rig.failed(f"only {booked} bookings between {kills} kills")


def _reads(view):
    return any(source["state"] == "up" for source in view["sources"])
