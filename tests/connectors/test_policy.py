import pytest

from buffer.entry import OutboxEntry, OutboxState
from gateway.connectors.base import Capabilities, Lookup, LookupKind, Outcome, OutcomeKind
from gateway.forwarder.policy import (
    RETRY_AFTER_MAX_NS,
    ForwarderSettings,
    ForwarderTimings,
    Pause,
    Policy,
    cannot_know,
)

S = 1_000_000_000
NOW = 1_000_000 * S


def entry_of(**changes):
    fields = dict.fromkeys(OutboxEntry._fields, 0) | {
        "state": OutboxState.SENDING,
        "error_kind": "",
        "error_code": "",
        "error_text": "",
        "error_since_ns": None,
        "unclear_ns": None,
        "last_sent_ns": NOW - S,
    }
    return OutboxEntry(**{**fields, **changes})


def policy_of(*, can_lookup=True, limit_s=30):
    capabilities = Capabilities(can_lookup=can_lookup, server_time_limit_ns=limit_s * S)
    return Policy(ForwarderSettings(), ForwarderTimings(), capabilities)


@pytest.mark.parametrize(
    ("kind", "state", "reached", "pause"),
    [
        (OutcomeKind.POSTED, OutboxState.POSTED, True, Pause.NONE),
        (OutcomeKind.ACCEPTED, OutboxState.ACCEPTED, True, Pause.NONE),
        (OutcomeKind.NOT_SENT, OutboxState.RETRY_WAIT, False, Pause.BACKOFF),
        (OutcomeKind.UNCERTAIN, OutboxState.UNCERTAIN, None, Pause.BACKOFF),
        (OutcomeKind.BUSY, OutboxState.RETRY_WAIT, True, Pause.NONE),
        (OutcomeKind.WAIT_PRECONDITION, OutboxState.RETRY_WAIT, True, Pause.NONE),
        (OutcomeKind.BUSINESS_REJECT, OutboxState.PARKED, True, Pause.NONE),
        (OutcomeKind.MAPPING, OutboxState.PARKED, None, Pause.NONE),
        (OutcomeKind.AUTH, OutboxState.RETRY_WAIT, False, Pause.AUTH),
        (OutcomeKind.PROTOCOL, OutboxState.UNCERTAIN, False, Pause.BACKOFF),
    ],
)
def test_every_outcome_has_its_decision(kind, state, reached, pause):
    decision = policy_of().after_send(entry_of(), Outcome(kind, "why", "CODE", "R"), NOW)
    assert (decision.settlement.state, decision.reached, decision.pause) == (state, reached, pause)
    fine = kind in {OutcomeKind.POSTED, OutcomeKind.ACCEPTED}
    assert decision.settlement.error_kind == ("" if fine else kind)
    assert decision.settlement.reference == ("R" if fine else "")


def test_material_that_is_not_booked_does_not_hold_up_the_confirmation():
    said = {"reference": "R", "goods_error": "M7 021: deficit of 4 PC"}
    sent = policy_of().after_send(entry_of(), Outcome(OutcomeKind.POSTED, **said), NOW)
    found = policy_of().after_lookup(
        entry_of(state=OutboxState.UNCERTAIN), Lookup(LookupKind.FOUND, **said), NOW, started_ns=0
    )
    for decision in (sent, found):
        assert (decision.settlement.state, decision.settlement.reference) == (OutboxState.POSTED, "R")
        assert decision.settlement[3:] == ("goods_movement_error", "", "M7 021: deficit of 4 PC")
        assert decision.reached


def test_all_outcomes_are_in_the_table_above():
    assert len(OutcomeKind) == 10


def test_the_ladder_of_a_busy_order():
    pauses = []
    for count in range(7):
        entry = entry_of(error_kind="busy", error_count=count, error_since_ns=NOW)
        pauses.append((policy_of().after_send(entry, Outcome(OutcomeKind.BUSY), NOW).settlement.due_ns - NOW) // S)
    assert pauses == [30, 60, 120, 300, 600, 600, 600]
    wish = policy_of().after_send(entry_of(), Outcome(OutcomeKind.BUSY, retry_after_ns=99 * S), NOW)
    assert wish.settlement.due_ns == NOW + 99 * S


@pytest.mark.parametrize(("kind", "limit_h"), [(OutcomeKind.BUSY, 4), (OutcomeKind.WAIT_PRECONDITION, 8)])
def test_patience_ends(kind, limit_h):
    for other, since, state in [
        (kind, NOW - limit_h * 3600 * S + 1, OutboxState.RETRY_WAIT),
        (kind, NOW - limit_h * 3600 * S, OutboxState.PARKED),
        (OutcomeKind.NOT_SENT, 0, OutboxState.RETRY_WAIT),  # another trouble before does not count
    ]:
        entry = entry_of(error_kind=other.value, error_since_ns=since, error_count=9)
        assert policy_of().after_send(entry, Outcome(kind), NOW).settlement.state is state


def test_a_wish_to_wait_has_a_limit():
    outcome = Outcome(OutcomeKind.NOT_SENT, retry_after_ns=10**20)
    assert policy_of().after_send(entry_of(), outcome, NOW).retry_after_ns == RETRY_AFTER_MAX_NS


def test_backoff_doubles_up_to_its_limit():
    policy = policy_of()
    assert [policy.doubling_ns(failures) // S for failures in (1, 2, 3, 6, 7, 8, 10**9)] == [1, 2, 4, 32, 60, 60, 60]


def test_who_cannot_be_asked_is_believed():
    decision = policy_of(can_lookup=False).after_send(entry_of(), Outcome(OutcomeKind.ACCEPTED), NOW)
    assert decision.settlement.state is OutboxState.DELIVERED
    assert cannot_know(entry_of(), NOW).settlement.state is OutboxState.PARKED


@pytest.mark.parametrize(
    ("sent", "unclear", "started", "proven"),
    [
        (NOW - 29 * S, NOW - 29 * S, 0, False),
        (NOW - 30 * S, NOW - 30 * S, 0, True),
        (NOW - 59 * S, NOW - 29 * S, 0, False),  # it took 30 s to fail: the target may have got it at the end
        (NOW - 90 * S, None, NOW - 29 * S, False),  # an earlier process sent it, nobody knows how long
        (NOW - 90 * S, None, NOW - 30 * S, True),
    ],
)
def test_when_absence_is_proof(sent, unclear, started, proven):
    entry = entry_of(state=OutboxState.UNCERTAIN, last_sent_ns=sent, unclear_ns=unclear, error_kind="uncertain")
    decision = policy_of().after_lookup(entry, Lookup(LookupKind.ABSENT), NOW, started_ns=started)
    assert decision.settlement.state is (OutboxState.READY if proven else OutboxState.UNCERTAIN)
    assert proven or decision.settlement.due_ns == NOW + S


@pytest.mark.parametrize(("lookups", "due_s"), [(1, 1), (3, 4), (20, 60), (21, 60)])
def test_what_is_booked_late_is_found_before_absence_is_proof(lookups, due_s):
    entry = entry_of(state=OutboxState.UNCERTAIN, unclear_ns=NOW - S, error_kind="uncertain", lookups=lookups)
    decision = policy_of(limit_s=600).after_lookup(entry, Lookup(LookupKind.ABSENT), NOW, started_ns=0)
    assert (decision.settlement.state, decision.settlement.due_ns) == (OutboxState.UNCERTAIN, NOW + due_s * S)


@pytest.mark.parametrize("state", [OutboxState.UNCERTAIN, OutboxState.ACCEPTED])
def test_what_proves_neither_waits_for_a_person_in_the_end(state):
    policy, unclear = policy_of(), Lookup(LookupKind.UNCLEAR, detail="found 2, expected 10")
    first = policy.after_lookup(entry_of(state=state), unclear, NOW, started_ns=0)
    assert (first.settlement.state, first.settlement.error_kind, first.pause) == (state, "unclear", Pause.NONE)
    assert first.reached
    assert first.settlement.due_ns == NOW + 30 * S
    since = entry_of(state=state, error_kind="unclear", error_since_ns=NOW - 595 * S)
    again = policy.after_lookup(since, unclear, NOW, started_ns=0)
    assert (again.settlement.state, again.settlement.due_ns) == (state, NOW + 5 * S)
    over = policy.after_lookup(since._replace(error_since_ns=NOW - 600 * S), unclear, NOW, started_ns=0)
    assert (over.settlement.state, over.settlement.error_text) == (OutboxState.PARKED, "found 2, expected 10")


def test_what_lookups_lead_to():
    policy = policy_of()
    for state in (OutboxState.UNCERTAIN, OutboxState.ACCEPTED):
        entry = entry_of(state=state, lookups=3)
        found = policy.after_lookup(entry, Lookup(LookupKind.FOUND, "R"), NOW, started_ns=0)
        assert (found.settlement.state, found.settlement.reference) == (OutboxState.POSTED, "R")
        unknown = policy.after_lookup(entry, Lookup(LookupKind.UNKNOWN, detail="x"), NOW, started_ns=0)
        assert (unknown.settlement.state, unknown.pause) == (state, Pause.BACKOFF)
        assert unknown.settlement.due_ns == NOW + 4 * S
    absent = Lookup(LookupKind.ABSENT)
    for lookups, pause_ns in ((1, S), (2, 2 * S), (5, 16 * S), (6, 30 * S), (10**6, 30 * S)):
        waiting = policy.after_lookup(entry_of(state=OutboxState.ACCEPTED, lookups=lookups), absent, NOW, started_ns=0)
        assert (waiting.settlement.state, waiting.settlement.due_ns) == (OutboxState.ACCEPTED, NOW + pause_ns)
    old = entry_of(state=OutboxState.ACCEPTED, last_sent_ns=NOW - 8 * 3600 * S)
    assert policy.after_lookup(old, absent, NOW, started_ns=0).settlement.state is OutboxState.PARKED
