"""The golden table of the counting mode ``counter``: data/counter_cases.txt, row by row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.core.counting.counter import CounterDetector
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule

TABLE = Path(__file__).parent / "data" / "counter_cases.txt"
START_NS = 1_000_000_000_000_000
ROW = re.compile(r"(\d+) +(\S+)( bad)?( !restart| !reset)? +-> \+?(\d+) (\w+)")
BOOKS = re.compile(r"books +(\d+) review (\d+) lost (-?\d+)")


class Row(NamedTuple):
    t_ns: int
    value: Any
    status: Status
    evidence: str
    delta: int
    flag: str


def settings_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {"mode": "counter", "signal": "plc.n"}
    for name, value in (pair.split("=") for pair in text.split()):
        if name == "max_rate":
            found[name] = Rate.parse(value)
        elif name == "remember_old_track":
            found[name] = Duration(f"{value} s")
        else:
            found[name] = int(value) if value.isdigit() else value
    return found


def value_of(text: str) -> Any:
    """As a driver may deliver it."""
    if text == "-":
        return None
    if text == "true":
        return True
    if text.startswith("'"):
        return text.strip("'")
    return float(text) if "." in text else int(text)


def cases():
    for block in TABLE.read_text().split("\ncase ")[1:]:
        title, *lines = (line for line in block.splitlines() if not line.startswith("#"))
        rule: dict[str, Any] = {}
        rows, books, doubt = [], None, False
        for line in filter(None, map(str.strip, lines)):
            if line.startswith("set "):
                rule = settings_of(line.removeprefix("set "))
            elif line.startswith("books "):
                books = tuple(map(int, BOOKS.fullmatch(line).groups()))
            elif line == "doubt":
                doubt = True
            else:
                t, value, bad, evidence, delta, flag = ROW.fullmatch(line).groups()
                status = Status.BAD if bad else Status.GOOD
                at_ns = START_NS + int(t) * 1_000_000_000
                rows.append(Row(at_ns, value_of(value), status, (evidence or "").strip(" !"), int(delta), flag))
        assert rows, title
        assert books, title
        yield pytest.param(CounterRule(**rule), rows, books, doubt, id=title.replace("  ", " "))


@pytest.mark.parametrize(("rule", "rows", "books", "doubt"), list(cases()))
def test_golden_case(rule, rows, books, doubt):
    detector = CounterDetector(rule, None)
    state, total, review, lost = detector.initial(), 0, 0, 0
    for number, row in enumerate(rows):
        if row.evidence:
            state = state._replace(evidence=row.evidence)
        state, event = detector.on_value(state, row.t_ns, row.value, row.status)
        found = (event.delta, event.flag) if event else (0, "OK")
        assert found == (row.delta, row.flag), f"sample {number}"
        if event:
            total, review, lost = total + event.delta, review + event.review, lost + event.max_lost
    assert (total, review, lost) == books
    assert (state.pending is not None) is doubt


def test_the_table_is_whole():
    """A case that the parser skipped would pass for ever."""
    text = TABLE.read_text()
    assert len(list(cases())) == text.count("\ncase ") == 66
    assert sum(len(case.values[1]) for case in cases()) == len(re.findall(r"^ .*->", text, re.MULTILINE))
