"""Quantities from counts: exact whatever the ratio, and carried over a restart."""

from __future__ import annotations

import json
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.counting.detector import Sample, loaded, plain
from gateway.core.counting.units import UnitsDetector, UnitsState
from gateway.core.model import Role, Status
from gateway.core.ratio import Ratio
from gateway.core.rules import CounterRule
from gateway.core.rules_pieces import UnitsRule

S = 1_000_000_000
START_NS = 1_780_000_000_000_000_000
COUNT = CounterRule(mode="counter", signal="m.n", max_rate=None)


def feed(detector, counts):
    """Events of a counter that moves on by so many, a second each."""
    state, value, events = detector.initial(), 0, []
    for second, count in enumerate((0, *counts)):
        value += count
        at_ns = START_NS + second * S
        state, more = detector.on_value(state, Sample("m.n", at_ns, value, Status.GOOD, at_ns))
        events += more
    return state, events


def test_no_drift_over_ten_thousand_counts():
    detector = UnitsDetector(UnitsRule(mode="units", count=COUNT, pulses_per_unit=Ratio(3, 1)), None)
    state, events = feed(detector, [1] * 10_000)
    assert sum(event.delta for event in events) == 3333
    assert detector.carry(state) == Fraction(1, 3)
    assert len(events) == 1 + 10_000, "every count is told, so that a long unit is no stop of the machine"
    assert sum(event.cycles for event in events) == 10_000


@settings(max_examples=200)
@given(
    counts=st.lists(st.integers(0, 1000), max_size=30),
    ratio=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    decimals=st.integers(0, 3),
    split=st.integers(0, 30),
)
def test_what_is_booked_and_carried_is_what_was_counted(counts, ratio, decimals, split):
    per_unit = Ratio.parse(f"{ratio[0]}/{ratio[1]}")
    rule = UnitsRule(mode="units", count=COUNT, pulses_per_unit=per_unit, decimals=decimals, role=Role.SCRAP)
    detector = UnitsDetector(rule, None)
    state, events = feed(detector, counts)
    booked = sum(event.delta for event in events)
    exact = Fraction(sum(counts) * 10**decimals) / Fraction(*ratio)
    assert booked + detector.carry(state) == exact
    assert 0 <= detector.carry(state) < 1
    assert {event.role for event in events} <= {Role.SCRAP}
    # A restart in between: the carry is stored exactly.
    first, _ = feed(detector, counts[:split])
    stored = loaded(UnitsState, json.loads(json.dumps(plain(first))))
    assert detector.restored(stored) == first


def test_what_may_be_lost_is_rounded_up():
    rule = UnitsRule(mode="units", count=CounterRule(mode="counter", signal="m.n"), pulses_per_unit=Ratio(24, 1))
    detector = UnitsDetector(rule, 2 * S)
    state, _ = feed(detector, [2] * 20)
    for second, value in ((30, 3), (31, 4)):
        at_ns = START_NS + second * S
        state, events = detector.on_value(state, Sample("m.n", at_ns, value, Status.GOOD, at_ns))
    assert [(event.flag, event.delta, event.max_lost) for event in events] == [("RESET", 0, 1)]


def test_a_rule_of_another_source_starts_afresh_and_keeps_its_carry():
    detector = UnitsDetector(UnitsRule(mode="units", count=COUNT, pulses_per_unit=Ratio(24, 1)), None)
    state, _ = feed(detector, [25])
    assert detector.restored(state._replace(source=None)).source == detector.initial().source
    assert detector.carry(detector.restored(state._replace(source=None))) == Fraction(1, 24)
