"""What a person decided last is taken back within the window, while nothing has used it: by a new decision."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import journal, snapshot
from gateway.core.duration import Duration
from gateway.core.entries import Decided, ReclassifyEntry, SetupEntry, StopReasonEntry, UndoEntry
from gateway.core.model import JobChanged, JobOrderState, MachineState, Role
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.rules import CounterRule, OrderRule, StateRule
from gateway.core.rules_state import SetupRule
from gateway.core.state.annotations import (
    StopMerge,
    StopReasonAssigned,
    StopReasonWithdrawn,
    StopSplit,
    annotated,
    loaded,
)
from gateway.core.state.cycle_limit import CycleLimit
from gateway.core.state.interval import StateInterval

S = 1_000_000_000
COUNTERS = tuple(CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in (Role.GOOD, Role.SCRAP))


@pytest.fixture
def floor(rig):
    """Two orders that a person starts."""
    made = rig(*COUNTERS, orders=OrderRule(choose="command"))
    for role in (Role.GOOD, Role.SCRAP):
        made.make(0, f"plc.{role}")
    made.at("1 s").order("A")
    made.order("B", sequence_no=1)
    return made


def undo(floor, who="ann"):
    return floor.put(UndoEntry(floor.now_ns, who))


def why_not(floor, who="ann"):
    before = floor.state
    outputs = undo(floor, who)
    (decided,) = [one for one in outputs if isinstance(one, Decided)]
    assert (decided.verb, decided.guard) == ("undo", "UNDO")
    detail = floor.notices[-1][1]
    assert detail["what_to_do"]
    assert floor.state.running == before.running
    assert floor.state.queue == before.queue
    return decided.refused


def states(floor):
    return {run.job.order: run.state.value for run in floor.state.open_runs()}


def test_a_start_by_mistake(floor):
    floor.says("start", "A")
    floor.at("3 s")
    outputs = undo(floor)
    assert [type(one) for one in outputs[:2]] == [Decided, JobChanged]
    assert outputs[1].trigger == "undo of order.start by ann"
    assert (outputs[1].previous, outputs[1].record.state) == (JobOrderState.IN_PROGRESS, JobOrderState.DISPATCHED)
    assert states(floor) == {"A": "DISPATCHED", "B": "DISPATCHED"}
    assert floor.running is None
    floor.make(3)
    assert floor.booked[-1] == (None, 3), "what is made now has no order, as before"
    floor.close_books()


def test_what_made_way_runs_again_and_what_was_confirmed_stays_confirmed(floor):
    floor.says("start", "A")
    floor.at("10 s").make(4)
    floor.at("11 s").says("start", "B")
    assert floor.confirmed == [("A", 1, 4, "partial", "interruption")]
    floor.at("13 s")
    undo(floor)
    assert states(floor) == {"A": "IN_PROGRESS", "B": "DISPATCHED"}
    assert floor.running == "A"
    floor.at("20 s").make(2)
    floor.says("finish", "A")
    assert floor.confirmed[1:] == [("A", 2, 2, "final", "finish by ann")]
    floor.close_books()


def test_an_interruption_by_mistake(rig):
    floor = rig(*COUNTERS)
    floor.make(0)
    floor.at("1 s").order("A")
    floor.order("B", sequence_no=1)
    floor.make(5)
    floor.at("60 s").says("interrupt", "A")
    assert states(floor) == {"B": "IN_PROGRESS", "A": "INTERRUPTED"}, "the next one started by itself"
    floor.at("61 s")
    undo(floor)
    assert states(floor) == {"A": "IN_PROGRESS", "B": "DISPATCHED"}
    assert not floor.state.running.waits_for_person
    floor.make(1)
    floor.close_books()


def test_pieces_have_used_it(floor):
    floor.says("start", "A")
    floor.at("2 s").make(1)
    assert why_not(floor) == "order.start was used already: pieces of order A were made or confirmed since"


def test_only_ones_own_and_only_the_last(floor):
    floor.says("start", "A")
    assert "is ann's" in why_not(floor, "bob")
    floor.put(SetupEntry(floor.now_ns, begins=True, who="bob"))
    assert "setup.begin, is bob's" in why_not(floor)
    undo(floor, "bob")
    assert "nothing was decided" in why_not(floor), "what went before is not the last one"


@pytest.mark.parametrize(("wait", "done"), [("6 s", True), ("6001 ms", False)])
def test_the_window(floor, wait, done):
    floor.says("start", "A")
    assert floor.now_ns == floor.state.last_word.at_ns
    floor.at(wait)
    if done:
        undo(floor)
        assert floor.running is None
    else:
        assert "within the last 5 s (confirm.undo_window)" in why_not(floor)


@pytest.mark.parametrize(("verb", "instead"), [("finish", "linegate order reopen"), ("cancel", "release a new order")])
def test_what_cannot_be_undone_says_what_to_do_instead(floor, verb, instead):
    floor.says("start", "A")
    floor.says(verb, "A", **({"role": ActorRole.PLANNER} if verb == "cancel" else {}))
    assert instead in why_not(floor)


def test_a_refused_word_leaves_the_one_before_it(floor):
    floor.says("start", "A")
    floor.says("start", "A")
    undo(floor)
    assert floor.running is None


def test_a_hold_and_a_release(floor):
    floor.says("start", "A")
    floor.at("2 s").says("hold", "A", reason="odd sound")
    floor.make(2)
    undo(floor)
    run = floor.state.running
    assert (run.state, run.held_from, run.hold) == (JobOrderState.IN_PROGRESS, None, 2)
    floor.at("3 s").says("hold", "A", reason="odd sound")
    floor.says("release", "A")
    undo(floor)
    run = floor.state.running
    assert (run.state, run.held_from, run.hold_reason) == (
        JobOrderState.ON_HOLD,
        JobOrderState.IN_PROGRESS,
        "odd sound",
    )
    floor.close_books()


@pytest.mark.parametrize(("before", "after"), [("good", "scrap"), ("hold", "good")])
def test_a_judgement(rig, before, after):
    floor = rig(*(CounterRule(mode="counter", signal=f"plc.{role}", role=role) for role in Role))
    floor.make(0, f"plc.{before}")
    floor.at("1 s").order("A")
    floor.make(5, f"plc.{before}")
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 3, Role(before), Role(after), "bent", "ann"))
    floor.make(1, f"plc.{before}")
    undo(floor)
    run = floor.state.running
    assert (getattr(run, before), getattr(run, after)) == (6, 0)
    floor.close_books()


def test_a_judgement_that_is_confirmed(floor):
    floor.says("start", "A")
    floor.make(5)
    floor.put(ReclassifyEntry(floor.now_ns, "A", "", 3, Role.GOOD, Role.SCRAP, "bent", "ann"))
    floor.says("interrupt", "A")
    assert floor.state.last_word.verb == "order.interrupt"
    floor.close_books()


def test_a_setup_that_was_not_begun(rig):
    floor = rig(*COUNTERS, orders=OrderRule(choose="command"))
    floor.make(0)
    floor.at("1 s").order("A")
    floor.says("start", "A")
    floor.at("10 s").put(SetupEntry(floor.now_ns, begins=True, who="ann"))
    assert states(floor) == {"A": "SETUP"}
    undo(floor)
    assert states(floor) == {"A": "IN_PROGRESS"}
    assert floor.state.track.setup.since_ns is None
    floor.at("20 s").put(SetupEntry(floor.now_ns, begins=True, who="ann"))
    floor.at("30 s").put(SetupEntry(floor.now_ns, begins=False, who="ann"))
    undo(floor)
    assert states(floor) == {"A": "SETUP"}
    assert floor.state.track.setup.since_ns == floor.now_ns - 10 * S, "it goes on since it began"


def test_a_start_that_began_a_changeover(rig):
    floor = rig(*COUNTERS, orders=OrderRule(choose="command"), state=StateRule(setup=SetupRule(on_product_change=True)))
    floor.make(0)
    floor.at("1 s").order("A")
    floor.order("B", product="ART-2")
    floor.says("start", "A")
    floor.make(5)
    floor.at("60 s").says("start", "B")
    assert states(floor) == {"B": "SETUP", "A": "INTERRUPTED"}
    floor.at("62 s")
    undo(floor)
    assert states(floor) == {"A": "IN_PROGRESS", "B": "DISPATCHED"}
    setup = floor.state.track.setup
    assert (setup.since_ns, setup.product) == (None, "ART-1")
    assert floor.state.track.state is not MachineState.SETUP


def test_the_reason_of_a_stop(rig):
    floor = rig(
        *COUNTERS, ideal_cycle=Duration("10 s"),
        state=StateRule(stop_detect=CycleLimit.parse("20 s"), micro_stop_max=CycleLimit.parse("1 min")),
    )  # fmt: skip
    floor.make(0)
    floor.at("1 s").order("A")
    floor.at("10 s").make(1)
    for seconds in range(20, 121, 10):
        floor.at(f"{seconds} s")
        for role in ("good", "scrap"):
            floor.make(0, f"plc.{role}")
    floor.put(StopReasonEntry(floor.now_ns, None, None, "JAM", "ann"))
    (said,) = floor.all(StopReasonAssigned)
    undo(floor)
    (withdrawn,) = floor.all(StopReasonWithdrawn)
    assert (withdrawn.given_ns, withdrawn.from_ns) == (said.at_ns, said.from_ns)
    assert floor.state.track.named == ""
    stop = StateInterval(MachineState.STOPPED, 0, 9 * S, stop_from_ns=0)
    reasons = (StopReasonAssigned(1, 3, None, "JAM", "ann"), StopReasonAssigned(2, 3, None, "TOOL", "ann"))
    assert [one.reason for one in annotated((stop,), (*reasons, StopReasonWithdrawn(3, 2, 3, "ann")))] == ["JAM"]


def test_a_named_part_of_a_stop_that_was_split_is_named_alone():
    stop = StateInterval(MachineState.STOPPED, 0, 90, stop_from_ns=0, reason="ALARM", reason_source="alarm")
    said = (StopSplit(100, 30, "ann"), StopReasonAssigned(101, 40, None, "JAM", "ann"))
    view = annotated((stop,), said)
    assert [(one.from_ns, one.to_ns, one.reason) for one in view] == [(0, 30, "ALARM"), (30, 90, "JAM")]
    assert sum(one.length_ns for one in view) == stop.length_ns
    before_split = (StopReasonAssigned(99, 40, None, "JAM", "ann"), StopSplit(100, 30, "ann"))
    assert [one.reason for one in annotated((stop,), before_split)] == ["JAM", "JAM"], "both parts keep it"
    merged = (*said, StopMerge(102, 30, "ann"))
    assert [(one.from_ns, one.reason) for one in annotated((stop,), merged)] == [(0, "ALARM"), (30, "JAM")]


@pytest.mark.parametrize(
    "found",
    [
        StopReasonAssigned(1, 2, None, "A", "b"),
        StopSplit(1, 2, "b"),
        StopMerge(1, 2, "b"),
        StopReasonWithdrawn(1, 2, 3, "b"),
    ],
)
def test_annotations_are_stored_and_found_again(found):
    kind, data = journal.row(found)
    assert kind == "stop_reason"
    assert loaded(json.loads(json.dumps(data))) == found


def test_a_reason_that_was_stored_without_a_name():
    assert loaded({"at_ns": 1, "from_ns": 2, "to_ns": None, "reason": "A", "who": "b"}) == StopReasonAssigned(
        1, 2, None, "A", "b"
    )


WORDS = st.lists(
    st.tuples(
        st.sampled_from(("start A", "start B", "interrupt A", "interrupt B", "hold A", "release A", "scrap", "setup",
                         "done", "undo", "undo by bob", "make")),
        st.sampled_from((0, 1, 4, 6)),
    ),
    max_size=14,
)  # fmt: skip


@given(WORDS, st.booleans(), st.sampled_from(("command", "sequence")))
@settings(max_examples=150)
def test_no_piece_is_made_or_lost_and_a_restart_changes_nothing(rig, words, restart, choose):
    floor, twin = (
        rig(*COUNTERS, orders=OrderRule(choose=choose), state=StateRule(setup=SetupRule(on_product_change=True)))
        for _ in range(2)
    )
    for one in (floor, twin):
        one.make(0)
        one.at("1 s").order("A", 20)
        one.order("B", 20, sequence_no=1, product="ART-2")
    for word, seconds in words:
        for one in (floor, twin):
            one.now_ns += seconds * S
            verb, _, order = word.partition(" ")
            if verb in {"start", "interrupt", "hold", "release"}:
                one.says(verb, order, reason="x" if verb in {"hold", "release"} else "")
            elif verb == "undo":
                undo(one, order.removeprefix("by ") or "ann")
            elif verb == "scrap":
                one.put(ReclassifyEntry(one.now_ns, "A", "", 1, Role.GOOD, Role.SCRAP, "bent", "ann"))
            elif verb == "make":
                one.make(1)
            else:
                one.put(SetupEntry(one.now_ns, begins=verb == "setup", who="ann"))
        if restart:
            data = json.loads(json.dumps(snapshot.encode_whole(twin.unit, twin.state)))
            twin.state = snapshot.decode(twin.unit, data)
        assert [journal.row(one) for one in floor.said] == [journal.row(one) for one in twin.said] or restart
        assert floor.state.running == twin.state.running
        assert floor.state.queue == twin.state.queue
        assert floor.state.last_word == twin.state.last_word
    floor.close_books()
