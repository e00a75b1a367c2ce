"""Holds of a machine, a product, a lot, an order: what they hold, what comes later, what is made, who ends them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.audit.told import entries as audit_entries
from gateway.core.duration import Duration
from gateway.core.entries import LotEntry, MergeEntry, StandingHoldEntry, UnmergeEntry
from gateway.core.model import CalendarPlan, JobChanged, JobOrderState, PlannedTime
from gateway.core.orders.job_image import with_image
from gateway.core.orders.lifecycle import TRANSITIONS, ActorRole
from gateway.core.orders.order_image import Component, ImageOperation, OrderImage, OrderStatus
from gateway.core.orders.standing_holds import STANDING_HOLDS_MAX, HoldScope, StandingHoldChanged
from gateway.core.rules import OrderRule, UnallocatedRule
from gateway.core.rules_material import FeederRule, LotRule, WorkRule
from gateway.core.rules_orders import GuardRule

S = JobOrderState
COMMAND = OrderRule(choose="command")


def holds(floor, scope="machine", name="", *, reason="crack", **more):
    return floor.put(StandingHoldEntry(floor.now_ns, HoldScope(scope), name, True, reason, "eve", **more))


def releases(floor, scope="machine", name="", *, reason="sorted", **more):
    return floor.put(StandingHoldEntry(floor.now_ns, HoldScope(scope), name, False, reason, "eve", **more))


def refusal(floor):
    code, detail = floor.notices[-1]
    assert code == "REFUSED"
    return detail["reason"]


def states(floor, *orders):
    return [floor.records[order, "0010"].state for order in orders]


def restarted(floor):
    """As after a kill: what was stored is what goes on."""
    images = snapshot.encode_whole(floor.unit, floor.state)["images"]
    floor.state = snapshot.decode(floor.unit, json.loads(snapshot.dump(floor.unit, floor.state)) | {"images": images})


@pytest.mark.parametrize("restart", [False, True])
def test_a_whole_machine_is_held_with_all_that_is_open_and_all_that_comes(rig, restart):
    floor = rig()
    floor.order("A", 10)
    floor.order("B", 10)
    floor.make(3)
    holds(floor)
    assert states(floor, "A", "B") == [S.ON_HOLD, S.ON_HOLD]
    assert floor.confirmed == [("A", 1, 3, "partial", "hold")]
    if restart:
        restarted(floor)
    floor.make(2)
    floor.order("C", 10)
    assert (floor.running, states(floor, "C")) == ("A", [S.ON_HOLD])
    assert (floor.state.running.good, floor.state.running.open_hold) == (3, 2)
    floor.says("start", "B")
    assert refusal(floor).startswith("G1 no active hold: found hold machine: crack, wanted")
    releases(floor)
    assert states(floor, "A", "B", "C") == [S.IN_PROGRESS, S.DISPATCHED, S.DISPATCHED]
    assert floor.state.standing == ()
    floor.make(1)
    assert floor.state.running.good == 4
    floor.close_books()


def test_originals_that_return_are_on_the_holds_that_stand_now(rig):
    """A hold that was released while they were merged keeps none: nobody could release it again."""
    floor = rig(orders=COMMAND)
    for name in "AB":
        floor.order(name, 10)
    holds(floor)
    floor.put(MergeEntry(floor.now_ns, "L", ("A", "B"), "", "one setup", "ann"))
    releases(floor)
    floor.put(UnmergeEntry(floor.now_ns, "L", "", "", "ann"))
    assert states(floor, "A", "B") == [S.DISPATCHED, S.DISPATCHED]
    assert [run.holds for run in floor.state.queue] == [(), ()]
    floor.says("start", "A")
    assert floor.running == "A"


def test_nothing_starts_under_a_hold_of_the_machine_and_the_first_starts_behind_it(rig):
    floor = rig()
    holds(floor)
    floor.order("A", 10)
    assert (floor.running, states(floor, "A")) == (None, [S.ON_HOLD])
    releases(floor)
    assert floor.running == "A"


def test_a_product_is_held_and_no_other(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    floor.order("B", 10, product="ART-2")
    holds(floor, "product", "ART-2")
    floor.order("C", 10, product="ART-2")
    assert states(floor, "A", "B", "C") == [S.DISPATCHED, S.ON_HOLD, S.ON_HOLD]
    floor.says("start", "A")
    assert floor.running == "A"
    releases(floor, "product", "ART-2")
    assert states(floor, "A", "B", "C") == [S.IN_PROGRESS, S.DISPATCHED, S.DISPATCHED]


def test_an_order_is_held_with_the_operations_that_come_later(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    holds(floor, "order", "A")
    floor.order("A", 10, operation="0020")
    floor.order("B", 10)
    assert [floor.records[key].state for key in (("A", "0010"), ("A", "0020"))] == [S.ON_HOLD, S.ON_HOLD]
    assert states(floor, "B") == [S.DISPATCHED]


def test_what_is_held_twice_is_free_once_both_are_released(rig):
    floor = rig()
    floor.order("A", 10)
    holds(floor)
    holds(floor, "product", "ART-1", reason="colour")
    floor.says("hold", "A", reason="my own")
    assert floor.records["A", "0010"].hold_reason == "my own; machine: crack; product ART-1: colour"
    releases(floor)
    assert states(floor, "A") == [S.ON_HOLD]
    floor.says("release", "A")
    assert (states(floor, "A"), floor.records["A", "0010"].hold_reason) == ([S.ON_HOLD], "product ART-1: colour")
    floor.says("release", "A")
    assert refusal(floor) == (
        "G1 no active hold: found hold of the product ART-1 (colour), wanted a hold of its own; "
        "release the hold of the product ART-1 (hold release)"
    )
    releases(floor, "product", "ART-1")
    assert (states(floor, "A"), floor.running) == ([S.IN_PROGRESS], "A")


def test_the_erp_closes_what_a_machine_holds(rig, job):
    floor = rig()
    work = (ImageOperation("0010", "WC-1", Decimal(10)),)
    image = OrderImage("erp", "A", 1, "ART-1", "PC", Decimal(10), work)
    floor.receive(with_image(job("A", 10), image))
    holds(floor)
    closed = image._replace(revision=2, status=OrderStatus.CLOSED)
    floor.receive(with_image(job("A", 10, revision=2), closed))
    assert floor.running is None, "what is made from now on is no order's"
    releases(floor)
    assert (states(floor, "A"), floor.state.queue[0].hold_reason) == ([S.ON_HOLD], "ERP_CLOSED")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ({"scope": "machine"}, "machine is on hold already: crack (by eve); release it first for another reason"),
        (
            {"scope": "product", "name": "X", "role": ActorRole.OPERATOR},
            "ROLE_NOT_ALLOWED: hold is not allowed for operator; allowed: supervisor, quality; ask one of them",
        ),
        (
            {"scope": "lot", "name": "L1", "begins": False},
            "lot L1 is not on hold here; holds that stand: machine: crack; a hold of one operation ends by order release",  # noqa: E501 - word for word
        ),
    ],
)
def test_what_is_refused_changes_nothing(rig, word, text):
    floor = rig()
    floor.order("A", 10)
    holds(floor)
    before, plain = floor.state, {"name": "", "begins": True, "reason": "r", "who": "ann"}
    floor.put(StandingHoldEntry(floor.now_ns, **plain | word | {"scope": HoldScope(word["scope"])}))
    assert refusal(floor) == text
    assert floor.state._replace(journal_seq=0) == before._replace(journal_seq=0)


def test_holds_are_bounded(rig):
    floor = rig()
    for number in range(STANDING_HOLDS_MAX):
        holds(floor, "product", f"P-{number}")
    holds(floor)
    assert "found 100 holds that stand at this machine, allowed 100; release some first" in refusal(floor)


@pytest.mark.parametrize("mode", ["off", "warn", "block"])
def test_a_release_is_signed_where_the_machine_asks_for_it(rig, mode):
    floor = rig(orders=OrderRule(guards=GuardRule(signature=mode)))
    floor.order("A", 10)
    for begin, end in ((holds, releases), (lambda f: f.says("hold", "A"), lambda f, **m: f.says("release", "A", **m))):
        begin(floor)
        if mode == "block":
            end(floor)
            assert refusal(floor).startswith("release signed: found no signature, wanted the release signed; sign the")
            assert states(floor, "A") == [S.ON_HOLD]
        end(floor, **{"signed_by": "eve"} if mode == "block" else {})
        assert states(floor, "A") == [S.IN_PROGRESS]


def test_what_is_only_planned_is_held_once_it_is_released(rig, job):
    floor = rig()
    holds(floor)
    work = (ImageOperation("0010", "WC-1", Decimal(10)),)
    image = OrderImage("erp", "A", 1, "ART-1", "PC", Decimal(10), work, status=OrderStatus.PLANNED)
    floor.receive(with_image(job("A", 10), image))
    assert states(floor, "A") == [S.PLANNED]
    floor.receive(with_image(job("A", 10, revision=2), image._replace(revision=2, status=OrderStatus.RELEASED)))
    assert states(floor, "A") == [S.ON_HOLD]


def test_what_is_opened_again_under_a_hold_is_on_hold(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 1)
    floor.says("start", "A")
    floor.make(1)
    holds(floor)
    assert states(floor, "A") == [S.COMPLETED], "what is complete is not open"
    floor.says("reopen", "A")
    assert (states(floor, "A"), floor.state.running.held_from) == ([S.ON_HOLD], S.IN_PROGRESS)
    releases(floor)
    assert states(floor, "A") == [S.IN_PROGRESS]


# --- lots -------------------------------------------------------------------------------------------------------------


def with_feeder(rig, **rules):
    return rig(work=WorkRule(lots=LotRule(feeders={"HOPPER": FeederRule(item="PP")})), **rules)


def of_granulate(floor, job, order="A"):
    work = (ImageOperation("0010", "WC-1", Decimal(10)),)
    parts = (Component("PP", Decimal(1), "G"),)
    image = OrderImage("erp", order, 1, "ART-1", "PC", Decimal(10), work, components=parts)
    return floor.receive(with_image(job(order, 10), image))


def mounts(floor, lot, *, begins=True, **more):
    return floor.put(LotEntry(floor.now_ns, begins, "HOPPER", lot, "ann", "PP" if begins else "", **more))


def test_a_lot_holds_the_order_that_takes_it_until_the_lot_is_off_and_the_order_released(rig, job):
    floor = with_feeder(rig)
    mounts(floor, "L1")
    of_granulate(floor, job)
    floor.order("B", 10)
    floor.make(2)
    holds(floor, "lot", "L1")
    assert states(floor, "A", "B") == [S.ON_HOLD, S.DISPATCHED]
    floor.says("release", "A")
    assert refusal(floor).endswith("take the lot off, or release that hold (hold release)")
    floor.at("1 min")
    mounts(floor, "L1", begins=False)
    mounts(floor, "L1")
    assert refusal(floor) == (
        "G1 no active hold: found hold lot L1: crack, wanted no active hold; quality or a supervisor releases the hold"
    )
    mounts(floor, "L2")
    assert states(floor, "A") == [S.ON_HOLD], "nobody has released it"
    floor.says("release", "A", role=ActorRole.OPERATOR)
    assert states(floor, "A") == [S.ON_HOLD]
    floor.says("release", "A")
    assert (states(floor, "A"), len(floor.state.standing)) == ([S.IN_PROGRESS], 1)
    floor.make(1)
    assert floor.state.running.good == 3
    floor.close_books()


def test_a_held_lot_that_is_mounted_despite_a_warning_holds_the_order(rig, job):
    floor = with_feeder(rig, orders=OrderRule(guards=GuardRule(hold="warn")))
    mounts(floor, "L1")
    of_granulate(floor, job)
    holds(floor, "lot", "L2")
    assert states(floor, "A") == [S.IN_PROGRESS]
    floor.at("1 min")
    mounts(floor, "L2")
    assert "HELD_LOT_MOUNTED" in [code for code, _ in floor.notices]
    assert states(floor, "A") == [S.ON_HOLD]


# --- what is made meanwhile, where it is no order's -------------------------------------------------------------------


def test_what_is_made_on_hold_is_no_orders_where_the_rule_says_so_and_no_policy_gives_it_away(rig):
    policy = UnallocatedRule(policy="to_next_order_if_same_product_within")
    floor = rig(orders=OrderRule(choose="command", held_pieces="unallocated"), unallocated=policy)
    floor.order("A", 10)
    floor.order("B", 10)
    floor.says("start", "A")
    floor.make(2)
    holds(floor, "order", "A")
    floor.make(3)
    assert (floor.state.running.good, floor.state.running.hold) == (2, 0)
    assert (floor.state.unallocated.good, floor.state.bucket.entries[0].what.held) == (3, True)
    restarted(floor)
    floor.at("1 min").says("start", "B")
    assert (floor.running, floor.state.running.good, floor.state.unallocated.good) == ("B", 0, 3)
    floor.close_books()


# --- audit ------------------------------------------------------------------------------------------------------------


def test_a_hold_and_what_it_holds_are_written_down(rig):
    from tests.core.test_audit_told import common

    floor = rig()
    floor.order("A", 10)
    word = StandingHoldEntry(floor.now_ns, HoldScope.PRODUCT, "ART-1", True, "crack", "eve", ActorRole.QUALITY)
    made = floor.put(word)
    first, *rest = audit_entries(word, made, "M-01", common)
    assert (first.action, first.entity, first.entity_id, first.new, first.user, first.reason_text) == (
        "hold", "hold", "M-01/product ART-1", "set", "eve", "crack"
    )  # fmt: skip
    assert [(one.entity_id, one.old, one.new, one.detail) for one in rest] == [
        ("A/0010", "IN_PROGRESS", "ON_HOLD", "hold of product ART-1 by eve")
    ]


# --- whatever happens -------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.sampled_from(
        [
            *(("hold", scope, name) for scope, name in (("machine", ""), ("product", "ART-1"), ("order", "B"))),
            *(("release", scope, name) for scope, name in (("machine", ""), ("product", "ART-1"), ("order", "B"))),
            *(("says", verb, order) for verb in ("start", "interrupt", "hold", "release", "finish") for order in "AB"),
            ("make", 2, ""),
            ("restart", "", ""),
            ("order", "C", ""),
        ]
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(
    words=WORDS,
    choose=st.sampled_from(["sequence", "command"]),
    pieces=st.sampled_from(["wait_for_verdict", "unallocated"]),
)
def test_an_order_is_on_hold_as_long_as_any_hold_of_it_stands(rig, words, choose, pieces):
    floor = rig(orders=OrderRule(choose=choose, held_pieces=pieces))
    floor.order("A", 10)
    floor.order("B", 10, product="ART-2")
    for kind, one, other in words:
        if kind == "hold":
            holds(floor, one, other)
        elif kind == "release":
            releases(floor, one, other)
        elif kind == "make":
            floor.make(one)
        elif kind == "restart":
            restarted(floor)
        elif kind == "order":
            floor.order(one, 5)
        else:
            floor.says(one, other)
        stand = {(hold.scope.value, hold.name) for hold in floor.state.standing}
        for run in floor.state.open_runs():
            named = {("machine", ""), ("product", run.job.product), ("order", run.job.order)}
            assert {key[:2] for key in run.standing} == named & stand, run.job.order
            assert (run.state is S.ON_HOLD) == bool(run.standing or run.hold_reason)
            assert (run.held_from is not None) == (run.state is S.ON_HOLD)
            assert floor.records[run.job.key].state is run.state
    floor.close_books()
    pairs = {(row.state_from, row.state_to) for row in TRANSITIONS} | {(None, S.DISPATCHED)}
    changes = {(one.previous, one.record.state) for one in floor.all(JobChanged)}
    assert {(one, two) for one, two in changes if one is not two} <= pairs
    told = [one.begins for one in floor.all(StandingHoldChanged)]
    assert told.count(True) - told.count(False) == len(floor.state.standing)
    assert floor.state.counted.good + floor.state.counted.hold == sum(2 for kind, *_ in words if kind == "make")


# --- who else starts and stops orders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["A", "A-0010", "A/0010", " A 0010 ", "A+0010"])
def test_a_barcode_starts_its_order(rig, code):
    floor = rig(orders=OrderRule(choose="command", guards=GuardRule(sequence="block")))
    floor.order("A", 10)
    floor.order("B", 10, sequence_no=2)
    floor.says("scan", "B")
    assert "G8 sequence: found order A before it" in refusal(floor)
    floor.says("scan", code)
    assert (floor.running, floor.all(JobChanged)[-1].trigger) == ("A", f"start by ann (barcode {code})")
    floor.says("scan", "A")
    assert "it is running already" in refusal(floor)
    floor.says("scan", "Q")
    assert "order Q is not open at this work unit" in refusal(floor)


def test_a_barcode_of_an_order_with_several_operations_names_one(rig):
    floor = rig(orders=COMMAND)
    floor.order("A", 10)
    floor.order("A", 10, operation="0020")
    floor.says("scan", "A")
    assert "has several operations here" in refusal(floor)
    floor.says("scan", "A-0020")
    assert floor.state.running.job.key == ("A", "0020")


def test_what_a_warning_objected_is_written_down_with_the_start_only(rig):
    floor = rig(orders=OrderRule(choose="command", when_running="complete", guards=GuardRule(sequence="warn")))
    for order in "ABC":
        floor.order(order, 2)
    floor.says("start", "A")
    floor.make(2)
    floor.says("start", "C")
    triggers = {one.record.job.order: one.trigger for one in floor.all(JobChanged)}
    assert triggers["C"].startswith("start by ann; despite G8 sequence: found order B before it")
    assert "despite" not in triggers["A"]


@pytest.mark.parametrize("rule", ["go_on", "interrupt"])
def test_the_end_of_a_shift_interrupts_where_that_is_the_rule(rig, rule):
    floor = rig(orders=OrderRule(at_shift_end=rule), calendar="plant")
    for order in "AB":
        floor.order(order, 10)
    shifts = (PlannedTime(floor.now_ns, None, "2026-05-28/F"), PlannedTime(floor.now_ns + Duration("1 h"), None, ""))
    floor.put(CalendarPlan(floor.now_ns, shifts))
    floor.make(3)
    floor.at("2 h").wait()
    assert states(floor, "A") == [S.IN_PROGRESS if rule == "go_on" else S.INTERRUPTED]
    assert floor.confirmed == [("A", 1, 3, "partial", "shift end")]
    assert floor.running == ("A" if rule == "go_on" else None), "nothing starts by the end of a shift"
    restarted(floor)
    if rule == "interrupt":
        floor.says("start", "A")
    floor.make(1)
    assert (floor.running, floor.state.running.good) == ("A", 4)


def shifts(floor):
    """One hour of a shift, one outside of shifts, and the next shift."""
    hour = Duration("1 h")
    plan = [("2026-05-28/F", 0), ("", 1), ("2026-05-29/F", 2)]
    floor.put(CalendarPlan(floor.now_ns, tuple(PlannedTime(floor.now_ns + hour * at, None, name) for name, at in plan)))


def test_what_comes_behind_an_interruption_by_the_end_of_a_shift_waits_for_a_person(rig):
    floor = rig(orders=OrderRule(at_shift_end="interrupt"), calendar="plant")
    floor.order("A", 10)
    shifts(floor)
    floor.make(3)
    floor.at("61 min").wait()
    floor.order("B", 10)
    assert (floor.running, states(floor, "A", "B")) == (None, [S.INTERRUPTED, S.DISPATCHED])
    code, why = floor.notices[-1]
    assert code == "ORDER_WAITS"
    assert why["reason"].endswith("the end of a shift interrupted order A/0010; start that one, or another one")
    floor.at("121 min").wait()
    assert floor.running is None, "in the next shift, too: somebody decides"
    restarted(floor)
    floor.says("start", "A")
    floor.says("finish", "A", reason="short")
    assert floor.running == "B"


def test_nothing_starts_by_itself_outside_of_shifts_and_the_first_with_the_next_shift(rig):
    floor = rig(orders=OrderRule(at_shift_end="interrupt"), calendar="plant")
    shifts(floor)
    floor.at("61 min").wait()
    floor.order("A", 10)
    assert floor.running is None
    assert "outside of shifts" in floor.notices[-1][1]["reason"]
    floor.at("121 min").wait()
    assert floor.running == "A"


def test_holds_outlive_a_database_that_is_lost(rig):
    floor = rig()
    holds(floor, "product", "ART-1")
    left = floor.unit.lost.left_in(floor.state, floor.now_ns, 5, measured=True)
    floor = rig()
    floor.put(left)
    (told,) = floor.all(StandingHoldChanged)
    assert (told.begins, told.name, told.reason, told.who) == (True, "ART-1", "crack", "eve")
    assert floor.state.standing[0].since_ns == floor.now_ns + 5
    restarted(floor)
    floor.order("A", 10)
    assert (floor.running, states(floor, "A")) == (None, [S.ON_HOLD])
    releases(floor, "product", "ART-1")
    assert floor.running == "A"
