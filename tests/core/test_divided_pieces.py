"""Pieces that were begun in the time of an order, and come when it was split or merged."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core.duration import Duration
from gateway.core.entries import MergeEntry, SplitEntry
from gateway.core.model import Confirmation
from gateway.core.orders.attribution import PastOrders, Transit
from gateway.core.rules import OrderRule, PulseRule

S = 1_000_000_000


@pytest.fixture
def floor(rig, job):
    """4711 made two pieces and was interrupted within the third, which takes ten seconds."""
    rules = {"orders": OrderRule(choose="command"), "ideal_cycle": Duration("10 s")}
    floor = rig(PulseRule(mode="pulse", signal="box.n", debounce=Duration("0 s")), **rules)
    floor.value("box.n", False)
    floor.receive(job("4711", 100))
    floor.receive(job("4712", 100))
    floor.says("start", "4711")
    for _ in range(2):
        pulse(floor)
    floor.now_ns += 5 * S
    floor.says("interrupt", "4711")
    return floor


def pulse(floor, after_ns=10 * S):
    floor.now_ns += after_ns
    floor.value("box.n", True)
    floor.value("box.n", False)


def test_a_part_of_the_order_takes_what_was_begun_before_the_split(floor):
    floor.now_ns += S
    floor.put(SplitEntry(floor.now_ns, "4711", "", (Decimal(40), Decimal(58)), "MACHINE", "eve"))
    pulse(floor, 4 * S)
    assert floor.booked[-1] == (floor.queued[0] if floor.queued[0] != "4712" else floor.queued[1], 1)
    assert floor.records[floor.booked[-1][0], "0010"].state == "INTERRUPTED", "it has begun"
    assert floor.state.unallocated.total == 0
    assert [one.good for one in floor.all(Confirmation) if one.good] == [2, 1]
    told = {one.job.erp_order or one.job.order for one in floor.all(Confirmation)}
    assert told == {"4711"}, "the ERP knows the one that was split"
    floor.close_books()
    pulse(floor)
    assert floor.state.unallocated.good == 1, "what is begun after the interruption is nobody's"


def test_the_leader_takes_what_was_begun_before_the_merge(floor):
    floor.now_ns += S
    floor.put(MergeEntry(floor.now_ns, "M1", ("4711", "4712"), "", "TOGETHER", "eve"))
    pulse(floor, 4 * S)
    assert floor.booked[-1] == ("M1", 1)
    assert floor.state.unallocated.total == 0
    assert sum(one.good for one in floor.all(Confirmation)) == 3
    assert {one.job.order for one in floor.all(Confirmation)} <= {"4711", "4712"}


def test_what_is_on_the_conveyor_goes_with_it():
    past = PastOrders(transit=(Transit("A", "10", 3), Transit("B", "10", 1))).handed(("A", "10"), ("C", "10"))
    assert past.transit == (Transit("C", "10", 3), Transit("B", "10", 1))
    past = PastOrders().after(("A", "10"), 7, 0).handed(("A", "10"), ("C", "10"))
    assert [one.order for one in past.ceased] == ["C"]
