"""``linegate test``: what passes, what fails and how it says so, and what is refused before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TESTS = """
tests:
  a roll-over is counted on:
    machine: M-1
    series:
      - { signal: plc.good, every: 2 s, values: "65533 +1x2 0+1x5" }
      - { signal: plc.state, every: 2 s, values: "2x8" }
    orders:
      - { order: "4711", quantity: 6, at: 0 s }
    expect:
      - { at: 0 s, good: 0, state: PRODUCING, order: "4711" }
      - { at: 4 s, good: 2, unallocated: 0 }
      - { at: 60 s, good: 8, scrap: 0, unallocated: 2, review: 0, unknown: 0, unknown_intervals: 0, order: none,
          confirmations: 2, flags: [ROLLOVER] }
    confirmations:
      - { order: "4711", kind: partial, good: 4, trigger: pieces }
      - { order: "4711", kind: final, good: 2, scrap: 0, rework: 0 }
  a lost link is no stop:
    machine: M-1
    start: "2026-03-02T06:00:00+01:00"
    series:
      - { signal: plc.good, every: 2 s, values: "100 +1 +1" }
      - { signal: plc.state, values: "@0s 2 @5s bad @9s 1" }
    expect:
      - { at: 4 s, state: PRODUCING }
      - { at: 6 s, state: UNKNOWN, good: 2 }
      - { at: 9 s, state: STOPPED }
"""


def test_all_pass(configured, linegate):
    ended = linegate("test", configured(TESTS))
    assert (ended.code, ended.err) == (0, ""), ended
    assert ended.out.splitlines() == [
        "ok      a roll-over is counted on",
        "ok      a lost link is no stop",
        "linegate.yaml: 2 passed, 0 failed",
    ]


def test_only_some_by_name_and_as_json(configured, linegate):
    ended = linegate("test", configured(TESTS), "-k", "LOST", "--json")
    result = json.loads(ended.out)
    assert (ended.code, result["ok"]) == (0, True)
    assert [(test["name"], test["machine"], test["checked"]) for test in result["tests"]] == [
        ("a lost link is no stop", "M-1", 4)
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("4 s, good: <2>", "4 s, good: <3>", "expect.1.good: expected 3, found 2"),
        ("state: <PRODUCING>, order", "state: <OFF>, order", "expect.0.state: expected OFF, found PRODUCING"),
        ("order: <none>", "order: <'4711'>", "expect.2.order: expected 4711, found none"),
        (
            "flags: <[ROLLOVER]>",
            "flags: <[RESET, ROLLOVER]>",
            "expect.2.flags: expected RESET, ROLLOVER, found BASELINE",
        ),
        ("review: <0>", "review: <1>", "expect.2.review: expected 1, found 0"),
        ("kind: final, good: <2>", "kind: final, good: <4>", "confirmations.1.good: expected 4, found 2"),
        ("unknown: <0>", "unknown: <7>", "expect.2.unknown: expected 7, found 0"),
        ("trigger: <pieces>", "trigger: <timer>", "confirmations.0.trigger: expected timer, found pieces"),
        ("confirmations: <2>", "confirmations: <1>", "expect.2.confirmations: expected 1, found 2"),
    ],
)
def test_what_fails_says_where_and_what(configured, linegate, config_text, old, new, said):
    plain = old.replace("<", "").replace(">", "")
    assert TESTS.count(plain) == 1
    tests = TESTS.replace(plain, new)
    before = (config_text + tests).partition("<")[0]
    place = f"linegate.yaml:{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"
    ended = linegate("test", configured(tests.replace("<", "").replace(">", "")), "-k", "roll")
    assert ended.code == 1
    assert f"  {place}: tests.'a roll-over is counted on'.{said}" in ended.out
    assert "0 passed, 1 failed" in ended.out


def test_a_failure_shows_what_happened_around_it(configured, linegate):
    ended = linegate("test", configured(TESTS.replace("good: 2, unal", "good: 3, unal")))
    (at,) = [number for number, line in enumerate(ended.out.splitlines()) if "<<< here" in line]
    lines = ended.out.splitlines()
    assert lines[at].split() == ["4.000", "s", "<<<", "here"]
    before, behind = "\n".join(lines[at - 4 : at]), "\n".join(lines[at + 1 : at + 4])
    assert "plc.good = 65535" in before
    assert "1 good for order 4711/0010" in before
    assert "plc.good = 0" in behind


def test_a_failing_test_says_what_it_gives_no_values_of(configured, linegate):
    """The state is UNKNOWN without its signal; who writes a first test wonders why."""
    without = TESTS.replace('      - { signal: plc.state, every: 2 s, values: "2x8" }\n', "")
    ended = linegate("test", configured(without))
    assert ended.code == 1
    assert "state: expected PRODUCING, found UNKNOWN" in ended.out
    assert "the test gives no values of plc.scrap, plc.state, which the rules of its machine read" in ended.out
    ended = linegate("test", configured(without), "--json")
    assert json.loads(ended.out)["tests"][0]["unread"] == ["plc.scrap", "plc.state"]


def test_a_missing_confirmation_is_a_failure(configured, linegate):
    less = TESTS.replace('      - { order: "4711", kind: final, good: 2, scrap: 0, rework: 0 }\n', "")
    ended = linegate("test", configured(less))
    assert ended.code == 1
    assert "confirmations: expected 1 confirmations, found 2" in ended.out


def test_none_is_no_success(configured, linegate):
    ended = linegate("test", configured())
    assert (ended.code, ended.out) == (1, "")
    assert "it has no tests" in ended.err
    ended = linegate("test", configured(TESTS), "-k", "nothing like it")
    assert ended.code == 1
    assert "'a lost link is no stop'" in ended.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"65533 +1x2 0+1x5"',
            '"65533 plus"',
            "tests.a roll-over is counted on.series.0.values: found 'plus', allowed: a number",
        ),
        (
            "signal: plc.good, every",
            "signal: plc.goods, every",
            "found 'plc.goods', no rule of M-1 reads it; allowed: plc.good, ",
        ),
        (
            "machine: M-1\n    series",
            "machine: M-2\n    series",
            "found 'M-2', there is no such work unit; allowed: M-1",
        ),
        ("state: OFF", "state: AWAY", "found"),
        ("at: 4 s, good: 2, unallocated: 0", "at: 4 s", "names nothing that is expected; allowed: good, scrap"),
        ("quantity: 6", "quantity: 0", "quantity: found 0, allowed 1 and above"),
        ("good: 2, unal", "god: 2, unal", "unknown key; allowed: at, good"),
        ('every: 2 s, values: "2x8"', 'values: "2x8"', "a value without a time; set every"),
        ('"2026-03-02T06:00:00+01:00"', '"2026-03-02T06:00:00"', "without its offset from UTC; write it such as"),
        ('"2026-03-02T06:00:00+01:00"', '"1960-03-02T06:00:00Z"', "start: found 1960-03-02T06:00:00Z, allowed 1970-"),
        ("at: 9 s", "at: 400 d", "found something 400 d after the start, allowed up to 366 d"),
        ("signal: plc.state, every", "signal: plc.good, every", "series: found plc.good twice; write each signal's"),
    ],
)
def test_refused_before_anything_runs(configured, linegate, old, new, said):
    text = TESTS.replace("state: PRODUCING, order", "state: OFF, order") if "OFF" in old else TESTS
    assert old in text
    for command in ("test", "check"):
        ended = linegate(command, configured(text.replace(old, new, 1)))
        assert ended.code == 1
        assert said in ended.err.replace("quantity: quantity", "quantity"), ended.err
        assert "linegate.yaml:" in ended.err


def test_the_gateway_ignores_tests(configured, linegate):
    with_tests = json.loads(linegate("check", configured(TESTS), "--json").out)
    without = json.loads(linegate("check", configured(), "--json").out)
    assert (with_tests["ok"], with_tests["digest"]) == (True, without["digest"])


def test_the_readme_is_right(configured, linegate):
    readme = (Path(__file__).parents[2] / "gateway/trial/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    ended = linegate("test", configured("\n" + block.replace("PRESS-1", "M-1"), **{"every_pieces: 4": "every: 1 h"}))
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert "1 passed" in ended.out


def test_a_stop_that_is_seen_late_is_true_from_its_beginning(configured, linegate):
    rules = {
        'signal: plc.state\n      map: { "0": OFF, "1": STOPPED, "2": PRODUCING }': "stop_detect: 20 s",
    }
    tests = """
tests:
  a gap:
    machine: M-1
    series: [{ signal: plc.good, every: 2 s, values: "0 +1x5 _x20 +1x5" }, { signal: plc.scrap, values: "@0s 0" }]
    orders: [{ order: "1", quantity: 100 }]
    expect:
      - { at: 9 s, state: PRODUCING }
      - { at: 25 s, state: MICRO_STOP }
      - { at: 60 s, state: PRODUCING, good: 10 }
"""
    ended = linegate("test", configured(tests, **rules))
    assert ended.code == 0, ended.out


WEEK = """
calendars:
  early:
    shifts:
      F: { start: "06:00", end: "14:00", days: [mon, tue, wed, thu, fri], breaks: [{ start: "09:00", end: "09:30" }] }
tests:
  every day of a fortnight:
    machine: M-1
    start: "2026-01-05T04:00:00Z"
    series:
      - { signal: plc.good, every: 12 h, values: "0x30" }
      - { signal: plc.state, every: 12 h, values: "1x30" }
    expect:
"""


def test_a_calendar_holds_on_every_day_of_a_long_test(configured, linegate):
    """A fortnight has more stretches than one plan holds."""
    text = WEEK
    for day in range(14):
        working = day % 7 < 5
        # The test begins at five in Berlin; the shift at six, its break at nine.
        for hour, state in ((0.5, "NOT_SCHEDULED"), (1.5, "STOPPED"), (4.25, "PLANNED_STOP"), (5, "STOPPED")):
            expected = state if working else "NOT_SCHEDULED"
            text += f"      - {{ at: {day * 24 * 60 + int(hour * 60)} min, state: {expected} }}\n"
    replaced = {
        "plant: P1": "plant: P1, timezone: Europe/Berlin",
        "work_center: WC-1": "work_center: WC-1\n    calendar: early",
    }
    ended = linegate("test", configured(text, **replaced))
    assert ended.code == 0, ended.out + ended.err
