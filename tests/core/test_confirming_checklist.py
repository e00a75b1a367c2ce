"""The final confirmation's checklist and the target: data/confirming_checklist.txt and confirming_over_delivery.txt."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.checklist import (
    Check,
    FinalFacts,
    UnknownTime,
    may_be_final,
    open_points,
    over_delivery,
    tolerated_part,
)
from gateway.core.duration import Duration
from gateway.core.rules_confirming import ChecklistRule, DeliveryRule

DATA = Path(__file__).parent / "data"
LINE = re.compile(r"(\w+) +((?:\w+=\S+ +)*)(?:\[(\w+)=(\S+)\] )?= (.*)")
WORST = FinalFacts(
    hold_pieces=1,
    review_pieces=2,
    unknown=(UnknownTime(0, Duration("1 h")),),
    lots_missing=("GRAN",),
    inspection_required=True,
    duration_ns=0,
    target=Decimal(100),
)

EXACT = DeliveryRule(under_tolerance="0")


def delivery_rule(at_target, **more):
    return DeliveryRule(
        at_target=at_target, stop_signal="plc.stop" if at_target == "request_plc_stop" else None, **more
    )


def length(text):
    return Duration(text)


def value_of(name, text):
    if name == "unknown":
        return tuple(UnknownTime(5, 5 + length(one.rstrip("!")), one.endswith("!")) for one in text.split("+"))
    if name in ("target", "under_tolerance"):
        return Decimal(text)
    default = FinalFacts._field_defaults[name]
    if isinstance(default, bool):
        return text == "yes"
    if isinstance(default, tuple):
        return tuple(text.split("+"))
    return int(text) if isinstance(default, int) else text


def cases():
    for line in (DATA / "confirming_checklist.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        point, facts, key, value, expected = match.groups()
        checks, delivery = ChecklistRule(), DeliveryRule()
        if key == "under_tolerance":
            delivery = replace(delivery, under_tolerance=value)
        elif key:
            checks = replace(checks, **{key: length(value) if key == "unknown_longer_than" else value})
        made = FinalFacts(
            **{name: value_of(name, text) for name, text in (pair.split("=", 1) for pair in facts.split())}
        )
        yield pytest.param(Check(point), made, checks, delivery, expected, id=line.split(" = ")[0])


@pytest.mark.parametrize(("check", "facts", "checks", "delivery", "expected"), list(cases()))
def test_a_point(check, facts, checks, delivery, expected):
    points = open_points(facts, checks, delivery)
    if expected == "passes":
        assert points == ()
        assert may_be_final(points)
        return
    (point,) = points
    assert point.check is check
    assert point.blocks != expected.startswith("warns ")
    assert may_be_final(points) != point.blocks
    assert " | ".join(point[2:]) == expected.removeprefix("warns ")
    assert str(point).startswith(f"{check}: found ")


def test_all_points_in_their_order():
    points = open_points(WORST, ChecklistRule(), EXACT)
    assert [point.check for point in points] == list(Check)
    assert not may_be_final(points)


@pytest.mark.parametrize("check", Check)
def test_each_setting_is_of_one_point(check):
    points = open_points(WORST, replace(ChecklistRule(), **{check.value: "off"}), EXACT)
    assert [point.check for point in points] == [one for one in Check if one is not check]
    warned = open_points(WORST, replace(ChecklistRule(), **{check.value: "warn"}), EXACT)
    assert {point.check: point.blocks for point in warned}[check] is False


def test_every_point_has_a_setting():
    settings = {field.name for field in fields(ChecklistRule)} - {"unknown_longer_than"}
    assert settings == {check.value for check in Check}


def test_facts_survive_json():
    plain = WORST._replace(target=None)
    stored = json.loads(json.dumps(plain._asdict()))
    stored["unknown"] = tuple(UnknownTime(*one) for one in stored["unknown"])
    back = FinalFacts(**{name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()})
    assert back == plain


def over_cases():
    for line in (DATA / "confirming_over_delivery.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            rule, facts, expected = (part.split() for part in line.split("|"))
            yield pytest.param(rule, facts, expected, id=" ".join([*rule, *facts]))


@pytest.mark.parametrize(("rule", "facts", "expected"), list(over_cases()))
def test_at_and_beyond_the_target(rule, facts, expected):
    made_rule = delivery_rule(rule[0], over_tolerance=rule[1] if rule[1:] else None)
    target, tolerance, made, pieces = facts
    given_tolerance = None if tolerance == "-" else Decimal(tolerance)
    found = over_delivery(made_rule, Decimal(target), given_tolerance, int(made), int(pieces))
    flags = [name for name in ("ask_stop", "over_target", "needs_approval") if getattr(found, name)]
    assert [str(found.to_order), str(found.to_unallocated), *flags] == expected


@given(
    st.sampled_from(["continue", "stop_booking", "request_plc_stop"]),
    st.none() | st.integers(0, 30).map(Decimal),
    st.decimals(1, 60, places=1),
    st.lists(st.integers(0, 30), max_size=12),
)
def test_no_piece_is_lost_at_the_target(at_target, tolerance, target, steps):
    rule = delivery_rule(at_target)
    made = unallocated = stops = 0
    for pieces in steps:
        found = over_delivery(rule, target, tolerance, made, pieces)
        assert found.to_order + found.to_unallocated == pieces
        made, unallocated, stops = made + found.to_order, unallocated + found.to_unallocated, stops + found.ask_stop
        assert found.over_target == (made > target)
        assert not found.needs_approval or found.over_target
    assert made + unallocated == sum(steps)
    if at_target == "stop_booking":
        assert made < target + 1
    else:
        assert unallocated == 0
    assert stops == (at_target == "request_plc_stop" and made >= target)


@pytest.mark.parametrize(
    ("tolerance", "confirmed", "pieces", "expected"),
    [("5", 100, 8, (5, 3)), ("5", 106, 8, (0, 8)), ("5", 60, 8, (8, 0)), (None, 98, 8, (2, 6)), ("0", 98, 8, (2, 6))],
)
def test_what_the_erp_refused_as_too_much(tolerance, confirmed, pieces, expected):
    percent = None if tolerance is None else Decimal(tolerance)
    assert tolerated_part(DeliveryRule(), Decimal(100), percent, confirmed, pieces) == expected


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"over_tolerance": "-1"}, 'over_tolerance: found "-1", allowed "0" and above'),
        ({"over_tolerance": "five"}, "over_tolerance: found 'five', allowed a decimal number"),
        ({"stop_signal": "plc.stop"}, "stop_signal is needed with at_target: request_plc_stop, and only then"),
        ({"at_target": "request_plc_stop"}, "stop_signal is needed with at_target: request_plc_stop, and only then"),
        ({"under_tolerance": "101"}, 'under_tolerance: found "101", allowed "0" to "100"'),
    ],
)
def test_a_rule_that_cannot_be(settings, text):
    with pytest.raises(ValueError, match=text):
        DeliveryRule(**settings)


def test_in_a_regulated_plant_nothing_unknown_goes_out_with_a_flag_only():
    rule = ChecklistRule(duration="warn", lots="off").regulated()
    assert (rule.counters, rule.unknown, rule.lots, rule.duration) == ("block", "block", "off", "warn")
    assert ChecklistRule().lots == "warn"
    assert ChecklistRule().regulated().lots == "block"
