import asyncio
import os
import sqlite3
import stat

import pytest

from buffer import retention, schema
from buffer.damage import set_aside
from buffer.errors import DamagedStoreError, NewerSchemaError, StoreError
from buffer.outbox import Outbox
from buffer.readonly import ReadOnlyStore
from buffer.step import JournalRow
from buffer.store import Store
from gateway.core.retention import RecordClass


@pytest.fixture
def open_store(path, clock):
    """From nothing: here the making of the file is part of the matter."""
    return lambda max_bytes=64 << 20: Store.open(path, now_ns=clock, max_bytes=max_bytes)


async def test_what_was_committed_is_there_after_reopening(open_store, make):
    store = await open_store()
    epoch = store.epoch
    await store.commit(make.step(seq=1, rows=3, at_ns=77, postings=[make.posting()], jobs=[make.record()]))
    await store.set_cursor("erp", "17")
    await store.close()

    again = await open_store()
    assert again.epoch == epoch
    assert len(epoch) == 13
    assert await again.snapshots() == {"ASM-01": b"after 3"}
    assert await again.job_record("100240", "0010") == make.record()
    assert await again.job_record("100240", "0020") is None
    assert await again.job_records() == [make.record()]
    assert await again.cursor("erp") == "17"
    assert await again.cursor("other") == ""
    assert await again.last_time_ns() == 77
    assert await again.journal("ASM-01", 2, 10) == [
        JournalRow(2, 77, "pieces", b"{}"),
        JournalRow(3, 77, "pieces", b"{}"),
    ]
    assert await again.journal_seqs() == {"ASM-01": 3}
    entry = await Outbox(again).get("RQ1/epoch/100240/0010/1")
    assert (entry.payload, entry.state, entry.created_ns) == (b'{"a":1}', "ready", 1000)
    await again.close()


async def test_two_databases_never_have_the_same_epoch(open_store, path):
    first = await open_store()
    await first.close()
    path.unlink()
    second = await open_store()
    await second.close()
    assert first.epoch != second.epoch


async def test_the_file_is_private_and_durable(store, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name(path.name + "-wal").stat().st_mode) == 0o600

    async def pragmas(connection):
        names = ("journal_mode", "synchronous", "trusted_schema", "max_page_count", "foreign_keys")
        return [next(iter(await connection.execute_fetchall(f"PRAGMA {name}")))[0] for name in names]

    assert await store.write(pragmas) == ["wal", 2, 0, 64 * 1024 * 1024 // schema.PAGE_BYTES, 1]


async def test_every_table_is_strict(store):
    rows = await store.read("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'", ())
    tables = {name: strict for name, strict in rows if not name.startswith("sqlite_")}
    assert {"outbox", "journal", "meta", "job"} <= set(tables)
    assert set(tables.values()) == {1}


@pytest.mark.parametrize("seq", [0, 1, 3])
async def test_a_step_that_is_not_the_next_one_is_refused_whole(store, make, seq):
    await store.commit(make.step(seq=1))
    with pytest.raises(StoreError, match=r"linegate\.db") as refused:
        await store.commit(make.step(seq=seq, snapshot=b"wrong", postings=[make.posting()], jobs=[make.record()]))
    assert not refused.value.temporary
    assert await store.snapshots() == {"ASM-01": b"after 1"}
    assert await Outbox(store).page() == []
    assert await store.job_record("100240", "0010") is None
    await store.commit(make.step(seq=2))


@pytest.mark.parametrize(
    "again",
    [{"seq": 1}, {"seq": 1, "order": "other"}, {"seq": 2}],
    ids=["all", "same key only", "a later number exists"],
)
async def test_a_confirmation_is_committed_once_per_target(store, make, again):
    posting = make.posting(seq=3)
    await store.commit(make.step(seq=1, postings=[make.posting(seq=1), posting]))
    double = make.posting(**again)._replace(key=make.posting(seq=1).key if again["seq"] == 1 else "new key")
    with pytest.raises(StoreError):
        await store.commit(make.step(seq=2, postings=[double]))
    await store.commit(make.step(seq=2, postings=[posting._replace(target="archive")]))
    assert len(await Outbox(store).page()) == 3


async def test_waiting_steps_share_transactions_and_a_bad_one_fails_alone(store, make):
    steps = [make.step(seq=1, unit=f"U{number}") for number in range(100)]
    steps[50] = make.step(seq=7, unit="U50")
    before = await store.read("PRAGMA data_version", ())
    results = await asyncio.gather(*(store.commit(step) for step in steps), return_exceptions=True)
    failed = [number for number, result in enumerate(results) if result is not None]
    assert failed == [50]
    assert isinstance(results[50], StoreError)
    assert len(await store.snapshots()) == 99
    assert await store.read("PRAGMA data_version", ()) != before


async def _no_character(connection):
    await connection.execute_fetchall("UPDATE work_unit SET snapshot = CAST(? AS BLOB)", ("\ud83d",))


async def _no_number(connection):
    await connection.execute_fetchall("UPDATE meta SET last_time_ns = ?", (2**80,))


async def _no_sql(connection):
    await connection.execute_fetchall("UPDATE nowhere SET nothing = 1")


async def _a_fault_after_a_change(connection):
    await connection.execute_fetchall("DELETE FROM work_unit")
    raise LookupError("surprise")


@pytest.mark.parametrize("bad", [_no_character, _no_number, _no_sql, _a_fault_after_a_change])
async def test_whatever_one_write_raises_it_fails_alone_and_the_writer_goes_on(store, make, bad):
    await store.commit(make.step(unit="first"))
    works = [store.commit(make.step(unit=f"U{number}")) for number in range(10)]
    works[5:5] = [store.write(bad)]
    results = await asyncio.gather(*works, return_exceptions=True)
    assert isinstance(results.pop(5), StoreError)
    assert results == [None] * 10
    with pytest.raises(StoreError, match="refused a write") as alone:
        await store.write(bad)
    assert not alone.value.temporary
    await store.commit(make.step(unit="last"))
    assert sorted(await store.snapshots()) == sorted(["first", "last", *(f"U{number}" for number in range(10))])
    assert await store.last_time_ns() == 1000


async def test_a_text_that_cannot_be_stored_is_refused_before_it_is_written(store, make):
    with pytest.raises(StoreError):
        await store.set_cursor("erp", "\ud83d")
    with pytest.raises(StoreError, match="job record"):
        await store.commit(make.step(jobs=[make.record(order="\ud83d")]))
    with pytest.raises(StoreError, match="cannot be read"):
        await store.cursor("\ud83d")
    with pytest.raises(StoreError, match="cannot be read"):
        await Outbox(store).entry(2**80)
    await store.set_cursor("erp", "17")
    await store.commit(make.step(jobs=[make.record()]))
    assert await store.cursor("erp") == "17"


async def test_a_group_is_one_transaction(store, make):
    statements = []
    await store._opened.writing.set_trace_callback(statements.append)
    await asyncio.gather(*(store.commit(make.step(unit=f"U{number}")) for number in range(128)))
    assert 0 < statements.count("COMMIT") <= 4


async def test_a_cancelled_caller_leaves_no_transaction_open(store, make):
    cancelled = 0
    for number in range(1, 40):
        task = asyncio.create_task(store.commit(make.step(seq=1, unit=f"U{number}")))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
        # Kept before its caller goes: where this thread was kept from running while the other one wrote.
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert ended is None or isinstance(ended, asyncio.CancelledError)
        cancelled += ended is not None
    assert cancelled >= 20
    await store.commit(make.step(seq=1, unit="last"))
    assert not store._opened.writing.in_transaction
    assert (await store.snapshots())["last"] == b"after 1"


async def test_closing_finishes_what_waits_and_refuses_what_comes_later(open_store, make):
    store = await open_store()
    waiting = [asyncio.create_task(store.commit(make.step(unit=f"U{number}"))) for number in range(200)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    assert await asyncio.gather(*waiting) == [None] * 200
    with pytest.raises(StoreError, match="closed"):
        await store.commit(make.step())
    with pytest.raises(StoreError, match="cannot be read"):
        await store.snapshots()
    again = await open_store()
    assert len(await again.snapshots()) == 200
    await again.close()


async def test_a_full_database_refuses_and_recovers_when_there_is_room(open_store, make, clock):
    store = await open_store(max_bytes=400_000)

    async def fill():
        for seq in range(1, 1000):
            await store.commit(make.step(seq=seq, snapshot=b"x", at_ns=seq, jobs=[make.record(order=f"{seq}" * 50)]))

    with pytest.raises(StoreError, match=r"buffer\.max_size") as full:
        await fill()
    assert full.value.temporary
    last = (await store.journal_seqs())["ASM-01"]
    assert (await store.stats()).used_bytes > 300_000
    assert (await store.stats()).max_bytes == 400_000

    async def free(connection):
        await connection.execute_fetchall("UPDATE job SET record = x'00'")

    await store.write(free)
    await store.commit(make.step(seq=last + 1))
    await store.close()


async def test_an_open_rolls_back_nothing_and_counts_interrupted_sendings(open_store, make):
    store = await open_store()
    await store.commit(make.step(postings=[make.posting(seq=1), make.posting(seq=1, order="B")]))
    await Outbox(store).begin_send(1, (b"x", "text/plain", ""), 5_000)
    await store.close()
    again = await open_store()
    assert again.interrupted == 1
    entry = await Outbox(again).entry(1)
    assert (entry.state, entry.due_ns, entry.error_kind) == ("uncertain", 5_000, "uncertain")
    assert (await Outbox(again).entry(2)).state == "ready"
    assert await again.last_time_ns() == 5_000
    await again.close()


async def test_a_newer_schema_is_refused_and_left_alone(open_store, path):
    await (await open_store()).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(NewerSchemaError, match="99"):
        await open_store()
    with pytest.raises(NewerSchemaError, match="99"):
        ReadOnlyStore(path)


def test_every_migration_has_a_number_of_its_own():
    """Of two with one number the second is passed over where the program ended between them."""
    numbers = [number for number, _ in schema.migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_migration_that_fails_leaves_nothing_behind(open_store, path, monkeypatch):
    known = schema.migrations()
    broken = [*known, (known[-1][0] + 1, "CREATE TABLE half (a INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);\n")]
    await (await open_store()).close()
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(StoreError):
        await open_store()
    monkeypatch.undo()
    store = await open_store()
    assert await store.read("SELECT name FROM sqlite_master WHERE name = 'half'", ()) == []
    await store.close()


async def test_a_new_file_has_its_whole_schema_or_none_of_it(open_store, path, monkeypatch):
    broken = [*schema.migrations()[:-1], (schema.newest_schema(), "INSERT INTO nowhere VALUES (1);\n")]
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(StoreError):
        await open_store()
    with sqlite3.connect(path) as found:
        assert found.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    found.close()
    monkeypatch.undo()
    await (await open_store()).close()


@pytest.mark.parametrize("damage", ["garbage", "middle"])
async def test_a_damaged_file_is_recognised_and_can_be_set_aside(open_store, path, make, damage):
    store = await open_store()
    epoch = store.epoch
    for seq in range(1, 30):
        await store.commit(make.step(seq=seq, snapshot=b"s" * 5000, jobs=[make.record(order=f"o{seq}" * 100)]))
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        if damage == "middle":
            file.seek(8192)
        file.write(os.urandom(size - 8192 if damage == "middle" else 4096))
    with pytest.raises(DamagedStoreError, match="sound"):
        await open_store()
    kept = set_aside(path, at_ns=5)
    assert kept.stat().st_size == size
    again = await open_store()
    assert again.epoch != epoch
    await again.close()


async def test_a_missing_folder_is_named(tmp_path, clock):
    with pytest.raises(StoreError, match="nowhere"):
        await Store.open(tmp_path / "nowhere" / "x.db", now_ns=clock, max_bytes=10**6)


async def test_pruning_deletes_old_posted_postings_and_journal_rows_only(store, make, clock):
    outbox = Outbox(store)
    for seq in range(1, 4):
        await store.commit(make.step(seq=seq, at_ns=seq * 100, postings=[make.posting(seq=seq)]))
    for entry_id, at_ns in ((1, 1_000), (2, 2_000)):
        await outbox.begin_send(entry_id, (b"x", "", ""), at_ns)
        from buffer.entry import OutboxState, Settlement

        await outbox.settle(entry_id, Settlement(OutboxState.POSTED), at_ns)
    clock.ns = 2_500
    assert await retention.postings(store, 1_500) == 1
    assert await retention.journal(store, "ASM-01", RecordClass.CYCLE, 250) == 2
    assert [entry.seq for entry in await outbox.page()] == [3, 2]
    assert [row.seq for row in await store.journal("ASM-01", 1, 10)] == [3]
    assert (await outbox.counts("erp")).posted == 2
    assert await retention.postings(store, 2_500) == 1
    assert await retention.journal(store, "ASM-01", RecordClass.CYCLE, 2_500) == 1
    assert [entry.seq for entry in await outbox.page()] == [3]
    await store.commit(make.step(seq=4))
    with pytest.raises(StoreError):
        await store.commit(make.step(seq=4))


async def test_another_process_may_look_while_the_daemon_writes(store, path, make):
    with ReadOnlyStore(path) as view:
        assert view.outbox() == []
        await store.commit(make.step(postings=[make.posting(seq=1), make.posting(seq=1, target="archive")]))
        assert [entry.target for entry in view.outbox()] == ["archive", "erp"]
        assert view.counts("erp") == await Outbox(store).counts("erp")
        assert sorted(view.targets()) == ["archive", "erp"]
        assert view.snapshots() == {"ASM-01": b"after 1"}
        assert view.epoch == store.epoch
        with pytest.raises(StoreError):
            view._read("DELETE FROM meta", ())


async def test_the_view_also_works_after_the_daemon_has_stopped(open_store, path, make):
    store = await open_store()
    await store.commit(make.step(postings=[make.posting()]))
    await store.close()
    assert not path.with_name(path.name + "-wal").exists()
    with ReadOnlyStore(path) as view:
        assert len(view.outbox()) == 1


def test_the_view_names_a_missing_database(path):
    with pytest.raises(StoreError, match="no database"):
        ReadOnlyStore(path)
