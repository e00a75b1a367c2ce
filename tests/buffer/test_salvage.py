"""`linegate buffer salvage`: whatever stands on pages that are sound comes out of a file with spoiled ones."""

from __future__ import annotations

import contextlib
import csv
import json
import random
import shutil
import sqlite3
import stat

import pytest

from buffer.errors import StoreError
from buffer.salvage import salvage
from buffer.schema import PAGE_BYTES
from gateway.cli import main

SEED = 20_261_128
POSTINGS, ORDERS = 600, 20
SENT = 100
#: The first pages hold the list of the tables.
FIRST = 12
COLUMNS = "id, target, key, order_id, operation, seq, kind, state, payload, created_ns"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make):
    """Postings on some hundred pages, the first of them booked; some longer than a page."""
    import asyncio

    from buffer.store import Store

    path = tmp_path_factory.mktemp("whole") / "linegate.db"

    async def write():
        store = await Store.open(path, now_ns=lambda: 10**12, max_bytes=1 << 28)
        for at in range(POSTINGS):
            order, seq = f"{at % ORDERS:06}", at // ORDERS + 1
            body = {"qty": {"good": str(at), "scrap": []}, "text": "x" * (6000 if at % 50 == 0 else 500)}
            one = make.posting(seq, order=order)._replace(payload=json.dumps(body).encode())
            await store.commit(make.step(at + 1, postings=(one,), jobs=(make.record(seq, order=order),)))
        await store.close()

    asyncio.run(write())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as link:
        link.execute("UPDATE outbox SET body = x'00', content_type = 't', name = 'n' WHERE id <= ?", (SENT,))
        link.execute("UPDATE outbox SET state = 'posted', settled_ns = 5 WHERE id <= ?", (SENT,))
    return path


def readable(path):
    """What SQLite gives of each row, asked for one at a time; None where it cannot."""
    found = {}
    with contextlib.closing(sqlite3.connect(path)) as link:
        for number in range(1, POSTINGS + 1):
            try:
                found[number] = link.execute(f"SELECT {COLUMNS} FROM outbox WHERE id = ?", (number,)).fetchone()
            except sqlite3.DatabaseError:
                found[number] = None
    return found


def has_all_tables(path):
    with contextlib.closing(sqlite3.connect(path)) as link:
        try:
            return bool(link.execute("SELECT name FROM sqlite_schema").fetchall())
        except sqlite3.DatabaseError:
            return False


async def test_of_a_whole_file_everything_comes_out(whole):
    found = salvage(whole)
    assert (len(found.unsent), found.sent, found.unread) == (POSTINGS - SENT, SENT, ())
    assert found.numbers == {(f"{at:06}", "0010"): POSTINGS // ORDERS for at in range(ORDERS)}


@pytest.mark.parametrize("spoiled", [1, 3, 10, 40])
def test_everything_on_sound_pages_comes_out(whole, tmp_path, spoiled):
    rng, before = random.Random(SEED + spoiled), readable(whole)
    for turn in range(4):
        path = tmp_path / f"{turn}.db"
        shutil.copy(whole, path)
        # The first pages hold the list of the tables; without it nothing can be read, and that is said.
        pages = sorted(rng.sample(range(FIRST, path.stat().st_size // PAGE_BYTES), spoiled))
        told = f"seed {SEED + spoiled}, turn {turn}: pages {pages} spoiled"
        with path.open("r+b") as file:
            for page in pages:
                file.seek((page - 1) * PAGE_BYTES)
                file.write(b"\xff" * PAGE_BYTES)
        expected = readable(path)
        sound = {number: row for number, row in expected.items() if row and row[7] != "posted"}
        try:
            found = salvage(path)
        except StoreError:  # the part of the list of the tables that names the outbox
            assert not sound, told
            continue
        got = {one.id: tuple(one)[:-1] for one in found.unsent if one.payload is not None}
        assert got.items() >= sound.items(), told
        assert got.items() <= before.items(), told
        assert bool(found.unread) or len(got) == POSTINGS - SENT, told
        lost = {number for number, row in expected.items() if row is None and number not in got}
        named = {one.id: one for one in found.unsent if one.payload is None}
        assert named.keys() <= lost, told
        if spoiled == 1 and has_all_tables(path):  # one page spoils the table or an index: nobody is forgotten
            assert named.keys() == lost, told
            assert all(one.key.endswith(f"/{one.order}/0010/{one.seq}") for one in named.values()), told
            assert len(found.numbers) == ORDERS, told


def test_the_command_writes_both_forms_and_says_what_is_missing(whole, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["buffer", "salvage", str(whole), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "unsent.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(SENT + 1, POSTINGS + 1))
    assert (rows[0]["good"], rows[0]["state"], rows[0]["content"]["qty"]["scrap"]) == (str(SENT), "ready", [])
    with (out / "unsent.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["key"] for row in table] == [row["key"] for row in rows]
    assert len((out / "numbers.jsonl").read_text().splitlines()) == ORDERS
    assert stat.S_IMODE((out / "unsent.csv").stat().st_mode) == 0o600
    assert f"{POSTINGS - SENT} confirmations are not booked" in capsys.readouterr().err
    # Nothing is ever replaced.
    assert main(["buffer", "salvage", str(whole), "--out", str(out)]) == 2
    assert "unsent.jsonl" in capsys.readouterr().err


def test_what_is_booked_in_part_is_said_step_by_step(whole, tmp_path, capsys):
    """Who books the rest by hand must know which of its messages the ERP has already."""
    copy, number = tmp_path / "copy.db", SENT + 1
    with contextlib.closing(sqlite3.connect(whole)) as link, contextlib.closing(sqlite3.connect(copy)) as to:
        link.backup(to)
        columns = "posting, step, body, content_type, name, sent_ns, settled_ns, outcome, reference"
        add = f"INSERT INTO outbox_steps ({columns})"
        to.execute(f"{add} VALUES (?, 0, NULL, NULL, NULL, 7, 8, 'posted', 'WE 1')", (number,))
        to.execute(f"{add} VALUES (?, 1, x'00', 't', 'time', 9, NULL, '', '')", (number,))
        to.execute(f"{add} VALUES (?, 2, x'00', 't', 'end', NULL, NULL, '', '')", (number,))
        to.commit()
    assert main(["buffer", "salvage", str(copy)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    unsent = {row["id"]: row["steps"] for row in rows if row["what"] == "unsent"}
    told = [(one["step"], one["name"], one["outcome"], one["reference"], one["sent_ns"]) for one in unsent[number]]
    assert told == [(0, None, "posted", "WE 1", 7), (1, "time", "", "", 9), (2, "end", "", "", None)]
    assert unsent[number + 1] == []


def test_its_exit_status_tells_part_from_nothing(whole, tmp_path, capsys):
    part, none = tmp_path / "part.db", tmp_path / "none.db"
    shutil.copy(whole, part)
    with contextlib.closing(sqlite3.connect(whole)) as link:
        ((root,),) = link.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'outbox'")
    with part.open("r+b") as file:
        file.seek((root - 1) * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)
    assert main(["buffer", "salvage", str(part)]) == 1
    captured = capsys.readouterr()
    # With its root the whole table is gone; the indexes still name all of them.
    known = [row for row in map(json.loads, captured.out.splitlines()) if row["what"] == "unsent"]
    assert len({row["key"] for row in known}) == POSTINGS
    assert f"numbers 1 to {POSTINGS}" in captured.err
    none.write_bytes(b"\xff" * PAGE_BYTES * 4)
    assert main(["buffer", "salvage", str(none)]) == 2
    assert main(["buffer", "salvage", str(tmp_path / "nowhere.db")]) == 2
