"""Device clocks: which stamp dates a piece, and when a person hears that a clock is wrong or right again."""

from __future__ import annotations

import itertools

import pytest

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import ClockTold, Confirmation, DataValue, Status
from gateway.core.rules import CounterRule

S = 10**9
YEAR = 365 * 24 * 3600 * S
Y2000 = 946_684_800 * S
SKEW, RIGHT = "SOURCE_CLOCK_SKEW", "SOURCE_CLOCK_RIGHT"


@pytest.fixture
def floor(rig):
    return rig()


def shot(floor, at, behind, value, signal="plc.good"):
    """The counter shows this at a time after the start; the device's stamp is so far behind (text or ns)."""
    floor.at(at)
    off_ns = Duration(behind) if isinstance(behind, str) else behind
    return floor.value(signal, value, source_ns=floor.now_ns - off_ns)


def codes(floor):
    return [code for code, _ in floor.notices]


def cycles(floor, shots):
    """The times from piece to piece as they are dated; ``shots``: time of arrival and how far the stamp is behind."""
    dates = []
    for value, (at, behind) in enumerate(shots):
        shot(floor, at, behind, 10 + value)
        dates.append(floor.state.last_piece_ns)
    assert floor.state.counted.good == len(shots) - 1
    return [later - earlier for earlier, later in itertools.pairwise(dates[1:])]


def test_a_stamp_that_is_near_dates_the_piece(floor):
    shots = [("0 s", 0), ("30 s", "100 ms"), ("60 s", "700 ms"), ("90 s", "100 ms")]
    assert cycles(floor, shots) == [29_400_000_000, 30_600_000_000], "by the device's clock, not by the arrival"
    assert codes(floor) == []


def test_a_device_at_2000_01_01_is_named_once_and_its_pieces_are_dated_by_their_arrival(floor):
    behind_ns = floor.now_ns - Y2000
    assert cycles(floor, [(f"{at} s", behind_ns) for at in (0, 30, 60, 90)]) == [30 * S, 30 * S]
    [(code, detail)] = floor.notices
    assert code == SKEW
    assert detail == {
        "signal": "plc.good",
        "shows": "2000-01-01T00:00:00.000Z",
        "off_by_s": "-833315200.000",
        "allowed_s": "5.000",
        "used_instead": "time of arrival",
    }


def test_a_clock_that_runs_ahead_is_named_at_once_and_again_when_it_is_right(floor):
    shot(floor, "0 s", -5 * S, 10)
    assert codes(floor) == [], "the limit itself is allowed"
    shot(floor, "30 s", -3600 * S, 11)
    shot(floor, "60 s", -3600 * S, 12)
    shot(floor, "90 s", 0, 13)
    shot(floor, "120 s", 0, 14)
    assert [(code, detail["off_by_s"]) for code, detail in floor.notices] == [(SKEW, "+3600.000"), (RIGHT, "+0.000")]
    assert floor.state.counted.good == 4


def test_a_clock_that_is_behind_is_named_by_two_stamps_that_keep_pace(floor):
    shot(floor, "0 s", "1 h", 10)
    assert codes(floor) == [], "it may not have changed for an hour"
    shot(floor, "30 s", 3600 * S + 4 * S, 11)
    assert codes(floor) == [SKEW]
    assert floor.notices[0][1]["off_by_s"] == "-3604.000"


@pytest.mark.parametrize(
    ("second", "third"),
    [
        (("30 s", "0 s"), ("60 s", "0 s")),  # the first value after connecting was old, the next ones are not
        (("30 s", 3600 * S + 30 * S), ("60 s", 3600 * S + 60 * S)),  # the same stamp again and again
        (("30 s", 40 * S), ("60 s", 3 * S)),  # late on its way, and the network recovers
        (("0 s", 3590 * S), ("0 s", 10 * S)),  # a backlog: older and younger stamps arrive together
    ],
)
def test_an_old_stamp_is_no_wrong_clock(floor, second, third):
    shot(floor, "0 s", "1 h", 10)
    shot(floor, *second, 11)
    shot(floor, *third, 12)
    assert codes(floor) == []


def test_a_clock_that_flaps_is_told_of_at_most_once_an_hour(floor):
    value = 10
    for minute in range(59):
        value += 1
        shot(floor, f"{minute} min", -3600 * S if minute % 2 else 0, value)
    assert codes(floor) == [SKEW, RIGHT]
    shot(floor, "61 min", -3600 * S, value + 1)
    assert codes(floor) == [SKEW, RIGHT], "an hour after the last word, not after the first"
    shot(floor, "63 min", -3600 * S, value + 2)
    assert codes(floor) == [SKEW, RIGHT, SKEW]


def test_a_clock_that_is_right_for_an_hour_is_forgotten(floor):
    shot(floor, "0 s", -3600 * S, 10)
    shot(floor, "30 s", 0, 11)
    assert floor.state.clocks.off
    shot(floor, "61 min", 0, 12)
    assert not floor.state.clocks.off


def test_each_signal_is_named_for_itself(rig):
    floor = rig(*(CounterRule(mode="counter", signal=f"plc.{name}") for name in ("a", "b")))
    shot(floor, "0 s", -3600 * S, 10, "plc.a")
    shot(floor, "0 s", 0, 10, "plc.b")
    shot(floor, "30 s", -7200 * S, 11, "plc.b")
    shot(floor, "30 s", -3600 * S, 11, "plc.a")
    shot(floor, "60 s", 0, 12, "plc.a")
    told = [(code, detail["signal"]) for code, detail in floor.notices]
    assert told == [(SKEW, "plc.a"), (SKEW, "plc.b"), (RIGHT, "plc.a")]


def test_nobody_is_blamed_while_the_gateways_own_time_is_not_known(floor):
    floor.put(ClockTold(floor.now_ns, 0, known=False))
    shot(floor, "0 s", -3 * YEAR, 10)
    shot(floor, "30 s", -3 * YEAR, 11)
    assert codes(floor) == []
    floor.put(ClockTold(floor.now_ns, 3 * YEAR))
    shot(floor, "60 s", 0, 12)
    assert codes(floor) == [], "it was the gateway's clock"
    shot(floor, "90 s", -60 * S, 13)
    assert codes(floor) == [SKEW]


def test_what_the_device_shows_is_told_in_utc(floor):
    floor.put(ClockTold(floor.now_ns, 3 * YEAR))
    shot(floor, "0 s", -3600 * S, 10)
    assert floor.notices[0][1]["shows"] == "2029-05-27T21:26:40.000Z"


@pytest.mark.parametrize("stamp_ns", [-(10**30), 10**30])
def test_a_stamp_beyond_the_calendar_stops_nothing(floor, stamp_ns):
    floor.at("0 s")
    floor.value("plc.good", 10, source_ns=stamp_ns)
    floor.at("30 s")
    floor.value("plc.good", 11, source_ns=stamp_ns)
    assert codes(floor) == [SKEW]
    assert floor.state.counted.good == 1


@pytest.mark.parametrize("step_s", [-7200, -4, 4, 7200])
def test_a_device_clock_that_is_set_moves_no_count_and_makes_no_cycle_negative(floor, step_s):
    behind_ns = [200_000_000 - (step_s * S if number >= 5 else 0) for number in range(10)]
    found = cycles(floor, [(f"{30 * number} s", behind) for number, behind in enumerate(behind_ns)])
    assert sum(cycle != 30 * S for cycle in found) <= 1, "only the cycle in which it was set"
    assert all(25 * S < cycle < 35 * S for cycle in found)


def test_it_is_remembered_across_a_restart(floor):
    shot(floor, "0 s", -3600 * S, 10)
    shot(floor, "1 s", -3600 * S, 11)
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    shot(floor, "30 s", -3600 * S, 12)
    assert codes(floor) == [SKEW]
    floor.put(ClockTold(floor.now_ns, 0, known=False))
    assert not snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state)).clocks.known


def test_a_confirmation_says_that_nobody_vouches_for_its_times(floor):
    floor.order(quantity=3)
    floor.put(ClockTold(floor.now_ns, 0, known=False))
    floor.at("10 s").make(1)
    floor.says("interrupt", "4711")
    floor.put(ClockTold(floor.now_ns, YEAR))
    floor.says("start", "4711")
    floor.at("20 s").make(2)
    first, second = floor.all(Confirmation)
    assert first.flags == ("CLOCK_NOT_SYNCHRONISED",)
    assert second.flags == ()


def test_a_bad_value_without_a_stamp_says_nothing_of_the_clock(floor):
    shot(floor, "0 s", -3600 * S, 10)
    before = floor.state.clocks
    floor.at("1 s")
    floor.put(DataValue("plc.good", None, Status.BAD, None, floor.now_ns))
    assert floor.state.clocks is before
