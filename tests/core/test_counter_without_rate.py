"""A counter without any rate limit: a step is believed up to a bound that no machine reaches, and not beyond."""

from __future__ import annotations

import pytest

from gateway.core.counting.counter import STEP_MAX, CounterDetector
from gateway.core.model import Status
from gateway.core.rules import CounterRule

S = 1_000_000_000


@pytest.mark.parametrize(("step", "booked", "flag"), [(STEP_MAX, STEP_MAX, "OK"), (STEP_MAX + 1, 0, "PENDING")])
def test_a_step_beyond_all_reason_waits(step, booked, flag):
    detector = CounterDetector(CounterRule(mode="counter", signal="s"), None)
    state, _ = detector.on_value(detector.initial(), S, 7, Status.GOOD)
    _, event = detector.on_value(state, 2 * S, 7 + step, Status.GOOD)
    assert (event.delta, event.flag) == (booked, flag)
