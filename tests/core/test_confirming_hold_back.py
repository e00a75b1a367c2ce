"""The hold-back: what may be sent when, in which order; what may be changed meanwhile."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.confirming.corrections import Capability, Entry, EntryKind, Ledger, Who, carried_out, reclassify
from gateway.core.confirming.hold_back import (
    BEFORE_READY,
    VOIDABLE,
    Delivery,
    HeldConfirmation,
    admitted,
    approved,
    deadline,
    released,
    restored,
)
from gateway.core.confirming.quantities import Pieces
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.model import Role
from gateway.core.rules_confirming import ConfirmingRule

HOUR = ConfirmingRule(hold_back=Duration("1 h"))
AT_ONCE = ConfirmingRule()


@pytest.mark.parametrize(
    ("rule", "facts", "waits_s", "first"),
    [
        (AT_ONCE, {}, 0, Delivery.READY),
        (AT_ONCE, {"by_person": True}, 5, Delivery.HELD),
        (AT_ONCE, {"needs_approval": True}, 0, Delivery.NEEDS_APPROVAL),
        (HOUR, {}, 3600, Delivery.HELD),
        (HOUR, {"by_person": True}, 3600, Delivery.HELD),
        (HOUR, {"by_person": True, "needs_approval": True}, 3600, Delivery.NEEDS_APPROVAL),
        (ConfirmingRule(hold_back=Duration("2 s")), {"by_person": True}, 5, Delivery.HELD),
        (ConfirmingRule(undo_window=Duration(0)), {"by_person": True}, 0, Delivery.READY),
    ],
)
def test_how_long_it_waits(rule, facts, waits_s, first):
    one = admitted(rule, "k/1", 100, **facts)
    assert one == HeldConfirmation("k/1", 100, 100 + waits_s * NS_PER_S, first)


def test_an_hour_and_not_before():
    lane = (admitted(HOUR, "k/1", 0), admitted(HOUR, "k/2", NS_PER_S))
    assert deadline(lane) == Duration("1 h")
    assert released(lane, Duration("1 h") - 1) == lane
    lane = released(lane, Duration("1 h"))
    assert [one.delivery for one in lane] == [Delivery.READY, Delivery.HELD]
    lane = tuple(one._replace(delivery=Delivery.POSTED) if one.key == "k/1" else one for one in lane)
    assert deadline(lane) == Duration("1 h") + NS_PER_S
    assert [one.delivery for one in released(lane, Duration("2 h"))] == [Delivery.POSTED, Delivery.READY]
    assert deadline(released(lane, Duration("2 h"))) is None


def test_none_goes_before_the_one_ahead():
    """A person finished the order: that waits for an undo, and what comes after it waits, too."""
    lane = (admitted(AT_ONCE, "k/1", 0, by_person=True), admitted(AT_ONCE, "k/2", 1))
    assert [one.delivery for one in released(lane, 2)] == [Delivery.HELD, Delivery.HELD]
    assert [one.delivery for one in released(lane, Duration("5 s"))] == [Delivery.READY, Delivery.READY]


def test_an_approval_holds_its_lane():
    lane = (admitted(AT_ONCE, "k/1", 0, needs_approval=True), admitted(AT_ONCE, "k/2", 1))
    assert deadline(lane) is None, "time alone releases nothing"
    assert [one.delivery for one in released(lane, Duration("9 h"))] == [Delivery.NEEDS_APPROVAL, Delivery.HELD]
    lane = (approved(lane[0], 10), lane[1])
    assert [one.delivery for one in released(lane, 10)] == [Delivery.READY, Delivery.READY]


def test_an_approval_in_the_window_still_waits():
    one = admitted(HOUR, "k/1", 0, needs_approval=True)
    assert approved(one, 1).delivery is Delivery.HELD
    assert approved(one, Duration("1 h")).delivery is Delivery.READY
    with pytest.raises(ValueError, match="confirmation k/1: found HELD, allowed NEEDS_APPROVAL"):
        approved(approved(one, 1), 2)


def test_a_verdict_within_the_window_changes_what_is_sent():
    """From the trigger to the ERP: 3 of 40 are scrap, said half an hour later; the ERP hears of it once."""
    held = admitted(HOUR, "k/1", 0)
    ledger = Ledger((Entry(held.key, EntryKind.PARTIAL, Pieces(40), held.delivery),))
    said = Who(Duration("30 min"), "ann", "scratches")
    plan = reclassify(ledger, 3, Role.GOOD, Role.SCRAP, said, Capability.CANCEL)
    after = carried_out(ledger, plan, "k/{}".format)
    sent = [one for one in after.entries if one.delivery is not Delivery.VOIDED_BEFORE_SEND]
    assert [(one.key, one.pieces, one.kind) for one in sent] == [("k/3", Pieces(37, 3), EntryKind.PARTIAL)]
    assert after.book == Pieces(37, 3)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=8),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_a_lane_keeps_its_order(made, waits):
    """Nothing is ready behind one that is not, nothing too soon, and asking twice changes nothing."""
    rule = ConfirmingRule(hold_back=Duration("3 s"))
    now_ns, lane = 0, ()
    for number, (pause_s, by_person, needs_approval) in enumerate(made, 1):
        now_ns += pause_s * NS_PER_S
        new = admitted(rule, f"k/{number}", now_ns, by_person=by_person, needs_approval=needs_approval)
        lane = released((*lane, new), now_ns)
    for wait_s in waits:
        now_ns += wait_s * NS_PER_S
        due_ns = deadline(lane)
        before, lane = lane, released(lane, now_ns)
        if due_ns is None or now_ns < due_ns:
            assert [one.delivery for one in before] == [one.delivery for one in lane]
        else:
            assert before != lane
        ready = [one.delivery is Delivery.READY for one in lane]
        assert ready == sorted(ready, reverse=True)
        assert all(now_ns >= one.release_ns for one in lane if one.delivery is Delivery.READY)
        assert released(lane, now_ns) == lane
        for one in lane:
            assert restored(json.loads(json.dumps(one._asdict()))) == one
            assert one.delivery in VOIDABLE
        waiting = next((one for one in lane if one.delivery in BEFORE_READY), None)
        if waiting is not None and waiting.delivery is Delivery.NEEDS_APPROVAL:
            lane = tuple(approved(one, now_ns) if one is waiting else one for one in lane)
