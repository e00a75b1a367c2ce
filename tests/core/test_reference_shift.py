"""Whole shifts of a plant in virtual time through one work unit, against what really happened: to the digit."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from gateway.core import journal, kpi, snapshot
from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.duration import Duration
from gateway.core.kpi import Product, Quantities
from gateway.core.model import Confirmation, ConfirmationKind, MachineState, PiecesProduced, Role
from gateway.core.rules import CounterRule, StateRule
from gateway.core.rules_calendar import BreakRule, CalendarRule, ShiftRule
from gateway.core.rules_state import SetupRule, StopReasonRule
from gateway.core.state.interval import StateInterval
from gateway.core.state.planned_time import plan_of
from gateway.core.state.setup import SetupEnded, SetupStarted
from gateway.core.state.time_elements import per_order, per_shift
from gateway.timing.timezone import zone
from simulators.machine import Cycle, Machine
from simulators.modbus_server import ASM_01

S = 1_000_000_000
MIN = 60 * S
CYCLE = 2_400_000_000
SIX = 1_780_027_200 * S  # 2026-05-29, 06:00 in Berlin
SHIFT = "2026-05-29/F"
COUNTERS = (
    CounterRule(mode="counter", signal="plc.good"),
    CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP),
)
STATE = StateRule(
    reasons=StopReasonRule(alarm_signals=("plc.alarm",), alarms={"101": "TECH.FEEDER_JAM"}),
    setup=SetupRule(tool_signal="plc.tool", end="plc_release", release_signal="plc.release"),
)
CALENDAR = CalendarRule(
    shifts={"F": ShiftRule(start=6 * 60, end=14 * 60, breaks=(BreakRule(start=10 * 60, end=10 * 60 + 30),))}
)


class Plant:
    """One machine beside its work unit; ``restart_every`` pieces the gateway is stopped and started again."""

    def __init__(self, rig: Any, *, restart_every: int = 0) -> None:
        self.rig = rig(*COUNTERS, ideal_cycle=Duration(CYCLE), state=STATE, calendar="two shifts")
        self.rig.now_ns = SIX - MIN
        self.rig.state = self.rig.unit.initial(SIX - MIN)
        self._restart_every = restart_every
        self._shown = {"plc.good": 0, "plc.scrap": 0}
        for signal, value in (*self._shown.items(), ("plc.alarm", 0), ("plc.tool", 6), ("plc.release", 0)):
            self.rig.value(signal, value)
        calendar = ShiftCalendar(CALENDAR, zone("Europe/Berlin"))
        plan = plan_of(calendar, self.rig.now_ns, 0, 12 * 60 * MIN)
        self.rig.put(plan)

    def shows(self, at_ns: int, signal: str, value: int) -> None:
        """A value that is true from then on arrives at once."""
        self.rig.now_ns = at_ns
        self.rig.value(signal, value, source_ns=at_ns)

    def makes(self, at_ns: int, *, scrap: bool) -> None:
        """A piece is finished."""
        signal = "plc.scrap" if scrap else "plc.good"
        self._shown[signal] += 1
        self.shows(at_ns, signal, self._shown[signal])
        if self._restart_every and sum(self._shown.values()) % self._restart_every == 0:
            unit = self.rig.unit
            self.rig.state = snapshot.load(unit, snapshot.dump(unit, self.rig.state))
            for name, value in self._shown.items():
                self.shows(at_ns, name, value)

    def ends(self, at_ns: int) -> None:
        """Time passes until everything is final."""
        self.rig.now_ns = at_ns
        self.rig.wait()

    @property
    def row(self) -> list[StateInterval]:
        """What was told as final."""
        return self.rig.all(StateInterval)

    def pieces(self, role: Role) -> int:
        """Booked pieces."""
        return sum(one.pieces for one in self.rig.all(PiecesProduced) if one.role is role)


def reference_shift(plant: Plant) -> Plant:
    """Set-up until 06:20, a jam from 08:00 to 08:12, a break, 40 micro stops of 15 s, two orders, then nothing."""
    rig = plant.rig
    rig.now_ns = SIX
    rig.order("100240", 4800)
    rig.order("100241", 2400, sequence_no=1)
    plant.shows(SIX, "plc.tool", 7)
    plant.shows(SIX + 20 * MIN, "plc.release", 1)
    at_ns, jammed, paused = SIX + 20 * MIN, False, False
    for made in range(7200):
        if at_ns >= SIX + 120 * MIN and not jammed:
            jammed = True
            plant.shows(at_ns, "plc.alarm", 101)
            at_ns += 12 * MIN
        if made % 180 == 90:
            at_ns += 15 * S
        at_ns += CYCLE
        if at_ns > SIX + 240 * MIN and not paused:
            paused, at_ns = True, at_ns + 30 * MIN
        plant.makes(at_ns, scrap=made % 50 == 49)
    plant.ends(SIX + 500 * MIN)
    return plant


def test_the_reference_shift_through_a_work_unit(rig):
    plant = reference_shift(Plant(rig))
    model = plant.rig.unit.machine.time_model
    times = model.by(plant.row, per_shift)[SHIFT]
    assert (times.apt_ns, times.aust_ns, times.adet_ns, times.adot_ns) == (288 * MIN, 20 * MIN, 22 * MIN, 120 * MIN)
    assert (times.pbt_ns, times.pdot_ns, times.pot_ns) == (450 * MIN, 30 * MIN, 480 * MIN)
    assert (times.unk_ns, times.micro_stop_ns) == (0, 10 * MIN)
    good, scrap = plant.pieces(Role.GOOD), plant.pieces(Role.SCRAP)
    assert (good, scrap) == (7056, 144)
    found = kpi.machine_kpis(times, Quantities(good=good, scrap=scrap), [Product(Fraction(CYCLE), good + scrap)])
    assert (found.availability, found.effectiveness, found.quality_ratio) == (Fraction(64, 100), 1, Fraction(98, 100))
    assert found.oee == Fraction(6272, 10000)
    (stop,) = [one for one in plant.row if one.state is MachineState.STOPPED]
    assert (stop.reason, stop.length_ns) == ("TECH.FEEDER_JAM", 12 * MIN)
    assert sum(one.state is MachineState.MICRO_STOP for one in plant.row) == 40
    assert [one.trigger for one in plant.rig.all(SetupStarted)] == ["tool"]
    assert [one.at_ns for one in plant.rig.all(SetupEnded)] == [SIX + 20 * MIN]
    orders = model.by(plant.row, per_order)
    assert (orders["100240", "0010"].apt_ns, orders["100241", "0010"].apt_ns) == (192 * MIN, 96 * MIN)
    finals = [one for one in plant.rig.all(Confirmation) if one.kind is ConfirmationKind.FINAL]
    assert [(one.job.order, one.total_good + one.total_scrap) for one in finals] == [("100240", 4800), ("100241", 2400)]


def test_every_output_of_the_shift_is_a_journal_row(rig):
    plant = reference_shift(Plant(rig))
    kinds = {journal.row(output)[0] for output in plant.rig.said}
    assert {"pieces", "state", "interval", "setup", "setup_started", "setup_ended", "job", "confirmation"} <= kinds
    for output in plant.rig.said:
        json.dumps(journal.row(output)[1])


def test_restarts_in_the_shift_lose_no_piece_and_no_time(rig):
    """What a restart hides is unknown or estimated, and still adds up."""
    plant = reference_shift(Plant(rig, restart_every=97))
    assert (plant.pieces(Role.GOOD), plant.pieces(Role.SCRAP)) == (7056, 144)
    times = plant.rig.unit.machine.time_model.by(plant.row, per_shift)[SHIFT]
    assert (times.pot_ns, times.pbt_ns, times.pdot_ns) == (480 * MIN, 450 * MIN, 30 * MIN)
    assert all(first.to_ns == second.from_ns for first, second in pairwise(plant.row))


def truth_of(ends: list[int]) -> tuple[int, int, int]:
    """Production, micro stops and stops between the first and the last piece, by the rule and by hand."""
    producing = micro = stopped = 0
    for before, after in pairwise(ends):
        gap = after - before
        if gap <= max(2 * CYCLE, 5 * S):
            producing += gap
        else:
            producing += CYCLE
            if gap - CYCLE <= 300 * S:
                micro += gap - CYCLE
            else:
                stopped += gap - CYCLE
    return producing, micro, stopped


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_simulated_machine_with_its_own_troubles(rig, seed):
    machine, plant, ends = Machine(ASM_01, seed=seed), Plant(rig), []
    plant.rig.now_ns = SIX
    plant.rig.order("900001", 1_000_000)
    while machine.next_ns is not None and machine.next_ns < 235 * MIN:
        event = machine.step()
        if isinstance(event, Cycle):
            ends.append(SIX + event.at_ns)
            plant.makes(SIX + event.at_ns, scrap=event.scrap > 0)
    plant.ends(SIX + 1000 * MIN)
    assert (plant.pieces(Role.GOOD), plant.pieces(Role.SCRAP)) == (machine.good, machine.scrap)
    inside = [one for one in plant.row if one.from_ns >= ends[0] and one.to_ns <= ends[-1]]
    by_state: dict[MachineState, int] = {}
    for one in plant.row:
        begin, end = max(one.from_ns, ends[0]), min(one.to_ns, ends[-1])
        if begin < end:
            by_state[one.state] = by_state.get(one.state, 0) + end - begin
    expected = truth_of(ends)
    found = tuple(
        by_state.get(state, 0) for state in (MachineState.PRODUCING, MachineState.MICRO_STOP, MachineState.STOPPED)
    )
    assert found == expected
    assert len(inside) > 10, "a machine without troubles would prove little"
