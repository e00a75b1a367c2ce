"""The golden table of the indicators, and what happens where there is nothing to divide by."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import kpi
from gateway.core.kpi import OperationElements, Product, Quantities
from gateway.core.state.time_elements import TimeElements

TABLE = Path(__file__).parent / "data" / "kpi_cases.txt"
MIN = 60 * 10**9
NAMES = ("APT", "AUST", "ADET", "ADOT", "PDOT")


def pairs(words):
    return {name: Fraction(value) for name, value in (word.split("=") for word in words)}


def times_of(found):
    return TimeElements(**{f"{name.lower()}_ns": int(found[name] * MIN) for name in NAMES if name in found})


def pieces_of(found):
    return Quantities(*(int(found[name]) for name in ("good", "scrap", "rework")))


def cases(kind):
    for block in ("\n" + TABLE.read_text()).split(f"\n{kind} ")[1:]:
        title, *lines = block.split("\n\n")[0].splitlines()
        yield pytest.param([line.split() for line in lines], id=title.replace("  ", " "))


def check(found, words):
    assert found is not None, words[0]
    assert round(Fraction(found), 6) == Fraction(words[1]), words[0]


@pytest.mark.parametrize("lines", list(cases("machine")))
def test_machine(lines):
    given = {words[0]: words[1:] for words in lines}
    told, made, others = pairs(given.pop("times")), pairs(given.pop("pieces")), pairs(given.pop("others", ()))
    times, pieces = times_of(told), pieces_of(made)
    for name in ("POT", "PBT", "AUPT", "AUBT"):
        assert getattr(times, f"{name.lower()}_ns") == told[name] * MIN, name
    found = kpi.machine_kpis(times, pieces, [Product(made["run"] * MIN, pieces.produced)])._asdict()
    if others:
        found["actual_to_planned_scrap"] = kpi.actual_to_planned_scrap(pieces.scrap, int(others["PSQ"]))
        found["worker_efficiency"] = kpi.worker_efficiency(int(others["APWT"] * MIN), int(others["APAT"] * MIN))
    for name, values in given.items():
        check(found[name], [name, *values])
    assert found["coverage"] == 1
    assert not found["uncertain"]
    assert not found["over_speed"]


@pytest.mark.parametrize("lines", list(cases("order")))
def test_order(lines):
    operations = [pairs(words[1:]) for words in lines if words[0] == "operation"]
    execution = next(int(words[1]) for words in lines if words[0] == "execution") * MIN
    found = kpi.order_kpis(
        execution, [OperationElements(times_of(one), pieces_of(one)) for one in operations]
    )._asdict()
    for name in ("value_add", "support", "waiting"):
        found[name] = Fraction(found[f"{name}_ns"], MIN)
    found["throughput_rate_per_h"] = found["throughput_rate"] * 60 * MIN
    for words in lines:
        if words[0] == "fall_off":
            assert [round(one, 6) for one in found["fall_off"]] == [Fraction(value) for value in words[1:]]
        elif words[0] not in ("operation", "execution"):
            check(found[words[0]], words)


def test_the_table_is_whole():
    text = TABLE.read_text()
    assert len(list(cases("machine"))) == text.count("\nmachine ") == 3
    assert len(list(cases("order"))) == text.count("\norder ") == 1


def test_nothing_is_divided_by_nothing():
    """Not 0 and not 1: an indicator without a denominator is none."""
    found = kpi.machine_kpis(TimeElements(), Quantities(), [])
    assert set(found) == {None, False}
    order = kpi.order_kpis(0, [OperationElements(TimeElements(), Quantities())])
    assert order.throughput_rate is None
    assert order.fall_off == (None,)
    assert order.rolled_yield is None
    assert kpi.first_pass_yield(0, 0) is None
    assert kpi.corrective_maintenance_ratio(0, 0) is None
    assert kpi.mean(()) == (None, 0)
    with pytest.raises(ValueError, match="found none, allowed: one and more"):
        kpi.order_kpis(1, [])


def test_unknown_time_is_in_the_denominator_and_told_beside():
    times = TimeElements(apt_ns=80 * MIN, adot_ns=10 * MIN, unk_ns=10 * MIN)
    found = kpi.machine_kpis(times, Quantities(good=90, held=10), [Product(Fraction(MIN), 100)])
    assert (found.availability, found.availability_known) == (Fraction(8, 10), Fraction(8, 9))
    assert (found.coverage, found.uncertain) == (Fraction(9, 10), True)
    assert (found.effectiveness, found.over_speed) == (Fraction(5, 4), True)
    assert found.quality_ratio == Fraction(9, 10), "what is held is produced and not good"


def test_several_products_are_summed_before_they_are_divided():
    times = TimeElements(apt_ns=100 * MIN)
    found = kpi.machine_kpis(times, Quantities(good=30), [Product(Fraction(MIN), 20), Product(Fraction(3 * MIN), 10)])
    assert found.effectiveness == Fraction(1, 2)


def test_mean_tells_what_it_is_the_mean_of():
    assert kpi.mean((1, 2, 4)) == (Fraction(7, 3), 3)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8))
def test_overlapping_operations_add_value_once(stretches):
    covered = {second for begin, end in stretches for second in range(begin, end)}
    assert kpi.merged_ns(stretches) == len(covered)


@given(*[st.integers(0, 10**15)] * 6, st.integers(0, 10**6), st.integers(0, 10**6))
def test_oee_does_not_depend_on_where_micro_stops_go(apt, aust, adet, adot, unk, moved, good, scrap):
    moved = min(moved, adet)
    products = [Product(Fraction(10**9, 3), good + scrap)]
    first = TimeElements(apt_ns=apt, aust_ns=aust, adet_ns=adet, adot_ns=adot, unk_ns=unk)
    second = first._replace(apt_ns=apt + moved, adet_ns=adet - moved)
    one, two = (kpi.machine_kpis(times, Quantities(good, scrap), products) for times in (first, second))
    if one.oee is not None and two.oee is not None:
        assert one.oee == two.oee
