"""What is found to be damaged while it is used, or behind the start, and what the next start makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from buffer import damage, schema
from buffer.errors import DamagedStoreError, StoreError
from buffer.store import Store
from config.settings import BufferSettings
from gateway.core.audit.entry import SystemAction
from gateway.starting.database import open_database

MARK = b"here stands the journal"


async def filled(path, make):
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0)
    for at in range(1, 101):
        step = make.step(at)
        await store.commit(step._replace(rows=(step.rows[0]._replace(body=MARK),)))
    await store.close()


def spoil(path):
    """The page on which a row of the journal stands."""
    content = path.read_bytes()
    page = content.index(MARK) // schema.PAGE_BYTES
    with path.open("r+b") as file:
        file.seek(page * schema.PAGE_BYTES)
        file.write(b"\xff" * schema.PAGE_BYTES)


@pytest.fixture
def large(monkeypatch):
    """Every file is too large to be looked through before it is used."""
    monkeypatch.setattr(schema, "QUICK_CHECK_MAX_BYTES", 0)


async def reopened(folder):
    store, incidents = await open_database(folder, BufferSettings(), lambda: 1)
    await store.close()
    return store.epoch, incidents


async def test_behind_the_start_of_a_large_file_damage_is_found_and_the_next_start_sets_it_aside(path, make, large):
    await filled(path, make)
    spoil(path)
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0)
    epoch = store.epoch
    found = await store.check()
    assert found
    assert isinstance(store.damaged, DamagedStoreError)
    with pytest.raises(StoreError, match="is not a sound database"):
        await store.commit(make.step(101))
    await store.close()
    noted = damage.suspicion(path)
    assert noted.times == damage.BELIEVED_TIMES
    now, (incident,) = await reopened(path.parent)
    assert now != epoch
    assert incident.action is SystemAction.DATABASE_SET_ASIDE
    assert found in incident.text
    assert path.with_name(incident.file).exists()
    assert damage.suspicion(path) is None


async def test_a_large_file_that_is_sound_is_found_so(path, make, large):
    await filled(path, make)
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0)
    assert await store.check() == ""
    assert store.damaged is None
    await store.close()


async def test_a_file_that_is_closed_meanwhile_is_not_called_damaged(path, make, large):
    await filled(path, make)
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0)
    checking = asyncio.create_task(store.check())
    await store.close()
    assert await checking == ""
    assert damage.suspicion(path) is None


async def test_what_was_suspected_once_and_is_sound_is_used_on(path, make):
    await filled(path, make)
    epoch, _ = await reopened(path.parent)
    damage.suspect(path, "a read failed")
    assert await reopened(path.parent) == (epoch, ())


async def test_what_is_suspected_a_second_time_is_believed(path, make):
    await filled(path, make)
    epoch, _ = await reopened(path.parent)
    damage.suspect(path, "a read failed")
    damage.suspect(path, "a read failed again")
    now, (incident,) = await reopened(path.parent)
    assert now != epoch
    assert "a read failed again" in incident.text


async def test_setting_aside_that_was_cut_off_goes_on(path, make):
    """The log is renamed first: a kill between the two leaves the database with no log, and the note says so."""
    await filled(path, make)
    kept = path.with_name("linegate.db.damaged-7")
    damage._note(path, damage.Suspicion(2, "why", kept.name))
    path.rename(kept)
    _, (incident,) = await reopened(path.parent)
    assert (incident.file, kept.exists()) == (kept.name, True)
    assert "why" in incident.text
    assert (await reopened(path.parent))[1] == ()


async def test_the_pragmas_are_read_back_and_a_file_system_without_them_is_refused(path, monkeypatch):
    monkeypatch.setattr(schema, "IN_FORCE", {**schema.IN_FORCE, "journal_mode": "no such mode"})
    with pytest.raises(StoreError, match="found wal, allowed no such mode; put state_dir"):
        await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0)


async def test_every_pragma_is_in_force_on_the_connection_that_writes(path):
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0)

    async def read(connection):
        return {name: next(iter(await connection.execute_fetchall(f"PRAGMA {name}")))[0] for name in schema.IN_FORCE}

    assert await store.write(read) == schema.IN_FORCE
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as link:
        assert link.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert link.execute("PRAGMA page_size").fetchone() == (schema.PAGE_BYTES,)


async def test_the_first_of_a_group_waits_for_others_as_long_as_the_window(path, make):
    window_s = 0.4
    store = await Store.open(path, now_ns=lambda: 1, max_bytes=1 << 28, reserve_bytes=0, window_s=window_s)
    began_s = asyncio.get_running_loop().time()
    first = asyncio.create_task(store.commit(make.step(1, unit="A")))
    second = asyncio.create_task(store.commit(make.step(1, unit="B")))
    assert store.committed is None
    await asyncio.gather(first, second)
    assert asyncio.get_running_loop().time() - began_s >= window_s
    assert set(await store.snapshots()) == {"A", "B"}
    await store.close()
