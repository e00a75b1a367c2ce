"""At a change of orders the counters are read by the real driver, however seldom it looks otherwise."""

from __future__ import annotations

import pytest

#: 8 s at the plant's speed: mostly no regular reading falls between the last piece and the change.
SELDOM = "400 s"


def of_orders(view):
    (unit,) = view["work_units"]
    return {job["order"]: job["good"] + job["scrap"] for job in unit["queue"]}


async def made(plant, unit):
    found = await plant.truth(unit)
    return sum(row["good"] + row["scrap"] for row in found)


async def some_more(plant, unit, than, until):
    async def enough():
        return await made(plant, unit) > than + 3

    await until(enough, "pieces")
    await plant.halt(unit)
    return await made(plant, unit)


@pytest.mark.parametrize("unit", ["ASM-01", "IMM-01"], ids=["modbus", "opcua"])
async def test_each_piece_is_the_order_s_that_ran_whoever_looked_when(plant, until, unit):
    plant.keep(unit)
    (source,) = plant.document["sources"].values()
    source |= {"scan": SELDOM, "timeout": "5 s"} if unit == "ASM-01" else {"publish": SELDOM, "stale_after": "10 min"}
    rules = plant.document["work_units"][unit]
    # As long as it may wait: a busy computer reads later, and what is not read in time is shared.
    rules["orders"] = {"choose": "command", "guards": {"sequence": "off"}, "read_at_change": "5 s"}
    rules.pop("state", None)
    await plant.start_erp()
    await plant.start_machine(unit)
    await plant.run()
    for number, order in enumerate(("A-1", "B-1")):
        await plant.release(order, ("0010", rules["work_center"]), quantity=50_000, sequence_no=number)
    await plant.status_where(
        lambda view: len(of_orders(view)) == 2 and all(one["state"] == "up" for one in view["sources"]), "two orders"
    )
    bounds = [0]
    for order in ("A-1", "B-1"):
        code, out, err = await plant.cli("order", "start", unit, order, "-d", plant.state_dir)
        assert code == 0, out + err
        await plant.produce(unit)
        bounds.append(await some_more(plant, unit, bounds[-1], until))
    code, out, err = await plant.cli("order", "interrupt", unit, "B-1", "-d", plant.state_dir)
    assert code == 0, out + err
    pieces = of_orders(await plant.status())
    assert pieces == {"A-1": bounds[1], "B-1": bounds[2] - bounds[1]}
