"""Durations and rates as people write them: exact, or refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.duration import Duration, seconds
from gateway.core.rate import Rate

DURATIONS = {
    "200 ms": 200_000_000,
    "200ms": 200_000_000,
    "  2.4   s ": 2_400_000_000,
    "0.1 s": 100_000_000,
    "1.000000001 s": 1_000_000_001,
    "15 min": 900_000_000_000,
    "8 h": 28_800_000_000_000,
    "7 d": 604_800_000_000_000,
    "0.5 us": 500,
    "0.001 us": 1,
    "0 s": 0,
    "007 s": 7_000_000_000,
}


@pytest.mark.parametrize(("text", "ns"), DURATIONS.items())
def test_a_duration(text, ns):
    assert Duration(text) == ns
    assert isinstance(Duration(text), int)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *[
            (text, "not a duration; write a number and a unit, such as '200 ms'")
            for text in (
                "",
                "5",
                "s",
                "5 s s",
                "-5 s",
                "+5 s",
                "1e3 s",
                ".5 s",
                "5. s",
                "1,5 s",
                "5 S",
                "5 µs",
                "1 h 30 min",
                "inf s",
            )
        ],
        *[(text, "unknown unit .*; allowed: us, ms, s, min, h, d") for text in ("5 sec", "5 m", "5 ns", "5 w")],
        ("0.0001 us", "finer than a nanosecond"),
    ],
)
def test_no_duration(text, reason):
    with pytest.raises(ValueError, match=reason):
        Duration(text)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 s"),
        (1, "0.001 us"),
        (1_500, "1.5 us"),
        (90_000_000_000, "90 s"),
        (60_000_000_000, "1 min"),
        (86_400_000_000_000, "1 d"),
        (90_000_000_000_000, "25 h"),
        (1_234_567_891, "1234567.891 us"),
    ],
)
def test_a_duration_is_shown_exactly(ns, text):
    assert str(Duration(ns)) == text
    assert repr(Duration(ns)) == f"Duration({text!r})"


@given(st.integers(0, 10**20))
def test_what_is_shown_can_be_written(ns):
    assert Duration(str(Duration(ns))) == ns


def test_seconds_for_displays():
    assert seconds(Duration("2.5 s")) == 2.5


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2 /s", (1, 500_000_000)),
        ("25 /min", (1, 2_400_000_000)),
        ("25/min", (1, 2_400_000_000)),
        (" 0.5 / h ", (1, 7_200_000_000_000)),
        ("7 /s", (7, 1_000_000_000)),
        ("1000 /d", (1, 86_400_000_000)),
        ("3 /ms", (3, 1_000_000)),
    ],
)
def test_a_rate(text, rate):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "25", "25 min", "/min", "-1 /s", "1e3 /s", "25 /m", "25 /minute", "25 pcs/min", "1,5 /s"]
)
def test_no_rate(text):
    with pytest.raises(ValueError, match="not a rate; write counts per unit of time, such as '2 /s'"):
        Rate.parse(text)


@pytest.mark.parametrize("text", ["0 /s", "0.0 /h"])
def test_no_rate_at_all(text):
    with pytest.raises(ValueError, match="greater than zero"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2 /s", "2 /s"),
        ("40 /min", "40 /min"),
        ("120 /min", "2 /s"),
        ("0.7 /min", "42 /h"),
        ("5 /d", "5 /d"),
        ("1 /ms", "1000 /s"),
    ],
)
def test_a_rate_is_shown_in_the_unit_that_fits(text, shown):
    assert str(Rate.parse(text)) == shown
    assert Rate.parse(shown) == Rate.parse(text)


@pytest.mark.parametrize(
    ("duration", "counts"), [("1 s", 0), ("1.499999999 s", 0), ("1.5 s", 1), ("1 min", 40), ("1 d", 57_600)]
)
def test_whole_counts_within_a_time(duration, counts):
    assert Rate.parse("40 /min").within(Duration(duration)) == counts
