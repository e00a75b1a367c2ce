"""A copy on new hardware, and an ERP that lost its ledger: nothing is booked twice, and what waits is named."""

from __future__ import annotations

import asyncio
import sys

import pytest
from conservation import rows
from rig import Rig

SEED = 20_261_128
BOOKED = 'SELECT key, "order", operation, seq, good, scrap, digest FROM bookings ORDER BY id'


async def linegate(rig, *words):
    """The command line beside the daemon: exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gateway", *words, "-d", str(rig.state_dir),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode, out.decode()


def booked(rig):
    return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in rows(rig.ledger, BOOKED)]


def most_of_one(rig):
    """The operation with the most bookings, and these."""
    numbers = {}
    for one in booked(rig):
        numbers.setdefault(one[1:3], []).append(one)
    return max(numbers.items(), key=lambda item: len(item[1]), default=(None, []))


def pieces(found):
    return sum(good + scrap for _, _, _, _, good, scrap, _ in found)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("idempotent", [False, pytest.param(True, marks=pytest.mark.soak)])
async def test_a_copy_on_new_hardware_books_nothing_twice_and_names_what_waits(tmp_path, idempotent):
    async with Rig(tmp_path, seed=SEED) as rig:
        rig.erp_options += ["--idempotent"] * idempotent
        await rig.open()
        await rig.produce()
        await rig.status_where(lambda view: view["targets"][0]["posted"] > 2, "bookings")
        code, said = await linegate(rig, "buffer", "backup", str(tmp_path / "copy.db"))
        assert code == 0, said
        view = await rig.status()
        assert view["buffer"]["last_backup_file"] == str(tmp_path / "copy.db")
        # Orders come, are made and booked of which the copy knows nothing.
        known = {one[1] for one in booked(rig)} | {job["order"] for job in view["work_units"][0]["queue"]}
        await rig.status_where(
            lambda _view: {one[1] for one in booked(rig)} - known, f"bookings of an order that is none of {known}"
        )
        await rig.settled()
        before = booked(rig)
        assert {one[1] for one in before} - known, "the ERP has booked some that the copy does not know"
        await rig.kill(start=False)

        rig.note("new hardware")
        rig.state_dir = tmp_path / "new-box"
        rig.state_dir.mkdir()
        code, said = await linegate(rig, "buffer", "restore", str(tmp_path / "copy.db"))
        assert code == 0, said
        rig.write()
        rig.start()
        await rig.ready()
        made = sum(rig.made("ASM-01"))
        await rig.produce()
        await rig.status_where(lambda _view: sum(rig.made("ASM-01")) > made + 60, "pieces of several orders")
        await rig.halt()
        view = await rig.status_where(lambda view: view["targets"][0]["needs_approval"], "what waits")
        await rig.status_where(
            lambda view: (
                view["targets"][0]["waiting"] >= view["targets"][0]["needs_approval"] > 0
                and not view["targets"][0]["uncertain"]
            ),
            "the rest to be sent",
        )
        after = booked(rig)
        doubted = {one[1] for one in before}
        again = [one for one in after[len(before) :] if one[1] in doubted]
        assert again == [], rig.failed(f"sent by itself for orders that the ERP had booked before: {again}")
        assert pieces(after) <= sum(rig.made("ASM-01")), rig.failed("more is booked than was made")
        assert view["buffer"]["held"]["needs_approval"], rig.failed("what waits is in no figure")
        # Before they are listed: a timer may add one to them.
        waiting = rows(
            rig.state_dir / "linegate.db", "SELECT key, error_text FROM outbox WHERE state = 'needs_approval'"
        )
        code, said = await linegate(rig, "outbox", "list", "--state", "needs_approval")
        assert code == 0, said
        assert waiting, "what waits"
        for one in waiting:
            assert "may be booked already" in one["error_text"]
            assert one["key"].rpartition("/")[0].partition("/")[2].split("/")[1] in said
        code, said = await linegate(rig, "buffer", "verify")
        assert code == 0, said
        code, said = await linegate(rig, "audit", "verify")
        assert code == 0, said


@pytest.mark.timeout(600)
async def test_what_the_erp_lost_is_sent_again_from_a_number_on_in_order(tmp_path):
    async with Rig(tmp_path, seed=SEED) as rig:
        await rig.open()
        await rig.produce()
        # A machine that comes in bursts has its order confirmed in few pieces: then it is one of the next.
        await rig.status_where(lambda _view: len(most_of_one(rig)[1]) >= 3, "an order with three confirmations")
        await rig.settled()
        # Else a timer may confirm more of that very order in a moment.
        await rig.status_where(
            lambda view: not any(unit["unconfirmed_good"] + unit["unconfirmed_scrap"] for unit in view["work_units"]),
            "what was open to be confirmed",
        )
        await rig.settled()
        before = booked(rig)
        (order, operation), its = most_of_one(rig)
        for one in its[1:]:
            await rig.erp.command(f"forget {one[0]}")
        assert [one for one in booked(rig) if one[1:3] == (order, operation)] == its[:1]
        code, said = await linegate(
            rig, "outbox", "resend", "--target", "erp", "--order", order, "--operation", operation, "--from", "1",
            "--reason", "the ledger was restored",
        )  # fmt: skip
        assert code == 0, said
        assert f"number {its[0][3]} is not: the ERP has it" in said
        await rig.settled()
        found = [one for one in booked(rig) if one[1:3] == (order, operation)]
        assert found == its, rig.failed("the same keys and bytes, each once, in their order")
        # A timer may have confirmed what was open meanwhile; of what was booked before nothing is there twice.
        keys = {one[0] for one in before}
        assert sorted(one for one in booked(rig) if one[0] in keys) == sorted(before)
        rig.check()
