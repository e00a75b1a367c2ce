"""Which order runs, and whose the pieces are: by sequence and by a person."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core.model import Confirmation, JobChanged, JobOrderState, JobRecord, OrderReceived, PiecesProduced, Role
from gateway.core.orders import dispatch
from gateway.core.orders.lifecycle import TRANSITIONS
from gateway.core.orders.order_changes import AckKind
from gateway.core.rules import CounterRule, OrderRule, PulseRule

SEQUENCE = {"orders": OrderRule()}
COMMAND = {"orders": OrderRule(choose="command")}
CONTINUE = {"orders": OrderRule(at_target="continue")}
GOOD = CounterRule(mode="counter", signal="plc.good")
SCRAP = CounterRule(mode="counter", signal="plc.scrap", role=Role.SCRAP)
REWORK = CounterRule(mode="counter", signal="plc.rework", role=Role.REWORK)


# --- by sequence ---------------------------------------------------------------------------------------------------


def test_the_first_order_starts_by_itself_and_the_next_follows_at_its_target(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 5)
    floor.order("B", 5)
    assert (floor.running, floor.queued) == ("A", ["B"])
    floor.make(5)
    assert (floor.running, floor.queued) == ("B", [])
    assert floor.confirmed == [("A", 1, 5, "final", "target reached")]
    changes = [(c.record.job.order, c.previous, c.record.state, c.trigger) for c in floor.all(JobChanged)]
    assert changes == [
        ("A", None, "RELEASED", "released by the ERP"),
        ("A", "RELEASED", "DISPATCHED", "released by the ERP"),
        ("A", "DISPATCHED", "IN_PROGRESS", "next in sequence"),
        ("B", None, "RELEASED", "released by the ERP"),
        ("B", "RELEASED", "DISPATCHED", "released by the ERP"),
        ("A", "IN_PROGRESS", "COMPLETED", "target reached"),
        ("B", "DISPATCHED", "IN_PROGRESS", "next in sequence"),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"A": {"sequence_no": 2}, "B": {"sequence_no": 1}}, ["B", "A"]),
        ({"A": {"planned_start_ns": 9}, "B": {"planned_start_ns": 5}}, ["B", "A"]),
        ({"A": {"sequence_no": 1, "planned_start_ns": 9}, "B": {"sequence_no": 2, "planned_start_ns": 5}}, ["A", "B"]),
        ({"B": {}, "A": {}}, ["A", "B"]),
        ({"A": {"operation": "0020"}, "A ": {"order": "A", "operation": "0010"}}, ["A", "A"]),
    ],
)
def test_the_queue_is_in_the_order_of_the_plan(rig, job, fields, expected):
    floor = rig(**COMMAND)
    for name, more in fields.items():
        floor.receive(job(**{"order": name, **more}))
    assert floor.queued == expected
    operations = [run.job.operation for run in floor.state.queue]
    assert operations == sorted(operations)


def test_excess_pieces_belong_to_the_next_orders_and_then_to_nobody(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 5)
    floor.order("B", 3)
    floor.make(10)
    assert floor.booked == [("A", 5), ("B", 3), (None, 2)]
    assert [(c.job.order, c.good, c.cycles) for c in floor.all(Confirmation)] == [("A", 5, 10), ("B", 3, 0)]
    assert floor.state.unallocated.good == 2
    assert floor.running is None


def test_pieces_before_any_order_stay_unallocated(rig):
    floor = rig(**SEQUENCE)
    floor.make(4)
    since = floor.state.unallocated_since_ns
    floor.at("1 min").make(1)
    floor.at("2 min").order("A", 5)
    floor.make(5)
    assert floor.booked == [(None, 4), (None, 1), ("A", 5)]
    assert floor.state.unallocated.good == 5
    assert floor.state.unallocated_since_ns == since
    assert floor.confirmed == [("A", 1, 5, "final", "target reached")]


def test_an_order_may_run_over_its_target(rig):
    floor = rig(**CONTINUE)
    floor.order("A", 5)
    floor.order("B", 5)
    floor.make(12)
    assert (floor.running, floor.booked) == ("A", [("A", 12)])
    floor.says("finish", "A")
    assert floor.confirmed == [("A", 1, 12, "final", "finish by ann")]
    assert floor.running == "B"


@pytest.mark.parametrize(("quantity", "pieces"), [("10.5", 11), ("10", 10), ("0.001", 1)])
def test_a_broken_quantity_is_reached_by_the_piece_that_passes_it(rig, quantity, pieces):
    floor = rig(**SEQUENCE)
    floor.order("A", quantity)
    floor.make(pieces - 1)
    assert floor.running == "A"
    floor.make(1)
    assert floor.running is None


@pytest.mark.parametrize(
    ("target_counts", "taken"),
    [
        ("good_plus_scrap", [("A", "scrap", 3), ("A", "good", 7), ("B", "good", 3)]),
        ("good", [("A", "scrap", 3), ("A", "good", 10)]),
    ],
)
def test_what_counts_for_the_target(rig, target_counts, taken):
    floor = rig(GOOD, SCRAP, orders=OrderRule(target_counts=target_counts))
    floor.order("A", 10)
    floor.order("B", 10)
    floor.make(0)
    floor.make(3, "plc.scrap")
    floor.make(10)
    assert [(p.order, p.role, p.pieces) for p in floor.all(PiecesProduced)] == taken
    assert floor.running == "B"


def test_scrap_beyond_the_target_goes_to_the_next_order_too(rig):
    floor = rig(GOOD, SCRAP, orders=OrderRule())
    floor.order("A", 4)
    floor.order("B", 4)
    floor.make(3)
    floor.make(3, "plc.scrap")
    assert [(p.order, p.role, p.pieces) for p in floor.all(PiecesProduced)] == [
        ("A", "good", 3),
        ("A", "scrap", 1),
        ("B", "scrap", 2),
    ]


def test_rework_never_fills_an_order(rig):
    floor = rig(GOOD, REWORK, orders=OrderRule())
    floor.order("A", 4)
    floor.make(9, "plc.rework")
    assert floor.running == "A"
    floor.make(4)
    (final,) = floor.all(Confirmation)
    assert (final.good, final.rework) == (4, 9)


# --- by a person ---------------------------------------------------------------------------------------------------


def test_a_person_starts_and_another_start_interrupts(rig):
    floor = rig(**COMMAND)
    floor.order("A", 10)
    floor.order("B", 10)
    assert floor.running is None
    floor.says("start", "A")
    floor.make(3)
    floor.says("start", "B")
    assert (floor.running, floor.queued) == ("B", ["A"])
    assert floor.confirmed == [("A", 1, 3, "partial", "interruption")]
    assert floor.records["A", "0010"].state is JobOrderState.INTERRUPTED
    floor.make(2)
    floor.says("start", "A")
    floor.make(7)
    assert floor.confirmed[1:] == [("B", 1, 2, "partial", "interruption"), ("A", 2, 7, "final", "target reached")]
    assert floor.running is None, "nothing starts by itself"


def test_interrupted_by_a_person_waits_for_a_person(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 10)
    floor.order("B", 2)
    floor.make(1)
    floor.says("interrupt", "A")
    assert (floor.running, floor.queued) == ("B", ["A"])
    floor.make(2)
    assert (floor.running, floor.queued) == (None, ["A"])
    floor.make(1)
    assert floor.booked[-1] == (None, 1)
    floor.says("start", "A")
    floor.make(9)
    assert floor.confirmed[-1] == ("A", 2, 9, "final", "target reached")


def test_interrupted_by_another_start_comes_back_by_itself(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 10)
    floor.order("B", 2)
    floor.says("start", "B")
    assert floor.running == "B"
    floor.make(2)
    assert floor.running == "A"


def test_finish_ends_a_running_or_interrupted_order_for_ever(rig):
    floor = rig(**COMMAND)
    floor.order("A", 10)
    floor.says("start", "A")
    floor.make(4)
    floor.says("interrupt", "A")
    floor.says("finish", "A")
    assert floor.confirmed == [("A", 1, 4, "partial", "interruption"), ("A", 2, 0, "final", "finish by ann")]
    assert floor.records["A", "0010"].state is JobOrderState.COMPLETED
    floor.order("A", 10)
    assert floor.queued == []
    floor.order("A", 20, revision=2)
    ((code, detail),) = floor.notices
    assert (code, detail["order"]) == ("ORDER_CHANGE_REJECTED", "A")
    assert (
        "found 20, allowed: 10 (operation complete); reopen the operation, or release a new order" in detail["reason"]
    )


SEE = "decide so of an order that is RUNNING; see linegate order list"


@pytest.mark.parametrize(
    ("verb", "order", "operation", "reason"),
    [
        ("start", "A", "0010", "ILLEGAL_TRANSITION: it is running already (IN_PROGRESS); go on with it"),
        (
            "interrupt",
            "B",
            "",
            f"ILLEGAL_TRANSITION: it is not running but DISPATCHED; {SEE}",
        ),
        (
            "finish",
            "B",
            "",
            "ILLEGAL_TRANSITION: it has not been started (DISPATCHED); start it first, or have it cancelled",
        ),
        ("start", "Z", "", "order Z is not open at this work unit; open orders: A/0010, A/0020, B/0010"),
        ("start", "A", "0099", "order A/0099 is not open at this work unit; open orders: A/0010, A/0020, B/0010"),
        ("start", "A", "", "order A has several operations here: 0010, 0020; name one"),
    ],
)
def test_a_refused_command_says_why_and_changes_nothing(rig, verb, order, operation, reason):
    floor = rig(**COMMAND)
    floor.order("A", 10)
    floor.order("A", 10, operation="0020")
    floor.order("B", 10)
    floor.says("start", "A", "0010")
    before = floor.state
    floor.says(verb, order, operation)
    ((code, detail),) = floor.notices
    assert (code, detail["reason"]) == ("REFUSED", reason)
    assert floor.state._replace(journal_seq=0) == before._replace(journal_seq=0)


def test_refused_where_nothing_is_open(rig):
    floor = rig(**COMMAND)
    floor.says("finish", "A")
    ((code, detail),) = floor.notices
    assert (code, detail["reason"]) == ("REFUSED", "order A is not open at this work unit; open orders: none")
    assert (detail["guard"], detail["found"], detail["allowed"]) == ("ORDER_OPEN", "A", "none")
    assert detail["what_to_do"]


# --- the ERP changes its mind --------------------------------------------------------------------------------------


def test_cancelled_before_it_started(rig):
    floor = rig(**COMMAND)
    floor.order("A", 10)
    floor.order("A", 10, cancelled=True)
    assert (floor.queued, floor.confirmed) == ([], [])
    assert floor.records["A", "0010"].state is JobOrderState.CANCELLED
    floor.order("A", 10)
    assert floor.queued == [], "the same revision does not bring it back"
    floor.order("A", 10, revision=2)
    assert floor.queued == [], "nor does another one: cancelled is an end"
    assert "ORDER_ENDED" in floor.notices[-1][1]["reason"]


def test_cancelled_while_running_confirms_what_was_made(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 10)
    floor.order("B", 10)
    floor.make(4)
    floor.order("A", 10, cancelled=True)
    assert floor.confirmed == [("A", 1, 4, "partial", "cancelled by the ERP")]
    assert floor.records["A", "0010"].state is JobOrderState.CANCELLED
    assert floor.records["A", "0010"].seq == 1
    assert floor.running == "B"
    floor.order("A", 10, cancelled=True)
    assert len(floor.confirmed) == 1


def test_the_withdrawal_of_an_order_that_was_never_seen_is_answered_and_changes_nothing(rig):
    floor = rig(**SEQUENCE)
    (ack,) = floor.order("A", 10, cancelled=True)
    assert (ack.kind, ack.held_revision, ack.operation) == (AckKind.UNKNOWN_ORDER, None, "0010")
    assert floor.state.queue == ()


def test_an_old_or_equal_revision_changes_nothing(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 10, revision=3)
    (late,), (other,) = floor.order("A", 99, revision=2), floor.order("A", 99, revision=3)
    assert (late.kind, late.held_revision, other.kind) == (AckKind.STALE, 3, AckKind.STALE)
    (again,) = floor.order("A", 10, revision=3)
    assert again.kind is AckKind.DUPLICATE
    assert floor.state.running.job.quantity == 10


def test_a_newer_revision_changes_the_target_while_it_runs(rig):
    floor = rig(**SEQUENCE)
    floor.order("A", 10)
    floor.make(6)
    floor.order("A", 20, revision=2)
    assert (floor.state.running.job.quantity, floor.state.running.good) == (20, 6)
    floor.order("A", 6, revision=3)
    assert floor.confirmed == [("A", 1, 6, "final", "target reached")]
    assert floor.all(Confirmation)[0].job.revision == 3


def test_a_newer_revision_of_a_waiting_order_moves_it(rig):
    floor = rig(**COMMAND)
    floor.order("A", 10, sequence_no=1)
    floor.order("B", 10, sequence_no=2)
    floor.order("A", 10, sequence_no=3, revision=2, product="ART-2", uom="KG")
    assert floor.queued == ["B", "A"]
    assert floor.notices == [], "nothing was made: product and unit may change"


@pytest.mark.parametrize("change", [{"product": "ART-2"}, {"uom": "KG"}])
def test_a_started_order_keeps_its_product_and_unit(rig, change):
    floor = rig(**SEQUENCE)
    floor.order("A", 10)
    floor.order("A", 20, revision=2, **change)
    assert floor.state.running.job.revision == 1
    ((code, detail),) = floor.notices
    assert (code, detail["order"], detail["operation"]) == ("ORDER_CHANGE_REJECTED", "A", "0010")
    ((field, other),) = change.items()
    assert detail["reason"].startswith(f"CLOSE_AND_CREATE_NEW: {field}: found {other}, allowed: ")
    assert detail["reason"].endswith("; close this order and release a new one")


def test_an_order_that_comes_back_goes_on_with_its_numbers(rig, job):
    floor = rig(**SEQUENCE)
    known = JobRecord(job("A", 10), JobOrderState.RELEASED, 7, 4, 0, 0, "abc")
    floor.records["A", "0010"] = known
    floor.order("A", 10, revision=2)
    floor.make(6)
    (final,) = floor.all(Confirmation)
    assert (final.seq, final.good, final.total_good, final.previous_digest) == (8, 6, 10, "abc")


def test_a_timer_that_ends_an_order_right_before_its_new_image_is_known_to_it(rig, job):
    """The image's number of the last confirmation was looked up before: taking it would give that number out twice."""
    floor = rig(PulseRule(mode="pulse", signal="box.n"), **SEQUENCE)
    floor.value("box.n", 0)
    floor.receive(job("A", 1))
    looked_up = floor.records["A", "0010"]
    floor.at("1 s").value("box.n", 1)  # believed once it held for 5 ms
    floor.at("2 s").put(OrderReceived(floor.now_ns, job("A", 10, revision=2), looked_up))
    assert floor.confirmed == [("A", 1, 1, "final", "target reached")]
    floor.close_books()
    assert (floor.records["A", "0010"].seq, floor.records["A", "0010"].good) == (1, 1)


def test_an_order_that_comes_back_full_ends_with_the_next_piece_of_any_role(rig, job):
    """A good piece belongs to the next order; rework is work on this one."""
    for signal, expected in (("plc.good", [("B", 1)]), ("plc.rework", [("A", 1)])):
        floor = rig(GOOD, REWORK, orders=OrderRule())
        floor.records["A", "0010"] = JobRecord(job("A", 10), JobOrderState.RELEASED, 1, 10, 0, 0, "abc")
        floor.order("A", 10, revision=2)
        floor.order("B", 10)
        floor.make(1, signal)
        assert (floor.booked, floor.running) == (expected, "B")
        assert floor.confirmed[0][:2] == ("A", 2)


def test_the_queue_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(dispatch, "JOB_QUEUE_MAX", 2)
    floor = rig(**COMMAND)
    for name in ("A", "B", "C"):
        floor.order(name, 1)
    assert floor.queued == ["A", "B"]
    assert floor.notices == [("JOB_QUEUE_FULL", {"order": "C", "operation": "0010", "limit": "2"})]
    assert ("C", "0010") not in floor.records, "it is taken when there is room"


def test_quantities_stay_decimal(rig):
    floor = rig(**COMMAND)
    floor.order("A", "10.50")
    assert floor.state.queue[0].job.quantity == Decimal("10.50")


def test_every_change_of_a_long_run_is_an_allowed_pair(rig):
    floor = rig(**SEQUENCE)
    pairs = {(one.state_from, one.state_to) for one in TRANSITIONS}
    for number in range(12):
        floor.order(f"O{number}", 3)
        floor.make(4)
        if number % 4 == 0 and floor.running:
            floor.says("interrupt", floor.running)
    changes = floor.all(JobChanged)
    assert len(changes) > 30
    for one in changes:
        before, after = one.previous, one.record.state
        assert before is after or (before, after) in pairs, one
