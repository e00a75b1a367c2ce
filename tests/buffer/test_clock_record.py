"""What a run leaves of its clock: it survives, older databases get it, and it is bounded."""

from __future__ import annotations

import itertools
import sqlite3

import pytest

from buffer import clock_record, schema
from buffer.errors import StoreError
from gateway.core.calendar.honest_time import ClockCorrection, ClockRecord, CorrectionReason, TimeQuality, utc_of
from gateway.timing.clock import SteadyClock

RECORD = ClockRecord("boot-1", 5_000, 70, -30, TimeQuality.SYNCHRONISED)
S = 10**9


def learned(at_ns, offset_ns=7, reason=CorrectionReason.LEARNED):
    return ClockCorrection(at_ns, at_ns - 1, offset_ns, 0, TimeQuality.TRUSTED, reason)


@pytest.fixture
async def store(open_store):
    store = await open_store()
    yield store
    await store.close()


async def test_a_new_database_knows_no_clock(store):
    assert await clock_record.load(store) is None
    assert await clock_record.corrections(store) == ()


async def test_the_last_record_and_every_correction_are_kept(store, open_store):
    started = learned(1_000, reason=CorrectionReason.STARTED)
    await clock_record.save(store, RECORD, [started])
    await clock_record.save(store, RECORD._replace(steady_ns=9_000, offset_ns=2**62), [learned(8_000), learned(9_000)])
    await store.close()
    again = await open_store()
    found = await clock_record.load(again)
    assert found == RECORD._replace(steady_ns=9_000, offset_ns=2**62)
    assert found.quality is TimeQuality.SYNCHRONISED
    assert await clock_record.corrections(again) == (started, learned(8_000), learned(9_000))
    assert await clock_record.corrections(again, 1) == (learned(9_000),)
    assert await again.last_time_ns() == 9_000, "the next run begins above it"
    await again.close()


async def test_a_record_without_a_valid_time_is_refused_whole(store):
    await clock_record.save(store, RECORD, [])
    with pytest.raises(StoreError):
        await clock_record.save(store, RECORD._replace(boot_id="boot-2"), [learned(5)._replace(from_ns=6)])
    assert await clock_record.load(store) == RECORD
    assert await clock_record.corrections(store) == ()


async def test_corrections_are_immutable_and_bounded(store):
    await clock_record.save(store, RECORD, [learned(number) for number in range(1, 10_011)])
    kept = await clock_record.corrections(store)
    assert (len(kept), kept[0].at_ns, kept[-1].at_ns) == (clock_record.CORRECTIONS_KEPT, 11, 10_010)
    with sqlite3.connect(store.path) as connection, pytest.raises(sqlite3.IntegrityError, match="never changes"):
        connection.execute("UPDATE clock_correction SET offset_ns = 0")
    connection.close()


async def test_an_older_database_gets_it(open_store, make, monkeypatch):
    known = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [step for step in known if step[0] < 3])
    old = await open_store()
    await old.commit(make.step(rows=0))
    await old.close()
    monkeypatch.undo()
    new = await open_store()
    assert await clock_record.load(new) is None
    await clock_record.save(new, RECORD, [])
    assert await clock_record.load(new) == RECORD
    assert list(await new.snapshots()) == ["ASM-01"]
    await new.close()


async def test_two_runs_in_one_boot_have_one_time_axis(store, open_store):
    """The gateway is killed, somebody sets the wall clock back by an hour, and it starts again."""
    monotonic = itertools.count(1_000 * S, S)
    wall_ns = 1_780_000_000 * S
    first = SteadyClock(0, lambda: wall_ns, lambda: next(monotonic), boot_id="b")
    await clock_record.save(store, first.record(), first.corrections)
    before_ns = first.now_ns()
    await store.close()
    again = await open_store()
    second = SteadyClock(
        await again.last_time_ns(),
        lambda: wall_ns - 3600 * S,
        lambda: next(monotonic),
        boot_id="b",
        before=await clock_record.load(again),
    )
    assert before_ns < second.now_ns() < before_ns + 60 * S, "no jump of an hour, in either direction"
    corrections = (*await clock_record.corrections(again), *second.corrections)
    assert utc_of(corrections, before_ns) == before_ns + first.offset_ns
    await again.close()
