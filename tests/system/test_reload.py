"""A changed configuration taken while machines produce: no piece lost or doubled, all or nothing."""

from __future__ import annotations

import signal

from gateway.demo import plan


def counted(view):
    return sum(unit["counted_good"] + unit["counted_scrap"] for unit in view["work_units"])


def unit_of(view, name):
    return next(unit for unit in view["work_units"] if unit["id"] == name)


async def started(plant, *machines):
    plant.keep(*machines)
    for name in {"asm", "imm"} & set(plant.document["sources"]):
        # A machine that waits for a processor that long is no lost link.
        plant.document["sources"][name].update(timeout="30 s", stale_after="60 s")
    await plant.start_erp("--release", "demo")
    for machine in machines:
        await plant.start_machine(machine)
    await plant.run()
    return await plant.ready()


async def reload(plant):
    plant.write()
    return await plant.cli("reload", "-d", plant.state_dir)


async def more_pieces(plant, number=12):
    goal = counted(await plant.ask("status")) + number
    return await plant.status_where(lambda view: counted(view) >= goal, f"{number} more pieces")


async def balanced(plant):
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    return result


async def test_rules_change_while_it_counts_and_no_piece_is_lost_or_doubled(plant):
    before = await started(plant, "ASM-01")
    await plant.produce()
    rules = plant.document["work_units"]["ASM-01"]
    for every_pieces, ideal_cycle in ((5, "2.5 s"), (7, "2 s"), (3, "2.4 s")):
        view = await more_pieces(plant)
        rules["confirm"]["every_pieces"] = every_pieces
        rules["ideal_cycle"] = ideal_cycle
        assert await reload(plant) == (0, "rules of ASM-01 changed\n", "")
        after = await plant.ask("status")
        assert after["pid"] == before["pid"]
        assert after["config_digest"] != view["config_digest"]
        assert after["sources"][0]["reconnects"] == 0
    view = await more_pieces(plant)
    assert unit_of(view, "ASM-01")["state"] == "PRODUCING"
    result = await balanced(plant)
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def test_a_state_that_means_something_else_is_told_although_it_does_not_change(plant):
    await started(plant, "ASM-01")
    await plant.produce()
    await plant.status_where(lambda view: unit_of(view, "ASM-01")["state"] == "PRODUCING", "production")
    plant.document["sources"]["asm"]["signals"]["state"]["report"] = "change"
    assert (await reload(plant))[0] == 0
    await plant.status_where(lambda view: unit_of(view, "ASM-01")["state"] == "PRODUCING", "production")
    await more_pieces(plant)
    plant.document["work_units"]["ASM-01"]["state"]["map"]["2"] = "CLEANING"
    assert await reload(plant) == (0, "rules of ASM-01 changed\n", "")
    await plant.status_where(lambda view: unit_of(view, "ASM-01")["state"] == "CLEANING", "the other meaning")
    result = await balanced(plant)
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def test_pulses_go_on_without_a_gap_when_their_limits_change(plant):
    await started(plant, "PCK-01")
    await plant.produce()
    for min_cycle in ("10 s", "15 s", "5 s"):
        await more_pieces(plant, 24)
        plant.document["work_units"]["PCK-01"]["counters"][0]["min_cycle"] = min_cycle
        code, out, err = await reload(plant)
        assert (code, out) == (0, "rules of PCK-01 changed\n"), err
    await more_pieces(plant, 24)
    result = await balanced(plant)
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def test_a_changed_source_is_opened_anew_alone_and_its_counters_are_caught_up(plant):
    view = await started(plant, "ASM-01", "IMM-01")
    await plant.produce()
    epoch = {source["name"]: source["since_ns"] for source in view["sources"]}
    await more_pieces(plant)
    plant.document["sources"]["asm"]["backoff_max"] = "3 s"
    code, out, err = await reload(plant)
    assert (code, out) == (0, "source asm changed\n"), err
    view = await plant.ready()
    since = {source["name"]: source["since_ns"] for source in view["sources"]}
    assert since["asm"] > epoch["asm"]
    assert since["imm"] == epoch["imm"]
    await more_pieces(plant)
    result = await balanced(plant)
    assert [(one.unknown, one.review) for one in result.machines] == [(0, 0), (0, 0)]


async def test_machines_come_and_go(plant):
    await started(plant, "ASM-01")
    document, sources, units = plant.document, plant.document["sources"], plant.document["work_units"]
    await plant.start_machine("PCK-01")
    sources["box"] = plan.example()["sources"]["box"] | {"backoff_max": "1 s"}
    units["PCK-01"] = plan.example()["work_units"]["PCK-01"]
    code, out, err = await reload(plant)
    assert (code, out) == (0, "work unit PCK-01 added; source box added\n"), err
    await plant.ready()
    await plant.produce()
    await more_pieces(plant, 30)
    view = await plant.status_where(lambda view: unit_of(view, "PCK-01")["counted_good"] > 0, "cartons")
    assert [unit["id"] for unit in view["work_units"]] == ["ASM-01", "PCK-01"]
    del document["work_units"]["PCK-01"], document["sources"]["box"]
    code, out, err = await reload(plant)
    assert (code, out) == (1, ""), out
    assert "work_units.PCK-01: removed, but it has open orders (" in err
    still = await plant.ask("status")
    assert [unit["id"] for unit in still["work_units"]] == ["ASM-01", "PCK-01"]
    assert {source["state"] for source in still["sources"]} == {"up"}
    assert any("not reloaded" in text for text in still["warnings"])
    await balanced(plant)


WRONG = [
    (("gateway", "id"), "another", "gateway.id: found a change, which needs a restart of the gateway"),
    (("gateway", "plant"), "RQ2", "gateway.plant: found a change"),
    (("buffer", "max_size"), "3 GiB", "buffer.max_size: found a change"),
    (("connectors", "erp", "poll_orders"), "3 s", "connectors.erp.poll_orders: found a change"),
    (("connectors", "erp", "server_time_limit"), "9 s", "connectors.erp.server_time_limit: found a change"),
    (("work_units", "ASM-01", "work_center"), "WC-X", "work_units.ASM-01.work_center: found 'WC-X' instead of"),
    (("work_units", "ASM-01", "ideal_cycle"), "fast", "work_units.ASM-01.ideal_cycle: found 'fast'"),
    (("sources", "asm", "signals", "good", "address"), -1, "sources.asm.signals: good: address: found -1"),
]


async def test_all_or_nothing(plant, write_yaml):
    """Beside something wrong, what could change does not either."""
    await started(plant, "ASM-01")
    before = await plant.ask("status")
    for keys, value, said in WRONG:
        document = plant.scaled()
        at = document
        for key in keys[:-1]:
            at = at.setdefault(key, {})
        at[keys[-1]] = value
        document["work_units"]["ASM-01"].setdefault("confirm", {})["every_pieces"] = 11
        write_yaml(plant.config, document)
        code, out, err = await plant.cli("reload", "-d", plant.state_dir)
        assert (code, out) == (1, "")
        assert "linegate.yaml:" in err
        assert said in err
        after = await plant.ask("status")
        assert after["config_digest"] == before["config_digest"]
        assert after["pid"] == before["pid"]
        assert any(said in text for text in after["warnings"])
    assert await reload(plant) == (0, "nothing changed\n", "")
    assert not any("not reloaded" in text for text in (await plant.ask("status"))["warnings"])


async def test_hang_up_reloads_too(plant, until):
    before = await started(plant, "ASM-01")
    plant.config.write_text("gateway: [", encoding="utf-8")
    plant.daemon.process.send_signal(signal.SIGHUP)
    await until(lambda: "configuration not reloaded" in plant.daemon.text(), "the refusal in the log")
    plant.document["work_units"]["ASM-01"]["confirm"]["every_pieces"] = 4
    plant.write()
    plant.daemon.process.send_signal(signal.SIGHUP)
    view = await plant.status_where(lambda view: view["config_digest"] != before["config_digest"], "the new digest")
    assert view["pid"] == before["pid"]
    await plant.produce()
    await more_pieces(plant)
    await balanced(plant)


async def test_what_was_reloaded_is_there_after_a_kill(plant):
    await started(plant, "ASM-01")
    await plant.produce()
    await more_pieces(plant)
    plant.document["work_units"]["ASM-01"]["confirm"]["every_pieces"] = 2
    assert (await reload(plant))[0] == 0
    plant.daemon.kill()
    await plant.daemon.ended()
    await plant.run()
    await plant.ready()
    await more_pieces(plant)
    result = await balanced(plant)
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def test_nobody_is_asked_where_none_runs(plant):
    plant.state_dir.mkdir()
    code, out, err = await plant.cli("reload", "-d", plant.state_dir)
    assert (code, out) == (3, "")
    assert "no linegate daemon runs" in err
