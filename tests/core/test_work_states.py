"""Minutes in each machine state, told as differences that are never below zero and end exact."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import document, snapshot
from gateway.core.duration import Duration
from gateway.core.entries import SetupEntry
from gateway.core.model import Confirmation
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule
from gateway.core.rules_counting import PartResultRule, ResultRule
from gateway.core.state.interval import StateInterval
from gateway.core.work.state_minutes import told_states

S = 1_000_000_000
MIN = 60 * S


@pytest.mark.parametrize(
    ("told", "sums", "expected"),
    [
        ([], {"PRODUCING": MIN}, {"PRODUCING": 1000}),
        ([{"PRODUCING": MIN}], {"PRODUCING": MIN}, {}),
        ([{"PRODUCING": MIN}], {"PRODUCING": 3 * MIN, "STOPPED": MIN}, {"PRODUCING": 2000, "STOPPED": 1000}),
        # What was told as another state is held back, from the most that is due first.
        ([{"UNKNOWN": 2 * MIN}], {"PRODUCING": 3 * MIN, "STOPPED": MIN}, {"PRODUCING": 1000, "STOPPED": 1000}),
        ([{"UNKNOWN": 5 * MIN}], {"PRODUCING": 3 * MIN, "STOPPED": MIN}, {}),
        ([{"UNKNOWN": 5 * MIN}, {"STOPPED": MIN}], {"STOPPED": MIN, "UNKNOWN": 5 * MIN}, {"STOPPED": 1000}),
        # A half goes up, once for all.
        ([{"PRODUCING": 30_000_000}], {"PRODUCING": 60_000_000}, {}),
    ],
)
def test_the_table(told, sums, expected):
    carries = ()
    for before in told:
        carries, _ = told_states(carries, before.items())
    _, said = told_states(carries, sums.items())
    assert dict(said) == expected


@given(st.lists(st.dictionaries(st.sampled_from("ABC"), st.integers(0, 10 * MIN)), min_size=1, max_size=6))
def test_never_below_zero_and_never_more_than_there_is(histories):
    carries, told, most = (), {}, 0
    for sums in histories:
        carries, said = told_states(carries, sums.items())
        assert all(steps > 0 for _, steps in said)
        for name, steps in said:
            told[name] = told.get(name, 0) + steps
        most = max(most, sum(round(Fraction(one, MIN // 1000)) for one in sums.values()) + len("ABC"))
        assert sum(told.values()) <= most
    grown = dict.fromkeys("ABC", 10000 * MIN)  # what was told too much is settled by what comes of it
    carries, said = told_states(carries, grown.items())
    for name, steps in said:
        told[name] = told.get(name, 0) + steps
    assert told == dict.fromkeys("ABC", 10000 * 1000)


def minutes_told(floor):
    told = {}
    for one in floor.all(Confirmation):
        for state, text in document.fields(floor.unit.identity, one)["machine_states"].items():
            assert Decimal(text) > 0
            told[state] = told.get(state, 0) + Decimal(text)
    return told


def minutes_of(floor, order):
    sums = {}
    for one in floor.all(StateInterval):
        if one.order == order:
            sums[one.state.value] = sums.get(one.state.value, 0) + one.length_ns
    step_ns = MIN // 1000
    found = {state: Decimal((2 * ns + step_ns) // (2 * step_ns)).scaleb(-3) for state, ns in sums.items()}
    return {state: minutes for state, minutes in found.items() if minutes}


STEPS = st.lists(
    st.tuples(st.sampled_from(("make", "wait", "confirm", "setup", "restore")), st.integers(1, 900)),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
def test_at_the_end_each_state_adds_up_to_its_final_intervals(rig, job, steps):
    floor = rig(
        CounterRule(mode="counter", signal="plc.good"),
        orders=OrderRule(at_target="continue"),
        confirm=ConfirmRule(every_pieces=None, every=Duration("90 s")),
        ideal_cycle=Duration("10 s"),
    )
    floor.make(0)
    floor.receive(job("4711", 1_000_000))
    floor.make(1)
    for what, seconds in steps:
        floor.now_ns += seconds * S
        if what == "make":
            floor.make(1)
        elif what == "confirm":
            floor.make(1)
            floor.says("interrupt", "4711")
            floor.says("start", "4711")
        elif what == "setup":
            floor.put(SetupEntry(floor.now_ns, floor.state.track.setup.since_ns is None, "sam"))
        elif what == "restore":
            stored = json.loads(json.dumps(snapshot.encode(floor.unit, floor.state)))
            floor.state = snapshot.decode(floor.unit, stored)
        else:
            floor.wait()
    floor.now_ns += 5 * S
    floor.make(1)
    floor.now_ns += 600 * S
    if floor.state.track.setup.since_ns is not None:
        floor.put(SetupEntry(floor.now_ns, False, "sam"))
    floor.make(1)  # nothing before the last piece can change any more
    floor.says("finish", "4711")
    floor.now_ns += 3600 * S
    floor.wait()
    assert minutes_told(floor) == minutes_of(floor, "4711")


def test_a_stop_that_was_a_micro_stop_when_it_was_confirmed_is_told_once(rig, job):
    floor = rig(
        CounterRule(mode="counter", signal="plc.good"),
        orders=OrderRule(at_target="continue"),
        confirm=ConfirmRule(every_pieces=None, every=Duration("90 s")),
        ideal_cycle=Duration("10 s"),
    )
    floor.make(0)
    floor.receive(job("4711", 1_000_000))
    for _ in range(5):
        floor.now_ns += 10 * S
        floor.make(1)
    floor.now_ns += 41 * S
    floor.wait()
    assert len(floor.all(Confirmation)) == 1
    floor.now_ns += 1800 * S
    floor.make(1)
    floor.says("finish", "4711")
    floor.now_ns += 3600 * S
    floor.wait()
    told = minutes_told(floor)
    assert told == minutes_of(floor, "4711")
    assert "STOPPED" in told


def test_a_part_that_is_tested_keeps_its_order_on_the_machine_until_the_verdict(rig, job):
    floor = rig(
        PartResultRule(
            mode="part_result", signal="m.part", results=ResultRule(ok="m.ok", nok="m.nok", window=Duration("1 min"))
        ),
        ideal_cycle=Duration("20 s"),
    )
    for signal in ("m.part", "m.ok", "m.nok"):
        floor.value(signal, False)
    floor.receive(job("4711", 3))
    for _ in range(3):
        floor.now_ns += S
        floor.value("m.part", True)
        floor.now_ns += 19 * S
        floor.value("m.ok", True)
        floor.now_ns += S
        floor.value("m.ok", False)
        floor.value("m.part", False)
    floor.now_ns += 3600 * S
    floor.wait()
    (final,) = floor.all(Confirmation)
    assert final.last_event_ns < final.created_ns - 18 * S
    assert "TIMES_AFTER_FINAL" not in [code for code, _ in floor.notices]
    assert minutes_told(floor) == minutes_of(floor, "4711")
    assert sum(minutes_told(floor).values()) >= Decimal("1.0"), "the last part was tested for this order"


def test_what_was_held_back_is_told_when_an_interrupted_order_is_cancelled(rig, job):
    floor = rig(CounterRule(mode="counter", signal="plc.good"), ideal_cycle=Duration("10 s"))
    floor.make(0)
    floor.receive(job("4711", 100))
    floor.now_ns += 10 * S
    floor.make(1)
    floor.now_ns += 300 * S
    floor.wait()
    floor.says("interrupt", "4711")
    floor.now_ns += 3600 * S
    floor.wait()
    floor.receive(job("4711", 100, cancelled=True, revision=2))
    floor.wait()
    assert minutes_told(floor) == minutes_of(floor, "4711")
