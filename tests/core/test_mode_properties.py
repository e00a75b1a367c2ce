"""Random histories through every counting mode: how the values are grouped, stored or late changes no count.

Times in milliseconds until they enter the detector.
"""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.core.counting.detector import Sample, loaded, plain
from gateway.core.counting.modes import prepared, state_of
from gateway.core.model import Status
from gateway.core.rules import AnyCountingRule

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

MS = 1_000_000
START_NS = 1_780_000_000_000_000_000
CYCLE_MS = 1000  # no machine of these tests is faster
ADAPTER = TypeAdapter(AnyCountingRule)
TEXTS = {
    "counter": "{mode: counter, signal: m.n, modulus: 256, max_rate: 5 /s, restart_evidence: [m.level]}",
    "pulse": "{mode: pulse, signal: m.a, min_cycle: 100 ms, max_cycle: 2 s}",
    "two signals": "{mode: start_end, signal: m.a, end_signal: m.b, abort_signal: m.c, max_cycle: 2 s}",
    "one signal": "{mode: start_end, signal: m.a, missing_end: count, min_cycle: 100 ms}",
    "begun": "{mode: start_end, signal: m.a, end_signal: m.b, count_on: start}",
    "cycle with result": "{mode: start_end, signal: m.a, end_signal: m.b, results: {ok: m.c, nok: m.d, window: 50 ms}}",
    "latched": "{mode: start_end, signal: m.a, results: {nok: m.d, window: 0 s, settle: 0 s, undetermined: good}}",
    "analog off": '{mode: analog, signal: m.x, hi: "6", lo: "4", min_on: 300 ms, max_gap: 500 ms}',
    "analog on": '{mode: analog, signal: m.x, hi: "6", lo: "4", on_delay: 0 s, off_delay: 50 ms, count_on: "on"}',
    "part": "{mode: part_result, signal: m.a, results: {ok: m.c, nok: m.d, window: 200 ms}}",
    "part with code": "{mode: part_result, signal: m.a, debounce: 0 s, "
    'results: {signal: m.level, map: {"1": good, "2": rework}}}',
    "roles": "{mode: roles, total: {mode: counter, signal: m.n}, scrap: {mode: pulse, signal: m.a}}",
    "roles of pulses": "{mode: roles, total: {mode: pulse, signal: m.a}, good: {mode: pulse, signal: m.b}}",
    "all three": "{mode: roles, total: {mode: counter, signal: m.n}, good: {mode: pulse, signal: m.a}, "
    "scrap: {mode: pulse, signal: m.b}, check_polls: 3}",
    "packml": "{mode: packml, processed: m.n, defective: m.k, counts: count, state: m.level, resetting_state: 2}",
    "cavity": "{mode: cavity, cycle: {mode: pulse, signal: m.a}, cavities: 4, active_signal: m.level, "
    "quality_signal: m.k}",
    "verdicts": "{mode: cavity, cycle: {mode: counter, signal: m.n}, cavities: 2, verdict_signals: [m.level, m.k], "
    "parts: {A: [1], B: [2]}}",
    "units": '{mode: units, count: {mode: pulse, signal: m.a}, pulses_per_unit: "7/3", decimals: 1}',
    "weighing": '{mode: weighing, signal: m.x, tolerance: "1", empty_below: "3", min_weight: "4", stable_for: 250 ms}',
    "refused": '{mode: weighing, signal: m.x, tolerance: "0", empty_below: "2", min_weight: "5", outside: refuse, '
    "stable_for: 100 ms, empty_for: 0 s}",
    "by weight": '{mode: weighing, signal: m.x, tare_signal: m.level, unit_weight: "7/3", decimals: 1, '
    'max_weight: "10", tolerance: "1", empty_below: "3", stable_for: 100 ms, empty_for: 5 ms}',
    "totaliser": '{mode: units, count: {mode: counter, signal: m.n, modulus: 10000}, resolution: "0.3"}',
}
RULES = {name: ADAPTER.validate_python(yaml.safe_load(text)) for name, text in TEXTS.items()}

#: Time since the step before, a signal's number, what it does, and whether the gateway stores its state after it.
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 2, 4, 5, 6, 10, 25, 50, 100, 199, 250, 400, 900, 3000)),
        st.integers(0, 7),
        st.integers(0, 11),
        st.booleans(),
    ),
    max_size=60,
)


class World:
    """What the signals show, so that a random history is one that a plant could have had."""

    def __init__(self, detector):
        self.signals = detector.signals
        self.shown = dict.fromkeys(self.signals, 0)

    def sample(self, number, choice, at_ms):
        """The sample of one step: a digital input toggles, a counter moves on, now and then the quality is bad."""
        signal = self.signals[number % len(self.signals)]
        at_ns = START_NS + at_ms * MS
        if choice == 11:
            return Sample(signal, at_ns, None, Status.BAD, at_ns)
        before, name = self.shown[signal], signal.removeprefix("m.")
        if name == "x":
            value = choice
        elif name in ("n", "k"):
            value = (before + choice % 4) % 256 if choice < 10 else 0
        elif name == "level":
            value = choice % 4
        else:
            value = 1 - before
        self.shown[signal] = value
        return Sample(signal, at_ns, bool(value) if name in "abcd" else value, Status.GOOD, at_ns)

    def history(self, steps):
        first = [Sample(signal, START_NS, 0, Status.GOOD, START_NS) for signal in self.signals]
        at_ms, found = 0, []
        for dt, number, choice, stores in steps:
            at_ms += dt
            found.append((self.sample(number, choice, at_ms), stores))
        return [(sample, False) for sample in first] + found


def due_timers(detector, state, until_ns):
    """Every timer that is due, each at its own time."""
    events = []
    for _ in range(1000):
        due = detector.deadline(state)
        if due is None or due > until_ns:
            return state, events
        state, more = detector.on_time(state, due)
        events += more
    raise AssertionError("a timer does not move on")


def run(detector, history, *, arrive=lambda at_ns: at_ns, ticks=(), store=None):
    """All events of a history; ``ticks``: further times at which somebody looks; ``store``: the kind of the state."""
    state, events = detector.initial(), []
    looks = sorted(START_NS + tick * MS for tick in ticks)
    for sample, stores in history:
        arrived = arrive(sample.t_ns)
        while looks and looks[0] < arrived:
            state, more = due_timers(detector, state, looks[0])
            events += more
            state, more = detector.on_time(state, looks.pop(0))
            events += more
        state, more = due_timers(detector, state, arrived)
        events += more
        state, more = detector.on_value(state, sample._replace(arrived_ns=arrived))
        events += more
        if store is not None and stores:
            stored = json.loads(json.dumps(plain(state)))
            assert loaded(store, stored) == state
            state = loaded(store, stored)
    state, more = due_timers(detector, state, START_NS + 3_600_000 * MS)
    return state, events + more


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=EXAMPLES // 4)
@given(steps=STEPS, ticks=st.lists(st.integers(0, 10_000), max_size=10))
def test_looking_more_often_and_storing_change_nothing(name, steps, ticks):
    detector = prepared(RULES[name], None)
    history = World(detector).history(steps)
    plainly = run(detector, history)
    assert run(detector, history, ticks=ticks, store=state_of(RULES[name])) == plainly
    assert all(event.delta >= 0 and event.review >= 0 for event in plainly[1])


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=EXAMPLES // 4)
@given(steps=STEPS)
def test_one_late_delivery_is_as_good_as_one_by_one(name, steps):
    """The same values, all of them in one delivery at the end: the same counts, dated the same."""
    detector = prepared(RULES[name], None)
    history = World(detector).history(steps)
    end_ns = max(sample.t_ns for sample, _ in history)
    _, events = run(detector, history)
    _, late = run(detector, history, arrive=lambda _: end_ns)
    assert [event for event in late if event.delta] == [event for event in events if event.delta]
    assert sorted(late, key=repr) == sorted(events, key=repr)


@pytest.mark.parametrize("name", ["analog off", "analog on", "part", "part with code", "one signal", "weighing"])
@settings(max_examples=EXAMPLES // 2)
@given(steps=STEPS, period=st.sampled_from((40, 250, 1000)))
def test_batches_of_a_publishing_interval_lose_and_double_nothing(name, steps, period):
    """A timer may believe a level that the rest of a late batch takes back: then it is paid for in advance, once."""
    detector = prepared(RULES[name], None)
    history = World(detector).history([(dt, number, choice % 11, stores) for dt, number, choice, stores in steps])

    def arrive(at_ns):
        return START_NS + -(-(at_ns - START_NS) // (period * MS)) * period * MS

    _, events = run(detector, history)
    _, batched = run(detector, history, arrive=arrive)
    assert sum(event.delta for event in batched) - sum(event.delta for event in events) in (0, 1)


# --- against the truth ------------------------------------------------------------

GAPS = st.lists(
    st.tuples(st.integers(0, 30_000), st.integers(1, 6000), st.sampled_from(("bad", "restart"))), max_size=4
)
#: Rest before each cycle, how long it lasts, and its verdict.
CYCLES = st.lists(
    st.tuples(st.integers(500, 3000), st.integers(500, 3000), st.sampled_from(("ok", "nok", "none", "both"))),
    min_size=1,
    max_size=12,
)
TRUTH = {
    "two signals": "{mode: start_end, signal: m.start, end_signal: m.end, min_cycle: 1 s}",
    "one signal": "{mode: start_end, signal: m.on, min_cycle: 1 s}",
    "counted when begun": "{mode: start_end, signal: m.on, count_on: start, min_cycle: 1 s}",
    "missing ends count": "{mode: start_end, signal: m.start, end_signal: m.end, missing_end: count, min_cycle: 1 s}",
    "with results": "{mode: start_end, signal: m.on, min_cycle: 1 s, results: {ok: m.ok, nok: m.nok, window: 300 ms}}",
    "analog": '{mode: analog, signal: m.amps, hi: "6", lo: "4", on_delay: 50 ms, off_delay: 200 ms, min_on: 400 ms, '
    "max_gap: 100 ms}",
    "analog on": '{mode: analog, signal: m.amps, hi: "6", lo: "4", on_delay: 400 ms, off_delay: 200 ms, '
    'min_on: 400 ms, count_on: "on", max_gap: 100 ms}',
    "weighing": '{mode: weighing, signal: m.amps, tolerance: "0.1", empty_below: "4", stable_for: 300 ms, '
    "max_gap: 100 ms}",
    "part": "{mode: part_result, signal: m.on, min_cycle: 1 s, results: {ok: m.ok, nok: m.nok, window: 300 ms}}",
}


def machine(cycles):
    """What a true machine shows: for each change its time, signal and value."""
    now, shown = 0, []
    for rest, on, verdict in cycles:
        now += rest
        shown += [(now, "m.on", 1), (now, "m.start", 1), (now, "m.amps", 9.5), (now + 100, "m.start", 0)]
        bits = {"ok": ("m.ok",), "nok": ("m.nok",), "none": (), "both": ("m.ok", "m.nok")}[verdict]
        # The verdict on the part comes soon after it; the verdict on the cycle stands at its end.
        shown += [(now + 200, bit, 1) for bit in bits]
        now += on
        shown += [(now, "m.on", 0), (now, "m.end", 1), (now, "m.amps", 1.5), (now + 100, "m.end", 0)]
        shown += [(now + 20, bit, 0) for bit in bits]
    return sorted(shown, key=lambda change: change[0]), now


def seen(detector, shown, gaps):
    """What the gateway gets of it: nothing in the gaps, and the levels anew after each."""
    dark = []
    for begin, length, kind in sorted(gaps):
        if not dark or begin > dark[-1][1]:
            dark.append((begin, begin + length, kind))
    levels = dict.fromkeys(detector.signals, 0)
    events = [(-1000, 2, signal, 0) for signal in detector.signals]
    for at, signal, value in shown:
        if signal in levels and not any(begin <= at <= end for begin, end, _ in dark):
            events.append((at, 1, signal, value))
    for begin, end, kind in dark:
        events.append((begin, 0, kind, None))
        for signal in detector.signals:
            found = next((value for at, name, value in reversed(shown) if name == signal and at <= end), 0)
            events.append((end, 2, signal, found))
    rank = {signal: index for index, signal in enumerate(detector.signals)}
    return sorted(events, key=lambda event: (event[0], event[1], rank.get(event[2], 0)))


@pytest.mark.parametrize("name", TRUTH)
@settings(max_examples=EXAMPLES)
@given(cycles=CYCLES, gaps=GAPS)
def test_every_piece_counts_or_lies_in_a_declared_interval(name, cycles, gaps):
    rule = ADAPTER.validate_python(yaml.safe_load(TRUTH[name]))
    detector = prepared(rule, None)
    shown, end = machine(cycles)
    state, events = detector.initial(), []
    for at, _, signal, value in seen(detector, shown, gaps):
        at_ns = START_NS + at * MS
        state, more = due_timers(detector, state, at_ns)
        events += more
        if signal == "restart":
            state = detector.restored(loaded(state_of(rule), json.loads(json.dumps(plain(state)))))
        elif signal == "bad":
            for name_ in detector.signals:
                state, more = detector.on_value(state, Sample(name_, at_ns, None, Status.BAD, at_ns))
                events += more
        else:
            status = Status.GOOD
            state, more = detector.on_value(state, Sample(signal, at_ns, value, status, at_ns))
            events += more
    state, more = due_timers(detector, state, START_NS + (end + 60_000) * MS)
    events += more
    booked = sum(event.delta for event in events)
    lost = sum(event.max_lost for event in events)
    assert booked <= len(cycles), "over-counted"
    assert len(cycles) <= booked + lost, "a loss that nobody was told of"
    if not gaps:
        assert booked == len(cycles)
        assert lost == 0
    if not gaps and "results" in TRUTH[name]:
        roles = [event.role.value for event in events if event.delta]
        assert roles == [{"ok": "good", "nok": "scrap"}.get(verdict, "hold") for _, _, verdict in cycles]
