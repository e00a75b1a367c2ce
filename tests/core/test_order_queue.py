"""The dispatch queue: data/order_queue.txt line by line; rush orders; the sequence that is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import JobOrderState
from gateway.core.orders.guards import Guard, GuardFacts, GuardRefusal, check
from gateway.core.orders.queue import (
    QUEUE_MAX,
    AdvanceFacts,
    Propose,
    QueueEntry,
    Start,
    Wait,
    ahead,
    entry_from,
    head,
    insert_rush,
    next_order,
    ordered,
    rank,
)
from gateway.core.rules_orders import GuardRule, OrderBookRule

TABLE = Path(__file__).parent / "data" / "order_queue.txt"
S = JobOrderState
ENTRY = re.compile(r"([A-Z])(?:\[(.*?)\])?(?: |$)")
NUMBERS = {"seq": "sequence_no", "prio": "priority", "at": "planned_start_ns", "rush": "rush_no"}


def entry(name, text=""):
    told = dict(pair.partition("=")[::2] for pair in (text or "").split(",") if pair)
    state = S.ON_HOLD if "on_hold" in told else S.INTERRUPTED if "interrupted" in told else S.DISPATCHED
    return QueueEntry(
        name,
        "0010",
        state,
        resumes="resumes" in told,
        waits_for_person="person" in told,
        holds=(told["hold"],) if "hold" in told else (),
        tool=told.get("tool", ""),
        setup_planned="setup" in told,
        lots_missing=(told["lot"],) if "lot" in told else (),
        **{field: int(told[short]) for short, field in NUMBERS.items() if short in told},
    )


def entries(text):
    return tuple(entry(name, fields) for name, fields in ENTRY.findall(text.strip()))


def lines(kind):
    for line in TABLE.read_text().splitlines():
        if line.startswith(f"{kind} "):
            given, _, expected = line.removeprefix(kind).rpartition(" = ")
            yield pytest.param(given.strip(), expected.strip(), id=" ".join(given.split()))


@pytest.mark.parametrize(("given_", "expected"), list(lines("rank")))
def test_the_sequence(given_, expected):
    queue = entries(given_)
    assert [one.order for one in ordered(queue)] == expected.split()
    assert ordered(queue[::-1]) == ordered(queue)


@pytest.mark.parametrize(("given_", "expected"), list(lines("next")))
def test_the_next_order(given_, expected):
    words, _, queue = given_.partition(":")
    mode, *told = words.split()
    facts = dict(pair.split("=") for pair in told)
    objection = GuardRefusal(Guard.G5, facts.get("guard") == "block", "nobody", "skill WELD", "log in")
    decision = next_order(
        entries(queue),
        AdvanceFacts(
            (facts["running"], "0010") if "running" in facts else None,
            facts.get("tool"),
            (objection,) if "guard" in facts else (),
        ),
        mode,
    )
    match decision:
        case Start():
            assert f"start {decision.entry.order} {decision.state_to}" == expected
        case Propose():
            assert f"propose {decision.entry.order} {decision.state_to}" == expected
            assert decision.warnings == ((objection,) if "guard" in facts else ())
        case Wait():
            assert f"wait {decision.reason} {decision.order or '-'}" == expected
            assert decision.order in decision.text


def test_what_stands_in_the_way_is_said():
    wait = next_order(entries("A[lot=ORING]"), AdvanceFacts(), "auto")
    assert wait.text == "order A needs a lot of ORING; scan it at the machine"
    wait = next_order(entries("A[tool=T-2]"), AdvanceFacts(tool="T-1"), "auto")
    assert wait.text == "order A needs tool T-2, found T-1; set the machine up for it"
    wait = next_order(entries("A[hold=Q-7]"), AdvanceFacts(), "auto")
    assert wait.text == "order A is on hold (Q-7); release it, or take it out of the queue"


# --- sequence violations ---------------------------------------------------------------------------------------------


def test_orders_before_it_that_could_start():
    queue = entries("A[seq=1] B[seq=2,on_hold] C[seq=3,lot=ORING] D[seq=4,interrupted,person] E[seq=5] F[seq=6]")
    assert ahead(queue, ("A", "0010")) == ()
    assert ahead(queue, ("E", "0010")) == ("A",)
    assert ahead(queue, ("F", "0010")) == ("A", "E")
    assert ahead(queue, ("Z", "0010")) == ()


@pytest.mark.parametrize("mode", ["warn", "block"])
def test_a_violation_warns_or_blocks(mode):
    facts = GuardFacts(ahead=ahead(entries("A[seq=1] B[seq=2]"), ("B", "0010")))
    (refusal,) = check([Guard.G8], facts, OrderBookRule(guards=GuardRule(sequence=mode)))
    assert refusal.blocks == (mode == "block")
    assert refusal.found == "order A before it"


# --- rush orders -----------------------------------------------------------------------------------------------------


def test_a_rush_order_interrupts_and_what_it_interrupted_comes_next():
    queue = entries("A[seq=1] B[seq=2]")
    inserted = insert_rush(queue, entry("X", "seq=99"), ("R", "0010"))
    assert [one.order for one in inserted.queue] == ["X", "A", "B"]
    assert inserted.interrupt == ("R", "0010")
    resumes = entry("R", "seq=50,interrupted,resumes")
    assert [one.order for one in ordered((*inserted.queue, resumes))] == ["X", "R", "A", "B"]


def test_rush_orders_do_not_interrupt_each_other():
    first = insert_rush(entries("A"), entry("X"), None)
    second = insert_rush(first.queue, entry("Y"), ("R", "0010"))
    assert [one.order for one in second.queue] == ["X", "Y", "A"]
    assert second.interrupt is None
    running = insert_rush(entries("A"), entry("Y"), ("X", "0010"), running_is_rush=True)
    assert running.interrupt is None


def test_an_order_that_waits_becomes_a_rush_order():
    inserted = insert_rush(entries("A[seq=1] B[seq=2]"), entry("B", "seq=2"), None)
    assert [one.order for one in inserted.queue] == ["B", "A"]
    assert insert_rush((), entry("R"), ("R", "0010")).interrupt is None


# --- what always holds -----------------------------------------------------------------------------------------------

ENTRIES = st.lists(
    st.builds(
        QueueEntry,
        order=st.text("ABCDE", min_size=1, max_size=2),
        operation=st.sampled_from(["0010", "0020"]),
        state=st.sampled_from([S.DISPATCHED, S.INTERRUPTED, S.ON_HOLD]),
        sequence_no=st.integers(0, 3),
        priority=st.integers(0, 3),
        planned_start_ns=st.none() | st.integers(0, 3),
        rush_no=st.integers(0, 2),
        resumes=st.booleans(),
        waits_for_person=st.booleans(),
        holds=st.sampled_from([(), ("Q-7",)]),
        tool=st.sampled_from(["", "T-1", "T-2"]),
        setup_planned=st.booleans(),
        lots_missing=st.sampled_from([(), ("ORING",)]),
    ),
    unique_by=lambda one: one.key,
    max_size=6,
)


@given(ENTRIES, st.sampled_from([None, "", "T-1", "T-2"]), st.sampled_from(["auto", "propose"]))
def test_nothing_starts_across_a_hold_a_tool_or_a_lot(queue, tool, mode):
    decision = next_order(queue, AdvanceFacts(tool=tool), mode)
    first = head(queue)
    if isinstance(decision, Wait):
        assert decision.text
        return
    assert isinstance(decision, Start) == (mode == "auto")
    assert decision.entry == first
    assert first.state is not S.ON_HOLD
    assert not first.holds
    assert not first.lots_missing
    assert first.setup_planned or not first.tool or tool in (None, first.tool)
    assert all(one.waits_for_person for one in ordered(queue) if rank(one) < rank(first))


@given(ENTRIES)
def test_the_sequence_is_one_whatever_came_first(queue):
    assert ordered(queue) == ordered(queue[::-1]) == ordered(ordered(queue))
    assert sorted(queue) == sorted(ordered(queue))


@given(ENTRIES)
def test_entries_survive_json(queue):
    assert [entry_from(json.loads(json.dumps(one._asdict()))) for one in queue] == queue


def test_a_queue_is_bounded_and_each_order_is_in_it_once():
    with pytest.raises(ValueError, match="queue: found an order twice"):
        ordered(entries("A A"))
    many = [entry("A")._replace(order=str(number)) for number in range(QUEUE_MAX + 1)]
    assert len(ordered(many[1:])) == QUEUE_MAX
    with pytest.raises(ValueError, match="queue: found 2001 orders, allowed 2000"):
        ordered(many)
    with pytest.raises(ValueError, match="queue: found A COMPLETED, allowed DISPATCHED, INTERRUPTED, ON_HOLD"):
        ordered([entry("A")._replace(state=S.COMPLETED)])
