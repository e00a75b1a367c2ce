"""One machine's state as a whole: signals, loss, setup, calendar, counts; however it is fed, saved or restarted."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.calendar.shift_calendar import ShiftCalendar
from gateway.core.duration import Duration
from gateway.core.model import (
    CalendarPlan,
    CountEvent,
    JobOrder,
    MachineState,
    Notice,
    PlannedTime,
    Role,
    StateChanged,
    Status,
)
from gateway.core.rules_calendar import BreakRule, CalendarRule, ShiftRule
from gateway.core.rules_state import DataLossRule, SetupRule, StateSignalRule, StateTimelineRule, StopReasonRule
from gateway.core.state import planned_time
from gateway.core.state.interval import StateInterval
from gateway.core.state.planned_time import plan_of
from gateway.core.state.setup import SetupEnded, SetupOverrun, SetupStarted
from gateway.core.state.state_unit import MachineStateUnit
from gateway.timing.timezone import zone

S = 1_000_000_000
START_NS = 1_780_000_000_000_000_000
M = MachineState
COUNTS = StateTimelineRule(
    ideal_cycle=Duration("10 s"),
    data_loss=DataLossRule(stale_after=None),
    reasons=StopReasonRule(alarm_signals=("plc.alarm",), alarms={"101": "JAM"}),
    setup=SetupRule(tool_signal="plc.tool"),
)
WORD = StateTimelineRule(
    ideal_cycle=Duration("10 s"),
    explicit=StateSignalRule(
        signal="plc.state",
        map={"1": M.PRODUCING, "2": M.STOPPED, "3": M.BLOCKED},
        mode_signal="plc.mode",
        modes={"9": M.SETUP},
    ),
    data_loss=DataLossRule(stale_after=None),
    reasons=StopReasonRule(alarm_signals=("plc.alarm",)),
    setup=SetupRule(end="plc_release", pieces_as="scrap"),
)


def job(order: str, product: str = "P1") -> JobOrder:
    """An order with no cycle time of its own."""
    return JobOrder(
        order, "0010", "0", 1, "WC", product, "", "PC", Decimal(100), 0, None, None, None, cancelled=False, source="erp"
    )


class Floor:
    """One machine, its clock, and what was told."""

    def __init__(self, rule: StateTimelineRule, *, save: bool = False, ask: bool = False, **more: Any) -> None:
        self.unit = MachineStateUnit(rule, ("plc.good", "plc.scrap"), **more)
        self.track, self.now_ns = self.unit.initial(START_NS), START_NS
        self.out: list[Any] = []
        self.made_as: list[Role] = []
        self.count_ns = START_NS
        self._save, self._ask = save, ask

    def at(self, seconds: int) -> Floor:
        """The clock shows this."""
        self.now_ns = START_NS + seconds * S
        return self

    def later(self, seconds: int) -> Floor:
        """Time passes; asked often, or once."""
        if self._ask:
            self.wait(self.now_ns + seconds * S // 3)
        return self.at((self.now_ns - START_NS) // S + seconds)

    def wait(self, until_ns: int | None = None) -> None:
        """What is due."""
        self.track, out = self.unit.on_time(self.track, self.now_ns if until_ns is None else until_ns)
        self.out += out

    def does(self, verb: str, *args: Any, **named: Any) -> Floor:
        """One method, with what comes before and after it."""
        self.wait()
        found = getattr(self.unit, verb)(self.track, *args, **named)
        self.track = found[0]
        self.out += found[1]
        self.made_as += found[2:]
        self.track, change = self.unit.changed(self.track, self.now_ns)
        self.out += change
        if self._save:
            kept = self.unit.loaded(json.loads(json.dumps(self.unit.plain(self.track))))
            assert kept == self.track
            self.track = kept
        return self

    def value(self, signal: str, value: Any, status: Status = Status.GOOD) -> Floor:
        """A value arrives now and is true now."""
        return self.does("on_value", signal, value, status, self.now_ns, self.now_ns)

    def count(self, pieces: int = 1, role: Role = Role.GOOD) -> Floor:
        """So many since the last count."""
        event = CountEvent("plc.good", pieces, self.count_ns, self.now_ns, "OK", cycle_ns=None)
        self.count_ns = self.now_ns
        return self.does("on_count", event, role, self.now_ns)

    def runs(self, order: JobOrder | None) -> Floor:
        """An order begins, or none runs."""
        return self.does("on_job", order, None, self.now_ns, self.now_ns)

    def plan(self, *entries: PlannedTime) -> Floor:
        """The calendar's hours ahead."""
        return self.does("on_calendar", CalendarPlan(self.now_ns, entries), self.now_ns)

    def heard(self) -> Floor:
        """Both counters are seen."""
        return self.value("plc.good", 0).value("plc.scrap", 0)

    def all(self, kind: type) -> list[Any]:
        """What was told of this kind."""
        return [one for one in self.out if isinstance(one, kind)]

    def states(self) -> list[tuple[str, float]]:
        """State and the second from which it was told."""
        return [(change.state.value, (change.at_ns - START_NS) / S) for change in self.all(StateChanged)]

    def row(self) -> list[tuple[str, float, float]]:
        """Final and coming intervals, in seconds."""
        found = [*self.all(StateInterval), *self.track.timeline.row]
        return [(one.state.value, (one.from_ns - START_NS) / S, (one.to_ns - START_NS) / S) for one in found]


def test_the_state_is_unknown_until_every_counter_was_seen():
    floor = Floor(COUNTS).value("plc.good", 0)
    assert floor.states() == []
    assert floor.track.reason == "no valid value of plc.scrap"
    floor.at(5).value("plc.scrap", 0)
    assert floor.states() == [("IDLE_NO_ORDER", 5)]


def test_a_gap_is_told_live_and_final():
    floor = Floor(COUNTS).heard().runs(job("A"))
    floor.at(10).count().at(20).count().at(100).count()
    assert floor.states()[-3:] == [("PRODUCING", 10), ("MICRO_STOP", 40.000000001), ("PRODUCING", 100)]
    assert floor.row() == [("PRODUCING", 0, 30), ("MICRO_STOP", 30, 100)]


def test_a_bad_value_is_unknown_from_the_last_good_one_on():
    floor = Floor(COUNTS).heard().runs(job("A"))
    floor.at(10).count().value("plc.good", 1).value("plc.scrap", 0)
    floor.at(14).value("plc.scrap", None, Status.BAD)
    assert floor.states()[-1] == ("UNKNOWN", 14)
    assert floor.track.reason == "no valid value of plc.scrap"
    assert floor.row()[-1][2] == 10, "nothing is said of the time after the last good value"
    floor.at(60).value("plc.scrap", 0).count(3)
    floor.at(200).wait()
    assert ("PRODUCING", 10, 40) in floor.row(), "three pieces were made meanwhile"
    assert ("UNKNOWN", 40, 60) in floor.row()


def test_a_signal_that_tells_only_changes_was_not_lost_hours_ago():
    floor = Floor(COUNTS).heard()
    floor.at(3600).value("plc.good", None, Status.BAD)
    lost = [one for one in floor.row() if one[0] == "IDLE_NO_ORDER"]
    assert lost[-1][2] == 3590


def test_the_machines_word_its_mode_and_an_unknown_value():
    floor = Floor(WORD).runs(job("A")).value("plc.state", 1).value("plc.mode", 0)
    assert floor.track.reason == "plc.state is 1"
    floor.at(100).value("plc.mode", 9)
    assert [one.trigger for one in floor.all(SetupStarted)] == ["mode"]
    floor.at(130).count()
    assert floor.made_as == [Role.SCRAP], "a piece of the setup"
    floor.at(200).value("plc.mode", 0)
    assert [one.trigger for one in floor.all(SetupEnded)] == ["plc_release"]
    floor.at(210).count()
    assert floor.made_as[-1] is Role.GOOD
    floor.at(300).value("plc.state", 77)
    assert floor.states()[-1] == ("UNKNOWN", 300)
    (notice,) = floor.all(Notice)
    assert (notice.code, dict(notice.detail)) == ("STATE_UNMAPPED", {"signal": "plc.state", "value": "77"})


def test_another_product_starts_a_setup_that_reaches_back_to_the_last_good_piece():
    floor = Floor(COUNTS).heard().runs(job("A"))
    floor.at(10).count().at(20).count()
    floor.at(50).runs(job("B", "P2"))
    assert floor.states()[-1] == ("SETUP", 50)
    floor.at(100).count().at(110).count()
    assert ("SETUP", 20, 100) in _joined(floor.row())
    assert floor.states()[-1] == ("PRODUCING", 100)


def test_a_counter_shows_when_the_setup_is_done_too():
    """Each single count ends a cycle; several at once tell nothing of one."""
    rule = dataclasses.replace(COUNTS, setup=SetupRule(end="n_good_in_tolerance", good_in_a_row=3))
    floor = Floor(rule).heard().runs(job("A"))
    floor.at(10).count().at(20).count().at(50).runs(job("B", "P2"))
    floor.at(100).count().at(110).count().at(121).count(2).at(131).count().at(142).count().at(150).count(3)
    assert floor.all(SetupEnded) == []
    floor.at(160).count().at(171).count().at(180).count()
    (ended,) = floor.all(SetupEnded)
    assert (ended.at_ns - START_NS, ended.trigger) == (180 * S, "n_good_in_tolerance")


def test_a_setup_that_lasts_twice_as_long_as_planned_is_told_once():
    rule = dataclasses.replace(COUNTS, setup=SetupRule(planned=Duration("5 min")))
    floor = Floor(rule).heard().runs(job("A"))
    floor.at(10).count().at(20).runs(job("B", "P2")).at(2000).wait()
    (late,) = floor.all(SetupOverrun)
    assert (late.at_ns, late.planned_ns, late.since_ns) == (START_NS + 610 * S + 1, 300 * S, START_NS + 10 * S)


def test_an_alarm_is_the_reason_of_the_stop():
    floor = Floor(COUNTS).heard().runs(job("A")).value("plc.alarm", 0)
    floor.at(10).count().at(22).value("plc.alarm", 101)
    floor.at(900).count().at(2000).wait()
    (stop,) = [one for one in floor.all(StateInterval) if one.state is M.STOPPED and one.to_ns < START_NS + 901 * S]
    assert (stop.reason, stop.reason_source) == ("JAM", "alarm")


def test_the_calendar_is_followed_at_its_own_times():
    floor = Floor(COUNTS, has_calendar=True).heard().runs(job("A"))
    floor.plan(
        PlannedTime(START_NS - S, None, "d/F"),
        PlannedTime(START_NS + 100 * S, M.PLANNED_STOP, "d/F"),
        PlannedTime(START_NS + 130 * S, None, "d/F"),
        PlannedTime(START_NS + 200 * S, M.NOT_SCHEDULED, ""),
    )
    floor.at(10).count().at(1000).wait()
    assert floor.states()[-3:] == [("PLANNED_STOP", 100), ("STOPPED", 130), ("NOT_SCHEDULED", 200)]
    found = [one for one in floor.all(StateInterval) if one.planned is M.PLANNED_STOP]
    assert [((one.from_ns - START_NS) // S, (one.to_ns - START_NS) // S) for one in found] == [(100, 130)]
    assert found[0].shift == "d/F"


def test_a_new_plan_replaces_the_one_before():
    floor = Floor(COUNTS, has_calendar=True).heard()
    floor.plan(PlannedTime(START_NS, None, "d/F"), PlannedTime(START_NS + 100 * S, M.NOT_SCHEDULED, ""))
    floor.at(50).plan(PlannedTime(START_NS, None, "d/F"), PlannedTime(START_NS + 700 * S, M.NOT_SCHEDULED, ""))
    floor.at(1000).wait()
    assert floor.states()[-1] == ("NOT_SCHEDULED", 700)


def test_a_plan_that_is_out_of_order_is_refused():
    floor = Floor(COUNTS, has_calendar=True)
    with pytest.raises(ValueError, match="out of order"):
        floor.plan(PlannedTime(START_NS, None, ""), PlannedTime(START_NS, M.NOT_SCHEDULED, ""))
    many = [PlannedTime(START_NS + number, None, "") for number in range(planned_time.PLAN_ENTRIES_MAX + 1)]
    with pytest.raises(ValueError, match="allowed up to 64"):
        floor.plan(*many)


def test_a_plan_from_a_calendar_is_in_steady_time():
    rule = CalendarRule(
        shifts={"F": ShiftRule(start=6 * 60, end=14 * 60, breaks=(BreakRule(start=10 * 60, end=10 * 60 + 30),))}
    )
    calendar = ShiftCalendar(rule, zone("UTC"))
    six_ns, hour = 1_780_034_400 * S, 3600 * S  # 2026-05-29T06:00:00Z
    behind = plan_of(calendar, six_ns - 7 * hour + hour, -7 * hour + 6 * hour, 30 * hour)
    assert behind.entries[0].from_ns <= behind.at_ns
    plan = plan_of(calendar, six_ns + hour, 0, 24 * hour)
    assert [((one.from_ns - six_ns) / hour, one.planned, one.shift) for one in plan.entries] == [
        (0, None, "2026-05-29/F"),
        (4, M.PLANNED_STOP, "2026-05-29/F"),
        (4.5, None, "2026-05-29/F"),
        (8, M.NOT_SCHEDULED, ""),
        (24, None, "2026-05-30/F"),
    ]
    fast = plan_of(calendar, six_ns + hour, 2 * hour, 24 * hour)
    assert fast.entries[1].from_ns == six_ns + 2 * hour, "the steady clock is two hours behind"


def test_a_restart_is_unknown_since_the_gateway_was_last_alive():
    floor = Floor(COUNTS, has_calendar=True).heard().runs(job("A"))
    floor.plan(PlannedTime(START_NS, None, "d/F"), PlannedTime(START_NS + 5000 * S, M.NOT_SCHEDULED, ""))
    floor.at(10).count().at(15).wait()
    floor.track = floor.unit.restored(floor.track, START_NS + 15 * S)
    assert floor.track.plan, "the plan goes on until there is a new one"
    floor.at(100).heard()
    assert floor.states()[-2:] == [("UNKNOWN", 15), ("STOPPED", 100)]
    floor.count(2).at(300).wait()
    gone = MachineStateUnit(COUNTS, ("plc.good", "plc.scrap")).restored(floor.track, floor.now_ns)
    gone, _ = MachineStateUnit(COUNTS, ("plc.good", "plc.scrap")).on_time(gone, floor.now_ns)
    assert (gone.plan, gone.timeline.contexts[-1].shift) == ((), ""), "no calendar any more"
    assert ("PRODUCING", 15, 35) in floor.row()
    assert ("UNKNOWN", 35, 100) in floor.row()


def _joined(row):
    found = []
    for state, begin, end in row:
        if found and found[-1][0] == state and found[-1][2] == begin:
            found[-1] = (state, found[-1][1], end)
        else:
            found.append((state, begin, end))
    return found


class Step(NamedTuple):
    """After so many seconds, this, and a choice."""

    after_s: int
    what: str
    choice: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from((0, 1, 3, 10, 10, 12, 21, 40, 320, 2000)),
        st.sampled_from(
            ("count",) * 6 + ("order", "none", "bad", "good", "good", "alarm", "tool", "state", "mode", "plan", "setup")
        ),
        st.integers(0, 7),
    ),
    min_size=3,
    max_size=40,
)


def play(rule: StateTimelineRule, steps: list[Step], **how: bool) -> Floor:  # noqa: C901 - one line for each word
    floor = Floor(rule, has_calendar=True, **how).heard()
    for after_s, what, choice in steps:
        floor.later(after_s)
        match what:
            case "count":
                floor.count(1 + choice // 5, (Role.GOOD, Role.SCRAP)[choice % 2])
            case "order":
                floor.runs(job("AB"[choice % 2], "PQ"[choice // 4]))
            case "none":
                floor.runs(None)
            case "bad":
                floor.value(("plc.good", "plc.scrap", "plc.state")[choice % 3], None, Status.BAD)
            case "good":
                floor.heard()
            case "alarm":
                floor.value("plc.alarm", (0, 101, 7)[choice % 3])
            case "tool":
                floor.value("plc.tool", choice % 3)
            case "state":
                floor.value("plc.state", choice % 5)
            case "mode":
                floor.value("plc.mode", 9 * (choice % 2))
            case "plan":
                floor.plan(
                    PlannedTime(floor.now_ns - S, (None, M.NOT_SCHEDULED)[choice % 2], "d/F"),
                    PlannedTime(floor.now_ns + choice * 20 * S + 1, M.PLANNED_STOP, "d/F"),
                    PlannedTime(floor.now_ns + choice * 30 * S + 2 * S, None, "d/S"),
                )
            case "setup":
                floor.does("operator_setup", floor.now_ns, begins=choice % 2 == 0)
    floor.later(7200).wait()
    return floor


SILENT = StateTimelineRule(ideal_cycle=Duration("10 s"), data_loss=DataLossRule(stale_after=Duration("10 s")))
RULES = st.sampled_from((COUNTS, WORD, SILENT))


def test_silence_is_a_loss_at_its_own_time():
    floor = Floor(SILENT).heard()
    floor.at(100).wait()
    assert floor.states() == [("IDLE_NO_ORDER", 0), ("UNKNOWN", 10)]
    assert floor.track.reason == "no valid value of plc.good, plc.scrap"


@given(RULES, STEPS)
@settings(max_examples=150)
def test_intervals_tile_and_every_change_is_one(rule, steps):
    floor = play(rule, steps)
    row = [*floor.all(StateInterval), *floor.track.timeline.row]
    assert all(first.to_ns == second.from_ns for first, second in pairwise(row))
    if row:
        assert row[0].from_ns == START_NS
        assert row[-1].to_ns == floor.track.timeline.pending_ns
    changes = floor.all(StateChanged)
    assert all(first.state is second.previous for first, second in pairwise(changes))
    assert all(change.state is not change.previous for change in changes)
    assert [change.at_ns for change in changes] == sorted(change.at_ns for change in changes)


@given(RULES, STEPS)
@settings(max_examples=150)
def test_time_that_passes_changes_nothing(rule, steps):
    often, once = play(rule, steps, ask=True), play(rule, steps)
    assert (often.out, often.track) == (once.out, once.track)


@given(RULES, STEPS)
@settings(max_examples=150)
def test_a_saved_memory_goes_on_the_same(rule, steps):
    kept, never = play(rule, steps, save=True), play(rule, steps)
    assert (kept.out, kept.track) == (never.out, never.track)


@given(RULES, STEPS, STEPS)
@settings(max_examples=100)
def test_a_restart_loses_no_time(rule, before, after):
    """However it ends: the intervals go on where they were, and what nobody saw is unknown or made of counts."""
    floor = play(rule, before)
    restored = floor.unit.restored(floor.track, floor.now_ns)
    floor.track = floor.unit.loaded(json.loads(json.dumps(floor.unit.plain(restored))))
    floor.later(600).wait()
    assert not floor.track.timeline.contexts[-1].known
    for after_s, _, choice in after:
        floor.later(after_s).count(1 + choice)
        floor.heard()
    floor.later(7200).wait()
    row = [*floor.all(StateInterval), *floor.track.timeline.row]
    assert all(first.to_ns == second.from_ns for first, second in pairwise(row))
