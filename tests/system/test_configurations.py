"""Configurations besides the demo's, end to end: who chooses the order, where it comes from, where it is confirmed."""

from __future__ import annotations

import csv
import io
import json

import pytest
import yaml

REGISTER_8 = {"12593": "11", "12594": "12"}  # what two ASCII characters read as one 16-bit number


def unit(view, name="ASM-01"):
    return next(one for one in view["work_units"] if one["id"] == name)


async def booked(plant, order):
    rows = [row for row in await plant.ledger() if row["order"] == order]
    return sum(row["good"] + row["scrap"] for row in rows)


async def test_the_plc_names_the_running_job(plant, until):
    plant.keep("ASM-01", "IMM-01")
    document = plant.document
    document["sources"]["asm"]["signals"]["job"] = {"table": "holding", "address": 8, "type": "uint16"}
    document["work_units"]["ASM-01"]["orders"] = {
        "choose": "job_signal", "job_signal": "asm.job", "job_format": "{order}", "at_target": "continue",
    }  # fmt: skip
    node = "nsu=http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/;s=JobName"
    document["sources"]["imm"]["signals"]["job"] = {"node": node}
    document["work_units"]["IMM-01"]["orders"] = {
        "choose": "job_signal", "job_signal": "imm.job", "at_target": "continue",
    }  # fmt: skip
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.start_machine("IMM-01")
    for number in REGISTER_8:
        await plant.release(number, ("0010", "WC-ASM"), quantity=1000)
    for number in ("M1", "M2"):
        await plant.release(number, ("0030", "WC-IMM"), quantity=1000)
    asm, imm = plant.machines["ASM-01"], plant.machines["IMM-01"]
    await asm.command("job 11")
    await imm.command("job M1-0030")
    await plant.run()
    await plant.ready()
    await plant.produce()
    for number, text in (*REGISTER_8.items(), *REGISTER_8.items()):
        await asm.command(f"job {text}")
        await plant.status_where(lambda view, job=number: unit(view)["order"] == job, f"ASM-01 at {number}")
        more = await booked(plant, number) + 12

        async def flows(job=number, least=more):
            return await booked(plant, job) >= least

        await until(flows, f"bookings of {number}")
    await imm.command("job M2-0030")
    await plant.status_where(lambda view: unit(view, "IMM-01")["order"] == "M2", "IMM-01 at M2")
    await plant.status_where(lambda view: unit(view, "IMM-01")["good"] >= 16, "shots for M2")
    # A job that the ERP never released: its pieces belong to nobody yet, and nobody else's order grows.
    await asm.command("job ZZ")
    await plant.status_where(
        lambda view: unit(view)["order"] is None and unit(view)["unallocated_good"] > 5, "pieces without an order"
    )
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()


async def test_a_person_starts_interrupts_and_finishes_orders(plant, until):
    plant.keep("ASM-01")
    plant.document["work_units"]["ASM-01"]["orders"] = {"choose": "command", "at_target": "continue"}
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    for number in ("200001", "200002"):
        await plant.release(number, ("0010", "WC-ASM"), quantity=500)
    await plant.run()
    await plant.status_where(lambda view: len(unit(view)["queue"]) == 2, "two orders")
    assert unit(await plant.status())["order"] is None

    async def order(verb, *arguments):
        return await plant.cli("order", verb, *arguments, "-d", plant.state_dir)

    async def listed():
        code, out, err = await order("list", "--json")
        assert code == 0, err
        return {job["order"]: job["state"] for job in json.loads(out)["ASM-01"]}

    assert await listed() == {"200001": "DISPATCHED", "200002": "DISPATCHED"}
    code, _out, err = await order("interrupt", "ASM-01", "200001")
    assert (code, "not running" in err) == (1, True), err
    code, out, err = await order("start", "ASM-01", "200002")
    assert (code, out.startswith("ASM-01: start 200002 done; despite G8 sequence: found order 200001")) == (0, True), (
        err
    )
    await plant.produce()
    await plant.status_where(lambda view: unit(view)["order"] == "200002" and unit(view)["good"] > 12, "pieces")
    code, _out, err = await order("start", "ASM-01", "200001", "0010")
    assert code == 0, err
    assert await listed() == {"200001": "IN_PROGRESS", "200002": "INTERRUPTED"}
    await plant.status_where(lambda view: unit(view)["good"] > 12, "pieces of the other order")
    code, out, err = await order("list")
    assert code == 0, err
    assert "ASM-01" in out
    assert "200001/0010" in out
    assert "IN_PROGRESS" in out
    code, _out, err = await order("finish", "ASM-01", "200001")
    assert code == 0, err
    await until(lambda: final(plant, "200001"), "the final confirmation")
    assert await listed() == {"200002": "INTERRUPTED"}
    for arguments, reason in (
        (("start", "ASM-01", "999999"), "order 999999 is not open at this work unit; open orders: 200002/0010"),
        (("finish", "ASM-01", "200001"), "ILLEGAL_TRANSITION: order 200001/0010 has ended, COMPLETED"),
        (("start", "NO-SUCH", "200002"), "unknown machine 'NO-SUCH'; allowed: ASM-01"),
    ):
        code, _out, err = await order(*arguments)
        assert code == 1
        assert reason in err
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert await booked(plant, "200002") > 12


async def final(plant, order):
    return [row for row in await plant.ledger() if row["order"] == order and row["final"]]


def confirmations(folder):
    rows = []
    for file in sorted(folder.glob("*.csv")):
        rows += csv.DictReader(io.StringIO(file.read_text()), delimiter=";")
    return rows


async def test_orders_and_confirmations_as_files(plant, until):
    plant.keep("ASM-01")
    plant.document["connectors"] = {
        "share": {"connector": "file", "folder": "share", "poll_orders": "5 s", "backoff_max": "1 s"}
    }
    share = plant.folder / "share"
    await plant.start_machine("ASM-01")
    await plant.run()
    # The share is not mounted: a state, not a failed start, and nothing is made in its place.
    await plant.status_where(lambda view: any("is missing" in text for text in view["warnings"]), "the missing folder")
    assert not share.exists()
    (share / "orders").mkdir(parents=True)
    (share / "orders" / "batch.csv").write_text(
        "order;operation;work_center;product;quantity;sequence_no\n"
        "300001;0010;WC-ASM;P-1;24;1\n"
        "300002;0010;WC-ASM;P-1;50000;2\n"
    )
    await plant.ready()
    await until((share / "orders" / "done" / "batch.csv").exists, "the file to be moved")
    await plant.status_where(lambda view: not view["warnings"], "the end of the warning")
    await plant.produce()
    # Confirmations wait as long as their folder is missing ...
    await plant.status_where(lambda view: view["targets"][0]["waiting"] >= 2, "waiting confirmations")
    (share / "confirmations").mkdir()
    # ... and then arrive in order.
    await plant.status_where(
        lambda view: view["targets"][0]["delivered"] >= 5 and view["targets"][0]["link"] == "up", "confirmations"
    )
    await plant.halt()
    goal = sum(row["good"] + row["scrap"] for row in await plant.truth("ASM-01"))

    def done(view):
        one = unit(view)
        return one["counted_good"] + one["counted_scrap"] == goal and not view["targets"][0]["waiting"]

    async def one_moment():
        """Neither on its way to the folder, nor made by a timer between the two looks."""
        view = await plant.status_where(done, "everything counted and written")
        if await plant.on_its_way():
            return None
        rows = confirmations(share / "confirmations")
        return view["work_units"] == (await plant.ask("status"))["work_units"] and (view, rows)

    view, rows = await until(one_moment, "a moment in which nothing is on its way")
    open_pieces = unit(view)["unconfirmed_good"] + unit(view)["unconfirmed_scrap"]
    assert sum(int(row["good"]) + int(row["scrap"]) for row in rows) + open_pieces == goal
    first = [row for row in rows if row["order"] == "300001"]
    assert sum(int(row["good"]) + int(row["scrap"]) for row in first) == 24
    assert [row["type"] for row in first][-1] == "final"
    assert [int(row["seq"]) for row in first] == list(range(1, len(first) + 1))
    assert len({row["key"] for row in rows}) == len(rows)
    # A broken file is refused whole, with its reasons beside it, and is named in the status.
    (share / "orders" / "broken.csv").write_text("order;operation;work_center;product;quantity\n1;0010;WC-ASM;P;-3\n")
    await until((share / "orders" / "error" / "broken.csv").exists, "the refusal")
    assert "quantity" in (share / "orders" / "error" / "broken.csv.error.txt").read_text()
    await plant.status_where(lambda view: any("broken.csv" in text for text in view["warnings"]), "the warning")


async def test_two_targets_get_every_confirmation_and_one_does_not_hold_up_the_other(plant, until):
    plant.keep("ASM-01")
    plant.document["connectors"]["archive"] = {
        "connector": "file", "folder": "archive", "orders": False, "backoff_max": "1 s",
    }  # fmt: skip
    plant.document["work_units"]["ASM-01"]["confirm"]["also_to"] = ["archive"]
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()
    await plant.produce()

    def target(view, name):
        return next(one for one in view["targets"] if one["name"] == name)

    await plant.status_where(
        lambda view: target(view, "erp")["posted"] >= 4 and target(view, "archive")["waiting"] >= 4, "one waiting"
    )
    (plant.folder / "archive" / "confirmations").mkdir(parents=True)
    await plant.status_where(lambda view: target(view, "archive")["delivered"] >= 4, "the archive")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    archived = {row["key"]: (int(row["good"]), int(row["scrap"])) for row in
                confirmations(plant.folder / "archive" / "confirmations")}  # fmt: skip
    at_erp = {row["key"]: (row["good"], row["scrap"]) for row in await plant.ledger()}
    assert archived == at_erp
    assert len(archived) >= 5


async def test_machines_in_files_of_their_own_and_a_state_directory_from_the_environment(plant, write_yaml):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    document = plant.scaled()
    plant.state_dir = plant.folder / "elsewhere"
    (plant.folder / "machines").mkdir()
    machine = {name: document.pop(name) for name in ("sources", "work_units")}
    write_yaml(plant.folder / "machines" / "asm.yaml", machine)
    document["include"] = ["machines/*.yaml"]
    document["gateway"]["state_dir"] = str(plant.folder / "not-this-one")
    config = write_yaml(plant.config, document)
    override = {"LINEGATE_GATEWAY__STATE_DIR": str(plant.state_dir)}
    await plant.run(config=config, env=override)
    view = await plant.ready()
    assert view["state_dir"] == str(plant.state_dir)
    assert not (plant.folder / "not-this-one").exists()
    await plant.produce()
    await plant.status_where(lambda view: view["targets"][0]["posted"] >= 2, "bookings")
    # The same variable leads the other commands there, with and without the file.
    for arguments in (("status", "-c", config), ("status",)):
        code, out, err = await plant.cli(*arguments, env=override)
        assert code == 0, err
        assert "ASM-01" in out
    code, _out, err = await plant.cli("status", "-c", config)
    assert code == 3
    assert "not-this-one" in err
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()


@pytest.mark.parametrize("variable", ["LINEGATE_SOURCES__ASM__PORT", "LINEGATE_SOURCES__ASM__NO_SUCH_KEY"])
async def test_a_wrong_override_is_named_and_nothing_starts(plant, variable):
    plant.keep("ASM-01")
    await plant.run(env={variable: "seventy"})
    assert await plant.daemon.ended() == 1
    assert f"environment: {variable}" in plant.daemon.text()
    assert not plant.state_dir.exists()
    assert yaml.safe_load(plant.config.read_text())["sources"]["asm"]["port"] == plant.ports["modbus"]
