"""Random histories of a machine: its intervals tile, are final, and are the same however they were fed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.duration import Duration
from gateway.core.model import MachineState
from gateway.core.rules_state import StateTimelineRule, StopReasonRule
from gateway.core.state import timeline_state
from gateway.core.state.interval import StateInterval
from gateway.core.state.timeline import CONTEXTS_MAX, ROW_MAX, Timeline
from gateway.core.state.timeline_state import ReasonRequired

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
START_NS = 1_780_000_000_000_000_000
M = MachineState
RULE = StateTimelineRule(ideal_cycle=Duration("10 s"), reasons=StopReasonRule(alarms={"1": "JAM"}))
EXPLICIT = [M.PRODUCING, M.STOPPED, M.BLOCKED]
#: Word to what is told: of the timeline, its state, the arrival, an instant before it, and a choice.
WORDS = {
    "cycle": lambda t, s, now, _b, _c: t.cycle(s, now, now, now),
    "late": lambda t, s, now, b, _c: t.cycle(s, now, b, b),
    "sum": lambda t, s, now, _b, c: t.cycle(s, now, now - c * 20 * S, now, 1 + c),
    "order": lambda t, s, now, _b, c: t.job(s, now, now, "AB"[c % 2], "10", (5 + c % 3 * 5) * S),
    "no order": lambda t, s, now, _b, _c: t.job(s, now, now, None, None, None),
    "work": lambda t, s, now, _b, c: t.calendar(s, now, now, None, "FSN"[c % 3]),
    "break": lambda t, s, now, _b, c: t.calendar(s, now, now, M.PLANNED_STOP, "FSN"[c % 3]),
    "off": lambda t, s, now, _b, c: t.calendar(s, now, now, M.NOT_SCHEDULED, "FSN"[c % 3]),
    "lost": lambda t, s, now, _b, c: t.lost(s, now, now - c * S),
    "heard": lambda t, s, now, _b, _c: t.heard(s, now, now),
    "alarm": lambda t, s, now, b, c: t.alarm(s, now, b, str(c % 3)),
    "setup": lambda t, s, now, b, _c: t.setup(s, now, b, "tool", active=True),
    "setup end": lambda t, s, now, _b, _c: t.setup(s, now, now, "tool", active=False),
    "explicit": lambda t, s, now, _b, c: t.explicit(s, now, now, EXPLICIT[c % 3], "why"),
    "explicit end": lambda t, s, now, _b, _c: t.explicit(s, now, now, None),
    "mode": lambda t, s, now, _b, _c: t.mode(s, now, now, M.MAINTENANCE),
    "mode end": lambda t, s, now, _b, _c: t.mode(s, now, now, None),
    "running": lambda t, s, now, _b, c: t.running(s, now, now, on=bool(c % 2)),
    "running end": lambda t, s, now, _b, _c: t.running(s, now, now, on=None),
    "time": lambda t, s, now, _b, _c: t.on_time(s, now),
}
SECONDS = st.one_of(st.integers(0, 30), st.sampled_from([10, 12, 20, 21, 40, 310, 311, 2000]))
STEPS = st.lists(
    st.tuples(SECONDS, st.sampled_from(["cycle"] * 8 + list(WORDS)), st.integers(0, 40)), min_size=3, max_size=40
)


def feed(timeline, state, now_ns, word, choice):
    return WORDS[word](timeline, state, now_ns, now_ns - choice * S // 4, choice)


def begun(timeline):
    state = timeline.initial(START_NS)
    state, _ = timeline.job(state, START_NS, START_NS, "A", "10", None)
    return timeline.heard(state, START_NS, START_NS)[0]


class NoShortCut:
    """Nothing is its case."""

    def due_ns(self, _state):
        return None

    def live(self, _state):
        return None

    def cycle(self, *_given):
        return None

    def later(self, *_given):
        return None

    def running(self, *_given, on):
        return None


class Thorough(Timeline):
    """Without the short cut for the usual piece."""

    def __init__(self, rule):
        super().__init__(rule)
        self._steady = NoShortCut()


def play(
    steps, *, kind=Timeline, between=lambda _timeline, state, _now_ns: (state, ()), watch=lambda _timeline, _state: None
):
    timeline, out, now_ns = kind(RULE), [], START_NS
    state = begun(timeline)
    for seconds, word, choice in steps:
        state, early = between(timeline, state, now_ns + seconds * S // 2)
        now_ns += seconds * S
        state, more = feed(timeline, state, now_ns, word, choice)
        out += [*early, *more]
        assert len(state.row) <= ROW_MAX
        assert len(state.contexts) <= CONTEXTS_MAX + 1
        begins = [context.from_ns for context in state.contexts]
        assert begins == sorted(set(begins)), "evidence is in the order of its time"
        watch(timeline, state)
    state, more = timeline.on_time(state, now_ns + 3600 * S)
    return timeline, state, [*out, *more]


def final(out):
    return [one for one in out if isinstance(one, StateInterval)]


@given(STEPS)
@settings(max_examples=3 * EXAMPLES // 2)
def test_intervals_tile(steps):
    _timeline, state, out = play(steps)
    row = [*final(out), *state.row]
    at_ns = START_NS
    for interval in row:
        assert interval.from_ns == at_ns, "no gap and no overlap"
        assert interval.to_ns > at_ns, "longer than nothing"
        at_ns = interval.to_ns
    assert at_ns == state.pending_ns
    assert state.final_ns == (final(out)[-1].to_ns if final(out) else START_NS)
    for interval in row:
        assert 0 <= interval.speed_loss_ns <= interval.length_ns or interval.reduced_speed
        assert interval.overtime == (interval.state is M.PRODUCING and interval.planned is not None)
        if interval.speed_loss_ns or interval.estimated:
            assert interval.state is M.PRODUCING


@given(STEPS)
@settings(max_examples=EXAMPLES)
def test_time_that_passes_changes_nothing(steps):
    def ask_often(timeline, state, now_ns):
        return timeline.on_time(state, now_ns)

    assert play(steps)[1:] == play(steps, between=ask_often)[1:]


@given(STEPS)
@settings(max_examples=EXAMPLES)
def test_a_saved_state_goes_on_the_same(steps):
    def save(_timeline, state, _now_ns):
        kept = timeline_state.loaded(json.loads(json.dumps(timeline_state.plain(state))))
        assert kept == state
        return kept, ()

    assert play(steps)[1:] == play(steps, between=save)[1:]


@given(STEPS)
@settings(max_examples=EXAMPLES)
def test_the_short_cut_is_one(steps):
    def watch(timeline, state):
        assert timeline.deadline(state) == Thorough(RULE).deadline(state)
        assert timeline.live(state) == Thorough(RULE).live(state)

    assert play(steps, watch=watch)[1:] == play(steps, kind=Thorough)[1:]


#: What may be seen live of a time that was something else, and why.
SEEN_AS = {
    (M.PRODUCING, M.MICRO_STOP),  # detected with a lag
    (M.PRODUCING, M.STOPPED),
    (M.MICRO_STOP, M.STOPPED),
    (M.PRODUCING, M.IDLE_NO_ORDER),
    (M.STOPPED, M.PRODUCING),  # the first piece of a gap that no piece began was made right before it
    (M.STOPPED, M.MICRO_STOP),
    (M.IDLE_NO_ORDER, M.PRODUCING),
    (M.UNKNOWN, M.PRODUCING),  # back-fill
    (M.MICRO_STOP, M.PRODUCING),  # a late sample
    (M.MICRO_STOP, M.IDLE_NO_ORDER),
    (M.STOPPED, M.IDLE_NO_ORDER),
}


PLANNED = {M.PLANNED_STOP, M.NOT_SCHEDULED}  # while pieces come in planned time, what is beneath it shows


@given(STEPS)
@settings(max_examples=EXAMPLES)
def test_what_is_seen_live_is_what_is_final(steps):
    seen = {}  # of several inputs at one instant the last counts

    def watch(timeline, state):
        seen[state.now_ns] = (timeline.live(state).state, timeline._outlook.in_reach(state))

    _timeline, state, out = play(steps, watch=watch)
    row = [*final(out), *state.row]
    for at_ns, (live, in_reach) in seen.items():
        found = next((interval for interval in row if interval.from_ns <= at_ns < interval.to_ns), None)
        if found is not None and found.estimated:
            continue  # nobody saw it
        was = None if found is None else found.state
        if was in (None, live, M.UNKNOWN, M.SETUP):
            continue
        if (was in PLANNED and in_reach) or live in PLANNED:
            continue
        assert (live, was) in SEEN_AS, (at_ns - START_NS) / S


@given(STEPS)
@settings(max_examples=EXAMPLES)
def test_a_reason_is_asked_for_once_a_stop(steps):
    _timeline, _state, out = play(steps)
    asked = [one.stop_from_ns for one in out if isinstance(one, ReasonRequired)]
    assert len(asked) == len(set(asked))


#: Seconds since the word before, what the machine says then, and how many half seconds later that arrives.
SAYS = st.lists(st.tuples(st.integers(1, 30), st.sampled_from(EXPLICIT), st.integers(0, 10)), min_size=1, max_size=12)


@given(SAYS, st.lists(st.integers(1, 400), max_size=20))
@settings(max_examples=EXAMPLES)
def test_a_word_that_arrives_late_is_as_good_as_one_in_time(says, cycles):
    """Where the machine itself says what it does, the pieces between cannot make it another thing."""

    def told(late):
        timeline, state, out = Timeline(RULE), begun(Timeline(RULE)), []
        state, _ = timeline.explicit(state, START_NS, START_NS, M.PRODUCING)
        inputs, at_ns, arrived_ns = [], START_NS, START_NS
        for after_s, word, late_by in says:
            at_ns += after_s * S
            arrived_ns = max(arrived_ns, at_ns + late_by * S // 2 * late)  # one signal's values keep their order
            inputs.append((arrived_ns, at_ns, word))
        inputs += [(START_NS + second * S, START_NS + second * S, None) for second in cycles]
        for now_ns, since_ns, word in sorted(inputs, key=lambda one: one[0]):
            if word is None:
                state, more = timeline.cycle(state, now_ns, now_ns, now_ns)
            else:
                state, more = timeline.explicit(state, now_ns, since_ns, word, word.value)
            out += more
        end_ns = START_NS + 1000 * S
        state, more = timeline.cycle(state, end_ns, end_ns, end_ns)
        row = [*final([*out, *more]), *state.row]
        assert [one.from_ns for one in row] == [START_NS, *(one.to_ns for one in row[:-1])]
        return [(second, state_at(row, START_NS + second * S // 2)) for second in range(2000)]

    assert told(late=True) == told(late=False)


def state_at(row, at_ns):
    return next(one.state for one in row if one.from_ns <= at_ns < one.to_ns)


@pytest.mark.parametrize("word", ["explicit", "gap"])
def test_a_stop_without_a_reason_asks_for_one(word):
    timeline = Timeline(RULE)
    state = begun(timeline)
    at_ns = START_NS + 10 * S
    state, _ = timeline.cycle(state, at_ns, at_ns, at_ns)
    if word == "explicit":
        state, _ = timeline.explicit(state, at_ns, at_ns, M.STOPPED)
    state, out = timeline.on_time(state, at_ns + 3600 * S)
    (asked,) = [one for one in out if isinstance(one, ReasonRequired)]
    assert asked.state is M.STOPPED
    assert asked.stop_from_ns == at_ns + (10 * S if word == "gap" else 0)
    assert 300 * S <= asked.at_ns - asked.stop_from_ns <= 311 * S


def test_a_stop_over_the_end_of_a_shift_is_told_with_that_shift():
    """A shift's report does not wait for the machine to run again."""
    timeline = Timeline(RULE)
    state = begun(timeline)
    state, _ = timeline.calendar(state, START_NS, START_NS, None, "F")
    state, _ = timeline.cycle(state, START_NS + 10 * S, START_NS, START_NS + 10 * S)
    end_ns = START_NS + 3600 * S
    state, _ = timeline.calendar(state, end_ns, end_ns, None, "S")
    assert timeline.deadline(state) == end_ns + RULE.settle_ns
    state, out = timeline.on_time(state, end_ns + RULE.settle_ns)
    assert [(one.state, one.shift, one.to_ns) for one in out] == [(M.STOPPED, "F", end_ns)]


@pytest.mark.parametrize("cycles", [1, 200])
def test_memory_is_bounded(cycles):
    """A day of alternating fast and slow cycles, alarms and orders leaves a handful of rows."""
    timeline = Timeline(RULE)
    state, now_ns = begun(timeline), START_NS
    for number in range(2000):
        now_ns += (10 if number % cycles else 15) * S
        state, _ = timeline.cycle(state, now_ns, now_ns, now_ns)
        state, _ = timeline.alarm(state, now_ns, now_ns, "7")
        state, _ = timeline.job(state, now_ns, now_ns, f"O{number % 3}", "10", 10 * S)
    assert len(state.row) < 8
    assert len(state.contexts) < 4
    assert len(state.alarms) < 16


def test_an_alarm_storm_in_a_long_stop_keeps_the_first():
    timeline = Timeline(RULE)
    state = begun(timeline)
    state, _ = timeline.cycle(state, START_NS + 10 * S, 0, START_NS + 10 * S)
    state, _ = timeline.alarm(state, START_NS + 21 * S, START_NS + 21 * S, "1")
    out, now_ns = [], START_NS + 21 * S
    for number in range(1000):
        now_ns += S
        state, more = timeline.alarm(state, now_ns, now_ns, str(100 + number))
        out += more
    state, more = timeline.calendar(state, now_ns, now_ns, M.NOT_SCHEDULED, "")
    out += [*more, *timeline.on_time(state, now_ns + 60 * S)[1]]
    (stop,) = [one for one in final(out) if one.state is M.STOPPED]
    assert (stop.reason, stop.reason_source, stop.alarms[0]) == ("JAM", "alarm", "1")
    assert [one for one in out if isinstance(one, ReasonRequired)] == []
    assert len(state.alarms) <= 64
