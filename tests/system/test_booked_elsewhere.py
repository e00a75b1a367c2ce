"""What the ERP refuses and has all the same, or has closed its period for: a person says so, and the lane goes on."""

from __future__ import annotations

import json

import pytest

from buffer.audit_chain import ChainReader, Wanted
from buffer.readonly import ReadOnlyStore
from gateway.control import ControlError
from gateway.lock import DATABASE_NAME

#: A day later there whatever the time: 26 hours lie between them.
FIRST, LATER = "Etc/GMT+12", "Pacific/Kiritimati"


def postings(plant):
    """Number to posting, as it stands in the database: a command for each look would cost more than all the rest."""
    with ReadOnlyStore(plant.state_dir / DATABASE_NAME) as store:
        return {one.seq: one for one in store.outbox(order="A", limit=50)}


async def waits_for_a_person(plant, until):
    async def parked():
        return [one for one in postings(plant).values() if one.state == "parked"]

    (found,) = await until(parked, "a parked posting")
    return found


async def told(plant, verb, **more):
    return await plant.ask(verb, machine="ASM-01", order="A", who="ann", **{"reason": "", **more})


@pytest.fixture
async def refused(plant, until):
    """Order A runs, and the ERP refuses its first confirmation; nobody corrects anything there but by hand."""
    plant.keep("ASM-01")
    plant.document["gateway"]["timezone"] = FIRST
    unit = plant.document["work_units"]["ASM-01"]
    unit["orders"] = {"choose": "command", "at_target": "continue", "target_counts": "good"}
    unit["confirm"] = {"undo_window": "0 s"}
    plant.document["connectors"]["erp"]["correction"] = "manual"
    await plant.start_erp()
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.release("A", ("0010", "WC-ASM"), quantity=100_000)
    await plant.status_where(lambda view: view["work_units"][0]["queue"], "the order")
    await plant.erp.command("reject A")
    await plant.status_where(lambda view: all(one["state"] == "up" for one in view["sources"]), "the machine")
    await told(plant, "order.start")
    await plant.produce()
    await plant.status_where(lambda view: view["work_units"][0]["unconfirmed_good"] >= 3, "pieces")
    await told(plant, "order.confirm")
    plant.parked = await waits_for_a_person(plant, until)
    await plant.halt()
    return plant


async def test_another_date_then_a_reversal_that_a_person_books(refused, until):
    plant = refused
    await plant.daemon.stop()
    plant.document["gateway"]["timezone"] = LATER
    await plant.run()
    await plant.status_where(lambda view: all(one["state"] == "up" for one in view["sources"]), "up again")
    await plant.erp.command("accept A")

    async def say(*words):
        return await plant.cli("outbox", *words, "--reason", "seen there", "-d", plant.state_dir)

    with pytest.raises(ControlError, match="erp was asked and does not have it; retry it"):
        await plant.ask("outbox.booked", which=plant.parked.id, reference="R-1", who="ann", reason="seen there")

    code, out, err = await say("post-today", plant.parked.id)
    assert code == 0, err
    made = postings(plant)
    last = max(made)
    first, anew = json.loads(made[1].payload), json.loads(made[last].payload)
    assert out == f"ASM-01: confirmation 1 of A is posted on {anew['posting_date']}, by number {last - 1}, {last}\n"
    assert first["posting_date"] == first["event_day"] == anew["event_day"] < anew["posting_date"]
    assert (anew["qty"], anew["period"], anew["reason"]) == (first["qty"], first["period"], "seen there")

    async def booked():
        """At the ERP, and its answer is there: until then nobody may reverse it."""
        there = [row["good"] for row in await plant.ledger() if row["seq"] == last]
        return there if postings(plant)[last].state == "posted" else []

    assert await until(booked, "it is booked") == [int(first["qty"]["good"])]
    await told(plant, "order.reverse", confirmation=last, reason="twice")
    by_hand = await waits_for_a_person(plant, until)
    assert "then say so (linegate outbox booked)" in by_hand.error_text
    code, out, err = await say("booked", by_hand.id, "--reference", "ST-77/1")
    said = "by your word: the ERP could not tell"
    assert (code, out) == (
        0,
        f"{by_hand.id}: A/0010 number {by_hand.seq} for erp is booked as ST-77/1 ({said})\n",
    ), err
    known = postings(plant)[by_hand.seq]
    assert (known.state, known.reference, known.error_kind) == ("posted", "ST-77/1", "by_person")
    assert known.error_text.startswith("booked there, says ")
    with pytest.raises(ControlError, match="is posted, allowed: parked, uncertain, accepted"):
        await plant.ask("outbox.booked", which=by_hand.id, reference="ST-77/1", who="ann", reason="again")

    with ChainReader.open(plant.state_dir / DATABASE_NAME) as reader:
        assert any("ST-77/1" in str(one) for one in reader.newest(20, Wanted("A")))
    code, out, err = await plant.cli("buffer", "verify", "-d", plant.state_dir)
    assert code == 0, out
