"""Start and end where everything comes at once: each value takes effect at its own time."""

from __future__ import annotations

from gateway.core.counting.detector import Sample
from gateway.core.counting.start_end import StartEndDetector
from gateway.core.duration import Duration
from gateway.core.model import Role, Status
from gateway.core.rules_counting import ResultRule, StartEndRule

MS = 1_000_000
START_NS = 1_780_000_000_000_000_000


def test_a_result_between_two_edges_that_settle_together_stands_at_the_end():
    results = ResultRule(ok="m.ok", nok="m.nok", window=Duration("20 ms"))
    rule = StartEndRule(mode="start_end", signal="m.start", end_signal="m.end", results=results)
    detector = StartEndDetector(rule, None)
    state, events = detector.initial(), []
    first = [(0, name, 0) for name in ("ok", "nok", "end", "start")]
    for at_ms, name, level in [*first, (100, "start", 1), (102, "ok", 1), (104, "end", 1), (150, "start", 0)]:
        sample = Sample(f"m.{name}", START_NS + at_ms * MS, level, Status.GOOD, START_NS + 150 * MS)
        state, more = detector.on_value(state, sample)
        events += [event for event in more if event.delta]
    assert [(event.role, event.flag, event.cycle_ns) for event in events] == [(Role.GOOD, "OK", 4 * MS)]


def test_an_end_that_was_aborted_is_swallowed_only_once():
    rule = StartEndRule(mode="start_end", signal="m.on", abort_signal="m.abort", debounce=Duration(0))
    detector = StartEndDetector(rule, None)
    state, flags = detector.initial(), []
    on = [(0, "abort", 0), (0, "on", 0), (10, "on", 1), (20, "abort", 1), (30, "on", 0), (40, "abort", 0)]
    for at_ms, name, level in [*on, (50, "on", 1), (60, "on", 0), (70, "abort", 1), (80, "on", 1), (90, "on", 0)]:
        sample = Sample(f"m.{name}", START_NS + at_ms * MS, level, Status.GOOD, START_NS + at_ms * MS)
        state, events = detector.on_value(state, sample)
        flags += [(at_ms, event.delta, event.flag) for event in events if event.flag != "BASELINE"]
    assert flags == [(20, 0, "CYCLE_ABORTED"), (60, 1, "OK"), (90, 1, "OK")]
    assert (state.aborted, state.orphan_end, state.open_ns) == (1, 0, None)
