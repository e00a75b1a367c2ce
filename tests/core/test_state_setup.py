"""When a machine is being changed over, and what is made in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.model import Role
from gateway.core.rules_state import SetupRule
from gateway.core.state.setup import (
    STARTUP,
    SetupEnded,
    SetupObservation,
    SetupOverrun,
    SetupStarted,
    SetupState,
    SetupTracker,
    TransitionTime,
)

S = 10**9
MIN = 60 * S
CYCLE = 10 * S
GOOD, SCRAP, TEST = Role.GOOD, Role.SCRAP, Role.TEST


class Rig:
    def __init__(self, **rule):
        self.tracker = SetupTracker(SetupRule(**rule))
        self.state, self.said = self.tracker.initial(), []

    def __getattr__(self, verb):
        def told(*args, **more):
            self.state, said = getattr(self.tracker, verb)(self.state, *args, **more)
            self.said += said
            return said

        return told

    def piece(self, at_ns, role=GOOD, cycle_ns=CYCLE):
        self.state, said, made, reason = self.tracker.piece(self.state, at_ns, role, cycle_ns, CYCLE)
        self.said += said
        return made, reason

    @property
    def active(self):
        return self.state.since_ns is not None


def running(**rule):
    """Product P1 with tool T1, the last good piece at 100 s."""
    rig = Rig(**rule)
    rig.job(0, "P1", "T1")
    assert rig.said == [], "the first product is no change"
    assert rig.piece(100 * S) == (GOOD, "")
    return rig


def test_another_product_until_its_first_good_piece():
    rig = running()
    assert rig.job(160 * S, "P2", "T2") == (SetupStarted(160 * S, 100 * S, "product"),)
    assert rig.piece(300 * S, SCRAP) == (SCRAP, STARTUP)
    assert rig.piece(400 * S) == (GOOD, ""), "the piece that ends it is production"
    assert rig.said[1:] == [
        SetupEnded(400 * S, "first_good"),
        SetupObservation(400 * S, "P1", "P2", "T1", "T2", 300 * S, trigger="product"),
        TransitionTime(400 * S, "P1", "P2", 300 * S),
    ]
    assert not rig.active


def test_from_the_trigger():
    rig = running(setup_from="trigger")
    assert rig.job(160 * S, "P2", "T1") == (SetupStarted(160 * S, 160 * S, "product"),)
    rig.piece(400 * S)
    assert rig.said[2].duration_ns == 240 * S
    assert rig.said[3].duration_ns == 300 * S, "the transition does not ask who declared what"


def test_the_same_product_is_no_setup():
    rig = running()
    rig.job(110 * S, "P1", "T1")
    rig.job(120 * S, None, "")
    rig.job(130 * S, "P1", "")
    assert (rig.said, rig.active) == ([], False)


def test_what_may_start_it_can_be_switched_off():
    rig = running(on_product_change=False, on_tool_change=False)
    rig.job(110 * S, "P2", "T2")
    rig.tool(120 * S, "T3")
    assert rig.said == []
    rig.piece(130 * S)
    assert rig.said == [TransitionTime(130 * S, "P1", "P2", 30 * S)]


def test_another_tool():
    rig = running()
    assert rig.tool(110 * S, "T1") == ()
    assert rig.tool(120 * S, "T9") == (SetupStarted(120 * S, 100 * S, "tool"),)
    assert rig.job(130 * S, "P2", "T9") == (), "one setup at a time"
    rig.piece(200 * S)
    assert rig.said[2] == SetupObservation(200 * S, "P1", "P2", "T1", "T9", 100 * S, trigger="tool")


def test_the_first_tool_that_is_seen_is_no_change():
    rig = Rig()
    assert rig.tool(0, "T1") == ()
    assert not rig.active


def test_five_in_a_row_within_15_percent():
    rig = running(end="n_good_in_tolerance")
    rig.job(110 * S, "P2", "T1")
    limit = CYCLE * 15 // 100
    for number, cycle_ns in enumerate([CYCLE] * 4 + [CYCLE + limit + 1]):
        assert rig.piece((200 + number) * S, GOOD, cycle_ns) == (SCRAP, STARTUP)
    for number, cycle_ns in enumerate([CYCLE + limit, CYCLE - limit]):
        assert rig.piece((300 + number) * S, GOOD, cycle_ns) == (SCRAP, STARTUP)
    assert rig.piece(310 * S, SCRAP) == (SCRAP, STARTUP)
    for number in range(4):
        assert rig.piece((400 + number) * S) == (SCRAP, STARTUP)
    assert rig.piece(500 * S) == (GOOD, "")
    assert not rig.active


@pytest.mark.parametrize("percent", [85, 115])
def test_the_tolerance_includes_its_limit(percent):
    rig = running(end="n_good_in_tolerance", good_in_a_row=1)
    rig.job(110 * S, "P2", "T1")
    assert rig.piece(200 * S, GOOD, CYCLE * percent // 100) == (GOOD, "")


def test_a_cycle_of_unknown_length_is_not_in_tolerance():
    rig = running(end="n_good_in_tolerance", good_in_a_row=1)
    rig.job(110 * S, "P2", "T1")
    assert rig.piece(200 * S, GOOD, None) == (SCRAP, STARTUP)
    assert rig.piece(210 * S) == (GOOD, "")


@pytest.mark.parametrize(("made_as", "role"), [("scrap", SCRAP), ("good", GOOD), ("test", TEST)])
def test_what_a_setup_makes(made_as, role):
    rig = running(end="operator_confirm", pieces_as=made_as)
    rig.operator_start(110 * S)
    assert rig.piece(200 * S) == (role, STARTUP)
    assert rig.piece(210 * S, SCRAP) == (SCRAP, STARTUP), "bad stays bad"
    rig.operator_confirm(220 * S)
    assert rig.piece(230 * S) == (GOOD, "")
    assert rig.state.last_good_ns == 230 * S, "a piece of the setup is not the last good one"


def test_the_plc_releases():
    rig = running(end="plc_release")
    assert rig.release(105 * S) == ()
    rig.job(110 * S, "P2", "T1")
    rig.piece(200 * S)
    assert rig.active
    assert rig.release(300 * S)[0] == SetupEnded(300 * S, "plc_release")


def test_a_mode_tag_starts_it_and_leaving_it_releases():
    rig = running(end="plc_release")
    assert rig.mode(110 * S, in_setup=True) == (SetupStarted(110 * S, 100 * S, "mode"),)
    assert rig.mode(120 * S, in_setup=True) == ()
    assert rig.mode(200 * S, in_setup=False)[0] == SetupEnded(200 * S, "plc_release")
    rig = running()
    rig.mode(110 * S, in_setup=True)
    assert rig.mode(200 * S, in_setup=False) == ()
    assert rig.active, "it ends with the first good piece"


def test_a_person_ends_any_setup():
    rig = running()
    rig.operator_start(110 * S)
    assert rig.operator_start(120 * S) == ()
    assert rig.operator_confirm(130 * S)[0] == SetupEnded(130 * S, "operator_confirm")
    assert rig.operator_confirm(140 * S) == ()


def test_a_setup_twice_as_long_as_planned_is_told_once():
    rig = running()
    rig.job(110 * S, "P2", "T1", planned_ns=10 * MIN)
    due_ns = 100 * S + 20 * MIN + 1
    assert rig.tracker.deadline(rig.state) == due_ns
    assert rig.on_time(due_ns - 1) == ()
    assert rig.on_time(due_ns + MIN) == (SetupOverrun(due_ns, 10 * MIN, 100 * S),)
    assert rig.tracker.deadline(rig.state) is None


STEPS = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.sampled_from(["job", "none", "tool", "mode", "mode end", "start", "confirm", "release", "piece", "time"]),
        st.integers(0, 3),
    ),
    max_size=40,
)


def play(steps, rule, *, save):
    tracker = SetupTracker(rule)
    state, out, now_ns = tracker.initial(), [], 0
    for seconds, word, choice in steps:
        now_ns += seconds * S
        if save:
            state = SetupState(**json.loads(json.dumps(state._asdict())))
        match word:
            case "job" | "none":
                product = f"P{choice}" if word == "job" else None
                state, said = tracker.job(state, now_ns, product, "", 50 * S if choice else None)
            case "tool":
                state, said = tracker.tool(state, now_ns, f"T{choice}")
            case "mode" | "mode end":
                state, said = tracker.mode(state, now_ns, in_setup=word == "mode")
            case "piece":
                state, said, *made = tracker.piece(state, now_ns, (GOOD, SCRAP)[choice == 3], choice * CYCLE, CYCLE)
                said = (*said, tuple(made))
            case _:
                verb = {"start": "operator_start", "confirm": "operator_confirm", "time": "on_time"}.get(word, word)
                state, said = getattr(tracker, verb)(state, now_ns)
        out += said
    return state, out


@pytest.mark.parametrize("end", ["first_good", "n_good_in_tolerance", "operator_confirm", "plc_release"])
@given(STEPS)
@settings(max_examples=100)
def test_beginnings_and_ends_alternate(end, steps):
    rule = SetupRule(end=end, good_in_a_row=2)
    state, out = play(steps, rule, save=False)
    assert (state, out) == play(steps, rule, save=True)
    kinds = [type(one) for one in out if isinstance(one, (SetupStarted, SetupEnded))]
    assert kinds == [(SetupStarted, SetupEnded)[number % 2] for number in range(len(kinds))]
    assert (state.since_ns is not None) is bool(len(kinds) % 2)
    for one in out:
        if isinstance(one, (SetupObservation, TransitionTime)):
            assert one.duration_ns >= 0
