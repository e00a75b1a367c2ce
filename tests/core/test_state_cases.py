"""The golden table of what a machine did: data/state_cases.txt, case by case."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.core.duration import Duration
from gateway.core.model import MachineState
from gateway.core.rules_state import CycleGapRule, DataLossRule, StateTimelineRule, StopReasonRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.interval import StateInterval
from gateway.core.state.timeline import Timeline

TABLE = Path(__file__).parent / "data" / "state_cases.txt"
START_NS = 1_780_000_000_000_000_000
ALARMS = {"101": "FEEDER_JAM", "102": "ORING_EMPTY"}


class Case(NamedTuple):
    rule: StateTimelineRule
    inputs: list[tuple[int, int, list[str]]]
    expected: list[list[str]]
    sums: dict[str, Decimal]


def ns(text: str) -> int:
    return START_NS + int(Decimal(text) * 10**9)


def rule_of(text: str) -> StateTimelineRule:
    found = dict(pair.split("=") for pair in text.split())
    limits: dict[str, Any] = {
        name: CycleLimit.parse(value)
        for name, value in found.items()
        if name in ("slow", "stop_detect", "micro_stop_max")
    }
    return StateTimelineRule(
        ideal_cycle=Duration(f"{found['ideal']} s"),
        gaps=CycleGapRule(**limits),
        data_loss=DataLossRule(back_fill=found.get("back_fill") != "no"),
        reasons=StopReasonRule(alarms=ALARMS),
    )


def cases():
    for block in TABLE.read_text().split("\ncase ")[1:]:
        title, *lines = (line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#"))
        rule, inputs, expected, sums = None, [], [], {}
        for line in lines:
            words = line.split()
            if words[0] == "set":
                rule = rule_of(line.removeprefix("set"))
            elif words[0] == "=":
                expected.append(words[1:])
            elif words[0] == "sums":
                sums = {name: Decimal(value) for name, value in (pair.split("=") for pair in words[1:])}
            else:
                at_ns = ns(words[0])
                holds_ns = ns(words[1][1:]) if words[1].startswith("@") else at_ns
                inputs.append((at_ns, holds_ns, words[2:] if words[1].startswith("@") else words[1:]))
        assert rule is not None
        assert expected
        yield pytest.param(Case(rule, inputs, expected, sums), id=title.replace("  ", " "))


def state_of(text: str) -> MachineState | None:
    return None if text == "-" else MachineState(text)


def on_cycle(timeline, state, at_ns, holds_ns, *rest):
    since_ns = ns(rest[rest.index("since") + 1]) if "since" in rest else at_ns
    return timeline.cycle(state, at_ns, since_ns, holds_ns, int(rest[0]) if rest and rest[0].isdecimal() else 1)


ON_OFF = {"on": True, "off": False, "-": None}
WORDS = {
    "time": lambda t, s, at, _h: t.on_time(s, at),
    "heard": lambda t, s, at, h: t.heard(s, at, h),
    "lost": lambda t, s, at, h, *reason: t.lost(s, at, h, *reason),
    "restart": lambda t, s, at, _h, alive: t.restored(s, at, ns(alive)),
    "order": lambda t, s, at, h, name, ideal: t.job(s, at, h, name, "0010", int(Decimal(ideal) * 10**9)),
    "no": lambda t, s, at, h, _order: t.job(s, at, h, None, None, None),
    "cycle": on_cycle,
    "explicit": lambda t, s, at, h, state, *reason: t.explicit(s, at, h, state_of(state), *reason),
    "mode": lambda t, s, at, h, state: t.mode(s, at, h, state_of(state)),
    "running": lambda t, s, at, h, word: t.running(s, at, h, on=ON_OFF[word]),
    "planned": lambda t, s, at, h, state, shift: t.calendar(s, at, h, state_of(state), shift),
    "working": lambda t, s, at, h, shift: t.calendar(s, at, h, None, shift),
    "setup": lambda t, s, at, h, word: t.setup(s, at, h, "changeover", active=word == "on"),
    "alarm": lambda t, s, at, h, code: t.alarm(s, at, h, code),
}


def feed(timeline, state, at_ns, holds_ns, words):
    return WORDS[words[0]](timeline, state, at_ns, holds_ns, *words[1:])


def begun(timeline):
    """Heard from the start on, with order A."""
    state = timeline.initial(START_NS)
    state, _ = timeline.job(state, START_NS, START_NS, "A", "0010", None)
    return timeline.heard(state, START_NS, START_NS)[0]


def play(case):
    timeline = Timeline(case.rule)
    state, out = begun(timeline), []
    for at_ns, holds_ns, words in case.inputs:
        state, more = feed(timeline, state, at_ns, holds_ns, words)
        out += more
    return timeline, state, out


def row_of(timeline, state, out):
    """What is final, and what is judged by now."""
    waiting = [timeline._reasons.with_reason(interval, state.alarms) for interval in state.row]
    return [one for one in (*out, *waiting) if isinstance(one, StateInterval)]


@pytest.mark.parametrize("case", list(cases()))
def test_golden_case(case):
    row = row_of(*play(case))
    first_ns = ns(case.expected[0][0])
    row = [interval for interval in row if interval.to_ns > first_ns]
    shown = [f"{(i.from_ns - START_NS) / 1e9} {(i.to_ns - START_NS) / 1e9} {i.state}" for i in row]
    assert len(row) == len(case.expected), shown
    for interval, (begin, end, state, *tags) in zip(row, case.expected, strict=True):
        assert (interval.state, max(interval.from_ns, first_ns), interval.to_ns) == (state, ns(begin), ns(end)), shown
        check_tags(interval, tags)
    totals: Counter[str] = Counter()
    for interval in row:
        totals[interval.state.value] += interval.to_ns - max(interval.from_ns, first_ns)
        totals["loss"] += interval.speed_loss_ns
    for name, seconds in case.sums.items():
        assert totals[name] == int(seconds * 10**9), name


def check_tags(interval, tags):
    facts = {"slow": interval.reduced_speed, "est": interval.estimated, "over": interval.overtime}
    for name, found in facts.items():
        assert found is (name in tags), (interval, name)
    if "amended" in tags:
        assert interval.amended
    loss = next((tag.removeprefix("loss=") for tag in tags if tag.startswith("loss=")), "0")
    assert interval.speed_loss_ns == int(Decimal(loss) * 10**9)
    for name in ("shift", "order", "reason"):
        for tag in tags:
            if tag.startswith(f"{name}="):
                wanted = tag.removeprefix(f"{name}=")
                assert (getattr(interval, name) or "-") == wanted, (interval, name)


def test_the_table_is_whole():
    """A case or line that the parser skipped would pass for ever."""
    text = TABLE.read_text()
    found = [case.values[0] for case in cases()]
    assert len(found) == text.count("\ncase ") >= 40
    assert sum(len(case.expected) for case in found) == len(re.findall(r"^ += ", text, re.MULTILINE))
    assert sum(len(case.inputs) for case in found) == len(re.findall(r"^ +\d", text, re.MULTILINE))
