"""The daily tidying in a gateway: ages from the configuration, what a machine has open, and what the commands show."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from buffer import retention
from buffer.audit_chain import ChainReader
from buffer.step import JournalRow, NewPosting, Step
from buffer.store import Store
from gateway.audit.auditing import Auditing
from gateway.core.audit.chain import Verified
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.duration import Duration
from gateway.core.retention import RecordClass
from gateway.core.rules_confirming import RetentionRule
from gateway.rounds.retention_round import RetentionRound

D = 24 * 3600 * 10**9
NOW_NS = 1000 * D
DOCUMENT = {"machine": "M1", "period": {"from": "1970-08-01T00:00:00.000Z"}}  # day 212


class Clock:
    offset_ns = 0

    quality = TimeQuality.TRUSTED
    now = NOW_NS

    def now_ns(self):
        return self.now

    def utc_now_ns(self):
        return self.now

    def utc_ns(self, steady_ns):
        return steady_ns


def machine(*, since_day=None, waiting=()):
    run = SimpleNamespace(open_from_ns=(since_day or 0) * D, anything_open=True)
    runs = () if since_day is None else (run,)
    entries = [SimpleNamespace(what=SimpleNamespace(t_from_ns=day * D)) for day in waiting]
    state = SimpleNamespace(at_work=lambda: (), all_runs=lambda: runs, bucket=SimpleNamespace(entries=entries))
    return SimpleNamespace(state=state)


@pytest.fixture
async def store(tmp_path):
    opened = await Store.open(tmp_path / "x.db", now_ns=lambda: 0, max_bytes=1 << 24)
    yield opened
    await opened.close()


def keeper(store, runners, clock=None, **ages):
    rule = RetentionRule(**{name: Duration(days * D) for name, days in ages.items()})
    site = SimpleNamespace(timezone="Europe/Berlin", profile="standard")
    settings = SimpleNamespace(retention=rule, api=None, gateway=site, digest="d")
    clock = clock or Clock()
    return RetentionRound(settings, store, clock, SimpleNamespace(runners=runners), Auditing(settings, store, clock))


def purges(store):
    """What the audit trail says of what went."""
    with ChainReader.open(store.path) as reader:
        assert isinstance(reader.verify(), Verified)
        return [one.content for one in reader.entries()]


async def filled(store, unit="M1", postings=()):
    for seq in range(1, 1001):
        posted = postings if seq == 1 else ()
        body = b"x" * (2000 if seq < 500 else 10)
        await store.commit(Step(unit, b"{}", seq * D, (JournalRow(seq, seq * D, "count", body),), tuple(posted)))


async def first(store, unit="M1"):
    return (await store.journal(unit, 1, 1))[0].seq


async def test_what_is_old_goes_and_is_told(store):
    await filled(store)
    keep = keeper(store, {"M1": machine()}, raw_journal=10)
    purged = await keep.purge()
    assert purged.journal_rows == 990
    assert await first(store) == 991
    shown = {one["class"]: one for one in await keep.view()}
    assert (shown["raw_journal"]["keep"], shown["raw_journal"]["since_ns"]) == ("10 d", 990 * D + 1)
    assert shown["audit"]["keep"] == "for ever"


async def test_what_went_stands_in_the_audit_trail_once_a_day_also_after_a_kill(store):
    await filled(store)
    clock = Clock()
    round_ = keeper(store, {"M1": machine()}, clock, raw_journal=900)
    await round_.purge()
    (told,) = purges(store)
    assert (told.action, told.change, told.entity, told.entity_id) == ("purged", "delete", "records", "raw_journal")
    assert (told.old, told.reason_text, told.detail) == ("100 records", "retention.raw_journal: 900 d", "purged")
    assert told.new == "there from 1970-04-11T00:00:00.000Z on"
    clock.now += D // 24
    await round_.purge()
    assert len(purges(store)) == 1, "nothing went since"
    clock.now += 2 * D
    assert await retention.journal(store, "M1", RecordClass.RAW_JOURNAL, 200 * D) == 99, "and then it is killed"
    await keeper(store, {"M1": machine()}, clock, raw_journal=900).purge()
    assert [one.old for one in purges(store)] == ["100 records", "99 records"]


@pytest.mark.parametrize(
    ("runner", "left_from"),
    [(machine(since_day=700), 700), (machine(waiting=(800, 600)), 600), (machine(), 991)],
    ids=["an open order", "pieces without an order", "nothing open"],
)
async def test_what_a_machine_has_open_keeps_what_was_recorded_since(store, runner, left_from):
    await filled(store)
    await keeper(store, {"M1": runner}, raw_journal=10).purge()
    assert await first(store) == left_from


async def test_what_is_not_acknowledged_keeps_what_was_recorded_since(store):
    document = json.dumps(DOCUMENT).encode()
    await filled(store, postings=[NewPosting("erp", "k", "m", "O", "10", 1, "final", document, D)])
    await filled(store, "M2")
    await keeper(store, {"M1": machine(), "M2": machine()}, raw_journal=10).purge()
    assert await first(store) == 211  # a day earlier: the date may have been put right since
    assert await first(store, "M2") == 991, "another machine's"


async def test_of_a_machine_that_is_not_configured_everything_stays(store):
    await filled(store)
    await keeper(store, {}, raw_journal=10).purge()
    assert await first(store) == 1


async def test_a_nearly_full_disk_thins_before_the_age_but_never_what_is_open(tmp_path):
    async with await Store.open(tmp_path / "x.db", now_ns=lambda: 0, max_bytes=1 << 24) as store:
        await filled(store)
        most = (await store.stats()).used_bytes * 105 // 100
    store = await Store.open(tmp_path / "x.db", now_ns=lambda: 0, max_bytes=most)
    try:
        await keeper(store, {"M1": machine(since_day=5)}, raw_journal=2000).purge()
        assert await first(store) == 5
        await keeper(store, {"M1": machine()}, raw_journal=2000).purge()
        assert await first(store) > 5
        assert (await store.stats()).used_bytes * 100 <= most * 80
        assert {(one.detail, one.entity_id) for one in purges(store)} == {("thinned", "raw_journal")}
    finally:
        await store.close()


async def test_the_command_shows_it(plant):
    plant.keep("ASM-01")
    await plant.run()
    await plant.status_where(lambda view: view["work_units"], "a gateway that answers")
    code, text, errors = await plant.cli("retention", "-c", plant.config)
    assert code == 0, errors
    assert "raw_journal    7 d" in text
    assert "audit          for ever" in text
