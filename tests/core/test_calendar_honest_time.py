"""How stamps are mapped by corrections, and whose stamp an event gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.calendar.honest_time import (
    ClockCorrection,
    ClockRecord,
    CorrectionReason,
    Outage,
    TimeQuality,
    correction_for,
    utc_of,
    utc_span,
)

S = 1_000_000_000
YEAR = 365 * 86_400 * S
NOW = int(datetime(2026, 11, 22, 8, tzinfo=UTC).timestamp()) * S
SKEW = 5 * S


def correction(from_ns, offset_ns, at_ns=None):
    at_ns = from_ns if at_ns is None else at_ns
    return ClockCorrection(at_ns, from_ns, offset_ns, 0, TimeQuality.SYNCHRONISED, CorrectionReason.LEARNED)


def test_a_stamp_takes_the_latest_correction_that_holds_for_it():
    started, stepped = correction(100, 7), correction(500, -3)
    assert [utc_of((started, stepped), at) for at in (99, 100, 499, 500, 900)] == [99, 107, 506, 497, 897]
    assert correction_for((started, stepped), 99) is None
    assert correction_for((started, stepped), 500) == stepped


def test_what_is_learned_later_puts_right_what_was_stamped_before():
    assert utc_of((correction(100, 0), correction(100, 56 * YEAR, at_ns=400)), 150) == 56 * YEAR + 150


def test_an_interval_keeps_its_length_across_a_step_back():
    corrections = (correction(0, 10 * S), correction(100 * S, -10 * YEAR))
    from_ns, to_ns = utc_span(corrections, 95 * S, 105 * S)
    assert (from_ns, to_ns) == (95 * S - 10 * YEAR, 105 * S - 10 * YEAR)


@given(
    offsets=st.lists(st.tuples(st.integers(0, 1000), st.integers(-(10**6), 10**6)), max_size=6),
    ends=st.tuples(st.integers(0, 2000), st.integers(0, 2000)).map(sorted),
)
def test_no_interval_ever_gets_another_length(offsets, ends):
    corrections = tuple(correction(at, offset) for at, offset in sorted(offsets))
    from_ns, to_ns = utc_span(corrections, *ends)
    assert to_ns - from_ns == ends[1] - ends[0]
    assert to_ns == utc_of(corrections, ends[1])


@pytest.mark.parametrize(
    ("quality", "known"),
    [("IMPLAUSIBLE", 0), ("UNSYNCHRONISED", 0), ("TRUSTED", 1), ("HOLDOVER", 1), ("SYNCHRONISED", 1)],
)
def test_which_qualities_are_known(quality, known):
    assert TimeQuality[quality].known is bool(known)


def test_what_is_kept_goes_through_json():
    learned = correction(1, 2, 3)
    back = ClockCorrection(**json.loads(json.dumps(learned._asdict())))
    assert back == learned
    assert TimeQuality(back.quality) is TimeQuality.SYNCHRONISED
    record = ClockRecord("b", 1, 2, 3, TimeQuality.TRUSTED)
    assert ClockRecord(**json.loads(json.dumps(record._asdict()))) == record


def test_an_outage_is_known_or_not():
    assert Outage(1, 5, 4).gap_known
    assert Outage(1, 5, 0).gap_known
    assert not Outage(1, 5, None).gap_known
