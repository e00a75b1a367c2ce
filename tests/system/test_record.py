"""Recording through the running gateway while a machine produces, and replaying the file through other rules."""

from __future__ import annotations

import asyncio
import json

#: Seconds. Where the computer was so busy that too little falls into the first, it is done once more.
LENGTHS_S = (3, 30)


def counted(view):
    return sum(unit["counted_good"] + unit["counted_scrap"] for unit in view["work_units"])


def only_asm(plant):
    plant.keep("ASM-01")
    # A machine that waits for a processor that long is no lost link.
    plant.document["sources"]["asm"].update(timeout="30 s", stale_after="60 s")


async def recorded(plant, file, enough, *command):
    """Record until there is enough in the file; its rows."""
    for seconds in LENGTHS_S:
        file.unlink(missing_ok=True)
        code, out, err = await plant.cli("record", *command, "--seconds", seconds, "--out", file)
        assert code == 0, err
        assert "; done" in out
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        if enough(of("asm.good", rows)):
            break
    return rows


def of(signal, rows):
    return [row[3] for row in rows[1:] if row[0] == "v" and row[2] == signal]


async def test_what_was_recorded_is_what_the_gateway_counted(plant, write_yaml):
    only_asm(plant)
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()
    await plant.produce()
    await plant.status_where(lambda view: counted(view) >= 10, "pieces")
    file = plant.folder / "asm.jsonl"
    rows = await recorded(plant, file, lambda good: good[-1] - good[0] > 10, "ASM-01", "-d", plant.state_dir)
    await plant.halt()
    assert rows[0]["kind"] == "machine"
    assert len(rows[0]["digest"]) == 64
    assert rows[-1][0] == "end"
    replay = ("replay", file, "--config", plant.config)
    code, out, err = await plant.cli(*replay, "--json")
    assert code == 0, err
    new = json.loads(out)["machines"]["ASM-01"]["new"]
    good, scrap = of("asm.good", rows), of("asm.scrap", rows)
    assert good[-1] - good[0] > 10
    assert (new["numbers"]["good"], new["numbers"]["scrap"]) == (good[-1] - good[0], scrap[-1] - scrap[0])
    assert (new["numbers"]["unknown"], new["numbers"]["review"], new["unread"]) == (0, 0, [])
    assert new["states_ns"]["PRODUCING"] > 0
    code, out, err = await plant.cli(*replay, "--against", plant.config)
    assert code == 0, err
    assert "no difference" in out
    # Other rules: two pieces a count, and a state that means something else.
    document = plant.scaled()
    rules = document["work_units"]["ASM-01"]
    rules["counters"][0]["pieces"] = 2
    rules["state"]["map"]["2"] = "SETUP"
    other = write_yaml(plant.folder / "new.yaml", document)
    made = sum(row["good"] + row["scrap"] for row in await plant.truth("ASM-01"))
    before = await plant.status_where(lambda view: counted(view) == made, "all that was made to be counted")
    code, out, err = await plant.cli("replay", file, "--config", other, "--against", plant.config, "--json")
    assert code == 0, err
    result = json.loads(out)["machines"]["ASM-01"]
    assert result["old"]["numbers"]["good"] * 2 == result["new"]["numbers"]["good"]
    assert result["new"]["states_ns"].get("SETUP", 0) > 0
    assert result["same"] is False
    assert result["first_difference"]["old"] != result["first_difference"]["new"]
    assert rows[0]["started_ns"] - 10**9 <= result["first_difference"]["at_ns"] <= rows[-1][1]
    code, out, err = await plant.cli("replay", file, "--config", other, "--against", plant.config)
    assert "first difference at " in out
    assert "<<< here" in out
    assert counted(await plant.ask("status")) == counted(before)


async def test_a_source_is_recorded_through_the_gateway_or_directly(plant):
    only_asm(plant)
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    plant.write()
    await plant.produce()
    direct, through = plant.folder / "direct.jsonl", plant.folder / "through.jsonl"

    def pieces(good):
        return good and good[-1] > good[0]

    await recorded(plant, direct, pieces, "asm", "-c", plant.config)
    await plant.run()
    await plant.ready()
    await recorded(plant, through, pieces, "asm", "-c", plant.config)
    for file in (direct, through):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert rows[0]["kind"] == "source"
        code, out, err = await plant.cli("replay", file, "--config", plant.config, "--json")
        assert code == 0, err
        new = json.loads(out)["machines"]["ASM-01"]["new"]
        good = of("asm.good", rows)
        assert new["numbers"]["good"] == good[-1] - good[0] > 0
    signals = {json.loads(line)[2] for line in direct.read_text().splitlines()[1:-1]}
    assert "asm.current" in signals  # no rule reads it; a new one may
    await plant.halt()


async def test_a_source_that_is_opened_anew_is_said_to_be_lost_meanwhile(plant, until):
    only_asm(plant)
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()
    file = plant.folder / "asm.jsonl"

    async def opened_anew(backoff_max):
        await until(file.exists, "the recording to begin")
        plant.document["sources"]["asm"]["backoff_max"] = backoff_max
        plant.write()
        return await plant.cli("reload", "-d", plant.state_dir)

    for number, seconds in enumerate(LENGTHS_S):
        file.unlink(missing_ok=True)
        reload = asyncio.create_task(opened_anew(f"{3 + number} s"))
        code, out, err = await plant.cli("record", "ASM-01", "--seconds", seconds, "--out", file, "-d", plant.state_dir)
        assert code == 0, err
        code, out, err = await reload
        assert (code, out) == (0, "source asm changed\n"), err
        rows = [json.loads(line) for line in file.read_text().splitlines()][1:-1]
        good = [row[4] for row in rows if row[0] == "v" and row[2] == "asm.good"]
        if 2 in good and good[-1] == 0:
            break
    assert (good[0], good.count(2), good[-1]) == (0, 1, 0)


async def test_what_cannot_be_recorded_says_why(plant):
    only_asm(plant)
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()
    file = plant.folder / "there.jsonl"
    file.write_text("kept")
    record = ("record", "ASM-01", "--seconds", 1, "-d", plant.state_dir, "--out")
    code, out, err = await plant.cli(*record, file)
    assert (code, out, file.read_text()) == (1, "", "kept")
    assert "already exists and is not overwritten" in err
    code, out, err = await plant.cli(
        "record", "ASM-2", "--seconds", 1, "-d", plant.state_dir, "--out", plant.folder / "n"
    )
    assert (code, out) == (1, "")
    assert "found 'ASM-2', allowed a work unit (ASM-01) or a source (asm)" in err
    assert not (plant.folder / "n").exists()
    for _ in range(4):
        await plant.ask("record.open", name="asm")
    code, out, err = await plant.cli(*record, plant.folder / "n")
    assert code == 1
    assert "too many recordings" in err
    await plant.daemon.stop()
    code, out, err = await plant.cli(*record, plant.folder / "n")
    assert code == 3
