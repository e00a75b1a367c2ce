"""A copy is one state of the database, made beside a gateway that writes; restored it never repeats a key by itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sqlite3
import stat
import threading
import time
from types import SimpleNamespace

import pytest

from buffer import audit_chain, backup, catching_up
from buffer.backup import copy
from buffer.entry import OutboxState
from buffer.errors import NewerSchemaError, StoreError
from buffer.outbox import Outbox
from buffer.readonly import ReadOnlyStore
from buffer.restore import restore
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from buffer.verify import verified
from gateway.audit.auditing import Auditing
from gateway.cli import main
from gateway.core.audit.entry import EntryContent
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.document import message_id_of
from gateway.core.model import JobOrderState, JobRecord
from gateway.lock import StateDirLock
from gateway.rounds import backup_round
from gateway.rounds.backup_round import BackupRound

MIB = 1024 * 1024
S = 10**9
#: The slowest commit beside a copy may take so much longer than the slowest one without.
DELAY_MAX_S = 0.1
#: The machine is shared: so many copies may be tried, and one of them must keep the bound.
DELAY_TRIES = 10
ENTRY = EntryContent(
    at_ns=1, utc_ns=1, time_quality=0, utc_offset_s=0, time_zone="UTC", user="u", role="r", auth="", client="",
    action="a", change="event", entity="e", config_version="", sw_version="",
)  # fmt: skip


def posting(order, seq, epoch="e", state="ready"):
    key = f"P/{epoch}/{order}/10/{seq}"
    return NewPosting("erp", key, message_id_of(key), order, "10", seq, "partial", b"{}", 10, state=state)


async def commit(store, make, seq, new, number=None):
    records = tuple(
        JobRecord(make.job(one.order, "10"), JobOrderState.IN_PROGRESS, one.seq, 1, 0, 0, "h") for one in new
    )
    rows = (JournalRow(seq, 10, "pieces", os.urandom(number or 2).hex().encode()),)
    await store.commit(
        Step("M1", json.dumps({"journal_seq": seq}).encode(), 10, rows, tuple(new), records, audit=(ENTRY,))
    )


@pytest.fixture
async def copied(store, make, tmp_path):
    """A copy with two open orders; after it was made, more was sent."""
    await commit(store, make, 1, [posting("A", 1), posting("B", 1)])
    await asyncio.to_thread(copy, store.path, tmp_path / "copy.db", threading.Event())
    await commit(store, make, 2, [posting("A", 2)])
    await store.close()
    return tmp_path / "copy.db"


def faults(path):
    return [(one.name, one.told) for one in verified(path) if one.defects]


async def test_a_copy_is_whole_private_and_one_file(copied, path):
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600
    assert faults(copied) == []
    with ReadOnlyStore(copied) as found:
        assert [one.seq for one in found.outbox(order="A")] == [1]
    assert sorted(one.name for one in copied.parent.iterdir() if "copy" in one.name) == ["copy.db"]


async def test_a_copy_never_replaces_a_file(copied, path):
    before = copied.read_bytes()
    with pytest.raises(StoreError, match="never replaces"):
        copy(path, copied, threading.Event())
    assert copied.read_bytes() == before


async def test_commits_go_on_while_a_copy_is_made_and_the_copy_is_one_state(open_store, make, tmp_path, monkeypatch):
    store = await open_store()
    for seq in range(1, 9):
        await commit(store, make, seq, [posting("A", seq)], number=400_000)
    monkeypatch.setattr(backup, "PAUSE_S", 0.005)
    seq, found = 8, []

    async def slowest(goes_on):
        nonlocal seq
        delays = []
        while goes_on(len(delays)):
            seq += 1
            began = time.monotonic()
            await commit(store, make, seq, [posting("A", seq)])
            delays.append(time.monotonic() - began)
        assert len(delays) > 3, "nothing was written meanwhile"
        return max(delays), len(delays)

    for number in range(DELAY_TRIES):
        first = seq
        to = tmp_path / f"copy-{number}.db"
        copying = asyncio.create_task(asyncio.to_thread(copy, store.path, to, threading.Event()))
        beside_s, commits = await slowest(lambda _, copying=copying: not copying.done())
        made = await copying
        assert first <= made.journal_rows < seq
        assert faults(to) == []
        alone_s, _ = await slowest(lambda done, commits=commits: done < commits)
        found.append((beside_s, alone_s))
        if beside_s - alone_s < DELAY_MAX_S:
            break
    await store.close()
    assert min(beside - alone for beside, alone in found) < DELAY_MAX_S, found


async def test_a_copy_that_is_stopped_leaves_nothing(store, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoreError, match="was stopped"):
        await asyncio.to_thread(copy, store.path, tmp_path / "copy.db", stop)
    assert not list(tmp_path.glob("copy*"))


async def test_a_database_that_is_not_sound_makes_no_copy(copied, path, tmp_path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as spoiled:
        spoiled.execute("DROP TRIGGER journal_is_immutable")
        spoiled.execute("UPDATE outbox_tally SET postings = 9")
    with pytest.raises(StoreError, match="the sum says 9"):
        copy(path, tmp_path / "two.db", threading.Event())
    assert not list(tmp_path.glob("two*"))


async def put_back(copied, path, at_ns=77):
    return await restore(copied, path, at_ns=at_ns, max_bytes=64 * MIB)


async def test_after_a_restore_a_new_epoch_begins_and_what_may_be_booked_already_waits(copied, path, open_store, make):
    with ReadOnlyStore(path) as before:
        old = before.epoch
    made = await put_back(copied, path)
    assert (made.set_aside, made.postings, made.operations) == ("linegate.db.replaced-77", 2, 2)
    assert made.epoch != old
    store = await open_store()
    outbox = Outbox(store)
    assert store.epoch == made.epoch
    assert await outbox.due("erp", 10**18, 10) == [], "nothing goes out by itself"
    # The first one of an operation waits, too; and those behind it wait for it.
    await commit(store, make, 2, [posting("A", 2, made.epoch)])
    await commit(store, make, 3, [posting("A", 3, made.epoch)])
    assert [one.state for one in await outbox.page(order="A")] == ["ready", "needs_approval", "needs_approval"]
    for one in await outbox.page(order="A", state=OutboxState.NEEDS_APPROVAL):
        await outbox.approve(one.id, 10**17, who="p: looked")
    assert [one.seq for one in await outbox.due("erp", 10**18, 10)] == [1]
    # What was not known to the copy is nobody's business here.
    await commit(store, make, 4, [posting("NEW", 1, made.epoch)])
    assert [one.order for one in await outbox.due("erp", 10**18, 10)] == ["A", "NEW"]
    await store.close()
    assert faults(path) == []


async def test_the_database_before_is_kept_whole(copied, path):
    made = await put_back(copied, path)
    kept = path.with_name(made.set_aside)
    assert faults(kept) == []
    with ReadOnlyStore(kept) as found:
        assert [one.seq for one in found.outbox(order="A")] == [2, 1]


async def test_the_audit_trail_of_a_restored_database_goes_on_under_its_name(copied, path, open_store):
    with audit_chain.ChainReader.open(copied) as reader:
        name = reader.chain
    await put_back(copied, path)
    store = await open_store()
    await store.write(lambda connection: audit_chain.append([ENTRY], connection))
    await store.close()
    with audit_chain.ChainReader.open(path) as reader:
        assert (reader.chain, reader.verify().entries) == (name, 2)


async def test_a_copy_is_restored_where_there_is_no_database(copied, path):
    for one in path.parent.glob("linegate.db*"):
        one.unlink()
    assert (await put_back(copied, path)).set_aside == ""
    assert faults(path) == []


def _newer(file):
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 9999")


def _spoiled(file):
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("UPDATE outbox_tally SET postings = 5")


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (_newer, NewerSchemaError, "has schema 9999"),
        (_spoiled, StoreError, "the sum says 5"),
        (lambda file: file.write_bytes(b"no database at all" * 1000), StoreError, "not a sound database"),
        (lambda file: file.unlink(), StoreError, "no such file"),
    ],
)
async def test_a_copy_that_is_no_good_leaves_everything_as_it_was(copied, path, spoil, error, text):
    spoil(copied)
    before = path.read_bytes()
    with pytest.raises(error, match=text):
        await put_back(copied, path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.glob("linegate.db*")] == ["linegate.db"]


async def test_the_commands(copied, path, capsys, tmp_path):
    with StateDirLock(path.parent):
        assert await asyncio.to_thread(main, ["buffer", "restore", str(copied), "-d", str(path.parent)]) == 1
    assert "is in use" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["buffer", "restore", str(copied), "-d", str(path.parent)]) == 0
    assert "2 postings wait for an approval, and so will the first one of 2 operations" in capsys.readouterr().out
    assert main(["buffer", "backup", str(tmp_path / "new.db"), "-d", str(path.parent)]) == 0
    assert faults(tmp_path / "new.db") == []


async def test_a_process_that_dies_in_the_middle_leaves_the_database(copied, path, monkeypatch):
    class Died(BaseException):
        pass

    def dies(*_):
        raise Died

    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", dies)
    with pytest.raises(Died):
        await put_back(copied, path)
    assert path.read_bytes() == before
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=64 * MIB)
    await store.close()


@pytest.fixture
def copies(store, tmp_path):
    """A round that copies every hour and keeps two; the clock is the test's."""
    folder = tmp_path / "copies"
    folder.mkdir()
    clock = SimpleNamespace(utc=1_800_000_000 * S, offset_ns=0, quality=TimeQuality.SYNCHRONISED)
    clock.now_ns = clock.utc_now_ns = lambda: clock.utc
    clock.utc_ns = lambda steady_ns: steady_ns
    rule = SimpleNamespace(folder="copies", every=3600 * S, keep=2)
    settings = SimpleNamespace(
        gateway=SimpleNamespace(id="gw", timezone="UTC", profile="standard"),
        buffer=SimpleNamespace(backup=rule), base_dir=tmp_path, digest="d",
    )  # fmt: skip
    troubles = {}
    parts = SimpleNamespace(trouble=troubles.__setitem__)

    def made():
        return BackupRound(settings, store, clock, parts, Auditing(settings, store, clock))

    return SimpleNamespace(clock=clock, rule=rule, troubles=troubles, folder=folder, round=made)


async def test_copies_are_made_by_the_clock_and_the_oldest_go(copies):
    round_, names = copies.round(), []
    for _ in range(4):
        names.append((await round_.look()).name)
        copies.clock.utc += 1800 * S
        assert await copies.round().look() is None, "also after a restart it is not due yet"
        copies.clock.utc += 1800 * S
    (copies.folder / "linegate-gw-mine.db").touch()
    assert sorted(one.name for one in copies.folder.glob("linegate-gw-2*")) == names[-2:]
    assert faults(copies.folder / names[-1]) == []
    await copies.round().look()
    assert (copies.folder / "linegate-gw-mine.db").exists(), "what it did not make it does not delete"


async def test_a_copy_that_fails_is_said_and_tried_again(copies):
    copies.rule.folder = "not there"
    round_ = copies.round()
    assert await round_.look() is None
    assert "no copy of the database could be made" in copies.troubles["backup"]
    copies.rule.folder = "copies"
    copies.clock.utc += 3600 * S
    assert await round_.look() is not None
    assert copies.troubles["backup"] == ""


@pytest.mark.parametrize("answers", [True, False])
async def test_the_end_waits_for_no_copy_and_it_leaves_nothing_behind(copies, store, monkeypatch, answers):
    """A folder may be on a server that is gone: then even what the copy wants to remove it cannot."""
    begun, goes_on, complaints = threading.Event(), threading.Event(), []
    counted = backup._copied

    def late(database, part, stop):
        begun.set()
        assert (stop if answers else goes_on).wait(60)
        return counted(database, part, stop)

    monkeypatch.setattr(backup, "_copied", late)
    monkeypatch.setattr(backup_round, "STOP_S", 60.0 if answers else 0.05)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    running = asyncio.create_task(copies.round().run())
    await asyncio.to_thread(begun.wait)
    running.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait([running])
    assert running.cancelled()
    assert len(list(copies.folder.iterdir())) == (0 if answers else 1)
    goes_on.set()
    async with asyncio.timeout(60):
        while any(copies.folder.iterdir()):  # noqa: ASYNC110 - the thread goes on
            await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_what_a_killed_copy_left_is_removed(copies):
    left = copies.folder / "linegate-gw-20260101T000000Z.db.part"
    left.touch()
    assert await copies.round().look() is not None
    assert not left.exists()


async def test_what_comes_while_the_feeds_catch_up_waits_and_what_comes_later_does_not(copied, path, open_store, make):
    """``known`` and ``gone`` delivered orders to the copy; ``gone`` is not configured any more."""
    with contextlib.closing(sqlite3.connect(copied, isolation_level=None)) as other:
        other.executemany("INSERT INTO connector_cursor VALUES (?, 'c')", [("known",), ("gone",)])
    made = await put_back(copied, path)
    store = await open_store()
    outbox = Outbox(store)

    async def comes(order, seq):
        record = JobRecord(make.job(order, "10"), JobOrderState.DISPATCHED, 0, 1, 0, 0, "h")
        row = JournalRow(seq, 10, "job", b"{}")
        await store.commit(Step("M1", json.dumps({"journal_seq": seq}).encode(), 10, (row,), (), (record,)))

    async def state(order, seq):
        await commit(store, make, seq, [posting(order, 1, made.epoch)])
        return next(str(one.state) for one in await outbox.page(order=order) if one.key.split("/")[1] == made.epoch)

    await comes("MISSED", 2)
    await catching_up.only(store, {"known": None})
    await comes("MISSED TOO", 3)
    await catching_up.done(store, "known")
    await comes("NEW", 4)
    assert await state("MISSED", 5) == "needs_approval"
    assert await state("MISSED TOO", 6) == "needs_approval"
    assert await state("NEW", 7) == "ready"
    await store.close()
    assert faults(path) == []


async def test_a_restore_is_written_down_once_at_the_next_start(copied, path, open_store, copies):
    made = await put_back(copied, path)
    store = await open_store()
    clock = copies.clock
    settings = SimpleNamespace(
        gateway=SimpleNamespace(id="gw", timezone="UTC", profile="standard"), buffer=SimpleNamespace(backup=None),
        base_dir=path.parent, digest="d",
    )  # fmt: skip
    for _ in range(2):
        await BackupRound(settings, store, clock, SimpleNamespace(feeds={}), Auditing(settings, store, clock)).start()
    await store.close()
    with audit_chain.ChainReader.open(path) as reader:
        told = [one.content for one in reader.entries() if one.content.action == "restored"]
    assert [(one.new, one.outcome) for one in told] == [(made.epoch, "done")]
    assert "linegate.db.replaced-77" in told[0].detail
