"""A PLC whose clock is at 2000-01-01: its pieces are counted and dated by their arrival, and a person is told once."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3

CYCLE_MAX_NS = 60 * 10**9


def rows(plant, kind):
    path = plant.state_dir / "linegate.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [
            json.loads(body)
            for (body,) in database.execute("SELECT body FROM journal WHERE kind = ? ORDER BY seq", (kind,))
        ]


def told(plant):
    return [
        row["code"]
        for row in rows(plant, "notice")
        if row["code"].startswith("SOURCE_CLOCK") and row["detail"]["signal"] == "imm.shots"
    ]


async def test_a_plc_at_2000_01_01_is_counted_dated_by_arrival_and_named_once(plant, until):
    plant.keep("IMM-01")
    plant.document.pop("tests", None)
    unit = plant.document["work_units"]["IMM-01"]
    unit["state"] = {"stop_detect": "400 s"}  # 8 s at the plant's speed
    # A machine that waits for a processor that long is no lost link.
    plant.document["sources"]["imm"].update(timeout="30 s", stale_after="60 s")
    await plant.start_erp()
    await plant.start_machine("IMM-01")
    await plant.release("4711", ("0010", "WC-IMM"), quantity=100_000)
    await plant.run()
    await plant.ready()
    await plant.produce()

    async def made(pieces):
        goal = await plant.counted("IMM-01") + pieces
        await plant.status_where(lambda view: view["work_units"][0]["counted_good"] >= goal, f"{goal} pieces")

    await made(24)
    assert told(plant) == []
    await plant.machines["IMM-01"].command("clock 2000-01-01T00:00:00")
    await made(24)
    await until(lambda: told(plant) == ["SOURCE_CLOCK_SKEW"], lambda: f"the notice; {rows(plant, 'notice')}")
    (notice,) = [row for row in rows(plant, "notice") if row["detail"].get("signal") == "imm.shots"]
    assert notice["detail"]["shows"].startswith("2000-01-01T00:0")
    assert notice["detail"]["used_instead"] == "time of arrival"
    log = plant.daemon.text()
    assert '"code":"SOURCE_CLOCK_SKEW","signal":"imm.shots","shows":"2000-01-01T00:0' in log
    await plant.status_where(lambda view: "clock" in view["sources"][0]["notices"], "the notice in the status")
    await plant.machines["IMM-01"].command("clock ok")
    await made(24)
    await until(lambda: told(plant) == ["SOURCE_CLOCK_SKEW", "SOURCE_CLOCK_RIGHT"], "the clock is right again")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    begun = [row["t_from_ns"] for row in rows(plant, "pieces")]
    assert begun == sorted(begun)
    assert max(later - earlier for earlier, later in itertools.pairwise(begun)) < CYCLE_MAX_NS
    seen = [row["state"] for row in rows(plant, "state")]
    assert seen.count("PRODUCING") == 1, "no stop was invented"
