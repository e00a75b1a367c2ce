"""Five times and what they say: worked figures, and what always holds."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.stamps import Stages, Stamps, acked, figures, overdue, queued, sent, stages, stages_p95
from gateway.core.duration import Duration

HOUR = Duration("1 h")


def test_the_worked_figures():
    """Ten confirmations (domain, F4): median 5.55 s, 95th percentile 4000 s, one above an hour."""
    samples = [Duration(f"{text} s") for text in ["4.2", "3.1", "12", "65", "4000", "2.5", "7", "3.3", "5", "6.1"]]
    found = figures(samples, HOUR)
    assert found.answered == 10
    assert found.median_ns == Duration("5.55 s")
    assert found.p95_ns == found.longest_ns == Duration("4000 s")
    assert found.late == 1


@pytest.mark.parametrize(
    ("samples", "median", "p95"),
    [
        ([7], 7, 7),
        ([7, 8], Fraction(15, 2), 8),
        (range(1, 20), 10, 19),
        (range(1, 21), Fraction(21, 2), 19),
        (range(1, 101), Fraction(101, 2), 95),
        (range(1, 102), 51, 96),
    ],
)
def test_median_and_nearest_rank(samples, median, p95):
    found = figures(reversed(samples), 10**9)
    assert (found.median_ns, found.p95_ns, found.late) == (median, p95, 0)


def test_an_hour_is_not_late_yet():
    assert figures([HOUR, HOUR + 1], HOUR).late == 1


def test_without_any_there_is_no_figure():
    assert figures([], HOUR) == (0, None, None, None, 0)


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=60))
def test_the_figures_are_exact(samples):
    found = figures(samples, HOUR)
    assert found.p95_ns in samples
    assert sum(one <= found.p95_ns for one in samples) * 100 >= 95 * len(samples)
    assert sum(one < found.p95_ns for one in samples) * 100 < 95 * len(samples)
    assert 2 * sum(one <= found.median_ns for one in samples) >= len(samples)
    assert 2 * sum(one >= found.median_ns for one in samples) >= len(samples)
    assert isinstance(found.median_ns, Fraction)


TIMES = st.lists(st.integers(0, 10**12), min_size=5, max_size=5).map(sorted)


@given(TIMES)
def test_the_stages_add_up(times):
    event, derived, put, out, answer = times
    stamps = acked(sent(queued(event, derived, put), out), answer)
    assert stamps == Stamps(*times)
    assert sum(stages(stamps)) == stamps.latency_ns == answer - event
    assert Stamps(**json.loads(json.dumps(stamps._asdict()))) == stamps
    assert acked(stamps, answer + 5) == stamps, "the first answer counts"


def test_the_stages_of_many_are_ranked_each_by_itself():
    """Twenty: the slowest of a stage is above its 95th percentile. Stages that did not happen do not count."""
    slow = [Stamps(0, 900, 1_000, 1_010, 1_011), Stamps(0, 1, 2, 3, 800)]
    quick = [Stamps(0, 2, 5, 9, 14) for _ in range(17)]
    unsent = Stamps(None, None, 0, None, 7)
    assert stages_p95([*slow, *quick, unsent]) == Stages(900, 100, 10, 797)
    assert stages_p95([*slow, *quick, *quick, *quick, unsent]) == Stages(2, 3, 4, 5)
    assert stages_p95([unsent]) == stages_p95([]) == Stages(None, None, None, None)


def test_a_device_ahead_of_the_gateway():
    assert queued(1005, 1000, 1001).t_event_ns == 1000


def test_the_last_attempt_is_the_one_that_is_answered():
    stamps = sent(sent(queued(1, 2, 3), 10), 50)
    assert (stamps.t_sent_ns, acked(stamps, 60).latency_ns) == (50, 59)


def test_a_confirmation_without_events():
    stamps = acked(sent(queued(None, None, 3), 4), 5)
    assert stamps.latency_ns is None
    assert stages(stamps) == (None, None, 1, 1)
    assert not overdue(queued(None, None, 3), 10**15, HOUR)


def test_stages_that_have_not_ended():
    assert stages(queued(1, 2, 4)) == (1, 2, None, None)
    assert queued(1, 2, 4).latency_ns is None


def test_overdue_while_nobody_answers():
    stamps = sent(queued(0, 1, 2), 3)
    assert not overdue(stamps, HOUR, HOUR)
    assert overdue(stamps, HOUR + 1, HOUR)
    assert not overdue(acked(stamps, 4), HOUR + 1, HOUR)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: queued(1, None, 3), "found an event without its derivation"),
        (lambda: queued(None, 1, 3), "found an event without its derivation"),
        (lambda: queued(1, 4, 3), "found derived at 4, allowed up to the queueing at 3"),
        (lambda: sent(queued(1, 2, 3), 2), "found an attempt at 2, before it was queued"),
        (lambda: sent(sent(queued(1, 2, 3), 9), 8), "found an attempt at 8"),
        (lambda: sent(acked(sent(queued(1, 2, 3), 4), 5), 6), "found an attempt at 6, after the answer at 5"),
        (lambda: acked(queued(1, 2, 3), 4), "found an answer at 4, sent at None"),
        (lambda: acked(sent(queued(1, 2, 3), 9), 8), "found an answer at 8, sent at 9"),
    ],
)
def test_times_that_cannot_be(wrong, text):
    with pytest.raises(ValueError, match=text):
        wrong()
