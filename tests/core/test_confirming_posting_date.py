"""The posting date: shifts, clock changes, closed periods."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.calendar.time_of_day import TimeOfDay
from gateway.core.confirming.corrections import Who
from gateway.core.confirming.posting_date import (
    PostingDate,
    PostingRefused,
    in_closed_period,
    into_present_period,
    posting_date,
)
from gateway.core.rules_calendar import CalendarRule, ShiftRule
from gateway.timing.timezone import zone

BERLIN = zone("Europe/Berlin")
SHIFTS = {"F": ("06:00", "14:00"), "S": ("14:00", "22:00"), "N": ("22:00", "06:00")}
RULE = CalendarRule(
    shifts={name: ShiftRule(start=TimeOfDay(start), end=TimeOfDay(end)) for name, (start, end) in SHIFTS.items()}
)
CALENDAR = ShiftCalendar(RULE, BERLIN)
ANN = Who(7, "ann", "period closed")


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("period_from", "period_to", "expected"),
    [
        ("2026-03-27T09:00", "2026-03-27T10:06", "2026-03-27"),
        # The night shift is of the day on which it began, after midnight too, and to its very end.
        ("2026-03-27T22:30", "2026-03-27T23:30", "2026-03-27"),
        ("2026-03-28T01:00", "2026-03-28T04:59", "2026-03-27"),
        ("2026-03-28T04:00", "2026-03-28T05:00", "2026-03-27"),
        ("2026-03-28T05:00", "2026-03-28T05:00", "2026-03-28"),
        ("2026-03-28T05:00", "2026-03-28T05:01", "2026-03-28"),
        # The nights in which the clocks change: 06:00 is 04:00Z in spring, 05:00Z in autumn.
        ("2026-03-29T03:00", "2026-03-29T04:00", "2026-03-28"),
        ("2026-03-29T03:00", "2026-03-29T04:01", "2026-03-29"),
        ("2026-10-25T04:00", "2026-10-25T05:00", "2026-10-24"),
    ],
)
def test_the_production_day_of_its_last_instant(period_from, period_to, expected):
    dated = posting_date(CALENDAR, BERLIN, utc(period_from), utc(period_to))
    assert dated == PostingDate(expected, expected)


def test_without_a_calendar_it_is_the_wall_clocks_date():
    assert posting_date(None, BERLIN, utc("2026-03-27T22:30"), utc("2026-03-27T23:00")).posting == "2026-03-27"
    assert posting_date(None, BERLIN, utc("2026-03-27T22:30"), utc("2026-03-27T23:01")).posting == "2026-03-28"


def test_a_period_that_ends_before_it_begins():
    with pytest.raises(ValueError, match="period: found its end 5 ns before its beginning"):
        posting_date(None, BERLIN, 10, 5)


@given(st.integers(utc("2026-03-01T00:00"), utc("2026-11-30T00:00")), st.integers(0, 8 * 3600 * 10**9))
def test_it_is_the_day_of_the_shift_that_holds_it(from_ns, length_ns):
    dated = posting_date(CALENDAR, BERLIN, from_ns, from_ns + length_ns)
    shift = CALENDAR.shift_at(from_ns + max(length_ns - 1, 0))
    assert dated.posting == shift.production_day
    assert PostingDate(**json.loads(json.dumps(dated._asdict()))) == dated


@pytest.mark.parametrize(
    ("closed_through", "today", "expected"),
    [
        ("2026-03-31", "2026-04-02", PostingDate("2026-04-02", "2026-03-27", "ann", 7, "period closed")),
        ("2026-03-27", "2026-04-02", PostingDate("2026-04-02", "2026-03-27", "ann", 7, "period closed")),
        ("2026-03-26", "2026-04-02", "PERIOD_OPEN"),
        ("", "2026-04-02", "PERIOD_OPEN"),
        ("2026-04-30", "2026-04-02", "PERIOD_CLOSED"),
        ("2026-04-02", "2026-04-02", "PERIOD_CLOSED"),
    ],
)
def test_into_the_present_period(closed_through, today, expected):
    dated = PostingDate("2026-03-27", "2026-03-27")
    found = into_present_period(dated, closed_through, today, ANN)
    assert in_closed_period(dated, closed_through) == (expected != "PERIOD_OPEN")
    if isinstance(expected, str):
        assert isinstance(found, PostingRefused)
        assert found.code == expected
        assert found.what_to_do in str(found)
        return
    assert found == expected
    assert not in_closed_period(found, closed_through)
    assert dated.posting == "2026-03-27", "the former is what it was"


@pytest.mark.parametrize("by", [ANN._replace(who=""), ANN._replace(reason=" ")])
def test_only_a_person_moves_it_and_says_why(by):
    found = into_present_period(PostingDate("2026-03-27", "2026-03-27"), "2026-03-31", "2026-04-02", by)
    assert isinstance(found, PostingRefused)
    assert found.code == "WHO_AND_WHY"
