"""From ``linegate write`` to a PLC: what is whitelisted arrives, anything else is refused, both are audited."""

from __future__ import annotations

import json

JOB = {"table": "holding", "address": 8, "type": "string", "length": 16, "writable": {"max_length": 16}}


async def audited(plant):
    code, out, err = await plant.cli("audit", "show", "--json", "-d", plant.state_dir)
    assert code == 0, err
    return [row for row in json.loads(out) if row["action"] == "write_signal"]


async def jobs(plant):
    """What the PLC itself knows of job ids that a client wrote."""
    text = (plant.folder / "ASM-01.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
    return [row["job"] for row in rows if row["event"] == "job" and row.get("by") == "write"]


async def test_a_job_id_arrives_in_the_plc_and_nothing_else_does(plant, until):
    plant.keep("ASM-01")
    signals = plant.document["sources"]["asm"]["signals"]
    signals["job"] = JOB
    # The PLC refuses this one, whoever allows it here.
    signals["tool"] = {"table": "holding", "address": 16, "writable": {"min": "0", "max": "99"}}
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()

    async def write(*arguments):
        return await plant.cli("write", *arguments, "-d", plant.state_dir)

    code, out, err = await write("asm.job", "100240-0010", "--reason", "hand over", "--as", "shift 2")
    assert (code, err) == (0, ""), err
    assert "asm.job: wrote 100240-0010" in out
    await until(lambda: jobs(plant), "the job in the truth")
    assert await jobs(plant) == ["100240-0010"]
    before = (plant.folder / "ASM-01.jsonl").read_text()

    code, out, err = await write("asm.good", "7")
    assert (code, out) == (1, "")
    assert "sources.asm.signals.good.writable: found nothing" in err
    code, out, err = await write("asm.job", "X" * 17)
    assert (code, out) == (1, "")
    assert "allowed: printable text of up to 16 characters" in err
    code, out, err = await write("asm.tool", "5")
    assert (code, out) == (1, "")
    assert "exception" in err

    assert (plant.folder / "ASM-01.jsonl").read_text() == before
    rows = await audited(plant)
    assert [(row["entity_id"], row["outcome"]) for row in rows] == [
        ("asm.job", "attempted"),
        ("asm.job", "done"),
        ("asm.good", "refused"),
        ("asm.job", "refused"),
        ("asm.tool", "attempted"),
        ("asm.tool", "failed"),
    ]
    assert (rows[0]["new"], rows[0]["reason_text"]) == ("100240-0010", "hand over")
    assert rows[0]["user"].startswith("shift 2")
    assert rows[1]["field"] == rows[0]["field"]
    view = await plant.status()
    assert view["sources"][0]["state"] == "up"


async def test_a_write_while_the_plc_is_gone_is_refused_and_audited(plant):
    plant.keep("ASM-01")
    plant.document["sources"]["asm"]["signals"]["job"] = JOB
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.status_where(lambda view: view["sources"][0]["state"] == "up", "the link")
    await plant.machines["ASM-01"].command("cut 600")
    await plant.status_where(lambda view: view["sources"][0]["state"] == "down", "the loss")
    code, out, err = await plant.cli("write", "asm.job", "A", "-d", plant.state_dir)
    assert (code, out) == (1, "")
    assert "not written: source asm is not up" in err
    assert [row["outcome"] for row in await audited(plant)] == ["attempted", "failed"]
    await plant.machines["ASM-01"].command("faults off")
    await plant.status_where(lambda view: view["sources"][0]["state"] == "up", "the link again")
    code, out, err = await plant.cli("write", "asm.job", "A", "-d", plant.state_dir)
    assert code == 0, err
    assert await jobs(plant) == ["A"]
