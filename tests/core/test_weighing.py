"""A scale: exact sums of what it weighed, late batches, a person who adds to a load."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.counting.detector import Sample, loaded, plain
from gateway.core.counting.weighing import WeighingDetector, WeighingState
from gateway.core.duration import Duration
from gateway.core.model import CountEvent, PiecesProduced, Role, Status
from gateway.core.ratio import Ratio
from gateway.core.rules_weighing import WeighingRule

MS = 1_000_000
START_NS = 1_780_000_000_000_000_000


def scale(**over):
    settings = {"tolerance": "0.02", "empty_below": "0.5", "resolution": "0.01", "stable_for": Duration("1 s")}
    return WeighingRule(mode="weighing", signal="m.kg", **settings | over)


class Feed:
    """One scale; timers fire when they are due."""

    def __init__(self, rule):
        self.detector = WeighingDetector(rule, None)
        self.state, self.said = self.detector.initial(), []

    def wait(self, at_ms):
        while (due := self.detector.deadline(self.state)) is not None and due <= START_NS + at_ms * MS:
            self.state, events = self.detector.on_time(self.state, due)
            self.said += events

    def shows(self, at_ms, value, arrived_ms=None, status=Status.GOOD):
        arrived_ms = at_ms if arrived_ms is None else arrived_ms
        self.wait(arrived_ms)
        sample = Sample("m.kg", START_NS + at_ms * MS, value, status, START_NS + arrived_ms * MS)
        self.state, events = self.detector.on_value(self.state, sample)
        self.said += events

    def restart(self):
        stored = json.loads(json.dumps(plain(self.state)))
        self.state = self.detector.restored(loaded(WeighingState, stored))

    @property
    def counted(self):
        return [event.delta for event in self.said if event.delta]


@given(
    loads=st.lists(st.tuples(st.integers(50, 6000), st.booleans()), min_size=1, max_size=20),
    unit=st.sampled_from((Ratio(1, 4), Ratio(1, 3), Ratio(7, 3), Ratio(1, 1))),
    decimals=st.integers(0, 3),
)
def test_sums_are_exact_whatever_was_weighed_and_however_often_it_restarted(loads, unit, decimals):
    feed = Feed(scale(unit_weight=unit, decimals=decimals, max_weight="60"))
    at_ms = 0
    for hundredths, restarts in loads:
        feed.shows(at_ms, 0.0)
        feed.shows(at_ms + 1000, hundredths / 100)
        feed.shows(at_ms + 3000, hundredths / 100)
        if restarts:
            feed.restart()
        at_ms += 4000
    weighed = Fraction(sum(hundredths for hundredths, _ in loads), 100) / unit.exact * 10**decimals
    assert sum(feed.counted) + feed.detector.carry(feed.state) == weighed
    assert 0 <= feed.detector.carry(feed.state) < 1


@pytest.mark.parametrize(("final", "counted"), [(12.5, [20, 5]), (8.0, [20])])
def test_a_weight_that_a_late_value_takes_back_is_paid_for(final, counted):
    """Booked by time at 10 kg; the batch that comes later shows that the load did not rest there."""
    feed = Feed(scale(unit_weight=Ratio(1, 2), max_weight="60"))
    feed.shows(0, 0.0)
    feed.shows(1000, 10.0)
    feed.wait(2100)
    assert feed.counted == [20]
    feed.shows(1500, final, arrived_ms=3000)
    feed.shows(2600, final, arrived_ms=3000)
    assert feed.counted == counted
    assert sum(feed.counted) + feed.detector.carry(feed.state) == Fraction(final) * 2
    feed.shows(4000, 0.0)
    feed.shows(5000, 4.0)
    feed.wait(7000)
    assert sum(feed.counted) + feed.detector.carry(feed.state) == Fraction(final + 4) * 2
    assert all(event.delta >= 0 for event in feed.said)


def test_a_weighing_that_a_late_value_takes_back_is_the_next_one():
    feed = Feed(scale(pieces=10))
    feed.shows(0, 0.0)
    feed.shows(1000, 10.0)
    feed.wait(2100)
    feed.shows(1500, 12.0, arrived_ms=3000)
    feed.shows(2600, 12.0, arrived_ms=3000)
    feed.shows(4000, 0.0)
    feed.shows(5000, 10.0)
    feed.wait(7000)
    assert feed.counted == [1, 1]


@pytest.mark.parametrize("value", [True, "12", None, float("nan"), float("inf"), 1e300, -1e300])
def test_what_is_no_weight_is_a_loss_and_no_weighing(value):
    feed = Feed(scale())
    feed.shows(0, 0.0)
    feed.shows(1000, value)
    feed.wait(60_000)
    assert feed.counted == []
    assert feed.state.dark_ns == START_NS + 1000 * MS


@pytest.mark.parametrize("status", [Status.UNCERTAIN, Status.BAD])
def test_a_value_that_is_not_good_neither_starts_nor_ends_a_weighing(status):
    feed = Feed(scale())
    feed.shows(0, 0.0)
    feed.shows(1000, 12.0, status=status)
    feed.wait(5000)
    feed.shows(5100, 12.0)
    feed.wait(7000)
    feed.shows(7100, 0.0, status=status)
    feed.shows(7500, 12.0)
    feed.wait(20_000)
    assert feed.counted == [1]


def test_a_weight_is_the_nearest_step_of_the_scale():
    """A REAL of 12.34 kg reads as 12.34000015258789."""
    feed = Feed(scale(unit_weight=Ratio(1, 1), decimals=2, max_weight="60"))
    feed.shows(0, 0)
    feed.shows(1000, 12.34000015258789)
    feed.wait(3000)
    assert feed.counted == [1234]
    assert feed.state.carry == 0


def test_weighings_are_booked_to_the_order_in_which_they_began(rig):
    floor = rig(scale(pieces=5, min_weight="9"))
    floor.order("A")
    floor.value("m.kg", 0.0)
    floor.at("1 s").value("m.kg", 10.0)
    floor.at("3 s").wait()
    floor.at("4 s").value("m.kg", 0.0)
    floor.at("5 s").value("m.kg", 8.0)
    floor.at("7 s").wait()
    assert [(one.order, one.role, one.pieces) for one in floor.all(PiecesProduced)] == [
        ("A", Role.GOOD, 5),
        ("A", Role.HOLD, 5),
    ]
    assert [event.flag for event in floor.all(CountEvent)] == ["BASELINE", "WEIGHT_OUTSIDE"]
    floor.close_books()


@pytest.mark.parametrize(("rule", "cycle"), [(scale(pieces=5), "5 s"), (None, None)])
def test_the_ideal_cycle_of_an_order_is_known_where_weighings_are_pieces(rig, rule, cycle):
    rule = rule or scale(unit_weight=Ratio(1, 4), max_weight="60")
    floor = rig(rule)
    floor.order("A", std_cycle_ns=int(Duration("1 s")))
    ideal_ns = floor.state.track.timeline.contexts[-1].ideal_ns
    assert ideal_ns == (0 if cycle is None else Duration(cycle))


def test_limits_are_exact():
    """A net weight of exactly min_weight or max_weight is within them."""
    for value, role in ((9.99, Role.HOLD), (10.0, None), (11.0, None), (11.01, Role.HOLD)):
        feed = Feed(scale(min_weight="10", max_weight="11"))
        feed.shows(0, 0.0)
        feed.shows(1000, value)
        feed.wait(3000)
        assert [event.role for event in feed.said if event.delta] == [role], Decimal(str(value))
