"""Settings of states, setup and reasons: what they take, and what they say where they do not."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.core.duration import Duration
from gateway.core.model import MachineState
from gateway.core.rules_state import CycleGapRule, SetupRule, StateRule, StateSignalRule, StateTimelineRule
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.evidence import PRIORITY, Layer
from gateway.core.state.gaps import CycleGaps
from gateway.core.state.signals import StateSignals

RULE = TypeAdapter(StateTimelineRule)
SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("120 %", 12 * SECOND, "120 %"),
        ("33.3%", 3_330_000_000, "33.3 %"),
        ("20 s", 20 * SECOND, "20 s"),
        ("5 min", 300 * SECOND, "5 min"),
    ],
)
def test_a_limit_is_a_share_or_a_length(text, limit, shown):
    found = CycleLimit.parse(text)
    assert found.of(10 * SECOND) == limit
    assert str(found) == shown
    assert CycleLimit.parse(str(found)) == found


@pytest.mark.parametrize("text", ["", "120", "1.2", "-5 %", "5 parsecs", "% 5"])
def test_what_is_no_limit(text):
    with pytest.raises(ValueError, match=re.escape(f"found {text!r}, allowed: a share of the ideal cycle or a length")):
        CycleLimit.parse(text)


def test_all_of_it_as_the_file_writes_it():
    rule = RULE.validate_python(
        {
            "ideal_cycle": "2.4 s",
            "explicit": {"signal": "fil.state", "map": "packml", "mode_signal": "fil.mode", "starting_as": "PRODUCING"},
            "gaps": {"slow": "110 %", "stop_detect": "170 %", "micro_stop_max": "2 min"},
            "data_loss": {"stale_after": "30 s"},
            "reasons": {"alarm_signals": ["fil.alarm"], "alarms": {"101": "JAM"}, "elements": {"MEETING": "PDOT"}},
            "setup": {"end": "n_good_in_tolerance", "pieces_as": "test"},
            "time_model": {"micro_stop_as": "production"},
        }
    )
    assert rule.gaps.stop_detect == CycleLimit.parse("170 %")
    assert rule.settle_ns == Duration("35 s")
    assert "pattern" in str(RULE.json_schema())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gaps": {"slow": "90 %"}}, "slow: found 90 %, allowed 100 % and above"),
        ({"gaps": {"slow": "250 %"}}, "stop_detect: found 200 %, allowed 250 % (slow) and above"),
        ({"gaps": {"stop_detect": 2}}, "a limit needs % or a unit of time"),
        ({"gaps": {"stop_detect_min": "0 s"}}, "stop_detect_min: found 0 s, allowed more than that"),
        ({"gaps": {"micro_stop_max": "0 %"}}, "micro_stop_max: found 0, allowed more than that"),
        ({"gaps": {"micro": "1 s"}}, "micro"),
        ({"explicit": {"signal": "a.b", "map": "pack"}}, "map: found 'pack', allowed: packml, machinery"),
        ({"explicit": {"signal": "a.b", "map": {}}}, "map: found an empty table"),
        (
            {"explicit": {"signal": "a.b", "map": "packml", "mode_signal": "a.c", "modes": {"1": "PRODUCING"}}},
            "modes: found PRODUCING, allowed: CLEANING",
        ),
        ({"explicit": {"signal": "a.b", "map": "packml", "modes": {"1": "SETUP"}}}, "found without mode_signal"),
        (
            {"explicit": {"signal": "a.b", "map": {"1": "PRODUCING"}, "mode_signal": "a.c"}},
            "found with neither modes nor a named map",
        ),
        ({"data_loss": {"stale_after": "0 s"}}, "stale_after: found 0 s, allowed more than that"),
        ({"setup": {"good_in_a_row": 0}}, "good_in_a_row: found 0, allowed 1 to 100"),
        ({"setup": {"tolerance_percent": 100}}, "tolerance_percent: found 100, allowed 1 to 99"),
        ({"setup": {"alert_percent": 50}}, "alert_percent: found 50, allowed 100 and above"),
        ({"setup": {"release_signal": "a.b"}}, "release_signal: found with end: first_good"),
        ({"reasons": {"alarms": {str(number): "X" for number in range(2001)}}}, "alarms: found 2001 entries"),
    ],
)
def test_what_cannot_be(given, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        RULE.validate_python(given)


def test_the_priority_is_one_table():
    assert [layer for layer, _ in PRIORITY] == [layer for layer in Layer if layer is not Layer.OPERATOR]


def test_limits_without_and_with_an_ideal_cycle():
    gaps = CycleGaps(CycleGapRule())
    assert gaps.stop_detect_ns(0) == 60 * SECOND
    assert gaps.stop_detect_ns(SECOND) == 5 * SECOND
    assert gaps.stop_detect_ns(10 * SECOND) == 20 * SECOND
    assert gaps.slow_ns(10 * SECOND) == 12 * SECOND
    assert gaps.decided_ns(10 * SECOND) == 310 * SECOND
    assert CycleGaps(CycleGapRule(stop_detect=CycleLimit.parse("10 min"))).decided_ns(10 * SECOND) == 600 * SECOND


def test_settings_are_immutable():
    rule = StateSignalRule(signal="a.b", map={"1": MachineState.PRODUCING})
    with pytest.raises(AttributeError):
        rule.signal = "c.d"
    assert SetupRule() == SetupRule()


def test_the_state_of_a_work_unit_as_the_file_always_wrote_it():
    found = TypeAdapter(StateRule).validate_python(
        {"signal": "plc.state", "map": {"1": "PRODUCING"}, "stop_detect": "90 s", "micro_stop_max": "1 min"}
    )
    rule = found.timeline(Duration("2 s"))
    assert rule.ideal_cycle == Duration("2 s")
    assert (rule.explicit.signal, rule.explicit.map) == ("plc.state", {"1": MachineState.PRODUCING})
    gaps = CycleGaps(rule.gaps)
    assert (gaps.stop_detect_ns(2 * SECOND), gaps.micro_stop_max_ns(2 * SECOND)) == (90 * SECOND, 60 * SECOND)
    assert rule.data_loss.stale_after is None, "a signal that does not change is no lost one"


@pytest.mark.parametrize(
    ("given", "ideal_s", "limit_s"),
    [({}, 1, 5), ({}, 30, 60), ({}, 0, 60), ({"stop_detect": "3 s"}, 1, 3), ({"stop_detect": "170 %"}, 2, 5)],
)
def test_when_a_stop_is_detected(given, ideal_s, limit_s):
    rule = TypeAdapter(StateRule).validate_python(given).timeline(None)
    assert CycleGaps(rule.gaps).stop_detect_ns(ideal_s * SECOND) == limit_s * SECOND


def test_every_signal_of_the_state_with_its_keys():
    found = TypeAdapter(StateRule).validate_python(
        {
            "signal": "a.state",
            "map": "packml",
            "mode_signal": "a.mode",
            "blocked_signal": "a.blocked",
            "reasons": {"alarm_signals": ["a.alarm", "b.alarm"]},
            "setup": {"tool_signal": "a.tool", "end": "plc_release", "release_signal": "a.go"},
        }
    )
    assert found.signals == (
        (("signal",), "a.state"),
        (("mode_signal",), "a.mode"),
        (("blocked_signal",), "a.blocked"),
        (("reasons", "alarm_signals", 0), "a.alarm"),
        (("reasons", "alarm_signals", 1), "b.alarm"),
        (("setup", "tool_signal"), "a.tool"),
        (("setup", "release_signal"), "a.go"),
    )
    named = StateSignals(found.timeline(None)).signals
    assert set(named) == {name for _, name in found.signals}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"signal": "a.b"}, "belong together"),
        ({"map": {"1": "OFF"}}, "belong together"),
        ({"mode_signal": "a.b"}, "found without signal"),
        ({"modes": {"1": "SETUP"}}, "found without signal"),
        ({"signal": "a.b", "map": "packmill"}, "allowed: packml"),
        ({"stop_detect": "110 %"}, "stop_detect: found 110 %, allowed 120 %"),
        ({"micro_stop_max": "0 s"}, "micro_stop_max: found 0"),
        ({"reasons": {"alarms": {"1": "JAM"}}}, "found alarms without alarm_signals"),
        ({"reasons": {"after": "11 min"}}, "after: found 11 min, allowed up to 10 min"),
        ({"reasons": {"before": "1 h"}}, "before: found 1 h, allowed up to 10 min"),
        ({"reasons": {"required_after": "8 d"}}, "required_after: found 8 d, allowed up to 7 d"),
        ({"data_loss": {"stale_after": "2 h"}}, "stale_after: found 2 h, allowed up to 1 h"),
        ({"time_model": {"flexible_break": "2 d"}}, "flexible_break: found 2 d, allowed up to 1 d"),
        ({"setup": {"planned": "0 s"}}, "planned: found 0 s"),
        ({"setup": {"planned": "31 d"}}, "planned: found 31 d, allowed up to 30 d"),
        (
            {"signal": "a.b", "map": "packml", "blocked_signal": "a.c", "starved_signal": "a.c"},
            "starved_signal: found a.c, which is blocked_signal too",
        ),
        ({"signal": "a.b", "map": {"1": "STOPPED"}, "reasons": {"values": {"2": "X"}}}, "found values for '2'"),
    ],
)
def test_what_a_work_units_state_refuses(wrong, said):
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(StateRule).validate_python(wrong)
