"""Orders of which the ERP has everything past the gateway: what was never begun leaves the queue, and may come back."""

from __future__ import annotations

import json

import pytest

from gateway.core import snapshot
from gateway.core.access.roles import ActorRole
from gateway.core.entries import ExternalEntry
from gateway.core.model import JobOrderState
from gateway.core.orders.order_changes import OrderAck
from gateway.core.rules import OrderRule

S = JobOrderState
COMMAND = OrderRule(choose="command")


@pytest.fixture
def floor(rig):
    made = rig(orders=COMMAND)
    made.make(0)
    return made.at("1 s")


def in_the_erp(floor, order, good, scrap=0):
    return floor.put(ExternalEntry(floor.now_ns, order, "", good, scrap, 0, "by hand there", "ann"))


def state_of(floor, order):
    return floor.records[order, "0010"].state


def decoded_again(floor):
    floor.state = snapshot.decode(floor.unit, json.loads(json.dumps(snapshot.encode(floor.unit, floor.state))))


def test_an_order_that_was_never_begun_leaves_the_queue_and_nothing_is_sent(floor):
    floor.order("A", 100)
    floor.order("B", 100)
    in_the_erp(floor, "A", 99)
    assert floor.queued == ["A", "B"]
    in_the_erp(floor, "A", 1)
    assert (floor.queued, floor.confirmed) == (["B"], [])
    assert (state_of(floor, "A"), floor.records["A", "0010"].external) == (S.CANCELLED, (100, 0, 0))


def test_the_machine_is_set_up_for_the_next_one(rig):
    """The order that is full is not started for nothing."""
    floor = rig(orders=OrderRule(choose="sequence", auto_advance="auto"))
    floor.make(0)
    for place, name in enumerate("ABC"):
        floor.at(f"{place + 1} s").order(name, 10, sequence_no=place)
    in_the_erp(floor, "B", 10)
    floor.make(10)
    assert (floor.running, floor.queued) == ("C", [])
    assert floor.confirmed == [("A", 1, 10, "final", "target reached")]


def test_an_interrupted_order_ends_with_its_last_confirmation(floor):
    floor.order("A", 100)
    floor.says("start", "A")
    floor.make(30)
    floor.says("interrupt", "A")
    in_the_erp(floor, "A", 69)
    assert floor.queued == ["A"]
    in_the_erp(floor, "A", 1)
    assert floor.queued == []
    assert [(one[2], one[3]) for one in floor.confirmed] == [(30, "partial"), (0, "final")]
    assert state_of(floor, "A") is S.COMPLETED
    floor.close_books()


@pytest.mark.parametrize("counts", ["good", "good_plus_scrap"])
def test_scrap_counts_as_the_rule_says(rig, counts):
    floor = rig(orders=OrderRule(choose="command", target_counts=counts))
    floor.at("1 s").order("A", 10)
    in_the_erp(floor, "A", 8, 2)
    assert floor.queued == ([] if counts == "good_plus_scrap" else ["A"])


def test_where_orders_go_on_behind_their_target_it_stays(rig):
    floor = rig(orders=OrderRule(choose="command", at_target="continue"))
    floor.at("1 s").order("A", 10)
    in_the_erp(floor, "A", 10)
    assert floor.queued == ["A"]


def test_a_lower_quantity_leaves_nothing_to_make_either(floor):
    floor.order("A", 100)
    in_the_erp(floor, "A", 40)
    floor.order("A", 40, revision=2)
    assert (floor.queued, state_of(floor, "A")) == ([], S.CANCELLED)
    assert floor.all(OrderAck)[-1].kind == "ORDER_CHANGE_ACCEPTED"


def test_one_on_hold_stays_until_it_is_released(floor):
    floor.order("A", 10)
    floor.says("hold", "A", role=ActorRole.QUALITY, reason="the gauge")
    in_the_erp(floor, "A", 10)
    assert floor.queued == ["A"]
    floor.says("release", "A", role=ActorRole.QUALITY, reason="right again")
    assert (floor.queued, state_of(floor, "A")) == ([], S.CANCELLED)


def test_it_comes_back_where_the_erp_wants_more_of_it(floor):
    floor.order("A", 100)
    in_the_erp(floor, "A", 100)
    decoded_again(floor)
    floor.order("A", 130, revision=2)
    assert (floor.queued, floor.all(OrderAck)[-1].kind) == (["A"], "ORDER_ACCEPTED")
    floor.says("start", "A")
    floor.make(30)
    assert floor.running is None
    assert floor.confirmed == [("A", 1, 30, "final", "target reached")]
    floor.close_books()


def test_what_else_the_erp_says_of_it_is_taken(floor):
    """An ERP sends an order again once somebody confirmed it: that is no change of a cancelled one."""
    floor.order("A", 100)
    in_the_erp(floor, "A", 100)
    floor.order("A", 100, revision=2, planned_end_ns=5)
    assert (floor.all(OrderAck)[-1].kind, floor.queued) == ("ORDER_CHANGE_ACCEPTED", [])
    assert floor.records["A", "0010"].job.planned_end_ns == 5
    floor.order("A", 100, revision=3, cancelled=True)
    assert floor.all(OrderAck)[-1].kind == "CANCEL_ACCEPTED"
    floor.order("A", 200, revision=4)
    assert (floor.all(OrderAck)[-1].kind, floor.queued) == ("ORDER_CHANGE_REJECTED", []), "the ERP withdrew it"


def test_one_that_a_person_cancelled_stays_cancelled(floor):
    floor.order("A", 100)
    in_the_erp(floor, "A", 40)
    floor.says("cancel", "A", role=ActorRole.PLANNER)
    floor.order("A", 130, revision=2)
    assert (floor.all(OrderAck)[-1].kind, floor.queued) == ("ORDER_CHANGE_REJECTED", [])
