"""Splits and merges at a work unit: who gets what, under whose number, and that no piece is made or lost by them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import journal, snapshot
from gateway.core.access.roles import ActorRole
from gateway.core.document import fields
from gateway.core.entries import AllocateEntry, ExternalEntry, MergeEntry, ReportEntry, SplitEntry, UnmergeEntry
from gateway.core.model import Confirmation, JobOrderState, Role
from gateway.core.orders.order_changes import OrderAck
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule

S = 1_000_000_000
COMMAND = OrderRule(choose="command")
SCRAP = CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP)
GOOD = CounterRule(mode="counter", signal="plc.good")


@pytest.fixture
def floor(rig):
    """Orders start by a person's word; good pieces and scrap are counted."""
    made = rig(GOOD, SCRAP, orders=COMMAND)
    made.make(0)
    made.make(0, "plc.scrap")
    return made


def split(floor, order, *quantities, **more):
    wanted = tuple(map(Decimal, quantities))
    return floor.put(SplitEntry(floor.now_ns, order, "", wanted, "machine free", "ann", **more))


def merge(floor, leader, *orders, **more):
    return floor.put(MergeEntry(floor.now_ns, leader, orders, "", "one setup", "ann", **more))


def refusal(outputs):
    (told,) = [one for one in outputs if getattr(one, "code", "") == "REFUSED"]
    return dict(told.detail)


def booked_by_order(floor, role="good"):
    found = {}
    for one in floor.all(Confirmation):
        found[one.job.order] = found.get(one.job.order, 0) + getattr(one, role)
    return found


def in_the_erp(floor, order, good, scrap=0, rework=0):
    """Somebody confirmed so many there, and a person takes it over here."""
    return floor.put(ExternalEntry(floor.now_ns, order, "", good, scrap, rework, "by hand there", "ann"))


def external(floor, order):
    return floor.records[order, "0010"].external


# --- split -----------------------------------------------------------------------------------------------------------


def test_children_get_what_remains_and_the_last_one_ends_the_erps_order(floor):
    floor.at("1 s").order("4711", 100)
    floor.says("start", "4711")
    floor.make(30)
    assert refusal(split(floor, "4711", 40, 30))["guard"] == "INTERRUPT_FIRST"
    floor.says("interrupt", "4711")
    told = refusal(split(floor, "4711", 40, 40))
    assert (told["guard"], told["found"], told["allowed"]) == ("SPLIT_SUM", "80 in all", "70 (remaining quantity)")
    split(floor, "4711", 40, 30)
    assert floor.queued == ["4711-001", "4711-002"]
    assert floor.records["4711", "0010"].state is JobOrderState.SPLIT
    assert floor.records["4711", "0010"].good == 30
    child = floor.records["4711-001", "0010"]
    assert (child.job.quantity, child.job.erp_order, child.seq) == (Decimal(40), "4711", 0)
    floor.at("2 s").says("start", "4711-001")
    floor.make(40)
    floor.says("start", "4711-002")
    floor.make(30)
    assert floor.confirmed == [
        ("4711", 1, 30, "partial", "interruption"),
        ("4711-001", 1, 40, "partial", "target reached"),
        ("4711-002", 1, 30, "final", "target reached"),
    ]
    documents = [fields(floor.unit.identity, one) for one in floor.all(Confirmation)]
    assert {one["order_id"] for one in documents} == {"4711"}, "the ERP knows its own order only"
    assert [one["shop_order"] for one in documents] == [None, "4711-001", "4711-002"]
    assert len({one["idempotency_key"] for one in documents}) == 3
    floor.close_books()


def test_a_split_is_written_down_with_each_child(floor):
    floor.at("1 s").order("4711", 100)
    outputs = split(floor, "4711", 60, 40)
    rows = [journal.row(one) for one in outputs]
    assert [kind for kind, _ in rows] == ["decision", "job", "job", "job"]
    assert rows[0][1]["detail"] == {"quantities": "60, 40"}
    assert rows[1][1]["trigger"] == "split by ann: machine free: 4711-001, 4711-002"
    json.dumps(rows)


def test_names_that_are_taken_are_passed_over(floor):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40, taken=("4711-001", "4711-007"))
    assert floor.queued == ["4711-008", "4711-009"]


def test_a_child_is_split_again_under_the_erps_number(floor):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    split(floor, "4711-001", 50, 10)
    assert {run.job.erp_order for run in floor.state.queue} == {"4711"}
    assert sorted(floor.queued) == ["4711-001-001", "4711-001-002", "4711-002"]


def test_the_last_child_ends_the_erps_order_also_where_it_is_cancelled(floor):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    floor.says("start", "4711-001")
    floor.make(60)
    floor.state = snapshot.decode(floor.unit, json.loads(json.dumps(snapshot.encode(floor.unit, floor.state))))
    floor.says("cancel", "4711-002", role=ActorRole.PLANNER)
    assert floor.confirmed == [
        ("4711-001", 1, 60, "partial", "target reached"),
        ("4711-002", 1, 0, "final", "cancel by ann"),
    ]
    assert floor.records["4711-002", "0010"].state is JobOrderState.CANCELLED
    floor.close_books()


def test_children_that_are_all_cancelled_end_nothing(floor):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    for child in ("4711-001", "4711-002"):
        floor.says("cancel", child, role=ActorRole.PLANNER)
    assert floor.confirmed == []


def test_a_cancelled_child_leaves_the_end_to_its_sibling(floor):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    floor.says("start", "4711-001")
    floor.make(5)
    floor.says("interrupt", "4711-001")
    split(floor, "4711-001", 25, 30)
    merge(floor, "L", "4711-002")
    floor.says("cancel", "4711-001-001", role=ActorRole.PLANNER)
    floor.says("start", "4711-001-002")
    floor.make(30)
    floor.says("start", "4711-002")
    floor.make(40)
    assert [one for one in floor.confirmed if one[3] == "final"] == [("4711-002", 1, 40, "final", "target reached")]
    floor.close_books()


def test_the_erp_cancels_an_order_that_was_split(floor, job):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    floor.says("start", "4711-001")
    floor.make(5)
    floor.receive(job("4711", 100, cancelled=True))
    assert (floor.running, floor.queued) == (None, [])
    assert floor.all(OrderAck)[-1].kind == "CANCEL_ACCEPTED"
    assert booked_by_order(floor) == {"4711-001": 5}
    count = len(floor.said)
    floor.receive(job("4711", 100, cancelled=True))
    assert [type(one) for one in floor.said[count:]] == [OrderAck], "asked again, answered again"
    floor.close_books()


@pytest.mark.parametrize("remembered", [True, False])
def test_the_answer_to_a_cancellation_says_what_all_parts_of_a_split_order_made(floor, job, remembered):
    """What was made before the split, in a part that is over, and what is not confirmed yet."""
    floor.at("1 s").order("4711", 100)
    floor.says("start", "4711")
    floor.make(10)
    floor.says("interrupt", "4711")
    split(floor, "4711", 20, 30, 40)
    floor.says("start", "4711-001")
    floor.make(20)
    floor.says("start", "4711-002")
    floor.make(3)
    floor.says("interrupt", "4711-002")
    split(floor, "4711-002", 17, 10)
    floor.says("start", "4711-002-001")
    floor.make(4)
    in_the_erp(floor, "4711", 5)
    assert floor.state.running.open_good == 4, "not confirmed yet"
    if not remembered:  # an earlier recording has no records of the parts
        floor.records = {key: one for key, one in floor.records.items() if not one.job.erp_order}
    floor.receive(job("4711", 100, cancelled=True))
    ack = floor.all(OrderAck)[-1]
    made = 10 + 20 + 3 + 4 if remembered else 10 + 4
    assert (ack.kind, ack.produced) == ("CANCEL_ACCEPTED", (("0010", Decimal(made)),))
    if remembered:
        assert sum(booked_by_order(floor).values()) == made, "as many as it is told in confirmations"
    floor.close_books()


def test_a_part_under_a_leader_counts_in_the_answer_to_a_cancellation(floor, job):
    floor.at("1 s").order("4711", 100)
    floor.order("B", 40)
    split(floor, "4711", 60, 40)
    merge(floor, "L", "4711-002", "B")
    floor.says("start", "L")
    floor.make(30)
    floor.says("interrupt", "L")
    given = booked_by_order(floor)["4711-002"]
    assert given
    floor.receive(job("4711", 100, cancelled=True))
    assert floor.all(OrderAck)[-1].produced == (("0010", Decimal(given)),)
    assert floor.queued == ["L"], "a leader is left to a person"


def test_a_split_order_of_which_nothing_was_begun_is_cancelled_without_quantities(floor, job):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    floor.says("cancel", "4711-002", role=ActorRole.PLANNER)
    floor.receive(job("4711", 100, cancelled=True))
    ack = floor.all(OrderAck)[-1]
    assert (ack.kind, ack.produced, floor.queued) == ("CANCEL_ACCEPTED", (), [])


def test_a_split_order_whose_parts_are_complete_is_not_cancelled(floor, job):
    """As one that was never split: the ERP has its last confirmation."""
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    for child, pieces in (("4711-001", 60), ("4711-002", 40)):
        floor.says("start", child)
        floor.make(pieces)
    floor.receive(job("4711", 100, cancelled=True))
    ack = floor.all(OrderAck)[-1]
    assert (ack.kind, "reverse the final confirmation" in ack.reasons[0]) == ("CANCEL_REJECTED", True)
    assert not floor.records["4711", "0010"].job.cancelled


def test_another_revision_of_a_divided_order_is_refused(floor, job):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    floor.receive(job("4711", 200, revision=2))
    ack = floor.all(OrderAck)[-1]
    assert (ack.kind, ack.held_revision) == ("ORDER_CHANGE_REJECTED", 1)
    assert "its open children: 4711-001, 4711-002" in ack.reasons[0]
    floor.receive(job("4711-001", 9))
    assert floor.all(OrderAck)[-1].kind == "ORDER_CHANGE_REJECTED", "a child's name is no order of the ERP's"
    for name in ("A", "B"):
        floor.order(name, 10)
    merge(floor, "L", "A", "B")
    floor.receive(job("A", 10, revision=2, cancelled=True))
    ack = floor.all(OrderAck)[-1]
    assert (ack.kind, "merged into order L" in ack.reasons[0]) == ("CANCEL_REJECTED", True)


# --- merge -----------------------------------------------------------------------------------------------------------


def originals(floor):
    for place, (name, quantity) in enumerate((("4711", 60), ("4712", 50), ("4713", 20))):
        floor.order(name, quantity, planned_end_ns=100 + place)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (None, {"4711": 46, "4712": 39, "4713": 15}),
        ("sequential_by_due_date", {"4711": 60, "4712": 40}),
        ("fixed_ratio", {"4711": 40, "4712": 40, "4713": 20}),
    ],
)
def test_a_hundred_pieces_to_their_originals(floor, how, expected):
    floor.at("1 s")
    originals(floor)
    merge(floor, "L1", "4711", "4712", "4713", how=how, ratios=(2, 2, 1) if how == "fixed_ratio" else ())
    assert floor.queued == ["L1"]
    floor.says("start", "L1")
    floor.make(100)
    floor.says("interrupt", "L1")
    assert booked_by_order(floor) == expected
    assert [one.seq for one in floor.all(Confirmation)] == [1] * len(expected)
    floor.close_books()


def test_at_the_target_each_original_is_complete_with_its_scrap(floor):
    floor.at("1 s")
    originals(floor)
    merge(floor, "L1", "4711", "4712", "4713")
    floor.says("start", "L1")
    floor.make(100)
    floor.says("interrupt", "L1")
    floor.says("start", "L1")
    floor.make(7, "plc.scrap")
    floor.make(23)
    assert (floor.running, floor.queued) == (None, [])
    assert sum(booked_by_order(floor).values()) == 123
    assert sum(booked_by_order(floor, "scrap").values()) == 7
    finals = [one for one in floor.all(Confirmation) if one.kind == "final"]
    assert [(one.job.order, one.seq) for one in finals] == [("4711", 2), ("4712", 2), ("4713", 2)]
    documents = [fields(floor.unit.identity, one) for one in finals]
    assert [(one["order_id"], one["shop_order"]) for one in documents] == [
        ("4711", "L1"), ("4712", "L1"), ("4713", "L1"),
    ]  # fmt: skip
    assert all(floor.records[name, "0010"].state is JobOrderState.MERGED for name in ("4711", "4712", "4713"))
    assert floor.records["L1", "0010"].state is JobOrderState.COMPLETED
    floor.close_books()


def test_the_memory_of_a_merge_survives_a_restart(floor):
    floor.at("1 s")
    originals(floor)
    merge(floor, "L1", "4711", "4712", "4713")
    floor.says("start", "L1")
    floor.make(3)
    floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    assert floor.state.running.merged.runs[1].job.leader == "L1"
    floor.make(97)
    floor.says("interrupt", "L1")
    assert booked_by_order(floor) == {"4711": 46, "4712": 39, "4713": 15}
    floor.close_books()


def test_a_merge_is_taken_back_as_long_as_nothing_was_made(floor):
    floor.at("1 s")
    originals(floor)
    floor.says("start", "4712")
    floor.make(10)
    floor.says("interrupt", "4712")
    merge(floor, "L1", "4711", "4712")
    undo = UnmergeEntry(floor.now_ns, "L1", "", "", "ann")
    floor.put(undo)
    assert sorted(floor.queued) == ["4711", "4712", "4713"]
    assert floor.records["4712", "0010"].state is JobOrderState.INTERRUPTED
    merge(floor, "L2", "4711", "4712")
    floor.says("start", "L2")
    assert refusal(floor.put(undo._replace(order="L2")))["guard"] == "MERGE_IN_USE"
    floor.make(1)
    floor.says("interrupt", "L2")
    assert refusal(floor.put(undo._replace(order="L2")))["found"] == "1 piece made"
    assert refusal(floor.put(undo._replace(order="4713")))["guard"] == "NO_LEADER"
    floor.close_books()


@pytest.mark.parametrize(
    ("orders", "more", "guard"),
    [
        (("4711", "OTHER"), {}, "DIFFERENT_PRODUCT"),
        (("4711", "4711"), {}, "ORIGINALS"),
        (("4711", "GONE"), {}, "ORDER_OPEN"),
        (("4711", "4712"), {"taken": ("L1",)}, "LEADER_NAME"),
        (("4711", "4712"), {"ratios": (1,)}, "RATIO"),
        (("4711", "AWAY"), {}, "DIFFERENT_OPERATION"),
        (("4711", "4712"), {"role": ActorRole.OPERATOR}, "ROLE_NOT_ALLOWED"),
    ],
)
def test_what_cannot_be_merged_says_why_and_changes_nothing(floor, orders, more, guard):
    floor.at("1 s")
    originals(floor)
    floor.order("OTHER", 10, product="ART-2")
    floor.order("AWAY", 10, source="erp2")
    before = floor.state
    told = refusal(merge(floor, "L1", *orders, **more))
    assert told["guard"] == guard
    assert floor.state._replace(journal_seq=0) == before._replace(journal_seq=0)


def test_a_leader_is_neither_split_nor_cancelled_nor_opened_again(floor):
    floor.at("1 s")
    originals(floor)
    merge(floor, "L1", "4711", "4712")
    assert refusal(split(floor, "L1", 100, 10))["guard"] == "LEADER"
    assert "undo the merge" in refusal(floor.says("cancel", "L1", role=ActorRole.PLANNER))["reason"]
    floor.says("start", "L1")
    floor.make(110)
    assert "led" in refusal(floor.says("reopen", "L1"))["reason"]


# --- counting source -------------------------------------------------------------------------------------------------


def report(floor, order, good=0, scrap=0, rework=0, reason=""):
    return floor.put(ReportEntry(floor.now_ns, order, "", good, scrap, rework, reason, "ann"))


def test_where_people_count_the_machine_adds_nothing(rig):
    floor = rig(GOOD, orders=OrderRule(choose="command", counting_source="operator"))
    floor.make(0)
    floor.at("1 s").order("4711", 50)
    assert refusal(report(floor, "4711", 5))["guard"] == "NOT_STARTED"
    floor.says("start", "4711")
    floor.at("2 s").make(40)
    assert sum(floor.state.counted) == 0
    report(floor, "4711", 30, 4, 0, "BENT")
    floor.at("3 s")
    report(floor, "4711", 16)
    (confirmation,) = floor.all(Confirmation)
    assert (confirmation.good, confirmation.scrap, confirmation.cycles, confirmation.origin) == (46, 4, 40, "operator")
    assert confirmation.scrap_reasons == (("BENT", 4),)
    assert confirmation.kind == "final"
    floor.close_books()


def test_where_the_machine_counts_scrap_is_said_of_what_it_counted(floor):
    floor.at("1 s").order("4711", 50)
    floor.says("start", "4711")
    floor.make(10)
    told = refusal(report(floor, "4711", 1, 2))
    assert told["guard"] == "COUNTED_BY_MACHINE"
    report(floor, "4711", 0, 2, 1, "BENT")
    run = floor.state.running
    assert (run.open_good, run.open_scrap, run.open_rework) == (7, 2, 1)
    assert refusal(report(floor, "4711", 0, 8))["guard"] == "OPEN_PIECES"
    assert refusal(report(floor, "4711"))["guard"] == "PIECES"
    floor.close_books()


# --- nothing is made or lost -----------------------------------------------------------------------------------------

WORDS = st.lists(
    st.tuples(
        st.sampled_from(("make",) * 6 + ("scrap", "start", "start", "interrupt", "finish", "order", "order"))
        | st.sampled_from(("split", "merge", "merge", "unmerge", "allocate", "write off", "hold", "release")),
        st.integers(0, 7),
        st.integers(0, 12),
    ),
    max_size=50,
)


def played(floor, what, which, number, leader):
    """One word of a history."""
    names = [run.job.order for run in floor.state.open_runs()] or ["none"]
    name = names[which % len(names)]
    match what:
        case "make" | "scrap":
            floor.make(number, "plc.good" if what == "make" else "plc.scrap")
        case "order":
            floor.order("ABCDEFGH"[which], number + 1)
        case "split":
            run = next((one for one in floor.state.open_runs() if one.job.order == name), None)
            left = 0 if run is None else int(run.job.quantity) - run.good - run.scrap
            split(floor, name, number, left - number, taken=tuple(key[0] for key in floor.records))
        case "merge":
            merge(floor, leader, *names[which % len(names) :][:3])
        case "unmerge":
            floor.put(UnmergeEntry(floor.now_ns, name, "", "", "ann"))
        case "allocate" | "write off":
            order = name if what == "allocate" else ""
            known = floor.records.get((order, "0010"))
            floor.put(AllocateEntry(floor.now_ns, order, "", number, Role.GOOD, "by hand", "ann", known=known))
        case _:
            floor.says(what, name)


@given(WORDS, st.sampled_from((None, 5)), st.booleans(), st.sampled_from(("by_open_qty", "sequential_by_due_date")))
@settings(max_examples=150)
def test_no_piece_is_made_or_lost_by_division_and_allocation(rig, words, every, restart, how):
    """Role by role every counted piece is confirmed, open, unallocated or written off; keys are given out once."""
    orders = OrderRule(choose="command", distribution=how)
    floor = rig(GOOD, SCRAP, orders=orders, confirm=ConfirmRule(every_pieces=every))
    floor.make(0)
    floor.make(0, "plc.scrap")
    made = 0
    for at, (what, which, number) in enumerate(words):
        floor.now_ns += S
        played(floor, what, which, number, f"L{at}")
        made += number if what in ("make", "scrap") else 0
        if restart:
            floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
            floor.make(0)
            floor.make(0, "plc.scrap")
        floor.close_books()
    assert sum(floor.state.counted) == made
    confirmations = floor.all(Confirmation)
    keys = [one.key for one in confirmations]
    assert len(keys) == len(set(keys))
    lanes = {}
    for one in confirmations:
        assert min(getattr(one, role) for role in Role) >= 0
        lanes.setdefault(one.job.key, []).append(one)
    for lane in lanes.values():
        assert [one.seq for one in lane] == list(range(1, len(lane) + 1))
        assert [one.total_good for one in lane][-1] == sum(one.good for one in lane)


# --- what the ERP was told by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("counts", "remaining"), [("good", 50), ("good_plus_scrap", 45)])
def test_children_get_what_remains_without_what_was_confirmed_in_the_erp(rig, counts, remaining):
    floor = rig(GOOD, SCRAP, orders=OrderRule(choose="command", target_counts=counts))
    floor.make(0)
    floor.at("1 s").order("4711", 100)
    floor.says("start", "4711")
    floor.make(30)
    floor.says("interrupt", "4711")
    in_the_erp(floor, "4711", 20, 5)
    told = refusal(split(floor, "4711", 40, 30))
    assert (told["guard"], told["allowed"]) == ("SPLIT_SUM", f"{remaining} (remaining quantity)")
    split(floor, "4711", remaining - 10, 10)
    assert [floor.records[f"4711-00{at}", "0010"].job.quantity for at in (1, 2)] == [remaining - 10, 10]
    assert external(floor, "4711") == (20, 5, 0), "it stays the whole's"
    assert [external(floor, f"4711-00{at}") for at in (1, 2)] == [(0, 0, 0)] * 2, "and is no child's besides"
    for child, pieces in (("4711-001", remaining - 10), ("4711-002", 10)):
        floor.says("start", child)
        floor.make(pieces)
    assert floor.confirmed[-1] == ("4711-002", 1, 10, "final", "target reached")
    floor.close_books()


def test_an_order_that_is_full_by_what_the_erp_was_told_is_neither_split_nor_merged(rig):
    floor = rig(GOOD, orders=OrderRule(choose="command", at_target="continue"))  # else it is gone by that
    floor.at("1 s").order("A", 100)
    floor.order("B", 100)
    in_the_erp(floor, "A", 100)
    told = refusal(split(floor, "A", 60, 40))
    assert (told["guard"], told["found"]) == ("NOTHING_REMAINS", "100 of 100 made or confirmed in the ERP")
    assert refusal(merge(floor, "L", "A", "B"))["guard"] == "NOTHING_REMAINS"


def test_a_leader_is_shared_by_what_its_originals_want_without_what_was_confirmed_in_the_erp(floor):
    floor.at("1 s").order("A", 60)
    floor.order("B", 60)
    in_the_erp(floor, "A", 40)
    merge(floor, "L", "A", "B")
    assert floor.records["L", "0010"].job.quantity == 80
    floor.says("start", "L")
    floor.make(80)
    assert booked_by_order(floor) == {"A": 20, "B": 60}
    assert [one.over_target for one in floor.all(Confirmation)] == [False, False]
    assert [(floor.records[one, "0010"].good, external(floor, one)[0]) for one in "AB"] == [(20, 40), (60, 0)]
    floor.close_books()


def test_what_the_erp_was_told_of_an_original_is_taken_over_in_its_leaders_place(floor):
    """The leader makes less, and none of its pieces goes to whom it is no longer due."""
    floor.at("1 s").order("A", 60)
    floor.order("B", 60)
    merge(floor, "L", "A", "B")
    outputs = in_the_erp(floor, "A", 38, 2, 1)
    assert [one.record.job.order for one in outputs if hasattr(one, "record")] == ["A", "L"]
    assert (external(floor, "A"), floor.records["A", "0010"].state) == ((38, 2, 1), JobOrderState.MERGED)
    floor.state = snapshot.decode(floor.unit, json.loads(json.dumps(snapshot.encode(floor.unit, floor.state))))
    floor.says("start", "L")
    floor.make(79)
    assert floor.running == "L"
    floor.make(1)
    assert floor.running is None, "it is full with 80 of 120"
    assert booked_by_order(floor) == {"A": 20, "B": 60}
    floor.close_books()


def test_an_original_keeps_what_its_leader_gave_it_whatever_the_erp_was_told(floor):
    floor.at("1 s").order("A", 60)
    floor.order("B", 60)
    merge(floor, "L", "A", "B")
    floor.says("start", "L")
    floor.make(60)
    floor.says("interrupt", "L")
    assert booked_by_order(floor) == {"A": 30, "B": 30}
    in_the_erp(floor, "A", 50)  # 20 more than it still wants
    floor.says("start", "L")
    floor.make(30)
    assert floor.running is None, "the other one has its 60, and not one less"
    assert booked_by_order(floor) == {"A": 30, "B": 60}
    assert external(floor, "A") == (50, 0, 0)
    floor.close_books()


def test_a_merge_that_is_undone_leaves_what_the_erp_was_told_with_its_original(floor):
    floor.at("1 s").order("A", 60)
    floor.order("B", 60)
    merge(floor, "L", "A", "B")
    in_the_erp(floor, "A", 40)
    floor.put(UnmergeEntry(floor.now_ns, "L", "", "rush", "ann"))
    floor.says("start", "A")
    floor.make(20)
    assert booked_by_order(floor) == {"A": 20}
    assert external(floor, "A") == (40, 0, 0)


@pytest.mark.parametrize(
    ("told", "children"),
    [
        ((30, 0, 0), {"4711-002": (30, 0, 0)}),
        ((50, 3, 1), {"4711-001": (10, 3, 0), "4711-002": (40, 0, 1)}),
        ((120, 0, 0), {"4711-001": (60, 0, 0), "4711-002": (60, 0, 0)}),  # 20 more than all of them want
    ],
)
def test_what_the_erp_was_told_of_a_split_order_counts_for_its_children(floor, told, children):
    """It knows no children: the last one makes less first, as far as it still wants pieces."""
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    in_the_erp(floor, "4711", *told)
    assert {one: external(floor, one) for one in ("4711-001", "4711-002") if any(external(floor, one))} == children
    floor.state = snapshot.decode(floor.unit, json.loads(json.dumps(snapshot.encode(floor.unit, floor.state))))
    left = 60 - sum(children.get("4711-001", (0,)))
    if left:
        floor.says("start", "4711-001")
        floor.make(left - 1)
        assert floor.running == "4711-001"
        floor.make(1)
        assert booked_by_order(floor) == {"4711-001": left}


def test_a_part_of_which_nothing_is_left_leaves_the_end_to_its_sibling(floor):
    floor.at("1 s").order("4711", 100)
    split(floor, "4711", 60, 40)
    in_the_erp(floor, "4711", 40)
    assert (floor.queued, floor.confirmed) == (["4711-001"], [])
    floor.says("start", "4711-001")
    floor.make(60)
    assert floor.confirmed == [("4711-001", 1, 60, "final", "target reached")]
    floor.close_books()


def test_originals_of_which_nothing_is_left_go_once_their_leader_is_taken_apart(floor):
    floor.at("1 s").order("A", 60)
    floor.order("B", 60)
    merge(floor, "L", "A", "B")
    in_the_erp(floor, "A", 60)
    in_the_erp(floor, "B", 20)
    floor.put(UnmergeEntry(floor.now_ns, "L", "", "A is there", "ann"))
    assert floor.queued == ["B"]
    assert (floor.records["A", "0010"].state, external(floor, "A")) == (JobOrderState.CANCELLED, (60, 0, 0))


def test_a_child_under_a_leader_takes_its_part_of_what_the_erp_was_told(floor):
    floor.at("1 s").order("A", 100)
    floor.order("B", 50)
    split(floor, "A", 60, 40)
    merge(floor, "L", "A-002", "B")
    in_the_erp(floor, "A", 45)
    assert [external(floor, one)[0] for one in ("A-001", "A-002")] == [5, 40]
    floor.says("start", "L")
    floor.make(50)
    assert floor.running != "L"
    assert booked_by_order(floor) == {"A-002": 0, "B": 50}
