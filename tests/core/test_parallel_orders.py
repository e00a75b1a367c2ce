"""Several orders at once on one machine: pieces go by their part, each order has its own numbers and its own end."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import snapshot
from gateway.core.duration import Duration
from gateway.core.model import Confirmation, JobOrderState, Role, UnknownInterval
from gateway.core.rate import Rate
from gateway.core.rules import ConfirmRule, CounterRule, OrderRule, StateRule, WorkUnitRules
from gateway.core.rules_pieces import CavityRule
from gateway.core.rules_state import SetupRule

S = JobOrderState
LEFT = CounterRule(mode="counter", signal="plc.left")
RIGHT = CounterRule(mode="counter", signal="plc.right")
BAD_LEFT = CounterRule(mode="counter", signal="plc.bad", role=Role.SCRAP)
PARTS = {"plc.left": "L", "plc.right": "R", "plc.bad": "L"}
BOTH = OrderRule(max_parallel_orders=2, parts=PARTS)
FAMILY = CavityRule(
    mode="cavity", cycle=CounterRule(mode="counter", signal="plc.shots"), cavities=3, parts={"L": (1, 2), "R": (3,)}
)


@pytest.fixture
def press(rig):
    """``press(**rules)`` is a machine with counters for two parts."""

    def make(**rules):
        made = rig(LEFT, RIGHT, BAD_LEFT, **{"orders": BOTH} | rules)
        for signal in PARTS:
            made.make(0, signal)
        return made

    return make


def at_work(floor):
    return [run.job.order for run in floor.state.at_work()]


def test_each_part_has_its_order_and_its_end(press):
    floor = press(confirm=ConfirmRule(every_pieces=4))
    floor.order("A", 6, product="L")
    floor.order("B", 3, product="R")
    floor.order("C", 9, product="L", sequence_no=1)
    assert (at_work(floor), floor.queued) == (["A", "B"], ["C"])
    floor.make(2, "plc.left")
    floor.make(1, "plc.right")
    floor.make(1, "plc.bad")
    assert floor.booked == [("A", 2), ("B", 1), ("A", 1)]
    floor.make(2, "plc.right")
    assert at_work(floor) == ["A"]
    assert floor.confirmed == [("B", 1, 3, "final", "target reached")]
    floor.make(5, "plc.left")
    assert at_work(floor) == ["C"], "the next one of the part that is free, and what was too much is its own"
    assert floor.confirmed[1:] == [("A", 1, 5, "final", "target reached")]
    assert floor.state.running.good == 2
    floor.make(4, "plc.right")
    assert floor.state.unallocated.good == 4, "nobody makes that part"
    floor.close_books()


def test_the_leading_order_ends_and_the_other_leads(press):
    floor = press(state=StateRule(setup=SetupRule()))
    floor.order("A", 2, product="L")
    floor.order("B", 9, product="R")
    floor.order("C", 9, product="L", sequence_no=1)
    floor.make(1, "plc.right")
    floor.make(2, "plc.left")
    assert at_work(floor) == ["B", "C"]
    assert {run.state for run in floor.state.at_work()} == {S.IN_PROGRESS}, "one tool makes both parts: no setup"
    assert floor.state.track.setup.since_ns is None
    floor.close_books()


def test_a_family_tool_feeds_both_orders_with_one_cycle(rig):
    floor = rig(FAMILY, orders=OrderRule(max_parallel_orders=2))
    floor.make(0, "plc.shots")
    floor.order("A", 10, product="L")
    floor.order("B", 10, product="R")
    floor.make(1, "plc.shots")
    floor.make(1, "plc.shots")
    assert [(run.job.order, run.good) for run in floor.state.at_work()] == [("A", 4), ("B", 2)]
    floor.close_books()


@pytest.mark.parametrize(
    ("product", "reason"),
    [
        ("X", "G6 machine free: found order A running, and counts that cannot be told apart"),
        ("L", "G6 machine free: found order A running, and counts that cannot be told apart"),
    ],
)
def test_without_a_part_of_its_own_it_does_not_start(press, product, reason):
    floor = press(orders=OrderRule(choose="command", max_parallel_orders=2, parts=PARTS))
    floor.order("A", 10, product="L")
    floor.order("B", 10, product=product)
    floor.says("start", "A")
    floor.says("start", "B")
    assert floor.notices[-1][1]["reason"].startswith(reason)
    assert at_work(floor) == ["A"]


def test_a_full_machine_takes_no_more(rig):
    third = CounterRule(mode="counter", signal="plc.third")
    parts = {"plc.left": "L", "plc.right": "R", "plc.third": "T"}
    floor = rig(LEFT, RIGHT, third, orders=OrderRule(choose="command", max_parallel_orders=2, parts=parts))
    for order, product in zip("ABC", "LRT", strict=True):
        floor.order(order, 10, product=product)
    floor.says("start", "A")
    floor.says("start", "B")
    floor.says("start", "C")
    assert "2 orders running: A, B" in floor.notices[-1][1]["reason"]
    floor.says("start", "C", interrupt=True)
    assert at_work(floor) == ["B", "C"]
    assert floor.records["A", "0010"].state is S.INTERRUPTED


def test_an_order_that_runs_alone_is_not_walked_around(press):
    floor = press()
    floor.order("A", 2, product="L")
    floor.order("B", 5, product="X", sequence_no=1)
    floor.order("C", 5, product="R", sequence_no=2)
    assert at_work(floor) == ["A"]
    floor.make(2, "plc.left")
    assert at_work(floor) == ["B"]


def test_one_of_them_is_interrupted_held_finished_alone(press):
    floor = press(orders=OrderRule(choose="command", max_parallel_orders=2, parts=PARTS))
    floor.order("A", 10, product="L")
    floor.order("B", 10, product="R")
    floor.says("start", "A")
    floor.says("start", "B")
    floor.says("hold", "B", reason="crack")
    floor.make(3, "plc.right")
    floor.make(2, "plc.left")
    assert [(run.good, run.hold) for run in floor.state.at_work()] == [(2, 0), (0, 3)]
    floor.says("interrupt", "A")
    assert (at_work(floor), floor.queued) == (["B"], ["A"])
    floor.says("release", "B")
    floor.make(1, "plc.right")
    floor.says("start", "A")
    assert at_work(floor) == ["B", "A"]
    floor.says("finish", "A")
    assert at_work(floor) == ["B"]
    floor.close_books()


def test_late_pieces_go_to_the_order_that_made_that_part(press):
    floor = press(orders=OrderRule(choose="command", max_parallel_orders=2, parts=PARTS))
    floor.order("A", 10, product="L")
    floor.order("B", 10, product="R")
    floor.says("start", "A")
    floor.says("start", "B")
    floor.make(1, "plc.left")
    floor.make(1, "plc.right")
    floor.at("10 s").says("interrupt", "A")
    floor.at("20 s").make(4, "plc.left")
    floor.make(4, "plc.right")
    made = {run.job.order: run.good for run in floor.state.open_runs()}
    assert made == {"A": 3, "B": 5}, "half of four lies before the change; of the other part all is B's"
    floor.close_books()


def test_both_have_their_timers(press):
    floor = press(confirm=ConfirmRule(every=Duration("1 min")))
    floor.order("A", 10, product="L")
    floor.at("10 s").order("B", 10, product="R")
    floor.make(1, "plc.left")
    floor.make(2, "plc.right")
    floor.at("3 min").wait()
    assert [(c.job.order, c.good, c.created_ns) for c in floor.all(Confirmation)] == [
        ("A", 1, floor.now_ns - Duration("2 min")),
        ("B", 2, floor.now_ns - Duration("110 s")),
    ]
    assert floor.unit.next_deadline(floor.state) != floor.now_ns


def test_what_nobody_knows_is_declared_for_the_order_of_the_part(rig):
    right = CounterRule(mode="counter", signal="plc.right", modulus=16, max_rate=Rate.parse("1 /s"))
    floor = rig(LEFT, right, orders=OrderRule(max_parallel_orders=2, parts={"plc.left": "L", "plc.right": "R"}))
    floor.order("A", 100, product="L")
    floor.order("B", 100, product="R")
    floor.value("plc.right", 1)
    floor.at("1 h").value("plc.right", 3)
    assert {one.order for one in floor.all(UnknownInterval)} == {"B"}


@pytest.mark.parametrize(
    ("counters", "orders", "text"),
    [
        ((LEFT, RIGHT), {"max_parallel_orders": 2, "parts": {"plc.left": "L"}}, "no part for plc.right"),
        ((LEFT,), {"parts": {"plc.x": "L"}}, "orders.parts: found plc.x, allowed signals of counters: plc.left"),
    ],
)
def test_pieces_that_cannot_be_told_apart_are_refused_in_the_configuration(counters, orders, text):
    with pytest.raises(ValueError, match=text):
        WorkUnitRules(work_center="WC-1", counters=counters, orders=OrderRule(**orders))


@pytest.mark.parametrize(
    "over", [{"choose": "job_signal", "job_signal": "plc.job"}, {"transport_delay_pieces": 3}], ids=str
)
def test_what_does_not_go_with_parallel_orders(over):
    with pytest.raises(ValueError, match=r"allowed (1 with choose: job_signal|0 with several orders)"):
        OrderRule(max_parallel_orders=2, **over)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_no_piece_is_lost_whatever_comes(rig, seed):
    """Random hours: the books are right after every step, and what is stored is all there is."""
    choice = random.Random(seed)
    floor = rig(LEFT, RIGHT, BAD_LEFT, orders=BOTH, confirm=ConfirmRule(every_pieces=7, every=Duration("1 min")))
    for signal in PARTS:
        floor.make(0, signal)
    for number in range(60):
        floor.now_ns += choice.choice((0, 1, 30)) * 1_000_000_000
        order = f"O-{choice.randint(0, 7)}"
        match choice.choice(("make",) * 6 + ("order", "order", "say", "say")):
            case "make":
                floor.make(choice.choice((0, 1, 1, 3)), choice.choice(list(PARTS)))
            case "order":
                floor.order(f"O-{number % 8}", choice.choice((2, 9)), product=choice.choice("LLRRX"))
            case _:
                verb = choice.choice(("start", "interrupt", "finish", "hold", "release", "rush"))
                floor.says(verb, order, reason="r", interrupt=verb == "start" and choice.random() < 0.5)
        floor.close_books()
        assert len(floor.state.at_work()) <= 2
    assert snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state)) == floor.unit.restored(floor.state)


SHARED = {
    "by_piece": ({}, 40, 20),
    "equal": ({"machine_time": "equal"}, 30, 30),
    "by_weight": ({"machine_time": "by_weight", "weights": {"L": "1", "R": "4"}}, 20, 40),
    "leading_order": ({"machine_time": "leading_order", "leading_part": "R"}, 0, 60),
}


@pytest.mark.parametrize("how", SHARED)
def test_orders_that_run_together_share_the_machine(rig, how):
    more, left, right = SHARED[how]
    floor = rig(
        replace(FAMILY, **more),
        ideal_cycle=Duration("10 s"),
        orders=OrderRule(max_parallel_orders=2),
        confirm=ConfirmRule(min_interval=Duration("0 s")),
    )
    floor.make(0, "plc.shots")
    floor.order("A", 100_000, product="L")
    floor.order("B", 100_000, product="R")
    for _ in range(360):
        floor.now_ns += Duration("10 s")
        floor.make(1, "plc.shots")
        if floor.now_ns % 7 == 0:
            floor.state = snapshot.load(floor.unit, snapshot.dump(floor.unit, floor.state))
    floor.says("finish", "A")
    minutes = {one.job.order: one.work.minutes.machine for one in floor.all(Confirmation)}
    assert minutes.get("A", 0) == left
    for _ in range(6):
        floor.now_ns += Duration("10 s")
        floor.make(1, "plc.shots")
    floor.says("finish", "B")
    minutes = {one.job.order: one.work.minutes.machine for one in floor.all(Confirmation)}
    assert minutes["B"] == right + 1, "alone it has all of it"
    assert len(floor.state.work.together) <= 4
    floor.close_books()


def test_counters_with_parts_of_their_own_share_it_equally(press):
    floor = press(ideal_cycle=Duration("10 s"), confirm=ConfirmRule(min_interval=Duration("0 s")))
    floor.order("A", 100_000, product="L")
    floor.order("B", 100_000, product="R")
    for _ in range(36):
        floor.now_ns += Duration("10 s")
        floor.make(1, "plc.left")
        floor.make(3, "plc.right")
    for order in "AB":
        floor.says("finish", order)
    assert [one.work.minutes.machine for one in floor.all(Confirmation)] == [3, 3]
