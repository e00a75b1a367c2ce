"""Whatever the ERP answers: every piece is booked once, and one order's trouble is no other order's trouble.

The fake ERP books a repeated key twice, so its own sums convict a gateway that repeats blindly.
"""

from __future__ import annotations

import json

import pytest

#: Faults of one confirmation; each must come (``taken`` grows) and leave nothing behind.
FAULTS = (
    "error 500 1",
    "error-booked 500 1",
    "error-booked 503 1",
    "html 1",
    "half 1",
    "lose-answers 2",
    "slow 1.6 1",
    "unauthorized 1",
    "unavailable 1 1",
    "late-book 1.6 1",
    "down 0.8",
)


@pytest.fixture
async def line(plant):
    """ASM-01 and IMM-01 with running orders."""
    plant.keep("ASM-01", "IMM-01")
    await begun(plant)
    return plant


@pytest.fixture
async def impatient(plant):
    """The same with a time limit that the faults exceed."""
    plant.keep("ASM-01", "IMM-01")
    # 125 s at the plant's speed are 2.5 s: longer than the ERP takes for its latest booking, as the setting demands.
    plant.document["connectors"]["erp"].update(timeout="1 s", server_time_limit="125 s")
    await begun(plant)
    return plant


async def begun(plant):
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01", "--good", "65500")
    await plant.start_machine("IMM-01")
    await plant.run()
    await plant.ready()


async def booked(plant, *, order=None, at_least=1):
    rows = [row for row in await plant.ledger() if order is None or row["order"] == order]
    return rows if len(rows) >= at_least else None


@pytest.mark.timeout(600)
async def test_no_answer_of_the_erp_loses_or_doubles_a_piece(impatient, until):
    line, wrong = impatient, []
    for fault in FAULTS:
        taken = (await line.erp.command("faults"))["taken"]
        wanted = 0 if fault.startswith("down") else int(fault.split()[-1])
        before = (await line.erp.command("totals"))["bookings"]
        await line.erp.command(fault)
        await line.produce()

        async def came(least=taken + wanted):
            return (await line.erp.command("faults"))["taken"] >= least

        await until(came, f"{fault!r} to come")

        async def went_on(least=before + 3):
            return (await line.erp.command("totals"))["bookings"] >= least

        await until(went_on, f"bookings after {fault!r}")
        await line.halt()
        result = await line.arrived()
        if not result.balanced:
            wrong.append((fault, result.to_json()))
    assert wrong == []
    assert await line.outbox("--state", "parked") == []
    view = await line.status()
    assert [(target["link"], target["uncertain"]) for target in view["targets"]] == [("up", 0)]


async def test_a_refused_order_is_parked_and_the_others_flow(line, until):
    view = await line.status()
    order = next(unit["order"] for unit in view["work_units"] if unit["id"] == "ASM-01")
    await line.erp.command(f"reject {order}")
    await line.produce()

    async def others_flow():
        orders = {(row["machine"], row["order"]) for row in await line.ledger()}
        return {machine for machine, other in orders if other != order} == {"ASM-01", "IMM-01"}

    await until(others_flow, "bookings of other orders")
    parked = await until(lambda: line.outbox("--state", "parked"), "a parked posting")
    assert [(one["order"], one["seq"], one["state"]) for one in parked] == [(order, 1, "parked")]
    assert "takes no confirmations" in parked[0]["error"]
    assert "ORDER_REJECTED" in parked[0]["error"]
    assert not await booked(line, order=order)

    code, out, err = await line.cli("outbox", "show", parked[0]["no"], "--json", "-d", line.state_dir)
    assert code == 0, err
    shown = json.loads(out)
    sent = json.loads(shown["message"]["body"])
    assert sent["idempotency_key"] == shown["confirmation"]["idempotency_key"] == parked[0]["key"]
    assert shown["attempts"] == 1

    # Retried while the ERP still refuses: parked again, not lost.
    code, _out, err = await line.cli("outbox", "retry", parked[0]["no"], "-d", line.state_dir)
    assert code == 0, err
    await until(lambda: parked_again(line, attempts=2), "the second refusal")

    await line.erp.command(f"accept {order}")
    code, out, err = await line.cli("outbox", "retry", parked[0]["key"], "-c", line.config)
    assert code == 0, err
    assert f"{order}/0010 number 1 for erp is sent again" in out
    rows = await until(lambda: booked(line, order=order, at_least=2), "the parked lane to flow")
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    await line.halt()
    result = await line.arrived()
    assert result.balanced, result.to_json()
    assert await line.outbox("--state", "parked") == []
    final = json.loads((await line.cli("outbox", "show", parked[0]["no"], "--json", "-c", line.config))[1])
    assert final["state"] == "posted"
    assert final["reference"].startswith("CNF-")
    assert final["message"] == shown["message"]


async def parked_again(plant, *, attempts):
    return [one for one in await plant.outbox("--state", "parked") if one["attempts"] == attempts]


async def test_a_posting_that_is_being_sent_can_be_neither_retried_nor_found_under_a_wrong_name(line):
    code, _out, err = await line.cli("outbox", "retry", "no-such-key", "-d", line.state_dir)
    assert code == 1
    assert "no-such-key" in err
    code, _out, err = await line.cli("outbox", "show", "4711", "-d", line.state_dir)
    assert code == 1
    assert "no posting '4711'" in err
