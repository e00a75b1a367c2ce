"""A sensor that chatters is told: edges too soon after the last one, more than one in twenty, once in an hour."""

from __future__ import annotations

import pytest

from gateway.core.counting.pulse import CHATTER_MIN, PulseDetector
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.core.rules import PulseRule

MS = 1_000_000
START_NS = 1_000_000_000_000_000
CYCLE_MS = 10_000
HOUR_MS = 3_600_000


class Sensor:
    """Parts come every ten seconds; a rocking part is seen twice."""

    def __init__(self, min_cycle):
        rule = PulseRule(mode="pulse", signal="box.n", debounce=Duration("5 ms"), min_cycle=Duration(min_cycle))
        self.detector = PulseDetector(rule, None)
        self.state, self.said = self.detector.initial(), []
        self.show(START_NS - CYCLE_MS * MS, level=False)

    def show(self, t_ns, *, level):
        self.state, events = self.detector.on_value(self.state, t_ns, level, Status.GOOD, t_ns)
        self.said += events

    def part(self, number, *, rocks):
        at_ns = START_NS + number * CYCLE_MS * MS
        for late_ms in (0, 200) if rocks else (0,):
            self.show(at_ns + late_ms * MS, level=True)
            self.show(at_ns + (late_ms + 100) * MS, level=False)

    def told(self):
        return [(event.t_to_ns - START_NS) // MS for event in self.said if event.flag == "SENSOR_CHATTER"]


@pytest.mark.parametrize(("every", "told"), [(30, False), (10, True), (1, True)])
def test_one_rejected_edge_in_twenty_is_too_many(every, told):
    sensor = Sensor("1 s")
    for number in range(300):
        sensor.part(number, rocks=number % every == 0)
    assert bool(sensor.told()) is told
    assert sum(event.delta for event in sensor.said) == 300, "none of it is counted"


def test_a_few_say_nothing():
    sensor = Sensor("1 s")
    for number in range(CHATTER_MIN - 1):
        sensor.part(number, rocks=True)
    assert sensor.told() == []


def test_it_is_told_once_an_hour():
    sensor = Sensor("1 s")
    for number in range(3 * HOUR_MS // (2 * CYCLE_MS)):
        sensor.part(number, rocks=True)
    first, second = sensor.told()
    assert second - first > HOUR_MS - CYCLE_MS


def test_without_a_shortest_cycle_nothing_is_rejected():
    sensor = Sensor("0 s")
    for number in range(20):
        sensor.part(number, rocks=True)
    assert sensor.told() == []
