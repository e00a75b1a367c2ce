"""A source in trouble stops no other source, invents no piece, and says what is wrong with it."""

from __future__ import annotations

import pytest

#: What goes wrong with every answer of the PLC until it is told to stop.
MODBUS_FAULTS = (
    ("exception 4 100000", "exception 4 0"),
    ("short 100000", "short 0"),
    ("wrong-unit 100000", "wrong-unit 0"),
    ("garbage 100000", "garbage 0"),
    ("blackhole 3600", "blackhole 0"),
    ("cut 3600", "cut 0"),
)


def source(view, name):
    return next(one for one in view["sources"] if one["name"] == name)


def counted(view, *units):
    by_name = {unit["id"]: unit for unit in view["work_units"]}
    return tuple(by_name[name]["counted_good"] + by_name[name]["counted_scrap"] for name in units)


@pytest.mark.timeout(180)
async def test_a_broken_plc_stops_neither_the_moulding_machine_nor_the_inputs(plant):
    plant.document["sources"]["asm"]["timeout"] = "200 ms"
    # A machine that waits for a processor that long is no lost link.
    plant.document["sources"]["imm"].update(timeout="30 s", stale_after="60 s")
    await plant.start_erp("--release", "demo")
    for unit in ("ASM-01", "IMM-01", "PCK-01"):
        await plant.start_machine(unit)
    await plant.run()
    await plant.ready()
    await plant.produce()
    asm, others = plant.machines["ASM-01"], ("IMM-01", "PCK-01")
    for begin, end in MODBUS_FAULTS:
        await asm.command(begin)
        view = await plant.status_where(in_trouble, f"trouble after {begin!r}")
        told = source(view, "asm")
        assert told["last_error"] or "refused" in told["problems"]["asm.good"], (begin, told)
        before = counted(view, *others)

        def others_count(view, before=before):
            return in_trouble(view) and all(new > old for new, old in zip(counted(view, *others), before, strict=True))

        view = await plant.status_where(others_count, f"the others counting during {begin!r}")
        assert [source(view, name)["state"] for name in ("imm", "box")] == ["up", "up"], begin
        await asm.command(end)
        await plant.status_where(lambda view: not in_trouble(view), f"the link after {begin!r}")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    asm_row = next(row for row in result.machines if row.machine == "ASM-01")
    assert (asm_row.unknown, asm_row.review) == (0, 0), result.to_json()
    assert asm_row.made[0] > 0


def in_trouble(view):
    asm = source(view, "asm")
    return asm["state"] == "down" or bool(asm["problems"])


async def test_one_bad_node_does_not_keep_the_others_from_counting(plant):
    plant.keep("IMM-01")
    node = "nsu=http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/;s=NoSuchNode"
    plant.document["sources"]["imm"]["signals"]["ghost"] = {"node": node}
    plant.document["work_units"]["IMM-01"]["counters"].append(
        {"mode": "counter", "signal": "imm.ghost", "role": "scrap"}
    )
    await plant.start_erp("--release", "demo")
    await plant.start_machine("IMM-01")
    await plant.run()
    await plant.ready()
    await plant.produce()
    view = await plant.status_where(
        lambda view: counted(view, "IMM-01")[0] >= 24 and source(view, "imm")["problems"], "shots and the problem"
    )
    problems = source(view, "imm")["problems"]
    assert set(problems) == {"imm.ghost"}
    assert "BadNodeIdUnknown" in problems["imm.ghost"]
    assert "NoSuchNode" in problems["imm.ghost"]
    code, out, err = await plant.cli("status", "-d", plant.state_dir)
    assert code == 0, err
    assert "imm.ghost: opc.tcp://" in out
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert sum(result.machines[0].booked) > 0


async def test_a_restarted_opc_ua_server_neither_loses_nor_invents_shots(plant):
    plant.keep("IMM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("IMM-01", "--shots", "4821")
    await plant.run()
    await plant.ready()
    await plant.produce()
    imm = plant.machines["IMM-01"]
    for _ in range(2):
        view = await plant.status()
        before, since = counted(view, "IMM-01")[0], source(view, "imm")["since_ns"]
        await imm.command("restart")

        def again(view, before=before, since=since):
            link = source(view, "imm")
            return link["state"] == "up" and link["since_ns"] > since and counted(view, "IMM-01")[0] > before + 8

        await plant.status_where(again, "the link after the restart, and shots")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def stands(plant):
    return not (await plant.machines["ASM-01"].command("totals"))["producing"]


def _are_of_restarts(intervals):
    """Good parts began anew; a scrap counter that stood so low may as well have gone on, which is told as such."""
    assert {each["flag"] for each in intervals if each["signal"].endswith("good")} == {"RESET"}
    assert {each["flag"] for each in intervals} <= {"RESET", "RESTART_RETENTIVE", "COUNTER_AMBIGUOUS"}


async def test_a_restarted_plc_is_not_counted_twice_and_what_nobody_saw_is_declared(plant):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01", "--good", "30000", "--scrap", "1200")
    await plant.run()
    await plant.ready()
    await plant.produce()
    # Each time it stands higher than what it makes until a busy computer reads it again: that it began anew is plain.
    for more in (40, 140, 240):
        await plant.status_where(lambda view, least=more: counted(view, "ASM-01")[0] >= least, f"{more} pieces")
        await plant.machines["ASM-01"].command("restart")
    view = await plant.status_where(lambda view: counted(view, "ASM-01")[0] >= 280, "pieces after the last restart")
    _are_of_restarts(view["work_units"][0]["unknown"])
    assert all(interval["max_pieces"] is not None for interval in view["work_units"][0]["unknown"])
    await plant.halt()
    result = await plant.arrived(exact=False)
    row = result.machines[0]
    assert row.unknown >= 0, result.to_json()  # never more than was made
    assert result.balanced, result.to_json()
    assert row.unknown <= sum(interval["max_pieces"] for interval in row.unknown_intervals)
    assert row.review == 0


async def test_a_restart_that_looks_like_a_roll_over_is_known_by_the_boot_counter(plant, until):
    """The PLC restarts unseen, a few counts before its roll-over; when it is seen again both would be plausible."""
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01", "--good", "65500", "--stop-after", "20")
    await plant.run()
    await plant.ready()
    await plant.produce()
    asm = plant.machines["ASM-01"]
    await until(lambda: stands(plant), "the machine to stand, before its roll-over")
    made = await asm.command("totals")
    assert made["good_total"] + made["scrap_total"] == 20
    before = sum(row["good"] + row["scrap"] for row in await plant.truth("ASM-01"))
    await plant.status_where(lambda view: counted(view, "ASM-01")[0] == before, "the pieces before the restart")
    await asm.command("cut 600")
    await asm.command("restart")
    await plant.produce()

    async def more():
        return (await asm.command("totals"))["good_total"] >= made["good_total"] + 15

    await until(more, "pieces that nobody saw")
    await asm.command("faults off")
    await plant.status_where(lambda view: counted(view, "ASM-01")[0] >= before + 20, "pieces after the restart")
    await plant.halt()
    result = await plant.arrived(exact=False)
    assert result.balanced, result.to_json()
    _are_of_restarts(result.machines[0].unknown_intervals)


async def test_a_counter_that_rolls_over_while_the_gateway_is_dead_loses_nothing(plant, until):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    # It stands by itself before it rolls over: however late the gateway is killed, nobody looks at that.
    await plant.start_machine("ASM-01", "--good", "65470", "--stop-after", "55")
    await plant.run()
    await plant.ready()
    await plant.produce()
    await plant.status_where(lambda view: counted(view, "ASM-01")[0] >= 5, "the first pieces")
    plant.daemon.kill()
    await plant.daemon.ended()

    await until(lambda: stands(plant), "the machine to stand, before its roll-over")

    async def good():
        return sum(row["good"] for row in await plant.truth("ASM-01"))

    assert await good() < 66, "it had rolled over before"
    await plant.produce()

    async def rolled_over():
        return await good() >= 90

    await until(rolled_over, "the roll-over")
    await plant.run()
    await plant.ready()
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)
