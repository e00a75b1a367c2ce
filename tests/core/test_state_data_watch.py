"""When a machine is heard, and since when it is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.core.rules_state import DataLossRule
from gateway.core.state.data_watch import DataBack, DataLost, DataWatch, WatchState

S = 10**9
TEN_SECONDS = DataLossRule(stale_after=Duration("10 s"))
GOOD, BAD, UNCERTAIN = Status.GOOD, Status.BAD, Status.UNCERTAIN


def play(watch, *steps, state=None):
    state, out = state or watch.initial(), []
    for seconds, signal, status in steps:
        if signal:
            state, said = watch.on_value(state, signal, status, seconds * S)
        else:
            state, said = watch.on_time(state, seconds * S)
        out += said
    return state, out


def test_heard_once_every_signal_is():
    watch = DataWatch(TEN_SECONDS, ("a", "b"))
    assert play(watch, (1, "a", GOOD), (2, "x", GOOD), (3, "b", GOOD))[1] == [DataBack(3 * S)]
    assert play(watch, (1, "a", GOOD), (12, "b", GOOD))[1] == [], "the first one is stale by then"


def test_silence_is_a_loss_from_the_last_good_instant_on():
    watch = DataWatch(TEN_SECONDS, ("a", "b"))
    state, out = play(watch, (1, "a", GOOD), (2, "b", GOOD), (9, "b", GOOD))
    assert watch.deadline(state) == 11 * S
    assert play(watch, (10, "", GOOD), state=state)[1] == []
    state, out = play(watch, (30, "", GOOD), state=state)
    assert out == [DataLost(11 * S, 1 * S, ("a",))], "at its own time, however late it is asked"
    assert watch.deadline(state) is None
    assert play(watch, (31, "a", GOOD), (32, "b", GOOD), state=state)[1] == [DataBack(32 * S)]


def test_a_bad_quality_is_a_loss_at_once():
    watch = DataWatch(DataLossRule(stale_after=None), ("a",))
    state, out = play(watch, (1, "a", GOOD), (5, "a", GOOD), (7, "a", UNCERTAIN), (8, "a", BAD))
    assert out == [DataBack(1 * S), DataLost(7 * S, 5 * S, ("a",))]
    assert play(watch, (900, "a", GOOD), (90_000, "", GOOD), state=state)[1] == [DataBack(900 * S)]


@pytest.mark.parametrize(("found_within_s", "since_s"), [(10, 890), (90, 810), (1000, 1)])
def test_a_loss_is_dated_back_as_far_as_its_source_may_have_been_silent(found_within_s, since_s):
    """A signal that is told only when it changes was good for hours; a polled one is as old as its last sample."""
    watch = DataWatch(DataLossRule(), ("a",), found_within_s * S)
    assert play(watch, (1, "a", GOOD), (900, "a", BAD))[1][-1] == DataLost(900 * S, since_s * S, ("a",))


def test_a_late_value_finds_the_loss_first():
    watch = DataWatch(DataLossRule(stale_after=Duration("3 s")), ("a",))
    _state, out = play(watch, (1, "a", GOOD), (9, "a", GOOD))
    assert out == [DataBack(1 * S), DataLost(4 * S, 1 * S, ("a",)), DataBack(9 * S)]


def test_after_a_restart_all_must_be_seen_anew():
    watch = DataWatch(TEN_SECONDS, ("a",))
    state, _ = play(watch, (1, "a", GOOD))
    assert watch.restored(state) == watch.initial()
    assert watch.signals == ("a",)


@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.sampled_from(["a", "b", ""]), st.sampled_from([GOOD, GOOD, BAD])), max_size=40
    )
)
def test_loss_and_return_alternate_and_a_restore_changes_nothing(steps):
    watch = DataWatch(TEN_SECONDS, ("a", "b"))
    out, now, state = [], 0, watch.initial()
    kept, kept_out = state, []
    for seconds, signal, status in steps:
        now += seconds
        kept, said = play(watch, (now - seconds // 2, "", GOOD), state=kept)
        kept_out += said
        data = json.loads(json.dumps(kept._asdict()))
        kept = WatchState(tuple(data["good_ns"]), tuple(data["bad"]), data["lost"])
        kept, said = play(watch, (now, signal, status), state=kept)
        kept_out += said
        state, said = play(watch, (now, signal, status), state=state)
        out += said
    assert (kept, kept_out) == (state, out)
    assert [type(one) for one in out] == [(DataBack, DataLost)[number % 2] for number in range(len(out))]
    for one in out:
        if isinstance(one, DataLost):
            assert one.last_good_ns <= one.at_ns


def test_a_signal_told_only_when_it_changes_was_good_until_the_link_was_doubted():
    watch = DataWatch(DataLossRule(), ("a", "b"))
    state, _ = play(watch, (1, "a", GOOD), (2, "b", GOOD))
    assert watch.deadline(state) is None
    assert play(watch, (3600, "a", BAD), state=state)[1] == [DataLost(3600 * S, 3590 * S, ("a",))]
    assert play(watch, (4, "a", BAD), state=state)[1] == [DataLost(4 * S, 1 * S, ("a",))]
