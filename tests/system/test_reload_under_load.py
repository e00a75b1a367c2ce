"""Many reloads while everything runs, and deaths in the middle of one: no piece is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.demo import plan

#: The first goes through each kind of change twice.
RELOADS = (8, 60)
#: Dies where the rules change: before the state under the new rules is durable, or right behind it.
DIES = """
import os, signal, sys
from buffer.store import Store
from gateway.work_unit.runner import Runner
real_exchange, real_commit = Runner.exchange, Store.commit
armed = []
def exchange(self, *arguments, **options):
    real_exchange(self, *arguments, **options)
    armed.append(True)
async def commit(self, step):
    if armed and WHEN == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    await real_commit(self, step)
    if armed:
        os.kill(os.getpid(), signal.SIGKILL)
Runner.exchange, Store.commit = exchange, commit
from gateway.cli import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def counted(view):
    return sum(unit["counted_good"] + unit["counted_scrap"] for unit in view["work_units"])


def unit_of(view, name):
    return next(unit for unit in view["work_units"] if unit["id"] == name)


async def reload(plant):
    plant.write()
    return await plant.cli("reload", "-d", plant.state_dir)


async def more_pieces(plant, number):
    goal = counted(await plant.ask("status")) + number
    return await plant.status_where(lambda view: counted(view) >= goal, f"{number} more pieces")


def changed(document, turn):
    """One change after the other; what it is called in the answer."""
    units, sources = document["work_units"], document["sources"]
    press = units["ASM-01"]
    kind = turn % 6
    if kind == 0:
        for rule in press["counters"]:
            rule["max_rate"] = f"{4001 + turn} /min"
        return "rules of ASM-01 changed"
    if kind == 1:
        press["ideal_cycle"], units["IMM-01"]["ideal_cycle"] = f"{2.4 + turn / 100:g} s", f"{18 + turn / 10:g} s"
        return "rules of ASM-01, IMM-01 changed"
    if kind == 2:
        # At this speed a fiftieth. The work unit waits for a loss as long as the source may be silent.
        sources["asm"]["scan"], sources["asm"]["stale_after"] = f"{1000 + turn} ms", f"{12 + turn} s"
        return "source asm changed"
    if kind == 3:
        press["state"]["map"]["4"] = "CLEANING" if turn % 12 == 3 else "SETUP"
        return "rules of ASM-01 changed"
    if kind == 4:
        units["PCK-01"]["counters"][0]["min_cycle"] = f"{20 - turn / 10:g} s"
        return "rules of PCK-01 changed"
    units["IMM-01"]["confirm"]["every_pieces"] = 16 + turn
    return "rules of IMM-01 changed"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [RELOADS[0], pytest.param(RELOADS[1], marks=pytest.mark.soak)])
async def test_many_reloads_in_a_row_while_three_machines_produce(plant, number):
    await plant.start_erp("--release", "demo")
    for machine in ("ASM-01", "IMM-01", "PCK-01"):
        await plant.start_machine(machine)
    await plant.run()
    before = await plant.ready()
    await plant.produce()
    await more_pieces(plant, 30)
    for turn in range(number):
        said = changed(plant.document, turn)
        assert await reload(plant) == (0, f"{said}\n", "")
    await plant.ready()
    after = await more_pieces(plant, 30)
    assert after["pid"] == before["pid"]
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert [(one.unknown, one.review) for one in result.machines] == [(0, 0)] * 3


@pytest.mark.parametrize("when", ["before", "behind"])
async def test_a_death_in_the_middle_of_a_reload_loses_and_doubles_nothing(plant, when):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run(launcher=("-c", DIES.replace("WHEN", repr(when))))
    await plant.ready()
    await plant.produce()
    await more_pieces(plant, 12)
    rules = plant.document["work_units"]["ASM-01"]
    rules["confirm"]["every_pieces"], rules["ideal_cycle"] = 3, "2.5 s"
    code, out, err = await reload(plant)
    assert (code, "out" if out else "") in {(1, ""), (0, "out")}, err  # it died before it could answer, or behind it
    assert await plant.daemon.ended() == -9
    await plant.run()
    await plant.ready()
    await more_pieces(plant, 12)
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def test_pieces_of_a_count_change_at_one_instant(plant):
    """What was counted before stays what it was; from the change on each count is two."""
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()

    async def made():
        rows = await plant.truth("ASM-01")
        return sum(row["good"] for row in rows), sum(row["scrap"] for row in rows)

    async def standing():
        await plant.produce()
        await more_pieces(plant, 10)
        await plant.halt()

    await standing()
    good, scrap = await made()
    await plant.status_where(lambda view: counted(view) == good + scrap, "all of them counted")
    plant.document["work_units"]["ASM-01"]["counters"][0]["pieces"] = 2
    assert await reload(plant) == (0, "rules of ASM-01 changed\n", "")
    await standing()
    all_good, all_scrap = await made()
    goal = (good + 2 * (all_good - good), all_scrap)
    assert all_good > good

    def right(view):
        unit = unit_of(view, "ASM-01")
        return (unit["counted_good"], unit["counted_scrap"]) == goal

    await plant.status_where(right, f"{goal} counted")


async def test_a_device_that_answers_at_another_address_goes_on(plant):
    """The device is the same, so its counters go on; the connection to the old address is closed."""
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()
    device = plant.ports["modbus"]
    links = []

    async def forward(reader, writer):
        there = await asyncio.open_connection("127.0.0.1", device)
        links.append(writer)

        async def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := await source.read(4096):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        await plant.produce()
        await more_pieces(plant, 10)
        plant.ports["modbus"] = server.sockets[0].getsockname()[1]
        assert await reload(plant) == (0, "source asm changed\n", "")
        await plant.ready()
        assert links
        await more_pieces(plant, 10)
        await plant.halt()
        result = await plant.arrived()
        await plant.daemon.stop()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


FIXED = [
    (("connectors", "erp", "url"), "http://127.0.0.1:9", "connectors.erp.url: found a change, which needs a restart"),
    (("connectors", "erp", "confirmations"), False, "connectors.erp.confirmations: found a change"),
    (("connectors", "mes"), plan.example()["connectors"]["erp"], "connectors.mes: found a change"),
    (("gateway", "timezone"), "Europe/Paris", "gateway.timezone: found a change"),
    (("gateway", "state_dir"), "elsewhere", "gateway.state_dir: found a change"),
    (("buffer", "journal_keep"), "3 d", "buffer.journal_keep: found a change"),
]


async def test_what_needs_a_restart_is_named_by_its_key_and_place(plant, write_yaml):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    before = await plant.ready()
    document = plant.scaled()
    for keys, value, _said in FIXED:
        at = document
        for key in keys[:-1]:
            at = at.setdefault(key, {})
        at[keys[-1]] = value
    document["work_units"]["ASM-01"]["ideal_cycle"] = "40 ms"
    write_yaml(plant.config, document)
    code, out, err = await plant.cli("reload", "-d", plant.state_dir)
    assert (code, out) == (1, "")
    for _keys, _value, said in FIXED:  # all of them at once: nobody wants to hear them one by one
        assert any(said in line and "linegate.yaml:" in line for line in err.splitlines()), (said, err)
    after = await plant.ask("status")
    assert after["config_digest"] == before["config_digest"]
    warned = [text for text in after["warnings"] if "not reloaded at 20" in text]
    assert len(warned) == 1, after["warnings"]
