"""A number that says whether the machine works: what it decides, and what it leaves to the pieces."""

from __future__ import annotations

import pytest

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import MachineState, Status
from gateway.core.rules import CounterRule, StateRule
from gateway.core.rules_counting import AnalogRule
from gateway.core.rules_running import RunningRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.interval import StateInterval

S = 1_000_000_000
M = MachineState
GOOD = CounterRule(mode="counter", signal="plc.good")


def states(running=None, **more):
    return StateRule(
        stop_detect=CycleLimit.parse("4 min"), micro_stop_max=CycleLimit.parse("1 min"), running=running, **more
    )


MOTOR = RunningRule(signal="plc.amps", hi="8", lo="5")


def machine(rig, **over):
    """A slow machine: its ideal cycle is two minutes, so its motor decides."""
    made = rig(GOOD, **{"ideal_cycle": Duration("2 min"), "state": states(MOTOR), **over})
    made.order()
    made.make(0)
    made.value("plc.amps", 1)
    return made


def test_the_motor_of_a_slow_machine_says_what_it_does(rig):
    made = machine(rig)
    assert made.state.track.state is M.STOPPED
    made.at("10 s").value("plc.amps", 9.5)
    assert made.state.track.state is M.STOPPED, "the threshold has to hold"
    made.at("11 s").wait()
    assert made.state.track.state is M.PRODUCING
    made.at("100 s").value("plc.amps", 6)
    assert made.state.track.state is M.PRODUCING, "between the thresholds nothing changes"
    made.at("200 s").value("plc.amps", 2)
    made.at("300 s").wait()
    assert made.state.track.state is M.STOPPED
    made.at("600 s").value("plc.amps", 9)
    made.at("800 s").value("plc.amps", 2)
    made.at("30 min").wait()
    found = [(one.state, one.length_ns) for one in made.all(StateInterval)]
    assert (M.PRODUCING, 190 * S) in found, "from and to where the thresholds were first reached"
    assert (M.STOPPED, 400 * S) in found


def test_without_the_signal_the_pieces_decide(rig):
    made = machine(rig)
    made.at("10 s").value("plc.amps", 9)
    made.at("20 s").value("plc.amps", None, Status.BAD)
    assert made.state.track.timeline.contexts[-1].running is None
    made.at("30 s").value("plc.amps", 9)
    assert made.state.track.timeline.contexts[-1].running is True


def test_the_pieces_of_a_fast_machine_go_before_its_motor(rig):
    made = machine(rig, ideal_cycle=Duration("10 s"), state=StateRule(running=MOTOR))
    made.at("5 s").value("plc.amps", 9)
    made.at("6 s").wait()
    assert made.state.track.state is M.PRODUCING, "until the first piece the motor decides"
    made.at("15 s").make(1)
    made.at("16 s").value("plc.amps", 1)
    made.at("20 s").wait()
    assert made.state.track.state is M.PRODUCING, "the next piece may still come in time"
    made.at("50 s").wait()
    assert made.state.track.state is M.MICRO_STOP


def test_a_machine_that_is_counted_by_its_motor_works_while_it_is_on(rig):
    """Off between two cycles is no stop: there the cycles decide."""
    rule = AnalogRule(mode="analog", signal="plc.amps", hi="8", lo="5")
    made = rig(rule, ideal_cycle=Duration("2 min"), state=states())
    made.order()
    made.value("plc.amps", 1)
    for cycle in range(3):
        made.at(f"{10 + 120 * cycle} s").value("plc.amps", 9)
        made.at(f"{11 + 120 * cycle} s").wait()
        assert made.state.track.state is M.PRODUCING
        made.at(f"{110 + 120 * cycle} s").value("plc.amps", 1)
        made.at(f"{111 + 120 * cycle} s").wait()
        assert made.state.track.state is M.PRODUCING, "it may be right before the next one"
    made.at("40 min").wait()
    assert made.state.counted.good == 3
    later = [one for one in made.all(StateInterval) if one.order == "4711"]
    assert [one.state for one in later if one.state is not M.PRODUCING][-1:] in ([], [M.STOPPED])
    assert made.state.track.state is M.STOPPED


def test_a_restart_in_between_changes_nothing_that_was_seen(rig):
    plain, restarted = machine(rig), machine(rig)
    for made in (plain, restarted):
        made.at("10 s").value("plc.amps", 9)
    restarted.state = snapshot.load(restarted.unit, snapshot.dump(restarted.unit, restarted.state))
    assert restarted.state.track.running.dark_ns == restarted.state.track.running.seen_ns
    restarted.at("12 s").value("plc.good", 1000)
    restarted.value("plc.amps", 9)
    restarted.at("15 s").wait()
    plain.at("15 s").wait()
    assert restarted.state.track.state is plain.state.track.state is M.PRODUCING


def test_a_rule_that_lost_its_signal_hears_it_no_longer(rig):
    made = machine(rig)
    made.at("10 s").value("plc.amps", 9)
    made.at("20 s").wait()
    other = rig(GOOD, ideal_cycle=Duration("2 min"), state=states())
    state = snapshot.load(other.unit, snapshot.dump(made.unit, made.state))
    other.state, other.now_ns = state, made.now_ns
    other.at("30 s").wait()
    assert other.state.track.timeline.contexts[-1].running is None


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match=r"hi \(5\) must be above lo \(8\)"):
        RunningRule(signal="plc.amps", hi="5", lo="8")
    assert (("running", "signal"), "plc.amps") in states(MOTOR).signals
