"""A start on what an earlier run left behind, and tidying up while the disk fails for now."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3

import pytest

from buffer.entry import OutboxState, Settlement
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from config.loader import load
from gateway import plugins
from gateway.audit.auditing import Auditing
from gateway.parts import Parts
from gateway.rounds import retention_round
from gateway.rounds.retention_round import RetentionRound
from gateway.sources.taps import Taps
from gateway.timing.clock import SteadyClock

S = 1_000_000_000
NOW_NS = 10_000_000 * S


def posting(order):
    return NewPosting("erp", f"P1/e/{order}/10/1", f"m{order}", order, "10", 1, "final", b"{}", S)


@pytest.fixture
async def left(plant):
    """The database of an earlier run: one confirmation was booked long ago, one was on its way."""
    plant.keep("ASM-01")
    plant.state_dir.mkdir(mode=0o700)
    store = await Store.open(plant.state_dir / "linegate.db", now_ns=lambda: NOW_NS, max_bytes=1 << 26)
    rows = (JournalRow(1, S, "k", b"{}"),)
    await store.commit(Step("OTHER", b"{}", S, rows, (posting("1"), posting("2"))))
    outbox = Outbox(store)
    for number in (1, 2):
        await outbox.begin_send(number, (b"b", "text/plain", "n"), S)
    await outbox.settle(1, Settlement(OutboxState.POSTED, S), S)
    await store.close()
    return plant


async def test_what_was_on_its_way_when_the_gateway_was_killed_is_told(left, until):
    daemon = await left.run()
    await until(lambda: "postings were being sent when the gateway ended" in daemon.text(), "the log line")


async def test_a_cut_state_of_a_machine_is_a_message(left):
    with contextlib.closing(sqlite3.connect(left.state_dir / "linegate.db")) as link:
        link.execute("INSERT INTO work_unit (id, snapshot) VALUES ('ASM-01', ?)", (b'{"v": 1, "at_ns": 1',))
        link.commit()
    daemon = await left.run()
    assert await daemon.ended() == 1
    assert "the stored state of ASM-01 is no JSON" in daemon.text()
    assert "move the database away" in daemon.text()
    assert "Traceback" not in daemon.text()


async def test_pruning_waits_for_a_disk_that_is_busy(left, monkeypatch, until):
    left.write()
    settings = load(left.config, drivers=plugins.drivers(), connectors=plugins.connectors(), env=os.environ)
    monkeypatch.setattr(retention_round, "AGAIN_S", 0.05)
    path = left.state_dir / "linegate.db"
    store = await Store.open(path, now_ns=lambda: NOW_NS, max_bytes=1 << 26)
    pruning = None
    try:
        await store.write(lambda connection: connection.execute_fetchall("PRAGMA busy_timeout=20"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            pruning = asyncio.create_task(round_of(settings, store).run())
            await asyncio.wait([pruning], timeout=0.5)
            assert not pruning.done(), pruning
        await until(lambda: only_the_open_one_is_left(store), "the old posting to be deleted")
    finally:
        if pruning is not None:
            pruning.cancel()
        await store.close()


def round_of(settings, store):
    clock = SteadyClock(NOW_NS * 100)
    parts = Parts(Outbox(store), Taps(clock.now_ns), clock.utc_ns)
    return RetentionRound(settings, store, clock, parts, Auditing(settings, store, clock))


async def only_the_open_one_is_left(store):
    return [entry.id for entry in await Outbox(store).page()] == [2]
