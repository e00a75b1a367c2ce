"""The database is spoiled under the running gateway: it is set aside, said, and the line is counted again, twice."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time

import conservation
import pytest
from rig import Rig, RigError

from buffer.errors import StoreError
from buffer.salvage import document, salvage
from buffer.schema import PAGE_BYTES

SEED = 20_261_127
#: From the start of the process until pieces are counted; held against this where nothing else runs.
COUNTING_S = 10.0
FIRST_SPOILED = 3
FLAG = "DATABASE_LOST"
#: What is written with every piece or stands beside it; the last state and the tally of postings are left.
TABLES_SPOILED = ("journal", "job")


def spoil(path, *, runs):
    """While it runs, the tables that it writes to; while it is down, every page but the first ones becomes rubbish."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as link:
        if runs:
            # What the gateway has in memory is good for as long as nobody else writes: somebody does.
            link.execute("BEGIN IMMEDIATE")
            link.execute("UPDATE meta SET last_time_ns = last_time_ns")
            link.execute("COMMIT")
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tables = link.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall()
    pages = [page for name, page in tables if name in TABLES_SPOILED]
    with path.open("r+b") as file:
        for page in pages if runs else range(FIRST_SPOILED, path.stat().st_size // PAGE_BYTES + 1):
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xff" * 512)


async def counted_again(rig, epoch):
    """Waits for another database in which pieces are counted; its name, and the seconds from the process's start."""
    end, starts, began_s = time.monotonic() + 180, rig.starts, time.monotonic()
    while True:
        if rig.starts != starts:
            starts, began_s = rig.starts, time.monotonic()
        found = view = None
        with contextlib.suppress(RigError):  # a gateway that is about to end answers that it cannot read
            found = await rig.ask("buffer", steady=True)
            view = await rig.status()
        is_new = found is not None and view is not None and found["epoch"] != epoch
        if is_new and sum(conservation.counted(view["work_units"][0])) > 0:
            return found, view, time.monotonic() - began_s
        assert time.monotonic() < end, rig.failed(f"no new database counts; the status was {view}")
        await asyncio.sleep(0.05)


async def declared(rig, name):
    """The intervals of this loss, once the counters were read again: all with a bound, and that is their sum."""
    end = time.monotonic() + 120
    while True:
        view = await rig.status_where(lambda view: any(lost(view)), "what was lost to be declared")
        bounds = [one["max_pieces"] for one in lost(view)]
        assert None not in bounds, rig.failed(f"{name}: {lost(view)}")
        (told,) = conservation.rows(
            rig.state_dir / "linegate.db", "SELECT sum(json_extract(body, '$.max_pieces')) AS pieces FROM journal "
            "WHERE kind = 'unknown' AND json_extract(body, '$.flag') = ?", FLAG,
        )  # fmt: skip
        if told["pieces"] == sum(bounds):
            break
        # Of another moment than the status: the next counter may have been declared in between.
        assert time.monotonic() < end, rig.failed(f"{name}: the journal says {told}, the status {lost(view)}")
        await asyncio.sleep(0.05)
    figures = await rig.ask("buffer", steady=True)
    assert figures["lost"]["max_pieces"] >= sum(bounds), rig.failed(str(figures["lost"]))
    return sum(bounds)


def lost(view):
    """What is declared of a lost database; the work unit of the rig has two counters."""
    return [one for one in view["work_units"][0]["unknown"] if one["flag"] == FLAG]


def unsent(path):
    """Pieces in confirmations that the set-aside file still had to send, as far as it can be read."""
    try:
        found = [document(one) for one in salvage(path).unsent]
    except StoreError:
        return 0
    return sum(int(one["good"] or 0) + sum(int(part["qty"]) for part in one["scrap"] or ()) for one in found)


async def missing(rig):
    """Made, and neither booked nor known to the database of now."""
    # In this order: what is confirmed and booked in between is in neither, and looked for once more; never in both.
    bookings = conservation.rows(rig.ledger, "SELECT good, scrap FROM bookings")
    view = await rig.status_where(lambda _view: True, "the status")
    (unit,) = view["work_units"]
    here = sum(unit[f"{what}_{role}"] for what in ("unconfirmed", "unallocated") for role in ("good", "scrap"))
    return sum(rig.made("ASM-01")) - here - sum(row["good"] + row["scrap"] for row in bookings)


async def all_but(rig, known_lost):
    """Waits until no more is missing than was declared or is salvaged; how much is missing then."""
    end = time.monotonic() + 120
    while (found := await missing(rig)) > known_lost:
        assert time.monotonic() < end, rig.failed(f"{found} pieces are nowhere, {known_lost} were declared")
        await asyncio.sleep(0.05)
    assert found >= 0, rig.failed(f"{-found} pieces are somewhere and were never made")
    return found


async def at_rest(rig):
    """The machine stands, and nothing waits to be sent."""
    await rig.halt()
    await rig.status_where(lambda view: view["targets"][0]["waiting"] == 0, "everything to be sent")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.soak)])
async def test_a_spoiled_database_is_set_aside_and_the_line_is_counted(tmp_path, alone):
    """While it runs, and then, of the next one, while it is down."""
    async with Rig(tmp_path / "plant", seed=SEED) as rig:
        rig.document["gateway"]["clock"] = "trust"  # a length that nobody vouches for bounds nothing
        await rig.open()
        path = rig.state_dir / "linegate.db"
        epochs, known_lost = [], 0
        for runs in (True, False):
            await rig.produce()
            await rig.status_where(lambda view: view["targets"][0]["posted"] >= 2, "confirmations to be booked")
            await at_rest(rig)
            found = await all_but(rig, known_lost)
            assert found == known_lost, rig.failed(f"{found} pieces are nowhere, exactly {known_lost} were declared")
            epochs.append((await rig.ask("buffer", steady=True))["epoch"])
            if not runs:
                await rig.kill(start=False)
            await asyncio.to_thread(spoil, path, runs=runs)
            rig.note(f"every page spoiled while it {'runs' if runs else 'is down'}")
            if not runs:
                rig.start()
            await rig.produce()
            found, view, took_s = await counted_again(rig, epochs[-1])
            assert len(found["lost"]["set_aside"]) == len(epochs), rig.failed(str(found))
            name = found["lost"]["set_aside"][-1]
            assert any(name in text for text in view["warnings"]), rig.failed(str(view["warnings"]))
            assert not alone or took_s < COUNTING_S, rig.failed(f"counting again after {took_s:.1f} s")
            told = conservation.rows(path, "SELECT detail FROM audit_entry WHERE action = 'database_set_aside'")
            assert [name in row["detail"] for row in told] == [True], rig.failed(str(told))
            assert not (path.parent / "linegate.db.suspect").exists()
            assert (path.parent / name).stat().st_size > 0
            # What was made and is nowhere was declared; where the last state can be read, exactly.
            known_lost += await declared(rig, name) + unsent(path.parent / name)
        assert sum(1 for _, ordered in rig.ends if not ordered) >= 1, rig.failed("it did not end by itself")
        await rig.status_where(lambda view: view["targets"][0]["posted"] >= 2, "confirmations to be booked")
        await at_rest(rig)
        await all_but(rig, known_lost)
        bookings = conservation.rows(rig.ledger, "SELECT key, good, scrap FROM bookings")
        assert len({row["key"] for row in bookings}) == len(bookings)
        assert len({row["key"].split("/")[1] for row in bookings} - set(epochs)) == 1, "the third database books, too"
        made, booked = rig.made("ASM-01"), [sum(row[what] for row in bookings) for what in ("good", "scrap")]
        assert all(there <= really for there, really in zip(booked, made, strict=True)), (booked, made)
