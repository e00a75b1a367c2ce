"""What people say afterwards about stops: a view, never a change of what was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import MachineState
from gateway.core.state.annotations import (
    AnnotationError,
    StopMerge,
    StopReasonAssigned,
    StopSplit,
    annotated,
    check,
)
from gateway.core.state.interval import StateInterval

M = MachineState
ROW = (
    StateInterval(M.PRODUCING, 0, 100),
    StateInterval(M.STOPPED, 100, 400, "JAM", "alarm", shift="F", stop_from_ns=100),
    StateInterval(M.STOPPED, 400, 500, "JAM", "alarm", shift="S", stop_from_ns=100),
    StateInterval(M.PRODUCING, 500, 600),
    StateInterval(M.STOPPED, 600, 700, "UNSPECIFIED", stop_from_ns=600),
)


def shown(*annotations):
    for one in annotations:
        check(ROW, one)
    return [(one.from_ns, one.to_ns, one.reason) for one in annotated(ROW, annotations) if one.state is M.STOPPED]


def test_a_person_goes_before_the_alarm():
    assert shown(StopReasonAssigned(900, 100, 500, "NO_OPERATOR", "mia")) == [
        (100, 400, "NO_OPERATOR"),
        (400, 500, "NO_OPERATOR"),
        (600, 700, "UNSPECIFIED"),
    ]


def test_one_stop_was_two():
    split = StopSplit(900, 200, "mia")
    assert shown(split)[:2] == [(100, 200, "JAM"), (200, 400, "JAM")]
    assert shown(split, StopMerge(901, 200, "mia"))[0] == (100, 400, "JAM")
    assert shown(split, StopReasonAssigned(901, 200, 500, "CLEAN", "mia"))[:3] == [
        (100, 200, "JAM"),
        (200, 400, "CLEAN"),
        (400, 500, "CLEAN"),
    ]


def test_the_last_word_counts():
    first, second = (StopReasonAssigned(at, 600, 700, reason, "mia") for at, reason in ((900, "A"), (901, "B")))
    assert shown(first, second)[-1] == (600, 700, "B")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (StopSplit(900, 50, "mia"), "found outside of a stop"),
        (StopSplit(900, 100, "mia"), "found outside of a stop"),
        (StopReasonAssigned(900, 50, 200, "X", "mia"), "found outside of a stop"),
        (StopReasonAssigned(900, 600, 800, "X", "mia"), "found outside of a stop"),
        (StopReasonAssigned(900, 100, 700, "X", "mia"), "found outside of a stop"),
        (StopReasonAssigned(900, 100, 200, "", "mia"), "found an empty reason"),
        (StopReasonAssigned(900, 200, 200, "X", "mia"), "found an empty reason"),
        (StopSplit(2000, 200, "mia"), "later than the lock"),
    ],
)
def test_what_cannot_be_said(found, message):
    with pytest.raises(AnnotationError, match=message):
        check(ROW, found, lock_ns=1000)


def test_two_stops_side_by_side_are_not_one():
    row = (StateInterval(M.BLOCKED, 0, 10, stop_from_ns=0), StateInterval(M.STOPPED, 10, 20, stop_from_ns=10))
    with pytest.raises(AnnotationError, match="over several stops"):
        check(row, StopReasonAssigned(30, 0, 20, "X", "mia"))


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 300), st.booleans()), max_size=10))
def test_the_view_covers_what_was(found):
    annotations = tuple(
        StopSplit(0, begin, "x") if split else StopReasonAssigned(0, begin, begin + length, "R", "x")
        for begin, length, split in found
    )
    view = annotated(ROW, annotations)
    at_ns = 0
    for one in view:
        assert one.from_ns == at_ns
        assert one.to_ns > at_ns
        at_ns = one.to_ns
        (raw,) = [raw for raw in ROW if raw.from_ns <= one.from_ns and one.to_ns <= raw.to_ns]
        assert raw.state is one.state
    assert at_ns == 700
