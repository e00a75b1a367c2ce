"""The audit: it only grows, and an older database gets it."""

from __future__ import annotations

import sqlite3

import pytest

from buffer import audit, jobs, retention, schema
from buffer.audit import AuditOutcome, NewAuditRow
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.readonly import ReadOnlyStore

ROW = NewAuditRow(1_000, "ann", "write", "plc.job", "4710", "4711", "hand over", AuditOutcome.ATTEMPTED)


@pytest.fixture
async def store(open_store):
    store = await open_store()
    yield store
    await store.close()


async def test_rows_are_numbered_and_come_newest_first(store):
    first = await audit.add(store, ROW)
    second = await audit.add(store, ROW._replace(at_ns=2_000, outcome=AuditOutcome.DONE, old=None, about=first))
    assert (first, second) == (1, 2)
    with ReadOnlyStore(store.path) as view:
        newest, older = view.audit(10)
        assert view.audit(1) == [newest]
    assert tuple(older) == (1, *ROW)
    assert (newest.seq, newest.outcome, newest.old, newest.about) == (2, "done", None, 1)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_the_number_of_rows_is_bounded(limit):
    with pytest.raises(ValueError, match=f"limit: found {limit}, allowed 1 to 10000"):
        audit.newest_query(limit)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit SET actor = 'nobody'", "an audit row never changes"),
        ("UPDATE audit SET outcome = 'done' WHERE seq = 1", "an audit row never changes"),
        ("DELETE FROM audit", "an audit row is never deleted"),
        (
            "REPLACE INTO audit (seq, at_ns, actor, action, entity, outcome) VALUES (1, 1, 'a', 'b', 'c', 'd')",
            "an audit row is never replaced",
        ),
        ("INSERT INTO audit (at_ns, actor, action, entity, outcome) VALUES (1, '', 'b', 'c', 'd')", "CHECK"),
    ],
)
async def test_no_program_can_change_what_was_written_down(store, statement, said):
    await audit.add(store, ROW)
    await store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        with pytest.raises(sqlite3.IntegrityError, match=said):
            connection.execute(statement)
        assert connection.execute("SELECT actor FROM audit").fetchall() == [("ann",)]
    connection.close()


async def test_an_end_needs_its_attempt(store):
    with pytest.raises(StoreError):
        await audit.add(store, ROW._replace(about=77))
    assert await store.read("SELECT count(*) FROM audit", ()) == [(0,)]


async def test_the_steady_clock_starts_above_it(store):
    await audit.add(store, ROW._replace(at_ns=77_000))
    await audit.add(store, ROW)
    assert await store.last_time_ns() == 77_000


async def test_pruning_leaves_it_alone(store, clock):
    await audit.add(store, ROW)
    clock.ns += 10**18
    await retention.postings(store, clock.ns)
    await retention.orders(store, clock.ns, clock.ns)
    assert await store.read("SELECT count(*) FROM audit", ()) == [(1,)]


async def test_columns_can_be_added_later(store):
    await audit.add(store, ROW)
    await store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("ALTER TABLE audit ADD COLUMN digest TEXT NOT NULL DEFAULT ''")
        assert connection.execute("SELECT seq, digest FROM audit").fetchall() == [(1, "")]
    connection.close()


TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


async def test_a_database_of_the_first_schema_gets_it_and_keeps_everything(open_store, make, path, monkeypatch):
    newest = max(step[0] for step in schema.migrations())
    first = [step for step in schema.migrations() if step[0] == 1]
    monkeypatch.setattr(schema, "migrations", lambda: first)
    old = await open_store()
    await old.commit(make.step(rows=0, snapshot=b"kept"))
    names = "target, key, message_id, order_id, operation, seq, kind, payload, created_ns, due_ns"
    values = (*make.posting()[:9], make.posting().created_ns)
    with sqlite3.connect(path) as link:
        link.execute("INSERT INTO job (order_id, operation, record) VALUES (?, ?, ?)", jobs.row(make.record(), 0)[:3])
        link.executemany("INSERT INTO journal VALUES ('ASM-01', ?, 1000, 'pieces', x'7b7d')", [(1,), (2,), (3,)])
        link.execute(f"INSERT INTO outbox ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    link.close()
    epoch, tables = old.epoch, {row[0] for row in await old.read(TABLES, ())}
    await old.close()
    assert "audit" not in tables
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"old schema 1; start the gateway once to bring it to {newest}"):
        ReadOnlyStore(path)
    new = await open_store()
    assert await new.read("PRAGMA user_version", ()) == [(newest,)]
    assert tables < {row[0] for row in await new.read(TABLES, ())}
    assert new.epoch == epoch
    assert await new.snapshots() == {"ASM-01": b"kept"}
    assert len(await new.journal("ASM-01")) == 3
    assert (await Outbox(new).entry(1)).key == make.posting().key
    assert await new.job_record("100240", "0010") == make.record()
    assert await new.read("SELECT seq, state FROM job", ()) == [(3, "IN_PROGRESS")]
    assert await audit.add(new, ROW) == 1
    await new.close()
    again = await open_store()
    assert await again.read("SELECT entity FROM audit", ()) == [("plc.job",)], "the second start migrates nothing"
    await again.close()
