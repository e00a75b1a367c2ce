"""What the analog mode does besides counting, and what its timer may have to take back."""

from __future__ import annotations

import pytest

from gateway.core.counting.analog import AnalogDetector
from gateway.core.counting.detector import Sample
from gateway.core.counting.pulse import SETTLE_GRACE_NS
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.core.rules_counting import AnalogRule

MS = 1_000_000
START_NS = 1_780_000_000_000_000_000


def detector(**over):
    found = {"mode": "analog", "signal": "m.x", "hi": "8", "lo": "5"} | over
    return AnalogDetector(AnalogRule(**found), None)


def put(made, state, at_ms, value, arrived_ms=None):
    status = Status.BAD if value is None else Status.GOOD
    arrived = START_NS + (at_ms if arrived_ms is None else arrived_ms) * MS
    return made.on_value(state, Sample("m.x", START_NS + at_ms * MS, value, status, arrived))


def test_running_follows_the_signal_and_is_not_known_without_it():
    made = detector(max_gap=Duration("1 s"))
    state = made.initial()
    assert made.running(state) is None
    seen = []
    for at, value in ((0, 1), (100, 9), (300, 9), (400, None), (500, 6), (600, 4), (900, 4), (1000, None), (9000, 9)):
        state, _ = put(made, state, at, value)
        seen.append(made.running(state))
    assert seen == [False, False, True, None, True, True, False, None, True]


def test_a_steady_value_is_believed_by_the_timer():
    made = detector(count_on="on")
    state, _ = put(made, made.initial(), 0, 1)
    state, events = put(made, state, 100, 9, arrived_ms=130)
    assert events == ()
    due = made.deadline(state)
    assert due == START_NS + (130 + 100) * MS + SETTLE_GRACE_NS
    assert made.on_time(state, due - 1) == (state, ())
    state, (event,) = made.on_time(state, due)
    assert (event.delta, event.t_to_ns) == (1, START_NS + 100 * MS)
    assert made.deadline(state) is None


@pytest.mark.parametrize("count_on", ["on", "off"])
def test_what_a_late_value_takes_back_is_counted_once(count_on):
    """The timer believed a dip or a spike, because the end of it came late."""
    made = detector(count_on=count_on, on_delay=Duration("200 ms"))
    state, _ = put(made, made.initial(), 0, 1 if count_on == "on" else 9)
    if count_on == "off":
        for at, value in ((500, 1), (1000, 1), (2000, 9), (3000, 9)):
            state, _ = put(made, state, at, value)
    first, back = (9, 1) if count_on == "on" else (1, 9)
    state, _ = put(made, state, 5000, first)
    state, (event,) = made.on_time(state, made.deadline(state))
    assert event.delta == 1
    state, events = put(made, state, 5100, back, arrived_ms=5400)
    assert (events, state.prepaid) == ((), True)
    assert made.running(state) is (count_on == "off")
    counted = []
    for at, value in ((6000, first), (7000, back), (8000, first), (9000, back)):
        state, events = put(made, state, at, value)
        counted += events
    assert [(event.delta, event.t_to_ns) for event in counted] == [(1, START_NS + 8000 * MS)]


def test_a_rejected_period_that_was_none_is_not_counted_as_one():
    made = detector(min_on=Duration("5 s"))
    state = made.initial()
    for at, value in ((0, 1), (1000, 9), (2000, 9), (3000, 1)):
        state, _ = put(made, state, at, value)
    state, _ = made.on_time(state, made.deadline(state))
    assert state.rejected_short == 1
    state, _ = put(made, state, 3050, 9, arrived_ms=3300)
    assert (state.rejected_short, state.on, state.prepaid) == (0, True, False)


@pytest.mark.parametrize("value", [None, "9", True, float("nan"), float("inf")])
def test_what_is_no_number_is_a_loss_of_the_signal(value):
    made = detector()
    state, _ = put(made, made.initial(), 0, 9)
    sample = Sample("m.x", START_NS + MS, value, Status.GOOD, START_NS + MS)
    state, events = made.on_value(state, sample)
    assert (events, made.running(state)) == ((), None)


def test_thresholds_are_compared_exactly():
    made = detector(hi="0.3", lo="0.1", on_delay=Duration(0))
    state, _ = put(made, made.initial(), 0, 0)
    state, _ = put(made, state, 1, 0.29999999999999999)  # the nearest float is below 0.3
    assert made.running(state) is False
    state, _ = put(made, state, 2, 0.1 + 0.2)
    assert made.running(state) is True
    state, _ = put(made, state, 3, 10**400)
    assert made.running(state) is True


def test_a_restart_is_a_loss_since_the_last_value():
    made = detector(max_gap=Duration("1 s"))
    state, _ = put(made, made.initial(), 0, 1)
    for at in (100, 300):
        state, _ = put(made, state, at, 9)
    again = made.restored(state)
    assert made.running(again) is None
    kept, events = put(made, again, 900, 9)
    assert (events, kept.on_ns) == ((), START_NS + 100 * MS), "short: the cycle goes on"
    _, (aborted, lost) = put(made, again, 60_000, 9)
    assert [aborted.flag, lost.flag] == ["CYCLE_ABORTED", "PULSES_POSSIBLY_LOST"]
    assert lost.t_from_ns == START_NS + 300 * MS
    assert made.restored(made.initial()) == made.initial()
