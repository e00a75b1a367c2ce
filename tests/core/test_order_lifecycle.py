"""The life of an operation: data/order_lifecycle.txt line by line, every pair of states, random lives, the diagrams."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import JobOrderState
from gateway.core.orders import foreign_states
from gateway.core.orders.guards import ASKED_ELSEWHERE, START_GUARDS, Guard
from gateway.core.orders.lifecycle import (
    INITIAL,
    TERMINAL,
    TRANSITIONS,
    ActorRole,
    Allowed,
    Effect,
    OperationLife,
    Refused,
    Trigger,
    decide,
    following,
    moved,
    order_state,
)
from gateway.core.orders.lifecycle_diagram import TITLES, diagram, title_of

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).parent / "data" / "order_lifecycle.txt"
S = JobOrderState
LINE = re.compile(r"(\w+) -> ?(\w+)?(?: +(by|entails|asks)\b ?(.*))?")


def lines():
    return [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]


def state(name):
    return None if name == "new" else S(name)


def followers():
    found = {}
    for line in lines():
        first, arrow, rest = line.partition(" ->")
        if arrow and not re.search(r" (by|entails|asks)\b", rest):
            found[state(first)] = {S(name) for name in rest.split()}
    return found


def rows(kind):
    for line in lines():
        match = LINE.fullmatch(line)
        if match and match[3] == kind:
            yield pytest.param(state(match[1]), state(match[2]), match[4].strip(), id=line)


def asked(state_from, state_to, trigger=None, role=None):
    """The decision, by the first cause that the table has unless one is named; a hold began where it may return to."""
    row = next((row for row in TRANSITIONS if (row.state_from, row.state_to) == (state_from, state_to)), None)
    cause = row.causes[0] if row else None
    back = state_from is S.ON_HOLD and state_to not in (*TERMINAL, S.ON_HOLD, S.PLANNED)
    return decide(
        state_from,
        state_to,
        trigger or (cause.trigger if cause else Trigger.COMMAND),
        role or (cause.roles[0] if cause else ActorRole.SUPERVISOR),
        state_to if back else S.INTERRUPTED if state_from is S.ON_HOLD else None,
    )


PAIRS = [(one, other) for one in (None, *S) for other in S]


def test_the_table_is_whole():
    found = followers()
    assert set(found) == {None, *S}
    assert sum(len(found[one]) for one in S) == 42
    assert set(INITIAL) == found[None]
    assert set(TERMINAL) == {one for one in S if not found[one]}
    assert len(TRANSITIONS) == len({(row.state_from, row.state_to) for row in TRANSITIONS}) == 44


@pytest.mark.parametrize(("state_from", "state_to"), PAIRS)
def test_every_pair_is_allowed_or_refused(state_from, state_to):
    decision = asked(state_from, state_to)
    if state_to in followers()[state_from]:
        assert isinstance(decision, Allowed)
        assert decision.effects
        return
    assert isinstance(decision, Refused)
    assert decision.code == "ILLEGAL_TRANSITION"
    assert str(state_from or "a new order") in decision.text
    assert str(state_to) in decision.text
    if state_from in TERMINAL:
        assert "is an end" in decision.text
    else:
        assert decision.allowed
        assert all(name in decision.text for name in decision.allowed)


@pytest.mark.parametrize(("state_from", "state_to", "who"), list(rows("by")))
def test_who_may(state_from, state_to, who):
    trigger, _, roles = who.partition(": ")
    for role in ActorRole:
        decision = asked(state_from, state_to, Trigger(trigger), role)
        assert isinstance(decision, Allowed) == (role in roles.split()), role
        if isinstance(decision, Refused):
            assert decision.code == "ROLE_NOT_ALLOWED"
            assert set(decision.allowed) == set(roles.split())


@pytest.mark.parametrize(("state_from", "state_to"), [pair for pair in PAIRS if isinstance(asked(*pair), Allowed)])
def test_no_other_trigger_will_do(state_from, state_to):
    (row,) = [row for row in TRANSITIONS if (row.state_from, row.state_to) == (state_from, state_to)]
    known = {cause.trigger for cause in row.causes}
    assert len(known) == len(row.causes)
    for trigger in set(Trigger) - known:
        decision = asked(state_from, state_to, trigger)
        assert isinstance(decision, Refused)
        assert decision.code == "ILLEGAL_TRIGGER"
        assert set(decision.allowed) == known


@pytest.mark.parametrize(("state_from", "state_to", "effects"), list(rows("entails")))
def test_what_it_entails(state_from, state_to, effects):
    assert asked(state_from, state_to).effects == tuple(Effect(name) for name in effects.split())


@pytest.mark.parametrize(("state_from", "state_to", "guards"), list(rows("asks")))
def test_what_it_asks(state_from, state_to, guards):
    assert [guard.name for guard in asked(state_from, state_to).guards] == [name for name in guards.split(", ") if name]


@pytest.mark.parametrize("line", [line for line in lines() if line.startswith("order ")])
def test_the_state_of_an_order(line):
    operations, _, whole = line.removeprefix("order ").partition(" = ")
    names = operations.split()
    for turned in (names, names[::-1]):
        assert order_state(S(name) for name in turned) is S(whole)


def test_an_order_without_operations_has_no_state():
    with pytest.raises(ValueError, match="found no operation"):
        order_state([])


# --- holds -----------------------------------------------------------------------------------------------------------


HOLDABLE = [S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.INTERRUPTED, S.COMPLETED]


@pytest.mark.parametrize(("held_from", "state_to"), [*product(HOLDABLE, HOLDABLE)])
def test_a_hold_returns_only_to_where_it_began(held_from, state_to):
    decision = decide(S.ON_HOLD, state_to, Trigger.COMMAND, ActorRole.QUALITY, held_from)
    assert isinstance(decision, Allowed) == (state_to is held_from)
    if isinstance(decision, Refused):
        assert f"it was held in {held_from}" in decision.text
        assert set(decision.allowed) - {"CANCELLED", "SPLIT", "MERGED"} == {held_from}


def test_a_hold_whose_beginning_is_not_known_only_ends():
    decision = decide(S.ON_HOLD, S.IN_PROGRESS, Trigger.COMMAND, ActorRole.QUALITY)
    assert isinstance(decision, Refused)
    assert set(decision.allowed) == {"CANCELLED", "SPLIT", "MERGED"}


@pytest.mark.parametrize("end", [S.CANCELLED, S.SPLIT, S.MERGED])
def test_a_hold_opens_no_way_out_of_complete(end):
    assert isinstance(decide(S.ON_HOLD, end, Trigger.ERP_MESSAGE, ActorRole.PLANNER, S.COMPLETED), Refused)
    assert isinstance(decide(S.ON_HOLD, end, Trigger.ERP_MESSAGE, ActorRole.PLANNER, S.INTERRUPTED), Allowed)


# --- random lives ----------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.sampled_from(list(S)), st.sampled_from(list(Trigger)), st.sampled_from(list(ActorRole))))
GUIDED = st.lists(st.integers(0, 10), max_size=40)


@given(STEPS)
def test_whatever_is_asked_only_allowed_pairs_happen(steps):
    life, allowed = OperationLife(), followers()
    for state_to, trigger, role in steps:
        decision = decide(life.state, state_to, trigger, role, life.held_from)
        if isinstance(decision, Allowed):
            assert state_to in allowed[life.state]
            life = moved(life, state_to)
        assert (life.held_from is not None) == (life.state is S.ON_HOLD)


@given(GUIDED)
def test_a_life_ends_or_can_go_on(choices):
    life = OperationLife()
    for choice in choices:
        ways = following(life.state, life.held_from)
        if not ways:
            assert life.state in TERMINAL
            return
        state_to, before = ways[choice % len(ways)], life
        life = moved(life, state_to)
        assert life.held_from is (before.state if state_to is S.ON_HOLD else None)
        if before.state is S.ON_HOLD and state_to not in TERMINAL:
            assert state_to is before.held_from
        restored = json.loads(json.dumps(life._asdict()))
        assert OperationLife(**{name: value and S(value) for name, value in restored.items()}) == life


# --- guards, foreign words, diagrams ---------------------------------------------------------------------------------


def test_every_guard_guards_something():
    used = {guard for row in TRANSITIONS for guard in row.guards}
    assert used == set(Guard)
    assert set(ASKED_ELSEWHERE) < used
    starts = {(row.state_from, row.state_to) for row in TRANSITIONS if row.guards == START_GUARDS}
    assert starts == set(product((S.DISPATCHED, S.INTERRUPTED), (S.SETUP, S.IN_PROGRESS)))


def test_every_trigger_role_and_effect_is_used():
    causes = [cause for row in TRANSITIONS for cause in row.causes]
    assert {cause.trigger for cause in causes} == set(Trigger)
    assert {role for cause in causes for role in cause.roles} == set(ActorRole)
    assert {effect for row in TRANSITIONS for effect in row.effects} == set(Effect)


def test_every_state_has_its_foreign_words():
    assert set(foreign_states.FOREIGN) == set(S)
    by_state = foreign_states.FOREIGN
    assert by_state[S.INTERRUPTED].opc == (4, "Interrupted", 2, "Suspended")
    assert by_state[S.ON_HOLD].opc == (4, "Interrupted", 1, "Held")
    assert [by_state[one].euromap for one in (S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.INTERRUPTED)] == [1, 2, 6, 7]
    assert by_state[S.COMPLETED][2:] == ("CNF", "Reported as finished", "Completed", "done")


def test_foreign_words_come_back():
    for one, words in foreign_states.FOREIGN.items():
        if words.opc is not None and one not in (S.SETUP, S.SPLIT, S.MERGED):
            assert foreign_states.from_opc(words.opc.number, words.opc.sub_number) is one
        if words.euromap is not None and one is not S.ON_HOLD:
            assert foreign_states.from_euromap(words.euromap) is one
    assert [foreign_states.from_euromap(number) for number in (0, 12, -1)] == [None] * 3
    assert {foreign_states.from_euromap(number) for number in (9, 10, 11)} == {S.COMPLETED}
    assert foreign_states.from_opc(3) is S.IN_PROGRESS
    assert foreign_states.from_opc(7) is None


def test_a_dispatched_job_is_waiting_ready_or_loaded():
    assert foreign_states.opc_state(S.DISPATCHED).sub_name == "Waiting"
    assert foreign_states.opc_state(S.DISPATCHED, ready=True).sub_name == "Ready"
    assert foreign_states.opc_state(S.DISPATCHED, ready=True, loaded=True).sub_name == "Loaded"
    assert foreign_states.opc_state(S.PLANNED) is None
    assert foreign_states.opc_state(S.SETUP, loaded=True).name == "Running"


@pytest.mark.parametrize("trigger", list(Trigger), ids=lambda one: one.name)
def test_every_trigger_of_the_table_is_somebodys(trigger):
    """What no rule names is in no table, no diagram and no refusal."""
    assert any(trigger in {cause.trigger for cause in row.causes} for row in TRANSITIONS)
    others = [path for path in (ROOT / "gateway/core").rglob("*.py") if path.name != "lifecycle.py"]
    assert [path for path in others if f"Trigger.{trigger.name}" in path.read_text(encoding="utf-8")]


def test_the_diagrams_are_the_table():
    drawn = set()
    for title in TITLES:
        arrows = re.findall(r"^ +(\S+) --> (\w+): ", diagram(title), re.MULTILINE)
        drawn |= set(arrows)
        assert len(arrows) == sum(title_of(row) == title for row in TRANSITIONS)
    assert drawn == {(row.state_from.value if row.state_from else "[*]", row.state_to.value) for row in TRANSITIONS}


@pytest.mark.parametrize("title", TITLES)
def test_the_read_me_shows_the_diagrams(title):
    told = (ROOT / "gateway/core/README.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram(title)}\n```" in told, f"draw it anew: gateway.core.orders.lifecycle_diagram, {title}"
