"""Everything at once, from one seed: ERP, devices, wires, broker, clock, card, kills, power cuts; each piece once.

The seed that is drawn anew each time stands in its output, and in the text of any failure.
``LINEGATE_FAULT_SEED=7`` repeats that one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import drawn_seed
import lossyfs
import pytest
import storms
from conservation import counted
from proxy import Proxy
from rig import Rig

FIXED = 20_261_122
BUSY_S = 90.0
YEAR_S = 365.25 * 86_400
SHORT, LONG = 14, 90
#: What goes wrong; those with a number are so much more frequent.
KINDS = (
    "erp", "erp 2", "order", "modbus", "modbus 2", "opcua", "wire", "wire 2", "broker", "clock", "kill", "power",
    "card", "card 2",
)  # fmt: skip
SOAK_SEEDS = 20


class Storm:
    """One plant with every place where something can go wrong."""

    def __init__(self, rig, wall):
        self.rig = rig
        self.wall = wall
        self.rng = random.Random(rig.seed)
        self.wires = {}
        self.kinds = []
        self.orders = []

    async def open(self):
        rig = self.rig
        rig.document["connectors"]["erp"].update(timeout="1 s", server_time_limit="75 s")
        for source in rig.document["sources"].values():
            source["timeout"] = "400 ms" if source["driver"] == "modbus" else "1 s"
        for unit in rig.document["work_units"].values():
            for rule in unit["counters"]:
                rule["slack"] = 400  # on a busy computer the machines come in bursts, of some seconds
        rig.machine_options["ASM-01"] += ["--good", "65480"]
        await rig.open(daemon=False)
        for name in ("modbus", "opcua", "erp", "broker"):
            self.wires[name] = await Proxy(rig.ports[name], seed=rig.seed).start()
            rig.through[name] = self.wires[name].port
        rig.write()
        rig.start()
        self.knows(await rig.ready())

    def knows(self, view):
        """The orders that may be refused, or be more than the ERP can digest."""
        known = {one["order"] for unit in view["work_units"] for one in (unit, *unit["queue"])}
        self.orders = sorted(order for order in known if order) or self.orders

    async def close(self):
        for wire in self.wires.values():
            await wire.close()

    async def deed(self):
        """One more thing goes wrong; each kind comes once before any comes again."""
        self.kinds = self.kinds or self.rng.sample(sorted(KINDS), len(KINDS))
        rng, rig, kind = self.rng, self.rig, self.kinds.pop()
        if kind.startswith("erp"):
            await self._command(rig.erp, rng.choice(storms.ERP_FAULTS)(rng))
        elif kind == "order":
            await self._command(rig.erp, rng.choice(storms.ORDER_FAULTS).format(rng.choice(self.orders)))
        elif kind.startswith("modbus"):
            await self._command(rig.machines["ASM-01"], rng.choice(storms.MODBUS_FAULTS)(rng))
        elif kind == "opcua":
            await self._command(rig.machines["IMM-01"], rng.choice(storms.OPCUA_FAULTS)(rng))
        elif kind.startswith("wire"):
            place, what = rng.choice(sorted(self.wires)), rng.choice(sorted(storms.WIRE_FAULTS))
            rig.note(f"wire to {place}: {what}")
            storms.WIRE_FAULTS[what](self.wires[place], rng)
        elif kind == "broker":
            rig.note("the broker stands still")
            os.kill(rig.broker.pid, signal.SIGSTOP)
        elif kind == "clock":
            ahead_s = rng.choice([10 * YEAR_S, -10 * YEAR_S, 0, 3600, -3600, 60.0 - time.time(), 2**31 - time.time()])
            rig.note(f"clock: {ahead_s:+.0f} s")
            self.wall.set(ahead_s)
        elif kind == "kill" or rig.card is None:
            await rig.kill()
        elif kind.startswith("card"):
            await self._card(rng.choice(storms.CARD_FAULTS)(rng))
        else:
            await rig.power_cut(rng.choice(["drop", "random", "torn"]))

    async def _card(self, command):
        if command.startswith("quota"):
            used = (await asyncio.to_thread(self.rig.card, "stats"))["used"]
            command = f"quota {used + int(command.partition(' ')[2])}"
        self.rig.note(f"card: {command}")
        await asyncio.to_thread(self.rig.card, command)

    async def ends(self):
        """Everything is well again; the clock may stay where it is."""
        os.kill(self.rig.broker.pid, signal.SIGCONT)
        for command in storms.CARD_WELL if self.rig.card is not None else ():
            await asyncio.to_thread(self.rig.card, command)
        await self.rig.erp.command("clear")
        for machine in self.rig.machines.values():
            await machine.command("faults off")
        for wire in self.wires.values():
            await wire.mend()

    async def _command(self, process, text):
        self.rig.note(f"{process.name}: {text}")
        await process.command(text)


@pytest.fixture
async def storm(tmp_path, wall, request):
    """``storm(seed, disk=...)``."""
    started = []

    async def start(seed):
        card = request.getfixturevalue("card") if not lossyfs.no_device() else None
        rig = Rig(
            tmp_path / "plant", seed=seed, card=card, machines=("ASM-01", "IMM-01"), env=wall.env, broker=True, speed=40
        )
        started.append(Storm(rig, wall))
        await started[-1].open()
        return started[-1]

    yield start
    for one in started:
        await one.close()
        await one.rig.close()


def seeds():
    drawn = drawn_seed.draw("LINEGATE_FAULT_SEED")
    numbers = range(1, SOAK_SEEDS + 1)
    long = [pytest.param(FIXED + one, LONG, marks=pytest.mark.soak, id=f"long-{one}") for one in numbers]
    return [
        pytest.param(FIXED, SHORT, id="fixed"),
        pytest.param(drawn, SHORT, id="drawn"),
        *long,
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seed", "number"), seeds())
async def test_everything_at_once(storm, seed, number):
    storms.say(f"seed {seed}")
    plant = await storm(seed)
    rig = plant.rig
    await rig.produce()
    for one in range(number):
        await plant.deed()
        await asyncio.sleep(plant.rng.uniform(0.0, 0.6))  # the moment of each is random
        if one % 10 == 9:
            await plant.ends()
            plant.knows(await healthy(rig))
    await plant.ends()
    await healthy(rig)
    await rig.settled(timeout_s=BUSY_S)
    # A controller that restarts between two looks may have kept its counter, which rolled over, or have begun anew at
    # zero: the least is booked, and so many pieces are declared unknown.
    restarted = ("ASM-01",) if any("restart" in event for event in rig.events) else ()
    view = rig.check(may_be_unknown=restarted, dated=False)
    for unit in view["work_units"]:
        assert unit["id"] in restarted or unit["unknown"] == [], rig.failed(view["work_units"])
    storms.say(
        f"seed {seed}: {number} deeds, {rig.starts} starts, booked {[counted(one) for one in view['work_units']]}"
    )


async def healthy(rig):
    """It counts at every machine, and the ERP takes what it sends; what was refused is sent again by a person."""
    view = await rig.status_where(lambda view: view["targets"], "an answer", BUSY_S)
    before = {unit["id"]: sum(counted(unit)) for unit in view["work_units"]}

    def well(view):
        return all(one["state"] == "up" for one in view["sources"]) and all(
            sum(counted(unit)) > before[unit["id"]] for unit in view["work_units"]
        )

    await rig.status_where(well, f"more than {before}", BUSY_S)
    end = time.monotonic() + BUSY_S
    while parked := [one for one in await rig.ask("outbox.open") or () if one["state"] == "parked"]:
        for one in parked:
            await rig.ask("outbox.retry", which=one["key"], who="ann")
        assert time.monotonic() < end, rig.failed(f"still parked: {parked}")
        await asyncio.sleep(0.2)
    return await rig.status_where(well, "the same still", BUSY_S)
