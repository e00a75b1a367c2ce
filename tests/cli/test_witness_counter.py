"""What is made of the values of a counter: tables of what it did, and what must be proposed."""

from __future__ import annotations

import pytest

from gateway.commission.findings import Sureness
from gateway.commission.witness_counter import Sample, findings, study
from gateway.core.duration import NS_PER_S
from gateway.core.rate import Rate
from gateway.core.rules import CounterRule

STEPS = list(range(100, 121))


def samples_of(values, every_ns=NS_PER_S):
    return [Sample(index * every_ns, value) for index, value in enumerate(values)]


def found_in(values, parts, *, modulus=None, every_ns=NS_PER_S, resolution_ns=NS_PER_S // 10):
    return findings("plc.good", samples_of(values, every_ns), parts, resolution_ns, modulus)


def rule_of(found):
    """The proposal as the core takes it."""
    keys = {key: Rate.parse(text) if key == "max_rate" else text for key, text in found.rule.items()}
    return CounterRule(**keys)


@pytest.mark.parametrize(
    ("values", "parts", "counted", "sure", "said"),
    [
        (STEPS, 20, 20, Sureness.SURE, ""),
        (STEPS[:6], 5, 5, Sureness.FAIR, ""),
        (STEPS[:20], 20, 19, Sureness.UNSURE, "off by one"),
        (STEPS, 7, 20, Sureness.UNSURE, "do not fit"),
        (range(100, 201, 5), 20, 100, Sureness.UNSURE, "5 counts a part"),
        ([65_530, *range(65_531, 65_536), *range(15)], 20, 20, Sureness.SURE, "rolled over at 65536"),
        ([*STEPS[:11], 0, 0, *STEPS[11:]], 20, 20, Sureness.FAIR, "read 0 and came back"),
        ([*STEPS[:11], 109, *STEPS[11:]], 20, 20, Sureness.SURE, "older values came late"),
        ([*STEPS[:11], *range(1, 11)], 20, 20, Sureness.FAIR, "was reset"),
        ([*STEPS[:11], *range(5_110, 5_121)], 20, 20, Sureness.FAIR, "jumped by 5000"),
        (STEPS, None, 20, Sureness.UNSURE, "nobody said"),
    ],
    ids=[
        "steady", "few parts", "off by one", "foreign", "strokes", "roll-over", "zero reads", "late", "reset", "jump",
        "nobody counted",
    ],
)  # fmt: skip
def test_the_count_how_sure_it_is_and_why(values, parts, counted, sure, said):
    found = found_in(list(values), parts)
    assert (found.counted, found.sure) == (counted, sure)
    assert said in " ".join((*found.remarks, *found.doubts))
    rule_of(found)


def test_pieces_of_a_count():
    found = found_in(STEPS[:11], 80)
    assert (found.rule["pieces"], found.sure) == (8, Sureness.SURE)


def test_the_modulus_of_the_data_type_or_the_one_that_was_seen():
    assert "modulus" not in found_in(STEPS, 20).rule
    assert found_in(STEPS, 20, modulus=65_536).rule["modulus"] == 65_536
    assert found_in([9_998, 9_999, 0, 1], 3, modulus=65_536).rule["modulus"] == 10_000


def test_pace_gives_max_rate_ideal_cycle_and_scan():
    found = found_in(STEPS, 20, every_ns=2_400_000_000)
    rule = rule_of(found)
    assert rule.max_rate.within(60 * NS_PER_S) >= 37  # 25 a minute and a half more
    assert rule.max_rate.within(60 * NS_PER_S) <= 60
    assert found.ideal_cycle_ns == 2_400_000_000
    assert found.source == {"scan": "1 s"}


def test_rough_sampling_does_not_make_the_ideal_cycle_too_short():
    """240 ms a piece, seen every 100 ms: 200 or 300 ms between two changes."""
    moments = [-(-piece * 240 // 100) * 100 for piece in range(1, 22)]
    samples = [Sample(at_ms * 1_000_000, 100 + piece) for piece, at_ms in enumerate(moments)]
    found = findings("plc.good", samples, 20, 100_000_000, None)
    assert 230_000_000 <= found.ideal_cycle_ns <= 250_000_000


def test_a_fast_counter_wants_a_fast_scan():
    assert found_in(STEPS, 20, every_ns=100_000_000).source == {"scan": "50 ms"}


def test_steps_of_several_counts_are_named():
    found = found_in(range(0, 60, 3), 57, resolution_ns=NS_PER_S)
    assert any("several counts came between two samples" in remark for remark in found.remarks)


def test_the_first_value_is_no_step():
    assert study(samples_of([50_000])).counted == 0
    assert found_in([50_000, 50_000], 3).rule == {}
