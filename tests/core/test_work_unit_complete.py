"""Random hours of a work unit with everything on: all ten modes, states, alarms, setup, calendar, clock and orders.

How its inputs are grouped, how often time is handed over, and a snapshot stored and loaded at any point change nothing
at all: not one output, not one field of the state.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.core import snapshot
from gateway.core.counting.modes import MODES
from gateway.core.document import Identity
from gateway.core.entries import (
    AllocateEntry,
    MergeEntry,
    ReclassifyEntry,
    ReportEntry,
    SplitEntry,
    UnmergeEntry,
)
from gateway.core.model import (
    CalendarPlan,
    ClockTold,
    Confirmation,
    CountEvent,
    DataValue,
    JobChanged,
    JobOrder,
    JobOrderState,
    MachineState,
    OperatorEntry,
    OperatorVerb,
    PiecesProduced,
    PlannedTime,
    Role,
    Status,
    TimePassed,
)
from gateway.core.orders.shares import MemberPieces, MemberRow, MemberTold
from gateway.core.orders.unallocated import CountAllocation
from gateway.core.rules import WorkUnitRules
from gateway.core.state.interval import StateInterval
from gateway.core.work_unit import WorkUnit

#: Of the profile: `make soak` gives more.
EXAMPLES = settings().max_examples

S = 1_000_000_000
MS = 1_000_000
START_NS = 1_780_000_000_000_000_000
IDENTITY = Identity(plant="P1", epoch="e0", gateway_id="gw", line="L1", machine="M-01", work_center="WC-1")
RULES = """
work_center: WC-1
ideal_cycle: 2 s
calendar: plant
counters:
  - {mode: counter, signal: m.good, modulus: 65536, restart_evidence: [m.boots], order_reset: m.job}
  - {mode: pulse, signal: m.pulse, role: rework, debounce: 20 ms, stuck_after: 5 min}
  - {mode: start_end, signal: m.start, end_signal: m.end, abort_signal: m.abort, max_cycle: 1 min}
  - {mode: analog, signal: m.amps, hi: "6", lo: "4", max_gap: 5 s, min_on: 100 ms}
  - {mode: part_result, signal: m.part, results: {ok: m.ok, nok: m.nok}}
  - {mode: roles, total: {mode: counter, signal: m.total}, scrap: {mode: pulse, signal: m.reject}, in_process: 1}
  - {mode: packml, processed: m.processed, defective: m.defective, counts: count, state: m.state, max_rate: 5 /s}
  - {mode: cavity, cycle: {mode: counter, signal: m.shots, modulus: 256}, cavities: 2, verdict_signals: [m.v1, m.v2],
     parts: {A: [1], B: [2]}}
  - {mode: units, count: {mode: pulse, signal: m.metre}, pulses_per_unit: "7/3", decimals: 1}
  - {mode: weighing, signal: m.kg, tare_signal: m.tare, unit_weight: "0.25", max_weight: "60", tolerance: "0.05",
     empty_below: "1", stable_for: 400 ms}
orders: {choose: job_signal, job_signal: m.job, job_format: "{order}", transport_delay_pieces: 2}
confirm: {every_pieces: 7, every: 3 min, min_interval: 2 s}
state:
  signal: m.state
  map: {"2": STOPPED, "4": IDLE_NO_ORDER, "6": PRODUCING, "15": STOPPED}
  mode_signal: m.mode
  modes: {"1": MAINTENANCE, "2": SETUP}
  blocked_signal: m.blocked
  reasons: {alarm_signals: [m.alarm], alarms: {"7": JAM}, required_after: 1 min}
  setup: {end: n_good_in_tolerance, good_in_a_row: 2, tool_signal: m.tool}
"""
UNIT_RULES = TypeAdapter(WorkUnitRules).validate_python(yaml.safe_load(RULES))
COUNTERS = ("m.good", "m.total", "m.processed", "m.defective", "m.shots")
BITS = ("m.pulse", "m.start", "m.end", "m.abort", "m.part", "m.ok", "m.nok", "m.reject", "m.metre", "m.blocked")
CHOICES = {
    "m.amps": (3.0, 5.0, 9.0),
    "m.state": (2, 4, 6, 6, 15, 99),
    "m.mode": (0, 0, 1, 2),
    "m.alarm": (0, 7, 8),
    "m.tool": ("T1", "T2"),
    "m.job": ("A", "B", "C", ""),
    "m.boots": (1, 1, 2, 3),
    "m.v1": (0, 1, 2),
    "m.v2": (1, 3),
    "m.kg": (0.0, 0.0, 12.3, 12.32, 30.1, 70.0),
    "m.tare": (0.0, 0.5),
}
SIGNALS = (*COUNTERS, *BITS, *CHOICES)
VERBS = tuple(map(OperatorVerb, ("start", "interrupt", "hold", "release", "rush", "approve-first-article")))
GAPS_MS = (0, 1, 5, 10, 30, 100, 400, 1000, 1000, 7000, 40_000, 400_000)


def hours(seed, job, readings):
    """Inputs of a random stretch of time; a list inside stands for one reading of several signals."""
    choice, now_ns, shown, made = random.Random(seed), START_NS, {}, 0
    for order in "ABC":
        yield job(order, choice.choice((5, 40)), product=order, operation="0010"), now_ns
    for order in "DE":
        yield job(order, choice.choice((5, 40)), product="A", operation="0010", sequence_no=9), now_ns
    for _ in range(readings):
        now_ns += choice.choice(GAPS_MS) * MS
        kind = choice.random()
        if kind < 0.03:
            planned = choice.choice((None, MachineState.PLANNED_STOP, MachineState.NOT_SCHEDULED))
            later = now_ns + choice.choice((60, 600)) * S
            entries = (PlannedTime(now_ns, planned, "2026-05-28/F"), PlannedTime(later, None, "2026-05-28/S"))
            yield CalendarPlan(now_ns, entries), now_ns
        elif kind < 0.05:
            yield ClockTold(now_ns, choice.choice((0, 5 * S))), now_ns
        elif kind < 0.07:
            yield OperatorEntry(now_ns, choice.choice(VERBS), choice.choice("ABC"), "", "ann"), now_ns
        elif kind < 0.09:
            made += choice.choice((0, 1, 3))
            row = MemberRow(1, choice.choice("ABC"), "0010", good=made, from_ns=START_NS, to_ns=now_ns)
            yield MemberTold(now_ns, "M-02", now_ns, (row,)), now_ns
        elif kind < 0.17:
            yield word(choice, now_ns), now_ns
        else:
            names = choice.sample(SIGNALS, choice.choice((1, 1, 2, 6)))
            yield [reading(name, choice, shown, now_ns) for name in names], now_ns


def word(choice, now_ns):
    """What a person says of orders, their children and their leaders."""
    names = ("A", "B", "C", "D", "E", "A-001", "A-002", "D-001", "L")
    order, pieces = choice.choice(names), choice.choice((1, 3, 9))
    match choice.choice(
        ("start", "start", "interrupt", "hold", "split", "merge", "unmerge", "give", "report", "judge")
    ):
        case "split":
            return SplitEntry(now_ns, order, "0010", (Decimal(2), Decimal(choice.choice((3, 38)))), "why", "ann")
        case "merge":
            return MergeEntry(now_ns, "L", tuple(choice.sample("ADE", 2)), "", "why", "ann")
        case "unmerge":
            return UnmergeEntry(now_ns, "L", "", "why", "ann")
        case "give":
            to, role = choice.choice(("", order, order)), choice.choice((Role.GOOD, Role.SCRAP))
            return AllocateEntry(now_ns, to, "", pieces, role, "why", "ann")
        case "report":
            return ReportEntry(now_ns, order, "", 0, pieces, 0, "why", "ann")
        case "judge":
            return ReclassifyEntry(now_ns, order, "", pieces, Role.GOOD, Role.REWORK, "why", "ann")
        case verb:
            return OperatorEntry(now_ns, OperatorVerb(verb), order, "", "ann", "why")


def reading(name, choice, shown, now_ns):
    before = shown.get(name)
    if name in COUNTERS:
        value = choice.choice((0, 65_530, 9)) if before is None else (before + choice.choice((0, 1, 1, 2, 9, -3))) % 256
        value = max(value, 0)
    elif name in BITS:
        value = not before
    else:
        value = choice.choice(CHOICES[name])
    shown[name] = value
    source_ns = choice.choice((None, now_ns, now_ns - 3 * MS, now_ns - 200 * MS, now_ns - 9 * S))
    if choice.random() < 0.04:
        return DataValue(name, None, Status.BAD, source_ns, now_ns)
    return DataValue(name, value, Status.GOOD, source_ns, now_ns)


class Player:
    """A work unit that plays a history: ``ticks`` hands time over in between, ``keeps`` is what a restart does."""

    def __init__(self, *, ticks=None, restarts=frozenset(), keeps=None):
        self.unit, self.said, self.records = WorkUnit(UNIT_RULES, IDENTITY), [], {}
        self.state = self.unit.initial(START_NS)
        self.ticks, self.restarts, self.keeps = ticks, restarts, keeps

    def put(self, given):
        self.state, outputs = self.unit.handle(self.state, given)
        self.said += outputs

    def play(self, rig, history):
        last_ns = START_NS
        for number, (what, now_ns) in enumerate(history):
            if self.ticks is not None:
                for _ in range(self.ticks.choice((0, 0, 1, 3))):
                    self.put(TimePassed(self.ticks.randint(last_ns, now_ns)))
            if isinstance(what, list):
                for value in self.unit.in_order(what):
                    self.put(value)
            elif not isinstance(what, JobOrder):
                self.put(what)
            else:
                helper = rig.__new__(rig)
                helper.unit, helper.state, helper.now_ns = self.unit, self.state, now_ns
                helper.said, helper.records = self.said, self.records
                helper.receive(what)
                self.state = helper.state
            if number in self.restarts:
                self.state = self.keeps(self.unit, self.state)
            last_ns = now_ns
        self.put(TimePassed(last_ns + 3600 * S))
        return self


def stored(unit, state):
    """Written and read as the database does it."""
    return snapshot.decode(unit, json.loads(json.dumps(snapshot.encode(unit, state))))


def in_memory(unit, state):
    """What a restart makes of a state that was never written."""
    return unit.restored(state)


def test_everything_is_on():
    assert {rule.mode for rule in UNIT_RULES.counters} == set(MODES)
    assert {"m.alarm", "m.tool", "m.mode", "m.job", "m.boots"} <= WorkUnit(UNIT_RULES, IDENTITY).signals <= set(SIGNALS)


def test_the_random_hours_reach_everything(rig, job):
    said, flags, states = set(), set(), set()
    for seed in range(25):
        player = Player().play(rig, list(hours(seed, job, 150)))
        said |= {type(output) for output in player.said}
        states |= {output.record.state for output in player.said if isinstance(output, JobChanged)}
        flags |= {output.flag for output in player.said if isinstance(output, CountEvent)}
    assert {CountEvent, PiecesProduced, Confirmation, StateInterval, CountAllocation} <= said
    assert {JobOrderState.SPLIT, JobOrderState.MERGED} <= states
    assert {"RESET", "ROLLOVER", "PENDING", "ORPHAN_END", "RESULT_MISSING", "CYCLE_ABORTED", "BAD_QUALITY"} <= flags


@settings(max_examples=3 * EXAMPLES // 10)
@given(seed=st.integers(0, 2**32), ticks=st.integers(0, 2**32))
def test_time_handed_over_in_between_changes_nothing(rig, job, seed, ticks):
    history = list(hours(seed, job, 80))
    plain = Player().play(rig, history)
    ticking = Player(ticks=random.Random(ticks)).play(rig, history)
    assert ticking.said == plain.said
    assert ticking.state == plain.state


@settings(max_examples=3 * EXAMPLES // 10)
@given(seed=st.integers(0, 2**32), restarts=st.sets(st.integers(0, 80), min_size=1, max_size=8))
def test_a_snapshot_at_any_point_changes_nothing(rig, job, seed, restarts):
    """What is written is all there is: the same restarts from memory have the same outputs."""
    history = list(hours(seed, job, 80))
    kept = Player(restarts=restarts, keeps=in_memory).play(rig, history)
    written = Player(restarts=restarts, keeps=stored, ticks=random.Random(seed)).play(rig, history)
    assert written.said == kept.said
    assert written.state == kept.state


@settings(max_examples=EXAMPLES // 5)
@given(seed=st.integers(0, 2**32), restarts=st.sets(st.integers(0, 80), max_size=5))
def test_no_piece_is_lost_or_doubled(rig, job, seed, restarts):
    player = Player(restarts=restarts, keeps=stored).play(rig, list(hours(seed, job, 80)))
    told = [output for output in player.said if isinstance(output, Confirmation)]
    runs = list(player.state.open_runs())
    made = (one for one in player.said if isinstance(one, PiecesProduced | MemberPieces))
    assert sum(player.state.counted) == sum(one.pieces for one in made)
    for role in ("good", "scrap", "rework", "hold", "test"):
        confirmed = sum(getattr(confirmation, role) for confirmation in told)
        still_open = sum(getattr(run, f"open_{role}") for run in runs)
        nobodys = getattr(player.state.unallocated, role) + (player.state.bucket.written_off if role == "scrap" else 0)
        assert getattr(player.state.counted, role) == confirmed + still_open + nobodys
    spans = [output for output in player.said if isinstance(output, StateInterval)]
    for one, two in pairwise(spans):
        assert one.to_ns == two.from_ns, "intervals tile"


@pytest.mark.parametrize("seed", range(6))
def test_the_order_in_which_a_device_lists_the_values_of_a_reading_changes_no_count(rig, job, seed):
    history = list(hours(seed, job, 120))
    turned = [(given[::-1] if isinstance(given, list) else given, now_ns) for given, now_ns in history]

    def counts(inputs):
        said = Player().play(rig, inputs).said
        return [(event.signal, event.delta, event.flag) for event in said if isinstance(event, CountEvent)]

    found, expected = counts(turned), counts(history)
    assert sorted(found) == sorted(expected)
    assert sum(delta for _, delta, _ in found) > 0
