"""Material, lots, people and serial numbers at a real machine: the command line and the API, through a kill."""

from __future__ import annotations

import json

SECTION = {"lots": {"feeders": {"bowl": {"item": "RING"}}, "missing": "flag"}}


def unit_of(view):
    (unit,) = view["work_units"]
    return unit


async def test_people_lots_and_serial_numbers_survive_a_kill_and_are_traced(plant):
    plant.keep("ASM-01")
    plant.document["work_units"]["ASM-01"]["work"] = SECTION
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.run()
    where = ("-d", plant.state_dir)

    async def says(*words):
        return await plant.cli(*words, *where)

    await plant.status_where(lambda view: unit_of(view)["id"] == "ASM-01", "the gateway")
    code, out, err = await says("labour", "in", "ASM-01", "bob")
    assert (code, out) == (0, "ASM-01: bob is logged in\n"), err
    assert (await says("labour", "in", "ASM-01", "bob"))[0] == 1, "twice"
    code, out, err = await says("lots", "mount", "ASM-01", "bowl", "L1", "--quantity", "500.5")
    assert (code, out) == (0, "ASM-01: lot L1 is mounted at bowl\n"), err
    assert (await says("lots", "unmount", "ASM-01", "hopper", "L1"))[0] == 1
    code, out, err = await says("lots", "serial", "ASM-01", "SN-1")
    assert (code, "no order runs" in err) == (1, True), err
    await plant.release("A-1", ("0010", "WC-ASM"), quantity=5000)
    await plant.status_where(lambda view: unit_of(view)["order"] == "A-1", "the order")
    assert (await says("lots", "serial", "ASM-01", "SN-1"))[:2] == (0, "ASM-01: serial number SN-1 taken\n")
    code, out, err = await says("lots", "serial", "ASM-01", "SN-1")
    assert (code, "a piece is on hold" in out) == (0, True), err
    code, out, err = await says("lots", "issue", "ASM-01", "A-1", "SAND", "1")
    assert (code, "UNKNOWN_MATERIAL" in err) == (1, True), err
    plant.daemon.kill()
    await plant.daemon.ended()
    await plant.run()
    await plant.ready()
    await plant.produce()
    view = await plant.status_where(lambda view: unit_of(view)["hold"] == 1, "the held piece")
    unit = unit_of(view)
    assert [one["person"] for one in unit["operators"]] == ["bob"]
    assert [(one["feeder"], one["lot"], one["left"]) for one in unit["lots"]] == [("bowl", "L1", "500.5")]
    await plant.status_where(lambda view: unit_of(view)["good"] > 3, "pieces")
    await plant.halt()
    assert (await says("labour", "out", "ASM-01", "bob"))[0] == 0
    code, out, err = await says("status")
    assert (code, "bowl lot L1 (500.5 left)" in out) == (0, True), (out, err)
    code, out, err = await says("order", "interrupt", "ASM-01", "A-1")
    assert code == 0, err
    code, out, err = await says("lots", "trace", "SN-1", "--backward", "--json")
    assert code == 0, err
    (trace,) = json.loads(out)["traces"]
    assert [(one["kind"], one["number"]) for one in trace["reached"]] == [("lot", "A-1")]
    code, out, err = await says("lots", "trace", "A-1")
    assert (code, "serial SN-1" in out) == (0, True), (out, err)
    assert (await says("lots", "trace", "L9"))[0] == 1
    code, out, err = await says("lots", "name", "ASM-01", "A-1", "bowl", "L1", "--reason", "label found")
    assert (code, "NOTHING_UNKNOWN" in err) == (1, True), (out, err)
