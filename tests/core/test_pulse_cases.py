"""The golden table of the counting mode ``pulse``: data/pulse_cases.txt, and the cases that need the timer."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.counting.pulse import SETTLE_GRACE_NS, PulseDetector
from gateway.core.duration import Duration
from gateway.core.model import Status
from gateway.core.rules import PulseRule

TABLE = Path(__file__).parent / "data" / "pulse_cases.txt"
START_NS = 1_000_000_000_000_000
MS = 1_000_000


def detector_of(text):
    first, found = False, {}
    for name, value in (pair.split("=") for pair in text.split()):
        if name == "first":
            first = value == "1"
        else:
            found[name] = value if name == "edge" else Duration(f"{value} ms")
    return PulseDetector(PulseRule(mode="pulse", signal="box.n", **found), None), first


def cases():
    found = []
    for block in TABLE.read_text().split("\ncase ")[1:]:
        title, *lines = filter(None, block.splitlines())
        fields = dict(line.split(maxsplit=1) for line in lines)
        assert set(fields) == {"set", "signal", "until", "counts", "cycles", "noise"}, title
        found.append(pytest.param(fields, id=title.replace("  ", " ")))
    return found


def numbers(text):
    return [] if text == "-" else [int(word) for word in text.split()]


@pytest.mark.parametrize("fields", cases())
def test_golden_case(fields):
    detector, first = detector_of(fields["set"])
    at = START_NS - 1000 * MS
    state, (baseline,) = detector.on_value(detector.initial(), at, first, Status.GOOD, at)
    assert (baseline.delta, baseline.flag) == (0, "BASELINE")
    events = []
    for word in fields["signal"].split():
        level, at_ms = word.split("@")
        at = START_NS + int(at_ms) * MS
        state, more = detector.on_value(state, at, level == "1", Status.GOOD, at)
        events += more
    state, more = detector.on_time(state, START_NS + int(fields["until"]) * MS)
    events += more
    assert {event.flag for event in events} == {"OK"}
    assert [event.delta for event in events] == [1] * len(events)
    assert [(event.t_to_ns - START_NS) // MS for event in events] == numbers(fields["counts"])
    cycles = [event.cycle_ns // MS for event in events if event.cycle_ns is not None]
    assert cycles == numbers(fields["cycles"])
    assert f"{state.rejected_short} / {state.glitches}" == fields["noise"]


def test_the_table_is_whole():
    assert len(cases()) == TABLE.read_text().count("\ncase ") == 10


def test_a_level_is_believed_without_a_further_edge():
    detector, _ = detector_of("debounce=5")
    state, _ = detector.on_value(detector.initial(), START_NS, False, Status.GOOD, START_NS)
    edge, arrived = START_NS + 10 * MS, START_NS + 90 * MS
    state, events = detector.on_value(state, edge, True, Status.GOOD, arrived)
    assert events == ()
    due = detector.deadline(state)
    assert due == arrived + 5 * MS + SETTLE_GRACE_NS, "bounce may still be on its way when the edge arrives late"
    early, events = detector.on_time(state, due - 1)
    assert (early, events) == (state, ())
    state, (event,) = detector.on_time(state, due)
    assert (event.delta, event.t_to_ns) == (1, edge), "dated where it happened, not where it was believed"
    assert detector.deadline(state) is None


def test_a_stuck_signal_is_told_once_and_again_after_it_moved():
    detector, _ = detector_of("debounce=5 stuck_after=60000")
    state, _ = detector.on_value(detector.initial(), START_NS, True, Status.GOOD, START_NS)
    due = detector.deadline(state)
    assert due == START_NS + 60_000 * MS
    state, events = detector.on_time(state, due)
    assert [(event.flag, event.delta, event.t_from_ns) for event in events] == [("STUCK_SIGNAL", 0, START_NS)]
    assert detector.deadline(state) is None
    assert detector.on_time(state, due + 1)[1] == ()
    moved = due + 1000 * MS
    state, _ = detector.on_value(state, moved, False, Status.GOOD, moved)
    state, _ = detector.on_time(state, detector.deadline(state))
    assert detector.deadline(state) == moved + 60_000 * MS


def test_no_debounce_counts_at_once():
    detector, _ = detector_of("debounce=0")
    state, _ = detector.on_value(detector.initial(), START_NS, False, Status.GOOD, START_NS)
    _, (event,) = detector.on_value(state, START_NS + MS, True, Status.GOOD, START_NS + MS)
    assert event.delta == 1


@pytest.mark.parametrize(
    ("settings", "gap_ms", "bound"),
    [("debounce=5 min_cycle=200", 1000, 6), ("debounce=5 min_cycle=200", 1199, 6), ("debounce=5", 1000, -1)],
)
def test_a_gap_is_declared_with_its_bound(settings, gap_ms, bound):
    detector, _ = detector_of(settings)
    state, _ = detector.on_value(detector.initial(), START_NS, False, Status.GOOD, START_NS)
    lost = START_NS + 300 * MS
    state, events = detector.on_value(state, lost, None, Status.BAD, lost)
    assert events == ()
    back = START_NS + gap_ms * MS
    state, (event,) = detector.on_value(state, back, True, Status.GOOD, back)
    assert (event.flag, event.delta, event.max_lost) == ("PULSES_POSSIBLY_LOST", 0, bound)
    assert (event.t_from_ns, event.t_to_ns) == (START_NS, back), "from the last sight, not from the bad news"


def test_where_nothing_was_missed_nothing_is_declared():
    detector, _ = detector_of("debounce=5 min_cycle=200")
    state, _ = detector.on_value(detector.initial(), START_NS, False, Status.GOOD, START_NS)
    state = detector.restored(state)
    state, events = detector.on_value(state, START_NS, False, Status.GOOD, START_NS)
    assert events == ()
    assert state.level is False


def test_without_a_minimum_the_ideal_cycle_bounds_a_gap():
    rule = PulseRule(mode="pulse", signal="box.n")
    detector = PulseDetector(rule, 1000 * MS)
    state, _ = detector.on_value(detector.initial(), START_NS, False, Status.GOOD, START_NS)
    back = START_NS + 10_000 * MS
    _, (event,) = detector.on_value(detector.restored(state), back, False, Status.GOOD, back)
    assert event.max_lost == 17  # 1.5 times the ideal rate, and two


def test_an_edge_believed_too_early_is_never_counted_twice():
    """The timer believed a spike, because the end of it came late: the next pulse is the one that was counted."""
    detector, _ = detector_of("debounce=10")
    state, _ = detector.on_value(detector.initial(), START_NS, False, Status.GOOD, START_NS)
    spike = START_NS + 100 * MS
    state, _ = detector.on_value(state, spike, True, Status.GOOD, spike)
    state, (event,) = detector.on_time(state, detector.deadline(state))
    assert event.delta == 1
    state, events = detector.on_value(state, spike + 3 * MS, False, Status.GOOD, spike + 250 * MS)
    assert events == ()
    assert (state.level, state.prepaid) == (False, True)
    counts = []
    for at in (1000, 2000):
        for level, later in ((True, 0), (False, 50)):
            now = START_NS + (at + later) * MS
            state, events = detector.on_value(state, now, level, Status.GOOD, now)
            counts += events
    assert [(event.delta, event.t_to_ns) for event in counts] == [(1, START_NS + 2000 * MS)]
    assert counts[0].cycle_ns == 1000 * MS, "measured from the pulse that stood in for the spike"
