"""Random calendars in random zones and years: the spans tile, and agree with a clock on the wall."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.calendar.shift_calendar import ShiftCalendar, TimeKind
from gateway.core.calendar.time_of_day import TimeOfDay
from gateway.core.rules_calendar import WEEKDAYS, BreakRule, CalendarRule, ExceptionRule, ShiftRule
from gateway.timing.timezone import zone

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
DAY = 86_400 * S
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Shanghai",
    "America/Havana", "Africa/Casablanca", "America/Sao_Paulo", "America/St_Johns", "Asia/Beirut", "Pacific/Apia",
)  # fmt: skip


def dated(text):
    return int(datetime.fromisoformat(text).timestamp()) * S


@st.composite
def shift_sets(draw):
    """Up to five shifts that cut a day and a bit of the next one, with breaks."""
    cuts = sorted(draw(st.sets(st.integers(0, 95), min_size=2, max_size=6)))
    shifts = {}
    for number, (start, end) in enumerate(itertools.pairwise([*cuts, cuts[0] + 96])):
        if draw(st.booleans()):
            continue
        room = (end - start) * 15
        begin, length = draw(st.integers(0, room - 1)), draw(st.integers(1, 90))
        breaks = ()
        if begin + length <= room:
            first = (start * 15 + begin) % 1440
            breaks = (BreakRule(start=TimeOfDay(first), end=TimeOfDay((first + length) % 1440)),)
        shifts[f"s{number}"] = ShiftRule(
            start=TimeOfDay(start * 15 % 1440),
            end=TimeOfDay(end * 15 % 1440),
            days=tuple(sorted(draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1)), key=WEEKDAYS.index)),
            breaks=breaks,
        )
    return shifts


@st.composite
def rules(draw):
    exceptions = tuple(
        ExceptionRule(date=f"{year}-{month:02d}-{day:02d}", closed=True)
        for year, month, day in draw(
            st.sets(st.tuples(st.integers(2000, 2060), st.integers(1, 12), st.integers(1, 28)), max_size=5)
        )
    )
    production_day = draw(st.sampled_from(["start", "majority"]))
    return CalendarRule(shifts=draw(shift_sets()), exceptions=exceptions, production_day=production_day)


INSTANTS = st.integers(dated("2000-01-05T00:00Z"), dated("2060-01-01T00:00Z"))


@settings(max_examples=3 * EXAMPLES // 4)
@given(rule=rules(), name=st.sampled_from(ZONES), begin=INSTANTS, days=st.integers(1, 40))
def test_the_spans_tile(rule, name, begin, days):
    calendar = ShiftCalendar(rule, zone(name))
    at_ns, before, dates = begin, None, []
    while at_ns < begin + days * DAY:
        span = calendar.at(at_ns)
        assert span.from_ns <= at_ns < span.to_ns <= span.from_ns + 26 * 3600 * S
        assert before is None or span.from_ns == before.to_ns
        assert (span.kind is TimeKind.NOT_SCHEDULED) == (span.shift is None) == (calendar.shift_at(at_ns) is None)
        # A calendar that was never asked before, asked anywhere inside, says the same.
        inside = span.from_ns + (begin * 7919) % (span.to_ns - span.from_ns)
        assert (
            ShiftCalendar(rule, zone(name)).at(inside) == span if len(dates) % 16 == 0 else calendar.at(inside) == span
        )
        dates.append(span.production_day)
        before, at_ns = span, span.to_ns
    assert dates == sorted(dates), "a production day never comes back"


def test_whole_years_tile_in_every_zone_here():
    """Both clock changes of each, and the odd ones: Apia lost a day, Casablanca changes around Ramadan."""
    rule = CalendarRule(
        shifts={
            "F": ShiftRule(start=TimeOfDay("06:00"), end=TimeOfDay("14:00")),
            "S": ShiftRule(start=TimeOfDay("14:00"), end=TimeOfDay("00:30")),
            "N": ShiftRule(start=TimeOfDay("00:30"), end=TimeOfDay("02:15")),
            "M": ShiftRule(start=TimeOfDay("02:15"), end=TimeOfDay("06:00")),
        }
    )
    for name in ZONES:
        for year in (2011, 2018, 2026, 2039):
            calendar = ShiftCalendar(rule, zone(name))
            begin, end = dated(f"{year}-01-01T00:00Z"), dated(f"{year + 1}-01-01T00:00Z")
            spans = list(calendar.spans(begin, end))
            assert all(a.to_ns == b.from_ns for a, b in itertools.pairwise(spans)), name
            assert spans[0].from_ns <= begin
            assert spans[-1].to_ns >= end
            assert all(span.kind is TimeKind.SCHEDULED for span in spans), name
            instances = [(span.production_day, span.shift) for span in spans]
            assert len(instances) == len(set(instances)), name
            lengths = {span.to_ns - span.from_ns for span in spans}
            assert min(lengths) > 0
            assert max(lengths) <= 12 * 3600 * S


def wall_clock_says(rule, info, t_ns):
    """Kind and shift as a person reads them from the clock on the wall, and the date the shift started on."""
    local = datetime.fromtimestamp(t_ns // S, UTC).astimezone(info)
    for back in (0, 1):
        day = local.date() - timedelta(days=back)
        minute = back * 1440 + local.hour * 60 + local.minute
        if any(exception.date == day.isoformat() for exception in rule.exceptions):
            continue
        for name, shift in rule.shifts.items():
            since = minute - shift.start
            if WEEKDAYS[day.weekday()] in shift.days and 0 <= since < shift.minutes:
                paused = any((minute - pause.start) % 1440 < pause.minutes for pause in shift.breaks)
                return (TimeKind.BREAK if paused else TimeKind.SCHEDULED), name, day.isoformat()
    return TimeKind.NOT_SCHEDULED, None, local.date().isoformat()


@settings(max_examples=2 * EXAMPLES)
@given(rule=rules(), name=st.sampled_from(ZONES), moments=st.lists(INSTANTS, min_size=1, max_size=20))
def test_far_from_clock_changes_the_wall_clock_decides(rule, name, moments):
    info = ZoneInfo(name)
    calendar = ShiftCalendar(rule, zone(name))
    for t_ns in moments:
        offsets = {
            (datetime.fromtimestamp(t_ns // S, UTC) + timedelta(hours=hours)).astimezone(info).utcoffset()
            for hours in range(-50, 51, 5)
        }
        if len(offsets) > 1:
            continue
        span = calendar.at(t_ns)
        kind, shift, day = wall_clock_says(rule, info, t_ns)
        assert (span.kind, span.shift) == (kind, shift)
        if rule.production_day == "start":
            assert span.production_day == day
