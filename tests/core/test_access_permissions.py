"""Who may do what: data/access_permissions.txt pair by pair, and that it agrees with the life of an order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.access.lockout import (
    FIRST_WAIT_NS,
    FREE_FAILURES,
    WAIT_MAX_NS,
    Lockout,
    failed,
    wait_ns,
)
from gateway.core.access.permissions import NEEDS_REASON, PERMISSIONS, Action, permitted, refusal
from gateway.core.access.roles import MEANINGS, role_of
from gateway.core.audit.signature import Profile, signature_required
from gateway.core.model import JobOrderState
from gateway.core.orders.lifecycle import ROLE_NOT_ALLOWED, TRANSITIONS, ActorRole, Trigger

TABLE = Path(__file__).parent / "data" / "access_permissions.txt"
S = JobOrderState
SECOND_NS = 1_000_000_000


def rows():
    lines = [line.split() for line in TABLE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    head, *found = lines
    assert head == ["action", *ActorRole, "needs"]
    return [(row[0], dict(zip(ActorRole, row[1:7], strict=True)), row[7:]) for row in found]


def pairs():
    return [(action, role, mark == "x") for action, marks, _needs in rows() for role, mark in marks.items()]


def test_the_table_has_every_action_once():
    assert [action for action, _marks, _needs in rows()] == [action.value for action in Action]
    assert set(PERMISSIONS) == set(Action)
    assert set(MEANINGS) == set(ActorRole)


@pytest.mark.parametrize(("action", "role", "may"), pairs())
def test_every_pair_of_role_and_action(action, role, may):
    refused = refusal(role, Action(action))
    assert (refused is None) is may
    assert (Action(action) in permitted(role)) is may
    if refused is not None:
        allowed = [one.value for one, mark in next(m for a, m, _ in rows() if a == action).items() if mark == "x"]
        assert refused.text == (
            f"{action} is not allowed for {role.value}; allowed: {', '.join(allowed)}; ask one of them"
        )
        assert (refused.code, refused.role, refused.action) == (ROLE_NOT_ALLOWED, role, action)


@pytest.mark.parametrize(("action", "needs"), [(action, needs) for action, _marks, needs in rows()])
def test_what_needs_a_reason_or_a_signature(action, needs):
    assert (action in NEEDS_REASON) is ("reason" in needs)
    assert (signature_required(Action(action), Profile.REGULATED) is not None) is ("signed" in needs)
    in_standard = signature_required(Action(action), Profile.STANDARD) is not None
    assert in_standard is (action == "correct_after_final")


def test_somebody_may_do_everything_and_a_program_decides_nothing():
    assert all(row.roles for row in PERMISSIONS.values())
    assert {role for role in ActorRole if set(permitted(role)) == set(Action)} == {ActorRole.SUPERVISOR}
    assert permitted(ActorRole.SERVICE) == (Action.SEE, Action.WRITE_SIGNAL, Action.TEST_ALERTS)


#: The action that a command for a change of state is. None: any state.
ACTION_OF = (
    (None, S.RELEASED, Action.SPLIT),  # a child, or the leader of a merge
    (S.RELEASED, S.DISPATCHED, Action.DISPATCH),
    (S.DISPATCHED, S.RELEASED, Action.DISPATCH),
    (S.DISPATCHED, S.SETUP, Action.START),
    (S.DISPATCHED, S.IN_PROGRESS, Action.START),
    (S.INTERRUPTED, S.SETUP, Action.START),
    (S.INTERRUPTED, S.IN_PROGRESS, Action.START),
    (S.SETUP, S.IN_PROGRESS, Action.FINISH_SETUP),
    (S.IN_PROGRESS, S.SETUP, Action.SETUP_AGAIN),
    (S.SETUP, S.INTERRUPTED, Action.INTERRUPT),
    (S.IN_PROGRESS, S.INTERRUPTED, Action.INTERRUPT),
    (S.IN_PROGRESS, S.COMPLETED, Action.FINISH),
    (S.INTERRUPTED, S.COMPLETED, Action.FINISH),
    (S.COMPLETED, S.IN_PROGRESS, Action.REOPEN),
)


def action_of(row):
    if row.state_to is S.ON_HOLD:
        return Action.HOLD
    if row.state_to in (S.SPLIT, S.MERGED):
        return Action.SPLIT if row.state_to is S.SPLIT else Action.MERGE
    if row.state_from is S.ON_HOLD:
        return Action.RELEASE
    return {(one, other): action for one, other, action in ACTION_OF}[row.state_from, row.state_to]


@pytest.mark.parametrize(
    ("row", "roles"),
    [(row, c.roles) for row in TRANSITIONS for c in row.causes if c.trigger in (Trigger.COMMAND, Trigger.SCAN)],
    ids=lambda value: f"{value.state_from}-{value.state_to}" if hasattr(value, "state_to") else "",
)
def test_a_command_is_permitted_to_those_to_whom_the_life_of_an_order_allows_it(row, roles):
    assert set(PERMISSIONS[action_of(row)].roles) == set(roles)


@pytest.mark.parametrize("text", ["", "Operator", "admin", "operator ", "\x1b[31m"])
def test_an_unknown_role_is_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match=r"allowed: operator, setter, supervisor, quality, planner, service$") as found:
        role_of(text)
    assert "\x1b" not in str(found.value)


# --- lockout ---------------------------------------------------------------------------------------------------------


def test_after_five_wrong_ones_it_takes_a_minute_then_twice_as_long():
    state, waits = Lockout(), []
    for _ in range(13):
        state = failed(state, 1000)
        waits.append(wait_ns(state, 1000) // SECOND_NS)
    assert waits == [0, 0, 0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert wait_ns(state, 1000 + WAIT_MAX_NS - 1) == 1
    assert wait_ns(state, 1000 + WAIT_MAX_NS) == 0
    assert wait_ns(Lockout(), 0) == 0


@given(st.lists(st.integers(0, 10 * WAIT_MAX_NS), min_size=1, max_size=60))
def test_nobody_can_guess_faster_and_nobody_is_locked_out_for_ever(gaps_ns):
    state, now_ns, looked_at = Lockout(), 0, 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        if wait_ns(state, now_ns) == 0:
            state, looked_at = failed(state, now_ns), looked_at + 1
        assert 0 <= wait_ns(state, now_ns) <= WAIT_MAX_NS
        state = Lockout(**json.loads(json.dumps(state._asdict())))
    assert looked_at <= FREE_FAILURES + now_ns // FIRST_WAIT_NS
