"""Starting, stopping and dying: one gateway per state directory, an orderly stop, and a send cut in two."""

from __future__ import annotations

import pytest


def counted(view):
    return sum(unit["counted_good"] + unit["counted_scrap"] for unit in view["work_units"])


@pytest.fixture
async def line(plant):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01")
    await plant.run()
    await plant.ready()
    return plant


async def test_a_second_gateway_on_the_same_state_directory_is_refused(line):
    first = line.daemon
    second = await line.run()
    assert await second.ended() == 1
    assert f"process id {first.pid}" in second.text()
    assert "state_dir" in second.text()
    assert first.process.returncode is None
    view = await line.ask("status")
    assert view["pid"] == first.pid


async def test_sigterm_under_load_loses_nothing_and_leaves_nothing_half_sent(line, until):
    await line.erp.command("slow 0.4 100000")
    await line.produce()
    for _ in range(2):
        await until(lambda: line.outbox("--state", "sending"), "a posting that is being sent")
        code, took_s = await line.daemon.stop()
        assert code == 0, line.daemon.text()[-2000:]
        assert took_s < 10
        assert await line.outbox("--state", "sending") == []
        assert await line.outbox("--state", "uncertain") == []
        assert not (line.state_dir / "control.sock").exists()
        await line.run()
        await line.ready()
    await line.erp.command("clear")
    await line.halt()
    result = await line.arrived()
    assert result.balanced, result.to_json()
    assert (result.machines[0].unknown, result.machines[0].review) == (0, 0)


async def test_sigterm_while_the_erp_does_not_answer_ends_in_time_and_the_answer_is_looked_up(line, until):
    await line.erp.command("slow 30 1")
    await line.produce()
    sending = await until(lambda: line.outbox("--state", "sending"), "a posting that is being sent")
    code, took_s = await line.daemon.stop()
    assert (code, took_s < 10) == (0, True), (code, took_s)
    await line.run()
    await line.ready()
    await until(lambda: line.outbox("--state", "posted", "--order", sending[0]["order"]), "the look-up")
    await line.halt()
    result = await line.arrived()
    assert result.balanced, result.to_json()


async def test_the_first_contact_with_a_running_counter_books_nothing(plant):
    plant.keep("ASM-01")
    await plant.start_erp("--release", "demo")
    await plant.start_machine("ASM-01", "--good", "4711", "--scrap", "42")
    await plant.run()
    view = await plant.ready()
    assert counted(view) == 0
    await plant.produce()
    await plant.status_where(lambda view: counted(view) >= 30, "pieces")
    await plant.halt()
    result = await plant.arrived()
    assert result.balanced, result.to_json()
    assert sum(sum(column) for column in (result.machines[0].booked, result.machines[0].unconfirmed)) < 1000


async def test_killed_while_sending_it_asks_before_it_sends_again(line, until):
    await line.erp.command("slow 30 1")
    await line.produce()
    sending = await until(lambda: line.outbox("--state", "sending"), "a posting that is being sent")
    line.daemon.kill()
    await line.daemon.ended()
    left = await line.outbox("--order", sending[0]["order"])
    assert {one["key"]: one["state"] for one in left}[sending[0]["key"]] == "sending", left
    await line.run()
    await line.ready()

    async def settled():
        return [
            one for one in await line.outbox("--state", "posted", "--limit", "1000") if one["key"] == sending[0]["key"]
        ]

    posted = (await until(settled, "the posting to be booked"))[0]
    assert posted["lookups"] >= 1, posted
    assert posted["attempts"] == 1, posted
    await line.halt()
    result = await line.arrived()
    assert result.balanced, result.to_json()
    rows = [row for row in await line.ledger() if row["key"] == sending[0]["key"]]
    assert len(rows) == 1
