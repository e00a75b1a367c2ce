"""Guards: data/order_guards.txt line by line; each alone, off, as a warning and as a block."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import JobOrderState
from gateway.core.orders.guards import ASKED_ELSEWHERE, START_GUARDS, Guard, GuardFacts, blocked, check, mode_of
from gateway.core.rules_orders import GuardRule, OrderBookRule

TABLE = Path(__file__).parent / "data" / "order_guards.txt"
LINE = re.compile(r"(\w+) +((?:\w+=\S+ +)*)(?:\[(\S+)=(\S+)\] )?= (.*)")
#: Facts to which every guard of a start objects.
WORST = GuardFacts(
    holds=("Q-7",),
    predecessor="0010",
    predecessor_state=JobOrderState.RELEASED,
    lots_required=("ORING",),
    tool_wanted="T-38",
    tool_found="T-12",
    skill_required="WELD",
    running=("4711",),
    documents_required=("W-1",),
    ahead=("4710",),
)
REFUSE = OrderBookRule(when_running="refuse", guards=GuardRule(sequence="block"))


def value_of(name, text):
    default = GuardFacts._field_defaults[name]
    if text in ("yes", "no"):
        return text == "yes"
    if isinstance(default, tuple):
        return tuple(text.split("+"))
    if isinstance(default, int):
        return int(text)
    return JobOrderState(text) if name == "predecessor_state" else text.replace("-", "", 1) if text == "-" else text


def cases():
    for line in TABLE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        guard, facts, key, value, expected = match.groups()
        pairs = dict(pair.split("=", 1) for pair in facts.split())
        rule = OrderBookRule(guards=GuardRule(signature="block"))
        if key and key.startswith("guards."):
            rule = replace(rule, guards=replace(rule.guards, **{key.removeprefix("guards."): value}))
        elif key:
            rule = replace(rule, **{key: int(value) if value.isdecimal() else value})
        made = GuardFacts(**{name: value_of(name, text) for name, text in pairs.items()})
        yield pytest.param(Guard[guard], made, rule, expected, id=line.split(" = ")[0])


@pytest.mark.parametrize(("guard", "facts", "rule", "expected"), list(cases()))
def test_a_guard(guard, facts, rule, expected):
    refusals = check([guard], facts, rule)
    if expected == "passes":
        assert refusals == ()
        return
    (refusal,) = refusals
    assert refusal.guard is guard
    assert refusal.blocks != expected.startswith("warns ")
    assert blocked(refusals) == refusal.blocks
    assert " | ".join(refusal[2:]) == expected.removeprefix("warns ")
    assert refusal.what_to_do in str(refusal)


def test_every_guard_that_is_asked_here_has_a_case():
    told = {case.values[0] for case in cases() if case.values[3] != "passes"}
    assert told == set(Guard) - set(ASKED_ELSEWHERE)


def test_all_of_them_speak_in_their_order():
    refusals = check(START_GUARDS, WORST, REFUSE)
    assert tuple(refusal.guard for refusal in refusals) == START_GUARDS
    assert blocked(refusals)


@pytest.mark.parametrize("setting", [field.name for field in fields(GuardRule)])
def test_each_setting_is_of_one_guard(setting):
    facts = WORST._replace(first_article_required=True, signature_required=True)
    every = [guard for guard in Guard if guard not in ASKED_ELSEWHERE]
    modes = {}
    for mode in ("off", "warn", "block"):
        rule = replace(REFUSE, guards=replace(REFUSE.guards, **{setting: mode}))
        modes[mode] = {refusal.guard: refusal.blocks for refusal in check(every, facts, rule)}
    (guard,) = set(modes["block"]) - set(modes["off"])
    assert modes["block"] == modes["off"] | {guard: True}
    assert modes["warn"] == modes["off"] | {guard: False}


def test_what_has_no_setting_blocks():
    free = OrderBookRule(guards=GuardRule(**{field.name: "off" for field in fields(GuardRule)}))
    kept = {guard for guard in Guard if mode_of(guard, free) == "block"}
    assert kept & set(START_GUARDS) == set()
    assert {Guard.NOT_CLOSED, Guard.DISPOSITIONS, Guard.ALL_BOOKED} <= kept


def test_nothing_known_is_nothing_against_it():
    assert check(Guard, GuardFacts(), REFUSE) == ()


@given(st.sets(st.sampled_from(GuardFacts._fields[:19])))
def test_guards_do_not_depend_on_each_other(dropped):
    """What one guard says is the same, whatever the others are told."""
    eased = WORST._replace(**{name: GuardFacts._field_defaults[name] for name in dropped})
    alone = tuple(refusal for guard in START_GUARDS for refusal in check([guard], eased, REFUSE))
    assert check(START_GUARDS, eased, REFUSE) == alone


def test_facts_survive_json():
    stored = json.loads(json.dumps(WORST._asdict()))
    back = GuardFacts(**{name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()})
    assert back == WORST


@pytest.mark.parametrize("number", [0, 17])
def test_so_many_orders_run_at_once(number):
    with pytest.raises(ValueError, match=f"max_parallel_orders: found {number}, allowed 1 to 16"):
        OrderBookRule(max_parallel_orders=number)
