"""A person gives up a confirmation that the ERP will never take: the ones behind it flow, and the reason is kept."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
async def refused(plant, until):
    """ASM-01 produces for an order that the ERP refuses; its first confirmation is parked."""
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    view = await plant.ready()
    plant.order = view["work_units"][0]["order"]
    await plant.erp.command(f"reject {plant.order}")
    await plant.produce()
    (plant.parked,) = await until(lambda: plant.outbox("--state", "parked"), "a parked posting")
    return plant


async def test_the_lane_goes_on_behind_a_discarded_posting(refused, until):
    plant, number = refused, str(refused.parked["no"])
    view = await plant.status_where(
        lambda view: view["targets"][0]["parked"] == 1 and view["targets"][0]["waiting"] >= 1, "one parked, more behind"
    )
    assert view["targets"][0]["last_error"]
    code, out, err = await plant.cli("status", "-d", plant.state_dir)
    assert code == 0, err
    assert "parked 1" in out
    assert "takes no confirmations" in out
    await plant.erp.command(f"accept {plant.order}")
    code, _out, err = await plant.cli("outbox", "discard", number, "-d", plant.state_dir)
    assert code == 2
    assert "--reason" in err
    code, out, err = await plant.cli("outbox", "discard", number, "--reason", "booked by hand", "-d", plant.state_dir)
    assert (code, out) == (0, f"{number}: {plant.order}/0010 number 1 for erp is given up\n"), err

    async def flows():
        return [row["seq"] for row in await plant.ledger() if row["order"] == plant.order]

    assert (await until(flows, "the next confirmation"))[0] == 2
    await plant.status_where(lambda view: view["targets"][0]["parked"] == 0, "nothing parked")
    shown = json.loads((await plant.cli("outbox", "show", number, "--json", "-d", plant.state_dir))[1])
    assert shown["state"] == "superseded"
    assert "booked by hand" in shown["error"]
    assert "ORDER_REJECTED" in shown["error"]
    assert "posting discarded" in plant.daemon.text()
    for verb in (("retry", number), ("discard", number, "--reason", "again"), ("discard", "9" * 23, "--reason", "x")):
        code, _out, err = await plant.cli("outbox", *verb, "-d", plant.state_dir)
        assert code == 1
        assert "allowed from: parked" in err or "there is no such posting" in err


async def test_only_what_is_parked_is_given_up_and_only_with_a_reason(refused, until):
    plant = refused

    async def of_its_order():
        """Not one of the next order, which is ready for a moment only."""
        return [one for one in await plant.outbox("--state", "ready") if one["order"] == plant.order]

    behind = (await until(of_its_order, "one behind it"))[-1]
    code, _out, err = await plant.cli("outbox", "discard", behind["no"], "--reason", "why", "-d", plant.state_dir)
    assert code == 1
    assert "is ready and cannot be superseded; allowed from: parked, needs_approval" in err
    code, _out, err = await plant.cli("outbox", "release", behind["no"], "--reason", "why", "-d", plant.state_dir)
    assert (code, "is ready and cannot be released; allowed from: held, parked" in err) == (1, True)
    for reason in ("", "  ", "two\nlines", "x" * 301, "\x1b[31mred"):
        code, _out, err = await plant.cli("outbox", "discard", behind["no"], "--reason", reason, "-d", plant.state_dir)
        assert code == 1
        assert "reason: found" in err
        assert "\x1b" not in err
    # What the ERP takes after all is released, and that stands in the audit trail.
    number = str(plant.parked["no"])
    await plant.erp.command(f"accept {plant.order}")
    code, out, err = await plant.cli("outbox", "release", number, "--reason", "agreed", "-d", plant.state_dir)
    assert (code, out) == (0, f"{number}: {plant.order}/0010 number 1 for erp is released\n"), err

    async def posted():
        shown = json.loads((await plant.cli("outbox", "show", number, "--json", "-d", plant.state_dir))[1])
        return shown if shown["state"] == "posted" else None

    assert (await until(posted, "the released confirmation"))["released"] is True
    told = json.loads((await plant.cli("audit", "show", "--json", "-d", plant.state_dir))[1])
    (one,) = [one for one in told if one["action"] == "release_posting" and one["outcome"] == "done"]
    assert (one["entity_id"], one["reason_text"]) == (plant.parked["key"], "agreed")
    assert json.loads(one["new"]).keys() >= {"qty", "hash", "state", "target"}


async def test_a_refused_confirmation_is_shown_with_its_answer_exported_and_edited(refused, until):
    plant, number = refused, str(refused.parked["no"])
    shown = json.loads((await plant.cli("outbox", "show", number, "--json", "-d", plant.state_dir))[1])
    assert shown["answer"]["status"].startswith("HTTP 4")
    assert "ORDER_REJECTED" in shown["answer"]["body"]
    assert "retry" in shown["suggested"]
    code, out, err = await plant.cli("outbox", "export", "-d", plant.state_dir)
    assert code == 0, err
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert (row["no"], row["key"]) == (int(number), shown["key"])
    assert json.loads(row["request"])["idempotency_key"] == shown["key"]
    await plant.erp.command(f"accept {plant.order}")
    good = str(int(row["good"]) - 1)
    told = ("--good", good, "--scrap", row["scrap"], "--rework", row["rework"], "--reason", "counted by hand")
    code, out, err = await plant.cli("outbox", "edit", number, *told, "-d", plant.state_dir)
    assert code == 0, err

    old = json.loads((await plant.cli("outbox", "show", number, "--json", "-d", plant.state_dir))[1])
    assert old["state"] == "voided"

    async def posted():
        new = json.loads((await plant.cli("outbox", "show", old["superseded_by"], "--json", "-d", plant.state_dir))[1])
        return new if new["state"] == "posted" else None

    new = await until(posted, "the corrected confirmation")
    assert new["supersedes"] == old["key"]
    assert not [one for one in await plant.ledger() if one["order"] == plant.order and one["seq"] == 1]
    assert new["confirmation"]["qty"]["good"] == good
    code, _out, err = await plant.cli("outbox", "edit", number, *told, "-d", plant.state_dir)
    assert code == 1
    assert "cannot be edited; allowed: a parked confirmation" in err
