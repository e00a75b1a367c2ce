"""Devices and the wires to them do everything wrong, by one seed; what is made while nobody looks is counted later."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
import storms
from conservation import counted
from kept_waiting import Taken
from proxy import Proxy
from rig import Rig

FIXED = 20_261_122
BUSY_S = 120.0
#: A source is well again this long after its device is, in time in which the processes may run (it takes 1 to 4 s).
RECONNECTED_S = 20.0
#: Pieces that each machine makes between two groups of faults.
BETWEEN = 8
#: Faults at a time.
GROUP = 5


def seeds(number):
    return [pytest.param(FIXED + one, 1, marks=pytest.mark.soak) for one in range(1, number + 1)]


@pytest.fixture
async def plant(tmp_path):
    """``plant(seed, change=...)``: two machines, each behind a proxy of its own (``rig.modbus``, ``rig.opcua``)."""
    started, proxies = [], []

    async def start(seed, *, change=lambda rig: None, machines=("ASM-01", "IMM-01"), speed=50):
        rig = Rig(tmp_path, seed=seed, machines=machines, speed=speed)
        started.append(rig)
        for source in rig.document["sources"].values():
            source["timeout"] = "400 ms" if source["driver"] == "modbus" else "1 s"
        for unit in rig.document["work_units"].values():
            for rule in unit["counters"]:
                rule["slack"] = 40  # the machines run many times faster than life, and nobody looks for a second
        change(rig)
        await rig.open(daemon=False)
        for name in ("modbus", "opcua"):
            if name in rig.ports:
                proxies.append(await Proxy(rig.ports[name], seed=seed).start())
                rig.through[name] = proxies[-1].port
                setattr(rig, name, proxies[-1])
        rig.write()
        rig.start()
        await rig.ready()
        return rig

    yield start
    for rig in started:
        await rig.close()
    for proxy in proxies:
        await proxy.close()


async def goes_on(rig, pieces=BETWEEN):
    """Every machine is heard, and counted on."""
    view = await rig.status_where(lambda view: view["work_units"], "the status")
    now = {unit["id"]: sum(counted(unit)) for unit in view["work_units"]}

    def more(view):
        return all(sum(counted(unit)) >= now[unit["id"]] + pieces for unit in view["work_units"])

    await rig.status_where(more, f"{pieces} pieces more than {now}")


async def well_again(rig):
    """End all faults; the links come back in time."""
    for machine in rig.machines.values():
        await machine.command("faults off")
    for name in rig.through:
        await getattr(rig, name).mend()
    taken = Taken()
    await rig.status_where(lambda view: all(one["state"] == "up" for one in view["sources"]), "the links")
    return taken.seconds()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seed", "share"), [(FIXED, 3), *seeds(20)])
async def test_devices_and_wires_fail_in_a_drawn_order_with_kills_in_between(plant, seed, share):
    rig = await plant(seed)
    rng = random.Random(seed)
    deeds = [("ASM-01", one) for one in storms.drawn(rng, storms.MODBUS_FAULTS, len(storms.MODBUS_FAULTS))]
    deeds += [("IMM-01", one) for one in storms.drawn(rng, storms.OPCUA_FAULTS, len(storms.OPCUA_FAULTS))]
    deeds += [("modbus", one) for one in storms.WIRE_FAULTS]
    deeds += [("opcua", one) for one in storms.WIRE_FAULTS]
    rng.shuffle(deeds)
    deeds = deeds[: len(deeds) // share]
    await rig.produce()
    slowest_s = 0.0
    groups = [deeds[at : at + GROUP] for at in range(0, len(deeds), GROUP)]
    for number, group in enumerate(groups):
        for place, what in group:
            rig.note(f"{place}: {what}")
            if place in rig.machines:
                await rig.machines[place].command(what)
            else:
                storms.WIRE_FAULTS[what](getattr(rig, place), rng)
            await asyncio.sleep(rng.uniform(0.0, 0.15))  # the moment of each is random
        if number in (1, len(groups) // 2):
            await rig.kill()
        slowest_s = max(slowest_s, await well_again(rig))
        await goes_on(rig)
    assert rig.modbus.down.spoiled + rig.opcua.down.spoiled > 0, rig.failed("no wire was spoiled")
    assert slowest_s < RECONNECTED_S, rig.failed(f"a link took {slowest_s:.1f} s")
    await rig.settled()
    rig.check()
    storms.say(f"seed {seed}: {len(deeds)} faults; links well {slowest_s:.1f} s after the devices, at worst")


#: How a register of so many bits is read, and its value when the gateway sees it first.
REGISTERS = {
    8: ({"table": "holding", "address": 0, "type": "uint8", "byte": "low"}, "--good", 230),
    16: ({"table": "holding", "address": 0, "type": "uint16"}, "--good", 65_510),
    32: ({"table": "holding", "address": 2, "type": "uint32"}, "--good", 2**32 - 26),
}
#: Pieces made while the gateway is down: beyond the roll-over, and less than the narrowest register holds.
UNSEEN = 30
#: In 8 bits a fast machine may have gone round once more before the gateway is up again on a busy computer, and nobody
#: could tell: at this speed that takes a minute and a half.
SPEED = {8: 5, 16: 50, 32: 50}
#: What a busy computer holds back comes in a burst; where the register is wide enough, one of many seconds is believed.
SLACK = {8: 20, 16: 400, 32: 400}
MAX_RATE = {8: "26 /min", 16: "40 /min", 32: "40 /min"}


@pytest.mark.parametrize("bits", [8, 16, 32])
async def test_a_counter_that_rolls_over_while_the_gateway_is_down_and_one_that_restarts(plant, bits):
    signal, *start = REGISTERS[bits]

    def change(rig):
        rig.document["sources"]["asm"]["signals"]["pieces"] = signal
        rule = {"mode": "counter", "signal": "asm.pieces", "role": "good", "modulus": 2**bits}
        rule |= {"restart_evidence": ["asm.boots"], "max_rate": MAX_RATE[bits], "slack": SLACK[bits]}
        rig.document["work_units"]["ASM-01"]["counters"] = [rule]
        rig.machine_options["ASM-01"] += ["--scrap-share", "0", *map(str, start)]

    rig = await plant(FIXED, change=change, machines=("ASM-01",), speed=SPEED[bits])
    await rig.produce()
    await goes_on(rig)
    await rig.kill(start=False)
    await made(rig, UNSEEN)
    await rig.halt()
    rig.start()
    await rig.ready()
    await rig.settled()
    view = rig.check()
    (unit,) = view["work_units"]
    assert (unit["review_pieces"], unit["unknown"]) == (0, []), rig.failed("it rolled over, and all of it is known")
    assert sum(counted(unit)) == sum(rig.made("ASM-01"))

    if bits == 16:
        await restarts(rig)


async def restarts(rig):
    """The controller starts again, once while nobody looks and once before everybody's eyes; it keeps nothing."""
    asm = rig.machines["ASM-01"]
    await rig.produce()
    await goes_on(rig)
    await rig.kill(start=False)
    rig.note("restart while the gateway is down")
    await asm.command("restart 0 lose")
    await made(rig, BETWEEN)
    rig.start()
    await rig.ready()
    await goes_on(rig)
    rig.note("restart while it looks")
    await asm.command("restart 0.2 lose")
    await goes_on(rig)
    await rig.settled()
    view = rig.check(may_be_unknown=("ASM-01",))
    (unit,) = view["work_units"]
    assert unit["unknown"], rig.failed("a restart while producing has a bound that is told")
    assert all(one["max_pieces"] is not None for one in unit["unknown"]), rig.failed(unit["unknown"])
    lost = sum(rig.made("ASM-01")) - sum(counted(unit)) - unit["review_pieces"]
    storms.say(f"{lost} pieces lost by two restarts, declared {unit['unknown']}")


async def made(rig, pieces):
    """Wait until ASM-01 has made so many more, whoever looks."""
    goal = sum(rig.made("ASM-01")) + pieces
    end = time.monotonic() + BUSY_S
    while sum(rig.made("ASM-01")) < goal:
        assert time.monotonic() < end, rig.failed("the machine does not run")
        await asyncio.sleep(0.02)
