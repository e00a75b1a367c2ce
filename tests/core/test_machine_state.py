"""The machine's state from the time since the last cycle, or from its own signal."""

from __future__ import annotations

import pytest

from gateway.core.duration import Duration
from gateway.core.model import CalendarPlan, MachineState, PlannedTime, StateChanged, Status
from gateway.core.rules import CounterRule, OrderRule, StateRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.interval import StateInterval
from gateway.core.work_unit import WorkUnit

TEN = {"ideal_cycle": Duration("10 s"), "orders": OrderRule(at_target="continue")}  # stop_detect 20 s, micro stop 310 s
GOOD = CounterRule(mode="counter", signal="plc.good")
SCRAP = CounterRule(mode="counter", signal="plc.scrap")
S = 1_000_000_000
START_NS = 1_780_000_000 * S


def history(floor):
    """State and the moment it began, in seconds after the start."""
    return [(change.state.value, (change.at_ns - START_NS) / 1e9) for change in floor.all(StateChanged)]


def cycles(floor, *ends_s):
    for end in ends_s:
        floor.at(f"{end} s").make(1)


def test_gaps_up_to_stop_detect_are_producing(rig):
    """A gap of exactly 20 s is still producing (domain, golden S3)."""
    floor = rig(**TEN)
    floor.order("A", 1000)
    cycles(floor, 1, 11, 31, 51)
    assert history(floor) == [("STOPPED", 1), ("PRODUCING", 1)]
    assert floor.unit.next_deadline(floor.state) == START_NS + Duration("71 s") + 1


def test_a_longer_gap_is_a_micro_stop_and_then_a_stop(rig):
    """The limit of the micro stop includes itself (domain, golden S4): ideal cycle and 300 s."""
    floor = rig(**TEN)
    floor.order("A", 1000)
    cycles(floor, 10)
    floor.at("320 s").wait()
    assert history(floor)[1:] == [("PRODUCING", 10), ("MICRO_STOP", 30.000000001)]
    floor.at("321 s").wait()
    assert history(floor)[-1] == ("STOPPED", 320.000000001)
    cycles(floor, 400)
    assert history(floor)[-1] == ("PRODUCING", 400)


def test_without_an_order_it_stands_idle_at_once(rig):
    floor = rig(**TEN)
    cycles(floor, 10)
    floor.at("1 h").wait()
    assert history(floor) == [("IDLE_NO_ORDER", 10), ("PRODUCING", 10), ("IDLE_NO_ORDER", 30.000000001)]
    floor.order("A", 1000)
    assert history(floor)[-1] == ("STOPPED", 3600)
    floor.order("A", 1000, cancelled=True)
    assert history(floor)[-1] == ("IDLE_NO_ORDER", 3600)


def test_an_order_that_comes_later_finds_the_machine_standing(rig):
    floor = rig(**TEN)
    cycles(floor, 10)
    floor.at("60 s").order("A", 1000)
    floor.at("1 h").wait()
    assert history(floor)[-2:] == [("IDLE_NO_ORDER", 30.000000001), ("STOPPED", 60)]


@pytest.mark.parametrize(
    ("settings", "stop_s"),
    [
        ({"ideal_cycle": Duration("1 s")}, 5),
        ({"ideal_cycle": Duration("30 s")}, 60),
        ({}, 60),
        ({"ideal_cycle": Duration("30 s"), "state": StateRule(stop_detect=CycleLimit.parse("90 s"))}, 90),
    ],
)
def test_when_a_stop_is_detected(rig, settings, stop_s):
    floor = rig(**settings)
    floor.order("A", 1000)
    cycles(floor, 10)
    assert floor.unit.next_deadline(floor.state) == START_NS + Duration(f"{10 + stop_s} s") + 1


def test_lost_data_is_unknown_and_never_stopped(rig):
    floor = rig(GOOD, SCRAP, **TEN)
    floor.order("A", 1000)
    floor.value("plc.scrap", 0)
    cycles(floor, 10)
    floor.at("12 s").value("plc.scrap", None, Status.BAD)
    assert floor.state.track.reason == "no valid value of plc.scrap"
    floor.at("13 s").value("plc.good", None, Status.UNCERTAIN)
    assert floor.state.track.reason == "no valid value of plc.good, plc.scrap"
    floor.at("1 h").wait()
    assert history(floor)[-1] == ("UNKNOWN", 12)
    floor.value("plc.scrap", 0)
    assert history(floor)[-1] == ("UNKNOWN", 12)
    floor.value("plc.good", 1001)
    assert history(floor)[-1] == ("STOPPED", 3600)
    assert {state for state, _ in history(floor)[:-1]} == {"STOPPED", "PRODUCING", "UNKNOWN"}


def test_unknown_until_every_counter_was_seen(rig):
    floor = rig(GOOD, SCRAP)
    floor.make(0)
    assert history(floor) == []
    assert floor.state.track.state is MachineState.UNKNOWN
    assert floor.state.track.reason == "no valid value of plc.scrap"


EXPLICIT = {
    "state": StateRule(
        signal="plc.state", map={"1": MachineState.STOPPED, "2": MachineState.PRODUCING, "3": MachineState.STOPPED}
    )
}


@pytest.mark.parametrize("value", [2, 2.0, "2"])
def test_the_machines_own_word_decides(rig, value):
    floor = rig(**EXPLICIT)
    floor.value("plc.state", value)
    assert history(floor) == [("PRODUCING", 0)]
    floor.at("8 h").wait()
    assert len(history(floor)) == 1, "no cycle is needed"
    assert floor.unit.next_deadline(floor.state) is None


def test_booleans_are_one_and_zero(rig):
    floor = rig(state=StateRule(signal="plc.run", map={"1": MachineState.PRODUCING, "0": MachineState.STOPPED}))
    for value in (True, False):
        floor.value("plc.run", value)
    assert [state for state, _ in history(floor)] == ["PRODUCING", "STOPPED"]


def test_two_values_may_mean_one_state(rig):
    floor = rig(**EXPLICIT)
    floor.value("plc.state", 1)
    assert floor.state.track.reason == "plc.state is 1"
    floor.at("5 s").value("plc.state", 3)
    assert history(floor) == [("STOPPED", 0)]
    assert (floor.state.track.reason, floor.state.track.since_ns) == ("plc.state is 3", START_NS)


def test_a_value_nobody_mapped_is_unknown_and_told(rig):
    floor = rig(**EXPLICIT)
    floor.value("plc.state", 2)
    floor.value("plc.state", 99)
    assert history(floor)[-1][0] == "UNKNOWN"
    assert floor.notices == [("STATE_UNMAPPED", {"signal": "plc.state", "value": "99"})]
    floor.value("plc.state", 99)
    assert len(floor.notices) == 1
    floor.value("plc.state", 98)
    assert len(floor.notices) == 2, "another value, another gap in the map"


def test_a_first_value_nobody_mapped_is_told_too(rig):
    floor = rig(**EXPLICIT)
    floor.value("plc.state", 7)
    assert floor.notices == [("STATE_UNMAPPED", {"signal": "plc.state", "value": "7"})]


def test_a_lost_state_signal_is_unknown_whatever_the_counters_say(rig):
    floor = rig(**EXPLICIT)
    floor.value("plc.state", 1)
    floor.value("plc.state", None, Status.BAD)
    floor.make(5)
    assert history(floor)[-1][0] == "UNKNOWN"
    assert floor.state.track.reason == "no valid value of plc.state"


@pytest.mark.parametrize("rule", [{"signal": "plc.state"}, {"map": {"1": MachineState.OFF}}])
def test_signal_and_map_belong_together(rule):
    with pytest.raises(ValueError, match="belong together"):
        StateRule(**rule)


def test_a_silence_over_the_end_of_a_shift_is_unknown_on_both_sides(rig):
    """However slow the source: what may turn out to be unheard is not final before that is known."""
    floor = rig(ideal_cycle=Duration("10 s"), calendar="two shifts")
    rules, identity = floor.unit.rules, floor.unit.identity
    floor.unit = WorkUnit(rules, identity, loss_found_within=Duration("90 s"))
    floor.state = floor.unit.initial(floor.now_ns)
    floor.put(
        CalendarPlan(
            floor.now_ns, (PlannedTime(floor.now_ns, None, "d/F"), PlannedTime(floor.now_ns + 60 * S, None, "d/S"))
        )
    )
    floor.order()
    floor.make(0)
    for second in (10, 20):
        floor.at(f"{second} s").make(1)
    last_ns = floor.now_ns
    for second in range(30, 110, 10):
        floor.at(f"{second} s").wait()
    floor.at("110 s").value("plc.good", None, Status.BAD)
    floor.at("300 s").wait()
    row = [*floor.all(StateInterval), *floor.state.track.timeline.row]
    assert [one.state for one in row if one.to_ns > last_ns] == []
    assert floor.state.track.timeline.pending_ns == last_ns, "nothing is said of the time since then"
