"""A counting signal that never changes: told while the machine is reported as running, and not while it stands."""

from __future__ import annotations

import json

import pytest

from gateway.core import snapshot
from gateway.core.counting.pulse import STUCK_WAITS, PulseDetector, PulseState
from gateway.core.duration import Duration
from gateway.core.model import CountEvent, MachineState, Status
from gateway.core.rules import CounterRule, PulseRule, StateRule
from gateway.core.rules_counting import RolesRule
from gateway.core.rules_pieces import CavityRule
from gateway.core.rules_running import RunningRule

MAP = {"0": MachineState.STOPPED, "1": MachineState.PRODUCING}
EXPLICIT = StateRule(signal="m.state", map=MAP)
PULSE = PulseRule(mode="pulse", signal="m.n", stuck_after=Duration("10 s"))
RULES = {
    "pulse": PULSE,
    "cavity": CavityRule(mode="cavity", cycle=PULSE, cavities=2),
    "roles": RolesRule(mode="roles", total=PULSE, scrap=PulseRule(mode="pulse", signal="m.scrap")),
}


def running(**over):
    return StateRule(running=RunningRule(signal="m.amps", hi="5", lo="2", max_gap=Duration("1 h"), **over))


def told(floor):
    """When it was told to be stuck, in seconds, and since when it did not change."""
    start_ns = floor.all(CountEvent)[0].t_from_ns
    found = [event for event in floor.all(CountEvent) if event.flag == "STUCK_SIGNAL"]
    return [((event.t_from_ns - start_ns) / 1e9, (event.t_to_ns - start_ns) / 1e9) for event in found]


@pytest.mark.parametrize("mode", RULES)
@pytest.mark.parametrize("looks", [(), (15, 30, 55, 61, 69)])
def test_what_does_not_change_while_the_machine_stands_is_not_stuck(rig, mode, looks):
    floor = rig(RULES[mode], state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.scrap", False)
    floor.value("m.state", 0)
    for second in looks:
        if second < 60:
            floor.at(f"{second} s").wait()
    floor.at("60 s").value("m.state", 1)
    for second in looks:
        if second > 60:
            floor.at(f"{second} s").wait()
    assert told(floor) == []
    floor.at("5 min").wait()
    assert told(floor) == [(0, 70)], "stuck since it stood, known once the machine has run for as long"
    floor.at("10 min").value("m.state", 0)
    floor.at("11 min").value("m.state", 1)
    floor.at("20 min").wait()
    assert told(floor) == [(0, 70)], "told once"


def test_a_machine_that_ran_for_a_moment_has_no_stuck_signal(rig):
    floor = rig(PULSE, state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 0)
    for minute in range(1, 5):
        floor.at(f"{minute} min").value("m.state", 1)
        floor.at(f"{minute * 60 + 9} s").value("m.state", 0)
    floor.at("1 h").wait()
    assert told(floor) == []


def test_a_level_that_changes_begins_anew(rig):
    floor = rig(PULSE, state=EXPLICIT)
    floor.value("m.state", 1)
    floor.value("m.n", False)
    floor.at("9 s").value("m.n", True)
    floor.at("18 s").wait()
    assert told(floor) == []
    floor.at("20 s").wait()
    assert told(floor) == [(9, 19)]
    floor.at("30 s").value("m.n", False)
    floor.at("45 s").wait()
    assert told(floor) == [(9, 19), (30, 40)]


@pytest.mark.parametrize("lost", [False, True])
def test_a_state_that_is_not_heard_reports_nothing(rig, lost):
    floor = rig(PULSE, state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 1)
    floor.at("5 s")
    if lost:
        floor.value("m.state", None, Status.BAD)
    floor.at("1 min").wait()
    assert told(floor) == ([] if lost else [(0, 10)])


def test_a_running_signal_says_so_too(rig):
    """Here the time between pieces would say that the machine stands: nothing is counted."""
    floor = rig(PULSE, state=running(), ideal_cycle=Duration("1 s"))
    floor.order("A")
    floor.value("m.n", False)
    floor.value("m.amps", 1.0)
    floor.at("1 min").value("m.amps", 9.0)
    assert told(floor) == []
    floor.at("3 min").wait()
    assert told(floor) == [(0, 70)]


@pytest.mark.parametrize(("rule", "state"), [(PULSE, StateRule()), (PULSE, running(off="nothing"))])
def test_where_nothing_says_that_the_machine_stands_it_is_as_if_it_ran(rig, rule, state):
    floor = rig(rule, state=state)
    floor.value("m.n", False)
    floor.value("m.amps", 1.0)
    floor.at("1 min").wait()
    assert told(floor) == [(0, 10)]


def test_what_was_set_aside_is_set_aside_after_a_restart(rig):
    floor = rig(PULSE, CounterRule(mode="counter", signal="m.c"), state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 0)
    floor.at("1 min").wait()
    stored = json.loads(snapshot.dump(floor.unit, floor.state))
    loaded = snapshot.load(floor.unit, json.dumps(stored).encode())
    assert loaded.detectors[0].stuck_from_ns == STUCK_WAITS
    floor.state = loaded
    floor.value("m.n", False)
    floor.value("m.state", 1)
    floor.at("69 s").wait()
    assert told(floor) == []
    floor.at("71 s").wait()
    assert told(floor) == [(60, 70)], "after a restart the level is known since it was read again"


def test_a_long_jump_of_time_while_the_machine_stands_fires_no_timers(rig):
    floor = rig(PulseRule(mode="pulse", signal="m.n", stuck_after=Duration("1 ms")), state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 0)
    floor.at("365 d").wait()
    assert told(floor) == []


def test_a_level_of_no_time_at_all_comes_to_rest(rig):
    floor = rig(PulseRule(mode="pulse", signal="m.n", stuck_after=Duration(0)), state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 0)
    floor.at("1 s").value("m.state", 1)
    floor.at("2 s").wait()
    assert told(floor) == [(0, 1)]


def test_it_must_have_run_all_the_time(rig):
    floor = rig(PULSE, state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 1)
    floor.at("5 s").value("m.state", 0)
    floor.at("7 s").value("m.state", 1)
    floor.at("16 s").wait()
    assert told(floor) == []
    floor.at("1 min").wait()
    assert told(floor) == [(0, 17)]


def test_a_change_of_orders_does_not_interrupt_that_it_runs(rig):
    floor = rig(PULSE, state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 1)
    floor.at("6 s").order("A")
    floor.at("1 min").wait()
    assert told(floor) == [(0, 10)]


def test_a_level_that_changed_while_the_machine_stood_is_told_once(rig):
    floor = rig(PULSE, state=EXPLICIT)
    floor.value("m.n", False)
    floor.value("m.state", 0)
    floor.at("1 min").value("m.n", True)
    floor.at("62 s").value("m.state", 1)
    floor.at("2 min").value("m.state", 0)
    floor.at("3 min").value("m.state", 1)
    floor.at("1 h").wait()
    assert told(floor) == [(60, 72)]


def test_another_timer_does_not_tell_it_early():
    detector = PulseDetector(PULSE, None)
    state = PulseState(level=False, level_since_ns=1, seen_ns=1, stuck_from_ns=60_000_000_000)
    assert detector.on_time(state, 69_000_000_000) == (state, ())
    assert detector.deadline(state) == 70_000_000_000


def test_what_is_told_waits_for_nothing():
    detector = PulseDetector(PULSE, None)
    after, (event,) = detector.on_time(PulseState(level=False, stuck_from_ns=STUCK_WAITS), 10_000_000_000)
    assert event.flag == "STUCK_SIGNAL"
    assert (after.stuck_told, after.stuck_from_ns) == (True, 0)
