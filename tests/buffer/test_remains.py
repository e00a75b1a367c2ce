"""What a lost database still says: by itself each, and nothing where it cannot be read."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

from buffer import remains, schema
from buffer.mark import Mark, Sent
from buffer.packing import pack

STATE = json.dumps({"v": 5, "filler": "x" * 2000}).encode()
PLACE = ("erp", "P/e/1/10/{n}", "m{n}", "1", "10")


@pytest.fixture
def lost(tmp_path):
    path = tmp_path / "linegate.db.damaged-5"
    with contextlib.closing(sqlite3.connect(path)) as link:
        link.execute(f"PRAGMA page_size={schema.PAGE_BYTES}")
        for _, script in schema.migrations():
            link.executescript(script)
        link.execute("INSERT INTO work_unit VALUES ('M1', ?)", (pack(STATE),))
        link.execute("INSERT INTO clock VALUES (1, 'b', 5, 5, 77, 2)")
        columns = "target, key, message_id, order_id, operation, seq, kind, payload, state, created_ns, due_ns"
        for seq, machine, state in ((1, "M1", "superseded"), (2, "M2", "ready"), (3, "M1", "ready")):
            row = (*(text.format(n=seq) for text in PLACE), seq, "partial", json.dumps({"machine": machine}), state)
            link.execute(
                f"INSERT INTO outbox ({columns}) VALUES (?,?,?,?,?,?,?,CAST(? AS BLOB),?,?,0)", (*row, seq * 10)
            )
        link.commit()
    return path


def page_of(path, table):
    with contextlib.closing(sqlite3.connect(path)) as link:
        ((page,),) = link.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    return page


def spoil(path, table):
    page = page_of(path, table)
    with path.open("r+b") as file:
        file.seek((page - 1) * schema.PAGE_BYTES)
        file.write(b"\xff" * schema.PAGE_BYTES)


def test_all_of_it(lost):
    found = remains.read(lost, ["M1", "M2"])
    assert found.states == {"M1": STATE}
    assert found.confirmed_ns == {"M1": 30, "M2": 20}
    assert found.offset_ns == 77
    assert found.written_ns == lost.stat().st_mtime_ns
    assert remains.unsent(lost) == 2


@pytest.mark.parametrize("table", ["work_unit", "clock", "outbox", "outbox_tally"])
def test_one_spoiled_page_hides_what_stands_on_it(lost, table):
    whole = remains.read(lost, ["M1"])
    spoil(lost, table)
    found = remains.read(lost, ["M1"])
    assert (found.states == {}) is (table == "work_unit")
    assert (found.offset_ns is None) is (table == "clock")
    assert (found.confirmed_ns == {}) is (table == "outbox")
    assert (remains.unsent(lost) is None) is (table == "outbox_tally")
    assert found.confirmed_ns in ({}, whole.confirmed_ns)


@pytest.mark.parametrize("rubbish", [None, b"", b"no database" * 999])
def test_what_is_no_database_has_a_time_at_most(tmp_path, rubbish):
    path = tmp_path / "linegate.db.damaged-5"
    if rubbish is not None:
        path.write_bytes(rubbish)
    found = remains.read(path, ["M1"])
    assert found[:3] == ({}, {}, None)
    assert bool(found.written_ns) is (rubbish is not None)
    assert remains.unsent(path) is None
    assert path.exists() is (rubbish is not None), "it makes nothing"


def test_what_left_last_by_the_mark(tmp_path):
    path = tmp_path / "linegate.db"
    assert remains.last_sent_ns(path) == 0
    mark = Mark(path)
    mark.begin("e1")
    for seq, at_ns in ((1, 500), (2, 900), (3, 700)):
        mark.append([Sent("erp", seq, f"k{seq}", "partial", str(seq), "10", 1, 1, "d", at_ns, "", "1", "0", "0")], {})
    mark.close()
    assert remains.last_sent_ns(path) == 900
