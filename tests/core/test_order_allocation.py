"""Pieces without an order at a work unit: kept one by one, given to an order or written off, by person or policy."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gateway.core import journal, snapshot
from gateway.core.document import fields
from gateway.core.duration import Duration
from gateway.core.entries import AllocateEntry, LotEntry
from gateway.core.model import Confirmation, CountersRead, FinalAcknowledged, JobOrderState, Role, TimePassed
from gateway.core.orders.job_image import with_image
from gateway.core.orders.order_image import ImageOperation, OrderImage, OrderKind
from gateway.core.orders.unallocated import CountAllocation
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule
from gateway.core.rules_confirming import DeliveryRule, UnallocatedRule
from gateway.core.rules_material import FeederRule, LotRule, WorkRule

GOOD = CounterRule(mode="counter", signal="plc.good")
SEQUENCE = {"orders": OrderRule(choose="sequence")}
COMMAND = {"orders": OrderRule(choose="command")}


def give(floor, order, pieces, *, role=Role.GOOD, reason="made before", **more):
    known = floor.records.get((order, "0010"))
    return floor.put(AllocateEntry(floor.now_ns, order, "", pieces, role, reason, "ann", known=known, **more))


def refusal(outputs):
    (told,) = [one for one in outputs if getattr(one, "code", "") == "REFUSED"]
    return dict(told.detail)


def imaged(job, order, quantity, **more):
    plain = job(order, quantity)
    operation = ImageOperation(operation="0010", work_center="WC-1", quantity=Decimal(quantity))
    image = OrderImage("erp", order, 1, "ART-1", "PC", Decimal(quantity), (operation,), product_revision="A")
    return with_image(plain, image._replace(**more))


def test_the_bucket_knows_when_what_and_for_what_it_was_made(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 2)
    floor.make(2)
    floor.at("10 s").make(3)
    floor.at("9 min").make(0)
    floor.at("10 min").make(4)
    entries = floor.state.bucket.entries
    assert [(one.number, one.what.pieces, one.what.product) for one in entries] == [(1, 3, "ART-1"), (2, 4, "ART-1")]
    assert floor.state.unallocated.good == 7
    assert floor.state.unallocated_since_ns == entries[0].what.t_from_ns


def test_what_is_given_is_a_confirmation_of_its_own_at_its_own_time(rig):
    floor = rig(**COMMAND)
    floor.make(0)
    floor.at("10 s").make(40)
    floor.at("30 min").order("A", 100)
    floor.says("start", "A")
    floor.at("31 min").make(5)
    outputs = give(floor, "A", 30)
    (allocated,) = floor.all(CountAllocation)
    kind, data = journal.row(allocated)
    assert (kind, data["what"]["pieces"], data["by"], data["reason"]) == ("allocation", 30, "ann", "made before")
    (confirmation,) = [one for one in outputs if isinstance(one, Confirmation)]
    assert (confirmation.good, confirmation.total_good, confirmation.trigger) == (30, 30, "allocation")
    assert (confirmation.origin, confirmation.by, confirmation.flags) == ("allocation", "ann", ("ALLOCATED",))
    assert confirmation.last_event_ns == allocated.what.t_to_ns
    assert fields(floor.unit.identity, confirmation)["origin"] == "allocation"
    run = floor.state.running
    assert (run.good, run.open_good, run.open_from_ns) == (35, 5, floor.now_ns - Duration("1 min"))
    assert floor.state.unallocated.good == 10
    floor.says("interrupt", "A")
    assert [(one.good, one.total_good, one.origin) for one in floor.all(Confirmation)] == [
        (30, 30, "allocation"), (5, 35, "auto"),
    ]  # fmt: skip
    floor.close_books()


def test_what_fills_the_order_ends_it(rig):
    floor = rig(**SEQUENCE)
    floor.make(0)
    floor.make(40)
    floor.at("1 min").order("A", 50)
    floor.make(10)
    give(floor, "A", 40)
    assert floor.confirmed == [("A", 1, 40, "partial", "allocation"), ("A", 2, 10, "final", "target reached")]
    floor.close_books()


def test_an_order_that_came_after_its_pieces_takes_them_while_another_runs(rig):
    floor = rig(**COMMAND)
    floor.make(0)
    floor.make(10)
    floor.at("1 min").order("B", 100)
    floor.says("start", "B")
    floor.order("A", 10)
    give(floor, "A", 6)
    assert floor.records["A", "0010"].state is JobOrderState.INTERRUPTED
    give(floor, "A", 4)
    assert floor.records["A", "0010"].state is JobOrderState.COMPLETED
    assert floor.running == "B"
    floor.close_books()


def test_a_complete_order_takes_pieces_too(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 5)
    floor.make(8)
    give(floor, "A", 2)
    assert floor.confirmed == [("A", 1, 5, "final", "target reached"), ("A", 2, 2, "partial", "allocation")]
    record = floor.records["A", "0010"]
    assert (record.state, record.good, record.seq) == (JobOrderState.COMPLETED, 7, 2)
    floor.close_books()


def test_pieces_are_written_off_as_scrap(rig):
    floor = rig(**SEQUENCE)
    floor.make(0)
    floor.make(8)
    (_said, allocated) = give(floor, "", 3, reason="lost on the way")
    assert (allocated.order, allocated.role_to) == ("", Role.SCRAP)
    assert (floor.state.bucket.written_off, floor.state.unallocated.good, floor.state.counted.scrap) == (3, 5, 3)
    assert not floor.all(Confirmation)
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    floor.close_books()


@pytest.mark.parametrize(
    ("order", "pieces", "more", "guard"),
    [
        ("A", 9, {}, "ALLOCATION_EXCEEDS_BUCKET"),
        ("A", 0, {}, "NOTHING_TO_ALLOCATE"),
        ("A", 1, {"numbers": (7,)}, "UNKNOWN_ENTRY"),
        ("A", 1, {"role": Role.SCRAP}, "ALLOCATION_EXCEEDS_BUCKET"),
        ("", 1, {"reason": " "}, "REASON_MISSING"),
        ("GONE", 1, {}, "ORDER_OPEN"),
        ("HELD", 1, {}, "ORDER_ON_HOLD"),
    ],
)
def test_what_cannot_be_given_says_why_and_changes_nothing(rig, order, pieces, more, guard):
    floor = rig(**COMMAND)
    floor.make(0)
    floor.make(8)
    for name in ("A", "HELD"):
        floor.order(name, 100)
    floor.says("hold", "HELD")
    before = floor.state
    assert refusal(give(floor, order, pieces, **more))["guard"] == guard
    assert floor.state._replace(journal_seq=0) == before._replace(journal_seq=0)


# --- policies --------------------------------------------------------------------------------------------------------


def with_policy(rig, policy, delivery=None, **orders):
    confirm = ConfirmRule(delivery=delivery or DeliveryRule())
    bucket = UnallocatedRule(policy=policy, within=Duration("10 min"))
    return rig(GOOD, orders=OrderRule(**orders), unallocated=bucket, confirm=confirm)


def test_the_next_order_of_the_same_product_takes_them(rig, job):
    floor = with_policy(rig, "to_next_order_if_same_product_within")
    floor.order("A", 5)
    floor.make(8)
    floor.at("1 min").order("B", 100, product="ART-2")
    assert floor.state.unallocated.good == 3
    floor.says("interrupt", "B")
    floor.at("2 min").order("C", 100)
    assert floor.running == "C"
    assert floor.state.unallocated.good == 0
    assert floor.confirmed[-1] == ("C", 1, 3, "partial", "allocation")
    floor.close_books()


def test_what_is_older_waits_for_a_person(rig):
    floor = with_policy(rig, "to_next_order_if_same_product_within")
    floor.order("A", 5)
    floor.make(8)
    floor.at("11 min").order("B", 100)
    assert floor.state.unallocated.good == 3


def test_setup_scrap_of_the_next_order(rig):
    floor = with_policy(rig, "scrap_as_setup")
    floor.make(0)
    floor.make(8)
    floor.at("1 min").order("A", 100)
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.good, confirmation.scrap, confirmation.scrap_reasons) == (0, 8, (("STARTUP", 8),))
    assert (floor.state.counted.good, floor.state.counted.scrap) == (0, 8)
    floor.close_books()


@pytest.mark.parametrize("restart", [False, True])
def test_the_order_before_takes_what_it_may_still_deliver(rig, job, restart):
    floor = with_policy(rig, "to_previous_if_within_tolerance")
    floor.receive(imaged(job, "A", 100, over_tolerance=Decimal(5)))
    floor.make(103)
    floor.at("1 min").make(4)
    assert floor.confirmed == [("A", 1, 100, "final", "target reached")]
    if restart:
        stored = json.loads(json.dumps(snapshot.encode_whole(floor.unit, floor.state)))
        floor.state = snapshot.decode(floor.unit, stored)
    assert floor.unit.next_deadline(floor.state._replace(track=floor.unit.initial(0).track)) is not None
    floor.at("10 min").put(TimePassed(floor.now_ns))
    assert floor.confirmed[1:] == [("A", 2, 5, "partial", "allocation")]
    assert floor.state.unallocated.good == 2
    assert floor.state.previous is None
    floor.close_books()


def test_the_order_before_gets_them_before_the_next_begins(rig, job):
    floor = with_policy(rig, "to_previous_if_within_tolerance")
    floor.receive(imaged(job, "A", 100, over_tolerance=Decimal(5)))
    floor.make(103)
    floor.at("1 min").order("B", 10)
    assert floor.confirmed[1:] == [("A", 2, 3, "partial", "allocation")]


def test_what_is_made_behind_the_reading_at_its_end_is_made_behind_its_end(rig, job):
    """A person ends it: the counter is read a little before that is decided, and counts on from there."""
    orders = OrderRule(choose="command", at_target="continue")
    bucket = UnallocatedRule(policy="to_previous_if_within_tolerance")
    floor = rig(orders=orders, unallocated=bucket)
    floor.make(0)
    floor.receive(imaged(job, "A", 100, over_tolerance=Decimal(5)))
    floor.says("start", "A")
    floor.at("10 s").make(100)
    read_ns = floor.now_ns
    floor.at("10010 ms").put(CountersRead(floor.now_ns, read_ns))
    floor.says("finish", "A")
    floor.at("1 min").make(4)
    assert floor.state.unallocated.good == 4
    floor.at("20 min").put(TimePassed(floor.now_ns))
    assert [one[:3] for one in floor.confirmed] == [("A", 1, 100), ("A", 2, 4)]
    assert floor.state.unallocated.good == 0
    floor.close_books()


def test_without_a_word_of_the_erp_the_tolerance_is_the_configured_one(rig, job):
    for over, expected in ((None, 0), ("3", 3)):
        delivery = DeliveryRule(over_tolerance=over)
        floor = with_policy(rig, "to_previous_if_within_tolerance", delivery=delivery)
        floor.receive(job("A", 100))
        floor.make(105)
        floor.at("10 min").put(TimePassed(floor.now_ns))
        assert sum(one.good for one in floor.all(Confirmation)) == 100 + expected
        floor.close_books()


def test_the_bucket_knows_the_lot_where_only_one_was_mounted(rig):
    lots = LotRule(feeders={"bowl": FeederRule(item="RING"), "tank": FeederRule(item="OIL")})
    floor = rig(work=WorkRule(lots=lots), **COMMAND)
    floor.make(0)
    for second, (feeder, lot) in enumerate((("bowl", "L1"), ("tank", "T1")), 1):
        floor.at(f"{second} min").put(LotEntry(floor.now_ns, True, feeder, lot, "ann"))
        floor.at(f"{60 * second + 30} s").make(3)
    assert [(one.what.pieces, one.what.lot) for one in floor.state.bucket.entries] == [(3, "L1"), (3, "")]


def test_what_is_closed_takes_nothing_any_more(rig, job):
    floor = with_policy(rig, "to_previous_if_within_tolerance")
    floor.receive(imaged(job, "A", 100, over_tolerance=Decimal(50)))
    floor.make(103)
    floor.at("1 min").put(FinalAcknowledged(floor.now_ns, "A", "0010", known=floor.records["A", "0010"]))
    assert floor.records["A", "0010"].state is JobOrderState.CLOSED
    floor.at("20 min").put(TimePassed(floor.now_ns))
    assert len(floor.confirmed) == 1
    assert floor.state.unallocated.good == 3


# --- the golden cases, and whose it is at a change --------------------------------------------------------------------


def test_o08_o09_pieces_of_nobody_at_their_own_time_and_never_more_than_there_are(rig):
    floor = rig(**COMMAND)
    floor.make(0)
    began_ns = floor.at("350 min").now_ns
    floor.make(0)
    floor.at("360 min").make(40)
    floor.at("390 min").order("B", 100)
    assert refusal(give(floor, "B", 41))["guard"] == "ALLOCATION_EXCEEDS_BUCKET"
    assert (floor.state.unallocated.good, floor.confirmed) == (40, [])
    give(floor, "B", 40)
    (told,) = floor.all(CountAllocation)
    assert (told.order, told.what.pieces, told.what.t_from_ns) == ("B", 40, began_ns)
    document = fields(floor.unit.identity, floor.all(Confirmation)[0])
    assert (document["origin"], document["qty"]["good"], document["data_quality_flags"]) == (
        "allocation", "40", ["ALLOCATED"],
    )  # fmt: skip
    assert document["event_time_last"] == "2026-05-29T02:26:40.000Z"


def test_o10_the_cavities_of_an_order_that_ended_are_nobodys_until_the_next_of_that_product(rig):
    parts = {"plc.left": "LEFT", "plc.right": "RIGHT"}
    counters = [CounterRule(mode="counter", signal=name) for name in parts]
    policy = UnallocatedRule(policy="to_next_order_if_same_product_within", within=Duration("10 min"))
    floor = rig(*counters, orders=OrderRule(max_parallel_orders=2, parts=parts), unallocated=policy)
    for name in parts:
        floor.make(0, name)
    floor.order("A", 5, product="LEFT")
    floor.order("B", 100, product="RIGHT")
    for second in range(1, 9):
        floor.at(f"{second} s").make(1, "plc.left")
        floor.make(1, "plc.right")
    assert [(one.what.product, one.what.pieces) for one in floor.state.bucket.entries] == [("LEFT", 3)]
    assert next(run.good for run in floor.state.at_work() if run.job.order == "B") == 8
    floor.at("60 s").order("C", 100, product="RIGHT")
    assert floor.state.unallocated.good == 3
    floor.at("70 s").order("D", 100, product="LEFT")
    assert floor.state.unallocated.good == 0
    assert ("D", 1, 3, "partial", "allocation") in floor.confirmed
    floor.close_books()


@pytest.mark.parametrize("read", [True, False], ids=["forced read", "the read failed"])
def test_a_forced_read_at_the_change_says_whose_it_is(rig, read):
    floor = rig(**COMMAND)
    floor.make(0)
    for order in "AB":
        floor.order(order, 1000)
    floor.says("start", "A")
    floor.make(0)
    floor.at("6 min")
    if read:
        floor.make(150)
    floor.says("start", "B")
    floor.at("10 min").make(150 if read else 300)
    floor.says("interrupt", "B")
    made = {(one.job.order, one.good, one.estimated_pieces) for one in floor.all(Confirmation)}
    tasks = [detail["reason"] for code, detail in floor.notices if code == "SHARED_BY_TIME"]
    if read:
        assert {one[:2] for one in made} == {("A", 150), ("B", 150)}
        assert tasks == []
    else:
        assert made == {("A", 180, 180), ("B", 120, 120)}
        assert "180 to A, 120 to B" in tasks[0]
    floor.close_books()


# --- rework and campaign ---------------------------------------------------------------------------------------------


def test_a_campaign_runs_on_behind_its_quantity(rig, job):
    floor = rig(**SEQUENCE)
    floor.receive(imaged(job, "A", 5, order_kind=OrderKind.CAMPAIGN))
    floor.order("B", 10)
    floor.make(3)
    floor.make(9)
    assert (floor.running, floor.state.running.good) == ("A", 12)
    floor.says("finish", "A")
    assert floor.confirmed == [("A", 1, 12, "final", "finish by ann")]
    assert floor.running == "B"


def test_what_passes_a_rework_order_is_good_there(rig, job):
    floor = rig(**SEQUENCE)
    floor.receive(imaged(job, "R", 5, order_kind=OrderKind.REWORK))
    floor.make(5)
    assert floor.confirmed == [("R", 1, 5, "final", "target reached")]
    assert floor.state.counted.rework == 0


# --- an order that comes after its pieces ----------------------------------------------------------------------------


def proposals(floor):
    return [detail for code, detail in floor.notices if code == "ALLOCATION_PROPOSED"]


@pytest.mark.parametrize("policy", ["ask", "to_previous_if_within_tolerance"])
def test_an_order_that_comes_after_its_pieces_is_proposed_for_them(rig, job, policy):
    floor = with_policy(rig, policy, auto_advance="off")
    floor.order("A", 5)
    floor.says("start", "A")
    floor.make(5)
    floor.at("1 min").make(8)
    floor.at("40 min").order("OTHER", 5, product="ART-2")
    assert proposals(floor) == [], "it makes something else"
    floor.order("B", 20)
    (told,) = proposals(floor)
    assert (told["order"], told["pieces"]) == ("B", "8")
    assert told["made_since"].startswith("2026-05-28T20:2")
    floor.order("B", 20)
    floor.order("B", 30, revision=2)
    assert len(proposals(floor)) == 1, "said once"
    give(floor, "B", 8)
    assert floor.confirmed[-1] == ("B", 1, 8, "partial", "allocation")
    floor.order("C", 20)
    assert len(proposals(floor)) == 1, "nothing is left to give"
    floor.close_books()


def test_what_the_policy_gives_as_an_order_begins_is_not_proposed_and_what_it_leaves_is(rig):
    floor = with_policy(rig, "to_next_order_if_same_product_within", auto_advance="off")
    floor.order("A", 5)
    floor.says("start", "A")
    floor.make(5)
    floor.at("1 min").make(8)
    floor.at("5 min").order("B", 20)
    assert proposals(floor) == []
    floor.says("start", "B")
    assert floor.confirmed[-1] == ("B", 1, 8, "partial", "allocation")
    floor.says("interrupt", "B")
    floor.make(0)
    floor.at("6 min").make(3)
    floor.at("30 min").order("C", 20)
    assert [one["pieces"] for one in proposals(floor)] == ["3"]
    floor.says("start", "C")
    assert floor.state.unallocated.good == 3
    floor.close_books()


def test_the_minutes_of_an_order_that_is_over_are_not_told_again_with_what_it_is_given(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 5)
    floor.make(0)
    for second in range(10, 70, 10):
        floor.at(f"{second} s").make(1)
    final = floor.all(Confirmation)[-1]
    assert (final.kind, final.total_good, floor.state.unallocated.good) == ("final", 5, 1)
    assert sum(Decimal(minutes) for _, minutes in final.work.states) > Decimal("0.7")
    floor.at("62 s").make(2)
    for _ in range(2):
        (given,) = [one for one in give(floor, "A", 1) if isinstance(one, Confirmation)]
        assert (given.trigger, given.work.states, any(given.work.minutes)) == ("allocation", (), False)
    stored = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    assert stored.work.ledgers == floor.state.work.ledgers
    assert any(one.told_states for one in stored.work.ledgers)
