"""Several counters on one machine: what follows from them adds up, whatever the order in which they are read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.counting.detector import CounterSource, Sample
from gateway.core.counting.packml import PackmlDetector
from gateway.core.counting.roles import RolesDetector
from gateway.core.model import Role, Status
from gateway.core.rules import CounterRule
from gateway.core.rules_counting import RolesRule
from gateway.core.rules_packml import PackmlRule

S = 1_000_000_000
START_NS = 1_780_000_000_000_000_000


def counter(name, **over):
    return CounterRule(mode="counter", signal=f"m.{name}", **over)


def put(detector, state, at_s, name, value, status=Status.GOOD):
    at_ns = START_NS + at_s * S
    return detector.on_value(state, Sample(f"m.{name}", at_ns, value, status, at_ns))


def sums(events):
    found = dict.fromkeys(Role, 0)
    for event in events:
        assert event.delta >= 0
        found[event.role] += event.delta
    return found


READS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.permutations(["total", "scrap"])), max_size=30)


@settings(max_examples=200)
@given(polls=READS)
def test_good_is_total_less_scrap_and_what_is_carried(polls):
    """In whatever order a scan delivers them, and however scrap runs ahead of the total."""
    detector = RolesDetector(RolesRule(mode="roles", total=counter("total"), scrap=counter("scrap")), None)
    state, shown, said = detector.initial(), {"total": 0, "scrap": 0}, []
    for name in shown:
        state, _ = put(detector, state, 0, name, 0)
    for second, (total, scrap, order) in enumerate(polls, 1):
        shown = {"total": shown["total"] + total, "scrap": shown["scrap"] + scrap}
        for name in order:
            state, events = put(detector, state, second, name, shown[name])
            said += events
    found = sums(said)
    assert found[Role.SCRAP] == shown["scrap"]
    assert state.carry <= 0
    assert found[Role.GOOD] + state.carry == shown["total"] - shown["scrap"]


def test_a_scan_is_judged_in_the_order_of_the_signals():
    rule = RolesRule(
        mode="roles",
        total=counter("total", restart_evidence=("m.boots",)),
        good=counter("good"),
        scrap=counter("scrap", restart_uptime=("m.up",)),
    )
    assert RolesDetector(rule, None).signals == ("m.up", "m.boots", "m.scrap", "m.good", "m.total")
    packml = PackmlRule(mode="packml", processed="m.p", defective="m.d", counts="count", state="m.s")
    assert PackmlDetector(packml, None).signals == ("m.s", "m.d", "m.p")


def test_a_mismatch_is_told_again_once_it_was_over():
    rule = RolesRule(
        mode="roles", total=counter("total"), good=counter("good"), scrap=counter("scrap"), check_polls=2, tolerance=0
    )
    detector = RolesDetector(rule, None)
    state, told = detector.initial(), []
    for second, (good, total) in enumerate([(0, 0), (1, 2), (2, 3), (3, 4), (4, 6)]):
        for name, value in (("scrap", 0), ("good", good), ("total", total)):
            state, events = put(detector, state, second, name, value)
            told += [(second, event.flag) for event in events if event.flag == "COUNTER_MISMATCH"]
    assert told == [(1, "COUNTER_MISMATCH"), (4, "COUNTER_MISMATCH")]


def test_a_boot_counter_resets_the_counters_inside():
    rule = counter("n", restart_evidence=("m.boots",), restart_uptime=("m.up",))
    source = CounterSource(rule, S)
    state = source.initial()
    for name, value in (("boots", 1), ("up", 500), ("n", 1000)):
        state, _ = put(source, state, 0, name, value)
    state, _ = put(source, state, 5, "up", 505)
    assert state.counter.evidence == "", "an uptime that rises is no restart"
    state, _ = put(source, state, 6, "up", "text")
    state, _ = put(source, state, 6, "up", 3)
    state, (event,) = put(source, state, 7, "n", 2)
    assert (event.flag, event.delta) == ("RESET", 2)
    state, _ = put(source, state, 8, "boots", 2, Status.BAD)
    state, _ = put(source, state, 8, "boots", 2)
    state, (event,) = put(source, state, 9, "n", 3)
    assert (event.flag, event.delta) == ("RESTART_RETENTIVE", 1)


def test_a_restart_without_evidence_kept_of_another_rule():
    source = CounterSource(counter("n", restart_evidence=("m.boots",)), None)
    assert source.restored(source.initial()._replace(told=("1", "2"))).told == (None,)


@settings(max_examples=150)
@given(
    jobs=st.lists(st.tuples(st.lists(st.integers(0, 6), max_size=6), st.sampled_from(("seen", "early"))), max_size=6)
)
def test_count_that_starts_anew_with_each_job_loses_and_doubles_nothing(jobs):
    """Count is read to the end of a job, falls while the machine resets, and is read again."""
    rule = PackmlRule(mode="packml", processed="m.p", counts="count", state="m.s")
    detector = PackmlDetector(rule, None)
    state, _ = put(detector, detector.initial(), 0, "s", 6)
    state, _ = put(detector, state, 0, "p", 0)
    second, made, said = 0, 0, []
    for steps, kind in jobs:
        shown = 0
        for step in steps:
            second, shown, made = second + 1, shown + step, made + step
            state, events = put(detector, state, second, "p", shown)
            said += events
        second += 1
        state, _ = put(detector, state, second, "s", 15)
        if kind == "early":  # the state is seen before the counter falls
            state, events = put(detector, state, second, "p", shown)
            said += events
        state, events = put(detector, state, second + 1, "p", 0)
        said += events
        second += 2
        state, _ = put(detector, state, second, "s", 6)
    assert sums(said)[Role.GOOD] == made
    assert sum(event.review for event in said) == 0
    assert {event.flag for event in said} <= {"OK", "RESET"}
