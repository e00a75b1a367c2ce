"""What a calendar may say: times of day, shifts, breaks, exceptions, and the checks across dates."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.core.calendar.time_of_day import TimeOfDay, minutes_from
from gateway.core.duration import Duration
from gateway.core.rules_calendar import BreakRule, CalendarRule, ExceptionRule, ShiftRule

SPOKEN = TypeAdapter(CalendarRule)


def shift(hours, *breaks, **more):
    start, end = map(TimeOfDay, hours.split("-"))
    return ShiftRule(start=start, end=end, breaks=tuple(pause(text) for text in breaks), **more)


def pause(hours):
    start, end = map(TimeOfDay, hours.split("-"))
    return BreakRule(start=start, end=end)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("00:00", 0), ("6:05", 365), ("06:05", 365), ("23:59", 1439), ("24:00", 1440), (" 14:00 ", 840)],
)
def test_a_time_of_day(text, minutes):
    found = TimeOfDay(text)
    assert found == minutes
    assert TimeOfDay(str(found)) == found


@pytest.mark.parametrize("text", ["", "6", "6.30", "24:01", "25:00", "12:60", "12:5", "-1:00", "06:00:00", "noon"])
def test_what_is_no_time_of_day(text):
    with pytest.raises(ValueError, match="not a time of day; write hours and minutes, such as '06:00'"):
        TimeOfDay(text)


@pytest.mark.parametrize("minutes", [-1, 1441])
def test_minutes_that_are_no_time_of_day(minutes):
    with pytest.raises(ValueError, match=f"found {minutes} min, allowed 0 to 1440"):
        TimeOfDay(minutes)


def test_minutes_over_midnight():
    assert minutes_from(TimeOfDay("22:00"), TimeOfDay("06:00")) == 480
    assert minutes_from(TimeOfDay("16:00"), TimeOfDay("24:00")) == 480
    assert shift("06:00-06:00").minutes == 1440


def test_a_calendar_as_the_file_writes_it():
    rule = SPOKEN.validate_python(
        {
            "shifts": {
                "F": {"start": "06:00", "end": "14:00", "breaks": [{"start": "10:00", "end": "10:30"}]},
                "N": {"start": "22:00", "end": "06:00", "days": ["sun", "mon"], "flexible_break": "20 min"},
            },
            "models": {"short": {"K": {"start": "06:00", "end": "11:00"}}},
            "exceptions": [
                {"date": "2026-12-24", "model": "short", "text": "Christmas Eve"},
                {"date": "2026-12-25", "until": "2026-12-26", "closed": True},
                {"date": "2026-12-28", "breaks": {"F": [{"start": "12:00", "end": "12:30"}]}},
            ],
            "production_day": "majority",
        }
    )
    assert rule.shifts["F"].breaks == (pause("10:00-10:30"),)
    assert rule.shifts["N"].flexible_break == Duration("20 min")
    assert [exception.last.isoformat() for exception in rule.exceptions] == ["2026-12-24", "2026-12-26", "2026-12-28"]
    of_start = SPOKEN.json_schema()["$defs"]["ShiftRule"]["properties"]["start"]
    assert re.fullmatch(of_start["pattern"], "06:00")
    assert not re.fullmatch(of_start["pattern"], "06:60")


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("shifts", "F", "start"), 360, "a time of day is written with a colon, such as '06:00' or '22:30'"),
        (("shifts", "F", "start"), "6h", "not a time of day; write hours and minutes"),
        (("shifts", "F", "days"), ["monday"], "Input should be 'mon', 'tue'"),
        (("shifts", "F", "begin"), "06:00", "Unexpected keyword argument"),
        (("production_day",), "end", "Input should be 'start' or 'majority'"),
    ],
)
def test_what_the_file_may_not_say(where, value, said):
    document = {"shifts": {"F": {"start": "06:00", "end": "14:00"}}}
    at = document
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    with pytest.raises(ValidationError, match=said):
        SPOKEN.validate_python(document)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: pause("10:00-10:00"), "end: found 10:00, the same time as start"),
        (lambda: shift("24:00-08:00"), "start: found 24:00, allowed 00:00 to 23:59"),
        (lambda: shift("06:00-14:00", days=()), "days: found none, allowed each once"),
        (lambda: shift("06:00-14:00", days=("mon", "tue", "mon")), "days: found mon twice, allowed each once"),
        (
            lambda: shift("06:00-14:00", "05:30-06:30"),
            "breaks: found 05:30-06:30, allowed inside of the shift 06:00-14:00",
        ),
        (lambda: shift("06:00-14:00", "13:45-14:15"), "breaks: found 13:45-14:15, allowed inside of the shift"),
        (lambda: shift("22:00-06:00", "05:45-06:15"), "breaks: found 05:45-06:15, allowed inside of the shift"),
        (
            lambda: shift("22:00-06:00", "01:00-02:00", "23:50-01:10"),
            "breaks: found 01:00-02:00 across another break",
        ),
        (lambda: shift("06:00-14:00", *["10:00-10:01"] * 17), "breaks: found 17, allowed up to 16"),
        (
            lambda: shift("06:00-14:00", "08:00-13:00", flexible_break=Duration("181 min")),
            "flexible_break: found 181 min, allowed up to the 3 h of work",
        ),
    ],
)
def test_what_a_shift_cannot_be(made, said):
    with pytest.raises(ValueError, match=said):
        made()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"date": "2026-02-30", "closed": True}, "date: found '2026-02-30', allowed: a date that exists"),
        ({"date": "20261224", "closed": True}, "date: found '20261224', allowed: a date that exists"),
        ({"date": "2026-12-24", "until": "2026-12-32", "closed": True}, "until: found '2026-12-32', allowed: a date"),
        (
            {"date": "2026-12-24", "until": "2026-12-23", "closed": True},
            "until: found 2026-12-23, allowed 2026-12-24 and after it",
        ),
        (
            {"date": "2026-01-01", "until": "2027-01-02", "closed": True},
            "until: found 2027-01-02, 367 days; allowed 366",
        ),
        ({"date": "2026-12-24"}, "found nothing that is different"),
        ({"date": "2026-12-24", "closed": True, "model": "short"}, "closed: found with model or cancel"),
        ({"date": "2026-12-24", "closed": True, "cancel": ("F",)}, "closed: found with model or cancel"),
        ({"date": "2026-12-24", "add": {"a b": shift("06:00-07:00")}}, "add: found the name 'a b', allowed 1 to 32"),
    ],
)
def test_what_an_exception_cannot_be(fields, said):
    with pytest.raises(ValueError, match=said):
        ExceptionRule(**fields)


USUAL = {"F": shift("06:00-14:00", days=("mon", "tue", "wed", "thu", "fri")), "N": shift("22:00-06:00")}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"shifts": {"F": shift("06:00-14:00"), "S": shift("13:30-22:00")}},
            r"shifts: F \(06:00-14:00 of mon\) overlaps S \(13:30-22:00 of mon\); let one end where the next begins",
        ),
        (
            {"shifts": {"F": shift("06:00-14:00"), "N": shift("22:00-06:30")}},
            r"shifts: N \(22:00-06:30 of mon\) overlaps F \(06:00-14:00 of tue\)",
        ),
        (
            {"shifts": {"F": shift("06:00-14:00", days=("mon",)), "N": shift("22:00-06:30", days=("sun",))}},
            r"shifts: N \(22:00-06:30 of sun\) overlaps F \(06:00-14:00 of mon\)",
        ),
        ({"shifts": {"D": shift("06:00-06:00"), "E": shift("06:00-06:00")}}, "shifts: D .* overlaps E"),
        ({"shifts": {"": shift("06:00-14:00")}}, "shifts: found the name '', allowed 1 to 32 letters"),
        ({"shifts": {"x" * 33: shift("06:00-14:00")}}, "shifts: found the name 'x+', allowed 1 to 32 letters"),
        (
            {"shifts": {f"s{n}": shift(f"{n % 24:02d}:00-{n % 24:02d}:30") for n in range(25)}},
            "shifts: found 25 shifts, allowed up to 24",
        ),
        (
            {"shifts": {}, "models": {"m": {"A": shift("06:00-08:00"), "B": shift("07:00-09:00")}}},
            "models: m: A .* overlaps B",
        ),
        ({"shifts": {}, "models": {f"m{n}": {} for n in range(33)}}, "models: found 33, allowed up to 32"),
        (
            {
                "shifts": USUAL,
                "exceptions": (
                    ExceptionRule(date="2026-12-20", until="2026-12-24", closed=True),
                    ExceptionRule(date="2026-12-24", cancel=("N",)),
                ),
            },
            "exceptions: found 2026-12-24 twice; allowed: one exception for a date",
        ),
        (
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-12-24", model="shrot"),)},
            "exceptions: 2026-12-24: found model 'shrot', allowed: none is defined",
        ),
        (
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-11-07", cancel=("F",)),)},
            "exceptions: 2026-11-07: cancel: found 'F', no shift that starts on 2026-11-07 or until then; allowed: N",
        ),
        (
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-11-07", breaks={"X": (pause("07:00-07:30"),)}),)},
            "exceptions: 2026-11-07: breaks: found 'X', no shift that starts on",
        ),
        (
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-11-06", breaks={"F": (pause("14:00-14:30"),)}),)},
            "exceptions: 2026-11-06: breaks: F: found 14:00-14:30, allowed inside of the shift 06:00-14:00",
        ),
        (
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-11-06", add={"F": shift("15:00-16:00")}),)},
            "exceptions: 2026-11-06: add: found F, a shift of that day already; allowed: another name",
        ),
        (
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-11-06", add={"X": shift("14:00-22:30")}),)},
            r"exceptions: 2026-11-06: X \(14:00-22:30 of fri\) overlaps N \(22:00-06:00 of fri\)",
        ),
        (  # with the night that the day before brings
            {"shifts": USUAL, "exceptions": (ExceptionRule(date="2026-11-07", add={"X": shift("05:00-12:00")}),)},
            r"exceptions: 2026-11-07: N \(22:00-06:00 of fri\) overlaps X \(05:00-12:00 of sat\)",
        ),
        (  # with the day after the last one
            {
                "shifts": USUAL,
                "exceptions": (
                    ExceptionRule(
                        date="2026-11-02",
                        until="2026-11-23",
                        cancel=("N",),
                        add={"X": shift("20:00-07:00", days=("mon",))},
                    ),
                ),
            },
            r"exceptions: 2026-11-02: X \(20:00-07:00 of mon\) overlaps F \(06:00-14:00 of tue\)",
        ),
        (  # and only with that one
            {
                "shifts": USUAL,
                "exceptions": (
                    ExceptionRule(
                        date="2026-11-01", until="2026-11-24", cancel=("N", "F"), add={"X": shift("20:00-07:00")}
                    ),
                ),
            },
            r"exceptions: 2026-11-01: X \(20:00-07:00 of tue\) overlaps F \(06:00-14:00 of wed\)",
        ),
        (
            {
                "shifts": USUAL,
                "exceptions": (ExceptionRule(date="2026-11-07", add={"X": shift("12:00-13:00", days=("sun",))}),),
            },
            "exceptions: 2026-11-07: add: found 'X', no shift that starts on 2026-11-07 or until then",
        ),
    ],
)
def test_what_a_calendar_cannot_be(fields, said):
    with pytest.raises(ValueError, match=said):
        CalendarRule(**fields)


def test_a_calendar_may_have_no_shifts():
    assert CalendarRule(shifts={}).production_day == "start"


def test_a_shift_may_begin_where_a_longer_one_of_the_day_before_ends():
    assert CalendarRule(shifts={"D": shift("06:00-06:00")})


def test_too_many_exceptions():
    many = tuple(ExceptionRule(date="2026-12-24", closed=True) for _ in range(1001))
    with pytest.raises(ValueError, match="exceptions: found 1001, allowed up to 1000"):
        CalendarRule(shifts={}, exceptions=many)
