"""When a confirmation is due: data/confirming_triggers.txt case by case, and what always holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.milestone import confirmed_by
from gateway.core.confirming.triggers import (
    DELAYED,
    DERIVED,
    Confirm,
    OpenContent,
    Suppressed,
    Trigger,
    TriggerState,
    Wait,
    deadline,
    decide,
    restored,
)
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.orders.order_image import Control, ImageOperation, OrderImage
from gateway.core.rules_confirming import ConfirmingRule

TABLE = Path(__file__).parent / "data" / "confirming_triggers.txt"
EVENTS = [trigger for trigger in Trigger if trigger not in DERIVED]
LINE = re.compile(r"(\S+) (.+?) = (.+?)(?:, next (\S+))?")


def clock(text):
    hours, minutes, *seconds = map(int, text.split(":"))
    return (hours * 3600 + minutes * 60 + sum(seconds)) * NS_PER_S


def shown(at_ns):
    seconds = at_ns // NS_PER_S
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def cases():
    name, lines = "", []
    for line in [*TABLE.read_text().splitlines(), "case"]:
        if line.startswith("case"):
            if lines:
                yield pytest.param(lines, id=name)
            name, lines = line.removeprefix("case "), []
        elif line.strip() and not line.startswith("#"):
            lines.append(line.strip())


def rule_of(text):
    keys = {"N": "every_pieces", "T": "every", "min": "min_interval"}
    given = dict(word.split("=") for word in text.split())
    return ConfirmingRule(**{keys[key]: int(value) if key == "N" else Duration(value) for key, value in given.items()})


def more(content, what):
    if what.startswith("+"):
        return content._replace(pieces=content.pieces + int(what))
    if what == "sample":
        return content._replace(samples=content.samples + 1)
    return content._replace(time_ns=content.time_ns + Duration(what.removeprefix("time ")))


def told(decision, content):
    match decision:
        case None:
            return "nothing"
        case Suppressed():
            return "suppressed"
        case Wait():
            return f"waits until {shown(decision.until_ns)}"
        case Confirm():
            time = f" {str(Duration(content.time_ns)).replace(' ', '')}" if content.time_ns else ""
            also = f" ({', '.join(decision.also)})" if decision.also else ""
            return f"{content.pieces}{time} {decision.trigger}{also}"


@pytest.mark.parametrize("lines", list(cases()))
def test_a_case(lines):
    rule, state, content = ConfirmingRule(), TriggerState(0), OpenContent()
    steps = 0
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "rule":
            rule = rule_of(rest)
            continue
        if word == "confirmed":
            state = TriggerState(clock(rest))
            continue
        at, what, expected, due = LINE.fullmatch(line).groups()
        asked = [Trigger(name) for name in what[1:-1].split(", ")] if what.startswith("[") else []
        content = content if asked or what == "-" else more(content, what)
        state, decision = decide(rule, state, content, clock(at), asked)
        assert told(decision, content) == expected, line
        if isinstance(decision, Confirm):
            assert decision.at_ns == clock(at)
            assert decision.final == (Trigger.COMPLETION in asked)
            content = OpenContent()
        if due:
            after = deadline(rule, state, content)
            assert ("none" if after is None else shown(after)) == due, line
        steps += 1
    assert steps


def test_every_trigger_has_a_case():
    text = TABLE.read_text()
    for trigger in Trigger:
        assert re.search(rf"= \d+ (\w+ )?{trigger}\b", text), trigger


RULES = st.builds(
    ConfirmingRule,
    every_pieces=st.none() | st.integers(1, 50),
    every=st.none() | st.integers(60, 3600).map(lambda s: Duration(s * NS_PER_S)),
    min_interval=st.integers(0, 60).map(lambda s: Duration(s * NS_PER_S)),
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 100 * NS_PER_S),
        st.integers(0, 30),
        st.integers(0, 1),
        st.integers(0, 10),
        st.sets(st.sampled_from(EVENTS), max_size=2),
    ),
    max_size=25,
)


@given(RULES, STEPS)
def test_whatever_happens(rule, steps):
    """All that is made is confirmed once; deadlines are kept; nothing delayed comes too soon; states survive JSON."""
    state, content, now_ns = TriggerState(0), OpenContent(), 0
    made = confirmed = 0
    for pause_ns, pieces, samples, time_ns, asked in steps:
        until_ns = now_ns + pause_ns
        while (due_ns := deadline(rule, state, content)) is not None and due_ns <= until_ns:
            state, decision = decide(rule, state, content, max(due_ns, now_ns))
            assert isinstance(decision, Confirm), "a deadline is never in vain"
            confirmed, content = confirmed + content.pieces, OpenContent()
        now_ns = until_ns
        made += pieces
        content = OpenContent(content.pieces + pieces, content.samples + samples, content.time_ns + time_ns)
        before = state
        state, decision = decide(rule, state, content, now_ns, asked)
        assert restored(json.loads(json.dumps(state._asdict()))) == state
        match decision:
            case Confirm(_, trigger, also):
                named = {trigger, *also}
                assert content.anything_made or trigger in (Trigger.COMPLETION, Trigger.SHIFT_END)
                assert named - DELAYED or now_ns >= before.confirmed_ns + rule.spacing_ns
                assert named & (asked | set(before.waiting) | DERIVED)
                assert state == TriggerState(now_ns)
                confirmed, content = confirmed + content.pieces, OpenContent()
            case Wait(wait_ns, waiting):
                assert set(waiting) <= DELAYED
                assert now_ns < wait_ns == deadline(rule, state, content)
            case Suppressed():
                assert not content.anything_made
                assert state.waiting == ()
            case None:
                assert not asked
        assert confirmed + content.pieces == made


@pytest.mark.parametrize(
    ("every", "min_interval", "spacing"),
    [
        (None, None, "60 s"), ("5 min", None, "60 s"), ("30 s", None, "30 s"), ("30 s", "0 s", "0 s"),
        (None, "2 min", "2 min"),
    ],
)  # fmt: skip
def test_what_holds_where_no_interval_is_named(every, min_interval, spacing):
    given = {"every": every, "min_interval": min_interval}
    rule = ConfirmingRule(**{key: Duration(text) for key, text in given.items() if text is not None})
    assert rule.spacing_ns == Duration(spacing)


def test_pieces_and_timer_are_not_handed_in():
    with pytest.raises(AssertionError, match="follow from content"):
        decide(ConfirmingRule(), TriggerState(0), OpenContent(1), 0, [Trigger.TIMER])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"every_pieces": 0}, "every_pieces: found 0, allowed 1 and above"),
        (
            {"every": Duration("59 s"), "min_interval": Duration("1 min")},
            r"every: found 59 s, allowed more than 0 s and min_interval \(1 min\)",
        ),
        ({"every": Duration(0), "min_interval": Duration(0)}, "every: found 0 s, allowed more than 0 s"),
        ({"hold_back": Duration("25 h")}, "hold_back: found 25 h, allowed 0 s to 1 d"),
        ({"undo_window": Duration("6 min")}, "undo_window: found 6 min, allowed 0 s to 5 min"),
    ],
)
def test_a_rule_that_cannot_be(settings, text):
    with pytest.raises(ValueError, match=text):
        ConfirmingRule(**settings)


# --- milestones ------------------------------------------------------------------------------------------------------


def routing(*operations):
    """``"0010"`` or ``"0010!"`` for a milestone, ``"0010/1"`` for one of another sequence."""
    made = []
    for text in operations:
        number, _, sequence = text.rstrip("!").partition("/")
        control = Control(milestone=text.endswith("!"))
        made.append(ImageOperation(number, "WC-1", 1, sequence or "0", control=control))
    return OrderImage("erp", "A", 1, "CAP", "PC", 1, tuple(made))


@pytest.mark.parametrize(
    ("operations", "number", "expected"),
    [
        (("0010", "0020", "0030!"), "0010", "0030"),
        (("0010", "0020", "0030!"), "0020", "0030"),
        (("0010", "0020", "0030!"), "0030", None),
        (("0010", "0020!", "0030!"), "0010", "0020"),
        (("0010", "0020!", "0030!"), "0020", None),
        (("0010!", "0020"), "0020", None),
        (("0010", "0020"), "0010", None),
        (("0010", "0020/1!"), "0010", None),
    ],
)
def test_what_the_erp_confirms_itself(operations, number, expected):
    assert confirmed_by(routing(*operations), number) == expected


def test_an_operation_that_is_not_there():
    with pytest.raises(KeyError, match="0099"):
        confirmed_by(routing("0010"), "0099")
