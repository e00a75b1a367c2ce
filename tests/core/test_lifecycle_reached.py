"""Each of the 42 pairs of states is reached at a work unit by who may; other wishes are refused and change nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.core.entries import MergeEntry, SetupEntry, SplitEntry, StandingHoldEntry
from gateway.core.model import FinalAcknowledged, JobChanged, JobOrderState
from gateway.core.orders.job_image import with_image
from gateway.core.orders.lifecycle import TRANSITIONS, ActorRole
from gateway.core.orders.order_image import Control, ImageOperation, OrderImage, OrderStatus
from gateway.core.orders.standing_holds import HoldScope
from gateway.core.rules import OrderRule, StateRule
from gateway.core.rules_state import SetupRule

S = JobOrderState
BY_HAND = OrderRule(choose="command", dispatch="by_hand")
#: How an order comes into each state, and from there into the next one.
WAY = {
    S.PLANNED: (),
    S.RELEASED: ("erp RELEASED",),
    S.DISPATCHED: ("erp RELEASED", "dispatch"),
    S.SETUP: ("erp RELEASED", "dispatch", "start"),
    S.IN_PROGRESS: ("erp RELEASED", "dispatch", "start", "approve-first-article"),
    S.INTERRUPTED: ("erp RELEASED", "dispatch", "start", "approve-first-article", "interrupt"),
    S.ON_HOLD: ("erp RELEASED", "dispatch", "hold"),
    S.COMPLETED: ("erp RELEASED", "dispatch", "start", "approve-first-article", "finish"),
    S.CLOSED: ("erp RELEASED", "dispatch", "start", "approve-first-article", "finish", "booked"),
    S.CANCELLED: ("cancel",),
    S.SPLIT: ("erp RELEASED", "split"),
    S.MERGED: ("erp RELEASED", "merge"),
}
#: What brings an order from a state to the next; a hold of the machine is another way to ON_HOLD and back.
STEPS = {
    (S.PLANNED, S.RELEASED): "erp RELEASED",
    (S.RELEASED, S.DISPATCHED): "dispatch",
    (S.DISPATCHED, S.RELEASED): "revoke",
    (S.DISPATCHED, S.SETUP): "start",
    (S.DISPATCHED, S.IN_PROGRESS): "approve-first-article start",
    (S.SETUP, S.IN_PROGRESS): "approve-first-article",
    (S.SETUP, S.INTERRUPTED): "interrupt",
    (S.IN_PROGRESS, S.INTERRUPTED): "interrupt",
    (S.INTERRUPTED, S.SETUP): "setup start",
    (S.INTERRUPTED, S.IN_PROGRESS): "start",
    (S.IN_PROGRESS, S.SETUP): "setup",
    (S.IN_PROGRESS, S.COMPLETED): "finish",
    (S.INTERRUPTED, S.COMPLETED): "finish",
    (S.COMPLETED, S.IN_PROGRESS): "reopen",
    (S.COMPLETED, S.CLOSED): "booked",
    **{(state, S.ON_HOLD): "hold" for state in (S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.INTERRUPTED)},
    **{(S.ON_HOLD, state): "release" for state in (S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.INTERRUPTED)},
    (S.COMPLETED, S.ON_HOLD): "hold",
    (S.ON_HOLD, S.COMPLETED): "release",
    **{(state, S.CANCELLED): "cancel" for state in (S.PLANNED, S.RELEASED, S.DISPATCHED)},
    **{(state, S.CANCELLED): "cancel" for state in (S.SETUP, S.IN_PROGRESS, S.INTERRUPTED, S.ON_HOLD)},
    **{(state, S.SPLIT): "split" for state in (S.RELEASED, S.DISPATCHED, S.INTERRUPTED, S.ON_HOLD)},
    **{(state, S.MERGED): "merge" for state in (S.RELEASED, S.DISPATCHED, S.INTERRUPTED, S.ON_HOLD)},
}
VERBS = (
    *("start", "interrupt", "finish", "hold", "release", "reopen", "cancel", "complete-setup", "dispatch", "revoke"),
    *("rush", "scan"),
)


def hears(floor, job, status, *, order="A", **over):
    """The ERP's image of an order that waits for its first article."""
    floor.revision += 1
    work = (ImageOperation("0010", "WC-1", Decimal(10), control=Control(first_article=True)),)
    image = OrderImage("erp", order, floor.revision, "ART-1", "PC", Decimal(10), work, status=status, **over)
    floor.receive(with_image(job(order, 10, revision=floor.revision, cancelled=image.cancelled), image))


def does(floor, job, words):
    """Steps by ERP, people and the gateway itself, as the table of the life names them."""
    now_ns = floor.now_ns
    for word in words:
        if word.startswith("erp "):
            hears(floor, job, OrderStatus[word[4:]])
        elif word == "cancel":
            hears(floor, job, OrderStatus.RELEASED, cancelled=True)
        elif word == "booked":
            floor.put(FinalAcknowledged(now_ns, "A", "0010", known=floor.records["A", "0010"]))
        elif word == "setup":
            floor.put(SetupEntry(now_ns, begins=True, who="ann"))
        elif word == "split":
            floor.put(SplitEntry(now_ns, "A", "", (Decimal(4), Decimal(6)), "", "ann"))
        elif word == "merge":
            hears(floor, job, OrderStatus.RELEASED, order="B")
            floor.put(MergeEntry(now_ns, "L", ("A", "B"), "", "", "ann"))
        else:
            floor.says(word, "A", reason="r")


@pytest.fixture
def floor(rig, job):
    made = rig(orders=BY_HAND, state=StateRule(setup=SetupRule(end="operator_confirm")))
    made.revision = 0
    hears(made, job, OrderStatus.PLANNED)
    return made


def test_the_table_of_this_test_is_whole():
    assert len(STEPS) == 42
    assert set(STEPS) == {(row.state_from, row.state_to) for row in TRANSITIONS if row.state_from is not None}


@pytest.mark.parametrize("pair", list(STEPS), ids="-".join)
def test_each_pair_is_reached(floor, job, pair):
    state_from, state_to = pair
    does(floor, job, WAY[state_to] if state_from is S.ON_HOLD and STEPS[pair] == "release" else WAY[state_from])
    if state_from is S.ON_HOLD and STEPS[pair] == "release":
        does(floor, job, ["hold"])
    assert floor.records["A", "0010"].state is state_from
    does(floor, job, STEPS[pair].split() if not STEPS[pair].startswith("erp") else [STEPS[pair]])
    assert floor.records["A", "0010"].state is state_to
    assert pair in {(one.previous, one.record.state) for one in floor.all(JobChanged)}
    assert not [detail for code, detail in floor.notices if code == "REFUSED"]
    floor.close_books()


@pytest.mark.parametrize("state", [S.RELEASED, S.DISPATCHED, S.SETUP, S.IN_PROGRESS, S.INTERRUPTED])
def test_a_hold_of_the_machine_is_a_way_there_and_back(floor, job, state):
    does(floor, job, WAY[state])
    for begins, after in ((True, S.ON_HOLD), (False, state)):
        floor.put(StandingHoldEntry(floor.now_ns, HoldScope.MACHINE, "", begins, "r", "eve"))
        assert floor.records["A", "0010"].state is after


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", list(S))
def test_every_other_wish_is_refused_and_changes_nothing(floor, job, state, verb):
    does(floor, job, WAY[state])
    before, known = floor.state, floor.records["A", "0010"]
    assert known.state is state
    said = len(floor.said)
    role = ActorRole.PLANNER if verb in ("cancel", "rush") else ActorRole.SUPERVISOR
    floor.says(verb, "A", reason="r", role=role)
    after = floor.records["A", "0010"].state
    refused = [dict(one.detail) for one in floor.said[said:] if getattr(one, "code", "") == "REFUSED"]
    if not refused:
        rows = {(row.state_from, row.state_to) for row in TRANSITIONS}
        assert (state, after) in rows or verb == "rush"
        return
    (why,) = refused
    other = {
        (S.ON_HOLD, "start"): "G1 no active hold",
        (S.ON_HOLD, "scan"): "G1 no active hold",
        (S.SETUP, "complete-setup"): "first article approved",
        (S.PLANNED, "revoke"): "ILLEGAL_TRIGGER",  # the ERP's to release
    }
    assert why["guard"] == other.get((state, verb), "ILLEGAL_TRANSITION"), why
    assert why["what_to_do"]
    assert why["found"]
    assert (after, floor.state._replace(journal_seq=0)) == (state, before._replace(journal_seq=0))
