"""Times of a run: data/work_times.txt case by case, and what holds for any intervals and confirmations."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import MachineState
from gateway.core.rules_state import StopReasonRule, TimeModelRule
from gateway.core.state.interval import StateInterval
from gateway.core.state.time_elements import TimeElements, TimeModel
from gateway.core.work import activity_times as times
from gateway.core.work.labour import LabourSlice
from gateway.core.work.rounding import (
    Exact,
    RoundingCarry,
    carry_from,
    decimal_steps,
    half_up,
    largest_remainders,
    step_of,
    steps_of,
)
from gateway.core.work.time_account import ActivityMinutes, FamilyMember, TimeAccount, account_from, shared

TABLE = Path(__file__).parent / "data" / "work_times.txt"
S_NS = 1_000_000_000
MINUTE_NS = 60 * S_NS
MODEL = TimeModel(TimeModelRule(), StopReasonRule(elements={"TOOL_CHANGE": "AUST"}))
STATES = (MachineState.SETUP, MachineState.PRODUCING, MachineState.STOPPED, MachineState.PLANNED_STOP)


def cases():
    name, lines = "", []
    for line in TABLE.read_text().splitlines():
        if line.startswith("case "):
            if lines:
                yield pytest.param(lines, id=name)
            name, lines = line.removeprefix("case "), []
        elif line.startswith("  "):
            lines.append(line.strip())
    yield pytest.param(lines, id=name)


class Bench:
    """One run, its account, and the lines of a case."""

    def __init__(self):
        self.run, self.account, self.basis = times.begin("4711", "0010", 0), TimeAccount(), "busy"

    def do(self, line):
        given_, _, expected = line.partition(" = ")
        verb, *words = given_.split()
        found = getattr(self, f"do_{verb}")(*words)
        assert (found or "") == expected, line
        assert times.run_times_from(json.loads(json.dumps(self.run._asdict()))) == self.run
        assert account_from(json.loads(json.dumps(self.account._asdict()))) == self.account

    def do_basis(self, basis):
        self.basis = basis

    def do_i(self, begin, end, state, *more):
        order = "9999" if more == ("other",) else "4711"
        reason = more[1] if more[:1] == ("reason",) else ""
        found = StateInterval(
            MachineState(state), int(begin) * S_NS, int(end) * S_NS, reason, order=order, operation="0010"
        )
        self.run = times.taken(self.run, found, MODEL)

    def do_labour(self, begin, end, seconds, *setup):
        amount = Exact(int(seconds) * S_NS)
        both = (Exact(), amount) if setup else (amount, Exact())
        found = LabourSlice("M-01", "4711", "0010", int(begin) * S_NS, int(end) * S_NS, *both)
        strange = [found._replace(order="9999"), found._replace(machine="M-02"), found._replace(operation="0020")]
        self.run = times.with_labour(self.run, [found, *strange], "M-01", int(end) * S_NS)

    def do_close(self, at, *final):
        self.run = times.closed(self.run, int(at) * S_NS, final=bool(final))

    def do_due(self, settle):
        due = times.not_before_ns(self.run, int(settle) * S_NS)
        return "none" if due is None else str(Fraction(due, S_NS))

    def do_tell(self):
        self.run, period = times.told(self.run)
        self.account, minutes = self.account.booked(period, self.basis).tell()
        late = f" late {period.late_ns // S_NS}" if period.late_ns else ""
        return " ".join(map(str, minutes)) + late

    def do_after(self):
        found = times.after_final(self.run)
        return "none" if found is None else f"{found.setup_ns // S_NS} {found.machine_ns('busy') // S_NS}"

    def do_reopen(self):
        self.run = times.reopened(self.run)

    def do_refused(self, *words):
        with pytest.raises(ValueError, match=r"found .*(allowed|close one first)"):
            self.do(" ".join(words))


@pytest.mark.parametrize("lines", list(cases()))
def test_a_run(lines):
    bench = Bench()
    for line in lines:
        bench.do(line)


def test_confirmations_that_wait_are_bounded():
    run = times.begin("4711", "0010", 0)
    for at in range(times.CUTS_MAX):
        run = times.closed(run, at)
    with pytest.raises(ValueError, match="allowed no more"):
        times.closed(run, times.CUTS_MAX)


@st.composite
def histories(draw):
    """Intervals that tile, labour beside them, and confirmations that are closed and told at any time."""
    acts, at = [], 0
    for _ in range(draw(st.integers(1, 25))):
        verb = draw(st.sampled_from(("i", "i", "labour", "close", "tell", "tell")))
        if verb == "i":
            length = draw(st.integers(1, 200 * S_NS))
            acts.append(("i", at, at + length, draw(st.sampled_from(STATES)), draw(st.booleans())))
            at += length
        elif verb == "labour":
            acts.append(("labour", Fraction(draw(st.integers(0, 10**12)), draw(st.integers(1, 7)))))
        elif verb == "close":
            acts.append(("close", draw(st.integers(0, 300 * S_NS))))
        else:
            acts.append(("tell",))
    return acts


@given(histories(), st.sampled_from(("busy", "production")))
def test_all_that_is_told_is_the_time_rounded_once(acts, basis):
    run, account = times.begin("4711", "0010", 0), TimeAccount()
    whole, labour, labour_at = TimeElements(), Fraction(0), 0
    told = [Decimal(0)] * 4
    periods = times.NO_TIME

    def tell():
        nonlocal run, account, told, periods
        run, period = times.told(run)
        periods = periods.plus(period)
        account, minutes = account.booked(period, basis).tell()
        assert min(minutes) >= 0
        told = [one + more for one, more in zip(told, minutes, strict=True)]

    for act in acts:
        if act[0] == "i":
            found = StateInterval(act[3], act[1], act[2], order="4711" if act[4] else "9999", operation="0010")
            run = times.taken(run, found, MODEL)
            whole = whole.plus(MODEL.of(found)) if act[4] else whole
        elif act[0] == "labour" and run.taken_to_ns > labour_at:
            found = LabourSlice("M", "4711", "0010", labour_at, run.taken_to_ns, Exact.of(act[1]), Exact())
            run, labour_at = times.with_labour(run, [found], "M", run.taken_to_ns), run.taken_to_ns
            labour += act[1]
        elif act[0] == "close":
            earliest = max(run.taken_to_ns, run.labour_to_ns, run.told_to_ns, *run.cuts)
            run = times.closed(run, earliest + act[1])
        elif act[0] == "tell" and run.cuts:
            tell()
    run = times.closed(run, max(run.taken_to_ns, run.told_to_ns, *run.cuts), final=True)
    while run.cuts:
        tell()
    assert (periods.elements, periods.labour.fraction) == (whole, labour)
    machine = whole.apt_ns if basis == "production" else whole.apt_ns + whole.adet_ns
    for minutes, exact in zip(told, (whole.aust_ns, 0, machine, labour), strict=True):
        assert minutes == decimal_steps(half_up(Fraction(exact) * 1000 / MINUTE_NS), 3)


@given(histories())
def test_a_period_has_what_lies_in_it(acts):
    """Told only once they are settled, periods hold exactly what lies between their confirmations."""
    run, row, cuts = times.begin("4711", "0010", 0), [], []
    intervals = [act for act in acts if act[0] == "i"]
    end = intervals[-1][2] if intervals else 0
    for act in acts:
        if act[0] == "close" and (not cuts or run.taken_to_ns + act[1] >= cuts[-1]):
            cuts.append(run.taken_to_ns + act[1])
            run = times.closed(run, cuts[-1])
        elif act[0] == "i":
            run = times.taken(run, StateInterval(act[3], act[1], act[2], order="4711", operation="0010"), MODEL)
            run = times.with_labour(run, [], "M", act[2])
        while run.cuts and times.is_settled(run):
            run, period = times.told(run)
            row.append(period)
    for index, period in enumerate(row):
        begin, until = (0, *cuts)[index], cuts[index]
        expected = sum(max(0, min(one[2], until) - max(one[1], begin)) for one in intervals if one[3] == STATES[1])
        assert period.elements.apt_ns == expected
        assert not period.late_ns
    assert len(row) == sum(cut <= end for cut in cuts)


# -- the orders of a family tool ------------------------------------------------------------------------------------


PERIOD = times.PeriodTimes(TimeElements(apt_ns=100, aust_ns=10, adet_ns=1), Exact(7, 2), Exact(0), late_ns=5)


@pytest.mark.parametrize(
    ("how", "members", "expected"),
    [
        ("equal", [(4, "1"), (4, "3"), (1, "1")], [(34, 4, 1), (33, 3, 0), (33, 3, 0)]),
        ("by_piece", [(4, "1"), (4, "3"), (1, "1")], [(45, 5, 1), (44, 4, 0), (11, 1, 0)]),
        ("by_weight", [(4, "1.2"), (4, "3.6")], [(25, 3, 0), (75, 7, 1)]),
        ("leading_order", [(4, "1"), (4, "3")], [(100, 10, 1), (0, 0, 0)]),
        ("by_piece", [(0, "1"), (0, "3")], [(50, 5, 1), (50, 5, 0)]),
        ("by_weight", [(4, "0"), (4, "0")], [(50, 5, 1), (50, 5, 0)]),
        ("by_piece", [(0, "1"), (9, "3")], [(0, 0, 0), (100, 10, 1)]),
    ],
)
def test_a_family_shares_the_machine(how, members, expected):
    orders = [
        FamilyMember(f"A{n}", "0010", pieces, Decimal(weight), leading=not n)
        for n, (pieces, weight) in enumerate(members)
    ]
    parts = shared(PERIOD, orders, how)
    assert [(one.elements.apt_ns, one.elements.aust_ns, one.elements.adet_ns) for one in parts] == expected


@given(
    st.lists(st.integers(0, 10**15), min_size=12, max_size=12),
    st.fractions(0, 10**15, max_denominator=720),
    st.lists(st.tuples(st.integers(0, 10**6), st.decimals(0, 1000, places=3)), min_size=1, max_size=16),
    st.sampled_from(("equal", "by_piece", "by_weight", "leading_order")),
)
def test_shares_of_a_family_are_exact(elements, labour, members, how):
    period = times.PeriodTimes(TimeElements(*elements), Exact.of(labour), Exact.of(labour / 3), elements[0])
    orders = [
        FamilyMember(f"A{n}", "0010", pieces, weight, leading=not n) for n, (pieces, weight) in enumerate(members)
    ]
    parts = shared(period, orders, how)
    total = times.NO_TIME
    for one in parts:
        assert min(one.elements) >= 0
        total = total.plus(one)
    assert total == period


@pytest.mark.parametrize(
    ("members", "how", "text"),
    [
        ([], "equal", "found 0 orders"),
        ([FamilyMember("A", "0010")] * 17, "equal", "found 17 orders"),
        ([FamilyMember("A", "0010", -1)], "equal", "below 0"),
        ([FamilyMember("A", "0010")], "leading_order", "found 0 leading orders"),
        ([FamilyMember("A", "0010", leading=True)] * 2, "leading_order", "found 2 leading orders"),
    ],
)
def test_a_family_that_cannot_be(members, how, text):
    with pytest.raises(ValueError, match=text):
        shared(PERIOD, members, how)


# -- rounding -------------------------------------------------------------------------------------------------------


@given(st.lists(st.fractions(-50, 100, max_denominator=5040), max_size=30), st.integers(0, 6))
def test_a_carry_tells_its_sum_rounded_once(amounts, places):
    carry, told = RoundingCarry(), 0
    for amount in amounts:
        carry, steps = carry.plus(amount).tell(step_of(places))
        assert steps >= 0
        told += steps
        assert carry_from(json.loads(json.dumps(carry._asdict()))) == carry
    due = carry.due(step_of(places))
    assert due <= 0
    assert told + due == half_up(sum(amounts, Fraction(0)) * 10**places)
    if all(amount >= 0 for amount in amounts):
        assert due == 0


def test_what_was_told_and_reversed_is_due_again():
    carry, steps = RoundingCarry().plus(Fraction(5, 2)).tell(Fraction(1))
    assert steps == 3
    carry = carry.take_back(3)
    assert carry.tell(Fraction(1))[1] == 3
    with pytest.raises(ValueError, match="found 1 steps, allowed 0 to 0"):
        carry.take_back(1)


def test_minutes_are_taken_back():
    period = times.PeriodTimes(TimeElements(apt_ns=100 * S_NS, aust_ns=20 * S_NS), Exact(200 * S_NS), Exact(S_NS))
    account, minutes = TimeAccount().booked(period, "busy").tell()
    assert minutes == ActivityMinutes(*map(Decimal, ("0.333", "0.017", "1.667", "3.333")))
    back = account.take_back(minutes)
    assert back.tell() == (account, minutes)
    with pytest.raises(ValueError, match="take back"):
        back.take_back(minutes)


@given(
    st.integers(0, 10**18),
    st.lists(st.one_of(st.integers(0, 10**9), st.fractions(0, 10**6, max_denominator=999)), min_size=1, max_size=20),
)
def test_largest_remainders(total, weights):
    parts = largest_remainders(total, weights)
    assert sum(parts) == total
    whole = sum(Fraction(weight) for weight in weights)
    for part, weight in zip(parts, weights, strict=True):
        due = total * Fraction(weight) / whole if whole else Fraction(total, len(weights))
        assert abs(part - due) < 1
        assert part or not int(due)


def test_numbers_at_the_edge():
    assert [half_up(Fraction(n, 2)) for n in (-3, -1, 0, 1, 3)] == [-1, 0, 0, 1, 2]
    assert decimal_steps(10**40 + 1, 3) == Decimal(f"{10**37}.001")
    assert steps_of(Decimal("1.50"), 1) == 15
    with pytest.raises(ValueError, match="at most 1 decimals"):
        steps_of(Decimal("1.55"), 1)
    with pytest.raises(ValueError, match="found 7, allowed 0 to 6"):
        step_of(7)
    for total, weights in ((-1, [1]), (1, []), (1, [-1, 2])):
        with pytest.raises(ValueError, match="allowed 0 and above"):
            largest_remainders(total, weights)
