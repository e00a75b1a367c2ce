"""The golden table of the shift calendar: data/calendar_cases.txt, row by row."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.calendar.shift_calendar import CalendarSpan, Shift, ShiftCalendar, TimeKind, Zone, flexible_break
from gateway.core.calendar.time_of_day import TimeOfDay
from gateway.core.duration import Duration
from gateway.core.rules_calendar import BreakRule, CalendarRule, ExceptionRule, ShiftRule
from gateway.timing.timezone import zone

TABLE = Path(__file__).parent / "data" / "calendar_cases.txt"
ROW = re.compile(r"(\S+Z) +(\w+) (\S+) (\S+) (\d+):(\d\d)")
HOURS = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)")
MIN = 60_000_000_000
H = 60 * MIN


def instant(text):
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


def hours(text) -> dict[str, Any]:
    start, end = HOURS.fullmatch(text).groups()
    return {"start": TimeOfDay(start), "end": TimeOfDay(end)}


class Case:
    """One block of the table, taken line by line."""

    def __init__(self):
        self.zone, self.day, self.rows = "UTC", "start", []
        self.shifts: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, ShiftRule]] = {}
        self.exceptions: list[ExceptionRule] = []

    def take(self, line):
        word, *rest = line.split()
        if word in {"zone", "day"}:
            setattr(self, word, rest[0])
        elif word == "shift":
            self.shifts[rest[0]] = hours(rest[1]) | {"breaks": ()}
            for option in rest[2:]:
                name, value = option.split("=")
                self.shifts[rest[0]] |= (
                    {"days": tuple(value.split(","))}
                    if name == "days"
                    else {"flexible_break": Duration(f"{value} min")}
                )
        elif word == "break":
            self.shifts[rest[0]]["breaks"] += (BreakRule(**hours(rest[1])),)
        elif word == "model":
            self.models.setdefault(rest[0], {})[rest[1]] = ShiftRule(**hours(rest[2]))
        elif word == "except":
            self.exceptions.append(self.exception(*rest))
        elif word == "...":
            self.rows.append(None)
        else:
            start, kind, shift, day, whole, minutes = ROW.fullmatch(line).groups()
            from_ns = instant(start)
            to_ns = from_ns + int(whole) * H + int(minutes) * MIN
            self.rows.append(CalendarSpan(TimeKind(kind), None if shift == "-" else shift, day, from_ns, to_ns))

    @staticmethod
    def exception(dates, *changes):
        first, _, last = dates.partition("..")
        found: dict[str, Any] = {"date": first, "until": last or None}
        for change in changes:
            word, _, value = change.partition("=")
            name, _, times = value.partition(":")
            if word == "closed":
                found["closed"] = True
            elif word == "model":
                found["model"] = value
            elif word == "cancel":
                found["cancel"] = tuple(value.split(","))
            elif word == "add":
                days = {"days": tuple(times[12:].split(","))} if times[12:] else {}
                found["add"] = {name: ShiftRule(**hours(times[:11]), **days)}
            else:
                found["breaks"] = {name: (BreakRule(**hours(times)),)}
        return ExceptionRule(**found)

    def calendar(self):
        rule = CalendarRule(
            shifts={name: ShiftRule(**fields) for name, fields in self.shifts.items()},
            models=self.models,
            exceptions=tuple(self.exceptions),
            production_day=self.day,
        )
        return ShiftCalendar(rule, zone(self.zone))


def cases():
    for block in TABLE.read_text().split("\ncase ")[1:]:
        title, *lines = (line.strip() for line in block.splitlines() if not line.startswith("#"))
        case = Case()
        for line in filter(None, lines):
            case.take(line)
        assert case.rows, title
        yield pytest.param(case, id=title.replace("  ", " "))


@pytest.mark.parametrize("case", list(cases()))
def test_golden_case(case):
    calendar, before = case.calendar(), None
    for row in case.rows:
        if row is None:
            before = None
            continue
        assert before is None or before.to_ns == row.from_ns, "the table's own rows must tile"
        assert calendar.at(row.from_ns) == row
        assert calendar.at(row.to_ns - 1) == row
        for part in range(1, 96):  # also inside, where the wall clock may show a time for the second time
            calendar.at(row.to_ns)  # so that it has to look
            assert calendar.next_boundary(row.from_ns + (row.to_ns - row.from_ns) * part // 96) == row.to_ns
        assert calendar.at(row.to_ns).from_ns == row.to_ns, "a boundary belongs to what begins"
        before = row


@pytest.mark.parametrize("case", list(cases()))
def test_the_answers_do_not_depend_on_what_was_asked_before(case):
    rows = [row for row in case.rows if row is not None]
    calendar = case.calendar()
    far = [calendar.at(row.from_ns + weeks * 7 * 24 * H) for row in rows for weeks in range(20)]
    assert far
    for row in reversed(rows):
        assert calendar.at(row.from_ns) == row
    assert [span for span in calendar.spans(rows[0].from_ns, rows[0].to_ns)] == rows[:1]  # noqa: C416 - an iterator


def test_the_table_is_whole():
    """A case that the parser skipped would pass for ever."""
    text = TABLE.read_text()
    found = list(cases())
    assert len(found) == text.count("\ncase ") == 29
    rows = sum(row is not None for case in found for row in case.values[0].rows)
    assert rows == len(re.findall(r"^  \d{4}-", text, re.MULTILINE))


def test_the_whole_shift_with_its_breaks():
    case = Case()
    for line in ("zone Europe/Berlin", "shift N 22:00-06:00 flexible=20", "break N 02:00-02:30"):
        case.take(line)
    calendar = case.calendar()
    shift = calendar.shift_at(instant("2026-11-03T01:10Z"))
    from_ns = instant("2026-11-02T21:00Z")
    assert shift == Shift(
        "N", "2026-11-02", from_ns, from_ns + 8 * H, ((from_ns + 4 * H, from_ns + 270 * MIN),), 20 * MIN
    )
    assert calendar.shift_at(from_ns) == shift
    assert calendar.shift_at(from_ns - 1) is None


SHIFT = Shift("F", "2026-11-02", 6 * H, 14 * H, (), 20 * MIN)


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        ([], None),
        ([(7 * H, 7 * H + 19 * MIN)], None),
        ([(7 * H, 7 * H + 20 * MIN)], (7 * H, 7 * H + 20 * MIN)),
        (
            [(7 * H, 7 * H + 25 * MIN), (9 * H, 9 * H + 40 * MIN), (11 * H, 11 * H + 30 * MIN)],
            (9 * H, 9 * H + 20 * MIN),
        ),
        ([(11 * H, 12 * H), (9 * H, 10 * H)], (9 * H, 9 * H + 20 * MIN)),  # equals: the first
        ([(9 * H, 10 * H), (11 * H, 12 * H)], (9 * H, 9 * H + 20 * MIN)),
        ([(5 * H, 6 * H + 10 * MIN), (13 * H + 45 * MIN, 20 * H)], None),  # what is outside does not count
        ([(5 * H, 6 * H + 21 * MIN)], (6 * H, 6 * H + 20 * MIN)),
        ([(1 * H, 2 * H)], None),
    ],
)
def test_a_rolling_break_is_taken_from_the_longest_stop_that_covers_it(stops, expected):
    assert flexible_break(SHIFT, stops) == expected


def test_no_rolling_break_is_taken_where_none_is_allowed():
    assert flexible_break(SHIFT._replace(flexible_ns=0), [(7 * H, 9 * H)]) is None


@pytest.mark.parametrize("t_ns", [-1, 2**63 - 1])
def test_an_instant_out_of_range_is_refused(t_ns):
    with pytest.raises(ValueError, match=r"1970 to 2262"):
        ShiftCalendar(CalendarRule(shifts={}), zone("UTC")).at(t_ns)


def test_the_last_instant_has_a_shift_too():
    calendar = ShiftCalendar(CalendarRule(shifts={"D": ShiftRule(**hours("06:00-06:00"))}), zone("Europe/Berlin"))
    last_ns = 2**63 - 1 - 30 * 24 * H
    assert calendar.at(last_ns).shift == "D"
    assert datetime.fromtimestamp(last_ns // 10**9, UTC).year == 2262


def test_an_unknown_zone_says_what_is_allowed():
    with pytest.raises(ValueError, match="found 'Europe/Bärlin', allowed: a name of the IANA"):
        zone("Europe/Bärlin")


def test_clocks_that_skip_the_time_around_midnight():
    """No zone has done so since 1970: 23:30 became 00:30 in the night to a Sunday."""
    skip_ns = instant("2026-11-07T23:30Z")

    def utc_ns(local):
        early = instant(local.isoformat() + "Z")
        return early - H if early - H >= skip_ns else early

    def local(t_ns):
        return datetime.fromtimestamp((t_ns + (H if t_ns >= skip_ns else 0)) // 10**9, UTC).replace(tzinfo=None)

    calendar = ShiftCalendar(CalendarRule(shifts={}), Zone("skips", utc_ns, local))
    spans = list(calendar.spans(skip_ns - H, skip_ns + H))
    assert [(span.production_day, span.from_ns, span.to_ns) for span in spans] == [
        ("2026-11-07", instant("2026-11-07T00:00Z"), skip_ns + 30 * MIN),
        ("2026-11-08", skip_ns + 30 * MIN, instant("2026-11-08T23:00Z")),
    ]
    assert calendar.at(skip_ns + 15 * MIN) == spans[0]


def test_memory_is_bounded_over_years():
    case = Case()
    for line in ("zone Europe/Berlin", "shift F 06:00-14:00", "break F 10:00-10:30"):
        case.take(line)
    calendar = case.calendar()
    t_ns, spans = instant("2026-01-01T00:00Z"), 0
    while t_ns < instant("2029-01-01T00:00Z"):
        t_ns, spans = calendar.next_boundary(t_ns), spans + 1
    assert spans > 5 * 1000
    assert len(calendar._weeks) == 8
