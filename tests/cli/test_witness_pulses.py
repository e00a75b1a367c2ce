"""What is made of the edges of a digital signal: tables of what a sensor did, and what must be proposed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.commission.findings import Sureness
from gateway.commission.report import document, lines
from gateway.commission.witness_pulses import Level, findings, study
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.rules import PulseRule

MS = 1_000_000


def levels_of(*runs, start=False):
    """Levels from the lengths (in ms) of alternating runs; the first level is ``start``."""
    t_ns, high, found = 5 * NS_PER_S, start, []
    for length_ms in runs:
        found.append(Level(t_ns, high))
        t_ns += round(length_ms * MS)
        high = not high
    return found, t_ns


def pulses(count, width=80, gap=920, bounce=()):
    """Runs of equal pulses; ``bounce``: lengths of the short runs at each rise."""
    runs = [gap]
    for _ in range(count):
        runs += [*bounce, width, gap]
    return runs


def found_in(runs, parts, *, resolution_ms=0, start=False):
    levels, end_ns = levels_of(*runs, start=start)
    return findings("box.carton", levels, end_ns, parts, resolution_ms * MS)


def rule_of(found):
    """The proposal as the core takes it."""
    keys = {key: Duration(text) if key in ("debounce", "min_cycle") else text for key, text in found.rule.items()}
    return PulseRule(**keys)


@pytest.mark.parametrize(
    ("runs", "parts", "counted", "sure"),
    [
        (pulses(20), 20, 20, Sureness.SURE),
        (pulses(20, bounce=(1, 2, 0.5, 1)), 20, 20, Sureness.SURE),
        (pulses(20, bounce=(9, 8)), 20, 20, Sureness.SURE),
        (pulses(5), 5, 5, Sureness.FAIR),
        (pulses(20, width=12, gap=30, bounce=(7, 5)), 20, 20, Sureness.FAIR),
        (pulses(18), 20, 18, Sureness.UNSURE),
        (pulses(21), 20, 21, Sureness.UNSURE),
        (pulses(20), None, 20, Sureness.UNSURE),
    ],
    ids=[
        "clean",
        "bounce",
        "long bounce",
        "few parts",
        "bounce near the pulse",
        "missed",
        "too many",
        "nobody counted",
    ],
)
def test_the_count_and_how_sure_it_is(runs, parts, counted, sure):
    found = found_in(runs, parts)
    assert (found.counted, found.sure) == (counted, sure)
    rule_of(found)


@pytest.mark.parametrize("bounce", [(), (1, 2), (9, 8), (0.05, 0.1, 0.05, 0.2)])
def test_the_debounce_is_longer_than_the_bounce_and_shorter_than_the_pulse(bounce):
    found = found_in(pulses(20, bounce=bounce), 20)
    rule = rule_of(found)
    assert max((round(one * MS) for one in bounce), default=0) < rule.debounce < 80 * MS
    assert rule.debounce < rule.min_cycle < 1_000 * MS


def test_measurements_are_those_of_the_pulses_and_not_of_the_bounce():
    measured = study(*levels_of(*pulses(20, bounce=(1, 2))), 20)
    assert measured.bounce_edges == 40
    assert measured.bounce_ns == 2 * MS
    assert measured.width.median_ns == 80 * MS
    assert measured.cycle.least_ns == 1_003 * MS


def test_parts_that_share_a_pulse_are_its_pieces():
    found = found_in(pulses(10), 240)
    assert (found.rule["pieces"], found.sure) == (24, Sureness.SURE)


def test_missed_parts_are_named_with_the_long_cycles():
    found = found_in([*pulses(9)[:-1], 1_920, *pulses(9)[1:]], 20)
    assert found.measured["missed"] == 2
    assert any("made no pulse" in doubt and "1 cycles were unusually long" in doubt for doubt in found.doubts)


def test_a_second_edge_of_a_part_is_kept_out_by_min_cycle():
    """The sensor sees the part twice: the second one comes 200 ms after the first, longer than any bounce."""
    found = found_in([900, *[80, 120, 80, 900] * 20], 20)
    assert found.counted == 20
    assert 200 * MS < rule_of(found).min_cycle < 1_180 * MS


def test_slow_sampling_is_doubted_and_a_scan_proposed():
    found = found_in(pulses(20, width=100, gap=900), 20, resolution_ms=100)
    assert found.sure is Sureness.FAIR
    assert any("missed without a trace" in doubt for doubt in found.doubts)
    assert found.source == {"scan": "30 ms"}


def test_a_signal_that_rests_high_is_named():
    assert any("rests high" in remark for remark in found_in(pulses(20, width=900, gap=100), 20).remarks)


def test_silence_is_no_proposal():
    found = found_in([5_000], 20)
    assert (found.rule, found.counted) == ({}, 0)
    assert any("no edge" in doubt for doubt in found.doubts)


def test_the_core_counts_with_the_proposal_what_was_made():
    """Judged by the rule's own meaning: a level counts that holds for the debounce, not sooner than min_cycle."""
    levels, end_ns = levels_of(*pulses(20, bounce=(3, 4, 1, 2)))
    rule = rule_of(findings("box.carton", levels, end_ns, 20, 0))
    believed, counted, last_ns = False, 0, None
    for level, after in pairwise([*levels, Level(end_ns, False)]):
        if level.high == believed or after.t_ns - level.t_ns < rule.debounce:
            continue
        believed = level.high
        if believed and (last_ns is None or level.t_ns - last_ns >= rule.min_cycle):
            counted, last_ns = counted + 1, level.t_ns
    assert counted == 20


def test_what_a_person_and_a_program_read():
    found = found_in(pulses(20, bounce=(1, 2)), 20)
    text = "\n".join(lines(found))
    assert "box.carton: 20 pulses, 20 parts made" in text
    assert "- { mode: pulse, signal: box.carton, role: good, debounce: " in text
    told = document(found)
    assert told["sure"] == "sure"
    assert told["measured"]["width_ns"] == {"least": 80 * MS, "median": 80 * MS, "most": 80 * MS}
    assert told["proposal"]["counter"] == found.rule


def test_without_parts_nothing_is_said_of_missing_ones():
    text = "\n".join(lines(found_in(pulses(5), None)))
    assert "None" not in text
    assert "parts without a pulse" not in text
    assert "parts without a pulse" in "\n".join(lines(found_in(pulses(5), 6)))
