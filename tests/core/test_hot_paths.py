"""The hot paths name every field in its place; here they are held against ``_replace``, which names them by name."""

from __future__ import annotations

import pytest

from gateway.core.counting.analog import AnalogState
from gateway.core.counting.counter import CounterDetector
from gateway.core.counting.pulse import PulseState
from gateway.core.counting.start_end import StartEndState
from gateway.core.model import CountEvent, Role, Status
from gateway.core.orders.job_run import JobRun, book
from gateway.core.rules import CounterRule
from gateway.core.state.machine_track import MachineTrack
from gateway.core.state.setup import SetupState
from gateway.core.unit_state import State

#: Every field holds its own name, so that a swapped pair shows.
STATE = State(*State._fields)._replace(journal_seq=100)
PULSE = PulseState(*PulseState._fields)
ANALOG = AnalogState(*AnalogState._fields)
START_END = StartEndState(*StartEndState._fields)
TRACK = MachineTrack(*MachineTrack._fields)
SETUP = SetupState(*SetupState._fields)


def test_state_moved():
    assert STATE.moved(7, 3) == STATE._replace(at_ns=7, journal_seq=103)


def test_state_with_count():
    expected = STATE._replace(detectors="d", track="t", counted="c", last_piece_ns="l", running="r")
    assert STATE.with_count("d", "t", "c", "l", "r") == expected


def test_state_seen():
    assert STATE.seen(7, "d", "t") == STATE._replace(at_ns=7, detectors="d", track="t")


def test_track_watched():
    assert TRACK.watched("w") == TRACK._replace(watch="w")


def test_track_ran():
    assert TRACK.ran("r") == TRACK._replace(running="r")


def test_analog_heard():
    expected = ANALOG._replace(dark_ns=None, seen_ns="s", arrived_ns="a", cross_ns="c")
    assert ANALOG.heard("s", "a", "c") == expected


def test_start_end_moved():
    assert START_END.moved("e") == START_END._replace(edges="e")
    assert START_END.opened(7) == START_END._replace(open_ns=7, whole=True, stopped=False)
    assert START_END.closed(7) == START_END._replace(open_ns=None, end_ns=7)


def test_track_made():
    assert TRACK.made("s", "t") == TRACK._replace(setup="s", timeline="t")


def test_setup_made():
    assert SETUP.made(7) == SETUP._replace(made_product="product", last_good_ns=7)


def test_pulse_opened():
    expected = PULSE._replace(candidate_ns="t", arrived_ns="a", seen_ns="s", looked_ns="l")
    assert PULSE.opened("t", "a", "s", "l") == expected


def test_pulse_same():
    assert PULSE.same("s", "l") == PULSE._replace(seen_ns="s", looked_ns="l")


@pytest.mark.parametrize("early", [False, True])
def test_pulse_accepted(early):
    state = PULSE._replace(level=False, prepaid=False, cycle_valid=False, counts=7)
    settled = state._replace(level=True, candidate_ns=0, level_since_ns="candidate_ns", stuck_told=False, early=early)
    assert state.accepted(early=early, counted=False) == settled
    counted = settled._replace(counted_ns="candidate_ns", cycle_valid=True, counts=8)
    assert state.accepted(early=early, counted=True) == counted
    prepaid = state._replace(prepaid=True).accepted(early=early, counted=True)
    assert prepaid == counted._replace(cycle_valid=False)
    behind_a_gap = state._replace(candidate_ns=5, gap_to_ns=5).accepted(early=early, counted=True)
    assert not behind_a_gap.cycle_valid


@pytest.mark.parametrize("shown", [100, 101, 103])
@pytest.mark.parametrize("late_ns", [0, -5, 7])
def test_the_usual_count(shown, late_ns):
    detector = CounterDetector(CounterRule(mode="counter", signal="s"), None)
    state = detector.initial()._replace(t_ns=1000, value=100)
    after, event = detector.on_value(state, 1000 + late_ns, shown, Status.GOOD)
    booked, told = detector._book(state, 1000 + late_ns, shown, shown - 100, "OK")
    assert after == booked
    assert type(after) is type(booked)
    assert event == (told if shown > 100 else None)
    assert shown == 100 or type(event) is CountEvent


@pytest.mark.parametrize("role", list(Role))
def test_book(role):
    numbers = dict.fromkeys(
        (name for name in JobRun._fields if name.split("_")[-1] in (*map(str, Role), "cycles", "estimated")),
        10,
    )
    run = JobRun(*JobRun._fields)._replace(**numbers, open_flags=())
    event = CountEvent("s", 2, 1, 99, "ROLLOVER", estimated=True)
    expected = run._replace(
        **{role.value: 14, f"open_{role.value}": 14},
        open_cycles=12,
        open_estimated=14,
        open_flags=("ROLLOVER",),
        last_event_ns=99,
        last_derived_ns=101,
    )
    assert book(run, role, 4, event, cycles=2, at_ns=101) == expected
