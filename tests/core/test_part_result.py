"""Bounds of the mode ``part_result``: what waits is limited, and nothing of it is dropped."""

from __future__ import annotations

from gateway.core.counting.detector import Sample
from gateway.core.counting.part_result import PartResultDetector
from gateway.core.counting.verdicts import EARLY_RESULTS_MAX, OPEN_PARTS_MAX
from gateway.core.duration import Duration
from gateway.core.model import Role, Status
from gateway.core.rules_counting import PartResultRule, ResultRule

MS = 1_000_000
START_NS = 1_780_000_000_000_000_000


def fed(debounce, changes):
    """A detector without timers, fed with (time, signal, level)."""
    results = ResultRule(ok="m.ok", nok="m.nok", window=Duration("1 h"))
    rule = PartResultRule(mode="part_result", signal="m.part", debounce=Duration(debounce), results=results)
    detector = PartResultDetector(rule, None)
    state, events = detector.initial(), []
    first = [(0, name, False) for name in ("part", "ok", "nok")]
    for at_ms, name, level in first + changes:
        at_ns = START_NS + at_ms * MS
        state, more = detector.on_value(state, Sample(f"m.{name}", at_ns, level, Status.GOOD, at_ns))
        events += [event for event in more if event.flag != "BASELINE" and not event.activity]
    return detector, state, events


def test_no_more_parts_wait_than_allowed_and_the_oldest_is_held():
    changes = [(10 * at, "part", at % 2 == 1) for at in range(1, 2 * OPEN_PARTS_MAX + 5)]
    detector, state, events = fed("0 s", changes)
    assert len(state.verdicts.open) == OPEN_PARTS_MAX
    assert [(event.flag, event.role, event.t_to_ns) for event in events] == [
        ("RESULT_MISSING", Role.HOLD, START_NS + 10 * MS),
        ("RESULT_MISSING", Role.HOLD, START_NS + 30 * MS),
    ]
    _, rest = detector.on_time(state, START_NS + 4_000_000 * MS)
    assert len(events) + len(rest) == OPEN_PARTS_MAX + 2, "every part is counted once"


def test_no_more_results_wait_than_allowed_for_an_edge_to_settle():
    changes = [(1000, "part", True)]
    changes += [(1000 + at, "ok", at % 2 == 1) for at in range(1, EARLY_RESULTS_MAX + 1)]
    _, state, events = fed("10 s", changes)
    assert (len(state.verdicts.early), events) == (EARLY_RESULTS_MAX, [])
    _, state, events = fed("10 s", [*changes, (1900, "nok", True)])
    assert state.verdicts.early == ()
    orphans = EARLY_RESULTS_MAX // 2 + 1
    assert [event.flag for event in events] == ["ORPHAN_RESULT"] * orphans, "there is no part yet: nobody's"


def test_a_verdict_in_hand_is_not_overtaken_by_the_timer():
    """It waits for an edge to settle that was late; meanwhile the window of its part ends."""
    results = ResultRule(ok="m.ok", nok="m.nok", window=Duration("500 ms"))
    rule = PartResultRule(mode="part_result", signal="m.part", debounce=Duration("50 ms"), results=results)
    detector = PartResultDetector(rule, None)
    state, events = detector.initial(), []
    changes = [(0, 0, "part", 0), (0, 0, "ok", 0), (0, 0, "nok", 0), (100, 100, "part", 1), (200, 200, "part", 0)]
    for at, arrived, name, level in [*changes, (590, 700, "part", 1), (595, 700, "nok", 1)]:
        at_ns, arrived_ns = START_NS + at * MS, START_NS + arrived * MS
        state, _ = detector.on_value(state, Sample(f"m.{name}", at_ns, level, Status.GOOD, arrived_ns))
    while (due := detector.deadline(state)) is not None:
        state, more = detector.on_time(state, due)
        events += [(event.role, (event.t_to_ns - START_NS) // MS) for event in more if event.delta]
    assert events == [(Role.SCRAP, 100), (Role.HOLD, 590)]
