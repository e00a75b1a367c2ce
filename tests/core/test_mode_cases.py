"""The golden table of the counting modes beyond counter and pulse: data/mode_cases.txt, row by row."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from gateway.core.counting.detector import Sample, loaded, plain
from gateway.core.counting.modes import prepared, state_of
from gateway.core.model import CountEvent, Role, Status
from gateway.core.rules import AnyCountingRule

TABLE = Path(__file__).parent / "data" / "mode_cases.txt"
START_NS = 1_780_000_000_000_000_000  # 2026-05-28T20:26:40Z
MS = 1_000_000
RULES = TypeAdapter(AnyCountingRule)
FIELDS = {"part": "part", "cycles": "cycles", "lost": "max_lost", "review": "review", "est": "estimated"}
TIMES = {"from": "t_from_ns", "to": "t_to_ns"}
PRODUCED = (Role.GOOD, Role.SCRAP, Role.REWORK, Role.HOLD)


def cases():
    for block in re.split(r"^case ", TABLE.read_text(), flags=re.MULTILINE)[1:]:
        title, *lines = (line for line in block.splitlines() if line and not line.startswith("#"))
        rows = [line.strip() for line in lines]
        assert rows[0].startswith("rule"), title
        assert rows[-1].startswith("books"), title
        rule = RULES.validate_python(yaml.safe_load(rows[0].removeprefix("rule")))
        yield pytest.param(rule, rows[1:-1], rows[-1].split()[1:], id=title.replace("  ", " "))


def value_of(text):
    if text == "-":
        return None
    return float(text) if "." in text else int(text)


class Feed:
    """One detector, fed row by row; timers fire before a row, when they are due."""

    def __init__(self, rule):
        self.rule, self.detector = rule, prepared(rule, None)
        self.state, self.said = self.detector.initial(), []
        self.heard = 0  # cycles that the machine's state heard of

    def counted(self, events):
        """What was counted; that a part came which waits for its verdict is no row of the table."""
        for event in events:
            cycles = event.delta if event.cycles is None else event.cycles
            self.heard += cycles if event.activity is None else event.activity
        return [event for event in events if not event.activity]

    def wait(self, until_ns):
        events = []
        while (due := self.detector.deadline(self.state)) is not None and due <= until_ns:
            self.state, more = self.detector.on_time(self.state, due)
            events += self.counted(more)
        return events

    def row(self, words, at_ns):
        events = self.wait(at_ns)
        values = dict(word.split("=") for word in words)
        # One scan is handed over in the order of the detector's signals.
        for signal in self.detector.signals:
            text = values.pop(signal.removeprefix("m."), None)
            if text is not None:
                # A digital input is a truth value, some drivers give 0 and 1: both must do.
                status = Status.BAD if text == "-" else Status.GOOD
                sample = Sample(signal, at_ns, value_of(text), status, at_ns)
                self.state, more = self.detector.on_value(self.state, sample)
                events += self.counted(more)
        assert not values, f"the rule does not read {', '.join(values)}"
        return events

    def climb(self, from_ms, word):
        name, _, span = word.partition("=")
        first, _, last = span.partition("..")
        for number in range(int(first), int(last) + 1):
            at_ns = START_NS + (from_ms + 1000 * (number - int(first))) * MS
            self.said += self.row([f"{name}={number}"], at_ns)

    def step(self, line):
        given, _, told = line.partition("->")
        if given.strip() == "restart":
            self.state = self.detector.restored(loaded(state_of(self.rule), plain(self.state)))
            return
        head, *words = given.split()
        if ".." in given:
            self.climb(int(head), *words)
            return
        if head == "until":
            head, words = words[0], []
        events = self.row(words, START_NS + int(head) * MS)
        self.said += events
        expected = [text.split() for text in told.split(",")] if told else []
        assert [(f"{event.delta:+d}" if event.delta else "0", event.flag) for event in events] == [
            (delta, flag) for delta, flag, *_ in expected
        ], line
        for event, (_, _, *details) in zip(events, expected, strict=True):
            for detail in details:
                check(event, detail, line)

    def books(self):
        """Sums by role, by part, and what else the books may name."""
        found = Counter()
        for event in self.said:
            role = event.role or self.rule.role
            found[role.value] += event.delta
            found["produced"] += event.delta if role in PRODUCED else 0
            found["cycles"] += event.delta if event.cycles is None else event.cycles
            found["lost"] += event.max_lost
            found["review"] += event.review
            found[f"part {event.part}"] += event.delta
        return found


def check(event, detail, line):
    key, _, text = detail.partition("=")
    if not text:
        assert event.role is Role(key), line
    elif key == "cycle":
        assert event.cycle_ns == (None if text == "None" else int(text) * MS), line
    elif key in TIMES:
        assert getattr(event, TIMES[key]) == START_NS + int(text) * MS, line
    else:
        assert str(getattr(event, FIELDS[key]) if key != "est" else int(event.estimated)) == text, line


@pytest.mark.parametrize(("rule", "rows", "books"), list(cases()))
def test_golden_case(rule, rows, books):
    feed = Feed(rule)
    for line in rows:
        feed.step(line)
    found, words = feed.books(), list(books)
    while words:
        key = words.pop(0)
        if key == "part":
            key = f"part {words.pop(0)}"
        expected = words.pop(0)
        if key in found or key in {role.value for role in Role}:
            assert str(found[key]) == expected, key
        else:
            value = getattr(feed.state, key)
            if key.endswith("_ns") and value is not None:
                value = (value - START_NS) // MS
            assert str(value) == expected, key
    assert all(type(event) is CountEvent and event.delta >= 0 for event in feed.said)
    waiting = getattr(getattr(feed.state, "verdicts", None), "open", ())
    assert feed.heard == found["cycles"] + len(waiting), "the machine's state hears of every cycle once"


def test_the_table_is_whole():
    text = TABLE.read_text()
    assert len(list(cases())) == len(re.findall("^case ", text, re.MULTILINE)) == 88
    for case in cases():
        assert len(case.values[1]) >= 2, case.id
