"""Two machines: one operation of both, with one sum at the ERP whatever is killed; one operation after the other."""

from __future__ import annotations

import asyncio
import copy
import json

LEAD, MEMBER = "ASM-01", "ASM-02"


def renamed(found):
    """The same for the signals of the second machine."""
    if isinstance(found, dict):
        return {key: renamed(one) for key, one in found.items()}
    if isinstance(found, list):
        return [renamed(one) for one in found]
    return found.replace("asm.", "asm2.", 1) if isinstance(found, str) and found.startswith("asm.") else found


class Second:
    """The other machine beside the plant's first one."""

    def __init__(self, plant):
        self.plant = plant
        self.file = plant.folder / "second.jsonl"
        unit = renamed(copy.deepcopy(plant.document["work_units"][LEAD]))
        unit.pop("confirm", None)
        self.unit = unit | {"orders": {"shares_with": LEAD}}

    async def start(self):
        self.machine = await self.plant.simulate(
            "asm-01", "--speed", "50", "--steady", "--truth", str(self.file), "--port", "0"
        )
        made = await self.machine.command("stop")
        self.before = made["good_total"] + made["scrap_total"]
        document = self.plant.document
        document["sources"]["asm2"] = document["sources"]["asm"] | {"port": self.machine.ready["port"]}
        document["work_units"][MEMBER] = self.unit

    def truth(self):
        rows = [json.loads(line) for line in self.file.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        made = [
            row for row in rows if row["event"] == "pieces" and row["good_total"] + row["scrap_total"] > self.before
        ]
        return [sum(row[role] for row in made) for role in ("good", "scrap")]


def unit_of(view, name):
    return next(one for one in view["work_units"] if one["id"] == name)


async def sums(plant, order):
    rows = [row for row in await plant.ledger() if row["order"] == order]
    return [sum(row[role] for row in rows) for role in ("good", "scrap")], sorted(row["seq"] for row in rows)


async def test_the_sum_of_two_machines_is_confirmed_once_although_the_gateway_is_killed(plant, until):
    plant.keep(LEAD)
    second = Second(plant)
    await plant.start_erp()
    await plant.start_machine(LEAD)
    await second.start()
    await plant.run()
    await plant.release("A-1", ("0010", "WC-ASM"), quantity=100_000)
    await plant.ready()
    await plant.produce()
    await second.machine.command("start")
    for goal in (20, 60):
        await plant.status_where(
            lambda view, goal=goal: unit_of(view, LEAD)["good"] > goal and unit_of(view, MEMBER)["good"] > goal // 4,
            f"{goal} pieces",
        )
        plant.daemon.kill()
        await plant.daemon.ended()
        await plant.run()
    await plant.status_where(lambda view: unit_of(view, LEAD)["good"] > 100, "100 pieces")
    await plant.halt()
    await second.machine.command("stop")
    rows = await plant.truth(LEAD)
    own, other = [sum(row[role] for row in rows) for role in ("good", "scrap")], second.truth()
    both = [one + two for one, two in zip(own, other, strict=True)]
    assert min(own[0], other[0]) > 5

    def counted(view):
        lead, member = unit_of(view, LEAD), unit_of(view, MEMBER)
        return [lead["good"], lead["scrap"]] == both and [member["good"], member["scrap"]] == other

    await plant.status_where(counted, f"{own} and {other} on one order")
    code, out, err = await plant.cli("order", "finish", MEMBER, "A-1", "-d", plant.state_dir)
    assert (code, out) == (1, "")
    assert "decide it at ASM-01" in err
    code, out, err = await plant.cli("order", "finish", LEAD, "A-1", "-d", plant.state_dir)
    assert code == 0, err

    async def booked():
        found, numbers = await sums(plant, "A-1")
        return found == both and numbers == list(range(1, len(numbers) + 1))

    await until(booked, f"{both} at the ERP")
    view = await plant.status_where(lambda view: unit_of(view, MEMBER)["order"] is None, "the end at the other machine")
    assert not unit_of(view, LEAD)["unallocated_good"]


async def test_the_order_is_complete_by_the_sum(plant, until):
    plant.keep(LEAD)
    second = Second(plant)
    await plant.start_erp()
    await plant.start_machine(LEAD)
    await second.start()
    await plant.run()
    await plant.release("A-1", ("0010", "WC-ASM"), quantity=40)
    await plant.ready()
    await plant.produce()
    await second.machine.command("start")
    await plant.status_where(lambda view: unit_of(view, LEAD)["order"] is None, "the end of the order")
    await plant.halt()
    await second.machine.command("stop")
    rows = await plant.truth(LEAD)
    everything = sum(row["good"] + row["scrap"] for row in rows) + sum(second.truth())

    def told(view):
        lead, member = unit_of(view, LEAD), unit_of(view, MEMBER)
        own = sum(lead[f"counted_{role}"] for role in ("good", "scrap"))
        return own + sum(member[f"unallocated_{role}"] for role in ("good", "scrap")) == everything

    view = await plant.status_where(told, f"{everything} pieces")

    async def booked():
        found, _ = await sums(plant, "A-1")
        left = sum(unit_of(view, name)[f"unallocated_{role}"] for name in (LEAD, MEMBER) for role in ("good", "scrap"))
        return sum(found) >= 40 and sum(found) + left == everything

    await until(booked, "what was made, confirmed or without an order")
    final = [one for one in await plant.outbox() if one["kind"] == "final"]
    assert [one["order"] for one in final] == ["A-1"]


async def test_the_second_operation_waits_for_the_first_on_the_other_machine(plant):
    plant.keep(LEAD)
    second = Second(plant)
    second.unit = {**second.unit, "work_center": "WC-2", "orders": {}}
    await plant.start_erp()
    await plant.start_machine(LEAD)
    await second.start()
    await plant.run()
    await plant.release("A-1", ("0010", "WC-ASM"), ("0020", "WC-2"), quantity=24)
    view = await plant.status_where(lambda view: unit_of(view, MEMBER)["queue"], "the second operation")
    assert unit_of(view, MEMBER)["order"] is None
    code, _, err = await plant.cli("order", "start", MEMBER, "A-1", "-d", plant.state_dir)
    assert (code, "G2 predecessor: found operation 0010" in err) == (1, True), err
    await plant.status_where(lambda view: unit_of(view, LEAD)["order"] == "A-1", "the first operation at work")
    plant.daemon.kill()
    await plant.daemon.ended()
    await plant.run()
    await plant.status_where(lambda view: all(one["state"] == "up" for one in view["sources"]), "sources up")
    await plant.produce()
    view = await plant.status_where(lambda view: unit_of(view, MEMBER)["order"] == "A-1", "the start of the second")
    assert unit_of(view, LEAD)["order"] is None


async def test_an_operation_with_more_than_the_one_before_says_so_until_that_has_caught_up(plant):
    plant.keep(LEAD)
    second = Second(plant)
    # Nothing but a person confirms: where the pieces had just been confirmed, there would be nothing to confirm.
    second.unit = {**second.unit, "work_center": "WC-2", "orders": {}, "confirm": {}}
    plant.document["work_units"][LEAD]["orders"] = {}
    await plant.start_erp()
    await plant.start_machine(LEAD)
    await second.start()
    await plant.run()
    first = {"op": "0010", "work_center": "WC-ASM", "control": {"overlap": True}}
    image = {
        "order_id": "A-1", "revision": 1, "product": {"id": "P-1", "uom": "PC"}, "qty": "5000",
        "operations": [first, {"op": "0020", "work_center": "WC-2"}],
    }  # fmt: skip
    await asyncio.to_thread(plant._erp, "POST", "/orders", image)
    await plant.ready()

    def job(view, name=MEMBER):
        return unit_of(view, name)["queue"][0]

    await second.machine.command("start")
    view = await plant.status_where(lambda view: job(view)["exceeds_predecessor"], "more than the operation before")
    assert job(view)["before_good"] == 0
    await second.machine.command("stop")
    plant.daemon.kill()
    await plant.daemon.ended()
    await plant.run()
    made = second.truth()[0]
    await plant.status_where(lambda view: job(view)["good"] == made, "all of them")
    _, out, _ = await plant.cli("order", "list", "-d", plant.state_dir)
    assert "more than the operation before has: 0" in out
    code, _, err = await plant.cli("order", "confirm", MEMBER, "A-1", "-d", plant.state_dir)
    assert code == 0, err
    await plant.produce()
    view = await plant.status_where(lambda view: not job(view)["exceeds_predecessor"], "the first has caught up")
    assert job(view, LEAD)["good"] >= job(view)["before_good"] >= job(view)["good"] == made
    postings = [one for one in await plant.outbox("--order", "A-1") if one["operation"] == "0020"]
    _, out, _ = await plant.cli("outbox", "show", postings[0]["no"], "-d", plant.state_dir)
    assert "QTY_EXCEEDS_PREDECESSOR" in out
    log = plant.daemon.text()
    assert '"code":"QTY_WITHIN_PREDECESSOR"' in log
