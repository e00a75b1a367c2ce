"""A counter without any rate limit: a step waits where it may be a torn value, and is booked once it stays."""

from __future__ import annotations

import pytest

from gateway.core.counting.counter import CounterDetector
from gateway.core.counting.counter_limits import STEP_MAX, STEP_SURE
from gateway.core.model import Status
from gateway.core.rules import CounterRule

S = 1_000_000_000


def fed(values, **over):
    detector = CounterDetector(CounterRule(mode="counter", signal="s", **over), None)
    state, said = detector.initial(), []
    for second, value in enumerate(values):
        state, event = detector.on_value(state, second * S, value, Status.GOOD)
        said.append((event.delta, event.flag) if event else (0, "OK"))
    return said[1:]


@pytest.mark.parametrize(("step", "booked", "flag"), [(STEP_SURE, STEP_SURE, "OK"), (STEP_SURE + 1, 0, "PENDING")])
def test_a_step_that_may_be_a_torn_value_waits(step, booked, flag):
    assert fed([7, 7 + step]) == [(booked, flag)]


def test_it_is_booked_once_it_stays():
    assert fed([7, 70_007, 70_009]) == [(0, "PENDING"), (70_002, "OK")]


def test_a_torn_value_is_dropped():
    assert fed([1000, 66_536, 1003]) == [(0, "PENDING"), (3, "SPIKE_DROPPED")]


@pytest.mark.parametrize(("step", "flag"), [(STEP_MAX, "OK"), (STEP_MAX + 1, "COUNTER_JUMP")])
def test_who_decides_at_once_believes_up_to_what_no_machine_makes(step, flag):
    ((_, found),) = fed([7, 7 + step], confirm_samples=0)
    assert found == flag
