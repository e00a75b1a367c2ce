"""What the work unit adds to the counting modes: evidence of restarts, time stamps, unknown intervals, bounds."""

from __future__ import annotations

import pytest

from gateway.core import unit_state
from gateway.core.duration import Duration
from gateway.core.model import CountEvent, DataValue, PiecesProduced, Role, Status, UnknownInterval
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule, OrderRule, PulseRule, WorkUnitRules

S = 1_000_000_000
COUNTED = CounterRule(
    mode="counter",
    signal="plc.good",
    pieces=8,
    max_rate=Rate.parse("2 /s"),
    modulus=65536,
    restart_evidence=("plc.boots", "plc.uptime"),
)
OTHER = CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP, max_rate=Rate.parse("2 /s"))


def flags(floor):
    return [event.flag for event in floor.all(CountEvent)]


def test_a_changed_boot_counter_explains_the_next_value(rig):
    floor = rig(COUNTED, OTHER)
    floor.value("plc.boots", 7)
    floor.value("plc.good", 1000)
    floor.value("plc.scrap", 50)
    floor.at("10 s").value("plc.boots", 8)
    floor.value("plc.good", 3)
    assert flags(floor) == ["BASELINE", "BASELINE", "RESET"], "without a doubt, at the first sample"
    assert floor.state.counted.good == 3 * 8
    floor.value("plc.scrap", 51)
    assert flags(floor)[3:] == [], "a counter that does not name the evidence goes on"
    (lost,) = floor.all(UnknownInterval)
    assert (lost.signal, lost.max_pieces, lost.order) == ("plc.good", (2 * 10 * 6 // 5 + 2) * 8, None)
    assert (lost.t_to_ns - lost.t_from_ns, lost.flag) == (10 * S, "RESET")


@pytest.mark.parametrize("signal", ["plc.boots", "plc.uptime"])
def test_the_first_evidence_is_only_remembered(rig, signal):
    floor = rig(COUNTED)
    floor.value("plc.good", 1000)
    floor.value(signal, 5)
    floor.value("plc.good", 1001)
    assert (flags(floor), floor.state.counted.good) == (["BASELINE"], 8)
    floor.value(signal, None, Status.BAD)
    floor.value(signal, 5)
    assert floor.state.detectors[0].evidence == ""
    floor.value(signal, 6)
    assert floor.state.detectors[0].evidence == "restart"


def test_evidence_is_handed_over_before_what_it_explains(rig):
    floor = rig(COUNTED, OTHER, orders=OrderRule(choose="job_signal", job_signal="plc.job"))
    scan = [DataValue(f"plc.{name}", 1, Status.GOOD, None, 1) for name in ("job", "good", "boots", "scrap", "uptime")]
    turns = [value.signal for value in sorted(scan, key=floor.unit.turn)]
    assert turns == ["plc.boots", "plc.uptime", "plc.good", "plc.scrap", "plc.job"]
    assert floor.unit.signals == {"plc.good", "plc.scrap", "plc.boots", "plc.uptime", "plc.job"}


@pytest.mark.parametrize(
    ("skew_s", "believed"),
    [(0, True), (-5, True), (5, True), (-5.000000001, False), (5.000000001, False), (None, False)],
)
def test_a_devices_stamp_is_believed_within_the_skew(rig, skew_s, believed):
    floor = rig(orders=OrderRule(at_target="continue"))
    floor.value("plc.good", 1000)
    now = floor.at("1 min").now_ns
    source = None if skew_s is None else now + round(skew_s * S)
    floor.put(DataValue("plc.good", 1001, Status.GOOD, source, now))
    assert floor.state.last_piece_ns == (source if believed else now)
    assert floor.all(PiecesProduced)[0].at_ns == now, "booked when it was known"


def test_skew_is_a_setting(rig):
    floor = rig(max_source_skew=Duration("1 h"))
    floor.value("plc.good", 1000)
    source = floor.now_ns + Duration("59 min")
    floor.value("plc.good", 1001, source_ns=source)
    assert floor.state.last_piece_ns == source


def test_an_input_from_the_past_happens_now(rig):
    """The clock of the core never steps back, whatever a driver says."""
    floor = rig()
    floor.at("1 min").make(0)
    now = floor.now_ns
    floor.put(DataValue("plc.good", 1001, Status.GOOD, None, now - 30 * S))
    assert floor.all(PiecesProduced)[0].at_ns == now
    assert floor.state.at_ns == now


def test_unknown_intervals_name_the_order_that_ran(rig):
    floor = rig(PulseRule(mode="pulse", signal="box.n", pieces=24, min_cycle=Duration("1 s"), role=Role.SCRAP))
    floor.value("box.n", False)
    floor.order("A", 1000)
    floor.at("10 s").value("box.n", None, Status.BAD)
    floor.at("20 s").value("box.n", True)
    (lost,) = floor.all(UnknownInterval)
    assert (lost.order, lost.operation, lost.role, lost.flag) == ("A", "0010", Role.SCRAP, "PULSES_POSSIBLY_LOST")
    assert lost.max_pieces == 21 * 24


@pytest.mark.parametrize(
    "rule",
    [
        PulseRule(mode="pulse", signal="plc.n"),
        CounterRule(mode="counter", signal="plc.n", restart_evidence=("plc.boots",)),
    ],
)
def test_a_loss_without_a_rate_has_no_bound_and_is_still_told(rig, rule):
    floor = rig(rule)
    floor.value("plc.boots", 1)
    floor.value("plc.n", 9)
    floor.value("plc.boots", 2)
    floor.at("10 s").value("plc.n", None, Status.BAD)
    floor.at("20 s").value("plc.n", 0)
    (lost,) = floor.all(UnknownInterval)
    assert lost.max_pieces is None


def test_the_oldest_unknown_intervals_are_summed_up(rig, monkeypatch):
    monkeypatch.setattr(unit_state, "UNKNOWN_INTERVALS_MAX", 3)
    floor = rig(PulseRule(mode="pulse", signal="box.n", min_cycle=Duration("1 s")))
    floor.value("box.n", False)
    for second in range(10, 60, 10):
        floor.at(f"{second} s").value("box.n", None, Status.BAD)
        floor.at(f"{second + 1} s").value("box.n", False)
    told = floor.all(UnknownInterval)
    assert len(told) == 5
    assert floor.state.unknown == tuple(told[2:])
    assert floor.state.unknown_older == (2, told[0].max_pieces + told[1].max_pieces)


def test_a_jump_is_set_aside_in_pieces(rig):
    floor = rig(COUNTED)
    for second, value in enumerate((100, 5000, 5001)):
        floor.at(f"{second + 1} s").value("plc.good", value)
    assert (floor.state.review, floor.state.counted.good) == (4900 * 8, 8)


def test_a_signal_that_no_rule_names_changes_nothing(rig):
    floor = rig()
    assert floor.value("plc.temperature", 21.5) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"counters": ()}, "counters: found 0, allowed 1 to 16"),
        ({"counters": (OTHER, OTHER)}, "plc.scrap is counted twice"),
        ({"counters": (OTHER,), "ideal_cycle": Duration(0)}, "ideal_cycle: found 0 s"),
    ],
)
def test_work_unit_rules_that_contradict_themselves(fields, message):
    with pytest.raises(ValueError, match=message):
        WorkUnitRules(work_center="WC", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pieces": 0}, "pieces: found 0, allowed 1 to 100000"),
        ({"modulus": 1}, "modulus: found 1, allowed 2 to"),
        ({"modulus": 2**64 + 1}, "modulus: found"),
        ({"jitter": -1}, "found a negative number"),
        ({"slack": -1}, "found a negative number"),
        ({"modulus": 100, "reset_to": 100}, "below the modulus 100"),
        ({"direction": "down"}, "direction: found down with both modulus and reset_to or with neither"),
        ({"direction": "down", "modulus": 100, "reset_to": 9}, "direction: found down with both"),
    ],
)
def test_counter_rules_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        CounterRule(mode="counter", signal="plc.n", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pieces": 0}, "pieces: found 0"),
        ({"min_cycle": Duration("5 ms")}, r"debounce \(5 ms\) must be shorter than min_cycle \(5 ms\)"),
        (
            {"min_cycle": Duration("9 s"), "max_cycle": Duration("9 s")},
            r"max_cycle \(9 s\) must be longer than min_cycle",
        ),
    ],
)
def test_pulse_rules_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        PulseRule(mode="pulse", signal="box.n", **fields)


UPTIME = CounterRule(mode="counter", signal="plc.good", max_rate=Rate.parse("2 /s"), restart_uptime=("plc.seconds",))


def test_a_fallen_uptime_is_a_restart_and_a_risen_one_is_none(rig):
    floor = rig(UPTIME, OTHER)
    floor.value("plc.good", 1000)
    floor.value("plc.scrap", 50)
    for uptime in (5, 6, 6, 7.5, 2**60, 2**60 + 1):
        floor.value("plc.seconds", uptime)
    assert floor.state.detectors[0].evidence == ""
    for uptime in (2**60, 2**60 * 99 // 100 + 1, 2**60):
        floor.value("plc.seconds", uptime)
        assert floor.state.detectors[0].evidence == "", "so little less is an older answer"
    floor.at("10 s").value("plc.seconds", 2**60 * 99 // 100)
    assert floor.state.detectors[0].evidence == "restart", "a difference of one beyond what a float can tell"
    assert floor.state.detectors[1].evidence == "", "a counter that does not name the uptime goes on"
    floor.value("plc.good", 3)
    assert flags(floor) == ["BASELINE", "BASELINE", "RESET"]
    assert floor.state.counted.good == 3


@pytest.mark.parametrize("odd", ["12", True, float("nan"), float("inf"), None])
def test_what_is_no_uptime_proves_nothing(rig, odd):
    floor = rig(UPTIME)
    floor.value("plc.good", 1000)
    floor.value("plc.seconds", 500)
    floor.value("plc.seconds", odd)
    floor.value("plc.seconds", None, Status.BAD)
    assert (floor.state.evidence, floor.state.detectors[0].evidence) == (("500",), "")
    floor.value("plc.seconds", 490)
    assert floor.state.detectors[0].evidence == "restart"


def test_an_uptime_that_rolls_over_is_a_restart_with_a_fitting_value(rig):
    floor = rig(UPTIME)
    floor.value("plc.seconds", 2**32 - 1)
    floor.value("plc.good", 1000)
    floor.at("1 s").value("plc.seconds", 900)
    floor.value("plc.good", 1001)
    assert (flags(floor)[1:], floor.state.counted.good) == (["RESTART_RETENTIVE"], 1)


def test_an_uptime_is_handed_over_before_the_counters(rig):
    floor = rig(UPTIME)
    assert floor.unit.turn(DataValue("plc.seconds", 1, Status.GOOD, None, 1)) == 0
    assert "plc.seconds" in floor.unit.signals


def test_a_signal_is_one_kind_of_evidence(rig):
    with pytest.raises(ValueError, match=r"plc\.boots is in restart_evidence and in restart_uptime; choose one"):
        rig(COUNTED, CounterRule(mode="counter", signal="plc.x", restart_uptime=("plc.boots",)))
