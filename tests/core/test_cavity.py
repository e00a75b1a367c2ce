"""Tools with several cavities: sums over random cycles, and how the machine's time is shared."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.counting.cavity import CavityDetector
from gateway.core.counting.detector import Sample
from gateway.core.instant import Instant
from gateway.core.model import Role, Status
from gateway.core.rules import CounterRule, PulseRule
from gateway.core.rules_pieces import CavityRule, ClosedCavity

S = 1_000_000_000
START_NS = 1_780_000_000_000_000_000
SHOTS = CounterRule(mode="counter", signal="m.shot")
PARTS = {"CAP": (1, 2, 3), "BASE": (4, 5, 6, 7, 8)}
SHUT = ClosedCavity(cavity=1, since=Instant(START_NS), until=Instant(START_NS + S), reason="worn")


def rule(**over):
    return CavityRule(**{"mode": "cavity", "cycle": SHOTS, "cavities": 8} | over)


def put(detector, state, at_s, **values):
    events = []
    for signal in detector.signals:
        name = signal.removeprefix("m.")
        if name in values:
            at_ns = START_NS + at_s * S
            state, more = detector.on_value(state, Sample(signal, at_ns, values[name], Status.GOOD, at_ns))
            events += more
    return state, events


@settings(max_examples=150)
@given(
    cycles=st.lists(
        st.tuples(st.lists(st.integers(-1, 4), min_size=4, max_size=4), st.integers(-1, 4), st.integers(0, 3)),
        max_size=20,
    )
)
def test_every_cavity_of_every_cycle_is_one_piece_or_none(cycles):
    detector = CavityDetector(
        rule(cavities=4, quality_signal="m.q", verdict_signals=("m.a", "m.b", "m.c", "m.d")), None
    )
    state, _ = put(detector, detector.initial(), 0, shot=0)
    shots = 0
    for second, (verdicts, quality, step) in enumerate(cycles, 1):
        shots += step
        state, events = put(detector, state, second, **dict(zip("abcd", verdicts, strict=True)), q=quality, shot=shots)
        pieces = [event for event in events if event.delta]
        assert sum(event.cycles for event in events) == step
        # The last cycle has a verdict on each cavity; of those before nobody knows, but for empty ones.
        last = 4 - verdicts.count(0)
        assert sum(event.delta for event in pieces) == last * step
        assert sum(event.max_lost for event in events) == verdicts.count(0) * max(0, step - 1)
        good = sum(event.delta for event in pieces if event.role is Role.GOOD)
        assert good == (verdicts.count(1) if step and quality == 0 else 0)


@pytest.mark.parametrize(
    ("over", "shares"),
    [
        ({}, {"CAP": Fraction(3, 8), "BASE": Fraction(5, 8)}),
        ({"machine_time": "equal"}, {"CAP": Fraction(1, 2), "BASE": Fraction(1, 2)}),
        (
            {"machine_time": "by_weight", "weights": {"CAP": "1.2", "BASE": "3.6"}},
            {"CAP": Fraction(36, 216), "BASE": Fraction(180, 216)},
        ),
        ({"machine_time": "leading_order", "leading_part": "BASE"}, {"CAP": Fraction(0), "BASE": Fraction(1)}),
        ({"closed": (SHUT,)}, {"CAP": Fraction(2, 7), "BASE": Fraction(5, 7)}),
    ],
)
def test_the_machines_time_is_shared_and_nothing_of_it_is_left(over, shares):
    detector = CavityDetector(rule(parts=PARTS, **over), None)
    assert detector.time_shares(START_NS) == shares
    assert sum(shares.values()) == 1


def test_one_product_shares_nothing():
    assert CavityDetector(rule(), None).time_shares(START_NS) == {}


def test_the_table_of_closed_cavities_has_sharp_edges():
    detector = CavityDetector(rule(closed=(SHUT, ClosedCavity(cavity=8, since=Instant(START_NS + 2 * S)))), None)
    seen = {at: len(detector.active(START_NS + at)) for at in (-1, 0, S - 1, S, 2 * S - 1, 2 * S, 100 * S)}
    assert seen == {-1: 8, 0: 7, S - 1: 7, S: 8, 2 * S - 1: 8, 2 * S: 7, 100 * S: 7}


def test_a_cycle_has_what_was_valid_when_it_ended_not_when_its_edge_was_believed():
    """The number changes while the edge of the cycle still settles, and again long after it in the same delivery."""
    detector = CavityDetector(rule(cycle=PulseRule(mode="pulse", signal="m.shot"), active_signal="m.active"), None)
    state, _ = put(detector, detector.initial(), 0, shot=0, active=8)
    state, events = put(detector, state, 10, shot=1)
    assert events == []
    state, events = put(detector, state, 20, active=5)
    assert [(event.delta, event.t_to_ns) for event in events] == [(8, START_NS + 10 * S)]


def test_review_and_loss_are_bounded_by_all_cavities():
    detector = CavityDetector(rule(active_signal="m.active"), S)
    state, _ = put(detector, detector.initial(), 0, shot=100, active=2)
    state, _ = put(detector, state, 1, shot=5000)
    state, events = put(detector, state, 2, shot=5001)
    assert [(event.flag, event.delta, event.review) for event in events] == [("COUNTER_JUMP", 2, 4900 * 8)]
