"""Rules that change between two inputs: what goes on exactly as it was, and what begins anew."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.core.carry_over import carried_over
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import DataValue, MachineState, Role, Status
from gateway.core.rules import ConfirmRule, CounterRule, PulseRule, StateRule, WorkUnitRules
from gateway.core.work_unit import WorkUnit

S = 1_000_000_000
T0 = 1_767_592_800 * S
IDENTITY = Identity(plant="P", epoch="e", gateway_id="g", line="", machine="M", work_center="W")

RULES = WorkUnitRules(
    work_center="W",
    ideal_cycle=Duration("2 s"),
    counters=(
        CounterRule(mode="counter", signal="p.good", role=Role.GOOD),
        PulseRule(mode="pulse", signal="p.scrap", role=Role.SCRAP, debounce=Duration("10 ms")),
    ),
    state=StateRule(signal="p.state", map={"1": MachineState.STOPPED, "2": MachineState.PRODUCING}),
)


def values(number):
    for at in range(number):
        yield DataValue("p.state", 2 if at % 7 else 1, Status.GOOD, None, T0 + at * 2 * S)
        yield DataValue("p.good", 65530 + at, Status.GOOD, None, T0 + at * 2 * S)
        yield DataValue("p.scrap", at % 3 == 0, Status.GOOD, None, T0 + at * 2 * S + S)


def unit_of(rules):
    return WorkUnit(rules, IDENTITY)


def fed(unit, state, given):
    outputs = []
    for one in given:
        state, made = unit.handle(state, one)
        outputs += made
    return state, outputs


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 29, 30, 31, 59])
def test_what_does_not_concern_the_counting_changes_nothing_of_it(cut):
    given = list(values(30))
    old, new = unit_of(RULES), unit_of(dataclasses.replace(RULES, confirm=ConfirmRule(every_pieces=1000)))
    straight, outputs = fed(old, old.initial(T0), given)
    state, first = fed(old, old.initial(T0), given[:cut])
    carried = carried_over(old, state, new)
    assert carried.state == state
    assert not carried.anew
    after, second = fed(new, carried.state, given[cut:])
    assert first + second == outputs
    assert after == straight


def test_a_counter_and_a_pulse_go_on_under_other_limits():
    old = unit_of(RULES)
    state, _ = fed(old, old.initial(T0), values(10))
    counter, pulse = RULES.counters
    others = (dataclasses.replace(pulse, debounce=Duration("20 ms")), dataclasses.replace(counter, pieces=2))
    new = unit_of(dataclasses.replace(RULES, counters=others))
    carried = carried_over(old, state, new)
    assert carried.state.detectors == (state.detectors[1], state.detectors[0])
    assert carried.state.counted == state.counted
    after, _ = fed(new, carried.state, [DataValue("p.good", 65540, Status.GOOD, None, T0 + 20 * S)])
    assert after.counted.good - state.counted.good == 2


def test_what_is_new_begins_anew_and_a_removed_counter_leaves_its_pieces():
    old = unit_of(RULES)
    state, _ = fed(old, old.initial(T0), values(10))
    rule = CounterRule(mode="counter", signal="p.other", role=Role.GOOD)
    new = unit_of(dataclasses.replace(RULES, counters=(rule,)))
    carried = carried_over(old, state, new)
    assert carried.anew
    assert carried.state.detectors == new.initial(T0).detectors
    assert carried.state.counted == state.counted


def test_another_meaning_of_the_same_value_is_taken():
    old = unit_of(RULES)
    state, _ = fed(old, old.initial(T0), values(10))
    assert state.track.state is MachineState.PRODUCING
    meaning = StateRule(signal="p.state", map={"1": MachineState.STOPPED, "2": MachineState.CLEANING})
    new = unit_of(dataclasses.replace(RULES, state=meaning))
    carried = carried_over(old, state, new)
    assert carried.anew
    again = [
        DataValue("p.state", 2, Status.GOOD, None, state.at_ns + 1),
        DataValue("p.good", 65539, Status.GOOD, None, state.at_ns + 1),
    ]
    after, _ = fed(new, carried.state, [*again, DataValue("p.scrap", True, Status.GOOD, None, state.at_ns + 1)])
    assert after.track.state is MachineState.CLEANING
    assert after.counted == state.counted
