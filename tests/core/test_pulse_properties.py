"""Random edges with bounce, delivered one by one or in batches, with gaps: each pulse counts once or is declared lost.

Times in milliseconds until they enter the work unit.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import CountEvent, DataValue, PiecesProduced, Status, TimePassed, UnknownInterval
from gateway.core.rules import PulseRule

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

MS = 1_000_000
DEBOUNCE = 10
BOUNCES_MAX = 4
BOUNCE_MS_MAX = 2 * BOUNCES_MAX * (DEBOUNCE - 1)  # the longest that one edge may rattle
MIN_CYCLE = 400

# Contact open and closed between toggles, always shorter than the debounce time.
BOUNCE = st.lists(st.tuples(st.integers(1, DEBOUNCE - 1), st.integers(1, DEBOUNCE - 1)), max_size=BOUNCES_MAX)
#: Rest before the pulse, bounce of the rise, how long it is high, bounce of the fall.
PULSES = st.lists(
    st.tuples(st.integers(DEBOUNCE, 1500), BOUNCE, st.integers(DEBOUNCE, 300), BOUNCE), min_size=1, max_size=25
)


class Edge(NamedTuple):
    """A true rising edge: when the contact first closed, and since when it held."""

    first: int
    settled: int


def signal_of(pulses, spacing=0):
    """Every transition of the input as (time, level), and the true edges."""
    transitions, edges, now = [], [], 0
    for rest, rise, high, fall in pulses:
        now += rest
        if edges:
            now = max(now, edges[-1].settled + spacing)
        first = now
        for bounce, level in ((rise, True), (fall, False)):
            for back, again in bounce:
                transitions += [(now, level), (now + back, not level)]
                now += back + again
            transitions.append((now, level))
            if level:
                edges.append(Edge(first, now))
                now += high
    return transitions, edges, now + DEBOUNCE


def pulse_rig(rig, **rule):
    made = rig(PulseRule(mode="pulse", signal="box.n", debounce=Duration(f"{DEBOUNCE} ms"), **rule))
    made.value("box.n", False)
    return made


def deliver(made, transitions, arrival):
    """Hand over every transition with the time of the kernel, as late as ``arrival`` says."""
    start = made.now_ns
    for at, level in transitions:
        made.now_ns = start + arrival(at) * MS
        made.put(DataValue("box.n", level, Status.GOOD, start + at * MS, made.now_ns))
    made.now_ns += 60_000 * MS
    made.put(TimePassed(made.now_ns))


def dates(made, start_ns):
    """When the counted edges were, the first one left out: it has no edge before it to be dated from."""
    return [(piece.t_from_ns - start_ns) // MS for piece in made.all(PiecesProduced)][1:]


@settings(max_examples=3 * EXAMPLES // 2)
@given(pulses=PULSES, latency=st.integers(0, DEBOUNCE))
def test_every_bouncing_pulse_counts_once(rig, pulses, latency):
    transitions, edges, _ = signal_of(pulses)
    made = pulse_rig(rig)
    start = made.now_ns
    deliver(made, transitions, lambda at: at + latency)
    assert made.state.counted.good == len(edges)
    assert dates(made, start) == [edge.settled for edge in edges[:-1]]
    assert made.state.last_piece_ns == start + edges[-1].settled * MS


@settings(max_examples=3 * EXAMPLES // 2)
@given(pulses=PULSES)
def test_edges_too_soon_after_the_last_counted_one_are_rejected(rig, pulses):
    transitions, edges, _ = signal_of(pulses)
    made = pulse_rig(rig, min_cycle=Duration(f"{MIN_CYCLE} ms"))
    deliver(made, transitions, lambda at: at)
    counted = []
    for edge in edges:
        if not counted or edge.settled - counted[-1] >= MIN_CYCLE:
            counted.append(edge.settled)
    assert made.state.counted.good == len(counted)
    assert made.state.detectors[0].rejected_short == len(edges) - len(counted)


@settings(max_examples=3 * EXAMPLES // 2)
@given(pulses=PULSES)
def test_one_batch_is_as_good_as_one_by_one(rig, pulses):
    """The same edges, seconds of them in one delivery: the same counts, dated the same."""
    transitions, _, end = signal_of(pulses)
    single, batch = (pulse_rig(rig, min_cycle=Duration("20 ms")) for _ in range(2))
    for made in (single, batch):
        # All of it must be within the skew that is believed.
        assert made.unit.rules.max_source_skew == Duration("5 s")
    start, late = single.now_ns, min(end, 4900)
    seen = [step for step in transitions if step[0] >= end - late]
    deliver(single, seen, lambda at: at)
    deliver(batch, seen, lambda _at: end)
    assert dates(batch, start) == dates(single, start)
    assert batch.state.counted == single.state.counted
    assert batch.state.detectors[0]._replace(arrived_ns=0) == single.state.detectors[0]._replace(arrived_ns=0)


@pytest.mark.parametrize("period", [40, 250, 1000])
@settings(max_examples=3 * EXAMPLES // 4)
@given(pulses=PULSES)
def test_batches_of_a_publishing_interval_count_every_pulse_once(rig, period, pulses):
    """Bounce may be cut in two by the end of a batch: it is still one pulse."""
    transitions, edges, _ = signal_of(pulses)
    made = pulse_rig(rig)
    start = made.now_ns
    deliver(made, transitions, lambda at: -(-at // period) * period)
    assert made.state.counted.good == len(edges)
    for edge, date in zip(edges, dates(made, start), strict=False):
        assert edge.first <= date <= edge.settled


@settings(max_examples=3 * EXAMPLES // 2)
@given(
    pulses=PULSES,
    gaps=st.lists(
        st.tuples(st.integers(0, 8000), st.integers(1, 6000), st.sampled_from(["bad", "restart"])),
        min_size=1,
        max_size=4,
    ),
)
def test_every_pulse_counts_or_lies_in_a_declared_interval(rig, pulses, gaps):
    transitions, edges, _ = signal_of(pulses, spacing=MIN_CYCLE + BOUNCE_MS_MAX)
    made = pulse_rig(rig, min_cycle=Duration(f"{MIN_CYCLE} ms"))
    start, counted = made.now_ns, []
    for kind, at, level in _with_gaps(transitions, gaps):
        made.now_ns = max(start + at * MS, made.now_ns)
        before = made.state.counted.good
        if kind == "restart":
            stored = json.loads(json.dumps(snapshot.encode(made.unit, made.state)))
            made.state = snapshot.decode(made.unit, stored)
        elif kind == "bad":
            made.value("box.n", None, Status.BAD)
        else:
            made.value("box.n", level, source_ns=start + at * MS)
        if made.state.counted.good > before:
            counted.append((made.state.last_piece_ns - start) // MS)
    made.now_ns += 60_000 * MS
    if made.wait() and made.state.last_piece_ns and (last := (made.state.last_piece_ns - start) // MS) not in counted:
        counted.append(last)
    assert made.state.counted.good == len(counted) <= len(edges)
    declared = [
        ((lost.t_from_ns - start) / MS, (lost.t_to_ns - start) // MS, lost.max_pieces)
        for lost in made.all(UnknownInterval)
    ]
    uncounted = [edge for edge in edges if edge.settled not in counted]
    for edge in uncounted:
        assert any(begin <= edge.settled and edge.first <= end for begin, end, _ in declared), edge
    for begin, end, bound in declared:
        assert sum(begin <= edge.settled and edge.first <= end for edge in uncounted) <= bound
    assert {event.flag for event in made.all(CountEvent)} <= {"BASELINE", "PULSES_POSSIBLY_LOST"}


def _with_gaps(transitions, gaps):
    """What arrives: transitions outside of the gaps; each gap's beginning, and the level that is found at its end."""
    dark = []
    for begin, length, kind in sorted(gaps):
        if not dark or begin > dark[-1][1]:
            dark.append((begin, begin + length, kind))
    events = [(at, 1, "level", level) for at, level in transitions if not any(b <= at <= e for b, e, _ in dark)]
    for begin, end, kind in dark:
        events.append((begin, 0, kind, False))
        level = next((level for at, level in reversed(transitions) if at <= end), False)
        events.append((end, 2, "level", level))
    return [(kind, at, level) for at, _, kind, level in sorted(events)]
