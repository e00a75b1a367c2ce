"""An operation against the one before it: never more good pieces without being told, wherever each of them is made."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core import snapshot
from gateway.core.entries import MergeEntry, SplitEntry
from gateway.core.job_order import JobRecord
from gateway.core.model import Confirmation, JobOrderState, OrderProgress, OrderReceived
from gateway.core.orders.job_run import JobRun
from gateway.core.orders.order_image import Control, ImageOperation, OrderImage, OrderType
from gateway.core.orders.progress import asked_of, asks, before, together
from gateway.core.rules import ConfirmRule, OrderRule
from gateway.core.rules_confirming import DeliveryRule

S = JobOrderState
CODE = "QTY_EXCEEDS_PREDECESSOR"
OVERLAP = Control(overlap=True)


def image(order="A", quantity=100, **more):
    works = tuple(
        ImageOperation(number, center, Decimal(quantity), control=OVERLAP)
        for number, center in (("0010", "WC-0"), ("0020", "WC-1"))
    )
    return OrderImage("erp", order, 1, "ART-1", "PC", Decimal(quantity), works, product_revision="A", **more)


@pytest.fixture
def second(rig, job):
    """Operation 0020 runs here, behind 0010 elsewhere, which has so many good pieces."""

    def made(good=10, rules=None, **more):
        floor = rig(orders=OrderRule(**(rules or {})), confirm=ConfirmRule(every_pieces=5, every=None))
        whole = image(**more)
        floor.first = JobRecord(job("A", work_center="WC-0", image=whole), S.IN_PROGRESS, 1, good, 0, 0, "")
        given = OrderReceived(floor.now_ns, job("A", operation="0020", image=whole), None, (floor.first,))
        floor.put(given)
        assert floor.running == "A", floor.notices
        floor.make(0)
        return floor

    return made


def tell(floor, **changes):
    floor.first = floor.first._replace(**changes)
    return floor.put(OrderProgress(floor.now_ns, (floor.first,)))


def codes(outputs):
    return [
        (one.code, dict(one.detail)["good"], dict(one.detail)["allowed"]) for one in outputs if hasattr(one, "code")
    ]


def wants(floor):
    return asks(floor.state.running, floor.unit.rules.orders, floor.unit.rules.confirm.delivery)


def test_more_than_the_operation_before_is_asked_told_once_flagged_and_cleared(second):
    floor = second(10)
    floor.at("90 s").make(10)
    assert not wants(floor)
    floor.at("3 min").make(2)
    assert wants(floor)
    assert floor.notices == [], "what was told may be old: it is asked first"
    assert codes(tell(floor)) == [(CODE, "12", "10")]
    assert codes(tell(floor)) == []
    floor.at("5 min").make(5)
    assert codes(tell(floor, good=16)) == []
    assert not wants(floor)
    assert [(one.good, one.flags) for one in floor.all(Confirmation)] == [(10, ()), (7, (CODE,))]
    assert codes(tell(floor, good=17)) == [("QTY_WITHIN_PREDECESSOR", "17", "17")]
    assert codes(tell(floor, good=22)) == []
    floor.at("7 min").make(5)
    assert floor.all(Confirmation)[-1].flags == ()
    assert floor.running == "A", "it blocks nothing"


@pytest.mark.parametrize(
    ("more", "rules", "made", "told"),
    [
        ({"over_tolerance": Decimal(10)}, {}, 11, False),
        ({"over_tolerance": Decimal(10)}, {}, 12, True),
        ({"over_tolerance": Decimal("9.9")}, {}, 11, True),
        ({"order_type": OrderType.MTO}, {}, 11, True),
        ({}, {}, 10, False),
        ({}, {}, 11, True),
        ({}, {"exceeds_predecessor": "off"}, 50, False),
    ],
)
def test_the_tolerance_for_over_delivery_holds_here_too(second, more, rules, made, told):
    floor = second(10, rules, **more)
    floor.make(made)
    assert wants(floor) is told
    assert bool(codes(tell(floor))) is told


def test_the_tolerance_of_the_rule_where_the_order_names_none(rig, job):
    floor = rig(confirm=ConfirmRule(delivery=DeliveryRule(over_tolerance="20")))
    first = JobRecord(job("A", work_center="WC-0", image=image()), S.COMPLETED, 1, 10, 0, 0, "")
    floor.put(OrderReceived(floor.now_ns, job("A", operation="0020", image=image()), None, (first,)))
    floor.make(0)
    floor.make(12)
    assert not wants(floor)
    floor.make(1)
    assert wants(floor)


def test_a_final_confirmation_is_flagged_where_the_operation_before_is_over(second):
    floor = second(10)
    tell(floor, state=S.COMPLETED)
    floor.at("30 s").make(12)
    floor.says("finish", "A", operation="0020")
    final = floor.all(Confirmation)[-1]
    assert (final.kind.value, final.flags) == ("final", (CODE,))


def test_what_was_confirmed_in_the_erp_counts(second):
    floor = second(10)
    floor.make(13)
    assert codes(tell(floor, external=(3, 0, 0))) == []
    floor.make(1)
    assert codes(tell(floor)) == [(CODE, "14", "13")]


def test_nobody_tells_so_nothing_is_compared(second):
    floor = second(10)
    floor.state = floor.state._replace(running=floor.state.running._replace(before_good=None))
    floor.at("90 s").make(50)
    assert not wants(floor)
    assert floor.all(Confirmation)[-1].flags == ()


def test_it_is_remembered(second):
    floor = second(10)
    floor.make(12)
    tell(floor)
    stored = snapshot.dump(floor.unit, floor.state)
    state = snapshot.load(floor.unit, stored)
    assert (state.running.before_good, state.running.exceeds) == (10, True)


# --- orders that were divided ----------------------------------------------------------------------------------------


def record(job, order, state, good, **more):
    return JobRecord(job(order, image=image(), **more), state, 0, good, 0, 0, "")


@pytest.mark.parametrize(
    ("state", "parts", "expected"),
    [
        ("SPLIT", [("IN_PROGRESS", 5), ("DISPATCHED", 0)], ("IN_PROGRESS", 45)),
        ("SPLIT", [("COMPLETED", 30), ("DISPATCHED", 0)], ("INTERRUPTED", 70)),
        ("SPLIT", [("COMPLETED", 30), ("CANCELLED", 2)], ("COMPLETED", 72)),
        ("SPLIT", [("COMPLETED", 30), ("CLOSED", 30)], ("COMPLETED", 100)),
        ("SPLIT", [("SPLIT", 3), ("IN_PROGRESS", 1)], ("IN_PROGRESS", 44)),
        ("MERGED", [("IN_PROGRESS", 9)], ("IN_PROGRESS", 49)),
        ("MERGED", [("COMPLETED", 9)], ("COMPLETED", 49)),
        ("IN_PROGRESS", [("COMPLETED", 9)], ("IN_PROGRESS", 40)),
        ("SPLIT", [], ("SPLIT", 40)),
    ],
)
def test_a_divided_operation_is_as_far_as_its_parts(job, state, parts, expected):
    whole = record(job, "A", S(state), 40)
    found = together(whole, [record(job, f"A-{at:03}", S(one), good) for at, (one, good) in enumerate(parts, 1)])
    assert (found.state.value, found.good) == expected


def test_children_and_leaders_know_the_operation_before(rig, job):
    floor = rig(orders=OrderRule(choose="command"))
    for name in "AB":
        first = JobRecord(job(name, work_center="WC-0", image=image(name)), S.INTERRUPTED, 1, 30, 0, 0, "")
        floor.put(OrderReceived(floor.now_ns, job(name, operation="0020", image=image(name)), None, (first,)))
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(40), Decimal(60)), "r", "ann"))
    child = next(run for run in floor.state.queue if run.job.order == "A-001")
    assert before(child) == {("A", "0010")}
    assert (child.before_state, child.before_good) == (S.INTERRUPTED, None)
    floor.put(MergeEntry(floor.now_ns, "L", ("A-001", "B"), "", "r", "ann"))
    leader = next(run for run in floor.state.queue if run.job.order == "L")
    assert before(leader) == {("A", "0010"), ("B", "0010")}
    done = [JobRecord(job(name, work_center="WC-0", image=image(name)), S.COMPLETED, 1, 90, 0, 0, "") for name in "AB"]
    floor.put(OrderProgress(floor.now_ns, (done[0],)))
    leader = next(run for run in floor.state.queue if run.job.order == "L")
    assert leader.before_state is S.INTERRUPTED, "B is not so far"
    floor.put(OrderProgress(floor.now_ns, (done[1],)))
    leader = next(run for run in floor.state.queue if run.job.order == "L")
    assert leader.before_state is S.COMPLETED
    assert isinstance(leader, JobRun)


def test_the_parts_of_a_split_order_have_together_no_more_than_the_operation_before(rig, job):
    floor = rig(orders=OrderRule(choose="command"))
    first = JobRecord(job("A", work_center="WC-0", image=image()), S.IN_PROGRESS, 1, 100, 0, 0, "")
    floor.put(OrderReceived(floor.now_ns, job("A", operation="0020", image=image()), None, (first,)))
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(40), Decimal(60)), "r", "ann"))
    floor.says("start", "A-002", operation="0020")
    assert asked_of(floor.state.running) == {("A", "0010"), ("A", "0020")}
    floor.make(0)
    floor.make(50)
    own = JobRecord(job("A", operation="0020", image=image()), S.SPLIT, 1, 0, 0, 0, "")

    def told(*goods):
        parts = [own._replace(state=S.IN_PROGRESS, good=good) for good in goods]
        return codes(floor.put(OrderProgress(floor.now_ns, (first, together(own, parts)))))

    assert told(50, 50) == []
    assert told(51, 50) == [(CODE, "101", "100")]
    assert snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state)).running.beside_good == 51
    assert told(50, 50) == [("QTY_WITHIN_PREDECESSOR", "100", "100")]
    floor.make(1)
    assert wants(floor)


def test_the_leader_of_several_parts_has_no_more_than_the_one_operation_before_them(rig, job):
    """What comes before a split order counts once however many of its parts are led, and the others count, too."""
    floor = rig(orders=OrderRule(choose="command"))
    first = JobRecord(job("A", work_center="WC-0", image=image()), S.IN_PROGRESS, 1, 50, 0, 0, "")
    other = JobRecord(job("B", work_center="WC-0", image=image("B")), S.IN_PROGRESS, 1, 7, 0, 0, "")
    for one in (first, other):
        given = job(one.job.order, operation="0020", image=one.job.image)
        floor.put(OrderReceived(floor.now_ns, given, None, (one,)))
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(40), Decimal(40), Decimal(20)), "r", "ann"))
    floor.put(OrderProgress(floor.now_ns, (first, other)))
    floor.put(MergeEntry(floor.now_ns, "L", ("A-001", "A-002", "B"), "", "r", "ann"))
    floor.says("start", "L", operation="0020")
    leader = floor.state.running
    assert asked_of(leader) == {("A", "0010"), ("A", "0020"), ("B", "0010")}
    assert leader.before_good == 57, "and not what comes before A for each of its parts"
    own = JobRecord(job("A", operation="0020", image=image()), S.SPLIT, 1, 0, 0, 0, "")

    def told(elsewhere):
        run = floor.state.running
        parts = [own._replace(state=S.IN_PROGRESS, good=good) for good in (run.open_good, elsewhere)]
        parts += [own._replace(state=S.IN_PROGRESS, good=one.good) for one in run.merged.runs if one.job.erp_order]
        return codes(floor.put(OrderProgress(floor.now_ns, (first, other, together(own, parts)))))

    floor.make(0)
    floor.make(50)
    assert told(7) == []
    assert told(8) == [(CODE, "58", "57")]
    stored = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state)).running
    assert (stored.before_good, stored.beside_good, stored.exceeds) == (57, 8, True)
    assert told(7) == [("QTY_WITHIN_PREDECESSOR", "57", "57")]
    floor.make(1)
    assert wants(floor)


def test_a_new_leader_knows_what_the_parts_have_that_it_does_not_lead(rig, job):
    floor = rig(orders=OrderRule(choose="command"))
    first = JobRecord(job("A", work_center="WC-0", image=image()), S.IN_PROGRESS, 1, 50, 0, 0, "")
    floor.put(OrderReceived(floor.now_ns, job("A", operation="0020", image=image()), None, (first,)))
    floor.put(SplitEntry(floor.now_ns, "A", "", (Decimal(40), Decimal(40), Decimal(20)), "r", "ann"))
    own = JobRecord(job("A", operation="0020", image=image()), S.IN_PROGRESS, 1, 9, 0, 0, "")
    floor.put(OrderProgress(floor.now_ns, (first, own)))
    floor.put(MergeEntry(floor.now_ns, "L", ("A-001", "A-002"), "", "r", "ann"))
    leader = next(run for run in floor.state.queue if run.job.order == "L")
    assert (leader.before_good, leader.beside_good) == (50, 9)
