"""Settings of the counting modes: what is refused, and with which words; that the grammar can hold them."""

from __future__ import annotations

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from gateway.core.counting.detector import loaded
from gateway.core.counting.modes import MODES
from gateway.core.counting.units import UnitsState
from gateway.core.instant import Instant
from gateway.core.ratio import Ratio
from gateway.core.rules import AnyCountingRule

RULES = TypeAdapter(AnyCountingRule)
N = "{mode: counter, signal: m.n}"
SHUT_BACKWARDS = "{cavity: 1, since: 2026-05-28T06:00:00Z, until: 2026-05-28T06:00:00+02:00}"

REFUSED = [
    ("{mode: start_end, signal: m.a, end_signal: m.a}", "signal, end_signal: found m.a more than once"),
    (
        "{mode: start_end, signal: m.a, count_on: start, results: {ok: m.o, nok: m.n}}",
        "count_on: found start with results",
    ),
    ("{mode: start_end, signal: m.a, max_cycle: 1 s, min_cycle: 2 s}", "max_cycle (1 s) must be longer"),
    ("{mode: start_end, signal: m.a, debounce: 3 s, min_cycle: 2 s}", "debounce (3 s) must be shorter"),
    ("{mode: start_end, signal: m.a, pieces: 0}", "pieces: found 0, allowed 1 to"),
    ('{mode: analog, signal: m.a, hi: "5", lo: "5.0"}', "hi (5) must be above lo (5.0)"),
    ('{mode: analog, signal: m.a, hi: "1e99999999", lo: "5"}', "hi: found '1e99999999', allowed up to 30 digits"),
    (
        f'{{mode: units, count: {{mode: pulse, signal: m.p}}, pulses_per_unit: "{"9" * 121}"}}',
        "allowed a number or a fraction",
    ),
    ('{mode: analog, signal: m.a, hi: "high", lo: "5"}', "hi: found 'high', allowed a decimal number in quotes"),
    ('{mode: analog, signal: m.a, hi: "NaN", lo: "5"}', "hi: found 'NaN'"),
    ('{mode: analog, signal: m.a, hi: "8", lo: "5", count_on: "on", min_on: 1 s}', "use on_delay instead"),
    ("{mode: part_result, signal: m.a, results: {}}", "found neither or both"),
    ("{mode: part_result, signal: m.a, results: {ok: m.o, signal: m.s, map: {x: good}}}", "found neither or both"),
    ("{mode: part_result, signal: m.a, results: {signal: m.s}}", "signal and map belong together"),
    ("{mode: part_result, signal: m.a, results: {nok: m.o}}", "nok without ok: every good part would be held"),
    ("{mode: part_result, signal: m.a, results: {ok: m.o, nok: m.o}}", "ok and nok: found m.o for both"),
    ("{mode: part_result, signal: m.a, results: {ok: m.a}}", "signal, results.ok: found m.a more than once"),
    ("{mode: part_result, signal: m.a, results: {ok: m.o, window: 10 ms}}", "settle (20 ms) must not be longer"),
    ("{mode: part_result, signal: m.a, results: {ok: m.o, window: 0 s, settle: 0 s}}", "results.window: found 0 s"),
    (f"{{mode: roles, scrap: {N}}}", "roles: found scrap, allowed at least total or good"),
    (f"{{mode: roles, total: {N}, scrap: {N}}}", "scrap, total: found m.n more than once"),
    ("{mode: roles, total: {mode: counter, signal: m.n, role: scrap}}", "total.role: found scrap, allowed total"),
    (f"{{mode: roles, total: {N}, check_polls: 0}}", "check_polls: found 0, allowed 1 to 1000"),
    (f"{{mode: roles, total: {N}, scrap: {N}, in_process: -1}}", "in_process: found -1, allowed 0 to 10000"),
    (f"{{mode: roles, total: {N}, in_process: 2}}", "in_process: found without total and another counter"),
    (f"{{mode: roles, total: {N}, tolerance: -1}}", "tolerance: found -1, allowed 0 and above"),
    ("{mode: packml, processed: m.p, counts: count}", "state is needed with counts: count, and only then"),
    ("{mode: packml, processed: m.p, state: m.s}", "state is needed with counts: count, and only then"),
    ("{mode: packml, processed: m.p, defective: m.p}", "processed, defective: found m.p more than once"),
    ("{mode: packml, processed: m.p, modulus: 1}", "modulus: found 1, allowed 2 to"),
    (f"{{mode: cavity, cycle: {N}, cavities: 0}}", "cavities: found 0, allowed 1 to 256"),
    (f"{{mode: cavity, cycle: {N}, cavities: 4, verdict_signals: [m.a]}}", "found 1, allowed one for each of 4"),
    (
        f"{{mode: cavity, cycle: {N}, cavities: 1, verdict_signals: [m.a], active_signal: m.b}}",
        "active_signal: found beside verdict_signals",
    ),
    (f"{{mode: cavity, cycle: {N}, cavities: 1, quality_signal: m.n}}", "found m.n more than once"),
    (
        f"{{mode: cavity, cycle: {N}, cavities: 3, parts: {{A: [1, 2], B: [2]}}}}",
        "found cavities 1, 2, 2, allowed each",
    ),
    (
        f"{{mode: cavity, cycle: {N}, cavities: 2, parts: {{A: [1], B: [2, 3]}}}}",
        "found cavities 1, 2, 3, allowed each",
    ),
    (f"{{mode: cavity, cycle: {N}, cavities: 1, machine_time: by_weight}}", "weights are needed with"),
    (f"{{mode: cavity, cycle: {N}, cavities: 1, machine_time: leading_order}}", "leading_part is needed with"),
    (
        f"{{mode: cavity, cycle: {N}, cavities: 1, parts: {{A: [1]}}, machine_time: leading_order, leading_part: B}}",
        "leading_part: found B, allowed A",
    ),
    (
        f'{{mode: cavity, cycle: {N}, cavities: 1, parts: {{A: [1]}}, machine_time: by_weight, weights: {{B: "1"}}}}',
        "weights: found B, allowed exactly the parts A",
    ),
    (
        f'{{mode: cavity, cycle: {N}, cavities: 1, parts: {{A: [1]}}, machine_time: by_weight, weights: {{A: "0"}}}}',
        "weights.A: found 0, allowed more than 0",
    ),
    (
        f'{{mode: cavity, cycle: {N}, cavities: 2, closed: [{{cavity: 3, since: "2026-05-28T06:00:00Z"}}]}}',
        "closed: found cavity 3, allowed 1 to 2",
    ),
    (
        f'{{mode: cavity, cycle: {N}, cavities: 2, closed: [{{cavity: 1, since: "2026-05-28T06:00:00"}}]}}',
        "without its offset from UTC",
    ),
    (
        f"{{mode: cavity, cycle: {N}, cavities: 2, closed: [{SHUT_BACKWARDS}]}}",
        "until (2026-05-28T04:00:00Z) must be later than since (2026-05-28T06:00:00Z)",
    ),
    ("{mode: cavity, cycle: {mode: counter, signal: m.n, pieces: 8}, cavities: 8}", "cycle.pieces: found 8, allowed 1"),
    ("{mode: cavity, cycle: {mode: counter, signal: m.n, role: scrap}, cavities: 8}", "cycle.role: found scrap"),
    (f"{{mode: units, count: {N}}}", "found neither or both, allowed pulses_per_unit or resolution"),
    (f'{{mode: units, count: {N}, pulses_per_unit: "0"}}', "found '0', allowed more than zero"),
    (f'{{mode: units, count: {N}, pulses_per_unit: "1/0"}}', "found '1/0', allowed more than zero"),
    (f'{{mode: units, count: {N}, pulses_per_unit: "a"}}', "found 'a', allowed a number or a fraction"),
    (f"{{mode: units, count: {N}, pulses_per_unit: 1.5}}", "a ratio is a whole number or a text"),
    (f'{{mode: units, count: {N}, resolution: "-1"}}', "resolution: found -1, allowed more than 0"),
    (f"{{mode: units, count: {N}, pulses_per_unit: 2, decimals: 7}}", "decimals: found 7, allowed 0 to 6"),
    ("{mode: units, count: {mode: packml, processed: m.n}, pulses_per_unit: 2}", "packml"),
    ('{mode: weighing, signal: m.kg, tolerance: "-1", empty_below: "1"}', "tolerance: found -1, allowed 0 and above"),
]
#: What follows after the settings that every scale needs.
REFUSED_WEIGHINGS = [
    ('unit_weight: "0.5"', "max_weight is needed with unit_weight"),
    ('unit_weight: "0.5", max_weight: "9", pieces: 2', "pieces: found 2 with unit_weight"),
    ('unit_weight: "0", max_weight: "9"', "found '0', allowed more than zero"),
    ("decimals: 2", "decimals: found without unit_weight"),
    ('unit_weight: 1, max_weight: "9", decimals: 7', "decimals: found 7, allowed 0 to 6"),
    ('tare: "1"', "tare: found where no weight is looked at"),
    ('tare: "1", tare_signal: m.t, min_weight: "2"', "tare: found beside tare_signal"),
    ('tare_signal: m.kg, min_weight: "2"', "signal, tare_signal: found m.kg more than once"),
    ('min_weight: "2", max_weight: "2.0"', "max_weight (2.0) must be above min_weight (2)"),
    ("stable_for: 2 s, max_cycle: 2 s", "max_cycle (2 s) must be longer than stable_for (2 s)"),
    ('resolution: "0"', "resolution: found 0, allowed more than 0"),
    ('resolution: "1e-13"', "resolution: found 1e-13, allowed up to 12 digits"),
    ('resolution: "0.000001", max_weight: "1000001"', "max_weight: found 1000001, allowed up to 1000000000000 times"),
    ('min_weight: "1e29"', "min_weight: found 1e29, allowed up to 12 digits"),
    ('min_weight: "much"', "min_weight: found 'much', allowed"),
    ("stable_for: 0 s", "stable_for: found 0 s"),
    ("pieces: 0", "pieces: found 0, allowed 1 to"),
]
SCALE = '{{mode: weighing, signal: m.kg, tolerance: "0", empty_below: "1", {}}}'
REFUSED += [(SCALE.format(more), words) for more, words in REFUSED_WEIGHINGS]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[text for text, _ in REFUSED])
def test_refused_with_what_was_found_and_what_is_allowed(text, words):
    with pytest.raises(ValidationError) as caught:
        RULES.validate_python(yaml.safe_load(text))
    assert words in str(caught.value)


def test_a_point_in_time_may_stand_without_quotes():
    """YAML makes a point in time of its own of it."""
    text = f"{{mode: cavity, cycle: {N}, cavities: 2, closed: [{{cavity: 1, since: 2026-05-28T06:00:00+02:00}}]}}"
    rule = RULES.validate_python(yaml.safe_load(text))
    assert rule.closed[0].since == Instant("2026-05-28T04:00:00Z")
    assert str(rule.closed[0].since) == "2026-05-28T04:00:00Z"
    with pytest.raises(ValidationError, match="needs its date, time and offset"):
        RULES.validate_python(yaml.safe_load(text.replace("2026-05-28T06:00:00+02:00", "5")))


def test_ratios_are_exact_and_in_lowest_terms():
    assert Ratio.parse("2.5") == Ratio(5, 2)
    assert Ratio.parse("24/36") == Ratio(2, 3)
    assert str(Ratio.parse("0.1/3")) == "1/30"


def test_the_grammar_can_hold_every_mode():
    schema = RULES.json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(MODES)


@pytest.mark.parametrize("data", [None, [], {"nothing": 1}, {"source": {"nothing": 1}}])
def test_a_stored_state_that_is_none_is_refused(data):
    with pytest.raises((TypeError, ValueError)):
        loaded(UnitsState, data)
