"""Rules that change between two inputs: what goes on exactly as it was, and what begins anew."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.core import snapshot
from gateway.core.carry_over import carried_over
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import DataValue, MachineState, Role, Status
from gateway.core.rules import ConfirmRule, CounterRule, PulseRule, StateRule, WorkUnitRules
from gateway.core.state.cycle_limit import CycleLimit
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
    old, new = (
        unit_of(RULES),
        unit_of(dataclasses.replace(RULES, confirm=ConfirmRule(every_pieces=1000, min_interval=Duration("0 s")))),
    )
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


def stepped(rules, before):
    """``before`` under other rules, by a reload and by a restart: each the unit and the state."""
    old, state = before
    new = unit_of(rules)
    yield new, carried_over(old, state, new).state
    yield new, snapshot.load(new, snapshot.dump(old, state))


def going(rules):
    unit = unit_of(rules)
    state, _ = fed(unit, unit.initial(T0), values(10))
    return unit, state


def pieces(first_ns, number, cycle_ns, first=65540):
    """A counter that goes on, and the scrap bit beside it."""
    for at in range(number):
        yield DataValue("p.scrap", False, Status.GOOD, None, first_ns + at * cycle_ns)
        yield DataValue("p.good", first + at, Status.GOOD, None, first_ns + at * cycle_ns)


def test_a_machine_that_told_its_state_and_does_no_longer_is_judged_by_its_cycles():
    before = going(RULES)
    old, state = before
    state, _ = fed(old, state, [DataValue("p.state", 1, Status.GOOD, None, T0 + 20 * S)])
    assert state.track.state is MachineState.STOPPED
    rules = dataclasses.replace(RULES, state=StateRule(stop_detect=CycleLimit.parse("10 s")))
    for new, kept in stepped(rules, (old, state)):
        after, _ = fed(new, kept, pieces(T0 + 22 * S, 5, 2 * S))
        assert after.track.state is MachineState.PRODUCING


def test_a_mode_that_is_told_no_longer_holds_no_longer():
    explicit = StateRule(
        signal="p.state", mode_signal="p.mode", modes={"7": MachineState.MAINTENANCE}, map=RULES.state.map
    )
    old, state = going(dataclasses.replace(RULES, state=explicit))
    state, _ = fed(old, state, [DataValue("p.mode", 7, Status.GOOD, None, T0 + 20 * S)])
    assert state.track.state is MachineState.MAINTENANCE
    without = dataclasses.replace(explicit, mode_signal=None, modes={})
    nothing = dataclasses.replace(explicit, modes={"8": MachineState.CLEANING})
    for rules in (without, nothing):
        for new, kept in stepped(dataclasses.replace(RULES, state=rules), (old, state)):
            given = [
                DataValue("p.mode", 7, Status.GOOD, None, T0 + 21 * S),
                DataValue("p.state", 2, Status.GOOD, None, T0 + 21 * S),
            ]
            after, _ = fed(new, kept, given)
            assert after.track.state is MachineState.PRODUCING


def test_another_meaning_is_taken_by_a_restart_as_well():
    meaning = StateRule(signal="p.state", map={"1": MachineState.STOPPED, "2": MachineState.CLEANING})
    for new, kept in stepped(dataclasses.replace(RULES, state=meaning), going(RULES)):
        after, _ = fed(new, kept, [DataValue("p.state", 2, Status.GOOD, None, T0 + 21 * S)])
        assert after.track.state is MachineState.CLEANING


def test_another_ideal_cycle_holds_from_the_change_on():
    """Without an order, and with one that names no time of its own."""
    before = going(dataclasses.replace(RULES, state=StateRule()))
    for rules_state in (StateRule(), StateRule(stop_detect=CycleLimit.parse("1 min"))):
        rules = dataclasses.replace(RULES, ideal_cycle=Duration("5 s"), state=rules_state)
        for new, kept in stepped(rules, before):
            after, _ = fed(new, kept, pieces(T0 + 22 * S, 3, 2 * S))
            assert after.track.timeline.contexts[-1].ideal_ns == 5 * S
