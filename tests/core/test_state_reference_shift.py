"""The reference shift, cycle by cycle, through timeline, time elements and indicators: to the digit."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import kpi
from gateway.core.duration import Duration
from gateway.core.kpi import Product, Quantities
from gateway.core.model import MachineState
from gateway.core.rules_state import StateTimelineRule, StopReasonRule, TimeModelRule
from gateway.core.state.interval import StateInterval
from gateway.core.state.time_elements import TimeModel, per_order, per_shift
from gateway.core.state.timeline import Timeline

MIN = 60 * 10**9
CYCLE = 2_400_000_000
SIX = 1_780_000_000 * 10**9
M = MachineState
RULE = StateTimelineRule(ideal_cycle=Duration("2.4 s"), reasons=StopReasonRule(alarms={"101": "TECH.FEEDER_JAM"}))


class Shift:
    """06:00 to 14:00 with a setup until 06:20, a break at 10:00, a stop at 08:00 and 40 micro stops."""

    def __init__(self):
        self.timeline, self.out = Timeline(RULE), []
        self.state = self.timeline.initial(SIX - MIN)
        self.told("heard", SIX - MIN)
        self.told("calendar", SIX - MIN, M.NOT_SCHEDULED, "")
        self.told("calendar", SIX, None, "F")
        self.told("job", SIX, "100240", "0010", None)
        self.told("mode", SIX, M.SETUP)
        self.told("mode", SIX + 20 * MIN, None)
        self.at_ns, self.made, self.stopped, self.paused = SIX + 20 * MIN, 0, False, False
        self.produce()
        self.told("calendar", SIX + 480 * MIN, M.NOT_SCHEDULED, "")
        self.state, more = self.timeline.on_time(self.state, SIX + 500 * MIN)
        self.row = [one for one in (*self.out, *more) if isinstance(one, StateInterval)]

    def told(self, verb, at_ns, *rest):
        self.state, more = getattr(self.timeline, verb)(self.state, at_ns, at_ns, *rest)
        self.out += more

    def produce(self):
        while self.made < 7200:
            if self.at_ns >= SIX + 120 * MIN and not self.stopped:
                self.stopped = True
                self.told("alarm", self.at_ns, "101")
                self.at_ns += 12 * MIN
            if self.made % 180 == 90:
                self.at_ns += 15 * 10**9
            self.at_ns += CYCLE
            if self.at_ns > SIX + 240 * MIN and not self.paused:
                self.paused = True
                self.told("calendar", SIX + 240 * MIN, M.PLANNED_STOP, "F")
                self.told("calendar", SIX + 270 * MIN, None, "F")
                self.at_ns += 30 * MIN
            self.made += 1
            self.told("cycle", self.at_ns, self.at_ns)
            if self.made == 4800:
                self.told("job", self.at_ns, "100241", "0010", None)
        self.told("job", self.at_ns, None, None, None)


def test_the_reference_shift():
    shift = Shift()
    model = TimeModel(TimeModelRule(), RULE.reasons)
    sums = model.by(shift.row, per_shift)
    times = sums["F"]
    assert (times.apt_ns, times.aust_ns, times.adet_ns, times.adot_ns) == (288 * MIN, 20 * MIN, 22 * MIN, 120 * MIN)
    assert (times.pbt_ns, times.pdot_ns, times.pot_ns) == (450 * MIN, 30 * MIN, 480 * MIN)
    assert (times.unk_ns, times.speed_loss_ns, times.micro_stop_ns) == (0, 0, 10 * MIN)
    assert set(sums) == {"", "F"}
    found = kpi.machine_kpis(times, Quantities(good=7056, scrap=144), [Product(Fraction(CYCLE), 7200)])
    assert found.availability == Fraction(64, 100)
    assert found.effectiveness == 1
    assert found.quality_ratio == Fraction(98, 100)
    assert found.oee == Fraction(6272, 10000)
    (stop,) = [one for one in shift.row if one.state is M.STOPPED]
    assert (stop.reason, stop.length_ns) == ("TECH.FEEDER_JAM", 12 * MIN)
    assert sum(one.state is M.MICRO_STOP for one in shift.row) == 40


def test_the_orders_share_the_shift():
    orders = TimeModel(TimeModelRule(), RULE.reasons).by(Shift().row, per_order)
    assert orders[("100240", "0010")].apt_ns == 192 * MIN
    assert orders[("100241", "0010")].apt_ns == 96 * MIN
    assert orders[("100240", "0010")].aust_ns == 20 * MIN
    assert orders[None].adot_ns == 120 * MIN


def test_micro_stops_as_production():
    model = TimeModel(TimeModelRule(micro_stop_as="production"), RULE.reasons)
    times = model.by(Shift().row, per_shift)["F"]
    assert (times.apt_ns, times.adet_ns) == (298 * MIN, 12 * MIN)


def interval(state, minutes, **more):
    return StateInterval(state, 0, minutes * MIN, order=more.pop("order", "A"), **more)


def test_each_state_has_its_element():
    model = TimeModel(TimeModelRule(), StopReasonRule(elements={"MEETING": "PDOT"}))
    table = [
        (interval(M.PRODUCING, 1), "APT"),
        (interval(M.PRODUCING, 1, planned=M.NOT_SCHEDULED, overtime=True), "APT"),
        (interval(M.MICRO_STOP, 1), "ADET"),
        (interval(M.STOPPED, 1), "ADET"),
        (interval(M.STOPPED, 1, order=None), "ADOT"),
        (interval(M.STOPPED, 1, reason="MEETING"), "PDOT"),
        (interval(M.BLOCKED, 1), "ADET"),
        (interval(M.STARVED, 1, order=None), "ADOT"),
        (interval(M.SETUP, 1, order=None), "AUST"),
        (interval(M.CLEANING, 1), "ADET"),
        (interval(M.CLEANING, 1, planned=M.PLANNED_STOP), "PDOT"),
        (interval(M.MAINTENANCE, 1, order=None), "ADOT"),
        (interval(M.PLANNED_STOP, 1), "PDOT"),
        (interval(M.IDLE_NO_ORDER, 1, order=None), "ADOT"),
        (interval(M.NOT_SCHEDULED, 1), "OUTSIDE"),
        (interval(M.OFF, 1), "ADET"),
        (interval(M.UNKNOWN, 1), "UNK"),
        (interval(M.UNKNOWN, 1, planned=M.NOT_SCHEDULED), "OUTSIDE"),
        (interval(M.UNKNOWN, 1, planned=M.PLANNED_STOP), "PDOT"),
    ]
    for found, element in table:
        assert model.element(found) == element, found
    assert {found.state for found, _ in table} == set(M)
    assert TimeModel(TimeModelRule(cleaning_as="AUST"), StopReasonRule()).element(interval(M.CLEANING, 1)) == "AUST"


def test_overtime_extends_the_planned_time():
    model = TimeModel(TimeModelRule(), StopReasonRule())
    row = [
        interval(M.NOT_SCHEDULED, 50, planned=M.NOT_SCHEDULED),
        interval(M.PRODUCING, 10, planned=M.NOT_SCHEDULED, overtime=True),
    ]
    times = model.total(row)
    assert (times.pot_ns, times.pbt_ns, times.overtime_ns, times.outside_ns) == (10 * MIN, 10 * MIN, 10 * MIN, 50 * MIN)


def test_a_flexible_break_is_the_longest_stop_that_covers_it():
    model = TimeModel(TimeModelRule(flexible_break=Duration("20 min")), StopReasonRule())
    short = interval(M.STOPPED, 15, stop_from_ns=0)
    long = interval(M.STOPPED, 45, stop_from_ns=1)
    times = model.of_shift((short, long))
    assert (times.adet_ns, times.pdot_ns, times.pot_ns) == (40 * MIN, 20 * MIN, 60 * MIN)
    assert model.of_shift((short,)).pdot_ns == 0
    cut = (interval(M.STOPPED, 15, stop_from_ns=1), interval(M.STOPPED, 15, stop_from_ns=1, order=None))
    assert model.of_shift(cut)[:5] == (0, 0, 0, 10 * MIN, 20 * MIN)


@given(
    st.lists(
        st.tuples(st.sampled_from(M), st.integers(1, 10**12), st.sampled_from([None, "A"]), st.booleans()), max_size=30
    ),
    st.integers(0, 10**12),
)
@settings(max_examples=200)
def test_elements_add_up_to_the_time(found, flexible):
    row = tuple(
        StateInterval(state, 0, length, order=order, planned=M.PLANNED_STOP if planned else None, stop_from_ns=index)
        for index, (state, length, order, planned) in enumerate(found)
    )
    model = TimeModel(TimeModelRule(flexible_break=Duration(flexible)), StopReasonRule())
    for times in (model.total(row), model.of_shift(row)):
        assert times.pot_ns + times.outside_ns == sum(one.length_ns for one in row)
        assert min(times) >= 0
    parts = model.by(row, lambda one: one.order).values()
    total = model.total(())
    for part in parts:
        total = total.plus(part)
    assert total == model.total(row)
