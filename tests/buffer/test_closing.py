"""Production days are closed with a record that names what is open, missing or in doubt, and that never changes."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from buffer import closing
from buffer.audit_chain import ChainReader
from buffer.entry import OutboxState, Settlement
from buffer.errors import StoreError
from buffer.outbox import Outbox
from buffer.step import JournalRow, NewPosting, Step
from gateway.audit.auditing import Auditing
from gateway.core.calendar.honest_time import TimeQuality
from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.closing_record import day_began, day_of, digest_of
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.orders.unallocated import Bucket
from gateway.core.rules_calendar import CalendarRule
from gateway.rounds.closing_round import ClosingRound
from gateway.timing.timezone import zone

H = 3600 * NS_PER_S
D = 24 * H


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


START = utc("2026-03-26T06:00:00")


class Clock:
    """A clock that a test turns; steady time is ``OFFSET`` behind UTC, so that nobody mistakes one for the other."""

    offset_ns = 7 * H
    quality = TimeQuality.SYNCHRONISED

    def __init__(self, utc_ns):
        self.utc = utc_ns

    def now_ns(self):
        return self.utc - self.offset_ns

    def utc_now_ns(self):
        return self.utc

    def utc_ns(self, steady_ns):
        return steady_ns + self.offset_ns


class Day:
    """One machine with a database, and the round that closes its days."""

    def __init__(self, store):
        self.store = store
        self.clock = Clock(START)
        self.seq = 0
        self.told = []
        self.state = SimpleNamespace(all_runs=tuple, unallocated=Bucket().left, review=0)
        self.settings = SimpleNamespace(
            gateway=SimpleNamespace(id="gw", timezone="UTC", profile="standard"),
            buffer=SimpleNamespace(day_grace=Duration("15 min")),
            calendars={},
            work_units={"M1": SimpleNamespace(calendar=None)},
            digest="d",
        )
        self.events = []
        monitor = SimpleNamespace(
            day_closed=lambda unit, summary: self.told.append((unit, summary)), machine_event=self.events.append
        )
        self.parts = SimpleNamespace(
            runners={"M1": SimpleNamespace(state=self.state)}, monitor=monitor, trouble=lambda *_: None
        )
        self.auditing = Auditing(self.settings, store, self.clock)

    def round(self):
        return ClosingRound(self.settings, self.store, self.clock, self.parts, self.auditing)

    async def rows(self, *found, postings=()):
        """Commit rows (kind, body) at the clock's time."""
        rows = []
        for kind, body in found:
            self.seq += 1
            rows.append(JournalRow(self.seq, self.clock.now_ns(), kind, json.dumps(body).encode()))
        await self.store.commit(Step("M1", b"{}", self.clock.now_ns(), tuple(rows), tuple(postings)))

    async def records(self):
        return [json.loads(one.document) for one in closing.records(self.store.path)]


def pieces(number, role="good", order="A"):
    operation = None if order is None else "10"
    return "pieces", {"signal": "s", "role": role, "pieces": number, "order": order, "operation": operation}


def confirmation(seq, good=0, scrap=0):
    key = f"P/e/A/10/{seq}"
    body = {"key": key, "order": "A", "operation": "10", "seq": seq, "good": good, "scrap": scrap, "rework": 0}
    return "confirmation", body


def posting(seq, target="erp"):
    return NewPosting(target, f"P/e/A/10/{seq}", "m", "A", "10", seq, "partial", b"{}", 0)


async def book(store):
    outbox = Outbox(store)
    for one in await outbox.due("erp", 2**62, 10):
        await outbox.begin_send(one.id, (b"x", "t", "n"), 5)
        await outbox.settle(one.id, Settlement(OutboxState.POSTED), 6)


@pytest.fixture
async def day(store):
    return Day(store)


async def a_day(day):
    await day.rows(("notice", {}), pieces(5), pieces(2, "scrap"))
    await day.rows(confirmation(1, good=5, scrap=2), postings=[posting(1)])
    await book(day.store)
    day.clock.utc = utc("2026-03-27T00:15:00")


async def test_a_day_is_closed_after_its_grace_with_what_was_counted_and_confirmed(day):
    await a_day(day)
    day.clock.utc -= 1
    assert await day.round().look() == 0
    day.clock.utc += 1
    assert await day.round().look() == 1
    (found,) = await day.records()
    assert (found["production_day"], found["complete"], found["incomplete"]) == ("2026-03-26", True, [])
    assert (found["from"], found["to"]) == ("2026-03-26T00:00:00.000Z", "2026-03-27T00:00:00.000Z")
    assert found["journal"] == {"first": 1, "last": 4, "rows": 4, "missing": 0}
    (one,) = found["operations"]
    assert (one["counted"]["good"], one["counted"]["scrap"], one["not_confirmed"]) == (5, 2, 0)
    assert one["confirmed"] == {
        "confirmations": 1, "first": 1, "last": 1, "voided": 0, "good": 5, "scrap": 2, "rework": 0,
    }  # fmt: skip
    assert one["postings"] == [{"target": "erp", "state": "posted", "postings": 1}]
    assert found["digest"] == digest_of(found)
    assert await day.round().look() == 0


async def test_the_record_stands_in_the_audit_trail_and_is_told(day, path):
    await a_day(day)
    await day.round().look()
    (found,) = await day.records()
    with ChainReader.open(path) as reader:
        (entry,) = [one.content for one in reader.entries() if one.content.action == "day_closed"]
    assert (entry.entity_id, entry.field, entry.new) == ("M1", "2026-03-26", found["digest"])
    assert [(unit, one["digest"], one["good"]) for unit, one in day.told] == [("M1", found["digest"], 5)]
    assert [(one.work_unit, one.summary["digest"]) for one in day.events] == [("M1", found["digest"])]


async def test_each_journal_row_belongs_to_one_day(day):
    for _ in range(3):
        await day.rows(pieces(1), pieces(1))
        day.clock.utc += D
    assert await day.round().look() == 3
    found = await day.records()
    assert [(one["journal"]["first"], one["journal"]["last"]) for one in found] == [(1, 2), (3, 4), (5, 6)]
    assert [one["previous"] for one in found] == ["", found[0]["digest"], found[1]["digest"]]


async def test_days_that_nobody_closed_because_the_box_was_off_are_closed_at_the_next_start(day):
    await a_day(day)
    day.clock.utc += 3 * D
    assert await day.round().look() == 4
    found = await day.records()
    assert [one["production_day"] for one in found] == ["2026-03-26", "2026-03-27", "2026-03-28", "2026-03-29"]
    assert [one["incomplete"] for one in found[1:]] == [["NOT_RUNNING"]] * 3


async def test_what_is_open_keeps_the_day_from_being_complete_and_is_said_again_the_next_day(day):
    await day.rows(pieces(5), pieces(1, order=None), confirmation(1, good=5), postings=[posting(1)])
    day.state.review = 3
    day.state.unallocated = day.state.unallocated._replace(good=1)
    day.clock.utc = utc("2026-03-27T00:15:00")
    await day.round().look()
    (found,) = await day.records()
    assert found["incomplete"] == ["IN_REVIEW", "UNALLOCATED", "NOT_BOOKED"]
    assert found["unallocated"]["good"] == 1
    await book(day.store)
    day.state.review, day.state.unallocated = 0, Bucket().left
    await day.rows(("notice", {}))
    day.clock.utc += D
    await day.round().look()
    _, found = await day.records()
    (one,) = found["operations"]
    assert one["postings"] == [{"target": "erp", "state": "posted", "postings": 1}]
    assert found["complete"]


async def test_a_gap_in_the_numbers_of_confirmations_is_said(day):
    await day.rows(confirmation(1, good=1), confirmation(3, good=1))
    day.clock.utc += D
    await day.round().look()
    (found,) = await day.records()
    assert found["incomplete"] == ["CONFIRMATION_GAP"]
    assert found["operations"][0]["gapless"] is False


async def test_a_voided_confirmation_confirms_nothing(day):
    await day.rows(confirmation(1, good=5), ("voided", {"key": "P/e/A/10/1"}), confirmation(2, good=6))
    day.clock.utc += D
    await day.round().look()
    (found,) = await day.records()
    assert found["operations"][0]["confirmed"]["good"] == 6
    assert found["operations"][0]["confirmed"]["voided"] == 1


async def test_what_nobody_knows_is_named_with_its_bound(day):
    unknown = {
        "signal": "s", "role": "good", "t_from_ns": 1, "t_to_ns": 2, "max_pieces": 7, "flag": "RESET", "order": "A",
        "operation": "10",
    }  # fmt: skip
    reset = {"signal": "s", "flag": "RESET", "delta": 3, "review": 1, "max_lost": 7}
    await day.rows(("unknown", unknown), ("count", reset), ("count", {**reset, "flag": "OK"}))
    day.clock.utc += D
    await day.round().look()
    (found,) = await day.records()
    assert found["incomplete"] == ["UNKNOWN_PIECES"]
    assert (found["unknown"]["intervals"], found["unknown"]["max_pieces"]) == (1, 7)
    assert found["counters"] == [{"signal": "s", "flag": "RESET", "times": 1, "pieces": 3, "review": 1, "max_lost": 7}]


async def test_rows_that_are_gone_without_an_age_are_a_gap(day, path):
    await day.rows(pieces(1), pieces(1), pieces(1))
    day.clock.utc += D
    with sqlite3.connect(path) as spoiled:
        spoiled.execute("DELETE FROM journal WHERE seq = 2")
    await day.round().look()
    (found,) = await day.records()
    assert (found["incomplete"], found["journal"]["missing"]) == (["JOURNAL_GAP"], 1)


async def test_a_database_that_was_set_aside_is_named_in_its_day(day, path):
    await day.rows(pieces(1))
    for at_ns in (START + H, START + 2 * D):
        path.with_name(f"linegate.db.damaged-{at_ns}").touch()
    day.clock.utc += D
    await day.round().look()
    (found,) = await day.records()
    assert found["databases_set_aside"] == [f"linegate.db.damaged-{START + H}"]
    assert found["incomplete"] == ["DATABASE_SET_ASIDE"]


async def test_a_clock_that_nobody_vouches_for_is_said_and_an_impossible_date_closes_nothing(day):
    await day.rows(pieces(1))
    day.clock.quality = TimeQuality.UNSYNCHRONISED
    day.clock.utc = utc("1970-01-05T00:00:00")
    assert await day.round().look() == 0
    day.clock.utc = START + D
    await day.round().look()
    (found,) = await day.records()
    assert found["incomplete"] == ["CLOCK"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE closing_record SET complete = 0", "never changes"),
        ("DELETE FROM closing_record", "never deleted"),
        ("INSERT OR REPLACE INTO closing_record SELECT * FROM closing_record", "does not follow"),
    ],
)
async def test_no_program_changes_a_record(day, path, change, why):
    await a_day(day)
    await day.round().look()
    with pytest.raises(sqlite3.IntegrityError, match=why), sqlite3.connect(path) as other:
        other.execute(change)


async def test_a_record_that_cannot_be_told_to_the_trail_is_not_kept(day, monkeypatch):
    await a_day(day)
    real = day.auditing.content
    monkeypatch.setattr(day.auditing, "content", lambda told: real(told)._replace(action="Not a name"))
    with pytest.raises(StoreError):
        await day.round().look()
    assert await day.records() == []


CALENDAR = {
    "shifts": {"F": {"start": "06:00", "end": "14:00"}, "N": {"start": "22:00", "end": "06:00", "days": ["mon", "thu"]}}
}


def test_a_production_day_ends_where_nothing_later_belongs_to_it():
    berlin = zone("Europe/Berlin")
    found = day_of(None, berlin, utc("2026-03-29T00:30:00"))  # the clocks change: a day of 23 hours
    assert (found.day, found.to_ns) == ("2026-03-29", utc("2026-03-29T22:00:00"))
    assert day_began(None, berlin, utc("2026-03-29T12:00:00")).from_ns == utc("2026-03-28T23:00:00")


def test_the_night_shift_belongs_to_the_day_in_which_it_began():
    rule = TypeAdapter(CalendarRule).validate_python(CALENDAR)
    where = zone("UTC")
    calendar = ShiftCalendar(rule, where)
    found = day_of(calendar, where, utc("2026-03-26T23:00:00"))
    assert (found.day, found.to_ns) == ("2026-03-26", utc("2026-03-27T06:00:00"))
    assert day_began(calendar, where, utc("2026-03-27T03:00:00")).from_ns == utc("2026-03-26T00:00:00")
    at_ns, days = utc("2026-03-01T12:00:00"), []
    for _ in range(60):
        found = day_of(calendar, where, at_ns)
        days.append(found.day)
        at_ns = found.to_ns
    assert days == sorted(set(days))


async def test_a_clock_that_is_set_over_midnight_moves_no_row_to_another_day(day):
    """What was made at 23:30 stays of its day, though the box was dead and its clock wrong until behind midnight."""
    day.clock.utc = utc("2026-03-26T23:30:00")
    await day.rows(pieces(5))
    stepped_ns, before_ns, step_ns = day.clock.now_ns() + 10 * NS_PER_S, day.clock.offset_ns, H
    day.clock.offset_ns += step_ns
    day.clock.utc = stepped_ns + day.clock.offset_ns
    day.clock.utc_ns = lambda at_ns: at_ns + before_ns + (step_ns if at_ns >= stepped_ns else 0)
    await day.rows(pieces(2))
    day.clock.utc += H
    assert await day.round().look() == 1
    (found,) = await day.records()
    assert found["production_day"] == "2026-03-26"
    assert (found["journal"]["first"], found["journal"]["last"]) == (1, 1)
    day.clock.utc += D
    assert await day.round().look() == 1
    assert (await day.records())[1]["journal"]["first"] == 2
