"""Orders at a real machine: a rush order interrupts one that goes on by itself, and two run at once on one tool."""

from __future__ import annotations

import asyncio


def orders_of(view):
    (unit,) = view["work_units"]
    return {job["order"]: job for job in unit["queue"]}


def booked(ledger, order, *numbers):
    return sum(row[number] for row in ledger if row["order"] == order for number in numbers)


async def test_a_rush_order_interrupts_and_the_interrupted_one_goes_on_after_a_kill(plant, until):
    plant.keep("ASM-01")
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.release("A-1", ("0010", "WC-ASM"), quantity=150)
    await plant.release("B-1", ("0010", "WC-ASM"), quantity=5000, sequence_no=2)
    await plant.release("R-1", ("0010", "WC-ASM"), quantity=30, sequence_no=9)
    await plant.status_where(lambda view: len(orders_of(view)) == 3, "three orders")
    await plant.ready()
    await plant.produce()
    await plant.status_where(lambda view: orders_of(view)["A-1"]["good"] > 5, "pieces of the first")
    # The rush order is made in a second and a half: a command may take longer to come back, and a look to be taken.
    await plant.halt()
    code, out, err = await plant.cli("order", "rush", "ASM-01", "R-1", "-d", plant.state_dir)
    assert (code, out) == (0, "ASM-01: rush R-1 done\n"), err
    view = await plant.status_where(lambda view: orders_of(view)["A-1"]["state"] == "INTERRUPTED", "the interruption")
    assert (view["work_units"][0]["order"], orders_of(view)["R-1"]["rush"]) == ("R-1", True)
    await plant.produce()
    plant.daemon.kill()
    await plant.daemon.ended()
    await plant.run()
    await plant.status_where(lambda view: "A-1" not in orders_of(view), "the end of the first")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    ledger = await plant.ledger()
    assert [booked(ledger, order, "good", "scrap") for order in ("A-1", "R-1")] == [150, 30]
    assert [row["seq"] for row in ledger if row["order"] == "A-1"] == list(range(1, 1 + sum(
        row["order"] == "A-1" for row in ledger
    )))  # fmt: skip
    postings = await plant.outbox()
    assert [one["order"] for one in reversed(postings) if one["kind"] == "final"] == ["R-1", "A-1"]


async def test_two_orders_run_at_once_each_with_its_own_counter(plant):
    plant.keep("ASM-01")
    rules = plant.document["work_units"]["ASM-01"]
    rules["orders"] = {"max_parallel_orders": 2, "parts": {"asm.good": "P-1", "asm.scrap": "P-2"}}
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.release("A-1", ("0010", "WC-ASM"), quantity=5000)
    await plant.release("B-1", ("0010", "WC-ASM"), quantity=5000, product="P-2", sequence_no=2)

    def both(view):
        return [job["state"] for job in orders_of(view).values()] == ["IN_PROGRESS", "IN_PROGRESS"]

    await plant.status_where(both, "two orders at work")
    await plant.produce()
    await plant.status_where(lambda view: orders_of(view)["B-1"]["scrap"] > 1, "pieces of the second")
    await plant.halt()
    made = [await plant.truth("ASM-01") for _ in range(2)][-1]
    good, scrap = sum(row["good"] for row in made), sum(row["scrap"] for row in made)
    await plant.status_where(lambda view: orders_of(view)["A-1"]["good"] == good, "all pieces of the first")
    view = await plant.status_where(lambda view: orders_of(view)["B-1"]["scrap"] == scrap, "all of the second")
    found = orders_of(view)
    assert (found["A-1"]["scrap"], found["B-1"]["good"]) == (0, 0)
    code, out, err = await plant.cli("order", "finish", "ASM-01", "A-1", "-d", plant.state_dir)
    assert code == 0, (out, err)
    view = await plant.status()
    assert (view["work_units"][0]["order"], list(orders_of(view))) == ("B-1", ["B-1"])


async def test_documents_are_read_and_the_first_article_is_approved(plant):
    plant.keep("ASM-01")
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.run()
    work = {"op": "0010", "work_center": "WC-ASM", "qty": "5000", "control": {"first_article": True}}
    image = {
        "order_id": "A-1", "revision": 1, "product": {"id": "P-1", "uom": "PC"}, "qty": "5000", "sequence_no": 1,
        "operations": [work], "documents": ["WI-7"],
    }  # fmt: skip
    await asyncio.to_thread(plant._erp, "POST", "/orders", image)
    await plant.status_where(lambda view: "A-1" in orders_of(view), "the order")

    async def says(verb, *more):
        return await plant.cli("order", verb, "ASM-01", "A-1", *more, "-d", plant.state_dir)

    code, _, err = await says("start")
    assert (code, "G7 documents: found WI-7 not acknowledged" in err) == (1, True), err
    code, _, err = await says("acknowledge-documents", "--document", "WI-8")
    assert (code, "found WI-8, allowed WI-7" in err) == (1, True), err
    assert (await says("acknowledge-documents"))[:2] == (0, "ASM-01: acknowledge-documents A-1 done\n")
    await plant.ready()
    assert orders_of(await plant.status())["A-1"]["state"] == "SETUP"
    await plant.produce()
    await plant.status_where(lambda view: orders_of(view)["A-1"]["hold"] > 0, "pieces that wait for their approval")
    assert (await says("approve-first-article"))[:2] == (0, "ASM-01: approve-first-article A-1 done\n")
    view = await plant.status_where(lambda view: orders_of(view)["A-1"]["good"] > 0, "good pieces")
    assert orders_of(view)["A-1"]["state"] == "IN_PROGRESS"
    code, _, err = await says("approve-first-article")
    assert (code, "approved already" in err) == (1, True), err
