"""Several orders on one machine, and one operation on several machines."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.orders.parallel import (
    MACHINES_MAX,
    MachineTotals,
    OperationTotals,
    ParallelRefused,
    ParallelRun,
    ParallelRuns,
    runs_from,
    totals_document,
    totals_from,
)

LID = ParallelRun("100235A", "0010", "LID")
BASE = ParallelRun("100235B", "0010", "BASE")
PLAIN = ParallelRun("4711", "0010", "")
TWO = ParallelRuns(2).started(LID).started(BASE)


def test_a_family_runs_together():
    assert TWO.runs == (LID, BASE)
    assert TWO.order_of("LID") == LID
    assert TWO.order_of("BASE") == BASE
    assert TWO.order_of("CLIP") is None
    assert TWO.order_of("") is None


def test_when_one_ends_its_part_is_nobodys():
    """The cavities of an order that has ended make pieces that nobody ordered, until the next one starts."""
    alone = TWO.stopped("100235A", "0010")
    assert alone.order_of("LID") is None
    assert alone.order_of("BASE") == BASE
    again = alone.started(LID._replace(order="100236A"))
    assert again.order_of("LID").order == "100236A"


def test_a_single_order_without_a_part_takes_everything():
    runs = ParallelRuns().started(PLAIN)
    assert runs.order_of("") == runs.order_of("LID") == PLAIN


@pytest.mark.parametrize(
    ("runs", "run", "code", "found"),
    [
        (ParallelRuns(1).started(LID), BASE, "PARALLEL_FULL", "100235A/0010 running"),
        (TWO, PLAIN, "PARALLEL_FULL", "100235A/0010, 100235B/0010 running"),
        (TWO, LID, "ALREADY_RUNNING", "100235A/0010 running"),
        (ParallelRuns(2).started(LID), PLAIN, "PARALLEL_UNMAPPED", "100235A/0010 running, and no part for each"),
        (ParallelRuns(2).started(PLAIN), LID, "PARALLEL_UNMAPPED", "4711/0010 running, and no part for each"),
        (ParallelRuns(2).started(LID), LID._replace(order="9"), "PART_TAKEN", "part LID made for 100235A/0010"),
    ],
)
def test_what_does_not_run_beside_others(runs, run, code, found):
    refused = runs.started(run)
    assert isinstance(refused, ParallelRefused)
    assert (refused.code, refused.found) == (code, found)
    assert refused.what_to_do in str(refused)


RUN = st.builds(ParallelRun, st.sampled_from("AB"), st.sampled_from(["0010", "0020"]), st.sampled_from(["", "x", "y"]))
STEPS = st.lists(st.tuples(st.booleans(), RUN), max_size=20)


@given(st.integers(1, 3), STEPS)
def test_every_part_has_one_order_at_most(most, steps):
    runs = ParallelRuns(most)
    for starts, run in steps:
        after = runs.started(run) if starts else runs.stopped(run.order, run.operation)
        runs = runs if isinstance(after, ParallelRefused) else after
        assert len(runs.runs) <= most
        parts = [one.part for one in runs.runs]
        assert len(set(parts)) == len(parts)
        assert len(parts) < 2 or all(parts)
        assert runs_from(json.loads(json.dumps(runs._asdict()))) == runs


# --- one operation on several machines -------------------------------------------------------------------------------


def test_an_operation_is_complete_by_the_sum():
    totals = OperationTotals(Decimal(100)).booked("M-1", good=60, in_flight=2).booked("M-2", good=38, in_flight=1)
    assert (totals.counted, totals.complete, totals.over_run_max) == (98, False, 3)
    # Each machine finishes what is in it: the last pieces are an over-delivery, and known beforehand.
    totals = totals.booked("M-2", good=2).booked("M-1", good=2)
    assert (totals.counted, totals.complete) == (102, True)
    assert totals.over_delivery == 2
    assert totals.over_run_max == 0


def test_scrap_counts_unless_only_good_does():
    both = OperationTotals(Decimal(10)).booked("M-1", good=8, scrap=2, rework=5)
    assert both.complete
    assert not both._replace(target_counts="good").complete
    assert both.good == 8


BOOKINGS = st.lists(
    st.tuples(st.sampled_from(["M-1", "M-2", "M-3"]), st.integers(0, 50), st.integers(0, 5)), max_size=30
)


@given(BOOKINGS, st.integers(1, 500))
def test_totals_are_the_sum_of_the_machines(bookings, quantity):
    totals = OperationTotals(Decimal(quantity))
    for machine, good, scrap in bookings:
        totals = totals.booked(machine, good=good, scrap=scrap)
    assert totals.good == sum(good for _, good, _ in bookings)
    assert totals.counted == sum(good + scrap for _, good, scrap in bookings)
    assert totals.complete == (totals.counted >= quantity)
    assert totals.over_delivery == max(totals.counted - quantity, 0)
    assert totals_from(json.loads(json.dumps(totals_document(totals)))) == totals


def test_numbers_below_zero_are_refused():
    with pytest.raises(ValueError, match="M-1: found a number below 0"):
        OperationTotals(Decimal(1)).booked("M-1", good=-1)


def test_so_many_machines_make_one_operation():
    machines = tuple(MachineTotals(f"M-{number}") for number in range(MACHINES_MAX))
    full = OperationTotals(Decimal(1), machines=machines)
    assert full.booked("M-0", good=1).good == 1
    with pytest.raises(ValueError, match="found 32 machines on one operation"):
        full.booked("M-99", good=1)
