"""State numbers of the field as machine states, and what signals say through them."""

from __future__ import annotations

import pytest

from gateway.core.model import MachineState, Status
from gateway.core.rules_state import SetupRule, StateSignalRule, StateTimelineRule, StopReasonRule
from gateway.core.state.maps import MappedState, StateMap
from gateway.core.state.signals import (
    STATE_UNMAPPED,
    AlarmTold,
    ExplicitTold,
    ModeTold,
    ReleaseTold,
    StateSignals,
    ToolTold,
)
from gateway.core.state.stop_reasons import raised

M = MachineState
PACKML = {
    **dict.fromkeys((1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15), M.STOPPED),
    **dict.fromkeys((4, 17), M.IDLE_NO_ORDER),
    **dict.fromkeys((6, 16), M.PRODUCING),
}
WEIHENSTEPHAN = {
    **dict.fromkeys((1, 2, 4, 256, 512, 1024, 2048, 4096), M.STOPPED),
    **dict.fromkeys((8, 32), M.STARVED),
    **dict.fromkeys((16, 64), M.BLOCKED),
    128: M.PRODUCING,
    32768: M.IDLE_NO_ORDER,
}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("packml", PACKML),
        ("machinery", {0: M.OFF, 1: M.STOPPED, 2: M.STOPPED, 3: M.PRODUCING}),
        ("weihenstephan", WEIHENSTEPHAN),
    ],
)
def test_every_number_of_a_map(name, table):
    states = StateMap(name)
    for number, state in table.items():
        assert states.state(number).state is state, number
        assert states.state(float(number)) == states.state(str(number)) == states.state(number)
    assert states.values == {str(number) for number in table}


@pytest.mark.parametrize(("name", "value"), [("packml", 0), ("packml", 18), ("machinery", 4), ("packml", "Execute")])
def test_a_number_that_stands_in_no_table_is_no_state(name, value):
    assert StateMap(name).state(value) is None
    assert StateMap(name).state(None) is None


def test_suspended_is_told_apart_by_its_side():
    states = StateMap("packml")
    for number in (5, 13, 14):
        assert states.state(number, blocked=True).state is M.BLOCKED
        assert states.state(number, starved=True).state is M.STARVED
        assert states.state(number, blocked=True, starved=True).reason == "SUSPENDED"
    for number in (10, 11, 12):
        assert states.state(number, blocked=True) == states.state(number), "held is the machine's own cause"


def test_completing_runs_below_its_speed_and_starting_is_a_choice():
    assert StateMap("packml").state(16).reduced_speed
    assert StateMap("packml").state(3).reason == "RESTART"
    assert StateMap("packml", starting_as=M.PRODUCING).state(3).state is M.PRODUCING


def test_weihenstephan_bits_and_programs():
    states = StateMap("weihenstephan")
    assert states.state(128 | 1024).state is M.STOPPED, "the graver of two bits"
    assert states.state(128 | 8192) is None, "a bit that nobody explained"
    assert states.state(0) is None
    assert states.state(128, program=2).reduced_speed
    assert states.state(128, program=1) == states.state(128)
    assert states.state(1, program=0).state is M.IDLE_NO_ORDER
    assert states.state(1024, program=0).state is M.STOPPED
    assert {number: states.mode(number) for number in (1, 8, 16, 32, 64)} == {
        1: None,
        8: M.CLEANING,
        16: M.SETUP,
        32: M.MAINTENANCE,
        64: M.PLANNED_STOP,
    }


def test_machinery_mode():
    states = StateMap("machinery")
    assert [states.mode(number) for number in (0, 1, 2, 3, None)] == [None, M.MAINTENANCE, M.SETUP, None, None]
    assert states.state(2, program=0).state is M.IDLE_NO_ORDER
    assert states.state(2, program=3).state is M.STOPPED


def test_an_own_table():
    states = StateMap({"1": M.PRODUCING, "running": M.PRODUCING, "0": M.STOPPED})
    assert states.state(True).state is M.PRODUCING
    assert states.state("running").state is M.PRODUCING
    assert states.state(2) is None
    with pytest.raises(ValueError, match="found 'pckml', allowed: packml, machinery, weihenstephan"):
        StateMap("pckml")


@pytest.mark.parametrize(
    ("before", "value", "code"),
    [
        (None, 101, "101"),
        (0, 101.0, "101"),
        (101, 101, None),
        (101, 0, None),
        (101, 102, "102"),
        (0, "", None),
        (0, True, "1"),
        (True, False, None),
        (0, None, None),
        (None, "E-STOP", "E-STOP"),
    ],
)
def test_when_an_alarm_is_raised(before, value, code):
    assert raised(before, value) == code


def signals():
    return StateSignals(
        StateTimelineRule(
            explicit=StateSignalRule(
                signal="f.state",
                map="packml",
                mode_signal="f.mode",
                blocked_signal="f.blocked",
                starved_signal="f.starved",
            ),
            reasons=StopReasonRule(alarm_signals=("f.alarm",)),
            setup=SetupRule(tool_signal="f.tool", release_signal="f.ready", end="plc_release"),
        )
    )


def test_what_signals_tell():
    watch = signals()
    assert set(watch.signals) == {"f.alarm", "f.tool", "f.ready", "f.state", "f.mode", "f.blocked", "f.starved"}
    state, said = watch.initial(), []
    for signal, value in [
        ("f.state", 6),
        ("f.state", 6.0),
        ("f.mode", 1),
        ("f.mode", 3),
        ("f.state", 5),
        ("f.blocked", True),
        ("f.alarm", 0),
        ("f.alarm", 1002),
        ("f.alarm", 1002),
        ("f.tool", "T1"),
        ("f.ready", False),
        ("f.ready", True),
        ("f.mode", 1),
        ("f.state", 99),
        ("f.other", 1),
    ]:
        state, told = watch.on_value(state, signal, value, Status.GOOD)
        said += told
    assert said == [
        ExplicitTold(M.PRODUCING, "", reduced_speed=False),
        ModeTold(None),
        ModeTold(M.SETUP),
        ExplicitTold(M.STOPPED, "SUSPENDED", reduced_speed=False),
        ExplicitTold(M.BLOCKED, "", reduced_speed=False),
        AlarmTold("1002"),
        ToolTold("T1"),
        ReleaseTold(),
        ModeTold(None),
        ExplicitTold(M.UNKNOWN, STATE_UNMAPPED, reduced_speed=False, unmapped="99"),
    ]
    assert watch.on_value(state, "f.state", 6, Status.BAD) == (state, ())
    # What the machine says of itself is told anew; its alarm, tool and release are not.
    own = {"f.state", "f.mode", "f.blocked", "f.starved"}
    kept = zip(watch.signals, state.values, strict=True)
    assert watch.restored(state).values == tuple(None if name in own else value for name, value in kept)
    assert watch.restored(state._replace(values=())) == watch.initial()


def test_an_own_table_of_modes_goes_before_the_map():
    rule = StateSignalRule(signal="a.s", map={"1": M.PRODUCING}, mode_signal="a.m", modes={"7": M.CLEANING})
    watch = StateSignals(StateTimelineRule(explicit=rule))
    state, told = watch.on_value(watch.initial(), "a.m", 7, Status.GOOD)
    assert told == (ModeTold(M.CLEANING),)
    assert watch.on_value(state, "a.m", 8, Status.GOOD)[1] == (ModeTold(None),)


@pytest.mark.parametrize(
    ("named", "value", "state", "reason"),
    [
        ({"1": M.STOPPED, "2": M.PRODUCING, "9": M.STOPPED}, 9, M.STOPPED, "PLC_STOP"),
        ({"1": M.STOPPED, "2": M.PRODUCING, "9": M.STOPPED}, 1, M.STOPPED, ""),
        ({"9": M.PRODUCING}, 9, M.PRODUCING, ""),
        ("packml", 9, M.STOPPED, "PLC_STOP"),
    ],
)
def test_a_value_may_tell_the_reason_of_its_stop(named, value, state, reason):
    assert StateMap(named, reasons={"9": "PLC_STOP"}).state(value) == MappedState(state, reason)
