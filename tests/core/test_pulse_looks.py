"""Polled pulses where looks are left out: what may have come and gone is declared, and nothing in a normal run.

Times in milliseconds until they enter the detector.
"""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.counting.detector import Sample
from gateway.core.counting.modes import prepared
from gateway.core.document import Identity
from gateway.core.duration import Duration
from gateway.core.model import CountEvent, DataValue, Role, Status
from gateway.core.rules import PulseRule, WorkUnitRules
from gateway.core.rules_counting import PartResultRule, ResultRule, StartEndRule
from gateway.core.work_unit import WorkUnit

MS = 1_000_000
START_NS = 1_780_000_000_000_000_000
LOOK = 250
LOST = "PULSES_POSSIBLY_LOST"
EVERY = {f"m.{name}": LOOK * MS for name in ("n", "start", "end", "part", "ok", "nok")}
MIN_CYCLE = 500
HELD = 400  # a long debounce time

#: How long the signal is high and how long it rests; the shortest are two looks, so that no cycle seems too short.
PULSES = st.lists(st.tuples(st.integers(2 * LOOK, 2_000), st.integers(2 * LOOK, 2_500)), min_size=1, max_size=15)


class Machine:
    """A detector that is looked at, and what it counted."""

    def __init__(self, rule, every=EVERY):
        self.detector = prepared(rule, None, every)
        self.state, self.events = self.detector.initial(), []

    def look(self, at_ms, values, status=Status.GOOD):
        """One scan."""
        at_ns = START_NS + at_ms * MS
        due_ns = self.detector.deadline(self.state)
        while due_ns is not None and due_ns <= at_ns:
            self.state, more = self.detector.on_time(self.state, due_ns)
            self.events += more
            due_ns = self.detector.deadline(self.state)
        for signal in self.detector.signals:
            if signal in values:
                sample = Sample(signal, at_ns, values[signal], status, at_ns)
                self.state, more = self.detector.on_value(self.state, sample)
                self.events += more

    @property
    def booked(self):
        return sum(event.delta for event in self.events)

    @property
    def lost(self):
        """What is declared: (from, to, at most)."""
        return [
            ((one.t_from_ns - START_NS) // MS, (one.t_to_ns - START_NS) // MS, one.max_lost)
            for one in self.events
            if one.flag == LOST
        ]


def pulse(**over):
    """The rule; the least time between two pulses is half of the least that there is."""
    return PulseRule(mode="pulse", signal="m.n", **{"min_cycle": Duration(f"{MIN_CYCLE} ms")} | over)


def level_of(pulses):
    """The rising edges, the end, and the level as a function of time."""
    cuts, now = [], 0
    for high, rest in pulses:
        now += rest
        cuts.append((now, now + high))
        now += high
    return [rise for rise, _ in cuts], now + 1_000, lambda at: any(rise <= at < fall for rise, fall in cuts)


def looked_at(looks, pulses, rule):
    """A machine with these pulses, looked at then; and how many pulses began between the first and the last look."""
    rises, _, level = level_of(pulses)
    machine = Machine(rule)
    for at in looks:
        machine.look(at, {"m.n": level(at)})
    return machine, sum(looks[0] < rise <= looks[-1] for rise in rises)


def rhythm(end, jitter, left_out):
    """Looks every 250 ms, each late by up to ``jitter``, without those that are left out."""
    looks = [at * LOOK + jitter[at % len(jitter)] for at in range(end // LOOK + 12)]
    kept = [at for at in looks if not any(begin < at < begin + length for begin, length in left_out)]
    # A level needs one look more to be believed.
    return [*kept, looks[-1] + LOOK, looks[-1] + 2 * LOOK]


#: How late each look is; from the end on the list begins again.
JITTER = st.lists(st.integers(0, LOOK), min_size=1, max_size=40)
LEFT_OUT = st.lists(st.tuples(st.integers(0, 40_000), st.integers(100, 9_000)), min_size=1, max_size=4)


@settings(max_examples=100)
@given(pulses=PULSES, jitter=JITTER, edge=st.sampled_from(["rising", "falling"]))
def test_a_normal_run_declares_nothing_and_misses_nothing(pulses, jitter, edge):
    _, end, _ = level_of(pulses)
    machine, made = looked_at(rhythm(end, jitter, []), pulses, pulse(edge=edge, min_cycle=Duration(0)))
    assert {event.flag for event in machine.events} <= {"OK", "BASELINE"}
    assert machine.booked == made


@settings(max_examples=300)
@given(
    pulses=PULSES,
    jitter=JITTER,
    left_out=LEFT_OUT,
    rule=st.sampled_from(
        [
            {},
            {"pulse_width": Duration(f"{2 * LOOK} ms")},
            {"debounce": Duration(0)},
            {"debounce": Duration(f"{HELD} ms")},
        ]
    ),
)
def test_whatever_looks_are_left_out_each_pulse_counts_or_may_be_lost(pulses, jitter, left_out, rule):
    if rule.get("debounce"):  # what must be seen several times must last so much longer
        pulses = [(high + HELD, rest + HELD) for high, rest in pulses]
    _, end, _ = level_of(pulses)
    looks = rhythm(end, [late % 20 for late in jitter], left_out)
    machine, made = looked_at(looks, pulses, pulse(**rule))
    doubt = sum(at_most for *_, at_most in machine.lost)
    assert machine.booked <= made <= machine.booked + doubt
    if not doubt:
        assert machine.booked == made
    for begin, finish, _ in machine.lost:
        assert any(second - first > 2 * LOOK for first, second in pairwise(looks) if begin <= first <= finish)


def test_the_shortest_case():
    """Pulses of 500 ms every 1,500 ms; nobody looks for 2.5 s."""
    pulses = [(500, 1_000)] * 8
    looks = [at for at in range(0, 12_500, LOOK) if not 3_000 < at < 5_500]
    machine, made = looked_at(looks, pulses, pulse(min_cycle=Duration("1 s")))
    assert (made, machine.booked, machine.lost) == (8, 7, [(3_000, 5_500, 3)])


@pytest.mark.parametrize(
    ("gap", "after", "rule", "lost"),
    [
        (500, False, {}, []),
        (501, False, {}, [(1_000, 1_501, 1)]),
        (501, False, {"pulse_width": Duration("800 ms")}, []),
        (801, False, {"pulse_width": Duration("800 ms")}, [(1_000, 1_801, 1)]),
        (1_000, True, {}, []),  # the edge is certain; beside it two levels do not fit in
        (1_001, True, {}, [(1_000, 2_001, 2)]),
        (501, True, {"debounce": Duration("300 ms")}, [(1_000, 1_501, 1)]),  # a part of a level is not enough
        (501, True, {"debounce": Duration("300 ms"), "pulse_width": Duration("900 ms")}, []),
        (601, True, {"debounce": Duration("300 ms"), "pulse_width": Duration("900 ms")}, [(1_000, 1_601, 1)]),
        (5_000, False, {"min_cycle": Duration(0)}, [(1_000, 6_000, -1)]),
    ],
)
def test_how_long_a_gap_must_be(gap, after, rule, lost):
    machine = Machine(pulse(**{"min_cycle": Duration("1 s")} | rule))
    looks = [(at, False) for at in range(0, 1_001, LOOK)]
    for at, level in [*looks, *((1_000 + gap + more, after) for more in (0, LOOK, 2 * LOOK))]:
        machine.look(at, {"m.n": level})
    assert (machine.lost, machine.booked) == (lost, int(after))


def test_an_input_that_tells_every_edge_may_be_silent():
    machine = Machine(pulse(), every={})
    for at, level in (
        (0, False),
        (1_000, False),
        (61_000, True),
        (62_000, False),
        (3_700_000, True),
        (3_701_000, True),
    ):
        machine.look(at, {"m.n": level})
    assert (machine.lost, machine.booked) == ([], 2)


def test_an_edge_that_was_seen_late_does_not_make_the_next_one_too_short_in_silence():
    """Seen at 1,900 it may have been soon after 1,000: the one at 2,800 was no bounce of it."""
    machine = Machine(pulse(min_cycle=Duration("1 s")))
    for at, level in ((750, 0), (1_000, 0), (1_900, 1), (2_150, 1), (2_400, 0), (2_600, 0), (2_800, 1), (3_050, 1)):
        machine.look(at, {"m.n": level})
    assert (machine.booked, machine.lost) == (1, [(1_000, 2_800, 1)])
    for at, level in ((3_300, 0), (3_500, 0), (3_750, 1), (4_000, 1)):
        machine.look(at, {"m.n": level})
    assert machine.booked == 2
    assert [one.cycle_ns for one in machine.events if one.delta] == [None, None], "no cycle was seen as a whole"


def test_a_lost_link_is_declared_once_and_not_as_a_gap_too():
    machine = Machine(pulse())
    for at in (0, 250, 500):
        machine.look(at, {"m.n": False})
    machine.look(750, {"m.n": None}, Status.BAD)
    for at in (5_000, 5_250):
        machine.look(at, {"m.n": False})
    assert machine.lost == [(500, 5_000, 10)]


def start_end(**over):
    return StartEndRule(mode="start_end", signal="m.start", end_signal="m.end", **over)


def test_a_cycle_with_a_gap_has_no_time_and_its_ends_are_declared():
    machine = Machine(start_end(min_cycle=Duration("1 s")))
    for at, start, end in ((0, 0, 0), (250, 1, 0), (500, 0, 0), (5_500, 0, 0), (5_750, 0, 1), (6_000, 0, 0)):
        machine.look(at, {"m.start": start, "m.end": end})
    assert machine.lost == [(500, 5_500, 6)], "of the inputs only the one that counts is pieces"
    assert [(one.delta, one.cycle_ns) for one in machine.events if one.delta] == [(1, None)]


def parts(looks, undetermined=Role.GOOD):
    """A part at 500 ms, looked at then; only bad ones are told."""
    results = ResultRule(nok="m.nok", undetermined=str(undetermined), window=Duration("3 s"))
    machine = Machine(PartResultRule(mode="part_result", signal="m.part", results=results))
    for at in looks:
        machine.look(at, {"m.part": 500 <= at < 4_500, "m.nok": False})
    return [(one.flag, one.role) for one in machine.events if one.delta]


def test_a_part_whose_verdict_may_have_come_in_a_gap_is_held():
    whole = list(range(0, 8_001, LOOK))
    assert parts(whole) == [("RESULT_MISSING", Role.GOOD)]
    assert parts([at for at in whole if at not in (1_500, 1_750)]) == [("RESULT_MISSING", Role.HOLD)]
    assert parts([at for at in whole if at != 1_500]) == [("RESULT_MISSING", Role.GOOD)], "two looks: it would be seen"
    # It came in the gap, and so may its verdict have.
    assert parts([at for at in whole if not 250 < at < 1_250]) == [("RESULT_MISSING", Role.HOLD)]


def test_what_an_older_version_stored_is_loaded_and_looked_at():
    identity = Identity(plant="P1", epoch="e0", gateway_id="gw", line="L1", machine="M-01", work_center="WC-1")
    unit = WorkUnit(WorkUnitRules(work_center="WC-1", counters=(pulse(),)), identity, looked_at_every=EVERY)
    state = unit.initial(START_NS)
    for at in range(4):
        at_ns = START_NS + at * LOOK * MS
        state, _ = unit.handle(state, DataValue("m.n", False, Status.GOOD, None, at_ns))
    data = json.loads(snapshot.dump(unit, state))
    for name in ("looked_ns", "gap_from_ns", "gap_to_ns"):
        del data["detectors"]["m.n"]["state"][name]
    state = snapshot.load(unit, json.dumps(data).encode())
    told = []
    for at in (5_000, 5_250, 9_000):
        state, outputs = unit.handle(state, DataValue("m.n", False, Status.GOOD, None, START_NS + at * MS))
        told.append([one.max_lost for one in outputs if isinstance(one, CountEvent) and one.flag == LOST])
    assert told == [[9], [], [8]]
