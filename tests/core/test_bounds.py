"""A machine that never rests, a PLC that storms, a plant that changes orders: what is remembered is bounded."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.core import snapshot
from gateway.core.counting.verdicts import EARLY_RESULTS_MAX, OPEN_PARTS_MAX
from gateway.core.duration import Duration
from gateway.core.model import CalendarPlan, MachineState, PlannedTime, Role, Status
from gateway.core.orders.attribution import CHANGES_MAX
from gateway.core.orders.job_run import FLAGS_MAX
from gateway.core.rules import CounterRule, OrderRule, StateRule
from gateway.core.rules_counting import PartResultRule, ResultRule, RolesRule
from gateway.core.rules_state import DataLossRule, SetupRule, StopReasonRule
from gateway.core.state.interval import ALARMS_SHOWN_MAX, StateInterval
from gateway.core.state.planned_time import PLAN_ENTRIES_MAX
from gateway.core.state.stop_reasons import ALARMS_KEPT_MAX
from gateway.core.state.timeline import CONTEXTS_MAX, ROW_MAX
from gateway.core.unit_state import UNKNOWN_INTERVALS_MAX

MS = 1_000_000
#: The first is enough for each of them but the intervals of unknown pieces, which ``test_work_unit_signals`` fills.
INPUTS = (2_000, 12_000)
TRANSIT_PIECES = 40
CHECK_POLLS = 30
SNAPSHOT_BYTES_MAX = 256 * 1024
CALM = ("good", "good", "good", "scrap", "part", "ok", "total")
STORM = ("job", "alarm", "state", "mode", "tool", "bad", "boots", "plan", "stamp", "part", "ok", "order")


def counter(name: str, **over):
    return CounterRule(mode="counter", signal=f"m.{name}", restart_evidence=("m.boots",), **over)


def machine(rig):
    """Everything that has a memory, in one work unit that waits ten minutes before anything is final."""
    roles = {name: counter(name) for name in ("total", "good", "scrap")}
    results = ResultRule(ok="m.ok", nok="m.nok", window=Duration("1 min"))
    return rig(
        RolesRule(mode="roles", **roles, check_polls=CHECK_POLLS),
        PartResultRule(mode="part_result", signal="m.part", results=results),
        counter("rework", role=Role.REWORK),
        ideal_cycle=Duration("1 s"),
        orders=OrderRule(choose="job_signal", job_signal="m.job", transport_delay_pieces=TRANSIT_PIECES),
        state=StateRule(
            signal="m.state",
            map={"1": MachineState.PRODUCING, "2": MachineState.STOPPED, "3": MachineState.BLOCKED},
            mode_signal="m.mode",
            modes={"2": MachineState.MAINTENANCE},
            data_loss=DataLossRule(stale_after=Duration("10 min")),
            reasons=StopReasonRule(alarm_signals=("m.alarm",)),
            setup=SetupRule(tool_signal="m.tool"),
        ),
        calendar="a plan without end",
    )


def check(state, floor):
    timeline = state.track.timeline
    # A loss of data takes back what is not final: one context for each interval.
    assert len(timeline.contexts) <= CONTEXTS_MAX + ROW_MAX
    # What is judged at once comes on top; the next input makes the oldest final.
    assert len(timeline.row) <= 2 * ROW_MAX + CONTEXTS_MAX
    assert len(timeline.alarms) <= ALARMS_KEPT_MAX
    assert all(len(one.alarms) <= ALARMS_SHOWN_MAX for one in timeline.row)
    assert len(state.track.plan) <= PLAN_ENTRIES_MAX
    assert len(state.unknown) <= UNKNOWN_INTERVALS_MAX
    assert len(state.past.ceased) <= CHANGES_MAX
    assert sum(one.pieces for one in state.past.transit) <= TRANSIT_PIECES
    assert all(one.pieces for one in state.past.transit)
    assert all(len(run.open_flags) <= FLAGS_MAX for run in state.open_runs())
    assert len(state.clocks.off) <= len(floor.unit.signals)
    roles, parts, _ = state.detectors
    assert len(roles.polls) <= CHECK_POLLS
    assert len(parts.verdicts.open) <= OPEN_PARTS_MAX
    assert len(parts.verdicts.early) <= EARLY_RESULTS_MAX


@pytest.mark.parametrize("inputs", [INPUTS[0], pytest.param(INPUTS[1], marks=pytest.mark.soak)])
def test_nothing_grows_without_end(rig, inputs):
    floor, chance, reached = machine(rig), random.Random(7), 0
    shown = dict.fromkeys(("good", "scrap", "total", "rework"), 0)
    for number in range(4):
        floor.order(f"O-{number}", 10**9, product=f"P-{number % 2}")
    for number in range(inputs):
        # Nothing is final for a while, then all of it at once.
        floor.now_ns += chance.choice((20, 100, 900, 1000, 1500)) * MS
        what = chance.choice(CALM if number % 400 < 150 else STORM)
        value = chance.randrange(4)
        if what in shown:
            shown[what] += 1
            floor.value(f"m.{what}", shown[what])
        elif what == "bad":
            name = chance.choice(("good", "rework", "state", "part", "nok"))
            floor.value(f"m.{name}", None, Status.BAD)
        elif what == "plan":
            planned = (None, MachineState.PLANNED_STOP)
            ahead = (
                PlannedTime(floor.now_ns + n * 1700 * MS, planned[n % 2], f"S{n}") for n in range(PLAN_ENTRIES_MAX)
            )
            floor.put(CalendarPlan(floor.now_ns, tuple(ahead)))
        elif what == "stamp":
            floor.value("m.rework", shown["rework"], source_ns=floor.now_ns - value * 3_600_000 * MS)
        elif what == "order":
            floor.order(f"O-{value}", 10**9, revision=number)
        else:
            floor.value(
                f"m.{what}", f"O-{value}-0010" if what == "job" else value % 2 if what in ("part", "ok") else value
            )
        check(floor.state, floor)
        reached = max(reached, len(floor.state.track.timeline.row))
        if number % 1000 == 0:
            assert len(snapshot.dump(floor.unit, floor.state)) < SNAPSHOT_BYTES_MAX
            floor.said.clear()
    assert reached > ROW_MAX // 4, "the storm tests something"


def test_intervals_that_wait_to_be_final_are_bounded(rig):
    """A machine that is slow every other cycle, and must be heard for an hour before anything is final."""
    stale = DataLossRule(stale_after=Duration("1 h"))
    floor = rig(counter("good"), ideal_cycle=Duration("1 s"), state=StateRule(data_loss=stale))
    floor.order("A", 10**9)
    for number in range(3 * ROW_MAX):
        floor.now_ns += (1000 if number % 2 else 1500) * MS
        floor.value("m.good", number)
        assert len(floor.state.track.timeline.row) <= ROW_MAX + 1
    told = floor.all(StateInterval)
    assert len(told) + len(floor.state.track.timeline.row) > 2 * ROW_MAX, "the oldest are final early"
    assert all(later.from_ns == earlier.to_ns for earlier, later in pairwise(told))


def test_a_device_that_sends_books_is_not_remembered_word_for_word(rig):
    floor = machine(rig)
    floor.order("O-1", 10**9)
    for number in range(200):
        floor.now_ns += 1000 * MS
        for name in ("job", "state", "mode", "alarm", "tool", "boots", "ok", "good"):
            floor.value(f"m.{name}", f"{number} " + "x" * 100_000)
    assert len(snapshot.dump(floor.unit, floor.state)) < SNAPSHOT_BYTES_MAX
    floor.value("m.job", "O-1-0010")
    assert floor.running == "O-1"
