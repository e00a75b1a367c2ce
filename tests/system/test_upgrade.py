"""A gateway goes on with what the version before it left behind: database of schema 4, state, orders and settings."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from buffer.store import Store

BEFORE = Path(__file__).parent / "before"
#: What the machine had made when it was last seen, by role, and where its registers stood.
COUNTED, REGISTERS = (134, 6), (634, 36)
AWAY = (7, 1)  # made while no gateway looked
SAME = (
    "id, target, key, message_id, order_id, operation, seq, kind, payload, body, content_type, name, head, attempts, "
    "lookups, first_sent_ns, last_sent_ns, settled_ns, reference, created_ns"
)
LEDGER = {("10002", 2), ("10002", 3), ("10004", 3), ("10005", 1), ("10005", 2), ("10005", 3)}


def left_behind(path):
    with contextlib.closing(sqlite3.connect(path)) as link:
        link.executescript((BEFORE / "schema_4.sql").read_text(encoding="utf-8"))
    return path


def rows(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as link:
        return link.execute(sql).fetchall()


async def test_no_posting_changes_when_the_schema_does(tmp_path):
    path = left_behind(tmp_path / "linegate.db")
    before, states = rows(path, f"SELECT {SAME} FROM outbox"), dict(rows(path, "SELECT id, state FROM outbox"))
    tally = dict(rows(path, "SELECT state, postings FROM outbox_tally"))
    assert set(states.values()) == {
        "ready", "sending", "accepted", "posted", "uncertain", "retry_wait", "parked", "superseded",
    }  # fmt: skip
    (sending,) = (number for number, state in states.items() if state == "sending")
    last_ns = rows(path, "SELECT last_time_ns FROM meta")[0][0]
    store = await Store.open(path, now_ns=lambda: last_ns + 1, max_bytes=10**8)
    await store.close()
    assert store.interrupted == 1
    assert rows(path, f"SELECT {SAME} FROM outbox") == before
    assert dict(rows(path, "SELECT id, state FROM outbox")) == states | {sending: "uncertain"}
    now = dict(rows(path, "SELECT state, count(*) FROM outbox GROUP BY state"))
    told = {state: number for state, number in rows(path, "SELECT state, postings FROM outbox_tally") if number}
    assert told == now
    assert told | {"sending": 0} == tally | {"sending": 0, "uncertain": 2}
    assert rows(path, "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'") == [(21,)]
    with pytest.raises(sqlite3.IntegrityError, match="never changes its state"):
        rows(path, "UPDATE outbox SET state = 'ready' WHERE state = 'superseded'")


@pytest.fixture
async def line(plant):
    plant.keep("ASM-01")
    await plant.start_erp()
    for number in range(9):
        await plant.release(f"1000{number}", ("0010", "WC-ASM"), quantity=20, sequence_no=number)
    registers = [str(stood + more) for stood, more in zip(REGISTERS, AWAY, strict=True)]
    await plant.start_machine("ASM-01", "--good", registers[0], "--scrap", registers[1])
    plant.state_dir.mkdir(mode=0o700)
    left_behind(plant.state_dir / "linegate.db").chmod(0o600)
    settings = (BEFORE / "linegate.yaml").read_text(encoding="utf-8")
    for name, value in (("STATE_DIR", plant.state_dir), ("MODBUS", plant.ports["modbus"]), ("ERP", plant.ports["erp"])):
        settings = settings.replace(name, str(value))
    # On a busy computer the machine makes up for its pauses in bursts, which are faster than it is.
    settings = settings.replace("modulus: 65536\n", "modulus: 65536\n      slack: 200\n")
    plant.config.write_text(settings, encoding="utf-8")
    code, out, err = await plant.cli("check", plant.config)
    assert code == 0, out + err
    await plant.run(config=plant.config)
    return plant


async def test_the_daemon_goes_on_exactly(line, until):
    view = await line.ready()
    (unit,) = view["work_units"]
    assert unit["order"] == "10007"

    async def booked():
        ledger = {(row["order"], row["seq"]) for row in await line.ledger()}
        return ledger if ledger >= LEDGER else None

    await until(booked, "what waited to be booked")
    await line.produce()
    # A busy computer may look again when that is over, too.
    await line.status_where(lambda view: view["work_units"][0]["order"] in ("10008", None), "the next order")
    await line.halt()
    made = [sum(column) for column in zip(*await all_made(line), strict=True)]
    wanted = [sum(column) for column in zip(COUNTED, AWAY, made, strict=True)]

    def seen(view):
        (unit,) = view["work_units"]
        return [unit["counted_good"], unit["counted_scrap"]] == wanted

    await line.status_where(seen, f"{wanted} counted")

    async def only_behind_a_person():
        waiting = {one["order"] for one in await line.outbox() if one["state"] not in {"posted", "superseded"}}
        return waiting == {"10001", "10006"}

    await until(only_behind_a_person, "the rest to be booked")
    ledger = await line.ledger()
    keys = [row["key"] for row in ledger]
    assert len(keys) == len(set(keys))
    assert {(row["order"], row["seq"]) for row in ledger if row["order"] < "10007"} == LEDGER
    last = [row for row in ledger if row["order"] == "10007"]
    assert [row["seq"] for row in last] == list(range(1, len(last) + 1))
    assert sum(row["good"] + row["scrap"] for row in last) == 20


async def all_made(line):
    text = (line.folder / "ASM-01.jsonl").read_text()  # the machine may be in the middle of a line
    found = [json.loads(row) for row in text.splitlines(keepends=True) if row[-1] == "\n"]
    return [(row["good"], row["scrap"]) for row in found if row["event"] == "pieces"]
