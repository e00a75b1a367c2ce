"""A device that answers zero for everything, its evidence too: no piece is booked twice and none is lost untold."""

from __future__ import annotations

import pytest

from gateway.core.model import Status
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule

S = 1_000_000_000
RATE = Rate.parse("2 /s")
KINDS = {
    "boots": {"restart_evidence": ("plc.told",)},
    "job": {"order_reset": "plc.told"},
    "bit": {"reset_evidence": ("plc.told",)},
}


def booked(floor):
    return floor.state.counted.good


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [1000, 65_534, 3, 1], ids=["high", "near the end", "low", "lowest"])
@pytest.mark.parametrize("zeros", [1, 3])
def test_zeros_for_everything_are_no_reset(rig, kind, first, zeros):
    floor = rig(CounterRule(mode="counter", signal="plc.good", modulus=65_536, max_rate=RATE, **KINDS[kind]))
    made = 0

    def scan(told, value):
        floor.now_ns += S
        floor.value("plc.told", told)
        floor.value("plc.good", value % 65_536)

    scan("7", first)
    for _ in range(zeros):
        scan("0", 0)
    for _ in range(12):
        made += 1
        scan("7", first + made)
        assert booked(floor) <= made
    lost = sum(interval.max_pieces for interval in floor.state.unknown)
    assert booked(floor) + floor.state.review + lost >= made
    assert booked(floor) >= made - 4, "what is owed is a matter of a few pieces"


def test_a_late_uptime_is_no_restart(rig):
    rule = CounterRule(mode="counter", signal="plc.good", max_rate=RATE, restart_uptime=("plc.seconds",))
    floor = rig(rule)
    for second, (uptime, value) in enumerate([(5000, 5), (5001, 6), (4999, 4), (5003, 8), (5004, 9)]):
        floor.now_ns += S
        floor.value("plc.seconds", uptime)
        floor.value("plc.good", value)
        assert booked(floor) <= second
    assert booked(floor) == 4


def test_a_job_that_is_named_again_may_have_set_the_counter_back(rig):
    """A, B, A, with a real reset at each change: where the old value explains it too, the least is booked and told."""
    floor = rig(CounterRule(mode="counter", signal="plc.good", max_rate=RATE, order_reset="plc.job"))
    for job, value in [("A", 2), ("B", 0), ("A", 0), ("A", 3)]:
        floor.now_ns += S
        floor.value("plc.job", job)
        floor.value("plc.good", value)
    lost = sum(interval.max_pieces for interval in floor.state.unknown)
    assert booked(floor) <= 3 <= booked(floor) + lost


def test_a_value_that_is_bad_all_the_while_moves_nothing(rig):
    floor = rig(CounterRule(mode="counter", signal="plc.good", max_rate=RATE))
    floor.value("plc.good", 10)
    floor.value("plc.good", 0, Status.UNCERTAIN)
    floor.now_ns += S
    floor.value("plc.good", 11)
    assert booked(floor) == 1


def test_a_job_that_is_named_while_the_value_goes_on_may_have_set_it_back_meanwhile(rig):
    floor = rig(CounterRule(mode="counter", signal="plc.good", max_rate=RATE, order_reset="plc.job"))
    for job, value in [("A", 2), ("B", 3), ("B", 4)]:
        floor.now_ns += S
        floor.value("plc.job", job)
        floor.value("plc.good", value)
    assert booked(floor) == 2
    assert [interval.max_pieces for interval in floor.state.unknown] == [4], "what two a second make in one"
