"""Orders that are split and merged, and pieces without an order: at the ERP all of it is what the machine counted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import random

import pytest

from gateway.control import ControlError

#: The moment of death is random: that is the test.
RNG = random.Random(20_261_122)
KILLED_WITHIN_S = 0.05
#: More than a machine makes at once that was kept waiting for some seconds: its order must still run when it stops.
PARENT = 120
BY_HAND = 4  # pieces of an original that somebody confirms in the ERP
KEYS = (f"divided-{number}" for number in itertools.count())


def jobs(view):
    (unit,) = view["work_units"]
    return {job["order"]: job for job in unit["queue"]}


def unit_of(view):
    return view["work_units"][0]


class Floor:
    """One machine with the people beside it; each of their words may meet a gateway that dies."""

    def __init__(self, plant, port):
        self.plant = plant
        self.port = port
        self.token = ""

    async def begin(self, *orders, confirm=None, **rules):
        plant = self.plant
        plant.keep("ASM-01")
        if confirm is not None:
            plant.document["work_units"]["ASM-01"]["confirm"] = confirm
        plant.document["work_units"]["ASM-01"]["orders"] = {"choose": "command", "target_counts": "good", **rules}
        plant.document["api"] = {"port": self.port()}
        await plant.start_erp()
        await plant.start_machine("ASM-01")
        await plant.run()
        for number, (order, quantity) in enumerate(orders):
            await plant.release(order, ("0010", "WC-ASM"), quantity=quantity, sequence_no=number)
        await self.where(lambda view: len(jobs(view)) == len(orders), "the orders")
        await self.where(lambda view: all(one["state"] == "up" for one in view["sources"]), "the machine to be heard")

    async def where(self, condition, what):
        return await self.plant.status_where(condition, what)

    async def person(self, role="supervisor"):
        code, _out, err = await self.plant.cli(
            "user", "add", f"anna-{role}", "--full-name", "Anna Z", "--role", role, "-d", self.plant.state_dir
        )
        assert code == 0, err
        code, out, err = await self.plant.cli(
            "user", "token", f"anna-{role}", "--role", role, "-d", self.plant.state_dir
        )
        assert code == 0, err
        return out.strip()

    async def api(self, what, token, **body):
        return await asyncio.to_thread(self._api, f"/v1/orders/{what}", token, {"machine": "ASM-01", **body})

    def _api(self, path, token, body):
        link = http.client.HTTPConnection("127.0.0.1", self.plant.document["api"]["port"], timeout=60)
        with contextlib.closing(link):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            link.request("POST", path, json.dumps(body), headers | {"Idempotency-Key": next(KEYS)})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    async def cli(self, *words):
        code, out, err = await self.plant.cli(*words, "-d", self.plant.state_dir)
        assert code == 0, (out, err)
        return out

    async def dies_while(self, word, done):
        """The gateway is killed at some moment of a word; said again where it was lost. ``done`` tells that it is."""

        async def say():
            with contextlib.suppress(ControlError, OSError, http.client.HTTPException):
                await word()

        saying = asyncio.create_task(say())
        await asyncio.sleep(RNG.uniform(0, KILLED_WITHIN_S))
        self.plant.daemon.kill()
        await self.plant.daemon.ended()
        await saying
        await self.plant.run()
        view = await self.where(lambda view: all(one["state"] == "up" for one in view["sources"]), "the link")
        if not done(view):
            await word()
        return await self.where(done, "the word")

    async def make(self, condition, what):
        """The machine works until the status is so, and all that it made is counted."""
        await self.plant.produce()
        await self.where(condition, what)
        stopped = await self.plant.machines["ASM-01"].command("stop")
        before = self.plant._before["ASM-01"]
        total = stopped["good_total"] + stopped["scrap_total"] - sum(before)  # what is written off is scrap afterwards
        return await self.where(
            lambda view: unit_of(view)["counted_good"] + unit_of(view)["counted_scrap"] == total, f"all of {total}"
        )


@pytest.fixture
def floor(plant, port_for_later):
    return Floor(plant, port_for_later)


def booked(ledger, order):
    rows = [row for row in ledger if row["order"] == order]
    return sum(row["good"] for row in rows), sum(row["scrap"] for row in rows), sum(row["rework"] for row in rows)


def finals(ledger):
    """The orders that the ERP was told to be complete, each once and with its last booking."""
    found = [row["order"] for row in ledger if row["final"]]
    for order in found:
        assert [row["final"] for row in ledger if row["order"] == order][-1], f"{order}: its final one is not the last"
    return sorted(found)


async def taken_over_under_the_leader(floor, plant):
    """Somebody confirms some of an original in the ERP; the gateway dies while a person takes that over, once."""
    ask = plant.ask
    await plant.erp.command(f"external M-1 0010 {BY_HAND}")

    async def found():
        return [(one["code"], one["order"]) for one in (await ask("reconcile", order="M-1"))["findings"]]

    mine = {"order": "M-1", "operation": "0010", "reason": "booked there by hand", "who": "ann"}
    for _ in range(20):
        if not await found():
            break
        await floor.dies_while(lambda: ask("reconcile.accept", **mine), lambda _view: True)
    assert await found() == [], "it is known, and of nobody twice"
    with pytest.raises(ControlError, match="proposes nothing"):
        await ask("reconcile.accept", **mine)


async def test_split_merge_and_allocation_by_command_with_a_gateway_that_dies_in_each(floor, plant):
    plant.document["connectors"]["erp"]["totals_path"] = "/orders/{order}/totals"
    await floor.begin(("A-1", PARENT), ("M-1", 20), ("M-2", 10))
    ask = plant.ask
    told = {"machine": "ASM-01", "who": "ann"}
    view = await floor.make(lambda view: unit_of(view)["unallocated_good"] >= 12, "pieces of nobody")
    loose = unit_of(view)["unallocated_good"]
    assert "nothing is without" not in await floor.cli("unallocated", "list", "ASM-01")
    await floor.cli("order", "start", "ASM-01", "A-1")
    await floor.make(lambda view: jobs(view)["A-1"]["good"] >= 5, "pieces of the parent")
    await floor.cli("order", "interrupt", "ASM-01", "A-1")
    view = await plant.status()
    made = jobs(view)["A-1"]["good"]
    code, _out, err = await plant.cli("order", "split", "ASM-01", "A-1", "0010", 9, 9, "-d", plant.state_dir)
    assert code == 1
    assert "SPLIT_SUM" in err
    first = (PARENT - made) // 2
    await floor.dies_while(
        lambda: ask(
            "order.split", order="A-1", operation="0010", quantities=f"{first},{PARENT - made - first}", **told
        ),
        lambda view: {"A-1-001", "A-1-002"} <= set(jobs(view)),
    )
    assert "A-1" not in jobs(await plant.status()), "the parent has ended"
    await floor.dies_while(
        lambda: ask(
            "order.allocate", order="A-1-001", operation="", pieces=7, entries="", to="", reason="made before", **told
        ),
        lambda view: unit_of(view)["unallocated_good"] == loose - 7,
    )
    await floor.dies_while(
        lambda: ask("order.merge", leader="L-1", orders="M-1,M-2", operation="", reason="one setup", **told),
        lambda view: "L-1" in jobs(view),
    )
    await taken_over_under_the_leader(floor, plant)
    rest = unit_of(await plant.status())
    out = await floor.cli(
        "order", "allocate", "ASM-01", "--pieces", rest["unallocated_good"], "--reason", "set-up pieces"
    )
    assert out == f"ASM-01: {rest['unallocated_good']} pieces are written off\n"
    for order in ("A-1-001", "L-1", "A-1-002"):
        await floor.cli("order", "start", "ASM-01", order)
        await floor.make(lambda view, order=order: order not in jobs(view), f"the end of {order}")
    result = await plant.arrived(exact=False)
    assert (result.duplicate_keys, result.gaps) == ((), ()), result.to_json()
    ledger = await plant.ledger()
    assert finals(ledger) == ["A-1", "M-1", "M-2"]
    assert [booked(ledger, order)[0] for order in ("A-1", "M-1", "M-2")] == [PARENT, 20 - BY_HAND, 10]
    unit = unit_of(await plant.status())
    counted = sum(row["good"] + row["scrap"] for row in await plant.truth("ASM-01"))
    at_the_erp = sum(sum(booked(ledger, order)) for order in ("A-1", "M-1", "M-2"))
    nobodys = unit["unallocated_good"] + unit["unallocated_scrap"] + unit["written_off"]
    assert at_the_erp + nobodys == counted
    assert unit["written_off"] == rest["unallocated_good"]


async def test_split_merge_report_and_rework_over_the_api_where_people_count(floor, plant, until):
    await floor.begin(("A-1", 30), ("M-1", 20), ("M-2", 10), confirm={}, counting_source="operator")
    token, operator = await floor.person(), await floor.person("operator")
    status, refused = await floor.api("split", operator, order="A-1", operation="0010", quantities="10,20")
    assert (status, refused["code"]) == (403, "NOT_PERMITTED"), refused
    status, _ = await floor.api("split", token, order="A-1", operation="0010", quantities="10,20", reason="two shifts")
    assert status == 200
    status, refused = await floor.api("split", token, order="A-1", operation="0010", quantities="10,20", reason="again")
    assert status == 409, refused

    async def merge():
        await floor.api("merge", token, leader="L-1", orders="M-1,M-2", distribution="fixed_ratio", ratios="2,1")

    await floor.dies_while(merge, lambda view: "L-1" in jobs(view))
    for order, good, scrap in (("A-1-002", 20, 1), ("L-1", 30, 3), ("A-1-001", 10, 2)):
        assert (await floor.api("start", operator, order=order))[0] == 200
        assert (await floor.api("report", operator, order=order, good=good - 1, scrap=scrap))[0] == 200
        if order == "A-1-002":
            plant.document["work_units"]["ASM-01"]["orders"]["counting_source"] = "machine"
            plant.write()
            code, _out, err = await plant.cli("reload", "-d", plant.state_dir)
            assert (code, "counting_source: found machine, allowed operator" in err) == (1, True), err
            plant.document["work_units"]["ASM-01"]["orders"]["counting_source"] = "operator"
            plant.write()
        if order == "L-1":
            status, answer = await floor.api("rework", operator, order=order, pieces=2, reason="burr")
            assert status == 200, answer

        async def last(order=order):
            await floor.api("report", operator, order=order, good=3 if order == "L-1" else 1)

        await floor.dies_while(last, lambda view, order=order: order not in jobs(view))

    async def all_sent():
        return not await plant.on_its_way()

    await until(all_sent, "all of it at the ERP")
    ledger = await plant.ledger()
    assert finals(ledger) == ["A-1", "M-1", "M-2"]
    assert booked(ledger, "A-1") == (30, 3, 0)
    assert [sum(column) for column in zip(booked(ledger, "M-1"), booked(ledger, "M-2"), strict=True)] == [30, 3, 2]
    assert booked(ledger, "M-1")[0] == 20
    unit = unit_of(await plant.status())
    assert (unit["counted_good"], unit["counted_scrap"], unit["counted_rework"]) == (60, 6, 2)
